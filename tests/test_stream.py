"""The folder route: a made tree of 5,000 pictures, one in a hundred broken or odd, streamed from the disk."""

import io
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncourse.datasets import DataError, stream_folder

CLASSES = {"cat": (200, 60, 40), "dog": (40, 90, 200)}
N = 5_000
BROKEN = 25  # the other 25 of the 1 % are odd


def encoded(image, kind, **options) -> bytes:
    held = io.BytesIO()
    image.save(held, kind, **options)
    return held.getvalue()


def odd(colour) -> dict[str, bytes]:
    "Files that are not what one expects, and yet are pictures."
    image = Image.new("RGB", (40, 30), colour)
    lying = Image.Exif()
    lying[0x0112] = 6
    palette = Image.new("P", (30, 30), 0)
    palette.putpalette([*colour, 0, 0, 0])
    palette.paste(1, (0, 0, 5, 5))
    grey = Image.fromarray(np.full((30, 30), 257 * 128, np.uint16))
    return {
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG", quality=100),
        "grey16.png": encoded(grey, "PNG"),
        "palette.png": encoded(palette, "PNG", transparency=1),
        "lying.jpg": encoded(image, "JPEG", exif=lying, quality=100),
        "wrong_suffix.jpg": encoded(image, "PNG"),
    }


