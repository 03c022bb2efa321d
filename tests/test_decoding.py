"Sentences: beam search against a search through all, and BLEU against sacrebleu."

import random
from itertools import product

import numpy as np
import pytest
from conftest import needs_sacrebleu

from cnncourse.decoding import beam_search, bleu, exact_match, tokens_13a

TEXT = "a the red blue green cross circle square and left of 1,200 3.5 7- it's don't (big) “old” & &amp; 하늘에 구름이 U.S. e.g., -"
WORDS = TEXT.split()


def model(words, seed, order=2):
    "A random model of the next word, which depends on the last `order` words; some words are impossible."
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(words + 1,) * order + (words,)) * 2
    logits[rng.random(logits.shape) < 0.15] = -np.inf
    logits[..., 0] = np.maximum(logits[..., 0], -3)  # the end is never impossible
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    def step(begun):
        padded = np.pad(begun, ((0, 0), (order - 1, 0)), constant_values=words)
        return logs[tuple(padded[:, padded.shape[1] - order + i] for i in range(order))]

    return step


def every_sentence(step, start, end, words, length, alpha):
    found = []
    for n in range(1, length + 1):
        for ids in product(range(words), repeat=n):
            if end not in ids[:-1] and (ids[-1] == end or n == length):
                begun = np.array([[start, *ids]])
                total = sum(step(begun[:, : i + 1])[0, ids[i]] for i in range(n))
                found.append((total / n**alpha, ids))
    return sorted((one for one in found if np.isfinite(one[0])), key=lambda one: -one[0])


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_beam_as_wide_as_all_beginnings_finds_what_a_search_through_all_finds(seed, alpha):
    words, length = [(2, 5), (3, 4), (4, 3), (3, 3), (5, 2)][seed]
    step = model(words, seed)
    wanted = every_sentence(step, words, 0, words, length, alpha)
    got = beam_search(step, words, 0, width=words**length, length=length, alpha=alpha)
    assert [one.ids for one in got] == [ids for _, ids in wanted]
    np.testing.assert_allclose([one.score for one in got], [score for score, _ in wanted])
    np.testing.assert_allclose([one.log_prob for one in got], [s * len(ids) ** alpha for s, ids in wanted])
    assert [one.ended for one in got] == [ids[-1] == 0 for _, ids in wanted]


@pytest.mark.parametrize("seed", range(20))
def test_width_one_is_greedy(seed):
    step, begun = model(6, seed, order=1), [6]
    while len(begun) < 8 and (len(begun) == 1 or begun[-1] != 0):
        begun.append(int(step(np.array([begun]))[0].argmax()))
    (found,) = beam_search(step, 6, 0, length=7)
    assert list(found.ids) == begun[1:]


@pytest.mark.parametrize("width", [1, 2, 3, 7])
def test_what_a_beam_says_of_a_sentence_is_the_models_own_and_a_start_may_be_long(width):
    step = model(4, 1)
    for one in beam_search(step, [4, 2, 3], 0, width=width, length=5):
        ids = [4, 2, 3, *one.ids]
        own = sum(step(np.array([ids[:i]]))[0, ids[i]] for i in range(3, len(ids)))
        assert np.isclose(one.log_prob, own) and one.ended == (ids[-1] == 0)


def pairs(seed, n, most):
    rng = random.Random(seed)
    made = []
    for _ in range(n):
        sentence = [rng.choice(WORDS) for _ in range(rng.randrange(most))]
        known = []
        for _ in range(rng.randrange(1, 4)):
            reference = [word if rng.random() < 0.8 else rng.choice(WORDS) for word in sentence] + [
                rng.choice(WORDS)
            ] * rng.randrange(3)
            rng.random() < 0.3 and rng.shuffle(reference)
            known.append(" ".join(reference[rng.randrange(2) :]))
        made.append((" ".join(sentence) + rng.choice(["", ".", " .", "\n"]), known))
    return made


@needs_sacrebleu
def test_bleu_of_a_sentence_is_sacrebleus_on_500_random_pairs():
    from sacrebleu import sentence_bleu

    for sentence, known in pairs(0, 500, 12):
        wanted, got = sentence_bleu(sentence, known), bleu(sentence, known)
        assert abs(got.score - wanted.score) < 1e-9, (sentence, known)
        np.testing.assert_allclose(got.precisions, wanted.precisions, rtol=1e-12)
        assert (got.words, got.reference_words, got.brevity) == (wanted.sys_len, wanted.ref_len, wanted.bp)


@needs_sacrebleu
@pytest.mark.parametrize("seed", range(10))
def test_bleu_of_many_sentences_is_sacrebleus(seed):
    from sacrebleu import corpus_bleu

    made = pairs(seed, 50, 3 + 2 * seed)
    sentences, known = zip(*made, strict=True)
    streams = [[k[i] if i < len(k) else None for k in known] for i in range(3)]
    wanted, got = corpus_bleu(list(sentences), streams), bleu(sentences, known)
    assert abs(got.score - wanted.score) < 1e-9
    assert (list(got.hits), list(got.counts)) == (wanted.counts, wanted.totals)


@needs_sacrebleu
def test_words_are_cut_as_sacrebleu_cuts_them():
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    rng, cut = random.Random(1), Tokenizer13a()
    for _ in range(500):
        text = "".join(rng.choice("ab1 9.,-'\"&;<>()[]{}~`!?:/@#\n\t늘é") for _ in range(rng.randrange(25)))
        assert tokens_13a(text) == cut(text.rstrip()).split(), text


def test_bleu_by_hand():
    # hits: 5 of 6 words, 3 of 5 pairs, 1 of 4 triples, none of 3 quadruples, which counts as a half
    got = bleu("a red cross and a circle", "a red cross left of a circle")
    assert (got.hits, got.counts) == ((5, 3, 1, 0), (6, 5, 4, 3))
    wanted = np.exp(1 - 7 / 6) * (5 / 6 * 3 / 5 * 1 / 4 * 0.5 / 3) ** 0.25
    assert np.isclose(got.score, 100 * wanted)


def test_exact_match_counts_whole_sentences():
    assert exact_match(["a  b", "c", "d"], [["x", "a b"], "c", "e"]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: beam_search(model(3, 0), 3, 0, width=0),
            "width and length should be at least 1, and alpha at least 0",
        ),
        (lambda: beam_search(model(3, 0), 3, 0, alpha=-1), "alpha at least 0"),
        (
            lambda: beam_search(lambda b: np.zeros((len(b) + 1, 3)), 3, 0),
            "(1, words) for 1 beginnings; got shape (2, 3)",
        ),
        (lambda: beam_search(lambda b: np.full((len(b), 3), np.nan), 3, 0), "at most 0; got NaN"),
        (lambda: beam_search(lambda b: np.full((len(b), 3), 2.0), 3, 0), "at most 0; got 2"),
        (lambda: beam_search(lambda b: np.full((len(b), 3), -np.inf), 3, 0), "no sentence is possible"),
        (lambda: bleu(["a"], []), "each sentence needs its references"),
        (lambda: bleu("a", []), "sentence 0 should be a text with at least one reference text"),
        (lambda: bleu([["a"]], ["a"]), "sentence 0 should be a text"),
        (lambda: exact_match("a", "a"), "sentences should be a list, one for each sentence; got one text"),
        (lambda: exact_match(["a", "b"], "ab"), "references should be a list, one for each sentence; got one text"),
        (lambda: bleu(["a", "b"], "ab"), "references should be a list, one for each sentence; got one text"),
        (lambda: exact_match([], []), "there must be one"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError) as told:
        call()
    assert said in str(told.value) and "\n" not in str(told.value)
