"""Annotations of three kinds say the same of the same pictures; what is wrong in any of them is named, and never moved."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from cnncourse.annotations import AnnotationError, read_annotations

CLASSES = ("cat", "dog", "고양이")
SIZES = {"a.png": (100, 200), "in/b.jpg": (64, 48), "사진.png": (30, 40), "empty.bmp": (20, 20)}  # height, width


def truth(seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    "Boxes on whole pixels and labels, by the picture's name; the last picture holds nothing."
    rng, found = np.random.default_rng(seed), {}
    for name, (h, w) in SIZES.items():
        n = 0 if name == "empty.bmp" else int(rng.integers(1, 6))
        low = rng.integers(0, [w - 2, h - 2], (n, 2))
        found[name] = np.hstack([low, rng.integers(low + 1, [w + 1, h + 1])]), rng.integers(0, len(CLASSES), n)
    return found


@pytest.fixture
def photos(tmp_path):
    for name, (h, w) in SIZES.items():
        name = unicodedata.normalize("NFD", name)  # as macOS writes it
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (w, h)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def coco(found) -> dict:
    images = [{"id": 10 * i, "file_name": n, "height": SIZES[n][0], "width": SIZES[n][1]} for i, n in enumerate(found)]
    rows = [
        {
            "image_id": 10 * i,
            "category_id": 3 * int(k) + 1,
            "bbox": [*map(float, b[:2]), *map(float, b[2:] - b[:2])],
            "iscrowd": 0,
        }
        for i, (boxes, labels) in enumerate(found.values())
        for b, k in zip(boxes, labels, strict=True)
    ]
    categories = [{"id": 3 * i + 1, "name": name} for i, name in enumerate(CLASSES)]
    return {
        "images": images,
        "categories": categories[::-1],
        "annotations": [{"id": i, **row} for i, row in enumerate(rows)],
    }


def voc(name, boxes, labels, first=1) -> str:
    objects = "".join(
        f"<object><name>{CLASSES[k]}</name><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part><bndbox>"
        + "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), row, strict=True))
        + "</bndbox></object>"
        for row, k in zip(np.add(boxes, [first, first, first - 1, first - 1]).tolist(), labels, strict=True)
    )
    return f"<annotation><filename>{name}</filename>{objects}</annotation>"


def yolo(boxes, labels, size) -> str:
    middle, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    rows = np.hstack([middle, sides]) / np.tile(size[::-1], 2)
    return "".join(f"{k} " + " ".join(f"{v:.6f}" for v in row) + "\n" for k, row in zip(labels, rows, strict=True))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def written(folder, kind, found):
    "A set in a kind of file, and what to read."
    if kind == "coco":
        return write(folder / "coco.json", json.dumps(coco(found)))
    for name, (boxes, labels) in found.items():
        stem = folder / kind / name.rsplit(".", 1)[0]
        text = voc(name, boxes, labels) if kind == "voc" else yolo(boxes, labels, SIZES[name])
        write(stem.with_suffix(".xml" if kind == "voc" else ".txt"), text)
    if kind == "yolo":
        write(folder / kind / "classes.txt", "\ufeff" + "\n".join(CLASSES) + "\n")
    return folder / kind


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo"])
@pytest.mark.parametrize("seed", range(3))
def test_each_kind_gives_the_boxes_that_were_written(tmp_path, photos, kind, seed):
    found = truth(seed)
    read = read_annotations(written(tmp_path, kind, found), photos, **({"classes": CLASSES} if kind == "voc" else {}))
    assert read.classes == CLASSES and read.broken == ()
    by_name = dict(
        zip(
            (unicodedata.normalize("NFC", p.relative_to(photos).as_posix()) for p in read.pictures),
            read.objects,
            strict=True,
        )
    )
    assert by_name.keys() == found.keys()
    for name, (boxes, labels) in found.items():
        assert np.allclose(by_name[name].boxes, boxes, rtol=0, atol=2e-4 if kind == "yolo" else 0)  # six digits
        assert by_name[name].labels.tolist() == labels.tolist()
    assert read.picture(0).shape == (3, *read.sizes[0])


def test_voc_files_that_count_from_zero_are_read_when_that_is_said(tmp_path, photos):
    boxes, labels = np.array([[0, 0, 10, 20]]), np.array([1])
    folder = write(tmp_path / "voc/a.xml", voc("a.png", boxes, labels, first=0)).parent
    with pytest.raises(AnnotationError, match=r"begins at 0, but pixels are counted from 1: give first_pixel=0"):
        read_annotations(folder, photos)
    assert read_annotations(folder, photos, first_pixel=0).objects[0].boxes.tolist() == boxes.tolist()
    outside = read_annotations(folder, photos, first_pixel=0, last_inside=False).objects[0].boxes
    assert outside.tolist() == [[0, 0, 9, 19]]


CHANGES = {
    "no JSON": (lambda d: "{", "is not JSON from line 1 on"),
    "results": (lambda d: "[]", "as COCO writes results"),
    "no images": (lambda d: {**d, "images": None}, "has no list 'images'"),
    "no box": (lambda d: changed(d, "annotations", 0, bbox=None), "its bbox should be four numbers, not None"),
    "NaN": (lambda d: changed(d, "annotations", 0, bbox=[0, 0, float("nan"), 1]), "should be four numbers"),
    "no area": (lambda d: changed(d, "annotations", 0, bbox=[1, 1, 0, 5]), "must lie in the picture"),
    "outside": (lambda d: changed(d, "annotations", 0, bbox=[150, 1, 60, 5]), "must lie in the picture"),
    "below 0": (lambda d: changed(d, "annotations", 0, bbox=[5, 1, -4, 5]), "has a width or height below 0"),
    "unknown class": (lambda d: changed(d, "annotations", 0, category_id=2), "no category with the id 2"),
    "unknown picture": (lambda d: changed(d, "annotations", 0, image_id=5), "annotation 0: there is no image with the id 5"),
    "id is a list": (lambda d: changed(d, "annotations", 0, image_id=[5]), "the image_id of entry 0 of annotations"),
    "area is text": (lambda d: changed(d, "annotations", 0, area="big"), "its area should be a number from 0"),
    "missing picture": (lambda d: changed(d, "images", 0, file_name="z.png"), "there is no picture z.png"),
    "outside the folder": (lambda d: changed(d, "images", 0, file_name="../a.png"), "there is no picture ../a.png"),
    "other size": (lambda d: changed(d, "images", 0, width=100), "is 200 wide and 100 high, not 100 and 100 as is told"),
    "twice": (lambda d: changed(d, "images", 1, id=0), "two images have the id 0"),
    "fractions": (lambda d: {**d, "annotations": [{**a, "bbox": [0.1, 0.1, 0.5, 0.5]} for a in d["annotations"]]}, "give form='xywhn'"),
}  # fmt: skip


def changed(data, name, i, **values) -> dict:
    rows = list(data[name])
    rows[i] = {**rows[i], **values}
    return {**data, name: rows}


@pytest.mark.parametrize("case", CHANGES)
def test_what_is_wrong_in_a_coco_file_is_named(tmp_path, photos, case):
    change, said = CHANGES[case]
    data = change(coco(truth()))
    path = write(tmp_path / "coco.json", data if isinstance(data, str) else json.dumps(data))
    with pytest.raises(AnnotationError, match=said.replace("(", r"\(")):
        read_annotations(path, photos)


def test_corners_that_would_fit_as_sizes_are_told_by_their_areas(tmp_path, photos):
    data = coco({"a.png": (np.array([[5, 5, 30, 25], [10, 2, 50, 40]]), np.array([0, 1]))})
    for row in data["annotations"]:
        x, y, w, h = row["bbox"]
        row.update(bbox=[x, y, x + w, y + h], area=w * h)
    path = write(tmp_path / "coco.json", json.dumps(data))
    with pytest.raises(AnnotationError, match="the areas are those of boxes as x1, y1, x2, y2: give form='xyxy'"):
        read_annotations(path, photos)
    assert read_annotations(path, photos, form="xyxy").objects[0].boxes.tolist() == [[5, 5, 30, 25], [10, 2, 50, 40]]
    data["annotations"][0]["area"] = 300  # of an outline
    read_annotations(write(path, json.dumps(data)), photos)


LINES = {
    "pixels": ("0 30 40 20 20", "line 1 has|are these pixels"),
    "text": ("cat 0.5 0.5 0.1 0.1", "line 1 is not made of numbers"),
    "score": ("0 0.5 0.5 0.1 0.1 0.9", "the sixth may be a score"),
    "outline": ("0 0.1 0.1 0.5 0.1 0.5 0.5", "it may be an outline"),
    "no class": ("0.5 0.5 0.1 0.1", "the class may be missing"),
    "unknown class": ("3 0.5 0.5 0.1 0.1", "has the class 3, and there are 3, counted from 0"),
    "half a class": ("0.5 0.5 0.5 0.1 0.1", "begins with 0.5"),
    "huge class": ("1e300 0.5 0.5 0.1 0.1", r"begins with 1e\+300"),
    "NaN": ("0 nan 0.5 0.1 0.1", "NaN"),
    "outside": ("0 0.9 0.5 0.5 0.1", "must lie in the picture"),
    "no area": ("0 0.5 0.5 0 0.1", "must lie in the picture"),
    "corners": ("0 0.6 0.6 0.9 0.9", "as form='xyxyn' all of this picture would fit"),
}


@pytest.mark.parametrize("case", LINES)
def test_what_is_wrong_in_a_yolo_line_is_named(tmp_path, photos, case):
    line, said = LINES[case]
    folder = written(tmp_path, "yolo", truth())
    write(folder / "a.txt", line + "\n")
    with pytest.raises(AnnotationError, match=rf"a\.txt: .*({said})"):
        read_annotations(folder, photos)
    left = read_annotations(folder, photos, skip=True)
    assert len(left) == len(SIZES) - 1 and [name for name, _ in left.broken] == ["a.txt"]


XML = {
    "no XML": ("<annotation>", "it is not XML from line 1 on"),
    "another XML": ("<svg/>", "its outermost tag is 'svg'"),
    "no name": ("<annotation><object><bndbox/></object></annotation>", "an object has no name"),
    "no box": ("<annotation><object><name>cat</name></object></annotation>", "'cat' has no bndbox of four numbers"),
    "no number": (voc("a.png", np.array([[1, 2, 3, 4]]), [0]).replace(">2<", ">two<"), "no bndbox of four numbers"),
    "swapped": (voc("a.png", np.array([[50, 2, 30, 40]]), [0]), "are two corners swapped"),
    "outside": (voc("a.png", np.array([[50, 2, 230, 40]]), [0]), "must lie in the picture"),
    "missing picture": (voc("z.png", np.array([[1, 2, 3, 4]]), [0]), "there is no picture z.png"),
    "unknown class": (
        "<annotation><object><name>cow</name></object></annotation>",
        "'cow', which is not among the classes cat, dog",
    ),
}


@pytest.mark.parametrize("case", XML)
def test_what_is_wrong_in_a_voc_file_is_named(tmp_path, photos, case):
    text, said = XML[case]
    folder = write(tmp_path / "voc/q.xml", text).parent
    with pytest.raises(AnnotationError, match=rf"q\.xml: .*{said}"):
        read_annotations(folder, photos, classes=CLASSES)


def test_a_picture_held_sideways_is_compared_as_it_is_seen(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "photos/a.jpg", exif=exif)
    row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    data = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    path = write(tmp_path / "c.json", json.dumps({**data, "annotations": [row]}))
    with pytest.raises(AnnotationError, match="is 30 wide and 40 high, not 40 and 30 as is told"):
        read_annotations(path, tmp_path / "photos")


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (lambda t: t / "nowhere", {}, "There is no file or folder"),
        (lambda t: write(t / "one.xml", voc("a.png", np.zeros((0, 4)), [])), {}, "is a single file"),
        (
            lambda t: write(t / "both/a.xml", "").parent if write(t / "both/a.txt", "") else 0,
            {},
            "say kind='voc' or kind='yolo'",
        ),
        (lambda t: write(t / "json/x.json", "{}").parent, {}, "It holds x.json: give that file"),
        (lambda t: write(t / "x.json", "{}"), {"kind": "voc2"}, "kind should be one of coco, voc, yolo"),
        (lambda t: write(t / "x.json", "{}"), {"form": "ltrb"}, "form should be one of xyxy"),
        (lambda t: write(t / "x.json", "{}"), {"classes": ["cat"]}, "names its classes itself"),
        (lambda t: write(t / "voc/a.xml", "").parent, {"form": "xywh"}, "two corners in pixels"),
        (lambda t: write(t / "voc/a.xml", "").parent, {"first_pixel": 2}, "first_pixel should be 0 or 1"),
    ],
)
def test_a_place_that_is_no_annotation_is_named(tmp_path, photos, make, options, said):
    with pytest.raises(ValueError, match=said):
        read_annotations(make(tmp_path), photos, **options)


def test_all_pictures_come_at_one_size_with_their_boxes(tmp_path, photos):
    found = truth()
    read = read_annotations(written(tmp_path, "coco", found), photos)
    for how, least in (("pad", 0.3), ("stretch", 0.3), ("crop", 0.9)):
        x, objects = read.arrays((40, 60), how, min_visible=least)
        assert x.shape == (4, 3, 40, 60) and x.dtype == np.uint8
        for one, before in zip(objects, read.objects, strict=True):
            assert (one.boxes >= 0).all() and (one.boxes <= [60, 40, 60, 40]).all()
            assert len(one.labels) == len(one.boxes) == len(one.crowd) == len(one.areas) <= len(before.labels)
            assert len(one.labels) == len(before.labels) or how == "crop"
            assert np.allclose(one.areas, np.prod(one.boxes[:, 2:] - one.boxes[:, :2], axis=1))


def test_two_pictures_of_one_name_and_a_file_without_picture_are_named(tmp_path, photos):
    folder = written(tmp_path, "yolo", truth())
    write(folder / "ghost.txt", "0 0.5 0.5 0.1 0.1")
    Image.new("RGB", (200, 100)).save(photos / "a.jpg")
    left = read_annotations(folder, photos, skip=True)
    said = dict(left.broken)
    assert "there is no picture ghost" in said["ghost.txt"] and "two pictures are called a" in said["a.txt"]
