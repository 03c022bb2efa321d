"""How long does the backbone's pretraining take, how well does it end, and what are its features worth, seed by seed?

    cnncourse bench pretrain                  # seeds 0, 1 and 2; writes benchmarks/results/pretrain.json
    cnncourse bench pretrain --install        # also puts seed 0's weights and card into cnncourse/weights/

Each seed's training can be stopped, and goes on when the script is called again. Beside it stands the same network with the
weights it started from: what the architecture alone is worth.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from cnncourse import datasets, files, networks, runs, training, transfer

COURSE = Path(__file__).parents[1]
SIZES = {"faces": (100, 100), "textures": (1500, 300), "digits": (1200, 500)}  # pictures to train and to test
COUNTS = (5, 20)  # examples of each class


def worth(model, seed: int) -> dict[str, dict[int, float]]:
    "Test accuracy of a linear head on frozen features, mean over ten draws of a few examples of each class."
    found = {}
    for name, (n_train, n_test) in SIZES.items():
        data = datasets.load(name, n_train=n_train, n_test=n_test, seed=seed)
        x, x_test = (
            transfer.features(model, transfer.prepare_images(x, transfer.BACKBONE)) for x in (data.x_train, data.x_test)
        )

        def score(chosen, _, x=x, x_test=x_test, data=data):
            return transfer.linear_head(x[chosen], data.y_train[chosen]).score(x_test, data.y_test)

        scores = transfer.learning_curve(score, data.y_train, COUNTS, range(10)).mean(axis=0)
        found[name] = dict(zip(COUNTS, scores.round(4).tolist(), strict=True))
    return found


def measure(seed: int, options: dict) -> dict:
    "Train with one seed, or take what an earlier call of this script has trained; then look at the features."
    folder = COURSE / "_run" / "pretrain" / f"seed{seed}"
    record = folder / "about.json"
    if not record.is_file():
        about = transfer.pretrain(folder, seed=seed, callbacks=[training.Progress(options["epochs"])], **options)
        files.write_whole(record, json.dumps(about))
    about, model = json.loads(record.read_text(encoding="utf-8")), networks.to_torch(transfer.BACKBONE)
    networks.load_weights(model, folder / "backbone.safetensors")
    start = networks.to_torch(transfer.BACKBONE, seed=seed)
    about["bytes"] = (folder / "backbone.safetensors").stat().st_size
    return about | {"frozen features": worth(model, seed), "untrained features": worth(start, seed)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--per-place", type=int, default=60, help="pictures of each place in the photographs")
    parser.add_argument("--install", action="store_true", help="make seed 0's weights those of the course")
    parser.add_argument("--out", type=Path, default=COURSE / "benchmarks/results", help="folder for pretrain.json")
    options = parser.parse_args()
    done = [measure(seed, {"epochs": options.epochs, "per_place": options.per_place}) for seed in options.seeds]
    result = {"runs": done, "mean accuracy": round(float(np.mean([run["accuracy"] for run in done])), 4)}
    files.write_whole(
        options.out / "pretrain.json", json.dumps(result | {"versions": runs.versions()}, indent=1) + "\n"
    )
    for run in done:
        print(f"seed {run['seed']}: {run['minutes']:.1f} minutes, accuracy {run['accuracy']:.1%}")
        print(f"  frozen features {run['frozen features']}\n  untrained       {run['untrained features']}")
    if options.install:
        for name in ("backbone.safetensors", "backbone.md"):
            shutil.copy(COURSE / "_run/pretrain/seed0" / name, COURSE / "cnncourse/weights" / name)


if __name__ == "__main__":
    main()
