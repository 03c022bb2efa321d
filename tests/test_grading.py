"""A class is graded from outside: no answer gains a point by anything but being right, and none touches another's grade."""

import contextlib
import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import unicodedata
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import COMMAND, COURSE, cnncourse

from cnncourse import class_grading, exercises, grading, marking, sandbox, submissions, wire

NO_ISOLATION = sandbox.isolation()
isolated = pytest.mark.skipif(bool(NO_ISOLATION), reason=f"answers cannot be isolated here: {NO_ISOLATION}")
WEEK = "02_convolution"
QUICK = sandbox.Limits(cell=1.0, wait=25.0, processor=60, memory=600 << 20, scratch=4 << 20, reply=1 << 20)


def settings(**about) -> class_grading.Settings:
    return class_grading.Settings(COURSE, trusted=bool(NO_ISOLATION), **{"limits": QUICK, **about})


def teacher(week: str):
    return nbformat.read(COURSE / "nbs" / "exercises" / f"{week}.ipynb", as_version=4)


def handed_in(week: str = WEEK, solved: bool = False, **answers: str) -> bytes:
    "A student's copy with these answers; or with the course's own for all the others."
    book = teacher(week)
    own = {c.metadata.nbgrader.grade_id: c.source for c in book.cells if "nbgrader" in c.metadata}
    copy = grading.student_copy(book)
    for cell in copy.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if name in answers:
            cell.source = answers[name]
        elif solved and "### BEGIN SOLUTION" in own.get(name, ""):
            cell.source = re.sub(r"^\s*#\|.*\n|^\s*### (BEGIN|END) SOLUTION\n?", "", own[name], flags=re.M)
    return json.dumps(copy).encode()


def put(folder: Path, student: str, data: bytes, week: str = WEEK) -> Path:
    path = folder / student / f"{week}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


RIGHT = (
    "def output_size(size, kernel_size, stride, padding):\n    return (size + 2 * padding - kernel_size) // stride + 1"
)
WRONG = "\ndef output_size(*inputs):\n    return 0\n"

# Attacks: a cell each, which leaves a wrong answer behind

