"""The course's pictures: what they draw, what they refuse, what they leave behind, and what they say."""

import base64
import inspect
import io
import json
import re
import subprocess
import sys
import traceback
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from conftest import needs_browser
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from PIL import Image
from scipy import stats

from cnncourse import convolution, drawing, figures, grids, players, plots, site, training

ROOMS = drawing, grids, plots, players, figures  # each draws with those before it; `figures` has all their names
BASELINES = Path(__file__).parent / "baselines"
TOLERANCE = 6.0  # of 255: a line moved by one pixel, as between two versions of Matplotlib, changes a thumbnail by less
rng = np.random.default_rng(0)
SCORES = rng.gamma(2, 1, 300), rng.normal(8, 1, 30)
HISTORIES = [{"loss": [1.0, 0.6 + s, 0.4], "val_loss": [1.1, 0.8, 0.7 - s]} for s in (0.0, 0.1, 0.2)]
FIELD = convolution.stack_receptive_field([(3, 2, 1)] * 3)
LENET = [
    ("input", "input", (1, 28, 28)),
    ("conv1", "conv", (6, 28, 28)),
    ("pool1", "pool", (6, 14, 14)),
    ("dense", "dense", (10,)),
]
PHOTO = np.linspace(0, 1, 40 * 60).reshape(40, 60)
ZIGZAG = np.stack([np.linspace(-2.8, 2.8, 12), np.tile([-1.8, 1.8], 6)], axis=1)
EFFECTS = np.linspace(-0.5, 0.5, 8)
MASK = np.hypot(*(np.indices((40, 60)) - 20.0)) < 12


def bowl(points):
    return (points**2).sum(axis=-1)


DRAW = {
    "image_grid": lambda **ax: figures.image_grid(
        [PHOTO, PHOTO.T, np.stack([PHOTO, PHOTO / 2, PHOTO])], ["하나", "two", "three"], **ax
    ),
    "number_grid": lambda **ax: figures.number_grid(np.arange(16).reshape(4, 4), block=2, **ax),
    "heat_map": lambda **ax: figures.heat_map(np.arange(400.0).reshape(20, 20), **ax),
    "visit_map": lambda **ax: figures.visit_map(convolution.visit_counts(6, 3, padding=1), **ax),
    "kernels": lambda **ax: figures.kernels(np.arange(-18, 18).reshape(2, 2, 3, 3), **ax),
    "feature_maps": lambda **ax: figures.feature_maps(np.arange(192.0).reshape(12, 4, 4), **ax),
    "window_grid": lambda **ax: figures.window_grid(5, stride=2, padding=1, **ax),
    "field_on_image": lambda **ax: figures.field_on_image(PHOTO, FIELD, **ax),
    "path_on_contours": lambda **ax: figures.path_on_contours(bowl, ZIGZAG, limits=((-3, 3), (-2, 2)), **ax),
    "training_curves": lambda **ax: figures.training_curves({"a": HISTORIES, "b": HISTORIES[0]}, **ax),
    "confusion_matrix": lambda **ax: figures.confusion_matrix(
        [[8, 2, 0], [1, 9, 0], [0, 0, 5]], ["cat", "dog", "새"], **ax
    ),
    "threshold_histograms": lambda **ax: figures.threshold_histograms(*SCORES, 6.0, **ax),
    "boxes_and_masks": lambda **ax: figures.boxes_and_masks(PHOTO, [[8, 8, 32, 32]], [MASK], ["disc"], **ax),
    "effects": lambda **ax: figures.effects("abcdefgh", EFFECTS, EFFECTS - 0.2, EFFECTS + 0.3, smallest=0.05, **ax),
    "network_diagram": lambda **ax: figures.network_diagram(LENET, **ax),
}
MOVE = {
    "sliding_kernel": lambda: figures.sliding_kernel(np.eye(5), np.ones((3, 3)), stride=2),
    "animate": lambda: figures.animate(Figure(), lambda i: None, 2, texts=["one", "two"], alt="nothing moves"),
}


# No state is touched


