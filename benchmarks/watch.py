"""What `cnncourse watch` finds in pictures of 320 x 240 pixels, and how long it takes for 1,000 of 128 x 128: aim 60 seconds.

    python benchmarks/watch.py            # some minutes; writes benchmarks/results/watch.json and watch_found.json
    python benchmarks/watch.py --quick    # one set, and 50 pictures; writes to --out only
    python benchmarks/watch.py --found    # only what is found

For what is found: 60 good crops of a photograph and 40 new ones, a quarter of all turned by EXIF. Ten of the new ones have a
defect of 10 to 60 pixels: a square, a spot, a scratch, a square of another texture, or a blur. Seeds here were not used to choose anything.

The pictures are patches of the brick photograph, half of the new ones with a defect. On a busy machine the wall clock says little:
the processor's seconds are what one core would need alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from scipy import ndimage

from cnncourse import anomaly, datasets

RESULTS = Path(__file__).parent / "results"


def make_folders(top: Path, good: int, new: int, colour: bool) -> None:
    "Folders `good` and `new` of PNG files."
    photo = datasets.photograph("brick")
    rng = np.random.default_rng(0)
    for name, n, part in (("good", good, "train"), ("new", new, "test")):
        (top / name).mkdir(parents=True)
        for i, x in enumerate(anomaly.cut_patches(photo, n, part, size=128, seed=1)):
            if name == "new" and i % 2:
                x, _ = anomaly.draw_defect(x, ("scratch", "blot", "blur")[i % 3], "middle", rng=rng)
            picture = Image.fromarray(np.rint(x[0] * 255).astype(np.uint8))
            (picture.convert("RGB") if colour else picture).save(top / name / f"{i:04}.png")


def watch_once(top: Path) -> dict:
    "Seconds of the clock and of the processor, and peak memory, of one call of the command."
    start = time.perf_counter()
    command = [str(Path(sys.executable).with_name("cnncourse")), "watch", "new", "--good", "good", "--out", "out"]
    process = psutil.Popen(command, cwd=top, env={**os.environ, "CI": "true"}, stdout=subprocess.DEVNULL)
    peak, used = 0, None
    while process.poll() is None:
        try:
            peak, used = max(peak, process.memory_info().rss), process.cpu_times()
        except psutil.Error:
            break
        time.sleep(0.05)
    if process.wait():
        raise SystemExit("cnncourse watch failed")
    wall = round(time.perf_counter() - start, 1)
    return {"wall_s": wall, "processor_s": round(used.user + used.system, 1), "peak_mib": round(peak / 2**20)}


KINDS = ("square", "spot", "scratch", "foreign", "blur")


def cover(shape: tuple[int, int], kind: str, side: int, rng: np.random.Generator) -> np.ndarray:
    "How much of each pixel a defect of `side` pixels hides, from 0 to 1."
    y, x = np.indices(shape)
    cy, cx = (rng.uniform(side / 2 + 2, length - side / 2 - 2) for length in shape)
    if kind in ("spot", "blur"):
        return np.clip(side / 2 + 0.5 - np.hypot(y - cy, x - cx), 0, 1)
    if kind == "scratch":
        turn, width = rng.uniform(0, np.pi), rng.uniform(2, 3.5)
        along = np.clip((y - cy) * np.sin(turn) + (x - cx) * np.cos(turn), -side / 2, side / 2)
        away = np.hypot(y - cy - along * np.sin(turn), x - cx - along * np.cos(turn))
        return np.clip(width / 2 + 0.5 - away, 0, 1)
    return ((abs(y - cy) <= side / 2) & (abs(x - cx) <= side / 2)) * 1.0


def crop(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    "A place of a photograph, 320 x 240 pixels, from 0 to 1."
    row, column = rng.integers(0, 512 - 240 + 1), rng.integers(0, 512 - 320 + 1)
    return photo[row : row + 240, column : column + 320] / 255


def spoilt(x: np.ndarray, kind: str, side: int, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    "A picture with one defect."
    shade = np.clip(x.mean() + rng.choice([-1, 1]) * 2.5 * x.std(), 0, 1)
    paint = {"foreign": crop(other, rng), "blur": ndimage.gaussian_filter(x, 3.0)}.get(kind, shade)
    return x + cover(x.shape, kind, side, rng) * (paint - x)


def found_once(top: Path, texture: str, seed: int) -> dict:
    "How many of ten defects are found in one set, and the false alarms among 30 good pictures."
    photos = {name: datasets.photograph(name)[0] for name in ("brick", "grass", "gravel")}
    others = [photo for name, photo in photos.items() if name != texture]
    rng, about = np.random.default_rng(seed), {}
    for folder, n in (("good", 60), ("new", 40)):
        (top / folder).mkdir()
        for i in range(n):
            x, exif = crop(photos[texture], rng), Image.Exif()
            if folder == "new" and i >= 30:
                about[f"{i:02}.jpg"] = KINDS[i % 5], int(rng.integers(10, 61))
                x = spoilt(x, *about[f"{i:02}.jpg"], others[i % 2], rng)
            if i % 4 == 0:
                x, exif[0x0112] = np.rot90(x), 6
            Image.fromarray(np.rint(x * 255).astype(np.uint8)).save(top / folder / f"{i:02}.jpg", quality=92, exif=exif)
    flagged = set(anomaly.watch(top / "new", top / "good", top / "out").flagged)
    missed = [about[name] for name in sorted(about) if name not in flagged]
    return {
        "texture": texture,
        "seed": seed,
        "found": 10 - len(missed),
        "alarms": len(flagged - set(about)),
        "missed": missed,
    }


def measure_found(path: Path, seeds: range) -> None:
    "Sets of both textures, written as they come."
    rows = []
    for seed in seeds:
        for texture in ("brick", "gravel"):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(found_once(Path(folder), texture, seed))
            print(rows[-1], flush=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                json.dumps({"pictures": "320x240", "defects": "10 to 60 pixels", "rows": rows}, indent=1) + "\n"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="50 pictures, to see that all runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--found", action="store_true", help="only what is found, not how long it takes")
    options = parser.parse_args()
    measure_found(options.out / "watch_found.json", range(301, 302 if options.quick else 304))
    if options.found:
        return
    counts, rows = ([50] if options.quick else [250, 1000]), []
    for colour in (False, True):
        for n in counts:
            with tempfile.TemporaryDirectory() as folder:
                make_folders(Path(folder), 100, n, colour)
                load = round(os.getloadavg()[0], 1)
                rows.append({"pictures": n, "colour": colour, "load_before": load, **watch_once(Path(folder))})
            print(rows[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "watch.json").write_text(
        json.dumps({"cores": os.cpu_count(), "good": 100, "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
