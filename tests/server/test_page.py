"""The web page in a real Chromium: drawing, opening pictures, correcting, keyboard, touch, token."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from numerals.server.corrections import CorrectionStore
from tests.helpers.browser import accessibility_violations, chromium
from tests.helpers.pages import blank, rule, shade, write
from tests.helpers.pictures import encoded
from tests.helpers.serving import RunningServer, running_server

pytestmark = pytest.mark.slow
STROKES = {  # points of a stroke in a box of 1 x 1
    "2": [(0.1, 0.25), (0.3, 0.02), (0.7, 0.05), (0.8, 0.3), (0.5, 0.6), (0.1, 0.98), (0.5, 0.95), (0.95, 0.98)],
    "1": [(0.5, 0.0), (0.35, 0.5), (0.2, 1.0)],
    "0": [(0.5, 0), (0.15, 0.2), (0.05, 0.55), (0.2, 0.9), (0.5, 1), (0.85, 0.85), (0.95, 0.5), (0.85, 0.15), (0.5, 0)],
    "~": [(0.0, 0.5), (0.15, 0.45), (0.3, 0.5), (0.5, 0.55), (0.7, 0.5), (0.85, 0.45), (1.0, 0.5)],  # not a digit
}
DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=844)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server for one test, since the page changes its corrections."""
    with running_server(tmp_path) as server:
        yield server


@pytest.fixture
def page(browser: Browser, server: RunningServer) -> Iterator[Page]:
    """The page on a desktop; it must contact no other server and log nothing."""
    with browser.new_context(viewport=DESKTOP, accept_downloads=True) as context:
        page = context.new_page()
        urls: list[str] = []
        messages: list[str] = []
        page.on("request", lambda request: urls.append(request.url))
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(server.url)
        yield page
        assert [url for url in urls if not url.startswith((server.url, "blob:", "data:"))] == []
        assert messages == []


def pad_origin(page: Page) -> tuple[float, float]:
    """Left and top of the pad on the page, in CSS pixels."""
    box = page.locator("#ink").bounding_box()
    assert box is not None
    return box["x"], box["y"]


def stroke_points(
    page: Page, number: str, left: float, top: float, height: float
) -> Iterator[list[tuple[float, float]]]:
    """Positions on the page of the strokes that write a number on the pad; one stroke per character."""
    x0, y0 = pad_origin(page)
    for character in number:
        width = height * (0.3 if character == "1" else 0.55)
        yield [(x0 + left + x * width, y0 + top + y * height) for x, y in STROKES[character]]
        left += width + 0.3 * height


def draw(page: Page, number: str, left: float = 80, top: float = 80, height: float = 130) -> None:
    """Write a number on the pad with the mouse."""
    for points in stroke_points(page, number, left, top, height):
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        page.mouse.up()


def draw_with_finger(page: Page, number: str, left: float, top: float, height: float) -> None:
    """Write a number on the pad by touch events."""
    session = page.context.new_cdp_session(page)
    for points in stroke_points(page, number, left, top, height):
        touches = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": touches[:1]})
        for touch in touches[1:]:
            session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [touch]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def wait_for_text(page: Page, text: str) -> None:
    """Wait until the page shows this reading."""
    page.wait_for_function(
        "text => document.getElementById('text').innerText.trim() === text", arg=text, timeout=60_000
    )


def wait_for_status(page: Page, pattern: str) -> None:
    """Wait until the line below the reading matches a regular expression."""
    matches = "pattern => new RegExp(pattern).test(document.getElementById('status').innerText)"
    page.wait_for_function(matches, arg=pattern, timeout=60_000)


def test_a_drawn_2_is_read_and_undone(page: Page) -> None:
    draw(page, "2")
    wait_for_text(page, "2")
    assert page.locator(".box").count() == 1
    page.keyboard.press("Control+z")
    wait_for_text(page, "")
    assert page.locator("#hint").is_visible()


def test_a_drawn_10_is_read_and_cleared(page: Page) -> None:
    draw(page, "10")
    wait_for_text(page, "10")
    page.click("#clear")
    wait_for_text(page, "")


def test_a_scribble_is_not_a_digit(page: Page) -> None:
    draw(page, "~", height=60)
    wait_for_status(page, "^No digits found$")
    wait_for_text(page, "")


def test_a_photo_is_read_corrected_and_downloaded(page: Page, server: RunningServer, tmp_path: Path) -> None:
    sheet = blank(900, 1200)
    write(sheet, "3390", 200, 250, 120, seed=3)
    write(sheet, "571", 220, 550, 120, seed=5)
    (tmp_path / "photo.jpg").write_bytes(encoded(rule(shade(sheet), 90).grey, "JPEG"))
    page.set_input_files("#file", tmp_path / "photo.jpg")
    wait_for_text(page, "3390\n571")
    assert page.locator(".box").count() == 7
    page.locator(".box").nth(1).click()  # the box on the picture
    page.wait_for_selector("#panel:not([hidden])")
    assert page.locator(".bar").count() == 10 and "runner-up" in page.inner_text("#verdict")
    count_values = "id => new Set(document.getElementById(id).getContext('2d').getImageData(0, 0, 28, 28).data).size"
    assert page.evaluate(count_values, "seen") > 5 and page.evaluate(count_values, "heat") > 5
    page.keyboard.press("8")
    wait_for_text(page, "3890\n571")
    page.wait_for_selector("#correction-list li")
    [correction] = CorrectionStore(server.corrections).latest(5)
    assert (correction.read, correction.digit, len(correction.seen or b"")) == (3, 8, 784)
    with page.expect_download() as download:
        page.click("#csv")
    assert download.value.path().read_text().splitlines()[1].startswith("1,3890,")
    with page.expect_download() as download:
        page.click("#json")
    assert json.loads(download.value.path().read_text())["text"] == "3890\n571"
    page.click("#correction-list button")
    page.wait_for_selector("#no-corrections:not([hidden])")
    assert CorrectionStore(server.corrections).count() == 0


