"""`cnncourse watch` at work: parts of three sizes, a judge kept in a file, known bad parts, a camera's folder, scripts, and the report."""

import csv
import errno
import json
import os
import re
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
from conftest import COMMAND, COURSE, OFFLINE, cnncourse, needs_browser
from PIL import Image
from safetensors.numpy import save_file
from test_reports import Page

from cnncourse import anomaly, datasets, files, pictures, watch_tables, weights

SIZES = ((120, 160), (180, 240), (120, 120))  # height, width


def part(rng, shape, spot=None):
    "A place of a brick wall, at twice the size where the camera is twice as good; `spot` (row, column) as shares gets a white square."
    photo = datasets.photograph("brick")[0]
    row, column = rng.integers(0, 512 - 120), rng.integers(0, 512 - 160)
    scale = max(1, round(shape[1] / 160 * 2) / 2)
    x = photo[row : row + round(shape[0] / scale), column : column + round(shape[1] / scale)]
    x = np.asarray(Image.fromarray(x).resize(shape[::-1])).copy()
    if spot is not None:
        middle, half = [round(side * share) for side, share in zip(shape, spot, strict=True)], round(8 * scale)
        x[middle[0] - half : middle[0] + half, middle[1] - half : middle[1] + half] = 255
    return x


def put(path, x):
    "Write a picture."
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(x).save(path)


