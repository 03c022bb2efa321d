"""A person's own pictures: from a folder to a file that predicts, and what bad input gets."""

import csv
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.special import softmax

from cnncourse import arms, classifier, classifier_reports, datasets, gathering, networks, transfer
from cnncourse.classifier import NONE, Classifier
from cnncourse.pictures import PictureError

QUICK = {"arms": ("pixels", "borrowed"), "size": 32}
LINEAR = {"arms": "pixels", "size": 32}


def photograph(name, size, seed):
    "A window of a photograph, with light and noise of its own."
    rng = np.random.default_rng(seed)
    whole = Image.fromarray(np.moveaxis(datasets.photograph(name), 0, -1).squeeze()).convert("RGB")
    side = int(rng.integers(100, 200))
    left, top = rng.integers(0, whole.width - side), rng.integers(0, whole.height - side)
    seen = np.asarray(whole.resize(size, box=(left, top, left + side, top + side)), float)
    return Image.fromarray(
        np.clip(seen * rng.uniform(0.7, 1.2) + rng.normal(0, 4, seen.shape), 0, 255).astype(np.uint8)
    )


def as_from_a_phone(folder, classes, count=9):
    "Mixed sizes, EXIF, PNG with alpha, a broken file, a .heic."
    sizes = [(160, 120), (120, 160), (90, 150), (200, 150)]
    for k, (name, source) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for n in range(count):
            image, path = photograph(source, sizes[n % 4], 100 * k + n), folder / name / f"IMG_{n:04}.jpg"
            if n % 4 == 1:
                turned = Image.Exif()
                turned[0x112] = 6
                image.rotate(90, expand=True).save(path, exif=turned, quality=90)
            elif n % 4 == 2:
                image.putalpha(255)
                image.save(path.with_suffix(".png"))
            else:
                image.save(path, quality=90)
    first = folder / next(iter(classes))
    (first / "broken.jpg").write_bytes((first / "IMG_0000.jpg").read_bytes()[:600])
    (first / "IMG_9.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 50)
    return folder


@pytest.fixture(scope="module")
def phone(tmp_path_factory):
    return as_from_a_phone(
        tmp_path_factory.mktemp("phone") / "pictures", {"벽돌 wall": "brick", "grass": "grass", "cat": "cat"}
    )


@pytest.fixture(scope="module")
def made(phone):
    return Classifier.fit(phone, **QUICK)


# From a folder to a file


def test_a_folder_as_from_a_phone_becomes_a_file_that_predicts_alike_in_both_frameworks(phone, made, tmp_path):
    assert made.classes == ("cat", "grass", "벽돌 wall")
    assert [Path(name).name for name, _ in made.about["unread"]] == ["IMG_9.heic", "broken.jpg"]
    assert sum(map(sum, made.about["counts"].values())) == 27
    path = made.save(tmp_path / "own.cnn")
    here = made.predict(phone)
    assert [Path(name).name for name, _ in here.unread] == ["IMG_9.heic", "broken.jpg"]
    assert len(here) == 27
    for framework in ("torch", "keras"):
        there = Classifier.load(path, framework).predict(phone)
        assert [row.label for row in there.rows] == [row.label for row in here.rows]
        one, other = ([list(row.probabilities.values()) for row in found.rows] for found in (here, there))
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_keras_trains_too_and_pytorch_says_the_same_of_its_file(tmp_path):
    x = np.stack([np.asarray(photograph(name, (32, 32), n)) for name in ("brick", "grass") for n in range(10)])
    x, y = np.moveaxis(x, -1, 1), np.repeat([0, 1], 10)
    made = Classifier.fit(x, y, framework="keras", arms=("pixels", "own"), validation=0.4, test=0.2, leaks="allow")
    assert made.framework == "keras"
    assert made.arms["own"].curves[-1]["loss"] < made.arms["own"].curves[0]["loss"]
    there = Classifier.load(made.save(tmp_path / "own.cnn"))
    one, other = ([list(row.probabilities.values()) for row in c.predict(x).rows] for c in (made, there))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_file_is_read_in_a_process_of_its_own_and_holds_no_code(phone, made, tmp_path):
    path = made.save(tmp_path / "own.cnn")
    assert b"pickle" not in path.read_bytes()[:200_000]
    some = next((phone / "cat").glob("*.jpg"))
    code = (
        f"from cnncourse.transfer import Classifier; print(Classifier.load({str(path)!r}).predict({str(some)!r}).label)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == made.predict(some).label


def test_a_picture_gives_the_same_however_it_comes(phone, made):
    path = phone / "grass" / "IMG_0001.jpg"  # turned by its EXIF
    with Image.open(path) as image:
        upright = np.asarray(image.rotate(-90, expand=True))
        answers = [made.predict(path), made.predict(str(path)), made.predict(image)]
    answers += [made.predict(upright), made.predict(np.moveaxis(upright, -1, 0)), made.predict([path])[0]]
    chances = [list(one.probabilities.values()) for one in answers]
    for other in chances[1:]:
        np.testing.assert_allclose(other, chances[0], atol=0.05)  # a large JPEG is decoded smaller, an array is not
    assert len({one.label for one in answers}) == 1


@pytest.mark.parametrize(
    "x",
    [np.zeros((20, 30), np.uint8), np.zeros((1, 9, 9)), np.ones((40, 20, 3)), np.zeros((3, 8, 500), np.uint8)],
    ids=lambda x: str(x.shape),
)
def test_pictures_of_any_mode_and_size_are_taken(made, x):
    assert sum(made.predict(x).probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_the_same_seed_gives_the_same_classifier_and_the_parts_share_nothing(phone, made):
    again = Classifier.fit(phone, **QUICK)
    for name, weights in made.weights.items():
        np.testing.assert_allclose(again.weights[name], weights, atol=1e-6)
    assert again.about["test"] == made.about["test"]
    assert len(set(np.concatenate(made.parts).tolist())) == 27 == sum(map(len, made.parts))


def test_the_four_ways_are_judged_on_the_same_pictures(phone):
    found = Classifier.fit(phone, size=32)
    assert list(found.arms) == list(arms.ARMS)
    assert len({arm.y.tobytes() for arm in found.arms.values()}) == 1
    assert found.about["chosen"] == arms.choose_arm(found.arms)
    for name, arm in found.arms.items():
        rates = [row["rate"] for row in arm.tries]
        assert len(rates) > 1 and arm.best["rate"] in rates, name
        assert arm.best["accuracy"] == pytest.approx((arm.logits.argmax(axis=1) == arm.y).mean())


def test_nothing_of_the_test_pictures_is_used_to_choose(phone):
    "Other pixels in the test pictures give the same model."
    whole = gathering.gather_pictures(phone, size=32)
    one = Classifier.fit(whole.x, whole.y, classes=whole.classes, leaks="allow", **LINEAR)
    changed = whole.x.copy()
    changed[one.parts.test] = np.random.default_rng(0).integers(0, 256, changed[one.parts.test].shape)
    other = Classifier.fit(changed, whole.y, classes=whole.classes, leaks="allow", **LINEAR)
    assert one.about["arms"]["pixels"]["tries"] == other.about["arms"]["pixels"]["tries"]
    assert one.threshold == other.threshold
    for name, weights in one.weights.items():
        np.testing.assert_array_equal(other.weights[name], weights)


# Which way is taken, and what its last training leaves


def judged(losses, name="made"):
    "An arm whose held-out pictures, of two classes, have these losses."
    logits = np.stack([np.zeros(len(losses)), np.log(np.expm1(losses))], axis=1)
    return arms.Arm(name, None, {}, [], logits, np.zeros(len(losses), int))


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 60), st.floats(-0.3, 0.3), st.floats(0.001, 0.3), st.integers(0, 999))
def test_another_way_is_taken_only_where_its_loss_is_clearly_less_picture_by_picture(n, off, spread, seed):
    rng = np.random.default_rng(seed)
    usual = rng.uniform(1.0, 3.0, n)  # wrong so often that no logits have to be divided less
    other = np.maximum(0.05, usual + off + rng.normal(0, spread, n))
    ways = {"pixels": judged(usual + 1), "own": judged(other), "borrowed": judged(usual)}
    losses = {name: arms._losses(arm) for name, arm in ways.items()}
    gain = losses["borrowed"] - losses["own"]
    clearly = gain.mean() > 2 * gain.std() / np.sqrt(n)
    assert arms.choose_arm(ways) == ("own" if clearly else "borrowed")
    assert arms.choose_arm({"own": ways["own"], "borrowed": ways["own"]}) == "borrowed"


def test_of_several_ways_that_are_clearly_better_the_best_is_taken_and_without_borrowed_features_the_least_loss():
    usual = np.random.default_rng(0).uniform(0.5, 1.0, 40)
    ways = {name: judged(usual * share) for name, share in {"pixels": 0.5, "untrained": 0.3, "own": 0.6}.items()}
    assert arms.choose_arm(ways | {"borrowed": judged(usual)}) == "untrained"
    assert arms.choose_arm(ways) == "untrained"
    assert arms.choose_arm({"own": ways["own"]}) == "own"


def few_textures(per_class, seed, framework="torch"):
    d = datasets.load("textures")
    chosen = transfer.take_per_class(d.y_train, per_class, seed)
    x, y = np.repeat(d.x_train[chosen], 3, axis=1), d.y_train[chosen]
    places = np.random.default_rng(0).permutation(len(y))
    folds = [(np.setdiff1d(places, out), out) for out in np.array_split(places, 3)]
    return arms.Contest(x, y, 3, folds, arms.backbone(), classifier.SLIGHT, framework)


def on(arm, task, places, framework="torch"):
    model = (networks.to_keras if framework == "keras" else networks.to_torch)(arm.net)
    networks.set_weights(model, arm.weights)
    return arms._measured(arms.outputs(model, task.x[places]), task.y[places])


@pytest.mark.parametrize("seed", [0, 3])
def test_a_last_training_that_nobody_watches_ends_as_well_as_the_folds_promise(seed):
    "Twenty textures of a class: with the statistics of its last steps such a model was at chance on what it learnt from."
    task = few_textures(20, seed)
    arm = arms.train_arm("own", task)
    learnt = on(arm, task, task.used)
    assert learnt["loss"] <= arm.best["loss"] + 0.01 and learnt["accuracy"] > 0.9


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_statistics_that_fit_no_weights_are_computed_anew(framework):
    task = few_textures(5, 0, framework)
    net = arms._with_head(arms._own(task.x.shape[1:]), 3)
    model = arms._model(task, net)
    arms._settle(task, model, task.used)
    right = networks.get_weights(model)
    wrong = {name: array + 5 if "running" in name else array for name, array in right.items()}
    assert any("running" in name for name in wrong)
    networks.set_weights(model, wrong)
    arms._settle(task, model, task.used)
    for name, array in networks.get_weights(model).items():
        np.testing.assert_allclose(array, right[name], atol=1e-4)


def test_a_last_training_that_does_worse_than_the_folds_is_not_taken(monkeypatch):
    task = few_textures(5, 0)
    whole, settle = [], arms._settle

    def harmed(task, model, places):
        settle(task, model, places)
        if len(places) == len(task.used):
            weights = networks.get_weights(model)
            networks.set_weights(model, {n: a + 9 if "running" in n else a for n, a in weights.items()})
            whole.append(model)

    monkeypatch.setattr(arms, "_settle", harmed)
    arm = arms.train_arm("own", task)
    assert len(whole) == 1
    learnt = on(arm, task, task.folds[0][0])
    assert learnt["loss"] <= arm.best["loss"] + 0.01


@pytest.mark.parametrize("helps", [True, False], ids=["fine-tuning helps", "fine-tuning does not"])
def test_what_is_said_of_the_borrowed_features_is_true_of_the_model(helps, monkeypatch):
    task = few_textures(5, 1)

    monkeypatch.setattr(arms, "clearly_less", lambda one, other: helps)
    monkeypatch.setattr(arms, "_gain", lambda one, other: np.ones(3))
    arm = arms._borrowed_arm(task)
    fixed = all((arm.weights[key] == array).all() for key, array in task.backbone[1].items())
    assert fixed == (arm.best["what"] == "frozen") == (not helps)
    assert arm.best["pictures"] == len(arm.y) == len(task.held_out)
    assert arm.best["loss"] == pytest.approx(arms._measured(arm.logits, arm.y)["loss"])


# What functions that take a model do with it


def test_functions_that_take_a_model_take_a_classifier(made):
    x = transfer.prepare_images(np.zeros((2, 3, 40, 40), np.uint8), made.net)
    assert networks.summary(made).params == networks.n_params(made.net)
    layer = [node.name for node in made.net.nodes if len(made.net.shapes[node.name]) == 3][-1]
    assert transfer.features(made, x, layer).shape[0] == 2
    np.testing.assert_array_equal(
        networks.grad_cam(made, x, layer, [0, 1]), networks.grad_cam(made.model, x, layer, [0, 1])
    )


def test_fine_tuning_a_classifier_trains_it_in_place(phone, made, tmp_path):
    found = Classifier.load(made.save(tmp_path / "own.cnn"))
    whole = gathering.gather_pictures(phone, size=32)
    before = networks.get_weights(found.model)
    x = transfer.prepare_images(whole.x, found.net)
    transfer.fine_tune(found, x, whole.y, head_epochs=1, epochs=0)
    after = networks.get_weights(Classifier.load(found.save(tmp_path / "more.cnn")).model)
    assert any((after[name] != before[name]).any() for name in before)


# None of these


def test_pictures_of_another_kind_are_more_often_none_of_these_than_known_ones():
    d, other = datasets.load("textures", n_train=90, n_test=90), datasets.load("faces")
    found = Classifier.fit(d.x_train, d.y_train, classes=d.classes, **QUICK)
    known = found.test(d.x_test, d.y_test)
    strange = np.mean([row.label == NONE for row in found.predict(other.x_test).rows])
    assert known.refused.mean() < 0.2 < strange
    row = found.predict(other.x_test[0])
    assert row.nearest in found.classes and (row.label == NONE) == (row.distance > found.threshold)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 9), st.integers(0, 99))
