"""Wrong answers by the thousand: every official solution with one small thing changed must fail its check.

    python benchmarks/mutants.py                    # about ten minutes; writes benchmarks/results/mutants.json
    python benchmarks/mutants.py scaling anomaly    # these weeks only, to --out or the screen
    python benchmarks/mutants.py --seeds 3          # each mutant with other inputs too

A mutant is a solution in which one operator, one comparison, one number, one function's name or one branch was exchanged, or one
statement left out. One that passes on any of the seeds is a survivor: the check has a hole, or the change makes no difference
(`n - kept >= patience` or `==`, for example). The survivors are listed with the line that was changed.
"""

import argparse
import ast
import copy
import dataclasses
import inspect
import json
import os
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

from cnncourse import exercises

RESULTS = Path(__file__).parent / "results"
os.environ["IN_TEST"] = "1"  # leaves the progress alone

OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div}
OPERATORS |= {ast.Pow: ast.Mult, ast.Mod: ast.FloorDiv, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr}
COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
NAMES = {"max": "min", "min": "max", "sum": "mean", "mean": "sum", "std": "var", "argmax": "argmin", "argmin": "argmax"}
NAMES |= {"floor": "ceil", "sorted": "list", "any": "all", "zeros": "ones", "eval": "train", "cos": "sin", "sin": "cos"}


def _changes(node: ast.AST) -> Iterator[ast.AST]:  # what may stand in its place
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in OPERATORS:
        yield _with(node, op=OPERATORS[type(node.op)]())
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield _with(node, ops=[COMPARISONS[type(node.ops[0])](), *node.ops[1:]])
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield ast.Constant(not node.value)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(node.value + 1)
        yield ast.Constant(node.value - 1)
    if isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield _with(node, attr=NAMES[node.attr])
    if isinstance(node, ast.Name) and node.id in NAMES and isinstance(node.ctx, ast.Load):
        yield ast.Name(NAMES[node.id], ast.Load())
    if isinstance(node, ast.UnaryOp):
        yield node.operand
    if isinstance(node, (ast.IfExp, ast.If)):
        yield from (_with(node, test=ast.Constant(value)) for value in (True, False))
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)):
        yield ast.Pass()


def _with(node: ast.AST, **changed) -> ast.AST:
    "A copy of the node with some fields exchanged."
    made = copy.deepcopy(node)
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def source(question: exercises.Question) -> str:
    "The solution as it is written; empty if the answer is no function."
    return textwrap.dedent(inspect.getsource(question.answer)) if inspect.isfunction(question.answer) else ""


def mutants(question: exercises.Question) -> Iterator[tuple[str, object]]:
    "The changed line of each mutant, and the mutant."
    tree = ast.parse(source(question) or "pass")
    for place, node in enumerate(ast.walk(tree)):
        for number, _ in enumerate(_changes(node)):
            changed = copy.deepcopy(tree)
            target = [*ast.walk(changed)][place]
            new = ast.copy_location([*_changes(target)][number], target)
            for parent in ast.walk(changed):
                for name, value in ast.iter_fields(parent):
                    if value is target:
                        setattr(parent, name, new)
                    elif isinstance(value, list) and any(each is target for each in value):
                        setattr(parent, name, [new if each is target else each for each in value])
            ast.fix_missing_locations(changed)
            line = ast.unparse(tree).splitlines()
            other = ast.unparse(changed).splitlines()
            told = next(
                (f"{old.strip()}  ->  {new.strip()}" for old, new in zip(line, other, strict=False) if old != new), ""
            )
            known = dict(question.answer.__globals__)
            exec(compile(changed, f"<mutant of {question.name}>", "exec"), known)
            yield told, known[question.answer.__name__]


def survives(question: exercises.Question, mutant: object, seed: int, rows: list) -> bool:
    "Whether the check takes it for right."
    quick = dataclasses.replace(question, seconds=min(question.seconds, 1.0))
    return exercises._judge(quick, mutant, seed, rows, shrink=False).passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weeks", nargs="*", help="names of sheets, such as scaling; default: all")
    parser.add_argument("--seeds", type=int, default=2, help="how many, each with other inputs")
    parser.add_argument("--out", type=Path, help="folder for mutants.json; default: the results, for all weeks")
    options = parser.parse_args()
    tried, found, start = 0, {}, time.perf_counter()
    for name, sheet in exercises.sheets().items():
        if options.weeks and name not in options.weeks:
            continue
        for question in sheet:
            rows = (
                {seed: exercises._probes(question, seed) for seed in range(options.seeds)} if source(question) else {}
            )
            for told, mutant in mutants(question) if rows else ():
                tried += 1
                if any(survives(question, mutant, seed, row) for seed, row in rows.items()):
                    found.setdefault(question.name, []).append(told)
                    print(f"{question.name}: {told}", flush=True)
    left = sum(map(len, found.values()))
    print(f"{tried} mutants, {left} survive, {time.perf_counter() - start:.0f} s")
    folder = options.out or (None if options.weeks else RESULTS)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        told = {"mutants": tried, "survivors": left, "seeds": options.seeds, "of": found}
        (folder / "mutants.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
