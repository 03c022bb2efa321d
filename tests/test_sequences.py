"Week 12: its names, a kernel along words against PyTorch, sentences and gaps of a notebook, and a drawing laid on a map."

import json

import numpy as np
import pytest
import torch

from cnncourse import sequences
from cnncourse.sequences import laid_on_map, lesson_sentences, slide_words, word_gaps

OFFERED = (
    *("rnn_cell", "lstm_cell", "gru_cell", "bidirectional", "Vocabulary", "fill_gap"),
    *("Embedding", "skipgram", "beam_search", "bleu", "Captioner"),
)


def test_the_week_offers_its_names():
    assert [name for name in OFFERED if not callable(getattr(sequences, name, None))] == []


@pytest.mark.parametrize("seed", range(8))
def test_a_kernel_along_words_is_pytorchs_convolution_of_one_hot_columns(seed):
    rng = np.random.default_rng(seed)
    n, width = rng.integers(1, 6, 2)
    ids, kernel = rng.integers(n, size=width + rng.integers(6)), rng.normal(size=(n, width))
    columns = torch.tensor(np.eye(n)[ids].T[None])
    wanted = torch.nn.functional.conv1d(columns, torch.tensor(kernel[None]))[0, 0].numpy()
    np.testing.assert_allclose(slide_words(ids, kernel), wanted, atol=1e-12)


def _notebook(folder, *texts):
    "A notebook with these texts, and a cell of code."
    cells = [{"cell_type": "markdown", "source": text.splitlines(True)} for text in texts]
    path = folder / "n.ipynb"
    path.write_text(json.dumps({"cells": [*cells, {"cell_type": "code", "source": "x = 'no word of this here'"}]}))
    return path


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("# One two three four five six\n\nOne **two** (둘) three, four\nfive.", ["One two three, four five."]),
        ("$$a = b$$\n\nAn [address](x.md) is no word here. Short.", ["An address is no word here."]),
        ("```sh\none two three four five\n```\n\n<b>One</b> two three four $x$ five", ["One two three four x five"]),
        ("> **Try it.** One two three.\n\n- one two three four five;\n- six.", ["one two three four five;"]),
        ("", []),
    ],
)
def test_sentences_of_a_notebook_are_prose_alone(tmp_path, text, wanted):
    assert lesson_sentences(_notebook(tmp_path, text)) == wanted


def test_a_gap_for_each_time_a_word_stands_there():
    gaps = word_gaps(["The cat and the dog", "no such word"], ["the"], near=1)
    assert [(gap.before, gap.answer, gap.after, gap.scene) for gap in gaps] == [
        ("", "the", "cat", 0),
        ("and", "the", "dog", 0),
    ]


@pytest.mark.parametrize("seed", range(8))
def test_a_turned_mirrored_and_stretched_map_finds_its_place(seed):
    rng = np.random.default_rng(seed)
    places = np.column_stack([rng.uniform(30, 45, 9), rng.uniform(-120, -70, 9)])
    turn, _ = np.linalg.qr(rng.normal(size=(2, 2)))
    flat = places * [1, np.cos(np.radians(places[:, 0].mean()))]
    paper = rng.uniform(0.1, 5) * flat @ turn + rng.normal(size=2)
    np.testing.assert_allclose(laid_on_map(paper, *places.T), places, atol=1e-8)
    noisy, shift = paper + rng.normal(size=paper.shape), rng.normal(size=(1, 2)) * 0.1
    best = laid_on_map(noisy, *places.T)
    weights = [1, np.cos(np.radians(places[:, 0].mean()))]
    assert (((best - places) * weights) ** 2).sum() < (((best + shift - places) * weights) ** 2).sum()


def test_what_is_no_notebook_is_told(tmp_path):
    for text in ("no JSON", "[]", "{}", '{"cells": [1]}'):
        (tmp_path / "n.ipynb").write_text(text)
        with pytest.raises(ValueError, match=r"n\.ipynb is no notebook that can be read"):
            lesson_sentences(tmp_path / "n.ipynb")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: slide_words([0], np.ones((3, 2))), "a kernel of width 2 needs as many words; got 1"),
        (lambda: slide_words([0], np.ones(3)), "a row of numbers and a kernel (words, width)"),
        (lambda: word_gaps("the cat", ["the"]), "lists of texts; got one text"),
        (lambda: slide_words([0, 3], np.ones((3, 2))), "they are those of another vocabulary"),
        (lambda: slide_words([0, -1], np.ones((3, 2))), "they are those of another vocabulary"),
        (lambda: laid_on_map(np.ones((2, 2)), [1, 2], [1, 2]), "a place for each of 3 points or more"),
        (lambda: laid_on_map(np.ones((4, 2)), [1, 2, 3], [1, 2, 3]), "got (4, 2) and (3, 2)"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError) as told:
        call()
    assert said in str(told.value) and "\n" not in str(told.value)