def rows_of(path):
    "The rows of a table by file."
    with open(path, encoding="utf-8-sig", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def bricks(tmp_path_factory):
    "Parts of three sizes: good ones, new ones of which every second has a spot, known bad ones, and a saved judge."
    top, rng = tmp_path_factory.mktemp("bricks"), np.random.default_rng(7)
    for i in range(24):
        put(top / f"good/{i:02}.png", part(rng, SIZES[i % 3]))
    for i in range(6):
        put(top / f"new/{i:02}.png", part(rng, SIZES[i % 3], (0.4, 0.6) if i % 2 else None))
    for i in range(4):
        put(top / f"bad/{i:02}.png", part(rng, SIZES[i % 3], (0.5, 0.5) if i else None))
    return top


@pytest.fixture(scope="module")
def judged(bricks):
    "The command with --fit, --save and --bad on them."
    fit = ("--fit", "crop", "--save", "parts.watch", "--bad", "bad", "--q", "1")
    done = cnncourse("watch", "new", "--good", "good", "--out", "first", *fit, cwd=bricks)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_parts_of_three_sizes_are_judged(bricks, judged):
    rows = rows_of(bricks / "first/watch.csv")
    assert {name for name, row in rows.items() if int(row["rank"]) <= 3} == {"01.png", "03.png", "05.png"}
    for name in ("01.png", "03.png", "05.png"):
        row = {
            key: int(rows[name][key]) for key in ("row", "column", "left", "top", "right", "bottom", "height", "width")
        }
        height, width = SIZES[int(name[:2]) % 3]
        assert (row["height"], row["width"]) == (height, width)
        assert abs(row["row"] - 0.4 * height) < 0.12 * height and abs(row["column"] - 0.6 * width) < 0.12 * width
        assert row["left"] <= 0.6 * width <= row["right"] and row["top"] <= 0.4 * height <= row["bottom"]
        assert 0 <= row["left"] < row["right"] <= width and 0 <= row["top"] < row["bottom"] <= height
        assert row["right"] - row["left"] < 0.7 * width
    ranks = sorted(rows.values(), key=lambda row: int(row["rank"]))
    assert [float(row["score"]) for row in ranks] == sorted((float(row["score"]) for row in ranks), reverse=True)
    assert {(row["percentile"], row["verdict"]) for row in ranks[:3]} == {("100.0", "anomaly")}


def test_a_saved_judge_says_the_same_in_a_fresh_process(bricks, judged):
    done = cnncourse("watch", "new", "--model", "parts.watch", "--out", "second", cwd=bricks)
    assert done.returncode == 0, done.stderr
    first, second = (rows_of(bricks / f"{out}/watch.csv") for out in ("first", "second"))
    assert first == second
    assert [line for line in judged.splitlines() if "score" in line] == [
        line for line in done.stdout.splitlines() if "score" in line
    ]
    alone = anomaly.Inspector.load(bricks / "parts.watch").inspect(bricks / "new/03.png")  # without its company
    assert f"{alone.score}" == first["03.png"]["score"]


def test_known_bad_parts_are_counted_and_the_missed_named(bricks, judged):
    assert "3 of 4 known bad pictures found, 75.00% (95% interval 19.41% to 99.37%); missed: 00.png." in judged
    page = (bricks / "first/report.html").read_text()
    assert "3 of 4 known bad pictures found" in page and "Missed" in page


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
def test_every_fit_finds_the_spot_where_it_is(bricks, how):
    inspector = anomaly.Inspector(how=how, q=1.0).fit(bricks / "good")
    for i in (1, 3, 5):
        found = inspector.inspect(bricks / f"new/{i:02}.png")
        assert found.flagged
        height, width = SIZES[i % 3]
        assert abs(found.row - 0.4 * height) < 0.12 * height and abs(found.column - 0.6 * width) < 0.12 * width


def test_what_pad_adds_is_not_judged():
    rng = np.random.default_rng(0)
    good = [rng.integers(90, 130, (1, 48, 64), np.uint8) for _ in range(30)]
    inspector = anomaly.Inspector(how="pad").fit(good)
    found = inspector.inspect(rng.integers(90, 130, (1, 48, 32), np.uint8))
    left, _, right, _ = found.map_box
    assert 16 <= left < right <= 48 and len(np.unique(found.score_map[:, :16])) == 1
    assert not found.flagged
    assert 0 <= found.row < 48 and 0 <= found.column < 32


def test_without_fit_another_size_is_refused_and_the_sentence_names_it(bricks, tmp_path):
    found = anomaly.watch(bricks / "new", bricks / "good", tmp_path / "out")  # 8 of the 24 have one size
    assert len(found.scores) == 2 and len(found.unread) == 4
    assert all("; --fit crop, pad or resize brings all to one size" in why for why in found.unread.values())
    with pytest.raises(pictures.PictureError, match=r"x.png is 10x10 pixels, .*--fit crop, pad or resize"):
        put(tmp_path / "x.png", np.zeros((10, 10), np.uint8))
        anomaly.Inspector.load(save_small(tmp_path)).inspect(tmp_path / "x.png")


def save_small(folder, name="small.watch"):
    "A judge of small grey parts, saved."
    rng = np.random.default_rng(3)
    return (
        anomaly.Inspector().fit([rng.integers(90, 130, (1, 40, 48), np.uint8) for _ in range(30)]).save(folder / name)
    )


@pytest.fixture
def belt(tmp_path):
    "A saved judge of grey parts, and a folder of new ones: 1 and 3 have a bright bar."
    save_small(tmp_path)
    rng = np.random.default_rng(4)
    for i in range(5):
        x = rng.integers(90, 130, (40, 48), np.uint8)
        x[10:16, 5:40] = 250 if i in (1, 3) else x[10:16, 5:40]
        put(tmp_path / f"new/{i}.png", x)
    return tmp_path


# The file


def test_a_saved_judge_is_arrays_and_words_and_nothing_else(belt):
    path = belt / "small.watch"
    about = json.loads(weights.read_about(path)["inspector"])
    assert {"versions", "options", "shape_", "how"} <= set(about) and "numpy" in about["versions"]
    assert all(array.dtype.kind in "fiu" for array in weights.read_weights(path).values())
    assert b"pickle" not in path.read_bytes()


def change(path, arrays=None, **about):
    "The file with other arrays or words."
    head, was = weights.read_about(path) | about, weights.read_weights(path)
    save_file((arrays or (lambda x: x))(was), path, {name: text for name, text in head.items() if text is not None})


def without(arrays, name):
    "All arrays but one."
    return {key: array for key, array in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "there is no file .*small.watch"),
        (lambda path: path.write_bytes(b""), "is not a whole safetensors file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-7]), "is not a whole safetensors file"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "is not a whole safetensors file"),
        (lambda path: change(path, kind=None), "holds no saved judge of watch"),
        (lambda path: change(path, kind="a network"), "holds no saved judge of watch"),
        (lambda path: change(path, format="9"), "saved in format 9, and this cnncourse reads format 1"),
        (lambda path: change(path, inspector="{"), "small.watch is damaged"),
        (lambda path: change(path, inspector="[1]"), "small.watch is damaged"),
        (lambda path: change(path, lambda a: without(a, "mean")), "small.watch is damaged"),
        (lambda path: change(path, lambda a: without(a, "0.kept")), "small.watch is damaged"),
        (lambda path: change(path, lambda a: a | {"0.kept": a["0.kept"][:, :3].copy()}), "small.watch is damaged"),
        (lambda path: change(path, lambda a: a | {"std": a["std"] * np.nan}), "would judge otherwise here"),
        (lambda path: change(path, lambda a: a | {"2.kept": a["2.kept"] * 2}), "would judge otherwise here"),
    ],
)
def test_another_file_is_refused_in_one_sentence(belt, damage, said):
    damage(belt / "small.watch")
    with pytest.raises(ValueError, match=said) as caught:
        anomaly.watch(belt / "new", None, belt / "out", model=belt / "small.watch")
    assert "\n" not in str(caught.value) and not (belt / "out").exists()


