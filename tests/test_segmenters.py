"""Segmenters: both frameworks learn, files carry over, any size is answered with no seam, and odd input is named."""

import numpy as np
import pytest
from PIL import Image

from cnncourse import networks
from cnncourse.detectors import Detector
from cnncourse.layers import Activation, Concat, Conv, ConvTranspose, GlobalAvgPool, MaxPool, Network, Upsample
from cnncourse.mask_scores import mask_iou
from cnncourse.pixel_losses import PixelLoss
from cnncourse.scenes import TEXTURES, mosaics
from cnncourse.segmenters import Segmenter, fit_segmenter, segment

LAYERS = [
    ("a", Conv(8, 3, padding=1)), ("ar", Activation("relu")), ("p", MaxPool(2)), ("b", Conv(12, 3, padding=1)),
    ("br", Activation("relu")), ("q", MaxPool(2)), ("m", Conv(12, 3, padding=1)), ("mr", Activation("relu")),
    ("u", Upsample(2)), ("c", Concat(), ("br", "u")), ("v", ConvTranspose(8, 2, 2)), ("d", Concat(), ("ar", "v")),
    ("o", Conv(3, 3, padding=1)),
]  # fmt: skip
NET = Network("small", (1, 32, 32), LAYERS)


@pytest.fixture(scope="module")
def made():
    return mosaics(80, size=32, regions=(1, 3), seed=0)


@pytest.fixture(scope="module", params=["torch", "keras"])
def segmenter(request, made):
    return Segmenter.fit(NET, made.x, made.labels, TEXTURES, epochs=15, lr=0.01, framework=request.param, seed=0)


def test_it_learns(segmenter, made):
    losses = segmenter.history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    found = np.stack(segmenter.predict(made.x))
    assert found.dtype == np.int64 and mask_iou(made.labels, found, 3).mean() > 0.4


def test_a_file_says_the_same_in_the_other_framework(segmenter, made, tmp_path):
    other = "keras" if segmenter.framework == "torch" else "torch"
    again = Segmenter.load(segmenter.save(tmp_path / "textures.cnn"), framework=other)
    assert (again.classes, again.framework, again.net) == (segmenter.classes, other, segmenter.net)
    odd = np.tile(made.x[0], (1, 2, 2))[:, :45, :51]
    assert np.allclose(again.predict(odd, maps=True), segmenter.predict(odd, maps=True), atol=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (1, 1), (3, 70), (101, 67)])
def test_tiles_leave_no_seam_at_any_size(segmenter, size):
    x = np.random.default_rng(0).integers(0, 256, (1, *size), np.uint8)
    whole = segmenter.predict(x, maps=True)
    assert whole.shape == (3, *size)
    for tile in (1, 50, 57):
        assert np.allclose(segmenter.predict(x, tile=tile, maps=True), whole, atol=1e-4)
    assert (segmenter.predict(x) == whole.argmax(axis=0)).all() and len(segmenter._models) <= 4


def test_pictures_come_in_every_form(segmenter, made, tmp_path):
    byte = np.rint(made.x[:3] * 255).astype(np.uint8)
    Image.fromarray(byte[0, 0]).save(tmp_path / "a.png")
    first = segmenter.predict(byte[0])
    forms = (tmp_path / "a.png", str(tmp_path / "a.png"), Image.open(tmp_path / "a.png"), np.float32(byte[0]) / 255)
    assert all((segmenter.predict(one) == first).all() for one in forms)
    assert (segmenter.predict(list(byte))[0] == first).all() and (segmenter.predict(byte)[0] == first).all()


def test_pixels_that_are_not_known_teach_nothing(made):
    unknown, start = np.full(made.labels.shape, 255), networks.initial_weights(NET, 0)
    for kind in ("cross_entropy", "dice"):
        learnt = fit_segmenter(NET, made.x, unknown, TEXTURES, loss=PixelLoss(kind, ignore=255), epochs=1, seed=0)
        assert all((learnt.weights[name] == start[name]).all() for name in start)
    with pytest.raises(ValueError, match="labels should be labels from 0 to 2"):
        fit_segmenter(NET, made.x, unknown, TEXTURES)


BAD = {
    "labels of another size": (
        lambda x, y: (NET, x, y[:, :16], TEXTURES),
        "labels should be one label for each example",
    ),
    "labels of fewer": (lambda x, y: (NET, x, y[:5], TEXTURES), "labels should be one label for each example"),
    "a class outside": (lambda x, y: (NET, x, y + 1, TEXTURES), "labels should be labels from 0 to 2"),
    "pictures of another size": (lambda x, y: (NET, x[:, :, :16], y, TEXTURES), "x should be pictures"),
    "bytes as floats": (lambda x, y: (NET, x * 255, y, TEXTURES), "not yet divided by 255.0"),
    "no pictures": (lambda x, y: (NET, x[:0], y[:0], TEXTURES), "x should be pictures"),
    "fewer names": (lambda x, y: (NET, x, y, TEXTURES[:2]), r"should give \(2, 32, 32\)"),
    "smaller maps": (
        lambda x, y: (Network("n", (1, 32, 32), [Conv(3, 3)]), x, y, TEXTURES),
        r"should give \(3, 32, 32\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_examples_that_cannot_be_learnt_are_named(made, case):
    change, said = BAD[case]
    with pytest.raises(ValueError, match=said):
        fit_segmenter(*change(made.x, made.labels))


def test_files_and_pictures_that_are_none_are_named(made, tmp_path):
    small = fit_segmenter(NET, made.x, made.labels, TEXTURES, epochs=1)
    file = small.save(tmp_path / "textures.cnn")
    networks.save_weights(small.model, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="there already and holds no segmenter"):
        small.save(tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="holds no detector of format 1, but 'segmenter'"):
        Detector.load(file)
    with pytest.raises(ValueError, match="holds no segmenter of format 1, but weights alone"):
        Segmenter.load(tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="framework should be torch or keras"):
        Segmenter.load(file, framework="jax")
    for what, said in ((made.x[0] * 255, "not yet divided"), (np.zeros((2, 8, 8), np.uint8), r"should be \(1, h, w\)")):
        with pytest.raises(ValueError, match=said):
            segment(small, what)
    with pytest.raises(ValueError, match="sees the whole picture at once"):
        net = Network("n", (1, 1, 1), [GlobalAvgPool(True), Conv(3, 1)])
        segment(Segmenter(net, networks.initial_weights(net, 0), TEXTURES), np.zeros((1, 1, 1), np.uint8))
