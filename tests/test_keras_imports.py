"""Models of Keras that others bring: every layer, every setting, every operator is read as it is, or refused by name."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import inspect
import warnings

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers, ops
from tensorflow.errors import InvalidArgumentError

from cnncourse import architectures, networks, weights
from cnncourse.keras_models import describe_keras, keras_tensors, to_keras
from cnncourse.layers import (
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
    n_params,
    receptive_fields,
)


@pytest.fixture(autouse=True, scope="module")
def fresh():
    "Keras keeps every model of a session in mind until it is told to forget."
    keras.backend.clear_session()


def stir(model, most=0.7, seed=0):
    "Weights of which no two are alike, so that an exchange of two shows."
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = weight.numpy()
        if value.dtype.kind == "f" and value.ndim and (value.ndim == 1 or most > 0.1):
            value = value + rng.uniform(-most, most, value.shape)
            weight.assign(np.abs(value) + 0.1 if "variance" in weight.name else value)
    return model


def numbers(value):
    return [np.array(part, np.float64) for part in keras.tree.flatten(value)]


def proven(model, most=0.7):
    "The description of a model, proven through PyTorch, with as many parameters as Keras counts."
    net = networks.from_keras(stir(model, most))
    fixed = {"moving_mean", "moving_variance", "mean", "variance", "count"}
    assert net.verified < 1e-4
    assert n_params(net) == sum(int(np.prod(weight.shape)) for weight in model.weights if weight.name not in fixed)
    return net


def same(model):
    "The same, and proven in Keras as well."
    net = proven(model)
    ours = to_keras(net)
    networks.copy_weights(model, ours)
    x = 2 * np.random.default_rng(1).normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    pairs = zip(
        numbers(ours(x.reshape(2, *ours.input_shape[1:]), training=False)),
        numbers(model(x, training=False)),
        strict=True,
    )
    for one, other in pairs:
        np.testing.assert_allclose(one.ravel(), other.ravel(), rtol=1e-3, atol=1e-4 * max(np.abs(other).max(), 1e-3))
    return net


def image(*shape):
    return keras.Input(shape or (8, 8, 4))


def model(make, shape=(8, 8, 4)):
    "A model of Keras, from a function of its input."
    x = image(*shape)
    return keras.Model(x, make(x), name="theirs")


def conv(channels=4, **settings):
    return layers.Conv2D(channels, 3, padding="same", **settings)


# Every setting of every layer

RANDOM = {
    "RandomBrightness": {"factor": 0.2},
    "RandomColorDegeneration": {"factor": 0.2},
    "RandomContrast": {"factor": 0.2},
    "RandomErasing": {},
    "RandomFlip": {},
    "RandomGaussianBlur": {},
    "RandomHue": {"factor": 0.2},
    "RandomRotation": {"factor": 0.2},
    "RandomSaturation": {"factor": 0.2},
    "RandomShear": {"x_factor": 0.2, "y_factor": 0.2},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
    "RandomZoom": {"height_factor": 0.2},
}
NEEDED = {  # each supported layer, with what it cannot do without; its input is (8, 8, 4) or as in VECTORS
    "Conv2D": {"filters": 4, "kernel_size": 3},
    "Conv2DTranspose": {"filters": 4, "kernel_size": 3, "strides": 2},
    "DepthwiseConv2D": {"kernel_size": 3},
    "SeparableConv2D": {"filters": 3, "kernel_size": 3},
    "Dense": {"units": 3},
    "Activation": {"activation": "relu"},
    "MaxPooling2D": {},
    "AveragePooling2D": {"pool_size": 2},
    "GlobalAveragePooling2D": {},
    "GlobalMaxPooling2D": {},
    "AdaptiveAveragePooling2D": {"output_size": 3},
    "BatchNormalization": {},
    "LayerNormalization": {},
    "GroupNormalization": {"groups": 2},
    "Dropout": {"rate": 0.5},
    "SpatialDropout2D": {"rate": 0.5},
    "Flatten": {},
    "Reshape": {"target_shape": (4, 16, 4)},
    "Permute": {"dims": (1, 2, 3)},
    "ZeroPadding2D": {},
    "Cropping2D": {},
    "UpSampling2D": {},
    "Resizing": {"height": 16, "width": 16},
    "ReLU": {},
    "LeakyReLU": {},
    "ELU": {},
    "Softmax": {},
    "Rescaling": {"scale": 0.5},
    "Normalization": {"mean": [1.0, 2.0, 3.0, 4.0], "variance": [1.0, 4.0, 9.0, 2.0]},
    "Add": {},
    "Subtract": {},
    "Multiply": {},
    "Average": {},
    "Concatenate": {},
    "Identity": {},
    "GaussianNoise": {"stddev": 0.1},
    "ActivityRegularization": {},
    **RANDOM,
}
MERGES = {"Add", "Subtract", "Multiply", "Average", "Concatenate"}
VALUES = {  # other values of a setting, wherever a layer has one of this name
    "filters": [3],
    "units": [5],
    "kernel_size": [(2, 3), 1],
    "strides": [2, (2, 2), 3],
    "padding": ["same", 2, ((1, 0), (2, 3))],
    "cropping": [1, ((1, 0), (2, 3))],
    "data_format": ["channels_first", "channels_last"],
    "dilation_rate": [2],
    "groups": [1, 4, -1],
    "activation": ["gelu", "leaky_relu", "softmax", "exponential", "linear", lambda x: 2 * x, ops.relu],
    "use_bias": [False],
    "depth_multiplier": [2],
    "output_padding": [0, 1],
    "pool_size": [3, (3, 2)],
    "keepdims": [True],
    "output_size": [8, (5, 2)],
    "axis": [1, 2, 3, -1, [3], [1, 2, 3], None],
    "momentum": [0.5],
    "epsilon": [0.1],
    "center": [False],
    "scale": [False, 3.0, [1.0, 2.0, 3.0, 4.0]],
    "offset": [1.0, [1.0, 2.0, 3.0, 4.0]],
    "renorm": [True],
    "renorm_clipping": [{"rmax": 1.0, "rmin": 0.0, "dmax": 1.0}],
    "renorm_momentum": [0.5],
    "synchronized": [True],
    "rate": [0.1],
    "noise_shape": [(None, 1, 1, 1), (None, 1, 1, 4), (None, 8, 8, 1)],
    "target_shape": [(256,), (-1,), (16, 16), (2, 2, 64), (8, -1, 8), (2, 2, 4, 16)],
    "dims": [(2, 1, 3), (3, 1, 2), (2, 3, 1)],
    "size": [3, (2, 3)],
    "interpolation": ["nearest", "bilinear", "bicubic"],
    "height": [8, 24, 12],
    "width": [8, 24, 4],
    "crop_to_aspect_ratio": [True],
    "pad_to_aspect_ratio": [True],
    "antialias": [True],
    "fill_mode": ["reflect", "nearest"],
    "fill_value": [0.5],
    "max_value": [6, 6.0, 2.0, 0.0],
    "negative_slope": [0.0, 0.2, 1.0],
    "threshold": [0.5, -0.5],
    "alpha": [0.3],
    "mean": [[0.0, 0.0, 1.0, 1.0]],
    "variance": [[0.0, 1.0, 2.0, 3.0]],
    "invert": [True],
    "stddev": [0.5],
    "l1": [0.1],
    "l2": [0.1],
    "seed": [3],
    "lora_rank": [1],
    "lora_alpha": [2.0],
    "quantization_config": [None],
    "factor": [0.4],
    "mode": ["horizontal"],
    "value_range": [(0, 1)],
    "sigma": [0.5],
    "x_factor": [0.1],
    "y_factor": [0.1],
    "height_factor": [0.1],
    "width_factor": [0.1],
    "bounding_box_format": ["xyxy"],
    "name": ["of another name", "input", "합성곱", "a-b.c"],
    "dtype": ["float32", "float16", "mixed_float16", "mixed_bfloat16", "float64"],
    "trainable": [False],
    "rms_scaling": [True],
}
ALSO = {("Conv2DTranspose", "dilation_rate"): {"strides": 1}}  # a setting that Keras takes only with another
ENDINGS = {"initializer": ["random_normal"], "regularizer": ["l2"], "constraint": ["non_neg"]}


def values_of(name):
    return VALUES.get(name) or ENDINGS.get(name.rpartition("_")[2]) or []


def parameters(kind):
    "The names of a layer's settings, those of all layers among them."
    names = [
        n for n, p in inspect.signature(getattr(layers, kind).__init__).parameters.items() if p.kind != p.VAR_KEYWORD
    ]
    more = any(p.kind == p.VAR_KEYWORD for p in inspect.signature(getattr(layers, kind).__init__).parameters.values())
    return [*names[1:], *(n for n in ("name", "dtype", "trainable") if more and n not in names)]


def around(kind, changes):
    "A model of the layer; None where Keras itself refuses the setting."
    settings, end = NEEDED[kind] | ALSO.get((kind, *changes), {}) | changes, layers.LeakyReLU(0.5, name="end")
    try:
        layer = getattr(layers, kind)(**settings)
        shape = (8, 8, 3 if kind in RANDOM else 4)
        return model(lambda x: end(layer([layers.ReLU()(x), x]) if kind in MERGES else layer(x)), shape)
    except (ValueError, TypeError, NotImplementedError, AttributeError, InvalidArgumentError):
        return None


@pytest.mark.parametrize("kind", NEEDED)
def test_every_setting_of_every_layer_is_read_or_refused_by_name(kind):
    outcomes = {}
    for name in parameters(kind):
        tried = [(value, around(kind, {name: value})) for value in values_of(name)]
        tried = [(value, made) for value, made in tried if made is not None and made.built]
        assert tried, f"no value of {kind}'s {name} was tried: write one into VALUES"
        for value, made in tried:
            try:
                outcomes[name, str(value)] = proven(made).verified
            except ValueError as error:
                outcomes[name, str(value)] = str(error)
                refused = "no counterpart here" in str(error) or "does not fit" in str(error)
                assert refused and "layer '" in str(error), (name, value, str(error))
    assert any(isinstance(outcome, float) for outcome in outcomes.values())


def test_the_list_of_layers_is_that_of_the_readers():
    "A layer that learns to be read is tried with all its settings."
    from cnncourse.keras_models import _AUGMENT, _READERS

    known = {name for name in _READERS if isinstance(getattr(layers, name, None), type)}
    assert known - set(_AUGMENT) - {"Maximum"} == set(NEEDED) - set(RANDOM)
    assert set(RANDOM) <= set(_AUGMENT)


# Operators and operations

FAITHFUL = {
    "x + y": lambda x: conv(8)(conv(16)(x) + conv(16)(x)),
    "x + x": lambda x: x + x,
    "x + 1": lambda x: 1 + (x + 2.5),
    "1 - x": lambda x: 1 - conv()(x),
    "x - y": lambda x: conv()(x) - x,
    "-x": lambda x: -x,
    "x * 2": lambda x: 2 * x * 0.25,
    "x * y": lambda x: x * conv()(x),
    "x / 255": lambda x: conv()(x / 255.0),
    "x ** 2": lambda x: x**2,
    "a number for each channel": lambda x: (x - np.array([1.0, 2, 3, 4])) / np.array([[[[1.0, 2, 3, 4]]]]),
    "rows and columns": lambda x: x[:, 1:-1, 2:],
    "every second": lambda x: conv()(x)[:, ::2, 1::3],
    "channels": lambda x: ops.concatenate([x[..., :2], x[..., 3:], x[:, :, :, ::2]], axis=-1),
    "all of a slice": lambda x: conv()(x)[:, 1:7:3, ::2, 1:3],
    "features": lambda x: layers.Dense(6)(layers.Flatten()(x))[:, 2:5],
    "take": lambda x: ops.take(x, [2, 0, -1], axis=-1),
    "pad": lambda x: ops.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)], constant_values=3),
    "reflect": lambda x: ops.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)], mode="reflect"),
    "mean": lambda x: ops.mean(x, axis=[1, 2]),
    "max": lambda x: ops.max(x, axis=(1, 2), keepdims=True) * x,
    "clip": lambda x: ops.clip(x, -0.5, 1),
    "maximum": lambda x: ops.maximum(0, x),
    "square": lambda x: ops.square(x),
    "reshape": lambda x: ops.reshape(conv()(x), (-1, 256)),
    "transpose and flatten": lambda x: layers.Flatten()(ops.transpose(conv()(x), (0, 3, 1, 2))),
    "permute and flatten": lambda x: layers.Flatten()(layers.Permute((3, 1, 2))(conv()(x))),
    "max_pool": lambda x: ops.max_pool(x, 3, 2, padding="same"),
    "average_pool": lambda x: ops.average_pool(x, 3, 1, padding="same"),
    "resize": lambda x: ops.image.resize(x, (16, 24)),
    "cast": lambda x: conv()(ops.cast(x, "float32")),
    "concat of one twice": lambda x: layers.Concatenate()([conv(2)(x), x, x]),
    "add of one twice": lambda x: layers.Add()([x, conv()(x), x]),
    "squeeze and excitation": lambda x: x * layers.Conv2D(4, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x)),
    "a vector beside maps": lambda x: layers.Multiply()([x, layers.GlobalAveragePooling2D()(x)]),
    "padding twice": lambda x: conv()(layers.ZeroPadding2D(1)(layers.ZeroPadding2D(((1, 0), (2, 1)))(x))),
    "padding at the end": lambda x: layers.ZeroPadding2D(2)(conv()(x)),
    "padding before pooling": lambda x: layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(conv()(x))),
    "padding read twice": lambda x: (lambda z: layers.Conv2D(2, 3)(z) + layers.Conv2D(2, 3)(z))(
        layers.ZeroPadding2D(1)(x)
    ),
    "a layer as activation": lambda x: conv(activation=layers.LeakyReLU(0.2))(x),
    "the same ReLU twice": lambda x: (lambda relu: relu(conv()(relu(x) - 1)))(layers.ReLU()),
    "in use": lambda x: layers.BatchNormalization()(x, training=False),
    "models inside": lambda x: keras.Sequential(
        [image(8, 8, 4), conv(activation="relu"), keras.Sequential([image(8, 8, 4), layers.Flatten()], name="end")],
        name="a model",
    )(conv()(x)),
    "any size inside": lambda x: keras.Sequential(
        [image(None, None, 4), layers.Conv2DTranspose(2, 3, 2, padding="same"), layers.GlobalAveragePooling2D()]
    )(x),
    "several outputs": lambda x: {"b": conv(name="b")(x), "a": conv(2, name="a")(x)},
    "one output twice": lambda x: [conv()(x)] * 2,
    "output of an operation": lambda x: conv()(x) + conv()(x),
}


@pytest.mark.parametrize("what", FAITHFUL)
def test_operations_are_read_as_they_are(what):
    same(model(FAITHFUL[what]))


def test_every_activation_of_keras_is_the_same_here_or_refused():
    kinds = {name: f for name, f in vars(keras.activations).items() if callable(f) and not hasattr(f, "cache")}
    refused = set()
    for name, function in kinds.items():
        if name in ("get", "serialize", "deserialize"):
            continue
        try:
            proven(model(lambda x, function=function: conv(activation=function)(x)))
        except ValueError as error:
            assert f"the activation {name} has no counterpart here" in str(error)
            refused.add(name)
    assert refused == {"exponential", "glu", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "threshold"}


def relu(x):  # merely called so
    return 2 * x


def shared(x):
    layer = conv(name="twice")
    return layer(layer(x))


def tied(x):
    first, second = conv(name="first"), conv(name="second")
    x = second(first(x))
    second._tracker.unlock()
    second._kernel = first._kernel
    second._trainable_variables[0] = first._kernel
    return x


def shared_model(x):
    inner = keras.Sequential([image(8, 8, 4), conv()], name="inner")
    return inner(inner(x))


class Own(keras.Model):
    "A model whose graph is its code."

    def __init__(self):
        super().__init__(name="own")
        self.inside = conv()

    def call(self, x):
        return self.inside(x)


class Twice(layers.Conv2D):
    "A layer that is merely made from one of Keras's."

    def call(self, x):
        return 2 * super().call(x)


REFUSED = {
    "x / y": (lambda x: x / conv()(x), "TrueDivide with 2 tensors has no counterpart here"),
    "1 / x": (lambda x: 1 / x, "TrueDivide with a number divided by a tensor has no counterpart here"),
    "one row": (lambda x: x[:, 0], "GetItem with the index"),
    "mean of channels": (lambda x: ops.mean(x, axis=-1), "Mean with axis=[-1] has no counterpart here"),
    "exp": (lambda x: ops.exp(x), "operation 'exp"),
    "where": (lambda x: ops.where(x > 0, x, 0), "is a Greater, which has no counterpart here"),
    "split": (lambda x: ops.split(x, 2, axis=-1)[0], "Split with 2 outputs has no counterpart here"),
    "a number for each pixel": (lambda x: x * np.ones((8, 8, 1)), "a constant of shape (8, 8, 1) has no counterpart"),
    "a variable": (lambda x: x * keras.Variable(2.0, name="gain"), "has no counterpart here"),
    "padded channels": (lambda x: ops.pad(x, [(0, 0), (0, 0), (0, 0), (0, 1)]), "Pad with pad_width"),
    "concatenated rows": (lambda x: layers.Concatenate(axis=1)([x, x]), "Concatenate with axis=1 has no counterpart"),
    "maximum": (lambda x: layers.Maximum()([x, conv()(x)]), "Maximum with"),
    "another order": (lambda x: conv()(layers.Permute((2, 1, 3))(x)), "Conv2D has no counterpart here for a tensor"),
    "channels that stay first": (lambda x: layers.Permute((3, 1, 2))(conv()(x)), "channels are not last"),
    "merely named": (lambda x: conv(activation=relu)(x), "the activation relu, which is not Keras's own, has no"),
    "lambda": (
        lambda x: layers.Lambda(lambda x: x, name="code")(x),
        "layer 'code' is a Lambda, which has no counterpart",
    ),
    "own layer": (lambda x: Twice(4, 3, name="own")(x), "layer 'own' is a Twice, which has no counterpart here"),
    "one layer twice": (shared, "layer 'twice' uses the weights of 'twice' again"),
    "one model twice": (shared_model, "again; shared weights have no counterpart here"),
    "tied weights": (tied, "layer 'second' uses the weights of 'first' again"),
    "always in training": (
        lambda x: layers.BatchNormalization()(x, training=True),
        "with training=True has no counterpart",
    ),
    "own model inside": (lambda x: Own()(x), "'own' is a Own whose own code is its graph"),
    "nothing": (lambda x: layers.Identity()(x), "'theirs' gives back what it takes"),
    "lists of pixels": (
        lambda x: layers.Conv1D(2, 3)(layers.Reshape((64, 4))(x)),
        "is a Conv1D, which has no counterpart",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_counterpart_is_refused_by_name(what):
    make, message = REFUSED[what]
    with pytest.raises(ValueError) as error:
        describe_keras(model(make))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_models_that_are_no_network_are_refused():
    two = keras.Model([a := image(), b := image()], a + b, name="two")
    own = Own()
    own(np.zeros((1, 8, 8, 4)))
    for wrong, message in {
        two: "'two' has 2 inputs; a network here has one",
        own: "'own' is a Own whose own code is its graph",
        Own(): "'own' is a Own whose own code is its graph",
        keras.Sequential([conv()], name="open"): "a model that knows its input's shape is needed; build 'open'",
        keras.Sequential([image(None, None, 3), conv()]): "takes (None, None, 3); a network here takes",
        keras.Sequential([image(4, 4, 4, 3), layers.Conv3D(2, 3)]): "takes (4, 4, 4, 3); a network here takes",
    }.items():
        with pytest.raises(ValueError) as error:
            describe_keras(wrong)
        assert message in str(error.value)


# Whole models


def toy_resnet():  # of the guide to the functional interface
    inputs = keras.Input((32, 32, 3), name="img")
    x = layers.Conv2D(32, 3, activation="relu")(inputs)
    x = layers.Conv2D(64, 3, activation="relu")(x)
    first = layers.MaxPooling2D(3)(x)
    x = layers.Conv2D(64, 3, activation="relu", padding="same")(first)
    x = layers.Conv2D(64, 3, activation="relu", padding="same")(x)
    x = layers.Conv2D(64, 3, activation="relu")(layers.add([x, first]))
    x = layers.Dense(256, activation="relu")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(10)(layers.Dropout(0.5)(x)), name="toy_resnet")


def cats_and_dogs():  # keras.io: image classification from scratch, in small
    inputs = keras.Input((48, 48, 3))
    x = layers.Rescaling(1.0 / 255)(inputs)
    x = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, padding="same")(x)))
    before = x
    for size in (16, 24):
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = layers.BatchNormalization()(layers.SeparableConv2D(size, 3, padding="same")(x))
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        x = before = layers.add([x, layers.Conv2D(size, 1, strides=2, padding="same")(before)])
    x = layers.Dropout(0.25)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(1)(x))


def unet():  # keras.io: image segmentation with a U-Net-like architecture, in small
    inputs = keras.Input((32, 32, 3))
    x = before = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(8, 3, 2, padding="same")(inputs)))
    x = layers.BatchNormalization()(layers.SeparableConv2D(16, 3, padding="same")(layers.Activation("relu")(x)))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = before = layers.add([x, layers.Conv2D(16, 1, strides=2, padding="same")(before)])
    for size in (16, 8):
        x = layers.BatchNormalization()(layers.Conv2DTranspose(size, 3, padding="same")(layers.Activation("relu")(x)))
        x = layers.UpSampling2D(2)(x)
        x = before = layers.add([x, layers.Conv2D(size, 1, padding="same")(layers.UpSampling2D(2)(before))])
    return keras.Model(inputs, layers.Conv2D(3, 3, activation="softmax", padding="same")(x))


TUTORIALS = {
    "TensorFlow: beginners": lambda: keras.Sequential(
        [image(28, 28), layers.Flatten(), layers.Dense(128, "relu"), layers.Dropout(0.2), layers.Dense(10)]
    ),
    "TensorFlow: CNN": lambda: keras.Sequential(
        [
            image(32, 32, 3),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, "relu"),
            layers.Dense(10),
        ]
    ),
    "TensorFlow: images": lambda: keras.Sequential(
        [
            image(48, 48, 3),
            keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomZoom(0.1)]),
            layers.Rescaling(1.0 / 255),
            *(part for n in (16, 32, 64) for part in (conv(n, activation="relu"), layers.MaxPooling2D())),
            *(
                layers.Dropout(0.2),
                layers.Flatten(),
                layers.Dense(128, activation="relu"),
                layers.Dense(5, name="outputs"),
            ),
        ]
    ),
    "TensorFlow: autoencoder": lambda: keras.Sequential(
        [
            image(28, 28),
            layers.Flatten(),
            layers.Dense(64, "relu"),
            layers.Dense(784, "sigmoid"),
            layers.Reshape((28, 28, 1)),
        ]
    ),
    "TensorFlow: generator": lambda: keras.Sequential(
        [
            image(100),
            layers.Dense(7 * 7 * 8, use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Reshape((7, 7, 8)),
            layers.Conv2DTranspose(4, 5, strides=2, padding="same", use_bias=False),
            layers.Conv2DTranspose(1, 5, strides=2, padding="same", use_bias=False, activation="tanh"),
        ]
    ),
    "keras.io: mnist_convnet": lambda: keras.Sequential(
        [
            image(28, 28, 1),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    ),
    "keras.io: functional guide": toy_resnet,
    "keras.io: cats and dogs": cats_and_dogs,
    "keras.io: segmentation": unet,
}


@pytest.mark.parametrize("name", TUTORIALS)
def test_first_models_of_the_tutorials(name):
    same(TUTORIALS[name]())


@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small", "EfficientNetB0"])
def test_published_architectures(name):
    made = getattr(keras.applications, name)(
        weights=None, input_shape=(32, 32, 3), classes=7, classifier_activation=None
    )
    proven(made, 0.01)


def test_parts_of_published_architectures_that_are_their_own():
    "The layers that ConvNeXt and Inception-ResNet bring along."
    from keras.src.applications.convnext import LayerScale, StochasticDepth
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    net = same(
        model(
            lambda x: (
                x + StochasticDepth(0.2)(LayerScale(0.5, 4)(layers.Dense(4, "gelu")(layers.LayerNormalization()(x))))
            )
        )
    )
    assert [node.layer for node in net.nodes if isinstance(node.layer, DropPath)] == [DropPath(0.2)]
    same(model(lambda x: CustomScaleLayer(0.3)([x, conv()(x)])))


def equal(net):
    "Whether the model of `to_keras` comes back as the network that it was made from."
    back = describe_keras(to_keras(net))
    assert (back.input_shape, back.outputs) == (net.input_shape, net.outputs)
    assert {node.name: node.inputs for node in back.nodes} == {node.name: node.inputs for node in net.nodes}
    assert back.shapes == net.shapes
    assert n_params(back) == n_params(net)
    assert networks.n_macs(back) == networks.n_macs(net)
    if len(net.input_shape) == 3:
        assert receptive_fields(back) == receptive_fields(net)
    return back


NETS = {
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


@pytest.mark.parametrize("name", NETS)
def test_models_of_to_keras_come_back_equal(name):
    equal(NETS[name])


RECORDS = [
    *(Conv(4, 3, stride, pads, dilation, groups) for stride in (1, 2) for pads in (0, 1, "same", ((0, 2), (1, 0))) for dilation, groups in ((1, 1), (2, 2), (1, 4))),
    Conv(8, (3, 1), 2, 1, groups=4),
    *(ConvTranspose(3, 3, 2, pads, more) for pads in (0, 1, ((0, 1), (1, 0))) for more in (0, 1)),
    ConvTranspose(3, 2, 3),
    *(Pad(((1, 2), (0, 1)), mode) for mode in ("constant", "reflect", "replicate", "circular")),
    *(Pad(pads, value=value) for pads in (2, -1, ((1, -2), (0, 1)), ((-1, 0), (0, 0))) for value in (0.0, 1.5)),
    *(kind(3, stride, pads, ceil) for kind in (MaxPool, AvgPool) for stride in (1, 2) for pads in (0, 1, "same", ((1, 0), (0, 1))) for ceil in (False, True)),
    *(AvgPool(3, 2, pads, ceil, False) for pads in (0, 1, ((1, 0), (0, 1))) for ceil in (False, True)),
    *(AdaptiveAvgPool(size) for size in (3, 9, (2, 5))),
    *(kind(keep) for kind in (GlobalAvgPool, GlobalMaxPool) for keep in (False, True)),
    *(Flatten(order) for order in ("chw", "hwc")),
    *(Reshape((2, 9, 18), order) for order in ("chw", "hwc")),
    *(kind(1e-2, scale=scale, centre=centre) for kind in (BatchNorm, LayerNorm) for scale in (True, False) for centre in (True, False)),
    *(GroupNorm(groups=groups) for groups in (1, 2, 4)),
    LocalResponseNorm(3, 0.1, 0.75, 2.0),
    LocalResponseNorm(5, 0.3, 0.5, 1.0),
    *(Activation(name) for name in ACTIVATIONS),
    *(Activation("relu", given) for given in ((0.1, 3.0, 0.5), (0.0, 2.0, 0.0), (0.0, None, -0.5))),
    *(Activation(name, (0.3,)) for name in ("leaky_relu", "elu", "celu", "soft_shrink", "hard_shrink")),
    Activation("hard_tanh", (-0.5, 2.0)),
    *(Dropout(0.3, spatial) for spatial in (False, True)),
    DropPath(0.3),
    *(Affine(scale, offset) for scale in (1.0, 0.5, (1.0, 2.0, 3.0, 4.0)) for offset in (0.0, 1.0, (1.0, 0.0, 2.0, 3.0))),
    *(Upsample(factor, mode) for factor in (2, (1, 3)) for mode in ("nearest", "bilinear")),
    Select((2, 0, 0)),
]  # fmt: skip


def both(net, seed=0):
    "The outputs of a network in PyTorch and in Keras, for the same weights and pictures."
    import torch

    rng = np.random.default_rng(seed)
    given = {
        name: (rng.uniform(0.5, 2, shape) if name.endswith("running_var") else rng.normal(size=shape)).astype(
            np.float32
        )
        for name, shape in networks.weight_shapes(net).items()
    }
    in_torch, in_keras = networks.to_torch(net).eval(), to_keras(net)
    networks.set_weights(in_torch, given)
    networks.copy_weights(in_torch, in_keras)
    x = rng.normal(size=(2, *net.input_shape)).astype(np.float32)
    with torch.no_grad():
        one = in_torch(torch.from_numpy(x)).numpy()
    return one, np.moveaxis(in_keras(np.moveaxis(x, 1, -1), training=False).numpy(), -1, 1), in_keras


@pytest.mark.parametrize("layer", RECORDS, ids=str)
def test_every_record_is_the_same_in_both_frameworks_and_comes_back_from_keras(layer):
    net = Network("one", (4, 9, 9), [("first", layer)])
    one, other, in_keras = both(net)
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    back = equal(net)
    again = to_keras(back)
    networks.copy_weights(in_keras, again)
    x = np.random.default_rng(3).normal(size=(1, 9, 9, 4)).astype(np.float32)
    np.testing.assert_allclose(again(x, training=False), in_keras(x, training=False), rtol=1e-5, atol=1e-5)


def test_all_records_are_tried():
    assert {type(layer) for layer in RECORDS} | {Dense, Add, Multiply, Subtract, Concat} == set(LAYERS.values())


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(RECORDS), min_size=1, max_size=4),
    st.sampled_from([Add(), Multiply(), Subtract(), Concat()]),
    st.integers(0, 9),
)
def test_chains_and_joins_come_back_equal(chain, join, seed):
    nodes, net = [("first", Conv(4, 1))], None
    for n, layer in enumerate(chain):
        longer = [*nodes, (f"layer{n}", layer)]
        try:
            net = Network("chain", (4, 9, 9), longer)
        except ValueError:
            continue
        nodes = longer
    nodes += [("gate", Activation("sigmoid")), ("join", join, ("gate", nodes[-1][0]))]
    net = Network("chain", (4, 9, 9), nodes)
    one, other, _ = both(net, seed)
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * max(np.abs(one).max(), 1))
    back = describe_keras(to_keras(net))
    assert (back.shapes[back.outputs[0]], n_params(back)) == (net.shapes["join"], n_params(net))


# Names and weights


def test_names_that_a_network_cannot_have_are_mapped_alike_for_layers_and_weights():
    made = model(
        lambda x: layers.Dense(2, name="합성곱 1")(
            layers.SeparableConv2D(3, 3, name="input")(conv(name="_a-b..c (d)")(x))
        )
    )
    net = same(made)
    assert {name.rpartition(".")[0] for name in weights.slots(made)} <= {node.name for node in net.nodes}
    with pytest.raises(ValueError, match="two layers are called 'a_b'"):
        describe_keras(model(lambda x: conv(name="a b")(conv(name="a_b")(x))))
    with pytest.raises(ValueError, match="two layers are called 'a_b'"):
        weights.slots(model(lambda x: conv(name="a b")(conv(name="a_b")(x))))


def test_tensors_of_a_model_are_those_of_its_nodes():
    theirs = stir(model(lambda x: conv(activation="relu", name="conv")(x) + x, (6, 6, 4)))
    net, tensors = keras_tensors(theirs)
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype(np.float32)
    found = keras.Model(theirs.input, list(tensors.values()))(x)
    assert next(iter(tensors)) == "conv.activation"
    np.testing.assert_array_equal(found[0] + x, found[1])
    assert [node.name for node in net.nodes if node.name in tensors] == list(tensors)


@pytest.mark.parametrize("end", [(28, 28), (28, 28, 1)], ids=str)
def test_maps_without_a_channel_axis_are_compared_as_one_channel(end):
    middle = [layers.Flatten(), layers.Dense(784), layers.Reshape(end)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = networks.from_keras(keras.Sequential([layers.Input((28, 28)), *middle]))
    assert net.shapes[net.outputs[0]] == (1, 28, 28) and net.verified < 1e-5
