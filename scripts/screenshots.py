"""Pictures of the page for docs/serving.md: the example documents, in Chromium.

python scripts/screenshots.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


def ask(page: Any, question: str) -> None:
    before = page.locator(".turn ol li").count()
    page.fill("#question", question)
    page.press("#question", "Enter")
    page.wait_for_function("before => document.querySelectorAll('.turn ol li').length > before", arg=before)
    page.evaluate("document.activeElement.blur()")


def shots(page: Any, url: str) -> None:
    def keep(name: str) -> None:
        page.screenshot(path=str(IMAGES / f"{name}.png"))

    page.goto(url)
    page.wait_for_selector("#store option", state="attached")
    ask(page, "On what day was the Brooklyn Bridge opened?")
    ask(page, "How long is its main span?")
    keep("ask")
    page.locator("#sources button", has_text="Memory").first.click()
    page.wait_for_selector("#memory[open] #paraphrase")
    keep("memory")
    page.keyboard.press("Escape")
    page.click("nav a[href='#search']")
    page.fill("#query", "bridges of the nineteenth century")
    page.press("#query", "Enter")
    page.wait_for_selector("#found .source")
    page.evaluate("document.activeElement.blur()")
    keep("search")
    page.click("nav a[href='#documents']")
    page.wait_for_selector("#documents tbody tr")
    page.set_input_files("#files", [ROOT / "README.md"])
    page.wait_for_selector("#additions [data-state=done]")
    keep("documents")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(url)
    page.wait_for_selector("#store option", state="attached")
    ask(page, "What is the largest moon of Saturn?")
    keep("narrow")


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_RUNTIME_DIR": folder}
        clara = [sys.executable, "-m", "clara"]
        store = f"{folder}/notes"
        documents = ROOT / "examples" / "documents"
        subprocess.run([*clara, "index", documents, "--store", store], check=True, env=environment)
        serving = [*clara, "serve", "--store", store, "--port", "0", "--background", "--json"]
        said = subprocess.run(serving, check=True, env=environment, capture_output=True).stdout
        try:
            with sync_playwright() as started:
                browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
                shots(browser.new_page(viewport={"width": 1200, "height": 800}), json.loads(said)["url"])
                browser.close()
        finally:
            subprocess.run([*clara, "serve", "--stop", "--store", store], check=True, env=environment)


if __name__ == "__main__":
    main()
