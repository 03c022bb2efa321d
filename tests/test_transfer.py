"""Transfer: the backbone is what its card says, frozen means frozen in both frameworks, published files load rightly."""

import copy
import hashlib
import json
import re

import numpy as np
import pytest
import torch
from conftest import COURSE, cnncourse
from local_server import Server

from cnncourse import architectures, datasets, networks, training, transfer
from cnncourse.networks import Activation, BatchNorm, Conv, Dense, GlobalAvgPool, Network

FRAMEWORKS = {"torch": networks.to_torch, "keras": networks.to_keras}
FITS = {"torch": training.fit, "keras": training.fit_keras}
in_both = pytest.mark.parametrize("framework", FRAMEWORKS)
SMALL = Network(
    "small",
    (3, 8, 8),
    [
        layer
        for n in (1, 2, 3)
        for layer in ((f"block{n}.conv", Conv(6, 3, padding=1)), (f"block{n}.norm", BatchNorm()), (f"block{n}.relu", Activation()))
    ],
)  # fmt: skip


def weights_of(net: Network, seed: int = 0) -> dict[str, np.ndarray]:
    "Weights with running statistics as after some training."
    rng = np.random.default_rng(seed)
    weights = networks.initial_weights(net, seed)
    for name, array in weights.items():
        if name.endswith("running_mean"):
            weights[name] = rng.normal(size=array.shape).astype(np.float32)
        if name.endswith("running_var"):
            weights[name] = rng.uniform(0.5, 2, array.shape).astype(np.float32)
    return weights


