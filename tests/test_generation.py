"Week 11: what the lesson itself offers: climbing a judge, two players, an autoencoder whose upper part draws alone."

import numpy as np
import pytest
import torch

from cnncourse import generation, networks
from cnncourse.generation import Rivals, autoencoder_network, climb, fooling_loss, judge_loss, opinion, to_logits
from cnncourse.latents import decoder_network
from cnncourse.networks import Dense, Flatten, Network, to_torch
from cnncourse.style import total_variation

READER = to_torch(Network("reader", (1, 4, 4), [Flatten(), Dense(3)]), seed=0)
GREY = np.random.default_rng(0).random((5, 1, 4, 4), np.float32)


NAMES = "gram style_loss content_loss transfer_style VAE noise_schedule Denoiser sample frechet_distance nearest"


@pytest.mark.parametrize("name", NAMES.split())
def test_the_week_offers_its_names(name):
    assert callable(getattr(generation, name))


def test_who_climbs_is_believed_more_and_stays_a_picture():
    start = GREY.copy()
    for target in range(3):
        found = climb(READER, GREY, target, steps=60)
        assert (opinion(READER, found)[:, target] > opinion(READER, GREY)[:, target]).all()
        assert found.shape == GREY.shape and found.min() >= 0 and found.max() <= 1
    np.testing.assert_array_equal(GREY, start)
    smooth = climb(READER, GREY, 1, smoothness=50.0, steps=60)
    assert total_variation(smooth) < total_variation(climb(READER, GREY, 1, steps=60))
    as_bytes = (GREY * 255).astype(np.uint8)
    np.testing.assert_allclose(
        climb(READER, as_bytes, 0, steps=2), climb(READER, as_bytes / np.float32(255), 0, steps=2)
    )


def test_what_players_are_asked_for_is_cross_entropy_in_either_framework():
    from keras import ops

    real, drawn = np.random.default_rng(1).normal(size=(2, 7, 1)) * 5
    binary = torch.nn.functional.binary_cross_entropy_with_logits
    one, two = (torch.tensor(x, requires_grad=True) for x in (real, drawn))
    told = binary(one, torch.ones(7, 1)) + binary(two, torch.zeros(7, 1))
    assert judge_loss(real, drawn) == pytest.approx(told.item())
    assert judge_loss(one, two).item() == pytest.approx(told.item())
    assert float(judge_loss(ops.convert_to_tensor(real), ops.convert_to_tensor(drawn))) == pytest.approx(told.item())
    assert fooling_loss(drawn) == pytest.approx(binary(two, torch.ones(7, 1)).item())
    slopes = [torch.autograd.grad(loss, [two])[0].numpy() for loss in (told, judge_loss(one, two))]
    np.testing.assert_allclose(*slopes, atol=1e-12)
    assert judge_loss(np.full(3, 0.0), np.full(3, 0.0)) == pytest.approx(np.log(4))
    p = np.array([0.01, 0.5, 0.7])
    np.testing.assert_allclose(1 / (1 + np.exp(-to_logits(p))), p)


def test_both_frameworks_play_the_same_game_with_points_and_with_pictures():
    points = np.random.default_rng(2).normal(size=(50, 2))
    for x in (points, GREY):
        one, two = (Rivals(3, 8, steps=4, batch_size=5, framework=f).fit(x) for f in ("torch", "keras"))
        np.testing.assert_allclose(one.history_, two.history_, rtol=1e-3)
        np.testing.assert_allclose(one.draw(6), two.draw(6), atol=1e-3)
        assert one.draw(6).shape == (6, *x.shape[1:])
        np.testing.assert_array_equal(one.draw(6, seed=1), one.draw(6, seed=1))
    assert one.draw(6).min() >= 0 and one.draw(6).max() <= 1


def test_the_generator_comes_near_one_spot():
    spot = np.random.default_rng(3).normal(size=(400, 2)) * 0.1 + (1.0, -1.0)
    drawn = Rivals(2, 32, steps=500).fit(spot).draw(300)
    assert np.abs(drawn.mean(0) - (1, -1)).max() < 0.4


def test_the_upper_part_of_the_autoencoder_draws_alone():
    net, pen = autoencoder_network((1, 4, 4), 3, width=8), decoder_network((1, 4, 4), 3, width=8)
    model, draws = to_torch(net, seed=1), to_torch(pen)
    learnt = networks.get_weights(model)
    networks.set_weights(draws, {name: learnt[name] for name in networks.get_weights(draws)})
    points = networks.activations(model, GREY, "point")["point"]
    assert points.shape == (5, 3)
    np.testing.assert_allclose(generation.predict(draws, points), generation.predict(model, GREY), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: climb(READER, GREY, 3), "target should be from 0 to 2; got 3"),
        (lambda: climb(READER, GREY, -1), "target should be from 0 to 2; got -1"),
        (lambda: climb(READER, GREY[0], 0), "start must have shape (n, c, h, w)"),
        (lambda: opinion(READER, GREY * np.nan), "pictures holds NaN or infinity"),
        (lambda: Rivals().draw(3), "these Rivals have learnt nothing yet"),
        (lambda: Rivals(framework="jax").fit(GREY), "framework should be torch or keras; got 'jax'"),
        (lambda: Rivals().fit(GREY * 3), "x should be points, or pictures as bytes or from 0 to 1"),
        (lambda: Rivals().fit(np.full((9, 2), np.inf)), "x should be points, or pictures as bytes or from 0 to 1"),
        (lambda: Rivals().fit(GREY[0]), "x must have shape (n, c, h, w)"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError) as told:
        call()
    assert said in str(told.value) and "\n" not in str(told.value)
