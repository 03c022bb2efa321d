"""Labels: every form that people bring is taken as it is meant, or refused with what to give."""

import re
import unicodedata

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from cnncourse import training as tr
from cnncourse.labels import as_numpy, check_names, check_same_names, class_labels

LABELS = [0, 2, 1, 2]
WHOLE = [f"{order}{kind}{size}" for order in "<>" for kind in "iu" for size in (1, 2, 4, 8)]
ONE_HOT = np.eye(3)[LABELS]

TAKEN = {
    **{kind: np.array(LABELS, kind) for kind in WHOLE},
    "list": LABELS,
    "tuple": tuple(LABELS),
    "list of numpy": [np.int16(n) for n in LABELS],
    "list of tensors": [torch.tensor(n) for n in LABELS],
    "tensor": torch.tensor(LABELS),
    "tensor of bytes": torch.tensor(LABELS, dtype=torch.uint8),
    "column": np.array(LABELS)[:, None],
    "column of a tensor": torch.tensor(LABELS)[:, None],
    "objects": np.array(LABELS, object),
    "series": pd.Series(LABELS, index=[9, 8, 7, 6]),
    "series with gaps allowed": pd.Series(LABELS, dtype="Int64"),
    "frame": pd.DataFrame({"label": LABELS}),
    "masked, nothing hidden": np.ma.array(LABELS, mask=False),
    "range": np.array(LABELS)[::-1][::-1],
    "every second": np.repeat(LABELS, 2)[::2],
}

