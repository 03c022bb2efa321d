"""Our convolution and pooling against PyTorch's and TensorFlow's, on one thread, in one run.

    python benchmarks/ops.py            # a few minutes; writes benchmarks/results/ops.json and ops.svg
    python benchmarks/ops.py --quick    # fewer rounds, smaller batches; writes to --out only

The competitors take turns (ours, PyTorch, TensorFlow, ours, ...), and processor time is measured, so that a busy machine
slows all of them alike. What is compared is the ratio of the times of one round; the table shows the median of the ratios.
"""

# ruff: noqa: E402  (the number of threads is set before the libraries are imported)

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # read when the libraries are imported
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import argparse
import json
import platform
import time
import tracemalloc
from math import exp, log
from pathlib import Path
from statistics import median

import matplotlib
import numpy as np
import tensorflow as tf
import torch

from cnncourse import convolution, pooling

matplotlib.use("agg")
import matplotlib.pyplot as plt

torch.set_num_threads(1)
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

RESULTS = Path(__file__).parent / "results"
LAYERS = {  # images, channels, size, kernels, kernel size, stride, padding
    "LeNet 1: 1→6, 5×5 at 28": (32, 1, 28, 6, 5, 1, 2),
    "LeNet 2: 6→16, 5×5 at 14": (32, 6, 14, 16, 5, 1, 0),
    "VGG: 64→64, 3×3 at 56": (8, 64, 56, 64, 3, 1, 1),
    "ResNet: 128→128, 3×3 at 28": (8, 128, 28, 128, 3, 1, 1),
    "ResNet: 128→128, 3×3 at 57, stride 2": (8, 128, 57, 128, 3, 2, 0),
    "AlexNet 1: 3→96, 11×11 at 227, stride 4": (8, 3, 227, 96, 11, 4, 0),
    "1×1: 256→256 at 28": (8, 256, 28, 256, 1, 1, 0),
}
POOLS = {  # images, channels, size, kernel size, stride
    "2×2, stride 2, 64 at 56": (8, 64, 56, 2, 2),
    "3×3, stride 2, 96 at 55": (8, 96, 55, 3, 2),
    "2×2, stride 2, 6 at 28": (32, 6, 28, 2, 2),
}
TARGETS = {"forward": 1.5, "forward and backward": 2.0, "max pooling": 0.25, "average pooling": 0.25}


def take_turns(calls: dict, rounds: int) -> dict[str, list[float]]:
    "Processor seconds of each call in each round; one round before that is not counted."
    seconds = {name: [] for name in calls}
    for count in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if count:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(ours: list[float], theirs: list[float]) -> float:
    "Median of the rounds' ratios: below 1, ours is the faster."
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def geometric_mean(values) -> float:
    values = list(values)
    return exp(sum(map(log, values)) / len(values))


def pad_tf(x, padding):
    return tf.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0))) if padding else x


def plain_product(x, w, b, stride, padding):
    "The version most courses end with: windows, one matrix product for the whole batch."
    seen = convolution.windows(convolution.pad2d(x, padding), w.shape[2:], stride)
    n, c, oh, ow, kh, kw = seen.shape
    columns = seen.transpose(0, 2, 3, 1, 4, 5).reshape(n * oh * ow, c * kh * kw)
    return (columns @ w.reshape(len(w), -1).T + b).reshape(n, oh, ow, -1).transpose(0, 3, 1, 2)


