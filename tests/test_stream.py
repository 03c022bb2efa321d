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
    train, test = stream_folder(tree, size=8).split(1_000)
    assert len(train.files) == N - 1_000 and not set(train.files) & set(test.files)
    assert np.bincount(test.y).tolist() == [500, 500] and test.shuffle is False and train.shuffle is True


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
