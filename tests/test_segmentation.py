"The lesson's own functions: a classifier as a map, the best map of a stride, the checkerboard, and the slow versions against the library."

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cnncourse import segmentation, training
from cnncourse.anomaly import unet
from cnncourse.layers import (
    Activation,
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    Network,
    n_params,
    to_json,
)
from cnncourse.networks import get_weights, to_keras, to_torch

RELU = Activation("relu")
CLASSIFIERS = {  # none pads inside, so that a window does not know where it stands
    "three halvings": ((1, 32, 32), [Conv(4, 5), BatchNorm(), RELU, MaxPool(2), Conv(5, 3), RELU, MaxPool(2), Flatten(), Dense(3)]),
    "two dense": ((3, 12, 12), [Conv(4, 3), RELU, AvgPool(2), Flatten(), Dense(7), RELU, Dense(2)]),
    "global": ((1, 16, 16), [Conv(4, 4, stride=4), RELU, GlobalAvgPool(), Dense(3)]),
    "no stride": ((1, 5, 5), [Conv(4, 3), Flatten(), Dense(2)]),
    "oblong": ((1, 8, 20), [Conv(3, 3, padding=0), MaxPool(2), Flatten(), Dense(3)]),
}  # fmt: skip


def map_and_windows(name, size):
    "The maps of a classifier as an fcn, and the classifier's word on the window round each block that lies inside."
    shape, layers = CLASSIFIERS[name]
    net = Network("small", shape, layers)
    model = to_torch(net, seed=1).eval()
    made = segmentation.fcn(net, get_weights(model), size)
    x = np.random.default_rng(0).normal(size=made.net.input_shape).astype(np.float32)
    segmenter = segmentation.Segmenter(
        made.net, made.weights, [f"class {i}" for i in range(made.net.shapes["larger"][0])]
    )
    maps = training.predict(segmenter.model, x[None])[0]
    steps = made.net["larger"].layer.factor
    checked = 0
    for row in range(0, x.shape[1], steps[0]):
        for column in range(0, x.shape[2], steps[1]):
            top, left = (p - (w - s) // 2 for p, w, s in zip((row, column), shape[1:], steps, strict=True))
            if min(top, left) < 0 or top + shape[1] > x.shape[1] or left + shape[2] > x.shape[2]:
                continue
            said = training.predict(model, x[None, :, top : top + shape[1], left : left + shape[2]])[0]
            block = maps[:, row : row + steps[0], column : column + steps[1]]
            assert np.allclose(block, said[:, None, None], atol=1e-4)
            checked += 1
    return maps, checked


@pytest.mark.parametrize(("name", "size"), [(n, s) for n in CLASSIFIERS for s in (48, (40, 64))])
def test_an_fcn_says_of_each_block_what_the_classifier_says_of_its_window(name, size):
    maps, checked = map_and_windows(name, size)
    assert maps.shape[1:] == ((size, size) if isinstance(size, int) else size)
    assert checked > 3


def test_an_fcn_is_refused_where_blocks_cannot_stand_in_the_middle_of_windows():
    net = Network("odd", (1, 33, 33), [Conv(4, 3), MaxPool(2), Flatten(), Dense(3)])
    weights = get_weights(to_torch(net))
    with pytest.raises(ValueError, match="larger by an even number"):
        segmentation.fcn(net, weights, 64)
    net = Network("even", (1, 32, 32), [Conv(4, 3), MaxPool(2), Flatten(), Dense(3)])
    weights = get_weights(to_torch(net))
    with pytest.raises(ValueError, match="multiples of these, not 63 and 64"):
        segmentation.fcn(net, weights, (63, 64))
    for size in (0, 2.5, (64, 64, 64)):
        with pytest.raises(ValueError, match="size should be"):
            segmentation.fcn(net, weights, size)
    with pytest.raises(ValueError, match="the weights should be those of even"):
        segmentation.fcn(net, {}, 64)


labels = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.integers(1, 4))


