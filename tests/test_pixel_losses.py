"""Losses for pixels: values and gradients of both frameworks are those of NumPy, and networks learn with them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncourse import training
from cnncourse.layers import Conv, Network
from cnncourse.networks import to_keras, to_torch
from cnncourse.pixel_losses import LOSSES, PixelLoss

CASES = [
    PixelLoss(kind, weights, gamma, smooth, ignore)
    for kind in LOSSES
    for weights in (None, (0.2, 1.0, 3.0))
    for gamma in ((0.0, 1.0, 2.5) if kind == "focal" else (2.0,))
    for smooth in ((0.1, 1.0) if kind == "dice" else (1.0,))
    for ignore in (None, 255)
]


def case(loss, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    logits, targets = spread * rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 3, (2, 4, 5))
    if loss.ignore is not None:
        targets[rng.random(targets.shape) < 0.3] = loss.ignore
    return logits, targets


@pytest.mark.parametrize("loss", CASES, ids=str)
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_the_gradient_is_that_of_differences(loss, spread):
    logits, targets = case(loss, spread=spread)
    gradient, eps = loss.numpy(logits, targets)[1], 1e-5
    for flat in range(0, logits.size, 7):
        step = np.zeros(logits.size)
        step[flat] = eps
        up, down = (loss.numpy(logits + s * step.reshape(logits.shape), targets)[0] for s in (1, -1))
        assert np.isclose((up - down) / (2 * eps), gradient.ravel()[flat], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("loss", CASES, ids=str)
def test_both_frameworks_have_the_value_and_the_gradient_of_numpy(loss):
    torch, tf = pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    for seed, spread in ((1, 1.0), (2, 8.0)):
        logits, targets = case(loss, seed, spread)
        value, gradient = loss.numpy(logits, targets)
        outputs = torch.tensor(logits, requires_grad=True)
        found = loss.torch(outputs, torch.tensor(targets))
        found.backward()
        assert np.isclose(found.item(), value) and np.allclose(outputs.grad.numpy(), gradient, atol=1e-12)
        last = tf.constant(np.moveaxis(logits, 1, -1))
        with tf.GradientTape() as tape:
            tape.watch(last)
            found = loss.keras(targets, last)
        assert np.isclose(float(found), value)
        assert np.allclose(np.moveaxis(tape.gradient(found, last).numpy(), -1, 1), gradient, atol=1e-12)


def test_a_batch_in_which_nothing_counts_costs_nothing():
    torch = pytest.importorskip("torch")
    for kind in LOSSES:
        loss, targets = PixelLoss(kind, ignore=255), np.full((1, 2, 2), 255)
        value, gradient = loss.numpy(np.ones((1, 3, 2, 2)), targets)
        outputs = torch.ones((1, 3, 2, 2), requires_grad=True)
        loss.torch(outputs, torch.tensor(targets)).backward()
        assert np.isfinite(value) and not gradient.any() and not outputs.grad.any()


@given(st.sampled_from(CASES), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_more_of_the_right_class_never_costs_more(loss, seed):
    logits, targets = case(loss, seed)
    better = logits.copy()
    for label in range(3):
        better[:, label][targets == label] += 0.5
    assert loss.numpy(better, targets)[0] <= loss.numpy(logits, targets)[0] + 1e-12


@pytest.mark.parametrize("kind", LOSSES)
def test_networks_of_both_frameworks_learn_alike(kind):
    net = Network("pixels", (1, 8, 8), [("a", Conv(2, 3, padding=1))])
    rng = np.random.default_rng(0)
    y = np.repeat(np.repeat(rng.integers(0, 2, (16, 4, 4)), 2, axis=1), 2, axis=2)
    x = (y[:, None] + 0.1 * rng.normal(size=(16, 1, 8, 8))).astype(np.float32)
    loss, options = PixelLoss(kind, weights=[1, 2]), {"epochs": 4, "batch_size": 4, "lr": 0.05, "optimizer": "sgd"}
    first, second = to_torch(net, seed=0), to_keras(net, seed=0)
    in_torch = training.fit(first, x, y, loss=loss.torch, **options)["loss"]
    in_keras = training.fit_keras(second, x, y, loss=loss.keras, **options)["loss"]
    assert in_torch[-1] < in_torch[0] and np.allclose(in_torch, in_keras, rtol=1e-3)
