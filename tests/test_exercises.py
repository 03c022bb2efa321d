"""The exercises: every question proven, every copy for students clean, and nothing a learner types does harm."""

import ast
import contextlib
import csv
import functools
import html
import importlib
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import COMMAND, COURSE, cnncourse

from cnncourse import cli, curriculum, exercises, grading

SHEETS = exercises.sheets()
QUESTIONS = {question.name: question for sheet in SHEETS.values() for question in sheet}
WEEKS = [sheet.notebook for sheet in SHEETS.values()]


def teacher(week: str):
    return nbformat.read(COURSE / "nbs" / "exercises" / f"{week}.ipynb", as_version=4)


def graded(notebook) -> dict:  # from nbgrader's name of a cell to the cell
    return {c.metadata.nbgrader.grade_id: c for c in notebook.cells if "nbgrader" in c.metadata}


STUDENTS = {week: grading.student_copy(teacher(week)) for week in WEEKS}


# Each question


@pytest.mark.parametrize("name", QUESTIONS)
def test_right_answers_pass_and_known_wrong_ones_get_their_own_sentence(name):
    assert exercises.prove(name, times=8) == []


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_is_handed_out_is_not_answered(name):
    week, own = QUESTIONS[name].lesson, name.split(".")[1]
    known = {"np": np}
    exec(graded(STUDENTS[week])[own].source, known)
    assert exercises.check(name, known[own]).outcome == "not answered"


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_whole(name):
    question = QUESTIONS[name]
    assert len(question.hints) >= 2 and question.why
    sentences = [sentence for sentence, _ in question.wrongs]
    assert len(set(sentences)) == len(sentences) >= 3
    assert len(question.rights) >= (3 if question.kind in ("write", "bug", "predict") else 1)
    headings = curriculum.headings(COURSE / "nbs" / f"{question.lesson}.ipynb")
    assert any(question.read in curriculum.numbers(heading) for heading in headings), question.read


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_same_seed_gives_the_same_message(name):
    wrong = QUESTIONS[name].wrongs[0][1]
    assert str(exercises.check(name, wrong, seed=5)) == str(exercises.check(name, wrong, seed=5))


# Each notebook


def test_every_week_has_its_exercises():
    assert [f"{n:02}" for n in range(1, len(WEEKS) + 1)] == [week[:2] for week in WEEKS]
    assert len(WEEKS) >= 10


@pytest.mark.parametrize("sheet", SHEETS.values(), ids=SHEETS)
def test_a_sheet_reaches_from_a_first_try_to_a_hard_one(sheet):
    assert len(list(sheet)) >= 6
    assert {1, 3} <= {question.level for question in sheet}
    assert len({question.kind for question in sheet}) >= 4


@pytest.mark.parametrize("sheet", SHEETS.values(), ids=SHEETS)
def test_the_cells_of_a_question_belong_together(sheet):
    cells = graded(teacher(sheet.notebook))
    for question in sheet:
        own = question.name.split(".")[1]
        call = f'exercises.check("{question.name}", {own})'
        assert cells[f"{own}-text"].source.startswith("## ")
        assert "### BEGIN SOLUTION" in cells[own].source
        hidden = f"### BEGIN HIDDEN TESTS\n{call}.require()\n### END HIDDEN TESTS"
        assert cells[f"{own}-check"].source == f"{call}\n{hidden}"
        assert cells[f"{own}-check"].metadata.nbgrader.points == question.level
        assert cells[f"{own}-key"].metadata.nbgrader.points == 0


def test_the_questions_load_no_framework():
    code = "import sys; from cnncourse import exercises; exercises.sheets()"
    code += "; print(sorted({'torch', 'tensorflow', 'keras'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# The copies for students


def sentences(week: str) -> set[str]:  # what is told only after an answer
    sheet = SHEETS[re.sub(r"^\d+_", "", week)]
    return {text for q in sheet for text in (*q.hints, q.why, *(sentence for sentence, _ in q.wrongs))}