def task(n: int = 24, classes: int = 3, shape=(3, 8, 8), seed: int = 0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return (rng.random((n, *shape)) + y[:, None, None, None] / classes).astype(np.float32), y


def model_of(framework: str, net: Network = SMALL, classes: int = 3):
    model = FRAMEWORKS[framework](transfer.with_head(net, classes), seed=1)
    transfer.borrow(model, weights_of(net))
    return model


def changed(before: dict, after: dict) -> set[str]:  # names of the layers whose arrays differ
    return {name.rpartition(".")[0] for name in before if not np.array_equal(before[name], after[name])}


# The backbone


def test_the_committed_backbone_is_small_and_fits_its_description():
    net, weights = transfer.backbone()
    assert (COURSE / "cnncourse/weights/backbone.safetensors").stat().st_size < 2 * 10**6
    assert {name: w.shape for name, w in weights.items()} == networks.weight_shapes(net)
    assert all(np.isfinite(w).all() for w in weights.values())


def test_the_card_says_what_the_backbone_saw():
    card = (COURSE / "cnncourse/weights/backbone.md").read_text(encoding="utf-8")
    seen, not_seen = card.split("## What it did not see")
    images = transfer.source_photographs()
    assert all(name in seen for name in images)
    assert f"{len(transfer.places(images))} places in {len(images)} photographs" in card
    for name in ("brick", "grass", "gravel", "astronaut", "camera"):
        assert name in not_seen and name not in images


def test_the_benchmark_and_the_card_tell_of_the_same_training():
    result = json.loads((COURSE / "benchmarks/results/pretrain.json").read_text(encoding="utf-8"))
    card = (COURSE / "cnncourse/weights/backbone.md").read_text(encoding="utf-8")
    (run,) = [run for run in result["runs"] if run["seed"] == 0]
    assert f"{run['accuracy']:.1%}" in card and run["minutes"] < 10


def test_the_pretraining_never_opens_a_target_task(monkeypatch):
    import skimage.data
    import sklearn.datasets

    def forbidden(*args, **kwargs):
        raise AssertionError("a target task was opened")

    for name in ("lfw_subset", "brick", "grass", "gravel", "astronaut", "camera"):
        monkeypatch.setattr(skimage.data, name, forbidden)
    monkeypatch.setattr(sklearn.datasets, "load_digits", forbidden)
    monkeypatch.setattr(datasets, "load", forbidden)
    pictures, _, about = transfer.pretraining_data(seed=0, per_place=1)
    assert len(pictures) == about["pictures"] == about["places"] + 16


def test_the_backbone_gives_the_same_features_in_both_frameworks():
    net, weights = transfer.backbone()
    x = transfer.prepare_images(datasets.load("textures", n_train=6, n_test=0).x_train, net)
    found = []
    for make in FRAMEWORKS.values():
        model = make(net)
        networks.set_weights(model, weights)
        found.append([transfer.features(model, x, f"block{n}") for n in range(1, 8)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


# The pretraining


def test_the_same_seed_gives_the_same_pictures():
    first, second, other = (transfer.pretraining_data(seed=seed, per_place=1) for seed in (3, 3, 4))
    assert np.array_equal(first[0].x, second[0].x) and np.array_equal(first[1][0], second[1][0])
    assert not np.array_equal(first[0].x, other[0].x)
    assert not np.array_equal(first[0].x[:100, :, 4:36, 4:36] / np.float32(255), first[1][0][:100])


def test_varied_pictures_keep_their_form():
    x = np.random.default_rng(0).random((50, 3, 40, 40), np.float32)
    found = transfer.vary(x, np.random.default_rng(1))
    assert found.shape == (50, 3, 32, 32) and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1
    np.testing.assert_array_equal(found, transfer.vary(x, np.random.default_rng(1)))


class Stop(training.Callback):
    def __init__(self, after):
        self.after = after

    def on_epoch_begin(self, run):
        if run.epoch == self.after:
            raise KeyboardInterrupt


def test_a_pretraining_that_was_stopped_goes_on_to_the_same_weights(tmp_path):
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    options = {"epochs": 2, "per_place": 1}
    about = transfer.pretrain(tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        transfer.pretrain(tmp_path / "parts", callbacks=[Stop(after=1)], **options)
    assert not (tmp_path / "parts/backbone.safetensors").exists()
    assert (
        transfer.pretrain(tmp_path / "parts", callbacks=[Stop(after=None)], **options)["accuracy"] == about["accuracy"]
    )
    whole, parts = (networks.read_weights(tmp_path / folder / "backbone.safetensors") for folder in ("whole", "parts"))
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {"backbone.md", "backbone.safetensors"}


def test_the_command_writes_weights_and_card(tmp_path):
    done = cnncourse("pretrain", "--epochs", 1, "--per-place", 1, "--out", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1" in done.stdout and "right place or shape" in done.stdout
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"backbone.md", "backbone.safetensors"}
    (tmp_path / "new/pretrain.checkpoint").write_bytes(b"something else")
    done = cnncourse("pretrain", "--epochs", 1, "--per-place", 1, "--out", tmp_path / "new")
    assert done.returncode == 1 and "delete it to begin anew" in done.stderr and "Traceback" not in done.stderr


# Heads and cuts


@pytest.mark.parametrize(
    ("net", "cut", "last"),
    [
        (SMALL, None, "block3.relu"),
        (SMALL, "block2", "block2.relu"),
        (SMALL, "block1.conv", "block1.conv"),
        (architectures.resnet18(width=1 / 16, input_size=32), None, "avgpool"),
        (architectures.resnet18(width=1 / 16, input_size=32), "layer2", "layer2.1.relu"),
        (architectures.vgg16(width=1 / 16, input_size=32), None, "classifier.5"),
        (networks.extend(SMALL, [GlobalAvgPool(), Dense(4), Activation("softmax")]), None, "globalavgpool1"),
    ],
)
def test_a_new_head_stands_on_the_right_layer(net, cut, last):
    made = transfer.with_head(net, 5, cut)
    first = next(node for node in made.nodes if node.name.startswith("head."))
    assert first.inputs == (last,) and made.shapes["head.dense"] == (5,)


def test_borrowed_weights_leave_the_head_alone():
    model = networks.to_torch(transfer.with_head(SMALL, 3, "block2"), seed=1)
    before, weights = networks.get_weights(model), weights_of(SMALL)
    assert transfer.borrow(model, weights) == ["head.dense.weight", "head.dense.bias"]
    after = networks.get_weights(model)
    assert changed(before, after) <= {f"block{n}.{part}" for n in (1, 2) for part in ("conv", "norm")}
    assert all(np.array_equal(after[name], weights[name]) for name in after if name in weights)


def test_weights_that_do_not_fit_are_refused_whole():
    model = networks.to_torch(SMALL, seed=1)
    before = networks.get_weights(model)
    with pytest.raises(ValueError, match="no name is shared"):
        transfer.borrow(model, {"conv9.weight": np.zeros(3)})
    with pytest.raises(ValueError, match=r"block1.conv.weight should be \(6, 3, 3, 3\), not \(7, 3, 3, 3\)"):
        transfer.borrow(model, weights_of(SMALL) | {"block1.conv.weight": np.zeros((7, 3, 3, 3))})
    assert changed(before, networks.get_weights(model)) == set()


# Freezing


def by_hand(x, weights, norm):  # the output of a batch normalisation in use, and of the ReLU after it
    mean, var, scale, shift = (
        weights[f"{norm}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return np.maximum((x - mean) / np.sqrt(var + 1e-5) * scale + shift, 0)


@in_both
def test_a_frozen_batch_normalisation_uses_its_running_statistics_in_training_and_keeps_them(framework):
    model = model_of(framework)
    x, y = task()
    weights = networks.get_weights(model)
    convolved = networks.activations(model, x, "block1.conv")["block1.conv"]
    expected = by_hand(convolved, weights, "block1.norm")

    def values_in_training():  # of block1.relu, for one batch, in training mode
        if framework == "torch":
            model.train()
            found = []
            handle = dict(model.named_modules())["block1.relu"].register_forward_hook(lambda m, i, o: found.append(o))
            model(torch.from_numpy(x))
            handle.remove()
            return found[0].detach().numpy()
        import keras

        part = keras.Model(model.inputs[0], model.get_layer("block1.relu").output)
        return np.moveaxis(part(np.moveaxis(x, 1, -1), training=True).numpy(), -1, 1)

    transfer.freeze(model, "block2")
    np.testing.assert_allclose(values_in_training(), expected, atol=1e-5)
    FITS[framework](model, x, y, epochs=2, lr=1e-2)
    assert changed(weights, networks.get_weights(model)) == {"block3.conv", "block3.norm", "head.dense"}

    transfer.unfreeze(model)  # and now it learns and counts again
    assert np.abs(values_in_training() - expected).max() > 0.1
    FITS[framework](model, x, y, epochs=1, lr=1e-2)
    after = networks.get_weights(model)
    assert all(
        not np.array_equal(weights[f"block1.norm.{part}"], after[f"block1.norm.{part}"])
        for part in ("running_mean", "weight")
    )


@in_both
def test_norms_alone_can_stay_frozen(framework):
    model = model_of(framework)
    before = networks.get_weights(model)
    transfer.unfreeze(model, norms=False)
    FITS[framework](model, *task(), epochs=1, lr=1e-2)
    assert changed(before, networks.get_weights(model)) == {"block1.conv", "block2.conv", "block3.conv", "head.dense"}


def test_frozen_survives_copies_and_can_be_said_twice():
    model = model_of("torch")
    transfer.freeze(model, "block2")
    transfer.freeze(model, "block1")
    twin = copy.deepcopy(model)
    transfer.unfreeze(model)
    before = networks.get_weights(model)
    for each in (model, twin):
        training.fit(each, *task(), epochs=1, lr=1e-2)
    assert "block1.norm" in changed(before, networks.get_weights(model))
    assert changed(before, networks.get_weights(twin)) & {"block1.conv", "block1.norm"} == set()
    assert "block2.norm" in changed(before, networks.get_weights(twin))


@pytest.mark.parametrize("until", ["layer1", "layer2.0", "conv1", "layer2.0.downsample", "layer4"])
def test_both_frameworks_freeze_the_same_layers_of_a_graph(until):
    net = transfer.with_head(architectures.resnet18(width=1 / 16, input_size=32), 3)
    counts, learning = [], []
    for make in FRAMEWORKS.values():
        model = make(net, seed=0)
        counts.append(transfer.freeze(model, until))
        learning.append({name.rpartition(".")[0] for name, (_, on) in transfer._parameters(model).items() if on})
    assert counts[0] == counts[1] and learning[0] == learning[1]
    kept = {node.name for node in networks.cut(net, transfer._last_of([n.name for n in net.nodes], until)).nodes}
    assert not learning[0] & kept and "head.dense" in learning[0]


# The recipe


@in_both
def test_two_phases(framework):
    model = model_of(framework)
    x, y = task()
    before, middle = networks.get_weights(model), {}

    class Look(training.Callback):
        def on_train_end(self, run):
            middle.setdefault("weights", networks.get_weights(run.model))

    history = transfer.fine_tune(
        model, x, y, head_epochs=2, epochs=3, until="block1", callbacks=[Look()], validation=(x, y)
    )
    assert history["phase"] == ["head"] * 2 + ["fine"] * 3 and history["epoch"] == [1, 2, 3, 4, 5]
    assert changed(before, middle["weights"]) == {"head.dense"}
    assert changed(middle["weights"], networks.get_weights(model)) == {"block2.conv", "block3.conv", "head.dense"}


def test_both_frameworks_give_the_same_numbers():
    x, y = task()
    rates = transfer.layer_rates(transfer.with_head(SMALL, 3), 1e-4, 1e-2)
    options = {"head_epochs": 2, "epochs": 2, "until": "block1", "lr": rates, "validation": (x, y)}
    histories = [transfer.fine_tune(model_of(framework), x, y, **options) for framework in FRAMEWORKS]
    for key in ("loss", "val_loss"):
        np.testing.assert_allclose(histories[0][key], histories[1][key], rtol=1e-3)


def test_rates_grow_by_one_factor_from_layer_to_layer():
    net = transfer.with_head(SMALL, 3)
    rates = transfer.layer_rates(net, 1e-5, 1e-2)
    assert list(rates) == [n.name for n in net.nodes if n.layer.weights(*net.inputs_of(n))]
    values = list(rates.values())
    np.testing.assert_allclose(np.diff(np.log(values)), np.log(1e3) / (len(values) - 1))
    assert values[0] == pytest.approx(1e-5) and values[-1] == pytest.approx(1e-2)


def test_a_layer_with_rate_zero_does_not_move():
    model, (x, y) = model_of("torch"), task()
    before = networks.get_weights(model)
    transfer.fine_tune(model, x, y, head_epochs=0, epochs=1, lr={"": 0.0, "head": 1e-2})
    assert changed(before, networks.get_weights(model)) == {"head.dense"}


def test_every_method_gets_the_same_examples():
    y = np.arange(60) % 3
    first, second = [], []
    for seen in (first, second):
        transfer.learning_curve(lambda chosen, seed, seen=seen: seen.append(chosen) or 0.0, y, [2, 5], range(3))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert [len(chosen) for chosen in first] == [6, 15] * 3
    assert all(np.array_equal(np.bincount(y[chosen]), [len(chosen) // 3] * 3) for chosen in first)
    assert not np.array_equal(first[0], first[2])


X, Y = task()
WRONG = {
    "no layer or block is called 'blok2'; did you mean block2": lambda m: transfer.freeze(m, "blok2"),
    "no layer or block is called 'layer9'": lambda m: transfer.features(m, X, "layer9"),
    r"the network takes pictures \(n, 3, 8, 8\), not \(24, 1, 8, 8\)": lambda m: transfer.features(
        m, X[:, :1], "block1"
    ),
    r"the network takes pictures \(n, 3, 8, 8\), not \(24, 3, 4, 4\)": lambda m: transfer.fine_tune(
        m, X[:, :, :4, :4], Y
    ),
    "the head tells 3 classes apart; y holds 2 examples of 2": lambda m: transfer.fine_tune(m, X[:2], Y[:2]),
    "a Checkpoint holds one training": lambda m: transfer.fine_tune(m, X, Y, callbacks=[training.Checkpoint("x")]),
    "lr names 'blok1', but no parameter begins so": lambda m: transfer.fine_tune(
        m, X, Y, head_epochs=0, epochs=1, lr={"": 1e-3, "blok1": 1e-4}
    ),
}


@in_both
@pytest.mark.parametrize("sentence", WRONG)
def test_bad_input_gets_one_sentence(framework, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        WRONG[sentence](model_of(framework))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: transfer.take_per_class(np.array([0, 0, 1]), 2), "2 examples of each class were asked for; the smallest class has 1"),
        (lambda: transfer.take_per_class(np.array([], int), 1), "the smallest class has 0"),
        (lambda: transfer.linear_head(np.zeros((3, 2)), np.zeros(3)), "two classes or more"),
        (lambda: transfer.with_head(SMALL, 3, "block7"), "did you mean block"),
        (lambda: transfer.freeze(networks.to_torch(SMALL)), "no new head"),
        (lambda: transfer.prepare_images(np.zeros((2, 4, 8, 8)), SMALL), "1 or 3 channels are needed"),
        (lambda: transfer.prepare_images(np.full((2, 3, 8, 8), 200.0), SMALL), "received 200..200; not yet divided by 255.0?"),
        (lambda: transfer.prepare_images(np.zeros((2, 3, 8, 8)), SMALL, "caffe"), "unit, torch, keras"),
        (lambda: transfer.published("vgg61"), "no published weights of 'vgg61'"),
    ],
)  # fmt: skip
def test_bad_arguments_get_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


# Pictures for a network


def test_prepared_pictures():
    x = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), np.uint8)
    found = transfer.prepare_images(x, SMALL)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.repeat(x, 3, axis=1) / 255, rtol=1e-6)
    assert transfer.prepare_images(x, transfer.BACKBONE).shape == (2, 3, 32, 32)


def test_keras_scale_is_that_of_keras():
    from keras.applications.imagenet_utils import preprocess_input

    x = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), np.uint8)
    for mode, scale in (("caffe", "keras"), ("torch", "torch")):
        theirs = preprocess_input(np.moveaxis(x, 1, -1).astype(np.float32), mode=mode)
        np.testing.assert_allclose(
            transfer.prepare_images(x, SMALL, scale), np.moveaxis(theirs, -1, 1), rtol=1e-4, atol=1e-4
        )


# Published weights


def legacy_h5(model, path):
    "What Keras published: the weights file of Keras 1 and 2."
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)
    return path


def test_keras_resnet50_gives_the_same_outputs_here(tmp_path):
    import keras

    theirs = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=7, classifier_activation=None)
    rng = np.random.default_rng(0)
    for layer in theirs.layers:
        if type(layer).__name__ == "BatchNormalization":  # statistics that are not those of the start
            gamma, beta, mean, var = layer.get_weights()
            layer.set_weights([gamma, beta, rng.normal(0, 0.1, mean.shape), rng.uniform(0.5, 2, var.shape)])
    net = transfer.published_network("resnet50", "keras", num_classes=7, input_size=64)
    model = networks.to_torch(net)
    networks.set_weights(model, transfer.read_published(legacy_h5(theirs, tmp_path / "resnet50.h5"), net))
    x = rng.normal(size=(2, 3, 64, 64)).astype(np.float32)
    ours, expected = training.predict(model, x), theirs(np.moveaxis(x, 1, -1), training=False).numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def keras_vgg16(path, net, old_names=True):
    "A small VGG-16 in a file as Keras 1 wrote it; returns the weights under our names."
    import h5py

    weights, layers = weights_of(net), {}
    stages = [f"block{s}_conv{n}" for s, count in enumerate((2, 2, 3, 3, 3), 1) for n in range(1, count + 1)]
    for theirs, node in zip(
        [*stages, "fc1", "fc2", "predictions"],
        (n for n in net.nodes if n.layer.weights(*net.inputs_of(n))),
        strict=True,
    ):
        w, b = weights[f"{node.name}.weight"], weights[f"{node.name}.bias"]
        if theirs == "fc1":  # our columns go channel by channel, Keras's rows pixel by pixel
            c, height, width = net.inputs_of(net["flatten"])[0]
            w = w.reshape(-1, c, height, width).transpose(0, 2, 3, 1).reshape(len(w), -1)
        layers[theirs] = w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T, b
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"input_1", *(name.encode() for name in layers)]
        file.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for name, (w, b) in layers.items():
            names = [f"{name}_W_1:0", f"{name}_b_1:0"] if old_names else [f"{name}/kernel:0", f"{name}/bias:0"]
            group = file.create_group(name)
            group.attrs["weight_names"] = [text.encode() for text in names]
            for text, array in zip(names, (w, b), strict=True):
                group[text] = array
    return weights


