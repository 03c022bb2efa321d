"""The learner's workbook: whole, without answers, and nothing of the learner's is lost."""

import base64
import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import COURSE, cnncourse, notebook

from cnncourse import runs, workbook


@pytest.fixture(scope="module")
def made() -> dict[str, dict]:
    return workbook.pages(COURSE)


def text_of(page: dict) -> str:
    return "\n".join("".join(cell["source"]) for cell in page["cells"])


# What a learner finds


def test_every_lesson_and_every_sheet_is_there(made):
    names = set(runs.notebooks(COURSE)) - {"index"}
    assert {name.removesuffix(".ipynb") for name in made} == names | {"start"}


def test_every_page_is_a_notebook(made):
    for page in made.values():
        nbformat.validate(nbformat.from_dict(copy.deepcopy(page)))


def test_no_directive_and_no_hidden_cell_is_left(made):
    for name, page in made.items():
        code = [cell["source"] for cell in page["cells"] if cell["cell_type"] == "code"]
        assert not any(re.search(r"^#\|", source, re.M) for source in code), name
        assert not any("nbdev_export()" in source for source in code), name


def test_every_link_leads_somewhere(made, tmp_path):
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name, page in made.items():
        prose = "\n".join("".join(cell["source"]) for cell in page["cells"] if cell["cell_type"] == "markdown")
        links = re.findall(
            r"\]\(([^)#:\s]+\.ipynb)(?:#[^)\s]*)?\)", re.sub(r"```.*?```|`[^`]*`", "", prose, flags=re.S)
        )
        assert [link for link in links if not (tmp_path / name).parent.joinpath(link).exists()] == [], name


def test_no_solution_is_in_sight(made):
    for name, path in runs.notebooks(COURSE).items():
        if name.startswith("exercises/"):
            source = "\n".join(runs.code(runs.read_notebook(path)))
            solutions = re.findall(r"### BEGIN SOLUTION\n(.*?)\s*### END SOLUTION", source, re.S)
            lines = [line.strip() for block in solutions for line in block.splitlines()]
            told = [line for line in lines if len(line) > 12 and line in text_of(made[f"{name}.ipynb"])]
            given = text_of(json.loads(path.read_text())) if told else ""
            assert [line for line in told if given.count(line) < 2] == [], name


def test_the_first_page_shows_a_picture_and_links_before_anything_runs(made):
    first = made["start.ipynb"]["cells"][0]
    (picture,) = first["attachments"].values()
    assert base64.b64decode(picture["image/jpeg"]) == (COURSE / "assets/readme.jpg").read_bytes()
    assert first["cell_type"] == "markdown" and 'src="attachment:' in first["source"]
    for name in runs.notebooks(COURSE):
        if re.match(r"\d\d_", name):
            assert f"({name}.ipynb)" in first["source"] and f"(exercises/{name}.ipynb)" in first["source"]


def test_a_lesson_is_folded_as_on_the_site(made):
    page = made["03_pooling.ipynb"]["cells"]
    code = [cell for cell in page if cell["cell_type"] == "code"]
    folded = [cell for cell in code if cell["metadata"].get("jupyter", {}).get("source_hidden")]
    assert 0 < len(folded) < len(code)
    assert all(cell["source"].startswith("# ") for cell in folded)
    assert any(cell["id"].endswith("-caption") for cell in page)


# What stays the learner's


def write(course: Path, name: str, *sources: str):
    (course / f"nbs/{name}.ipynb").write_text(notebook("seed = 0\nfull = False", *sources))


def change(path: Path, source: str, outputs: list = ()):
    page = json.loads(path.read_text())
    page["cells"][-1] |= {"source": source, "outputs": list(outputs)}
    path.write_text(json.dumps(page))


def last(path: Path) -> str:
    return "".join(json.loads(path.read_text())["cells"][-1]["source"])


def refresh(course: Path) -> list[str]:
    told = []
    workbook.refresh(course, course / "workbook", told.append)
    return told


def test_what_was_only_run_is_brought_up_to_date(course):
    refresh(course)
    page = course / "workbook/01_first.ipynb"
    change(page, "print(seed)", [{"output_type": "stream", "name": "stdout", "text": "0\n"}])
    write(course, "01_first", "print(seed + 1)")
    assert refresh(course) == [] and last(page) == "print(seed + 1)"