def hidden_lines(
    week: str,
) -> set[str]:  # of code that only the teacher has; the starter of a bug shares some with its solution
    region = r"### BEGIN (?:SOLUTION|HIDDEN TESTS)\n.*?### END (?:SOLUTION|HIDDEN TESTS)"
    code = "\n".join(cell.source for cell in teacher(week).cells)
    hidden = {line.strip() for found in re.findall(region, code, re.S) for line in found.splitlines()}
    open_ = {line.strip() for line in re.sub(region, "", code, flags=re.S).splitlines()}
    return {line for line in hidden - open_ if len(line) > 12}


@pytest.mark.parametrize("week", WEEKS)
def test_no_secret_is_left_in_a_copy(week):
    code = "\n".join(cell.source for cell in STUDENTS[week].cells)
    everything = json.dumps(STUDENTS[week], ensure_ascii=False)
    assert [s for s in sentences(week) if s in code or json.dumps(s, ensure_ascii=False)[1:-1] in everything] == []
    assert hidden_lines(week) & {line.strip() for line in code.splitlines()} == set()
    assert not re.search(r"SOLUTION|HIDDEN|sheet\.question|\.wrong\(|exporti", everything)
    assert not any(cell.get("outputs") for cell in STUDENTS[week].cells)


@pytest.mark.parametrize("week", WEEKS)
def test_a_copy_runs_as_handed_out_and_says_not_answered(week, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("CNNCOURSE_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.delenv("IN_TEST", raising=False)
    notebook = nbformat.from_dict(STUDENTS[week])
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for name in (question.name for question in SHEETS[re.sub(r"^\d+_", "", week)]):
        cell = graded(notebook)[f"{name.split('.')[1]}-check"]
        assert "not answered yet" in cell.outputs[0].data["text/plain"], name
    tried = json.loads((tmp_path / "progress.json").read_text())
    assert {entry["outcome"] for entry in tried.values()} == {"not answered"}


def test_release_keeps_what_a_student_wrote(tmp_path):
    mine = tmp_path / "mine"
    assert cnncourse("release", mine, "convolution").returncode == 0
    path = mine / "02_convolution.ipynb"
    path.write_text(path.read_text().replace("your answer here", "my own work"))
    kept = path.read_text()
    said = cnncourse("release", mine, "convolution").stdout
    assert "left as it is" in said and "--fresh" in said
    assert cnncourse("release", mine, "2", "--fresh").returncode == 0
    assert path.read_text() == kept
    assert "my own work" not in (mine / "02_convolution-fresh.ipynb").read_text()
    for wrong in (("release", path), ("release", mine, "no_such_week"), ("lab", tmp_path / "nowhere")):
        done = cnncourse(*wrong)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("kind", ["no text", "folder", "dangling link", "another language", "empty"])
def test_release_overwrites_nothing_whatever_lies_there(tmp_path, kind):
    mine = tmp_path / "my course's"
    path = mine / "02_convolution.ipynb"
    mine.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    else:
        path.write_bytes({"no text": b"\xff\xfe\x00", "another language": "답".encode("cp949"), "empty": b""}[kind])
    states = [grading.release(COURSE, mine, ["2"], fresh=fresh)[0].state for fresh in (False, True)]
    assert states == ["kept", "written"]
    assert path.is_symlink() or path.is_dir() or path.read_bytes()[:1] in (b"\xff", b"", "답".encode("cp949")[:1])
    assert (mine / "02_convolution-fresh.ipynb").is_file()


@pytest.mark.parametrize("name", ["my course", "it's", "-x", "a;b", "$HOME", "한글", "[old]", 'a"b', "~"])
def test_the_hints_of_release_can_be_typed(name):
    typed = shlex.split(cli._typed("release", Path(name), "2", "--fresh"))
    assert typed[:2] == ["cnncourse", "release"] and typed[3:] == ["2", "--fresh"]
    assert Path(typed[2]) == Path(name) and not typed[2].startswith("-")


def test_release_tells_a_folder_with_a_space_as_one_types_it(tmp_path):
    done = cnncourse("release", tmp_path / "my course", "2")
    assert f"cnncourse lab '{tmp_path / 'my course'}'" in done.stdout.replace("\n", " ")


# nbgrader


@pytest.fixture(scope="module")
def commands_on_path():
    "nbgrader calls `alembic`, which lies beside this Python."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def classroom(tmp_path_factory, commands_on_path):
    "An nbgrader course with every week's exercises, written by the course and handed out by nbgrader itself."
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config
    from traitlets.config.loader import PyFileConfigLoader

    top = tmp_path_factory.mktemp("classroom")
    grading.nbgrader_course(COURSE, top)
    config = Config(PyFileConfigLoader("nbgrader_config.py", path=str(top)).load_config())
    config.CourseDirectory.root = str(top)
    api = NbGraderAPI(config=config)
    for week in WEEKS:
        done = api.generate_assignment(week)
        assert done["success"], done["log"]
    return top, api


def solved(copy, week: str):  # with the solutions typed in
    answers = graded(teacher(week))
    for name, cell in graded(copy).items():
        if cell.metadata.nbgrader.solution:
            cell.source = answers[name].source
    return copy


@pytest.mark.parametrize("week", WEEKS)
def test_nbgrader_hands_out_and_grades(classroom, week):
    top, api = classroom
    handed_out = nbformat.read(top / "release" / week / f"{week}.ipynb", as_version=4)
    assert "BEGIN" not in "".join(cell.source for cell in handed_out.cells)
    assert not any(name.endswith("-key") for name in graded(handed_out))
    assert {name for name in graded(handed_out)} == {name for name in graded(STUDENTS[week])}
    work = {"solved": solved(nbformat.from_dict(handed_out), week)}
    if week == WEEKS[0]:  # the same for each week
        work["blank"] = handed_out
        work["learner"] = solved(
            nbformat.from_dict(STUDENTS[week]), week
        )  # handed in from a copy of `cnncourse release`
    for student, notebook in work.items():
        (top / "submitted" / student / week).mkdir(parents=True)
        nbformat.write(notebook, top / "submitted" / student / week / f"{week}.ipynb")
        done = api.autograde(week, student)
        assert done["success"], done["log"]
        score = api.get_submission(week, student)
        points = {c.cell_type: 0 for c in teacher(week).cells}  # a person marks what is answered in words
        for cell in graded(teacher(week)).values():
            points[cell.cell_type] += cell.metadata.nbgrader.get("points", 0)
        assert score["max_score"] == sum(points.values())
        assert score["score"] == (0 if student == "blank" else points["code"]), student


def half_right(copy, week: str):  # the first question wrong, the others as handed out
    first = next(name for name, cell in graded(copy).items() if cell.metadata.nbgrader.solution)
    graded(copy)[first].source = f"def {first}(*inputs):\n    return 0"
    return copy


def exported(top: Path, week: str) -> dict[str, tuple[float, float]]:
    "By student the score and the highest there is, as nbgrader's own table tells them."
    from nbgrader.api import Gradebook
    from nbgrader.plugins import CsvExportPlugin

    plugin = CsvExportPlugin()
    plugin.to = str(top / "grades.csv")
    with Gradebook(f"sqlite:///{top / 'gradebook.db'}") as book:
        plugin.export(book)
    with open(plugin.to, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["assignment"] == week]
    return {row["student_id"]: (float(row["score"] or 0), float(row["max_score"])) for row in rows}


@pytest.mark.parametrize("week", [WEEKS[1], WEEKS[3], WEEKS[6]])
def test_feedback_is_short_and_gives_nothing_away(classroom, week):
    top, api = classroom
    handed_out = nbformat.read(top / "release" / week / f"{week}.ipynb", as_version=4)
    (top / "submitted" / "wrong" / week).mkdir(parents=True)
    nbformat.write(half_right(handed_out, week), top / "submitted" / "wrong" / week / f"{week}.ipynb")
    done = api.autograde(week, "wrong")
    assert done["success"] and "cannot be converted" not in done["log"], done["log"]
    assert api.generate_feedback(week, "wrong")["success"]
    page = (top / "feedback" / "wrong" / week / f"{week}.html").read_text()
    text = html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL)))
    given = "\n".join(cell.source for cell in handed_out.cells)
    assert not [line for line in hidden_lines(week) if len(line) > 30 and line in text and line not in given]
    assert not [sentence for sentence in sentences(week) if sentence in text]
    assert "HIDDEN" not in text and "Traceback" not in text and "site-packages" not in text
    assert "the same for every input" in text and "not answered yet" in text
    lines = [line for line in text.splitlines() if line.strip()]
    n_questions = sum(name.endswith("-check") for name in graded(handed_out))
    assert len(lines) < 25 * n_questions and max(map(len, lines)) < 400
    assert exported(top, week)["wrong"] == (0, api.get_submission(week, "wrong")["max_score"])


