"""Signals to `run`, `site` and `lab`, alone and under `make`: one line, and nothing runs on after the command."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import COMMAND, COURSE, cnncourse, notebook
from killing import Trial, moments, page, run_trial, write_course

from cnncourse import runs, supervisor

STOPPED = supervisor.STOPPED


@pytest.fixture(scope="module")
def courses(tmp_path_factory) -> dict[bool, Path]:
    "A course that never ends, and one whose notebooks are executed."
    top = tmp_path_factory.mktemp("courses")
    made = {endless: top / f"endless-{endless}" for endless in (True, False)}
    for endless, folder in made.items():
        write_course(folder, endless)
    assert runs.run(made[False]).failed == []
    return made


def tried(courses, tmp_path, *about) -> Trial:
    course = tmp_path / "course"
    shutil.copytree(courses[about[0] != "site"], course)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return run_trial(Trial(*about), course, port)


KINDS = [
    *itertools.product(["run", "run -j 1"], ["alone"], ["TERM", "KILL"]),
    *itertools.product(["lab"], ["alone"], ["INT", "TERM", "KILL", "HUP"]),
    *itertools.product(["site"], ["alone"], ["TERM", "KILL"]),
    *itertools.product(["run", "lab"], ["make"], ["TERM", "KILL"]),
]


@pytest.mark.parametrize(("command", "under", "name"), KINDS)
def test_nothing_runs_on(courses, tmp_path, command, under, name):
    moment = next(moments(KINDS.index((command, under, name)), 2.0))
    trial = tried(courses, tmp_path, command, under, name, moment, True)
    assert trial.before and trial.held() and trial.plain(), trial
    if under == "alone" and name != "KILL":
        assert trial.code == 128 + getattr(signal, f"SIG{name}") and trial.said.count(STOPPED) == 1, trial


@pytest.mark.parametrize("seed", range(4))
def test_nothing_runs_on_from_an_early_moment(courses, tmp_path, seed):
    command, under, name = KINDS[3 * seed]
    trial = tried(courses, tmp_path, command, under, name, next(moments(seed, 4.0)))
    assert trial.before and trial.held() and trial.plain(), trial


def test_a_guard_that_is_killed_too_leaves_nothing_for_long(courses, tmp_path):
    course, temporary = tmp_path / "course", tmp_path / "t"
    shutil.copytree(courses[True], course)
    temporary.mkdir()
    env = {**os.environ, "TMPDIR": str(temporary), "CI": "true", "PYTHONPATH": str(COURSE)}
    child = subprocess.Popen([COMMAND, "run"], cwd=course, env=env, stdout=subprocess.DEVNULL, start_new_session=True)
    while len(pages := list(course.glob("_run/progress-*/*.json"))) < 2:
        assert child.poll() is None, pages
        time.sleep(0.1)
    (home,) = temporary.glob("cnncourse-*")
    token = home.name.removeprefix("cnncourse-")
    while len(supervisor.marked(f"{token}/")) < 4:  # two kernels and what each has started
        assert child.poll() is None
        time.sleep(0.1)
    guards = [line.split()[0] for line in ps() if "supervisor.guard" in line and token in line]
    for pid in [*guards, child.pid]:
        os.kill(int(pid), signal.SIGKILL)
    child.wait()
    # at once, and beside nothing of the first: this notebook looks for what carries the mark
    look = f"from cnncourse import supervisor\nassert supervisor.marked({token + '/'!r}) == []\nprint('alone here')"
    (course / "nbs/03_look.ipynb").write_text(page("03_look", look))
    done = cnncourse("run", "03_look", cwd=course, TMPDIR=str(temporary))
    assert done.returncode == 0, done.stderr
    assert supervisor.marked(f"{token}/") == [] and list(temporary.iterdir()) == []


def ps() -> list[str]:
    return subprocess.run(["ps", "-eo", "pid,args", "-ww"], capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("arguments", [["run"], ["doctor"], ["--help"]])
def test_a_signal_while_modules_are_read_is_one_line(courses, tmp_path, arguments, times):
    child = subprocess.Popen(
        [COMMAND, *arguments], cwd=courses[True], env={**os.environ, "PYTHONPATH": str(COURSE)}, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    status = Path(f"/proc/{child.pid}/status")
    while not _minds(status):  # the first moment at which Python can do anything about it
        assert child.poll() is None
    for _ in range(times):
        child.send_signal(signal.SIGINT)
    assert (child.communicate()[1], child.returncode) == (f"{STOPPED}\n", 130)


def _minds(status: Path) -> bool:  # TERM is caught: so the command has begun
    caught = next((line for line in status.read_text().splitlines() if line.startswith("SigCgt")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


LOST = """if True:
    import os, signal, threading, time
    from cnncourse import supervisor

    class Timer(threading.Timer):
        def start(self):
            for _ in range(int(more)):
                os.kill(os.getpid(), signal.SIGTERM)
            super().start()

    class Ends:
        def __del__(self):  # where nothing can be raised
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)

    threading.Timer = Timer
    supervisor.mind()
    try:
        with supervisor.working():
            Ends()
            time.sleep(20)
    except supervisor.Stopped:
        print("stopped by", supervisor.stopped())"""


@pytest.mark.parametrize("more", [0, 1])
def test_a_signal_that_is_lost_comes_again_whatever_comes_meanwhile(more):
    call, env = ["-c", LOST.replace("more", str(more))], {**os.environ, "PYTHONPATH": str(COURSE)}
    done = subprocess.run([sys.executable, *call], env=env, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("stopped by 15\n", "")


HALF_MADE = """if True:
    import os, signal
    from cnncourse import supervisor

    class Reader:
        def __init__(self):
            os.kill(os.getpid(), SIGNAL)  # before it has what its end will ask for
            self.file = None

        def __del__(self):
            self.file

    supervisor.mind()
    try:
        with supervisor.working():
            Reader() if SIGNAL else Reader.__new__(Reader)
    except supervisor.Stopped:
        pass"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_a_signal_leaves_half_made_ends_without_a_word(number):
    call, env = ["-c", HALF_MADE.replace("SIGNAL", str(int(number)))], {**os.environ, "PYTHONPATH": str(COURSE)}
    done = subprocess.run([sys.executable, *call], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_half_made_without_a_signal_is_told():
    call, env = ["-c", HALF_MADE.replace("SIGNAL", "0")], {**os.environ, "PYTHONPATH": str(COURSE)}
    done = subprocess.run([sys.executable, *call], env=env, capture_output=True, text=True)
    assert "AttributeError: 'Reader' object has no attribute 'file'" in done.stderr


@pytest.mark.parametrize("pause", [0.0, 0.15, 0.4])
def test_two_quick_ctrl_c_are_one_line(courses, tmp_path, pause):
    course = tmp_path / "course"
    shutil.copytree(courses[True], course)
    env = {**os.environ, "CI": "true", "PYTHONPATH": str(COURSE)}
    child = subprocess.Popen(
        [COMMAND, "run"], cwd=course, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not list(course.glob("_run/progress-*/*.json")):
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    time.sleep(pause)
    child.send_signal(signal.SIGINT)
    assert (child.communicate()[1], child.returncode) == (f"{STOPPED}\n", 130)


def test_under_nohup_the_terminal_may_close(course, tmp_path):
    (course / "nbs/01_first.ipynb").write_text(notebook("seed = 0", "import time\ntime.sleep(2)\nprint(seed)"))
    env = {**os.environ, "PYTHONPATH": str(COURSE)}
    child = subprocess.Popen(["nohup", COMMAND, "run"], cwd=course, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)  # fmt: skip
    while not list(course.glob("_run/progress-*/*.json")):
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGHUP)
    assert "(2 of 2)" in child.communicate()[0] and child.returncode == 0
