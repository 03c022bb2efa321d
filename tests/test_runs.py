"""`cnncourse run`: what runs again, what survives a kill, what a cluster does, and what bad input gets."""

import asyncio
import json
import os
import queue
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zmq
import zmq.asyncio
from conftest import COMMAND, COURSE, cnncourse, notebook
from jupyter_client.session import Session

from cnncourse import runs, supervisor


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


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    "The real course's notebooks and library, to be changed."
    folder = tmp_path_factory.mktemp("copied")
    for name in ("nbs", "cnncourse"):
        shutil.copytree(
            COURSE / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        )
    return folder


def keys(course: Path) -> dict[str, str]:
    return {name: runs.key(course, path) for name, path in runs.notebooks(course).items()}


def importers(course: Path, *names: str) -> set[str]:
    "The notebooks whose cells, or modules that they import, import one of these modules."
    reached = {name: runs.modules(course, runs.code(runs.read_notebook(path))) for name, path in runs.notebooks(course).items()}  # fmt: skip
    return {name for name, found in reached.items() if {f"{module}.py" for module in names} & set(found)}


@pytest.mark.parametrize(
    ("file", "modules"),
    [
        ("static/player.js", ["drawing"]),
        ("static/player.css", ["drawing"]),
        ("static/hangul.ttf", ["drawing"]),
        ("weights/backbone.safetensors", ["transfer"]),
        ("data/flights_2008.csv", ["datasets"]),
        ("curriculum.toml", ["curriculum"]),
        ("scaling.py", ["scaling"]),
    ],
)
def test_what_a_module_reads_from_the_package_counts(copied, file, modules):
    path = copied / "cnncourse" / file
    content, before = path.read_bytes(), keys(copied)
    path.write_bytes(content + b"\n")
    changed = {name for name, key in keys(copied).items() if key != before[name]}
    path.write_bytes(content)
    assert importers(copied, *modules) <= changed < set(before)


@pytest.mark.parametrize("week", ["convolution", "pooling", "figures"])
def test_an_exercise_sheet_counts_for_the_pages_that_show_it(copied, week):
    path = copied / "cnncourse/questions" / f"{week}.py"
    content, before = path.read_bytes(), keys(copied)
    path.write_bytes(content + b"\n# changed")
    changed = {name for name, key in keys(copied).items() if key != before[name]}
    path.write_bytes(content)
    pages = {name for name in before if name.endswith(f"_{week}")}
    assert len(pages) == 2 and pages <= changed
    assert {name for name in changed if name.startswith("exercises/")} < pages


@pytest.mark.parametrize("name", ["scaling.png", "scaling.npz", "scaling.so", "scaling.txt", "scaling.py~"])
def test_a_file_beside_a_module_is_not_read(copied, name):
    before = keys(copied)
    (copied / "cnncourse" / name).write_bytes(b"\x89PNG\xff\xfe")
    assert keys(copied) == before


def package(folder: Path, version: str):
    "A package as pip installs it."
    (folder / "madeup_package.py").write_text("")
    about = folder / "madeup_package-1.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: madeup_package\nVersion: {version}\n")


