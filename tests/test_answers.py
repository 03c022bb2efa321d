"""Answers that people gave: each right one passes and each wrong one fails, whatever the seed, with a sentence that is true of it."""

import gc
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import threading

import nbformat
import numpy as np
import pytest
from conftest import COURSE, cnncourse
from rich.cells import cell_len

from cnncourse import attempts, cli, comparisons, exercises, grading, open_questions

SHEETS = [*exercises.sheets().values()]
QUESTIONS = {question.name: question for sheet in SHEETS for question in sheet}
SEEDS = range(12)


def told(name: str, answer, seeds=SEEDS) -> list:
    "The result for each seed, without shrinking."
    question, found = QUESTIONS[name], []
    for seed in seeds:
        result = exercises._judge(question, answer, seed, shrink=False)
        found.append((result.outcome, " ".join([*result.says, *result.examples])))
    return found


# Wrong answers that passed by luck, or always


def no_last_return(losses, patience):
    best, kept = float("inf"), 0
    for epoch, loss in enumerate(losses, start=1):
        if loss < best:
            best, kept = loss, epoch
        elif epoch - kept >= patience:
            return epoch, kept


def cuts(scores):
    values = np.unique(scores)
    return [values[0] - 1, *(values[:-1] + values[1:]) / 2, values[-1] + 1]


def least(tried, scores, labels, alarm_cost, miss_cost):
    def cost(cut):
        alarms, misses = np.sum(scores[labels == 0] > cut), np.sum(scores[labels == 1] <= cut)
        return alarm_cost * alarms + miss_cost * misses

    return min(tried, key=cost)


def just_above(scores, labels, *costs):
    return least([scores.min() - 1, *(np.unique(scores) + 1e-9)], scores, labels, *costs)


def a_quarter(scores, labels, *costs):
    values = np.unique(scores)
    return least([values[0] - 1, *(values[:-1] + np.diff(values) / 4), values[-1] + 1], scores, labels, *costs)


def shortcut_by_stride(in_channels, out_channels, stride):
    body = 9 * in_channels * out_channels + 9 * out_channels**2 + 4 * out_channels
    return body + (in_channels * out_channels + 2 * out_channels if stride != 1 else 0)


def rounded_steps(n_images, percent, batch_size, drop_last):
    n = n_images * percent // 100
    return n // batch_size if drop_last else round(n / batch_size)


def softmax_of(part):
    def softmax(logits):
        with np.errstate(all="ignore"):
            powers = np.exp(logits - part(logits, axis=1, keepdims=True))
            return powers / powers.sum(axis=1, keepdims=True)

    return softmax


def upside_down(ax, x, mean, std):
    values = x * std[:, None, None] + mean[:, None, None]
    shown = values[0] if len(x) == 1 else values.transpose(1, 2, 0).clip(0, 1)
    ax.imshow(shown, cmap="gray", vmin=0, vmax=1, origin="lower")