def test_what_was_changed_stays_and_news_stands_beside_it_said_once(course):
    refresh(course)
    page = course / "workbook/01_first.ipynb"
    change(page, "mine = 1")
    assert refresh(course) == []
    for number in (1, 2):
        write(course, "01_first", f"print({number})")
        assert refresh(course) == [
            "01_first.ipynb holds your changes and was kept; the new version is 01_first-new.ipynb."
        ]
        assert refresh(course) == []
        assert last(page) == "mine = 1" and last(page.with_name("01_first-new.ipynb")) == f"print({number})"


def test_a_new_version_that_was_changed_too_stays(course):
    refresh(course)
    page, beside = course / "workbook/01_first.ipynb", course / "workbook/01_first-new.ipynb"
    change(page, "mine = 1")
    write(course, "01_first", "print(1)")
    refresh(course)
    change(beside, "also mine")
    write(course, "01_first", "print(2)")
    assert refresh(course) == [
        "01_first.ipynb holds your changes and was kept; the new version is 01_first-new-2.ipynb."
    ]
    assert (last(page), last(beside)) == ("mine = 1", "also mine")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"cells": 3}', b"<<<<<<< HEAD\n{}"])
def test_a_damaged_page_is_kept_and_a_sound_one_stands_beside_it(course, content):
    refresh(course)
    page = course / "workbook/02_second.ipynb"
    page.write_bytes(content)
    write(course, "02_second", "print(2)")
    assert len(refresh(course)) == 1
    assert page.read_bytes() == content and last(page.with_name("02_second-new.ipynb")) == "print(2)"


def test_a_page_that_was_taken_away_comes_back(course):
    refresh(course)
    (course / "workbook/01_first.ipynb").unlink()
    assert refresh(course) == [] and (course / "workbook/01_first.ipynb").is_file()


def test_a_folder_or_a_notebook_of_the_learners_own_is_left_alone(course):
    refresh(course)
    own = course / "workbook/my notes.ipynb"
    own.write_text("mine")
    write(course, "01_first", "print(1)")
    refresh(course)
    assert own.read_text() == "mine"


def test_a_lost_or_damaged_record_loses_nothing(course):
    refresh(course)
    page = course / "workbook/01_first.ipynb"
    change(page, "mine = 1")
    (course / "workbook" / workbook.RECORD).write_bytes(b"{")
    told = refresh(course)
    assert "set aside" in told[0] and last(page) == "mine = 1"


def test_pictures_of_the_last_run_are_there_already(course):
    ran = json.loads(notebook("seed = 0\nfull = False", "print(seed)"))
    source = json.loads((course / "nbs/01_first.ipynb").read_text())
    ran["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "0\n"}]
    (course / "_run/nbs").mkdir(parents=True)
    (course / "_run/nbs/01_first.ipynb").write_text(json.dumps(ran))
    assert [cell["id"] for cell in ran["cells"]] == [cell["id"] for cell in source["cells"]]
    refresh(course)
    page = json.loads((course / "workbook/01_first.ipynb").read_text())
    assert page["cells"][1]["outputs"] == ran["cells"][1]["outputs"]


def test_a_workbook_of_a_later_course_is_left_as_it_is(course):
    refresh(course)
    record = course / "workbook" / workbook.RECORD
    record.write_text(json.dumps(json.loads(record.read_text()) | {"version": "999.1"}))
    before = {path: path.read_bytes() for path in (course / "workbook").rglob("*") if path.is_file()}
    write(course, "01_first", "print(1)")
    (said,) = refresh(course)
    assert "999.1" in said and "left as it is" in said
    assert {path: path.read_bytes() for path in before} == before


def test_where_the_disk_refuses_it_is_one_sentence(course):
    (course / "workbook").write_text("a file")
    done = cnncourse("lab", "--no-browser", cwd=course)
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
    assert "workbook" in done.stderr and (course / "workbook").read_text() == "a file"


def test_read_only_pages_are_one_sentence(course):
    refresh(course)
    write(course, "01_first", "print(1)")
    code = (
        "import sys; from pathlib import Path; from cnncourse import files, runs, workbook\n"
        "def refuse(path, content): raise PermissionError(13, 'Permission denied', str(path))\n"
        "files.write_whole = refuse\n"
        "try: workbook.refresh(Path('.'), Path('workbook'))\n"
        "except runs.RunError as error: print(error)"
    )
    environment = os.environ | {"PYTHONPATH": str(COURSE)}
    done = subprocess.run([sys.executable, "-c", code], cwd=course, env=environment, capture_output=True, text=True)
    assert done.stdout.strip().endswith("cannot be written (Permission denied); nothing of yours was changed.")


def test_git_sees_nothing_of_it():
    ignored = subprocess.run(["git", "check-ignore", "-q", "workbook/01_scaling.ipynb"], cwd=COURSE)
    assert ignored.returncode == 0
