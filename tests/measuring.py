"""What the tests of the site and `benchmarks/site.py` share: how long a week is on a screen, what of it is code, and what a page weighs."""

import gzip
import re
import threading
from pathlib import Path

from cnncourse.lessons import CHECK_LINE
from cnncourse.site import make_server

SCREEN = {"width": 1280, "height": 900}

# The most, or for `fit` the least, that a week or a page may have. Week 2 is longer than the others: it is what the course is about.
LIMITS = {
    "screens": {"": 30.0, "2": 36.0},  # of all stations of a week, its own page not counted
    "station": 10.0,  # screens of one station
    "figure": 1.0,  # the screen on which a week's first figure begins
    "lines": 350,  # of code in sight
    "checks": 0.10,  # of them
    "fit": 0.95,  # of the blocks in sight, without scrolling sideways
    "nodes": 4000,  # elements of a station
    "station_kb": 400.0,  # over the wire, pictures included
    "home_kb": 200.0,
}

LOOK = """() => {
  const text = document.querySelector("main .body").getBoundingClientRect();
  const figure = document.querySelector("main .body :is(img, video, canvas, .cnn-player)");
  const blocks = [...document.querySelectorAll("main div.sourceCode")].filter(block => block.checkVisibility());
  return {
    height: text.bottom + scrollY,
    figure: figure && figure.getBoundingClientRect().top + scrollY,
    nodes: document.querySelectorAll("*").length,
    blocks: blocks.map(block => {
      const pre = block.querySelector("pre");
      return [pre.textContent, pre.scrollWidth <= pre.clientWidth];
    }),
  };
}"""
SCROLL = """async () => {
  for (let y = 0; y < document.documentElement.scrollHeight; y += 600) {
    scrollTo(0, y);
    await new Promise(resolve => setTimeout(resolve, 30));
  }
  scrollTo(0, 0);
}"""


def weight(response) -> int:
    "Bytes over the wire: text is compressed by a host, pictures are not."
    try:
        body = response.body()
    except Exception:  # a redirect has none
        return 0
    is_text = re.search(r"text|javascript|json|svg", response.headers.get("content-type", ""))
    return len(gzip.compress(body, 6)) if is_text else len(body)


def visit(context, address: str) -> dict:
    "One page: its height, its code in sight, its elements, and its weight once it was read to its end."
    page, responses = context.new_page(), []
    page.on("response", lambda response: responses.append(response))
    page.goto(address, wait_until="networkidle")
    found = page.evaluate(LOOK)
    page.evaluate(SCROLL)
    page.wait_for_load_state("networkidle")
    found["kb"] = round(sum(map(weight, responses)) / 1000, 1)
    page.close()
    return found


def of_station(found: dict) -> dict:
    "The numbers of one station."
    code = [line for text, _ in found["blocks"] for line in text.rstrip("\n").split("\n")]
    checks = [line for line in code if CHECK_LINE.match(line)]
    return {
        "screens": round(found["height"] / SCREEN["height"], 1),
        "lines": len(code),
        "checks": len(checks),
        "blocks": len(found["blocks"]),
        "wide": sum(not fits for _, fits in found["blocks"]),
        "nodes": found["nodes"],
        "kb": found["kb"],
    }


def measure(browser, folder: Path, home: str = "nbs/index.html") -> dict:
    "Every week of a built site that has stations, at 1280 by 900 pixels with folds closed; and the weight of the home page."
    folder, weeks = Path(folder), {}
    with make_server(folder, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}/"
        for whole in sorted(folder.glob("nbs/*/all.html")):
            own = whole.parent.with_suffix(".html")
            text = own.read_text(encoding="utf-8")
            number = re.search(r'class="eyebrow">Week (\d+)', text)[1]
            names = re.findall(r'<li data-station="[^"]*"><a href="([^"]+)"', text)
            context = browser.new_context(viewport=SCREEN)  # of its own: nothing is cached from another week
            figure = visit(context, f"{root}nbs/{own.name}")["figure"]
            context.close()
            stations = {}
            for name in names:
                context = browser.new_context(viewport=SCREEN)
                stations[Path(name).stem] = of_station(visit(context, f"{root}nbs/{name}"))
                context.close()
            weeks[number] = {"figure": figure and round(figure / SCREEN["height"], 2), "stations": stations}
        context = browser.new_context(viewport=SCREEN)
        kb = visit(context, root + home)["kb"]
        context.close()
        server.shutdown()
    return {"home_kb": kb, "weeks": dict(sorted(weeks.items(), key=lambda item: int(item[0])))}


def total(week: dict, name: str) -> float:
    "A number over all stations of a week."
    return round(sum(station[name] for station in week["stations"].values()), 1)


def too_much(found: dict, limits: dict = LIMITS) -> list[str]:
    "What is over its limit, a sentence each."
    said = [] if found["home_kb"] < limits["home_kb"] else [f"home: {found['home_kb']} KB of {limits['home_kb']}"]
    for number, week in found["weeks"].items():
        most, lines = limits["screens"].get(number, limits["screens"][""]), total(week, "lines")
        checks, wide = total(week, "checks") / max(lines, 1), total(week, "wide") / max(total(week, "blocks"), 1)
        figure = week["figure"] is None or week["figure"] >= limits["figure"]
        said += [f"week {number}: {total(week, 'screens')} screens of {most}"] * (total(week, "screens") > most)
        said += [f"week {number}: {lines} lines of code in sight of {limits['lines']}"] * (lines > limits["lines"])
        said += [f"week {number}: {checks:.0%} of the lines in sight are checks"] * (checks >= limits["checks"])
        said += [f"week {number}: {wide:.0%} of the blocks in sight do not fit"] * (1 - wide < limits["fit"])
        said += [f"week {number}: the first figure begins on screen {week['figure']}"] * figure
        for name, station in week["stations"].items():
            for what, limit in (("screens", "station"), ("nodes", "nodes"), ("kb", "station_kb")):
                over = station[what] > limits[limit]
                said += [f"week {number}, {name}: {station[what]} {what} of {limits[limit]}"] * over
    return said
