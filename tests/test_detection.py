"Week 9's own parts: a classifier slid at once says what it says window by window, finds grow back, and refusing is counted right."

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cnncourse import detection, networks
from cnncourse.boxes import iou, nms
from cnncourse.convolutional import convolutional
from cnncourse.detection_scores import Detections, Objects
from cnncourse.layers import weight_shapes


@pytest.mark.parametrize(
    "name",
    [
        "iou",
        "giou",
        "nms",
        "soft_nms",
        "encode",
        "decode",
        "match",
        "average_precision",
        "Detector",
        "read_annotations",
    ],
)
def test_the_module_offers_what_the_week_teaches(name):
    assert callable(getattr(detection, name))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_suppression_by_hand_keeps_what_the_library_keeps(seed, n, threshold):
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 30, (n, 2))
    boxes = np.hstack([start, start + rng.integers(1, 20, (n, 2))]).astype(float)
    scores = rng.integers(0, 6, n) / 5  # with ties
    steps = detection.plain_nms(boxes, scores, threshold)
    assert [best for best, _ in steps] == nms(boxes, scores, threshold).tolist()
    assert sorted(i for best, dropped in steps for i in (best, *dropped)) == list(range(n))


def sliding(channels=1, n_classes=2, seed=0):
    net = detection.window_classifier(channels, n_classes, (4, 5, 6))
    rng = np.random.default_rng(seed)
    weights = {name: rng.normal(size=s).astype(np.float32) * 0.3 for name, s in weight_shapes(net).items()}
    return net, weights, convolutional(net, weights)


@pytest.mark.parametrize("size", [(25, 25), (26, 61), (40, 33)])
def test_all_windows_at_once_say_what_each_says(size):
    net, weights, form = sliding(3, 4)
    picture = np.random.default_rng(1).integers(0, 256, (3, *size), np.uint8)
    model = networks.to_torch(net)
    networks.set_weights(model, weights)
    boxes, one_by_one = detection.slide(
        lambda x: detection.training.predict(model, np.float32(x[None]) / 255)[0], picture
    )
    windows, at_once = detection.answers_at_once(form, picture)
    assert np.array_equal(boxes, windows)
    assert np.allclose(one_by_one, at_once, atol=1e-4)


@pytest.mark.parametrize("zoom", [1.0, 1.6])
def test_what_is_found_is_a_window_of_a_level_grown_back(zoom):
    _, _, form = sliding(1, 3)
    picture = np.random.default_rng(2).integers(0, 256, (1, 60, 90), np.uint8)
    found = detection.find_at_scales(form, picture, threshold=0.0, iou_threshold=1.0, zoom=zoom)
    levels = list(detection.pyramid(picture, zoom=zoom))
    answers = [detection.answers_at_once(form, level) for level in levels]
    assert len(found.boxes) == 2 * sum(len(boxes) for boxes, _ in answers)  # each window under both names
    assert (np.diff(found.scores) <= 0).all() and set(found.labels) == {0, 1}
    sides = {round(90 / level.shape[2] * 25, 6) for level in levels}
    assert {round(float(width), 6) for width in found.boxes[:, 2] - found.boxes[:, 0]} == sides
    assert found.boxes.min() >= 0 and (found.boxes[:, 2:] <= (90 + 1e-9, 60 + 1e-9)).all()
    few = detection.find_at_scales(form, picture, threshold=0.4, zoom=zoom)
    assert (few.scores > 0.4).all()
    for label in (0, 1):
        mine = few.boxes[few.labels == label]
        assert (iou(mine, mine) - np.eye(len(mine)) <= 0.2 + 1e-12).all()


def test_a_picture_smaller_than_the_window_is_named():
    _, _, form = sliding()
    with pytest.raises(ValueError, match="at least 25 × 25 pixels, not 24 × 90"):
        detection.find_at_scales(form, np.zeros((1, 24, 90), np.uint8))


def test_false_finds_become_examples_of_nothing():
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (16, 1, 25, 25), np.uint8)
    empty = [rng.integers(0, 256, (1, 40, 40), np.uint8)]
    forms = detection.fit_finder(detection.window_classifier(), x, np.arange(16) % 2, empty, rounds=1, epochs=1, seed=0)
    assert len(forms) == 2
    hard = detection._hard_negatives(forms[0], empty, 3)
    assert hard.shape[1:] == (1, 25, 25) and hard.dtype == np.uint8
    assert len(hard) <= 3 * len(list(detection.pyramid(empty[0])))


@pytest.mark.parametrize(
    ("boxes", "wanted"),
    [([], (False, 0)), ([[0, 0, 10, 10]], (True, 0)), ([[0, 0, 10, 10], [0, 0, 10, 9]], (True, 1)),
     ([[5, 0, 15, 10]], (False, 1))],
)  # fmt: skip
def test_a_second_box_on_the_object_is_false(boxes, wanted):
    found = Detections(np.reshape(boxes, (-1, 4)), np.zeros(len(boxes)), np.ones(len(boxes)))
    assert detection.right_place(found, (0, 0, 10, 10)) == wanted


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_the_area_of_refusals_is_that_of_the_roc_curve(known, unknown):
    curve = detection.refusal_curve(known, unknown)
    truth = [1] * len(known) + [0] * len(unknown)
    assert np.isclose(curve.area, roc_auc_score(truth, known + unknown))
    for limit, a, b in zip(*curve, strict=True):
        assert a == np.mean(np.array(known) < limit) and b == np.mean(np.array(unknown) < limit)


def test_the_three_numbers_by_hand():
    logits = np.log([[2.0, 1, 1], [1, 8, 1]])
    assert np.allclose(detection.largest_probability(logits), [0.25, 0.8])
    assert np.allclose(detection.energy(logits), np.log([2, 9]))
    near = detection.feature_nearness([[3.0, 0], [0, -1]], [[1.0, 0], [2, 0], [0, 5]], 2)
    assert np.allclose(near, [0, -(2**0.5)])  # opposite of one, at a right angle to two


def test_what_is_seen_at_objects_is_what_the_network_says_there():
    from cnncourse.scenes import scenes

    some = scenes(5, size=64, radius=(0.15, 0.25), seed=4)
    names, options = ["a", "b", "c", "d"], {"widths": (4, 6, 8), "shapes": [[(12, 12), (24, 24)]], "epochs": 1}
    small = detection.Detector.fit(some.x, some.objects, names, **options)
    seen = detection.at_objects(small, some.x, some.objects, "block2.relu")
    assert seen.labels.tolist() == [k for one in some.objects for k in one.labels]
    anchors = detection.network_anchors(small.net, small.shapes)
    maps = networks.activations(small.model, np.float32(some.x) / 255, ["names0", "block2.relu"])
    at = 0
    for i, one in enumerate(some.objects):
        for box in one.boxes:
            cell, shape = divmod(int(np.argmax(iou(anchors, box))), 2)
            row, column = divmod(cell, 8)
            assert np.allclose(seen.logits[at], maps["names0"][i, 5 * shape : 5 * shape + 5, row, column], atol=1e-4)
            assert np.allclose(seen.features[at], maps["block2.relu"][i, :, row, column], atol=1e-4)
            at += 1
    with pytest.raises(ValueError, match="no object"):
        detection.at_objects(small, some.x[:1], [Objects(np.zeros((0, 4)), [])], "block2.relu")