def test_a_judge_of_another_version_says_which(belt):
    about = json.loads(weights.read_about(belt / "small.watch")["inspector"])
    about["noise"] += 1
    about["versions"]["numpy"] = "1.0"
    change(belt / "small.watch", inspector=json.dumps(about))
    with pytest.raises(
        ValueError, match=r"would judge otherwise .*numpy 1.0 to .*save it again from the good pictures"
    ):
        anomaly.Inspector.load(belt / "small.watch")


def test_save_writes_over_no_other_file_and_leaves_nothing_half(belt, monkeypatch):
    inspector = anomaly.Inspector.load(belt / "small.watch")
    before = (belt / "new/0.png").read_bytes()
    with pytest.raises(ValueError, match="is no saved judge of watch: name another file"):
        inspector.save(belt / "new/0.png")
    assert (belt / "new/0.png").read_bytes() == before
    inspector.save(belt / "small.watch")  # ours is replaced

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*new.watch"):
        inspector.save(belt / "new.watch")
    with pytest.raises(OSError, match=r"No space left"):
        anomaly.watch(belt / "new", None, belt / "out", model=inspector)
    left = {path.relative_to(belt).as_posix() for path in belt.rglob("*") if path.is_file()}
    assert left == {"small.watch", *(f"new/{i}.png" for i in range(5))}


# Scripts


