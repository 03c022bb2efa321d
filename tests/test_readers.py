"Readers of gaps: one reader in NumPy and both frameworks; what follows is found by who reads it, and by nobody else."

import json

import keras
import numpy as np
import pytest
import torch

from cnncourse import readers
from cnncourse.gaps import DECIDED_BY, LANGUAGES, best_possible, fill_gap, gap_sentences
from cnncourse.readers import (
    GapReader,
    keras_reader,
    load_reader,
    new_reader,
    save_reader,
    side_ids,
    torch_reader,
    train_reader,
)
from cnncourse.recurrent import GATES
from cnncourse.vocabulary import KINDS_OF_TOKEN


@pytest.mark.parametrize("reads", DECIDED_BY)
@pytest.mark.parametrize(("kind", "by"), list(zip(GATES, KINDS_OF_TOKEN, strict=True)))
def test_a_reader_is_the_same_in_numpy_and_both_frameworks(kind, by, reads):
    gaps = gap_sentences("korean", "after", n_train=48, n_test=24).test
    reader = new_reader(gaps, reads, by=by, kind=kind, size=4, units=3, seed=1)
    texts = {"before": [gap.before for gap in gaps], "after": [gap.after for gap in gaps]}  # some are empty
    sides = [side_ids(reader.vocabulary, texts[side], side) for side in DECIDED_BY[:2] if reads in (side, "both")]
    wanted = reader.logits(texts["before"], texts["after"])
    in_torch = torch_reader(reader)([[torch.tensor(part) for part in side] for side in sides])
    np.testing.assert_allclose(in_torch.detach().numpy(), wanted, atol=1e-5)
    in_keras = keras_reader(reader)([side.ids for side in sides])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(in_keras), wanted, atol=1e-5)
    alone = np.concatenate([reader.logits([b], [a]) for b, a in zip(*texts.values(), strict=True)])
    np.testing.assert_allclose(alone, wanted, atol=1e-12)  # padding changes nothing


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_follows_decides_for_who_reads_it(language):
    data = gap_sentences(language, "after", n_train=480, n_test=240, seed=2)
    both, ahead = (train_reader(new_reader(data.train, reads), data.train, epochs=12) for reads in ("both", "before"))
    assert both.accuracy(data.test) >= 0.95
    assert ahead.accuracy(data.test) < best_possible(language, "after", "before") + 4 * np.sqrt(1 / 24 / 240)


def test_a_reader_of_what_stands_before_fills_what_that_decides():
    data = gap_sentences("english", "before", n_train=480, n_test=240)
    ahead = train_reader(new_reader(data.train, "before"), data.train, epochs=12)
    assert ahead.accuracy(data.test) >= 0.95
    assert fill_gap("in the blue sky floats a ___", ahead, k=1)[0][0] == "cloud"


def test_keras_trains_it_as_well_and_leaves_the_untrained_one_as_it_was():
    data = gap_sentences("english", "after", n_train=480, n_test=240)
    fresh = new_reader(data.train)
    before = {name: array.copy() for name, array in fresh.arrays().items()}
    learnt = train_reader(fresh, data.train, framework="keras", epochs=12)
    assert learnt.accuracy(data.test) >= 0.95 > 0.2 > fresh.accuracy(data.test)
    for name, array in fresh.arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_unknown_words_and_empty_text_get_probabilities():
    reader = new_reader(gap_sentences(n_train=48, n_test=0).train, units=4, size=4)
    for sides in (("", ""), ("zzz", "zzz zzz"), ("a", "")):
        shares = reader(*sides)
        assert sum(shares.values()) == pytest.approx(1) and set(shares) == set(reader.answers)


def test_saved_and_loaded_it_says_the_same(tmp_path):
    data = gap_sentences("korean", "both", n_train=48, n_test=24)
    for reads, by, kind in (("both", "jamo", "lstm"), ("before", "words", "simple")):
        reader = new_reader(data.train, reads, by=by, kind=kind, size=3, units=2)
        save_reader(reader, tmp_path / "r.safetensors")
        again = load_reader(tmp_path / "r.safetensors")
        assert (again.vocabulary, again.answers, again.reads) == (reader.vocabulary, reader.answers, reads)
        assert again("푸른 하늘에", "떠 있다") == reader("푸른 하늘에", "떠 있다")


def _parts(reader, **changed):
    "A reader with some of its parts exchanged."
    return GapReader(**{name: changed.get(name, getattr(reader, name)) for name in reader.__dataclass_fields__})


GAPS = gap_sentences(n_train=48, n_test=24)
READER = new_reader(GAPS.train, size=3, units=2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: new_reader(GAPS.train, "everything"), "reads should be one of before, after, both"),
        (lambda: new_reader(GAPS.train, kind="rnn"), "kind should be one of simple, lstm, gru"),
        (lambda: new_reader(GAPS.train, by="letters"), "by should be one of words, characters, jamo"),
        (lambda: new_reader(()), "there should be a gap at least"),
        (lambda: train_reader(READER, GAPS.train, framework="numpy"), "framework should be torch or keras"),
        (lambda: train_reader(READER, [GAPS.train[0]._replace(answer="구름")]), "the reader knows no answer '구름'"),
        (lambda: _parts(READER, vocabulary=new_reader(GAPS.train, by="jamo").vocabulary), "they are another reader's"),
        (lambda: _parts(READER, cells=READER.cells[:1]), "they are another reader's"),
        (lambda: _parts(READER, b=READER.b[:3]), "they are another reader's"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError) as told:
        call()
    assert said in str(told.value) and "\n" not in str(told.value)


def test_a_vocabulary_that_was_changed_in_the_file_is_refused(tmp_path):
    save_reader(READER, tmp_path / "r.safetensors")
    about = json.loads(readers.read_about(tmp_path / "r.safetensors")["reader"])
    about["tokens"][5:7] = about["tokens"][6:4:-1]
    readers.save_arrays(READER.arrays(), tmp_path / "r.safetensors", reader=json.dumps(about))
    with pytest.raises(ValueError, match=r"the model learnt with vocabulary .* this is another one"):
        load_reader(tmp_path / "r.safetensors")
