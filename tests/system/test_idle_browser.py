"""A forgotten tab, a person who types, and the bar in the editor: real Chromium, the real web door, real JupyterLab, real core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from .real_box import Person, RealBox, real_box, until
from .test_browser import SECONDS, link, new_python_notebook
from .test_browser import browser as a_browser
from .test_browser import page as a_page

pytestmark = pytest.mark.real
browser, page = a_browser, a_page
SETTINGS = """
[core]
reconcile_every = "500ms"
[idle]
sample_every = "500ms"
warn_before = "80s"
stop_after = "90s"
"""
QUIET = 40.0
"""Longest until half-lives have passed and a tab that nobody touches is seen to be idle."""


@pytest.fixture
def box(short_path: Path, ada: Person) -> Iterator[RealBox]:
    with real_box(short_path, who=ada, gpus=2, settings=SETTINGS) as box:
        yield box


def why(box: RealBox) -> dict[str, Any]:
    found: dict[str, Any] = box.ask("why", "main")
    return found


def weights(box: RealBox) -> dict[str, float]:
    return {one["signal"]: one["weight"] for one in why(box)["evidence"]}


async def test_a_forgotten_tab_is_nobody_and_a_pressed_key_is_somebody(box: RealBox, page: Page) -> None:
    box.ask("start")
    await page.goto(link(box, "open", "main"))
    await expect(page.locator("#jp-top-panel")).to_be_visible(timeout=SECONDS)
    await new_python_notebook(page)
    bar = page.locator("nbd-notice").get_by_role("status")
    # Left alone, open and connected, it is announced: in the editor itself.
    await expect(bar).to_contain_text("it is stopped", timeout=QUIET * 1000)
    assert why(box)["verdict"] == "idle"
    assert weights(box).get("tab", 0.0) < 1
    # Words in a cell, which JupyterLab keeps to itself: somebody is there all the same, and the warning is gone.
    await page.locator(".jp-NotebookPanel .jp-CodeCell .cm-content").last.click()
    await page.keyboard.type("words = 1")
    until(lambda: why(box)["verdict"] == "active" and weights(box).get("typing", 0.0) >= 1, 15, lambda: why(box))
    await expect(bar).to_be_empty(timeout=SECONDS)
    # And again alone: one click keeps it.
    keep = page.locator("nbd-notice").get_by_role("button", name="Keep")
    await keep.click(timeout=QUIET * 1000)
    until(lambda: why(box)["kept_until"] is not None, 15, lambda: why(box))
