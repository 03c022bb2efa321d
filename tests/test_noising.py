"Diffusion's closed forms: against simulation, against one another, and against what is known of bell curves."

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncourse.noising import (
    noise_schedule,
    noise_step,
    noised,
    own_schedule,
    perfect_noise,
    posterior,
    sample,
    without_noise,
)

kinds = pytest.mark.parametrize("kind", ["linear", "cosine"])


@kinds
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 100, 1000])
def test_a_schedule_begins_with_the_picture_falls_and_keeps_something(kind, steps):
    schedule = noise_schedule(steps, kind)
    assert schedule.steps == steps == len(schedule.betas) and schedule.kept[0] == 1 and schedule.kept[-1] > 0
    assert (np.diff(schedule.kept) < 0).all() and (schedule.betas > 0).all() and (schedule.betas < 1).all()
    np.testing.assert_allclose(np.cumprod(1 - schedule.betas), schedule.kept[1:])
    if steps > 9:
        assert schedule.kept[-1] < 1e-3


def test_schedules_are_those_of_the_papers():
    linear = noise_schedule(1000, "linear")
    np.testing.assert_allclose(linear.betas, np.linspace(1e-4, 0.02, 1000))
    t = np.arange(999) / 1000  # the last step is cut, as in the paper
    f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(noise_schedule(1000, "cosine").kept[:999], f / f[0])
    assert noise_schedule(1000, "cosine").betas.max() == pytest.approx(0.999)


@kinds
def test_many_small_steps_are_one_jump(kind):
    schedule, rng, n = noise_schedule(12, kind), np.random.default_rng(0), 200_000
    walk = start = rng.choice([-0.5, 1.0], size=n)
    for t in range(1, 13):
        walk = noise_step(walk, t, rng.normal(size=n), schedule)
        jump = noised(start, t, rng.normal(size=n), schedule)
        for side in (-0.5, 1.0):
            a, b = walk[start == side], jump[start == side]
            assert abs(a.mean() - np.sqrt(schedule.kept[t]) * side) < 0.015
            assert abs(a.var() - (1 - schedule.kept[t])) < 0.015 and abs(a.var() - b.var()) < 0.02


@given(st.integers(1, 30), st.data())
@settings(max_examples=60, deadline=None)
def test_the_posterior_is_bayes_rule(steps, data):
    schedule = noise_schedule(steps, data.draw(st.sampled_from(["linear", "cosine"])))
    t = data.draw(st.integers(1, steps))
    x, start = (data.draw(st.floats(-3, 3)) for _ in range(2))
    got = posterior(np.array(x), np.array(start), t, schedule)
    beta, before = schedule.betas[t - 1], schedule.kept[t - 1]
    if t == 1:
        assert got.variance == 0 and got.mean == pytest.approx(start)
        return
    # precision and mean of a product of two bell curves in x_{t-1}: likelihood of x, and prior from the start
    precision = (1 - beta) / beta + 1 / (1 - before)
    mean = (np.sqrt(1 - beta) * x / beta + np.sqrt(before) * start / (1 - before)) / precision
    assert got.variance == pytest.approx(1 / precision, rel=1e-6) and got.mean == pytest.approx(
        mean, rel=1e-6, abs=1e-9
    )


@kinds
def test_noise_that_is_put_in_can_be_taken_out_in_numpy_and_pytorch(kind):
    schedule, rng = noise_schedule(50, kind), np.random.default_rng(1)
    x, noise = rng.normal(size=(2, 6, 3, 4, 4))
    t = np.array([0, 1, 10, 25, 40, 45])
    noisy = noised(x, t, noise, schedule)
    np.testing.assert_allclose(without_noise(noisy, t, noise, schedule), x, atol=1e-9)
    np.testing.assert_allclose(noised(torch.tensor(x), t, noise, schedule).numpy(), noisy)
    np.testing.assert_allclose(noised(x[2], 10, noise[2], schedule), noisy[2])
    np.testing.assert_array_equal(noised(x.tolist(), t, noise.tolist(), schedule), noisy)


