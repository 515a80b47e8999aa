"""Screenshots of a report: `python -m recipes.screenshot OUT/report.html FOLDER` writes desktop, phone and dark.png.

Needs playwright and a Chromium; give the path of an installed one with --chromium.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True)
class View:
    name: str
    width: int  # CSS pixels
    height: int
    scheme: Literal["light", "dark"] = "light"


VIEWS = (View("desktop", 1280, 900), View("phone", 390, 844), View("dark", 1280, 900, "dark"))


def shoot(browser: Browser, report: Path, out: Path, view: View, whole: bool) -> Path:
    """One picture of the page, without a network; `whole`: its whole length instead of the first screen."""
    context = browser.new_context(
        viewport={"width": view.width, "height": view.height},
        color_scheme=view.scheme,
        offline=True,
        device_scale_factor=1.5,
    )
    page = context.new_page()
    page.goto(report.resolve().as_uri())
    path = out / f"{view.name}.png"
    page.screenshot(path=path, full_page=whole)
    context.close()
    return path


def shoot_section(browser: Browser, report: Path, out: Path, section: str) -> Path:
    """One section of the page by its id, as on a desktop, at one pixel a CSS pixel."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light", offline=True)
    page = context.new_page()
    page.goto(report.resolve().as_uri())
    path = out / f"{section}.png"
    page.locator(f"#{section}").screenshot(path=path)
    context.close()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--first-screen", action="store_true", help="not the whole length of the page")
    parser.add_argument("--sections", nargs="+", default=(), help="only these, by id: answers, pictures, measured, ...")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.chromium, args=list(QUIET))
        for section in given.sections:
            print(shoot_section(browser, given.report, given.out, section))
        for view in () if given.sections else VIEWS:
            print(shoot(browser, given.report, given.out, view, whole=not given.first_screen))
        browser.close()


if __name__ == "__main__":
    main()
