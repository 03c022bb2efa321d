"""Scores of masks against scikit-learn on 1,000 random masks, and edges against a search of all pairs."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from cnncourse.mask_scores import boundary_f1, confusion, dice, mask_iou

MASKS = 1000


def random_maps(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    "Two maps of one shape that agree more or less; some classes are in one of them, or in neither."
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    shape = tuple(rng.integers(1, 12, rng.integers(1, 4)))
    truth = rng.choice(rng.choice(n, rng.integers(1, n + 1), replace=False), shape)
    predicted = np.where(rng.random(shape) < rng.choice([0, 0.1, 0.5, 1]), rng.integers(0, n, shape), truth)
    return truth, predicted, n


def test_confusion_iou_and_dice_are_those_of_scikit_learn():
    for seed in range(MASKS):
        truth, predicted, n = random_maps(seed)
        flat, labels = (truth.ravel(), predicted.ravel()), range(n)
        assert (confusion(truth, predicted, n) == confusion_matrix(*flat, labels=labels)).all()
        theirs = jaccard_score(*flat, labels=labels, average=None, zero_division=0)
        there = np.isin(np.arange(n), np.concatenate(flat))
        assert np.allclose(mask_iou(truth, predicted, n), np.where(there, theirs, np.nan), equal_nan=True)
        theirs = f1_score(*flat, labels=labels, average=None, zero_division=0)
        assert np.allclose(dice(truth, predicted, n), np.where(there, theirs, np.nan), equal_nan=True)


def test_one_thing_is_the_second_of_two_classes():
    for seed in range(200):
        truth, predicted, _ = random_maps(seed)
        pair = truth == 1, predicted == 1
        as_labels = [one.astype(int) for one in pair]
        for score in (mask_iou, dice):
            assert np.array_equal(score(*pair), score(*as_labels, 2)[1], equal_nan=True)


def test_pixels_that_do_not_count_do_not_count():
    for seed in range(200):
        truth, predicted, n = random_maps(seed)
        unknown = np.random.default_rng(seed).random(truth.shape) < 0.3
        ours = confusion(np.where(unknown, 255, truth), predicted, n, ignore=255)
        assert (ours == confusion(truth[~unknown], predicted[~unknown], n)).all()


def edge_pixels(mask) -> list[tuple]:
    h, w = mask.shape

    def out(r, c):
        return 0 <= r < h and 0 <= c < w and not mask[r, c]

    beside = ((0, 1), (1, 0), (0, -1), (-1, 0))
    return [(r, c) for r, c in np.argwhere(mask).tolist() if any(out(r + dr, c + dc) for dr, dc in beside)]


def edge_score(truth, predicted, tolerance) -> float:
    first, second = edge_pixels(truth), edge_pixels(predicted)
    if not first or not second:
        return 0.0 if first or second else float("nan")

    def share(here, there):
        near = [any((r - y) ** 2 + (c - x) ** 2 <= tolerance**2 for y, x in there) for r, c in here]
        return sum(near) / len(near)

    precision, recall = share(second, first), share(first, second)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 3])
def test_the_boundary_score_is_that_of_a_search_of_all_pairs(tolerance):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        h, w = map(int, rng.integers(3, 20, 2))
        r, c = np.indices((h, w))
        disc = [np.hypot(r - rng.uniform(0, h), c - rng.uniform(0, w)) < rng.uniform(0, 8) for _ in range(2)]
        ours, wanted = boundary_f1(*disc, tolerance=tolerance), edge_score(*disc, tolerance)
        assert np.isclose(ours, wanted, equal_nan=True)
        both = boundary_f1(disc[0].astype(int), disc[1].astype(int), 2, tolerance=tolerance)
        assert np.isclose(both[0], edge_score(~disc[0], ~disc[1], tolerance), equal_nan=True)


def test_edges_of_what_is_not_known_do_not_count():
    truth = np.zeros((12, 12), int)
    truth[:, 6:] = 1
    predicted = truth.copy()
    predicted[3:, 4:6] = 1  # wrong, but nobody knows what is there
    unknown = np.where(np.arange(12)[:, None] >= 2, 255, truth)
    assert boundary_f1(truth, predicted, 2, tolerance=0)[1] < 1
    assert boundary_f1(unknown, predicted, 2, tolerance=0, ignore=255)[1] == 1


BAD = {
    "another shape": ((np.zeros((2, 2), int), np.zeros((2, 3), int), 2), "one shape, not"),
    "labels without their number": ((np.zeros((2, 2), int), np.zeros((2, 2), int), None), "labels need n_classes="),
    "0 and 255": ((np.full((2, 2), 255), np.zeros((2, 2), int), 2), "truth should be labels from 0 to 1"),
    "shares": ((np.zeros((2, 2), int), np.full((2, 2), 0.5), 2), "predicted should be integer labels"),
    "no class": ((np.zeros((2, 2), int), np.zeros((2, 2), int), 0), "n_classes should be a whole number"),
}


@pytest.mark.parametrize(("case", "score"), itertools.product(BAD, [confusion, mask_iou, dice, boundary_f1]))
def test_what_does_not_fit_is_named(case, score):
    arguments, said = BAD[case]
    with pytest.raises(ValueError, match=said):
        score(*arguments)