def layer_calls(n, c, size, out, kernel_size, stride, padding) -> dict[str, dict]:
    "What is timed for one layer: {pass: {competitor: call}}."
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, c, size, size)).astype(np.float32)
    w, b = rng.normal(size=(out, c, kernel_size, kernel_size)).astype(np.float32), np.zeros(out, np.float32)
    settings = {"stride": stride, "padding": padding}
    xt, wt, bt = (torch.tensor(a, requires_grad=True) for a in (x, w, b))
    xk, wk, bk = tf.constant(x.transpose(0, 2, 3, 1)), tf.constant(w.transpose(2, 3, 1, 0)), tf.constant(b)
    dy = rng.normal(size=convolution.conv2d(x, w, b, **settings).shape).astype(np.float32)
    dyt, dyk = torch.tensor(dy), tf.constant(dy.transpose(0, 2, 3, 1))

    def forward_torch():
        with torch.no_grad():
            torch.nn.functional.conv2d(xt, wt, bt, **settings)

    def both_torch():
        xt.grad = wt.grad = bt.grad = None
        torch.nn.functional.conv2d(xt, wt, bt, **settings).backward(dyt)

    @tf.function
    def forward_tf(x, w, b):
        return tf.nn.conv2d(pad_tf(x, padding), w, stride, "VALID") + b

    @tf.function
    def both_tf(x, w, b, dy):
        with tf.GradientTape() as tape:
            tape.watch([x, w, b])
            y = tf.nn.conv2d(pad_tf(x, padding), w, stride, "VALID") + b
        return tape.gradient(y, [x, w, b], dy)

    def both_ours():
        convolution.conv2d(x, w, b, **settings)
        convolution.conv2d_backward(dy, x, w, **settings)

    return {
        "forward": {
            "ours": lambda: convolution.conv2d(x, w, b, **settings),
            "PyTorch": forward_torch,
            "TensorFlow": lambda: forward_tf(xk, wk, bk),
            "plain product": lambda: plain_product(x, w, b, stride, padding),
        },
        "forward and backward": {
            "ours": both_ours,
            "PyTorch": both_torch,
            "TensorFlow": lambda: both_tf(xk, wk, bk, dyk),
        },
    }


def pool_calls(n, c, size, kernel_size, stride) -> dict[str, dict]:
    "What is timed for one pooling layer, forward."
    x = np.random.default_rng(0).normal(size=(n, c, size, size)).astype(np.float32)
    xt, xk = torch.tensor(x), tf.constant(x.transpose(0, 2, 3, 1))
    settings = kernel_size, stride
    return {
        "max pooling": {
            "ours": lambda: pooling.max_pool2d(x, *settings),
            "PyTorch": lambda: torch.nn.functional.max_pool2d(xt, *settings),
            "TensorFlow": lambda: tf.nn.max_pool2d(xk, *settings, "VALID"),
        },
        "average pooling": {
            "ours": lambda: pooling.avg_pool2d(x, *settings),
            "PyTorch": lambda: torch.nn.functional.avg_pool2d(xt, *settings),
            "TensorFlow": lambda: tf.nn.avg_pool2d(xk, *settings, "VALID"),
        },
    }