def test_an_upgrade_runs_again_what_imports_it(course, tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    package(site, "1.0")
    (course / "nbs/01_first.ipynb").write_text(
        notebook("seed = 0", "def f():\n    import madeup_package as m, json\nf()")
    )
    paths = os.pathsep.join(map(str, [site, COURSE]))
    assert "(2 of 2)" in cnncourse("run", cwd=course, PYTHONPATH=paths).stdout
    assert "All 2 notebooks are current." in cnncourse("run", cwd=course, PYTHONPATH=paths).stdout
    package(site, "1.1")
    done = cnncourse("run", cwd=course, PYTHONPATH=paths)
    assert "01_first: done" in done.stdout and "1 current, not run again" in done.stdout


def test_a_module_beside_the_notebook_counts(course):
    (course / "nbs/helper.py").write_text("x = 1")
    (course / "nbs/01_first.ipynb").write_text(notebook("seed = 0", "import helper\nprint(helper.x)"))
    executed(course)
    (course / "nbs/helper.py").write_text("x = 2")
    assert executed(course) == {"01_first"}


def test_the_kernel_has_the_library_of_the_course(course):
    (course / "cnncourse").mkdir()
    (course / "cnncourse/__init__.py").write_text("")
    (course / "cnncourse/scaling.py").write_text("here = 'the copy of the course'")
    (course / "nbs/01_first.ipynb").write_text(
        notebook("seed = 0", "from cnncourse import scaling\nprint(scaling.here)")
    )
    done = cnncourse("run", "01_first", cwd=course)
    assert done.returncode == 0, done.stderr
    assert "the copy of the course" in runs.executed(course, "01_first").read_text()
    (line,) = done.stderr.splitlines()
    assert line.startswith("This environment has another copy of cnncourse, ") and str(course / "cnncourse") in line
    (course / "cnncourse/scaling.py").write_text("raise RuntimeError('changed')")
    assert "RuntimeError: changed" in cnncourse("run", "01_first", cwd=course).stderr
    doctor = cnncourse("doctor", cwd=course)
    assert doctor.returncode == 1 and "another copy" in doctor.stdout


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


def test_other_parameters_are_said_and_kept(course):
    done = cnncourse("run", "-p", "rate=0.5", cwd=course)
    assert "rate=0.5" in done.stdout and "With other parameters than the notebooks show: rate=0.5." in done.stdout
    assert runs.records(course)["02_second"].parameters == {"rate": 0.5}
    again = cnncourse("run", "-p", "rate=0.5", cwd=course).stdout
    assert "All 2 notebooks are current." in again and "rate=0.5" in again
    back = cnncourse("run", cwd=course).stdout
    assert "rate" not in back and runs.records(course)["02_second"].parameters == {}


# Small files of ours


RECORD = '{"notebooks": {"01_first": {"key": "k", "sha256": "s", "seconds": %s, "peak_memory": 1, "cells": 2, "finished": "f"}}}'
CUT = ["", "{ cut", "null", "[]", "<<<<<<< HEAD\n{}", "3", "[" * 100_000]


@pytest.mark.parametrize(
    "content", [*CUT, "{}", '{"notebooks": []}', '{"notebooks": {"01_first": {}}}', RECORD % '"x"', RECORD % "NaN"]
)
def test_damaged_times_are_set_aside_and_said(course, content, capsys):
    times = course / "_run/results/times.json"
    times.parent.mkdir(parents=True)
    times.write_text(content)
    assert runs.records(course) == runs.records(course) == {}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{times} was damaged (")
    assert [path.read_text() for path in times.parent.iterdir()] == [content]


@pytest.mark.parametrize("content", [*CUT, '{"01_first": "x"}', '{"01_first": NaN}', '{"01_first": -1}'])
def test_damaged_budgets_are_set_aside_and_said(course, content, capsys):
    path = course / "benchmarks/budgets.json"
    path.parent.mkdir()
    path.write_text(content)
    assert runs.budgets(course) == runs.budgets(course) == ({}, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path} was damaged (")


def test_damaged_files_block_nothing(course):
    for name in ("benchmarks/budgets.json", "_run/results/times.json", "_run/.owner.json"):
        (course / name).parent.mkdir(parents=True, exist_ok=True)
        (course / name).write_text("<<<<<<< HEAD")
    done = cnncourse("run", cwd=course)
    assert done.returncode == 0 and set(runs.records(course)) == {"01_first", "02_second"}
    assert [line.split(" was ")[1][:8] for line in done.stderr.splitlines()] == ["damaged "] * 3


@pytest.mark.parametrize(("there", "over"), [(1e3, True), (1e-9, False)])
def test_a_budget_follows_the_speed_of_the_machine(course, there, over):
    "Recorded where the same work took a thousand seconds, or next to none."
    (course / "benchmarks").mkdir()
    known = {"01_first": 1.0, runs.CALIBRATION: there}
    (course / "benchmarks/budgets.json").write_text(json.dumps(known))
    summary = runs.run(course, ["01_first"])
    assert [outcome.name for outcome in summary.over_budget()] == (["01_first"] if over else [])
    assert summary.budgets["01_first"] == pytest.approx(summary.slowness)


def test_recording_budgets_keeps_the_others_in_this_machines_seconds(course):
    (course / "benchmarks").mkdir()
    here = runs.calibrate()
    (course / "benchmarks/budgets.json").write_text(json.dumps({"02_second": 9.0, runs.CALIBRATION: here * 3}))
    assert cnncourse("run", "01_first", "--record-budgets", cwd=course).returncode == 0
    seconds, there = runs.budgets(course)
    assert set(seconds) == {"01_first", "02_second"} and seconds["02_second"] == pytest.approx(3.0 * there / here, 0.1)


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


def odd(course: Path) -> dict[str, str]:
    "Notebooks that are none, and the beginning of what is said of each."
    nbs = course / "nbs"
    made = {
        "a_deep": "[" * 200_000,
        "b_list": "[]",
        "c_old": '{"nbformat": 3, "worksheets": []}',
        "d_cells": '{"cells": 7}',
        "e_cell": '{"cells": [null]}',
        "f_source": '{"cells": [{"cell_type": "code"}]}',
        "g_kind": '{"cells": [{"cell_type": "drawing", "source": ""}]}',
        "h_merge": "<<<<<<< HEAD\n{}",
    }
    for name, text in made.items():
        (nbs / f"{name}.ipynb").write_text(text)
    (nbs / "i_bytes.ipynb").write_bytes(b"\xff\xfe\x00")
    (nbs / "j_folder.ipynb").mkdir()
    (nbs / "k_link.ipynb").symlink_to("nowhere.ipynb")
    (nbs / "l_loop.ipynb").symlink_to("l_loop.ipynb")
    os.mkfifo(nbs / "m_pipe.ipynb")
    names = {path.stem for path in nbs.glob("[a-m]_*.ipynb")} | {"k_link", "l_loop"}
    return dict.fromkeys(sorted(names))


def test_odd_notebooks_get_one_sentence_each_and_the_others_go_on(course):
    names = odd(course)
    bare = {"cells": [{"cell_type": "code", "source": ["print(40 + 2)"]}]}  # no metadata, no id, no outputs: all right
    (course / "nbs/03_bare.ipynb").write_text(json.dumps(bare))
    done = cnncourse("run", cwd=course)
    said = [line for line in done.stderr.splitlines() if line]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert [line.split(" could not run. ")[0] for line in said] == list(names)
    assert all(line.rstrip().endswith((".", "is none")) for line in said), said
    assert set(runs.records(course)) == {"01_first", "02_second", "03_bare"}
    assert "42" in runs.executed(course, "03_bare").read_text()


def test_a_kernel_that_cannot_start_gets_one_sentence(course, tmp_path_factory):
    broken = tmp_path_factory.mktemp("broken")
    (broken / "ipykernel_launcher.py").write_text("raise SystemExit('no kernel today')")
    paths = os.pathsep.join([str(broken), str(COURSE)])
    done = cnncourse("run", "01_first", cwd=course, PYTHONPATH=paths)
    assert done.returncode == 1
    assert "01_first: could not run after" in done.stdout and "None" not in done.stdout
    assert done.stderr.strip() == (
        "01_first could not run. Its kernel did not start. `make setup` installs what it needs. "
        "Its last words: no kernel today"
    )


def test_a_time_limit_ends_one_notebook_and_the_others_go_on(course):
    (course / "nbs/01_first.ipynb").write_text(notebook("seed = 0", "while True: pass"))
    done = cnncourse("run", "--timeout", "8", cwd=course)
    assert done.returncode == 1
    assert "01_first failed in cell 2: It was ended after 8 s, its time limit." in done.stderr
    assert "Traceback" not in done.stderr
    assert runs.executed(course, "02_second").is_file()


def test_a_long_error_is_shown_by_its_beginning_and_end(course):
    long = ["def f(): f()\nf()", "raise ValueError('x' * 5_000_000)", "raise ValueError('x\\n' * 300_000)"]
    for n, source in enumerate(long, 3):
        (course / f"nbs/0{n}_long.ipynb").write_text(notebook("seed = 0", source))
    done = cnncourse("run", cwd=course)
    assert done.returncode == 1 and done.stderr.count("_long failed in cell 2: ") == len(long)
    assert len(done.stderr) < 90_000 and len(done.stderr.splitlines()) < 300


def test_outputs_that_arrive_late_are_no_time_out(course):
    late = "import IPython, os, time\nkernel = IPython.get_ipython().kernel\nsend = kernel.session.send\n"
    late += "def slowly(stream, kind, *more, **given):\n    sent = kind == 'status' and more and more[0] == {'execution_state': 'idle'}\n"
    late += (
        "    time.sleep(6 * bool(sent))\n    return send(stream, kind, *more, **given)\nkernel.session.send = slowly"
    )
    (course / "nbs/01_first.ipynb").write_text(notebook("seed = 0", late, "print(seed)"))
    (outcome,) = runs.run(course, ["01_first"]).done
    assert outcome.seconds > 6


def test_what_a_notebook_starts_ends_with_it(course):
    apart = "import subprocess\nfor _ in range(3): subprocess.Popen(['sleep', '600'], start_new_session=True)"
    (course / "nbs/01_first.ipynb").write_text(
        notebook("seed = 0", apart, "import os\nprint(os.environ['CNNCOURSE_CHILD'])")
    )
    executed(course)
    mark = re.search(r"[0-9a-f]{16}/\d+:", runs.executed(course, "01_first").read_text())[0]
    assert supervisor.marked(mark) == []


def test_a_name_is_no_markup(course):
    (course / "nbs/03_[old] [red].ipynb").write_text(notebook("seed = 0", "print(1)"))
    done = cnncourse("run", "03_[old] [red]", cwd=course)
    assert done.stdout.count("03_[old] [red]") == 3
    assert cnncourse("run", "03_[old] [red]", cwd=course).stdout.strip() == "The notebook is current."


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


def test_a_reply_that_woke_nobody_is_seen(tmp_path):
    # nbclient answers an output widget on the socket on which it waits: that may use up the one wake-up of a reply
    async def receive():
        context = zmq.asyncio.Context()
        ours, theirs = context.socket(zmq.DEALER), zmq.Socket(zmq.Context(), zmq.DEALER)
        theirs.bind(f"ipc://{tmp_path}/socket")
        ours.connect(f"ipc://{tmp_path}/socket")
        session = Session()
        client = runs._client_class()()
        channel = client.shell_channel_class(ours, session)
        waiting = asyncio.ensure_future(channel.get_msg())
        await asyncio.sleep(0.2)
        session.send(theirs, "reply", {"number": 7})
        raw = zmq.Socket.shadow(ours.underlying)
        while not raw.getsockopt(zmq.EVENTS) & zmq.POLLIN:  # looking uses it up
            time.sleep(0.01)
        message = await asyncio.wait_for(waiting, 10)
        with pytest.raises(queue.Empty):
            await channel.get_msg(timeout=0.1)
        context.destroy(linger=0)
        theirs.close(linger=0)
        return message["content"]

    with ThreadPoolExecutor() as thread:  # a browser that is open keeps a loop running in this one
        assert thread.submit(asyncio.run, receive()).result() == {"number": 7}
