"""The website: a small made course, built by both builders, and looked at with a browser."""

import base64
import errno
import functools
import importlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from html import unescape
from pathlib import Path

import nbformat
import pytest
from conftest import needs_browser, needs_quarto
from measuring import LIMITS, measure, too_much, total
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cnncourse import runs, site
from cnncourse.figures import Player
from cnncourse.lessons import ask as question
from cnncourse.site import Site, SiteError, build, build_key, check_links, make_server, serve

TOP = Path(__file__).parent.parent
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="

builders = pytest.mark.parametrize("builder", ["pandoc", pytest.param("quarto", marks=needs_quarto)])

# What must hold for every page, whatever it says: of the small course by both builders, and of the site that is about to be published.
NOTEBOOKS = [
    f"nbs/{name}.html" for name in ("index", "glossary", "scaling", "pooling", "walk", "api/tables")
]  # in the sidebar's order
WEEK = [f"nbs/walk/{name}.html" for name in ("first-step", "second-step-far-away", "all")]
PAGES = [*NOTEBOOKS, *WEEK]
PUBLISHED = Path(os.environ["CNNCOURSE_SITE"]).resolve() if "CNNCOURSE_SITE" in os.environ else None
SITES = {"pandoc": PAGES, "quarto": PAGES}
if PUBLISHED:
    SITES["published"] = sorted(page.relative_to(PUBLISHED).as_posix() for page in PUBLISHED.glob("nbs/**/*.html"))
every_page = pytest.mark.parametrize(
    "builder, path",
    [
        pytest.param(name, page, marks=[needs_quarto] if name == "quarto" else [])
        for name, pages in SITES.items()
        for page in [*pages, "404.html"]
    ],
)

SETTINGS = """[DEFAULT]
lib_name = tinylib
repo = tinylib
version = 0.0.1
description = A small course
author = A
author_email = a@example.org
user = a
branch = main
title = tiny
nbs_path = .
lib_path = tinylib
doc_path = _docs
recursive = True
custom_sidebar = True
git_url = https://github.com/a/tinylib
doc_host = https://a.github.io
doc_baseurl = /tinylib
"""

LIBRARY = """def double(
    x: int,  # what to double
) -> int:
    "Twice `x`."
    return 2 * x
"""

PRIVATE = """def _known(x):
    return x
"""

PANDAS = """<div><style scoped>
    .dataframe thead th { text-align: right; }
</style>
<table border="1" class="dataframe"><thead><tr><th></th><th colspan="30" halign="left">a</th></tr></thead><tbody>
"""

PLAYER = Player("<p>It moves.</p>", [{"taps": [], "text": f"picture {i}", "frame": ""} for i in range(3)], "A player")

HOME = [
    new_markdown_cell(
        "# Home\n\n> Where it starts.\n\nThe first lesson is [scaling](01_scaling.ipynb), after [a paper](https://example.org/paper.pdf).\n\n![A grey pixel](pixel.png)"
    )
]

LESSON = [
    new_markdown_cell("# Scaling\n\n> One sentence about scaling."),
    new_code_cell("#| default_exp scaling"),
    new_markdown_cell(
        "Uses `tables.double` and `halve`; see [there](02_pooling.ipynb#Stride-and-size-[T3.2]).\n- a list\n- of two"
    ),
    new_code_cell("seed = 0", metadata={"tags": ["parameters"]}),
    new_markdown_cell(
        "## The rule [T1.1] [W1.2]\n\n> **Note.** A remark of $x^2$.\n\n> **Claim C1.1.** Scaling helps.\n\n> A plain quote."
    ),
    new_markdown_cell("$$\\frac{1}{2}$$\n\n<details><summary>More</summary>\n\nFolded **bold** text.\n\n</details>"),
    new_code_cell("#| export\ndef halve(x):\n    return x / 2", metadata={"tags": ["lesson"]}),
    new_code_cell("#| hide\nsecret_cell = 1"),
    new_code_cell("print('printed')", outputs=[new_output("stream", name="stdout", text="\x1b[32mprinted\x1b[0m\n")]),
    new_code_cell(
        '#| fig-cap: "The answer is grey."\n#| fig-alt: "One \\"grey\\" pixel."\ndraw()',
        outputs=[new_output("display_data", data={"image/png": PNG, "text/plain": "<Figure>"})],
    ),
    new_code_cell('#| code-fold: true\n#| code-summary: "How it is done"\nfolded_code = 1'),
    new_code_cell(
        "table",
        outputs=[
            new_output(
                "execute_result",
                data={
                    "text/html": PANDAS + "<tr><th>0</th>" + "<td>123456789</td>" * 30 + "</tr></tbody></table></div>",
                    "text/plain": "t",
                },
                execution_count=1,
            )
        ],
    ),
    new_code_cell(
        "1 / 0",
        outputs=[
            new_output(
                "error",
                ename="ZeroDivisionError",
                evalue="division by zero",
                traceback=["\x1b[31mZeroDivisionError\x1b[0m: division by zero"],
            )
        ],
    ),
    new_code_cell("# depends: *.csv\nlong_line = '" + "wide " * 60 + "'"),
    new_markdown_cell("$$" + " + ".join(f"x_{{{i}}}" for i in range(60)) + "$$"),
    new_code_cell(
        "Player(...)", outputs=[new_output("display_data", data={"text/html": PLAYER._repr_html_(), "text/plain": "p"})]
    ),
]

POOLING = [
    new_markdown_cell("# Pooling\n\n> Fewer numbers."),
    new_markdown_cell(
        "## Stride and size [T3.2]\n\nThe word 합성곱, the word quokka and `some_code`.\n\n| a | b |\n|---|---|\n"
        + "| "
        + "wide " * 50
        + "| 2 |"
    ),
]

WORDS = [
    new_markdown_cell("# Words\n\n> In English and Korean."),
    new_code_cell(
        "rows",
        outputs=[
            new_output(
                "display_data",
                data={
                    "text/markdown": "| English | Korean | Meaning |\n|:--|:--|:--|\n"
                    '| <span id="pooling"></span>**pooling** | 풀링 | Many numbers become one. |\n'
                    '| <span id="max-pooling"></span>**max pooling** | 최대 풀링 | Pooling by the largest. |\n'
                    '| <span id="padding"></span>**padding** | 패딩 | A rim of zeros. |',
                    "text/plain": "rows",
                },
            )
        ],
    ),
]

STATION = {"tags": ["station"]}


def asked(*args, **options):
    "A question, as it was executed."
    data = {"text/html": question(*args, **options)._repr_html_(), "text/plain": args[0]}
    return new_code_cell("ask(...)", outputs=[new_output("execute_result", data=data, execution_count=1)])


WALK = [
    new_markdown_cell("# Walking\n\n> One foot before the other."),
    new_code_cell("#| default_exp walk"),
    new_markdown_cell("After this week you can say [how far](#T3.9) it is."),
    new_code_cell("#| export\nimport os"),
    new_code_cell("seed = 0\nfull = False", metadata={"tags": ["parameters"]}),
    new_markdown_cell(
        "## First step [T3.1]\n\nA note[^1], [farther](#T3.9), and [a rule](01_scaling.ipynb#T1.1).\n\n"
        "![A pixel of the way](pixel.png)\n\n[^1]: It says so.",
        metadata=STATION,
    ),
    new_markdown_cell("### How far\n\n#### By hand\n\nTwo."),
    new_code_cell(
        '#| export\ndef stride_of(step, by=2, *, far=3):\n    "How *far* one `step` goes."\n    return step * by'
    ),
    new_code_cell("x = stride_of(2)\nassert x == 4\nassert x != 5"),
    new_code_cell("#| export\ndef taught(step):\n    return step", metadata={"tags": ["lesson"]}),
    new_code_cell(
        '#| fig-cap: "The way."\n#| fig-alt: "A grey way."\ndraw_the_way()',
        outputs=[new_output("display_data", data={"image/png": PNG, "text/plain": "<Figure>"})],
    ),
    new_code_cell("wide = 88  # " + "x" * (88 - 13)),
    new_markdown_cell("### Claims [C3.1]\n\n> **Claim C3.1.** A step `helps`.\n\nTry it."),
    new_markdown_cell("**To keep.** One. Two. Three.\n\n**Words.** pooling, max\npooling", metadata={"tags": ["card"]}),
    asked("How many steps?", 4, "Two and two."),
    asked("Which way?", "left", "It bends.", options=["left", "right"]),
    new_markdown_cell(
        "## Second step, `far` away [T3.9]\n\nSee [before](03_walk.ipynb#First-step-[T3.1]) and `stride_of`.",
        metadata=STATION,
    ),
    new_code_cell("last_cell = 1", metadata={"tags": ["fold"]}),
]

