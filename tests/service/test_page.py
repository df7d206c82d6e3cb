"""The page in Chromium: every view, the keyboard, dark and narrow screens, and what axe finds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("Chromium is not installed", allow_module_level=True)

QUESTION = "When was the Brooklyn Bridge opened?"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
SHOTS = os.environ.get("CLARA_SCREENSHOTS")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, server: str):
    opened = browser.new_page(viewport={"width": 1200, "height": 800})
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    opened.goto(server)
    opened.wait_for_selector("#store option", state="attached")
    yield opened
    opened.close()
    assert [fault for fault in faults if "net::ERR_FAILED" not in fault] == []  # a request that a test ends


def shot(page, name: str) -> None:
    """Keep a picture where one is asked for."""
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


def is_accessible(page) -> None:
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def ask(page, question: str) -> None:
    count = page.locator(".turn ol li").count()
    page.fill("#question", question)
    page.press("#question", "Enter")
    page.wait_for_function("count => document.querySelectorAll('.turn ol li').length > count", arg=count)


def test_asking_shows_answer_evidence_and_follow_up(page) -> None:
    ask(page, QUESTION)
    assert page.inner_text(".turn .said") == "24 May 1883"
    assert "24 May 1883" in page.locator("mark[data-kind=answer]").all_inner_texts()
    assert "the answer is from here" in page.inner_text("#sources")
    ask(page, "How long is its main span?")
    assert "asked as: How long is its main span? (Brooklyn Bridge)" in page.inner_text(".turn:last-child")
    page.locator(".turn .said").last.click()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("2")
    assert page.locator(".source.chosen h3").inner_text().startswith("2.")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "question"
    is_accessible(page)
    shot(page, "ask")


def test_search_explains_its_steps(page) -> None:
    page.click("nav a[href='#search']")
    page.fill("#query", "bridge")
    page.fill("#where", "format=pdf")
    page.press("#query", "Enter")
    page.wait_for_selector("#found .source")
    names = page.locator("#found li h3").all_inner_texts()
    assert names[0].startswith("filter:")
    assert names[-1].startswith("rerank:")
    with page.expect_popup() as opened:
        page.locator("#found .source a").first.click()
    assert "/file#page=" in opened.value.url
    opened.value.close()
    is_accessible(page)
    shot(page, "search")


def test_documents_are_added_read_and_removed(page, tmp_path: Path) -> None:
    page.click("nav a[href='#documents']")
    page.wait_for_selector("#documents tbody tr")
    file = tmp_path / "cheese.txt"
    file.write_text("The moon is made of <b>green</b> cheese.", encoding="utf-8")
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"no PDF")
    page.set_input_files("#files", [file, broken])
    page.wait_for_selector("#additions [data-state=done]")
    page.wait_for_selector("#additions [data-state=failed] button")
    page.set_input_files("#files", broken)
    page.wait_for_selector("#additions [data-state=failed]")
    assert page.locator("#additions li", has_text="broken.pdf").count() == 1
    is_accessible(page)
    shot(page, "documents")
    page.fill("#filter", "cheese")
    page.wait_for_function("() => document.querySelectorAll('#documents tbody tr').length === 1")
    page.click("#documents tbody td button")
    page.wait_for_selector("#document .text")
    assert page.inner_text("#document .text") == "The moon is made of <b>green</b> cheese."
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("text=Remove")
    page.wait_for_function("() => document.querySelectorAll('#documents tbody tr').length === 0")


def test_a_memory_and_the_model_are_shown(page) -> None:
    ask(page, QUESTION)
    page.locator("#sources button", has_text="Memory").first.click()
    page.wait_for_selector("#memory[open]")
    assert page.locator("#memory-body ol li").count() > 3
    is_accessible(page)
    shot(page, "memory")
    page.keyboard.press("Escape")
    assert page.locator("#memory[open]").count() == 0
    page.click("nav a[href='#about']")
    page.wait_for_selector("#about table")
    assert "Fingerprint" in page.inner_text("#about")
    is_accessible(page)


def test_dark_and_narrow_screens(page) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 740})
    ask(page, QUESTION)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(23, 24, 26)"
    for view, shown in (
        ("ask", "#sources .source"),
        ("search", "#query"),
        ("documents", "#documents tbody tr"),
        ("about", "#about table"),
    ):
        page.click(f"nav a[href='#{view}']")
        page.wait_for_selector(shown)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
        is_accessible(page)
        shot(page, f"dark-narrow-{view}")


def test_errors_are_told(page) -> None:
    page.route("**/ask", lambda route: route.abort())
    page.fill("#question", "Who?")
    page.press("#question", "Enter")
    page.wait_for_selector("#notice.bad")
    assert "does not answer" in page.inner_text("#notice")