@pytest.mark.parametrize("name", [*DRAW, *MOVE])
def test_no_call_touches_pyplots_figures_or_settings(name):
    plt.close("all")
    mine, ax = plt.subplots()
    ax.plot([1, 2])
    before, current = dict(mpl.rcParams), (plt.gcf(), plt.gca(), mine.axes)
    {**DRAW, **MOVE}[name]()
    assert plt.get_fignums() == [mine.number] and (plt.gcf(), plt.gca(), mine.axes) == current
    assert len(ax.lines) == 1 and not ax.images and not ax.patches
    assert dict(mpl.rcParams) == before
    plt.close("all")


@pytest.mark.parametrize("name", DRAW)
def test_a_call_draws_in_the_axes_it_is_given_and_nowhere_else(name):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    empty = len(right.get_children())
    drawing = DRAW[name](ax=left)
    assert drawing.figure is figure and drawing.axes is left and drawing.artists
    assert len(right.get_children()) == empty
    assert figures.describe(left).lower().startswith(figures.describe(DRAW[name]()).lower()[:20])


@pytest.mark.parametrize("name", DRAW)
def test_an_axes_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match="ax must be one Axes"):
        DRAW[name](ax=np.array([1, 2]))


def test_drawings_leave_nothing_behind():
    plt.close("all")
    for _ in range(30):  # pyplot warns from 20 open figures on
        DRAW["kernels"]()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("managed", [False, True])
def test_jupyter_shows_a_drawing_once_with_its_alternative(managed, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **how: shown.append((data, how)))
    plt.close("all")
    drawing = figures.kernels(np.eye(3), ax=plt.subplots()[1]) if managed else figures.kernels(np.eye(3))
    drawing._ipython_display_()
    ((data, how),) = shown
    assert how["metadata"]["image/png"]["alt"] == data["text/plain"] == figures.describe(drawing)
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert plt.get_fignums() == []  # the inline backend has nothing left to show


# How they look


def plain(name: str):
    "A picture in axes of a fixed place, without its texts and legends, which another version of Matplotlib sets differently."
    drawing = DRAW[name](ax=Figure(figsize=(5, 4)).add_axes((0.05, 0.05, 0.9, 0.9)))
    for artist in [*drawing.figure.findobj(Text), *drawing.figure.findobj(Legend)]:
        artist.set_visible(False)
    for ax in drawing.figure.axes:
        ax.tick_params(labelbottom=False, labelleft=False, labelright=False)
    return drawing


def pixels(drawing, dpi: int = 80) -> Image.Image:
    file = io.BytesIO()
    drawing.figure.savefig(file, format="png", dpi=dpi)
    return Image.open(file).convert("RGB")


def distance(first: Image.Image, second: Image.Image) -> float:
    "Root of the mean squared difference of all pixels, of 255."
    return float(np.sqrt(np.mean((np.asarray(first, float) - np.asarray(second, float)) ** 2)))


@pytest.mark.parametrize("name", DRAW)
def test_a_picture_looks_as_it_did(name, tmp_path):
    "Thumbnails in tests/baselines. To renew one, look at it, then copy the file that the message names."
    now, file = pixels(plain(name)).reduce(4), tmp_path / f"{name}.png"
    now.save(file, optimize=True)
    assert (BASELINES / f"{name}.png").exists(), f"no baseline yet; now: {file}"
    expected = Image.open(BASELINES / f"{name}.png")
    assert now.size == expected.size
    assert distance(now, expected) <= TOLERANCE, f"differs by {distance(now, expected):.1f}; now: {file}"


@pytest.mark.parametrize("name", DRAW)
def test_a_wrong_picture_is_noticed(name):
    "The tolerance is small enough: a picture with its data gone lies outside it."
    drawing = plain(name)
    right = pixels(drawing).reduce(4)
    for artist in drawing.artists:
        artist.set_visible(False)
    assert distance(pixels(drawing).reduce(4), right) > TOLERANCE


def texts(drawing) -> list[str]:
    return [text.get_text() for text in drawing.axes.texts]


