"""Average precision against pycocotools and against VOC's rules written as loops, on random sets with ties, crowds and no objects."""

import contextlib
import io

import numpy as np
import pytest
from conftest import needs_pycocotools

from cnncourse.detection_scores import FAILURES, Detections, Objects, average_precision, coco_scores, failures, ranking

N_CLASSES = 3


def random_set(seed: int) -> tuple[list[Detections], list[Objects]]:
    "Pictures of which some are empty; detections near objects or anywhere, on whole pixels, with equal scores among them."
    rng = np.random.default_rng(seed)
    found, there = [], []
    for _ in range(rng.integers(1, 7)):
        n = 0 if rng.random() < 0.2 else int(rng.integers(0, 8))
        start, size = rng.integers(0, 120, (n, 2)), rng.choice([1, 6, 20, 33, 60, 97, 120], (n, 2))
        boxes, labels = np.hstack([start, start + size]), rng.integers(0, N_CLASSES, n)
        crowd = rng.random(n) < rng.choice([0, 0.3])
        areas = np.prod(size, axis=1) * rng.choice([1, 0.4], n)
        there.append(Objects(boxes, labels, crowd, areas))
        near = np.repeat(np.arange(n), rng.integers(0, 4, n))
        moved = boxes[near] + rng.integers(-4, 5, (len(near), 4)) * rng.integers(0, 2, (len(near), 1))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        wild = rng.integers(0, 100, (rng.integers(0, 6), 2))
        moved = np.vstack([moved, np.hstack([wild, wild + rng.integers(1, 100, wild.shape)])])
        own = np.r_[labels[near], rng.integers(0, N_CLASSES, len(wild))]
        own = np.where(rng.random(len(own)) < 0.1, rng.integers(0, N_CLASSES, len(own)), own)
        scores = rng.choice([0.2, 0.5, 0.9, *rng.random(8)], len(own))
        order = rng.permutation(len(own))
        found.append(Detections(moved[order], own[order], scores[order]))
    return found, there