@pytest.mark.parametrize("old_names", [True, False])
def test_keras_vgg16_is_read_whole(tmp_path, old_names):
    net = transfer.published_network("vgg16", "keras", width=1 / 32, input_size=64, num_classes=5)
    expected = keras_vgg16(tmp_path / "vgg16.h5", net, old_names)
    found = transfer.read_published(tmp_path / "vgg16.h5", net)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def torch_file(path, net, seed=0):
    "A state dict as torchvision's models have it."
    model = networks.to_torch(net, seed=seed)
    networks.set_weights(model, weights_of(net, seed))
    torch.save(model.state_dict(), path)
    return weights_of(net, seed)


SMALL_OF = {"vgg16": {"width": 1 / 32, "input_size": 32}, "resnet50": {"width": 1 / 16, "input_size": 32}}


@pytest.mark.parametrize("name", SMALL_OF)
def test_torch_files_are_read_whole(tmp_path, name):
    net = transfer.published_network(name, "torch", num_classes=5, **SMALL_OF[name])
    expected = torch_file(tmp_path / "a.pth", net)
    found = transfer.read_published(tmp_path / "a.pth", net)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"features.0.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="holds no weights as PyTorch saves them"):
        transfer.read_published(tmp_path / "trap.pth", SMALL)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["cut.pth", "cut.h5", "other.pth", "other.h5", "weights.bin"])