def test_numbers_and_titles_stand_on_the_pictures():
    assert texts(DRAW["image_grid"]()) == ["하나", "two", "three"]
    assert texts(DRAW["number_grid"]()) == [str(n) for n in range(16)]
    assert texts(DRAW["confusion_matrix"]()) == ["8", "2", "0", "1", "9", "0", "0", "0", "5"]
    assert texts(DRAW["kernels"]())[:3] == ["−18", "−17", "−16"]
    assert texts(DRAW["network_diagram"]()) == ["1\n28 × 28", "6\n28 × 28", "6\n14 × 14", "10"]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.data())
def test_image_grid_draws_the_values_it_gets(data):
    "Whatever the axis order and the type, each cell holds the picture in 0..1."
    n, c, h, w = (data.draw(st.integers(*ends)) for ends in ((1, 7), (1, 1), (5, 9), (5, 9)))
    c = data.draw(st.sampled_from([1, 3]))
    values = np.random.default_rng(data.draw(st.integers(0, 99))).random((n, c, h, w))
    kind = data.draw(st.sampled_from(["float64", "float32", "uint8", "bool"]))
    batch = (
        (values > 0.5) if kind == "bool" else (values * 255).astype(kind) if kind == "uint8" else values.astype(kind)
    )
    expected = (batch / 255 if kind == "uint8" else batch.astype(float)).transpose(0, 2, 3, 1)
    last = data.draw(st.booleans())
    given_ = batch.transpose(0, 2, 3, 1) if last else batch
    drawing = figures.image_grid(list(given_) if data.draw(st.booleans()) else given_)
    assert len(drawing.artists) == n
    for artist, picture in zip(drawing.artists, expected, strict=True):
        shown = np.asarray(artist.to_rgba(artist.get_array(), norm=False) if c == 3 else artist.get_array())
        np.testing.assert_allclose(
            shown[..., :3] if c == 3 else shown, picture if c == 3 else picture[..., 0], atol=1e-6
        )
        assert c == 3 or (artist.norm.vmin == 0 and artist.norm.vmax == 1)


def test_pictures_of_a_grid_do_not_overlap_and_keep_their_shape():
    sizes = [(20, 30), (30, 20), (10, 10), (5, 40), (8, 8)]
    drawing = figures.image_grid([np.zeros(size) for size in sizes], columns=3)
    boxes = [artist.get_extent() for artist in drawing.artists]
    for (left, right, bottom, top), (h, w) in zip(boxes, sizes, strict=True):
        assert (bottom - top) / (right - left) == pytest.approx(h / w)
    for i, (left, right, bottom, top) in enumerate(boxes):
        for other_left, other_right, other_bottom, other_top in boxes[:i]:
            assert right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top