REFUSED = {
    "one-hot": (ONE_HOT.astype(int), r"one-hot: give y\.argmax\(axis=1\)"),
    "one-hot floats": (ONE_HOT.astype(np.float32), r"one-hot: give y\.argmax\(axis=1\)"),
    "one-hot bools": (ONE_HOT.astype(bool), r"one-hot: give y\.argmax\(axis=1\)"),
    "one-hot tensor": (torch.tensor(ONE_HOT), r"one-hot: give y\.argmax\(axis=1\)"),
    "one-hot list": (ONE_HOT.tolist(), r"one-hot: give y\.argmax\(axis=1\)"),
    "shares": (0.8 * ONE_HOT + 0.2 / 3, r"shares of the classes: give y\.argmax\(axis=1\)"),
    "several": ([[1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 0]], r"give loss='binary_cross_entropy'"),
    "text": (["cat", "dog", "cat", "dog"], r"text such as 'cat': give scaling\.encode_labels\(y, classes\)"),
    "text array": (np.array(["cat", "dog", "cat", "dog"]), r"scaling\.encode_labels"),
    "text objects": (np.array(["cat", "dog", "cat", "dog"], object), r"scaling\.encode_labels"),
    "digits as text": (["0", "2", "1", "2"], r"scaling\.encode_labels"),
    "bytes": ([b"cat", b"dog", b"cat", b"dog"], r"scaling\.encode_labels"),
    "categories": (pd.Series(["a", "b", "a", "b"], dtype="category"), r"scaling\.encode_labels"),
    "whole floats": ([0.0, 2.0, 1.0, 2.0], r"give y\.astype\(int\)"),
    "whole floats as objects": (np.array([0.0, 2.0, 1.0, 2.0], object), r"give y\.astype\(int\)"),
    "measurements": ([0.5, 2.0, 1.0, 2.0], "should be integer labels, not float64"),
    "half tensor": (torch.tensor([0.5, 1, 1, 1], dtype=torch.float16), "should be integer labels, not float16"),
    "NaN": ([0, np.nan, 1, 2], r"NaN or infinity \(example 1\)"),
    "infinity": ([0, 1, np.inf, 2], r"NaN or infinity \(example 2\)"),
    "None": ([0, None, 1, 2], "no label for example 1, but None"),
    "a gap of pandas": (pd.Series([0, None, 1, 2], dtype="Int64"), "no label for example 1|NaN or infinity"),
    "text and a gap": (["cat", None, "dog", "cat"], "no label for example 1"),
    "text and numbers": (np.array(["cat", 1, 2, 0], object), "not a int and a str in one"),
    "masked": (np.ma.array(LABELS, mask=[0, 0, 1, 0]), "1 masked values"),
    "negative": ([0, -1, 1, 2], r"from 0 to 2, not from -1 to 2 \(example 1 is -1\)"),
    "too large": ([0, 3, 1, 2], r"from 0 to 2, not from 0 to 3 \(example 1 is 3\)"),
    "from one": ([1, 2, 3, 1], "labels count from 0, so give y - 1"),
    "huge": ([0, 2**80, 1, 2], r"example 1 is 1208925819614629174706176"),
    "huge unsigned": (np.array([0, 2**64 - 1, 1, 2], np.uint64), "example 1 is 18446744073709551615"),
    "too few": (LABELS[:3], "one label for each of 4 examples, not 3"),
    "too many": ([*LABELS, 0], "one label for each of 4 examples, not 5"),
    "two columns": (np.full((4, 2), 2), r"\(n,\), not shape \(4, 2\)"),
    "pixels": (np.zeros((4, 5, 5), int), r"\(n,\), not shape \(4, 5, 5\)"),
    "a number": (2, r"\(n,\), not shape \(\)"),
    "nothing": ([], "one label for each of 4 examples, not 0"),
    "ragged": ([[0], [1, 2], [0], [1]], "a list that NumPy cannot read"),
    "a set": ({0, 1, 2}, "not a set"),
    "a dictionary": ({"y": LABELS}, "not a dict"),
    "a generator": ((n for n in LABELS), "not a generator"),
    "complex": (np.array(LABELS, complex), "not complex128"),
    "dates": (np.array(["2020-01-01"] * 4, "datetime64[D]"), "not datetime64"),
    "bfloat": (torch.tensor([0.0, 1, 2, 1], dtype=torch.bfloat16), "cannot read"),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_can_be_meant_in_one_way_is_taken(kind):
    found = class_labels(TAKEN[kind], 3, shape=4)
    assert found.dtype == np.int64 and found.dtype.isnative and found.tolist() == LABELS
    assert class_labels(TAKEN[kind], ["a", "b", "c"]).tolist() == LABELS


def test_booleans_are_two_classes():
    for y in ([True, False], np.array([True, False]), torch.tensor([True, False]), np.array([True, False], object)):
        assert class_labels(y, 2).tolist() == [1, 0]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_is_refused_with_what_to_give(kind):
    y, said = REFUSED[kind]
    with pytest.raises(ValueError, match=said) as caught:
        class_labels(y, 3, shape=4)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_the_advice_works():
    for y, cure in [
        (ONE_HOT, lambda y: y.argmax(axis=1)),
        (torch.tensor(ONE_HOT), lambda y: y.argmax(axis=1)),
        (np.array([0.0, 2, 1, 2]), lambda y: y.astype(int)),
        (np.array(LABELS) + 1, lambda y: y - 1),
    ]:
        assert class_labels(cure(y), 3, shape=4).tolist() == LABELS


@given(hnp.arrays(hnp.integer_dtypes() | hnp.unsigned_integer_dtypes(), st.integers(1, 20)), st.integers(1, 300))
@settings(max_examples=200, deadline=None)
def test_labels_are_taken_exactly_where_they_are_in_range(y, classes):
    right = all(0 <= int(n) < classes for n in y)
    try:
        found = class_labels(y, classes)
    except ValueError as error:
        assert not right
        i, value = map(int, re.search(r"example (\d+) is (-?\d+)", str(error)).groups())
        assert int(y[i]) == value and not 0 <= value < classes
    else:
        assert right and found.dtype == np.int64 and found.tolist() == y.tolist()


@given(hnp.arrays(st.sampled_from([np.float32, np.float64, ">f4", bool, "U3", object]), hnp.array_shapes(max_dims=3)))
@settings(max_examples=200, deadline=None)
def test_anything_else_is_taken_or_told_in_a_sentence(y):
    try:
        assert class_labels(y, 3).dtype == np.int64
    except ValueError as error:
        assert "\n" not in str(error) and str(error).endswith(".")


def test_labels_of_pixels():
    y = np.random.default_rng(0).integers(0, 3, (2, 4, 5))
    for given_ in (y, y[:, None], y[..., None], y.astype(np.uint8), torch.tensor(y)):
        assert (class_labels(given_, 3, shape=(2, 4, 5)) == y).all()
    with pytest.raises(ValueError, match=r"one-hot: give y\.argmax\(axis=1\)"):
        class_labels(np.moveaxis(np.eye(3)[y], -1, 1), 3, shape=(2, 4, 5))
    with pytest.raises(ValueError, match=r"example 0, 1, 2 is 255"):
        class_labels(np.where(np.arange(40).reshape(2, 4, 5) == 7, 255, y), 3, shape=(2, 4, 5))
    assert class_labels([[255, 1]], 3, shape=(1, 2), ignore=255).tolist() == [[255, 1]]


def test_tensors_with_gradients_and_odd_strides():
    assert as_numpy(torch.ones(3, requires_grad=True) * 2).tolist() == [2, 2, 2]
    assert as_numpy(torch.arange(6).reshape(2, 3).T).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_names_in_two_unicode_forms_are_one():
    apart = unicodedata.normalize("NFD", "고양이")
    assert apart != "고양이" and check_names([apart, "개"]) == ("고양이", "개")
    check_same_names([apart, "개"], ("고양이", "개"))
    with pytest.raises(ValueError, match="each name once; '고양이' is there 2 times"):
        check_names(["고양이", apart])
    for here, there, said in [
        (["a", "b"], ["b", "a"], "Label 0 is 'a' in x and 'b' in validation"),
        (["a", "b", "c"], ["a", "c"], "Label 1 is 'b' in x and 'c' in validation"),
        (["a", "b"], ["a"], "x has 2 classes and validation 1"),
    ]:
        with pytest.raises(ValueError, match=said):
            check_same_names(here, there)


# The same door in a training


X = np.random.default_rng(0).normal(size=(4, 1, 6, 6)).astype(np.float32)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))