TABLES = [
    new_markdown_cell("# Tables\n\n> A module of the library."),
    new_markdown_cell("## Quokka\n\n" + "A quokka is no number. " * 5),
    new_code_cell("#| default_exp tables"),
    new_code_cell("#| export\n" + LIBRARY),
    new_markdown_cell("First it is asked by `_known`."),
    new_code_cell("#| export\n" + PRIVATE),
]


def write_course(folder):
    "A course of six notebooks, executed, with the real assets and configuration."
    pages = {"index": HOME, "glossary": WORDS, "01_scaling": LESSON, "02_pooling": POOLING, "03_walk": WALK}
    pages["api/tables"] = TABLES
    for name, cells in pages.items():
        write(folder, f"nbs/{name}.ipynb", cells)
    runs.remember(folder, {"02_pooling": runs.Record("", "", 1.0, 1, 1, "", {"seed": 5, "name": "a `b`"})})
    (folder / "nbs/pixel.png").write_bytes(base64.b64decode(PNG))
    (folder / "nbs/glossary.csv").write_text("english,korean\npooling,풀링\nmax pooling,최대 풀링\n", encoding="utf-8")
    (folder / "settings.ini").write_text(SETTINGS)
    (folder / "tinylib").mkdir()
    (folder / "tinylib/__init__.py").touch()
    (folder / "tinylib/tables.py").write_text(LIBRARY + PRIVATE)
    shutil.copytree(TOP / "assets", folder / "assets")
    config = (TOP / "_quarto.yml").read_text()
    for page in ("curriculum", "claims"):
        config = config.replace(f"          - nbs/{page}.ipynb\n", "")
    (folder / "_quarto.yml").write_text(config)
    return folder


def write(folder, path, cells):
    "A notebook as its author has it, and executed by papermill, which adds a cell of parameters."
    source = [nbformat.from_dict(dict(cell) | ({"outputs": []} if cell.cell_type == "code" else {})) for cell in cells]
    injected = new_code_cell("injected = 1", metadata={"tags": ["injected-parameters"]})
    for name, content in [(path, source), (f"_run/{path}", [*cells[:2], injected, *cells[2:]])]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=content), folder / name)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    "The small course; its library can be imported."
    with pytest.MonkeyPatch.context() as patch:
        folder = write_course(tmp_path_factory.mktemp("course"))
        patch.syspath_prepend(folder)
        yield folder


@functools.cache
def attempt(course, builder):
    "One build of the small course: the site, or what went wrong."
    try:
        return build(course, course / f"_{builder}", builder=builder, report=lambda line: None)
    except SiteError as error:
        return error


def built(course, builder):
    "The small course's site, built once; or the site that is about to be published."
    if builder == "published":
        return Site(PUBLISHED, builder, "", len(SITES[builder]), 0.0)
    made = attempt(course, builder)
    assert not isinstance(made, SiteError), made
    return made


@pytest.fixture
def course(tiny, tmp_path):
    "A copy of the small course to spoil."
    return Path(shutil.copytree(tiny, tmp_path / "course", ignore=shutil.ignore_patterns("_pandoc", "_quarto")))


def text_of(made, page):
    return (made.folder / page).read_text(encoding="utf-8")


def main_of(made, page):
    "The page without its frame."
    return re.search(r"<main.*</main>", text_of(made, page), re.S)[0]


def quiet(course, **options):
    return build(course, builder="pandoc", report=lambda line: None, **options)


# What both builders make of the same course


@builders
def test_every_notebook_becomes_a_page(tiny, builder):
    made = built(tiny, builder)
    assert [page for page in ["index.html", *PAGES] if not (made.folder / page).exists()] == []
    assert (made.builder, made.pages, made.problems) == (builder, len(PAGES), [])
    assert 'url=nbs/index.html"' in text_of(made, "index.html")


@builders
def test_sidebar_goes_by_week(tiny, builder):
    text = re.sub(r"<[^>]*>|\s+", " ", text_of(built(tiny, builder), "nbs/scaling.html"))
    shown = re.findall(
        r"Start|Home|Words|The eight weeks|\d · (?:Scaling|Pooling|Walking)|Beyond|The library|Tables", text
    )
    order = ["Start", "Home", "Words", "The eight weeks", "1 · Scaling", "2 · Pooling", "3 · Walking", "The library"]
    assert shown[shown.index("Start") :][: len(order)] == order and "Beyond" not in shown


@builders
def test_neighbouring_pages(tiny, builder):
    text = text_of(built(tiny, builder), "nbs/scaling.html")
    assert re.search(r'rel="prev" href="glossary.html"', text) and re.search(r'rel="next" href="pooling.html"', text)


@builders
def test_quotes_with_a_bold_lead_become_callouts(tiny, builder):
    text = main_of(built(tiny, builder), "nbs/scaling.html")
    assert re.search(
        r'<div class="hint hint-note" role="note">\s*<p><span class="hint-lead">Note.</span> A remark', text
    )
    assert re.search(r'<div class="hint hint-claim" role="note">\s*<p><span class="hint-lead">Claim C1.1.</span>', text)
    assert re.search(r"<blockquote[^>]*>\s*<p>A plain quote", text)


@builders
def test_formulas_are_mathml(tiny, builder):
    text = main_of(built(tiny, builder), "nbs/scaling.html")
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in text and "<mfrac><mn>1</mn><mn>2</mn></mfrac>" in text


@builders
def test_figures_have_caption_and_text_alternative(tiny, builder):
    text = main_of(built(tiny, builder), "nbs/scaling.html")
    assert re.search(r'<img src="[^"]+\.png"[^>]* alt="One &quot;grey&quot; pixel."', text)
    assert "<figcaption>The answer is grey.</figcaption>" in text and "fig-cap" not in text


@builders
def test_hidden_and_injected_cells_are_not_shown(tiny, builder):
    whole = "".join(path.read_text(errors="ignore") for path in built(tiny, builder).folder.rglob("*.html"))
    for absent in ("secret_cell", "injected", "default_exp", "#|"):
        assert absent not in whole


@builders
def test_lessons_show_the_code_that_they_export(tiny, builder):
    text = main_of(built(tiny, builder), "nbs/scaling.html")
    frame = text[text.index('id="scaling.halve"') :]
    assert 'class="exported-name">tinylib.scaling.halve<' in frame
    assert re.search(r'<span class="kw">def</span> halve\(x\)', frame)


@builders
def test_pages_of_the_library_document_and_fold(tiny, builder):
    text = main_of(built(tiny, builder), "nbs/api/tables.html")
    assert 'id="tables.double"' in text and "Twice <code>x</code>." in text
    assert (
        re.search(r"<td[^>]*><code>x</code></td>\s*<td[^>]*><code>int</code></td>", text) and "what to double" in text
    )
    folded = re.search(r'<details class="code-fold">\s*<summary>\s*Source\s*</summary>.*?</details>', text, re.S)[0]
    assert re.search(r'<span class="kw">def</span> double', folded)


@builders
def test_a_private_name_of_the_library_can_be_linked_to(tiny, builder):
    text = main_of(built(tiny, builder), "nbs/api/tables.html")
    assert '<a href="#tables._known"><code>_known</code></a>' in text
    assert "<details" in text.split('id="tables._known"')[1].split("def")[0]


@builders
def test_symbols_link_to_their_documentation(tiny, builder):
    text = main_of(built(tiny, builder), "nbs/scaling.html")
    assert '<a href="api/tables.html#tables.double"><code>tables.double</code></a>' in text
    assert '<a href="#scaling.halve"><code>halve</code></a>' in text


@builders
def test_links_between_notebooks_lead_to_pages(tiny, builder):
    text = main_of(built(tiny, builder), "nbs/scaling.html")
    link = re.search(r'<a href="([^"]+)">there</a>', text)[1]
    assert link.endswith("pooling.html#stride-and-size-t3.2")  # the notebook has JupyterLab's way of writing it


@builders
def test_curriculum_numbers_are_anchors(tiny, builder):
    text = main_of(built(tiny, builder), "nbs/scaling.html")
    assert 'id="T1.1"' in text and 'id="W1.2"' in text and "[T1.1]" not in text


@builders
def test_code_folds_where_asked_and_html_folds_too(tiny, builder):
    text = main_of(built(tiny, builder), "nbs/scaling.html")
    assert re.search(r'<details class="code-fold">\s*<summary>\s*How it is done\s*</summary>', text)
    assert re.search(r"<details>\s*<summary>\s*More\s*</summary>\s*<p>Folded <strong>bold</strong> text.</p>", text)