BAD = {
    "empty batch": (lambda: figures.image_grid(np.zeros((0, 1, 8, 8))), "at least one picture"),
    "empty list": (lambda: figures.image_grid([]), "at least one picture"),
    "empty pictures": (lambda: figures.image_grid(np.zeros((2, 1, 0, 8))), "with pixels in it"),
    "more titles": (lambda: figures.image_grid(np.zeros((2, 8, 8)), "abc"), "2 in all; got 3"),
    "five axes": (
        lambda: figures.image_grid(np.zeros((1, 1, 1, 8, 8))),
        "at least one picture, as a batch (n, c, h, w)",
    ),
    "words": (lambda: figures.image_grid([[["a"]]]), "must hold real numbers"),
    "complex numbers": (lambda: figures.image_grid(np.zeros((1, 8, 8), complex)), "must hold real numbers"),
    "standardised colours": (lambda: figures.image_grid(np.full((1, 3, 8, 8), -1.0)), "give limits=(low, high)"),
    "bytes as floats": (lambda: figures.image_grid(np.full((1, 3, 8, 8), 255.0)), "divide bytes by 255"),
    "feature maps": (lambda: figures.image_grid(np.zeros((1, 16, 8, 8))), "draw its maps with `feature_maps`"),
    "limits": (lambda: figures.image_grid(np.zeros((1, 8, 8)), limits=(1, 0)), "low < high"),
    "no history": (lambda: figures.training_curves([]), "at least one history"),
    "no such metric": (
        lambda: figures.training_curves({"loss": [1]}, "accuracy"),
        "expected a history with 'accuracy'",
    ),
    "ragged matrix": (lambda: figures.confusion_matrix([[1, 2], [3]]), "must hold real numbers in a full grid"),
    "negative counts": (lambda: figures.confusion_matrix([[1, -2], [3, 4]]), "at least 0"),
    "NaN score": (lambda: figures.threshold_histograms([np.nan], [1], 0), "finite"),
    "NaN threshold": (lambda: figures.threshold_histograms([1], [1], np.nan), "finite"),
    "box of three": (lambda: figures.boxes_and_masks(PHOTO, [[1, 2, 3]]), "rows (x1, y1, x2, y2)"),
    "NaN box": (lambda: figures.boxes_and_masks(PHOTO, [[1, 2, np.nan, 4]]), "x1 < x2"),
    "boxes and masks": (lambda: figures.boxes_and_masks(PHOTO, [[1, 1, 2, 2]] * 2, [MASK]), "one mask for each box"),
    "crossed interval": (lambda: figures.effects(["a"], [0], [1], [2]), "low <= estimate <= high"),
    "NaN effect": (lambda: figures.effects(["a"], [np.nan], [0], [1]), "low <= estimate <= high"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_words(case):
    call, words = BAD[case]
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


@pytest.mark.filterwarnings("error")
def test_nan_and_infinity_are_drawn_in_a_colour_of_their_own():
    holed = np.array([[0.2, np.nan], [np.inf, 0.4]])
    for picture in (holed, np.stack([holed] * 3)):
        drawing = figures.image_grid([picture])
        shown = np.asarray(pixels(drawing)).reshape(-1, 3)
        orange = np.array(mpl.colors.to_rgb(figures.COLOURS["orange"])) * 255
        assert (np.abs(shown - orange).max(axis=1) < 3).mean() > 0.4
        assert "without a number" in figures.describe(drawing)
    figures.image_grid(np.full((1, 4, 4), np.nan)).figure.savefig(io.BytesIO())
    figures.feature_maps(np.full((2, 4, 4), np.nan)).figure.savefig(io.BytesIO())


# Numbers, colours, letters


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(2, 9), st.integers(0, 99), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_is_that_of_scipy(seeds, seed, level):
    values = np.random.default_rng(seed).normal(size=(seeds, 3))
    expected = stats.ttest_1samp(values, 0).confidence_interval(level)
    mean, low, high = figures.mean_interval(values, level)
    np.testing.assert_allclose([mean, low, high], [values.mean(axis=0), expected.low, expected.high])


def test_every_kind_of_history_is_read():
    rows = [{"loss": 1.0, "val_loss": 1.5}, {"loss": 0.5, "val_loss": 0.7}]
    kinds = [
        pd.DataFrame(rows),
        {"loss": [1.0, 0.5]},
        training.History(rows),
        training.History([{"loss": 1.0}, {"loss": 0.5}]),
    ]
    for history in kinds:
        drawing = figures.training_curves(history)
        assert drawing.artists[0].get_ydata().tolist() == [1.0, 0.5]
        assert len(drawing.artists) == 1 + ("val_loss" in history.keys())  # noqa: SIM118


def test_seeds_of_different_length_end_where_all_of_them_still_run():
    drawing = figures.training_curves([{"loss": [3, 2, 1]}, {"loss": [3, 2]}])
    assert drawing.artists[0].get_xdata().tolist() == [1, 2]


def test_luminance_is_that_of_the_web_guidelines():
    assert figures.contrast("#767676", "white") == pytest.approx(4.54, abs=0.005)  # WCAG's own well-known grey
    assert figures.contrast("white", "#767676") == figures.contrast("#767676", "white")


@pytest.mark.parametrize("mode", figures.SHEETS)
def test_every_ink_can_be_read_on_its_sheet(mode):
    sheet, ink, line = figures.SHEETS[mode].values()
    assert figures.contrast(ink, sheet) >= 4.5
    assert min(figures.contrast(colour, sheet) for colour in [*figures.COLOURS.values(), figures.GREY, line]) >= 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["image_grid", "confusion_matrix"])
def test_hangul_is_never_an_empty_box(name):
    "Without the course's style as well, in axes of the caller's: a missing glyph would be a warning, and fail."
    with mpl.rc_context({"font.family": ["DejaVu Sans"]}):
        DRAW[name](ax=Figure().add_subplot()).figure.savefig(io.BytesIO())
        DRAW[name]().figure.savefig(io.BytesIO())


def test_importing_figures_loads_no_pyplot_and_changes_no_setting():
    code = "import sys, matplotlib; before = matplotlib.rcParams.copy(); import cnncourse.figures; "
    code += "print('matplotlib.pyplot' in sys.modules, before == matplotlib.rcParams.copy())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr


# What moves


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.data())
def test_a_sliding_kernel_computes_the_convolution(data):
    h, w, k, l = (data.draw(st.integers(*ends)) for ends in ((1, 8), (1, 8), (1, 4), (1, 4)))
    stride, padding, dilation = (data.draw(st.integers(*ends)) for ends in ((1, 3), (0, 2), (1, 3)))
    values = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, kernel = values.integers(-3, 4, (h, w)), values.integers(-3, 4, (k, l))
    how = {"stride": stride, "padding": padding, "dilation": dilation}
    try:
        expected = convolution.conv2d(x[None, None].astype(float), kernel[None, None].astype(float), **how)
    except ValueError:
        with pytest.raises(ValueError, match="the kernel must fit"):
            figures.sliding_kernel(x, kernel, **how)
    else:
        player = figures.sliding_kernel(x, kernel, **how)
        assert [step["sum"] for step in player.steps] == expected.ravel().tolist()


