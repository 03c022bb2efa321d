"Every choice is made on a validation part: no training watches the test set, in any lesson, page or benchmark."

import ast
import re

import pytest
from conftest import COURSE

from cnncourse import runs

WATCHES = {"validation", "validation_data"}


def says_test(name: str) -> bool:
    "Whether a name speaks of a test set: x_test, test, TestSet, but not tested or latest."
    return "test" in re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().split("_")


def names_of(node) -> set[str]:
    "The last parts of the names in an expression that are not called."
    called = {id(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}
    found = set()
    for part in ast.walk(node):
        if id(part) not in called:
            found |= (
                {part.id} if isinstance(part, ast.Name) else {part.attr} if isinstance(part, ast.Attribute) else set()
            )
            found |= {part.value} if isinstance(part, ast.Constant) and isinstance(part.value, str) else set()
    return found


class Watcher:
    "Follows the names that hold a test set through the cells of a notebook."

    def __init__(self):
        self.tests, self.settings, self.found = set(), set(), []

    def is_test(self, node) -> bool:
        return any(says_test(name) or name in self.tests for name in names_of(node))

    def assign(self, target, value):
        if isinstance(target, (ast.Tuple, ast.List)):
            parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) else [None] * len(target.elts)
            for one, part in zip(target.elts, parts, strict=False):
                self.assign(one, part)
        elif isinstance(target, ast.Name):
            held = value is not None and self.is_test(value) and "train" not in "_".join(names_of(value))
            (self.tests.add if held else self.tests.discard)(target.id)

    def look(self, source: str, where: str):
        nodes = ast.walk(ast.parse(re.sub(r"^(\s*)[%!](?![=\s])", r"\1# ", source, flags=re.M)))
        for node in sorted(nodes, key=lambda node: (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self.assign(target, node.value)
            if isinstance(node, ast.Dict):
                pairs = [
                    (key.value, value)
                    for key, value in zip(node.keys, node.values, strict=True)
                    if isinstance(key, ast.Constant)
                ]
            elif isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", None))
                pairs = [(word.arg, word.value) for word in node.keywords]
                pairs += [("validation", arg) for arg in node.args] if name in ("EarlyStopping", "Metrics") else []
            else:
                continue
            self.found += [
                f"{where}: {ast.unparse(value)}" for key, value in pairs if key in WATCHES and self.is_test(value)
            ]


def watched(cells: list[str]) -> list[str]:
    watcher = Watcher()
    for number, cell in enumerate(cells):
        watcher.look(cell, f"cell {number}")
    return watcher.found


@pytest.mark.parametrize("name", list(runs.notebooks(COURSE)))
def test_no_notebook_chooses_on_its_test_set(name):
    assert watched(runs.code(runs.read_notebook(runs.notebooks(COURSE)[name]))) == []


@pytest.mark.parametrize("name", sorted(path.name for path in (COURSE / "benchmarks").glob("*.py")))
def test_no_benchmark_chooses_on_its_test_set(name):
    assert watched([(COURSE / "benchmarks" / name).read_text(encoding="utf-8")]) == []


@pytest.mark.parametrize(
    "cell",
    [
        "fit(model, x, y, epochs=1, validation=(x_test, y_test))",
        "training.fit_keras(model, x, validation=data.x_test)",
        "fine_tune(model, x, y, validation=test)",
        "fit(model, x, validation=parts.test)",
        "options = {'epochs': 3, 'validation': (x_test, y_test)}\nfit(model, x, y, **options)",
        "options = dict(validation=(scaled(data.x_test), data.y_test))",
        "held = (x_test, y_test)\nfit(model, x, y, validation=held)",
        "new = data.x_test[:200]\nfit(model, x, y, validation=(new, labels))",
        "new, labels = data.x_test, data.y_test\nfit(model, x, y, validation=(new, labels))",
        "fit(model, x, callbacks=[Metrics(x_test, y_test, top3=top3)])",
        "model.fit(x, y, validation_data=(x_test, y_test))",
        "fit(model, x, validation=parts['test'])",
        "x = x_test\nfit(model, z, validation=x)\nx = x_valid",
    ],
)
def test_a_choice_on_the_test_set_is_found(cell):
    assert watched([cell])
    assert watched(["x = 1", cell])[0].startswith("cell 1")


@pytest.mark.parametrize(
    "cell",
    [
        "fit(model, x, y, validation=(x_valid, y_valid))\nevaluate(model, x_test, y_test)",
        "x_all, x_test = (x / 255 for x in (data.x_train, data.x_test))\nfit(model, x, validation=(x_all[:9], y_all[:9]))",
        "test_eq(fit(model, x, validation=(x_valid, y_valid)).epochs, 3)",
        "fit(model, x, validation=None if tested else held_out)",
        "x = x_test\nx = x_valid\nfit(model, z, validation=x)",
    ],
)
def test_a_choice_on_other_pictures_passes(cell):
    assert watched([cell]) == []
