"""How long does `make course` take: from nothing, with nothing changed, with one notebook touched, one at a time against two?

Clones this repository into an empty folder and works there. Writes benchmarks/results/course.json.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

from cnncourse import files, runs

COURSE = Path(__file__).parents[1]


def seconds(*call: str, cwd: Path) -> float:
    "Wall-clock time of a call that must succeed."
    started = time.perf_counter()
    done = subprocess.run(call, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(call)} failed:\n{done.stdout}\n{done.stderr}")
    return round(time.perf_counter() - started, 1)


def touch(notebook: Path):
    "Change one cell of a notebook."
    source = json.loads(notebook.read_text(encoding="utf-8"))
    code = next(cell for cell in source["cells"] if cell["cell_type"] == "code")
    code["source"] = [*code["source"], "\n# touched"]
    notebook.write_text(json.dumps(source), encoding="utf-8")


def measure(clone: Path, one: str) -> dict[str, float]:
    run = [".venv/bin/cnncourse", "run"]
    found = {"make setup, from nothing": seconds("make", "setup", cwd=clone)}
    found["make course, nothing run yet"] = seconds("make", "course", cwd=clone)
    found["make course, nothing changed"] = seconds("make", "course", cwd=clone)
    found["cnncourse run, nothing changed"] = seconds(*run, cwd=clone)
    touch(clone / "nbs" / f"{one}.ipynb")
    found[f"cnncourse run, {one} touched"] = seconds(*run, cwd=clone)
    found["cnncourse run --force -j 1"] = seconds(*run, "--force", "-j", "1", cwd=clone)
    found["cnncourse run --force -j 2"] = seconds(*run, "--force", "-j", "2", cwd=clone)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--touch", default="01_scaling", help="the notebook to touch")
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "cnncourse"
        subprocess.run(["git", "clone", "-q", str(COURSE), str(clone)], check=True)
        found = measure(clone, parser.parse_args().touch)
        times = {name: record.seconds for name, record in runs.records(clone).items()}
    ratio = found["cnncourse run --force -j 1"] / found["cnncourse run --force -j 2"]
    result = {
        "seconds": found,
        "one at a time / two at a time": round(ratio, 2),
        "notebooks": times,
        "versions": runs.versions(),
    }
    files.write_whole(COURSE / "benchmarks/results/course.json", json.dumps(result, indent=1) + "\n")
    for name, taken in found.items():
        print(f"{taken:8.1f} s  {name}")
    print(f"one at a time takes {ratio:.2f} times as long as two at a time")


if __name__ == "__main__":
    main()
