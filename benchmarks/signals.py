"""What is left five seconds after TERM or KILL at a random moment to `run`, `site` and `lab`, alone and under `make`?

Half of the moments count from the start, half from when the kernels are at work. Writes benchmarks/results/signals.json; kinds that are not tried this time keep what was recorded.
"""

import argparse
import itertools
import json
import shutil
import socket
import sys
import tempfile
from pathlib import Path

from cnncourse import files, runs

COURSE = Path(__file__).parents[1]
RESULT = COURSE / "benchmarks/results/signals.json"
sys.path.insert(0, str(COURSE / "tests"))  # the tests try a few of the same


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def try_kind(made: dict[bool, Path], command: str, under: str, name: str, n: int, longest: float) -> dict:
    "`n` trials of one command, one signal and one parent."
    from killing import Trial, moments, run_trial

    trials = []
    for k, moment in enumerate(itertools.islice(moments(n, longest), n)):  # half of them from the start, half at work
        with tempfile.TemporaryDirectory(prefix="c") as place:
            course = Path(shutil.copytree(made[command != "site"], Path(place) / "course"))
            trials.append(
                run_trial(Trial(command, under, name, moment * (1 - k % 2 * 0.7), bool(k % 2)), course, free_port())
            )
        if not trials[-1].held() or "Traceback" in trials[-1].said:
            print(trials[-1])
    return {
        "trials": n,
        "nothing left": sum(trial.held() for trial in trials),
        "tracebacks": sum("Traceback" in trial.said for trial in trials),
        "processes at the signal, median and most": [
            sorted(trial.before for trial in trials)[n // 2],
            max(trial.before for trial in trials),
        ],
        "seconds until nothing was left, most": max(trial.seconds for trial in trials),
    }


def main():
    from killing import write_course

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", nargs="+", default=["run", "run -j 1", "lab", "site"])
    parser.add_argument("--under", nargs="+", default=["alone", "make"])
    parser.add_argument("-n", type=int, default=30, help="trials of each kind")
    parser.add_argument("--longest", type=float, default=8.0, help="latest moment of the signal, in seconds")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="c") as place:
        made = {endless: Path(place) / str(endless) for endless in (True, False)}
        for endless, folder in made.items():
            write_course(folder, endless)
        assert runs.run(made[False]).failed == []
        for command, under, name in itertools.product(given.commands, given.under, ("TERM", "KILL")):
            if command == "run -j 1" and under == "make":
                continue  # the Makefile's own call is the other
            found = try_kind(made, command, under, name, given.n, given.longest)
            print(f"{command}, {under}, {name}: {found}", flush=True)
            known = files.read_json(RESULT)
            kinds = known.get("kinds", {}) | {f"{command}, {under}, {name}": found}
            result = {"kinds": kinds, "latest moment, s": given.longest, "versions": runs.versions()}
            files.write_whole(RESULT, json.dumps(result, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
