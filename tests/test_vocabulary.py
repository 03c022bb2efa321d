"Vocabularies: any text comes back, in whatever Unicode form it came; unknown words, padding, files, and another model's vocabulary."

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncourse.vocabulary import (
    BEGIN,
    END,
    KINDS_OF_TOKEN,
    PAD,
    UNKNOWN,
    Vocabulary,
    load_vocabulary,
    plain_text,
    save_vocabulary,
    tokenize,
)

FORMS = ("NFC", "NFD", "NFKC", "NFKD")
hangul = st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3) | st.sampled_from(" .,ㅋ한a"), max_size=20)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | hangul
kinds = pytest.mark.parametrize("by", KINDS_OF_TOKEN)


@kinds
@given(text=texts)
@settings(max_examples=150, deadline=None)
def test_a_text_of_known_tokens_comes_back(by, text):
    if not tokenize(text, by, lower=True):
        return
    vocabulary = Vocabulary.of([text], by)
    ids = vocabulary.encode(text)
    assert UNKNOWN not in ids and vocabulary.unknown(text) == []
    again = vocabulary.decode(ids)
    np.testing.assert_array_equal(vocabulary.encode(again), ids)
    if by != "words":  # spaces count
        assert again == plain_text(text, lower=True)


@kinds
@given(text=hangul)
@settings(max_examples=150, deadline=None)
def test_the_unicode_form_of_a_text_does_not_matter(by, text):
    assert tokenize(unicodedata.normalize("NFD", text), by) == tokenize(unicodedata.normalize("NFC", text), by)


@given(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3))
@settings(max_examples=300, deadline=None)
def test_a_syllable_has_two_or_three_jamo_by_its_place_in_unicode(syllable):
    lead, rest = divmod(ord(syllable) - 0xAC00, 588)
    vowel, tail = divmod(rest, 28)
    wanted = [chr(0x1100 + lead), chr(0x1161 + vowel), *([chr(0x11A7 + tail)] if tail else [])]
    assert tokenize(syllable, "jamo") == wanted and tokenize(syllable, "characters") == [syllable]


@pytest.mark.parametrize("form", FORMS)
def test_names_and_accents_in_any_form(form):
    text = "Café: 하늘에 구름이 떠 있다, naïve!"
    for by in KINDS_OF_TOKEN:
        vocabulary = Vocabulary.of([text], by)
        assert UNKNOWN not in vocabulary.encode(unicodedata.normalize(form, text))


def test_words_keep_their_accents_apostrophes_and_gaps():
    assert tokenize("The dog's x̂-ray: ___ (1,200)") == ["The", "dog's", "x̂-ray", ":", "___", "(", "1", ",", "200", ")"]


@kinds
def test_what_was_never_met_is_unknown_and_named_once(by):
    vocabulary = Vocabulary.of(["sky"], by)
    ids = vocabulary.encode("<pad>")
    assert set(ids) == {UNKNOWN} and "<pad>" not in vocabulary
    assert vocabulary.unknown("zz zz") in (["zz"], ["z", " "])


def test_a_word_that_is_called_like_a_special_id_is_a_word_of_nothing():
    vocabulary = Vocabulary.of(["a <pad> b"], "characters")
    assert vocabulary.decode(vocabulary.encode("<pad>")) == "<pad>"  # five characters


def test_padding_starts_ends_and_lengths():
    vocabulary = Vocabulary.of(["a b c"])
    ids, lengths = vocabulary.encode_all(["a b c", "", "b"], length=6, begin=True, end=True)
    assert lengths.tolist() == [5, 2, 3] and ids.shape == (3, 6)
    assert ids[0, [0, 4, 5]].tolist() == [BEGIN, END, PAD] and ids[1].tolist() == [BEGIN, END, PAD, PAD, PAD, PAD]
    assert [vocabulary.decode(row) for row in ids] == ["a b c", "", "b"]


def test_the_order_is_by_count_and_then_by_letters_so_that_a_vocabulary_is_the_same_everywhere():
    one, two = Vocabulary.of(["b a c a", "b d"]), Vocabulary.of(["d b", "c a b a"])
    assert one == two and one.key == two.key and one.tokens[4:] == ("a", "b", "c", "d")
    assert Vocabulary.of(["b a c a", "b d"], size=2).tokens[4:] == ("a", "b")
    assert Vocabulary.of(["b a c a", "b d"], at_least=2).tokens[4:] == ("a", "b")


@kinds
def test_saved_and_loaded_it_is_the_same_and_another_models_is_refused(tmp_path, by):
    mine, other = Vocabulary.of(["푸른 하늘에 구름이"], by), Vocabulary.of(["넓은 바다에 배가"], by)
    save_vocabulary(mine, tmp_path / "v.json")
    assert load_vocabulary(tmp_path / "v.json", mine.key) == mine
    with pytest.raises(
        ValueError, match=f"^the model learnt with vocabulary {other.key}; this is another one, [^\n]*$"
    ):
        load_vocabulary(tmp_path / "v.json", other.key)
    assert len({mine.key, other.key, Vocabulary(mine.tokens, by, not mine.lower).key}) == 3


@pytest.mark.parametrize(
    "content", ["", "[]", "null", "{}", '{"tokens": 3}', '{"tokens": ["a"], "by": "words", "lower": true}']
)
def test_a_file_that_is_no_vocabulary_is_refused_in_one_sentence(tmp_path, content):
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"v\.json is no vocabulary \([^\n]*\): it should be a file of save_vocabulary$"
    ):
        load_vocabulary(tmp_path / "v.json")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Vocabulary.of("in the sky"), "texts should be a list of texts; got one text: give [text]"),
        (lambda: Vocabulary.of([]), "a vocabulary of nothing reads nothing"),
        (lambda: Vocabulary.of(["a", 3]), "a text is needed; got int"),
        (lambda: Vocabulary.of(["a"]).encode_all("a"), "texts should be a list of texts"),
        (lambda: Vocabulary.of(["a"]).encode(float("nan")), "a text is needed; got float"),
        (lambda: Vocabulary.of(["a"]).decode([-1]), "ids go from -1 to -1, and this vocabulary has 5"),
        (lambda: Vocabulary.of(["a"]).decode([4.0]), "ids should be a row of whole numbers; got float64"),
        (lambda: tokenize("a", by="letters"), "by should be one of words, characters, jamo"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError) as told:
        call()
    assert said in str(told.value) and "\n" not in str(told.value)
