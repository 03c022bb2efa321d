"Three parts of a set: disjoint, stratified, by group, the same for the same seed; and pictures that stand on two sides."

import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnncourse import datasets, splits
from cnncourse.pictures import read_picture, to_size

SHARES = [
    (0.6, 0.2, 0.2),
    (0.8, 0.1, 0.1),
    (0.98, 0.01, 0.01),
    (0.5, 0.0, 0.5),
    (None, 0.15, 0.15),
    (1 / 3, 1 / 3, 1 / 3),
]
labels = st.lists(st.integers(1, 40), min_size=1, max_size=6).flatmap(
    lambda counts: st.permutations([k for k, count in enumerate(counts) for _ in range(count)])
)


def quietly(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return splits.divide(*args, **options)


def table(y, parts):
    "Examples of each class in each part."
    return np.array([[np.sum(y[places] == label) for places in parts] for label in np.unique(y)])


@given(labels, st.sampled_from(SHARES), st.integers(0, 5))
@settings(max_examples=300, deadline=None)
def test_every_example_is_in_one_part_and_every_class_on_every_side_where_it_can_be(y, shares, seed):
    y = np.array(y)
    counts, asked = np.bincount(y), [side for side in (0, 2, 1) if shares[side] != 0]
    if counts.max() < len(asked):
        with pytest.raises(ValueError, match="nothing is left for"):
            quietly(y, *shares, seed=seed)
        return
    parts = quietly(y, *shares, seed=seed)
    assert sorted(np.concatenate(parts)) == list(range(len(y)))
    held = table(y, parts)
    for count, row in zip(counts, held, strict=True):
        assert [int(row[side] > 0) for side in asked] == [1] * min(count, len(asked)) + [0] * (len(asked) - count)
    share = np.array([0.7 if size is None else size for size in shares])
    few = 2 * len(counts) + 1  # each class may give two of its examples to the small parts
    assert np.abs(held.sum(axis=0) - share * len(y)).max() <= few
    large = counts * share[share > 0].min() >= 1
    pushed = 2 * np.sum(~large)  # what the small ones got is made up for by the large ones
    assert np.abs(held - np.outer(counts, held.sum(axis=0) / len(y)))[large].max(initial=0) < 2.5 + pushed
    again = quietly(y, *shares, seed=seed)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))


@given(labels, st.tuples(*[st.integers(1, 20)] * 3))
@settings(max_examples=200, deadline=None)
def test_counts_are_kept(y, counts):
    y = np.array(y)
    if sum(counts) > len(y):
        with pytest.raises(ValueError, match=f"at most {len(y)}, as there are no more examples"):
            quietly(y, *counts)
        return
    parts = quietly(y, *counts)
    assert [len(places) for places in parts] == list(counts)
    assert len(set(np.concatenate(parts).tolist())) == sum(counts)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=40),
    st.sampled_from(SHARES),
    st.integers(0, 3),
)
@settings(max_examples=300, deadline=None)
def test_a_group_is_never_on_two_sides(films, shares, seed):
    "Films of one class each, so that a class with three films can be on three sides."
    y = np.repeat([label for label, _ in films], [size for _, size in films])
    groups = np.repeat(np.arange(len(films)), [size for _, size in films])
    names = [f"film {g}" for g in groups]
    asked = [side for side in (0, 2, 1) if shares[side] != 0]
    count = np.bincount([label for label, _ in films])
    if count.max() < len(asked):
        with pytest.raises(ValueError, match="groups are too few for each class to be learnt"):
            quietly(y, *shares, groups=names, seed=seed)
        return
    parts = quietly(y, *shares, groups=names, seed=seed)
    assert sorted(np.concatenate(parts)) == list(range(len(y)))
    assert sum(len(set(groups[places])) for places in parts) == len(set(groups))
    for row, films_of in zip(table(y, parts), count[count > 0], strict=True):
        assert [int(row[side] > 0) for side in asked] == [1] * min(films_of, len(asked)) + [0] * (len(asked) - films_of)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=30, max_size=150), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_groups_of_mixed_classes(examples, seed):
    y, groups = (np.array(column) for column in zip(*examples, strict=True))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            parts = splits.divide(y, groups=groups, seed=seed)
        except ValueError as error:
            assert "too few for each class" in str(error)
            return
    assert sum(len(set(groups[places])) for places in parts) == len(set(groups))
    assert (table(y, parts) == 0).any() == any("for every part" in str(w.message) for w in caught)