@pytest.mark.parametrize("answer, fails", [("", True), ("return size", True), (None, False)])
def test_validate_passes_only_what_is_right(tmp_path, monkeypatch, answer, fails):
    from nbgrader.validator import Validator

    monkeypatch.setenv("PYTHONPATH", str(COURSE))
    copy = nbformat.from_dict(STUDENTS["02_convolution"])
    kept = {"imports", "output_size", "output_size-check"}
    copy.cells = [cell for cell in copy.cells if cell.metadata.get("nbgrader", {}).get("grade_id") in kept]
    if answer is None:
        graded(copy)["output_size"].source = graded(teacher("02_convolution"))["output_size"].source
    elif answer:
        graded(copy)["output_size"].source = f"def output_size(size, kernel_size, stride, padding):\n    {answer}"
    nbformat.write(copy, tmp_path / "mine.ipynb")
    told = Validator().validate(str(tmp_path / "mine.ipynb"))
    assert ("failed" in told) == fails, told


# Whatever a learner types

NAME = "convolution.correlate"
RIGHT = QUESTIONS[NAME].answer


def loops(x, w):
    while True:
        try:
            time.sleep(0)
        except:  # noqa: E722
            continue


def prints(x, w):
    for n in range(10000):
        print("line", n)
    return RIGHT(x, w)


