"""`make setup` installs once, again when the lock changes, and from the start when it was cut off; a stand-in plays Python and pip."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import COURSE

PYTHON = """#!/bin/sh
# stands for python3: answers the version check and makes a .venv whose pip writes down its calls
case "$1" in
  -m) mkdir -p .venv/bin; cp pip .venv/bin/pip ;;
  *) exit 0 ;;
esac
"""
PIP = """#!/bin/sh
echo "$@" >> calls
if [ -e slow ]; then sleep 60; fi
"""


@pytest.fixture
def clone(tmp_path) -> Path:
    for name in ("Makefile", "constraints.txt", "settings.ini", "setup.py", "pyproject.toml"):
        shutil.copy(COURSE / name, tmp_path / name)
    for name, text in (("python", PYTHON), ("pip", PIP)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def setup(clone: Path, *variables: str) -> str:
    call = ["make", "setup", "PYTHON=./python", *variables]
    return subprocess.run(call, cwd=clone, check=True, capture_output=True, text=True).stdout


def calls(clone: Path) -> list[str]:
    return (clone / "calls").read_text().splitlines() if (clone / "calls").exists() else []


def test_it_installs_once(clone):
    setup(clone)
    assert len(calls(clone)) == 1 and calls(clone)[0].endswith("-e .[all]")
    setup(clone)
    assert len(calls(clone)) == 1


def test_it_installs_again_when_the_lock_changes(clone):
    setup(clone)
    later = time.time() + 10
    os.utime(clone / "constraints.txt", (later, later))
    setup(clone)
    assert len(calls(clone)) == 2


def test_the_torch_index_is_used(clone):
    setup(clone, "TORCH_INDEX=https://example.org/cpu")
    assert calls(clone)[0].endswith("torch --index-url https://example.org/cpu")
    assert len(calls(clone)) == 2


def test_cut_off_it_starts_again_and_finishes(clone):
    (clone / "slow").touch()
    child = subprocess.Popen(
        ["make", "setup", "PYTHON=./python"], cwd=clone, start_new_session=True, stdout=subprocess.DEVNULL
    )
    while not calls(clone):
        assert child.poll() is None
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert not (clone / ".venv/ready").exists()
    (clone / ".venv/half-written").touch()
    (clone / "slow").unlink()
    assert "An earlier set-up was cut off" in setup(clone)
    assert (clone / ".venv/ready").exists() and not (clone / ".venv/half-written").exists()


def test_an_old_python_is_refused_with_one_sentence(clone):
    (clone / "python").write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.1\nexit 1\n')
    done = subprocess.run(["make", "setup", "PYTHON=./python"], cwd=clone, capture_output=True, text=True)
    assert done.returncode != 0
    assert "cnncourse needs Python 3.11 or newer; ./python is Python 3.9.1" in done.stdout
    assert not (clone / ".venv").exists()


def without_flock(folder: Path) -> dict[str, str]:
    "An environment whose PATH has the tools of the recipe and no flock, as on macOS."
    tools = folder / "tools"
    tools.mkdir()
    for tool in ("sh", "ln", "readlink", "mv", "rm", "mkdir", "touch", "sleep", "cp", "make", "cat"):
        (tools / tool).symlink_to(shutil.which(tool))
    return {"PATH": str(tools)}


@pytest.mark.parametrize("flock", [True, False])
def test_a_second_make_waits_and_installs_nothing(clone, flock):
    environment = {**os.environ, **({} if flock else without_flock(clone))}
    (clone / "pip").write_text('#!/bin/sh\necho "$@" >> calls\nsleep 2\n')
    call = {"cwd": clone, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    first = subprocess.Popen(["make", "setup", "PYTHON=./python"], **call)
    while not calls(clone):
        assert first.poll() is None
        time.sleep(0.05)
    (clone / ".venv/of-the-first").touch()
    second = subprocess.Popen(["make", "setup", "PYTHON=./python"], **call)
    said = second.communicate()[0]
    assert first.wait() == second.returncode == 0, said
    assert said.count("Another make is setting up here; waiting for it.") == 1
    assert "cut off" not in said + first.stdout.read()
    assert len(calls(clone)) == 1 and (clone / ".venv/of-the-first").exists()
    assert sorted(clone.glob(".venv.lock*")) == ([clone / ".venv.lock"] if flock else [])


def test_a_lock_whose_owner_is_gone_blocks_nothing(clone):
    gone = subprocess.Popen(["true"])
    gone.wait()
    (clone / ".venv.lock.pid").symlink_to(str(gone.pid))
    call = {"cwd": clone, "env": {**os.environ, **without_flock(clone)}, "capture_output": True, "text": True}
    done = subprocess.run(["make", "setup", "PYTHON=./python"], check=True, **call)
    assert "waiting" not in done.stdout and len(calls(clone)) == 1
