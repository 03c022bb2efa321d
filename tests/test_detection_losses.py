"""The loss of a detector: values and gradients of both frameworks are those of NumPy, and the hardest anchors alone are asked."""

import numpy as np
import pytest

from cnncourse.anchors import anchor_boxes, anchor_shapes
from cnncourse.boxes import iou
from cnncourse.detection_losses import DetectionLoss, anchor_targets
from cnncourse.scenes import scenes

ANCHORS = anchor_boxes((6, 6), 16, anchor_shapes([16, 30], [1, 2]))
CASES = [
    (DetectionLoss(1), 0.1),
    (DetectionLoss(3), 0.1),
    (DetectionLoss(4, negatives=1.5, box_weight=2.0), 0.3),
    (DetectionLoss(2, negatives=1000), 0.1),  # all are asked
    (DetectionLoss(2), 0.0),  # there is no object
    (DetectionLoss(2), 1.0),  # there is nothing else
]


def case(loss, share, seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(3, 20 * (loss.n_classes + 5))) * rng.choice([1, 10])
    targets = rng.normal(size=(3, 20, 5))
    kinds = np.where(
        rng.random((3, 20)) < share, rng.integers(1, loss.n_classes + 1, (3, 20)), rng.choice([0, 0, -1], (3, 20))
    )
    targets[..., 0] = kinds
    return rows, targets


@pytest.mark.parametrize(("loss", "share"), CASES)
def test_both_frameworks_have_the_value_and_the_gradient_of_numpy(loss, share):
    torch, tf = pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    for seed in range(5):
        rows, targets = case(loss, share, seed)
        value, gradient = loss.numpy(rows, targets)
        outputs = torch.tensor(rows, requires_grad=True)
        found = loss.torch(outputs, torch.tensor(targets))
        found.backward()
        assert np.isclose(found.item(), value) and np.allclose(outputs.grad.numpy(), gradient, atol=1e-12)
        outputs = tf.constant(rows)
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            found = loss.keras(tf.constant(targets.reshape(3, -1)), outputs)  # as rows
        assert np.isclose(float(found), value)
        assert np.allclose(tape.gradient(found, outputs).numpy(), gradient, atol=1e-12)


@pytest.mark.parametrize(("loss", "share"), CASES)
def test_the_hardest_anchors_are_asked_and_no_others(loss, share):
    for seed in range(20):
        rows, targets = case(loss, share, seed)
        kinds, gradient = targets[..., 0], loss.numpy(rows, targets)[1]
        names, places = (np.abs(part).sum(axis=-1) for part in loss.split(gradient))
        logits = loss.split(rows)[0]
        costs = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1) - logits[..., 0]
        n = int((kinds > 0).sum())
        k = min(max(round(loss.negatives * max(n, 1)), 1), int((kinds == 0).sum()))
        hardest = np.zeros(kinds.shape, bool)
        hardest.ravel()[np.argsort(np.where(kinds == 0, -costs, 1), axis=None)[:k]] = True
        sure = costs > 1e-9  # a gradient that can be told from 0
        assert ((names > 0) == ((kinds > 0) | hardest))[sure | (kinds > 0)].all()
        assert ((places > 0) == (kinds > 0)).all() or not loss.box_weight


def test_targets_lead_back_to_the_objects():
    from cnncourse.anchors import decode_boxes

    drawn = scenes(20, seed=5)
    targets = anchor_targets(drawn.objects, ANCHORS)
    for target, one in zip(targets, drawn.objects, strict=True):
        owned = target[:, 0] > 0
        boxes, kinds = decode_boxes(target[owned, 1:], ANCHORS[owned]), target[owned, 0].astype(int) - 1
        overlaps = iou(boxes, one.boxes)
        assert np.allclose(overlaps.max(axis=1), 1, atol=1e-4)
        assert (one.labels[overlaps.argmax(axis=1)] == kinds).all()
        assert set(overlaps.argmax(axis=1)) == set(range(len(one.labels)))  # none is forgotten
