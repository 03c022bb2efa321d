"""Which architectures that others have published can be read, and what became of each?

torchvision's compiled operators do not load beside a build of PyTorch for the processor alone, so torchvision is no part of the
course. Its models are plain Python. To try them, unpack it in a folder of its own, and name the folder:

    pip download --no-deps torchvision==0.28.0 -d FOLDER && python -m zipfile -e FOLDER/torchvision-*.whl FOLDER/site
    CNNCOURSE_TORCHVISION=FOLDER/site python benchmarks/imports.py torch
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import gc
import json
import sys
import warnings
from datetime import date
from functools import cache
from pathlib import Path
from time import perf_counter

from cnncourse.networks import from_keras, from_torch, n_params

RESULT = Path(__file__).parent / "results" / "imports.json"
FOLDER = os.environ.get("CNNCOURSE_TORCHVISION")
SMALLEST = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}  # others take pictures of 32 pixels
TORCHVISION = [
    "alexnet",
    "vgg11",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "wide_resnet50_2",
    "resnext50_32x4d",
    "googlenet",
    "squeezenet1_0",
    "squeezenet1_1",
    "inception_v3",
    "densenet121",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "shufflenet_v2_x1_0",
    "mnasnet1_0",
    "efficientnet_b0",
    "regnet_y_400mf",
    "regnet_x_400mf",
    "convnext_tiny",
    "vit_b_16",
]  # the usual ones


@cache
def torchvision_models(folder):
    "The module `torchvision.models` of a folder, without its compiled operators."
    import torch

    sys.path.insert(0, str(folder))
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):  # the import looks for them; no model here calls them
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the operators are not there
        import torchvision.models
    torchvision.models.declared = library  # what is declared lasts as long as the library
    return torchvision.models


def torchvision_model(folder, name):
    "A model of torchvision without weights and, as it is in use, without heads for training."
    plain = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return getattr(torchvision_models(folder), name)(weights=None, **plain)


def torch_models():
    "The usual architectures of torchvision, without weights; none where no folder is named."
    if not FOLDER:
        print("CNNCOURSE_TORCHVISION names no folder: torchvision's models are not tried.")
    return {name: lambda name=name: torchvision_model(FOLDER, name) for name in TORCHVISION if FOLDER}, lambda: None


def read_torch(model):
    "The description for pictures of 224 pixels, and how many numbers PyTorch says that the model learns."
    size = 299 if type(model).__name__ == "Inception3" else 224
    return from_torch(model, (3, size, size)), sum(p.numel() for p in model.parameters())


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


FRAMEWORKS = {"torch": (torch_models, read_torch), "keras": (keras_models, read_keras)}


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
    for framework in frameworks:
        models, read = FRAMEWORKS[framework]
        builders, forget = models()
        for name, build in builders.items():
            found = outcome(framework, name, build, read)
            print(json.dumps(found), flush=True)
            write(found)
            forget()
            gc.collect()


def write(found):
    "Put one outcome into the table, in the place of what was known of that architecture."
    known = json.loads(RESULT.read_text())["architectures"] if RESULT.exists() else []
    same = [(record["framework"], record["name"]) == (found["framework"], found["name"]) for record in known]
    known = [record for record, old in zip(known, same, strict=True) if not old] + [found]
    known.sort(key=lambda record: record["framework"])
    counts = {kind: sum("verified" in record for record in known if record["framework"] == kind) for kind in FRAMEWORKS}
    question = __doc__.splitlines()[0]
    result = {"question": question, "date": str(date.today()), "verified": counts, "architectures": known}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or list(FRAMEWORKS))
