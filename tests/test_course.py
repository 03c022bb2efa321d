"""The whole course, as CI proves it: every cell of every notebook executed without network, and the site built from that."""

import json
import subprocess
import sys

import pytest
from conftest import OFFLINE, cnncourse

from cnncourse import runs
from cnncourse.site import check_links, page_path


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


def test_the_site_wants_executed_notebooks(course):
    done = cnncourse("site", cwd=course)
    assert done.returncode == 1
    assert "First: cnncourse run" in done.stderr