@pytest.mark.parametrize("name", MOVE)
def test_a_player_needs_no_other_host_and_says_what_it_shows(name, tmp_path):
    player = MOVE[name]()
    player.save(tmp_path / "page.html")
    assert site.check_links(tmp_path) == []
    assert "http" not in player._repr_html_().replace("http-equiv", "")
    assert figures.describe(player) == player.alt != ""


@needs_browser
def test_a_player_plays_steps_and_speaks(browser, tmp_path):
    figures.sliding_kernel(np.arange(16).reshape(4, 4), np.eye(3)).save(tmp_path / "slide.html")
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    page.goto((tmp_path / "slide.html").as_uri())
    said, output = page.locator(".said"), page.locator(".output td")
    assert said.inner_text().startswith("Row 1, column 1") and output.nth(0).get_attribute("class") == "now"
    page.get_by_label("One step on").click()
    assert said.inner_text().startswith("Row 1, column 2") and page.locator(".input td.on").count() == 9
    page.get_by_role("slider").press("End")
    assert said.inner_text().endswith("= 30") and errors == []
    page.close()


# Text alternatives


def test_describe_reads_the_data_of_a_plain_figure():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    left.plot([0, 1, 2], [1.0, 5.0, 2.0], label="loss")
    left.set(title="one", xlabel="epoch")
    right.bar(["a", "b"], [3, 4], label="counts")
    right.scatter([1, 2], [1, 2], label="dots")
    figure.suptitle("both")
    said = figures.describe(figure)
    assert said.startswith("Both. Panel 1: one; x axis: epoch; loss: from 1 at 0 to 2 at 2, highest 5 at 1.")
    assert "counts: 2 bars from 3 to 4" in said and "dots: 2 points" in said


def test_describe_speaks_of_what_is_there_now():
    figure = Figure()
    ax = figure.add_subplot()
    figures.kernels(np.eye(3), ax=ax)
    ax.clear()
    assert figures.describe(figure) == "An empty figure."


@pytest.mark.parametrize("name", DRAW)
def test_every_picture_says_what_it_shows_in_one_paragraph(name):
    said = figures.describe(DRAW[name]())
    assert 20 < len(said) < 500 and said.endswith(".") and "\n" not in said and "nan" not in said.lower()


def test_every_figure_of_the_course_has_a_text_alternative(executed):
    faults = []
    for path in sorted((executed / "_run/nbs").rglob("*.ipynb")):
        for i, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"], 1):
            if cell["cell_type"] == "code":
                typed = "fig-alt:" in "".join(cell["source"])
                faults += [f"{path.stem}, cell {i}: {fault}" for o in cell["outputs"] for fault in without(o, typed)]
    assert faults == []