@pytest.mark.parametrize("kind", TAKEN)
def test_a_training_takes_the_same(kind):
    expected = tr.fit(network(), X, np.array(LABELS), epochs=1)
    history = tr.fit(network(), X, TAKEN[kind], epochs=1, validation=(X, TAKEN[kind]))
    assert history["loss"] == expected["loss"] and 0 <= history["val_accuracy"][0] <= 1
    assert tr.evaluate(network(), X, TAKEN[kind]) == tr.evaluate(network(), X, np.array(LABELS))


COUNTS = [
    "a number",
    "too few",
    "too many",
    "nothing",
    "a set",
    "a dictionary",
    "a generator",
]  # not one label for each


@pytest.mark.parametrize("kind", [kind for kind in REFUSED if kind not in COUNTS])
def test_a_training_refuses_the_same_before_it_begins(kind):
    y, said = REFUSED[kind]
    model = network()
    before = [p.clone() for p in model.parameters()]
    for call in (
        lambda: tr.fit(model, X, y, epochs=1),
        lambda: tr.fit(model, X, LABELS, epochs=1, validation=(X, y)),
        lambda: tr.evaluate(model, X, y),
    ):
        with pytest.raises(
            ValueError, match=said.replace(r"from 0 to 2, not", "from 0 to 2, for the network has 3 outputs, not")
        ):
            call()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("kind", COUNTS)
def test_a_training_counts_the_labels(kind):
    with pytest.raises(ValueError, match="equally many examples"):
        tr.fit(network(), X, REFUSED[kind][0], epochs=1)


def test_names_are_encoded_whatever_their_unicode_form():
    from cnncourse.scaling import encode_labels

    apart = unicodedata.normalize("NFD", "고양이")
    assert encode_labels([apart, "개", "고양이"], ["개", "고양이"]).tolist() == [1, 0, 1]
    assert encode_labels(["고양이"], ["개", apart]).tolist() == [1]
    with pytest.raises(ValueError, match="expected each class once"):
        encode_labels(["개"], ["고양이", apart])
