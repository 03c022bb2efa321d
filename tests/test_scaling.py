"cnncourse.scaling against scikit-learn, NumPy, PyTorch and Keras, and what it refuses."

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import preprocessing
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from cnncourse import labels, pixels, scalers, scaling
from cnncourse.scaling import MinMaxScaler, Standardizer

SCALERS = [Standardizer, MinMaxScaler]
PER_IMAGES = ["dataset", "channel", "pixel"]
REFERENCES = {Standardizer: preprocessing.StandardScaler, MinMaxScaler: preprocessing.MinMaxScaler}

few = settings(deadline=None, max_examples=40)

# Multiples of 1/8: a column is either constant or clearly not, so that the scale is never a rounding error.
values = st.integers(-8000, 8000).map(lambda k: k / 8)


def tables(min_columns=1):
    return hnp.arrays(float, st.tuples(st.integers(1, 12), st.integers(min_columns, 5)), elements=values)


@st.composite
def tables_with_constant_columns(draw):
    table = draw(tables(min_columns=2))
    table[:, draw(st.integers(0, table.shape[1] - 1))] = draw(st.sampled_from([0.0, 0.1, -1e6, 255.0]))
    return table


def image_batches(min_images=1):
    shapes = st.tuples(st.integers(min_images, 5), st.sampled_from([1, 3]), st.integers(1, 4), st.integers(1, 4))
    return shapes.flatmap(lambda shape: hnp.arrays(float, shape, elements=values))


def learnt(scaler):
    return {name: value for name, value in vars(scaler).items() if name.endswith("_")}


def assert_same_learnt(a, b):
    assert learnt(a).keys() == learnt(b).keys()
    for name, value in learnt(a).items():
        assert_array_equal(value, learnt(b)[name], err_msg=name)


# The protocol


@pytest.mark.parametrize(
    "scaler",
    [Standardizer(), MinMaxScaler(), Standardizer(per="dataset"), MinMaxScaler(feature_range=(-1, 1))],
    ids=repr,
)
def test_scikit_learn_accepts_the_scalers(scaler):
    results = check_estimator(scaler, on_skip=None)  # raises at the first check that fails
    assert sum(result["status"] == "passed" for result in results) > 30


@pytest.mark.parametrize("scaler", SCALERS)
def test_get_set_params_and_clone(scaler):
    made = scaler(per="pixel")
    assert made.get_params()["per"] == "pixel"
    assert made.set_params(per="channel") is made and made.per == "channel"
    made.fit(np.random.default_rng(0).normal(size=(4, 3, 2, 2)))
    copy = clone(made)
    assert copy.get_params() == made.get_params()
    assert not learnt(copy)


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("method", ["transform", "inverse_transform"])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 2)])
def test_refuses_before_fit(scaler, method, shape):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(scaler(), method)(np.zeros(shape))


@pytest.mark.parametrize("scaler", SCALERS)
def test_a_pipeline_scales_images_by_the_training_set(scaler):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 3, 4, 4), dtype=np.uint8), np.arange(40) % 2
    flatten = preprocessing.FunctionTransformer(lambda images: images.reshape(len(images), -1))
    pipeline = make_pipeline(scaler(per="channel"), flatten, LogisticRegression()).fit(x[:30], y[:30])
    by_hand = scaler(per="channel").fit(x[:30])
    model = LogisticRegression().fit(by_hand.transform(x[:30]).reshape(30, -1), y[:30])
    assert_array_equal(pipeline.predict(x[30:]), model.predict(by_hand.transform(x[30:]).reshape(10, -1)))


def test_column_names_are_kept_and_compared():
    frame = pd.DataFrame({"proline": [1.0, 2.0], "hue": [3.0, 5.0]})
    scaler = Standardizer().set_output(transform="pandas").fit(frame)
    assert list(scaler.transform(frame).columns) == ["proline", "hue"]
    with pytest.raises(ValueError, match="feature names"):
        scaler.transform(frame.rename(columns={"hue": "colour"}))


ROOMS = {
    scalers: ["MinMaxScaler", "averaged_axes", "scale_or_one"],
    pixels: ["check_pixels", "to_channels_first", "to_channels_last", "to_uint8"],
    labels: ["encode_labels", "from_one_hot"],
}


