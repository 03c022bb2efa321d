"""What the tests share: the course, its executed notebooks, its site, and the closing lines."""

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock

os.environ.setdefault(
    "TF_ENABLE_ONEDNN_OPTS", "0"
)  # read at TensorFlow's import; its oneDNN kernels abort on odd layers

# The tests send these to commands that they start. A shell that starts the tests in the background has them ignored, and children inherit that.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

COURSE = Path(__file__).parents[1]
OFFLINE = COURSE / "tests" / "offline"
COMMAND = str(Path(sys.executable).with_name("cnncourse"))


def cnncourse(*arguments, cwd=COURSE, **environment) -> subprocess.CompletedProcess:
    "Call the command as a user does, with the network blocked."
    paths = f"{OFFLINE}{os.pathsep}{COURSE}"  # the copy under test, whichever the environment has
    env = {**os.environ, "PYTHONPATH": paths, "CI": "true", "COLUMNS": "200", **environment}
    return subprocess.run([COMMAND, *map(str, arguments)], cwd=cwd, env=env, capture_output=True, text=True)


def notebook(*sources: str) -> str:
    "A notebook of code cells as JSON text; the first is tagged `parameters`."
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "source": s, "outputs": [], "execution_count": None}
        for n, s in enumerate(sources)
    ]
    cells[0]["metadata"]["tags"] = ["parameters"]
    metadata = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def course(tmp_path) -> Path:
    "A small course of its own: two notebooks, a module, a lock."
    (tmp_path / "nbs").mkdir()
    (tmp_path / "settings.ini").write_text("[DEFAULT]\nlib_name = cnncourse\n")
    (tmp_path / "constraints.txt").write_text("numpy==2\n")
    (tmp_path / "nbs/01_first.ipynb").write_text(notebook("seed = 0\nfull = False", "print(seed)"))
    (tmp_path / "nbs/02_second.ipynb").write_text(notebook("seed = 0\nrate = 0.1", "print(rate)"))
    return tmp_path


@pytest.fixture(scope="session")
def one_run(tmp_path_factory) -> FileLock:
    "Held by whoever runs the real course, in which one run is allowed at a time: other processes of pytest wait."
    folder = tmp_path_factory.getbasetemp()
    return FileLock((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "run.lock")


@pytest.fixture(scope="session")
def executed(one_run) -> Path:
    "The real course with every notebook executed, the network blocked."
    with one_run:
        done = cnncourse("run")
    assert done.returncode == 0, done.stdout + done.stderr
    return COURSE


def _first(*commands: str) -> str | None:
    return next(filter(None, map(shutil.which, commands)), None)


BROWSER = _first("chromium", "chromium-browser", "google-chrome")
QUARTO = _first("quarto")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no browser here: apt-get install chromium")
TORCHVISION = os.environ.get("CNNCOURSE_TORCHVISION")
needs_torchvision = pytest.mark.skipif(
    TORCHVISION is None, reason="no torchvision here: see the first lines of benchmarks/imports.py"
)
SACREBLEU = find_spec("sacrebleu")
needs_sacrebleu = pytest.mark.skipif(SACREBLEU is None, reason="no sacrebleu here: make setup installs it")
PYCOCOTOOLS = find_spec("pycocotools")
needs_pycocotools = pytest.mark.skipif(PYCOCOTOOLS is None, reason="no pycocotools here: `make setup` installs it")
needs_quarto = pytest.mark.skipif(QUARTO is None, reason="no quarto here: conda env create -f environment.yml")


FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def browser():
    "A headless Chromium that talks to nobody by itself."
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield chromium
        chromium.close()


def pytest_terminal_summary(terminalreporter):
    "Name the curriculum lines whose lesson is still to be written, and what could not be tried: no failures."
    from cnncourse import curriculum

    if TORCHVISION is None:
        terminalreporter.write_line("CNNCOURSE_TORCHVISION names no folder: torchvision's models were not tried.")

    if SACREBLEU is None:
        terminalreporter.write_line("sacrebleu is not installed here: BLEU was not compared with it.")

    planned = [line.number for line in curriculum.planned(COURSE / "nbs")]
    if planned:
        terminalreporter.write_line(f"Curriculum lines without a lesson yet ({len(planned)}): {' '.join(planned)}")
