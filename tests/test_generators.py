"Models that draw: what they learn from is what the formulas say, both frameworks compute the same, and few plain pictures are learnt."

import numpy as np
import pytest

from cnncourse.denoisers import WAVES, Denoiser, _Noisy, denoiser_network, step_and_class
from cnncourse.latents import VAE, decoder_network, vae_loss, vae_network
from cnncourse.likeness import kl
from cnncourse.networks import get_weights, n_params
from cnncourse.noising import noise_schedule, own_schedule
from cnncourse.trained_nets import read_net, write_net

PLAIN = np.repeat([0.0, 1.0], 32).reshape(64, 1, 1, 1) * np.ones((64, 1, 2, 2), np.float32)  # dark ones, bright ones
KIND = np.repeat([0, 1], 32)


def test_what_a_denoiser_should_say_turns_a_noisy_picture_into_its_noise_and_its_beginning():
    rng, schedule = np.random.default_rng(0), noise_schedule(20)
    x = rng.uniform(-1, 1, size=(40, 1, 3, 3)).astype(np.float32)
    batches = list(_Noisy(x, np.arange(40) % 4, 4, schedule, 16, seed=1))
    rows, v = (np.concatenate(part) for part in zip(*batches, strict=True))
    pixels, told = rows[:, :9], rows[:, 9:]
    every = np.stack([step_and_class([t], 20, None, 4)[0, : 2 * WAVES] for t in range(1, 21)])
    t = 1 + ((told[:, None, : 2 * WAVES] - every) ** 2).sum(2).argmin(1)
    kept = schedule.kept[t][:, None]
    start = np.sqrt(kept) * pixels - np.sqrt(1 - kept) * v
    start, wanted = (rows[rows[:, 0].argsort()] for rows in (start, x.reshape(40, 9)))
    np.testing.assert_allclose(start, wanted, atol=1e-4)
    classes = told[:, 2 * WAVES :].argmax(1)
    assert 0 < (classes == 4).mean() < 0.5 and set(np.unique(t)) <= set(range(1, 21)) and len(np.unique(t)) > 10


def test_each_epoch_has_its_own_noise_and_the_same_epoch_the_same():
    noisy = _Noisy(PLAIN, KIND, 2, noise_schedule(5), 64, seed=0)
    first, again = next(iter(noisy))[0], next(iter(noisy))[0]
    noisy.epoch = 1
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(next(iter(noisy))[0], first)


@pytest.fixture(scope="module")
def learnt():
    return Denoiser(noise_schedule(20), width=32, depth=2, epochs=150, batch_size=32, lr=5e-3).fit(PLAIN, KIND)


def test_plain_pictures_of_two_kinds_are_drawn_as_told(learnt):
    for guidance in (0.0, 1.0):
        found = learnt.draw([0] * 20 + [1] * 20, guidance=guidance).pictures.mean(axis=(1, 2, 3))
        assert (found[:20] < 0.5).mean() > 0.9 and (found[20:] > 0.5).mean() > 0.9
        assert found[:20].mean() < 0.25 and found[20:].mean() > 0.75
    any_kind = learnt.draw(60).pictures.mean(axis=(1, 2, 3))
    assert 0.2 < (any_kind > 0.5).mean() < 0.8