def damaged(colour) -> dict[str, bytes]:
    "Files that cannot be read as a picture."
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    jpeg, png = encoded(Image.fromarray(noise), "JPEG"), encoded(Image.fromarray(noise), "PNG")
    return {
        "empty.jpg": b"",
        "text.jpg": b"this is not a picture",
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "cut.png": png[: len(png) // 2],
        "page.png": b"<html>404</html>",
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root, rng = tmp_path_factory.mktemp("tree"), np.random.default_rng(0)
    for name, colour in CLASSES.items():
        folder = root / name
        (folder / "more").mkdir(parents=True)
        sizes = rng.integers(20, 80, (20, 2)).tolist()
        good = [encoded(Image.new("RGB", size, colour), "JPEG", quality=95) for size in sizes]
        kinds = [(odd(colour), BROKEN // 2 + (name == "dog")), (damaged(colour), BROKEN // 2 + (name == "cat"))]
        count = N // 2
        for files, number in kinds:
            for i in range(number):
                key = list(files)[i % len(files)]
                (folder / "more" / f"{i}_{key}").write_bytes(files[key])
            count -= number
        for i in range(count):
            (folder / f"{i}.jpg").write_bytes(good[i % len(good)])
        (folder / "notes.txt").write_text("no picture, but listed")
    return root


def test_every_picture_comes_once_and_nothing_stops(tree):
    stream = stream_folder(tree, size=32, batch_size=64, seed=1)
    assert len(stream.files) == N and stream.classes == ("cat", "dog")
    labels, wrong, sizes = [], 0, []
    colours = np.array(list(CLASSES.values()), np.float32)[:, :, None, None] / 255
    for x, y in stream:
        assert x.dtype == np.float32 and x.shape[1:] == (3, 32, 32) and y.dtype == np.int64
        right = np.abs(x - colours[y]).mean(axis=(1, 2, 3)) < 0.05
        wrong += int((~right).sum())
        labels.append(y)
        sizes.append(len(y))
    labels = np.concatenate(labels)
    assert len(labels) == N - BROKEN
    assert set(sizes[:-1]) == {64}  # filled up
    assert len(np.unique(labels[:1000])) == 2  # shuffled
    assert wrong == sum("grey16" in file.name for file in stream.files)  # only they do not have their class's colour
    notes = [name for name, reason in stream.broken if "ending .txt is not read" in reason]
    assert notes == ["cat/notes.txt", "dog/notes.txt"]
    assert len(stream.broken) == BROKEN + len(notes) and all(reason for _, reason in stream.broken)
    kinds = {Path(name).name.split("_", 1)[1] for name, _ in stream.broken if name not in notes}
    assert kinds == set(damaged((0, 0, 0)))
    assert len(stream) == len(sizes) == -(-(N - BROKEN) // 64)


def test_odd_ones_are_converted_rightly(tmp_path):
    colour = CLASSES["cat"]
    for name, data in odd(colour).items():
        for kind in ("a", "b"):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / kind / name).write_bytes(data)
    stream = stream_folder(tmp_path, size=30, shuffle=False, scale=False, batch_size=5)
    x, _ = next(iter(stream))
    assert stream.broken == ()
    for name, picture in zip(sorted(odd(colour)), x, strict=True):
        expected = [128] * 3 if name == "grey16.png" else colour
        assert np.abs(picture[:, 15, 15].astype(int) - expected).max() <= 3, name
    palette = x[sorted(odd(colour)).index("palette.png")]
    assert (palette[:, :4, :4] == 255).all()  # what is transparent becomes white


def test_order_depends_on_the_seed_and_the_epoch_alone(tree):
    def first(seed, workers, epochs=1):
        stream = stream_folder(tree, size=8, batch_size=50, seed=seed, workers=workers)
        for _ in range(epochs):
            x, y = next(iter(stream))
        return x.tobytes() + y.tobytes()

    assert first(0, 1) == first(0, 3)
    assert len({first(0, 2), first(1, 2), first(0, 2, epochs=2)}) == 3


def test_split_is_disjoint_and_stratified(tree):
    parts = stream_folder(tree, size=8).split(None, 1_000, 500)
    assert [len(part.files) for part in parts] == [N - 1_500, 1_000, 500]
    assert len({file for part in parts for file in part.files}) == N
    assert [np.bincount(part.y).tolist() for part in parts[1:]] == [[500, 500], [250, 250]]
    assert [part.shuffle for part in parts] == [True, False, False]


def test_a_reader_that_stops_leaves_no_thread(tree):
    before = threading.active_count()
    for _ in stream_folder(tree, size=8, batch_size=4, workers=3):
        break
    assert threading.active_count() == before


def test_a_slow_reader_holds_few_pictures(tree, monkeypatch):
    from cnncourse import datasets

    read, count = datasets._try_picture, []
    monkeypatch.setattr(datasets, "_try_picture", lambda *args: count.append(1) or read(*args))
    batches = iter(stream_folder(tree, size=8, batch_size=10, workers=2))
    next(batches)
    assert len(count) <= 10 + 4 * 2 + 2 + BROKEN


def test_memory_does_not_grow_with_the_folder(tree):
    "The pictures as one array would take 983 MB."
    code = """
import resource, sys
from pathlib import Path
from cnncourse.datasets import stream_folder
seen = sum(len(y) for x, y in stream_folder(sys.argv[1], size=128))
status = Path("/proc/self/status")  # Linux hands ru_maxrss on from the process that started this one
if status.exists():
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seen, peak)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tree)], capture_output=True, text=True, check=True)
    seen, peak = map(int, done.stdout.split())
    assert seen == N - BROKEN and seen * 3 * 128 * 128 * 4 > 900e6
    assert peak < 500e6


@pytest.mark.parametrize("setting", [{"batch_size": 0}, {"workers": 0}, {"batch_size": 2.5}, {"size": 0}])
def test_wrong_settings(tree, setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))} should be a whole number"):
        stream_folder(tree, **{"size": 8, **setting})


def test_wrong_folders(tmp_path):
    def refused(match):
        with pytest.raises(DataError, match=match) as caught:
            list(stream_folder(tmp_path / "pictures", size=8))
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)

    refused("There is no folder")
    (tmp_path / "pictures" / "cat").mkdir(parents=True)
    refused("holds no folders of pictures")
    (tmp_path / "pictures" / "cat" / "1.png").write_bytes(b"")
    refused("holds one class only, 'cat'")
    (tmp_path / "pictures" / "dog").mkdir()
    refused("The folder 'dog' in .* holds no pictures")
    (tmp_path / "pictures" / "dog" / "1.png").write_bytes(b"")
    refused("None of the 2 files can be read as a picture")


# The same numbers, however often a stream was read before


RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3, 8, 8)).astype(np.float32)
Y = RNG.integers(0, 2, 40)


class Shuffled:
    "A stream of batches as people write it: it holds a generator, or counts its passes."

    def __init__(self, rng=None):
        self.rng, self.epoch = rng, 0

    def __len__(self):
        return 4

    def __iter__(self):
        self.epoch += 1
        if self.rng is None:
            order = np.random.default_rng(self.epoch).permutation(40)
        else:
            order = np.array(
                self.rng.sample(range(40), 40) if hasattr(self.rng, "sample") else self.rng.permutation(40)
            )
        for part in np.array_split(order, 4):
            yield X[part], Y[part]


def with_set_epoch():
    import torch

    class Sampler(torch.utils.data.Sampler):
        told = 0

        def set_epoch(self, epoch):
            self.told = epoch

        def __iter__(self):
            return iter(np.random.default_rng(self.told).permutation(40).tolist())

        def __len__(self):
            return 40

    return torch.utils.data.DataLoader(pairs(), batch_size=10, sampler=Sampler())


class Noisy:
    "A data set of single examples that changes them at random."

    def __init__(self):
        self.rng = np.random.default_rng(5)

    def __len__(self):
        return 40

    def __getitem__(self, i):
        if not 0 <= i < 40:
            raise IndexError
        return X[i] + self.rng.normal(size=(3, 8, 8)).astype(np.float32), Y[i]


def pairs():
    import torch

    return torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


def loader(**settings):
    import torch

    return torch.utils.data.DataLoader(pairs(), batch_size=10, **settings)


def generator():
    import torch

    return torch.Generator().manual_seed(7)


def sampled(kind):
    import torch

    if kind == "weighted":
        return torch.utils.data.WeightedRandomSampler(np.ones(40), 40, generator=generator())
    return torch.utils.data.RandomSampler(pairs(), generator=generator())


STREAMS = {
    "folder": lambda root: stream_folder(root, size=8, batch_size=10, seed=3),
    "loader without a seed": lambda root: loader(shuffle=True),
    "loader with a generator": lambda root: loader(shuffle=True, generator=generator()),
    "loader with a sampler": lambda root: loader(sampler=sampled("random")),
    "loader with a weighted sampler": lambda root: loader(sampler=sampled("weighted"), generator=generator()),
    "loader with set_epoch": lambda root: with_set_epoch(),
    "loader of a noisy set": lambda root: __import__("torch").utils.data.DataLoader(Noisy(), 10, shuffle=True),
    "noisy set": lambda root: Noisy(),
    "counts its passes": lambda root: Shuffled(),
    "holds NumPy's generator": lambda root: Shuffled(np.random.default_rng(1)),
    "holds NumPy's old generator": lambda root: Shuffled(np.random.RandomState(1)),
    "holds Python's generator": lambda root: Shuffled(__import__("random").Random(1)),
    "list": lambda root: [(X[:20], Y[:20]), (X[20:], Y[20:])],
}


@pytest.fixture(scope="module")
def small_tree(tmp_path_factory) -> Path:
    root, rng = tmp_path_factory.mktemp("small"), np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir()
        for i in range(20):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            (root / name / f"{i}.png").write_bytes(encoded(Image.fromarray(pixels), "PNG"))
        (root / name / "broken.png").write_bytes(b"no picture")
    return root


class Framework:
    "A small network and the call that trains it, in PyTorch or Keras."

    def __init__(self, name):
        self.name = name

    def train(self, stream, epochs=3, **options):
        from cnncourse import training

        if self.name == "torch":
            import torch

            torch.manual_seed(0)
            layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Dropout(0.3)]
            model, fit = torch.nn.Sequential(*layers, torch.nn.Linear(4 * 36, 2)), training.fit
            torch.manual_seed(np.random.default_rng().integers(2**31))  # the caller's own: it decides nothing
        else:
            import keras

            keras.utils.set_random_seed(0)
            layers = [keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.Flatten()]
            model = keras.Sequential(
                [keras.Input((8, 8, 3)), *layers, keras.layers.Dropout(0.3), keras.layers.Dense(2)]
            )
            fit = training.fit_keras
        history = fit(model, stream, epochs=epochs, batch_size=10, lr=0.01, schedule=training.cosine(), **options)
        return [[row["loss"], row["accuracy"], row["lr"]] for row in history.epochs]


def cut_after(epoch):
    from cnncourse import training

    class Cut(training.Callback):
        def on_epoch_end(self, run):
            if run.epoch == epoch:
                raise KeyboardInterrupt

    return Cut()


def same_however_it_is_read(framework, make, root, folder):
    from cnncourse import training

    stream = make(root)
    first = framework.train(stream)
    assert first == framework.train(stream)  # twice with one object
    checkpoint = training.Checkpoint(folder / "run")
    with pytest.raises(KeyboardInterrupt):
        framework.train(make(root), callbacks=[cut_after(2), checkpoint])
    fresh = make(root)
    assert framework.train(fresh, callbacks=[checkpoint]) == first
    changes = {
        tuple(map(float, x.sum(axis=(1, 2, 3))))
        for x, _ in (next(iter(training.epoch_batches(make(root), epoch=e))) for e in range(3))
    }
    assert len(changes) == (1 if isinstance(stream, list) else 3)  # and yet each epoch has its own order


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_gives_the_same_numbers_however_often_it_was_read(kind, small_tree, tmp_path):
    same_however_it_is_read(Framework("torch"), STREAMS[kind], small_tree, tmp_path)


def test_a_training_leaves_a_stream_and_the_callers_generator_as_they_were(small_tree):
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    for kind in ("loader without a seed", "loader with a generator", "holds NumPy's generator", "folder"):
        untouched = [x for x, _ in STREAMS[kind](small_tree)] if kind != "loader without a seed" else None
        stream = STREAMS[kind](small_tree)
        Framework("torch").train(stream, epochs=1, validation=stream)
        torch.manual_seed(5)
        if untouched is not None:
            assert all(
                (a == b).all() if isinstance(a, np.ndarray) else torch.equal(a, b)
                for a, b in zip(untouched, (x for x, _ in stream), strict=True)
            )
        assert torch.equal(torch.rand(3), expected)


def test_the_same_in_keras_and_with_tf_data(small_tree, tmp_path):
    "In one test, for TensorFlow is slow to import."
    import keras
    import tensorflow as tf

    from cnncourse import training

    framework = Framework("keras")
    same_however_it_is_read(framework, STREAMS["folder"], small_tree, tmp_path)

    def shuffled(**settings):
        return tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(40, seed=1, **settings).batch(10)

    stream = shuffled(reshuffle_each_iteration=False)
    assert framework.train(stream) == framework.train(stream)
    first = framework.train(stream := shuffled())
    checkpoint = training.Checkpoint(tmp_path / "shuffled")
    with pytest.raises(KeyboardInterrupt):
        framework.train(shuffled(), callbacks=[cut_after(2), checkpoint])
    assert framework.train(shuffled(), callbacks=[checkpoint]) == first  # a new process makes the set anew
    with pytest.warns(UserWarning, match="This tf.data set was read before, and shuffles anew each time"):
        framework.train(stream)
    with pytest.raises(ValueError, match="has no end: say how many batches"):
        framework.train(shuffled().repeat())
    unsized = tf.data.Dataset.from_generator(
        lambda: ((X[i : i + 10], Y[i : i + 10]) for i in range(0, 40, 10)),
        output_signature=(tf.TensorSpec((None, 3, 8, 8), tf.float32), tf.TensorSpec((None,), tf.int64)),
    )
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    assert len(training.fit_keras(model, unsized, epochs=2)) == 2  # no length: the end of a pass says it

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return X[10 * i : 10 * i + 10], Y[10 * i : 10 * i + 10]

    assert framework.train(Batches()) == framework.train([(X[i : i + 10], Y[i : i + 10]) for i in range(0, 40, 10)])
    later = [(X[:20], Y[:20]), (X[20:], np.where(np.arange(20) == 3, 2, Y[20:]))]
    with pytest.raises(ValueError, match=r"y of batch 2 .* \(example 3 is 2\)"):
        framework.train(later)
    with pytest.raises(ValueError, match=r"x of batch 2 .*channels last \(n, h, w, c\): give x\.transpose"):
        framework.train([(X[:20], Y[:20]), (X[20:].transpose(0, 2, 3, 1), Y[20:])])
    vectors = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    )
    for lonely in ([(X[:39], Y[:39]), (X[39:], Y[39:])], stream_folder(small_tree, size=8, batch_size=39)):
        with pytest.raises(ValueError, match="single example, and batch normalisation cannot learn"):
            training.fit_keras(vectors, lonely, epochs=1)
    with pytest.raises(ValueError, match=r"one picture \(c, h, w\), not a batch: give x\[None\]"):
        training.predict(vectors, X[0])
    for loss, y, said in [
        ("binary_cross_entropy", np.eye(2, dtype=int)[Y], "floats for the loss 'binary_cross_entropy'"),
        ("cross_entropy", np.eye(2)[Y], r"one-hot: give y\.argmax"),
        ("mse", Y, "the shape of the outputs"),
    ]:
        with pytest.raises(ValueError, match=said):
            training.fit_keras(vectors, X, y, epochs=1, loss=loss)
    for optimizer in ("adam", lambda: keras.optimizers.Adagrad()):
        training.fit_keras(vectors, X, Y, epochs=1, lr=0.1, optimizer=optimizer)
        vectors.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(training.predict(loaded, X), training.predict(vectors, X), rtol=1e-6)
        assert type(loaded.optimizer).__module__.startswith("keras.")
        for a, b in zip(vectors.optimizer.variables, loaded.optimizer.variables, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
        loaded.fit(np.moveaxis(X, 1, -1), Y, verbose=0)
