"""Pictures a second that are augmented on one core: ours beside Keras's layers, scikit-image, SciPy and PyTorch.

    python benchmarks/augment.py            # a few minutes; writes benchmarks/results/augment.json
    python benchmarks/augment.py --quick    # few rounds and pictures; writes to --out only

A batch of 256 colour pictures of 64x64, flip + rotate + zoom + shift + contrast + brightness. SciPy's affine_transform and PyTorch's
grid_sample do the resampling alone, with ready matrices. The competitors take turns and processor time is measured, so that a busy machine
slows all alike; what is compared is the median of the rounds' ratios. Besides, a made tree of 25,000 photographs is streamed from the disk, and the process's
peak memory is read.
"""

# ruff: noqa: E402  (the number of threads is set before the libraries are imported)

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # read when the libraries are imported
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import keras
import numpy as np
import scipy
import scipy.ndimage
import skimage
import skimage.transform
import tensorflow as tf
import torch
from PIL import Image

from cnncourse import datasets
from cnncourse.augmentation import (
    Augmenter,
    Brightness,
    Contrast,
    Flip,
    Rotate,
    Scale,
    Shift,
    affine_matrix,
    chain_matrices,
)

torch.set_num_threads(1)
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

RESULTS = Path(__file__).parent / "results"
SIZE, TARGET = 64, 3.0  # pixels; at least so many times the rate of Keras's layers
OURS = Augmenter(
    [
        Flip(p=0.5),
        Rotate((-20, 20)),
        Scale((0.8, 1.25)),
        Shift((-0.1, 0.1), (-0.1, 0.1)),
        Contrast((0.7, 1.3)),
        Brightness((-0.2, 0.2)),
    ],
    fill="reflect",
)
STREAM = """
import resource, sys, time
from pathlib import Path
from cnncourse.datasets import stream_folder
start, seen, stream = time.perf_counter(), 0, stream_folder(sys.argv[1], size=64, workers=2)
for x, y in stream:
    seen += len(y)
status = Path("/proc/self/status")  # Linux hands ru_maxrss on from the process that started this one
if status.exists():
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seen, time.perf_counter() - start, peak)
"""


def keras_layers():
    "Keras's layers with the same ranges, compiled for a batch (n, h, w, c)."
    layers = [
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandomRotation(20 / 360),
        keras.layers.RandomZoom((-0.2, 0.25)),
        keras.layers.RandomTranslation(0.1, 0.1),
        keras.layers.RandomContrast(0.3, value_range=(0, 255)),
        keras.layers.RandomBrightness(0.2, value_range=(0, 255)),
    ]

    @tf.function
    def call(x):
        for layer in layers:
            x = layer(x, training=True)
        return x

    return call


def inverses(n):
    "Ways back of our chain for `n` pictures, in points."
    rng = np.random.default_rng(0)
    return np.linalg.inv(chain_matrices(OURS.steps, [s.draw(rng, n) for s in OURS.steps], n, SIZE, SIZE))


