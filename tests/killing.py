"""What the tests of signals and `benchmarks/signals.py` share: small courses, and one trial of a command that is told to end."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from conftest import COMMAND, COURSE, OFFLINE, notebook

MARK = "CNNCOURSE_TRIAL"  # in the environment of all that a trial starts
ENDLESS = (
    "import subprocess, time\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\nwhile True: time.sleep(0.1)"
)
COMMANDS = {"run": ["run", "-j", "2"], "run -j 1": ["run", "-j", "1"], "lab": ["lab"], "site": ["site"]}
# the command and its guard, with two kernels and a process of each; with JupyterLab and a kernel; with a tool
AT_WORK = {"run": 6, "run -j 1": 4, "lab": 4, "site": 3}
PATIENCE = 5  # seconds until nothing may be left


def page(title: str, *sources: str) -> str:
    "A notebook with a title, as the site wants it."
    made = json.loads(notebook("seed = 0", *sources))
    made["cells"].insert(
        0, {"cell_type": "markdown", "id": "t", "metadata": {}, "source": f"# {title}\n\n> One sentence."}
    )
    return json.dumps(made)


def write_course(folder: Path, endless: bool):
    "Two notebooks that never end, with a process of their own each; or three that the site can be made of."
    (folder / "nbs").mkdir(parents=True)
    for name in ("settings.ini", "setup.py", "pyproject.toml", "Makefile", "_quarto.yml"):
        shutil.copy(COURSE / name, folder / name)
    shutil.copytree(COURSE / "assets", folder / "assets")
    (folder / "constraints.txt").write_text("numpy==2\n")
    config = (folder / "_quarto.yml").read_text()
    for name in ("curriculum", "claims", "glossary"):
        config = config.replace(f"          - nbs/{name}.ipynb\n", "")
    (folder / "_quarto.yml").write_text(config)
    names = ("01_scaling", "02_pooling") if endless else ("index", "01_scaling", "02_pooling")
    for name in names:
        (folder / f"nbs/{name}.ipynb").write_text(page(name, ENDLESS if endless else "print(seed)"))
    time.sleep(0.01)
    (folder / "ready").touch()  # for the Makefile: nothing to set up


def of_trial(secret: str) -> list[psutil.Process]:
    "All living processes that a trial started, however they were started."
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == secret and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@dataclass
class Trial:
    "What became of a command that was told to end."

    command: str  # a key of `COMMANDS`
    under: str  # `alone`, or `make`: then the signal goes to make
    signal: str  # TERM, KILL, INT or HUP
    moment: float  # seconds after the start
    at_work: bool = False  # they count from when its kernels are at work
    before: int = 0  # processes at that moment
    code: int | None = None
    said: str = ""
    left: list[str] = field(default_factory=list)  # processes after `PATIENCE` seconds
    files: list[str] = field(default_factory=list)  # temporary files then
    seconds: float = 0.0  # until nothing was left

    def held(self) -> bool:
        return not self.left and not self.files

    def plain(self) -> bool:
        "No word from deep inside. After a killed `lab` nobody waits for a kernel that is still starting: it may tell its interrupt."
        return "Traceback" not in self.said or (self.command, self.signal) == ("lab", "KILL")


def _call(trial: Trial, course: Path, port: int) -> list[str]:
    options = ["--no-browser", "--port", str(port)] if trial.command == "lab" else []
    if trial.under == "alone":
        return [COMMAND, *COMMANDS[trial.command], *options]
    target = "lab" if trial.command == "lab" else "course"
    # the target's own recipe, with this environment for .venv; `cnncourse lab` gets its port from a stand-in
    tools = course / "bin"
    tools.mkdir()
    (tools / "cnncourse").write_text(f'#!/bin/sh\nexec {COMMAND} "$@" {" ".join(options)}\n')
    (tools / "cnncourse").chmod(0o755)
    return ["make", target, f"BIN={tools}", "READY=ready"]


def _use_a_kernel(log: Path, port: int, over: threading.Event):
    "Start a kernel in JupyterLab once it answers, as a reader does who opens a notebook."
    while not over.wait(0.1):
        if found := re.search(rf"http://127\.0\.0\.1:{port}/lab\S*\?token=(\w+)", log.read_text(errors="replace")):
            address = f"http://127.0.0.1:{port}/api/kernels"
            wanted = urllib.request.Request(address, b"{}", {"Authorization": f"token {found[1]}"})
            with contextlib.suppress(OSError):
                urllib.request.urlopen(wanted, timeout=5).close()
            return


def _described(process: psutil.Process) -> list[str]:  # one line; none if it has just ended
    with contextlib.suppress(psutil.Error):
        return [f"{process.pid} {' '.join(process.cmdline())[:200]}"]
    return []


def _watch(trial: Trial, secret: str, temporary: Path):
    "See what is left, until nothing is or the patience is over."
    began = time.monotonic()
    while True:
        trial.left = [line for process in of_trial(secret) for line in _described(process)]
        trial.files = sorted(os.path.join(where, name) for where, _, names in os.walk(temporary) for name in names)
        trial.files += os.listdir(temporary)
        trial.seconds = round(time.monotonic() - began, 2)
        if trial.held() or trial.seconds > PATIENCE:
            return
        time.sleep(0.1)


def run_trial(trial: Trial, course: Path, port: int) -> Trial:
    "Start the command in a course, send the signal at the moment, and see what is left."
    secret, number = uuid.uuid4().hex, getattr(signal, f"SIG{trial.signal}")
    with tempfile.TemporaryDirectory(prefix="t") as place:
        temporary, home, log = Path(place, "tmp"), Path(place, "home"), Path(place, "log")
        temporary.mkdir()
        home.mkdir()
        env = {**os.environ, "PYTHONPATH": f"{OFFLINE}{os.pathsep}{COURSE}", "CI": "true", MARK: secret}
        env |= {"TMPDIR": str(temporary), "HOME": str(home)}
        env.pop("MAKEFLAGS", None)
        with log.open("w") as out:
            call = _call(trial, course, port)
            child = subprocess.Popen(call, cwd=course, env=env, stdout=out, stderr=out, start_new_session=True)
        over = threading.Event()
        if trial.command == "lab":
            threading.Thread(target=_use_a_kernel, args=(log, port, over), daemon=True).start()
        until = time.monotonic() + 60
        while trial.at_work and len(of_trial(secret)) < AT_WORK[trial.command] + (trial.under == "make"):
            assert child.poll() is None and time.monotonic() < until, log.read_text(errors="replace")
            time.sleep(0.1)
        time.sleep(trial.moment)
        over.set()
        trial.before = len(of_trial(secret))
        child.send_signal(number)
        try:
            _watch_while_reaping(trial, child, secret, temporary)
        finally:
            for process in of_trial(secret):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        trial.code, trial.said = child.wait(), log.read_text(errors="replace")[-4000:]
        runtime = home / ".local/share/jupyter/runtime"
        trial.files += [str(path) for path in runtime.rglob("*") if path.name != "jupyter_cookie_secret"]
    return trial


def _watch_while_reaping(trial: Trial, child: subprocess.Popen, secret: str, temporary: Path):
    reaper = threading.Thread(target=child.wait, daemon=True)  # the trial's own child must not stay as a zombie
    reaper.start()
    _watch(trial, secret, temporary)


def moments(seed: int, longest: float):
    "Random moments, the same for the same seed."
    draw = random.Random(seed)
    while True:
        yield round(draw.uniform(0, longest), 2)
