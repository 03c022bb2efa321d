"""Autoencoder, U-Net or distance between features: three textures, three severities; and digits with one class held out.

    python benchmarks/anomaly.py            # about three quarters of an hour of one core; writes benchmarks/results/anomaly.json
    python benchmarks/anomaly.py --quick    # one seed, one epoch, to see that all runs; writes to --out only

A seed decides patches, defects, weights and order. A scorer is fitted once for a texture and a seed, and scores all severities.
Settings were chosen on the part "calibrate" of the photographs, with other seeds; what is recorded is from the part "test".
Three tables: "rows", many methods for few epochs on patches of 64 x 64; "sweep", how narrow and how much noise, on the part
"calibrate", for each texture and three seeds; and "skips", one network with and without skips, as many parameters, until it stops improving, on patches at half size.
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
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from cnncourse import anomaly, datasets, scorers, training
from cnncourse.anomaly_claims import _MOST, _TOP, _distance, _halved, redrawing_net
from cnncourse.figures import mean_interval
from cnncourse.networks import to_torch
from cnncourse.redrawing import add_noise

torch.set_num_threads(1)
RESULTS = Path(__file__).parent / "results"
TEXTURES, SEVERITIES = ("brick", "grass", "gravel"), ("easy", "middle", "hard")


WIDER = "feature distance, wider lines"  # what the library had before: line_features of width 1


def methods(epochs: int, seed: int) -> dict[str, anomaly.Scorer]:
    "The candidates of the page, and what one of them was before."
    wider = (scorers.texture_features, partial(scorers.line_features, width=1.0))
    return anomaly.candidates(epochs=epochs, seed=seed) | {WIDER: scorers.FeatureDistance(wider, seed=seed)}


def texture_rows(photos: dict, texture: str, seed: int, epochs: int, done: set[str]) -> list[dict]:
    "One row for each scorer that is not done and each severity."
    sets = {severity: anomaly.inspect_texture(photos, texture, severity, seed=seed) for severity in SEVERITIES}
    rows, trained = [], {}
    for method, scorer in methods(epochs, seed).items():
        if method in done:
            continue
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


ARMS, MARKS = ("without skips", "with skips"), (5, 20, 80)
SETTINGS = [(2, 0.0), (8, 0.0), (32, 0.0), (8, 0.1)]  # maps in the middle, noise on the input
PLAIN = (8, 0.0)  # those of claim C7.2
SWEEP_SEEDS, SWEPT_MOST = (100, 101, 102), 60  # seeds of the sweep on the part "calibrate", and its epochs
SKIP_SEEDS = 3  # that are trained until they stop


class Look(training.Callback):
    "Note something after some epochs."

    def __init__(self, marks, look):
        self.marks, self.look, self.seen = marks, look, {}

    def on_epoch_end(self, run):
        if run.epoch in self.marks:
            self.seen[run.epoch] = self.look()


def halves(photos: dict, texture: str, seed: int, part: str = "test") -> dict[str, anomaly.Inspection]:
    "The pictures of each severity at half size; all have the same ones to learn from."
    found = {}
    for severity in SEVERITIES:
        sizes = {"n_train": 100, "n_test": 80, "test_part": part, "seed": seed}
        data = anomaly.inspect_texture(photos, texture, severity, **sizes)
        x = (np.float32(_halved(x)) for x in (data.x_train, data.x_calibrate, data.x_test))
        found[severity] = anomaly.Inspection(*x, data.y_test, data.masks, data.kinds)
    return found


def redrawn(arm, bottleneck, noise, sets, seed, most, marks=MARKS):
    "The network of an arm, trained as for claim C7.2; {epochs: {severity: AUROC}}, the last where it stopped."
    shape, data = (1, 32, 32), sets["middle"]
    wide = redrawing_net(arm).shapes["down0"][0]
    net = anomaly.unet(shape, width=wide, skips=arm == "with skips", bottleneck=bottleneck)
    model, stop = to_torch(net, seed=seed), training.EarlyStopping(patience=15, min_delta=1e-4)

    def look():
        areas = {}
        for severity, of in sets.items():
            maps = ((of.x_test - training.predict(model, of.x_test)) ** 2).mean(axis=1)
            scores = anomaly.image_scores(ndimage.gaussian_filter(maps, 1, axes=(-2, -1)), _TOP)
            areas[severity] = anomaly.auroc(scores, of.y_test)
        return areas

    seen, held = Look(marks, look), (data.x_calibrate, data.x_calibrate)
    how = {"batch_size": 16, "lr": 3e-3, "loss": "mse", "seed": seed, "device": "cpu", "validation": held}
    blur = partial(add_noise, std=noise) if noise else None
    history = training.fit(model, data.x_train, data.x_train, epochs=most, augment=blur, callbacks=[seen, stop], **how)
    return model, seen.seen | {len(history["loss"]): look()}


def given_back(model, photo, seed: int) -> float:
    "The share of drawn defects that comes out again: the slope of difference out against in."
    clean = anomaly.cut_patches(photo, 40, "test", seed=seed)
    drawn = [
        anomaly.draw_defect(x, ("scratch", "blot")[i % 2], "middle", rng=np.random.default_rng(i))[0]
        for i, x in enumerate(clean)
    ]
    clean, drawn = (np.float32(_halved(np.stack(x))) for x in (clean, drawn))
    into, out = drawn - clean, training.predict(model, drawn) - training.predict(model, clean)
    return float((into * out).sum() / (into**2).sum())


def sweep_rows(photos: dict, texture: str, seed: int, most: int) -> list[dict]:
    "Each setting of each arm, on the part that is not tested on."
    sets, rows = {"middle": halves(photos, texture, seed, "calibrate")["middle"]}, []
    for arm in ARMS:
        for bottleneck, noise in SETTINGS:
            epochs, areas = list(redrawn(arm, bottleneck, noise, sets, seed, most, ())[1].items())[-1]
            about = {"set": texture, "seed": seed, "arm": arm, "bottleneck": bottleneck, "noise": noise}
            rows.append(about | {"epochs": epochs, "image": areas["middle"]})
    return rows


def chosen(sweep: list[dict]) -> dict[str, tuple[int, float]]:
    "For each arm the setting with the largest mean AUROC of the sweep."
    means = pd.DataFrame(sweep).groupby(["arm", "bottleneck", "noise"])["image"].mean()
    return {arm: tuple(map(float, means[arm].idxmax())) for arm in ARMS}


def as_chosen(row: dict, best: dict) -> bool:
    "False for a row of a setting that the sweep does not choose any more."
    arm = row["method"].removesuffix(", chosen")
    return arm == row["method"] or best[arm] == (row["bottleneck"], row["noise"])


def skip_rows(photos: dict, texture: str, seed: int, most: int, best: dict, done: set[str]) -> list[dict]:
    "What is not done of: with and without skips, plain and as the sweep chose; beside them what trains no network."
    sets, rows = halves(photos, texture, seed), []
    about = {"set": texture, "seed": seed}
    for arm in ARMS:
        for way in dict.fromkeys([PLAIN, best[arm]]):
            name = arm if way == PLAIN else f"{arm}, chosen"
            if name in done:
                continue
            model, seen = redrawn(arm, int(way[0]), way[1], sets, seed, most)
            back = given_back(model, photos[texture], seed)
            for epochs, areas in seen.items():
                end = {"epochs": epochs, "stopped": epochs == max(seen), "given_back": back}
                end |= dict(zip(("bottleneck", "noise"), way, strict=True))
                rows += [about | {"method": name, "severity": s, "image": a} | end for s, a in areas.items()]
    beside = {"isolation forest": scorers.FeatureForest(seed=seed), "PaDiM": scorers.PaDiM()}
    beside |= {"PatchCore": scorers.PatchCore(seed=seed), "feature distance": _distance(seed)}
    for name, scorer in beside.items():
        if name in done:
            continue
        scorer.top = _TOP
        scorer.fit(sets["middle"].x_train)
        for s, of in sets.items():
            rows.append(
                about | {"method": name, "severity": s, "image": anomaly.auroc(scorer.score(of.x_test), of.y_test)}
            )
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
    seeds, epochs, digit_epochs, most = ([0], 1, 1, 2) if options.quick else (range(5), 15, 10, _MOST)
    path, photos = options.out / "anomaly.json", {name: datasets.photograph(name) for name in TEXTURES}
    settings = {"epochs": epochs, "digit_epochs": digit_epochs, "train": 200, "test": 120, "size": 64, "most": most}
    have = json.loads(path.read_text()) if path.exists() else {}
    rows, sweep, skips = (have.get(name, []) for name in ("rows", "sweep", "skips"))

    def keep(what):
        options.out.mkdir(parents=True, exist_ok=True)
        result = {"settings": settings, "torch": torch.__version__, "summary": summary(rows), "rows": rows}
        result |= {"sweep": sweep, "skips": skips}
        path.with_suffix(".part").write_text(json.dumps(result, indent=1) + "\n")
        os.replace(path.with_suffix(".part"), path)
        print(f"{what}: done", flush=True)

    for seed in seeds:
        for name in (*TEXTURES, "digits"):
            done = {row["method"] for row in rows if (row["set"], row["seed"]) == (name, seed)}
            if name == "digits" and not done:
                rows += digit_rows(seed, digit_epochs)
            elif name != "digits" and not done >= set(methods(epochs, seed)):
                rows += texture_rows(photos, name, seed, epochs, done)
            else:
                continue
            keep(f"seed {seed}, {name}")
    for seed, name in product(SWEEP_SEEDS[: len(seeds)], TEXTURES):
        if (name, seed) not in {(row["set"], row["seed"]) for row in sweep}:
            sweep += sweep_rows(photos, name, seed, min(most, SWEPT_MOST))
            keep(f"sweep, seed {seed}, {name}")
    best = chosen(sweep)
    skips = [row for row in skips if as_chosen(row, best)]
    for seed, name in product(seeds[:SKIP_SEEDS], TEXTURES):
        done = {row["method"] for row in skips if (row["set"], row["seed"]) == (name, seed)}
        if more := skip_rows(photos, name, seed, most, best, done):
            skips += more
            keep(f"skips, seed {seed}, {name}")
    for record in summary(rows):
        mean, low, high = record["image"]
        print(f"{record['method']:32} {record['set']:13} {record['severity']:7} {mean:.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