def test_many_equal_groups_divide_as_asked():
    "As single examples do."
    y, groups = np.repeat([0, 1, 2], [3000, 1500, 300]), np.arange(4800) // 3
    assert np.abs(table(y, splits.divide(y, groups=groups)) / [[3000], [1500], [300]] - [0.6, 0.2, 0.2]).max() < 0.01


def test_groups_of_any_kind_and_counts_of_groups(tmp_path):
    y = np.repeat([0, 1], 30)
    kinds = [np.arange(60) // 5, [str(i // 5) for i in range(60)], [(i // 5, "day") for i in range(60)]]
    kinds.append([tmp_path / str(i // 5) for i in range(60)])
    found = [splits.divide(y, 20, 10, 10, groups=kind) for kind in kinds]
    assert all((a == b).all() for other in found[1:] for a, b in zip(found[0], other, strict=True))
    assert [len(places) for places in found[0]] == [20, 10, 10]
    with pytest.raises(ValueError, match="hashable"):
        splits.divide(y, groups=[[1]] * 60)
    with pytest.raises(ValueError, match="of each of the 60 examples, not of 2"):
        splits.divide(y, groups=[1, 2])
    with pytest.warns(UserWarning, match="the groups do not divide as asked"):
        splits.divide([0] * 60, groups=np.minimum(np.arange(60), 3))


def test_the_first_of_a_part_are_a_fair_sample_and_seeds_differ():
    y = np.repeat([0, 1], [800, 200])
    parts = splits.divide(y, seed=1)
    assert np.bincount(y[parts.train[:50]]).tolist() == [40, 10]
    assert set(parts.test.tolist()) != set(splits.divide(y, seed=2).test.tolist())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0.6, 0.2, 0.1), "should add up to 1, not to 0.9"),
        ((0.6, 0.3, 0.3), "should add up to 1, not to 1.2"),
        ((0.9, 0.3, None), "should add up to 1, not to 1.2"),
        ((60, 30, 30), "at most 100, as there are no more examples, not to 120"),
        ((0.6, 20, 20), "Give shares that add up to 1, or counts"),
        ((None, None, 0.2), "None at most once"),
        ((True, 20, 20), "not True"),
        ((-5, 20, 20), "not -5"),
        ((float("nan"), 0.2, 0.2), "not nan"),
        (("most", 0.2, 0.2), "not 'most'"),
        ((1.5, 0.2, 0.2), "not 1.5"),
    ],
)
def test_sizes_that_cannot_be(arguments, text):
    with pytest.raises(ValueError, match=text) as caught:
        splits.divide([0, 1] * 50, *arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("y", "text"),
    [
        ([], r"y should be labels \(n,\), one for each example, not of shape \(0,\)"),
        ([[0, 1]], "not of shape"),
        ([1], "nothing is left for validation and test"),
        ([0, 1], "nothing is left for validation and test"),
        ([0, 0], "nothing is left for validation:"),
        (list(range(9)), "nothing is left for validation and test"),
    ],
)
def test_labels_that_cannot_be_divided(y, text):
    with pytest.raises(ValueError, match=text):
        quietly(y)


def test_one_class_and_few_of_a_class():
    assert [len(places) for places in splits.divide(["cat"] * 10)] == [6, 2, 2]
    assert [len(places) for places in splits.divide([7, 7, 7])] == [1, 1, 1]
    with pytest.warns(UserWarning, match=r"class dog has too few examples for every part \(2\): none in validation"):
        splits.divide(["cat"] * 10 + ["dog"] * 2)
    with pytest.warns(UserWarning, match=r"none in validation and test \(2 classes are so\)"):
        splits.divide([0] * 10 + [1, 2])


# Leaks


def photographs():
    "Unlike photographs, at their own size or a little smaller."
    for name in datasets.photograph_names():
        x = datasets.photograph(name, gray=False)
        yield to_size(x, (min(320, x.shape[1]), min(360, x.shape[2])))


