"Captions: one formula of a word in NumPy and both frameworks, sentences learnt, and where the captioner looked."

import json

import keras
import numpy as np
import pytest
import torch

from cnncourse.captions import (
    WHERE,
    Captioner,
    encoder_network,
    first_state,
    grid_places,
    load_captioner,
    new_decoder,
    next_word,
    save_captioner,
)
from cnncourse.datasets import shapes
from cnncourse.decoding import exact_match
from cnncourse.networks import copy_weights
from cnncourse.recurrent import CellWeights, gru_cell
from cnncourse.weights import read_about, read_weights, save_arrays

KINDS = ((torch.tensor, lambda t: t.numpy()), (keras.ops.convert_to_tensor, keras.ops.convert_to_numpy))


@pytest.mark.parametrize("seed", range(4))
def test_a_word_is_the_same_in_numpy_and_both_frameworks_and_its_cell_is_the_courses(seed):
    rng = np.random.default_rng(seed)
    n, places, features, words, units = rng.integers(1, 6, size=5).tolist()
    decoder = new_decoder(words, features, size=3, units=units, attention=4, seed=seed)
    grid, ids = rng.normal(size=(n, places, features)), rng.integers(words, size=n)
    state, word = first_state(decoder, grid), np.eye(words)[ids]
    logits, new, shares = next_word(decoder, grid, state, word)
    np.testing.assert_allclose(shares.sum(1), 1)
    seen = (shares[..., None] * grid).sum(1)
    cell = CellWeights("gru", *(decoder[name] for name in ("w_x", "w_h", "b_x", "b_h")))
    wanted = gru_cell(np.concatenate([decoder["table"][ids], seen], 1), state, cell)
    np.testing.assert_allclose(new, wanted, atol=1e-12)
    for tensor, plain in KINDS:
        same = {name: tensor(array) for name, array in decoder.items()}
        np.testing.assert_allclose(plain(first_state(same, tensor(grid))), state, atol=1e-9)
        for mine, theirs in zip((logits, new, shares), next_word(same, *map(tensor, (grid, state, word))), strict=True):
            np.testing.assert_allclose(plain(theirs), mine, atol=1e-9)


def test_places_are_in_reading_order_and_know_where_they_are():
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    grid = grid_places(maps)
    assert grid.shape == (2, 20, 3 + WHERE)
    for row in range(4):
        for column in range(5):
            np.testing.assert_allclose(grid[:, row * 5 + column, :3], maps[:, :, row, column])
            np.testing.assert_allclose(grid[0, row * 5 + column, 3:5], (2 * row / 3 - 1, column / 2 - 1))
    assert len(np.unique(grid[0, :, 3:].round(6), axis=0)) == 20
    for tensor, plain in KINDS:
        np.testing.assert_allclose(plain(grid_places(tensor(maps))), grid)


@pytest.fixture(scope="module")
def learnt():
    drawn = shapes(16, size=16, seed=1)
    return drawn, Captioner(epochs=120, batch_size=8, units=32).fit(drawn.x, drawn.sentences)


def test_a_few_pictures_are_learnt_by_heart(learnt):
    drawn, captioner = learnt
    greedy, beam = captioner.caption(drawn.x), captioner.caption(drawn.x, width=4)
    assert exact_match(greedy, drawn.sentences) > 0.8 and exact_match(beam, drawn.sentences) > 0.8
    assert captioner.losses_[-1] < 0.1 * captioner.losses_[0]
    looks = captioner.looks(drawn.x[0], drawn.sentences[0])
    assert looks.shape == (len(drawn.sentences[0].split()) + 1, 4, 4) and np.allclose(looks.sum((1, 2)), 1)


def test_both_frameworks_begin_and_speak_alike(learnt):
    drawn, captioner = learnt
    options = {"epochs": 1, "batch_size": 16, "units": 32, "lr": 1e-9}
    one, two = (Captioner(framework=f, **options).fit(drawn.x, drawn.sentences) for f in ("torch", "keras"))
    np.testing.assert_allclose(one.losses_, two.losses_, rtol=1e-3)
    for name in one.decoder_:
        np.testing.assert_allclose(one.decoder_[name], two.decoder_[name], atol=1e-5)
    copy_weights(captioner.encoder_, two.encoder_)
    two.decoder_ = captioner.decoder_
    assert two.caption(drawn.x) == captioner.caption(drawn.x)


def test_both_frameworks_learn_alike_step_by_step():
    drawn, options = shapes(8, size=16, seed=2), {"epochs": 20, "batch_size": 4, "units": 16}
    one, two = (Captioner(framework=f, **options).fit(drawn.x, drawn.sentences).losses_ for f in ("torch", "keras"))
    np.testing.assert_allclose(one, two, rtol=0.05)
    assert two[-1] < 0.8 * two[0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c, d: Captioner().looks(d.x[0], "a cross"), "this Captioner has learnt nothing yet"),
        (lambda c, d: Captioner().fit(d.x, d.sentences[0]), "a sentence for each of 16 pictures"),
        (lambda c, d: Captioner().fit(d.x[:1], [""]), "the texts hold no token"),
        (lambda c, d: Captioner().fit(d.x[:2], ["a cross", " "]), "sentence 1 is empty"),
        (lambda c, d: Captioner().fit(d.x[:, :, :15], d.sentences), "h and w multiples of 4; got (3, 15, 16)"),
        (lambda c, d: Captioner(framework="numpy").fit(d.x, d.sentences), "framework should be torch or keras"),
        (lambda c, d: c.caption(np.zeros((2, 3, 32, 32))), "x must have shape (n, 3, 16, 16); got (2, 3, 32, 32)"),
        (lambda c, d: c.caption(d.x[:1], width=0), "width and length should be at least 1"),
        (lambda c, d: encoder_network((3, 16)), "pictures should be (c, h, w)"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(learnt, call, said):
    with pytest.raises(ValueError) as told:
        call(learnt[1], learnt[0])
    assert said in str(told.value) and "\n" not in str(told.value)


def test_a_sentence_of_unknown_words_is_looked_at_all_the_same(learnt):
    drawn, captioner = learnt
    assert captioner.looks(drawn.x[0], "zzz").shape == (2, 4, 4)


def test_saved_and_loaded_it_says_the_same_and_another_vocabulary_is_refused(learnt, tmp_path):
    drawn, captioner = learnt
    path = tmp_path / "c.safetensors"
    save_captioner(captioner, path)
    assert load_captioner(path).caption(drawn.x) == captioner.caption(drawn.x)
    about = json.loads(read_about(path)["captioner"])
    about["tokens"][4:6] = about["tokens"][5:3:-1]
    save_arrays(read_weights(path), path, captioner=json.dumps(about))
    with pytest.raises(ValueError, match=r"the model learnt with vocabulary .* this is another one"):
        load_captioner(path)
