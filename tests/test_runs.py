"""`cnncourse run`: what runs again, what survives a kill, what a cluster does, and what bad input gets."""

import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import COMMAND, cnncourse, notebook

from cnncourse import runs


def executed(course: Path) -> set[str]:
    summary = runs.run(course, jobs=2)
    assert summary.failed == []
    return {outcome.name for outcome in summary.done}


# What runs again


def test_nothing_changed_runs_nothing(course):
    assert executed(course) == {"01_first", "02_second"}
    assert executed(course) == set()


def test_file_times_do_not_count(course):
    executed(course)
    for path in course.rglob("*"):
        os.utime(path, (1, 1))
    assert executed(course) == set()


def test_only_the_touched_notebook_runs_again(course):
    executed(course)
    (course / "nbs/02_second.ipynb").write_text(notebook("seed = 0\nrate = 0.1", "print(rate + 1)"))
    assert executed(course) == {"02_second"}


def test_outputs_in_the_source_do_not_count(course):
    executed(course)
    source = json.loads((course / "nbs/01_first.ipynb").read_text())
    source["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "0\n"}]
    (course / "nbs/01_first.ipynb").write_text(json.dumps(source))
    assert executed(course) == set()


def test_a_module_imported_through_another_counts(course):
    (course / "cnncourse").mkdir()
    (course / "cnncourse/scaling.py").write_text("from .pooling import x")
    (course / "cnncourse/pooling.py").write_text("x = 1")
    (course / "cnncourse/other.py").write_text("y = 1")
    (course / "nbs/01_first.ipynb").write_text(notebook("seed = 0", "from cnncourse import scaling"))
    before = {name: runs.key(course, path) for name, path in runs.notebooks(course).items()}
    (course / "cnncourse/other.py").write_text("y = 2")
    assert before == {name: runs.key(course, path) for name, path in runs.notebooks(course).items()}
    (course / "cnncourse/pooling.py").write_text("x = 2")
    changed = {name for name, path in runs.notebooks(course).items() if runs.key(course, path) != before[name]}
    assert changed == {"01_first"}


def test_the_lock_and_a_named_file_count(course):
    (course / "data.csv").write_text("1")
    (course / "nbs/01_first.ipynb").write_text(notebook("seed = 0", "# depends: ../data.csv\nprint(seed)"))
    executed(course)
    (course / "data.csv").write_text("2")
    assert executed(course) == {"01_first"}
    (course / "constraints.txt").write_text("numpy==3\n")
    assert executed(course) == {"01_first", "02_second"}


def test_parameters_count_and_only_for_the_notebooks_that_have_them(course):
    executed(course)
    summary = runs.run(course, given=["rate=0.5"])
    assert [outcome.name for outcome in summary.done] == ["02_second"]
    assert "0.5" in runs.executed(course, "02_second").read_text()
    assert runs.run(course, full=True).current == []  # 01_first has `full`; 02_second goes back to its defaults


def test_a_damaged_result_runs_again(course):
    executed(course)
    file = runs.executed(course, "01_first")
    file.write_text(file.read_text()[:100])
    assert executed(course) == {"01_first"}


def test_a_deleted_notebook_leaves_nothing(course):
    executed(course)
    (course / "nbs/02_second.ipynb").unlink()
    executed(course)
    assert not runs.executed(course, "02_second").exists()
    assert set(runs.records(course)) == {"01_first"}


def test_times_hold_seconds_memory_and_versions(course):
    executed(course)
    times = json.loads((course / "_run/results/times.json").read_text())
    assert set(times["versions"]) >= {"python", "cores", "numpy", "torch"}
    for record in times["notebooks"].values():
        assert record["seconds"] > 0 and record["peak_memory"] > 2**20


# What goes wrong in a notebook


def test_one_failure_does_not_stop_the_others(course):
    (course / "nbs/01_first.ipynb").write_text(notebook("seed = 0", "before = 41 + 1\nbefore", "1 / 0"))
    done = cnncourse("run", cwd=course)
    assert done.returncode == 1
    assert "01_first failed in cell 3: ZeroDivisionError: division by zero" in done.stderr
    assert "    1 / 0" in done.stderr
    partial = course / "_run/failed/01_first.ipynb"
    assert str(partial) in done.stderr
    assert "42" in partial.read_text()
    assert runs.executed(course, "02_second").is_file()


def test_a_kernel_that_dies_gets_one_sentence(course):
    (course / "nbs/01_first.ipynb").write_text(
        notebook("seed = 0", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    )
    summary = runs.run(course, ["01_first"])
    (outcome,) = summary.failed
    assert outcome.error.startswith("The kernel died") and outcome.failed_cell == 2


def test_a_broken_notebook_file_gets_one_sentence_and_the_others_go_on(course):
    (course / "nbs/01_first.ipynb").write_text('{"cells": [')
    done = cnncourse("run", cwd=course)
    assert done.returncode == 1
    assert "is not a notebook that can be read" in done.stderr and "Traceback" not in done.stderr
    assert runs.executed(course, "02_second").is_file()


def test_parameters_that_are_not_plain_values_get_one_sentence(course):
    (course / "nbs/01_first.ipynb").write_text(notebook("seed = 1 +", "print(seed)"))
    done = cnncourse("run", cwd=course)
    assert done.returncode == 1
    assert "must hold only lines `name = value`" in done.stderr and "Traceback" not in done.stderr
    assert runs.executed(course, "02_second").is_file()


def test_over_budget_is_said_of_a_default_run(course):
    (course / "benchmarks").mkdir()
    (course / "benchmarks/budgets.json").write_text('{"01_first": 0.001}')
    assert "over budget" in cnncourse("run", "01_first", cwd=course).stdout
    assert "over budget" not in cnncourse("run", "01_first", "--full", cwd=course).stdout


# Killed


def whole(course: Path) -> None:
    "Under final names lie only whole files, and the records speak the truth."
    for path in (course / "_run").rglob("[!.]*.ipynb"):
        json.loads(path.read_text())
    times = course / "_run/results/times.json"
    if times.exists():
        json.loads(times.read_text())


@pytest.mark.parametrize("repeat", range(4))
def test_killed_at_any_moment_it_goes_on(course, repeat):
    for n in range(3, 6):
        (course / f"nbs/0{n}_more.ipynb").write_text(notebook("seed = 0", "x = 'a' * 200_000\nx", f"print({n})"))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen([COMMAND, "run"], cwd=course, start_new_session=True, **quiet)
    while not (course / "_run").exists():
        assert child.poll() is None
        time.sleep(0.05)
    time.sleep(random.Random(repeat).uniform(0, 6))  # seconds
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    whole(course)
    finished = set(runs.records(course))
    summary = runs.run(course)
    assert set(summary.current) == finished
    assert {outcome.name for outcome in summary.done} == set(runs.notebooks(course)) - finished
    whole(course)
    assert list((course / "_run").glob("progress-*")) == []


def test_two_runs_at_once_do_not_meet(course):
    with runs._alone(course):
        done = cnncourse("run", cwd=course)
    assert done.returncode == 1
    assert "Another `cnncourse run` is at work" in done.stderr


# A cluster


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def cluster(tmp_path_factory):
    "A Dask scheduler and two workers, each a process of its own, on the loopback address."
    port, folder = free_port(), tmp_path_factory.mktemp("cluster")
    address = f"tcp://127.0.0.1:{port}"
    dask = [str(Path(sys.executable).with_name("dask"))]
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    processes = [
        subprocess.Popen([*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"], **quiet)
    ]
    worker = [*dask, "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
    processes += [subprocess.Popen(worker, **quiet) for _ in range(2)]
    _wait_for_workers(address, 2)
    yield address, processes[1:]
    for process in processes:
        process.kill()
        process.wait()


def _wait_for_workers(address: str, n: int):
    from distributed import Client

    with Client(address, timeout=60) as client:
        client.wait_for_workers(n, timeout=60)


def test_a_cluster_runs_the_course_though_a_worker_is_killed(course, cluster):
    address, workers = cluster
    for n in range(3, 7):
        (course / f"nbs/0{n}_slow.ipynb").write_text(notebook("seed = 0", "import time\ntime.sleep(2)", f"print({n})"))
    killed = []

    class KillOne(runs.Display):
        def cell(self, name, at, cells):
            if not killed and "slow" in name and at == 2:
                killed.append(workers[0].pid)
                os.killpg(workers[0].pid, signal.SIGKILL)

    summary = runs.run(course, scheduler=address, display=KillOne())
    assert killed and workers[0].wait() == -signal.SIGKILL
    assert summary.failed == []
    assert {outcome.name for outcome in summary.done} == set(runs.notebooks(course))
    assert runs.outdated(course) == []


def test_no_scheduler_gets_one_sentence(course):
    done = cnncourse("run", "--scheduler", f"tcp://127.0.0.1:{free_port()}", cwd=course)
    assert done.returncode == 1
    assert "No Dask scheduler answers" in done.stderr and "Traceback" not in done.stderr


# Wrong use and a hostile machine


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["01_frist"], "Did you mean 01_first?"),
        (["--param", "sede=1"], "No chosen notebook has a parameter 'sede'"),
        (["--param", "seed=many"], "takes a value of type int such as 0, not 'many'"),
        (["--param", "seed"], "name=value"),
        (["-j", "0"], "Invalid value"),
    ],
)
def test_wrong_use_is_said_before_anything_runs(course, arguments, sentence):
    done = cnncourse("run", *arguments, cwd=course)
    assert done.returncode == 2
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert not (course / "_run").exists()


def test_outside_a_course(tmp_path):
    done = cnncourse("run", cwd=tmp_path)
    assert done.returncode == 2 and "No course here" in done.stderr


def test_a_folder_that_cannot_be_written(course):
    (course / "_run").write_text("a file where the folder should be")
    done = cnncourse("run", cwd=course)
    assert done.returncode == 1
    assert "Cannot write" in done.stderr and "Traceback" not in done.stderr


def test_no_space_left(course):
    (course / "nbs/01_first.ipynb").write_text(notebook("seed = 0", "'a' * 50_000"))

    def small_files():  # a limit on the size of each file stands for a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # bytes

    done = subprocess.run(
        [COMMAND, "run", "-j", "1"], cwd=course, capture_output=True, text=True, preexec_fn=small_files
    )
    assert done.returncode == 1
    assert "Cannot write" in done.stderr and "File too large" in done.stderr and "Traceback" not in done.stderr
    assert not runs.executed(course, "01_first").exists()
    whole(course)


def test_plain_lines_where_there_is_no_terminal(course):
    done = cnncourse("run", cwd=course)
    assert "01_first: started, 2 cells" in done.stdout
    assert "(2 of 2)" in done.stdout and "\x1b" not in done.stdout
    assert "All 2 notebooks are current." in cnncourse("run", cwd=course).stdout
