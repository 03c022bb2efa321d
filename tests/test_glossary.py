"The glossary has both languages, no word twice, the order of the alphabet, and places that exist."

import csv
import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest

from cnncourse import curriculum

LESSONS = Path(__file__).parents[1] / "nbs"
with (LESSONS / "glossary.csv").open(encoding="utf-8", newline="") as file:
    WORDS = list(csv.DictReader(file))
HANGUL = re.compile(r"[가-힣]")


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word["english"])
def test_each_word_is_complete(word):
    assert re.search(r"[A-Za-z]", word["english"]) and not HANGUL.search(word["english"])
    assert HANGUL.search(word["korean"]) and all(map(HANGUL.search, filter(None, word["also"].split(", "))))
    assert word["meaning"].endswith(".") and ". " not in word["meaning"], "a meaning is one sentence"
    assert None not in word, "a comma in a field that is not quoted"


@pytest.mark.parametrize("language", ["english", "korean"])
def test_no_word_stands_twice(language):
    words = Counter(part for word in WORDS for part in word[language].casefold().split(", "))
    assert [word for word, count in words.items() if count > 1] == []


def test_what_else_is_said_is_another_word():
    assert [w["english"] for w in WORDS if set(w["also"].split(", ")) & set(w["korean"].split(", "))] == []


def test_words_are_in_the_order_of_the_alphabet():
    letters = [re.sub(r"\W", "", word["english"].casefold()) for word in WORDS]
    assert letters == sorted(letters)


def test_each_word_is_explained_on_a_line_of_the_curriculum():
    known = {line.number for line in curriculum.lines()}
    assert {word["where"] for word in WORDS} <= known


def test_links_of_written_lessons_exist():
    written, covered = curriculum.written(LESSONS), curriculum.coverage(LESSONS)
    home = {line.number: line.lesson for line in curriculum.lines()}
    lost = [word["english"] for word in WORDS if home[word["where"]] in written and word["where"] not in covered]
    assert lost == []


@pytest.mark.parametrize("lesson", curriculum.written(LESSONS))
def test_korean_words_of_a_lesson_stand_in_the_glossary(lesson):
    phrase = re.compile(r"[가-힣]+(?:[ -][가-힣]+)*")
    known = {found for word in WORDS for found in phrase.findall(f"{word['korean']}, {word['also']}")}
    cells = nbformat.read(LESSONS / f"{lesson}.ipynb", as_version=4).cells
    used = {found for cell in cells if cell.cell_type == "markdown" for found in phrase.findall(cell.source)}
    assert used <= known, f"not in nbs/glossary.csv: {', '.join(sorted(used - known))}"