def grid_upside_down(fig, pictures, columns):
    axes = fig.subplots(-(-len(pictures) // columns), columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, picture in zip(axes.flat, pictures, strict=False):
        image = ax.imshow(picture, cmap="gray", vmin=pictures.min(), vmax=pictures.max(), origin="lower")
    fig.colorbar(image, ax=axes)


def keeps_no_gradients(model, x, depth):
    model.requires_grad_(False)
    features = model.eval()[:depth](__import__("torch").tensor(x)).mean(dim=(2, 3)).numpy()
    model.train()
    return features


def sorted_rates(layers, last, factor):
    blocks = sorted({name.split(".")[0] for name in layers})
    return {name: last / factor ** (len(blocks) - 1 - blocks.index(name.split(".")[0])) for name in layers}


def hides_constants(train, x):
    low, high = train.min(axis=0), train.max(axis=0)
    with np.errstate(all="ignore"):
        return np.ma.masked_invalid((x - low) / (high - low))


def median_flags(known, labels, new, k):
    normal = known[labels == 0]
    return new > np.median(normal) + k * normal.std()


def bright_but_wide(x, by):
    return np.clip(x.astype(int) + by[:, None, None, None], 0, 255)


# Answers of people who had not seen the solutions


def flips(chance):
    def layer():
        return QUESTIONS_OF["augmentation"]._module(
            lambda x, training: QUESTIONS_OF["augmentation"]._some(x, 3, chance) if training else x
        )

    return layer


def flips_one_half_of_the_batch():
    import torch

    def change(x, training):
        chosen = torch.randperm(len(x)) < len(x) // 2
        return torch.where(chosen[:, None, None, None], x.flip(3), x) if training else x

    return QUESTIONS_OF["augmentation"]._module(change)


def in_batches(x, y, batch_size, order):
    parts = [order[start : start + batch_size] for start in range(0, len(x), batch_size)]
    return [(x[part], y[part]) for part in parts]


def every_nth(x, y, n_validation, augment, copies, rng):
    step = len(x) // n_validation
    chosen = np.zeros(len(x), bool)
    chosen[int(rng.integers(step)) :: step][:n_validation] = True
    train = np.concatenate([augment(x[~chosen], rng) for _ in range(copies)])
    return train, np.tile(y[~chosen], copies), x[chosen], y[chosen]


def sum_in_place(f, w, step):
    gradient = np.zeros(w.shape)
    for place in np.ndindex(w.shape):
        w[place] += step
        up = f(w)
        w[place] -= 2 * step
        gradient[place] = (up - f(w)) / (2 * step)
        w[place] += step
    return gradient


def pads_by_slices(row, padding, mode):
    ends = {
        "zeros": (np.zeros(padding), np.zeros(padding)),
        "reflect": (row[1 : padding + 1][::-1], row[-padding - 1 : -1][::-1]),
        "replicate": (np.full(padding, row[0]), np.full(padding, row[-1])),
        "circular": (row[-padding:], row[:padding]),
    }[mode]
    return np.concatenate([ends[0], row, ends[1]])


def max_pool_down_to(least):
    return lambda x, pool_size, padding: RIGHT_POOL(np.pad(x, padding, constant_values=least), pool_size, 0)


def moved_apart(by):
    from cnncourse import boxes

    return lambda b, scores, labels, threshold: boxes.nms(b + by * labels[:, None], scores, threshold)


def a_quantile(method):
    def refuse(known, unknown, most):
        threshold = np.quantile(known, most, method=method)
        return threshold, np.mean(unknown < threshold)

    return refuse


def every_object_that_has_none(overlaps):
    if not overlaps.size:
        return np.full(len(overlaps), -1)
    best = overlaps.max(axis=1)
    learns = np.select([best >= 0.5, best >= 0.4], [overlaps.argmax(axis=1), -2], -1)
    for one in range(overlaps.shape[1]):
        if one not in learns:
            learns[overlaps[:, one].argmax()] = one
    return learns


def the_larger_where_tiles_overlap(x, f, tile, halo):
    result = np.zeros(len(x))
    for start in [*range(0, len(x) - tile, tile - 2 * halo), len(x) - tile]:
        part = slice(start, start + tile)
        result[part] = np.maximum(result[part], f(x[part]))
    return result


QUESTIONS_OF = {sheet.name: importlib.import_module(f"cnncourse.questions.{sheet.name}") for sheet in SHEETS}
RIGHT_POOL = QUESTIONS["pooling.max_pool"].answer
CHOSEN = QUESTIONS["architectures.module"].answer
COLOURS = QUESTIONS["figures.colour_maps"].answer
WRONG = {
    "architectures.early_stopping": [no_last_return],
    "anomaly.cheapest": [
        lambda scores, *about: least(cuts(scores)[1:], scores, *about),
        lambda scores, *about: least(cuts(scores)[:-1], scores, *about),
        just_above,
        a_quarter,
    ],
    "architectures.block_parameters": [shortcut_by_stride],
    "scaling.steps": [rounded_steps],
    "architectures.softmax": [softmax_of(np.mean), softmax_of(np.min)],
    "augmentation.brighter": [bright_but_wide],
    "figures.picture": [upside_down],
    "figures.picture_grid": [grid_upside_down],
    "transfer.features_at": [keeps_no_gradients],
    "transfer.rates": [sorted_rates],
    "scaling.min_max": [hides_constants, lambda train, x: np.ma.masked_all(x.shape)],
    "convolution.halving": [
        {"kernel_size": 7, "stride": 2, "padding": "same", "dilation": 1},
        {"kernel_size": 3, "stride": 2, "padding": "same", "dilation": 3},
        {"kernel_size": 3.0, "stride": 2, "padding": 3, "dilation": 3},
    ],
    "anomaly.flags": [median_flags],
    "architectures.blocks": [["3", "4", "6", "3"], [3.0, 4, 6, 3], 16, [4, 4, 4, True], []],
    "transfer.momentum": [{"PyTorch": "0.01", "Keras": "0.99"}, {"PyTorch": 0.01, "Keras": True}],
    "figures.colour_maps": [COLOURS | {"weights_vmin": "-0.9"}, COLOURS | {"scores": "no such map"}],
    "architectures.module": [CHOSEN | {"one": 64.0}, CHOSEN | {"one": "64"}],
    "scaling.learning_rate": ["0.4", True, np.nan],
    "scaling.which_path": [{**QUESTIONS["scaling.which_path"].answer, "number": number} for number in (-1, 1.5, "1")],
    "augmentation.labels_of": [
        lambda paths: QUESTIONS["augmentation.labels_of"].answer(paths).astype(float),
        lambda paths: np.unique([os.path.dirname(path) for path in paths], return_inverse=True)[1],
    ],
    "augmentation.flipping_layer": [*map(flips, (0.25, 0.35, 0.65, 0.75)), flips_one_half_of_the_batch],
    "augmentation.divided": [
        lambda *about: QUESTIONS["augmentation.divided"].answer(*about[:-1], np.random),
        every_nth,
    ],
    "augmentation.stratified": [
        lambda labels, share, rng: QUESTIONS["augmentation.stratified"].answer(labels, share, np.random),
        lambda labels, share, rng: QUESTIONS["augmentation.stratified"].answer(labels, share, np.random.default_rng(3)),
    ],
    "scaling.minibatches": [
        lambda x, y, size, rng: in_batches(x, y, size, np.random.permutation(len(x))),  # noqa: NPY002
        lambda x, y, size, rng: in_batches(x, y, size, np.roll(np.arange(len(x)), rng.integers(len(x)))),
    ],
    "pooling.max_pool": [max_pool_down_to(-100), max_pool_down_to(-255)],
    "convolution.border": [pads_by_slices],
    "convolution.numerical_gradient": [sum_in_place],
    "detection.nms": [*map(moved_apart, (10, 100, 1000))],
    "detection.refuse": [*map(a_quantile, ("linear", "lower", "higher", "nearest", "inverted_cdf"))],
    "detection.responsible": [every_object_that_has_none],
    "segmentation.in_tiles": [the_larger_where_tiles_overlap],
}


@pytest.mark.parametrize("name, n", [(name, n) for name in WRONG for n in range(len(WRONG[name]))])
def test_a_wrong_answer_fails_on_every_seed(name, n):
    seeds = range(4) if name.startswith("figures") or QUESTIONS[name].apart else SEEDS
    for outcome, text in told(name, WRONG[name][n], seeds):
        assert outcome in ("failed", "error") and text
        assert "Error" not in text or callable(WRONG[name][n]), text  # of a choice: what was asked, in words


# Right answers in 32 bits


def in_torch(name):
    import torch
    from torch.nn import functional as F

    def single(value):
        return torch.tensor(value, dtype=torch.float32)

    return {
        "convolution.layer": lambda x, w, b: F.conv2d(single(x), single(w), single(b)),
        "convolution.correlate": lambda x, w: F.conv2d(single(x)[None, None], single(w)[None, None])[0, 0].numpy(),
        "convolution.input_gradient": lambda dy, w: F.conv_transpose2d(single(dy)[None, None], single(w)[None, None])[
            0, 0
        ],
        "architectures.softmax": lambda z: torch.softmax(single(z), 1),
        "pooling.average_pool": lambda x, size, padding: F.avg_pool2d(
            single(x)[None, None], size, padding=padding, count_include_pad=False
        )[0, 0],
        "pooling.max_pool_gradient": lambda *about: QUESTIONS["pooling.max_pool_gradient"].answer(
            *(a.astype("float32") if isinstance(a, np.ndarray) else a for a in about)
        ),
    }[name]


def residual_in_single(x, w1, w2, shortcut, stride):
    import torch
    from torch.nn.functional import conv2d, relu

    x, w1, w2 = x.float(), w1.float(), w2.float()
    skip = x if shortcut is None else conv2d(x, shortcut.float(), stride=stride)
    y = conv2d(relu(conv2d(x, w1, stride=stride, padding=1)), w2, padding=1)
    return torch.relu(y + skip)


SINGLE = ["convolution.layer", "convolution.correlate", "convolution.input_gradient", "architectures.softmax"]
SINGLE += ["pooling.average_pool", "pooling.max_pool_gradient"]


@pytest.mark.parametrize("name", SINGLE)
def test_floats_of_32_bits_are_good_enough(name):
    assert {outcome for outcome, _ in told(name, in_torch(name), range(30))} == {"passed"}


def test_a_network_in_32_bits_is_good_enough():
    assert {o for o, _ in told("architectures.residual", residual_in_single, range(30))} == {"passed"}


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_right_answer_passes_in_32_bits_where_it_takes_arrays(name):
    question = QUESTIONS[name]
    inputs = exercises._draw(question, 0, 0)
    if question.use or question.accept or not any(getattr(v, "dtype", None) == np.float64 for v in inputs.values()):
        return

    def single(*values):
        made = [v.astype(np.float32) if getattr(v, "dtype", None) == np.float64 else v for v in values]
        return question.answer(*made)

    if name == "scaling.standardise_columns":  # seconds since 1970 do not fit into 32 bits
        return
    failed = [text for outcome, text in told(name, single, range(6)) if outcome != "passed"]
    assert failed == []


def test_the_tolerance_is_stated():
    def nearly(x, w):
        return QUESTIONS["convolution.correlate"].answer(x, w) * (1 + 3e-3)

    ((outcome, text),) = told("convolution.correlate", nearly, [1])
    assert outcome == "failed" and "is allowed" in text and "values differ by more than" in text


# A change to a bug question is a try


CHANGED = {
    "augmentation.brighter": lambda x, by: np.clip((x + by[:, None, None, None]).astype(np.uint8), 0, 255),
    "convolution.layer": lambda x, w, b: QUESTIONS["convolution.layer"].starts_as(x, w.reshape(w.shape), b),
    "augmentation.cutmix": lambda *about: QUESTIONS["augmentation.cutmix"].starts_as(*about),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_change_that_makes_no_difference_is_a_try(name):
    for outcome, text in told(name, CHANGED[name], range(2)):
        assert outcome == "failed" and "Your change makes no difference yet" in text
        assert QUESTIONS[name].still in text


@pytest.mark.parametrize("name", [q.name for q in QUESTIONS.values() if q.starts_as])
def test_every_bug_has_a_word_for_changes_without_effect(name):
    assert QUESTIONS[name].still


def test_a_changed_bug_counts_as_tried(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNCOURSE_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.delenv("IN_TEST", raising=False)
    exercises.check("augmentation.brighter", CHANGED["augmentation.brighter"])
    assert cli._mark(exercises.progress()["augmentation.brighter"]) == "tried"


# Sentences are true of what they are told about


def add_repeated(dy, x, pool_size, stride):
    dx = np.zeros(x.shape)
    windows = np.lib.stride_tricks.sliding_window_view(x, (pool_size, pool_size))[::stride, ::stride]
    rows, columns = np.unravel_index(windows.reshape(*dy.shape, -1).argmax(-1), (pool_size, pool_size))
    i, j = np.indices(dy.shape) * stride
    dx[i + rows, j + columns] += dy
    return dx


def without_momentum(model, batches, lr):
    import torch

    optimiser = torch.optim.SGD(model.parameters(), lr=lr)
    for x, targets in batches:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x), targets).backward()
        optimiser.step()


def digest_of_bytes(data, checksum):
    import hashlib

    return hashlib.sha256(data).digest() == checksum


SENTENCES = [
    ("transfer.may_use", lambda data, checksum: False, "the same for every input", "first bytes"),
    ("transfer.may_use", digest_of_bytes, "the same for every input", "first bytes"),
    ("transfer.momentum", {"PyTorch": 0.35, "Keras": 0.65}, "not after each", "exchanged"),
    ("transfer.momentum", {"PyTorch": 0.5, "Keras": 0.5}, "each batch leaves", "exchanged"),
    ("transfer.momentum", {"PyTorch": 0.3, "Keras": 0.9}, "is left after 40", "-0.000"),
    ("pooling.max_pool_gradient", add_repeated, "np.add.at", "With `=`"),
    ("architectures.train", without_momentum, "the momentum of 0.9 is gone", "The optimiser is made anew"),
    ("scaling.descend", lambda w, c, lr, m, n: w * (1 - lr * c) ** n, "`momentum` has no effect", "begins anew"),
    ("convolution.output_size", lambda *about: 7, "the same for every input, 7", "floor"),
    ("scaling.standardise", lambda train, test: test, "gives back its input test", "fitted"),
    ("convolution.correlate", lambda x, w: -QUESTIONS["convolution.correlate"].answer(x, w), "wrong sign", "flipped"),
]


@pytest.mark.parametrize("name, answer, said, not_said", SENTENCES)
def test_a_sentence_is_true_of_the_answer(name, answer, said, not_said):
    for outcome, text in told(name, answer, range(3)):
        assert outcome == "failed" and said in text and not_said not in text, text


def test_drawing_by_pyplot_is_linein_words():
    def curve(ax, accuracy, name):
        import matplotlib.pyplot as plt

        plt.sca(ax)
        plt.plot(range(1, len(accuracy) + 1), accuracy, label=name)
        plt.title("accuracy on unseen pictures")
        plt.xlabel("epoch")
        plt.legend()

    ((outcome, text),) = told("figures.curve", curve, [1])
    assert outcome == "failed" and "`plt.sca` has made it the current axes" in text


def test_an_array_of_no_rows_is_judged_by_its_shape():
    question = QUESTIONS["detection.in_pixels"]
    for outcome, text in told(question.name, lambda *about: question.answer(*about).T, range(2)):
        assert outcome == "failed" and "cannot be judged" not in text and "came" in text, text


@pytest.mark.parametrize("name", ["figures.picture", "figures.picture_grid"])
def test_a_map_that_is_not_even_has_its_sentence(name):
    assert any("Greys_r" in sentence for sentence, _ in QUESTIONS[name].wrongs)


GROSS = ["scaling.scaling_layer", "convolution.grouped", "convolution.transposed", "augmentation.cutmix"]
GROSS += ["convolution.parameter_gradients", "transfer.train_head", "anomaly.picture_scores", "figures.point_pixel"]


@pytest.mark.parametrize("name", GROSS)
def test_32_bits_are_not_blamed_for_another_mistake(name):
    for _, answer in QUESTIONS[name].wrongs:
        ((_, text),) = told(name, answer, [1])
        assert "computed in float32" not in text, text


def test_a_coin_for_the_whole_batch_is_known_by_any_seed():
    import torch

    def change(x, training):
        return x.flip(-1) if training and torch.rand(1).item() > 0.5 else x

    for outcome, text in told("augmentation.flipping_layer", lambda: QUESTIONS_OF["augmentation"]._module(change)):
        assert outcome == "failed" and "You drew once for the whole batch" in text, text


def test_a_draw_that_is_always_the_same_is_not_called_the_first():
    def own(labels, share, rng):
        return QUESTIONS["augmentation.stratified"].answer(labels, share, np.random.default_rng(5))

    for outcome, text in told("augmentation.stratified", own, range(4)):
        assert outcome == "failed" and "a generator of your own" in text and "always take the first" not in text, text


def in_place(x, y, partner, share, centre):
    mixed, labels = x, QUESTIONS["augmentation.cutmix"].answer(x, y, partner, share, centre)[1]
    mixed[:] = QUESTIONS["augmentation.cutmix"].starts_as(x, y, partner, share, centre)[0]
    return mixed, labels


def test_an_input_changed_in_place_is_the_first_thing_that_is_said():
    ((outcome, text),) = told("augmentation.cutmix", in_place, [1])
    assert outcome == "failed" and text.startswith("`mixed = x` makes no copy"), text

    def doubles(x, pool_size, padding):
        x *= 2
        return RIGHT_POOL(x, pool_size, padding)

    ((outcome, text),) = told("pooling.max_pool", doubles, [1])
    assert outcome == "failed" and text.startswith("It changed its input x in place"), text


def test_a_message_names_no_number_that_only_the_check_knows():
    for name in ("scaling.minibatches", "augmentation.stratified", "augmentation.divided", "pooling.head_network"):
        ((_, text),) = told(name, QUESTIONS[name].wrongs[0][1], [1])
        assert "number =" not in text and "seed =" not in text, text
    ((_, text),) = told("convolution.numerical_gradient", lambda f, w, step: np.zeros(w.shape), [1])
    assert "f = a function" in text, text


def test_a_choice_of_another_kind_is_wrong_and_no_error():
    wrong = QUESTIONS["scaling.keras_losses"].answer | {"A": ("sparse_categorical_crossentropy", True)}
    ((outcome, text),) = told("scaling.keras_losses", wrong, [1])
    assert outcome == "failed" and "'sparse_categorical_crossentropy' came" in text and "Error" not in text


@pytest.mark.parametrize("name", [name for name, question in QUESTIONS.items() if question.apart])
def test_known_answers_are_told_apart_by_any_probes(name):
    question = exercises.dataclasses.replace(QUESTIONS[name], apart=False)
    least = max(question.probes, 2 * len(question.cases), 2)
    assert {len(exercises._probes(question, seed)) for seed in range(2)} <= {least}


# A failure in the hand


def test_a_failure_can_be_held_in_the_hand():
    right = QUESTIONS["convolution.correlate"].answer
    result = exercises.check("convolution.correlate", lambda x, w: right(x, w[::-1, ::-1]), seed=3)
    assert np.allclose(result.expected, right(**result.inputs))
    assert np.allclose(result.came, right(result.inputs["x"], result.inputs["w"][::-1, ::-1]))
    drawn = [exercises._small(exercises._draw(QUESTIONS["convolution.correlate"], 3, n)) for n in range(8)]
    assert exercises._small(result.inputs) <= min(drawn)
    assert np.array_equal(result.inputs["x"], result.inputs["x"].round(1))  # numbers one can compute with by hand
    shown = result._repr_html_()
    wrong = comparisons.wrong_places(result.expected, result.came)
    assert shown.count("✗ ") >= wrong.sum() and f"{wrong.sum()} of {wrong.size} numbers are wrong" in shown
    assert "seed 3" in shown and "seed=3" in str(result)
    assert "Read <a href=" in shown and "T2.7" in shown


def test_the_expected_value_of_a_choice_is_not_given_away():
    result = exercises.check("pooling.commuting", ["relu"])
    assert result.expected is None


def test_a_pass_says_why_and_shows_another_way():
    question = QUESTIONS["convolution.correlate"]
    result = exercises.check(question.name, question.answer)
    assert question.why in str(result) and "def correlate(" in result.another
    assert question.why in result._repr_html_().replace("<code>", "`").replace("</code>", "`")


def test_hints_open_one_by_one_and_the_solution_after_a_try(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNCOURSE_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setattr(exercises, "_tried", [])
    name = "convolution.correlate"
    assert "after your first try" in exercises.solution(name)
    shown = exercises.check(name, lambda x, w: x)._repr_html_()
    assert shown.index("Hint 1<") < shown.index("Hint 2<") < shown.index("Hint 3<")
    assert shown.count("</details></details></details>") == 1  # each inside the one before
    assert "sliding_window_view" in exercises.solution() and "Hint" in exercises.hint()


# nbgrader


def test_validating_raises_on_a_blank_and_on_a_wrong_answer():
    code = "from cnncourse import exercises as e; e.check('convolution.n_parameters', {})"
    for answer in ("...", "lambda *about: 0"):
        env = {**os.environ, "NBGRADER_VALIDATING": "1", "NBGRADER_EXECUTION": "validate"}
        done = subprocess.run([sys.executable, "-c", code.format(answer)], capture_output=True, text=True, env=env)
        assert done.returncode == 1 and "Unpassed" in done.stderr


def test_points_are_the_level_and_come_in_parts():
    question = QUESTIONS["augmentation.cutmix"]
    assert exercises.check(question.name, question.answer).require() == question.level
    half = next(answer for sentence, answer in question.wrongs if question.shares.get(sentence) == 0.5)
    assert exercises.check(question.name, half).require() == question.level / 2
    with pytest.raises(exercises.Unpassed):
        exercises.check(question.name, question.starts_as).require()


def test_graded_work_gives_nothing_away(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    question = QUESTIONS["convolution.correlate"]
    for answer in (question.answer, question.wrongs[0][1]):
        result = exercises.check(question.name, answer)
        assert not any(text in result._repr_html_() + str(result) for text in (*question.hints, question.why))


# The table of progress


@pytest.mark.parametrize("width", [80, 100, 132])
@pytest.mark.parametrize(
    "long", ["", "a folder with a long name/" * 4 + "없는 폴더" * 15 + "/" + "x" * 150], ids=["", "long"]
)
def test_a_sign_stays_beside_its_name(tmp_path, width, long):
    kept = tmp_path / long / "none.json"
    done = cnncourse("progress", COLUMNS=str(width), CNNCOURSE_PROGRESS=str(kept))
    lines = done.stdout.splitlines()
    names = [name.split(".")[1] for name in (*QUESTIONS, *open_questions.open_questions())]
    assert all(f"○ {name}" in done.stdout for name in names), done.stdout
    assert all(cell_len(line.rstrip()) <= width and line.rstrip()[-1:] not in ("○", "✓", "✗", "✎") for line in lines)
    assert str(kept) in "".join(line.removeprefix("  ") for line in lines)


def test_an_answer_in_words_is_shown_as_written_when_its_cell_holds_words(tmp_path):
    name = "why_convolution"
    for text, sign in (("*Write your answer here.*", "○"), ("Few weights.", "✎"), ("", "○")):
        copy = grading.student_copy(nbformat.read(COURSE / "nbs/exercises/02_convolution.ipynb", as_version=4))
        next(c for c in copy.cells if c.metadata.get("nbgrader", {}).get("grade_id") == name).source = text
        for folder in (tmp_path, tmp_path / "exercises"):  # of `cnncourse release`, and a workbook
            folder.mkdir(exist_ok=True)
            nbformat.write(copy, folder / "02_convolution.ipynb")
            done = cnncourse("progress", tmp_path, CNNCOURSE_PROGRESS=str(tmp_path / "none.json"))
            assert f"{sign} {name}" in done.stdout
            (folder / "02_convolution.ipynb").unlink()
    done = cnncourse("progress", tmp_path / "nowhere")
    assert done.returncode == 2 and "There is no folder" in done.stderr


# Mutants of the official solutions


def mutants_script():
    spec = importlib.util.spec_from_file_location("mutants", COURSE / "benchmarks" / "mutants.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MUTANTS = mutants_script()
SURVIVORS = json.loads((COURSE / "benchmarks" / "results" / "mutants.json").read_text())["of"]


@pytest.mark.parametrize(
    "name", [name for name, question in QUESTIONS.items() if next(iter(MUTANTS.mutants(question)), None)]
)
def test_a_solution_with_one_thing_changed_fails(name):
    question = QUESTIONS[name]
    found = [*MUTANTS.mutants(question)]
    rows = exercises._probes(question, 0)
    for line, mutant in (found[len(found) // 3], found[2 * len(found) // 3]):  # the same each time
        assert not MUTANTS.survives(question, mutant, 0, rows) or line in SURVIVORS.get(name, []), line


def test_the_frames_of_a_thread_are_of_one_moment():
    "No garbage is collected meanwhile: a finaliser would let the thread go on, and Python crashed on what it then found."
    started, end, collected = threading.Event(), threading.Event(), []

    def deep(n):
        if n:
            return deep(n - 1)
        started.set()
        end.wait()

    def note(phase, about):
        collected.append(phase)

    thread = threading.Thread(target=deep, args=(300,))
    thread.start()
    started.wait()
    kept = gc.get_threshold()
    gc.callbacks.append(note)
    gc.set_threshold(1)
    try:
        collected.clear()
        frames = attempts._frames(thread)
        seen = len(collected)
    finally:
        gc.set_threshold(*kept)
        gc.callbacks.remove(note)
        end.set()
        thread.join()
    assert sum(frame.f_code is deep.__code__ for frame in frames) == 301 and gc.isenabled()
    assert seen < 20  # 300 frames are made; before and behind the look there may be some
    assert attempts._frames(thread) == []