def test_the_nearest_row_is_the_nearest_row(n, m, d, seed):
    rng = np.random.default_rng(seed)
    vectors, bank = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    near, places = classifier.nearest(vectors, bank)
    direct = np.linalg.norm((vectors / np.linalg.norm(vectors, axis=1, keepdims=True))[:, None] - bank, axis=2)
    np.testing.assert_allclose(near, direct.min(axis=1), atol=2e-3)
    np.testing.assert_allclose(direct[np.arange(n), places], direct.min(axis=1), atol=2e-3)


# The linear head against a second source


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 5), st.integers(0, 99))
def test_the_linear_head_is_logistic_regression_on_standardised_features(n_classes, seed):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(60) % n_classes)
    x = rng.normal(size=(60, 6)) * rng.uniform(0.1, 10, 6) + y[:, None]
    weights, bias = arms.linear_weights(x, y, n_classes, 0.1)
    second = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000, tol=1e-8)).fit(x, y)
    np.testing.assert_allclose(softmax(x @ weights.T + bias, axis=1), second.predict_proba(x), atol=5e-3)


def test_a_class_that_a_fold_lacks_gets_no_chance():
    weights, bias = arms.linear_weights(np.eye(4), np.array([0, 0, 2, 2]), 3, 1.0)
    assert (softmax(np.eye(4) @ weights.T + bias, axis=1)[:, 1] < 1e-6).all()