@given(labels)
@settings(max_examples=40, deadline=None)
def test_the_slow_versions_agree_with_the_library(drawn):
    seed, height, width, n = drawn
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, n, (2, height, width))
    assert (segmentation.slow_confusion(a, b, n) == segmentation.confusion(a, b, n)).all()
    first, second = ndimage.gaussian_filter(rng.normal(size=(2, height, width)), (0, 1, 1)) > rng.normal() / 5
    for near in (0, 1, 1.5, 3):
        slow, fast = (
            segmentation.slow_boundary_f1(first, second, near),
            segmentation.boundary_f1(first, second, tolerance=near),
        )
        assert np.isclose(slow, fast, equal_nan=True)
    for corners in (True, False):
        assert segmentation.slow_count(first, corners) == segmentation.count(first, corners=corners).n


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_no_map_of_a_stride_has_more_right_pixels_than_the_best(seed, step, n):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n, (2, 3 * step, 2 * step))
    best = segmentation.coarse(truth, step)
    blocks = best[:, ::step, ::step]
    assert (best == blocks.repeat(step, axis=1).repeat(step, axis=2)).all()
    for _ in range(5):
        other = rng.integers(0, n, blocks.shape).repeat(step, axis=1).repeat(step, axis=2)
        assert (other == truth).sum() <= (best == truth).sum()


def test_bad_maps_are_named():
    with pytest.raises(ValueError, match="multiples of 3; got shape"):
        segmentation.coarse(np.zeros((1, 6, 7), int), 3)
    with pytest.raises(ValueError, match="multiples of 0"):
        segmentation.coarse(np.zeros((1, 6, 6), int), 0)
    with pytest.raises(ValueError, match="multiples of 2 pixels; got"):
        segmentation.checkerboard(np.zeros((1, 1, 5, 4)))
    with pytest.raises(ValueError, match="of one shape"):
        segmentation.slow_confusion([0, 1], [0], 2)
    with pytest.raises(ValueError, match="from 0 to 1"):
        segmentation.slow_confusion([0, 1], [0, -1], 2)


def test_a_checkerboard_is_what_repeats_whatever_the_picture():
    rng = np.random.default_rng(0)
    noise, board = rng.normal(size=(4, 2, 64, 64)), np.indices((64, 64)).sum(axis=0) % 2 - 0.5
    assert segmentation.checkerboard(noise) < 0.05
    assert segmentation.checkerboard(np.broadcast_to(board, (1, 1, 64, 64))) == pytest.approx(1)
    shares = [segmentation.checkerboard(noise + k * board) for k in (0, 1, 4, 16)]
    assert shares == sorted(shares) and shares[-1] > 0.95
    assert segmentation.checkerboard(np.ones((1, 1, 4, 4))) == 0


def test_a_unet_has_a_head_for_each_class_and_is_as_before_without_one():
    assert segmentation.unet is unet
    net = unet((2, 16, 24), 4, 2, outputs=5, norm=True)
    assert net.shapes[net.outputs[0]] == (5, 16, 24)
    assert sum(isinstance(node.layer, BatchNorm) for node in net.nodes) == 2 * 2 + 1
    assert to_json(unet((2, 16, 24), 4, 2)) == to_json(unet((2, 16, 24), 4, 2, outputs=2, norm=False))
    assert n_params(net) - n_params(unet((2, 16, 24), 4, 2, outputs=5)) == 2 * (4 + 8 + 16 + 8 + 4)
    with pytest.raises(ValueError, match="out_channels"):
        unet((2, 16, 24), outputs=0)


def test_a_unet_with_a_head_answers_alike_in_both_frameworks():
    net = unet((1, 16, 16), 3, 2, outputs=3, norm=True)
    model, other = to_torch(net, seed=0), to_keras(net)
    from cnncourse.networks import set_weights

    set_weights(other, get_weights(model))
    x = np.random.default_rng(0).random((2, 1, 16, 16), np.float32)
    assert np.allclose(training.predict(model, x), training.predict(other, x), atol=1e-4)
