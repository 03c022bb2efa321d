"The grammar of gaps: what decides a gap stands where it says, no scene is on both sides, and wrong questions are told."

from collections import Counter, defaultdict

import pytest

from cnncourse.gaps import DECIDED_BY, GAP, LANGUAGES, best_possible, fill_gap, gap_sentences, grammar, grammar_reader

every_grammar = pytest.mark.parametrize(("language", "decided_by"), [(l, d) for l in LANGUAGES for d in DECIDED_BY])


def chances(sentences, sees):
    "The share of gaps that a reader fills rightly that sees what `sees` tells of a sentence: counted here anew."
    seen = defaultdict(Counter)
    for one in sentences:
        seen[sees(one)][one.answer] += 1
    return sum(max(counts.values()) for counts in seen.values()) / len(sentences)


@every_grammar
def test_a_gap_is_decided_where_it_says(language, decided_by):
    sentences = grammar(language, decided_by)
    sights = {
        "before": lambda one: one.before,
        "after": lambda one: one.after,
        "both": lambda one: (one.before, one.after),
    }
    got = {side: chances(sentences, see) for side, see in sights.items()}
    assert got == pytest.approx({side: best_possible(language, decided_by, side) for side in DECIDED_BY})
    assert got["both"] == 1
    for side in ("before", "after"):
        other = 1 if decided_by == side else 1 / 24
        assert got[side] == pytest.approx({"before": 1 / 3, "after": 1 / 4}[side] if decided_by == "both" else other)


@every_grammar
def test_every_word_of_the_sight_that_decides_is_needed(language, decided_by):
    sentences = grammar(language, decided_by)
    whole = [frozenset(one.text.split()) for one in sentences]
    words = Counter(word for text in whole for word in text)
    single = {word: {one.answer for one, text in zip(sentences, whole, strict=True) if word in text} for word in words}
    assert all(len(answers) > 1 for answers in single.values())  # no single word decides


@every_grammar
def test_all_sentences_differ_and_all_things_come_equally_often(language, decided_by):
    sentences = grammar(language, decided_by)
    assert len({one.filled for one in sentences}) == len(sentences) == 1152
    assert set(Counter(one.answer for one in sentences).values()) == {48}
    assert all(one.text.split().count(GAP) == 1 and "  " not in one.filled for one in sentences)


def test_a_korean_particle_fits_its_thing():
    answers = {one.answer for one in grammar("korean", "after")}
    assert {"구름이", "배가", "별이", "까마귀가"} <= answers
    assert {"구름이다", "배다"} <= {one.answer for one in grammar("korean", "before")}
    assert all((ord(a[-2]) - 0xAC00) % 28 > 0 if a[-1] == "이" else (ord(a[-2]) - 0xAC00) % 28 == 0 for a in answers)


@pytest.mark.parametrize("seed", range(5))
def test_no_scene_is_on_both_sides_in_any_language_or_order(seed):
    parts = [gap_sentences(l, d, seed=seed) for l in LANGUAGES for d in DECIDED_BY]
    train, test = ({one.scene for part in parts for one in part[side]} for side in (0, 1))
    assert not train & test and len(train | test) == 1152 and len(test) == 288


@pytest.mark.parametrize(("n_train", "n_test"), [(24, 24), (1128, 24), (600, 480), (0, 1152)])
def test_parts_have_their_sizes_and_all_things_equally_often(n_train, n_test):
    data = gap_sentences("korean", "both", n_train=n_train, n_test=n_test, seed=3)
    for part, n in zip(data, (n_train, n_test), strict=True):
        assert len(part) == n and set(Counter(one.answer for one in part).values()) <= {n // 24}
    assert data == gap_sentences("korean", "both", n_train=n_train, n_test=n_test, seed=3)
    assert n_test == 1152 or data != gap_sentences("korean", "both", n_train=n_train, n_test=n_test, seed=4)


@every_grammar
def test_the_best_reader_fills_every_gap_and_a_stranger_only_guesses(language, decided_by):
    read = grammar_reader(language, decided_by)
    assert all(fill_gap(one.text, read, k=1) == [(one.answer, 1.0)] for one in grammar(language, decided_by)[::37])
    guessed = fill_gap(f"zzz {GAP} zzz", read, k=99)
    assert len(guessed) == 24 and all(share == pytest.approx(1 / 24) for _, share in guessed)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: grammar("greek"), "language should be one of english, korean; got 'greek'"),
        (lambda: grammar("english", "left"), "decided_by should be one of before, after, both"),
        (lambda: gap_sentences(n_train=1000, n_test=1000), "at most 1152 together; got 1000 and 1000"),
        (lambda: best_possible(reads="nothing"), "reads should be one of before, after, both"),
        (lambda: fill_gap("", grammar_reader()), "a text with one gap"),
        (lambda: fill_gap("a_ ___b", grammar_reader()), "a text with one gap"),
        (lambda: fill_gap(None, grammar_reader()), "a text with one gap"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError) as told:
        call()
    assert said in str(told.value) and "\n" not in str(told.value)
