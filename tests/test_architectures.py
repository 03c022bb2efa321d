"""Architectures: every one in three places (our counts, PyTorch, Keras), and small forms that train."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from cnncourse import architectures, datasets, networks, training
from cnncourse.networks import Dropout, n_macs, n_params

SMALL = {  # forms that a core computes in a moment
    "lenet5": architectures.lenet5(),
    "lenet5 of 1998": architectures.lenet5(variant="1998"),
    "alexnet": architectures.alexnet(10, 3, 1 / 16, 67),
    "alexnet of 2014": architectures.alexnet(10, 3, 1 / 16, 67, variant="2014"),
    "vgg16": architectures.vgg16(10, 3, 1 / 16, 32),
    "vgg19": architectures.vgg19(10, 1, 1 / 16, 32, batch_norm=True),
    "googlenet": architectures.googlenet(10, 3, 1 / 16, 96, auxiliary=True),
    "googlenet, normalised": architectures.googlenet(10, 3, 1 / 16, 32, batch_norm=True),
    "resnet18": architectures.resnet18(10, 3, 1 / 16, 32),
    "resnet34, plain": architectures.resnet34(10, 1, 1 / 16, 32, skip=False),
    "resnet50": architectures.resnet50(10, 3, 1 / 16, 33),
    "resnet101": architectures.resnet101(10, 3, 1 / 16, 32, variant="1.5"),
    "resnet152": architectures.resnet152(10, 3, 1 / 16, 32),
}


def moderate(net: networks.Network, seed: int) -> dict:
    "Weights whose outputs stay small through a hundred layers, with running statistics of their own."
    rng, weights = np.random.default_rng(seed), networks.initial_weights(net, seed)
    for name, value in weights.items():
        if name.endswith("running_var"):
            weights[name] = rng.uniform(0.8, 1.5, value.shape).astype(np.float32)
        elif value.ndim == 1:
            weights[name] = (value + rng.normal(0, 0.1, value.shape)).astype(np.float32)
    return weights


@pytest.mark.parametrize("name", SMALL)
def test_description_pytorch_and_keras_agree(name):
    import torch

    net = SMALL[name]
    in_torch, in_keras = networks.to_torch(net).eval(), networks.to_keras(net)
    networks.set_weights(in_keras, moderate(net, 1))
    networks.copy_weights(in_keras, in_torch)
    x = np.random.default_rng(2).random((2, *net.input_shape), np.float32)
    with torch.no_grad():
        outputs = in_torch(torch.from_numpy(x))
    expected = in_keras(x.transpose(0, 2, 3, 1), training=False)
    several = len(net.outputs) > 1
    for one, other in zip(outputs if several else [outputs], expected if several else [expected], strict=True):
        assert one.shape == (2, 10)
        scale = np.abs(other.numpy()).max()
        np.testing.assert_allclose(one.numpy() / scale, other.numpy() / scale, atol=1e-4)
    assert sum(p.numel() for p in in_torch.parameters()) == n_params(net)
    assert sum(int(np.prod(v.shape)) for v in in_keras.trainable_weights) == n_params(net)


@pytest.mark.parametrize(
    ("net", "params", "macs"),
    [
        (architectures.lenet5(), 61_706, 416_520),
        (architectures.alexnet(), 60_965_224, 724_406_816),
        (architectures.vgg16(), 138_357_544, 15_470_264_320),
        (architectures.resnet50(variant="1.5"), 25_557_032, 4_089_184_256),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_counts_are_those_of_independent_counters(net, params, macs):
    "fvcore's and ptflops' counts for the same networks, as published in many places."
    assert (n_params(net), n_macs(net)) == (params, macs)


def test_multiply_adds_are_those_that_pytorch_counts():
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    for net in SMALL.values():
        model = networks.to_torch(net).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, *net.input_shape))
        assert counter.get_total_flops() == 2 * n_macs(net), net.name


def test_lenet_of_1998_is_squashed_after_each_layer_with_weights_but_the_last():
    "LeCun and others 1998, section II.B: the result of subsampling, too, is passed through a sigmoidal function."
    net = architectures.lenet5(variant="1998")
    kinds = [node.layer.kind for node in net.nodes if not node.name.startswith("c3.")]
    weighted = [i for i, kind in enumerate(kinds) if kind in ("Conv", "Dense", "Concat")]
    assert [kinds[i + 1] for i in weighted[:-1]] == ["Activation"] * 6 and weighted[-1] == len(kinds) - 1
    assert n_params(networks.cut(net, "f6")) == 60_000


@pytest.mark.parametrize("name", ["lenet5", "vgg16", "googlenet", "resnet18"])
def test_a_small_form_learns(name):
    data = datasets.load("shapes", n_train=128, n_test=8, size=32, seed=0)
    x = data.x_train.astype(np.float32) / 255
    small = {"num_classes": len(data.classes), "width": 1 / 8, "input_size": 32}
    more = {
        "lenet5": {"in_channels": 3, "width": 1.0},
        "vgg16": {"batch_norm": True},
        "googlenet": {"batch_norm": True},
    }
    net = getattr(architectures, name)(**small | more.get(name, {}))
    net = networks.Network(
        net.name,
        net.input_shape,
        [n._replace(layer=Dropout(0.0)) if isinstance(n.layer, Dropout) else n for n in net.nodes],
    )
    history = training.fit(networks.to_torch(net, seed=0), x, data.y_train, epochs=6, batch_size=32, lr=2e-3, seed=0)
    assert history["loss"][-1] < 0.9 * np.log(len(data.classes))
