"""Which public architectures can be described, and do the descriptions compute what the models do?

torchvision's compiled operators do not load beside a build of PyTorch for the processor alone, so torchvision is no part of the
course. Its models are plain Python. To try them, unpack it in a folder of its own and name the folder:

    pip download --no-deps torchvision==0.28.0 -d FOLDER && python -m zipfile -e FOLDER/torchvision-*.whl FOLDER/site
    CNNCOURSE_TORCHVISION=FOLDER/site python benchmarks/imports.py
"""

import argparse
import json
import os
import sys
import warnings
from functools import cache, partial
from pathlib import Path
from time import perf_counter

RESULT = Path(__file__).parent / "results" / "imports.json"
FOLDER = os.environ.get("CNNCOURSE_TORCHVISION")
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
]


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
    torchvision.models.of_nms = library  # what is declared lasts as long as the library
    return torchvision.models


def torchvision_model(folder, name):
    "A model of torchvision without weights and, as it is in use, without heads for training."
    plain = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return getattr(torchvision_models(folder), name)(weights=None, **plain)


def record(framework, name, make, describe, count):
    "What became of one architecture."
    from cnncourse import networks

    model = make()
    found = {"name": name, "framework": framework, "their_parameters": count(model)}
    start = perf_counter()
    try:
        net = describe(model)
    except ValueError as error:
        return found | {"outcome": "refused", "sentence": str(error), "seconds": round(perf_counter() - start, 2)}
    seconds = round(perf_counter() - start, 2)
    told = {
        "outcome": "verified",
        "difference": net.verified,
        "parameters": networks.n_params(net),
        "layers": len(net.nodes),
    }
    return found | told | {"seconds": seconds}


def from_torchvision():
    "The usual models of torchvision, at their own sizes."
    from cnncourse import networks

    for name in TORCHVISION if FOLDER else ():
        size = 299 if name == "inception_v3" else 224
        describe = partial(networks.from_torch, input_shape=(3, size, size))
        count = lambda model: sum(p.numel() for p in model.parameters())  # noqa: E731
        yield record("torchvision", name, partial(torchvision_model, FOLDER, name), describe, count)


PARTS = {"torchvision": from_torchvision}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if not FOLDER:
        print(
            "CNNCOURSE_TORCHVISION names no folder: torchvision's models are left out (see the first lines of this file)."
        )
    records = json.loads(options.out.read_text())["records"] if options.out.exists() else []
    for part in options.parts or PARTS:
        for found in PARTS[part]():
            print(found["name"], found["outcome"], found.get("difference", found.get("sentence")), flush=True)
            records = [r for r in records if (r["framework"], r["name"]) != (found["framework"], found["name"])] + [
                found
            ]
    told = {}
    for found in records:
        all_of = told.setdefault(found["framework"], {"tried": 0, "verified": 0})
        all_of["tried"] += 1
        all_of["verified"] += found["outcome"] == "verified"
    options.out.write_text(
        json.dumps({"question": __doc__.splitlines()[0], "told": told, "records": records}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