@pytest.mark.parametrize(("room", "name"), [(room, name) for room, names in ROOMS.items() for name in names])
def test_what_the_rooms_below_make_is_the_lessons_too(room, name):
    assert getattr(scaling, name) is getattr(room, name)


# The numbers


@few
@given(images=image_batches(), axes=st.sampled_from([(0,), (0, 2, 3), (1, 2, 3), (0, 1, 2, 3)]))
def test_the_spread_is_numpys_and_one_where_there_is_none(images, axes):
    spread = scalers.std_or_one(images, axes)
    flat = np.ptp(images, axis=axes, keepdims=True) == 0
    assert_array_equal(spread[flat], 1)
    assert_allclose(spread[~flat], images.std(axis=axes, keepdims=True)[~flat], rtol=1e-12)
    assert scalers.std_or_one(images.astype(np.float32), axes).dtype == np.float64


@pytest.mark.parametrize("scaler", SCALERS)
@few
@given(table=st.one_of(tables(), tables_with_constant_columns()), new=values)
def test_tables_agree_with_scikit_learn(scaler, table, new):
    ours, reference = scaler().fit(table), REFERENCES[scaler]().fit(table)
    others = np.full((2, table.shape[1]), new)
    assert_allclose(ours.transform(table), reference.transform(table), rtol=1e-9, atol=1e-9)
    assert_allclose(ours.transform(others), reference.transform(others), rtol=1e-9, atol=1e-9)


@few
@given(table=tables_with_constant_columns(), low=st.integers(-3, 2), width=st.integers(1, 4))
def test_feature_range_agrees_with_scikit_learn(table, low, width):
    ours = MinMaxScaler(feature_range=(low, low + width)).fit_transform(table)
    reference = preprocessing.MinMaxScaler(feature_range=(low, low + width)).fit_transform(table)
    assert_allclose(ours, reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("per", ["feature", "dataset"])
@few
@given(table=st.one_of(tables(), tables_with_constant_columns()))
def test_inverse_undoes_transform_of_tables(scaler, per, table):
    fitted = scaler(per=per).fit(table)
    assert_allclose(fitted.inverse_transform(fitted.transform(table)), table, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("per", PER_IMAGES)
@few
@given(images=image_batches())
def test_inverse_undoes_transform_of_images(scaler, per, images):
    fitted = scaler(per=per).fit(images)
    assert_allclose(fitted.inverse_transform(fitted.transform(images)), images, rtol=1e-9, atol=1e-9)


def whole_groups(images, per):
    "The values that share one statistic, each group by itself."
    _, c, h, w = images.shape
    if per == "dataset":
        return [images]
    if per == "channel":
        return [images[:, k] for k in range(c)]
    return [images[:, k, i, j] for k in range(c) for i in range(h) for j in range(w)]


@pytest.mark.parametrize("per", PER_IMAGES)
@few
@given(images=image_batches())
def test_images_agree_with_numpy_group_by_group(per, images):
    standard, unit = Standardizer(per).fit_transform(images), MinMaxScaler(per).fit_transform(images)
    groups = zip(*(whole_groups(x, per) for x in (images, standard, unit)), strict=True)
    for raw, z, m in groups:
        spread = np.ptp(raw)
        assert_allclose(z, (raw - raw.mean()) / (raw.std() if spread else 1), rtol=1e-9, atol=1e-9)
        assert_allclose(m, (raw - raw.min()) / (spread or 1), rtol=1e-9, atol=1e-9)


@few
@given(images=image_batches())
def test_per_pixel_and_per_channel_are_scikit_learns_two_reshapes(images):
    n, c, h, w = images.shape
    flat = preprocessing.StandardScaler().fit_transform(images.reshape(n, -1)).reshape(images.shape)
    assert_allclose(Standardizer("pixel").fit_transform(images), flat, rtol=1e-9, atol=1e-9)
    pixels = images.transpose(0, 2, 3, 1).reshape(-1, c)
    scaled = preprocessing.StandardScaler().fit_transform(pixels).reshape(n, h, w, c).transpose(0, 3, 1, 2)
    assert_allclose(Standardizer("channel").fit_transform(images), scaled, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("per", PER_IMAGES)
@few
@given(data=st.data())
def test_the_test_data_never_change_what_was_learnt(scaler, per, data):
    train = data.draw(image_batches(min_images=2))
    shape = (3, *train.shape[1:])
    one, other = (data.draw(hnp.arrays(float, shape, elements=values)) for _ in range(2))
    a, b = scaler(per=per).fit(train), scaler(per=per).fit(train)
    fresh = learnt(clone(a).fit(train))
    scaled_train = a.transform(train)
    a.transform(one), a.inverse_transform(one)
    b.transform(other), b.inverse_transform(other)
    assert_same_learnt(a, b)
    for name, value in fresh.items():
        assert_array_equal(learnt(a)[name], value, err_msg=name)
    assert_array_equal(a.transform(train), scaled_train)
    assert_array_equal(b.transform(train), scaled_train)


@pytest.mark.parametrize("scaler", SCALERS)
def test_one_image_is_scaled_alike_in_any_company(scaler):
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(6, 3, 4, 4)), rng.normal(size=(5, 3, 4, 4))
    fitted = scaler().fit(train)
    assert_array_equal(fitted.transform(test)[:1], fitted.transform(test[:1]))


@pytest.mark.parametrize("scaler", SCALERS)
def test_the_input_is_left_as_it_was(scaler):
    x = np.random.default_rng(0).normal(size=(4, 3, 2, 2))
    before = x.copy()
    fitted = scaler().fit(x)
    fitted.inverse_transform(fitted.transform(x))
    assert_array_equal(x, before)


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 2)])
@pytest.mark.parametrize(
    ("given_type", "kept"),
    [
        ("float64", "float64"),
        ("float32", "float32"),
        ("float16", "float16"),
        ("uint8", "float64"),
        ("int64", "float64"),
    ],
)
def test_floats_keep_their_type_and_integers_become_float(scaler, shape, given_type, kept):
    x = np.random.default_rng(0).integers(0, 100, shape).astype(given_type)
    fitted = scaler().fit(x)
    assert fitted.transform(x).dtype == kept
    assert fitted.inverse_transform(fitted.transform(x)).dtype == kept


