"""Convolution against PyTorch, Keras, numerical differences and exact integers, on random layers."""

import os
import subprocess
import sys
import tracemalloc

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # both are read when TensorFlow is imported
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # TensorFlow 2.21's oneDNN kernels abort on some of these layers

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cnncourse import convolution as cnn
from cnncourse.convolution import conv2d, conv2d_backward, conv_transpose2d

quick = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}
quick["phases"] = [Phase.generate]  # the layers are small already: a failing one needs no shrinking


def pair(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


def reach(layer):
    return [d * (k - 1) + 1 for d, k in zip(layer["dilation"], layer["kernel_size"], strict=True)]


def same(size, kernel_size, stride, dilation):
    "TensorFlow's rule, written down a second time."
    total = max((-(-size // stride) - 1) * stride + (kernel_size - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


@st.composite
def layers(draw, dilated=True):
    "A random layer: settings, shapes and a seed. Input sizes go down to the smallest that the kernel fits."
    layer = {"kernel_size": draw(pair(1, 4)), "stride": draw(pair(1, 4))}
    layer["dilation"] = draw(pair(1, 3)) if dilated else (1, 1)
    groups = layer["groups"] = draw(st.integers(1, 3))
    layer["channels"], layer["outputs"] = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    pads = (0, 0), (0, 0)
    word = layer["padding"] = draw(st.sampled_from(["numbers", "numbers", "numbers", "same", "valid", "full"]))
    if word == "numbers":
        pads = layer["padding"] = draw(st.tuples(pair(0, 3), pair(0, 3)))
    elif word == "full":
        pads = tuple((r - 1, r - 1) for r in reach(layer))
    least = [1 if word == "same" else max(1, r - sum(p)) for r, p in zip(reach(layer), pads, strict=True)]
    layer["size"] = tuple(low + draw(st.integers(0, 6)) for low in least)
    if word == "same":
        axes = zip(layer["size"], layer["kernel_size"], layer["stride"], layer["dilation"], strict=True)
        pads = tuple(same(*axis) for axis in axes)
    layer["pads"], layer["n"], layer["seed"] = pads, draw(st.integers(1, 3)), draw(st.integers(0, 2**32 - 1))
    return layer


def arrays(layer, transposed=False):
    rng = np.random.default_rng(layer["seed"])
    c, o, groups = layer["channels"], layer["outputs"], layer["groups"]
    x = rng.normal(size=(layer["n"], c, *layer["size"]))
    w = rng.normal(size=((c, o // groups) if transposed else (o, c // groups)) + layer["kernel_size"])
    return x, w, rng.normal(size=o), rng


def ours(layer):
    return {key: layer[key] for key in ("stride", "padding", "dilation", "groups")}


def agree(got, want, dtype, scale=None):
    "float64 to 1e-10, float32 to 1e-4, of the largest value."
    want = np.asarray(want, np.float64)
    assert got.dtype == dtype and got.shape == want.shape
    scale = max(1, np.abs(want).max(initial=0)) if scale is None else scale
    np.testing.assert_allclose(got, want, rtol=0, atol=scale * {np.float64: 1e-10, np.float32: 1e-4}[dtype])


def torch_conv(x, w, b, layer):
    (top, bottom), (left, right) = layer["pads"]
    padded = torch.nn.functional.pad(x, (left, right, top, bottom))
    more = {key: layer[key] for key in ("stride", "dilation", "groups")}
    return torch.nn.functional.conv2d(padded, w, b, **more)


def torch_transpose(x, w, b, layer):
    more = {key: layer[key] for key in ("stride", "padding", "output_padding", "dilation", "groups")}
    return torch.nn.functional.conv_transpose2d(x, w, b, **more)


@settings(max_examples=1000, **quick)
@given(layers())
def test_conv2d_agrees_with_pytorch(layer):
    for dtype in (np.float64, np.float32):
        x, w, b, rng = arrays(layer)
        x, w, b = (a.astype(dtype) for a in (x, w, b))
        tensors = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
        want = torch_conv(*tensors, layer)
        y = conv2d(x, w, b, **ours(layer))
        agree(y, want.detach(), dtype)
        dy = rng.normal(size=y.shape).astype(dtype)
        want.backward(torch.tensor(dy))
        for got, tensor in zip(conv2d_backward(dy, x, w, **ours(layer)), tensors, strict=True):
            agree(got, tensor.grad, dtype)


@st.composite
def transposed_layers(draw, dilated=True):
    layer = draw(layers(dilated))
    limits = [max(s, d) - 1 for s, d in zip(layer["stride"], layer["dilation"], strict=True)]
    layer["output_padding"] = tuple(draw(st.integers(0, limit)) for limit in limits)
    whole = [(n - 1) * s + r for n, s, r in zip(layer["size"], layer["stride"], reach(layer), strict=True)]
    layer["padding"] = tuple(draw(st.integers(0, min(3, (w - 1) // 2))) for w in whole)
    return layer


@settings(max_examples=1000, **quick)
@given(transposed_layers())
def test_conv_transpose2d_agrees_with_pytorch(layer):
    for dtype in (np.float64, np.float32):
        x, w, b, rng = arrays(layer, transposed=True)
        x, w, b = (a.astype(dtype) for a in (x, w, b))
        tensors = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
        want = torch_transpose(*tensors, layer)
        more = ours(layer)
        y = conv_transpose2d(x, w, b, output_padding=layer["output_padding"], **more)
        agree(y, want.detach(), dtype)
        dy = rng.normal(size=y.shape).astype(dtype)
        want.backward(torch.tensor(dy))
        # Its gradients are a convolution's, of dy with w, and with x in the place of dy. An output_padding of a stride or
        # more gives that convolution more places than x has: they are left out here, and zero there.
        back = conv2d(dy, w, **more)
        here = (..., slice(x.shape[2]), slice(x.shape[3]))
        agree(back[here], tensors[0].grad, dtype)
        back[...] = 0
        back[here] = x
        agree(conv2d_backward(back, dy, w, **more)[1], tensors[1].grad, dtype)


def nhwc(a):
    return tf.constant(a.transpose(0, 2, 3, 1))


def hwio(w):
    return tf.constant(w.transpose(2, 3, 1, 0))


def grouped(x, w, groups, more):
    "Keras compiles each grouped convolution for half a second; a group after the other is the same sum."
    pieces = zip(keras.ops.split(x, groups, axis=3), keras.ops.split(w, groups, axis=3), strict=True)
    return keras.ops.concatenate([keras.ops.conv(*piece, **more) for piece in pieces], axis=3)


@st.composite
def keras_layers(draw):
    "TensorFlow refuses a stride and a dilation together, so one of them is 1. Numbers are padded by `keras.ops.pad`."
    layer = draw(layers())
    layer["dilation" if draw(st.booleans()) else "stride"] = (1, 1)
    if layer["padding"] == "full":
        layer["pads"] = tuple((r - 1, r - 1) for r in reach(layer))
    if layer["padding"] == "valid":  # a dilation that became 1 only makes the kernel smaller, so it still fits
        layer["pads"] = (0, 0), (0, 0)
    return layer


@settings(max_examples=1000, **quick)
@given(keras_layers())
def test_conv2d_agrees_with_keras(layer):
    for dtype in (np.float64, np.float32):
        x, w, b, rng = arrays(layer)
        x, w, b = (a.astype(dtype) for a in (x, w, b))
        tensors = nhwc(x), hwio(w), tf.constant(b)
        more = {"strides": layer["stride"], "dilation_rate": layer["dilation"], "data_format": "channels_last"}
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            seen = tensors[0]
            if layer["padding"] not in ("same", "valid"):
                seen = keras.ops.pad(seen, ((0, 0), *layer["pads"], (0, 0)))
            more["padding"] = "same" if layer["padding"] == "same" else "valid"
            want = grouped(seen, tensors[1], layer["groups"], more) + tensors[2]
        y = conv2d(x, w, b, **ours(layer))
        agree(y, want.numpy().transpose(0, 3, 1, 2), dtype)
        dy = rng.normal(size=y.shape).astype(dtype)
        dx, dw, db = tape.gradient(want, tensors, nhwc(dy))
        got = conv2d_backward(dy, x, w, **ours(layer))
        agree(got[0], dx.numpy().transpose(0, 3, 1, 2), dtype)
        agree(got[1], dw.numpy().transpose(3, 2, 0, 1), dtype)
        agree(got[2], db.numpy(), dtype)


@pytest.mark.parametrize("groups, stride, word", [(2, 1, "same"), (3, 2, "valid"), (6, (2, 1), "same")])
def test_grouped_conv2d_agrees_with_keras(groups, stride, word):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 6, 9, 8)), rng.normal(size=(6, 6 // groups, 3, 2))
    want = keras.ops.conv(nhwc(x), hwio(w), strides=stride, padding=word, data_format="channels_last")
    agree(conv2d(x, w, stride=stride, padding=word, groups=groups), want.numpy().transpose(0, 3, 1, 2), np.float64)


@settings(max_examples=1000, **quick)
@given(layers(dilated=False), st.sampled_from(["same", "valid"]))
def test_conv_transpose2d_agrees_with_keras(layer, word):
    """Keras grows a map to `n * stride`, or to `n * stride + max(kernel - stride, 0)` when "valid": said here with numbers.

    TensorFlow's CPU version has no dilation and no groups here, so both are 1."""
    layer["groups"] = 1
    excess = [k - s for k, s in zip(layer["kernel_size"], layer["stride"], strict=True)]
    pads = tuple((max(e, 0) // 2, max(e, 0) - max(e, 0) // 2) if word == "same" else (0, 0) for e in excess)
    extra = tuple(max(-e, 0) for e in excess)
    for dtype in (np.float64, np.float32):
        x, w, b, rng = arrays(layer, transposed=True)
        x, w, b = (a.astype(dtype) for a in (x, w, b))
        tensors = nhwc(x), hwio(w), tf.constant(b)  # (kh, kw, out, c)
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            want = keras.ops.conv_transpose(
                tensors[0], tensors[1], strides=layer["stride"], padding=word, data_format="channels_last"
            )
            want = want + tensors[2]
        y = conv_transpose2d(x, w, b, stride=layer["stride"], padding=pads, output_padding=extra)
        agree(y, want.numpy().transpose(0, 3, 1, 2), dtype)
        dy = rng.normal(size=y.shape).astype(dtype)
        dx, dw, _ = tape.gradient(want, tensors, nhwc(dy))
        more = {"stride": layer["stride"], "padding": pads}
        agree(conv2d(dy, w, **more), dx.numpy().transpose(0, 3, 1, 2), dtype)
        agree(conv2d_backward(x, dy, w, **more)[1], dw.numpy().transpose(3, 2, 0, 1), dtype)


def test_sizes_agree_with_pytorch_and_keras():
    from keras.src.ops.operation_utils import compute_conv_output_shape

    rng = np.random.default_rng(0)
    for _ in range(10_000):
        kernel_size, stride, dilation, padding = (int(v) for v in rng.integers((1, 1, 1, 0), (8, 6, 5, 6)))
        covers = dilation * (kernel_size - 1) + 1
        size = max(1, covers - 2 * padding) + int(rng.integers(0, 40))
        x, w = torch.empty(1, 1, size, device="meta"), torch.empty(1, 1, kernel_size, device="meta")
        want = torch.nn.functional.conv1d(x, w, stride=stride, padding=padding, dilation=dilation).shape[2]
        assert cnn.conv_output_size(size, kernel_size, stride, padding, dilation) == want
        more = rng.integers(0, max(stride, dilation))
        up = (size - 1) * stride + covers - 2 * padding + more
        if up > 0:
            want = torch.nn.functional.conv_transpose1d(
                x, w, stride=stride, padding=padding, output_padding=int(more), dilation=dilation
            ).shape[2]
            assert cnn.conv_transpose_output_size(size, kernel_size, stride, padding, int(more), dilation) == want
        for word in ("same", "valid"):
            if word == "same" or size >= covers:
                shapes = (1, size, 1), 1, (kernel_size,), (stride,)
                want = compute_conv_output_shape(*shapes, word, "channels_last", (dilation,))[1]
                assert cnn.conv_output_size(size, kernel_size, stride, word, dilation) == want


def random_arrays(layer, dtype):
    x, w, b, _ = arrays(layer)
    return [(np.round(20 * a) if dtype == np.int64 else a).astype(dtype) for a in (x, w, b)]


@settings(max_examples=300, **quick)
@given(layers(), st.sampled_from([np.float64, np.float32, np.int64]))
def test_every_method_gives_the_same(layer, dtype):
    x, w, b = random_arrays(layer, dtype)
    want = conv2d(x, w, b, method="loops", **ours(layer))
    for method in ("taps", "im2col", "fft", "auto"):
        y = conv2d(x, w, b, method=method, **ours(layer))
        if dtype == np.int64:
            assert y.dtype == np.int64
            np.testing.assert_array_equal(y, want)
        else:
            agree(y, want, dtype)


@settings(max_examples=200, **quick)
@given(layers(), st.sampled_from([np.float64, np.float32, np.int64]))
def test_winograd_gives_the_same(layer, dtype):
    layer |= {"kernel_size": (3, 3), "stride": (1, 1), "dilation": (1, 1), "padding": layer["pads"]}
    layer["size"] = tuple(size + 3 for size in layer["size"])
    x, w, b = random_arrays(layer, dtype)
    want = conv2d(x, w, b, method="taps", **ours(layer))
    y = conv2d(x, w, b, method="winograd", **ours(layer))
    np.testing.assert_array_equal(y, want) if dtype == np.int64 else agree(y, want, dtype)


BENCHED = [  # n, c, size, out, kernel_size, stride, padding, groups
    (3, 1, 28, 6, 5, 1, 2, 1),
    (3, 6, 14, 16, 5, 1, 0, 1),
    (2, 64, 56, 64, 3, 1, 1, 1),
    (2, 128, 28, 128, 3, 1, 1, 1),
    (2, 128, 57, 128, 3, 2, 0, 1),
    (2, 3, 227, 96, 11, 4, 0, 1),
    (2, 256, 28, 256, 1, 1, 0, 1),
    (2, 64, 30, 64, 3, 1, 1, 2),
    (2, 32, 30, 32, 3, 1, 1, 32),
    (1, 2, 80, 3, 33, 1, 16, 1),
    (2, 16, 9, 40, 7, 1, 0, 1),
]


@pytest.mark.parametrize("n, c, size, out, kernel_size, stride, padding, groups", BENCHED)
def test_shapes_of_known_networks_agree_with_pytorch(n, c, size, out, kernel_size, stride, padding, groups):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(n, c, size, size)), rng.normal(size=(out, c // groups, kernel_size, kernel_size))
    more = {"stride": stride, "padding": padding, "groups": groups}
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, w)]
    want = torch.nn.functional.conv2d(*tensors, **more)
    dy = rng.normal(size=want.shape)
    want.backward(torch.tensor(dy))
    for dtype in (np.float64, np.float32):
        arrays_ = [a.astype(dtype) for a in (dy, x, w)]
        agree(conv2d(*arrays_[1:], **more), want.detach(), dtype)
        dx, dw, db = conv2d_backward(*arrays_, **more)
        agree(dx, tensors[0].grad, dtype)
        agree(dw, tensors[1].grad, dtype)
        agree(db, dy.sum((0, 2, 3)), dtype)


TORCH_MODES = {"reflect": "reflect", "replicate": "replicate", "circular": "circular", "constant": "constant"}


@settings(max_examples=200, **quick)
@given(layers(), st.sampled_from(list(TORCH_MODES)), st.sampled_from([0.0, 1.0, -2.5]))
def test_pad_modes_agree_with_pytorch(layer, mode, value):
    least = max(map(max, layer["pads"])) + 1  # a mirror needs more pixels than it adds
    layer["size"] = tuple(size + least for size in layer["size"])
    if layer["padding"] == "same":
        layer["padding"] = layer["pads"]
    x, w, b, _ = arrays(layer)
    (top, bottom), (left, right) = layer["pads"]
    fill = {"value": value} if mode == "constant" else {}
    padded = torch.nn.functional.pad(torch.tensor(x), (left, right, top, bottom), mode=TORCH_MODES[mode], **fill)
    more = {key: layer[key] for key in ("stride", "dilation", "groups")}
    want = torch.nn.functional.conv2d(padded, torch.tensor(w), torch.tensor(b), **more)
    ways = {"pad_mode": mode, "pad_value": value if mode == "constant" else 0}
    agree(conv2d(x, w, b, **ways, **ours(layer)), want, np.float64)


@settings(max_examples=100, **quick)
@given(layers())
def test_gradients_agree_with_numerical_differences(layer):
    x, w, b, rng = arrays(layer)
    more = ours(layer)
    dy = rng.normal(size=conv2d(x, w, b, **more).shape)
    gradients = conv2d_backward(dy, x, w, **more)
    for which, gradient in enumerate(gradients):
        ahead, back = [x, w, b], [x, w, b]
        step = rng.normal(size=gradient.shape)
        ahead[which], back[which] = ahead[which] + 1e-4 * step, back[which] - 1e-4 * step
        change = ((conv2d(*ahead, **more) - conv2d(*back, **more)) * dy).sum() / 2e-4
        assert change == pytest.approx((gradient * step).sum(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("largest", [2**3, 2**20, 2**28])
@pytest.mark.parametrize("method", ["loops", "taps", "im2col", "fft", "winograd", "auto"])
def test_whole_numbers_are_exact(largest, method):
    "Python's own whole numbers have no limit: NumPy's object arrays compute with them."
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-largest, largest, size) for size in ((2, 3, 9, 8), (4, 3, 3, 3)))
    view = cnn.windows(x, 3).astype(object)
    want = np.einsum("ncyxij,ocij->noyx", view, w.astype(object))
    y = conv2d(x, w, method=method)
    assert y.dtype == np.int64 and (y == want).all()
    dy = rng.integers(-largest, largest, y.shape)
    dx, dw, db = conv2d_backward(dy, x, w)
    assert dx.dtype == dw.dtype == db.dtype == np.int64
    assert (dw == np.einsum("ncyxij,noyx->ocij", view, dy.astype(object))).all()
    assert (dx == conv_transpose2d(dy, w)).all()
    assert (db == dy.sum((0, 2, 3))).all()
    want = np.zeros(x.shape, object)
    for i, j in np.ndindex(3, 3):
        want[:, :, i : i + 7, j : j + 6] += np.einsum("noyx,oc->ncyx", dy.astype(object), w[:, :, i, j].astype(object))
    assert (dx == want).all()


@pytest.mark.parametrize("kinds", [("uint8", "int8"), ("bool", "int16"), ("uint64", "int64")])
def test_small_integer_types_do_not_overflow(kinds):
    x, w = np.ones((1, 20, 5, 5), kinds[0]), np.full((1, 20, 3, 3), -100, kinds[1])
    y = conv2d(x * 255 if kinds[0] == "uint8" else x, w)
    assert y.dtype == np.int64 and (y == -100 * 9 * 20 * (255 if kinds[0] == "uint8" else 1)).all()


def test_float16_stays_float16_and_sums_in_float32():
    x, w = np.full((1, 64, 9, 9), 1 / 3, np.float16), np.full((64, 64, 3, 3), 1 / 3, np.float16)
    for y in (conv2d(x, w), conv_transpose2d(x, w), *conv2d_backward(conv2d(x, w), x, w)):
        assert y.dtype == np.float16
    assert conv2d(x, w)[0, 0, 0, 0] == np.float16(576 * float(x[0, 0, 0, 0]) ** 2)


@pytest.mark.parametrize("where, value", [("x", np.nan), ("x", np.inf), ("x", -np.inf), ("w", np.nan), ("w", np.inf)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity_pass_through_as_in_pytorch(where, value, dtype):
    rng = np.random.default_rng(0)
    for settings_ in ({}, {"padding": 1}, {"padding": 1, "stride": 2}, {"dilation": 2}):
        x, w = rng.normal(size=(2, 16, 9, 9)).astype(dtype), rng.normal(size=(16, 16, 3, 3)).astype(dtype)
        {"x": x[0, 1], "w": w[3, 1]}[where][2, 2] = value
        # A kernel's NaN times the zeros of the padding: PyTorch's own answer depends on which of its methods runs.
        # In float64 it is the sum's, as ours is.
        theirs = dtype if where == "x" else np.float64
        tensors = [torch.tensor(a.astype(theirs), requires_grad=True) for a in (x, w)]
        want = torch.nn.functional.conv2d(*tensors, **settings_)
        dy = rng.normal(size=want.shape).astype(dtype)
        want.backward(torch.tensor(dy.astype(theirs)))
        pairs = [(conv2d(x, w, **settings_), want.detach())]
        pairs += zip(conv2d_backward(dy, x, w, **settings_)[:2], (t.grad for t in tensors), strict=True)
        for method in ("im2col", "fft") + (("winograd",) if settings_ in ({}, {"padding": 1}) else ()):
            pairs.append((conv2d(x, w, method=method, **settings_), want.detach()))
        up = torch.nn.functional.conv_transpose2d(*(t.detach() for t in tensors), **settings_)
        pairs.append((conv_transpose2d(x, w, **settings_), up))
        for got, wanted in pairs:
            np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3)  # NaN equals NaN, inf equals inf


def test_an_empty_batch_gives_an_empty_result():
    x, w = np.zeros((0, 2, 5, 5), np.float32), np.ones((3, 2, 3, 3), np.float32)
    for method in ("auto", "loops", "taps", "im2col", "fft", "winograd"):
        assert conv2d(x, w, method=method).shape == (0, 3, 3, 3)
    dx, dw, db = conv2d_backward(np.zeros((0, 3, 3, 3), np.float32), x, w)
    assert dx.shape == x.shape and (dw == np.zeros(w.shape)).all() and (db == np.zeros(3)).all()
    assert conv_transpose2d(np.zeros((0, 3, 5, 5)), w).shape == (0, 2, 7, 7)


def test_inputs_are_left_alone_and_views_are_welcome():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 9, 10, 16)), rng.normal(size=(32, 16, 3, 3))
    view, kept = x.transpose(0, 3, 1, 2)[:, :, ::-1, 1::2], (x.copy(), w.copy())
    want = conv2d(view.copy(), w, padding=1)
    for method in ("auto", "taps", "im2col", "fft", "winograd"):
        agree(conv2d(view, w, padding=1, method=method), want, np.float64)
    conv2d_backward(want, view, w, padding=1)
    conv_transpose2d(view, w.swapaxes(0, 1))
    assert (x == kept[0]).all() and (w == kept[1]).all()


def peak(call, *args, **kwargs) -> int:
    "Bytes allocated at the worst moment, beyond what the call gives back."
    tracemalloc.start()
    result = call(*args, **kwargs)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most - sum(a.nbytes for a in (result if isinstance(result, tuple) else (result,)))


@pytest.mark.parametrize("method", ["taps", "im2col", "winograd", "fft"])
def test_a_call_needs_64_mib_beyond_its_result_whatever_the_batch(method):
    x, w = np.zeros((96, 64, 64, 64), np.float32), np.zeros((64, 64, 3, 3), np.float32)
    if method == "fft":
        x = x[:, :2]
        w = w[:, :2]
    for part in (x[:8], x):
        assert peak(conv2d, part, w, padding=1, method=method) < 64 * 2**20


def test_so_do_the_other_calls():
    x, w = np.zeros((96, 64, 64, 64), np.float16), np.zeros((64, 64, 3, 3), np.float16)
    assert peak(conv2d, x, w, padding=1, pad_mode="reflect") < 64 * 2**20
    assert peak(conv2d_backward, x, x, w, padding=1) < 64 * 2**20
    assert peak(conv_transpose2d, x, w, padding=1) < 64 * 2**20
    large = np.zeros((1, 64, 224, 224), np.float32)
    assert peak(conv2d, large, w.astype(np.float32), padding=1) < 64 * 2**20


@pytest.mark.parametrize(
    "kernel_size, stride, dilation", [((2, 3), (1, 2), (2, 1)), ((3, 1), (3, 1), (1, 4)), (2, (2, 3), 1)]
)
def test_windows_are_cut_out_one_by_one(kernel_size, stride, dilation):
    x = np.arange(2 * 9 * 11).reshape(2, 9, 11)
    (kh, kw), (sh, sw), (dh, dw) = (cnn.as_pair(v, "v") for v in (kernel_size, stride, dilation))
    view = cnn.windows(x, kernel_size, stride, dilation)
    assert view.shape[1:3] == cnn.conv_geometry((9, 11), kernel_size, stride, 0, dilation).out
    for r, c in np.ndindex(view.shape[1:3]):
        want = x[:, r * sh : r * sh + dh * kh : dh, c * sw : c * sw + dw * kw : dw]
        assert (view[:, r, c] == want).all()


@settings(max_examples=100, **quick)
@given(layers())
def test_visit_counts_are_the_gradient_of_a_kernel_of_ones(layer):
    more = {key: layer[key] for key in ("stride", "padding", "dilation")}
    x, w = np.zeros((1, 1, *layer["size"]), int), np.ones((1, 1, *layer["kernel_size"]), int)
    dy = np.ones((1, 1, *cnn.conv_geometry(layer["size"], layer["kernel_size"], **more).out), int)
    counts = cnn.visit_counts(layer["size"], layer["kernel_size"], **more)
    assert (counts == conv2d_backward(dy, x, w, **more)[0][0, 0]).all()
    rows, columns = (
        cnn.unread(*(layer[key][axis] for key in ("size", "kernel_size", "stride", "pads", "dilation")))
        for axis in (0, 1)
    )
    unread = np.zeros(counts.shape, bool)
    unread[rows], unread[:, columns] = True, True
    assert ((counts == 0) == unread).all()


@pytest.mark.parametrize("jump, stride, want", [(2, 2, 1), (3, 2, 1.5), (1, 2, 0.5), (4, 3, 4 / 3)])
def test_a_transposed_layer_divides_the_jump(jump, stride, want):
    field = cnn.ReceptiveField(5, jump, 2.0).through_transposed(3, stride)
    assert field.jump == want and isinstance(field.jump, int) == (jump % stride == 0)


def layer_of(x_shape=(1, 1, 5, 5), w_shape=(1, 1, 3, 3), **settings_):
    return lambda: conv2d(np.ones(x_shape), np.ones(w_shape), **settings_)


BAD = {
    "x must have 4 axes; got 3": layer_of((1, 5, 5)),
    "w must have 4 axes; got 2": layer_of(w_shape=(3, 3)),
    "got shape (1, 1, 0, 5)": layer_of((1, 1, 0, 5)),
    "5 + 0 + 0 pixels; got a kernel that covers 6": layer_of(w_shape=(1, 1, 6, 3)),
    "stride must be a whole number of at least 1; got 0": layer_of(stride=0),
    "stride must be a whole number of at least 1; got -1": layer_of(stride=(1, -1)),
    "stride must be a whole number of at least 1; got 1.5": layer_of(stride=1.5),
    "dilation must be a whole number of at least 1; got 0": layer_of(dilation=0),
    "padding must be a whole number of at least 0; got -1": layer_of(padding=-1),
    "padding must be numbers, 'valid', 'same' or 'full'; got 'SAME'": layer_of(padding="SAME"),
    "groups must be a whole number of at least 1; got 0": layer_of(groups=0),
    "groups must divide the channels; got groups=2, 1 in and 1 out": layer_of(groups=2),
    "as x is (1, 5, 5, 3) and groups=1; got (1, 3, 3, 3); x looks channels-last": layer_of((1, 5, 5, 3), (1, 3, 3, 3)),
    "b must hold one number for each of 1 kernels; got 2": layer_of(b=[1, 2]),
    "b must have 1 axes; got 0": layer_of(b=1),
    "got 'direct'": layer_of(method="direct"),
    "wants 3x3 kernels, stride 1, dilation 1": layer_of(method="winograd", stride=2),
    "got dtype object": lambda: conv2d(np.ones((1, 1, 5, 5), object), np.ones((1, 1, 3, 3))),
    "got dtype <U1": lambda: conv2d(np.full((1, 1, 5, 5), "a"), np.ones((1, 1, 3, 3))),
    "got dtype complex128": lambda: conv2d(np.ones((1, 1, 5, 5), complex), np.ones((1, 1, 3, 3))),
    "rows of unequal length": lambda: conv2d([[1], [1, 2]], np.ones((1, 1, 3, 3))),
    "got factors that can reach": lambda: conv2d(np.full((1, 1, 5, 5), 2**40), np.full((1, 1, 3, 3), 2**30)),
    "dy must have the output's shape (1, 1, 3, 3); got (1, 1, 3, 2)": lambda: conv2d_backward(
        np.ones((1, 1, 3, 2)), np.ones((1, 1, 5, 5)), np.ones((1, 1, 3, 3))
    ),
    "numbers or 'valid'; got 'same'": lambda: conv_transpose2d(
        np.ones((1, 1, 5, 5)), np.ones((1, 1, 3, 3)), padding="same"
    ),
}


@pytest.mark.parametrize("says", BAD)
def test_bad_input_is_refused_with_what_was_wanted_and_what_came(says):
    with pytest.raises(ValueError) as error:
        BAD[says]()
    assert says in str(error.value)


def test_the_import_is_light():
    "Under 0.3 s beyond NumPy and Python themselves, and without the frameworks."
    code = "import time, numpy; t = time.perf_counter(); import cnncourse.convolution, sys; "
    code += "print(time.perf_counter() - t, *{'torch', 'tensorflow', 'scipy', 'matplotlib'} & set(sys.modules))"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    words = [run.stdout.split() for run in runs]
    assert min(float(word[0]) for word in words) < 0.3
    assert all(len(word) == 1 for word in words)
