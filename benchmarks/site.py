"""How long is a week on a screen, how much of it is code, and what does a page weigh? Measured in a browser, on a built site.

Build the site first (`make course`). Prints a table of all stations and what is over its limit; writes benchmarks/results/site.json.
"""

import argparse
import json
import sys
from pathlib import Path

COURSE = Path(__file__).parents[1]
sys.path.insert(0, str(COURSE / "tests"))

from conftest import BROWSER, FLAGS  # noqa: E402
from measuring import measure, too_much, total  # noqa: E402


def table(found: dict) -> str:
    "A line for each station, and one for each week."
    columns = ("screens", "lines", "checks", "blocks", "wide", "nodes", "kb")
    lines = [f"{'':58}" + "".join(f"{name:>9}" for name in columns)]
    for number, week in found["weeks"].items():
        sums = [total(week, name) for name in columns[:5]]
        lines.append(
            f"Week {number}, first figure on screen {week['figure']}".ljust(58) + "".join(f"{n:9g}" for n in sums)
        )
        for name, station in week["stations"].items():
            lines.append(f"  {name}"[:57].ljust(58) + "".join(f"{station[column]:9g}" for column in columns))
    return "\n".join([*lines, f"Home: {found['home_kb']:g} KB over the wire"])


def main():
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", nargs="?", type=Path, default=COURSE / "_docs", help="the built site")
    parser.add_argument("--home", default="nbs/index.html", help="its first page")
    arguments = parser.parse_args()
    if BROWSER is None:
        raise SystemExit("no browser here: apt-get install chromium")
    if not (arguments.site / "index.html").is_file():
        raise SystemExit(f"no site in {arguments.site}: run `make course` first")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        found = measure(browser, arguments.site, arguments.home)
        browser.close()
    print(table(found))
    for sentence in too_much(found):
        print(f"over its limit: {sentence}")
    if arguments.site == COURSE / "_docs":
        text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        (COURSE / "benchmarks/results/site.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
