"Measures of likeness: the divergence against its integral, the Fréchet distance against SciPy, the nearest against a search through all."

import keras
import numpy as np
import pytest
import torch
from scipy import integrate, linalg, stats

from cnncourse.likeness import frechet_distance, gaussian_distance, kl, nearest_pictures


@pytest.mark.parametrize("seed", range(30))
def test_the_divergence_is_its_integral(seed):
    m1, v1, m2, v2 = np.random.default_rng(seed).normal(size=4) * 1.5
    p, q = stats.norm(m1, np.exp(v1 / 2)), stats.norm(m2, np.exp(v2 / 2))
    reach = 12 * p.std()
    wanted, _ = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), m1 - reach, m1 + reach, limit=200)
    assert kl([m1], [v1], m2, v2) == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_the_divergence_is_summed_over_latent_numbers_and_is_that_of_both_frameworks():
    rng = np.random.default_rng(1)
    mean, log_variance, other = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 3)), rng.normal(size=3)
    got = kl(mean, log_variance, other, 0.5)
    each = [kl(mean[..., i : i + 1], log_variance[..., i : i + 1], other[i], 0.5) for i in range(3)]
    np.testing.assert_allclose(got, sum(each))
    np.testing.assert_allclose(kl(torch.tensor(mean), torch.tensor(log_variance), other, 0.5).numpy(), got)
    in_keras = kl(*(keras.ops.convert_to_tensor(a) for a in (mean, log_variance)), other, 0.5)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(in_keras), got)
    curves = [torch.distributions.Normal(torch.tensor(m), torch.tensor(s)) for m, s in ((mean, np.exp(log_variance / 2)), (other, np.exp(0.25) * np.ones(3)))]  # fmt: skip
    np.testing.assert_allclose(torch.distributions.kl_divergence(*curves).sum(-1).numpy(), got)


def test_the_divergence_is_0_for_the_same_and_above_elsewhere():
    rng = np.random.default_rng(2)
    mean, log_variance = rng.normal(size=(2, 100, 4))
    assert np.abs(kl(mean, log_variance, mean, log_variance)).max() < 1e-12
    assert (kl(mean, log_variance) > 0).all() and kl(np.zeros(0), np.zeros(0)) == 0


@pytest.mark.parametrize("d", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("seed", range(5))
def test_the_frechet_distance_is_that_of_scipys_root_of_a_matrix(d, seed):
    rng = np.random.default_rng([d, seed])
    a, b = (rng.normal(size=(3 * d + 5, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d) for _ in range(2))
    covariances = [np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (a, b)]
    root = np.real(linalg.sqrtm(covariances[0] @ covariances[1]))
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(wanted, rel=1e-6)


def test_copies_have_no_distance_and_a_move_has_its_square_also_with_fewer_pictures_than_features():
    rows = np.random.default_rng(3).normal(size=(6, 40))
    assert frechet_distance(rows, rows[::-1]) < 1e-9
    assert frechet_distance(rows, rows + 0.5) == pytest.approx(40 * 0.25)
    assert frechet_distance(rows, 3 * rows) == pytest.approx(
        (4 * rows.mean(0) ** 2).sum() + 4 * np.trace(np.cov(rows, rowvar=False))
    )


def test_bell_curves_that_share_their_axes_differ_by_lengths():
    a, b = np.array([1.0, 4, 0]), np.array([9.0, 1, 0])
    assert gaussian_distance(np.zeros(3), np.diag(a), np.ones(3), np.diag(b)) == pytest.approx(3 + 4 + 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("block", [1, 7, 256])
def test_the_nearest_are_those_of_a_search_through_all(dtype, block):
    rng = np.random.default_rng(4)
    new, known = (rng.integers(0, 256, size=(n, 3, 4, 4)).astype(dtype) for n in (20, 30))
    new[3] = known[17]
    got = nearest_pictures(new, known, k=4, block=block)
    for i, picture in enumerate(new.astype(float)):
        apart = np.sqrt(((known.astype(float) - picture) ** 2).mean(axis=(1, 2, 3)))
        np.testing.assert_array_equal(got.index[i], np.argsort(apart, kind="stable")[:4])
        np.testing.assert_allclose(got.distance[i], np.sort(apart)[:4], atol=1e-9)
    assert got.index[3, 0] == 17 and got.distance[3, 0] == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: kl(0.0, 0.0), "mean and log_variance should have one shape (…, latent)"),
        (lambda: kl(np.zeros((2, 3)), np.zeros((2, 4))), "got (2, 3) and (2, 4)"),
        (
            lambda: kl(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(2)),
            "should have 3 latent numbers, or one for all; got (2,)",
        ),
        (lambda: frechet_distance(np.ones((4, 3)), np.ones((4, 2))), "the same features; got 3 and 2 of them"),
        (lambda: frechet_distance(np.ones((4, 3)), np.ones((1, 3))), "others should be finite numbers"),
        (lambda: frechet_distance(np.ones((4, 3)) * np.inf, np.ones((4, 3))), "features should be finite numbers"),
        (
            lambda: nearest_pictures(np.zeros((2, 1, 8, 8)), np.zeros((2, 1, 9, 9))),
            "pictures of one shape; got (1, 8, 8) and (1, 9, 9)",
        ),
        (lambda: nearest_pictures(np.zeros((2, 4)), np.zeros((2, 4), np.uint8)), "give all in one scale"),
        (
            lambda: nearest_pictures(np.zeros((2, 4)), np.zeros((2, 4)), k=3),
            "k should be from 1 to the number of known pictures, 2",
        ),
        (lambda: nearest_pictures(np.zeros((0, 4)), np.zeros((2, 4))), "n at least 1"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError) as told:
        call()
    assert said in str(told.value) and "\n" not in str(told.value)
