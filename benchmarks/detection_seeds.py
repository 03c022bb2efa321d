"How good is week 9's detector over five seeds, beside arms that would embarrass it, and does its face finder find the astronaut?"

import json
import os

os.environ["OMP_NUM_THREADS"] = "1"

import platform
import sys
from datetime import date
from pathlib import Path
from time import process_time

import numpy as np
from shapes import processor

from cnncourse import datasets, training
from cnncourse.detection import (
    ASTRONAUT,
    NO_FACE,
    average_precision,
    face_finders,
    find_at_scales,
    fit_finder,
    iou,
    right_place,
    window_classifier,
)
from cnncourse.detection_scores import Detections
from cnncourse.detectors import Detector, shuffle_colours
from cnncourse.figures import mean_interval
from cnncourse.pictures import to_size
from cnncourse.scenes import SCENE_SHAPES, scenes

RESULT = Path(__file__).parent / "results" / "detection_seeds.json"
SEEDS, N_TRAIN, N_TEST, EPOCHS = 5, 2000, 200, 9  # as on the page
AIM = {"mAP50": 0.90, "mAP50:95": 0.60, "seconds": 45}
NAMES = SCENE_SHAPES[:4]


def middle_boxes(train, n):
    "For each picture one box of the mean size in the middle, under each name as often as it was seen."
    sides = np.concatenate([one.boxes[:, 2:] - one.boxes[:, :2] for one in train.objects]).mean(axis=0)
    middle = np.array(train.x.shape[:1:-1]) / 2
    box = np.concatenate([middle - sides / 2, middle + sides / 2])
    share = np.bincount(np.concatenate([one.labels for one in train.objects])) / len(train.x)
    return [Detections(np.tile(box, (4, 1)), np.arange(4), share / share.sum())] * n


def crops(drawn, rng):
    "Windows of 25 pixels around each thing, and twice as many pictures' worth of windows beside them, with labels."
    found, labels = [], []
    for x, one in zip(drawn.x, drawn.objects, strict=True):
        size, squares = x.shape[1], []
        for (x1, y1, x2, y2), label in zip(one.boxes, one.labels, strict=True):
            side = max(x2 - x1, y2 - y1) * rng.uniform(1, 1.25)
            squares.append(((x1 + x2) / 2, (y1 + y2) / 2, side, label + 1))
        squares += [(*rng.uniform(0, size, 2), rng.uniform(15, 50), 0) for _ in range(4)]
        for cx, cy, side, label in squares:
            side = round(side)
            left, top = (int(np.clip(round(c - side / 2), 0, size - side)) for c in (cx, cy))
            box = (left, top, left + side, top + side)
            if label or not len(one.boxes) or iou(box, one.boxes).max() < 0.2:
                found.append(to_size(x[:, top : top + side, left : left + side], 25, "stretch"))
                labels.append(label)
    return np.stack(found), np.array(labels)


def slid(train, test, seed):
    "What a classifier of windows finds, slid over pictures at several scales."
    x, y = crops(train, np.random.default_rng(seed))
    options = {"epochs": 4, "batch_size": 64, "lr": 0.004, "schedule": training.one_cycle(), "seed": seed}
    net = window_classifier(3, 5, (16, 32, 64))
    form = fit_finder(net, x, y, rounds=0, augment=shuffle_colours, **options)[0]
    return [find_at_scales(form, one, threshold=0.05, zoom=25 / 15, iou_threshold=0.3) for one in test.x]


def arms(seed):
    "What each arm finds in the test pictures, and the seconds of the processor that it took to train."
    train, test = scenes(N_TRAIN, seed=seed), scenes(N_TEST, part="test", seed=seed)
    ways = {
        "single shot": {},
        "colours as they are": {"augment": None},
        "untrained": {"epochs": 1, "lr": 1e-9},
    }
    for arm, options in ways.items():
        some = 64 if arm == "untrained" else N_TRAIN
        start = process_time()
        detector = Detector.fit(train.x[:some], train.objects[:some], NAMES, seed=seed, **{"epochs": EPOCHS, **options})
        took = process_time() - start
        yield arm, detector.predict(test.x, threshold=0.01), test.objects, took
    start = process_time()
    yield "slid classifier", slid(train, test, seed), test.objects, process_time() - start
    yield "one box in the middle", middle_boxes(train, len(test.x)), test.objects, 0.0


def faces(seed):
    "The search for faces after each round of learning from false finds."
    photos = {name: datasets.photograph(name, gray=True) for name in ("astronaut", *NO_FACE)}
    start = process_time()
    finders = face_finders(seed=seed)
    took = process_time() - start
    for rounds, form in enumerate(finders):
        found = {name: find_at_scales(form, photo) for name, photo in photos.items()}
        hit, false = right_place(found["astronaut"], ASTRONAUT)
        row = {"seed": seed, "rounds": rounds, "found": hit, "false beside it": false}
        row |= {name: len(found[name].boxes) for name in NO_FACE}
        yield row | {"seconds of all rounds": round(took, 1)}


def summary(rows):
    "Mean and interval over the seeds, for each arm and measure."
    found = {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]
        found[arm] = {
            name: [round(float(v), 4) for v in mean_interval([row[name] for row in mine])]
            for name in ("mAP50", "mAP50:95", "seconds")
        }
    return found


def written(rows, searches):
    "What is known so far, as a file."
    result = {
        "question": __doc__,
        "settings": {"n_train": N_TRAIN, "n_test": N_TEST, "epochs": EPOCHS, "threads": 1},
        "aim": AIM,
        "summary": summary(rows),
        "rows": rows,
        "faces": searches,
        "processor": processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": date.today().isoformat(),
    }
    RESULT.write_text(json.dumps(result, indent=1).replace("NaN", "null") + "\n")
    return result


if __name__ == "__main__":
    rows, searches = [], []
    for seed in range(SEEDS):
        for arm, found, objects, took in arms(seed):
            scores = average_precision(found, objects, len(NAMES))
            row = {"arm": arm, "seed": seed, "mAP50": round(scores.at(0.5), 4)}
            rows.append(row | {"mAP50:95": round(scores.mean, 4), "seconds": round(took, 1)})
        searches += faces(seed)
        result = written(rows, searches)  # seed by seed: it takes minutes
    json.dump(result["summary"], sys.stdout, indent=1)
    print()
