"""The page in a real browser, Debian's chromium: it is drawn on, given a photograph, corrected."""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from numerals.server.corrections import CorrectionStore
from tests.helpers.pages import blank, rule, shade, write
from tests.helpers.pictures import encoded
from tests.helpers.serving import Served, served

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
    [kept] = CorrectionStore(server.corrections).latest(5)
    assert (kept.read, kept.digit, len(kept.seen or b"")) == (3, 8, 784)
    with page.expect_download() as download:
        page.click("#csv")
    assert download.value.path().read_text().splitlines()[1].startswith("1,3890,")
    with page.expect_download() as download:
        page.click("#json")
    assert json.loads(download.value.path().read_text())["text"] == "3890\n571"
    page.click("#list button")
    page.wait_for_selector("#none:not([hidden])")
    assert CorrectionStore(server.corrections).count() == 0


def test_a_ruler_straight_one_is_read(page: Any) -> None:
    pad = page.locator("#ink").bounding_box()
    page.mouse.move(pad["x"] + 200, pad["y"] + 80)
    page.mouse.down()
    page.mouse.move(pad["x"] + 200, pad["y"] + 230, steps=8)
    page.mouse.up()
    reads(page, "1")


def given(page: Any, kind: str, picture: bytes) -> None:
    """The picture dropped on the page, or pasted into it."""
    page.evaluate(
        """([kind, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "sheet.png", { type: "image/png" }));
            const part = kind === "drop" ? "dataTransfer" : "clipboardData";
            const options = { bubbles: true, cancelable: true, [part]: data };
            const event = kind === "drop" ? new DragEvent("drop", options) : new ClipboardEvent("paste", options);
            document.getElementById(kind === "drop" ? "ink" : "text").dispatchEvent(event);
        }""",
        [kind, list(picture)],
    )


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_dropped_or_pasted_is_read_copied_and_downloaded(page: Any, kind: str) -> None:
    sheet = blank(500, 800)
    write(sheet, "3390", 100, 100, 100, seed=3)
    write(sheet, "571", 120, 300, 100, seed=5)
    given(page, kind, encoded(sheet.grey))
    reads(page, "3390\n571")
    assert page.locator("#picture").is_visible() and page.locator(".box").count() == 7
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy")
    page.wait_for_function("() => document.getElementById('status').innerText === 'copied'")
    assert page.evaluate("navigator.clipboard.readText()") == "3390\n571"
    with page.expect_download() as download:
        page.click("#csv")
    assert download.value.suggested_filename == "numerals.csv"
    rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
    with page.expect_download() as download:
        page.click("#json")
    assert download.value.suggested_filename == "numerals.json"
    found = json.loads(download.value.path().read_text())
    assert (found["text"], found["width"], found["height"]) == ("3390\n571", 800, 500)
    assert "seen" not in found["rows"][0]["digits"][0]
    for row, other in zip(rows, found["rows"], strict=True):
        assert row["text"] == other["text"] and float(row["confidence"]) == pytest.approx(other["confidence"], abs=1e-4)
        assert {side: int(row[side]) for side in other["box"]} == other["box"]
        assert abs(other["box"]["height"] - 100) < 25


def test_a_dropped_text_is_no_picture(browser: Any, server: Served) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(server.url)
        given(page, "drop", b"not a picture")
        page.wait_for_function("() => /picture/.test(document.getElementById('status').innerText)", timeout=8000)
        reads(page, "")


def test_all_can_be_done_with_keys(page: Any, server: Served) -> None:
    draw(page, "20")
    reads(page, "20")
    page.focus("body")
    page.locator("#text button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel:not([hidden])")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.innerText") == "0"
    page.keyboard.press("x")  # no digit: nothing happens
    reads(page, "20")
    page.keyboard.press("6")
    reads(page, "26")
    page.keyboard.press("9")  # typed wrong at first: what is kept is the last
    reads(page, "29")
    page.wait_for_function("() => document.querySelectorAll('#list li').length === 1")
    [kept] = CorrectionStore(server.corrections).latest(5)
    assert (kept.read, kept.digit) == (0, 9)
    page.keyboard.press("Escape")
    assert not page.locator("#panel").is_visible()
    page.keyboard.press("Delete")
    reads(page, "")


def touch(page: Any, number: str, left: float, top: float, height: float) -> None:
    """As `draw`, with a finger."""
    pad, finger = page.locator("#ink").bounding_box(), page.context.new_cdp_session(page)
    for sign in number:
        width = height * (0.3 if sign == "1" else 0.55)
        points = [{"x": pad["x"] + left + x * width, "y": pad["y"] + top + y * height} for x, y in STROKES[sign]]
        finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points[:1]})
        for point in points[1:]:
            finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        left += width + 0.3 * height


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


def test_a_finger_draws_and_does_not_scroll(browser: Any, server: Served) -> None:
    with browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        page.goto(server.url)
        touch(page, "20", 30, 40, 90)
        reads(page, "20")
        assert page.evaluate("scrollY") == 0
        page.wait_for_timeout(2500)  # Chromium takes a tap right after so fast a stroke for the end of a fling
        page.locator("#text button").last.tap()
        page.wait_for_selector("#panel:not([hidden])")
        assert page.evaluate("document.activeElement.innerText") == "0"


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
