"""The page in a real browser, Debian's chromium: it is drawn on, given a photograph, corrected."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from numerals.app.corrections import Corrections
from tests.pages import blank, rule, shade, write
from tests.pictures import encoded
from tests.serving import Served, served

pytestmark = pytest.mark.slow
STROKES = {  # in a box of 1 x 1
    "2": [(0.1, 0.25), (0.3, 0.02), (0.7, 0.05), (0.8, 0.3), (0.5, 0.6), (0.1, 0.98), (0.5, 0.95), (0.95, 0.98)],
    "1": [(0.5, 0.0), (0.35, 0.5), (0.2, 1.0)],
    "0": [(0.5, 0), (0.15, 0.2), (0.05, 0.55), (0.2, 0.9), (0.5, 1), (0.85, 0.85), (0.95, 0.5), (0.85, 0.15), (0.5, 0)],
    "~": [(0.0, 0.5), (0.15, 0.45), (0.3, 0.5), (0.5, 0.55), (0.7, 0.5), (0.85, 0.45), (1.0, 0.5)],  # no digit
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        assert "CI" not in os.environ, "CI has chromium"
        pytest.skip("needs Debian's chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        with playwright.chromium.launch(executable_path=chromium, args=arguments) as browser:
            yield browser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as server:
        yield server


@pytest.fixture
def page(browser: Any, server: Served) -> Iterator[Any]:
    """The page of a desktop; it must ask nobody but its server, and complain of nothing."""
    with browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True) as context:
        page = context.new_page()
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(server.url)
        yield page
        assert [url for url in asked if not url.startswith((server.url, "blob:", "data:"))] == []
        assert complaints == []


def draw(page: Any, number: str, left: float = 80, top: float = 80, height: float = 130) -> None:
    pad = page.locator("#ink").bounding_box()
    for sign in number:
        width = height * (0.3 if sign == "1" else 0.55)
        points = [(pad["x"] + left + x * width, pad["y"] + top + y * height) for x, y in STROKES[sign]]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        page.mouse.up()
        left += width + 0.3 * height


def reads(page: Any, text: str) -> None:
    page.wait_for_function("text => document.getElementById('text').innerText.trim() === text", arg=text, timeout=8000)


def test_a_drawn_2_is_read_and_undone(page: Any) -> None:
    draw(page, "2")
    reads(page, "2")
    assert page.locator(".box").count() == 1
    page.keyboard.press("Control+z")
    reads(page, "")
    assert page.locator("#hint").is_visible()


def test_a_drawn_10_is_read_and_cleared(page: Any) -> None:
    draw(page, "10")
    reads(page, "10")
    page.click("#clear")
    reads(page, "")


def test_a_scribble_is_no_digit(page: Any) -> None:
    draw(page, "~", height=60)
    page.wait_for_function("() => document.getElementById('status').innerText === 'no digits found'", timeout=8000)
    reads(page, "")


def test_a_photograph_is_read_corrected_and_taken_away(page: Any, server: Served, tmp_path: Path) -> None:
    sheet = blank(900, 1200)
    write(sheet, "3390", 200, 250, 120, seed=3)
    write(sheet, "571", 220, 550, 120, seed=5)
    (tmp_path / "photo.jpg").write_bytes(encoded(rule(shade(sheet), 90).grey, "JPEG"))
    page.set_input_files("#file", tmp_path / "photo.jpg")
    reads(page, "3390\n571")
    assert page.locator(".box").count() == 7
    page.locator(".box").nth(1).click()  # on the picture itself
    page.wait_for_selector("#panel:not([hidden])")
    assert page.locator(".bar").count() == 10 and "runner-up" in page.inner_text("#verdict")
    drawn = "id => new Set(document.getElementById(id).getContext('2d').getImageData(0, 0, 28, 28).data).size"
    assert page.evaluate(drawn, "seen") > 5 and page.evaluate(drawn, "heat") > 5
    page.keyboard.press("8")
    reads(page, "3890\n571")
    page.wait_for_selector("#list li")
    [kept] = Corrections(server.corrections).latest(5)
    assert (kept.read, kept.digit, len(kept.seen or b"")) == (3, 8, 784)
    with page.expect_download() as download:
        page.click("#csv")
    assert download.value.path().read_text().splitlines()[1].startswith("1,3890,")
    with page.expect_download() as download:
        page.click("#json")
    assert json.loads(download.value.path().read_text())["text"] == "3890\n571"
    page.click("#list button")
    page.wait_for_selector("#none:not([hidden])")
    assert Corrections(server.corrections).count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_all_is_within_the_screen(browser: Any, server: Served, scheme: str) -> None:
    size = {"width": 390, "height": 844}
    with browser.new_context(viewport=size, color_scheme=scheme, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        page.goto(server.url)
        draw(page, "20", 30, 40, 90)
        reads(page, "20")
        page.locator("#text button").first.tap()
        page.wait_for_selector("#panel:not([hidden])")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.locator("#photograph").is_visible()


def test_the_token_is_asked_for_once(browser: Any, tmp_path: Path) -> None:
    with served(tmp_path, "--token", "a-secret") as server, browser.new_context() as context:
        page = context.new_page()
        page.goto(server.url)
        page.fill("#token", "a-secret")
        page.click("#ask button")
        draw(page, "2")
        reads(page, "2")
        page.reload()
        draw(page, "2")
        reads(page, "2")
        assert not page.locator("#ask").is_visible()