@builders
def test_outputs_are_told_apart_and_free_of_terminal_codes(tiny, builder):
    text = main_of(built(tiny, builder), "nbs/scaling.html")
    assert re.search(r'<div class="cell-output cell-output-stdout">\s*<pre[^>]*><code>printed', text)
    assert re.search(r'<div class="cell-output cell-output-error">\s*<pre[^>]*><code>ZeroDivisionError', text)
    assert 'class="dataframe' in text and "\x1b" not in text


@builders
def test_lists_follow_paragraphs_as_in_jupyterlab(tiny, builder):
    assert "<li>a list</li>" in main_of(built(tiny, builder), "nbs/scaling.html")


@builders
def test_a_page_says_which_parameters_it_was_run_with(tiny, builder):
    text = re.sub(r"<[^>]*>|\s+", " ", main_of(built(tiny, builder), "nbs/pooling.html"))
    assert re.search(r"This page was run with +name = 'a `b`' +and +seed = 5 *, not with what its code shows", text)
    assert "was run with" not in main_of(built(tiny, builder), "nbs/scaling.html")


@builders
def test_the_built_site_has_no_broken_link_and_no_foreign_host(tiny, builder):
    assert [found for found in check_links(built(tiny, builder).folder) if found[0] != "404.html"] == []


@builders
def test_pictures_beside_a_notebook_come_along_and_other_hosts_may_be_linked(tiny, builder):
    text = main_of(built(tiny, builder), "nbs/index.html")
    assert re.search(r'<img src="pixel.png"[^>]* alt="A grey pixel"', text) and "https://example.org/paper.pdf" in text
    assert (built(tiny, builder).folder / "nbs/pixel.png").exists()


@builders
def test_lines_for_the_runner_are_not_for_the_reader(tiny, builder):
    text = main_of(built(tiny, builder), "nbs/scaling.html")
    assert "depends" not in text and "long_line" in text


# Where the course can be had, and what a host looks for


@builders
@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_where_the_course_can_be_had(tiny, builder, page):
    made, repository = built(tiny, builder), "https://github.com/a/tinylib"
    links = {unescape(link) for link in re.findall(r'<a\b[^>]*\shref="([^"]+)"', text_of(made, page))}
    stem = page.removesuffix(".html")
    path = (
        "nbs/03_walk"
        if "walk" in stem
        else {"scaling": "nbs/01_scaling", "pooling": "nbs/02_pooling"}.get(stem[4:], stem)
    )
    notebook = f"{path}.ipynb"
    assert links >= {repository, f"{repository}/blob/main/{notebook}", f"{repository}/edit/main/{notebook}"}
    assert any(link.startswith(f"{repository}/issues/new?title={notebook}") for link in links)
    assert os.path.relpath(notebook, Path(page).parent) in links  # the download lies beside the page
    assert (made.folder / notebook).read_bytes() == (tiny / notebook).read_bytes()
    assert re.search(rf'href="{repository}/blob/main/LICENSE-lessons" rel="license">CC BY 4.0<', text_of(made, page))


@builders
def test_addresses_come_from_the_settings_or_by_the_rule_of_nbdev(tiny, builder):
    text = text_of(built(tiny, builder), "nbs/scaling.html")
    assert '<link rel="canonical" href="https://a.github.io/tinylib/nbs/scaling.html">' in text
    assert re.search(r'og:image" content="https://a.github.io/tinylib/nbs/(01_)?scaling_files/[^"]+png"', text)
    assert 'og:image:alt" content="One &quot;grey&quot; pixel."' in text
    assert 'og:description" content="One sentence about scaling."' in text
    home = text_of(built(tiny, builder), "index.html")
    assert "og:image" in home and 'rel="canonical" href="https://a.github.io/tinylib/nbs/index.html"' in home


def test_a_course_that_stands_nowhere_is_told_so(course):
    text = (course / "settings.ini").read_text()
    (course / "settings.ini").write_text(re.sub(r"^(user|git_url|doc_host) = .*\n", "", text, flags=re.MULTILINE))
    with pytest.raises(SiteError, match=r"expected `user`, or `git_url` and `doc_host`, in settings\.ini"):
        quiet(course)


def test_a_frame_with_a_place_that_nothing_fills_is_named(course):
    for name in ("page.html", "404.html"):
        text = (course / "assets" / name).read_text()
        (course / "assets" / name).write_text(text.replace("${lang}", "${language}"))
        with pytest.raises(SiteError, match=rf"assets/{name} has a place that nothing fills \('language'\)"):
            quiet(course)
        (course / "assets" / name).unlink()
        with pytest.raises(SiteError, match=rf"assets/{name} cannot be read"):
            quiet(course)
        (course / "assets" / name).write_text(text)


@builders
def test_every_page_is_in_the_sitemap(tiny, builder):
    made = built(tiny, builder)
    listed = re.findall("<loc>(.*?)</loc>", text_of(made, "sitemap.xml"))
    assert sorted(listed) == sorted(f"https://a.github.io/tinylib/{page}" for page in PAGES)
    assert "Sitemap: https://a.github.io/tinylib/sitemap.xml" in text_of(made, "robots.txt")


# A week and its stations


@builders
def test_a_week_is_cut_at_its_marks(tiny, builder):
    made = built(tiny, builder)
    own, first, second, whole = (text_of(made, page) for page in ("nbs/walk.html", *WEEK))
    assert "<title>First step – Walking – " in first and "<title>Second step, far away – Walking – " in second
    for text, there in [(first, "It says so."), (first, "Claim C3.1"), (second, "last_cell")]:
        assert [there in page for page in (first, second, whole)] == [text is first, text is second, True]
    assert "After this week" in own and "After this week" in whole and "After this week" not in first + second
    assert "<!-- station" not in own + first + second + whole
    assert re.search(r'<h1 [^>]*id="first-step-t3.1"[^>]*>First step', first) and first.count("<h1") == 1
    assert re.search(r'<h2 [^>]*id="how-far"', first) and re.search(r'<h3 [^>]*id="by-hand"', first)
    assert re.search(r'<h2 [^>]*id="first-step-t3.1"', whole)


@builders
def test_a_week_shows_its_way(tiny, builder):
    own, first, second, whole = (text_of(built(tiny, builder), page) for page in ("nbs/walk.html", *WEEK))
    assert re.search(r'<a href="walk/first-step.html"><span[^>]*>1</span>First step</a><span[^>]*>about 4 min', own)
    assert '<a href="walk/first-step.html#C3.1">Claim C3.1</a><p>A step <code>helps</code>.</p>' in own
    assert "Week 3 · Walking</a> · station 2 of 2 · about 1 min" in second
    assert 'aria-current="page">1 · First step</a>' in first and 'aria-current="page">All on one page' in whole
    assert 'href="first-step.html">1 · First step' in second and 'href="walk/first-step.html"' not in second
    for text, before, after in [
        (own, "pooling.html", "walk/first-step.html"),
        (first, "../walk.html", "second-step-far-away.html"),
        (second, "first-step.html", "../api/tables.html"),
        (whole, "../pooling.html", "../api/tables.html"),
    ]:
        assert f'rel="prev" href="{before}"' in text and f'rel="next" href="{after}"' in text
    assert "On this page" in first and "#how-far" in first and "On this page" not in second


@builders
def test_links_land_in_the_right_station(tiny, builder):
    own, first, second, whole = (main_of(built(tiny, builder), page) for page in ("nbs/walk.html", *WEEK))
    assert '<a href="walk/second-step-far-away.html#T3.9">how far' in own
    assert '<a href="second-step-far-away.html#T3.9">farther' in first and '<a href="#T3.9">farther' in whole
    assert '<a href="../scaling.html#T1.1">a rule' in first and '<a href="../scaling.html#T1.1">a rule' in whole
    assert '<a href="first-step.html#first-step-t3.1">before' in second
    assert '<a href="first-step.html#walk.stride_of"><code>stride_of' in second
    assert 'src="../pixel.png"' in first and re.search(r'src="\.\./(03_)?walk_files/[^"]+"', first)
    assert 'id="fn1"' in first and 'id="fn1"' not in second


@builders
def test_search_engines_and_search_know_a_week(tiny, builder):
    made, site = built(tiny, builder), "https://a.github.io/tinylib/nbs"
    own, first, second, whole = (text_of(made, page) for page in ("nbs/walk.html", *WEEK))
    assert f'canonical" href="{site}/walk/all.html"' in first and f'canonical" href="{site}/walk/all.html"' in whole
    assert f'og:url" content="{site}/walk/first-step.html"' in first and f'canonical" href="{site}/walk.html"' in own
    assert ["data-pagefind-body" in text for text in (own, first, second, whole)] == [True, True, True, False]


