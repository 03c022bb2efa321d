"""Reports: one file with everything inside, whatever the words and pictures are, and right for every reader."""

import errno
import os
import re
from html.parser import HTMLParser
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import needs_browser
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnncourse import files, reports

NASTY = "<script>alert(1)</script> & \"quoted\" 'single' --> \x1b[2J \udcff 한글 https://example.org"
GREY = np.full((300, 400, 3), 120, np.uint8)


class Page(HTMLParser):
    "What stands in a page: its tags with attributes, and the text in each of some tags."

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # nothing is left open, nothing crosses

    def handle_data(self, data):
        self.words[self.open[-1] if self.open else ""] = self.words.get(self.open[-1] if self.open else "", "") + data

    def all(self, *names):
        return [(tag, attrs) for tag, attrs in self.tags if tag in names]


def sample(words="Words"):
    "A part of each kind."
    fig, ax = plt.subplots(figsize=(5, 3))
    ax.plot([0, 1, 2], [3, 1, 2])
    box = reports.picture(GREY, f"grey {words}", boxes=[(40, 30, 120, 90)])
    made = [
        reports.text(
            f"{words}\n\nA second paragraph that is a little longer than the first one, to fill a line or two."
        ),
        reports.heading(f"One {words}"),
        reports.text(words, "note"),
        reports.text(words, "warning"),
        reports.table([{"file": words, "score": 1.25}, {"file": "b", "score": None, "note": words}], words),
        reports.heading("Two"),
        reports.gallery([(reports.picture(GREY, words, width=160), f"{i}: {words}") for i in range(5)]),
        reports.heading("Below two", 3),
        box,
        reports.figure(fig, words, words),
        reports.heading("Three"),
        reports.text(f"cnncourse predict parts.cnn {words}\n    --csv", "code"),
        reports.heading("Four"),
        reports.folded(words, [reports.text(words), box]),
    ]
    plt.close(fig)
    return made


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    "A report of nasty words, as text."
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert reports.report(NASTY, sample(NASTY), path) == path
    return path.read_text(encoding="utf-8")


def test_no_word_becomes_a_tag(page):
    assert Page(page).all("script") == [] and "\x1b" not in page
    assert "alert(1)" in Page(page).words["title"] and "alert(1)" in Page(page).words["h1"]
    assert all("alert(1)" in attrs["alt"] for _, attrs in Page(page).all("img"))


@given(st.text(st.characters(codec=None), min_size=1).filter(lambda words: words.strip()))
def test_any_words_are_text(words):
    made = [reports.text(words), reports.heading(words), reports.table([{words: words}], words)]
    for part in made:
        part.html.encode()
        found = Page(part.html)
        assert {tag for tag, _ in found.tags} <= {"p", "div", "table", "caption", "thead", "tbody", "tr", "th", "td"}
        assert found.open == []


def test_everything_is_inside_and_nothing_runs(page):
    found = Page(page)
    assert [attrs["src"] for _, attrs in found.all("img") if not attrs["src"].startswith("data:image/")] == []
    assert found.all("link", "script", "iframe", "object", "embed", "base", "form") == []
    assert [name for _, attrs in found.tags for name in attrs if name.startswith("on")] == []
    assert all(attrs["href"].startswith("#") for _, attrs in found.all("a"))
    assert "url(" not in page and "@import" not in page
    (rules,) = (attrs["content"] for _, attrs in found.all("meta") if attrs.get("http-equiv"))
    assert rules.startswith("default-src 'none'")


def test_the_page_can_be_read_without_seeing_it(page):
    found = Page(page)
    assert found.all("html")[0][1]["lang"] == "en" and found.words["title"].strip()
    levels = [int(tag[1]) for tag, _ in found.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(attrs.get("alt", "").strip() for _, attrs in found.all("img"))
    assert all(attrs.get("scope") in ("col", "row") for _, attrs in found.all("th"))
    assert all(attrs.get("aria-label") for _, attrs in found.all("nav") + [t for t in found.tags if t[1].get("role")])
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids)) and {attrs["href"][1:] for _, attrs in found.all("a")} <= set(ids)
    assert len(found.all("main")) == 1 and found.open == []


def test_four_sections_have_a_list_of_contents_and_three_have_none(tmp_path):
    for n in (3, 4):
        path = reports.report("Title", [reports.heading(f"Section {i}") for i in range(n)], tmp_path / "a.html")
        assert len(Page(path.read_text()).all("a")) == (4 if n == 4 else 0)


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (8, 8, 1), (300, 400), (3, 2000, 3), (2000, 3, 3), (1200, 1600, 3)])
def test_a_picture_of_any_shape_is_small(shape):
    x = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    edge = [(0, 0, shape[1], shape[0])]
    for one in (x, Image.fromarray(x.reshape(shape[:2]) if shape[2:] == (1,) else x)):
        (tag,) = Page(reports.picture(one, "a part", width=160, boxes=edge).html).tags
        assert int(tag[1]["width"]) <= 160 and len(tag[1]["src"]) < 60_000


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "LA"])
def test_pillow_images_of_other_modes_are_shown(mode):
    assert "data:image/" in reports.picture(Image.new(mode, (40, 30)), "a part").html


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: reports.picture(GREY, ""), "needs alt"),
        (lambda: reports.picture(GREY.astype(float), "x"), "of uint8; got float64"),
        (lambda: reports.picture(GREY[None], "x"), r"got uint8 of shape \(1, 300, 400, 3\)"),
        (lambda: reports.picture(GREY[:0], "x"), "got uint8 of shape"),
        (lambda: reports.picture(GREY, "x", boxes=[(10, 10, 10, 20)]), "a box must be"),
        (lambda: reports.picture(GREY, "x", boxes=[(float("nan"), 0, 9, 9)]), "a box must be"),
        (lambda: reports.picture(GREY, "x", width=7.5), "width must be a whole number"),
        (lambda: reports.table([]), "at least one row"),
        (lambda: reports.gallery([]), "at least one picture"),
        (lambda: reports.heading("a", 5), "level must be 2, 3 or 4"),
        (lambda: reports.text("a", "bold"), "kind must be one of"),
    ],
)
def test_a_mistake_is_one_sentence(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("parts", "name", "said"),
    [
        (["words"], "a.html", "must be made by heading, text, table"),
        ([reports.heading("a", 3)], "a.html", "of level 3 follows one of level 1"),
        ([], "a.pdf", r"must end in .html; got a.pdf"),
    ],
)
def test_nothing_is_written_for_a_mistake(tmp_path, parts, name, said):
    with pytest.raises(ValueError, match=said):
        reports.report("Title", parts, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_without_space_the_old_report_stays_and_nothing_is_left(tmp_path, monkeypatch):
    path = reports.report("Old", [], tmp_path / "report.html")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*report.html"):
        reports.report("New", sample(), path)
    assert "<title>Old</title>" in path.read_text() and [one.name for one in tmp_path.iterdir()] == ["report.html"]


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_aside(browser, tmp_path, scheme):
    path, asked = reports.report("A report", sample("some-long-name-of-a-file" * 4), tmp_path / "report.html"), []
    page = browser.new_page(viewport={"width": 360, "height": 700}, color_scheme=scheme)
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: asked.append(message.text))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert all(page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)"))
    colours = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    ink, sheet = (np.mean([int(n) for n in re.findall(r"\d+", colour)[:3]]) for colour in colours)
    assert (ink < sheet) == (scheme == "light") and abs(ink - sheet) > 150
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    page.close()
