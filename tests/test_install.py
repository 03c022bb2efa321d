"""The wheel, installed where nothing else is, imports."""

import os
import subprocess
import sys
import venv

from conftest import COURSE


def test_the_wheel_installs_and_imports_in_a_clean_environment(tmp_path):
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # else the copy here is found
    quiet = {"check": True, "capture_output": True, "text": True, "env": bare}
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, COURSE], **quiet)
    (wheel,) = tmp_path.glob("cnncourse-*.whl")
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean/bin/python"
    locked = {"env": bare | {"PIP_CONSTRAINT": str(COURSE / "constraints.txt")}}
    subprocess.run([python, "-m", "pip", "install", "-q", wheel], **quiet | locked)
    modules = sorted(path.stem for path in (COURSE / "cnncourse").glob("[!_]*.py"))
    code = f"import importlib; [importlib.import_module('cnncourse.' + m) for m in {modules}]"
    subprocess.run([python, "-c", code], cwd=tmp_path, **quiet)
    code = "from cnncourse import curriculum, datasets, transfer; print(len(curriculum.lines()), datasets.load('digits').x_train.dtype, len(transfer.backbone()), len(datasets.flights().codes))"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, **quiet)
    assert done.stdout.split()[1:] == ["uint8", "2", "305"]
    shown = subprocess.run([python.with_name("cnncourse"), "--help"], cwd=tmp_path, **quiet)
    assert "Usage: cnncourse" in shown.stdout
