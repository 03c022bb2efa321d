"""How long a check takes: aim under 1 second, under 10 for those that train.

    python benchmarks/exercises.py            # some minutes; writes benchmarks/results/exercises.json
    python benchmarks/exercises.py --quick    # one time each; writes to --out only

For each question the right answer and each known wrong one are checked with new inputs each time; the median of the right answer and
the slowest of all are told. What is imported at the first check, PyTorch for example, is not counted.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

from cnncourse import exercises

RESULTS = Path(__file__).parent / "results"
os.environ["IN_TEST"] = "1"  # leaves the progress alone


def seconds(question: exercises.Question, answer) -> float:
    "Of one check."
    start = time.perf_counter()
    exercises.check(question.name, answer)
    return time.perf_counter() - start


def measure(question: exercises.Question, times: int) -> dict:
    "One row of the table."
    exercises.check(question.name, question.answer)
    right = [seconds(question, question.answer) for _ in range(times)]
    wrong = [seconds(question, answer) for _, answer in question.wrongs for _ in range(times)]
    return {
        "question": question.name,
        "right_s": round(statistics.median(right), 3),
        "slowest_s": round(max(right + wrong), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one time each, to see that all runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for exercises.json")
    options = parser.parse_args()
    rows = []
    for sheet in exercises.sheets().values():
        for question in sheet:
            rows.append(measure(question, 1 if options.quick else 5))
            print(
                f"{rows[-1]['question']:40} {rows[-1]['right_s']:.3f} s, at most {rows[-1]['slowest_s']:.3f} s",
                flush=True,
            )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "exercises.json").write_text(json.dumps({"cores": os.cpu_count(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