ATTACKS = {
    "endless loop": "while True: pass",
    "endless loop in the function": "def output_size(*inputs):\n    while True: pass",
    "loop that catches everything": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "fork bomb": "import os\nwhile True: os.fork()",
    "programs without end": "import subprocess, sys\nwhile True: subprocess.Popen([sys.executable, '-c', 'while True: pass'])",
    "threads without end": "import threading, time\nfor _ in range(5000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "filling the memory": "kept = []\nwhile True: kept.append(bytearray(50_000_000))",
    "filling the disk": "n = 0\nwhile True:\n    open(f'full{n}', 'wb').write(bytes(1_000_000))\n    n += 1",
    "killing the parent": "import os\nfor pid in (1, os.getppid(), -1, 0): os.kill(pid, 9)",
    "killing oneself": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "reading the solution": "from cnncourse import exercises\noutput_size = exercises.find('convolution.output_size').answer",
    "importing the questions": "from cnncourse.questions.convolution import output_size",
    "looking for solutions": "import pathlib\nfound = [p for top in ('/course', '/work', '/home', '/root', '/tmp', '/srv') for p in pathlib.Path(top).rglob('*.ipynb') if 'SOLUTION' in p.read_text()]\nassert found",
    "reading /etc/shadow": "secret = open('/etc/shadow').read()",
    "reading the first process": "memory = open('/proc/1/mem', 'rb').read(1)",
    "writing outside": "import sys, pathlib\npathlib.Path(sys.prefix, 'attack').write_text('x')",
    "writing into the library": "import cnncourse\nopen(cnncourse.__path__[0] + '/exercises.py', 'a').write('x')",
    "a socket": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1', timeout=2)",
    "printing without end": "while True: print('x' * 10**6)",
    "writing without end": "import os\nwhile True: os.write(1, bytes(10**6)); os.write(2, bytes(10**6))",
    "a huge answer": "import numpy as np\ndef output_size(*inputs):\n    return np.zeros(10**6)",
    "patching check": "from cnncourse import exercises\nexercises.check = lambda *a, **k: exercises.Result(a[0], 'passed', 0)\nexercises.Result.require = lambda self: self\nexercises.difference = lambda *a: ''",
    "patching builtins": "import builtins\nbuiltins.isinstance = lambda *a: True\nbuiltins.abs = lambda x: 0",
    "patching isclose": "import numpy as np\nnp.isclose = np.allclose = lambda a, b, **k: np.ones(np.shape(a), bool)\nnp.array_equal = lambda *a: True",
    "a lying __eq__": "class Sly(int):\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    __hash__ = int.__hash__\ndef output_size(*inputs):\n    return Sly(0)",
    "a lying array": "import numpy as np\nclass Sly(np.ndarray):\n    def __array_function__(self, *a): return True\n    def __array_ufunc__(self, *a, **k): return True\ndef correlate(x, w):\n    return np.zeros((2, 2)).view(Sly)",
    "a masked array": "import numpy as np\ndef correlate(x, w):\n    return np.ma.masked_all((x.shape[0] - w.shape[0] + 1, x.shape[1] - w.shape[1] + 1))",
    "stack frames": "import sys\ndef output_size(*inputs):\n    frame = sys._getframe()\n    while frame:\n        if 'question' in frame.f_locals: return frame.f_locals['question'].answer(*inputs)\n        frame = frame.f_back",
    "a pickle": "import os\nclass Sly:\n    def __reduce__(self): return os.system, ('touch attack',)\ndef output_size(*inputs):\n    return Sly()",
    "forged messages": "import os\nfor n in range(3, 64):\n    try: os.write(n, (2).to_bytes(8, 'big') + b'{}' + bytes(1000))\n    except OSError: pass",
    "early exit": "import os\nos._exit(0)",
    "exit": "import sys\nsys.exit(0)",
    "threads that go on": "import threading, time, os\ndef later():\n    while True:\n        for n in range(3, 64):\n            try: os.write(n, b'x' * 100)\n            except OSError: pass\n        time.sleep(0.01)\nthreading.Thread(target=later, daemon=True).start()",
    "recursion": "def output_size(*inputs):\n    return output_size(*inputs)",
    "gathering objects": "import gc\nfound = [o for o in gc.get_objects() if type(o).__name__ == 'Question']\noutput_size = found[0].answer",
}


def code_of(attack: str) -> str:
    defines = "def output_size" in attack or "def correlate" in attack
    return attack + ("" if defines else WRONG)


def slug(name: str) -> str:
    return re.sub(r"\W+", "-", name)


@pytest.fixture(scope="session")
def attacked(tmp_path_factory):
    "A class of attackers, with an honest student first, in the middle and last."
    folder = tmp_path_factory.mktemp("class")
    for student in ("a-honest", "m-honest", "z-honest"):
        put(folder / "in", student, handed_in(output_size=RIGHT))
    for name, attack in ATTACKS.items():
        cell = code_of(attack)
        put(folder / "in", slug(name), handed_in(**{"correlate" if "def correlate" in attack else "output_size": cell}))
    graded = class_grading.grade(folder / "in", folder / "out", settings())
    return folder, graded


def marks_of(folder: Path, student: str) -> dict:
    return json.loads((folder / "out/marks" / class_grading._safe(student) / f"{WEEK}.json").read_text())


@isolated
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gains_nothing_and_is_reported(attacked, name):
    folder, _ = attacked
    marked = marks_of(folder, slug(name))
    assert {row["points"] for row in marked["rows"]} == {0.0}
    told = [line for row in marked["rows"] for line in (*row["says"], *row["examples"])]
    assert told, "nothing is said of it"
    assert (folder / "out/feedback" / f"{class_grading._safe(slug(name))}.html").is_file()


@isolated
def test_nobody_else_is_touched_by_attacks(attacked):
    folder, graded = attacked
    for student in ("a-honest", "m-honest", "z-honest"):
        rows = {row["question"]: row["outcome"] for row in marks_of(folder, student)["rows"]}
        assert rows.pop("convolution.output_size") == "passed"
        assert set(rows.values()) == {"not answered"}
    assert graded.marked == len(ATTACKS) + 3 and graded.troubles == []
    assert not (Path(sys.prefix) / "attack").exists() and not list(folder.rglob("attack"))
    source = Path(exercises.__file__).read_text()
    assert source.rstrip()[-1] != "x" or source.rstrip().endswith("faults")


