"""How long `cnncourse watch` takes for 1,000 pictures of 128 x 128 pixels, and how much memory: aim 60 seconds on two cores.

    python benchmarks/watch.py            # a minute or two; writes benchmarks/results/watch.json
    python benchmarks/watch.py --quick    # 50 pictures; writes to --out only

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="50 pictures, to see that all runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for watch.json")
    options = parser.parse_args()
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
