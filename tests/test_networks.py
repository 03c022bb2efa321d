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
    AdaptiveAvgPool,
    Add,
    Affine,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    DropPath,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    LocalResponseNorm,
    MaxPool,
    Multiply,
    Network,
    Pad,
    Reshape,
    Select,
    Subtract,
    Upsample,
)

few = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


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
                Conv(
                    groups * draw(st.integers(1, 3)),
                    kernel_size,
                    stride,
                    pads,
                    draw(st.integers(1, 2)),
                    groups,
                    draw(st.booleans()),
                ),
                MaxPool(kernel_size, draw(st.sampled_from([None, stride])), pads, draw(st.booleans())),
                AvgPool(kernel_size, stride, pads, draw(st.booleans()), draw(st.booleans())),
                ConvTranspose(draw(st.integers(1, 3)), kernel_size, stride, 0, 0, draw(st.booleans())),
                Pad(draw(st.one_of(st.integers(-1, 2), st.just(((1, 0), (0, 2)))))),
                Pad(draw(st.integers(0, 2)), draw(st.sampled_from(["reflect", "replicate", "circular"]))),
                AdaptiveAvgPool(draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))),
                draw(st.sampled_from([GlobalAvgPool, GlobalMaxPool]))(keepdims=True),
                BatchNorm(draw(st.sampled_from([1e-5, 1e-3])), scale=draw(st.booleans()), centre=draw(st.booleans())),
                LayerNorm(1e-3, scale=draw(st.booleans()), centre=draw(st.booleans())),
                GroupNorm(1e-3, groups=groups),
                Affine(draw(st.sampled_from([1.0, -0.5, tuple(0.5 + n for n in range(channels))])), 0.25),
                LocalResponseNorm(3, 0.1, 0.75, draw(st.sampled_from([1.0, 2.0]))),
                Activation(draw(st.sampled_from(list(ACTIVATIONS)))),
                Activation(
                    *draw(st.sampled_from([("relu", (0.1, 0.8, 0.0)), ("elu", (0.3,)), ("leaky_relu", (0.2,))]))
                ),
                Dropout(0.5, draw(st.booleans())),
                DropPath(0.5),
                Upsample(draw(st.sampled_from([2, (1, 3)])), draw(st.sampled_from(["nearest", "bilinear"]))),
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


def nodes_out(nodes, shape):
    "How many maps come out."
    net = Network("so far", shape, nodes)
    return net.shapes[net.outputs[0]][0]


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
            gate = [(f"skip{n}.a", GlobalAvgPool(True), before), (f"skip{n}.b", Activation("sigmoid"))]
            merge = draw(st.sampled_from([Add(), Concat(), Subtract(), Multiply()]))
            more = [(f"skip{n}.a", BatchNorm(), before), (f"skip{n}.b", Activation("relu"))]
            more = gate if isinstance(merge, Multiply) else more
            nodes = [*nodes, *more, (f"skip{n}.merge", merge, (more[-1][0], before))]
    head = draw(
        st.sampled_from(
            [
                [],
                [GlobalAvgPool(), Dense(3)],
                [Flatten(), Dense(4), LayerNorm(), Activation("softmax")],
                [GlobalMaxPool(), Reshape((1, 1, nodes_out(nodes, shape))), Flatten(), Dense(2)],
                [Flatten("hwc"), BatchNorm(), Dense(2)],
            ]
        )
    )
    nodes = [*nodes, *((f"head{n}", layer) for n, layer in enumerate(head))]
    return Network("random", shape, nodes)


def trained(net, seed):
    "Weights with running statistics that are not 0 and 1."
    rng = np.random.default_rng(seed)
    return {
        name: (rng.uniform(0.5, 2, shape) if name.endswith("running_var") else rng.normal(size=shape)).astype(
            np.float32
        )
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
@given(random_networks(), st.integers(0, 99))
def test_every_layer_puts_out_the_same_in_both_frameworks(net, seed):
    in_torch, in_keras = networks.to_torch(net), networks.to_keras(net)
    for model in (in_torch, in_keras):
        networks.set_weights(model, trained(net, seed))
    x = np.random.default_rng(seed).normal(size=(2, *net.input_shape)).astype(np.float32)
    names = [node.name for node in net.nodes]
    one, other = (networks.activations(model, x, names) for model in (in_torch, in_keras))
    for name in names:
        assert one[name].shape[1:] == net.shapes[name]
        np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-4 * max(1, np.abs(one[name]).max()))


