"""Tiles cover each pixel once, and answers in tiles are those for the whole picture; things in masks are counted as a flood fill does."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import data, filters

from cnncourse.counting import count
from cnncourse.layers import Add, Concat, Conv, ConvTranspose, MaxPool, Network, Upsample
from cnncourse.networks import to_keras, to_torch
from cnncourse.tiling import predict_tiled, reach, stitch, tiles


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_cores_cover_each_pixel_once_and_see_far_enough(data):
    step, halo = data.draw(st.integers(1, 8)), data.draw(st.integers(0, 9))
    tile = tuple(data.draw(st.integers(2 * halo + step, 2 * halo + 6 * step)) for _ in range(2))
    size = tuple(t + step * data.draw(st.integers(0, 9)) for t in tile)
    seen = np.zeros(size, int)
    for one in tiles(size, tile, halo, step):
        seen[one.core] += 1
        for window, core, inner, side, most in zip(*one, tile, size, strict=True):
            assert window.start % step == 0 and window.stop - window.start == side
            assert core.start - window.start == inner.start and core.stop - window.start == inner.stop
            assert core.start - window.start >= halo or window.start == 0
            assert window.stop - core.stop >= halo or window.stop == most
    assert (seen == 1).all()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 8), st.integers(1, 8))
@settings(max_examples=300, deadline=None)
def test_tiles_that_do_not_fit_are_refused_with_ones_that_do(size, tile, halo, step):
    try:
        assert len(tiles(size, tile, halo, step)) >= 1
    except ValueError as error:
        said = [int(word) for word in str(error).replace(".", " ").split() if word.isdigit()]
        assert "give" in str(error)
        if "all begin at multiples" in str(error):
            fitting = [one for one in said[-2:] if 2 * halo + step <= one]
            assert all(tiles(size, one, halo, step) for one in fitting)


NETS = {
    "even kernels": [Conv(3, 4, padding=((1, 2), (2, 1))), Conv(2, (2, 5), padding=((0, 1), (2, 2)))],
    "dilation": [Conv(3, 3, padding=2, dilation=2), Conv(2, 3, padding=4, dilation=4)],
    "one way down": [("a", Conv(3, 3, padding=1)), ("p", MaxPool(2)), ("b", Conv(4, 3, padding=1)), ("u", Upsample(2))],
    "overlapping pool": [Conv(3, 3, padding=1), MaxPool(3, 2, 1), Conv(3, 3, padding=1), ConvTranspose(2, 4, 2, 1)],
    "bilinear": [Conv(3, 3, 2, 1), Conv(3, 3, 2, 1), Upsample(4, "bilinear"), Conv(2, 3, padding=1)],
    "unet": [
        ("a", Conv(3, 3, padding=1)), ("p", MaxPool(2)), ("b", Conv(4, 3, padding=1)), ("q", MaxPool(2)),
        ("m", Conv(4, 3, padding=1)), ("u", ConvTranspose(4, 2, 2)), ("c", Add(), ("b", "u")),
        ("v", Upsample(2)), ("d", Concat(), ("a", "v")), ("o", Conv(2, 3, padding=1)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_answers_in_tiles_are_those_for_the_whole_picture(name):
    torch = pytest.importorskip("torch")
    net = Network("net", (2, 64, 64), NETS[name])
    halo, step = reach(net)
    model, rng = to_torch(net, seed=1).double().eval(), np.random.default_rng(0)

    def predict(x):
        with torch.no_grad():
            return model(torch.from_numpy(np.ascontiguousarray(x))).numpy()

    for extra in (0, 3):
        tile = (-(-(2 * halo + step) // step) + extra) * step
        x = rng.normal(size=(2, tile + 6 * step, tile + 11 * step))
        assert np.abs(predict_tiled(predict, x, tile, halo, step) - predict(x[None])[0]).max() < 1e-12


def test_answers_in_tiles_are_those_for_the_whole_picture_in_keras():
    keras = pytest.importorskip("keras")
    items = NETS["unet"]
    halo, step = reach(Network("net", (2, 64, 64), items))
    side, whole = 2 * halo + 2 * step, 2 * halo + 6 * step
    small, large = (to_keras(Network("net", (2, n, n), items), seed=1) for n in (side, whole))
    x = np.random.default_rng(0).normal(size=(2, whole, whole)).astype(np.float32)

    def first(model):
        return lambda x: np.moveaxis(keras.ops.convert_to_numpy(model(np.moveaxis(x, 1, -1), training=False)), -1, 1)

    assert np.abs(predict_tiled(first(small), x, side, halo, step) - first(large)(x[None])[0]).max() < 1e-4


def test_stitch_keeps_the_kind_of_numbers():
    where = tiles((6, 9), (4, 5), 1)
    labels = np.arange(54).reshape(6, 9)
    for dtype in (bool, np.uint8, np.int64, np.float32):
        parts = [labels.astype(dtype)[one.window] for one in where]
        assert stitch(parts, where).dtype == dtype and (stitch(parts, where) == labels.astype(dtype)).all()


def flood(mask, corners) -> list[int]:  # areas of the parts, in the order of their first pixels
    left, areas = {tuple(place) for place in np.argwhere(mask).tolist()}, []
    for start in map(tuple, np.argwhere(mask).tolist()):
        if start not in left:
            continue
        left.discard(start)
        waiting, area = [start], 0
        while waiting:
            r, c = waiting.pop()
            area += 1
            for dr, dc in itertools.product((-1, 0, 1), repeat=2):
                if (corners or 0 in (dr, dc)) and (r + dr, c + dc) in left:
                    left.discard((r + dr, c + dc))
                    waiting.append((r + dr, c + dc))
        areas.append(area)
    return areas


@pytest.mark.parametrize("corners", [True, False])
def test_components_are_those_of_a_flood_fill(corners):
    for seed in range(200):
        rng = np.random.default_rng(seed)
        mask = rng.random(rng.integers(1, 15, 2)) < rng.random()
        areas = flood(mask, corners)
        found = count(mask, corners=corners)
        assert found.n == len(areas) and sorted(found.areas.tolist()) == sorted(areas)
        assert ((found.labels > 0) == mask).all()
        assert np.bincount(found.labels.ravel(), minlength=found.n + 1)[1:].tolist() == found.areas.tolist()
        large = count(mask, corners=corners, min_area=3)
        assert sorted(large.areas.tolist()) == sorted(area for area in areas if area >= 3)


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_the_watershed_counts_discs_that_touch(seed):
    rng = np.random.default_rng(seed)
    r, c = np.indices((80, 80))
    centres, radii = [], []
    for _ in range(40):
        centre, radius = rng.uniform(14, 66, 2), rng.uniform(8, 13)
        far = [
            np.hypot(*(centre - other)) > 1.02 * (radius + size) - 2 for other, size in zip(centres, radii, strict=True)
        ]
        if all(far):
            centres.append(centre)
            radii.append(radius)
    assume(len(centres) > 1)
    mask = np.any([np.hypot(r - y, c - x) < radius for (y, x), radius in zip(centres, radii, strict=True)], axis=0)
    found = count(mask, "watershed")
    assert found.n == len(centres) and found.areas.sum() == mask.sum()


def test_the_watershed_forgets_no_part():
    for seed in range(100):
        mask = np.random.default_rng(seed).random((20, 20)) < 0.4
        for depth, corners in itertools.product((0, 1, 5), (True, False)):
            found = count(mask, "watershed", depth=depth, corners=corners)
            assert found.n >= count(mask, corners=corners).n and ((found.labels > 0) == mask).all()


def test_the_coins_are_counted():
    coins = data.coins()
    mask = ndimage.binary_fill_holes(coins > filters.threshold_local(coins, 101, offset=-10))
    assert count(mask, min_area=800).n == count(mask, "watershed", min_area=800, depth=4).n == 24
