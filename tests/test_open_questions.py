"""The questions answered in words: each week has one, each can be marked, and no copy for students holds a rubric."""

import json

import nbformat
import pytest
from conftest import COURSE

from cnncourse import curriculum, exercises, grading, open_questions

SHEETS = exercises.sheets()
OPEN = open_questions.open_questions()


def teacher(sheet: exercises.Sheet):
    return nbformat.read(COURSE / "nbs" / "exercises" / f"{sheet.notebook}.ipynb", as_version=4)


def graded(notebook) -> dict:  # from nbgrader's name of a cell to the cell
    return {c.metadata.nbgrader.grade_id: c for c in notebook.cells if "nbgrader" in c.metadata}


@pytest.mark.parametrize("sheet", SHEETS.values(), ids=SHEETS)
def test_every_week_asks_for_an_answer_in_words(sheet):
    assert "open" in {question.kind for question in sheet.open.values()}


def test_each_half_of_the_course_ends_in_a_project():
    projects = [question.lesson for question in OPEN.values() if question.kind == "project"]
    assert projects == ["06_transfer", "07_anomaly"]


@pytest.mark.parametrize("name", OPEN)
def test_an_answer_in_words_can_be_marked(name):
    question = OPEN[name]
    assert question.points >= 3 and len(question.models) >= 2
    assert all(len(text) > 150 for text in question.models)  # an answer, not a note
    headings = curriculum.headings(COURSE / "nbs" / f"{question.lesson}.ipynb")
    assert any(question.read in curriculum.numbers(heading) for heading in headings), question.read


@pytest.mark.parametrize("name", OPEN)
def test_nbgrader_leaves_it_to_a_person(name):
    week, own = name.split(".")
    cells = graded(teacher(SHEETS[week]))
    about = cells[own].metadata.nbgrader
    assert cells[own].cell_type == "markdown" and about.grade and about.solution and not about.locked
    assert about.points == OPEN[name].points
    assert cells[f"{own}-text"].source.startswith("## ")
    assert cells[f"{own}-key"].metadata.nbgrader.points == 0


@pytest.mark.parametrize("sheet", SHEETS.values(), ids=SHEETS)
def test_no_rubric_is_left_in_a_copy(sheet):
    copy = json.dumps(grading.student_copy(teacher(sheet)), ensure_ascii=False)
    for question in sheet.open.values():
        told = [*question.models, *(earns for _, earns in question.rubric)]
        assert [text for text in told if json.dumps(text, ensure_ascii=False)[1:-1] in copy] == []