def without(output: dict, typed: bool) -> list[str]:
    "What lacks an alternative in one output of a cell."
    data = output.get("data", {})
    if html := "".join(data.get("text/html", "")):
        return [
            tag[:60]
            for tag in re.findall(r"<(?:img|svg|audio|video)\b[^>]*>", html)
            if not re.search(r"\b(?:alt|aria-label|aria-hidden)=", tag)
        ]
    kinds = [kind for kind in data if kind.startswith("image/")]
    return [kind for kind in kinds if not typed and not output["metadata"].get(kind, {}).get("alt")]


def test_no_lesson_opens_more_figures_than_it_shows(executed):
    "A figure left open in a cell shows up as a picture that nobody asked for, or as Matplotlib's warning of too many."
    faults = []
    for path in sorted((executed / "_run/nbs").rglob("*.ipynb")):
        for i, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"], 1):
            for output in cell.get("outputs", []):
                if "figures have been opened" in "".join(output.get("text", "")):
                    faults.append(f"{path.stem}, cell {i}")
    assert faults == []


# The wrong kind of thing, a name that comes from data, and files of animations

PICTURE = np.random.default_rng(0).random((3, 8, 8))
RIGHT = {
    "linear_rgb": ("red",),
    "contrast": ("red", "blue"),
    "as_seen_by": (np.zeros((2, 3)), "deutan"),
    "style": ("light",),
    "as_picture": (PICTURE,),
    "as_pictures": (PICTURE[None],),
    "image_grid": (PICTURE[None],),
    "number_grid": (np.eye(3),),
    "heat_map": (np.eye(3),),
    "visit_map": (np.ones((3, 3), int),),
    "kernels": (np.ones((2, 2, 3, 3)),),
    "feature_maps": (np.ones((4, 5, 5)),),
    "window_grid": (5,),
    "field_on_image": (PICTURE, FIELD),
    "path_on_contours": (lambda points: (points**2).sum(-1), np.zeros((3, 2))),
    "mean_interval": (np.ones((3, 2)),),
    "training_curves": ({"loss": [1, 2]},),
    "confusion_matrix": (np.eye(3),),
    "threshold_histograms": ([1, 2], [3], 2.5),
    "effects": (["a"], [1], [0], [2]),
    "network_diagram": ([("a", "Conv", (3, 8, 8))],),
    "sliding_kernel": (np.eye(4), np.eye(2)),
    "animate": (Figure(), lambda i: None, 1),
}
NOT_ASKED = {
    "describe",
    "Drawing",
    "Player",
    "hangul",
    "as_array",
    "boxes_and_masks",
}  # no arguments of many kinds, or tested elsewhere


def wrong_kinds():
    import torch

    kinds = [-3, float("nan"), [{"a": 1}], torch.nn.Linear(2, 2), [[1], [1, 2]], np.zeros((1, 2, 3, 4, 5)), {"a": None}]
    return [*kinds, object(), "nothing known", pd.DataFrame({"a": ["x"]}), 10**30, ["a", "b"], np.zeros(0)]


def test_every_function_is_asked():
    functions = {name for room in ROOMS for name in room.__all__ if callable(getattr(room, name))}
    assert functions == set(RIGHT) | NOT_ASKED


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_every_picture_has_its_address_in_figures(room):
    assert [name for name in room.__all__ if getattr(figures, name, None) is not getattr(room, name)] == []


