"Embeddings: rows and their gradients against PyTorch, skip-gram against differences, rank correlation against simulation, and the airports."

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from cnncourse.datasets import flights
from cnncourse.embeddings import (
    EARTH_KM,
    Embedding,
    distances,
    map_distances,
    negative_chances,
    pmi_embedding,
    rank_correlation,
    skipgram,
    skipgram_loss,
    skipgram_pairs,
)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,)])
def test_a_row_and_its_gradient_are_pytorchs_and_a_one_hot_columns(shape):
    rng = np.random.default_rng(1)
    table, ids = Embedding.random(4, 3, seed=1), rng.integers(4, size=shape)
    dy, weight = rng.normal(size=(*shape, 3)), torch.tensor(table.weight, requires_grad=True)
    out = torch.nn.functional.embedding(torch.tensor(ids), weight)
    out.backward(torch.tensor(dy))
    np.testing.assert_allclose(table(ids), out.detach().numpy())
    np.testing.assert_allclose(table(ids), np.eye(4)[ids] @ table.weight)
    np.testing.assert_allclose(table.backward(dy, ids), weight.grad.numpy())


@pytest.mark.parametrize("seed", range(5))
def test_skipgrams_gradient_is_that_of_pytorch_and_of_differences(seed):
    rng = np.random.default_rng(seed)
    n, size, m, k = rng.integers(2, 6, size=4)
    tables = [Embedding(rng.normal(size=(n, size)) * 3) for _ in range(2)]
    pairs, wrong = rng.integers(n, size=(m, 2)), rng.integers(n, size=(m, k))
    got = skipgram_loss(*tables, pairs, wrong)
    c, v = (torch.tensor(table.weight, requires_grad=True) for table in tables)
    scores = torch.einsum("ms,mks->mk", c[pairs[:, 0]], v[torch.tensor(np.column_stack([pairs[:, 1], wrong]))])
    signs = torch.tensor([1.0] + [-1.0] * k)
    loss = -torch.nn.functional.logsigmoid(scores * signs).sum(1).mean()
    loss.backward()
    np.testing.assert_allclose(got.loss, loss.item())
    np.testing.assert_allclose(got.d_centres, c.grad.numpy(), atol=1e-12)
    np.testing.assert_allclose(got.d_neighbours, v.grad.numpy(), atol=1e-12)
    for table, slope in zip(tables, got[1:], strict=True):
        for place in np.ndindex(table.weight.shape):
            old, seen = table.weight[place], []
            for table.weight[place] in (old + 1e-6, old - 1e-6):
                seen.append(skipgram_loss(*tables, pairs, wrong).loss)
            table.weight[place] = old
            assert abs((seen[0] - seen[1]) / 2e-6 - slope[place]) < 1e-6


@pytest.mark.parametrize("window", [1, 2, 3, 10])
def test_neighbours_are_all_within_the_window(window):
    texts = [[4, 4, 1], [], [2], [0, 1, 2, 3, 4, 5, 6]]
    wanted = [(t[i], t[j]) for t in texts for i in range(len(t)) for j in range(len(t)) if 0 < abs(i - j) <= window]
    assert sorted(map(tuple, skipgram_pairs(texts, window).tolist())) == sorted(wanted)


def test_wrong_answers_are_drawn_by_their_power_and_never_what_was_never_met():
    counts = np.array([81.0, 16, 0, 1])
    np.testing.assert_allclose(negative_chances(counts), np.array([27, 8, 0, 1]) / 36)
    np.testing.assert_allclose(negative_chances(counts, 0), np.array([1, 1, 0, 1]) / 3)


def test_things_that_meet_come_near_by_training_and_by_singular_values():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), 6)
    meet = rng.poisson(np.where(groups[:, None] == groups, 30, 1)) * (1 - np.eye(30, dtype=int))
    a, b = np.nonzero(meet)
    for table in (skipgram(np.column_stack([a, b]), 30, counts=meet[a, b], size=5, steps=300), pmi_embedding(meet, 5)):
        near = np.array([groups[table.nearest(i, 5)] == groups[i] for i in range(30)])
        assert near.mean() > 0.95