def test_float32_statistics_are_summed_in_float64():
    x = np.full((200, 3, 20, 20), 1000, dtype=np.float32) + np.random.default_rng(0).normal(
        size=(200, 3, 20, 20)
    ).astype("f")
    assert_allclose(Standardizer().fit(x).mean_.ravel(), x.astype(float).mean(axis=(0, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize("number", [0.1, 1 / 3, -1e6, 1e-300, 255.0])
@pytest.mark.parametrize("rows", [1, 3, 10, 1001])
def test_a_constant_column_stays_finite_and_comes_back(number, rows):
    table = np.full((rows, 2), number)
    standard, unit = Standardizer().fit(table), MinMaxScaler().fit(table)
    assert_array_equal(standard.scale_, [1, 1])
    assert_array_equal(unit.data_range_, [1, 1])
    assert_allclose(standard.transform(table), np.zeros((rows, 2)), atol=1e-12 * max(abs(number), 1))
    assert_array_equal(unit.transform(table), np.zeros((rows, 2)))


def test_a_spread_too_small_for_floats_counts_as_none():
    assert np.isfinite(Standardizer().fit_transform([[0.0], [1e-200]])).all()


# What scalers refuse


@pytest.mark.parametrize("scaler", SCALERS)
def test_other_channels_than_in_fit(scaler):
    fitted = scaler().fit(np.random.default_rng(0).normal(size=(4, 3, 2, 2)))
    assert fitted.transform(np.zeros((1, 3, 5, 7))).shape == (1, 3, 5, 7)
    for shape in [(4, 1, 2, 2), (4, 2, 2, 3), (4, 3), (3, 2, 2)]:
        with pytest.raises(ValueError, match=r"expected an array \(n, 3, h, w\) as in fit"):
            fitted.transform(np.zeros(shape))
        with pytest.raises(ValueError, match=r"expected an array \(n, 3, h, w\) as in fit"):
            fitted.inverse_transform(np.zeros(shape))


@pytest.mark.parametrize("scaler", SCALERS)
def test_another_size_than_in_fit_per_pixel(scaler):
    fitted = scaler(per="pixel").fit(np.random.default_rng(0).normal(size=(4, 3, 2, 2)))
    with pytest.raises(ValueError, match=r"expected an array \(n, 3, 2, 2\) as in fit, received shape \(4, 3, 2, 5\)"):
        fitted.transform(np.zeros((4, 3, 2, 5)))


@pytest.mark.parametrize("scaler", SCALERS)
def test_images_where_fit_saw_a_table(scaler):
    fitted = scaler().fit(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"expected an array \(n, 3\) as in fit"):
        fitted.transform(np.zeros((4, 3, 2, 2)))
    with pytest.raises(ValueError, match="is expecting 3 features"):
        fitted.transform(np.zeros((4, 2)))


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize(
    ("per", "shape", "message"),
    [
        (None, (4, 3, 2), "received an array of 3 axes"),
        ("channel", (4, 3), "received 'channel'"),
        ("feature", (4, 3, 2, 2), "received 'feature'"),
        ("image", (4, 3, 2, 2), "received 'image'"),
        (None, (0, 3, 2, 2), "0 sample"),
    ],
)
def test_a_choice_that_does_not_fit_the_data(scaler, per, shape, message):
    with pytest.raises(ValueError, match=message):
        scaler(per=per).fit(np.zeros(shape))


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers(scaler, bad):
    images = np.zeros((2, 3, 2, 2))
    images[1, 2, 0, 1] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        scaler().fit(images)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        scaler().fit(np.zeros((2, 3, 2, 2))).transform(images)


@pytest.mark.parametrize("feature_range", [(1, 0), (0, 0)])
def test_a_feature_range_without_width(feature_range):
    with pytest.raises(ValueError, match="expected feature_range"):
        MinMaxScaler(feature_range=feature_range).fit(np.zeros((2, 1)))


# Pictures


def test_every_8_bit_value_survives_the_way_to_floats_and_back():
    levels = np.arange(256, dtype=np.uint8)
    for dtype in (np.float16, np.float32, np.float64):
        unit = scaling.to_unit(levels, dtype)
        assert unit.dtype == dtype and unit[0] == 0 and unit[255] == 1 and (np.diff(unit) > 0).all()
        assert_array_equal(scaling.to_uint8(unit), levels)
    assert_array_equal(scaling.to_uint8(np.array([100.4, 100.6]) / 255.0), [100, 101])


def test_conversion_refuses_what_was_converted_already():
    with pytest.raises(ValueError, match=r"divided by 255\.0 already\?"):
        scaling.to_unit(np.zeros(3))
    with pytest.raises(ValueError, match=r"expected floats in 0\.\.1, received uint8"):
        scaling.to_uint8(np.zeros(3, np.uint8))
    for bad in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="received"):
            scaling.to_uint8(np.array([0.5, bad]))


@pytest.mark.parametrize("shape", [(1, 2, 2), (3, 5, 7), (4, 5, 7), (2, 1, 5, 7), (2, 3, 5, 7)])
@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("float32", 1), ("float64", 0.5)])
def test_good_images_pass_unchanged(shape, dtype, top, recwarn):
    images = np.full(shape, top, dtype)
    assert scaling.check_pixels(images) is images
    assert not recwarn.list


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((2, 3, 8, 8), 255.0), r"not yet divided by 255\.0\?"),
        (np.full((2, 3, 8, 8), -0.5), "standardised already"),
        (np.full((2, 3, 8, 8), np.nan), "received 384 that are NaN"),
        (np.full((2, 3, 8, 8), 7), "received int64"),
        (np.zeros((2, 3, 8, 8), bool), "received bool"),
        (np.zeros((2, 8, 8, 3)), "to_channels_first"),
        (np.zeros((8, 8, 3)), "to_channels_first"),
        (np.zeros((50, 8, 8)), "x\\[:, None\\]"),
        (np.zeros((2, 5, 8, 8)), r"expected 1, 3 or 4 channels on axis 1, received shape \(2, 5, 8, 8\)$"),
        (np.zeros((8, 8)), "expected one image"),
        (np.zeros((0, 3, 8, 8)), "expected one image"),
    ],
)
def test_bad_images_are_refused_with_a_hint(images, message):
    with pytest.raises(ValueError, match=message):
        scaling.check_pixels(images)


