"""Models that others bring: read faithfully, or refused by name, and never silently wrong."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import copy
import inspect
import io
import json
import pickle
import runpy
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from conftest import COURSE, TORCHVISION, needs_torchvision
from torch import nn
from torch.nn import functional as F

from cnncourse import architectures, networks, torch_models
from cnncourse.networks import Activation, Conv, Dense, Network


def lively(model):
    "Weights and running statistics that are not the usual ones, the same each time."
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            low, high = (0.5, 2.0) if name.endswith(("running_var", "weight")) and tensor.ndim == 1 else (-0.5, 0.5)
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return model


def rebuilt(model, shape):
    "The description by reading alone, and a model that is built from it and has the same weights."
    net, weights, *_ = torch_models.read_torch(model, shape)
    return net, torch_models.built_with(net, weights)


def agree(model, shape):
    "Read a model, and compare outputs and numbers of parameters."
    net, ours = rebuilt(model, shape)
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    with torch_models.in_use(model), torch.no_grad():
        torch.testing.assert_close(ours(x), model(x), rtol=1e-4, atol=1e-5)
    assert networks.n_params(net) == sum(p.numel() for p in model.parameters())
    assert tuple(ours(x).shape[1:]) == net.shapes[net.outputs[0]]
    return net


# Every module, and every argument of its constructor

MAPS, VECTOR = (4, 6, 8), (24,)
BASE = {  # arguments without defaults
    "Conv2d": (6, 3),
    "ConvTranspose2d": (6, 3),
    "Linear": (5,),
    "LayerNorm": (24,),
    "GroupNorm": (2, 4),
    "LocalResponseNorm": (3,),
    "MaxPool2d": (2,),
    "AvgPool2d": (2,),
    "AdaptiveAvgPool2d": (3,),
    "AdaptiveMaxPool2d": (1,),
    "Softmax": (1,),
    "LogSoftmax": (1,),
    "Unflatten": (1, (4, 2, 3)),
    "ChannelShuffle": (2,),
    "PixelShuffle": (2,),
    "PixelUnshuffle": (2,),
    "Upsample": (None, 2),
    "UpsamplingNearest2d": (None, 2),
    "UpsamplingBilinear2d": (None, 2),
    "ZeroPad2d": (1,),
    "ConstantPad2d": (1, 0.5),
    "ReflectionPad2d": (1,),
    "ReplicationPad2d": (1,),
    "CircularPad2d": (1,),
}
INPUT = {
    "Linear": VECTOR,
    "LayerNorm": VECTOR,
    "BatchNorm1d": VECTOR,
    "Unflatten": VECTOR,
    "Dropout1d": VECTOR,
    "Dropout3d": MAPS,
}
FIRST = dict.fromkeys(["Conv2d", "ConvTranspose2d", "BatchNorm2d", "InstanceNorm2d"], 4) | {
    "Linear": 24,
    "BatchNorm1d": 24,
}
OTHER = {  # for each argument other legal values
    "out_channels": [2],
    "out_features": [3],
    "kernel_size": [1, 3, (2, 3)],
    "stride": [1, 2, (1, 2), None],
    "padding": [0, 1, (0, 1), "same", "valid", (1, 0, 1, 0), (-1, 1, 0, -2)],
    "output_padding": [1, (0, 1)],
    "dilation": [2, (1, 2)],
    "groups": [2, 4],
    "bias": [False],
    "padding_mode": ["reflect", "replicate", "circular"],
    "ceil_mode": [True],
    "return_indices": [True],
    "count_include_pad": [False],
    "divisor_override": [3],
    "output_size": [1, (1, 1), (2, 5), (None, 4), (6, 8), None],
    "eps": [0.1],
    "momentum": [0.3, None],
    "affine": [False, True],
    "elementwise_affine": [False],
    "track_running_stats": [False, True],
    "normalized_shape": [(24,), [24]],
    "num_groups": [1, 4],
    "inplace": [True],
    "negative_slope": [0.2],
    "alpha": [0.3],
    "approximate": ["tanh"],
    "beta": [2.0],
    "threshold": [5.0],
    "lambd": [0.1],
    "min_val": [0.0, -2.0],
    "max_val": [6.0, 2.0],
    "min_value": [-2.0],
    "max_value": [2.0],
    "dim": [0, 2, 3, -1, -3, None],
    "p": [0.1],
    "k": [2.0],
    "start_dim": [0, 2, -1],
    "end_dim": [1, 2],
    "unflattened_size": [(24, 1, 1), (4, 6), (2, 2, 2, 3)],
    "size": [(12, 16), 9, (12, 24)],
    "scale_factor": [(2, 3), 1.5, 3],
    "mode": ["bilinear", "bicubic", "nearest-exact", "area"],
    "align_corners": [True, False],
    "recompute_scale_factor": [True, False],
    "upscale_factor": [1],
    "downscale_factor": [1],
    "value": [1.5],
}
GIVEN = {"in_channels", "in_features", "num_features", "num_channels", "device", "dtype"}  # what the input decides
TOGETHER = {
    "padding": {"kernel_size": 3},
    "ceil_mode": {"kernel_size": 3},
    "count_include_pad": {"kernel_size": 3, "padding": 1},
}
TOGETHER |= {"output_padding": {"stride": 2}, "padding_mode": {"padding": 1}, "align_corners": {"mode": "bilinear"}}
TOGETHER |= {"groups": {"out_channels": 8}}


def arguments(kind):
    "Names of what a constructor takes."
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in inspect.signature(kind).parameters.values() if p.kind not in kinds]


def cases():
    for name in torch_models._MODULES:
        yield name, {}
        for argument in arguments(getattr(nn, name)):
            if argument not in GIVEN:
                yield from ((name, {argument: value}) for value in OTHER[argument])


def layer_of(name, settings):
    "The module, or None where these settings cannot be had together."
    kind = getattr(nn, name)
    names = arguments(kind)
    given = dict(zip(names, ([FIRST[name]] if name in FIRST else []) + list(BASE.get(name, ())), strict=False))
    for argument in settings:
        if not (name.endswith("Pad2d") and argument == "padding"):
            given |= {k: v for k, v in TOGETHER.get(argument, {}).items() if k in names}
    given |= settings
    if "size" in settings or "scale_factor" in settings:
        given = {k: v for k, v in given.items() if k not in ("size", "scale_factor")} | settings
    try:
        return kind(**given)
    except (ValueError, TypeError, RuntimeError):
        return None


def after_weights(layer, shape):
    return nn.Sequential(nn.Linear(24, 24) if shape == VECTOR else nn.Conv2d(4, 4, 1), layer)


@pytest.mark.parametrize(("name", "settings"), list(cases()), ids=str)
def test_every_argument_of_every_module_is_read_or_named(name, settings):
    layer, shape = layer_of(name, settings), INPUT.get(name, MAPS)
    if layer is None:
        return  # PyTorch refuses it itself
    model = lively(after_weights(layer, shape)).train()
    x = torch.randn(3, *shape)
    try:
        with torch_models.in_use(model):
            model(x.clone())
    except (ValueError, TypeError, RuntimeError, IndexError, AssertionError, NotImplementedError):
        return  # nor does it fit these pictures
    try:
        agree(model, shape)
    except ValueError as error:
        assert name in str(error) or "what '1' does" in str(error), error
        assert "has no counterpart here" in str(error), error
        if settings:
            assert refusable(name, settings), error


def refusable(name, settings):
    "What may be refused: everything else of these modules is read."
    (argument, value), *_ = settings.items()
    may = {
        "return_indices", "divisor_override", "beta", "threshold", "output_size", "dim", "start_dim", "end_dim", "size",
        "scale_factor", "mode", "align_corners", "track_running_stats", "momentum", "dilation", "unflattened_size",
    }  # fmt: skip
    odd = {"ConvTranspose2d": {"groups"}, "GroupNorm": {"bias"}}
    none = ("PixelShuffle", "PixelUnshuffle", "UpsamplingBilinear2d", "Dropout1d", "Dropout3d")
    cut = (
        isinstance(value, tuple) and argument == "padding" and min(value) < 0 and name != "ConstantPad2d"
    )  # other borders do not cut off
    return argument in may or name in none or argument in odd.get(name, ()) or cut


def test_the_usual_settings_are_read():
    "Each module as it is made without settings, but for those that this course has no record of."
    refused = []
    for name in torch_models._MODULES:
        layer, shape = layer_of(name, {}), INPUT.get(name, MAPS)
        try:
            agree(lively(after_weights(layer, shape)), shape)
        except ValueError:
            refused.append(name)
    assert refused == ["Dropout1d", "Dropout3d", "PixelShuffle", "PixelUnshuffle", "UpsamplingBilinear2d"]


# Functions, operators and slices


class Does(nn.Module):
    "A convolution, and then what a function does with its maps."

    def __init__(self, function, **parts):
        super().__init__()
        self.first, self.function = nn.Conv2d(4, 4, 3, padding=1), function
        for name, part in parts.items():
            self.register_buffer(name, part) if type(part) is torch.Tensor else setattr(self, name, part)

    def forward(self, x):
        return self.function(self, self.first(x))


READ = {
    "x + 1": lambda m, x: x + 1,
    "1 - x": lambda m, x: 1 - x,
    "x - 0.5": lambda m, x: x - 0.5,
    "3 * x / 255": lambda m, x: 3 * x / 255,
    "-x": lambda m, x: -x,
    "x + x": lambda m, x: x + x,
    "x * x": lambda m, x: x * x,
    "x ** 2": lambda m, x: x**2,
    "x - relu": lambda m, x: x - F.relu(x),
    "relu - x": lambda m, x: torch.sub(F.relu(x), x, alpha=2),
    "add with alpha": lambda m, x: torch.add(x, F.relu(x), alpha=2),
    "add in place": lambda m, x: x.add_(F.relu(x)),
    "relu in place": lambda m, x: F.relu(x, inplace=True) + x,
    "cat of repeats": lambda m, x: torch.cat((x, F.relu(x), x), 1),
    "cat, dim -3": lambda m, x: torch.cat([x, x], dim=-3),
    "cat of one": lambda m, x: torch.cat([x], 1),
    "a gate": lambda m, x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "mean": lambda m, x: x.mean([2, 3]),
    "mean, -1 and -2": lambda m, x: torch.mean(x, dim=(-1, -2)),
    "amax": lambda m, x: x.amax((2, 3)),
    "view": lambda m, x: x.view(x.size(0), -1),
    "view of -1": lambda m, x: x.view(-1, 4 * 6 * 8),
    "view of shape": lambda m, x: F.relu(x.view(x.shape[0], x.shape[1] * x.shape[2] * x.shape[3])),
    "reshape to maps": lambda m, x: x.reshape(-1, 8, 6, 4),
    "flatten": lambda m, x: torch.flatten(x, 1),
    "flatten, method": lambda m, x: x.flatten(start_dim=1),
    "flatten by pixel": lambda m, x: x.permute(0, 2, 3, 1).flatten(1),
    "squeeze": lambda m, x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
    "squeeze all": lambda m, x: F.adaptive_max_pool2d(x, (1, 1)).squeeze(),
    "slice": lambda m, x: x[:, 1:3],
    "one map": lambda m, x: x[:, 2:3, 1:-1, ::2],
    "maps by number": lambda m, x: x[:, [3, 0]],
    "chunk": lambda m, x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "split": lambda m, x: torch.split(x, [1, 3], dim=1)[1],
    "shuffle": lambda m, x: x.view(x.size(0), 2, 2, 6, 8).transpose(1, 2).reshape(x.size(0), -1, 6, 8),
    "softmax": lambda m, x: F.softmax(x, dim=1),
    "log_softmax": lambda m, x: F.log_softmax(x.flatten(1), dim=-1),
    "pools": lambda m, x: F.max_pool2d(x, 2) + F.avg_pool2d(x, kernel_size=2),
    "pool of all": lambda m, x: F.avg_pool2d(x, x.size()[2:]),
    "pad": lambda m, x: F.pad(x, (1, 2, -1, 0), value=0.5),
    "pad, reflect": lambda m, x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "interpolate": lambda m, x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
    "interpolate to a size": lambda m, x: F.interpolate(x, size=(12, 24)),
    "dropout": lambda m, x: F.dropout(F.dropout2d(x, 0.2, m.training), 0.3, training=m.training),
    "activations": lambda m, x: F.gelu(F.hardswish(F.leaky_relu(F.elu(x, 0.3), 0.2)), approximate="tanh"),
    "clamp": lambda m, x: torch.clamp(x, min=0) + x.clamp(-0.1, 0.2),
    "methods": lambda m, x: x.relu().tanh().sigmoid().contiguous(),
    "channels last": lambda m, x: F.gelu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    "mean of pixels": lambda m, x: x.permute(0, 2, 3, 1).mean(dim=(1, 2)),
    "a dictionary": lambda m, x: {"out": x.relu()}["out"],
}


@pytest.mark.parametrize("name", READ)
def test_functions_operators_and_slices_are_read(name):
    agree(Does(READ[name]).train(), MAPS)


LEARNT = {
    "a factor for each map": (
        lambda m, x: x * m.gamma,
        {"gamma": nn.Parameter(torch.tensor([1.0, 2.0, -1.0, 0.5]).reshape(4, 1, 1))},
    ),
    "laid out anew": (
        lambda m, x: m.gamma.view(1, -1, 1, 1) * x,
        {"gamma": nn.Parameter(torch.tensor([1.0, 2.0, -1.0, 0.5]))},
    ),
    "on channels last": (
        lambda m, x: (x.permute(0, 2, 3, 1) * m.gamma).permute(0, 3, 1, 2),
        {"gamma": nn.Parameter(torch.tensor([1.0, 2.0, -1.0, 0.5]))},
    ),
    "fixed numbers": (
        lambda m, x: (x - m.mean) / m.std,
        {"mean": torch.tensor([0.1, 0.2, 0.3, 0.4]).reshape(1, 4, 1, 1), "std": torch.tensor(0.5)},
    ),
    "a function with a module's weights": (
        lambda m, x: F.conv2d(x, m.second.weight, m.second.bias, stride=2, padding=(0, 1)),
        {"second": nn.Conv2d(4, 3, 3)},
    ),
    "dense layers at each pixel": (
        lambda m, x: m.dense(m.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2) + x,
        {"norm": nn.LayerNorm(4), "dense": nn.Linear(4, 4)},
    ),
    "stochastic depth, as `to_torch` writes it": (
        lambda m, x: x + m.drop(x.unsqueeze(1)).squeeze(1),
        {"drop": nn.Dropout3d(0.2)},
    ),
}


@pytest.mark.parametrize("name", LEARNT)
def test_weights_that_a_function_reads(name):
    function, parts = LEARNT[name]
    agree(lively(Does(function, **parts)), MAPS)


REFUSED = {
    "softmax over rows": (
        lambda m, x: F.softmax(x, dim=2),
        {},
        r"softmax\(x.*dim=2.*the channels would be axis 2 of 4",
    ),
    "softmax over pictures": (lambda m, x: F.softmax(x, dim=0), {}, "dim=0"),
    "flatten of rows": (lambda m, x: torch.flatten(x, 1, 2).relu().sum(1), {}, "'sum_1', sum"),
    "pictures mixed": (lambda m, x: x.reshape(-1), {}, r"reshape\(x, -1\).*mix the pictures"),
    "pictures joined": (lambda m, x: torch.cat([x, x]), {}, r"cat\(.*dim=0"),
    "an unknown function": (lambda m, x: torch.cumsum(x, 1), {}, r"cumsum\(x, 1\), has no counterpart here"),
    "dropout in use": (lambda m, x: F.dropout(x), {}, "it drops in use too"),
    "divided by x": (lambda m, x: 1 / x.exp(), {}, "'exp', exp"),
    "mirrored": (
        lambda m, x: m.second(x.flip(3)),
        {"second": nn.Conv2d(4, 2, 1)},
        "layer 'second' is a Conv2d.*what 'flip' does",
    ),
    "a module twice": (
        lambda m, x: m.second(m.second(x)),
        {"second": nn.Conv2d(4, 4, 1)},
        "layer 'second' is a Conv2d.*it is used twice",
    ),
    "batch normalisation twice": (
        lambda m, x: m.second(m.second(x)),
        {"second": nn.BatchNorm2d(4)},
        "layer 'second' is a BatchNorm2d.*it is used twice",
    ),
    "a learnt sum": (
        lambda m, x: x + m.bias,
        {"bias": nn.Parameter(torch.ones(4, 1, 1))},
        "it adds the weights 'bias'",
    ),
    "weights computed with": (
        lambda m, x: x * (1 + m.gamma),
        {"gamma": nn.Parameter(torch.ones(4, 1, 1))},
        "it computes with the weights 'gamma'",
    ),
    "a kernel that is not learnt": (
        lambda m, x: F.conv2d(x, m.blur),
        {"blur": torch.ones(4, 4, 3, 3)},
        "its weight is not learnt",
    ),
    "a module of another kind": (
        lambda m, x: m.second(x),
        {"second": nn.PReLU()},
        r"layer 'second' is a PReLU\(num_parameters=1\)",
    ),
    "statistics of the batch": (
        lambda m, x: m.second(x),
        {"second": nn.BatchNorm2d(4, track_running_stats=False)},
        "BatchNorm2d.*track_running_stats=False",
    ),
    "a new weight normalisation": (
        lambda m, x: m.second(x),
        {"second": nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))},
        "layer 'second' is a ParametrizedConv2d",
    ),
    "the picture itself": (lambda m, x: torch.add(x, m.first.weight.sum()), {}, "computes with the weights"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_counterpart_is_named(name):
    function, parts, says = REFUSED[name]
    with pytest.raises(ValueError, match=says):
        networks.from_torch(Does(function, **parts), MAPS)


def test_weights_that_two_layers_share_are_named():
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    model[2].weight = model[0].weight
    with pytest.raises(ValueError, match=r"layer '2' is a Conv2d.*it shares weights with '0'"):
        networks.from_torch(model, MAPS)
    pool = nn.Sequential(nn.Conv2d(4, 4, 3), relu := nn.ReLU(), nn.Conv2d(4, 4, 3), relu, nn.Flatten())
    assert agree(pool, MAPS)["1_1"].layer == Activation("relu")  # without weights a layer may stand twice


def test_what_torch_fx_does_not_see_is_found_by_the_proof():
    def over_itself(m, x):
        y = x
        y += 1
        return x * y

    with pytest.raises(ValueError, match="does not compute what the model does"):
        networks.from_torch(Does(over_itself), MAPS)
    net = networks.from_torch(Does(over_itself), MAPS, verify=False)
    assert net.verified is None and "verified" not in str(networks.summary(net))


def wrongly(read, change):
    "A reader that mistakes one layer for another."

    def reads(*arguments):
        net, *rest = read(*arguments)
        nodes = [(node.name, change.get(node.name, node.layer), node.inputs) for node in net.nodes]
        made = Network(net.name, net.input_shape, nodes, net.outputs)
        return (made, *rest) if type(rest) is list and len(rest) == 1 else torch_models.Reading(made, *rest)

    return reads


def test_a_wrong_description_is_never_given(monkeypatch):
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    monkeypatch.setattr(networks, "read_torch", wrongly(torch_models.read_torch, {"1": Activation("gelu")}))
    with pytest.raises(
        ValueError, match=r"of Sequential does not compute what the model does: layer '1' \(gelu\) is off by"
    ):
        networks.from_torch(model, MAPS)


def test_a_wrong_description_of_a_keras_model_is_never_given(monkeypatch):
    import keras
    from keras import layers

    parts = [layers.Conv2D(4, 3, name="a"), layers.ReLU(name="b"), layers.Conv2D(2, 3, name="c")]
    model = keras.Sequential([layers.Input((6, 8, 4)), *parts])
    assert networks.from_keras(model).verified < 1e-6
    monkeypatch.setattr(networks, "keras_tensors", wrongly(networks.keras_tensors, {"b": Activation("gelu")}))
    with pytest.raises(ValueError, match=r"does not compute what the model does: layer 'b' \(gelu\) is off by"):
        networks.from_keras(model)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"class_name": "Lambda", "module": "keras.layers"}, "it holds a Lambda, which carries code of its own"),
        (
            {"class_name": "Popen", "module": "subprocess"},
            "it holds a Popen of subprocess, which is not one of Keras's own",
        ),
        ({"class_name": "get_file", "module": "keras.utils"}, "it holds a get_file of keras.utils"),
        ({"class_name": "X", "module": "keras_evil"}, "it holds a X of keras_evil"),
        (
            {"class_name": "function", "module": "builtins", "config": "eval"},
            "of builtins, which is not one of Keras's own",
        ),
        ({"class_name": "__lambda__", "config": {"value": "x"}}, "it holds a __lambda__"),
        ({"class_name": "Mine", "module": "keras.layers", "registered_name": "mine>Mine"}, "Keras cannot build it"),
    ],
)
def test_a_file_of_keras_that_is_not_plain_is_refused(tmp_path, part, says):
    path = tmp_path / "evil.keras"
    record = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "evil", "layers": [part | {"config": {}} | part]},
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(record))
    with pytest.raises(ValueError, match=says):
        networks.read_network(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b"{", "this is not JSON"),
        ("a.json", b"\xff\xfe", "this is not JSON|codec"),
        ("a.json", b"[" * 100_000, "a network in JSON has a name"),
        ("a.keras", b"", "it is not a whole model of Keras"),
        ("a.pt", pickle.dumps(1), "may hold code that runs"),
        ("a.h5", b"", "of Keras's old kind"),
        ("a.safetensors", b"", "holds weights only"),
        ("a", b"", "a description ends in .json, a model of Keras in .keras"),
    ],
)
def test_a_file_that_holds_no_description(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=says):
        networks.read_network(path)


def test_a_wrong_size_is_said_as_such():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    with pytest.raises(ValueError, match=r"layer '2', Linear.* does not fit pictures of this shape"):
        networks.from_torch(model, (3, 9, 9))
    for shape, says in [((3, 0, 8), "input_shape must be"), ((8, 8), "a picture"), (8, "a shape of its input")]:
        with pytest.raises(ValueError, match=says):
            networks.from_torch(model, shape)
    with pytest.raises(ValueError, match="a model of PyTorch is needed; got str"):
        networks.from_torch("resnet50", (3, 8, 8))


def test_an_import_leaves_the_model_and_the_random_numbers_alone():
    model = lively(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4).eval(), nn.Dropout(0.5), nn.Flatten()))
    before, modes = copy.deepcopy(model.state_dict()), [part.training for part in model.modules()]
    state = torch.random.get_rng_state()
    net = networks.from_torch(model, MAPS)
    assert net.verified == 0
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_double_and_a_model_without_weights():
    assert networks.from_torch(nn.Sequential(nn.Conv2d(4, 2, 3), nn.Tanh()).double(), MAPS).verified < 1e-12
    assert networks.from_torch(nn.Sequential(nn.MaxPool2d(2), nn.Flatten()), MAPS).verified == 0


class Masked(nn.Module):
    "Arguments beside the picture, which have defaults."

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x, mask=None, twice=False):
        x = self.conv(x)
        x = x if mask is None else x * mask
        return F.relu(x + x if twice else x)


def test_arguments_with_defaults_are_taken_as_they_are():
    assert [node.name for node in agree(Masked(), MAPS).nodes] == ["conv", "relu"]


def pruned():
    from torch.nn.utils import prune

    model = nn.Sequential(nn.Conv2d(4, 4, 3))
    prune.l1_unstructured(model[0], "weight", amount=0.3)
    return model


ODD = {
    "a script": (
        lambda: torch.jit.trace(nn.Sequential(nn.Conv2d(4, 4, 1)), torch.zeros(1, *MAPS)),
        "torch.fx cannot follow it",
    ),
    "no forward": (nn.Module, "torch.fx cannot follow it"),
    "a list": (lambda: nn.ModuleList([nn.Conv2d(4, 4, 1)]), "torch.fx cannot follow it"),
    "nothing": (nn.Sequential, "it is the picture itself"),
    "pruned": (pruned, "layer '0' is a Conv2d.* its weight is computed from other numbers"),
    "no numbers": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1, device="meta")), "no numbers that could be compared"),
    "no flatten": (
        lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.Linear(8, 2)),
        "layer '1' is a Linear.*is a flatten missing",
    ),
    "the number of pictures": (lambda: Does(lambda m, x: x / x.size(0)), r"truediv\(x, n\), has no counterpart"),
    "noise": (lambda: Does(lambda m, x: x + torch.randn(1)), "does not compute what the model does"),
    "a dense mask": (
        lambda: Does(lambda m, x: x - m.mask, mask=torch.rand(MAPS)),
        "one number for each channel was expected",
    ),
    "a number comes out": (lambda: Does(lambda m, x: (x, 3)), "what the model returns has no counterpart here: 3"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_models_get_one_sentence(name):
    make, says = ODD[name]
    with pytest.raises(ValueError, match=says):
        networks.from_torch(make(), MAPS)


# First models


class Mnist(nn.Module):  # pytorch/examples
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, 1), nn.Conv2d(32, 64, 3, 1)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = self.dropout1(F.max_pool2d(x, 2))
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return F.log_softmax(self.fc2(self.dropout2(x)), dim=1)


class OldMnist(nn.Module):  # the same, as it was written in 2017
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 10, kernel_size=5), nn.Conv2d(10, 20, kernel_size=5)
        self.conv2_drop = nn.Dropout2d()
        self.fc1, self.fc2 = nn.Linear(320, 50), nn.Linear(50, 10)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = F.relu(self.fc1(x.view(-1, 320)))
        x = F.dropout(x, training=self.training)
        return F.log_softmax(self.fc2(x))


class Cifar(nn.Module):  # the CIFAR-10 tutorial
    def __init__(self):
        super().__init__()
        self.conv1, self.pool, self.conv2 = nn.Conv2d(3, 6, 5), nn.MaxPool2d(2, 2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Blitz(nn.Module):  # the sixty-minute tutorial
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 5 * 5, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, self.num_flat_features(x))
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))

    def num_flat_features(self, x):
        num_features = 1
        for s in range(1, 4):
            num_features *= x.size(s)
        return num_features


class QuickStart(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.stack = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))

    def forward(self, x):
        return self.stack(self.flatten(x))


class Residual(nn.Module):  # d2l
    def __init__(self, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.conv1 = nn.LazyConv2d(num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2 = nn.LazyConv2d(num_channels, kernel_size=3, padding=1)
        self.conv3 = nn.LazyConv2d(num_channels, kernel_size=1, stride=strides) if use_1x1conv else None
        self.bn1, self.bn2 = nn.LazyBatchNorm2d(), nn.LazyBatchNorm2d()

    def forward(self, X):
        Y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(X)))))
        if self.conv3:
            X = self.conv3(X)
        Y += X
        return F.relu(Y)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.bottom = self.double(1, 8), self.double(8, 16)
        self.up, self.last, self.out = nn.ConvTranspose2d(16, 8, 2, stride=2), self.double(16, 8), nn.Conv2d(8, 2, 1)

    def double(self, before, after):
        one, two = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1, bias=False)
        return nn.Sequential(
            one, nn.BatchNorm2d(after), nn.ReLU(inplace=True), two, nn.BatchNorm2d(after), nn.ReLU(True)
        )

    def forward(self, x):
        x1 = self.down(x)
        x = self.up(self.bottom(F.max_pool2d(x1, 2)))
        rows, columns = x1.size()[2] - x.size()[2], x1.size()[3] - x.size()[3]
        x = F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return self.out(self.last(torch.cat([x1, x], dim=1)))


def d2l_lenet():
    first = nn.LazyConv2d(6, kernel_size=5, padding=2), nn.Sigmoid(), nn.AvgPool2d(kernel_size=2, stride=2)
    second = nn.LazyConv2d(16, kernel_size=5), nn.Sigmoid(), nn.AvgPool2d(kernel_size=2, stride=2), nn.Flatten()
    dense = nn.LazyLinear(120), nn.Sigmoid(), nn.LazyLinear(84), nn.Sigmoid(), nn.LazyLinear(10)
    return nn.Sequential(*first, *second, *dense)


def d2l_resnet():
    first = nn.LazyConv2d(16, kernel_size=7, stride=2, padding=3), nn.LazyBatchNorm2d(), nn.ReLU()
    blocks = nn.MaxPool2d(3, 2, 1), Residual(16), Residual(32, use_1x1conv=True, strides=2)
    return nn.Sequential(*first, *blocks, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.LazyLinear(10))


FIRST_MODELS = {
    "pytorch/examples mnist": (Mnist, (1, 28, 28)),
    "pytorch/examples mnist, 2017": (OldMnist, (1, 28, 28)),
    "CIFAR-10 tutorial": (Cifar, (3, 32, 32)),
    "sixty-minute tutorial": (Blitz, (1, 32, 32)),
    "quickstart": (QuickStart, (1, 28, 28)),
    "d2l LeNet": (d2l_lenet, (1, 28, 28)),
    "d2l ResNet": (d2l_resnet, (1, 64, 64)),
    "U-Net": (UNet, (1, 21, 30)),
}


@pytest.mark.parametrize("name", FIRST_MODELS)
def test_first_models_are_read(name):
    make, shape = FIRST_MODELS[name]
    model = make()
    model(torch.zeros(2, *shape))  # what is lazy takes its shapes from a first batch
    net = agree(lively(model), shape)
    assert networks.from_torch(model, shape).verified < 1e-5
    assert networks.receptive_field(net)[0].size > 1


# Models of `to_torch` back again

OURS = [name for name in architectures.__all__ if name not in ("scaled", "inception", "residual_block")]


@pytest.mark.parametrize("name", OURS)
def test_our_own_models_come_back(name):
    width = {"lenet5": 1.0}.get(name, 0.125)
    net = getattr(architectures, name)(width=width)
    model = networks.to_torch(net)
    again = networks.from_torch(model, net.input_shape, verify=name == "lenet5")
    assert again.name == net.name
    assert again.outputs == net.outputs
    assert [(n.name, n.inputs, type(n.layer)) for n in again.nodes] == [
        (n.name, n.inputs, type(n.layer)) for n in net.nodes
    ]
    assert again.shapes == net.shapes
    assert networks.weight_shapes(again) == networks.weight_shapes(net)
    assert (networks.n_macs(again), networks.receptive_fields(again)) == (
        networks.n_macs(net),
        networks.receptive_fields(net),
    )
    assert networks.from_torch(networks.to_torch(again), net.input_shape, verify=False) == again


@pytest.mark.parametrize("way", ["pickle", "torch.save", "a copy, then torch.save"])
def test_a_model_that_was_saved_knows_its_layers(way):
    nodes = [("a", Conv(4, 3, padding="same")), ("b", Activation("relu"), "a"), ("sum", networks.Add(), ("a", "b"))]
    net = Network("net 한글", (2, 6, 6), [*nodes, networks.Flatten("hwc"), Dense(3)])
    model = networks.to_torch(net, seed=0)
    if way == "pickle":
        again = pickle.loads(pickle.dumps(model))
    else:
        stored = io.BytesIO()
        torch.save(copy.deepcopy(model) if "copy" in way else model, stored)
        stored.seek(0)
        again = torch.load(stored, weights_only=False)
    x = np.random.default_rng(0).random((2, 2, 6, 6), np.float32)
    for name in ("a", "sum", "dense1"):
        np.testing.assert_array_equal(
            networks.activations(again, x, name)[name], networks.activations(model, x, name)[name]
        )
    assert networks.grad_cam(again, x, "sum", [0, 1]).shape == (2, 6, 6)
    assert again.meta["network"].name == "net 한글"


# Models of torchvision, where its folder is named

SAMPLE = "alexnet resnet18 googlenet squeezenet1_1 densenet121 mobilenet_v3_small shufflenet_v2_x0_5 mnasnet0_5 regnet_x_400mf convnext_tiny"


@pytest.fixture(scope="session")
def torchvision_model():
    "Builds a model of torchvision by name."
    return partial(runpy.run_path(str(COURSE / "benchmarks/imports.py"))["torchvision_model"], TORCHVISION)


@needs_torchvision
@pytest.mark.parametrize("name", SAMPLE.split())
def test_models_of_torchvision_are_read(name, torchvision_model):
    model = torchvision_model(name)
    net = networks.from_torch(model, (3, 64, 64))
    assert net.verified < 1e-5
    assert networks.n_params(net) == sum(p.numel() for p in model.parameters())
    assert networks.from_torch(networks.to_torch(net), (3, 64, 64), verify=False).shapes == net.shapes


@needs_torchvision
def test_a_transformer_is_refused_by_name(torchvision_model):
    with pytest.raises(
        ValueError, match=r"operation 'expand', expand\(class_token, .* computes with the weights 'class_token'"
    ):
        networks.from_torch(torchvision_model("vit_b_16"), (3, 224, 224))


def test_the_table_of_architectures():
    "The recorded run: what was asked for was reached, counts are the framework's own, and every refusal is a sentence."
    records = json.loads((COURSE / "benchmarks/results/imports.json").read_text())["architectures"]
    verified = [record for record in records if "verified" in record]
    for record in verified:
        assert record["verified"] < 1e-4
        assert record["parameters"] == record["theirs"], record["name"]
    for framework, least in (("torch", 20), ("keras", 28)):
        tried = [record for record in records if record["framework"] == framework]
        assert len(tried) >= {"torch": 26, "keras": 36}[framework]
        assert sum("verified" in record for record in tried) >= least
        assert all(record.get("refused", "no counterpart") for record in tried)


class Spare(nn.Module):
    "A model with a layer that it never uses."

    def __init__(self):
        super().__init__()
        self.used, self.spare = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.used(x)


def test_weights_that_take_no_part_are_named_and_not_counted():
    with pytest.warns(UserWarning, match=r"spare\.weight, spare\.bias: these weights take no part"):
        assert networks.n_params(networks.from_torch(Spare(), (3, 8, 8))) == 4 * 28