@isolated
@pytest.mark.parametrize(
    "name, word",
    {
        "killing the parent": "os.kill",
        "reading /etc/shadow": "/etc/shadow",
        "a socket": "socket.",
        "patching isclose": "numpy.isclose",
        "patching check": "cnncourse.exercises.check",
        "patching builtins": "ended by itself",
        "writing into the library": "to write",
        "programs without end": "subprocess",
        "early exit": "status 0",
        "fork bomb": "os.fork",
    }.items(),
)
def test_what_is_done_on_the_side_is_told_to_the_teacher(attacked, name, word):
    folder, graded = attacked
    notes = [row.what for row in graded.noticed if row.where.startswith(f"{slug(name)}:")]
    assert any(word in note for note in notes), notes
    page = (folder / "out/class.html").read_text()
    assert slug(name) in page


@isolated
def test_what_a_network_does_cannot_be_forged_by_patching_its_library(tmp_path):
    patched = "import torch\ntorch.is_grad_enabled = lambda: False\ntorch.equal = lambda *a: True\n"
    book = handed_in("04_architectures", evaluate=patched + "def evaluate(model, batches):\n    return 0.0, 0.5")
    with sandbox.Sandbox() as place:
        found = marking.mark_notebook(submissions.Submission("eve", "04_architectures", "", book), COURSE, place)
    row = next(row for row in found["rows"] if row["question"] == "architectures.evaluate")
    assert row["points"] == 0 and "libraries must stay" in str(row)


# What is inside


@isolated
def test_inside_there_are_no_questions_no_course_and_no_submissions(tmp_path):
    look = "import os\nseen = [os.path.exists(p) for p in {}]\nlisted = os.listdir('/course/cnncourse/questions')"
    here = [str(COURSE / "nbs"), str(COURSE / "tests"), str(tmp_path), "/etc/passwd", "/root/.bashrc"]
    with sandbox.Sandbox(hidden=(tmp_path,)) as place:
        desk = place.desk()
        assert desk.order("cell", "<cell 1>", look.format(here), 5.0)["kinds"] == []
        assert desk.order("look", "seen")["value"] == [False] * len(here)
        assert desk.order("look", "listed")["value"] == []
        environment = "import os\nkeys = sorted(os.environ)\nuser = os.getuid()\nprocesses = [p for p in os.listdir('/proc') if p.isdigit()]"
        desk.order("cell", "<cell 2>", environment, 5.0)
        assert len(desk.order("look", "processes")["value"]) == 2
        assert not {"SECRET", "USER", "SSH_AUTH_SOCK"} & set(desk.order("look", "keys")["value"])
        desk.close()


@pytest.mark.parametrize("name", [q.name for sheet in exercises.sheets().values() for q in sheet if callable(q.answer)])
def test_what_goes_inside_holds_no_answer(name):
    question = exercises.find(name)
    inputs = question.probe(np.random.default_rng([1, 1]))
    sent = marking.package(question, question.use if marking.looks_inside(name) else None, list(inputs.values()), {})
    for answer in marking._answers(question):
        code = getattr(answer, "__code__", None)
        assert code is None or len(code.co_code) < 40 or code.co_code not in sent


@pytest.mark.parametrize(
    "question", [q for sheet in exercises.sheets().values() for q in sheet if q.use], ids=lambda q: q.name
)
def test_a_package_with_an_answer_in_it_is_refused(question):
    with pytest.raises(wire.WireError, match="answer inside"):
        marking.package(question, lambda given: question, [], {})


# Right is right, as for the learner


@pytest.fixture(scope="session")
def place():
    with sandbox.Sandbox(trusted=bool(NO_ISOLATION)) as made:
        yield made


@pytest.mark.parametrize("week", [sheet.notebook for sheet in exercises.sheets().values()])
def test_right_answers_get_all_points(week, place):
    found = marking.mark_notebook(submissions.Submission("ada", week, "", handed_in(week, solved=True)), COURSE, place)
    wrong = {row["question"]: row["says"] + row["examples"] for row in found["rows"] if row["outcome"] != "passed"}
    assert wrong == {} and found["other texts"] == [] and found["unknown"] == [] and found["notes"] == []