@builders
def test_a_lesson_folds_what_is_not_in_sight(tiny, builder):
    whole = re.sub(r"\s+", " ", main_of(built(tiny, builder), "nbs/walk/all.html"))
    lines = [re.sub(r"<[^>]*>", "", found).strip() for found in re.findall(r"<summary>(.*?)</summary>", whole)]
    assert lines == [
        "On this page",
        "Set-up: imports, what you can change (seed, full)",
        "stride_of(step, by, far) How far one step goes. · 3 lines in tinylib.walk",
        "2 checks passed",
        "Code of the figure",
        "Answer",
        "Answer",
        "Code · 1 line",
    ]
    assert "<summary> <code>stride_of(step, by, far)</code> How <em>far</em> one" in whole.replace(
        "<summary><", "<summary> <"
    )
    frame = whole[whole.index('id="walk.stride_of"') :]
    assert frame.index("<details") < frame.index("def</span> stride_of") < frame.index("</details>")
    assert 'exported-name">tinylib.walk.taught<' in whole and "ask(...)" not in whole


@builders
def test_a_card_gives_its_words_in_korean(tiny, builder):
    first = re.sub(r"\s+", " ", main_of(built(tiny, builder), WEEK[0]))
    card = first[first.index('class="card"') :]
    assert re.search(r'<a href="\.\./glossary.html#max-pooling">max pooling</a> <span lang="ko">최대 풀링</span>', card)


FORMS = {
    "expected `## Title` first in a cell tagged station": [new_markdown_cell("Text.", metadata=STATION)],
    "another station has the title": [new_markdown_cell("## First step", metadata=STATION)] * 2,
    "expected a title that can name a page, received 'All'": [new_markdown_cell("## All", metadata=STATION)],
    r"the station 'Long' has about \d+ screens": [new_markdown_cell("## Long\n\n" + "word " * 9000, metadata=STATION)],
    "'cell above' speaks of a cell that is folded": [new_markdown_cell("The cell above adds.")],
    "received 'quokka'": [new_markdown_cell("**Words.** quokka", metadata={"tags": ["card"]})],
    "#nowhere names a place that is not on that page": [
        new_markdown_cell("## A way\n\n[x](#nowhere)", metadata=STATION)
    ],
}


@pytest.mark.parametrize("said", FORMS)
def test_a_lesson_without_its_form_stops_the_build_with_notebook_and_cell(course, said):
    fold = [new_code_cell("import os")] if "folded" in said else []
    start = POOLING[:1] if fold else POOLING
    write(course, "nbs/02_pooling.ipynb", [*start, *fold, *FORMS[said]])
    fails_and_keeps(course, rf"nbs/02_pooling\.ipynb, cell 3.*{said}|{said} \(nbs/02_pooling\.ipynb, cell 3")


# Markup


@every_page
def test_markup_that_checkers_reject_is_mended(tiny, builder, path):
    text = text_of(built(tiny, builder), path)
    body = re.sub(r"<script\b.*?</script>", "", text[text.index("<body") :], flags=re.DOTALL)
    assert "<style" not in body and not re.search(r"<th\b[^>]*>\s*</th>", body) and "halign" not in body
    assert [found for found, n in Counter(re.findall(r'\sid="([^"]+)"', text)).items() if n > 1] == []
    assert not re.search(r'<img[^>]*alt=""[^>]*role=', body)


def test_styles_of_outputs_still_hold(tiny):
    head = text_of(built(tiny, "pandoc"), "nbs/scaling.html").split("</head>")[0]
    assert head.index("site.css") < head.index(".dataframe thead th") and head.count(".cnn-player{color-scheme") == 1


@builders
def test_search_index_exists(tiny, builder):
    assert list((built(tiny, builder).folder / "pagefind").glob("index/*"))


@needs_quarto
def test_quarto_and_pandoc_say_the_same(tiny):
    def words(builder, page):
        text = re.sub(
            r"<annotation.*?</annotation>|<!--.*?-->|<nav.*?</nav>|<details class=.contents.*?</details>|<script.*?</script>",
            "",
            main_of(built(tiny, builder), page),
            flags=re.S,
        )
        return set(re.findall(r"\w+", unescape(re.sub(r"<[^>]*>", " ", text))))

    for page in ("nbs/scaling.html", "nbs/pooling.html", "nbs/api/tables.html"):
        assert words("quarto", page) == words("pandoc", page)


# What must stop a build


def spoil(course, text):
    "Add a Markdown cell to the second lesson."
    write(course, "nbs/02_pooling.ipynb", [*POOLING, new_markdown_cell(text)])


BROKEN = {
    "09_gone.ipynb": "[gone](09_gone.ipynb)",
    "scaling.html#not-there": "[gone](01_scaling.ipynb#not-there)",
    "cat.png": "![A cat](cat.png)",
    "gone.html": '<a href="gone.html">x</a>',
    "https://example.org/cat.png": '<img src="https://example.org/cat.png" alt="a cat">',
    "//example.org/font.css": '<link rel="stylesheet" href="//example.org/font.css">',
    "https://example.org/a.css": "<style>@import 'https://example.org/a.css';</style>",
    "https://example.org/a.js": "<script src='https://example.org/a.js'></script>",
    "/etc/hostname": "[a file of this machine](/etc/hostname)",
    "https://example.org/b.json": "<script>const b = await fetch('https://example.org/b.json')</script>",
    "https://example.org/c.js": '<script type="module">import("https://example.org/c.js")</script>',
    "//example.org/d.js": "<script>import d from '//example.org/d.js'</script>",
    "wss://example.org/e": "<script>new WebSocket(`wss://example.org/e`)</script>",
    "https://example.org/f": """<p onclick="fetch('https://example.org/f')">x</p>""",
    "https://example.org/g.png": """<iframe srcdoc='<img src="https://example.org/g.png" alt="g">'></iframe>""",
    "https://example.org/h/": '<base href="https://example.org/h/">',
    "https://example.org/i": '<meta http-equiv="Refresh" content="0; URL=https://example.org/i">',
    "https://example.org/j.png": "<style>p { background: URL( https://example.org/j.png ) }</style>",
    "https://example.org/k.css": "<style>@import/* x */ url(https://example.org/k.css);</style>",
    "https://example.org/l.png": '<img src="pixel.png" srcset="pixel.png 1x, https://example.org/l.png 2x" alt="l">',
    "https://example.org/m.png": '<video poster="https://example.org/m.png"></video>',
    "https://example.org/n.pdf": '<object data="https://example.org/n.pdf"></object>',
    "https://example.org/o.pdf": '<embed src="https://example.org/o.pdf">',
    "https://example.org/p.svg": '<svg><image xlink:href="https://example.org/p.svg"/></svg>',
    "https://example.org/q": '<a href="pooling.html" ping="https://example.org/q">q</a>',
    "https://example.org/r.js": """<script type="importmap">{"imports": {"r": "https://example.org/r.js"}}</script>""",
    "https://example.org/s.png": '<div style="background: url(https://example.org/s.png)">s</div>',
    "https://example.org/t.js": "<script>document.body.innerHTML = '<script src=\"https://example.org/t.js\">'</script>",
    "https://example.org/u": "<script>location.href = 'https://example.org/u'</script>",
    "https://example.org/v": """<script>new XMLHttpRequest().open("GET", "https://example.org/v")</script>""",
    "http://[::1": '<a href="http://[::1">t</a>',
}


def test_broken_references_fail_with_page_and_line_and_the_old_site_stays(course, tiny):
    shutil.copytree(built(tiny, "pandoc").folder, course / "_docs")
    before = (course / "_docs/nbs/pooling.html").read_text()
    spoil(course, "\n\n".join(BROKEN.values()))
    with pytest.raises(SiteError) as caught:
        quiet(course)
    page = (course / "_run/site/new/nbs/pooling.html").read_text().splitlines()
    for target in BROKEN:
        found = re.search(rf"nbs/pooling\.html:(\d+): {re.escape(target)} .*02_pooling\.ipynb", str(caught.value))
        assert found and target in page[int(found[1]) - 1]
    assert len(str(caught.value).splitlines()) == 1 + len(BROKEN)
    assert (course / "_docs/nbs/pooling.html").read_text() == before


def fails_and_keeps(course, match):
    "A build that must fail with one sentence; what was published before stays."
    (course / "_docs").mkdir()
    (course / "_docs/.site.json").write_text('{"key": "old", "builder": "pandoc", "pages": 1}')
    (course / "_docs/index.html").write_text("old")
    with pytest.raises(SiteError, match=match) as caught:
        quiet(course)
    assert "Traceback" not in str(caught.value) and len(str(caught.value).splitlines()) <= 2, str(caught.value)
    assert (course / "_docs/index.html").read_text() == "old"
    return str(caught.value)


