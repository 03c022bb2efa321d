"""The rooms: who imports whom, which notebook makes which module, and what each notebook must have."""

import ast
import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COURSE

from cnncourse import lessons, runs

# Which of our modules each may import. A module that is not listed here may not exist.
MAY_IMPORT = {
    # the floor: pictures, labels and files come in by one door each
    **dict.fromkeys(["curriculum", "files", "labels", "lessons", "pictures"], ()),
    **dict.fromkeys(["supervisor", "weights"], ("files",)),
    # an answer is run, compared, told about; then the questions
    **dict.fromkeys(["attempts", "comparisons"], ()),
    "results": ("comparisons",),
    "exercises": ("attempts", "comparisons", "files", "results"),
    "open_questions": ("exercises", "submissions"),
    "reports": ("files", "pictures"),
    # each week on its rooms
    **dict.fromkeys(["scalers", "scaling_checks"], ()),
    "pixels": ("pictures",),
    "scaling": ("labels", "pixels", "scalers", "scaling_checks"),
    "conv_arguments": (),
    "conv_methods": ("conv_arguments",),
    "convolution": ("conv_arguments", "conv_methods"),
    "pool_windows": ("convolution",),
    "pool_fast": ("convolution", "pool_windows"),
    "pool_kinds": ("convolution", "pool_windows", "pool_fast"),
    "pooling": ("convolution", "pool_windows", "pool_fast", "pool_kinds"),
    "warps": ("pictures",),
    "changes": ("pictures", "warps"),
    "augmentation": ("changes", "pictures", "warps"),
    # one picture: its sheet and its words, then what stands in a grid, then the other plots and what moves
    "drawing": (),
    "grids": ("drawing",),
    "plots": ("drawing", "grids", "pictures"),
    "players": ("drawing", "files"),
    "figures": ("drawing", "grids", "plots", "players"),
    "splits": ("labels", "pictures"),
    "datasets": ("files", "labels", "pictures", "splits"),
    "training": ("files", "labels"),
    # a network is data
    "layers": ("convolution", "pool_windows", "pooling"),
    "torch_models": ("convolution", "layers", "weights"),
    "keras_models": ("convolution", "layers", "weights"),
    "networks": ("convolution", "layers", "weights", "torch_models", "keras_models"),
    "convolutional": ("convolution", "layers"),
    "trained_nets": ("layers", "networks", "pictures", "weights"),
    "blocks": ("layers",),
    "architectures": ("blocks", "networks"),
    "freezing": ("labels", "networks", "training"),
    "pretraining": ("networks", "training", "datasets"),
    # published weights belong to the published networks, and are fetched and kept as data sets are
    "published_weights": ("architectures", "datasets", "freezing", "labels", "networks", "pictures", "training"),
    # a person's own pictures: gathered, learnt in four ways, one of them kept as a file, and reported
    "gathering": ("datasets", "labels", "pictures"),
    "arms": ("freezing", "networks", "pretraining", "published_weights", "training"),
    "classifier": (
        *("arms", "augmentation", "files", "gathering", "networks", "pictures", "pretraining"),
        *("published_weights", "splits", "thresholds", "weights"),
    ),
    "classifier_reports": ("arms", "classifier", "drawing", "files", "pictures", "plots", "reports"),
    "transfer": (
        "arms",
        "classifier",
        "datasets",
        "freezing",
        "labels",
        "networks",
        "pretraining",
        "published_weights",
        "training",
    ),
    "thresholds": (),
    "scorers": ("scaling",),
    "redrawing": ("networks", "training", "scorers"),
    "defects": ("pictures", "scorers"),
    "inspectors": ("pictures", "scaling", "scorers", "thresholds", "weights"),
    "watch_tables": ("files", "pictures"),
    "watch_reports": ("pictures", "reports", "thresholds", "watch_tables"),
    "inspection": ("files", "inspectors", "pictures", "reports", "thresholds", "watch_reports", "watch_tables"),
    "anomaly": ("scaling", "networks", "scorers", "redrawing", "defects", "thresholds", "inspection", "inspectors"),
    # where things are: boxes, what is responsible for them, and how good a detector is
    "boxes": ("labels",),
    "anchors": ("boxes", "labels"),
    "detection_scores": ("boxes", "labels"),
    "annotations": ("boxes", "detection_scores", "labels", "pictures"),
    "detection_losses": ("anchors", "detection_scores", "labels"),
    "detectors": (
        *("anchors", "boxes", "detection_losses", "detection_scores", "labels", "layers"),
        *("networks", "pictures", "trained_nets", "training", "weights"),
    ),
    "scenes": ("boxes", "datasets", "defects", "detection_scores", "pictures"),
    "detection": (
        *("anchors", "annotations", "augmentation", "boxes", "convolutional", "datasets", "detection_losses"),
        *("detection_scores", "detectors", "labels", "layers", "networks", "pictures", "scenes", "training"),
    ),
    # a label for every pixel: masks that people bring, how good one is, what is learnt, big pictures, things counted
    "masks": ("pictures",),
    "mask_scores": ("labels",),
    "pixel_losses": ("labels",),
    "tiling": ("convolution", "labels", "layers", "pictures"),
    "counting": ("labels",),
    "segmenters": (
        *("labels", "layers", "networks", "pictures", "pixel_losses"),
        *("tiling", "trained_nets", "training", "weights"),
    ),
    "segmentation": (
        *("anomaly", "convolutional", "counting", "layers", "mask_scores", "masks", "pictures"),
        *("pixel_losses", "segmenters", "tiling"),
    ),
    # a claim is an experiment
    "verdicts": (),
    "claims": ("curriculum", "files", "verdicts"),
    "claim_runs": ("claims", "runs", "verdicts"),
    "trials": ("datasets", "layers", "torch_models", "training"),
    "scaling_claims": ("claims", "layers", "torch_models", "training", "trials"),
    "pooling_claims": ("claims", "layers", "scaling_claims", "torch_models", "trials"),
    "convolution_claims": ("claims", "datasets", "layers", "pooling_claims", "trials"),
    "transfer_claims": (
        *("arms", "claims", "datasets", "freezing", "networks", "pretraining"),
        *("published_weights", "training", "transfer", "trials"),
    ),
    "architectures_claims": ("architectures", "claims", "layers", "networks", "torch_models", "training", "trials"),
    "augmentation_claims": ("augmentation", "claims", "layers", "trials"),
    "anomaly_claims": (
        *("anomaly", "claims", "datasets", "defects", "networks", "scorers", "thresholds", "training", "trials"),
    ),
    "detection_claims": (
        *(
            "claims",
            "datasets",
            "defects",
            "detection_losses",
            "detection_scores",
            "detectors",
            "layers",
            "mask_scores",
        ),
        *("networks", "pixel_losses", "scenes", "training", "trials"),
    ),
    # weeks 11 and 12: reading in sequence, drawing new pictures
    **dict.fromkeys(["decoding", "embeddings", "gaps", "recurrent", "tensors"], ()),
    "vocabulary": ("files",),
    "readers": ("embeddings", "gaps", "recurrent", "vocabulary", "weights"),
    **dict.fromkeys(["likeness", "noising", "style"], ("tensors",)),
    "restyling": ("networks", "pretraining", "published_weights", "scorers", "style", "weights"),
    "captions": ("decoding", "networks", "recurrent", "scorers", "tensors", "training", "vocabulary", "weights"),
    "sequences": ("captions", "convolution", "decoding", "embeddings", "gaps", "readers", "recurrent", "vocabulary"),
    "denoisers": ("labels", "networks", "noising", "scorers", "trained_nets", "training", "weights"),
    "latents": ("likeness", "networks", "scorers", "tensors", "trained_nets", "training", "weights"),
    "generation": (
        *("denoisers", "labels", "latents", "likeness", "networks", "noising", "restyling"),
        *("scorers", "style", "tensors", "training", "weights"),
    ),
    "sequences_claims": ("claims", "datasets", "gaps", "readers", "trials"),
    # the course itself
    "runs": ("files", "supervisor"),
    "stations": ("lessons",),
    "lighten": ("files",),
    "site": ("files", "lessons", "lighten", "stations", "supervisor", "runs"),
    "workbook": ("files", "grading", "lessons", "runs", "site", "stations"),
    "grading": ("exercises", "figures", "files", "runs"),
    # a class is graded from outside: what runs inside the sandbox sees no question and no grade
    "wire": (),
    "confined": ("exercises", "wire"),
    "sandbox": ("confined", "wire"),
    "submissions": ("pictures",),
    "marking": ("exercises", "grading", "sandbox", "submissions", "wire"),
    "gradebook": ("files",),
    "class_reports": ("exercises", "gradebook", "reports", "submissions"),
    "class_grading": (
        *("class_reports", "files", "gradebook", "grading", "marking", "pictures", "runs"),
        *("sandbox", "submissions"),
    ),
}
MODULES = sorted(path.stem for path in (COURSE / "cnncourse").glob("[!_]*.py"))
NOTEBOOKS = runs.notebooks(COURSE)
LESSONS = [name for name in NOTEBOOKS if not name.startswith("exercises/")]  # and pages: exercises are no pages


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", *patterns], cwd=COURSE, capture_output=True, text=True, check=True
    )
    return [COURSE / name for name in listed.stdout.split("\0") if name]


