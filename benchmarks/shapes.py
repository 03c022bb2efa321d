"How long does the `shapes` generator take for 10,000 colour pictures of 64x64 on one core?"

import json
import os

os.environ["OMP_NUM_THREADS"] = "1"

import platform
import statistics
import sys
from datetime import date
from pathlib import Path
from time import perf_counter

import numpy as np

from cnncourse.datasets import shapes

RESULT = Path(__file__).parent / "results" / "shapes.json"
N, SIZE, REPEATS = 10_000, 64, 5


def one_core():
    "Keep this process on one core, where the system can; how many it may use then."
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return len(os.sched_getaffinity(0))


def seconds(seed):
    "The time for one draw."
    start = perf_counter()
    shapes(N, size=SIZE, seed=seed)
    return perf_counter() - start


def processor():
    "The processor's name, where the system tells."
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    cores = one_core()
    shapes(100, size=SIZE)
    times = [seconds(seed) for seed in range(REPEATS)]
    result = {
        "question": __doc__,
        "pictures": N,
        "size": SIZE,
        "cores": cores,
        "seconds": [round(t, 3) for t in times],
        "median_seconds": round(statistics.median(times), 3),
        "processor": processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "date": date.today().isoformat(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    json.dump(result, sys.stdout, indent=1)
    print()