def test_the_same_seed_draws_the_same_and_another_another(learnt):
    draws = [learnt.draw([0, 1], steps=5, eta=0.0, seed=seed).pictures for seed in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_a_denoiser_and_a_vae_are_the_same_in_both_frameworks():
    rng = np.random.default_rng(2)
    x, noisy = rng.random((8, 3, 4, 2), np.float32), rng.normal(size=(8, 3, 4, 2))
    one, two = (
        Denoiser(width=8, depth=2, epochs=1, lr=1e-9, framework=framework).fit(x, np.arange(8) % 3)
        for framework in ("torch", "keras")
    )
    np.testing.assert_allclose(
        one.noise(noisy, 30, [0, 1, 2, 0] * 2), two.noise(noisy, 30, [0, 1, 2, 0] * 2), atol=1e-4
    )
    one, two = (VAE(3, width=8, epochs=1, lr=1e-9, framework=framework).fit(x) for framework in ("torch", "keras"))
    for a, b in zip(one.encode(x), two.encode(x), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(one.draw(4), two.draw(4), atol=1e-4)
    assert one.history_["loss"][0] == pytest.approx(two.history_["loss"][0], rel=1e-3)


def test_a_vae_learns_two_plain_pictures_and_keeps_near_the_middle():
    vae = VAE(latent=1, width=16, epochs=120, batch_size=32, lr=1e-2).fit(PLAIN)
    mean, log_variance = vae.encode(PLAIN)
    assert np.abs(vae.decode(mean) - PLAIN).max() < 0.25
    assert mean[:32].mean() * mean[32:].mean() < 0 and kl(mean, log_variance).mean() < 3
    drawn = vae.draw(200).mean(axis=(1, 2, 3))
    assert 0.25 < (drawn > 0.5).mean() < 0.75
    way = vae.walk(PLAIN[0], PLAIN[-1], 6).mean(axis=(1, 2, 3))
    assert (np.diff(way) > 0).all() and way[0] < 0.25 and way[-1] > 0.75
    learnt = get_weights(vae.model_)
    assert all((learnt[name] == array).all() for name, array in get_weights(vae.decoder_).items())


def test_the_loss_of_a_vae_is_its_two_parts():
    rng = np.random.default_rng(3)
    outputs, pixels = rng.normal(size=(4, 11)), rng.random((4, 5))
    outputs[:, 8:] = np.exp(outputs[:, 8:])
    p = 1 / (1 + np.exp(-outputs[:, :5]))
    told = -(pixels * np.log(p) + (1 - pixels) * np.log(1 - p)).sum(1).mean()
    apart = kl(outputs[:, 5:8], 2 * np.log(outputs[:, 8:] + 1e-6)).mean()
    for beta in (0.0, 1.0, 4.0):
        assert vae_loss(outputs, pixels, beta) == pytest.approx(told + beta * apart)


@pytest.mark.parametrize("width", [4, 9])
def test_the_parts_have_the_parameters_that_their_layers_say(width):
    net, latent, pixels = vae_network((2, 3, 3), 5, width=width), 5, 18
    up = latent * width + width + width * width + width + width * pixels + pixels
    down = pixels * width + width + width * width + width + 2 * (width * latent + latent)
    assert (n_params(net), n_params(decoder_network((2, 3, 3), 5, width=width))) == (down + up, up)
    told = 2 * WAVES + 4
    dense = (pixels + told) * width + width + 2 * ((width + told) * width + width) + width * pixels + pixels
    assert n_params(denoiser_network((2, 3, 3), 3, width=width, depth=2)) == dense


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Denoiser().noise(PLAIN, 1), "this Denoiser has learnt nothing yet"),
        (lambda: Denoiser(epochs=1).fit(PLAIN[:, 0]), "x must have shape (n, c, h, w)"),
        (lambda: Denoiser(epochs=1).fit(2 * PLAIN), "x should be bytes, or from 0 to 1; got values from 0 to 2"),
        (lambda: Denoiser(epochs=1).fit(PLAIN, KIND[:3]), "labels"),
        (lambda: Denoiser(own_schedule([0.5, 0.6])), "this schedule goes backwards"),
        (lambda: Denoiser(framework="numpy").fit(PLAIN), "framework should be torch or keras"),
        (lambda: VAE().encode(PLAIN), "this VAE has learnt nothing yet"),
        (lambda: VAE(epochs=1).fit(PLAIN * np.nan), "x holds NaN or infinity"),
        (lambda: VAE(framework="numpy").fit(PLAIN), "framework should be torch or keras"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError) as told:
        call()
    assert said in str(told.value) and "\n" not in str(told.value)


def test_pictures_of_another_size_and_points_of_another_space_are_refused(learnt):
    with pytest.raises(ValueError, match=r"learnt pictures of shape \(1, 2, 2\); got \(3, 1, 4, 4\)"):
        learnt.noise(np.zeros((3, 1, 4, 4)), 1)
    with pytest.raises(ValueError, match="for so many it learnt"):
        learnt.draw([2])
    vae = VAE(latent=2, width=4, epochs=1).fit(PLAIN)
    with pytest.raises(ValueError, match=r"points should be \(n, 2\), as many latent numbers"):
        vae.decode([[0.0] * 8])
    with pytest.raises(ValueError, match=r"x must have shape \(n, 1, 2, 2\); got \(3, 1, 4, 4\)"):
        vae.encode(np.zeros((3, 1, 4, 4)))


def test_what_is_saved_is_read_in_either_framework(tmp_path, learnt):
    again = Denoiser.load(learnt.save(tmp_path / "plain.cnn"), "keras")
    wanted = learnt.draw([0, 1], steps=4, eta=0.0).pictures
    np.testing.assert_allclose(again.draw([0, 1], steps=4, eta=0.0).pictures, wanted, atol=1e-3)
    np.testing.assert_array_equal(again.schedule_.kept, learnt.schedule_.kept)
    vae = VAE(latent=2, width=4, epochs=1, framework="keras").fit(PLAIN)
    again = VAE.load(vae.save(tmp_path / "vae.cnn"))
    np.testing.assert_allclose(again.draw(3), vae.draw(3), atol=1e-5)
    vae.save(tmp_path / "vae.cnn")  # a file of its own kind is replaced


def test_files_whose_parts_do_not_fit_are_refused(tmp_path, learnt):
    vae, file = VAE(latent=2, width=4, epochs=1).fit(PLAIN), tmp_path / "one.cnn"
    for model, kind, held in (
        (learnt, "denoiser", {"shape": [1, 2, 2], "n_classes": 3, "width": 32, "depth": 2, "kept": [1.0, 0.5]}),
        (learnt, "denoiser", {"shape": [1, 2, 2], "n_classes": 2, "width": 32, "depth": 2, "kept": [1.0, 0.5, 0.6]}),
        (learnt, "denoiser", {"shape": [1, 2, 2]}),
        (vae, "VAE", {"shape": [1, 2, 2], "latent": 3, "width": 4, "beta": 1.0}),
        (vae, "VAE", {"shape": [1, 4, 1], "latent": 2, "width": 5, "beta": 1.0}),
        (vae, "VAE", {"latent": 2}),
    ):
        file.unlink(missing_ok=True)
        good = read_net(model.save(tmp_path / "good.cnn"), kind, lambda found: found, lambda found: found.answers)
        write_net(file, kind, good._replace(held=held))
        with pytest.raises(ValueError, match="is damaged: its parts do not belong together") as told:
            type(model).load(file)
        assert "\n" not in str(told.value)
        (tmp_path / "good.cnn").unlink()
    file.unlink()
    learnt.save(file)
    with pytest.raises(ValueError, match="holds no VAE of format 1, but 'denoiser'"):
        VAE.load(file)
    with pytest.raises(ValueError, match="is there already and holds no VAE"):
        vae.save(file)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError):
        Denoiser.load(file)