def calls(n: int) -> dict:
    "What is timed: {competitor: call on a batch of n pictures}."
    x = np.random.default_rng(0).integers(0, 256, (n, 3, SIZE, SIZE), dtype=np.uint8)
    back, half, to_unit = inverses(n), affine_matrix(c=0.5, f=0.5), affine_matrix(a=2 / SIZE, c=-1, e=2 / SIZE, f=-1)
    pixels = np.linalg.inv(half) @ back @ half
    by_row = pixels[:, [1, 0, 2]][:, :, [1, 0, 2]]
    floats, last = x.astype(np.float32) / 255, np.ascontiguousarray(x.transpose(0, 2, 3, 1)).astype(np.float32)
    theta = torch.from_numpy((to_unit @ back @ np.linalg.inv(to_unit))[:, :2].astype(np.float32))
    xk, xt, layers, unit = tf.constant(last), torch.from_numpy(floats), keras_layers(), last / 255

    def by_skimage():
        for picture, matrix in zip(unit, pixels, strict=True):
            y = skimage.transform.warp(picture, matrix, order=1, mode="symmetric")
            mean = y.mean(axis=(0, 1))
            np.clip(np.clip(mean + 1.2 * (y - mean), 0, 1) + 0.1, 0, 1)

    def by_scipy():
        for picture, matrix in zip(floats, by_row, strict=True):
            for channel in picture:
                scipy.ndimage.affine_transform(channel, matrix, order=1, mode="reflect")

    def by_torch():
        grid = torch.nn.functional.affine_grid(theta, xt.shape, align_corners=False)
        torch.nn.functional.grid_sample(xt, grid, padding_mode="reflection", align_corners=False)

    return {
        "ours, uint8": lambda: OURS(x, 0),
        "ours, float32": lambda: OURS(floats, 0),
        "Keras's layers": lambda: layers(xk),
        "scikit-image": by_skimage,
        "SciPy, affine alone": by_scipy,
        "PyTorch, grid_sample alone": by_torch,
    }


def take_turns(named: dict, rounds: int) -> dict[str, list[float]]:
    "Processor seconds of each call in each round; one round before that is not counted."
    seconds = {name: [] for name in named}
    for count in range(rounds + 1):
        for name, call in named.items():
            start = time.process_time()
            call()
            if count:
                seconds[name].append(time.process_time() - start)
    return seconds


def rates(n: int, rounds: int) -> list[dict]:
    "One record for each competitor: pictures a second, and how many times that is ours."
    seconds = take_turns(calls(n), rounds)
    ours = seconds["ours, uint8"]
    return [
        {"who": who, "pictures_per_second": round(n / median(theirs))}
        | {"ours_is_times": round(median(b / a for a, b in zip(ours, theirs, strict=True)), 2)}
        for who, theirs in seconds.items()
    ]


def stream(pictures: int) -> dict:
    "Stream a made tree of two classes from the disk in a process of its own: its pace and peak memory."
    with tempfile.TemporaryDirectory() as folder:
        for label, name in enumerate(("cat", "rocket")):
            target = Path(folder, name)
            target.mkdir()
            photo = Image.fromarray(datasets.photograph(name).transpose(1, 2, 0))
            photo.resize((500, 375)).save(target / "first.jpg")
            for i in range(pictures // 2 - 1):
                os.link(target / "first.jpg", target / f"{label}_{i}.jpg")
        done = subprocess.run([sys.executable, "-c", STREAM, folder], capture_output=True, text=True, check=True)
    seen, seconds, peak = map(float, done.stdout.split())
    return {
        "pictures": int(seen),
        "file": "JPEG, 500x375",
        "to": "64x64",
        "workers": 2,
        "seconds": round(seconds, 1),
    } | {
        "pictures_per_second": round(seen / seconds),
        "peak_mb": round(peak / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two rounds of small batches, to see that all runs")
    parser.add_argument("--rounds", type=int, default=11, help="timed rounds")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for augment.json")
    options = parser.parse_args()
    n, rounds, pictures = (16, 2, 100) if options.quick else (256, options.rounds, 25_000)
    result = {
        "question": __doc__.splitlines()[0],
        "machine": platform.processor() or platform.machine(),
        "versions": {m.__name__: m.__version__ for m in (np, keras, tf, torch, skimage, scipy)},
        "threads": 1,
        "batch": [n, 3, SIZE, SIZE],
        "rounds": rounds,
        "target": TARGET,
        "rates": rates(n, rounds),
        "stream": stream(pictures),
    }
    for row in result["rates"]:
        print(
            f"{row['who']:28}{row['pictures_per_second']:8,} pictures/s   ours is {row['ours_is_times']:5.2f} times that"
        )
    print(f"target: {TARGET} times Keras's layers\nstream: {result['stream']}")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "augment.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