def test_a_ruler_straight_one_is_read(page: Page) -> None:
    x, y = pad_origin(page)
    page.mouse.move(x + 200, y + 80)
    page.mouse.down()
    page.mouse.move(x + 200, y + 230, steps=8)
    page.mouse.up()
    wait_for_text(page, "1")


def insert_picture(page: Page, event: str, picture: bytes) -> None:
    """Drop a picture on the page, or paste it."""
    page.evaluate(
        """([name, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "sheet.png", { type: "image/png" }));
            const property = name === "drop" ? "dataTransfer" : "clipboardData";
            const options = { bubbles: true, cancelable: true, [property]: data };
            const event = name === "drop" ? new DragEvent("drop", options) : new ClipboardEvent("paste", options);
            document.getElementById(name === "drop" ? "ink" : "text").dispatchEvent(event);
        }""",
        [event, list(picture)],
    )


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_dropped_or_pasted_is_read_copied_and_downloaded(page: Page, event: str) -> None:
    sheet = blank(500, 800)
    write(sheet, "3390", 100, 100, 100, seed=3)
    write(sheet, "571", 120, 300, 100, seed=5)
    insert_picture(page, event, encoded(sheet.grey))
    wait_for_text(page, "3390\n571")
    assert page.locator("#picture").is_visible() and page.locator(".box").count() == 7
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy")
    wait_for_status(page, "^Copied$")
    assert page.evaluate("navigator.clipboard.readText()") == "3390\n571"
    with page.expect_download() as download:
        page.click("#csv")
    assert download.value.suggested_filename == "numerals.csv"
    csv_rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
    with page.expect_download() as download:
        page.click("#json")
    assert download.value.suggested_filename == "numerals.json"
    content = json.loads(download.value.path().read_text())
    assert (content["text"], content["width"], content["height"]) == ("3390\n571", 800, 500)
    assert "seen" not in content["rows"][0]["digits"][0]
    for csv_row, row in zip(csv_rows, content["rows"], strict=True):
        assert csv_row["text"] == row["text"]
        assert float(csv_row["confidence"]) == pytest.approx(row["confidence"], abs=1e-4)
        assert {side: int(csv_row[side]) for side in row["box"]} == row["box"]
        assert abs(row["box"]["height"] - 100) < 25


def test_a_dropped_text_is_reported(browser: Browser, server: RunningServer) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(server.url)
        insert_picture(page, "drop", b"not a picture")
        wait_for_status(page, "picture")
        wait_for_text(page, "")


def test_everything_can_be_done_with_the_keyboard(page: Page, server: RunningServer) -> None:
    draw(page, "20")
    wait_for_text(page, "20")
    page.focus("body")
    page.locator("#text button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel:not([hidden])")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.innerText") == "0"
    page.keyboard.press("x")  # not a digit: ignored
    wait_for_text(page, "20")
    page.keyboard.press("6")
    wait_for_text(page, "26")
    page.keyboard.press("9")  # replaces the first correction
    wait_for_text(page, "29")
    page.wait_for_function("() => document.querySelectorAll('#correction-list li').length === 1")
    [correction] = CorrectionStore(server.corrections).latest(5)
    assert (correction.read, correction.digit) == (0, 9)
    page.keyboard.press("Escape")
    assert not page.locator("#panel").is_visible()
    page.keyboard.press("Delete")
    wait_for_text(page, "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible_and_fits_on_a_phone(
    browser: Browser, server: RunningServer, scheme: Literal["light", "dark"]
) -> None:
    with browser.new_context(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        page.goto(server.url)
        draw(page, "20", 30, 40, 90)
        wait_for_text(page, "20")
        page.locator("#text button").first.tap()
        page.wait_for_selector("#panel:not([hidden])")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert accessibility_violations(page) == []
        assert page.locator("#photograph").is_visible()


def test_a_finger_draws_and_does_not_scroll(browser: Browser, server: RunningServer) -> None:
    with browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        page.goto(server.url)
        draw_with_finger(page, "20", 30, 40, 90)
        wait_for_text(page, "20")
        assert page.evaluate("scrollY") == 0
        page.wait_for_timeout(2500)  # Chromium takes a tap right after so fast a stroke for the end of a fling
        page.locator("#text button").last.tap()
        page.wait_for_selector("#panel:not([hidden])")
        assert page.evaluate("document.activeElement.innerText") == "0"


def test_the_token_is_asked_for_once(browser: Browser, tmp_path: Path) -> None:
    with running_server(tmp_path, "--token", "a-secret") as server, browser.new_context() as context:
        page = context.new_page()
        page.goto(server.url)
        page.fill("#token", "a-secret")
        page.click("#token-dialog button")
        draw(page, "2")
        wait_for_text(page, "2")
        page.reload()
        draw(page, "2")
        wait_for_text(page, "2")
        assert not page.locator("#token-dialog").is_visible()
