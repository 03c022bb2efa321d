"What README.md, CONTRIBUTING.md, the home page and the workflows name is really there."

import re
from pathlib import Path

import nbformat
import pytest
import yaml

COURSE = Path(__file__).parents[1]
PAPERS = ["README.md", "CONTRIBUTING.md", "nbs/index.ipynb", ".github/workflows/test.yml", ".github/workflows/site.yml"]
TARGETS = set(re.findall(r"^([a-z]+):", (COURSE / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def text(paper):
    path = COURSE / paper
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)


@pytest.mark.parametrize("paper", PAPERS)
def test_every_make_target_exists(paper):
    named = set(re.findall(r"(?:^|`|run: +)make ([a-z]+)", text(paper), re.MULTILINE))
    assert named and named <= TARGETS


@pytest.mark.parametrize("paper", PAPERS[:3])
def test_every_relative_link_leads_somewhere(paper):
    links = re.findall(r"\]\((?!https?:)([^)#{]+)", text(paper))
    assert links and [link for link in links if not (COURSE / paper).parent.joinpath(link).exists()] == []


def test_the_picture_of_the_readme_is_small():
    assert 0 < (COURSE / "assets" / "readme.jpg").stat().st_size < 150_000


def test_conda_has_the_python_that_the_package_needs_and_the_lock():
    dependencies = yaml.safe_load((COURSE / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    least = re.search(r"^min_python = (.+)$", text("settings.ini"), re.MULTILINE)[1]
    assert f"python={least}" in dependencies
    assert dependencies[-1] == {"pip": ["-c constraints.txt", "-e .[all]"]}


def test_hooks_use_tools_of_the_lock():
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    tools = {hook["entry"].split()[0] for hook in hooks}
    locked = {line.split("==")[0] for line in text("constraints.txt").splitlines()}
    assert {tool.removeprefix(".venv/bin/").split("_")[0] for tool in tools} <= locked