VALUES = [
    "2024",
    "1.5",
    "2024-01-31",
    "2024-13-45",
    "",
    "null",
    "true",
    "[]",
    "[1, 2]",
    "{a: b}",
    "&a [*a]",
    "'  '",
    "!!x y",
]


@pytest.mark.parametrize("name", ["fig-cap", "fig-alt", "code-summary", "label"])
@pytest.mark.parametrize("value", VALUES)
def test_an_option_that_is_not_text_is_named_with_page_and_cell(course, name, value):
    output = new_output("display_data", data={"text/html": "<audio></audio>"})
    write(course, "nbs/02_pooling.ipynb", [*POOLING, new_code_cell(f"#| {name}: {value}\nx", outputs=[output])])
    fails_and_keeps(course, r"^nbs/02_pooling\.ipynb, cell \d: expected (text at|YAML in)")


def test_a_list_of_texts_serves_several_pictures(course):
    outputs = [new_output("display_data", data={"image/png": PNG})] * 2
    cell = new_code_cell('#| fig-alt: ["one", "two"]\n#| fig-cap: ["One", "Two"]\nx', outputs=outputs)
    write(course, "nbs/02_pooling.ipynb", [*POOLING, cell])
    text = main_of(quiet(course), "nbs/pooling.html")
    assert 'alt="one"' in text and 'alt="two"' in text


@pytest.mark.parametrize("data", ["not base64!", "abc", "====", PNG[:-3], "é"])
@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "image/gif"])
def test_picture_data_that_is_none_is_named_with_page_and_cell(course, kind, data):
    output = new_output("display_data", data={kind: data})
    write(course, "nbs/02_pooling.ipynb", [*POOLING, new_code_cell("#| fig-alt: a picture\nx", outputs=[output])])
    fails_and_keeps(course, rf"^nbs/02_pooling\.ipynb, cell \d: expected a picture as {kind}")


@pytest.mark.parametrize(
    "code", ["%timeit x", "!ls", "def f(:", "x = \x00", "def f():\n\tpass\n        pass", "(" * 500]
)
def test_an_exported_cell_that_is_no_python_is_named_with_page_and_cell(course, code):
    source = f"#| export\n{code}"
    write(course, "nbs/02_pooling.ipynb", [*POOLING, new_code_cell("#| default_exp pooling"), new_code_cell(source)])
    fails_and_keeps(course, r"^nbs/02_pooling\.ipynb, cell \d: ")


CONFIGS = [
    "",
    "a: [",
    "\tx",
    "[1]",
    "7",
    "null",
    "project: 7",
    "project: {render: nbs}",
    "project: {render: [1]}",
    "a: 2024-13-45",
]
EDITS = [("title: Convolutional networks", "title: 2024"), ("lang: en", "lang: no"), ("toc: true", "toc: 'maybe'")]
EDITS += [
    ("toc-depth: 3", "toc-depth: deep"),
    ("template: assets/content.html", "template: [a, b]"),
    ("- assets/filter.lua", "- 3"),
]
EDITS += [("text: Home", "text: 3"), ("section: Beyond", "section:"), ("- nbs/0[1-8]_*.ipynb", "- [nbs]")]
EDITS += [
    ("- nbs/*.ipynb", "- /etc/*"),
    ("- nbs/*.ipynb", "- ''"),
    ("- nbs/*.ipynb", "- ../*/*.ipynb"),
    ("contents:", "content:"),
]
EDITS += [("html:", "html: 3\n  xhtml:"), ("filters:", "filter:"), ("- nbs/*.ipynb", "- nbs/**x")]


@pytest.mark.parametrize("config", [*CONFIGS, *EDITS, b"\xff\xfe"])
def test_a_configuration_that_is_wrong_is_one_sentence(course, config):
    file = course / "_quarto.yml"
    if isinstance(config, tuple):
        assert config[0] in file.read_text()
        file.write_text(file.read_text().replace(*config, 1))
    else:
        file.write_bytes(config if isinstance(config, bytes) else config.encode())
    fails_and_keeps(course, r"_quarto\.yml")


@pytest.mark.parametrize(
    "settings", [b"", b"no = section", b"[DEFAULT]\nnonsense", b"[DEFAULT]\nlib_name = x\n", b"\xff"]
)
def test_settings_that_are_wrong_are_one_sentence(course, settings):
    (course / "settings.ini").write_bytes(settings)
    fails_and_keeps(course, r"settings\.ini")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"cells": 3}', '{"cells": [{}], "metadata": {}, "nbformat": 4}', "[" * 10000]
)
@pytest.mark.parametrize("name", ["nbs/02_pooling.ipynb", "_run/nbs/02_pooling.ipynb"])
def test_a_notebook_that_is_none_is_named(course, name, text):
    (course / name).write_text(text)
    (course / "_docs").mkdir()
    with pytest.raises((SiteError, runs.RunError), match=r"02_pooling\.ipynb"):
        quiet(course)


MARKS = [
    "",
    "{",
    "null",
    "[]",
    "7",
    '{"key": 3}',
    '{"key": "a", "builder": "b", "pages": "3"}',
    "\udcff",
    '{"pages": 3}',
]


@pytest.mark.parametrize("mark", MARKS)
def test_a_damaged_mark_blocks_nothing(tmp_path, mark):
    (tmp_path / "index.html").touch()
    (tmp_path / ".site.json").write_bytes(mark.encode("utf-8", "surrogateescape"))
    said = []
    assert [site.read_mark(tmp_path, said.append) for _ in range(2)] == [{}, {}]
    assert len(said) == 1 and "set aside" in said[0] and len(said[0].splitlines()) == 1


def test_a_site_with_a_damaged_mark_is_built_anew(course):
    (course / "_docs").mkdir()
    (course / "_docs/.site.json").touch()
    made = quiet(course)
    assert made.rebuilt and json.loads((course / "_docs/.site.json").read_text())["pages"] == made.pages


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/file")
TREE = shutil.Error([("a", "b", str(FULL)), ("c", "d", str(FULL))])


@pytest.mark.parametrize(
    "place, error",
    [
        ("shutil.copytree", TREE),
        ("shutil.copytree", FULL),
        ("shutil.copy", FULL),
        ("shutil.move", TREE),
        ("write_whole", FULL),
    ],
)
def test_a_full_disk_is_one_sentence_at_every_moment(course, monkeypatch, place, error):
    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr(f"cnncourse.site.{place}", full)
    monkeypatch.setattr(site, "process", lambda course, folder, *call: shutil.copytree_(folder, folder / "_proc"))
    monkeypatch.setattr(shutil, "copytree_", COPYTREE, raising=False)
    monkeypatch.setattr(site, "run_tool", lambda *args, **kwargs: "")
    for step in ("frame_pages", "finish", "write_extras"):
        monkeypatch.setattr(site, step, lambda *args: [])
    told = fails_and_keeps(course, r"[Nn]o space left on")
    assert "the old site stays" in told and "[(" not in told


COPYTREE = shutil.copytree


@pytest.mark.parametrize("said", ["OSError: [Errno 28] No space left on device: 'x'", "error (os error 28)"])
def test_a_full_disk_in_a_program_is_one_sentence(tmp_path, said):
    code = f"import sys; print('Traceback (most recent call last):\\n' * 20, {said!r}, file=sys.stderr); sys.exit(1)"
    with pytest.raises(
        SiteError, match=r"^nbdev found no space left on the disk of .*: free some; the old site stays$"
    ):
        site.run_tool([sys.executable, "-c", code], tmp_path, "nbdev", 60)


def test_a_page_that_pandoc_does_not_finish_is_named(course, monkeypatch):
    monkeypatch.setitem(site.LIMITS, "pandoc", 0.01)
    fails_and_keeps(course, r"^nbs/\S+\.ipynb: pandoc did not end within 0\.01 seconds; it was stopped$")


def test_a_stopped_swap_is_mended(tmp_path):
    (tmp_path / "_docs.old").mkdir()
    site.restore(tmp_path / "_docs")
    assert (tmp_path / "_docs").is_dir() and not (tmp_path / "_docs.old").exists()


