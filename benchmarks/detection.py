"How long does `nms` take for 10,000 boxes, and how many pictures of 256x256 a second does a detector answer, on one core?"

import json
import os

os.environ["OMP_NUM_THREADS"] = "1"

import platform
import sys
from datetime import date
from pathlib import Path
from time import process_time

import numpy as np
from shapes import one_core, processor

from cnncourse.boxes import nms
from cnncourse.detectors import Detector
from cnncourse.scenes import SCENE_SHAPES, scenes

RESULT = Path(__file__).parent / "results" / "detection.json"
N, REPEATS, SIDES = 10_000, 9, {"crowded": 60, "in groups": 600, "spread": 3000}  # of the square that boxes begin in


def random_boxes(side, seed=0):
    "Boxes of 1 to 60 pixels a side, and scores."
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, side, (N, 2))
    return np.hstack([start, start + rng.uniform(1, 60, (N, 2))]), rng.random(N)


def best(task):
    "The least time of the processor for a task, of some."
    times = []
    for _ in range(REPEATS):
        start = process_time()
        task()
        times.append(process_time() - start)
    return min(times)


def pictures_a_second():
    "How many pictures a detector answers, one after the other; it learnt for a moment only, which changes no time."
    small = scenes(64, seed=0)
    detector = Detector.fit(small.x, small.objects, SCENE_SHAPES[:4], epochs=2)
    large = scenes(20, size=256, part="test", objects=(4, 10), radius=(0.03, 0.09)).x
    return len(large) / best(lambda: [detector.predict(x, threshold=0.2) for x in large])


if __name__ == "__main__":
    cores = one_core()
    result = {
        "question": __doc__,
        "boxes": N,
        "milliseconds": {},
        "kept": {},
        "pictures_a_second": round(pictures_a_second(), 1),
        "cores": cores,
        "processor": processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "date": date.today().isoformat(),
    }
    for name, side in SIDES.items():
        boxes, scores = random_boxes(side)
        result["kept"][name] = len(nms(boxes, scores, 0.5))
        result["milliseconds"][name] = round(1000 * best(lambda b=boxes, s=scores: nms(b, s, 0.5)), 1)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    json.dump(result, sys.stdout, indent=1)
    print()
