"""The pictures of docs/playground.md: a browser on the page of a running server.

    python -m server --pipeline OCR,table_recognition,ts_forecast &
    python -m tools.screenshots http://127.0.0.1:8080 docs/images

It needs Chromium and its driver (Debian: chromium, chromium-driver), selenium, and Pillow.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from pathlib import Path

from PIL import Image
from selenium.webdriver.support.ui import Select

from benchmarks.pages import SHEETS, render
from benchmarks.tables import SHEETS as TABLES
from benchmarks.tables import png
from benchmarks.tables import render as render_table
from pipelines.core.models import ModelStore
from pipelines.core.registry import load_pipeline
from tests.browser import Browser
from tests.driver import Stages, config_of

#: Colours of a picture: screens of text need few, and the file is a third.
COLOURS = 128


def series() -> bytes:
    """What the forecast pipeline tries itself on: waves, in the columns of its model."""
    canary = load_pipeline("ts_forecast")(config_of("ts_forecast"), Stages()).canary()
    return bytes(canary.blob or b"")


def take(browser: Browser, target: Path) -> None:
    """What the window shows, as a small PNG."""
    picture = Image.open(io.BytesIO(browser.driver.get_screenshot_as_png())).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}: {picture.width} x {picture.height}, {target.stat().st_size} bytes")


def show(browser: Browser, path: str, file: Path, theme: str, view: str) -> None:
    """Run a route, in a theme, and choose a view of the result."""
    Select(browser.one("#theme")).select_by_value(theme)
    status = browser.ask(path, file)
    assert status.startswith("Done"), status
    browser.tab(view)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="of the server")
    parser.add_argument("folder", type=Path, help="for the pictures")
    options = parser.parse_args()
    font = ModelStore().font()
    with (
        tempfile.TemporaryDirectory() as work,
        contextlib.closing(Browser(Path(work) / "profile")) as browser,
    ):
        files = {
            "card.png": render(next(sheet for sheet in SHEETS if sheet.name == "card"), font),
            "table.png": png(
                render_table(next(sheet for sheet in TABLES if sheet.name == "spans-6x5"), font)
            ),
            "series.csv": series(),
        }
        paths = {name: Path(work) / name for name in files}
        for name, content in files.items():
            paths[name].write_bytes(content)
        browser.open(options.url)
        show(browser, "/ocr", paths["card.png"], "light", "found")
        browser.run("document.querySelectorAll('#panel-found button')[3].focus()")
        take(browser, options.folder / "playground-ocr.png")
        show(browser, "/table-recognition", paths["table.png"], "dark", "tables")
        take(browser, options.folder / "playground-table.png")
        show(browser, "/time-series-forecasting", paths["series.csv"], "light", "timings")
        take(browser, options.folder / "playground-forecast.png")
        browser.width(375, 812)
        show(browser, "/ocr", paths["card.png"], "dark", "found")
        browser.run("document.querySelector('.view').scrollIntoView()")
        take(browser, options.folder / "playground-mobile.png")


if __name__ == "__main__":
    main()
