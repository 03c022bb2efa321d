"""Detectors: rows stand in the order of the anchors in both frameworks, files carry over, any size is answered, and odd input is named."""

import numpy as np
import pytest
from PIL import Image

from cnncourse import networks
from cnncourse.detection_losses import DetectionLoss
from cnncourse.detection_scores import Objects, average_precision
from cnncourse.detectors import Detector, detect, fit_detector, joined, network_anchors, single_shot
from cnncourse.scenes import SCENE_SHAPES, scenes

NAMES, SHAPES = SCENE_SHAPES[:4], [[(12, 12), (24, 24)], [(30, 40)]]


def in_torch(model, x):
    import torch

    with torch.no_grad():
        out = model.eval()(torch.from_numpy(x))
    return [one.numpy() for one in out] if isinstance(out, tuple) else out.numpy()


def in_keras(model, x):
    out = model(np.moveaxis(x, 1, -1), training=False)
    if isinstance(out, (list, tuple)):
        return [np.moveaxis(one.numpy(), -1, 1) for one in out]
    return out.numpy()


@pytest.mark.parametrize(("make", "run"), [("to_torch", in_torch), ("to_keras", in_keras)])
def test_rows_are_the_outputs_in_the_order_of_the_anchors(make, run):
    net = single_shot(3, size=(40, 56), widths=(4, 6, 8), per_place=(2, 1), scale=((2.0, 3.0, 4.0), (0.1, 0.2, 0.3)))
    shapes = SHAPES
    anchors = network_anchors(net, shapes)
    whole, rows = getattr(networks, make)(net, seed=0), getattr(networks, make)(joined(net), seed=0)
    networks.copy_weights(whole, rows)
    pictures = np.random.default_rng(0).random((2, 3, 40, 56), np.float32)
    names0, places0, names1, places1 = run(whole, pictures)
    logits, moved = DetectionLoss(3).split(run(rows, pictures))
    at = 0
    for names, places, stride, per_map in ((names0, places0, 8, shapes[0]), (names1, places1, 16, shapes[1])):
        for row, column in np.ndindex(names.shape[2:]):
            for k, (width, height) in enumerate(per_map):
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                assert np.allclose(anchors[at], [x - width / 2, y - height / 2, x + width / 2, y + height / 2])
                assert np.allclose(logits[:, at], names[:, 4 * k : 4 * k + 4, row, column], atol=1e-5)
                assert np.allclose(moved[:, at], places[:, 4 * k : 4 * k + 4, row, column], atol=1e-5)
                at += 1
    assert at == len(anchors) == logits.shape[1]


@pytest.fixture(scope="module")
def drawn():
    return scenes(120, size=64, radius=(0.12, 0.25), objects=(1, 2), seed=0)


def trained(drawn, framework, **options):
    options = {
        "epochs": 10,
        "widths": (8, 16, 24),
        "shapes": SHAPES,
        "seed": 0,
        "batch_size": 16,
        "augment": None,
        **options,
    }
    return Detector.fit(drawn.x, drawn.objects, NAMES, framework=framework, **options)


@pytest.fixture(scope="module", params=["torch", "keras"])
def detector(request, drawn):
    return trained(drawn, request.param)


def test_it_learns(detector, drawn):
    losses = detector.history["loss"]
    assert losses[-1] < 0.4 * losses[0]
    untrained = trained(drawn, detector.framework, epochs=1, lr=1e-9)
    before, after = (
        average_precision(one.predict(drawn.x[:60], threshold=0.02), drawn.objects[:60], 4).at(0.5)
        for one in (untrained, detector)
    )
    assert after > before + 0.2


def test_a_file_says_the_same_in_the_other_framework(detector, drawn, tmp_path):
    other = "keras" if detector.framework == "torch" else "torch"
    again = Detector.load(detector.save(tmp_path / "shapes.cnn"), framework=other)
    assert (again.classes, again.shapes, again.framework) == (detector.classes, detector.shapes, other)
    for x in (drawn.x[0], drawn.x[1, :, :50, :37]):
        here, there = (one.predict(x, threshold=0.1) for one in (detector, again))
        assert here.labels.tolist() == there.labels.tolist()
        assert np.allclose(here.boxes, there.boxes, atol=1e-2) and np.allclose(here.scores, there.scores, atol=1e-3)