def test_the_rank_correlation_is_scipys_over_pairs():
    rng = np.random.default_rng(2)
    points = rng.integers(5, size=(12, 2)).astype(float)  # with ties
    a, b = distances(points), distances(points + rng.normal(size=(12, 2)))
    pairs = np.triu_indices(12, 1)
    assert rank_correlation(a, b, permutations=1).rho == pytest.approx(spearmanr(a[pairs], b[pairs]).statistic)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(3)

    def drawn(n):
        points = rng.normal(size=(n, 2))
        return distances(points), distances(points + 0.8 * rng.normal(size=(n, 2)))

    truth = np.mean([rank_correlation(*drawn(100), permutations=1).rho for _ in range(10)])
    found = [rank_correlation(*drawn(25), permutations=1) for _ in range(120)]
    assert 0.88 <= np.mean([one.low <= truth <= one.high for one in found]) <= 1.0


def test_strangers_agree_by_chance_alone_as_often_as_the_test_says():
    rng = np.random.default_rng(4)
    p = [
        rank_correlation(*(distances(rng.normal(size=(8, 2))) for _ in range(2)), permutations=19, seed=i).p
        for i in range(200)
    ]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.09 and 0.4 < np.mean(p) < 0.65


def test_ways_on_the_globe_are_those_of_chords_and_of_the_map():
    rng = np.random.default_rng(5)
    latitude, longitude = rng.uniform(-90, 90, 20), rng.uniform(-180, 180, 20)
    north, east = np.radians(latitude), np.radians(longitude)
    points = np.column_stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
    chords = 2 * EARTH_KM * np.arcsin(np.clip(distances(points) / 2, 0, 1))
    np.testing.assert_allclose(map_distances(latitude, longitude), chords, atol=1e-6)
    air = flights()
    places = [air.codes.index(code) for code in ("JFK", "LAX")]
    ways = map_distances(air.latitude[places], air.longitude[places])
    assert ways[0, 1] == pytest.approx(3983, rel=0.01)  # 2,475 miles by the timetables


def test_the_flights_are_those_of_their_source():
    air = flights()
    assert (len(air.codes), len(air.flights), air.flights.sum()) == (305, 5366, 7009728)
    assert air.counts.dtype == np.int64 and (air.counts > 0).sum() == 5366 and not np.diag(air.counts).any()
    assert air.codes == tuple(sorted(air.codes)) and air.states.count("") == air.cities.count("") == 4
    assert air.latitude.min() > 17 and air.longitude.max() < -64


def test_airports_find_their_places():
    air = flights()
    larger = [
        i
        for i, state in enumerate(air.states)
        if state not in ("AK", "HI", "PR", "VI", "") and air.counts[i].sum() >= 2000
    ]
    rows = pmi_embedding(air.counts, size=8).weight[larger]
    wanted = map_distances(air.latitude[larger], air.longitude[larger])
    found = rank_correlation(distances(rows, directions=True), wanted, permutations=99)
    assert found.n == len(larger) > 150 and found.rho > 0.6 and found.low > 0.5 > found.shuffled and found.p == 0.01


SQUARE = distances(np.random.default_rng(0).normal(size=(6, 2)))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Embedding.random(3, 2)([-1]), "ids go from -1 to -1, and the table has 3 rows"),
        (lambda: Embedding.random(3, 2)(["a"]), "ids should be whole numbers"),
        (lambda: Embedding.random(3, 2).backward(np.ones((1, 3)), [0]), "dy should be (1, 2), a row for each thing"),
        (lambda: Embedding.random(3, 2.0), "size should be a whole number from 1; got 2.0"),
        (lambda: Embedding.random(3, 2).nearest(3), "thing go from 3 to 3"),
        (lambda: skipgram(np.zeros((0, 2), int), 3), "m at least 1; got (0, 2)"),
        (lambda: skipgram([[0, 1]], 2, counts=[-1]), "counts should be a row of numbers from 0, not all 0"),
        (lambda: skipgram([[0, 5]], 3), "pairs go from 0 to 5, and the table has 3 rows"),
        (lambda: pmi_embedding(np.zeros((3, 3)), 2), "not all 0"),
        (lambda: pmi_embedding(-np.eye(3), 2), "numbers from 0"),
        (lambda: rank_correlation(SQUARE, SQUARE[:5, :5]), "both tables should be about the same things; got 6 and 5"),
        (lambda: rank_correlation(SQUARE + 1, SQUARE), "0 from a thing to itself"),
        (lambda: rank_correlation(SQUARE[:3, :3], SQUARE[:3, :3]), "at least 4 things"),
        (lambda: rank_correlation(SQUARE * np.nan, SQUARE), "first should be finite distances"),
        (lambda: rank_correlation(SQUARE, SQUARE, permutations=0), "permutations should be a whole number from 1"),
        (lambda: map_distances([np.nan], [0]), "latitudes should be from -90 to 90 degrees"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError) as told:
        call()
    assert said in str(told.value) and "\n" not in str(told.value)
