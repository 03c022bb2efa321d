"""Scenes: boxes and masks agree to the pixel, sizes and overlaps are as asked for, and no part sees another's photographs or pixels."""

import itertools

import numpy as np
import pytest

from cnncourse import scenes as room
from cnncourse.boxes import iou
from cnncourse.datasets import photograph_names
from cnncourse.scenes import PHOTOGRAPHS, SCENE_SHAPES, TEXTURES, mosaics, scenes


def test_no_photograph_is_in_two_parts():
    for first, second in itertools.combinations(PHOTOGRAPHS, 2):
        assert not set(PHOTOGRAPHS[first]) & set(PHOTOGRAPHS[second])
    assert set(itertools.chain.from_iterable(PHOTOGRAPHS.values())) <= set(photograph_names())


def marked(monkeypatch, value):  # photographs whose pixels tell which they are: no number in two of them
    numbers = {name: value(i) for i, name in enumerate(photograph_names())}
    monkeypatch.setattr(room, "photograph", lambda name: numbers[name])
    room._photographs.cache_clear()
    return numbers


def test_a_background_comes_from_the_photographs_of_its_part_alone(monkeypatch):
    numbers = marked(monkeypatch, lambda i: np.full((1, 200, 300), 3 + 10 * i, np.uint8))
    try:
        for part in PHOTOGRAPHS:
            drawn = scenes(60, part=part, objects=(0, 0))
            assert set(drawn.photographs) == set(PHOTOGRAPHS[part])
            for picture, name in zip(drawn.x, drawn.photographs, strict=True):
                assert (picture == numbers[name].max()).all()
    finally:
        room._photographs.cache_clear()


@pytest.mark.parametrize("part", PHOTOGRAPHS)
@pytest.mark.parametrize(
    "options", [{}, {"size": 64, "objects": (0, 8), "radius": (0.05, 0.2), "kinds": SCENE_SHAPES}, {"overlap": 0.0}]
)
def test_boxes_labels_and_masks_say_the_same(part, options):
    drawn = scenes(40, part=part, seed=3, **options)
    few, many = options.get("objects", (1, 4))
    counts = [len(one.labels) for one in drawn.objects]
    assert few <= min(counts) and max(counts) <= many and len(set(counts)) > 2
    for places, one, classes in zip(drawn.instances, drawn.objects, drawn.class_maps(), strict=True):
        masks = [places == k + 1 for k in range(len(one.labels))]
        assert set(np.unique(places)) <= set(range(len(one.labels) + 1)) and not classes[places == 0].any()
        for mask, box, label, area in zip(masks, one.boxes, one.labels, one.areas, strict=True):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert area == mask.sum() and (classes[mask] == label + 1).all()
        if len(masks) > 1:
            assert np.triu(iou(one.boxes, one.boxes), 1).max() <= options.get("overlap", 0.3)


def test_sizes_are_as_asked_for():
    drawn = scenes(80, size=100, objects=(1, 1), radius=(0.1, 0.2), kinds=["square"], seed=1)
    widths = np.array([one.boxes[0, 2] - one.boxes[0, 0] for one in drawn.objects])
    assert widths.min() >= 19 and widths.max() <= 41 and widths.std() > 4


def test_a_thing_that_is_partly_hidden_shows_the_greater_part():
    crowded = scenes(60, objects=(6, 6), overlap=0.6, kinds=["circle"], radius=(0.15, 0.2), seed=2)
    for one in crowded.objects:
        assert (one.areas >= 0.6 * np.pi * (0.15 * 96) ** 2 * 0.9).all()


def test_mosaics_of_two_parts_share_no_pixel(monkeypatch):
    numbers = np.arange(512 * 512).reshape(1, 512, 512)
    marked(monkeypatch, lambda i: (numbers + i * 512 * 512) * 255.0)  # so that cutting gives them back
    found = {part: set(np.unique(mosaics(60, part=part, seed=1).x).tolist()) for part in room.PARTS}
    room._photographs.cache_clear()
    for first, second in itertools.combinations(found, 2):
        assert len(found[first]) > 10_000 and not found[first] & found[second]


def test_the_label_of_a_pixel_is_the_texture_it_comes_from(monkeypatch):
    numbers = marked(monkeypatch, lambda i: np.full((1, 512, 512), i, np.uint8))
    made = mosaics(30, regions=(1, 6))
    room._photographs.cache_clear()
    values = np.array([numbers[name].max() / np.float32(255) for name in TEXTURES])
    assert np.allclose(made.x[:, 0], values[made.labels])
    assert len({len(np.unique(one)) for one in made.labels}) == 3  # one, two and three textures