def test_a_file_of_something_else_gets_one_sentence(tmp_path, name):
    net = transfer.published_network("vgg16", "torch", num_classes=5, **SMALL_OF["vgg16"])
    wider = transfer.published_network("vgg16", "torch", num_classes=6, **SMALL_OF["vgg16"])
    path = tmp_path / name
    if path.suffix == ".h5":
        keras_vgg16(path, wider)
    else:
        torch_file(path, wider)
    if name.startswith("cut"):
        path.write_bytes(path.read_bytes()[:2000])
    sentence = {
        "cut": "holds no weights as",
        "oth": "holds other weights than vgg16",
        "wei": "is needed; got weights.bin",
    }
    with pytest.raises(ValueError, match=sentence[name[:3]]):
        transfer.read_published(path, net)


@pytest.fixture
def published_file(tmp_path, monkeypatch):
    "A small ResNet-50 in the place of the published one."
    net = transfer.published_network("resnet50", "torch", num_classes=5, **SMALL_OF["resnet50"])
    expected = torch_file(tmp_path / "made.pth", net)
    body = (tmp_path / "made.pth").read_bytes()
    url = "https://weights.invalid/models/resnet50-0676ba61.pth"
    monkeypatch.setitem(transfer.PUBLISHED, ("resnet50", "torch"), (url, hashlib.sha256(body).hexdigest(), len(body)))
    monkeypatch.setattr(transfer, "published_network", lambda name, framework: net)
    return body, expected


