"""The command line: help, exit codes, JupyterLab, and one sentence for each mistake."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import COMMAND, COURSE, cnncourse, notebook

from cnncourse import supervisor


@pytest.mark.parametrize("command", ["run", "site", "lab", "doctor", "data", "bench", "pretrain"])
def test_each_command_has_help(command):
    done = cnncourse(command, "--help")
    assert done.returncode == 0 and "Usage: cnncourse" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rnu"], "No such command"),
        (["site", "--builder", "word"], "--builder is auto, quarto or pandoc, not 'word'."),
        (["bench", "nothing"], "No benchmark is called 'nothing'"),
        (["lab", "--port", "0"], "Invalid value"),
    ],
)
def test_wrong_use_exits_with_2(arguments, sentence):
    done = cnncourse(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr and "Traceback" not in done.stderr


def test_shell_completion_knows_the_notebooks():
    done = cnncourse(_CNNCOURSE_COMPLETE="complete_bash", COMP_WORDS="cnncourse run 01", COMP_CWORD="2")
    assert "01_scaling" in done.stdout


def test_data_that_cannot_be_fetched_gets_one_sentence(tmp_path):
    done = cnncourse("data", "get", "mnist", CNNCOURSE_CACHE=str(tmp_path))
    assert done.returncode == 1
    assert "digits" in done.stderr and "Traceback" not in done.stderr


def test_unknown_data_gets_near_matches():
    done = cnncourse("data", "get", "minst")
    assert done.returncode == 2
    assert "mnist" in done.stderr and "Traceback" not in done.stderr


def test_doctor_tells_what_is_here():
    done = cnncourse("doctor")
    assert done.returncode == 0, done.stdout
    for what in ("Python", "memory", "torch", "keras", "lock", "Quarto", "browser", "data"):
        assert what in done.stdout


def test_a_port_in_use_gets_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = cnncourse("lab", "--no-browser", "--port", port)
    assert done.returncode == 1
    assert done.stderr.strip() == f"Port {port} is in use. Take another: cnncourse lab --port {port + 1}"


def test_lab_opens_on_this_machine_only_and_wants_its_token(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "log"
    with log.open("w") as out:
        # as root, too, as in most containers: nothing but the command itself allows it
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(COURSE)}
        lab = subprocess.Popen(
            [COMMAND, "lab", "--edit", "--no-browser", "--port", str(port)],
            cwd=COURSE,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            while not (found := re.search(rf"http://127\.0\.0\.1:{port}/lab/\S*\?token=(\w+)", log.read_text())):
                assert lab.poll() is None, log.read_text()
                time.sleep(0.2)
            address = f"http://127.0.0.1:{port}/api/contents/nbs"
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(address)
            with urllib.request.urlopen(f"{address}?token={found[1]}") as answer:
                assert b"01_scaling.ipynb" in answer.read()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/lab?token={found[1]}") as page:
                assert b"apputils-extension:announcements" in page.read()  # among the extensions that are switched off
        finally:
            lab.send_signal(signal.SIGINT)  # once
            code = lab.wait()
    said = log.read_text()
    assert code == 130 and said.strip().splitlines()[-1] == supervisor.STOPPED
    assert "y/[n]" not in said and "Traceback" not in said
    assert list((tmp_path / ".local/share/jupyter/runtime").glob("*server*")) == []


def test_what_is_for_jupyterlab_reaches_it(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--no-browser", "--port", port, tmp_path, "--", "--allow-root", "--version"]
    done = cnncourse("lab", *options)
    assert done.returncode == 0
    assert re.search(r"^\d+\.\d+\.\d+$", done.stdout, re.M), done.stdout + done.stderr
    assert cnncourse("lab", "--allow-root", "--version", "--no-browser", "--port", port).returncode == 0


# The last net


NET = """import sys
from cnncourse import cli, runs
def fail(*arguments):
    {body}
runs.find_course = fail
sys.argv = ["cnncourse", "run"]
cli.main()
"""


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("return {}['nothing']", "KeyError: 'nothing'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("fail()", "RecursionError: maximum recursion depth exceeded"),
        ("raise ValueError('one\\ntwo' * 9999)", "ValueError: one"),
        ("raise OSError('without a number')", "OSError: without a number"),
        ("'\\udcff'.encode()", "UnicodeEncodeError: "),
        ("raise MemoryError", "MemoryError: "),
    ],
)
def test_what_nobody_foresaw_is_one_sentence_and_a_log(tmp_path, body, sentence):
    env = {**os.environ, "PYTHONPATH": str(COURSE), "XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    call = [sys.executable, "-c", NET.format(body=body)]
    done = subprocess.run(call, env=env, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and sentence in line
    log = Path(line.rpartition(" ")[2])
    assert log.is_relative_to(tmp_path) and "Traceback (most recent call last)" in log.read_text()


def test_where_no_log_can_be_written_there_is_a_sentence_still(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(COURSE), "HOME": "/dev/null", "XDG_STATE_HOME": "/dev/null"}
    call = [sys.executable, "-c", NET.format(body="import tempfile; tempfile.tempdir = '/dev/null'; 1 / 0")]
    done = subprocess.run(call, env=env, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and "no log could be written: ZeroDivisionError" in line


@pytest.mark.parametrize("encoding", ["ascii", "cp949", "latin-1"])
def test_a_console_with_few_letters_is_no_failure(course, encoding):
    (course / "nbs/03_합성곱.ipynb").write_text(notebook("seed = 0", "print('✓')"))
    env = {**os.environ, "PYTHONPATH": str(COURSE), "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "CI": "true"}
    done = subprocess.run([COMMAND, "run", "03_합성곱"], cwd=course, env=env, capture_output=True)
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    shown = "03_합성곱".encode(encoding, errors="backslashreplace")
    assert shown + b": done" in done.stdout
