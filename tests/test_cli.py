"""The command line: help, exit codes, JupyterLab, and one sentence for each mistake."""

import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from conftest import COMMAND, COURSE, cnncourse


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
        # root may not start Jupyter without saying so; the flag comes from the environment of the test alone
        settings = tmp_path / "jupyter_server_config.py"
        settings.write_text("c.ServerApp.allow_root = True\n")
        environment = {"JUPYTER_CONFIG_DIR": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        lab = subprocess.Popen(
            [COMMAND, "lab", "--no-browser", "--port", str(port)],
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
            lab.send_signal(signal.SIGTERM)
            subprocess.run(["pkill", "-TERM", "-s", str(lab.pid)], check=False)
            lab.wait()