def test_published_weights_are_fetched_once_checked_and_loaded(tmp_path, published_file):
    body, expected = published_file
    with Server() as server:
        server.put("/resnet50-0676ba61.pth", body, cut=len(body) // 2)
        with pytest.raises(datasets.DataError, match="broke off after"):
            transfer.published("resnet50", cache=tmp_path, base_url=server.url)
        server.put("/resnet50-0676ba61.pth", body)
        _, weights = transfer.published("resnet50", cache=tmp_path, base_url=server.url)
        assert server.seen[-1][1].startswith("bytes=")  # it went on where it had stopped
        transfer.published("resnet50", cache=tmp_path, base_url=server.url)
        assert len(server.seen) == 2
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)
    assert (tmp_path / "weights/resnet50-0676ba61.pth").read_bytes() == body


def test_another_file_than_the_published_one_is_refused(tmp_path, published_file):
    with Server() as server:
        server.put("/resnet50-0676ba61.pth", b"an error page")
        with pytest.raises(datasets.DataError, match="sent another file: its SHA-256 is"):
            transfer.published("resnet50", cache=tmp_path, base_url=server.url)
    assert not list((tmp_path / "weights").glob("*.pth"))


def test_no_more_is_taken_than_the_published_file_has(tmp_path, published_file):
    body, _ = published_file
    with Server() as server:
        server.put("/resnet50-0676ba61.pth", body + bytes(10**6))
        with pytest.raises(datasets.DataError, match=f"bytes instead of {len(body):,}"):
            transfer.published("resnet50", cache=tmp_path, base_url=server.url)
    assert not list((tmp_path / "weights").glob("*.pth"))