SEVERAL = {  # layers that are several of Keras: the last of them is what the layer puts out
    "cut": ConvTranspose(3, 3, 2, 1),
    "strided": Conv(3, 3, 2, 1, 2),
    "scaled": AvgPool(3, 2, 1, count_include_pad=False),
    "both": Pad(((1, -1), (-1, 1))),
    "taken": Pad(1, "reflect"),
    "selected": Select((1, 0)),
    "divided": LocalResponseNorm(3),
}


@pytest.mark.parametrize("layer", SEVERAL.values(), ids=SEVERAL)
def test_grad_cam_sees_the_same_behind_a_layer_that_is_several_of_keras(layer):
    nodes = [("first", Conv(2, 1)), ("layer", layer), ("relu", Activation("relu")), GlobalAvgPool(), Dense(4)]
    net = Network("several", (2, 9, 9), nodes)
    in_torch, in_keras = networks.to_torch(net), networks.to_keras(net)
    for model in (in_torch, in_keras):
        networks.set_weights(model, trained(net, 1))
    x = np.random.default_rng(0).normal(size=(2, 2, 9, 9)).astype(np.float32)
    one, other = (networks.grad_cam(model, x, "layer", [0, 3]) for model in (in_torch, in_keras))
    assert one.any()
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mode", ("constant", "reflect", "replicate", "circular"))
@pytest.mark.parametrize("sides", (0, 1, ((0, 0), (1, 1)), ((1, 0), (0, 0)), ((0, 2), (1, 0))), ids=str)
def test_a_pad_keeps_its_name_whatever_sides_it_moves(mode, sides):
    net = Network("padded", (1, 5, 5), [("first", Conv(1, 1)), ("by.name", Pad(sides, mode)), ("last", Conv(2, 1))])
    in_torch, in_keras = networks.to_torch(net), networks.to_keras(net)
    networks.copy_weights(in_torch, in_keras)
    x = np.random.default_rng(0).normal(size=(2, 1, 5, 5)).astype(np.float32)
    one, other = (networks.activations(model, x, ["by.name", "last"]) for model in (in_torch, in_keras))
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)


def test_layers_of_a_model_of_keras_that_cannot_be_described_have_keras_s_names():
    import keras

    twice = keras.layers.Lambda(lambda values: 2 * values, name="twice")
    made = keras.Sequential([keras.Input((4, 4, 1)), twice, keras.layers.Flatten(name="flat")])
    with pytest.raises(ValueError, match="twice"):
        networks.from_keras(made)
    values = networks.activations(made, np.ones((1, 1, 4, 4), np.float32), ["twice", "flat"])
    np.testing.assert_array_equal(values["flat"], np.full((1, 16), 2.0))


@few
@given(random_networks())
def test_counts_agree_with_the_shapes_of_the_weights(net):
    for node in net.nodes:
        shapes = net.inputs_of(node)
        assert node.layer.n_params(*shapes) == sum(map(np.prod, node.layer.weights(*shapes).values()))
    table = networks.summary(net)
    assert table.params == networks.n_params(net)
    assert table.macs == networks.n_macs(net)


@few
@given(random_networks(), st.integers(0, 99))
def test_a_random_network_comes_back_from_pytorch_code(net, seed):
    "Through `torch.fx` and back: the same layers by name, and the same outputs."
    model = networks.to_torch(net)
    networks.set_weights(model, trained(net, seed))
    again = networks.from_torch(model, net.input_shape)
    assert again.verified < 1e-5
    assert [(node.name, node.inputs) for node in again.nodes] == [(node.name, node.inputs) for node in net.nodes]
    assert (again.shapes, again.outputs) == (net.shapes, net.outputs)
    assert networks.weight_shapes(again) == networks.weight_shapes(net)
    assert (networks.n_params(again), networks.n_macs(again)) == (networks.n_params(net), networks.n_macs(net))
    assert networks.from_torch(networks.to_torch(again), net.input_shape, verify=False) == again


