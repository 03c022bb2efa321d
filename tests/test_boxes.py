"""Boxes against loops in plain Python on random sets: overlap, suppression, conventions, anchors, and what is no box."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncourse import anchors, boxes
from cnncourse.architectures import vgg16
from cnncourse.layers import Conv, cut, extend, receptive_field

SETS = 2000


def some_boxes(rng: random.Random, n: int, side: int = 40) -> list[tuple]:
    "Boxes on whole or half pixels, some equal, some without area, some far away."
    found = []
    for _ in range(n):
        if found and rng.random() < 0.1:
            found.append(rng.choice(found))
            continue
        x, y = (rng.randrange(-2, 2 * side) / 2 for _ in range(2))
        w, h = (rng.choice((0, 1, 2, 3, 5, 8, 20)) * rng.choice((1, 0.5)) for _ in range(2))
        found.append((x, y, x + w, y + h))
    return found


def area(a) -> float:
    return (a[2] - a[0]) * (a[3] - a[1])


def shared(a, b) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def plain_iou(a, b) -> float:
    union = area(a) + area(b) - shared(a, b)
    return shared(a, b) / union if union > 0 else 0.0


def plain_giou(a, b) -> float:
    around = area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    union = area(a) + area(b) - shared(a, b)
    return plain_iou(a, b) - ((around - union) / around if around > 0 else 0.0)


def by_score(scores) -> list[int]:
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))


def plain_nms(found, scores, threshold, labels) -> list[int]:
    kept = []
    for i in by_score(scores):
        if not any(labels[i] == labels[k] and plain_iou(found[i], found[k]) > threshold for k in kept):
            kept.append(i)
    return kept


def plain_soft_nms(found, scores, labels, method, sigma, threshold, least) -> list[tuple]:
    left, done = {i: s for i, s in enumerate(scores) if s >= least}, []
    while left:
        best = min(left, key=lambda i: (-left[i], i))
        done.append((best, left.pop(best)))
        for i in list(left):
            if labels[i] == labels[best]:
                u = plain_iou(found[best], found[i])
                left[i] *= math.exp(-u * u / sigma) if method == "gaussian" else 1 - u if u > threshold else 1
                if left[i] < least:
                    del left[i]
    return done


@pytest.fixture(scope="module")
def sets():
    rng = random.Random(0)
    return [(rng.randrange(2**31), rng.randrange(0, 14), rng.randrange(0, 14)) for _ in range(SETS)]


def test_iou_and_giou_are_those_of_loops(sets):
    for seed, n, m in sets:
        rng = random.Random(seed)
        a, b = some_boxes(rng, n), some_boxes(rng, m)
        assert boxes.iou(a, b).tolist() == [[plain_iou(x, y) for y in b] for x in a]
        assert np.allclose(boxes.giou(a, b), np.reshape([plain_giou(x, y) for x in a for y in b], (n, m)), atol=1e-12)
        crowd = [rng.random() < 0.5 for _ in b]
        wanted = [
            [
                shared(x, y) / area(x) if c and area(x) else 0.0 if c else plain_iou(x, y)
                for y, c in zip(b, crowd, strict=True)
            ]
            for x in a
        ]
        assert boxes.iou(a, b, crowd=crowd).tolist() == wanted


def test_nms_keeps_what_a_loop_keeps(sets):
    for seed, n, m in sets:
        rng = random.Random(seed)
        found = some_boxes(rng, n * m // 3, side=rng.choice((4, 15, 60)))
        scores = [rng.choice((0.1, 0.5, 0.5, rng.random())) for _ in found]
        labels = [rng.randrange(3) for _ in found]
        threshold = rng.choice((0, 0.3, 0.5, 0.7, 1))
        assert boxes.nms(found, scores, threshold).tolist() == plain_nms(found, scores, threshold, [0] * len(found))
        assert boxes.nms(found, scores, threshold, labels).tolist() == plain_nms(found, scores, threshold, labels)


@pytest.mark.parametrize("side", [10, 150, 1500])
@pytest.mark.parametrize("largest", [8, 200])
def test_nms_of_many_boxes_keeps_what_a_loop_keeps(side, largest):
    rng = np.random.default_rng(side + largest)
    start = rng.integers(0, side, (1500, 2))
    found = np.hstack([start, start + rng.integers(1, largest, (1500, 2))])
    found[0] = 0, 0, side, side  # one that overlaps all, in every strip
    scores = rng.integers(0, 200, 1500)
    kept = []
    for i in by_score(scores.tolist()):
        if not kept or boxes.iou(found[i], found[kept]).max() <= 0.4:
            kept.append(i)
    assert boxes.nms(found, scores, 0.4).tolist() == kept


@pytest.mark.parametrize("method", ["gaussian", "linear"])
def test_soft_nms_weakens_as_a_loop_does(sets, method):
    for seed, n, _ in sets[:1000]:
        rng = random.Random(seed)
        found, labels = some_boxes(rng, n, side=12), [rng.randrange(2) for _ in range(n)]
        scores = [rng.random() for _ in found]
        places, left = boxes.soft_nms(found, scores, labels, method=method, min_score=0.05)
        wanted = {i: s for i, s in plain_soft_nms(found, scores, labels, method, 0.5, 0.3, 0.05)}
        assert set(places.tolist()) == set(wanted) and (np.diff(left) <= 0).all()
        assert np.allclose(left, [wanted[i] for i in places.tolist()])


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_box_comes_back_from_every_convention(data):
    x, y = (data.draw(st.floats(-50, 300)) for _ in range(2))
    w, h = (data.draw(st.floats(0, 300)) for _ in range(2))
    size = data.draw(st.tuples(st.integers(300, 2000), st.integers(300, 2000)))
    box = np.array([x, y, x + w, y + h])
    for old in boxes.BOX_FORMS:
        there = boxes.convert_boxes(box, "xyxy", old, size)
        for new in boxes.BOX_FORMS:
            again = boxes.convert_boxes(boxes.convert_boxes(there, old, new, size), new, "xyxy", size)
            assert np.allclose(again, box, rtol=0, atol=1e-9)


NO_BOXES = {
    "swapped": ([[5, 0, 1, 9]], "has x2 < x1 or y2 < y1"),
    "NaN": ([[0, 0, float("nan"), 1]], "NaN"),
    "infinite": ([[0, 0, float("inf"), 1]], "infinite"),
    "text": ([["a", "b", "c", "d"]], "should be numbers"),
    "three": ([[1, 2, 3]], r"should be numbers \(k, 4\)"),
    "ragged": ([[1, 2, 3, 4], [1, 2]], "NumPy cannot read"),
    "deeper": (np.zeros((1, 2, 4)), r"should be numbers \(k, 4\)"),
    "truth": (np.zeros((2, 4), bool), "should be numbers"),
}


@pytest.mark.parametrize("case", NO_BOXES)
@pytest.mark.parametrize(
    "function", [boxes.iou, boxes.giou, lambda a, b: boxes.nms(a, [1.0]), lambda a, b: anchors.match(b, a)]
)
def test_what_is_no_box_is_named(case, function):
    given_boxes, said = NO_BOXES[case]
    with pytest.raises(ValueError, match=said):
        function(given_boxes, [[0, 0, 1, 1]])


def plain_match(places, found, high, low) -> list[int]:
    table = [[plain_iou(a, b) for b in found] for a in places]
    answer = []
    for row in table:
        best = max(row, default=0.0)
        answer.append(row.index(best) if best >= high else -2 if best >= low else -1)
    pairs = sorted((-table[i][j], i, j) for i in range(len(places)) for j in range(len(found)) if table[i][j] > 0)
    taken, served = set(), set()
    for _, i, j in pairs:
        if i not in taken and j not in served:
            taken.add(i)
            served.add(j)
            answer[i] = j
    return answer


def test_match_is_that_of_a_loop(sets):
    for seed, n, m in sets:
        rng = random.Random(seed)
        places, found = some_boxes(rng, n + 3, side=12), some_boxes(rng, m // 3, side=12)
        assert anchors.match(places, found).tolist() == plain_match(places, found, 0.5, 0.4)


def test_every_object_that_an_anchor_touches_gets_one():
    places = anchors.anchor_boxes((8, 8), 12, anchors.anchor_shapes([12, 30], [0.5, 1, 2]))
    rng = np.random.default_rng(0)
    for _ in range(100):
        start = rng.uniform(0, 80, (6, 2))
        found = np.hstack([start, start + rng.uniform(2, 40, (6, 2))])
        assert set(range(6)) <= set(anchors.match(places, found).tolist())


def test_decode_turns_encode_round():
    rng = np.random.default_rng(0)
    start = rng.uniform(-50, 400, (2, SETS, 2))
    found, places = np.concatenate([start, start + rng.uniform(0.5, 300, start.shape)], axis=-1)
    usual = np.abs(np.log((found[:, 2:] - found[:, :2]) / (places[:, 2:] - places[:, :2]))).max(axis=1) < np.log(60)
    again = anchors.decode_boxes(anchors.encode_boxes(found, places), places)
    assert usual.mean() > 0.9 and np.allclose(again[usual], found[usual], rtol=0, atol=1e-9)


def test_the_published_detector_sees_and_asks_what_its_paper_says():
    "Faster R-CNN (Ren and others 2015), section 3: on VGG-16 each place sees 228 pixels; at 600x1000 about 20,000 anchors."
    net = cut(vgg16(input_size=(600, 1000)), "features.29")  # conv5_3 of the paper
    down, across = receptive_field(extend(net, [("rpn", Conv(512, 3, padding=1))]))
    assert (down.size, across.size, down.jump, across.jump) == (228, 228, 16, 16)
    grid = tuple(round(side / 16) for side in (1000, 600))
    assert grid == (62, 38)
    assert len(anchors.anchor_boxes(grid, 16, anchors.anchor_shapes([128, 256, 512], [0.5, 1, 2]))) == 62 * 38 * 9
    assert 20_000 <= 62 * 38 * 9 < 22_000