def changes(x, w):
    result = RIGHT(x, w)
    x *= 2
    return result


def calls_itself(x, w):
    return calls_itself(x, w)


def leaves(x, w):
    sys.exit(3)


@pytest.mark.parametrize(
    "answer, outcome, sentence",
    [
        (lambda x, w: x.shap, "error", "it raised AttributeError: 'numpy.ndarray' object has no attribute 'shap'"),
        (calls_itself, "error", "it calls itself without end"),
        (leaves, "error", "it raised SystemExit: 3"),
        (lambda x, w: print(RIGHT(x, w)), "failed", "print shows a value, return gives it back"),
        (lambda x, w: None, "failed", "is `return` missing?"),
        (lambda x, w: RIGHT(x, w).tolist(), "failed", "a list came; np.array makes an array of it"),
        (
            lambda x, w: RIGHT(x, w).astype(int),
            "failed",
            "your array holds whole numbers (int64), so fractions are lost",
        ),
        (lambda x, w: RIGHT(x, w).astype(str), "failed", "an array of numbers was expected"),
        (lambda x, w: RIGHT(x, w).ravel(), "failed", "an array of shape"),
        (lambda x, w: RIGHT(x, w) * np.nan, "failed", "nan came"),
        (lambda x, w: RIGHT(x, w).sum(), "failed", "the number"),
        (changes, "failed", "it changed its input x in place"),
        (lambda x: x, "failed", "takes (x), but it is called with (x, w)"),
        (7, "failed", "A function was expected, the number 7 came"),
        ("def f", "failed", "A function was expected, the text"),
        (lambda x, w: ..., "not answered", "not answered yet"),
        (None, "not answered", "not answered yet"),
        (prints, "passed", "It printed"),
        (lambda x, w: RIGHT(x, w).astype("float32"), "passed", "passed"),
        (lambda *inputs: RIGHT(*inputs), "passed", "passed"),
    ],
)
def test_every_kind_of_answer_has_its_sentence(answer, outcome, sentence):
    result = exercises.check(NAME, answer)
    assert (result.outcome, sentence in str(result)) == (outcome, True), str(result)
    assert len(str(result)) < 3000
    assert result.outcome.split()[0] in result._repr_html_()  # the word, not the colour alone


