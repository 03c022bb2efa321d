"""How good are the two networks of week 10 over five seeds, and how long do they learn? Mean IoU on the texture mosaics and on shapes.

    python benchmarks/segmentation_seeds.py            # some minutes of one core; writes benchmarks/results/segmentation_seeds.json
    python benchmarks/segmentation_seeds.py --quick    # two seeds and little data, to see that all runs; writes to --out only

A seed decides pictures, weights and order. The learning rate of each data set was chosen among `RATES` with a seed of its own, on pictures
that nothing was learnt from and that are not those of the test. The aims are 0.90 on mosaics and 0.95 on shapes, each within 45 seconds of
training. "mosaics" and "shapes" are the trainings of the page; "mosaics, longer" has twice the pictures, at the rate of "mosaics".
The others are what the page compares them with; it takes the rates from here.
What is in the file already is kept: a run that was stopped goes on from there.
"""

# ruff: noqa: E402  (the number of threads is set before the libraries are imported)

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # read when the libraries are imported

import argparse
import json
import platform
from datetime import date
from pathlib import Path
from time import process_time

import numpy as np
import torch
from shapes import processor

from cnncourse import datasets
from cnncourse.figures import mean_interval
from cnncourse.networks import n_params
from cnncourse.pixel_losses import PixelLoss, class_weights
from cnncourse.scenes import TEXTURES, mosaics
from cnncourse.segmentation import Segmenter, iou, unet

torch.set_num_threads(1)
RESULT = Path(__file__).parent / "results" / "segmentation_seeds.json"
RATES, CHOOSING, SEEDS = (0.003, 0.006, 0.01, 0.02, 0.04), 100, (0, 1, 2, 3, 4)
SHAPES = ("background", "cross", "circle", "square", "triangle")


def texture_pictures(n, part, seed):
    "Mosaics of a part of the photographs, and their labels."
    made = mosaics(n, part={"validation": "calibrate"}.get(part, part), seed=seed)
    return made.x, made.labels


def shape_pictures(n, part, seed):
    "Pictures of one shape each, drawn anew for each part, and their labels."
    drawn = datasets.shapes(n, size=32, seed=3 * seed + ("train", "validation", "test").index(part))
    return drawn.x, np.where(drawn.masks, drawn.y[:, None, None] + 1, 0)


def mosaic_task(n=400, **form):
    "What to learn, from how many pictures, how, and the mean IoU that is aimed at."
    net = unet((1, 64, 64), outputs=3, norm=True, **form)
    return texture_pictures, net, TEXTURES, n, {"epochs": 6, "batch_size": 8}, 0.90


def shape_task(loss):
    "Likewise, for pictures of one shape; of the loss `weighted` the weights are those of the pictures."
    net = unet((3, 32, 32), depth=2, outputs=5, norm=True)
    return shape_pictures, net, SHAPES, 1000, {"epochs": 4, "batch_size": 16, "loss": loss}, 0.95


TASKS = {
    "mosaics": mosaic_task(),
    "shapes": shape_task(PixelLoss("dice")),
    "mosaics, longer": mosaic_task(800),
    "mosaics, without skips": mosaic_task(width=9, skips=False),
    "shapes, cross-entropy": shape_task(PixelLoss()),
    "shapes, weighted": shape_task("weighted"),
    "shapes, focal": shape_task(PixelLoss("focal")),
}
RATE_OF = {"mosaics, longer": "mosaics"}


def learnt(task, seed, lr, n):
    "A segmenter, and the time of the processor that its training took."
    pictures, net, classes, _, how, _ = TASKS[task]
    x, labels = pictures(n, "train", seed)
    if how.get("loss") == "weighted":
        how = how | {"loss": PixelLoss(weights=class_weights(labels, len(classes)))}
    start = process_time()
    found = Segmenter.fit(net, x, labels, classes, lr=lr, seed=seed, **how)
    return found, process_time() - start


def mean_iou(segmenter, task, part, seed, n):
    "Over all pixels of the pictures of a part."
    x, labels = TASKS[task][0](n, part, seed)
    return float(np.nanmean(iou(labels, np.stack(segmenter.predict(x)), len(TASKS[task][2]))))


def rates_of(task, n, n_test):
    "How good each rate is on the validation part."
    return {lr: mean_iou(learnt(task, CHOOSING, lr, n)[0], task, "validation", CHOOSING, n_test) for lr in RATES}


def measured(task, seeds, n, n_test, known):
    "The numbers of a data set; `known`: those of the ones before it."
    rates, scores, seconds = {}, [], []
    if task in RATE_OF:
        lr = known[RATE_OF[task]]["rate"]
    else:
        rates = rates_of(task, n, n_test)
        lr = max(rates, key=rates.get)
    for seed in seeds:
        segmenter, time = learnt(task, seed, lr, n)
        scores.append(mean_iou(segmenter, task, "test", seed, n_test))
        seconds.append(time)
        print(f"{task}, seed {seed}: mean IoU {scores[-1]:.3f} after {time:.1f} s", flush=True)
    mean, low, high = (float(value) for value in mean_interval(np.array(scores)))
    return {
        "validation_by_rate": {str(rate): round(value, 4) for rate, value in rates.items()},
        "rate": lr,
        "mean_iou": [round(value, 4) for value in scores],
        "mean": round(mean, 4),
        "interval": [round(low, 4), round(high, 4)],
        "aim": TASKS[task][5],
        "reached": mean >= TASKS[task][5],
        "processor_seconds": [round(value, 1) for value in seconds],
        "parameters": n_params(segmenter.net),
        "pictures": n,
        "test_pictures": n_test,
        "passes": TASKS[task][4]["epochs"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="two seeds and little data")
    parser.add_argument("--out", type=Path, help="where to write; else into benchmarks/results")
    options = parser.parse_args()
    if options.quick and not options.out:
        parser.error("--quick needs --out: it writes no result of record")
    result = {"question": __doc__.splitlines()[0], "seeds": list(SEEDS[:2] if options.quick else SEEDS)}
    out = options.out or RESULT
    kept = json.loads(out.read_text()) if out.exists() else {}
    for task, (_, _, _, n, _, _) in TASKS.items():
        sizes = (32, 8) if options.quick else (n, 200)
        if kept.get("seeds") == result["seeds"] and task in kept:
            result[task] = kept[task]
            continue
        result[task] = measured(task, result["seeds"], *sizes, result)
        out.write_text(json.dumps(result, indent=1) + "\n")
    result |= {
        "processor": processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
