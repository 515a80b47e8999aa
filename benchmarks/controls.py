"""Measures what controls do to pictures of the embedded base, as its judge sees them.

    python -m benchmarks.controls --json docs/controls/rates.json [--only edits regions] [--look FOLDER]
    python -m benchmarks.controls --page      # the table of docs/controls.md from the JSON file that is kept there

Prompts are drawn at random from the base's world, and pictures from seeds that follow from `--seed`. The thing of a
picture is the one with the most similar known drawing, its background is told by the colour of the border, as in a
study. The file is written after each control, and a control that it has already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.controls_bench import Bench, Rate
from benchmarks.controls_judged import CASES as WHAT_AND_WHERE
from benchmarks.controls_pictures import CASES as FROM_PICTURES
from triptych.base import Place
from triptych.files.atomic import write_bytes

PAGE = Path(__file__).parents[1] / "docs" / "controls.md"
RATES = PAGE.with_suffix("") / "rates.json"
CASES = {**WHAT_AND_WHERE, **FROM_PICTURES}
BEGIN, END = "<!-- rates -->", "<!-- end of rates -->"


def table(told: Mapping[str, Any]) -> str:
    """The rates as a table of a page."""
    lines = ["| control | what is seen | value | pictures | wish |", "|---|---|---|---|---|"]
    for own in told["controls"].values():
        for rate in (Rate(**one) for one in own["rates"]):
            wishes = [] if rate.least is None else [f"at least {rate.least:.2f}"]
            wishes += [] if rate.most is None else [f"at most {rate.most:.2f}"]
            wish = " and ".join(wishes) + ("" if rate.met else ", missed")
            lines.append(f"| {rate.control} | {rate.what} | {rate.value:.2f} | {rate.count} | {wish} |")
    return "\n".join(lines)


def page(text: str, told: Mapping[str, Any]) -> str:
    """The page with the table of these rates in its place."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table(told)}\n{END}{rest.split(END)[1]}"


def sheet(rows: Mapping[str, list[Image.Image]]) -> Image.Image:
    """Rows of pictures, for looking at them."""
    widths = [sum(picture.width for picture in row) for row in rows.values()]
    heights = [row[0].height for row in rows.values()]
    whole = Image.new("RGB", (max(widths), sum(heights)), "white")
    for row, top in zip(rows.values(), (sum(heights[:i]) for i in range(len(heights))), strict=True):
        for i, picture in enumerate(row):
            whole.paste(picture, (i * picture.width, top))
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="demo")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--pictures", type=int, default=40, help="of each control; of slow ones a half or a quarter")
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES), help="controls")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--look", type=Path, help="a folder for a sheet of each control's pictures")
    parser.add_argument("--page", action="store_true", help="write the table of docs/controls.md, measure nothing")
    given = parser.parse_args()
    if given.page:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), json.loads(RATES.read_text())), encoding="utf-8")
        return
    base = Place(given.base, precision=given.precision).open()
    told: dict[str, Any] = {"base": base.name, "seed": given.seed, "controls": {}}
    if given.json and given.json.exists() and (kept := json.loads(given.json.read_text())) | {"controls": {}} == told:
        told = kept
    bench = Bench(base, given.seed, given.pictures)
    for name in (name for name in given.only if name not in told["controls"]):
        bench.shown, began = {}, time.perf_counter()
        rates = list(CASES[name](bench))
        told["controls"][name] = {
            "precision": given.precision, "pictures": given.pictures, "seconds": time.perf_counter() - began,
            "rates": [asdict(rate) for rate in rates],
        }  # fmt: skip
        for rate in rates:
            missed = "" if rate.met else ", missed"
            print(f"{name}: {rate.control}, {rate.what}: {rate.value:.3f} of {rate.count}{missed}", flush=True)
        if given.json:
            write_bytes(given.json, json.dumps(told, indent=1).encode())
        if given.look:
            given.look.mkdir(parents=True, exist_ok=True)
            sheet(bench.shown).save(given.look / f"{name}.png")


if __name__ == "__main__":
    main()