def official(found, there):  # what pycocotools says: its COCOeval, accumulated
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def as_xywh(boxes):
        return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).tolist()

    images = [{"id": i, "width": 400, "height": 400} for i in range(len(there))]
    rows = [
        {"image_id": i, "category_id": int(k), "bbox": box, "iscrowd": int(c), "area": float(a)}
        for i, one in enumerate(there)
        for box, k, c, a in zip(as_xywh(one.boxes), one.labels, one.crowd, one.areas, strict=True)
    ]
    said = [
        {"image_id": i, "category_id": int(k), "bbox": box, "score": float(s)}
        for i, one in enumerate(found)
        for box, k, s in zip(as_xywh(one.boxes), one.labels, one.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": images,
            "categories": [{"id": k} for k in range(N_CLASSES)],
            "annotations": [{"id": n, **row} for n, row in enumerate(rows, 1)],
        }
        truth.createIndex()
        guess = COCO()
        guess.dataset = {
            **truth.dataset,
            "annotations": [
                {"id": n, "iscrowd": 0, "area": row["bbox"][2] * row["bbox"][3], **row} for n, row in enumerate(said, 1)
            ],
        }
        guess.createIndex()
        judge = COCOeval(truth, guess, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


@needs_pycocotools
@pytest.mark.parametrize("block", range(6))
def test_mean_average_precision_is_that_of_pycocotools(block):
    for seed in range(50 * block, 50 * block + 50):
        found, there = random_set(seed)
        judge, ours = official(found, there), coco_scores(found, there, N_CLASSES)
        wanted = np.where(judge.stats == -1, np.nan, judge.stats)
        assert np.allclose(list(ours.values()), wanted, rtol=0, atol=1e-6, equal_nan=True), seed
        table = judge.eval["precision"][:, :, :, 0, -1].mean(axis=1)  # (t, classes): of all areas, of 100 detections
        table = np.where(table == -1, np.nan, table)
        assert np.allclose(average_precision(found, there, N_CLASSES).ap, table, atol=1e-6, equal_nan=True), seed


# VOC's rules, as its development kit has them (VOCevaldet.m), in loops


def overlap(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def voc_curve(found, there, label):
    rows = [
        (float(score), i, box)
        for i, one in enumerate(found)
        for score, box, k in zip(one.scores, one.boxes.tolist(), one.labels, strict=True)
        if k == label
    ]
    within = {i: sorted((r for r in rows if r[1] == i), key=lambda r: -r[0]) for i in range(len(found))}
    rows = sorted((row for i in within for row in within[i]), key=lambda r: -r[0])
    taken, hits, recall, precision = set(), [], [], []
    count = sum(int(((one.labels == label) & ~one.crowd).sum()) for one in there)
    for _, i, box in rows:
        own = [j for j in range(len(there[i].labels)) if there[i].labels[j] == label]
        best = max(own, key=lambda j: (overlap(box, there[i].boxes[j].tolist()), -j), default=None)
        if best is None or overlap(box, there[i].boxes[best].tolist()) < 0.5:
            hits.append(False)
        elif there[i].crowd[best]:
            continue
        else:
            hits.append((i, best) not in taken)
            taken.add((i, best))
        precision.append(sum(hits) / len(hits))
        recall.append(sum(hits) / count if count else 0)
    return precision, recall, count


def eleven_points(precision, recall) -> float:
    best = [max((p for p, r in zip(precision, recall, strict=True) if r >= t / 10), default=0) for t in range(11)]
    return sum(best) / 11


def whole_area(precision, recall) -> float:
    total, before = 0.0, 0.0
    for i, r in enumerate(recall):
        total += (r - before) * max(precision[i:])
        before = r
    return total


@pytest.mark.parametrize(("rule", "area"), [("voc2007", eleven_points), ("voc", whole_area)])
def test_voc_average_precision_is_that_of_loops(rule, area):
    for seed in range(150):
        found, there = random_set(seed)
        ours = average_precision(found, there, N_CLASSES, rule=rule).ap[0]
        for label in range(N_CLASSES):
            precision, recall, count = voc_curve(found, there, label)
            assert np.isnan(ours[label]) if not count else np.isclose(ours[label], area(precision, recall)), seed
            if count:
                curve = ranking(found, there, N_CLASSES, label, rule="voc")
                assert np.allclose(curve.precision, precision) and np.allclose(curve.recall, recall)


def test_the_order_of_pictures_and_of_equal_scores_is_the_order_given():
    box, far = [0, 0, 10, 10], [50, 50, 60, 60]
    there = [Objects([box], [0])]
    first = average_precision([Detections([box, far], [0, 0], [0.5, 0.5])], there, 1, rule="voc").mean
    last = average_precision([Detections([far, box], [0, 0], [0.5, 0.5])], there, 1, rule="voc").mean
    assert (first, last) == (1.0, 0.5)


BAD = {
    "another number of pictures": (lambda d, o: (d + d, o), "not of 2 and of 1"),
    "a class outside": (lambda d, o: ([d[0]._replace(labels=[9])], o), "labels of the detections of picture 0"),
    "no score": (lambda d, o: ([d[0]._replace(scores=[])], o), "scores of picture 0 should be 1 values"),
    "a score that is NaN": (lambda d, o: ([d[0]._replace(scores=[np.nan])], o), "value 0 is NaN"),
    "swapped corners": (lambda d, o: (d, [o[0]._replace(boxes=[[9, 9, 1, 1]])]), "objects of picture 0: box 0"),
    "crowd of another length": (lambda d, o: (d, [o[0]._replace(crowd=[True, False])]), "crowd of picture 0"),
    "areas of another length": (lambda d, o: (d, [o[0]._replace(areas=[1.0, 2.0])]), "areas of picture 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_named(case):
    change, said = BAD[case]
    found, there = [Detections([[0, 0, 5, 5]], [0], [0.5])], [Objects([[0, 0, 5, 5]], [0])]
    with pytest.raises(ValueError, match=said):
        average_precision(*change(found, there), 2)


def test_random_sets_hold_what_they_are_to_test():
    sets = [random_set(seed) for seed in range(300)]
    objects = [one for _, there in sets for one in there]
    scores = [np.concatenate([one.scores for one in found]) for found, _ in sets]
    assert any(not len(one.labels) for one in objects) and any(one.crowd.any() for one in objects)
    assert sum(len(np.unique(s)) < len(s) for s in scores) > 200  # ties
    assert any(not sum(len(one.labels) for one in there) for _, there in sets)  # no object at all


def test_every_detection_is_a_hit_or_a_failure_of_its_kind():
    kinds = set()
    for seed in range(150):
        found, there = random_set(seed)
        there = [one._replace(crowd=np.zeros(len(one.labels), bool)) for one in there]
        wrong = failures(found, there, N_CLASSES)
        hits = sum(ranking(found, there, N_CLASSES, label).hits.sum() for label in range(N_CLASSES))
        assert hits + sum(one.detection is not None for one in wrong) == sum(len(one.labels) for one in found)
        for kind, picture, detection, thing, share in wrong:
            kinds.add(kind)
            boxes, objects = found[picture].boxes, there[picture].boxes
            if kind == "missed":
                assert all(overlap(box, objects[thing].tolist()) < 0.1 for box in boxes.tolist())
                continue
            most = max((overlap(boxes[detection].tolist(), box) for box in objects.tolist()), default=0)
            assert np.isclose(share, most)
            if kind == "nothing there":
                assert most < 0.1 and thing is None
                continue
            assert np.isclose(most, overlap(boxes[detection].tolist(), objects[thing].tolist()))
            same = there[picture].labels[thing] == found[picture].labels[detection]
            assert (kind in ("doubled", "wrong place")) == same
            assert (kind in ("doubled", "wrong name")) == (most >= 0.5)
    assert kinds == set(FAILURES)