@kinds
@pytest.mark.parametrize(("steps", "eta"), [(None, 1.0), (None, 0.0), (8, 1.0), (8, 0.5), (8, 0.0), (1, 1.0)])
def test_sampling_bell_curves_has_the_moments_that_its_steps_multiply_to(kind, steps, eta):
    mean, std, schedule = 1.5, 0.4, noise_schedule(40, kind)
    drawn = sample(lambda x, t: perfect_noise(x, t, schedule, mean, std), schedule, (40_000,), steps=steps, eta=eta)
    m, v = 0.0, 1.0  # each step is a line plus noise: so are the mean and the variance of all
    for now, before in pairwise(drawn.times):
        k, b = schedule.kept[now], schedule.kept[before]
        share = np.sqrt(1 - k) / (k * std**2 + 1 - k)  # of perfect noise
        spread = eta * np.sqrt((1 - b) / (1 - k) * (1 - k / b))
        along = np.sqrt(b / k) * (1 - np.sqrt(1 - k) * share) + np.sqrt(max(1 - b - spread**2, 0)) * share
        shift = (np.sqrt(b / k) * np.sqrt(1 - k) - np.sqrt(max(1 - b - spread**2, 0))) * share * np.sqrt(k) * mean
        m, v = along * m + shift, along**2 * v + spread**2
    assert abs(drawn.pictures.mean() - m) < 0.015 and abs(drawn.pictures.std() - np.sqrt(v)) < 0.015


def test_with_all_steps_and_all_noise_each_step_is_the_posterior():
    schedule, rng = noise_schedule(20), np.random.default_rng(2)
    known = rng.normal(size=50_000)

    def sees(x, t):
        return (x - np.sqrt(schedule.kept[t]) * known) / np.sqrt(1 - schedule.kept[t])

    path = sample(sees, schedule, known.shape, path=True, seed=3).path
    for place, t in enumerate(range(20, 1, -1)):
        wanted = posterior(path[place], known, t, schedule)
        off = path[place + 1] - wanted.mean
        assert abs(off.mean()) < 0.02 and abs(off.var() - wanted.variance) < 0.02
    np.testing.assert_allclose(path[-1], known)


def test_with_more_steps_the_bell_curve_comes_back():
    schedule = noise_schedule(1000)
    stds = [
        sample(lambda x, t: perfect_noise(x, t, schedule, 0, 0.5), schedule, (20_000,), steps=n).pictures.std()
        for n in (5, 50, 500)
    ]
    assert abs(stds[2] - 0.5) < 0.01 and abs(stds[2] - 0.5) < abs(stds[1] - 0.5) < abs(stds[0] - 0.5)


def test_without_new_noise_the_same_noise_gives_the_same_picture_in_any_number_of_steps():
    schedule = noise_schedule(200)
    few, many = (
        sample(lambda x, t: perfect_noise(x, t, schedule, 1, 0.6), schedule, (500,), steps=n, eta=0.0).pictures
        for n in (100, 200)
    )
    assert np.corrcoef(few, many)[0, 1] > 0.9999 and np.abs(few - many).max() < 0.05


SCHEDULE = noise_schedule(10)
X = np.zeros((3, 1, 2, 2))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: noise_schedule(10, "linear", first=0.03, last=0.01), "which goes backwards or too far"),
        (lambda: noise_schedule(10, "linear", last=1.0), "0 < first <= last < 1"),
        (lambda: noise_schedule(2.5), "steps should be a whole number from 1; got 2.5"),
        (lambda: noise_schedule(10, "sigmoid"), "kind should be cosine or linear"),
        (lambda: own_schedule(noise_schedule(9).kept[::-1]), "this schedule goes backwards: after 2 steps"),
        (lambda: own_schedule([0.9, 0.9]), "this schedule goes backwards"),
        (lambda: own_schedule([]), "there should be one step at least"),
        (lambda: own_schedule([np.nan]), "kept should be a share above 0"),
        (lambda: noised(X, 11, X, SCHEDULE), "t should be whole numbers from 0 to 10"),
        (lambda: noised(X, 1.5, X, SCHEDULE), "t should be whole numbers"),
        (lambda: noised(X, [1, 2], X, SCHEDULE), "one for each of the pictures of shape (3, 1, 2, 2); got 2"),
        (lambda: noised(X, 1, X[..., :1], SCHEDULE), "both should have one shape, pictures and their noise"),
        (lambda: posterior(X, X[:1], 1, SCHEDULE), "both should have one shape"),
        (lambda: sample(lambda x, t: x, SCHEDULE, (2,), steps=0), "steps should be a whole number from 1"),
        (lambda: sample(lambda x, t: x, SCHEDULE, (2,), eta=-0.1), "eta should be from 0 to 1"),
        (lambda: sample(lambda x, t: 0.0, SCHEDULE, (2,)), "predict should give noise of the pictures' shape (2,)"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError) as told:
        call()
    assert said in str(told.value) and "\n" not in str(told.value)
