"""How fast a class is graded: aim five times nbgrader's autograde per core, isolation included, and memory that does not grow.

    python benchmarks/grading.py                  # 200 made submissions; writes benchmarks/results/grading.json
    python benchmarks/grading.py --students 2000  # how it grows
    python benchmarks/grading.py --quick          # 8 of them; writes to --out only

A made class hands in week 2: right, wrong, unanswered and hostile notebooks in turns. The same notebooks, the first few that are not hostile
(nbgrader runs those as the teacher), are graded by nbgrader in the same run. Processor time is compared, that of all child processes
included, so that what else the machine does changes little; the time on the clock is told too. Starting the sandbox counts, and so does
what is imported in it. The memory is the largest of any one process so far: of the grader itself, and of a process of the sandbox.
"""

import argparse
import json
import os
import re
import resource
import tempfile
import time
from functools import partial
from pathlib import Path

import nbformat

from cnncourse import class_grading, grading, runs, sandbox

RESULTS = Path(__file__).parent / "results"
WEEK = "02_convolution"
HOSTILE = (
    "import os\nos._exit(0)",
    "import os\nwhile True: os.fork()",
    "import numpy as np\nnp.isclose = np.allclose = lambda *a, **k: True",
    "secret = open('/etc/shadow').read()",
)


def solved(course: Path, wrong: bool = False, first: str = "", n: int = 0) -> str:
    "A copy with the course's own answers; or with wrong ones, or with something before the first."
    book = nbformat.read(course / "nbs" / "exercises" / f"{WEEK}.ipynb", as_version=4)
    own = {c.metadata.nbgrader.grade_id: c.source for c in book.cells if "nbgrader" in c.metadata}
    copy = grading.student_copy(book)
    for cell in copy.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if "### BEGIN SOLUTION" in own.get(name, "") and not name.endswith("-key"):
            code = re.sub(r"^\s*#\|.*\n|^\s*### (BEGIN|END) SOLUTION\n?", "", own[name], flags=re.M)
            code = re.sub(r"\+ 1\b|\* 2\b|2 \*", "", code) if wrong else code
            cell.source = f"{first if name == 'output_size' else ''}\n{code}\n# {n}"
    return json.dumps(copy)


def make_class(course: Path, folder: Path, students: int) -> None:
    "Right, wrong, unanswered and hostile ones in turns; one in ten is hostile."
    blank = nbformat.read(course / "nbs" / "exercises" / f"{WEEK}.ipynb", as_version=4)
    blank = json.dumps(grading.student_copy(blank))
    for n in range(students):
        made = [solved(course, n=n), solved(course, wrong=True, n=n), solved(course, wrong=n % 2 == 1, n=n), blank][
            n % 4
        ]
        if n % 10 == 9:
            made = solved(course, wrong=True, first=HOSTILE[n // 10 % len(HOSTILE)], n=n)
        path = folder / f"s{n:04}" / f"{WEEK}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(made, encoding="utf-8")


def spent() -> float:
    "Seconds of processor time so far, of this process and of its children that have ended."
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


PEAKS = {
    "memory_mib": resource.RUSAGE_SELF,
    "memory_mib_in_the_sandbox": resource.RUSAGE_CHILDREN,
}  # the largest so far


def measured(work) -> dict:
    "What a call takes."
    cpu, clock = spent(), time.monotonic()
    work()
    return {"processor_s": round(spent() - cpu, 2), "clock_s": round(time.monotonic() - clock, 2)}


def with_nbgrader(course: Path, folder: Path, students: list[str], top: Path) -> dict:
    "nbgrader's autograde of these students."
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    source = top / "source" / WEEK / f"{WEEK}.ipynb"
    source.parent.mkdir(parents=True)
    source.write_bytes((course / "nbs" / "exercises" / source.name).read_bytes())
    config = Config()
    config.CourseDirectory.root = str(top)
    config.CourseDirectory.course_id = "course"
    api = NbGraderAPI(config=config)
    done = api.generate_assignment(WEEK)
    assert done["success"], done["log"]
    for student in students:
        there = top / "submitted" / student / WEEK / f"{WEEK}.ipynb"
        there.parent.mkdir(parents=True)
        there.write_bytes((folder / student / f"{WEEK}.ipynb").read_bytes())

    def work():
        for student in students:
            done = api.autograde(WEEK, student)
            assert done["success"], done["log"]

    return measured(work) | {"notebooks": len(students)}


def grown(course: Path, folder: Path, out: Path, sizes: list[int]) -> list[dict]:
    "Classes of these sizes, each graded anew by one worker; the last is the whole class."
    rows = []
    for size in sizes:
        part = out / f"class{size}"
        part.mkdir()
        for n in range(size):
            (part / f"s{n:04}").mkdir()
            os.link(folder / f"s{n:04}" / f"{WEEK}.ipynb", part / f"s{n:04}" / f"{WEEK}.ipynb")
        settings = class_grading.Settings(course, trusted=bool(sandbox.isolation()))
        row = measured(partial(class_grading.grade, part, out / f"out{size}", settings))
        assert len(list((out / f"out{size}" / "marks").rglob("*.json"))) == size
        row |= {"students": size} | {name: resource.getrusage(who).ru_maxrss // 1024 for name, who in PEAKS.items()}
        rows.append(row | {"processor_s_each": round(row["processor_s"] / size, 3)})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small class, to see that all runs")
    parser.add_argument("--students", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for grading.json")
    options = parser.parse_args()
    course, size = runs.find_course(), 8 if options.quick else options.students
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        make_class(course, top / "in", size)
        (top / "work").mkdir()
        rows = grown(course, top / "in", top / "work", [size] if options.quick else [max(size // 10, 4), size])
        few = [f"s{n:04}" for n in range(3 if options.quick else 8)]
        theirs = with_nbgrader(course, top / "in", few, top / "nbgrader")
        print("nbgrader", theirs, flush=True)
    each = theirs["processor_s"] / theirs["notebooks"]
    ratio = {
        name: round(each / rows[-1]["processor_s_each"], 2) for name in ["times as fast as nbgrader, by processor time"]
    }
    clock = theirs["clock_s"] / theirs["notebooks"] / (rows[-1]["clock_s"] / rows[-1]["students"])
    ratio["times as fast as nbgrader, by the clock"] = round(clock, 2)
    print(ratio)
    found = {"cores": os.cpu_count(), "isolated": not sandbox.isolation(), "nbgrader": theirs, "grade": rows} | ratio
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "grading.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