def time_all(rounds: int, shrink: int) -> list[dict]:
    "One record for each pass and shape: milliseconds of each competitor, and ratios."
    jobs = [(name, layer_calls(max(1, n // shrink), *rest), n // shrink) for name, (n, *rest) in LAYERS.items()]
    jobs += [(name, pool_calls(max(1, n // shrink), *rest), n // shrink) for name, (n, *rest) in POOLS.items()]
    records = []
    for shape, passes, batch in jobs:
        for which, calls in passes.items():
            seconds = take_turns(calls, rounds)
            records.append(
                {"pass": which, "shape": shape, "batch": max(1, batch)}
                | {"ms": {name: 1e3 * median(s) for name, s in seconds.items()}}
                | {"ratio": {name: ratio(seconds["ours"], s) for name, s in seconds.items() if name != "ours"}}
            )
    return records


def loop_time(shrink: int) -> dict:
    "The definition as Python loops, on one image of a VGG layer: how many times PyTorch's time."
    rng, c = np.random.default_rng(0), 64 // shrink
    x, w = rng.normal(size=(1, c, 58, 58)).astype(np.float32), rng.normal(size=(c, c, 3, 3)).astype(np.float32)
    xt, wt = torch.tensor(x), torch.tensor(w)
    calls = {
        "loops": lambda: convolution.conv2d(x, w, method="loops"),
        "PyTorch": lambda: torch.nn.functional.conv2d(xt, wt),
    }
    seconds = take_turns(calls, 3)
    return {"shape": f"{c}→{c}, 3×3 at 56, one image", "ratio": ratio(seconds["loops"], seconds["PyTorch"])}


def memory(shrink: int) -> list[dict]:
    "Peak bytes that NumPy allocates in a call beyond its result, and the time, as the batch grows."
    rows = []
    w = np.ones((64, 64, 3, 3), np.float32)
    for batch in (1, 2, 4, 8, 16, 32, 64):
        x = np.ones((max(1, batch // shrink), 64, 56, 56), np.float32)
        seconds = median(take_turns({"ours": lambda x=x: convolution.conv2d(x, w, padding=1)}, 5)["ours"])
        tracemalloc.start()
        y = convolution.conv2d(x, w, padding=1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append({"batch": len(x), "ms": 1e3 * seconds, "result_mib": y.nbytes / 2**20, "peak_mib": peak / 2**20})
    return rows


def summary(records: list[dict]) -> dict:
    "Geometric mean of the ratios for each pass and competitor."
    means = {}
    for which in TARGETS:
        rows = [record for record in records if record["pass"] == which]
        means[which] = {name: geometric_mean(row["ratio"][name] for row in rows) for name in rows[0]["ratio"]}
    return means


def show(result: dict) -> None:
    for which, means in result["geometric_mean"].items():
        print(f"\n{which}: our time over theirs")
        for row in (r for r in result["records"] if r["pass"] == which):
            times = "  ".join(f"{name} {ms:8.2f} ms" for name, ms in row["ms"].items())
            print(f"  {row['shape']:42s} x{row['batch']:<3d} {row['ratio']['PyTorch']:5.2f}   {times}")
        said = "  ".join(f"{name} {mean:.2f}" for name, mean in means.items())
        print(f"  geometric mean: {said}   (target against PyTorch: {TARGETS[which]})")
    print(f"\nloops: {result['loops']['ratio']:,.0f} times PyTorch's time ({result['loops']['shape']})")
    print("\nbatch   ms   result MiB   peak beyond the result MiB")
    for row in result["memory"]:
        beyond = row["peak_mib"] - row["result_mib"]
        print(f"{row['batch']:5d} {row['ms']:7.1f} {row['result_mib']:8.1f} {beyond:8.1f}")


def draw(result: dict, path: Path) -> None:
    "Ratios as bars; memory and time against batch."
    layout = {"figsize": (11, 6), "width_ratios": (3, 2), "layout": "constrained"}
    fig, axes = plt.subplot_mosaic([["ratios", "memory"], ["ratios", "time"]], **layout)
    left, right, below = (axes[name] for name in ("ratios", "memory", "time"))
    labels, places = [], []
    colours = {
        "forward": "#0072B2",
        "forward and backward": "#56B4E9",
        "max pooling": "#D55E00",
        "average pooling": "#E69F00",
    }
    for which, colour in colours.items():
        rows = [record for record in result["records"] if record["pass"] == which]
        at = [len(labels) + k for k in range(len(rows))]
        left.barh(at, [row["ratio"]["PyTorch"] for row in rows], color=colour, label=which)
        labels += [row["shape"] for row in rows]
        places += at
    left.axvline(1, color="black", lw=1)
    left.set(
        xscale="log", xlabel="our time / PyTorch's time (left of the line: ours is faster)", title="Time on one thread"
    )
    left.set_xticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
    left.minorticks_off()
    left.set_yticks(places, labels, fontsize=7)
    left.invert_yaxis()
    left.legend(fontsize=8)
    batch = [row["batch"] for row in result["memory"]]
    right.plot(batch, [row["result_mib"] for row in result["memory"]], "o-", color="#0072B2", label="result")
    beyond = [row["peak_mib"] - row["result_mib"] for row in result["memory"]]
    right.plot(batch, beyond, "s--", color="#D55E00", label="peak beyond the result")
    right.set(ylabel="memory (MiB)", title="Memory of one call, 64→64, 3×3 at 56")
    right.legend()
    below.plot(batch, [row["ms"] for row in result["memory"]], "o-", color="#0072B2")
    below.set(xlabel="images in the batch", ylabel="processor time (ms)", title="Time of the same call")
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three rounds of small batches, to see that all runs")
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of each shape")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for ops.json and ops.svg")
    options = parser.parse_args()
    rounds, shrink = (3, 8) if options.quick else (options.rounds, 1)
    records = time_all(rounds, shrink)
    result = {
        "machine": platform.processor() or platform.machine(),
        "versions": {"numpy": np.__version__, "torch": torch.__version__, "tensorflow": tf.__version__},
        "threads": 1,
        "rounds": rounds,
        "records": records,
        "geometric_mean": summary(records),
        "targets": TARGETS,
        "loops": loop_time(shrink),
        "memory": memory(shrink),
    }
    show(result)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "ops.json").write_text(json.dumps(result, indent=1) + "\n")
    draw(result, options.out / "ops.svg")


if __name__ == "__main__":
    main()