def test_without_a_network_one_sentence_names_the_offline_backbone(tmp_path):
    with pytest.raises(datasets.DataError) as caught:
        transfer.published("vgg16", "keras", cache=tmp_path, base_url="http://127.0.0.1:9")
    text = str(caught.value)
    assert re.fullmatch(
        r"vgg16 for keras cannot be downloaded \(no network: .*\); .* transfer\.backbone\(\)\.", text
    ), text


def test_a_keras_file_is_checked_by_its_md5(tmp_path):
    body = b"weights"
    with Server() as server:
        url = server.put("/a.h5", body)
        path = datasets.fetch(url, tmp_path / "a.h5", hashlib.md5(body).hexdigest())
        assert path.read_bytes() == body
        with pytest.raises(datasets.DataError, match="its MD5 is"):
            datasets.fetch(url, tmp_path / "b.h5", hashlib.md5(b"other").hexdigest())


def test_the_checksums_are_those_that_the_frameworks_publish():
    from keras.src.applications import resnet

    assert transfer.PUBLISHED["resnet50", "keras"][1] == resnet.WEIGHTS_HASHES["resnet50"][0]
    for (_, framework), (url, checksum, _) in transfer.PUBLISHED.items():
        if framework == "torch":  # PyTorch writes the first digits of the SHA-256 into the name
            assert checksum.startswith(re.search(r"-([0-9a-f]{8})\.pth$", url)[1]) and len(checksum) == 64