@pytest.mark.parametrize("week", [sheet.notebook for sheet in exercises.sheets().values()][1:3])
def test_what_is_handed_out_is_not_answered(week, place):
    found = marking.mark_notebook(submissions.Submission("ada", week, "", handed_in(week)), COURSE, place)
    assert {row["outcome"] for row in found["rows"]} == {"not answered"}


def test_a_wrong_answer_gets_the_sentence_that_the_learner_reads(place):
    source = RIGHT.replace("2 * ", "")
    found = marking.mark_notebook(submissions.Submission("ada", WEEK, "", handed_in(output_size=source)), COURSE, place)
    known = {}
    exec(source, known)
    row = found["rows"][0]
    here = exercises.check("convolution.output_size", known["output_size"], seed=row["seed"])
    assert (row["outcome"], row["says"], row["examples"]) == (here.outcome, here.says, here.examples)


def test_the_test_cells_of_a_notebook_do_not_matter(place):
    book = json.loads(handed_in(output_size=WRONG))
    for cell in book["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "output_size-check":
            cell["source"] = "raise SystemExit"
            cell["metadata"]["nbgrader"]["points"] = 1000
    found = marking.mark_notebook(submissions.Submission("ada", WEEK, "", json.dumps(book).encode()), COURSE, place)
    assert [row["of"] for row in found["rows"]] == [task.points for task in marking.tasks(COURSE, WEEK).values()]
    assert found["rows"][0]["points"] == 0


def test_without_nbgraders_names_answers_are_found_by_their_own(place):
    book = json.loads(handed_in(output_size=RIGHT))
    for cell in book["cells"]:
        cell["metadata"] = {}
    found = marking.mark_notebook(submissions.Submission("ada", WEEK, "", json.dumps(book).encode()), COURSE, place)
    assert found["rows"][0]["outcome"] == "passed"


def test_a_figure_of_ones_own(place):
    number = grading.figure_of("ada", "convolution.which_kernel")
    for given, outcome in ((number, "failed"), (number + 1, "failed")):
        answer = json.dumps({"number": given} | dict.fromkeys("ABCDEF", "blur"))
        book = handed_in(which_kernel=f"which_kernel = {answer}")
        found = marking.mark_notebook(submissions.Submission("ada", WEEK, "", book), COURSE, place, own_figures=True)
        row = next(row for row in found["rows"] if row["question"] == "convolution.which_kernel")
        assert row["outcome"] == outcome
        assert ("your own figure" in str(row).lower()) == (given != number)


# A class


@pytest.fixture
def small(tmp_path) -> Path:
    for n in range(6):
        put(tmp_path / "in", f"s{n}", handed_in(output_size=RIGHT if n % 2 else RIGHT.replace("2 * ", "")))
    return tmp_path


def test_the_same_submissions_get_the_same_grades_from_any_number_of_workers(small):
    one, two = small / "one", small / "two"
    class_grading.grade(small / "in", one, settings())
    class_grading.grade(small / "in", two, settings(), jobs=2)
    assert (one / "grades.csv").read_bytes() == (two / "grades.csv").read_bytes()
    for path in one.rglob("*.json"):
        assert json.loads(path.read_text()) == json.loads((two / path.relative_to(one)).read_text())
    table = (one / "grades.csv").read_text(encoding="utf-8-sig").splitlines()
    assert [line.split(",")[0] for line in table] == ["student", *(f"s{n}" for n in range(6))]
    assert [line.split(",")[-2] for line in table[1:]] == ["0", "1"] * 3


def test_stopped_and_called_again_it_keeps_what_is_graded(small):
    for n in range(6, 10):
        put(small / "in", f"s{n}", handed_in(output_size="import time\ntime.sleep(3)\n" + RIGHT))
    trust = ["--trust-submissions"] * bool(NO_ISOLATION)
    call = [COMMAND, "grade", small / "in", "--out", small / "out", *trust]
    with subprocess.Popen(
        call, cwd=COURSE, env={**os.environ, "PYTHONPATH": str(COURSE), "CI": "true"}, stdout=-3, stderr=-3
    ) as run:
        end = time.monotonic() + 120
        while len(list((small / "out").rglob("*.json"))) < 3 and time.monotonic() < end:
            time.sleep(0.05)
        run.send_signal(signal.SIGKILL)
    there = {path: path.read_bytes() for path in (small / "out").rglob("*.json")}
    assert 3 <= len(there) < 10
    again = cnncourse("grade", small / "in", "--out", small / "out", *trust)
    assert again.returncode == 0, again.stderr + again.stdout
    assert f"{len(there)} kept from before" in again.stdout
    assert {path: path.read_bytes() for path in there} == there
    assert len((small / "out/grades.csv").read_text().splitlines()) == 11


def test_on_a_cluster_one_of_whose_workers_dies(small):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(2, processes=True, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())
        killed = []

        def tell(done, total):
            if not killed:
                killed.append(os.kill(pids[0], signal.SIGKILL))

        graded = class_grading.grade(
            small / "in", small / "out", settings(), scheduler=cluster.scheduler_address, tell=tell
        )
    assert killed and graded.marked == 6
    assert len((small / "out/grades.csv").read_text().splitlines()) == 7


def test_frameworks_are_imported_before_the_notebooks_whose_answers_name_them():
    look = "import sys\nassert {{'torch', {}}} <= {{*sys.modules}}\n" + RIGHT
    with sandbox.Sandbox(trusted=bool(NO_ISOLATION)) as own:
        for source, warm in (
            (look.format("'numpy'"), ()),
            (look.format("'keras', 'tensorflow'"), ("tensorflow", "keras")),
        ):
            one = submissions.Submission("ada", WEEK, "", handed_in(output_size=source))
            assert marking.mark_notebook(one, COURSE, own)["rows"][0]["outcome"] == "passed"
            assert own.warm == warm


def test_what_bad_input_gets(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    put(folder, "ada", handed_in(output_size=RIGHT))
    put(folder, "Ben", handed_in(output_size=RIGHT))
    put(folder, "ben ", handed_in(output_size=RIGHT))
    put(folder, "carl", handed_in(), "02_convolutoin")
    older = json.loads(handed_in(output_size=RIGHT))
    text = next(c for c in older["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == "output_size-text")
    text["source"] = "## 1. Another question"
    older["cells"].append({"cell_type": "code", "source": "x", "metadata": {"nbgrader": {"grade_id": "gone-check"}}})
    put(folder, "dora", json.dumps(older).encode())
    (folder / "emil").mkdir()
    put(folder, "fritz", b"{broken")
    put(folder, "gerd", b"\xff\xfe\x00not text")
    put(folder, "hans", b"[" * 200_000)
    put(folder, "ida", b" " * (submissions.LARGEST + 1))
    (folder / "jo").mkdir()
    os.symlink("/etc/passwd", folder / "jo" / f"{WEEK}.ipynb")
    graded = class_grading.grade(folder, out, settings())
    said = {}
    for trouble in graded.troubles:
        said.setdefault(re.split("[:/]", trouble.where)[0].strip().lower(), []).append(trouble.what)
    expected = {
        "ben": "two folders", "carl": "is it 02_convolution?", "dora": "another version", "emil": "is missing", "fritz": "no JSON",
        "gerd": "UTF-8", "hans": "nested", "ida": "bytes", "jo": "a link",
    }  # fmt: skip
    assert {name for name, part in expected.items() if any(part in what for what in said[name])} == set(expected), said
    assert any("no exercises gone" in what for what in said["dora"])
    lines = (out / "grades.csv").read_text(encoding="utf-8-sig").splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["ada", "dora"]
    assert graded.students == 2


# What an unkind, or a clumsy, class hands in

MAGIC = "%%time\ndef n_parameters(in_channels, out_channels, kernel_size, bias):\n    return out_channels * (in_channels * kernel_size**2 + bias)"
FORGED = 'import json, sys\nsys.stdout.write(json.dumps({"question": "convolution.output_size", "outcome": "passed", "points": 1}))\nprint("✓ passed")\n'
PATCHED = 'import io, json, sys\nimport numpy as np\njson.dumps = lambda *a, **k: \'["constant", "True"]\'\nnp.savez = print\nsys.stdout, sys.stderr, sys.__stdout__ = io.StringIO(), None, None\n'
LEAVES = "import atexit, os\natexit.register(os._exit, 0)\n"


def changed(data: bytes, change) -> bytes:
    book = json.loads(data)
    book["cells"] = change(book["cells"])
    return json.dumps(book).encode()


def cell(source: str, outputs=()) -> dict:
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [*outputs], "execution_count": None}


def without_checks(cells: list) -> list:  # whatever they hold now
    kept = []
    for one in cells:
        about = one["metadata"].get("nbgrader", {})
        if about.get("grade_id", "").endswith("-check"):
            about |= {"points": 99}
            one["source"] = "print('passed')\nassert True"
        kept.append(one)
    return kept


def long_ones() -> list:  # what a careless pattern reads again and again
    about = {"nbgrader": {"grade_id": "output_size-text"}}
    text = {"cell_type": "markdown", "source": "a" + "\n" * 10**6 + "b", "metadata": about}
    return [cell("import " * 10**6), cell("\n" * 10**6 + "output_size"), cell("x = [" + "0, " * 10**5 + "0]"), text]


def unkind() -> dict[str, tuple[bytes, float]]:
    "By student what is handed in, and the points that it is worth."
    right, picture = handed_in(output_size=RIGHT), {"output_type": "display_data", "metadata": {}}
    return {
        "reversed": (changed(right, lambda cells: cells[::-1]), 1),
        "deleted": (changed(right, lambda cells: [c for c in cells if "output_size" in str(c["source"])]), 1),
        "tests-changed": (changed(handed_in(output_size=WRONG), without_checks), 0),
        "forged": (handed_in(output_size=FORGED + WRONG.replace("return", "print('✓ passed'); return")), 0),
        "patched": (handed_in(output_size=PATCHED + WRONG), 0),
        "leaves": (handed_in(output_size=LEAVES + RIGHT, correlate=LEAVES + "import sys\nsys.exit(0)"), 1),
        "below": (changed(handed_in(), lambda cells: [*cells, cell(RIGHT)]), 1),
        "many-cells": (changed(right, lambda cells: cells + [cell(f"x{n} = {n}") for n in range(50_000)]), 1),
        "outputs": (changed(right, lambda cells: [*cells, cell("1", [picture | {"data": {"image/png": "A" * 30_000_000}}])]), 1),
        "long-lines": (changed(right, lambda cells: [*cells, *long_ones()]), 1),
        "magics": (handed_in(output_size="%matplotlib inline\n!ls\ndisplay(3)\n" + RIGHT, n_parameters=MAGIC), 2),
        "x..": (right, 1),
        unicodedata.normalize("NFD", "김하늘"): (right, 1),
    }  # fmt: skip


@pytest.fixture(scope="session")
def clumsy(tmp_path_factory):
    folder, right = tmp_path_factory.mktemp("clumsy"), handed_in(output_size=RIGHT)
    for student, (data, _) in unkind().items():
        put(folder / "in", student, data)
    for n, name in enumerate(("02_convolution (1)", "02_convolution-fresh", "kim 02_convolution_final2")):
        put(folder / "in", f"renamed-{n}", right, name)
    worksheet = {"cells": [{"cell_type": "code", "input": RIGHT, "language": "python", "outputs": []}]}
    put(folder / "in", "old-format", json.dumps({"nbformat": 3, "worksheets": [worksheet]}).encode())
    put(folder / "in", "too-many-parts", b'{"cells": [' + b"[]," * 4_000_000 + b"[]]}")
    put(folder / "elsewhere", "linked", right)
    os.symlink(folder / "elsewhere/linked", folder / "in/linked")
    for path in ("packed.zip", "packed/work.zip"):
        (folder / "in" / path).parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(folder / "in" / path, "w") as archive:
            archive.writestr(f"{WEEK}.ipynb", right)
    return folder, class_grading.grade(folder / "in", folder / "out", settings())


def test_each_clumsy_submission_gets_what_it_is_worth(clumsy):
    folder, _ = clumsy
    lines = list(csv.reader((folder / "out/grades.csv").read_text(encoding="utf-8-sig").splitlines()))[1:]
    worth = {unicodedata.normalize("NFC", student): points for student, (_, points) in unkind().items()}
    assert {line[0]: float(line[-2]) for line in lines} == worth | {f"renamed-{n}": 1 for n in range(3)}


@pytest.mark.parametrize(
    "where, what",
    {
        "renamed-0/02_convolution (1).ipynb": "it was taken for 02_convolution",
        "renamed-1/02_convolution-fresh.ipynb": "it was taken for 02_convolution",
        "renamed-2/kim 02_convolution_final2.ipynb": "it was taken for 02_convolution",
        "old-format/02_convolution.ipynb": "no notebook of the format 4",
        "too-many-parts/02_convolution.ipynb": "more than 8,000,000 parts",
        "linked": "links are not followed",
        "packed.zip": "unpack it",
        "packed/work.zip": "unpack it",
        "tests-changed: 02_convolution": "its test cells were changed (output_size-check",
        "patched: 02_convolution": "were json, numpy or sys changed?",
    }.items(),
)
def test_what_is_odd_about_a_submission_is_listed(clumsy, where, what):
    _, graded = clumsy
    told = [row.what for row in graded.troubles + graded.noticed if row.where == where]
    assert any(what in line for line in told), graded.troubles + graded.noticed


def test_a_gradebook_in_use_loses_nothing(small):
    class_grading.grade(small / "in", small / "out", settings())
    book = small / "out/gradebook.db"
    put(small / "in", "new", handed_in(output_size=RIGHT))
    with contextlib.closing(sqlite3.connect(book, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        busy = class_grading.grade(small / "in", small / "out", settings())
    assert [t.where for t in busy.troubles] == ["gradebook.db"] and busy.marked == 1
    assert "new" in (small / "out/grades.csv").read_text()
    again = class_grading.grade(small / "in", small / "out", settings())
    assert again.troubles == [] and again.marked == 0
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{book}") as read:
        assert read.find_submission(WEEK, "new").score == 1


def test_a_zip_and_nbgraders_folders_give_the_same_grades(small):
    packed = small / "class.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((small / "in").rglob("*.ipynb")):
            archive.write(path, f"course/submitted/{path.parent.name}/week2/{path.name}".removeprefix("course/"))
        archive.writestr("submitted/../../s9/week2/02_convolution.ipynb", b"x")
        link = zipfile.ZipInfo("submitted/s8/week2/02_convolution.ipynb")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    class_grading.grade(small / "in", small / "one", settings())
    graded = class_grading.grade(packed, small / "two", settings())
    assert (small / "one/grades.csv").read_bytes() == (small / "two/grades.csv").read_bytes()
    assert {t.what for t in graded.troubles} >= {
        "its path leads out of the zip",
        "it is a link, and links are not followed",
    }
    assert not list(small.rglob("s9"))


def test_a_name_is_no_formula_and_no_markup(tmp_path):
    put(tmp_path / "in", "=cmd()<b>", handed_in(output_size=RIGHT))
    class_grading.grade(tmp_path / "in", tmp_path / "out", settings())
    assert "'=cmd()<b>," in (tmp_path / "out/grades.csv").read_text(encoding="utf-8-sig")
    assert all("<b>" not in page.read_text() for page in (tmp_path / "out").rglob("*.html"))


def test_without_isolation_it_refuses(small, monkeypatch):
    monkeypatch.setattr(sandbox, "isolation", lambda: "there is none")
    with pytest.raises(sandbox.SandboxError, match="--trust-submissions"):
        class_grading.grade(small / "in", small / "out", class_grading.Settings(COURSE))
    assert not list((small / "out").rglob("*.json"))
    graded = class_grading.grade(
        small / "in", small / "out", class_grading.Settings(COURSE, trusted=True, limits=QUICK)
    )
    assert graded.marked == 6


def test_the_feedback_holds_no_solution(small):
    class_grading.grade(small / "in", small / "out", settings())
    hidden = "\n".join(c.source for c in teacher(WEEK).cells if "HIDDEN" in c.source or "SOLUTION" in c.source)
    lines = {line.strip() for line in hidden.splitlines() if len(line.strip()) > 25}
    for page in (small / "out/feedback").glob("*.html"):
        text = page.read_text()
        assert not [line for line in lines if line in text]
