"""Models that others bring: read faithfully, or refused by name, and never silently wrong."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import inspect

import pytest
import torch
from torch import nn

from cnncourse import networks, torch_models


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
