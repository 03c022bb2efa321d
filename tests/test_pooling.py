"""Pooling against PyTorch, Keras and numerical differences on random configurations."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import re
import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnncourse import pool_fast, pool_kinds, pool_windows, pooling

torch = pytest.importorskip("torch")
F = torch.nn.functional
SOME = settings(max_examples=1000, deadline=None, derandomize=True)
TOLERANCE = {np.float64: 1e-10, np.float32: 1e-4}


def close(actual, expected, dtype):
    "Equal shapes, and equal values up to the tolerance times the scale."
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert actual.dtype == dtype
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def images(data, height, width, dtype, ties=False):
    "Random maps (n, c, h, w); with `ties`, of few different values."
    n, c = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(-2, 3, (n, c, height, width)) if ties else rng.normal(size=(n, c, height, width))
    return x.astype(dtype), rng


def axis_settings(data, dilated):
    "Size, kernel size, stride, padding and dilation of one axis; often a kernel as large as the input."
    k, s = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    d = data.draw(st.integers(1, 3)) if dilated else 1
    p = data.draw(st.integers(0, k // 2))
    covers = d * (k - 1) + 1
    size = data.draw(st.one_of(st.just(max(1, covers - 2 * p)), st.integers(max(1, covers - 2 * p), covers + 8)))
    return size, k, s, p, d


dtypes = st.sampled_from([np.float64, np.float32])


@SOME
@given(st.data(), dtypes, st.booleans(), st.booleans())
def test_max_pooling_is_that_of_pytorch(data, dtype, ceil_mode, ties):
    (h, *rows), (w, *columns) = axis_settings(data, True), axis_settings(data, True)
    x, rng = images(data, h, w, dtype, ties)
    k, s, p, d = zip(rows, columns, strict=True)
    given_x = torch.from_numpy(x).requires_grad_()
    expected, places = F.max_pool2d(given_x, k, s, p, d, ceil_mode, return_indices=True)
    y, indices = pooling.max_pool2d(x, k, s, p, d, ceil_mode, return_indices=True)
    close(y, expected.detach(), dtype)
    close(pooling.max_pool2d(x, k, s, p, d, ceil_mode), expected.detach(), dtype)
    seen = np.isfinite(y)  # where a window sees only padding PyTorch names a pixel that is not there
    np.testing.assert_array_equal(indices[seen], places.numpy()[seen])
    assert (indices[~seen] == -1).all()
    if seen.all():
        dy = rng.normal(size=y.shape).astype(dtype)
        expected.backward(torch.from_numpy(dy))
        close(pooling.max_pool2d_backward(dy, x, k, s, p, d, ceil_mode), given_x.grad, dtype)


@SOME
@given(st.data(), dtypes, st.booleans(), st.booleans())
def test_average_pooling_is_that_of_pytorch(data, dtype, ceil_mode, include):
    (h, *rows), (w, *columns) = axis_settings(data, False), axis_settings(data, False)
    x, rng = images(data, h, w, dtype)
    k, s, p, _ = zip(rows, columns, strict=True)
    given_x = torch.from_numpy(x).requires_grad_()
    expected = F.avg_pool2d(given_x, k, s, p, ceil_mode, include)
    y = pooling.avg_pool2d(x, k, s, p, ceil_mode, include)
    close(y, expected.detach(), dtype)
    dy = rng.normal(size=y.shape).astype(dtype)
    expected.backward(torch.from_numpy(dy))
    close(pooling.avg_pool2d_backward(dy, x, k, s, p, ceil_mode, include), given_x.grad, dtype)


@SOME
@given(st.data(), dtypes, st.booleans(), st.sampled_from([1, 2, 3, 2.5, np.inf]))
def test_lp_pooling_is_that_of_pytorch(data, dtype, ceil_mode, power):
    (h, kh, sh, _, _), (w, kw, sw, _, _) = axis_settings(data, False), axis_settings(data, False)
    assume(h >= kh and w >= kw)
    x, rng = images(data, h, w, dtype)
    x = np.abs(x) + dtype(0.1)
    given_x = torch.from_numpy(x).requires_grad_()
    expected = F.lp_pool2d(given_x, power, (kh, kw), (sh, sw), ceil_mode)
    y = pooling.lp_pool2d(x, power, (kh, kw), (sh, sw), ceil_mode=ceil_mode)
    close(y, expected.detach(), dtype)
    if power < np.inf:
        dy = rng.normal(size=y.shape).astype(dtype)
        expected.backward(torch.from_numpy(dy))
        dx = pooling.lp_pool2d_backward(dy, x, power, (kh, kw), (sh, sw), ceil_mode=ceil_mode)
        close(dx, given_x.grad, dtype)


@pytest.mark.parametrize("kind", ["avg", "max"])
@SOME
@given(data=st.data(), dtype=dtypes)
def test_adaptive_pooling_is_that_of_pytorch(kind, data, dtype):
    h, w, oh, ow = (data.draw(st.integers(1, 12)) for _ in range(4))
    x, rng = images(data, h, w, dtype, ties=kind == "max")
    given_x = torch.from_numpy(x).requires_grad_()
    expected = getattr(F, f"adaptive_{kind}_pool2d")(given_x, (oh, ow))
    y = getattr(pooling, f"adaptive_{kind}_pool2d")(x, (oh, ow))
    close(y, expected.detach(), dtype)
    dy = rng.normal(size=y.shape).astype(dtype)
    expected.backward(torch.from_numpy(dy))
    close(getattr(pooling, f"adaptive_{kind}_pool2d_backward")(dy, x, (oh, ow)), given_x.grad, dtype)


@SOME
@given(st.data(), dtypes, st.booleans())
def test_asymmetric_padding_is_a_padded_picture(data, dtype, include):
    (h, *rows), (w, *columns) = axis_settings(data, True), axis_settings(data, True)
    x, rng = images(data, h, w, dtype)
    k, s, _, d = zip(rows, columns, strict=True)
    sides = tuple((data.draw(st.integers(0, n // 2)), data.draw(st.integers(0, n // 2))) for n in k)
    assume(all(n + sum(p) > e * (m - 1) for n, p, e, m in zip((h, w), sides, d, k, strict=True)))
    (top, bottom), (left, right) = sides
    around = (left, right, top, bottom)
    given_x = torch.from_numpy(x).requires_grad_()
    expected = F.max_pool2d(F.pad(given_x, around, value=-np.inf), k, s, 0, d)
    y = pooling.max_pool2d(x, k, s, sides, d)
    close(np.nan_to_num(y), np.nan_to_num(expected.detach().numpy()), dtype)
    if np.isfinite(y).all():
        dy = rng.normal(size=y.shape).astype(dtype)
        expected.backward(torch.from_numpy(dy))
        close(pooling.max_pool2d_backward(dy, x, k, s, sides, d), given_x.grad, dtype)
    sums, counts = (
        F.unfold(F.pad(a, around), k, d, 0, s).reshape(*x.shape[:2], k[0] * k[1], *y.shape[2:]).sum(2)
        for a in (torch.from_numpy(x), torch.ones(x.shape, dtype=torch.from_numpy(x).dtype))
    )
    expected = sums / (k[0] * k[1] if include else counts.clamp(min=1))
    close(pooling.avg_pool2d(x, k, s, sides, count_include_pad=include, dilation=d), expected, dtype)


@pytest.mark.parametrize("kind", ["max", "average"])
@SOME
@given(data=st.data(), dtype=dtypes, padding=st.sampled_from(["valid", "same"]))
def test_pooling_is_that_of_keras(kind, data, dtype, padding):
    keras, tf = pytest.importorskip("keras"), pytest.importorskip("tensorflow")
    (h, kh, sh, _, _), (w, kw, sw, _, _) = axis_settings(data, False), axis_settings(data, False)
    assume(padding == "same" or (h >= kh and w >= kw))
    x, rng = images(data, h, w, dtype, ties=kind == "max")
    with tf.GradientTape() as tape:
        variable = tf.Variable(x.transpose(0, 2, 3, 1))
        expected = getattr(keras.ops, f"{kind}_pool")(variable, (kh, kw), (sh, sw), padding)
        dy = rng.normal(size=expected.shape).astype(dtype)
        loss = tf.reduce_sum(expected * dy)
    grad = tape.gradient(loss, variable).numpy().transpose(0, 3, 1, 2)
    dy = dy.transpose(0, 3, 1, 2)
    if kind == "max":
        y = pooling.max_pool2d(x, (kh, kw), (sh, sw), padding)
        dx = pooling.max_pool2d_backward(dy, x, (kh, kw), (sh, sw), padding)
    else:
        y = pooling.avg_pool2d(x, (kh, kw), (sh, sw), padding, count_include_pad=False)
        dx = pooling.avg_pool2d_backward(dy, x, (kh, kw), (sh, sw), padding, count_include_pad=False)
    close(y, expected.numpy().transpose(0, 3, 1, 2), dtype)
    close(dx, grad, dtype)


def test_sizes_are_those_of_pytorch_on_10_000_settings():
    rng = np.random.default_rng(0)
    for _ in range(10_000):
        size, k, s, d = (int(n) for n in rng.integers(1, [40, 8, 8, 4]))
        p, ceil_mode = int(rng.integers(0, k + 1)), bool(rng.integers(2))
        try:
            expected = F.max_pool2d(torch.empty(1, 1, 1, size), (1, k), (1, s), (0, p), (1, d), ceil_mode).shape[-1]
        except RuntimeError:
            expected = None
        try:
            got = pooling.pool_output_size(size, k, s, p, d, ceil_mode)
        except ValueError:
            got = None
        assert got == expected, (size, k, s, p, d, ceil_mode)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data(), st.sampled_from(["max", "avg", "lp", "blur", "adaptive_avg", "adaptive_max", "global_avg"]))
def test_gradients_are_numerical_differences(data, kind):
    (h, *rows), (w, *columns) = axis_settings(data, kind in ("max", "avg")), axis_settings(data, kind in ("max", "avg"))
    k, s, p, d = zip(rows, columns, strict=True)
    size = data.draw(st.integers(1, 4))
    args = {
        "max": {"kernel_size": k, "stride": s, "padding": p, "dilation": d},
        "avg": {"kernel_size": k, "stride": s, "padding": p, "dilation": d},
        "lp": {"p": 2, "kernel_size": k, "stride": s, "padding": p},
        "blur": {"kernel_size": k[0], "stride": s},
    }.get(kind, {} if kind == "global_avg" else {"output_size": size})
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    x = rng.permutation(2 * h * w).reshape(1, 2, h, w) / 10 + 0.5  # no ties, and no zero under the root
    forward, backward = (getattr(pooling, f"{kind}_pool2d{end}") for end in ("", "_backward"))
    y = forward(x, **args)
    assume(np.isfinite(y).all())
    dy, dx = rng.normal(size=y.shape), np.zeros_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-5
        dx[place] = ((forward(x + step, **args) - forward(x - step, **args)) * dy).sum() / 2e-5
    np.testing.assert_allclose(backward(dy, x, **args), dx, atol=1e-6 * max(1, np.abs(dy).max()))


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_nan_and_infinities_pass_through_as_in_pytorch(special):
    rng = np.random.default_rng(0)
    for _ in range(30):
        x = rng.normal(size=(2, 2, 7, 6))
        x[rng.random(x.shape) < 0.3] = special
        tensor = torch.from_numpy(x).requires_grad_()
        for k, s, p, ceil_mode in product((2, 3), (1, 2), (0, 1), (False, True)):
            expected = F.max_pool2d(tensor, k, s, p, 1, ceil_mode, return_indices=True)
            mine = pooling.max_pool2d(x, k, s, p, 1, ceil_mode, return_indices=True)
            np.testing.assert_array_equal(mine[0], expected[0].detach())
            np.testing.assert_array_equal(mine[1], expected[1])
            mean = F.avg_pool2d(tensor, k, s, p, ceil_mode).detach()
            np.testing.assert_allclose(pooling.avg_pool2d(x, k, s, p, ceil_mode), mean, atol=1e-10)
            tensor.grad = None
            expected[0].sum().backward()
            dx = pooling.max_pool2d_backward(np.ones_like(mine[0]), x, k, s, p, 1, ceil_mode)
            np.testing.assert_array_equal(dx, tensor.grad)


def test_an_infinite_gradient_stays_with_its_pixel():
    dx = pooling.max_pool2d_backward(np.array([[[[np.inf]]]]), np.arange(4.0).reshape(1, 1, 2, 2), 2)
    np.testing.assert_array_equal(dx, [[[[0, 0], [0, np.inf]]]])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64, bool])
def test_whole_numbers_stay_exact(dtype):
    top = 1 if dtype is bool else np.iinfo(dtype).max
    x = np.array([[[[top, 0, 1], [0, 1, 0], [0, 0, 0]]]], dtype)
    y, places = pooling.max_pool2d(x, 2, 1, 1, return_indices=True)
    assert y.dtype == x.dtype
    assert y[0, 0, 0, 0] == top and y[0, 0, 3, 3] == 0
    assert places[0, 0, 0, 0] == 0
    mean = pooling.avg_pool2d(x, 3)
    assert mean.dtype == np.float64
    assert mean[0, 0, 0, 0] == (float(top) + 2) / 9


def test_half_precision_is_summed_in_single():
    x = np.full((1, 1, 8, 8), 60000, np.float16)
    assert pooling.avg_pool2d(x, 8).dtype == np.float16
    np.testing.assert_array_equal(pooling.avg_pool2d(x, 8), np.float16(60000))
    np.testing.assert_array_equal(pooling.max_pool2d(x, 8), np.float16(60000))


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_any_memory_layout_gives_the_same(name):
    pool, x = getattr(pooling, name), np.random.default_rng(0).normal(size=(3, 5, 20, 18))
    expected = pool(x, 3, 2, 1)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(pool(last, 3, 2, 1), expected)
    np.testing.assert_array_equal(pool(x[::-1, :, ::-1], 3, 2, 1), pool(x[::-1, :, ::-1].copy(), 3, 2, 1))
    frozen = x.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(pool(frozen, 3, 2, 1), expected)


def test_blocks_do_not_change_the_result(monkeypatch):
    x = np.random.default_rng(0).normal(size=(3, 4, 17, 15))
    expected = pooling.max_pool2d(x, 3, 2, 1, return_indices=True), pooling.avg_pool2d(x, 3, 2, 1)
    dy = np.random.default_rng(1).normal(size=expected[1].shape)
    gradients = [f(dy, x, 3, 2, 1) for f in (pooling.max_pool2d_backward, pooling.avg_pool2d_backward)]
    drawn = pooling.stochastic_pool2d(abs(x), 2, seed=0)
    whole = pool_fast.blocks
    for budget in (1, 40, 200, 1000):
        for room in (pool_fast, pool_kinds):
            monkeypatch.setattr(room, "blocks", lambda *a, budget=budget: whole(*a, budget=budget))
        np.testing.assert_array_equal(pooling.max_pool2d(x, 3, 2, 1, return_indices=True), expected[0])
        np.testing.assert_allclose(pooling.avg_pool2d(x, 3, 2, 1), expected[1], atol=1e-12)
        for f, gradient in zip((pooling.max_pool2d_backward, pooling.avg_pool2d_backward), gradients, strict=True):
            np.testing.assert_allclose(f(dy, x, 3, 2, 1), gradient, atol=1e-12)
        np.testing.assert_array_equal(pooling.stochastic_pool2d(abs(x), 2, seed=0), drawn)


def allocated(function):
    "Bytes held at the worst moment, beyond the result."
    tracemalloc.start()
    result = function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - sum(a.nbytes for a in (result if isinstance(result, tuple) else (result,)))


@pytest.fixture(scope="module")
def many_maps():
    "96 MiB of maps, more than a call may hold beside its output."
    return np.random.default_rng(0).random((48, 32, 128, 128), dtype=np.float32)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("max_pool2d", {"kernel_size": 3, "stride": 1, "padding": 1}),
        ("max_pool2d", {"kernel_size": 2, "return_indices": True}),
        ("avg_pool2d", {"kernel_size": 3, "stride": 1, "padding": 1}),
        ("lp_pool2d", {"p": 2, "kernel_size": 2}),
        ("stochastic_pool2d", {"kernel_size": 2, "seed": 0}),
        ("stochastic_pool2d", {"kernel_size": 2, "seed": 0, "training": False}),
        ("global_avg_pool2d", {}),
        ("adaptive_avg_pool2d", {"output_size": 7}),
        ("adaptive_max_pool2d", {"output_size": 7}),
    ],
)
def test_memory_is_the_output_and_little_more(many_maps, name, args):
    assert allocated(lambda: getattr(pooling, name)(many_maps, **args)) < 64 * 2**20


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_maps_held_channels_last_are_not_copied(many_maps, name):
    x = many_maps.reshape(48, 128, 128, 32).transpose(0, 3, 1, 2)
    assert allocated(lambda: getattr(pooling, name)(x, 2)) < 64 * 2**20


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_gradients_hold_little_more_than_the_output(many_maps, kind):
    dy = getattr(pooling, f"{kind}_pool2d")(many_maps, 2)
    assert allocated(lambda: getattr(pooling, f"{kind}_pool2d_backward")(dy, many_maps, 2)) < 64 * 2**20


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "lp_pool2d"])
@pytest.mark.parametrize(
    ("shape", "args", "message"),
    [
        ((4, 4), {}, "x must have 4 axes; got 2"),
        ((1, 4, 4), {}, "x must have 4 axes; got 3"),
        ((1, 1, 4, 4), {"kernel_size": 5}, "must fit into the padded input.*got a kernel that covers 5"),
        ((1, 1, 4, 4), {"dilation": 4}, "got a kernel that covers 5"),
        ((1, 1, 4, 4), {"kernel_size": 0}, "kernel_size must be a whole number of at least 1; got 0"),
        ((1, 1, 4, 4), {"kernel_size": 2.5}, "kernel_size must be a whole number of at least 1; got 2.5"),
        ((1, 1, 4, 4), {"kernel_size": (2, 2, 2)}, "kernel_size must be"),
        ((1, 1, 4, 4), {"stride": 0}, "stride must be a whole number of at least 1; got 0"),
        ((1, 1, 4, 4), {"stride": -2}, "stride must be a whole number of at least 1; got -2"),
        ((1, 1, 4, 4), {"dilation": 0}, "dilation must be a whole number of at least 1; got 0"),
        ((1, 1, 4, 4), {"padding": -1}, "padding must be a whole number of at least 0; got -1"),
        ((1, 1, 4, 4), {"padding": 2}, "at most half the kernel size, 2 // 2 = 1; got 2 before and 2 after"),
        (
            (1, 1, 4, 4),
            {"padding": ((0, 2), (0, 0))},
            "at most half the kernel size, 2 // 2 = 1; got 0 before and 2 after",
        ),
        ((1, 1, 4, 4), {"padding": "SAME!"}, "padding must be.*got 'SAME!'"),
        ((1, 1, 0, 4), {}, r"got shape \(1, 1, 0, 4\)"),
        ((2, 28, 28, 1), {}, r"looks like \(n, h, w, c\): try x.transpose\(0, 3, 1, 2\)"),
        ((2, 32, 32, 3), {"kernel_size": 4}, r"looks like \(n, h, w, c\)"),
    ],
)
def test_wrong_input_is_named(name, shape, args, message):
    pool = getattr(pooling, name)
    args = {"kernel_size": 2, **args, **({"p": 2} if name == "lp_pool2d" else {})}
    with pytest.raises(ValueError, match=message):
        pool(np.zeros(shape), **args)


@pytest.mark.parametrize(
    "values", [np.full((1, 1, 2, 2), "a"), np.full((1, 1, 2, 2), None), np.ones((1, 1, 2, 2)) * 1j]
)
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_only_real_numbers_are_pooled(name, values):
    with pytest.raises(ValueError, match="real numbers"):
        getattr(pooling, name)(values, 2)


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("max_pool2d", (2,)),
        ("avg_pool2d", (2,)),
        ("lp_pool2d", (2, 2)),
        ("adaptive_avg_pool2d", (2,)),
        ("adaptive_max_pool2d", (2,)),
        ("blur_pool2d", (3, 2)),
    ],
)
def test_an_empty_batch_gives_an_empty_result(name, args, n):
    y = getattr(pooling, name)(np.ones((n, 3, 4, 4), np.float32), *args)
    assert y.shape == (n, 3, 2, 2)
    assert y.dtype == np.float32
    dx = getattr(pooling, f"{name}_backward")(y, np.ones((n, 3, 4, 4), np.float32), *args)
    assert dx.shape == (n, 3, 4, 4)
    assert pooling.stochastic_pool2d(np.ones((n, 3, 4, 4)), 2, seed=0).shape == (n, 3, 2, 2)
    assert pooling.global_avg_pool2d(np.ones((n, 3, 4, 4))).shape == (n, 3)


def test_blurred_pooling_is_a_depthwise_convolution():
    rng = np.random.default_rng(0)
    for k, s in product((1, 2, 3, 4, 5, 7), (1, 2, 3)):
        x = rng.normal(size=(2, 3, 13, 12))
        pad = ((k - 1) // 2, k // 2) * 2
        kernel = torch.from_numpy(pooling.binomial_kernel(k))[None, None].repeat(3, 1, 1, 1)
        sums, weights = (
            F.conv2d(F.pad(torch.from_numpy(a), pad), kernel, stride=s, groups=3) for a in (x, np.ones_like(x))
        )
        close(pooling.blur_pool2d(x, k, s), sums / weights, np.float64)


def test_stochastic_pooling_draws_in_proportion():
    x = np.tile(np.array([[1.0, 2], [3, 4]]), (1, 1, 100, 100))
    drawn = pooling.stochastic_pool2d(x, 2, seed=0)
    shares = [(drawn == value).mean() for value in (1, 2, 3, 4)]
    np.testing.assert_allclose(shares, [0.1, 0.2, 0.3, 0.4], atol=0.025)  # five standard errors at 10,000 draws
    np.testing.assert_allclose(
        drawn.mean(), pooling.stochastic_pool2d(x, 2, seed=0, training=False)[0, 0, 0, 0], atol=0.05
    )
    assert (pooling.stochastic_pool2d(x, 2, seed=1) != drawn).any()
    dx = pooling.stochastic_pool2d_backward(np.ones_like(drawn), x, 2, seed=0)
    np.testing.assert_array_equal(pooling.avg_pool2d(dx * x, 2) * 4, drawn)
    with pytest.raises(ValueError, match="at least 0"):
        pooling.stochastic_pool2d(-x, 2, seed=0)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_spatial_dropout_whole_maps(rate):
    x = np.ones((40, 50, 6, 6), np.float32)
    for drop, independent in ((pooling.dropout, x.size), (pooling.spatial_dropout, 2000)):
        y = drop(x, rate, seed=3)
        assert y.dtype == np.float32
        kept = (y != 0).mean()
        assert abs(kept - (1 - rate)) <= 5 * np.sqrt(rate * (1 - rate) / independent)
        np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-6)
        np.testing.assert_array_equal(drop(x, rate, seed=3), y)
    assert (y.min(axis=(2, 3)) == y.max(axis=(2, 3))).all()


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, np.nan, "half", None])
def test_a_rate_that_is_no_probability_is_named(rate):
    with pytest.raises(ValueError, match="rate must be a number of at least 0 and below 1"):
        pooling.dropout(np.ones((2, 2)), rate, seed=0)


def test_heads_have_as_many_weights_as_in_pytorch():
    for shape, units in [((512, 7, 7), (64, 10)), ((3, 5, 4), (10,))]:
        for head, features in (("flatten", int(np.prod(shape))), ("global", shape[0])):
            layers = [torch.nn.Linear(a, b) for a, b in zip((features, *units), units, strict=False)]
            expected = sum(p.numel() for layer in layers for p in layer.parameters())
            assert pooling.head_params(shape, units, head) == expected


def test_vgg_pooling_halves_the_map_and_keeps_the_channels():  # W3.1
    assert pooling.max_pool2d(np.zeros((1, 64, 224, 224), np.float32), 2).shape == (1, 64, 112, 112)


# Any memory: byte orders, strides, arrays that may not be written

FORWARD = {
    "max_pool2d": lambda x: pooling.max_pool2d(x, 2, 1, 1, return_indices=True),
    "dilated max_pool2d": lambda x: pooling.max_pool2d(x, (2, 3), (2, 1), dilation=(2, 1), ceil_mode=True),
    "avg_pool2d": lambda x: pooling.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "tiles": lambda x: pooling.avg_pool2d(x, 2),
    "lp_pool2d": lambda x: pooling.lp_pool2d(x, 2, 2),
    "lp_pool2d of the largest": lambda x: pooling.lp_pool2d(x, np.inf, 3, 1),
    "global_avg_pool2d": pooling.global_avg_pool2d,
    "global_max_pool2d": lambda x: pooling.global_max_pool2d(x, keepdims=True),
    "adaptive_avg_pool2d": lambda x: pooling.adaptive_avg_pool2d(x, (4, 3)),
    "adaptive_max_pool2d": lambda x: pooling.adaptive_max_pool2d(x, (4, 3)),
    "stochastic_pool2d": lambda x: pooling.stochastic_pool2d(x, 2, seed=0),
    "expected stochastic_pool2d": lambda x: pooling.stochastic_pool2d(x, 2, seed=0, training=False),
    "blur_pool2d": pooling.blur_pool2d,
    "flatten": pooling.flatten,
    "dropout": lambda x: pooling.dropout(x, 0.5, seed=0),
    "spatial_dropout": lambda x: pooling.spatial_dropout(x, 0.5, seed=0),
    "check_activations": pool_windows.check_activations,
}
BACKWARD = {
    "max_pool2d_backward": ((3, 3), lambda dy, x: pooling.max_pool2d_backward(dy, x, 2)),
    "avg_pool2d_backward": ((3, 3), lambda dy, x: pooling.avg_pool2d_backward(dy, x, 2)),
    "lp_pool2d_backward": ((3, 3), lambda dy, x: pooling.lp_pool2d_backward(dy, x, 2, 2)),
    "global_avg_pool2d_backward": ((), lambda dy, x: pooling.global_avg_pool2d_backward(dy, x)),
    "adaptive_avg_pool2d_backward": ((4, 3), lambda dy, x: pooling.adaptive_avg_pool2d_backward(dy, x, (4, 3))),
    "adaptive_max_pool2d_backward": ((4, 3), lambda dy, x: pooling.adaptive_max_pool2d_backward(dy, x, (4, 3))),
    "stochastic_pool2d_backward": ((3, 3), lambda dy, x: pooling.stochastic_pool2d_backward(dy, x, 2, seed=0)),
    "blur_pool2d_backward": ((3, 3), lambda dy, x: pooling.blur_pool2d_backward(dy, x)),
}
NUMBERS = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]


def in_memory(array, order, form):
    "The same numbers in another order of bytes and another place in memory."
    array = array.astype(array.dtype.newbyteorder(order))
    if form == "Fortran":
        array = np.asfortranarray(array)
    elif form == "strided":
        array = np.repeat(array, 2, axis=-1)[..., ::2]
    elif form == "backwards":
        array = array[..., ::-1].copy()[..., ::-1]
    elif form == "channels last":
        array = np.moveaxis(np.moveaxis(array, 1, -1).copy(), -1, 1)
    elif form == "unaligned":
        held = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        held[...] = array
        array = held
    array.flags.writeable = form != "read-only"
    return array


def test_every_function_that_reads_maps_is_listed_and_stands_in_the_lesson():
    listed = {name.rsplit(" ", 1)[-1] for name in [*FORWARD, *BACKWARD]}
    names = [name for room in (pooling, pool_fast, pool_kinds) for name in room.__all__]
    takes_maps = {name for name in names if re.search(r"(pool2d|dropout|backward|flatten)", name)}
    assert takes_maps <= listed | {"lp_pool2d", "stochastic_pool2d"}
    assert [name for name in sorted(takes_maps) if not hasattr(pooling, name)] == []


@pytest.mark.parametrize(
    "form", ["plain", "read-only", "Fortran", "strided", "backwards", "channels last", "unaligned"]
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_are_the_same_wherever_they_lie(order, form):
    rng = np.random.default_rng(0)
    for kind, (name, pool) in product(NUMBERS, FORWARD.items()):
        x = rng.integers(0, 9, (2, 3, 6, 6)).astype(kind)
        moved = in_memory(x, order, form)
        expected, found = pool(x), pool(moved)
        pairs = zip(expected, found, strict=True) if isinstance(expected, tuple) else [(expected, found)]
        for a, b in pairs:
            assert a.dtype == b.dtype.newbyteorder("="), (name, kind)
            np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=1e-6, err_msg=f"{name} of {kind}")
        assert (moved == x).all()
    for kind, (name, (size, back)) in product(NUMBERS, BACKWARD.items()):
        x, dy = rng.integers(0, 9, (2, 3, 6, 6)).astype(kind), rng.integers(0, 9, (2, 3, *size)).astype(kind)
        dy_form = form if size else "plain"
        found = back(in_memory(dy, order, dy_form), in_memory(x, order, form))
        np.testing.assert_allclose(
            found.astype(float),
            back(dy, x).astype(float),
            rtol=1e-2 if kind == "f2" else 1e-6,
            err_msg=f"{name} of {kind}",
        )