# Stopped and resumed


class Stopped(Exception):
    pass


def test_a_training_that_is_stopped_goes_on_and_ends_alike(phone, made, tmp_path):
    def stop(text):
        if "linear model on bare pixels" in text:
            raise Stopped

    with pytest.raises(Stopped):
        Classifier.fit(phone, keep=tmp_path / "kept", say=stop, **QUICK)
    assert os.listdir(tmp_path / "kept") == ["pixels.arm"]
    told = []
    again = Classifier.fit(phone, keep=tmp_path / "kept", say=told.append, **QUICK)
    assert [line for line in told if "from before" in line] == [line for line in told if "bare pixels" in line]
    for name, weights in made.weights.items():
        np.testing.assert_allclose(again.weights[name], weights, atol=1e-6)


@pytest.mark.parametrize(
    "harm",
    [lambda path: path.write_bytes(b""), lambda path: path.write_bytes(path.read_bytes()[:500])],
    ids=["empty", "cut"],
)
def test_what_is_kept_of_a_stopped_training_is_used_only_if_whole_and_of_the_same(phone, tmp_path, harm):
    found, told = gathering.gather_pictures(phone, size=32), []
    options = {"arms": "pixels", "classes": found.classes, "keep": tmp_path}
    Classifier.fit(found.x, found.y, **options)
    Classifier.fit(found.x, found.y, say=told.append, **options)
    assert "from before" in told[-1]
    Classifier.fit(255 - found.x, found.y, say=told.append, **options)
    assert "from before" not in told[-1]
    harm(tmp_path / "pixels.arm")
    Classifier.fit(found.x, found.y, say=told.append, **options)
    assert "from before" not in told[-1]


