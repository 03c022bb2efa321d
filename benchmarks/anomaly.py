"""Autoencoder, U-Net or feature distance: three textures, three severities, five seeds; and digits with one class held out.

    python benchmarks/anomaly.py            # about half an hour of one core; writes benchmarks/results/anomaly.json
    python benchmarks/anomaly.py --quick    # one seed, one epoch, to see that all runs; writes to --out only

A seed decides patches, defects, weights and order. A scorer is fitted once for a texture and a seed, and scores all severities.
Settings were chosen on the part "calibrate" of the photographs, with other seeds; what is recorded is from the part "test".
Rows are kept as they come: a run that was stopped goes on from there.
"""

# ruff: noqa: E402  (the number of threads is set before the libraries are imported)

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # read when the libraries are imported

import argparse
import json
import time
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from cnncourse import anomaly, datasets
from cnncourse.figures import mean_interval

torch.set_num_threads(1)
RESULTS = Path(__file__).parent / "results"
TEXTURES, SEVERITIES = ("brick", "grass", "gravel"), ("easy", "middle", "hard")


def texture_rows(photos: dict, texture: str, seed: int, epochs: int) -> list[dict]:
    "One row for each scorer and severity."
    sets = {severity: anomaly.inspect_texture(photos, texture, severity, seed=seed) for severity in SEVERITIES}
    rows, trained = [], {}
    for method, scorer in anomaly.candidates(epochs=epochs, seed=seed).items():
        base = method.removesuffix(", features")  # differs in the error alone, and so is trained once
        start = time.process_time()
        if base in trained:
            trained[base].error = scorer.error
        else:
            trained[base] = scorer.fit(sets["middle"].x_train)
        seconds = round(time.process_time() - start, 2)
        for severity, data in sets.items():
            about = {"set": texture, "severity": severity, "seed": seed, "method": method, "fit_s": seconds}
            rows.append(about | anomaly.measure(trained[base], data))
    return rows


def digit_rows(seed: int, epochs: int) -> list[dict]:
    "One row for each scorer and each of three digits that it never saw: image AUROC against the digits that it knows."
    data, rows = datasets.load("digits", seed=seed), []
    for held_out in [(3 * seed + i) % 10 for i in range(3)]:  # five seeds: every digit at least once
        normal = data.x_train[data.y_train != held_out]
        for method, scorer in digit_scorers(epochs, seed).items():
            scorer.top = 64  # all of 8 x 8: the whole picture differs, not a part of it
            image = anomaly.auroc(scorer.fit(normal).score(data.x_test), data.y_test == held_out)
            rows.append({"set": "digits", "held_out": held_out, "seed": seed, "method": method, "image": image})
    return rows


def digit_scorers(epochs: int, seed: int) -> dict[str, anomaly.Scorer]:
    "For pictures of 8 x 8 pixels: networks that halve once or twice, and neighbours of the whole picture."
    redraw = partial(anomaly.Reconstruction, epochs=epochs, seed=seed)
    small_unet = partial(anomaly.unet, depth=2)
    return {
        "dense autoencoder": redraw(partial(anomaly.dense_autoencoder, bottleneck=8)),
        "autoencoder": redraw(partial(anomaly.conv_autoencoder, depth=2, bottleneck=2)),
        "U-Net": redraw(small_unet),
        "U-Net, hidden squares": redraw(small_unet, corrupt=partial(anomaly.hide_cells, cell=2)),
        "distance between pictures": anomaly.FeatureDistance([lambda x: x.reshape(len(x), -1, 1, 1)], seed=seed),
    }


def summary(rows: list[dict]) -> list[dict]:
    "Mean over the seeds with both ends of its 95 % interval, for each method, set (and all textures together) and severity."
    frame = pd.DataFrame(rows).fillna({"severity": ""})
    keys, measures = ["method", "set", "severity"], ["image", "pixel", "region", *anomaly.SEVERITIES]
    textures = frame[frame["set"].isin(TEXTURES)]
    whole = textures.groupby("seed")["set"].nunique() == len(TEXTURES)  # seeds for which no texture is missing
    together = (
        textures[textures["seed"].map(whole)].groupby(["method", "severity", "seed"], sort=False)[measures].mean()
    )
    frame = pd.concat([frame, together.reset_index().assign(set="all textures")])
    table = []
    for key, group in frame.groupby(keys, sort=False):
        seeds = group.groupby("seed")[measures].mean().dropna(axis=1)
        spread = {what: [round(float(v), 4) for v in mean_interval(seeds[what])] for what in seeds}
        table.append(dict(zip(keys, key, strict=True)) | {"seeds": len(seeds)} | spread)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch, to see that all runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for anomaly.json")
    options = parser.parse_args()
    seeds, epochs, digit_epochs = ([0], 1, 1) if options.quick else (range(5), 15, 10)
    path, photos = options.out / "anomaly.json", {name: datasets.photograph(name) for name in TEXTURES}
    settings = {"epochs": epochs, "digit_epochs": digit_epochs, "train": 200, "test": 120, "size": 64}
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    done = {(row["set"], row["seed"]) for row in rows}
    for seed in seeds:
        for name in (*TEXTURES, "digits"):
            if (name, seed) not in done:
                made = digit_rows(seed, digit_epochs) if name == "digits" else texture_rows(photos, name, seed, epochs)
                rows += made
                options.out.mkdir(parents=True, exist_ok=True)
                result = {"settings": settings, "torch": torch.__version__, "summary": summary(rows), "rows": rows}
                path.with_suffix(".part").write_text(json.dumps(result, indent=1) + "\n")
                os.replace(path.with_suffix(".part"), path)
                print(f"seed {seed}, {name}: done", flush=True)
    for record in summary(rows):
        mean, low, high = record["image"]
        print(f"{record['method']:32} {record['set']:13} {record['severity']:7} {mean:.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
