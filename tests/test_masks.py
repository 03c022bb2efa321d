"""Masks of classes come back from every kind of file; outlines and run lengths are those of pycocotools, to the pixel."""

import numpy as np
import pytest
from conftest import needs_pycocotools
from PIL import Image

from cnncourse.masks import (
    outline_mask,
    polygon_mask,
    read_classes,
    rle_counts,
    rle_from_text,
    rle_mask,
    rle_text,
    voc_colours,
)
from cnncourse.pictures import PictureError

SETS = 1000


def random_polygon(rng: np.random.Generator, h: int, w: int) -> list[float]:
    "Corners in and around a picture, whole, half or anything, sometimes twice the same."
    n = int(rng.integers(3, 9))
    corners = rng.uniform(-0.3, 1.3, (n, 2)) * [w, h]
    kind = rng.integers(0, 3)
    corners = np.round(corners * (1 if kind == 0 else 2)) / (1 if kind == 0 else 2) if kind < 2 else corners
    if rng.random() < 0.2:
        corners[1] = corners[0]
    return corners.ravel().tolist()


@needs_pycocotools
def test_polygons_are_filled_as_by_pycocotools():
    from pycocotools import mask as official

    rng = np.random.default_rng(0)
    for _ in range(SETS):
        h, w = map(int, rng.integers(1, 60, 2))
        polygons = [random_polygon(rng, h, w) for _ in range(rng.integers(1, 4))]
        each = official.frPyObjects(polygons, h, w)
        assert (outline_mask(polygons, h, w) == official.decode(official.merge(each)).astype(bool)).all(), (
            polygons,
            h,
            w,
        )
        assert (polygon_mask(polygons[0], h, w) == official.decode(each[0]).astype(bool)).all()


@needs_pycocotools
def test_run_lengths_are_those_of_pycocotools():
    from pycocotools import mask as official

    rng = np.random.default_rng(1)
    for _ in range(SETS):
        h, w = map(int, rng.integers(1, 80, 2))
        mask = np.cumsum(rng.random((h, w)) < 0.1, axis=int(rng.integers(0, 2))) % 2 == 1
        said = official.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle_text(rle_counts(mask)).encode() == said["counts"]
        assert (outline_mask({"size": [h, w], "counts": said["counts"]}, h, w) == mask).all()
        assert official.frPyObjects({"size": [h, w], "counts": rle_counts(mask)}, h, w)["counts"] == said["counts"]


def test_run_lengths_come_back():
    rng = np.random.default_rng(2)
    for _ in range(SETS):
        h, w = map(int, rng.integers(1, 50, 2))
        mask = rng.random((h, w)) < rng.choice([0, 0.02, 0.5, 1])
        counts = rle_counts(mask)
        assert (rle_mask(counts, h, w) == mask).all()
        assert rle_from_text(rle_text(counts)) == counts


def saved(folder, image, name="mask.png"):
    image.save(folder / name)
    return folder / name


@pytest.mark.parametrize("n_classes", [2, 5, 21])
def test_every_kind_of_file_gives_the_labels_that_were_written(tmp_path, n_classes):
    rng = np.random.default_rng(n_classes)
    labels = rng.integers(0, n_classes, (13, 9))
    colours, byte = voc_colours(n_classes), labels.astype(np.uint8)
    palette = Image.fromarray(byte)
    palette.putpalette([value for colour in voc_colours(256) for value in colour])
    painted = Image.fromarray(np.array(colours, np.uint8)[labels])
    read = [
        read_classes(saved(tmp_path, palette), n_classes),
        read_classes(saved(tmp_path, palette), colours=colours),
        read_classes(saved(tmp_path, painted), colours=colours),
        read_classes(saved(tmp_path, painted.convert("RGBA")), colours=colours),
        read_classes(saved(tmp_path, Image.fromarray(byte)), n_classes),
        read_classes(saved(tmp_path, Image.fromarray(np.repeat(byte[..., None], 3, axis=-1))), n_classes),
        read_classes(saved(tmp_path, Image.fromarray(labels.astype(np.uint16))), n_classes),
        read_classes(saved(tmp_path, Image.fromarray(byte * 12)), n_classes, values=range(0, 12 * n_classes, 12)),
        read_classes(saved(tmp_path, Image.fromarray(byte), "mask.tif"), n_classes, shape=(13, 9)),
        read_classes(saved(tmp_path, Image.fromarray(byte), "mask.bmp"), n_classes),
    ]
    for one in read:
        assert one.dtype == np.int64 and (one == labels).all()


def test_what_is_not_known_stays_as_it_is(tmp_path):
    labels = np.array([[0, 1, 255], [1, 0, 255]])
    file = saved(tmp_path, Image.fromarray(labels.astype(np.uint8)))
    assert (read_classes(file, 2, ignore=255) == labels).all()
    with pytest.raises(
        PictureError, match=r"mask\.png.*holds 255 where 0, 1 are known \(2 pixels, the first in row 0 and column 2"
    ):
        read_classes(file, 2)


def test_two_values_stand_for_two_classes(tmp_path):
    mask = np.array([[0, 1], [1, 1]])
    for values in (mask, 255 * mask, np.ones((2, 2), int), np.zeros((2, 2), int), np.full((2, 2), 255)):
        file = saved(tmp_path, Image.fromarray(values.astype(np.uint8)))
        assert (read_classes(file, 2) == (values > 0)).all()


BAD = {
    "another size": (
        Image.new("L", (5, 4)),
        {"n_classes": 2, "shape": (5, 4)},
        "is 5 wide and 4 high, its picture 4 and 5",
    ),
    "unknown value": (Image.new("L", (5, 4), 7), {"n_classes": 3}, "it holds 7 where 0, 1, 2 are known"),
    "colours without a table": (Image.new("RGB", (5, 4), (1, 2, 3)), {"n_classes": 3}, "give colours="),
    "unknown colour": (
        Image.new("RGB", (5, 4), (1, 2, 3)),
        {"colours": [(0, 0, 0)]},
        r"the colour \(1, 2, 3\) is not among",
    ),
    "half seen": (Image.new("RGBA", (5, 4), (0, 0, 0, 9)), {"n_classes": 3}, "transparent in places"),
    "numbers that are no classes": (Image.new("F", (5, 4)), {"n_classes": 3}, "of the kind F"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_classes_is_named(tmp_path, case):
    image, options, said = BAD[case]
    with pytest.raises(PictureError, match=rf"mask\.tif.*{said}"):
        read_classes(saved(tmp_path, image, "mask.tif"), **options)


def test_a_mask_from_a_jpeg_or_from_no_picture_is_refused(tmp_path):
    with pytest.raises(PictureError, match="save masks as PNG"):
        read_classes(saved(tmp_path, Image.new("L", (5, 4)), "mask.jpg"), 2)
    with pytest.raises(PictureError, match="there is no such file"):
        read_classes(tmp_path / "nowhere.png", 2)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(PictureError, match="no JPEG, PNG"):
        read_classes(tmp_path / "text.png", 2)


def test_soft_edges_are_called_by_name(tmp_path):
    colours = [(0, 0, 0), (250, 100, 0)]
    sharp = Image.fromarray(np.array(colours, np.uint8)[np.indices((40, 40)).sum(axis=0) // 7 % 2])
    with pytest.raises(PictureError, match="soft edges, or made smaller"):
        read_classes(saved(tmp_path, sharp.resize((23, 23), Image.Resampling.BILINEAR)), colours=colours)