# Receptive fields


@st.composite
def chains(draw):
    "Convolutions and average pooling on a large picture: every pixel of a field has a gradient when all weights are 1."
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        k, s = draw(st.integers(1, 4)), draw(st.integers(1, 2))
        kinds = [
            Conv(1, k, s, draw(st.integers(0, 2)), draw(st.integers(1, 2))),
            AvgPool(k, s, k // 2),
            Conv(1, (k, 1), s),
        ]
        layers.append(draw(st.sampled_from(kinds)))
    return Network("chain", (1, 96, 96), layers)


@settings(max_examples=60, deadline=None)
@given(chains())
def test_the_receptive_field_is_where_the_gradient_is(net):
    import torch

    model = networks.to_torch(net).double()
    networks.set_weights(model, {name: np.ones(shape) for name, shape in networks.weight_shapes(net).items()})
    x = torch.zeros(1, *net.input_shape, dtype=torch.float64, requires_grad=True)
    out = model(x)
    at = [size // 2 for size in out.shape[2:]]
    out[0, 0, at[0], at[1]].backward()
    for axis, field in enumerate(networks.receptive_field(net)):
        touched = np.flatnonzero(x.grad[0, 0].numpy().sum(1 - axis))
        centre = field.centre + at[axis] * field.jump
        # with dilation or a stride above the kernel size there may be holes, but never at the field's ends
        assert (touched.min(), touched.max()) == (centre - (field.size - 1) / 2, centre + (field.size - 1) / 2)


def test_the_field_of_a_transposed_convolution_is_the_largest_of_its_outputs():
    import torch

    for kernel_size, stride, padding in [(2, 2, 0), (3, 2, 1), (4, 2, 1), (3, 3, 0), (5, 2, 2), (3, 1, 1)]:
        net = Network("up", (1, 24, 24), [Conv(1, 3, 2, 1), ConvTranspose(1, kernel_size, stride, padding)])
        model = networks.to_torch(net)
        networks.set_weights(model, {n: np.ones(s, np.float32) for n, s in networks.weight_shapes(net).items()})
        sizes = []
        for place in range(8, 8 + stride):
            x = torch.zeros(1, 1, 24, 24, requires_grad=True)
            model(x)[0, 0, place, place].backward()
            sizes.append(np.ptp(np.flatnonzero(x.grad[0, 0].sum(1).numpy())) + 1)
        assert networks.receptive_field(net)[0].size == max(sizes)


# Weights


@pytest.fixture
def tiny():
    return Network("tiny", (2, 6, 6), [Conv(3, 3), BatchNorm(), Activation("relu"), Flatten(), Dense(4)])


def test_training_in_keras_and_use_in_pytorch(tiny):
    "Running statistics that Keras learnt arrive too."
    import torch

    model = networks.to_keras(tiny, seed=0)
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(2, 3, size=(32, 6, 6, 2)).astype(np.float32)
    model.fit(x, np.zeros((32, 4), np.float32), epochs=3, verbose=0)
    other = networks.to_torch(tiny).eval()
    networks.copy_weights(model, other)
    expected = model(x, training=False).numpy()
    np.testing.assert_allclose(
        other(torch.from_numpy(x.transpose(0, 3, 1, 2))).detach().numpy(), expected, rtol=1e-4, atol=1e-4
    )
    assert np.abs(networks.get_weights(other)["batchnorm1.running_mean"]).max() > 0.01


def test_a_model_survives_deepcopy_and_pickle(tiny):
    import copy
    import pickle

    import torch

    model = networks.to_torch(tiny, seed=0).eval()
    x = torch.rand(2, 2, 6, 6)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(again(x), model(x))
    assert copy.deepcopy(model).meta["network"] == tiny


def test_a_file_cut_anywhere_is_refused_and_nothing_is_changed(tiny, tmp_path):
    model, path = networks.to_torch(tiny, seed=0), tmp_path / "w.safetensors"
    networks.save_weights(networks.to_torch(tiny, seed=1), path)
    whole, before = path.read_bytes(), networks.get_weights(model)
    for length in (0, 1, 8, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is not a whole safetensors file"):
            networks.load_weights(model, path)
    assert all((before[name] == now).all() for name, now in networks.get_weights(model).items())


def test_a_save_that_fails_leaves_the_old_file(tiny, tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    networks.save_weights(networks.to_torch(tiny, seed=0), path)
    old = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        networks.save_weights(networks.to_torch(tiny, seed=1), path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


# What wrong input gets


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([], "at least one layer"),
        ([Conv(4, 3), "relu"], "a network is made of layers or .* got 'relu'"),
        ([Conv(4, 3), ("fc", Dense(3))], r"layer 'fc' \(Dense\) does not fit its input \(4, 6, 6\): .* put Flatten"),
        ([Conv(4, 9)], "the kernel must fit into the padded input"),
        ([Conv(4, 3, padding=-1)], "padding must be a whole number of at least 0; got -1"),
        ([Conv(0, 3)], "out_channels must be a whole number of at least 1; got 0"),
        ([Conv(4, 3, groups=3)], "groups must divide the channels"),
        ([Conv(4, 3, padding="sane")], "padding must be numbers, 'valid', 'same' or 'full'; got 'sane'"),
        ([("a", Conv(4, 3)), ("b", Add(), ("a", "input"))], "Add needs two or more inputs of one shape"),
        ([("a", Add(), "input")], "Add needs two or more inputs of one shape"),
        ([("a", Conv(4, 3), ("input", "input"))], "Conv has one input; 2 came"),
        ([("a", Activation("relu"), "b"), ("b", Activation("relu"), "a")], "the layers make a circle: a → b → a"),
        ([("a", Activation("relu"), "z")], "layer 'a' reads 'z', which is not there"),
        ([("a/b", Activation("relu"))], "made of letters, digits, _, - and dots"),
        ([("input", Activation("relu"))], "'input' is the picture's own name"),
        ([Dense("ten")], "does not fit"),
        ([Flatten(), Reshape((3, 5))], r"Reshape to \(3, 5\) needs"),
        ([Dropout(1.0)], "rate of Dropout must be at least 0 and below 1"),
    ],
)
def test_a_description_that_does_not_fit(nodes, says):
    with pytest.raises(ValueError, match=says):
        Network("wrong", (3, 8, 8), nodes)


def test_output_padding_is_the_same_in_both_frameworks():
    net = Network("up", (1, 4, 4), [ConvTranspose(1, 2, 2, output_padding=1)])
    x = np.random.default_rng(0).normal(size=(2, 1, 4, 4)).astype(np.float32)
    one, other, *_ = outputs(net, trained(net, 0), x)
    assert one.shape[1:] == net.shapes["convtranspose1"]
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


# The door: no framework, and every kind of layer known everywhere


def test_summaries_need_no_framework():
    code = (
        "import sys; from cnncourse import architectures as a, networks as n; net = a.resnet152();"
        "t = n.summary(net); str(t); t._repr_html_(); n.diagram(net); n.to_json(net); n.receptive_field(net);"
        "print(sorted({'torch', 'tensorflow', 'keras', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_kind_of_layer_goes_through_json():
    settings = {
        "Conv": (4, 3),
        "ConvTranspose": (4, 3),
        "MaxPool": (2,),
        "AvgPool": (2,),
        "Pad": (1,),
        "AdaptiveAvgPool": (2,),
        "Dense": (4,),
        "Reshape": ((1, 2, 2),),
        "Select": ((0,),),
    }
    for name, kind in LAYERS.items():
        layer = kind(*settings.get(name, ()))
        sources = ("input", "input") if layer.many else ("input",)
        shape = (4,) if name in ("Dense", "Reshape") else (4, 8, 8)
        net = Network("one", shape, [("layer", layer, sources)])
        assert networks.from_json(networks.to_json(net)) == net
        assert json.loads(networks.to_json(net))["nodes"][0]["kind"] == name


def test_a_copy_with_other_settings_is_checked_again(tiny):
    with pytest.raises(ValueError, match="does not fit"):
        replace(tiny, input_shape=(2, 2, 2))