def test_any_number_of_pictures_of_any_size_is_answered(detector, drawn, tmp_path):
    sizes = [(64, 64), (1, 1), (7, 130), (200, 33), (64, 64)]
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (3, *size), np.uint8) for size in sizes]
    pictures[0] = pictures[4] = drawn.x[3]
    found = detector.predict(pictures, threshold=0.05)
    for one, (h, w) in zip(found, sizes, strict=True):
        assert (one.boxes >= 0).all() and (one.boxes <= [w, h, w, h]).all() and (one.scores > 0.05).all()
        assert (np.diff(one.scores) <= 0).all()
    assert found[0].boxes.tolist() == found[4].boxes.tolist()
    assert detector.predict([]) == [] and len(detector._models) <= 5
    Image.fromarray(drawn.x[3].transpose(1, 2, 0)).save(tmp_path / "a.png")
    for one in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.open(tmp_path / "a.png"), drawn.x[3]):
        assert np.allclose(detector.predict(one, threshold=0.05).boxes, found[0].boxes, atol=1e-2)
    assert len(detector.predict(drawn.x[3], threshold=0.0, most=3).boxes) == 3


def test_a_thing_moved_by_a_stride_is_found_moved_by_it(detector, drawn):
    calm = np.full((3, 160, 160), 90, np.uint8)
    here, there = calm.copy(), calm.copy()
    here[:, 40:70, 40:70], there[:, 56:86, 72:102] = 220, 220  # 16 down and 32 to the right
    first, second = (detector.predict(x, threshold=0.02) for x in (here, there))
    near = [
        one.boxes[(one.boxes[:, :2] > 20).all(axis=1) & (one.boxes[:, 2:] < 140).all(axis=1)] for one in (first, second)
    ]
    assert len(near[0]) and len(near[0]) == len(near[1])
    assert np.allclose(near[0] + [32, 16, 32, 16], near[1], atol=0.05)


BAD_EXAMPLES = {
    "floats": (lambda x, o: (x / 255, o, NAMES), r"should be pictures \(n, 3, h, w\) of uint8, not float64"),
    "grey": (lambda x, o: (x[:, :1], o, NAMES), "should be pictures"),
    "none": (lambda x, o: (x[:0], (), NAMES), "should be pictures"),
    "objects of fewer": (lambda x, o: (x, o[:2], NAMES), "each of 120 pictures, not 2"),
    "a class outside": (lambda x, o: (x, o, NAMES[:1]), r"labels of picture \d+ should be labels from 0 to 0"),
    "a box outside": (
        lambda x, o: (x, (Objects(np.array([[0, 0, 65, 9.0]]), np.array([0])), *o[1:]), NAMES),
        "objects of picture 0: .*must lie in the picture",
    ),
    "no area": (
        lambda x, o: (x, (Objects(np.array([[5, 5, 5, 9.0]]), np.array([0])), *o[1:]), NAMES),
        "objects of picture 0: .*must lie in the picture",
    ),
    "no object": (lambda x, o: (x, [Objects(np.zeros((0, 4)), np.zeros(0, int))] * len(x), NAMES), "nothing to learn"),
    "one name twice": (lambda x, o: (x, o, ("cat",) * 4), "each name once"),
}


@pytest.mark.parametrize("case", BAD_EXAMPLES)
def test_examples_that_cannot_be_learnt_are_named(drawn, case):
    change, said = BAD_EXAMPLES[case]
    with pytest.raises(ValueError, match=said):
        fit_detector(*change(drawn.x, drawn.objects))


def test_files_and_pictures_that_are_none_are_named(drawn, tmp_path):
    small = trained(drawn, "torch", epochs=1)
    file = small.save(tmp_path / "shapes.cnn")
    networks.save_weights(small.model, tmp_path / "weights.safetensors")
    damaged = tmp_path / "damaged.cnn"
    damaged.write_bytes(file.read_bytes()[:-100])
    for path, said in (
        (tmp_path / "weights.safetensors", "holds no detector"),
        (damaged, "not a whole safetensors file"),
    ):
        with pytest.raises(ValueError, match=said):
            Detector.load(path)
    with pytest.raises(ValueError, match="framework should be torch or keras"):
        Detector.load(file, framework="jax")
    for what, said in (
        (drawn.x[0] / 255, "should be uint8"),
        (np.zeros((3, 0, 5), np.uint8), r"should be \(3, h, w\)"),
    ):
        with pytest.raises(ValueError, match=said):
            detect(small, what)
    for threshold in (-1, 1, float("nan")):
        with pytest.raises(ValueError, match="threshold should be a probability"):
            detect(small, drawn.x[0], threshold=threshold)
    with pytest.raises(ValueError, match="there is no such file"):
        detect(small, tmp_path / "nowhere.png")
