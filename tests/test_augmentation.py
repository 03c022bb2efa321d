"""Augmentation against scikit-image, SciPy, Keras and PyTorch on random cases; boxes, masks, mixing, and what must fail."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import skimage.transform
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncourse import augmentation, changes, datasets, warps
from cnncourse.augmentation import (
    Augmenter,
    Blur,
    Brightness,
    Contrast,
    Crop,
    CutMix,
    Erase,
    Flip,
    Hue,
    Mixup,
    Noise,
    Rotate,
    Scale,
    Scratch,
    Shear,
    Shift,
    affine_matrix,
    mix,
    move_boxes,
    warp,
    warp_masks,
)

SOME = settings(max_examples=150, deadline=None, derandomize=True)
FILLS = {"constant": "grid-constant", "nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap"}  # SciPy's names
HALF = affine_matrix(c=0.5, f=0.5)  # from pixel numbers to points
GEOMETRIC = (Shift((-0.5, 0.5), (-0.5, 0.5)), Scale((0.5, 2), (0.7, 1.4)), Rotate((-180, 180)), Flip(p=0.5),
             Flip("vertical", p=0.5), Shear((-0.6, 0.6), (-0.6, 0.6)), Crop((0.4, 1)))  # fmt: skip
PIXEL = (Brightness((-0.3, 0.3)), Contrast((0.3, 3)), Noise((0, 0.1)), Hue((-180, 180)), Blur((0, 2)), Erase((0, 0.5)),
         Scratch((0, 5)))  # fmt: skip


@st.composite
def cases(draw, channels=(1, 2, 3)):
    "Pictures, a chain of geometric steps, and the matrices it draws for a seed."
    n, c = draw(st.integers(1, 4)), draw(st.sampled_from(channels))
    h, w = draw(st.integers(5, 24)), draw(st.integers(5, 24))
    steps = draw(st.lists(st.sampled_from(GEOMETRIC), min_size=1, max_size=4))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    matrices = augmentation.chain_matrices(steps, [step.draw(rng, n) for step in steps], n, h, w)
    return np.random.default_rng(seed).random((n, c, h, w)), steps, matrices, seed


def in_pixels(matrix):
    "The way back, between pixel numbers (x, y)."
    return np.linalg.inv(HALF) @ np.linalg.inv(matrix) @ HALF


# Against other libraries


@SOME
@given(cases(), st.sampled_from(sorted(FILLS)), st.sampled_from([0.0, 0.7]))
def test_geometric_chains_are_those_of_scipy(case, fill, value):
    x, steps, matrices, seed = case
    y = Augmenter(steps, fill=fill, value=value)(x, seed)
    for picture, moved, matrix in zip(x, y, matrices, strict=True):
        back = in_pixels(matrix)[[1, 0, 2]][:, [1, 0, 2]]  # SciPy goes by row, then column
        for channel, got in zip(picture, moved, strict=True):
            expected = scipy.ndimage.affine_transform(channel, back, order=1, mode=FILLS[fill], cval=value)
            np.testing.assert_allclose(got, expected, atol=1e-9)


@SOME
@given(cases(), st.sampled_from([("constant", "constant"), ("nearest", "edge"), ("reflect", "symmetric")]))
def test_geometric_chains_are_those_of_scikit_image(case, fill):
    x, steps, matrices, seed = case
    y = Augmenter(steps, fill=fill[0])(x, seed)
    for picture, moved, matrix in zip(x, y, matrices, strict=True):
        expected = skimage.transform.warp(
            picture.transpose(1, 2, 0), in_pixels(matrix), order=1, mode=fill[1], clip=False
        )
        np.testing.assert_allclose(moved, expected.transpose(2, 0, 1), atol=1e-9)


@SOME
@given(cases())
def test_float32_and_uint8_are_float64_up_to_rounding(case):
    x, steps, _, seed = case
    x = np.rint(255 * x).astype(np.uint8)
    exact = Augmenter(steps, fill="reflect")(x / 255, seed)
    single = Augmenter(steps, fill="reflect")((x / 255).astype(np.float32), seed)
    whole = Augmenter(steps, fill="reflect")(x, seed)
    assert single.dtype == np.float32 and whole.dtype == np.uint8
    np.testing.assert_allclose(single, exact, atol=1e-4)
    np.testing.assert_allclose(whole, 255 * exact, atol=0.5 + 0.02)


@SOME
@given(cases())
def test_masks_take_the_nearest_label(case):
    x, steps, matrices, seed = case
    masks = (x[:, 0] * 5).astype(np.int64)
    moved = Augmenter(steps).apply(x, seed, masks=masks).masks
    for mask, got, matrix in zip(masks, moved, matrices, strict=True):
        h, w = mask.shape
        column, row = np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5)
        at = np.einsum("ij,jhw->ihw", np.linalg.inv(matrix), np.stack([column, row, np.ones_like(row)]))[:2]
        safe = (np.abs(at - np.rint(at)) > 1e-4).all(axis=0)  # not just between two pixels
        left, top = np.floor(at).astype(int)
        inside = (left >= 0) & (left < w) & (top >= 0) & (top < h)
        expected = np.where(inside, mask[np.clip(top, 0, h - 1), np.clip(left, 0, w - 1)], 0)
        np.testing.assert_array_equal(got[safe], expected[safe])


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


@SOME
@given(case=cases(channels=(1, 3)), fill=st.sampled_from(["constant", "nearest", "reflect"]))
def test_geometric_chains_are_those_of_keras(keras, case, fill):
    x, steps, matrices, seed = case
    x = x.astype(np.float32)
    flat = np.stack([in_pixels(m).ravel()[:8] for m in matrices]).astype(np.float32)
    expected = keras.ops.image.affine_transform(x.transpose(0, 2, 3, 1), flat, fill_mode=fill)
    got = Augmenter(steps, fill=fill)(x, seed)
    np.testing.assert_allclose(got, np.asarray(expected).transpose(0, 3, 1, 2), atol=2e-3)


@SOME
@given(cases(), st.sampled_from([("constant", "zeros"), ("nearest", "border"), ("reflect", "reflection")]))
def test_geometric_chains_are_those_of_pytorch(case, fill):
    torch = pytest.importorskip("torch")
    x, steps, matrices, seed = case
    h, w = x.shape[2:]
    to_unit = affine_matrix(a=2 / w, c=-1, e=2 / h, f=-1)  # PyTorch measures from -1 to 1
    theta = torch.from_numpy((to_unit @ np.linalg.inv(matrices) @ np.linalg.inv(to_unit))[:, :2])
    grid = torch.nn.functional.affine_grid(theta, x.shape, align_corners=False)
    expected = torch.nn.functional.grid_sample(
        torch.from_numpy(x), grid, mode="bilinear", padding_mode=fill[1], align_corners=False
    )
    np.testing.assert_allclose(Augmenter(steps, fill=fill[0])(x, seed), expected, atol=1e-9)


def test_layers_of_keras_do_the_same(keras):
    x = datasets.photograph("cat", size=(48, 64))[None].astype(np.float32) / 255
    layers = keras.layers
    pairs = [
        (layers.RandomRotation((20 / 360, 20 / 360)), Rotate(20)),
        (layers.RandomZoom((-0.2, -0.2), (-0.2, -0.2)), Scale(1.25)),
        (layers.RandomTranslation((0.1, 0.1), (0.2, 0.2)), Shift(0.2, 0.1)),
        (layers.RandomBrightness((0.3, 0.3), value_range=(0, 1)), Brightness(0.3)),
    ]
    for layer, step in pairs:
        expected = np.asarray(layer(x.transpose(0, 2, 3, 1), training=True)).transpose(0, 3, 1, 2)
        np.testing.assert_allclose(Augmenter([step], fill="reflect")(x, 0), expected, atol=1e-3)
    contrast = layers.RandomContrast(0.5, value_range=(0, 1))
    expected = contrast.transform_images(x.transpose(0, 2, 3, 1), {"contrast_factor": 1.7}, training=True)
    np.testing.assert_allclose(Augmenter([Contrast(1.7)])(x, 0), np.asarray(expected).transpose(0, 3, 1, 2), atol=1e-5)


@SOME
@given(st.integers(0, 2**32 - 1), st.floats(-360, 360))
def test_hue_is_that_of_scikit_image(seed, degrees):
    x = np.random.default_rng(seed).random((2, 3, 5, 6))
    x[0, :, 0] = x[0, :1, 0]  # greys have no hue
    for picture, got in zip(x, Augmenter([Hue(degrees)])(x, 0), strict=True):
        hsv = skimage.color.rgb2hsv(picture, channel_axis=0)
        hsv[0] = (hsv[0] + degrees / 360) % 1
        np.testing.assert_allclose(got, skimage.color.hsv2rgb(hsv, channel_axis=0), atol=1e-9)


# Exactness, seeds, dtypes


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_whole_turns_and_flips_are_exact(dtype):
    x = datasets.photograph("cat", size=33)
    x = x if dtype == np.uint8 else (x / 255).astype(dtype)
    same = {"rtol": 0, "atol": 1e-12}
    for step, expected in [
        (Flip(), x[:, :, ::-1]),
        (Flip("vertical"), x[:, ::-1]),
        (Rotate(90), np.rot90(x, axes=(1, 2))),
        (Rotate(180), x[:, ::-1, ::-1]),
        (Rotate(-90), np.rot90(x, -1, axes=(1, 2))),
        (Shift(1 / 3), np.concatenate([np.zeros_like(x[:, :, :11]), x[:, :, :-11]], axis=2)),
    ]:
        y = Augmenter([step])(x, 0)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected, **same)


@pytest.mark.parametrize("step", [*GEOMETRIC, *PIXEL])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_a_step_keeps_shape_dtype_range_and_input(step, dtype):
    x = datasets.shapes(5, size=16, seed=1).x
    x = x if dtype == np.uint8 else (x / 255).astype(dtype)
    before = x.copy()
    y = Augmenter([step])(x, 3)
    assert y.shape == x.shape and y.dtype == dtype and y is not x
    assert y.min() >= 0 and y.max() <= (255 if dtype == np.uint8 else 1)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(y, Augmenter([step])(x, np.random.default_rng(3)))
    assert not np.array_equal(y, Augmenter([step])(x, 4))
    one = Augmenter([step])(x[0], 3)
    assert one.shape == x[0].shape and one.dtype == dtype
    off = replace(step, p=0.0)
    np.testing.assert_array_equal(Augmenter([off])(x, 3), x)


def test_probability_is_that_of_each_picture():
    x = np.ones((4000, 1, 2, 2), np.float32)
    changed = Augmenter([Brightness(-0.5, p=0.3)])(x, 0)[:, 0, 0, 0] < 1
    assert abs(changed.mean() - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5


def test_settings_are_drawn_evenly_for_each_picture():
    x = np.full((4000, 1, 1, 1), 0.5)
    added = Augmenter([Brightness((-0.2, 0.4))])(x, 0).ravel() - 0.5
    assert -0.2 <= added.min() < -0.19 and 0.39 < added.max() <= 0.4
    assert abs(added.mean() - 0.1) < 4 * 0.6 / 12**0.5 / 4000**0.5


def test_blocks_do_not_matter(monkeypatch):
    x = datasets.shapes(40, size=32, seed=0).x
    chain = Augmenter([*GEOMETRIC, Contrast((0.5, 2), p=0.5), Blur((0, 2)), Noise(0.1)])
    whole = chain(x, 0)
    monkeypatch.setattr(changes, "_blocks", lambda shape: [slice(0, shape[0])])
    np.testing.assert_array_equal(chain(x, 0), whole)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 1, 1, 1), (1, 3, 1, 9), (2, 4, 9, 2), (1, 1, 300, 500)])
def test_odd_shapes(shape):
    x = np.random.default_rng(0).random(shape)
    assert Augmenter([Rotate(30), Erase(0.3), Scratch(), Blur(1), Noise(0.1)], fill="wrap")(x, 0).shape == shape


# Boxes and masks


@SOME
@given(cases(), st.floats(0, 1))
def test_a_box_holds_its_mask(case, min_visible):
    x, steps, _, seed = case
    n, _, h, w = x.shape
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.random((n, 2, 2)), axis=1) * (w - 2, h - 2)
    boxes = np.rint(np.concatenate([ends[:, 0], ends[:, 1] + 1.5], axis=1))
    masks = np.zeros((n, h, w), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    moved = Augmenter(steps).apply(x, seed, boxes=boxes, masks=masks, min_visible=min_visible)
    for mask, new, kept in zip(moved.masks, moved.boxes, moved.kept, strict=True):
        assert len(new) == kept.sum() <= 1
        if len(new) and mask.any():
            x1, y1, x2, y2 = new[0]
            rows, columns = np.nonzero(mask)
            assert 0 <= x1 < x2 <= w and 0 <= y1 < y2 <= h
            assert x1 - 1e-3 <= columns.min() + 0.5 and columns.max() + 0.5 <= x2 + 1e-3
            assert y1 - 1e-3 <= rows.min() + 0.5 and rows.max() + 0.5 <= y2 + 1e-3


def test_boxes_of_one_picture_and_of_many():
    x = np.zeros((3, 1, 10, 20))
    flipped = Augmenter([Flip()])
    one = flipped.apply(x[0], 0, boxes=[[0, 0, 5, 10], [1, 2, 3, 4]], masks=np.eye(10, 20, dtype=int))
    np.testing.assert_allclose(one.boxes, [[15, 0, 20, 10], [17, 2, 19, 4]])
    assert one.kept.tolist() == [True, True] and one.masks.shape == (10, 20) and one.x.shape == (1, 10, 20)
    many = flipped.apply(x, 0, boxes=[[], [[0, 0, 5, 10]], [[1, 2, 3, 4]] * 2])
    assert [len(b) for b in many.boxes] == [0, 1, 2] and many.masks is None


@pytest.mark.parametrize(("min_visible", "left"), [(0.0, [True, True]), (0.25, [True, True]), (0.26, [False, True])])
def test_the_boundary_of_min_visible(min_visible, left):
    boxes = [[4, 0, 8, 4], [0, 0, 4, 4]]  # a shift by 3 leaves a quarter of the first
    assert move_boxes(boxes, affine_matrix(c=3), 8, 8, min_visible=min_visible)[1].tolist() == left
    assert move_boxes(boxes, affine_matrix(c=8), 8, 8, min_visible=0)[1].tolist() == [False, False]


# Mixing


@pytest.mark.parametrize("how", [Mixup(0.4), Mixup(1), CutMix(), CutMix(0.3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_mixing_by_hand(how, dtype):
    drawn = datasets.shapes(12, size=16, seed=0)
    x = drawn.x if dtype == np.uint8 else (drawn.x / 255).astype(dtype)
    y = np.eye(4)[drawn.y]
    mixed = mix(x, y, how, 5, masks=drawn.masks, boxes=drawn.boxes)
    assert mixed.x.dtype == dtype
    np.testing.assert_array_equal(mixed.x, mix(x, y, how, 5).x)
    for i, j in enumerate(mixed.partner):
        share = mixed.share[i]
        np.testing.assert_allclose(mixed.y[i], share * y[i] + (1 - share) * y[j])
        if isinstance(how, CutMix):
            pasted = (mixed.x[i] != x[i]).any(axis=0)
            assert pasted.mean() <= 1 - share + 1e-9
            np.testing.assert_array_equal(mixed.x[i][:, pasted], x[j][:, pasted])
            np.testing.assert_array_equal(mixed.masks[i][pasted], drawn.masks[j][pasted])
        else:
            exact = share * x[i].astype(float) + (1 - share) * x[j]
            np.testing.assert_allclose(mixed.x[i], exact, atol=0.5 + 1e-3 if dtype == np.uint8 else 1e-6)
            np.testing.assert_allclose(mixed.masks[i], share * drawn.masks[i] + (1 - share) * drawn.masks[j])
            np.testing.assert_array_equal(mixed.boxes[i], drawn.boxes[[i, j]])


def test_cutmix_keeps_the_boxes_that_can_be_seen():
    x, y = np.zeros((2, 1, 20, 20)), np.eye(2)
    boxes = np.array([[0, 0, 20, 20], [8, 8, 12, 12]])
    found = set()
    for seed in range(60):
        mixed = mix(x, y, CutMix(), seed, boxes=boxes, min_visible=0.5)
        if mixed.partner[0] == 1:
            found.add(tuple(mixed.kept[0]))
            for new, kept in zip(mixed.boxes, mixed.kept, strict=True):
                assert len(new) == kept.sum() and (new >= 0).all() and (new <= 20).all()
    assert found == {(True, True), (True, False), (False, True), (False, False)} - ({(False, False)} - found)


# The rooms below


@pytest.mark.parametrize("room", [warps, changes], ids=lambda room: room.__name__)
def test_all_names_of_the_rooms_below_are_this_rooms_too(room):
    names = [name for name in room.__all__ if getattr(augmentation, name, None) is not getattr(room, name)]
    assert len(room.__all__) >= 10 and names == []


# What must fail, with one clear sentence


CAT = np.zeros((2, 3, 8, 8), np.uint8)
BAD = {
    "p must be a probability from 0 to 1; got 1.1": lambda: Flip(p=1.1),
    "p must be a probability from 0 to 1; got -0.1": lambda: Noise(0.1, p=-0.1),
    "p must be a probability from 0 to 1; got nan": lambda: Noise(0.1, p=float("nan")),
    "sigma of Noise must be a number from 0 to 1, or a pair": lambda: Noise(-0.1),
    "degrees of Rotate must be a number from -360 to 360": lambda: Rotate((10, 5)),
    "degrees of Hue must be a number": lambda: Hue((1, 2, 3)),
    "factor of Scale must be a number from 0.05 to 20": lambda: Scale(float("nan")),
    "alpha of CutMix must be a number from 0.001 to 1000": lambda: CutMix(-1),
    "axis of Flip must be 'horizontal' or 'vertical'": lambda: Flip("both"),
    "fill must be one of constant, nearest, reflect, wrap; got 'zeros'": lambda: Augmenter([], fill="zeros"),
    "value must be a brightness from 0": lambda: Augmenter([], value=255),
    "steps must be records such as": lambda: Augmenter([lambda x: x]),
    "pictures must be uint8": lambda: Augmenter([])(CAT.astype(int), 0),
    "pictures must be .n, c, h, w.": lambda: Augmenter([])(CAT[0, 0], 0),
    "looks like channels last": lambda: Augmenter([])(CAT.transpose(0, 2, 3, 1), 0),
    "floats in 0..1, received 0..255; not yet divided by 255": lambda: Augmenter([Blur(1)])(
        np.float32([[[[0, 255]]]]), 0
    ),
    "expected finite values, received 16 that are NaN": lambda: Augmenter([Blur(1)])(np.full((1, 1, 4, 4), np.nan), 0),
    "Hue needs pictures with 3 channels, red, green and blue; got 1": lambda: Augmenter([Hue(9)])(CAT[:, :1], 0),
    "squeezes the picture flat": lambda: Augmenter([Shear(1, 1)])(CAT, 0),
    "box 1 .0, 0, 9, 4. must lie in the picture": lambda: Augmenter([]).apply(
        CAT[0], 0, boxes=[[0, 0, 4, 4], [0, 0, 9, 4]]
    ),
    "box 0 .4, 0, 4, 4. must lie in the picture": lambda: Augmenter([]).apply(CAT[0], 0, boxes=[[4, 0, 4, 4]]),
    "boxes must have one entry for each of the 2 pictures; got 3": lambda: Augmenter([]).apply(CAT, 0, boxes=[[]] * 3),
    "boxes must be .k, 4.": lambda: Augmenter([]).apply(CAT[0], 0, boxes=[[1, 2, 3]]),
    "masks must have the pictures' size, .8, 8.; got .8, 7.": lambda: Augmenter([]).apply(
        CAT[0], 0, masks=np.zeros((8, 7), int)
    ),
    "masks must be labels": lambda: Augmenter([]).apply(CAT, 0, masks=np.zeros((2, 8, 8))),
    "min_visible must be a share from 0 to 1; got 2": lambda: move_boxes(
        [[0, 0, 1, 1]], np.eye(3), 4, 4, min_visible=2
    ),
    "y must be shares of the classes, floats .2, classes.": lambda: mix(CAT, np.array([0, 1]), Mixup(), 0),
    "matrix must be .3, 3., or .2, 3, 3. for 2 pictures": lambda: warp(CAT, np.zeros((3, 3, 3))),
    "masks must be labels .n, h, w.": lambda: warp_masks(np.zeros(3, int), np.eye(3)),
}


@pytest.mark.parametrize("message", BAD)
def test_wrong_input_gets_one_sentence(message):
    with pytest.raises(ValueError, match=message) as caught:
        BAD[message]()
    assert "\n" not in str(caught.value) and caught.value.__cause__ is None
