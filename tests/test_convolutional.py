"""A classifier made of convolutions says of each window what the classifier says, in both frameworks; what cannot slide is named."""

import numpy as np
import pytest

from cnncourse.convolutional import convolutional, window_boxes
from cnncourse.layers import (
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    MaxPool,
    Network,
    Pad,
    Reshape,
    at_size,
    initial_weights,
)
from cnncourse.networks import get_weights, set_weights, to_keras, to_torch

NETS = {
    "flat": [Conv(4, 3), MaxPool(2), Conv(5, 3), Flatten(), Dense(6), Activation("relu"), Dense(3)],
    "flat by pixels": [Conv(4, 3, 2), Flatten("hwc"), Dense(6), BatchNorm(), Activation("relu"), Dropout(0.5), Dense(3)],
    "mean of maps": [Conv(4, 3, (1, 2)), Activation("relu"), Conv(5, 3), GlobalAvgPool(), Dense(3)],
    "largest of maps": [Conv(4, 3), MaxPool(3, 2), GlobalMaxPool(keepdims=True), Conv(3, 1)],
    "softmax": [Conv(4, 5, 3), Flatten(), Dense(4), Activation("softmax")],
    "no bias": [Conv(4, 3, bias=False), MaxPool(2), Flatten(), Dense(3, bias=False)],
    "two ways": [
        ("a", Conv(4, 3)), ("b", Conv(4, 3, padding=1), "a"), ("s", Add(), ("a", "b")), ("c", Pad(-1)), ("g", GlobalAvgPool()),
        ("d", Dense(4)), ("e", Dense(4), "g"), ("j", Add(), ("d", "e")), ("o", Dense(3)),
    ],
}  # fmt: skip
INSIDE = [name for name in NETS if name != "two ways"]  # with no padding inside


def answers(net, weights, x, framework):
    model = (to_torch if framework == "torch" else to_keras)(net)
    set_weights(model, weights)
    if framework == "torch":
        import torch

        with torch.no_grad():
            return model.eval()(torch.from_numpy(np.ascontiguousarray(x))).numpy()
    out = np.asarray(model(np.moveaxis(x, 1, -1), training=False))
    return np.moveaxis(out, -1, 1)


def random_weights(net):
    rng = np.random.default_rng(0)
    return {
        name: np.abs(rng.normal(size=a.shape)).astype(np.float32)
        if name.endswith("var")
        else a + 0.1 * rng.normal(size=a.shape).astype(np.float32)
        for name, a in initial_weights(net, 0).items()
    }


@pytest.mark.parametrize("framework", ["torch", "keras"])
@pytest.mark.parametrize("name", INSIDE)
def test_each_window_gets_the_answer_of_the_classifier(name, framework):
    net = Network("net", (2, 14, 17), NETS[name])
    weights = random_weights(net)
    anywhere = convolutional(net, weights)
    picture = np.random.default_rng(1).normal(size=(2, 25, 31)).astype(np.float32)
    boxes = window_boxes(anywhere.net, (25, 31)).astype(int)
    assert len(boxes) > 9 and (boxes.min(axis=0) >= 0).all() and (boxes[:, 2:].max(axis=0) <= [33, 27]).all()
    beyond = np.pad(picture, ((0, 0), (0, 2), (0, 2)), constant_values=99)  # where pixels that no window reads may lie
    wanted = answers(net, weights, np.stack([beyond[:, y1:y2, x1:x2] for x1, y1, x2, y2 in boxes]), framework)
    found = answers(at_size(anywhere.net, (25, 31)), anywhere.weights, picture[None], framework)[0]
    assert np.allclose(found.reshape(len(found), -1).T, wanted.reshape(len(boxes), -1), atol=2e-4)


@pytest.mark.parametrize("name", NETS)
def test_a_picture_of_the_old_size_gets_the_old_answer(name):
    net = Network("net", (2, 14, 17), NETS[name])
    weights, x = random_weights(net), np.random.default_rng(1).normal(size=(3, 2, 14, 17)).astype(np.float32)
    anywhere = convolutional(net, weights)
    found, wanted = answers(anywhere.net, anywhere.weights, x, "torch"), answers(net, weights, x, "torch")
    assert found.shape == (*wanted.shape[:2], 1, 1) and np.allclose(
        found.reshape(wanted.shape[:2]), wanted.reshape(3, -1), atol=1e-4
    )


def test_weights_come_from_a_model_of_either_framework():
    net = Network("net", (2, 14, 17), NETS["flat"])
    first, second = to_torch(net, seed=0), to_keras(net, seed=0)
    pairs = zip(*(convolutional(net, get_weights(model)).weights.items() for model in (first, second)), strict=True)
    assert all(a[0] == b[0] and np.allclose(a[1], b[1]) for a, b in pairs)


REFUSED = {
    "group norm": ([Conv(4, 3), GroupNorm(groups=2), GlobalAvgPool(), Dense(3)], "looks at a whole picture at once"),
    "reshape": ([Flatten(), Dense(8), Reshape((2, 2, 2))], "looks at a whole picture at once"),
    "an activation of a flat row": ([Conv(2, 3), Flatten(), Activation("relu"), Dense(3)], "reads a flat row"),
    "a flat end": ([Conv(2, 3), Flatten()], "ends in a flat row"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_slide_is_named(case):
    layers, said = REFUSED[case]
    net = Network("net", (1, 6, 6), layers)
    with pytest.raises(ValueError, match=said):
        convolutional(net, initial_weights(net, 0))


def test_weights_of_another_network_are_refused():
    net = Network("net", (2, 14, 17), NETS["flat"])
    with pytest.raises(ValueError, match="should be those of net"):
        convolutional(net, initial_weights(Network("other", (1, 14, 17), NETS["flat"]), 0))


def test_a_picture_smaller_than_the_window_is_refused():
    net = Network("net", (2, 14, 17), NETS["flat"])
    with pytest.raises(ValueError, match="does not fit"):
        window_boxes(convolutional(net, initial_weights(net, 0)).net, (8, 8))
