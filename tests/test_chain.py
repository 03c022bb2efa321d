"Weeks 5 and 6 join without hands: a folder, an augmentation, borrowed weights in their scale, fine-tuning, saving and loading."

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from cnncourse import datasets, networks, training, transfer
from cnncourse.augmentation import Augmenter, Brightness, Flip, Shift
from cnncourse.pictures import read_picture

FRAMEWORKS = {"torch": networks.to_torch, "keras": networks.to_keras}
SMALL = {"width": 1 / 32, "input_size": 32, "num_classes": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "Dark and light pictures of many shapes, grey and in colour, as JPEG and PNG."
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for light, name in ((60, "dark"), (180, "light")):
        (root / name).mkdir()
        for i in range(12):
            h, w = rng.integers(20, 120, 2)
            x = np.clip(rng.normal(light, 30, (h, w, 3)), 0, 255).astype(np.uint8)
            image = Image.fromarray(x).convert("L" if i % 4 == 0 else "RGB")
            image.save(root / name / f"{i}.{'jpg' if i % 3 == 0 else 'png'}")
    return root


NETS = {
    "backbone": lambda: transfer.backbone()[0],
    "vgg16 of torch": lambda: transfer.published_network("vgg16", "torch", **SMALL),
    "vgg16 of keras": lambda: transfer.published_network("vgg16", "keras", **SMALL),
}


@pytest.mark.parametrize(
    ("framework", "name", "kind"),
    [
        ("torch", "backbone", "from 0 to 1"),
        ("torch", "vgg16 of torch", "bytes"),
        ("torch", "vgg16 of keras", "of another size"),
        ("keras", "backbone", "bytes"),
        ("keras", "vgg16 of keras", "from 0 to 1"),
    ],
)
def test_a_folder_is_fine_tuned_chosen_by_and_tested_in_one_form(folder, framework, name, kind):
    net = transfer.with_head(NETS[name](), 2)
    stream = datasets.stream_folder(folder, size=48 if "size" in kind else 32, batch_size=8, scale=kind != "bytes")
    parts, seen = datasets.split(stream, seed=1), []

    def augment(x, rng):
        seen.append((x.shape[1:], float(x.min()), float(x.max()), float(x.mean())))
        return Augmenter([Flip(p=0.5), Shift(0.2), Brightness(0.1)])(x, rng)

    model = FRAMEWORKS[framework](net, seed=0)
    history = transfer.fine_tune(
        model, parts.train, head_epochs=2, epochs=1, validation=parts.validation, augment=augment
    )
    assert history["phase"] == ["head", "head", "fine"]
    assert {shape for shape, *_ in seen} == {(3, 32, 32)}
    assert all(-1e-6 <= low < high <= 1 + 1e-6 and 0.2 < mean < 0.8 for _, low, high, mean in seen)
    again = training.evaluate(model, transfer.prepare_images(parts.validation, model))
    assert history["val_loss"][-1] == pytest.approx(again["loss"], rel=1e-5)
    x, y = zip(*datasets.split(stream, seed=1).validation, strict=True)
    x, y = transfer.prepare_images(np.concatenate(x), net), np.concatenate(y)
    assert again["loss"] == pytest.approx(training.evaluate(model, x, y)["loss"], rel=1e-5)


def test_arrays_and_streams_of_the_same_pictures_give_the_same_training(folder):
    base = transfer.BACKBONE  # without dropout, for which the places in a batch count
    net = transfer.with_head(transfer.Published("b", base.input_shape, base.nodes, base.outputs, "torch"), 2)
    stream = datasets.stream_folder(folder, size=32, batch_size=24, shuffle=False, scale=False)
    ((x, y),) = stream
    ways = {
        "bytes": (x, y),
        "prepared": (transfer.prepare_images(x, net), y),
        "a prepared stream": (transfer.prepare_images([(x, y)], net), None),
        "a stream": ([(x, y)], None),
        "a folder": (stream, None),
        "a Dataset": (torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), None),
    }
    losses = {}
    for name, (pictures, labels) in ways.items():
        model = networks.to_torch(net, seed=0)
        history = transfer.fine_tune(
            model, pictures, labels, head_epochs=1, epochs=1, batch_size=24, validation=(x, y), seed=3
        )
        losses[name] = history["loss"] + history["val_loss"]
    first = losses.pop("bytes")
    for name, found in losses.items():
        np.testing.assert_allclose(found, first, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("shape", [(32, 128), (128, 32), (50, 50), (300, 20), (7, 9)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture_is_brought_to_its_size_in_one_way(tmp_path, shape, mode):
    "In training, from a folder; and in a prediction, from a file or an array."
    net, rng = NETS["vgg16 of torch"](), np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        image = Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).convert(mode)
        image.save(tmp_path / name / "0.png")
    stream = datasets.stream_folder(tmp_path, size=32, batch_size=2, shuffle=False)
    ((learnt, _),) = transfer.prepare_images(stream, net)
    path = tmp_path / "a" / "0.png"
    for picture in (read_picture(path), read_picture(path, size=32)):
        np.testing.assert_array_equal(transfer.prepare_images(picture[None], net)[0], learnt[0])
    floats = transfer.prepare_images(read_picture(path, dtype=np.float32)[None], net)[0]
    assert np.abs(floats - learnt[0]).mean() < 0.02  # bytes are rounded and cut off on the way


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_model_keeps_the_scale_of_its_pictures(framework):
    net = transfer.with_head(NETS["vgg16 of keras"](), 2)
    x = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    wanted = transfer.prepare_images(x, net)
    model = FRAMEWORKS[framework](net, seed=0)
    np.testing.assert_array_equal(transfer.prepare_images(x, model), wanted)
    np.testing.assert_allclose(
        transfer.features(model, x, "head.dense"), transfer.features(model, wanted, "head.dense"), rtol=1e-5
    )
    if framework == "torch":
        held = io.BytesIO()
        torch.save(model, held)
        held.seek(0)
        again = torch.load(held, weights_only=False)
        np.testing.assert_array_equal(transfer.prepare_images(x, again), wanted)
        history = transfer.fine_tune(again, x, [0, 1, 0, 1], head_epochs=1, epochs=1, augment=lambda x, rng: x)
        assert len(history) == 2
        assert networks.grad_cam(again, wanted, "features.0", [0] * 4).shape == (4, 32, 32)


def test_a_model_that_torch_saved_goes_on_in_a_fresh_process(tmp_path):
    net, weights = transfer.backbone()
    model = networks.to_torch(transfer.with_head(net, 3), seed=0)
    transfer.borrow(model, weights)
    x = np.random.default_rng(0).random((6, 3, 32, 32), np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "seen.npy", transfer.features(model, x, "block5"))
    torch.save(model, tmp_path / "model.pt")
    code = """
import sys, numpy as np, torch
from cnncourse import networks, transfer
model, x = torch.load("model.pt", weights_only=False), np.load("x.npy")
assert np.allclose(transfer.features(model, x, "block5"), np.load("seen.npy"), atol=1e-6)
assert networks.grad_cam(model, x, "block5.relu", [0] * 6).shape == (6, 32, 32)
history = transfer.fine_tune(model, x, [0, 1, 2] * 2, head_epochs=1, epochs=1)
print(history["phase"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "['head', 'fine']", done.stderr


def test_keras_models_trained_here_load_with_plain_keras(tmp_path):
    "In a process that never hears of this course."
    import keras

    x, y = np.random.default_rng(0).random((12, 3, 32, 32), np.float32), np.arange(12) % 3
    models = {
        "backbone": transfer.with_head(transfer.backbone()[0], 3),
        "skip": networks.Network(
            "skip",
            (3, 32, 32),
            [("a", networks.Conv(4, 3, 2, padding=1)), ("b", networks.Conv(4, 3, padding=1)),
             ("sum", networks.Add(), ("a", "b")), networks.MaxPool(2, padding=1), networks.Flatten(),
             ("head.dense", networks.Dense(3))],
        ),
    }  # fmt: skip
    for name, net in models.items():
        model = networks.to_keras(net, seed=0)
        transfer.fine_tune(model, x, y, head_epochs=1, epochs=1, weight_decay=1e-2, lr={"": 1e-4, "head": 1e-3})
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", training.predict(model, x))
    own = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    training.fit_keras(own, x, y, epochs=1, schedule=training.one_cycle(), optimizer="sgd", loss=None)
    own.save(tmp_path / "own.keras")
    np.save(tmp_path / "own.npy", training.predict(own, x))
    np.save(tmp_path / "x.npy", x)
    code = """
import sys, numpy as np, keras
x = np.load("x.npy").transpose(0, 2, 3, 1)
for name in ("backbone", "skip", "own"):
    model = keras.models.load_model(f"{name}.keras")
    assert np.allclose(model.predict(x, verbose=0), np.load(f"{name}.npy"), atol=1e-5), name
model.fit(x, np.arange(12) % 3, verbose=0)
print("cnncourse" in sys.modules)
"""
    environment = {"PATH": "/usr/bin:/bin", "KERAS_BACKEND": "tensorflow", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "False", done.stderr[-2000:]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, s: transfer.fine_tune(m, s, np.zeros(24, int)), "y should be left out when x is a folder"),
        (lambda m, s: transfer.fine_tune(m, s, validation=7), "iterable of batches|not a int"),
        (lambda m, s: transfer.fine_tune(m, [], epochs=1), "pictures|batch"),
        (lambda m, s: transfer.fine_tune(m, s, scale="bytes"), "scale should be one of"),
        (
            lambda m, s: transfer.fine_tune(m, s, callbacks=[training.Checkpoint("c")]),
            "a Checkpoint holds one training",
        ),
        (lambda m, s: transfer.fine_tune(m, "folder"), "x should be|not a str"),
    ],
)
def test_what_cannot_be_fine_tuned(folder, call, said):
    model = networks.to_torch(transfer.with_head(transfer.BACKBONE, 2), seed=0)
    with pytest.raises(ValueError, match=said):
        call(model, datasets.stream_folder(folder, size=32, batch_size=8))


def test_a_head_of_another_number_of_classes_is_named(folder):
    model = networks.to_torch(transfer.with_head(transfer.BACKBONE, 3), seed=0)
    with pytest.raises(ValueError, match="the head tells 3 classes apart; the stream has 2: dark, light"):
        transfer.fine_tune(model, datasets.stream_folder(folder, size=32))


def test_grey_pictures_for_a_network_of_one_channel(folder):
    net = networks.Network("grey", (1, 16, 16), [networks.Conv(4, 3), networks.GlobalAvgPool()])
    model = networks.to_torch(transfer.with_head(net, 2), seed=0)
    history = transfer.fine_tune(model, datasets.stream_folder(folder, size=16, batch_size=8), head_epochs=1, epochs=0)
    assert len(history) == 1