def saved(x, kind="JPEG", **options):
    held = io.BytesIO()
    Image.fromarray(x[0] if len(x) == 1 else x.transpose(1, 2, 0)).save(held, kind, **options)
    held.seek(0)
    return held


def brighter(x, by):
    return np.clip(x.astype(int) + by, 0, 255).astype(np.uint8)


AGAIN = {
    "JPEG at 90": lambda x: read_picture(saved(x, quality=90)),
    "JPEG at 60": lambda x: read_picture(saved(x, quality=60)),
    "three quarters": lambda x: to_size(x, (x.shape[1] * 3 // 4, x.shape[2] * 3 // 4), "stretch"),
    "twice": lambda x: to_size(x, (x.shape[1] * 2, x.shape[2] * 2), "stretch"),
    "a little brighter": lambda x: brighter(x, 12),
    "a little darker": lambda x: (x * 0.9).astype(np.uint8),
    "smaller and saved": lambda x: read_picture(
        saved(to_size(x, (x.shape[1] * 3 // 4, x.shape[2] * 3 // 4)), quality=75)
    ),
}


@pytest.mark.parametrize("how", AGAIN)
def test_a_photograph_that_is_saved_anew_is_found_and_unlike_ones_are_not(how):
    whole = list(photographs())
    copies = [AGAIN[how](x) for x in whole]
    n = len(whole)
    parts = splits.Parts(np.arange(n), np.arange(0), np.arange(n, 2 * n))
    found = splits.find_leaks(parts, whole + copies)
    assert {(leak.one, leak.other) for leak in found} == {(i, n + i) for i in range(n)}
    assert {leak.sides for leak in found} == {("train", "test")}
    near = splits.near_groups(whole + copies)
    assert (near[:n] == near[n:]).all() and len(set(near.tolist())) == n


SETS = {
    "faces": (25, lambda: datasets.load("faces")),
    "textures": (32, lambda: datasets.load("textures")),
    "digits": (8, lambda: datasets.load("digits")),
    "shapes": (64, lambda: datasets.load("shapes", n_train=900, n_test=300)),
}


@pytest.mark.parametrize("name", SETS)
def test_plain_sets_hold_no_leaks_but_those_put_there(name):
    side, load = SETS[name]
    data = load()
    x = np.concatenate([data.x_train, data.x_test])
    parts = splits.divide(np.concatenate([data.y_train, data.y_test]), seed=3)
    found = splits.find_leaks(parts, x)
    assert len(found) <= {"faces": 0, "textures": 0, "digits": 0, "shapes": 1}[name]
    one, other = parts.train[:10], parts.test[:10]
    x[other] = x[one]
    exact = [leak for leak in splits.find_leaks(parts, x) if leak.why == "the same pixels"]
    assert {(leak.one, leak.other) for leak in exact} >= set(zip(one.tolist(), other.tolist(), strict=True))
    if side >= 25:  # smaller ones have too little in them
        x[other] = [read_picture(saved(p, quality=90)) for p in x[one]]
        near = {(leak.one, leak.other) for leak in splits.find_leaks(parts, x)}
        assert len(near & set(zip(one.tolist(), other.tolist(), strict=True))) >= 9  # one may be flat


def test_files_are_told_apart_by_bytes_pixels_and_looks(tmp_path):
    x, other = datasets.photograph("cat"), datasets.photograph("coffee")
    grey = np.repeat(datasets.photograph("camera", size=64)[:1], 3, axis=0)
    files = {
        "a.png": saved(x, "PNG"), "b.png": saved(x, "PNG"), "c.bmp": saved(x, "BMP"), "d.jpg": saved(x, quality=70),
        "e.webp": saved(x, "WEBP", quality=80), "f.png": saved(other, "PNG"), "g.png": saved(grey[:1], "PNG"),
        "h.png": saved(grey, "PNG"), "i.png": io.BytesIO(b"no picture"), "j.png": io.BytesIO(b"none either"),
        "k.png": saved(np.full((1, 50, 50), 255, np.uint8), "PNG"), "l.png": saved(np.full((1, 50, 50), 254, np.uint8), "PNG"),
        "m.bmp": saved(np.full((1, 50, 50), 255, np.uint8), "BMP"),
    }  # fmt: skip
    for name, held in files.items():
        (tmp_path / name).write_bytes(held.getvalue())
    names = list(files)
    paths = [tmp_path / name for name in names] + [tmp_path / "gone.png"]
    places = {name: i for i, name in enumerate(names)}
    train = [places[name] for name in ("a.png", "g.png", "i.png", "k.png")] + [len(names)]
    parts = splits.Parts(np.array(train), np.array([]), np.array([i for i in range(len(names)) if i not in train]))
    found = {(leak.one, leak.other): leak.why for leak in splits.find_leaks(parts, paths, names=[*names, "gone"])}
    assert found == {
        ("a.png", "b.png"): "the same bytes",
        ("a.png", "c.bmp"): "the same pixels",
        ("a.png", "d.jpg"): "nearly the same picture",
        ("a.png", "e.webp"): "nearly the same picture",
        ("g.png", "h.png"): "the same pixels",
        ("k.png", "m.bmp"): "the same pixels",
    }
    assert splits.find_leaks(parts, paths)[0].one == str(paths[0])


def test_one_picture_in_many_copies_does_not_fill_the_page():
    x = np.repeat(datasets.photograph("cat", size=32)[None], 300, axis=0)
    parts = splits.divide([0] * 300)
    found = splits.find_leaks(parts, x)
    assert {leak.one for leak in found} | {leak.other for leak in found} == set(range(300)) and len(found) <= 600
    assert (splits.near_groups(x) == 0).all()
    with pytest.raises(ValueError, match="1 groups are too few"):
        splits.divide([0] * 300, groups=splits.near_groups(x))


def test_one_place_on_two_sides_is_a_leak():
    x = datasets.load("faces").x_train
    parts = splits.Parts(np.array([0, 1, 2]), np.array([3, 4]), np.array([5, 2]))
    assert [(leak.one, leak.other, leak.sides) for leak in splits.find_leaks(parts, x)] == [(2, 2, ("train", "test"))]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 70), st.integers(1, 70), st.sampled_from([np.uint8, np.float32, np.float64]))
def test_a_hash_of_any_picture(c, h, w, dtype):
    x = np.random.default_rng(h * w).integers(0, 256, (c, h, w), dtype=np.uint8)
    x = x if dtype == np.uint8 else x.astype(dtype) / 255
    value = splits.picture_hash(x)
    assert 0 <= value < 2**64 and isinstance(value, int) and value == splits.picture_hash(x.copy())


@pytest.mark.parametrize(
    "x", [np.zeros((2, 3, 8, 8)), np.zeros((8, 8)), np.zeros((3, 0, 8)), np.full((1, 8, 8), 300.0)]
)
def test_what_has_no_hash(x):
    with pytest.raises(ValueError):
        splits.picture_hash(x)


@pytest.mark.parametrize("parts", [([0], [1]), ([0], [1], [9]), ([0], [1], [-1]), ([0.5], [1], [2]), ([[0]], [1], [2])])
def test_parts_that_are_none(parts):
    with pytest.raises(ValueError, match="parts should"):
        splits.find_leaks(parts, np.zeros((3, 1, 20, 20), np.uint8))


# Folders, arrays, Data


@pytest.fixture
def people(tmp_path):
    "Twelve people of two classes, three small pictures of each; one is saved a second time, under another name."
    rng, root = np.random.default_rng(0), tmp_path / "people"
    for i in range(12):
        face = to_size(rng.integers(0, 256, (3, 6, 6), dtype=np.uint8), 48)
        for shot in range(3):
            noisy = np.clip(face + rng.integers(-40, 41, (3, 12, 12)).repeat(4, axis=1).repeat(4, axis=2), 0, 255)
            folder = root / ("happy", "sad")[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"p{i}_{shot}.png").write_bytes(saved(noisy.astype(np.uint8), "PNG").getvalue())
    copy = read_picture(root / "happy" / "p0_0.png")
    (root / "sad" / "copy.jpg").write_bytes(saved(copy, quality=90).getvalue())
    return root


def person(path):
    return path.stem.split("_")[0]


def test_a_folder_is_split_by_person(people):
    stream = datasets.stream_folder(people, size=16, seed=4)
    parts = datasets.split(stream, groups=person)
    assert isinstance(parts, datasets.Split)
    of = [{person(file) for file in part.files} for part in parts]
    assert not (of[0] & of[1] or of[0] & of[2] or of[1] & of[2]) and sum(map(len, of)) == 13
    assert all(set(part.y.tolist()) == {0, 1} and part.classes == ("happy", "sad") for part in parts)
    assert all(
        person(part.files[i]) == "copy" or part.files[i].parts[0] == part.classes[part.y[i]]
        for part in parts
        for i in range(len(part.files))
    )
    again = datasets.split(stream, groups=[person(file) for file in stream.files])
    assert [part.files for part in parts] == [part.files for part in again]
    assert [p.files for p in stream.split()] == [p.files for p in datasets.split(stream, seed=4)]
    for x, y in parts.test:
        assert x.shape[1:] == (3, 16, 16) and len(y)


def test_the_copy_is_found_wherever_it_stands(people):
    stream = datasets.stream_folder(people, size=16)
    for seed in range(5):
        parts = stream.split(0.4, 0.3, 0.3, seed=seed)
        side = {file.name: name for name, part in parts._asdict().items() for file in part.files}
        found = {(leak.one, leak.other) for leak in datasets.leaks(parts)}
        apart = side["copy.jpg"] != side["p0_0.png"]
        assert {frozenset(pair) for pair in found} == (
            {frozenset(("happy/p0_0.png", "sad/copy.jpg"))} if apart else set()
        )


def test_known_broken_files_stay_known(people):
    (people / "sad" / "copy.jpg").write_bytes(b"no picture")
    stream = datasets.stream_folder(people, size=16)
    for _ in stream:
        pass
    parts = stream.split()
    assert sum(len(part.reasons) for part in parts) == 1
    assert {name for part in parts for name, _ in part.broken} == {"sad/copy.jpg"}


def test_the_test_part_of_a_data_stays():
    data = datasets.load("digits")
    parts = datasets.split(data)
    assert parts.test[0] is data.x_test and parts.test[1] is data.y_test
    n = len(data.y_train)
    assert abs(len(parts.validation[1]) - n / 4) <= 1 and len(parts.train[1]) + len(parts.validation[1]) == n
    rows = {x.tobytes() for x in parts.train[0]} | {x.tobytes() for x in parts.validation[0]}
    assert rows == {x.tobytes() for x in data.x_train}
    assert [len(y) for _, y in datasets.split(data, 100, 50)] == [100, 50, len(data.y_test)]
    assert [len(y) for _, y in datasets.split(data, None, 50)][:2] == [n - 50, 50]
    assert abs(len(datasets.split(data, 0.9, 0.1).validation[1]) - n / 10) <= 1
    where = {x.tobytes(): i // 7 for i, x in enumerate(data.x_train)}
    found = datasets.split(data, groups=np.arange(n) // 7)
    assert not {where[x.tobytes()] for x in found.train[0]} & {where[x.tobytes()] for x in found.validation[0]}


@pytest.mark.parametrize("make", [list, np.asarray, lambda v: __import__("torch").as_tensor(np.asarray(v))])
def test_pairs_of_any_kind(make):
    x, y = make([[i, i] for i in range(40)]), make([i % 2 for i in range(40)])
    parts = datasets.split((x, y), groups=[i // 2 for i in range(40)])
    seen = [int(row[0]) for part in parts for row in part[0]]
    assert sorted(seen) == list(range(40)) and [len(part[1]) for part in parts] == [24, 8, 8]
    assert all(int(row[0]) % 2 == int(label) for part in parts for row, label in zip(*part, strict=True))


@pytest.mark.parametrize(
    ("data", "options", "text"),
    [
        (np.zeros((4, 3)), {}, "split takes a PictureFolder, a Data, or a pair"),
        ("folder", {}, "not str"),
        (((1, 2, 3), (0, 1)), {}, "3 pictures and 2 labels"),
        (((1, 2, 3), (0, 1, 0)), {"groups": str}, "a function of the path is for a folder"),
    ],
)
def test_what_cannot_be_split(data, options, text):
    with pytest.raises(ValueError, match=text):
        datasets.split(data, **options)