@pytest.mark.parametrize(
    ("images", "message"),
    [(np.ones((1, 2, 2), np.uint8), "floats in 0..1 before"), (np.full((1, 2, 2), 1 / 255), "divided by 255.0 twice")],
)
def test_suspicious_images_bring_a_warning(images, message):
    with pytest.warns(UserWarning, match=message) as caught:
        scaling.check_pixels(images)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 3, 5, 7)])
def test_layouts_there_and_back(shape):
    x = np.random.default_rng(0).normal(size=shape)
    last = scaling.to_channels_last(x)
    assert last.shape == (*shape[:-3], 5, 7, 3)
    assert_array_equal(last[..., 4, 6, 2], x[..., 2, 4, 6])
    assert_array_equal(scaling.to_channels_first(last), x)


@pytest.mark.parametrize("shape", [(5, 7), (1, 2, 3, 5, 7)])
def test_layouts_want_one_image_or_a_batch(shape):
    for move in (scaling.to_channels_first, scaling.to_channels_last):
        with pytest.raises(ValueError, match="received shape"):
            move(np.zeros(shape))


@few
@given(images=image_batches())
def test_each_image_by_its_own_statistics(images):
    each = scaling.standardize_each(images)
    for image, out in zip(images, each, strict=True):
        assert_allclose(out, Standardizer("dataset").fit_transform(image[None])[0], rtol=1e-9, atol=1e-9)
    assert scaling.standardize_each(images.astype(np.float32)).dtype == np.float32
    assert scaling.standardize_each(images.astype(np.int64)).dtype == np.float64


