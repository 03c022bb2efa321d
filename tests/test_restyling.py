"Style transfer: the same way in both frameworks, towards the style that is wanted, with any network's convolutions."

import numpy as np
import pytest

from cnncourse import datasets
from cnncourse.layers import initial_weights
from cnncourse.networks import Activation, Conv, Dense, Flatten, MaxPool, Network
from cnncourse.pretraining import backbone
from cnncourse.published_weights import prepare_images, published_network
from cnncourse.restyling import feature_network, from_pixels, picture_maps, transfer_style
from cnncourse.style import gram, style_loss

CONTENT, STYLE = (datasets.photograph(name, size=32) for name in ("coffee", "retina"))


def test_the_maps_of_a_picture_are_those_of_the_whole_network_at_its_own_size_and_grow_with_the_picture():
    net, weights = backbone()
    x = np.random.default_rng(0).random((2, 3, 32, 32))
    layers = ("block2.relu", "block7.relu")
    found = picture_maps(feature_network(net, (3, 32, 32), layers), weights, x)
    assert {name: maps.shape[1:] for name, maps in found.items()} == {name: net.shapes[name] for name in layers}
    wide = picture_maps(feature_network(net, (3, 64, 32), layers), weights, np.concatenate([x, x], axis=2))
    np.testing.assert_allclose(wide["block2.relu"][:, :, :12], found["block2.relu"][:, :, :12], atol=1e-5)
    in_keras = picture_maps(feature_network(net, (3, 32, 32), layers), weights, x, "keras")
    for name in layers:
        np.testing.assert_allclose(in_keras[name], found[name], atol=1e-3)


def test_the_style_comes_nearer_and_the_losses_are_the_pictures_own():
    found = transfer_style(CONTENT, STYLE, steps=30)
    assert found.losses.shape == (30, 3) and found.losses[-1, 1] < 0.5 * found.losses[0, 1]
    net, weights = backbone()
    part = feature_network(net, (3, 32, 32), ["block1.relu", "block3.relu"])
    wanted = [gram(maps)[0] for maps in picture_maps(part, weights, STYLE[None] / 255).values()]
    before, after = (
        style_loss(list(picture_maps(part, weights, picture[None]).values()), wanted)
        for picture in (CONTENT / 255, found.picture)
    )
    assert after < 0.5 * before


def test_without_a_weight_of_style_the_content_stays_and_smoothness_makes_it_flat():
    stays = transfer_style(CONTENT, STYLE, style_weight=0, smoothness=0, steps=3)
    assert np.abs(stays.picture - CONTENT / 255).mean() < 0.01
    flat = transfer_style(CONTENT, STYLE, content_weight=0, style_weight=0, steps=20)
    assert flat.losses[-1, 2] < 0.7 * flat.losses[0, 2]


def test_both_frameworks_go_the_same_way():
    one, two = (transfer_style(CONTENT, STYLE, steps=5, framework=framework) for framework in ("torch", "keras"))
    np.testing.assert_allclose(one.losses, two.losses, rtol=0.02, atol=1e-4)
    assert np.abs(one.picture - two.picture).mean() < 2e-3


def test_another_network_serves_as_well_with_one_layer_for_both_and_pictures_of_unlike_size():
    net = Network(
        "own", (1, 8, 8), [("c", Conv(4, 3, padding=1)), Activation("relu"), ("p", MaxPool(2)), Flatten(), Dense(2)]
    )
    grey = np.random.default_rng(1).random((1, 10, 14))
    options = {"content_layer": "p", "style_layers": ["p"], "steps": 2}
    found = transfer_style(grey, grey[:, :, :8], network=(net, initial_weights(net, 0)), **options)
    assert found.picture.shape == (1, 10, 14) and found.losses[0, 0] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: transfer_style(CONTENT[0], STYLE), "content must have shape (n, c, h, w)"),
        (lambda: transfer_style(CONTENT, STYLE / 1.0), "style should be bytes, or from 0 to 1"),
        (
            lambda: transfer_style(CONTENT, STYLE, style_layers=[]),
            "style_layers should be a list that names a layer at least; got []",
        ),
        (lambda: transfer_style(CONTENT, STYLE, content_layer="block4"), "layers should be some of backbone's"),
        (lambda: transfer_style(CONTENT, STYLE, content_layer="pool"), "layer 'pool' of backbone gives no maps"),
        (lambda: transfer_style(CONTENT, STYLE, smoothness=np.nan), "weights should be numbers from 0"),
        (lambda: transfer_style(CONTENT, STYLE, steps=2.0), "steps a whole number from 1"),
        (lambda: transfer_style(CONTENT, STYLE, framework="numpy"), "framework should be torch or keras"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError) as told:
        call()
    assert said in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("whose", ["torch", "keras"])
def test_a_published_network_paints_in_its_own_scale(whose):
    net = published_network("vgg16", whose, width=1 / 16, input_size=32, num_classes=2)
    weights = initial_weights(net, 1)
    own_scale, more = from_pixels(net, weights)
    layers = [f"features.{n}" for n in (1, 6, 11, 18, 25)]
    seen = picture_maps(feature_network(net, (3, 32, 32), layers), weights, prepare_images(CONTENT[None], net))
    found = picture_maps(feature_network(own_scale, (3, 32, 32), layers), more, CONTENT[None] / 255)
    for name in layers:
        np.testing.assert_allclose(found[name], seen[name], atol=1e-3 * seen[name].max())
    options = {"network": (net, weights), "content_layer": "features.20", "style_layers": layers, "steps": 2}
    painted = transfer_style(CONTENT, STYLE, **options)
    assert np.isfinite(painted.losses).all() and 0 <= painted.picture.min() <= painted.picture.max() <= 1
    assert painted.losses[0, 0] == pytest.approx(0, abs=1e-9)
