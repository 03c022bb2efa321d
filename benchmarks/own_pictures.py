"""From a folder of pictures to a file that predicts: how good, how fast, how large?

    cnncourse bench own_pictures            all three questions
    cnncourse bench own_pictures few        5 and 20 pictures of a class, beside what one writes in plain Keras
    cnncourse bench own_pictures many       5,000 photographs of 500x375
    cnncourse bench own_pictures predict    1,000 files, and the first one from a cold start

Every measurement runs in a process of its own. "The rival" is what tutorials write in plain Keras: `image_dataset_from_directory`, the
same backbone frozen, a dense head, twenty epochs. It makes one model; ours makes four and chooses, or, with `arms="borrowed"`, one.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np

RESULT = Path(__file__).parent / "results" / "own_pictures.json"
SEEDS = range(5)
COMMAND = Path(sys.executable).with_name("cnncourse")


def rival(folder, out, test):
    "Plain Keras, as tutorials have it."
    import keras

    from cnncourse import networks, transfer

    begun, settings = (
        time.perf_counter(),
        {"image_size": (32, 32), "batch_size": 32, "validation_split": 0.2, "seed": 0},
    )
    learn, held = (
        keras.utils.image_dataset_from_directory(folder, subset=part, verbose=False, **settings)
        for part in ("training", "validation")
    )
    net, weights = transfer.backbone()
    base = networks.to_keras(net)
    networks.set_weights(base, weights)
    base.trainable = False
    x = keras.Input((32, 32, 3))
    y = keras.layers.Dense(len(learn.class_names), "softmax")(base(keras.layers.Rescaling(1 / 255)(x), training=False))
    model = keras.Model(x, y)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(learn, validation_data=held, epochs=20, verbose=0)
    model.save(out.with_suffix(".keras"))
    done = time.perf_counter() - begun
    if test is None:
        return done, None
    last = keras.utils.image_dataset_from_directory(test, shuffle=False, image_size=(32, 32), verbose=False)
    return done, float(model.evaluate(last, verbose=0)[1])


def ours(folder, out, where, **options):
    "A classifier of this course."
    from cnncourse.classifier import Classifier

    begun = time.perf_counter()
    told = []
    made = Classifier.fit(folder, say=lambda text: told.append((time.perf_counter() - begun, text)), **options)
    made.save(out)
    done = time.perf_counter() - begun
    if where is None:
        firsts = [at for at, text in told if "validation pictures right" in text]
        return done, {
            "first": firsts[0],
            "arms": {k: v["seconds"] for k, v in made.about["arms"].items()},
            "test": made.about["test"],
        }
    return done, made.test(where).accuracy


def child(way, folder, out, test):
    "One measurement, in this process: seconds without and with the imports, those of the CPUs, peak of memory, and what came out."
    settings = {"four ways": {"test": 0}, "borrowed": {"test": 0, "arms": "borrowed"}, "many": {"leaks": "join"}}
    make = rival if way == "rival" else partial(ours, **settings.get(way, {}))
    done, found = make(Path(folder), Path(out), None if test == "-" else Path(test))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    whole, cpu = time.clock_gettime(time.CLOCK_BOOTTIME) - _started(), time.process_time()
    print(json.dumps({"seconds": done, "with imports": whole, "CPU": cpu, "MB": peak, "found": found}))


def _started():  # when this process began, in seconds since the machine did
    ticks = float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(way, folder, out, test="-"):
    call = [sys.executable, __file__, "child", way, str(folder), str(out), str(test)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def write(folder, x, y, classes):
    "Pictures as files, one folder for each class."
    from PIL import Image

    for label, name in enumerate(classes):
        (Path(folder) / name).mkdir(parents=True)
        for n, picture in enumerate(x[y == label]):
            Image.fromarray(np.moveaxis(picture, 0, -1).squeeze()).save(Path(folder) / name / f"{n:05}.png")


def few(root):
    from cnncourse import datasets, transfer

    rows = []
    for name in ("faces", "textures"):
        d = datasets.load(name)
        write(root / name / "test", d.x_test, d.y_test, d.classes)
        for count in (5, 20):
            for seed in SEEDS:
                chosen = transfer.take_per_class(d.y_train, count, seed)
                folder = root / name / f"{count}-{seed}"
                write(folder, d.x_train[chosen], d.y_train[chosen], d.classes)
                found = {
                    way: measure(way, folder, root / "made.cnn", root / name / "test")
                    for way in ("rival", "four ways", "borrowed")
                }
                rows.append({"set": name, "of a class": count, "seed": seed, **found})
                shown = ", ".join(
                    f"{way} {r['found']:.1%} in {r['seconds']:.1f} s ({r['with imports']:.1f}, CPU {r['CPU']:.1f})"
                    for way, r in found.items()
                )
                print(f"{name}, {count} of a class, seed {seed}: {shown}", flush=True)
    return rows


def photographs(folder, count):
    "`count` photographs of 500x375 in four classes: windows of four large photographs, each with light and noise of its own."
    from PIL import Image

    from cnncourse import datasets

    rng = np.random.default_rng(0)
    for name in ("brick", "grass", "gravel", "cat"):
        (folder / name).mkdir(parents=True)
        whole = Image.fromarray(np.moveaxis(datasets.photograph(name), 0, -1).squeeze()).convert("RGB")
        for n in range(count // 4):
            side = int(rng.integers(90, 220))
            left, top = rng.integers(0, whole.width - side), rng.integers(0, whole.height - side)
            seen = np.asarray(whole.resize((500, 375), box=(left, top, left + side, top + side)), float)
            seen = seen * rng.uniform(0.7, 1.2) + rng.normal(0, 4, seen.shape)
            Image.fromarray(np.clip(seen, 0, 255).astype(np.uint8)).save(folder / name / f"{n:05}.jpg", quality=88)


def many(root):
    photographs(root / "many", 5000)
    found = measure("many", root / "many", root / "many.cnn")
    print(
        f"5,000 photographs: first result after {found['found']['first']:.0f} s, all four ways after {found['seconds']:.0f} s, {found['MB']:.0f} MB",
        flush=True,
    )
    return found


def predict(root):
    if not (root / "many.cnn").exists():
        photographs(root / "few", 80)
        measure("many", root / "few", root / "many.cnn")  # any classifier will do
    folder = root / "predicted"
    photographs(folder, 1000)
    cold = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run(
            [COMMAND, "predict", root / "many.cnn", folder / "cat" / "00000.jpg"],
            check=True,
            capture_output=True,
        )
        cold.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    subprocess.run(
        [COMMAND, "predict", root / "many.cnn", folder, "--csv", root / "found.csv"],
        check=True,
        capture_output=True,
    )
    found = {
        "first, cold": min(cold),
        "first, cold, median": float(np.median(cold)),
        "1,000 files": time.perf_counter() - begun,
    }
    print(", ".join(f"{what}: {seconds:.1f} s" for what, seconds in found.items()), flush=True)
    return found


def main(asked):
    questions = {"few": few, "many": many, "predict": predict}
    held = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    with tempfile.TemporaryDirectory() as root:
        for name in asked or questions:
            if name not in questions:
                sys.exit(f"No question is called {name!r}; there are: {', '.join(questions)}.")
            held[name] = {
                "date": date.today().isoformat(),
                "cores": os.cpu_count(),
                "found": questions[name](Path(root)),
            }
            RESULT.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    child(*sys.argv[2:]) if sys.argv[1:2] == ["child"] else main(sys.argv[1:])