# Labels


@few
@given(train=st.lists(st.sampled_from("abcdefghij"), min_size=1), data=st.data())
def test_labels_there_and_back_with_the_training_code(train, data):
    classes = np.unique(train)
    test = data.draw(st.lists(st.sampled_from(classes.tolist()), min_size=1))
    codes = scaling.encode_labels(test, classes)
    assert codes.dtype == np.int64
    assert_array_equal(classes[codes], test)
    assert_array_equal(codes, preprocessing.LabelEncoder().fit(train).transform(test))
    hot = scaling.one_hot(codes, len(classes))
    reference = preprocessing.OneHotEncoder(sparse_output=False).fit(np.array(train)[:, None])
    assert_array_equal(hot, reference.transform(np.array(test)[:, None]))
    assert_array_equal(scaling.from_one_hot(hot), codes)


def test_labels_and_rows_that_are_refused():
    with pytest.raises(ValueError, match=r"expected labels among the classes \['a', 'b'\], received \['c', 'd'\]"):
        scaling.encode_labels(["d", "a", "c", "d"], ["a", "b"])
    with pytest.raises(ValueError, match="each class once"):
        scaling.encode_labels(["a"], ["a", "a"])
    for bad in ([3], [-1]):
        with pytest.raises(ValueError, match=r"expected targets in 0\.\.2"):
            scaling.one_hot(bad, 3)
    with pytest.raises(ValueError, match="expected integer targets"):
        scaling.one_hot([0.0], 3)
    for rows in ([[0, 0]], [[1, 1]], [[0.5, 0.5]]):
        with pytest.raises(ValueError, match="single 1"):
            scaling.from_one_hot(rows)


# Mini-batches


def test_sixty_thousand_images():
    assert 60_000 * 80 // 100 == 48_000
    assert scaling.steps_per_epoch(48_000, 32) == 1_500