@pytest.mark.parametrize("name", RIGHT)
def test_the_wrong_kind_is_told_at_the_door(name):
    "Every argument, given something of another kind: taken, or one sentence of ours, raised by ours."
    function, good = getattr(figures, name), RIGHT[name]
    settings = {"limits": ((0, 1), (0, 1))} if name == "path_on_contours" else {}
    for i, parameter in enumerate(inspect.signature(function).parameters):
        for wrong in wrong_kinds():
            if parameter == "draw" and callable(wrong):
                continue  # what a function of the caller's own raises is the caller's
            arguments = [*good[:i], wrong, *good[i + 1 :]] if i < len(good) else good
            try:
                function(*arguments, **settings | ({} if i < len(good) else {parameter: wrong}))
            except ValueError as error:
                raised = traceback.extract_tb(error.__traceback__)[-1].filename
                assert raised in {room.__file__ for room in ROOMS} and "\n" not in str(error), (parameter, error)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: figures.training_curves([{"epoch": 1, "loss": 0.5}]),
            "expected a history, not its rows.*without .epochs",
        ),
        (lambda: figures.training_curves(3), r"a history must have keys\(\) and history\['loss'\].*; got 3"),
        (lambda: figures.network_diagram(__import__("torch").nn.Linear(2, 2)), "networks.from_torch.*; got a Linear"),
        (lambda: figures.network_diagram([("a", "Conv")]), "rows .name, kind, output shape.; got"),
        (lambda: figures.contrast("reddish", "blue"), "Matplotlib knows, such as 'red'.*; got 'reddish'"),
        (lambda: figures.heat_map(np.eye(2), form="{:d}"), "form must say how a number is written"),
    ],
)
def test_what_was_expected_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()


NAMES = ["$5 and $6", "a_b", r"C:\new", "_hidden", "x^2", "100 %", r"\$1"]


def shown_in(figure) -> list[str]:
    "What stands in a figure, as it is set: a formula would be marked."
    found = []
    for text in figure.findobj(Text):
        shown, formula = text._preprocess_math(text.get_text())
        assert not formula, text.get_text()
        found.append(shown.replace("\u200b", ""))
    return found


def test_names_from_data_are_shown_letter_by_letter():
    k = len(NAMES)
    drawings = {
        "titles": figures.image_grid(np.zeros((k, 1, 4, 4)), NAMES, columns=k),
        "rows": figures.image_grid(np.zeros((k, 1, 4, 4)), rows=NAMES, columns=1),
        "classes": figures.confusion_matrix(np.eye(k), NAMES),
        "legend": figures.training_curves({name: {"loss": [1, 2]} for name in NAMES}),
        "effects": figures.effects(NAMES, [1] * k, [0] * k, [2] * k),
        "kinds": figures.network_diagram([(name, name, (i + 1, 8, 8)) for i, name in enumerate(NAMES)]),
    }
    for kind, drawn in drawings.items():
        drawn.figure.savefig(io.BytesIO())
        assert set(NAMES) <= set(shown_in(drawn.figure)), kind
        assert NAMES[0] in figures.describe(drawn) or kind in ("classes",), kind
    for drawn in (
        figures.threshold_histograms([1, 2], [3], 2.5, xlabel=NAMES[0]),
        figures.heat_map(np.eye(20), unit=NAMES[0]),
    ):
        assert NAMES[0] in shown_in(drawn.figure)


@pytest.mark.parametrize("ending", [".gif", ".webp", ".GIF"])
def test_an_animation_is_saved_as_what_its_name_says(tmp_path, ending):
    figure = Figure(figsize=(2, 2))
    ax = figure.add_subplot()
    player = figures.animate(figure, lambda i: ax.set_title(str(i)), 3, seconds=0.2)
    player.save(tmp_path / f"x{ending}")
    with Image.open(tmp_path / f"x{ending}") as image:
        assert image.format == ending[1:].upper() and image.n_frames == 3 and image.size == (200, 200)
        assert image.info["loop"] == 0
    assert [p.name for p in tmp_path.iterdir()] == [f"x{ending}"]


def test_other_endings_are_refused_and_write_nothing(tmp_path):
    figure = Figure(figsize=(2, 2))
    movie, tables = figures.animate(figure, lambda i: None, 2), figures.sliding_kernel(np.eye(3), np.eye(2))
    for player, name, said in [
        (movie, "x.mp4", r"must end in \.html, \.gif or \.webp"),
        (movie, "x.png", r"must end in \.html"),
        (movie, "x", r"must end in \.html"),
        (tables, "x.gif", r"an animation of tables has no frames: save it as \.html"),
    ]:
        with pytest.raises(ValueError, match=said):
            player.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    tables.save(tmp_path / "x.html")
    assert (tmp_path / "x.html").read_text().startswith("<!doctype html>")