def test_exit_codes_for_scripts(belt):
    model = ("--model", "small.watch", "--out", "out")
    assert cnncourse("watch", "new", *model, cwd=belt).returncode == 0
    assert cnncourse("watch", "new", *model, "--fail-on-flagged", cwd=belt).returncode == 3
    for i in (1, 3):
        (belt / f"new/{i}.png").unlink()
    quiet = ("--fail-on-flagged", "--method", "sigma", "--k", "9")
    assert cnncourse("watch", "new", *model, *quiet, cwd=belt).returncode == 0
    (belt / "new/torn.png").write_bytes((belt / "new/0.png").read_bytes()[:60])
    assert cnncourse("watch", "new", *model, *quiet, cwd=belt).returncode == 3  # nobody knows whether it is good
    for wrong in (("--fit", "cut"), ("--good", "new/..")):
        done = cnncourse("watch", "new", *model, *wrong, cwd=belt)
        assert (done.returncode, done.stdout) == (2, ""), wrong
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"good": "new/good", "model": "small.watch"}, "there is no folder"),
        ({"good": "empty", "model": "small.watch"}, r"or a saved judge \(--model FILE\); got both"),
        ({"good": None}, "got neither"),
        ({"good": "empty"}, "empty must hold at least 4 pictures of good parts"),
        ({"good": None, "model": "small.watch", "bad": "nowhere"}, "there is no folder .*nowhere"),
        ({"good": None, "model": "small.watch", "bad": "new"}, "known bad ones must be in two folders"),
        ({"good": None, "model": "small.watch", "how": "cut"}, "how must be None or one of"),
        ({"good": None, "model": "small.watch", "seed": 1}, "seed belongs to learning"),
        ({"good": None, "model": "small.watch", "save": "new"}, "new is a folder; name a file to save in"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(belt, options, said):
    (belt / "empty").mkdir()
    places = {name: belt / options[name] for name in ("good", "bad", "model", "save") if options.get(name)}
    options = {"good": None} | options | places
    with pytest.raises(ValueError, match=said) as caught:
        anomaly.watch(belt / "new", out=belt / "out", **options)
    assert "\n" not in str(caught.value) and not (belt / "out").exists()


def test_a_page_that_is_no_report_of_ours_stays(belt):
    (belt / "out").mkdir()
    (belt / "out/report.html").write_text("mine")
    with pytest.raises(ValueError, match=r"report.html is there already and is no report of watch"):
        anomaly.watch(belt / "new", None, belt / "out", model=belt / "small.watch")
    assert [path.name for path in (belt / "out").iterdir()] == ["report.html"]


def test_scores_of_colour_pictures_are_those_of_before(tmp_path):
    rng = np.random.default_rng(0)
    for folder, n in (("good", 40), ("new", 10)):
        for i in range(n):
            x = rng.integers(90, 130, (48, 64, 3), np.uint8)
            x[20:26, 10:50] = (250, 120, 40) if folder == "new" and i % 2 else x[20:26, 10:50]
            put(tmp_path / folder / f"{i:02}.png", x)
    found = anomaly.watch(tmp_path / "new", tmp_path / "good", tmp_path / "out", method="sigma")
    before = [0.2595, 79.0897, -0.0707, 79.1297, -1.2833, 79.0247, -0.3829, 79.0847, -0.1561, 79.0441]
    np.testing.assert_allclose(list(found.scores.values()), before, atol=2e-3)
    assert abs(found.threshold - 3.2125) < 2e-3


# A camera's folder


def test_a_file_is_judged_when_it_is_complete(belt):
    whole, taken = (belt / "new/1.png").read_bytes(), []
    (belt / "new/1.png").unlink()

    def camera():
        with open(belt / "new/late.png", "wb") as file:
            for i in range(0, len(whole), 200):
                file.write(whole[i : i + 200])
                file.flush()
                time.sleep(0.05)

    writing = threading.Thread(target=camera)
    for row in anomaly.follow(belt / "new", None, belt / "out", model=belt / "small.watch", until=5, pause=0.1):
        if not taken:
            writing.start()
        taken.append((row["file"], row["verdict"]))
    writing.join()
    assert ("late.png", "anomaly") in taken and not [name for name, verdict in taken if verdict == "not read"]


def test_what_has_a_line_is_not_judged_again(belt):
    follow = lambda n: [  # noqa: E731
        row["file"]
        for row in anomaly.follow(belt / "new", None, belt / "out", model=belt / "small.watch", until=n, pause=0.01)
    ]
    first = follow(2)
    table = belt / "out/watch.csv"
    table.write_bytes(table.read_bytes()[:-20])  # the power went in the middle of the last line
    second = follow(4)
    assert sorted({*first, *second}) == [f"{i}.png" for i in range(5)] and len(first) + len(second) == 6
    rows = rows_of(table)
    assert sorted(rows) == [f"{i}.png" for i in range(5)] and sorted(int(row["rank"]) for row in rows.values()) == [
        1,
        2,
        3,
        4,
        5,
    ]
    whole = anomaly.watch(belt / "new", None, belt / "whole", model=belt / "small.watch")
    assert rows_of(whole.table) == rows  # and it is the table of the whole folder


def test_names_that_look_alike_are_both_judged(belt):
    for path in (belt / "new").iterdir():
        path.unlink()
    rng = np.random.default_rng(1)
    for name in ("\u1112\u1161.png", "하.png", "=1.png"):
        put(belt / "new" / name, rng.integers(90, 130, (40, 48), np.uint8))
    for n in (3, 1):
        rows = anomaly.follow(belt / "new", None, belt / "out", model=belt / "small.watch", until=n, pause=0.01)
        names = [row["file"] for row in rows]
        put(belt / "new/last.png", rng.integers(90, 130, (40, 48), np.uint8))
        assert sorted(names) == (["=1.png", "하.png", "하.png (2)"] if n == 3 else ["last.png"])
    assert set(rows_of(belt / "out/watch.csv")) == {"'=1.png", "하.png", "하.png (2)", "last.png"}


def test_another_judge_does_not_go_on_with_the_table(belt):
    options = {"model": belt / "small.watch", "until": 1, "pause": 0.01}
    list(anomaly.follow(belt / "new", None, belt / "out", **options))
    before = (belt / "out/watch.csv").read_bytes()
    with pytest.raises(ValueError, match=r"was made with the threshold .* name another folder for the results"):
        list(anomaly.follow(belt / "new", None, belt / "out", q=0.3, **options))
    assert (belt / "out/watch.csv").read_bytes() == before


def test_a_line_without_space_is_not_there_at_all(belt, monkeypatch):
    table = belt / "t.csv"
    watch_tables.write_rows(table, [])
    before = table.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(watch_tables.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*t.csv"):
        watch_tables.append_row(table, watch_tables.not_read("a.png", "is empty"))
    assert table.read_bytes() == before


def test_ctrl_c_ends_a_camera_with_a_whole_table_and_report(belt):
    env = {**os.environ, "PYTHONPATH": f"{OFFLINE}{os.pathsep}{COURSE}", "CI": "true", "PYTHONUNBUFFERED": "1"}
    command = [COMMAND, "watch", "new", "--model", "small.watch", "--out", "out", "--follow"]
    with subprocess.Popen(
        command, cwd=belt, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        lines = [child.stdout.readline() for _ in range(5)]
        child.send_signal(signal.SIGINT)
        out, error = child.communicate(timeout=60)
    assert child.returncode == 0, error
    assert sorted(line.split()[-1] for line in lines) == [f"{i}.png" for i in range(5)]
    assert sum("anomaly" in line for line in lines) >= 2 and "Traceback" not in error
    assert "Report: out/report.html" in out
    assert all(row["rank"] for row in rows_of(belt / "out/watch.csv").values())
    assert not list(belt.rglob("*.part"))


def test_until_ends_with_the_code_of_what_was_flagged(belt):
    done = cnncourse(
        "watch", "new", "--model", "small.watch", "--follow", "--until", "5", "--fail-on-flagged", cwd=belt
    )
    assert done.returncode == 3, done.stderr
    assert len(re.findall(r"(?m)^ +-?\d+\.\d{3}  (?:anomaly|normal ) ", done.stdout)) == 5


# The report


def test_the_report_says_what_to_expect(bricks, judged):
    page = Page((bricks / "first/report.html").read_text())
    text = " ".join(page.words["p"].split())
    for words in (
        "Learnt from 24 pictures of good parts",
        "below 1 in 25 cannot be told",
        "with 95% confidence",
        "percentile",
    ):
        assert words in text, words
    captions = [words for words in page.words["p"].split("score") if re.search(r"\d+\. \d+\.png", words)]
    assert len(captions) == 6
    assert page.words["h1"] == "Parts in new" and "cnncourse watch NEW --model parts.watch" in page.words["code"]


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_on_a_phone(bricks, judged, browser, scheme):
    page, asked = browser.new_page(viewport={"width": 360, "height": 700}, color_scheme=scheme), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((bricks / "first/report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt)")
    flagged = sum(row["verdict"] == "anomaly" for row in rows_of(bricks / "first/watch.csv").values())
    heads = [f"Flagged: {flagged}", f"Not flagged: {6 - flagged}", "The threshold"]
    assert page.locator("h2").all_inner_texts()[:3] == heads
    first = page.locator(".gallery figcaption").first.inner_text()
    ranks = [text.split(".")[0] for text in page.locator(".gallery").first.locator("figcaption").all_inner_texts()]
    assert ranks == [str(i + 1) for i in range(flagged)] and "score" in first
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    page.close()