def source(name: str) -> dict:
    return runs.read_notebook(NOTEBOOKS[name])


def exported(notebook: dict) -> str | None:  # the module that a notebook makes
    found = re.search(r"^#\|\s*default_exp\s+(\S+)", "\n".join(runs.code(notebook)), re.M)
    return found and found[1]


# Modules


@pytest.mark.parametrize("module", [module for module in MODULES if module != "cli"])
def test_a_module_imports_only_what_it_may(module):
    imported = runs._imports((COURSE / f"cnncourse/{module}.py").read_text(), "cnncourse") & set(MODULES)
    assert imported <= set(MAY_IMPORT[module])


LOADED = """if True:
    import importlib, sys
    for module in sys.argv[1:]:
        for name in [name for name in sys.modules if name.partition(".")[0] == "cnncourse"]:
            del sys.modules[name]  # each module as the first of the course
        importlib.import_module(f"cnncourse.{module}")
        if loaded := sorted({"torch", "tensorflow", "keras"} & set(sys.modules)):
            sys.exit(f"{module} loads {loaded}")"""


def test_importing_a_module_loads_no_framework():
    done = subprocess.run([sys.executable, "-c", LOADED, *MODULES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_module_has_its_notebook():
    made = {exported(source(name)) for name in NOTEBOOKS}
    assert set(MODULES) <= made


def test_a_module_has_the_name_of_its_notebook():
    for name in NOTEBOOKS:
        module, last = exported(source(name)), name.rsplit("/", 1)[-1]
        room = "questions." if name.startswith("exercises/") else ""
        assert module in (None, last, room + re.sub(r"^\d+_", "", last)), name


def test_every_module_of_questions_has_its_notebook():
    made = {exported(source(name)) for name in NOTEBOOKS}
    assert {f"questions.{path.stem}" for path in (COURSE / "cnncourse/questions").glob("[!_]*.py")} <= made


def test_no_name_is_exported_twice():
    homes = {}
    for module in MODULES:
        tree = ast.parse((COURSE / f"cnncourse/{module}.py").read_text())
        for node in tree.body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__":
                for name in ast.literal_eval(node.value):
                    homes.setdefault(name, []).append(module)
    # every command line has its `main`, and two modules may speak of different things by one verb of the command
    assert {name: where for name, where in homes.items() if len(where) > 1 and "cli" not in where} == {}


# Notebooks


@pytest.mark.parametrize("name", LESSONS)
def test_a_notebook_has_its_parameters(name):
    needed = {"folder"} if name in ("index", "curriculum", "glossary") else {"seed", "full"}  # nothing is random there
    assert needed <= set(runs.parameters(source(name)))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_begins_with_a_title_and_a_sentence(name):
    first = "".join(source(name)["cells"][0]["source"])
    assert re.match(r"# .+\n\n> .+\.(\n\n|$)", first), first


@pytest.mark.parametrize("name", LESSONS)
def test_an_exporting_notebook_ends_with_the_hidden_export(name):
    if exported(source(name)):
        assert runs.code(source(name))[-1].split() == ["#|", "hide", "import", "nbdev", "nbdev.nbdev_export()"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_plain_markdown(name):
    prose = ["".join(c["source"]) for c in source(name)["cells"] if c["cell_type"] == "markdown"]
    for text in prose:
        bare = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)
        assert not re.search(r"^:::|\{#[\w-]+\}|(?<![\w@])@(fig|tbl|sec|eq)-", bare, re.M), text


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_exported_cells_are_short(name):
    for cell in runs.code(source(name)):
        if re.match(r"#\|\s*export[si]?\b", cell):
            assert _longest(cell) <= 40, cell.splitlines()[1]


def _longest(cell: str) -> int:  # lines; of the longest function where nbgrader wants all of a question in one cell
    if "### BEGIN HIDDEN TESTS" not in cell:
        return len(cell.splitlines())
    return max((node.end_lineno - node.lineno + 1 for node in ast.parse(cell).body if hasattr(node, "name")), default=0)


WEEKS = [name for name in NOTEBOOKS if re.match(r"\d\d_", name)]


@pytest.mark.parametrize("name", WEEKS)
def test_no_line_of_a_lessons_code_is_wider_than_its_column(name):
    lines = [line for cell in runs.code(source(name)) for line in lessons.bare(cell).splitlines()]
    assert [line for line in lines if len(line) > lessons.COLUMN] == []


@pytest.mark.parametrize("name", WEEKS)
def test_a_lesson_in_colab_installs_the_course_first(name):
    settings = configparser.ConfigParser(delimiters=["="], interpolation=None)
    settings.read(COURSE / "settings.ini")
    first = runs.code(source(name))[0]
    assert first.startswith("#| hide\n") and f'"git+{settings["DEFAULT"]["git_url"]}"' in first


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_exported_name_is_tested_in_its_notebook(name):
    cells = runs.code(source(name))
    public = set()
    for cell in cells:
        if re.match(r"#\|\s*exports?\b", cell):
            # a class without methods is a record: the test of the function that returns it tests it
            acts = [n for n in ast.parse(cell).body if isinstance(n, ast.FunctionDef) or _has_methods(n)]
            public |= {node.name for node in acts if not node.name.startswith("_")}
    shown = "\n".join(cell for cell in cells if not re.match(r"#\|\s*exports?\b", cell))
    commands = name == "api/cli"  # a command is tested by its name on the command line
    untested = [n for n in sorted(public) if not re.search(rf"\b{n}\b", shown)]
    assert untested == [] or (commands and set(untested) <= {"main", "data_list", "data_get", "data_clear", "lab"})


def _has_methods(node: ast.AST) -> bool:
    methods = [n.name for n in getattr(node, "body", ()) if isinstance(n, ast.FunctionDef)]
    return isinstance(node, ast.ClassDef) and any(not name.startswith("_") for name in methods)


# The repository


def test_every_notebook_in_git_is_one_of_the_course():  # so it is executed, with the tests in it
    assert set(tracked("*.ipynb")) <= set(NOTEBOOKS.values())


def test_no_outputs_in_git():
    for path in tracked("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells), path


def test_export_and_clean_change_nothing(tmp_path):
    for path in {*tracked(), *NOTEBOOKS.values()}:
        if path.is_file():
            copy = tmp_path / path.relative_to(COURSE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for command in ("nbdev_clean", "nbdev_export"):
        call = str(Path(sys.executable).with_name(command))
        subprocess.run([call], cwd=tmp_path, check=True, capture_output=True)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    changed = sorted(
        str(path.relative_to(tmp_path)) for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    )
    assert changed == [], "run `make export` and commit what it changes"


def test_every_installed_package_is_in_the_lock():
    from importlib import metadata

    from packaging.utils import canonicalize_name

    lock = (COURSE / "constraints.txt").read_text()
    locked = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", lock, re.M)}
    needed, waiting = set(), ["cnncourse"]
    while waiting:  # what cnncourse[all] pulls in, not what somebody installed beside it
        name = waiting.pop()
        for text in metadata.requires(name) or ():
            requirement = _requirement(text, everything=name == "cnncourse")
            if requirement and requirement not in needed:
                needed.add(requirement)
                waiting.append(requirement)
    assert needed - locked == set()


def _requirement(text: str, everything: bool) -> str | None:  # the package, if it is wanted here and installed
    from importlib import metadata

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    requirement = Requirement(text)
    wanted = requirement.marker is None or requirement.marker.evaluate({"extra": "all" if everything else ""})
    try:
        metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None
    return canonicalize_name(requirement.name) if wanted else None