def test_a_killed_build_leaves_no_process(course):
    import psutil

    code = "import sys; from cnncourse import site; site.build(sys.argv[1], builder='pandoc')"
    paths = os.pathsep.join([str(course), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths}
    build = subprocess.Popen([sys.executable, "-c", code, str(course)], stdout=subprocess.DEVNULL, env=environment)
    staging, until = str(course / "_run/site/course"), time.monotonic() + 120

    def children():
        found = []
        for process in psutil.process_iter():
            try:
                found += [process] if process.cwd().startswith(staging) and process.pid != build.pid else []
            except (psutil.Error, OSError):
                continue
        return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    while build.poll() is None and not children() and time.monotonic() < until:
        time.sleep(0.02)
    assert children()
    os.kill(build.pid, signal.SIGKILL)
    build.wait()
    for _ in range(100):
        if not children():
            break
        time.sleep(0.05)
    assert children() == []


@pytest.mark.parametrize("module", ["cli", "datasets", "site", "networks"])
def test_documentation_is_the_same_each_time(module):
    library = importlib.import_module(f"cnncourse.{module}")
    text = "\n".join(
        site.document(getattr(library, name), name, module)
        for name in library.__all__
        if callable(getattr(library, name))
    )
    assert not re.search(r"0x[0-9a-f]{4}", text) and "ArgumentInfo" not in text
    assert module != "cli" or "Fetch again what is here." in text


def test_a_formula_that_cannot_be_read_fails(course):
    spoil(course, r"$\frac{1}$")
    with pytest.raises(SiteError, match=r"02_pooling\.ipynb.*TeX"):
        quiet(course)


def test_a_picture_without_text_alternative_fails_with_page_and_cell(course):
    output = new_output("display_data", data={"image/png": PNG})
    write(course, "nbs/02_pooling.ipynb", [*POOLING, new_code_cell("draw()", outputs=[output])])
    with pytest.raises(SiteError, match=r"nbs/02_pooling.ipynb, cell \d: expected `#\| fig-alt:`"):
        quiet(course)


def test_a_notebook_that_was_not_executed_fails(course):
    (course / "_run/nbs/02_pooling.ipynb").unlink()
    with pytest.raises(SiteError, match=r"nbs/02_pooling\.ipynb has not been executed: run `cnncourse run`"):
        quiet(course)


def test_a_notebook_that_changed_since_fails(course):
    source = nbformat.read(course / "nbs/02_pooling.ipynb", as_version=4)
    source.cells.append(new_markdown_cell("More."))
    nbformat.write(source, course / "nbs/02_pooling.ipynb")
    with pytest.raises(SiteError, match=r"nbs/02_pooling\.ipynb has changed since it was executed"):
        quiet(course)


def test_a_deleted_notebook_takes_its_page_along(course):
    write(course, "nbs/03_extra.ipynb", [new_markdown_cell("# Extra\n\n> One more.")])
    made = quiet(course)
    assert (made.folder / "nbs/extra.html").exists() and "3 · Extra" in text_of(made, "nbs/scaling.html")
    (course / "nbs/03_extra.ipynb").unlink()
    made = quiet(course)
    assert not (made.folder / "nbs/extra.html").exists() and "3 · Extra" not in text_of(made, "nbs/scaling.html")


def test_nothing_is_built_when_nothing_changed(course, tiny):
    shutil.copytree(built(tiny, "pandoc").folder, course / "_docs")
    again = quiet(course)
    assert (again.rebuilt, again.pages) == (False, len(PAGES)) and again.seconds < 3
    (course / "assets/site.css").write_text("body { color: black }")
    assert quiet(course).rebuilt


@pytest.mark.parametrize("name", ["settings.ini", "tinylib/tables.py", "nbs/pixel.png", "_run/nbs/02_pooling.ipynb"])
def test_whatever_a_page_is_made_of_changes_the_key(course, name):
    before = build_key(course, "pandoc")
    (course / name).write_bytes((course / name).read_bytes() + b"\n")
    assert build_key(course, "pandoc") != before


def test_a_folder_of_other_things_is_not_touched(course, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("mine")
    with pytest.raises(SiteError, match="was not made by `cnncourse site`"):
        quiet(course, out=tmp_path / "thesis")
    assert (tmp_path / "thesis/chapter.txt").read_text() == "mine"


def test_it_says_which_builder_and_why(course, monkeypatch):
    monkeypatch.setattr(site.shutil, "which", lambda name: None)
    said = []
    made = build(course, report=said.append)
    assert made.builder == "pandoc" and "no `quarto` on the path" in said[0]
    with pytest.raises(SiteError, match="no `quarto` on the path"):
        build(course, builder="quarto")


def test_a_program_that_fails_is_quoted(course):
    (course / "assets/filter.lua").write_text("this is not Lua")
    with pytest.raises(SiteError, match=r"pandoc stopped with exit code \d+"):
        quiet(course)


# Serving


def test_a_port_in_use_is_said_plainly(tiny):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SiteError, match=rf"cannot serve on 127\.0\.0\.1, port {port}.*choose another port"):
            serve(built(tiny, "pandoc").folder, port)


def test_there_must_be_a_site_to_serve(tmp_path):
    with pytest.raises(SiteError, match=r"no site in .*: run `cnncourse site` first"):
        serve(tmp_path, 0)


REQUESTS = ["GET /%00 HTTP/1.1", "GET /nbs/%ff HTTP/1.1", "GET /%ed%a0%80/ HTTP/1.1", f"GET /{'a' * 5000} HTTP/1.1"]
REQUESTS += ["GET /../../etc/passwd HTTP/1.1", "GET //etc/passwd HTTP/1.1", "GET /nbs HTTP/1.1", "GET /?%00 HTTP/1.1"]
REQUESTS += [
    "GET /nbs/index.html/ HTTP/1.1",
    "GET http://[ HTTP/1.1",
    "GET / HTTP/9.9",
    "GET / HTTP/x",
    "POST / HTTP/1.1",
]
REQUESTS += ["GET", "", "\x16\x03\x01\x02\x00", f"GET /{'a' * 70000} HTTP/1.1", "GET /nbs/%0d%0aX:%20y/ HTTP/1.1"]
REQUESTS += [
    "GET /nbs%0d%0aX HTTP/1.1",
    "GET /nbs/é HTTP/1.1",
    "HEAD /%00 HTTP/1.1",
    "GET * HTTP/1.1",
    "BREW / HTTP/1.1",
]
HEADERS = [
    "",
    "Range: bytes=0-9",
    "Range: bytes=9-0",
    "Range: nonsense",
    "If-Modified-Since: never",
    "X" * 70000,
    "no colon",
]
HEADERS += ["Content-Length: abc", "Host: [", "Expect: 100-continue", "\r\n".join(f"X{n}: y" for n in range(200))]


def test_no_request_whatever_brings_a_traceback(tiny, capfd):
    folder = built(tiny, "pandoc").folder
    with make_server(folder, 0) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        asked = [f"{request}\r\n\r\n" for request in REQUESTS]
        asked += [f"GET /nbs/index.html HTTP/1.1\r\n{header}\r\n\r\n" for header in HEADERS]
        for text in asked:
            with socket.create_connection(server.server_address, timeout=10) as browser:
                browser.sendall(text.encode("latin-1"))
                browser.shutdown(socket.SHUT_WR)
                try:
                    answer = b"".join(iter(lambda: browser.recv(1 << 16), b""))
                except ConnectionResetError:
                    answer = b""
                assert b"root:" not in answer and not (b"%00" in text.encode() and b" 500 " in answer[:20])
        for _ in range(20):  # a browser that leaves before the page came
            with socket.create_connection(server.server_address, timeout=10) as browser:
                browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                browser.sendall(b"GET /nbs/scaling.html HTTP/1.1\r\n\r\n")
        with socket.create_connection(server.server_address, timeout=10) as browser:
            browser.sendall(b"GET /nbs/index.html HTTP/1.0\r\n\r\n")
            assert browser.recv(100).startswith(b"HTTP/1.0 200")
        server.shutdown()
    assert capfd.readouterr() == ("", "")


# In a browser


@pytest.fixture
def visit(browser, tiny):
    "Open a page of a built site; at the end no console error and no request to another host may have been seen."
    servers, contexts, faults = [], [], []

    def open_page(builder, path, **options):
        server = make_server(built(tiny, builder).folder, 0)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        home = f"http://127.0.0.1:{server.server_port}/"
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith((home, "data:", "blob:")) else faults.append(request.url),
        )
        base = re.search('<base href="/(.+?)"', text_of(built(tiny, builder), "404.html"))[1]  # it knows its address
        page.route(f"{home}{base}**", lambda route: route.continue_(url=route.request.url.replace(base, "")))
        page.goto(home + path, wait_until="networkidle")
        servers.append(server)
        return page

    yield open_page
    for context in contexts:
        context.close()
    for server in servers:
        server.shutdown()
        server.server_close()
    assert faults == []


def background(page):
    "How bright the page is, 0 to 255."
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return max(map(float, re.findall(r"[\d.]+", colour)[:3]))


