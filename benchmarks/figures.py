"""How long the course's pictures take, on one thread, against the usual way, in one run.

    python benchmarks/figures.py            # half a minute; writes benchmarks/results/figures.json
    python benchmarks/figures.py --quick    # one round; writes to --out only

Processor time is measured, from the call to the finished file, so that a busy machine does not slow us. The usual way to draw
a grid is one axes for each picture; the usual way to make an animation is Matplotlib's `to_jshtml`.
"""

# ruff: noqa: E402  (the number of threads is set before the libraries are imported)

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # read when the libraries are imported

import argparse
import io
import json
import platform
import time
from pathlib import Path
from statistics import median

import matplotlib
import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from cnncourse import convolution, datasets, figures

RESULTS = Path(__file__).parent / "results"
TARGETS = {"grid": 0.3, "animation": 5.0}  # seconds of one core
N_FRAMES = 60


def save(figure: Figure) -> None:
    figure.savefig(io.BytesIO(), format="png")


def usual_grid(images, titles) -> None:
    "One axes for each picture."
    figure = Figure(figsize=(7, 8), layout="constrained")
    for ax, image, title in zip(figure.subplots(10, 10).flat, images, titles, strict=True):
        ax.imshow(image[0], cmap="gray")
        ax.set_title(title, fontsize=8)
        ax.axis("off")
    save(figure)


def scene(photograph) -> tuple:
    "A figure with a growing receptive field, and the function that draws frame i."
    figure = Figure(figsize=(4, 3), layout="constrained")
    ax = figure.add_subplot()

    def draw(i):
        ax.clear()
        field = convolution.ReceptiveField(3 + 4 * i, 4, 0.0)
        figures.field_on_image(photograph, field, ax=ax)

    return figure, draw


def usual_animation(photograph) -> None:
    figure, draw = scene(photograph)
    FuncAnimation(figure, draw, frames=N_FRAMES).to_jshtml()


def jobs() -> dict[str, dict]:
    "What is timed: {job: {way: call}}."
    digits = datasets.load("digits", size=28)
    images, titles = digits.x_train[:100], digits.y_train[:100]
    photograph = datasets.photograph("cat")
    return {
        "grid": {
            "ours": lambda: save(figures.image_grid(images, titles, columns=10).figure),
            "usual": lambda: usual_grid(images, titles),
        },
        "animation": {
            "ours": lambda: figures.animate(*scene(photograph), N_FRAMES)._repr_html_(),
            "usual": lambda: usual_animation(photograph),
        },
    }


def time_all(rounds: int) -> list[dict]:
    "One record for each job; the ways take turns, and a round before that is not counted."
    records = []
    for job, ways in jobs().items():
        seconds = {way: [] for way in ways}
        for count in range(rounds + 1):
            for way, call in ways.items():
                start = time.process_time()
                call()
                if count:
                    seconds[way].append(time.process_time() - start)
        ratio = median(ours / usual for ours, usual in zip(seconds["ours"], seconds["usual"], strict=True))
        found = {way: median(values) for way, values in seconds.items()}
        records.append({"job": job, "seconds": found, "ratio": ratio, "target": TARGETS[job]})
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, to see that all runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for figures.json")
    options = parser.parse_args()
    rounds = 1 if options.quick else 5
    result = {
        "machine": platform.processor() or platform.machine(),
        "versions": {"numpy": np.__version__, "matplotlib": matplotlib.__version__},
        "threads": 1,
        "rounds": rounds,
        "records": time_all(rounds),
    }
    for record in result["records"]:
        ours, usual = record["seconds"]["ours"], record["seconds"]["usual"]
        said = f"{ours:6.2f} s (aim: below {record['target']:g} s); the usual way {usual:6.2f} s"
        print(f"{record['job']:10} {said}; {record['ratio']:.2f} of its time")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "figures.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