@few
@given(n=st.integers(1, 200), batch_size=st.integers(1, 250), drop_last=st.booleans(), shuffle=st.booleans())
def test_batches_hold_every_row_once(n, batch_size, drop_last, shuffle):
    x, y = np.arange(n) * 10, np.arange(n)
    made = list(scaling.batches(x, y, batch_size=batch_size, drop_last=drop_last, shuffle=shuffle))
    assert len(made) == scaling.steps_per_epoch(n, batch_size, drop_last)
    assert all(len(b) == batch_size for _, b in made[: n // batch_size])
    rows = np.concatenate([b for _, b in made]) if made else np.array([], int)
    assert len(rows) == (n - n % batch_size if drop_last else n)
    assert len(set(rows.tolist())) == len(rows)
    for a, b in made:
        assert_array_equal(a, b * 10)
    if not shuffle:
        assert_array_equal(rows, y[: len(rows)])


@few
@given(n=st.integers(1, 300), batch_size=st.integers(1, 320), drop_last=st.booleans())
def test_steps_agree_with_pytorch(n, batch_size, drop_last):
    from torch.utils.data import DataLoader

    assert scaling.steps_per_epoch(n, batch_size, drop_last) == len(
        DataLoader(range(n), batch_size, drop_last=drop_last)
    )


def test_the_seed_fixes_the_order_and_a_generator_goes_on():
    def order(seed):
        return np.concatenate([rows for (rows,) in scaling.batches(np.arange(100), seed=seed)])

    assert_array_equal(order(1), order(1))
    assert (order(1) != order(2)).any()
    rng = np.random.default_rng(1)
    assert_array_equal(order(rng), order(1))
    assert (order(rng) != order(1)).any()


def test_batches_and_steps_that_are_refused_at_the_call():
    with pytest.raises(ValueError, match=r"received lengths \[3, 2\]"):
        scaling.batches(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="received lengths"):
        scaling.batches()
    for n, batch_size in [(0, 1), (1, 0)]:
        with pytest.raises(ValueError, match="expected n and batch_size"):
            scaling.steps_per_epoch(n, batch_size)


# Optimisers

RECIPES = [
    (scaling.sgd, "SGD", {"lr": 0.1}),
    (scaling.sgd, "SGD", {"lr": 0.05, "momentum": 0.9}),
    (scaling.sgd, "SGD", {"lr": 0.05, "momentum": 0.7, "nesterov": True}),
    (scaling.adam, "Adam", {"lr": 0.01}),
    (scaling.adam, "Adam", {"lr": 0.1, "betas": (0.5, 0.9)}),
]
gradients = hnp.arrays(np.float32, (6, 2, 3), elements=st.floats(-10, 10, width=16))


def our_path(rule, options, given_gradients):
    queue = iter(given_gradients)
    return scaling.descend(rule, lambda w: next(queue), np.ones((2, 3)), len(given_gradients), **options)


@pytest.mark.parametrize(("rule", "name", "options"), RECIPES)
@few
@given(given_gradients=gradients)
def test_optimisers_agree_with_pytorch_step_by_step(rule, name, options, given_gradients):
    import torch

    given_gradients = given_gradients.astype(np.float64)
    w = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    optimiser = getattr(torch.optim, name)([w], **options)
    path = our_path(rule, options, given_gradients)
    for step, gradient in enumerate(given_gradients, start=1):
        w.grad = torch.from_numpy(gradient)
        optimiser.step()
        assert_allclose(path[step], w.detach().numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("rule", "name", "options"), RECIPES)
@pytest.mark.parametrize("seed", range(3))
def test_optimisers_agree_with_keras_step_by_step(rule, name, options, seed):
    import keras

    given_gradients = np.random.default_rng(seed).normal(size=(6, 2, 3)).astype(np.float32)
    theirs = {"learning_rate" if key == "lr" else key: value for key, value in options.items()}
    if "betas" in theirs:
        theirs["beta_1"], theirs["beta_2"] = theirs.pop("betas")
    optimiser = getattr(keras.optimizers, name)(**theirs)
    w = keras.Variable(np.ones((2, 3), np.float32))
    path = our_path(rule, options, given_gradients)
    for step, gradient in enumerate(given_gradients, start=1):
        optimiser.apply([keras.ops.convert_to_tensor(gradient)], [w])
        assert_allclose(path[step], w.numpy(), rtol=1e-4, atol=1e-5)


def test_optimisers_leave_their_input_alone():
    w, gradient = np.ones(2), np.ones(2)
    for rule in (scaling.sgd, scaling.adam):
        _, state = rule(w, gradient, lr=0.1)
        rule(w, gradient, state, lr=0.1)
        assert_array_equal(w, np.ones(2))
        assert_array_equal(gradient, np.ones(2))


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        (scaling.sgd, {"lr": -1}, "received lr=-1"),
        (scaling.sgd, {"lr": float("nan")}, "received lr=nan"),
        (scaling.sgd, {"momentum": 1.0}, "momentum"),
        (scaling.sgd, {"momentum": -0.1}, "momentum"),
        (scaling.sgd, {"nesterov": True}, "momentum above 0"),
        (scaling.adam, {"lr": -1}, "received lr=-1"),
        (scaling.adam, {"betas": (0.9, 1.0)}, "betas"),
    ],
)
def test_rates_that_are_refused(rule, options, message):
    with pytest.raises(ValueError, match=message):
        rule(np.ones(2), np.ones(2), **options)


# Batch normalisation


def batch_norm_run(x_batches, options):
    "Results in training, one for each batch, and of the last batch in inference."
    c = x_batches[0].shape[1]
    rng = np.random.default_rng(0)
    gamma, beta = rng.uniform(0.5, 2, c).astype(np.float32), rng.normal(size=c).astype(np.float32)
    running, results = (np.zeros(c), np.ones(c)), []
    for x in x_batches:
        y, *running = scaling.batch_norm(x, gamma, beta, *running, training=True, **options)
        results.append(y)
    results.append(scaling.batch_norm(x, gamma, beta, *running, training=False, **options)[0])
    return gamma, beta, results, running


