"""Draw the README's picture of a report: three parts of it in a browser, the second in dark mode.

python -m docs.report_picture RUN/report.html PICTURE.jpg
"""

import io
import sys
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import ViewportSize

from tests.helpers.browser import chromium

WIDTH, HEIGHT, GAP = 660, 850, 10  # pixels of a part, and between two
SCALE = 3 / 4  # of the picture
PARTS: tuple[tuple[str, Literal["light", "dark"]], ...] = (  # the element at the top of a part, and its colours
    ("body", "light"),
    ("#mistakes", "dark"),
    ("#explanation", "light"),
)
SCROLL = "element => { document.documentElement.style.scrollBehavior = 'auto'; element.scrollIntoView() }"


def main(report: Path, picture: Path) -> None:
    image = Image.new("RGB", (3 * WIDTH + 2 * GAP, HEIGHT), "#999999")
    with chromium() as browser:
        for number, (selector, colours) in enumerate(PARTS):
            page = browser.new_page(viewport=ViewportSize(width=WIDTH, height=HEIGHT), color_scheme=colours)
            page.goto(report.resolve().as_uri())
            page.locator(selector).evaluate(SCROLL)
            part = Image.open(io.BytesIO(page.screenshot()))
            image.paste(part, (number * (WIDTH + GAP), 0))
    size = round(image.width * SCALE), round(image.height * SCALE)
    image.resize(size, Image.Resampling.LANCZOS).save(picture, quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
