"""The whole course, as CI proves it: every cell of every notebook executed without network, and the site built from that."""

import json
import subprocess
import sys
import threading

import pytest
from conftest import OFFLINE, cnncourse, needs_browser
from measuring import measure, too_much

from cnncourse import curriculum, runs
from cnncourse.site import check_links, make_server, page_path


def test_the_network_is_really_blocked():
    code = "import urllib.request; urllib.request.urlopen('http://192.0.2.1', timeout=5)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(OFFLINE)}, capture_output=True, text=True
    )
    assert "The tests block the network, and this code wanted 192.0.2.1." in done.stderr


def test_every_notebook_was_executed(executed):
    assert runs.outdated(executed) == []


def test_every_cell_of_every_notebook_was_executed_and_none_failed(executed):
    for name in runs.notebooks(executed):
        cells = json.loads(runs.executed(executed, name).read_text())["cells"]
        code = [c for c in cells if c["cell_type"] == "code" and "".join(c["source"]).strip()]
        skipped = [c["source"] for c in code if not c["execution_count"]]
        failed = [c["source"] for c in code if any(output["output_type"] == "error" for output in c["outputs"])]
        assert (skipped, failed) == ([], []), name


def test_nothing_changed_runs_nothing(executed, one_run):
    with one_run:
        done = cnncourse("run")
    assert done.stdout.strip() == f"All {len(runs.notebooks(executed))} notebooks are current."


@pytest.fixture(scope="session")
def site(executed):
    done = cnncourse("site")
    assert done.returncode == 0, done.stdout + done.stderr
    return executed / "_docs"


def test_the_site_has_a_page_for_every_notebook_and_no_solution(executed, site):
    assert (site / "index.html").is_file()
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    for name in runs.notebooks(executed):
        assert (page_path(f"nbs/{name}.ipynb") in pages) != name.startswith("exercises/"), name


def test_no_page_asks_another_host(site):
    # the page for lost visitors alone names the place of the site on its host
    assert [found for found in check_links(site) if found[0] != "404.html"] == []


@needs_browser
def test_a_week_is_no_longer_than_one_reads(executed, browser, site):
    found = measure(browser, site)
    assert {
        number: len(week["stations"])
        for number, week in found["weeks"].items()
        if len(week["stations"]) not in (4, 5, 6)
    } == {}
    assert len(found["weeks"]) == len(curriculum.written(executed / "nbs")) and too_much(found) == []


# What visitors look for, and the page that must come first: a part of its address.
QUERIES = {
    "receptive field": "convolution/why-one-pads",
    "learning rate": "scaling/optimisers",
    "batch size": "scaling/",
    "how many parameters": "convolution/",
    "exercises": "#exercises",
    "backpropagation": "convolution/",
    "max pooling vs average pooling": "pooling/",
    "pip install": "nbs/index.html",
    "out of memory": "scaling/batch-normalisation",
    "vanishing gradient": "scaling/batch-normalisation",
    "합성곱": "convolution/one-small-window",
    "풀링": "pooling/max-and-average",
    "학습률": "scaling/optimisers",
    "stride": "convolution/why-one-pads",
    "padding": "convolution/why-one-pads",
    "output size": "convolution/why-one-pads",
    "1x1 convolution": "convolution/",
    "depthwise convolution": "convolution/ways-to-compute",
    "data augmentation": "augmentation/",
    "overfitting": "#C2.3",
    "transfer learning": "transfer/",
    "fine-tuning": "transfer/",
    "freeze layers": "transfer",
    "anomaly detection": "anomaly/",
    "threshold": "anomaly/where-does-the-alarm-begin",
    "ROC curve": "anomaly/",
    "batch normalization": "scaling/batch-normalisation",
    "dropout": "pooling/from-maps-to-a-decision",
    "skip connection": "architectures/",
    "feature map": "convolution/",
    "standardization": "scaling/two-ways-to-scale",
    "global average pooling": "pooling/from-maps-to-a-decision",
    "ResNet": "architectures/resnet",
    "VGG": "architectures/deeper",
    "mixup": "augmentation/",
    "gradient descent": "scaling/",
    "전이 학습": "transfer/",
    "이상 탐지": "anomaly/",
    "배치 정규화": "scaling/batch-normalisation",
    "softmax": "architectures/from-scores",
    "object detection": "detection/",
    "non-maximum suppression": "detection/a-single-shot",
    "anchor box": "detection/who-is-responsible",
    "Dice": "segmentation/",
    "style transfer": "generation/style",
    "LSTM": "sequences/memory",
    "word embedding": "sequences/words",
    "BLEU": "sequences/a-sentence",
}


@needs_browser
def test_search_finds_what_visitors_look_for(browser, site):
    with make_server(site, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/nbs/index.html", wait_until="networkidle")
        page.keyboard.press("/")
        query, wrong = page.locator("dialog.search input"), {}
        for asked, wanted in QUERIES.items():
            query.fill("")
            page.wait_for_function("!document.querySelector('dialog.search .results a')")
            query.fill(asked)
            first = page.locator("dialog.search .results a").first
            first.wait_for()
            if wanted not in (address := first.get_attribute("href")):
                wrong[asked] = address
        page.close()
        server.shutdown()
    assert len(QUERIES) == 48 and len(wrong) <= 4, wrong


def test_the_site_wants_executed_notebooks(course):
    done = cnncourse("site", cwd=course)
    assert done.returncode == 1
    assert "First: cnncourse run" in done.stderr


@needs_browser
def test_the_table_of_all_claims_narrows_to_a_week_and_a_verdict(browser, site):
    page = browser.new_page()
    page.goto((site / "nbs/claims.html").as_uri())
    form = page.locator("form.choose")
    rows = form.locator("xpath=following::table[1]").locator("tbody tr")
    everything = rows.count()
    for week in form.locator("select[name=Week] option").all_inner_texts()[1:]:
        form.locator("select[name=Week]").select_option(week)
        left = [row.locator("td").first.inner_text() for row in rows.all() if row.is_visible()]
        assert left and all(number.startswith(f"C{week}.") for number in left)
    form.locator("select[name=Week]").select_option("")
    counted = 0
    for verdict in form.locator("select[name=Verdict] option").all_inner_texts()[1:]:
        form.locator("select[name=Verdict]").select_option(verdict)
        left = [row.locator("td").last.inner_text() for row in rows.all() if row.is_visible()]
        assert form.locator("output").inner_text() == f"{len(left)} of {everything} claims"
        undecided = ("Not decided yet", "not decided yet", "")
        assert all(text.startswith(undecided if verdict == "Not decided yet" else verdict) for text in left)
        counted += len(left)
    assert counted == everything
    page.close()


def test_the_page_of_claims_shows_the_figure_of_all_effects(site):
    text = (site / "nbs/claims.html").read_text(encoding="utf-8")
    section = text.partition('<h2 id="all-effects"')[2].partition("<h2")[0]
    assert "<img" in section or "<svg" in section