def random_batches(seed, shape):
    return list(np.random.default_rng(seed).normal(2, 3, (4, *shape)).astype(np.float32))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shape", [(8, 3, 5, 4), (2, 1, 1, 1), (8, 3)])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.3, "eps": 0.01}])
def test_batch_norm_agrees_with_pytorch(seed, shape, options):
    import torch

    x_batches = random_batches(seed, shape)
    gamma, beta, results, running = batch_norm_run(x_batches, options)
    layer = (torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d)(shape[1], **options)
    layer.weight.data, layer.bias.data = torch.from_numpy(gamma), torch.from_numpy(beta)
    for x, y in zip(x_batches, results, strict=False):
        assert_allclose(y, layer(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-4)
    assert_allclose(results[-1], layer.eval()(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-4)
    assert_allclose(running[0], layer.running_mean.numpy(), rtol=1e-4, atol=1e-5)
    assert_allclose(running[1], layer.running_var.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 3, 5, 4), (8, 3)])
def test_batch_norm_agrees_with_keras(shape):
    import keras

    x_batches = random_batches(1, shape)
    layer = keras.layers.BatchNormalization(axis=1)
    options = {"momentum": 1 - layer.momentum, "eps": layer.epsilon, "unbiased": False}
    gamma, beta, results, running = batch_norm_run(x_batches, options)
    layer.build((None, *shape[1:]))
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)

    def call(x, training):
        return keras.ops.convert_to_numpy(layer(x, training=training))

    for x, y in zip(x_batches, results, strict=False):
        assert_allclose(y, call(x, True), rtol=1e-4, atol=1e-4)
    assert_allclose(results[-1], call(x, False), rtol=1e-4, atol=1e-4)
    assert_allclose(running[0], layer.moving_mean.numpy(), rtol=1e-4, atol=1e-5)
    assert_allclose(running[1], layer.moving_variance.numpy(), rtol=1e-4, atol=1e-5)


def test_inference_learns_nothing_and_ignores_the_company():
    x = random_batches(0, (6, 3, 4, 4))[0]
    mean, var = np.array([1.0, 2, 3]), np.array([4.0, 5, 6])
    y, new_mean, new_var = scaling.batch_norm(x, np.ones(3), np.zeros(3), mean, var, training=False)
    alone, *_ = scaling.batch_norm(x[:1], np.ones(3), np.zeros(3), mean, var, training=False)
    assert_array_equal(y[:1], alone)
    assert_array_equal(new_mean, [1, 2, 3])
    assert_array_equal(new_var, [4, 5, 6])


def test_batch_norm_is_the_standardizer_inside():
    x = random_batches(0, (6, 3, 4, 4))[0].astype(np.float64)
    y, *_ = scaling.batch_norm(x, np.ones(3), np.zeros(3), np.zeros(3), np.ones(3), training=True, eps=0)
    assert_allclose(y, Standardizer("channel").fit_transform(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(4, 2, 5, 5), (4, 3, 5), (4, 2)])
def test_batch_norm_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"expected x of shape \(n, 3, h, w\) or \(n, 3\)"):
        scaling.batch_norm(np.zeros(shape), np.ones(3), np.zeros(3), np.zeros(3), np.ones(3), training=True)


@pytest.mark.parametrize("place", range(1, 4))
def test_batch_norm_refuses_learnt_values_of_another_shape(place):
    state = [np.ones(3), np.zeros(3), np.zeros(3), np.ones(3)]
    state[place] = np.ones(1)
    with pytest.raises(ValueError, match=r"expected gamma, beta and running statistics of shape \(3,\)"):
        scaling.batch_norm(np.zeros((4, 3)), *state, training=False)


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 3)])
def test_batch_norm_refuses_to_train_on_one_value(shape):
    state = np.ones(3), np.zeros(3), np.zeros(3), np.ones(3)
    with pytest.raises(ValueError, match="more than one value for each channel"):
        scaling.batch_norm(np.zeros(shape), *state, training=True)
    assert scaling.batch_norm(np.zeros(shape), *state, training=False)[0].shape == shape