@needs_browser
@every_page
def test_no_sideways_scrolling_on_a_phone(visit, builder, path):
    page = visit(builder, path, viewport={"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@needs_browser
@builders
def test_colours_follow_the_system(visit, builder):
    assert background(visit(builder, "nbs/scaling.html", color_scheme="light")) > 200
    assert background(visit(builder, "nbs/scaling.html", color_scheme="dark")) < 60


@needs_browser
@builders
def test_the_colour_button_changes_and_remembers(visit, builder):
    page = visit(builder, "nbs/scaling.html", color_scheme="light")
    page.click(".colour-button")
    page.wait_for_timeout(300)
    assert background(page) < 60
    page.reload(wait_until="networkidle")
    assert background(page) < 60


def ask(page, words):
    "Search; the results as text, page by page, and where their first links lead."
    if not page.locator("dialog.search").is_visible():
        page.keyboard.press("/")
    page.locator("dialog.search input").fill(words)
    page.locator("dialog.search .results li").first.wait_for()
    page.wait_for_timeout(300)
    items = page.locator("dialog.search .results li")
    return [(item.inner_text(), item.locator("a").first.get_attribute("href")) for item in items.all()]


@needs_browser
@builders
def test_search_finds_a_word_by_keyboard(visit, builder):
    page = visit(builder, "nbs/scaling.html")
    page.keyboard.press("/")
    page.keyboard.type("quokka")
    page.locator("dialog.search").get_by_role("link", name="Stride and size").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/pooling.html#stride-and-size**")


@needs_browser
@builders
def test_search_puts_lessons_before_the_library(visit, builder):
    found = ask(visit(builder, "nbs/scaling.html"), "quokka")  # five times and in a heading there, once in the lesson
    assert [link.split("#")[0].rsplit("/", 1)[1] for _, link in found] == ["pooling.html", "tables.html"]
    assert "library" in found[1][0] and "library" not in found[0][0]


@needs_browser
@builders
def test_search_leads_to_the_row_of_a_word(visit, builder):
    page = visit(builder, "nbs/scaling.html", viewport={"width": 1000, "height": 300})
    for words in ("최대 풀링", "max pooling"):
        (text, link), *_ = [found for found in ask(page, words) if "glossary" in found[1]]
        assert link.endswith("glossary.html#max-pooling") and "Pooling by the largest." in text
    page.locator("dialog.search").get_by_role("link", name="max pooling").first.click()
    page.wait_for_url("**/glossary.html#max-pooling")
    assert page.evaluate("document.querySelector(':target').matches('tr')")
    assert page.locator("tr#max-pooling").is_visible()


@needs_browser
@builders
def test_search_does_without_small_words_and_words_that_no_page_has(visit, builder):
    page = visit(builder, "nbs/scaling.html")
    for words in ("the quokka vs a pooling", "quokka wombat"):
        assert ask(page, words)[0][1].split("#")[0].endswith("pooling.html")
    page.locator("dialog.search input").fill("wombat")
    page.get_by_text("No pages").wait_for()


@needs_browser
@builders
def test_search_finds_a_korean_word(visit, builder):
    page = visit(builder, "nbs/scaling.html")
    page.click(".search-button")
    page.locator("dialog.search input").fill("합성곱")
    page.locator("dialog.search").get_by_role("link", name="Stride and size").wait_for()
    page.keyboard.press("Escape")
    assert not page.locator("dialog.search").is_visible()


@needs_browser
@builders
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_every_control_has_a_name(visit, builder, width):
    page = visit(builder, "nbs/scaling.html", viewport={"width": width, "height": 800})
    assert page.get_by_role("button", name="Search", exact=True).count() == 1
    page.get_by_role("button", name="Search", exact=True).click()
    assert page.get_by_role("searchbox", name="Search the course").is_visible()
    unnamed = """() => [...document.querySelectorAll("button, input, a[href]")]
      .filter(e => !(e.ariaLabel || e.innerText.trim() || e.textContent.trim() || e.closest("label")) && !e.ariaHidden)
      .map(e => e.outerHTML)"""
    assert page.evaluate(unnamed) == []


@needs_browser
@builders
def test_a_page_opened_as_a_file_works_but_for_search(browser, tiny, builder):
    page, faults = browser.new_page(color_scheme="light"), []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto((built(tiny, builder).folder / "nbs/scaling.html").as_uri())
    page.click(".colour-button")
    assert background(page) < 60
    page.click(".search-button")
    page.get_by_text("Search needs the site to be served").wait_for()
    page.close()
    assert faults == []


@needs_browser
@builders
def test_the_keyboard_reaches_the_content(visit, builder):
    page = visit(builder, "nbs/scaling.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


SCROLLS = """() => [...document.querySelectorAll("main :not(.contents)")].filter(e => e.clientWidth
  && e.scrollWidth > e.clientWidth + 1 && ["auto", "scroll"].includes(getComputedStyle(e).overflowX))
  .map(e => [e.tagName, e.tabIndex])"""


@needs_browser
@every_page
def test_what_scrolls_sideways_is_within_reach_of_the_keyboard(visit, builder, path):
    page = visit(builder, path, viewport={"width": 1280, "height": 700})
    for width in (1280, 420, 360):
        page.set_viewport_size({"width": width, "height": 700})
        page.wait_for_timeout(100)
        assert [found for found in page.evaluate(SCROLLS) if found[1] != 0] == []


@needs_browser
@builders
def test_what_does_not_scroll_is_no_stop_for_the_keyboard(visit, builder):
    page = visit(builder, "nbs/scaling.html", viewport={"width": 360, "height": 700})
    assert {name for name, _ in page.evaluate(SCROLLS)} >= {"PRE", "P", "DIV"}  # code, a formula, a table
    page.add_style_tag(content="main pre { font-size: 1px !important }")
    page.evaluate("dispatchEvent(new Event('resize'))")
    assert page.locator("main pre[tabindex]").count() == 0


@needs_browser
@every_page
def test_landmarks_can_be_told_apart(visit, builder, path):
    page = visit(builder, path)
    marks = page.evaluate("""[...document.querySelectorAll("nav, main, body > header, body > footer, [role=region]")]
      .map(e => e.tagName + " " + (e.ariaLabel ?? ""))""")
    assert len(marks) == len(set(marks)) and "MAIN " in marks


@needs_browser
@every_page
def test_korean_is_marked_as_korean(visit, builder, path):
    unmarked = visit(builder, path).evaluate("""() => {
      const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), left = [];
      for (let node; (node = walk.nextNode());)
        if (/[가-힣]/.test(node.data) && node.parentElement.closest("[lang]").lang !== "ko") left.push(node.data);
      return left;
    }""")
    assert unmarked == []


@builders
def test_korean_words_are_marked_whole(tiny, builder):
    assert 'lang="ko">최대 풀링</span>' in text_of(built(tiny, builder), "nbs/glossary.html")


@needs_browser
@builders
def test_the_menu_opens_and_closes_on_a_phone(visit, builder):
    page = visit(builder, "nbs/scaling.html", viewport={"width": 360, "height": 700})
    assert not page.locator("#sidebar").is_visible()
    page.click(".menu-button")
    assert page.locator("#sidebar").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#sidebar").is_visible()


@needs_browser
@builders
def test_a_phone_has_a_list_of_contents_and_a_low_header(visit, builder):
    page = visit(builder, "nbs/scaling.html", viewport={"width": 360, "height": 800})
    link = page.locator(".contents").get_by_role("link", name="The rule")
    assert not link.is_visible()
    page.locator(".contents summary").click()
    link.click()
    page.wait_for_url("**#the-rule**")
    stuck = page.evaluate("""[...document.querySelectorAll("body *")].filter(e => getComputedStyle(e).position === "sticky")
      .reduce((sum, e) => sum + e.getBoundingClientRect().height, 0)""")
    assert 0 < stuck < 0.1 * 800


@needs_browser
@builders
@pytest.mark.parametrize("width", [360, 1280])
def test_a_page_reads_without_scripts(visit, builder, width):
    page = visit(builder, "nbs/scaling.html", java_script_enabled=False, viewport={"width": width, "height": 800})
    assert page.get_by_text("Scaling helps.").is_visible() and page.get_by_role("link", name="The rule").is_visible()
    assert page.locator("header.top button:visible").count() == 0  # a button would be dead
    if width == 360:
        page.get_by_role("link", name="Pages").click()
    assert page.locator("#sidebar a:visible").count() == len(NOTEBOOKS)
    page.locator("#sidebar").get_by_role("link", name="2 · Pooling").click()
    page.wait_for_url("**/pooling.html")


@needs_browser
@every_page
def test_print_shows_the_title_and_all_the_code(visit, builder, path):
    page = visit(builder, path, viewport={"width": 680, "height": 1000})
    page.emulate_media(media="print")
    assert page.locator("h1").is_visible()
    for hidden in (".skip", "header.top", "#sidebar", ".actions", ".contents", ".neighbours"):
        assert not page.locator(hidden).is_visible()
    cut = (
        "[...document.querySelectorAll('main pre')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"
    )
    assert page.evaluate(cut) == []
    assert path == "404.html" or page.get_by_text("Text and figures: CC BY 4.0").is_visible()


@needs_browser
@builders
def test_the_page_for_addresses_that_lead_nowhere_leads_back(browser, tiny, builder, tmp_path):
    (tmp_path / "tinylib").symlink_to(built(tiny, builder).folder)
    (tmp_path / "index.html").touch()
    server, page, missed = make_server(tmp_path, 0), browser.new_page(), []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page.on("response", lambda response: missed.append(response.url) if response.status >= 400 else None)
    home = f"http://127.0.0.1:{server.server_port}/tinylib/"
    lost = text_of(built(tiny, builder), "404.html")
    page.route("**/gone/away.html", lambda route: route.fulfill(status=404, body=lost, content_type="text/html"))
    page.goto(home + "nbs/gone/away.html", wait_until="networkidle")
    assert missed == [home + "nbs/gone/away.html"] and page.get_by_text("This page is not here").is_visible()
    page.get_by_role("link", name="1 · Scaling").click()
    page.wait_for_url(home + "nbs/scaling.html")
    page.close()
    server.shutdown()
    server.server_close()


@needs_browser
@builders
def test_an_old_address_leads_to_the_station(visit, builder):
    page = visit(builder, "nbs/walk.html#T3.9")
    page.wait_for_url("**/walk/second-step-far-away.html#T3.9")
    page = visit(builder, "nbs/walk.html#walk.stride_of")
    page.wait_for_url("**/walk/first-step.html#walk.stride_of")
    assert page.locator("details", has_text="stride_of").first.get_attribute("open") is not None
    page.goto(page.url.split("#")[0].replace("/first-step", "") + "#the-stations")
    assert page.url.endswith("walk.html#the-stations")


@needs_browser
@builders
def test_one_switch_shows_all_code_and_is_remembered(visit, builder):
    page = visit(builder, WEEK[0])
    switch, code = page.get_by_role("button", name="Show all code"), page.get_by_text("draw_the_way")
    assert switch.get_attribute("aria-pressed") == "false" and not code.is_visible()
    switch.focus()
    page.keyboard.press("Enter")
    assert switch.get_attribute("aria-pressed") == "true" and code.is_visible()
    page.goto(page.url.replace("first-step", "second-step-far-away"), wait_until="networkidle")
    assert page.get_by_text("last_cell").is_visible()
    page.get_by_role("button", name="Show all code").click()
    assert not page.get_by_text("last_cell").is_visible()


@needs_browser
@builders
def test_a_fold_opens_by_keyboard_and_without_scripts(visit, builder):
    page = visit(builder, WEEK[0], java_script_enabled=False)
    fold = page.locator("summary", has_text="stride_of")
    assert not page.get_by_text("step * by").is_visible() and page.get_by_role("button").count() == 0
    fold.focus()
    page.keyboard.press("Enter")
    assert page.get_by_text("step * by").is_visible()
    page.locator(".ask summary").first.click()
    assert page.get_by_text("Two and two.").is_visible()


@needs_browser
@builders
def test_a_station_is_marked_as_read_here_and_on_the_map(visit, builder):
    page = visit(builder, WEEK[0])
    page.get_by_role("button", name="Mark as read").press("Enter")
    assert page.get_by_role("button", name="Read", exact=True).get_attribute("aria-pressed") == "true"
    page.get_by_role("link", name="Week 3 · Walking").click()
    page.wait_for_url("**/walk.html")
    assert page.locator(".map li.done").count() == 1
    assert page.locator(".map").get_by_role("link", name=re.compile("First step ?, read")).is_visible()
    page.go_back()
    page.get_by_role("button", name="Read", exact=True).click()
    assert page.locator(".strip li.done").count() == 0


@needs_browser
@builders
def test_a_question_takes_an_answer_by_keyboard_and_says_whether_it_is_right(visit, builder):
    page = visit(builder, WEEK[0])
    field, status = page.get_by_role("textbox", name="How many steps?"), page.locator(".ask [role=status]")
    field.fill("5")
    field.press("Enter")
    assert status.first.inner_text().startswith("Not that") and not page.get_by_text("Two and two.").is_visible()
    field.fill(" 4,0 ")
    field.press("Enter")
    assert status.first.inner_text() == "Right." and page.get_by_text("Two and two.").is_visible()
    choices = page.get_by_role("group", name="Which way?")
    choices.get_by_role("radio", name="right").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert choices.get_by_role("radio", name="left").is_checked() and status.last.inner_text() == "Right."


@needs_browser
@builders
def test_eighty_eight_columns_fit(visit, builder):
    page = visit(builder, WEEK[0], viewport={"width": 1280, "height": 900})
    line = page.locator("pre", has_text="wide = 88")
    for width in (1280, 1440, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        assert line.evaluate("e => e.scrollWidth <= e.clientWidth"), width


@needs_browser
@builders
def test_print_keeps_folds_closed_with_their_lines(visit, builder):
    page = visit(builder, "nbs/walk/all.html", viewport={"width": 680, "height": 1000})
    page.emulate_media(media="print")
    assert page.get_by_text("2 checks passed").is_visible() and not page.get_by_text("assert").first.is_visible()
    assert page.get_by_text("taught").last.is_visible() and page.locator(".ask form").first.is_hidden()


@needs_browser
@builders
def test_what_a_week_takes_can_be_measured(browser, tiny, builder):
    found = measure(browser, built(tiny, builder).folder)
    week = found["weeks"]["3"]
    first = week["stations"]["first-step"]
    assert list(week["stations"]) == ["first-step", "second-step-far-away"] and 0.5 < first["screens"] < 4
    assert (first["lines"], first["checks"], first["blocks"], first["wide"]) == (3, 0, 2, 0)
    assert total(week, "lines") == 3 and 100 < first["nodes"] < 1000 and 5 < first["kb"] < 60
    assert too_much(found) == ["week 3: the first figure begins on screen None"]
    tight = LIMITS | {"lines": 2, "station": 0.1, "nodes": 9, "station_kb": 1.0, "home_kb": 1.0, "screens": {"": 0.1}}
    assert len(too_much(found, tight)) == 10


LAB = """document.addEventListener("keydown", event => {
  window.moved = (window.moved ?? []).concat(event.key);
  if (event.key.startsWith("Arrow")) event.preventDefault();
})"""  # what JupyterLab does with keys: its commands take them at the document


@needs_browser
@builders
def test_arrow_keys_move_a_player_also_where_the_page_takes_them(visit, builder):
    page = visit(builder, "nbs/scaling.html")
    page.evaluate(LAB)
    slider, said = page.locator(".cnn-player input"), page.locator(".cnn-player .said")
    slider.focus()
    for key, text in [("ArrowRight", "1"), ("ArrowUp", "2"), ("ArrowLeft", "1"), ("End", "2"), ("Home", "0")]:
        page.keyboard.press(key)
        assert said.inner_text() == f"picture {text}"
    page.locator(".cnn-player .next").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert said.inner_text() == "picture 2" and page.evaluate("window.moved ?? []") == []
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("/")
    assert page.evaluate("window.moved").count("/") == 1  # all other keys are the page's


CONTRAST = """selector => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = (under, colour) => {
    context.fillStyle = under; context.fillRect(0, 0, 1, 1);
    context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = rgb => rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const element = document.querySelector(selector);
  let ground = element;
  while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  const under = getComputedStyle(ground).backgroundColor;
  const [a, b] = [paint(under, under), paint(under, getComputedStyle(element).color)].map(light);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""


@needs_browser
@builders
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_text_stands_out_from_its_ground(visit, builder, colours):
    page = visit(builder, "nbs/scaling.html", color_scheme=colours)
    texts = [
        "main p",
        "main p code",
        "main a",
        "figcaption",
        ".number",
        ".hint-lead",
        ".hint-claim .hint-lead",
        ".lead",
    ]
    texts += ["main span.kw", "main span.dv", "main span.st", ".cell-output-error code", ".exported-name", "summary"]
    assert {
        text: round(page.evaluate(CONTRAST, text), 1) for text in texts if page.evaluate(CONTRAST, text) < 4.5
    } == {}