# What bad input gets


def test_two_pictures_of_a_class_are_enough_and_the_notes_say_how_little_that_proves(tmp_path):
    folder = as_from_a_phone(tmp_path / "few", {"wall": "brick", "grass": "grass"}, count=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the split, which says the same
        found = Classifier.fit(folder, arms="borrowed", size=32)
    assert any("only 3 pictures" in note for note in found.about["notes"])


def test_a_class_with_one_picture_is_refused(tmp_path):
    folder = as_from_a_phone(tmp_path / "one", {"wall": "brick", "grass": "grass"}, count=4)
    for path in sorted((folder / "grass").iterdir())[1:]:
        path.unlink()
    with pytest.raises(ValueError, match=r"each class needs 2 pictures or more.*'grass' has 1"):
        Classifier.fit(folder)


def test_a_folder_with_one_class_is_refused(tmp_path):
    folder = as_from_a_phone(tmp_path / "one", {"wall": "brick"}, count=4)
    with pytest.raises((ValueError, datasets.DataError), match=r"two classes|one class|wall"):
        Classifier.fit(folder)


def test_a_test_side_that_leaks_is_refused_unless_told(phone, tmp_path):
    import shutil

    folder = tmp_path / "twice"
    shutil.copytree(phone, folder)
    for path in [*(folder / "cat").glob("IMG_*.jpg")]:
        with Image.open(path) as image:
            image.resize((image.width // 2, image.height // 2)).save(
                path.with_name(f"small_{path.name}"), quality=70, exif=image.getexif()
            )
    with pytest.raises(
        ValueError, match=r"the test would not be honest: cat/.* and cat/.* are nearly the same picture"
    ):
        Classifier.fit(folder, **LINEAR)
    joined = Classifier.fit(folder, leaks="join", **LINEAR)
    side = {joined.pictures.names[i]: number for number, part in enumerate(joined.parts) for i in part}
    for name in side:
        if "small_" in name:
            assert side[name] == side[name.replace("small_", "")], name
    allowed = Classifier.fit(folder, leaks="allow", **LINEAR)
    assert any("alike on two sides" in note for note in allowed.about["notes"])


def test_groups_are_never_on_two_sides(phone):
    found = Classifier.fit(phone, groups=lambda name: name[-5], **LINEAR)
    side = {}
    for number, part in enumerate(found.parts):
        for i in part:
            assert side.setdefault(found.pictures.names[i][-5], number) == number


@pytest.mark.parametrize(
    "options, words",
    [
        ({"arms": "magic"}, "arms should be some of pixels, untrained, own, borrowed"),
        ({"arms": ()}, "arms should be some of"),
        ({"leaks": "ignore"}, "leaks should be one of refuse, join, allow"),
        ({"how": "squash"}, "how should be one of"),
        ({"framework": "jax"}, "framework should be one of torch, keras"),
        ({"validation": 0}, "leave some to learn from"),
        ({"test": 0.9}, "leave some to learn from"),
        ({"none": 2}, "none should be a share"),
        ({"size": 0}, "size"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_options_are_checked_before_any_picture_is_read(options, words):
    with pytest.raises(ValueError, match=words):
        Classifier.fit("no-such-folder", **options)


@pytest.mark.parametrize(
    "data, y, words",
    [
        (np.zeros((4, 3, 8, 8), np.uint8), None, "an array without labels"),
        (np.zeros((4, 8, 8, 3), np.uint8), [0, 1, 0, 1], "channels come first"),
        (np.zeros((4, 3, 8, 8), np.uint8), [0, 1, 0], "4"),
        (np.full((4, 3, 8, 8), 7.0), [0, 1, 0, 1], "0..1|0 to 1"),
        ([], None, "no batch"),
        ([1, 2], None, "gives batches"),
        (7, None, "not from a int"),
    ],
    ids=["no labels", "channels last", "lengths", "range", "no batch", "no pairs", "number"],
)
def test_what_is_no_set_of_pictures_is_named(data, y, words):
    with pytest.raises(ValueError, match=words):
        gathering.gather_pictures(data, y, size=8)


def test_a_judge_of_watch_is_no_classifier(tmp_path):
    from cnncourse.anomaly import Inspector

    good = tmp_path / "good"
    good.mkdir()
    for n in range(6):
        photograph("brick", (48, 48), n).save(good / f"{n}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # six are few for a threshold
        judge = Inspector(size=48).fit(good)
    judge.save(tmp_path / "parts.watch")
    with pytest.raises(ValueError, match="holds no classifier, but a"):
        Classifier.load(tmp_path / "parts.watch")


def test_files_of_another_kind_are_refused_in_a_sentence(made, tmp_path):
    networks.save_weights(made.model, tmp_path / "weights.cnn")
    (tmp_path / "text.cnn").write_text("no classifier")
    whole = made.save(tmp_path / "whole.cnn").read_bytes()
    (tmp_path / "cut.cnn").write_bytes(whole[: len(whole) // 2])
    for name, words in {
        "weights": "weights alone",
        "text": "safetensors",
        "cut": "safetensors",
        "missing": "there is no file",
    }.items():
        with pytest.raises(ValueError, match=words):
            Classifier.load(tmp_path / f"{name}.cnn")
    with pytest.raises(ValueError, match="is a folder"):
        made.save(tmp_path)


def changed(path, change):
    "The file with another header."
    from safetensors.numpy import save

    from cnncourse.weights import read_about, read_weights

    about = read_about(path)
    held = json.loads(about["held"])
    arrays = read_weights(path)
    change(held, arrays)
    path.write_bytes(save(arrays, about | {"held": json.dumps(held)}))
    return path


def test_a_file_of_another_version_says_so_and_one_that_answers_otherwise_is_refused(made, tmp_path):
    path = changed(made.save(tmp_path / "old.cnn"), lambda held, _: held["about"]["versions"].update(cnncourse="0.0.1"))
    with pytest.warns(UserWarning, match=r"saved by cnncourse 0\.0\.1"):
        Classifier.load(path)

    def harm(_, arrays):
        arrays["weights.head.dense.bias"] += 1.5

    with pytest.raises(ValueError, match="answers otherwise here"):
        Classifier.load(changed(made.save(tmp_path / "harmed.cnn"), harm))


def test_no_space_leaves_no_file(made, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    path = made.save(tmp_path / "own.cnn")
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        made.save(path)
    assert os.listdir(tmp_path) == ["own.cnn"] and path.read_bytes() == before


def test_a_picture_that_cannot_be_read_is_named(made, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"broken\.jpg"):
        made.predict(tmp_path / "broken.jpg")
    with pytest.raises(PictureError, match="no such file"):
        made.predict(tmp_path / "missing.jpg")
    assert made.predict([tmp_path / "broken.jpg", tmp_path / "missing.jpg"]).rows == ()


# The reports


def test_the_reports_hold_what_they_promise_and_escape_what_others_named(phone, tmp_path):
    import shutil

    folder = tmp_path / "odd"
    shutil.copytree(phone, folder)
    (folder / "cat").rename(folder / "<b>cat&")
    found = Classifier.fit(folder, **LINEAR)
    page = classifier_reports.report_training(found, tmp_path / "training.html", file="own.cnn").read_text(
        encoding="utf-8"
    )
    for words in (
        found.about["test"],
        "The ways that competed",
        "What was taken for what",
        "Grad-CAM",
        "broken.jpg",
        "IMG_9.heic",
        "own.cnn",
        "none of these",
    ):
        assert words in page, words
    assert "<b>cat" not in page and "&lt;b&gt;cat&amp;" in page and "http" not in page.replace("http-equiv", "")
    told = found.predict(folder)
    page = classifier_reports.report_predictions(found, told, tmp_path / "told.html").read_text(encoding="utf-8")
    assert page.count("<img") == len(told) == 27


def test_the_table_of_predictions_is_safe_in_a_spreadsheet(phone, made, tmp_path):
    for name in ("=1+1.png", "@x.png", "plain, with comma.png"):
        photograph("cat", (40, 30), 5).save(tmp_path / name)
    (tmp_path / "-broken.jpg").write_bytes(b"no")
    path = classifier_reports.write_predictions(made.predict(tmp_path), tmp_path / "found.csv")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["file"] for row in rows) == ["'-broken.jpg", "'=1+1.png", "'@x.png", "plain, with comma.png"]
    assert sum(float(rows[0][name]) for name in made.classes) == pytest.approx(1, abs=1e-3)


def test_a_classifier_that_was_loaded_can_be_reported_and_asked_for_its_worst_only_with_pictures(phone, made, tmp_path):
    again = Classifier.load(made.save(tmp_path / "own.cnn"))
    page = classifier_reports.report_training(again, tmp_path / "again.html").read_text(encoding="utf-8")
    assert made.about["test"] in page
    with pytest.raises(ValueError, match="there is no test to look at"):
        again.worst()
    assert len(again.worst(3, again.test(phone))) == 3
