"The list of what the course teaches is whole, and every lesson that is written covers all its lines."

import re
import tomllib
from collections import Counter
from pathlib import Path

import nbformat
import pytest

from cnncourse import curriculum

ROOT = Path(__file__).parents[1]
LESSONS = ROOT / "nbs"
DATA = tomllib.loads((ROOT / "cnncourse" / "curriculum.toml").read_text(encoding="utf-8"))


def test_the_data_file_holds_as_many_lines_as_it_states():
    assert Counter(line.kind for line in curriculum.lines()) == DATA["counts"]


def test_numbers_are_unique():
    numbers = [line.number for line in curriculum.lines()]
    assert [number for number, count in Counter(numbers).items() if count > 1] == []


@pytest.mark.parametrize("lesson", DATA["lessons"])
def test_numbers_belong_to_their_lesson_and_run_without_a_gap(lesson):
    week = int(re.fullmatch(r"(\d\d)_[a-z]+", lesson)[1])
    numbers = list(DATA["lessons"][lesson]["lines"])
    for kind in curriculum.KINDS:
        of_kind = [number for number in numbers if number[0] == kind]
        assert of_kind == [f"{kind}{week}.{i + 1}" for i in range(len(of_kind))]
    assert {number[0] for number in numbers} <= set(curriculum.KINDS)


def test_every_statement_is_a_sentence():
    for line in curriculum.lines():
        assert line.statement == line.statement.strip() and line.statement.endswith((".", "?")), line.number
        assert line.statement.count("`") % 2 == 0, line.number


@pytest.mark.parametrize("lesson", curriculum.written(LESSONS))
def test_a_written_lesson_covers_all_its_lines(lesson):
    without = [line.number for line in curriculum.missing(LESSONS) if line.lesson == lesson]
    assert without == [], f"{lesson}: no heading carries {', '.join(without)}"


@pytest.mark.parametrize("lesson", curriculum.written(LESSONS))
def test_a_written_lesson_has_the_title_of_the_list(lesson):
    first = nbformat.read(LESSONS / f"{lesson}.ipynb", as_version=4).cells[0].source
    assert first.splitlines()[0] == f"# {curriculum.titles()[lesson]}"


def test_no_notebook_belongs_to_a_lesson_that_the_list_lacks():
    assert {path.stem for path in LESSONS.glob("[0-9][0-9]_*.ipynb")} <= set(curriculum.titles())