@pytest.mark.parametrize("name", ["vgg16", "resnet50"])
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_published_network_carries_its_scale(name, framework):
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    net = transfer.published_network(name, framework, num_classes=5, **SMALL_OF[name])
    headed = transfer.with_head(net, 2)
    assert net.scale == headed.scale == framework
    assert networks.to_torch(headed).meta["network"].scale == framework
    for one in (net, headed):
        found = transfer.prepare_images(x, one)
        np.testing.assert_array_equal(found, transfer.prepare_images(x, one, framework))
        assert (found != transfer.prepare_images(x, one, "unit")).any()
    own, _ = transfer.backbone()
    np.testing.assert_array_equal(transfer.prepare_images(x, own), transfer.prepare_images(x, own, "unit"))


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_fine_tuning_augments_pictures_before_their_scale(framework):
    "An augmentation that checks its input sees pictures from 0 to 1, and what it makes black is black for the weights."
    from cnncourse.augmentation import Augmenter, Brightness, Shift

    net = transfer.with_head(transfer.published_network("vgg16", framework, num_classes=5, **SMALL_OF["vgg16"]), 2)
    rng, seen = np.random.default_rng(0), []
    x = transfer.prepare_images(rng.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8), net)

    def augment(pictures, rng):
        seen.append((float(pictures.min()), float(pictures.max())))
        return Augmenter([Shift(0.5), Brightness(0.1)])(pictures, rng)

    model = networks.to_torch(net, seed=0)
    history = transfer.fine_tune(model, x, np.arange(8) % 2, head_epochs=1, epochs=1, augment=augment)
    assert len(history) == 2 and len(seen) == 2 and all(0 <= low < 0.1 and 0.9 < high <= 1 for low, high in seen)
    black = transfer._on_pictures(lambda pictures, rng: 0 * pictures, framework)(x, rng)
    np.testing.assert_allclose(black, transfer.prepare_images(np.zeros_like(x, np.uint8), net), atol=1e-6)
    with pytest.raises(ValueError, match="x should be from prepare_images in the scale"):
        transfer.fine_tune(model, 100 * x + 300, np.arange(8) % 2, head_epochs=1, epochs=0, augment=augment)


def test_fine_tuning_takes_the_labels_that_a_training_takes():
    net = transfer.with_head(transfer.BACKBONE, 2)
    x, y = np.random.default_rng(0).random((8, 3, 32, 32), np.float32), np.arange(8) % 2
    for bad, said in [
        (np.eye(2)[y], r"one-hot: give y\.argmax\(axis=1\)"),
        (y + 1, "labels count from 0"),
        (["cat", "dog"] * 4, r"scaling\.encode_labels"),
        (y[:7], "one label for each of 8 examples, not 7"),
    ]:
        with pytest.raises(ValueError, match=said):
            transfer.fine_tune(networks.to_torch(net), x, bad, head_epochs=1, epochs=0)
    assert len(transfer.fine_tune(networks.to_torch(net), x, y[:, None].tolist(), head_epochs=1, epochs=0)) == 1