def test_a_loop_without_end_is_ended():
    question = exercises.dataclasses.replace(QUESTIONS[NAME], seconds=0.5)
    result = exercises._judge(question, loops, 1)
    assert result.outcome == "error" and "did not finish within 0.5 seconds and was stopped" in str(result)


# The clock


SLOW = """import time
start = time.thread_time()
while time.thread_time() < start + {}:
    pass
value = 7
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    "A folder of made modules that can be imported."
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def imports_what_it_names():
    import made_slow_one

    return made_slow_one.value


def imports_a_part():
    from made_package import slow

    return slow.value


def imports_by_a_helper():
    return imports_what_it_names()


def imports_by_a_computed_name():
    return importlib.import_module("made_" + "slow_one").value


class Imports:
    def __call__(self):
        return imports_what_it_names()


@pytest.mark.parametrize(
    "answer",
    [
        imports_what_it_names,
        imports_a_part,
        imports_by_a_helper,
        imports_by_a_computed_name,
        Imports(),
        functools.partial(imports_by_a_helper),
    ],
)
def test_an_import_is_not_the_learners_time(modules, answer):
    (modules / "made_package").mkdir()
    (modules / "made_package/__init__.py").touch()
    for name in ("made_slow_one.py", "made_package/slow.py"):
        (modules / name).write_text(SLOW.format(0.6))
    done = exercises.attempt(answer, seconds=0.3)
    assert (done.value, done.late, done.error) == (7, False, None)
    assert done.seconds < 0.3


def test_an_import_is_waited_for_and_the_loop_after_it_is_ended(modules):
    (modules / "made_slow_two.py").write_text(SLOW.format(0.6))

    def answer():
        importlib.import_module("made_" + "slow_two")
        while True:
            pass

    done = exercises.attempt(answer, seconds=0.2)
    assert (done.late, done.ended) == (True, True)
    assert importlib.import_module("made_slow_two").value == 7  # whole


def test_an_answer_that_runs_out_of_time_in_an_import_leaves_it_whole(modules):
    (modules / "made_slow_three.py").write_text(SLOW.format(0.6))

    def answer():
        start = time.thread_time()
        while time.thread_time() < start + 0.25:
            pass
        return importlib.import_module("made_" + "slow_three").value

    exercises.attempt(answer, seconds=0.2)
    assert importlib.import_module("made_slow_three").value == 7


def test_an_import_that_fails_is_the_answers_own_error(modules):
    (modules / "made_broken.py").write_text("raise SystemExit(3)")

    def answer():
        import made_broken

        return made_broken

    assert type(exercises.attempt(answer).error) is SystemExit
    assert type(exercises.attempt(lambda: __import__("no_such_module")).error) is ModuleNotFoundError


def imports_for_ever():
    while True:
        importlib.import_module("json")


@pytest.mark.parametrize("answer", [loops, imports_for_ever, lambda *inputs: loops(*inputs)])
def test_whatever_loops_is_ended(answer):
    done = exercises.attempt(lambda: answer(*(() if answer is imports_for_ever else (1, 1))), seconds=0.2)
    assert (done.late, done.ended) == (True, True)


def leaves_by_a_value():
    while True:
        try:
            time.sleep(0)
        except:  # noqa: E722
            return 7


def leaves_by_another_error():
    while True:
        try:
            time.sleep(0)
        except:  # noqa: E722
            raise ValueError from None


def leaves_by_the_same():
    try:
        while True:
            pass
    finally:
        time.sleep(0)


def leaves_a_block():
    with contextlib.redirect_stdout(None):
        while True:
            pass


def swallows():
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(0)


def ends_as_it_is_interrupted():
    until = time.thread_time() + random.uniform(0.01, 0.03)
    while time.thread_time() < until:
        pass


def starts_threads():
    while True:
        other = threading.Thread(target=time.sleep, args=(0,))
        other.start()
        other.join()


ENDINGS = [starts_threads, leaves_by_a_value, leaves_by_another_error, leaves_by_the_same, leaves_a_block, swallows]
ENDINGS += [ends_as_it_is_interrupted, lambda: loops(1, 1)]


@pytest.mark.parametrize("answer", ENDINGS)
def test_an_interrupt_never_leaves_the_answers_thread(monkeypatch, answer):
    unhandled, ended = [], []
    monkeypatch.setattr(threading, "excepthook", unhandled.append)
    for _ in range(20):
        ended.append(exercises.attempt(answer, seconds=0.02).ended)
    assert (unhandled, all(ended)) == ([], True)


class Unnameable:
    "What an answer may call itself."

    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "name", [Unnameable(), None, b"importlib._bootstrap", ["importlib._bootstrap"]], ids=[1, 2, 3, 4]
)
def test_what_an_answer_calls_itself_does_not_disturb_the_clock(name):
    done = exercises.attempt(lambda: exec("while True: pass", {"__name__": name}), seconds=0.05)
    assert (done.late, done.ended) == (True, True)


def test_what_the_course_does_around_an_answer_is_carried_through():
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    def endless(ax, accuracy, name):
        plt.title(name)
        loops(1, 1)

    plt.close("all")
    question = exercises.dataclasses.replace(QUESTIONS["figures.curve"], seconds=0.2)
    with mpl.rc_context({"image.cmap": "gray"}):
        assert exercises._judge(question, endless, 1).outcome == "error"
        assert (mpl.rcParams["image.cmap"], plt.get_fignums()) == ("gray", [])


def test_waiting_is_not_work_but_has_an_end():
    assert not exercises.attempt(lambda: time.sleep(0.5), seconds=0.2).late
    lock = threading.Lock()
    lock.acquire()
    done = exercises.attempt(lock.acquire, seconds=0.05)
    assert (done.late, done.ended) == (True, False)
    lock.release()


STOPPED = """if True:
    import sys
    import time

    from cnncourse.exercises import attempt

    terminal = sys.stdout

    def answer():
        print("begun", file=terminal, flush=True)
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            time.sleep(0.001)

    print(attempt(answer, seconds=0.2).late)"""


def test_a_machine_that_stands_still_takes_nothing_from_a_learner():
    child = subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "begun\n"
    child.send_signal(signal.SIGSTOP)
    time.sleep(3)  # more than 12 times what the answer has
    child.send_signal(signal.SIGCONT)
    assert child.communicate()[0] == "False\n"


def test_what_cannot_be_stopped_says_what_to_do():
    lock = threading.Lock()
    lock.acquire()
    question = exercises.dataclasses.replace(QUESTIONS[NAME], seconds=0.05)
    told = str(exercises._judge(question, lambda x, w: lock.acquire(), 1))
    lock.release()
    assert "could not be stopped" in told and "restart the kernel" in told


# Values that only look right


class Agrees(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


class Sly(np.ndarray):
    def __array_function__(self, *args, **kwargs):
        return True


class Raises:
    shape = (2,)

    def __array__(self, *args, **kwargs):
        raise RuntimeError("not today")


RECORDS = np.zeros(2, [("a", float)])


@pytest.mark.parametrize(
    "came",
    [
        np.ma.masked_all(2),
        np.ma.array([1.0, 3.0], mask=[False, True]),
        np.ma.masked_invalid([1.0, np.nan]),
        np.ma.masked,
        [np.ma.masked, 2.0],
        np.ma.array(RECORDS, mask=True),
        RECORDS,
        RECORDS.view(np.recarray),
        np.array([1, "x"], object),
        np.array(["2020-01-01", "2020-01-02"], "M8[D]"),
        np.zeros(2).view(Sly),
        np.matrix([[1.0, 3.0]]),
        Raises(),
    ],
)
@pytest.mark.parametrize("name", [NAME, "scaling.min_max"])
def test_no_array_passes_by_hiding_its_values(came, name):
    result = exercises.check(name, lambda *inputs: came)
    assert result.outcome == "failed", str(result)
    assert exercises.check(name, lambda *inputs: {"a": [came]}).outcome == "failed"


@pytest.mark.parametrize("kind", [np.ma.asarray, np.asmatrix, lambda a: a.view(Sly), lambda a: a.astype(object)])
def test_a_subclass_with_the_right_numbers_is_taken_for_them(kind):
    expected = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert exercises.difference(expected, kind(expected)) == ""
    assert exercises.difference(expected, kind(expected + 1)) != ""


def test_a_number_that_equals_everything_is_compared_as_it_is():
    assert exercises.difference(3, Agrees(3)) == ""
    assert exercises.difference(3, Agrees(4)) == "3 was expected, 4 came"


def test_graded_cells_fail_without_assertions_too():
    code = "from cnncourse import exercises as e; e.check('convolution.n_parameters', lambda *a: 0).require()"
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "Unpassed: ✗ convolution.n_parameters" in done.stderr


def test_nothing_that_ships_decides_by_an_assertion():
    for file in sorted(Path(exercises.__file__).parent.rglob("*.py")):
        found = [node.lineno for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Assert)]
        assert (file.name, found) == (file.name, [])


def test_all_that_is_wrong_is_told_at_once():
    def unsteady(size, kernel_size, stride, padding):
        if padding == 0:
            raise KeyError("padding")
        return None if stride == 1 else float(size)

    told = str(exercises.check("convolution.output_size", unsteady, seed=3))
    assert "KeyError" in told and "returned None" in told and "was expected" in told


def test_an_unknown_question_names_near_ones():
    with pytest.raises(ValueError, match=r"Did you mean 'convolution\.output_size'"):
        exercises.check("convolution.outputsize", 1)


# The progress


def test_two_programs_may_write_at_once_and_one_may_be_killed(tmp_path):
    path = tmp_path / "progress.json"
    code = """if True:
        import sys
        from cnncourse.exercises import Result, record
        for n in range(int(sys.argv[3])):
            record(Result(f"{sys.argv[2]}.{n % 50}", "passed", 1), sys.argv[1])"""
    start = [sys.executable, "-c", code, str(path)]
    victim = subprocess.Popen([*start, "victim", "100000"])
    both = [subprocess.Popen([*start, name, "50"]) for name in ("a", "b")]
    while not path.exists():
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(victim.pid, signal.SIGKILL)
    assert [process.wait() for process in both] == [0, 0]
    known = exercises.progress(path)
    assert {f"{name}.{n}" for name in "ab" for n in range(50)} <= known.keys()
    victim.wait()


def test_progress_that_cannot_be_saved_does_not_hide_the_result(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNCOURSE_PROGRESS", str(tmp_path / "file" / "progress.json"))
    monkeypatch.delenv("IN_TEST", raising=False)
    (tmp_path / "file").write_text("in the way")
    result = exercises.check(NAME, RIGHT)
    assert result.passed and "could not be saved" in str(result)


GOOD = {"outcome": "passed", "tries": 2, "last": "2026-01-01T00:00:00Z", "passed": "2026-01-01T00:00:00Z"}
WRONG = [{"tries": "2"}, {"tries": None}, {"tries": -1}, {"tries": True}, {"outcome": "won"}, {"outcome": 3}]
WRONG += [{"passed": 2026}, {"last": ["a"]}, {"outcome": [1]}]
DAMAGED = [{key: value for key, value in GOOD.items() if key != gone} for gone in ("tries", "outcome")]
DAMAGED += [GOOD | wrong for wrong in WRONG] + [3, None, [], "passed"]


@pytest.mark.parametrize("entry", DAMAGED)
def test_a_damaged_entry_is_set_aside_and_the_others_stay(tmp_path, monkeypatch, capsys, entry):
    path = tmp_path / "progress.json"
    path.write_text(json.dumps({"convolution.layer": GOOD, NAME: entry}))
    monkeypatch.setenv("CNNCOURSE_PROGRESS", str(path))
    monkeypatch.delenv("IN_TEST", raising=False)
    result = exercises.check(NAME, RIGHT)
    assert result.passed and "could not be saved" not in str(result)
    known = json.loads(path.read_text())
    assert known["convolution.layer"] == GOOD and known[NAME]["tries"] == 1
    (aside,) = tmp_path.glob("progress.json.damaged-*")
    assert json.loads(aside.read_text())[NAME] == entry
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "set aside as" in said and "the one entry that is whole was kept" in said


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '{"version": 2}', "[" * 100000, "\x00", "é" * 3])
def test_a_damaged_progress_never_raises_at_the_learner(tmp_path, monkeypatch, capsys, text):
    path = tmp_path / "progress.json"
    path.write_bytes(text.encode("latin-1"))
    monkeypatch.setenv("CNNCOURSE_PROGRESS", str(path))
    monkeypatch.delenv("IN_TEST", raising=False)
    assert exercises.check(NAME, RIGHT).passed
    assert json.loads(path.read_text())[NAME]["tries"] == 1
    assert capsys.readouterr().err.count("set aside as") == 1


def test_a_folder_in_the_way_of_the_progress_stays_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNCOURSE_PROGRESS", str(tmp_path))
    monkeypatch.delenv("IN_TEST", raising=False)
    result = exercises.check(NAME, RIGHT)
    assert result.passed and "could not be saved" in str(result) and tmp_path.is_dir()


@pytest.mark.parametrize("encoding", ["ascii", "cp949", "latin-1", "utf-8"])
def test_tables_print_on_every_console(tmp_path, encoding):
    path = tmp_path / "progress.json"
    exercises.record(exercises.Result("convolution.layer", "passed", 1), path)
    environment = {
        "CNNCOURSE_PROGRESS": str(path),
        "PYTHONIOENCODING": encoding,
        "PYTHONUTF8": "0",
        "CNNCOURSE_CACHE": "é✓",
    }
    for command, word in ((["progress"], b"layer"), (["data", "list"], b"digits")):
        env = {**os.environ, "COLUMNS": "200", "PYTHONPATH": str(COURSE), **environment}
        done = subprocess.run([COMMAND, *command], cwd=COURSE, env=env, capture_output=True)
        assert done.returncode == 0 and word in done.stdout, done.stderr
        assert b"Error" not in done.stderr and b"Traceback" not in done.stderr


def test_the_command_says_that_a_damaged_progress_was_set_aside(tmp_path):
    (tmp_path / "progress.json").write_text("{")
    done = cnncourse("progress", CNNCOURSE_PROGRESS=str(tmp_path / "progress.json"))
    assert done.returncode == 0 and "set aside as progress.json.damaged-" in done.stderr
    assert "Warning" not in done.stderr and "Traceback" not in done.stderr and done.stderr.count("\n") == 1


def test_the_table_of_progress(tmp_path):
    path = tmp_path / "progress.json"
    exercises.record(exercises.Result("convolution.layer", "passed", 1), path)
    done = cnncourse("progress", CNNCOURSE_PROGRESS=str(path))
    assert re.search(r"02_convolution\s+1 of \d", done.stdout) and "✓ layer" in done.stdout.replace("\xa0", " ")
