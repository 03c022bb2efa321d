"Which architectures that others have published can be read, and what became of each?"

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import gc
import json
import sys
from datetime import date
from pathlib import Path
from time import perf_counter

from cnncourse.networks import from_keras, n_params

RESULT = Path(__file__).parent / "results" / "imports.json"
SMALLEST = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}  # others take pictures of 32 pixels


def keras_models():
    "Every architecture of `keras.applications`, without weights: its name, how to build it, and how to forget it."
    import keras

    def built(name):
        size = SMALLEST.get(name, 32)
        return getattr(keras.applications, name)(
            weights=None, input_shape=(size, size, 3), classifier_activation=None, classes=10
        )

    names = sorted(name for name in vars(keras.applications) if name[0].isupper())
    return {name: lambda name=name: built(name) for name in names}, keras.backend.clear_session


def read_keras(model):
    "The description, and how many numbers Keras says that the model learns."
    return from_keras(model), sum(weight.numpy().size for weight in model.trainable_weights)


FRAMEWORKS = {"keras": (keras_models, read_keras)}


def outcome(framework, name, build, read):
    "What becomes of one architecture."
    record, start = {"name": name, "framework": framework}, perf_counter()
    try:
        net, theirs = read(build())
    except ValueError as error:
        return record | {"refused": str(error)}
    record |= {"verified": net.verified, "parameters": n_params(net), "theirs": theirs, "layers": len(net.nodes)}
    return record | {"seconds": round(perf_counter() - start, 1)}


def main(frameworks):
    "Try all architectures of some frameworks, one at a time; the results of the others stay."
    known = json.loads(RESULT.read_text())["architectures"] if RESULT.exists() else []
    for framework in frameworks:
        models, read = FRAMEWORKS[framework]
        builders, forget = models()
        known = [record for record in known if record["framework"] != framework]
        for name, build in builders.items():
            known.append(outcome(framework, name, build, read))
            print(json.dumps(known[-1]), flush=True)
            forget()
            gc.collect()
            counts = {
                kind: sum("verified" in record for record in known if record["framework"] == kind)
                for kind in FRAMEWORKS
            }
            result = {"question": __doc__, "date": str(date.today()), "verified": counts, "architectures": known}
            RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or list(FRAMEWORKS))
