"""Networks: random graphs in three places (our arithmetic, PyTorch, Keras), weights both ways, and what wrong input gets."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnncourse import networks
from cnncourse.networks import (
    ACTIVATIONS,
    LAYERS,
    Activation,
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LocalResponseNorm,
    MaxPool,
    Network,
    Reshape,
    Select,
    Upsample,
)

few = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


# Random networks


@st.composite
def sides(draw, most):
    "Padding in one of its forms."
    number = st.integers(0, most)
    forms = [number, st.tuples(number, number), st.tuples(st.tuples(number, number), st.tuples(number, number))]
    return draw(st.one_of(*forms, st.sampled_from(["valid", "same"])))


@st.composite
def map_layers(draw, channels):
    "A layer from maps to maps."
    kernel_size = draw(st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3))))
    stride = draw(st.integers(1, 2))
    pads = draw(sides(1 if np.min(kernel_size) > 1 else 0))
    groups = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
    return draw(
        st.sampled_from(
            [
                Conv(groups * draw(st.integers(1, 3)), kernel_size, stride, pads, draw(st.integers(1, 2)), groups, draw(st.booleans())),
                MaxPool(kernel_size, draw(st.sampled_from([None, stride])), pads, draw(st.booleans())),
                AvgPool(kernel_size, stride, pads, draw(st.booleans()), draw(st.booleans())),
                ConvTranspose(draw(st.integers(1, 3)), kernel_size, stride, 0, 0, draw(st.booleans())),
                BatchNorm(draw(st.sampled_from([1e-5, 1e-3]))),
                LocalResponseNorm(3, 0.1, 0.75, draw(st.sampled_from([1.0, 2.0]))),
                Activation(draw(st.sampled_from(ACTIVATIONS))),
                Dropout(0.5, draw(st.booleans())),
                Upsample(2),
                Select(tuple(draw(st.lists(st.integers(0, channels - 1), min_size=1, max_size=3)))),
            ]
        )
    )


def attempt(input_shape, nodes):
    "The network, or None where the kernel does not fit: hypothesis may draw such a one."
    try:
        return Network("random", input_shape, nodes)
    except ValueError as error:
        assert "layer '" in str(error), error  # always names the layer
        return None


@st.composite
def random_networks(draw):
    "A graph: a chain of layers, with skips, branches and a head."
    shape = (draw(st.integers(1, 4)), draw(st.integers(5, 9)), draw(st.integers(5, 9)))
    nodes, net = [("first", Conv(draw(st.integers(1, 4)), 1))], None
    for n in range(draw(st.integers(1, 4))):
        net = attempt(shape, nodes)
        c = net.shapes[nodes[-1][0]][0]
        longer = [*nodes, (f"block{n}.layer", draw(map_layers(c)))]
        nodes = longer if attempt(shape, longer) else nodes
        before = nodes[-1][0]
        if draw(st.booleans()):
            more = [(f"skip{n}.a", BatchNorm(), before), (f"skip{n}.b", Activation("relu"))]
            merge = draw(st.sampled_from([Add(), Concat()]))
            nodes = [*nodes, *more, (f"skip{n}.merge", merge, (more[-1][0], before))]
    head = draw(st.sampled_from([[], [GlobalAvgPool(), Dense(3)], [Flatten(), Dense(4), Activation("softmax")], [Flatten("hwc"), BatchNorm(), Dense(2)]]))
    nodes = [*nodes, *((f"head{n}", layer) for n, layer in enumerate(head))]
    return Network("random", shape, nodes)


def trained(net, seed):
    "Weights with running statistics that are not 0 and 1."
    rng = np.random.default_rng(seed)
    return {
        name: (rng.uniform(0.5, 2, shape) if name.endswith("running_var") else rng.normal(size=shape)).astype(np.float32)
        for name, shape in networks.weight_shapes(net).items()
    }


def outputs(net, weights, x):
    "What PyTorch and Keras make of x, both in use, as (n, c, h, w) or (n, features)."
    import torch

    in_torch, in_keras = networks.to_torch(net).eval(), networks.to_keras(net)
    networks.set_weights(in_torch, weights)
    networks.copy_weights(in_torch, in_keras)
    with torch.no_grad():
        one = in_torch(torch.from_numpy(x)).numpy()
    other = np.moveaxis(in_keras(np.moveaxis(x, 1, -1), training=False).numpy(), -1, 1)
    return one, other, in_torch, in_keras


@few
@given(random_networks(), st.integers(0, 99))
def test_a_random_network_is_the_same_in_both_frameworks(net, seed):
    weights = trained(net, seed)
    x = np.random.default_rng(seed).normal(size=(2, *net.input_shape)).astype(np.float32)
    one, other, in_torch, in_keras = outputs(net, weights, x)
    assert one.shape[1:] == net.shapes[net.outputs[0]]
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in in_torch.parameters()) == networks.n_params(net)
    assert in_keras.count_params() == sum(np.prod(shape) for shape in networks.weight_shapes(net).values())
    back = networks.get_weights(in_keras)
    assert all((back[name] == weights[name]).all() for name in weights)
    assert networks.from_json(networks.to_json(net)) == net


@few
@given(random_networks())
def test_counts_agree_with_the_shapes_of_the_weights(net):
    for node in net.nodes:
        shapes = net.inputs_of(node)
        assert node.layer.n_params(*shapes) == sum(map(np.prod, node.layer.weights(*shapes).values()))
    table = networks.summary(net)
    assert table.params == networks.n_params(net)
    assert table.macs == networks.n_macs(net)


@settings(max_examples=25, deadline=None)
@given(random_networks())
def test_a_random_network_comes_back_from_pytorch_code(net):
    "Through `torch.fx` and back: the same shapes, parameters and multiply-adds."
    known = (Select, Upsample, LocalResponseNorm, Reshape)
    odd = [n for n in net.nodes if isinstance(n.layer, known) or (isinstance(n.layer, Flatten) and n.layer.order == "hwc")]
    model = networks.to_torch(net)
    names = {node.target for node in model.graph.nodes if node.op == "call_function"}
    if odd or any(getattr(name, "__name__", "") in ("pad", "torch_avg_pool") for name in names):
        return
    again = networks.from_torch(model, net.input_shape)
    assert again.shapes[again.outputs[0]] == net.shapes[net.outputs[0]]
    assert (networks.n_params(again), networks.n_macs(again)) == (networks.n_params(net), networks.n_macs(net))


@settings(max_examples=25, deadline=None)
@given(random_networks())
def test_the_receptive_field_holds_all_that_has_a_gradient(net):
    "The gradient of one output in the middle reaches no pixel outside the field, and, for chains of plain layers, its whole width."
    import torch

    soft = [n._replace(layer=Activation("sigmoid")) if isinstance(n.layer, (Activation, MaxPool)) and not isinstance(n.layer, MaxPool) else n for n in net.nodes]
    soft = [n._replace(layer=AvgPool(n.layer.kernel_size, n.layer.stride, n.layer.padding, n.layer.ceil_mode)) if isinstance(n.layer, MaxPool) else n for n in soft]
    net = Network("soft", net.input_shape, soft)
    maps = [n.name for n in net.nodes if len(net.shapes[n.name]) == 3]
    net = networks.cut(net, maps[-1])
    model = networks.to_torch(net, seed=1).double().eval()
    x = torch.rand(1, *net.input_shape, dtype=torch.float64, requires_grad=True)
    value = model(x)[0].sum(0)
    at = tuple(size // 2 for size in value.shape)
    value[at].backward()
    seen = x.grad[0].abs().sum(0).numpy()
    for axis, field in enumerate(networks.receptive_field(net)):
        touched = np.flatnonzero(seen.sum(1 - axis))
        centre, reach = field.centre + at[axis] * field.jump, (field.size - 1) / 2
        slack = 1.0 if any(isinstance(n.layer, (Upsample, ConvTranspose)) for n in net.nodes) else 0.0
        jump = max(1.0, max(f.jump for f in (networks.receptive_field(net)[axis],)))
        if len(touched):
            assert touched.min() >= centre - reach - slack * 2 * jump
            assert touched.max() <= centre + reach + slack * 2 * jump
