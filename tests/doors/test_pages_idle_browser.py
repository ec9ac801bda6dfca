"""The page that says why, in a real Chromium: it stays true, keeps what was typed, and fits a phone."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from playwright.async_api import BrowserContext, expect

from nbd.errors import Refused
from nbd.idlemessages import EvidenceView, HappenedView, HistoryView, LaneView, PolicyRow, SpanView, WhyView
from tests.doors.test_notices_browser import browser as a_browser
from tests.doors.test_pages_browser import signed_in
from tests.doors.world import ADA, World, until

pytestmark = pytest.mark.real
browser = a_browser
LONG = "pid 4711 a-program-with-a-name-as-long-as-names-may-be-in-this-kernel used 63 % of GPU-1a2b3c4d-5e6f"


@pytest.fixture
def told(w: World) -> None:
    now = time.time()
    rows = tuple(PolicyRow(key, "30min", "profile a-long-name-of-a-profile", own=True) for key in ("park_after", "freeze_after", "stop_after"))
    evidence = (EvidenceView("gpu", LONG, 4.0, 1.0),)
    w.core.idle.why = WhyView(ADA, "fold", "ada", "RUNNING", now, f"RUNNING · active: {LONG}", "active", evidence=evidence, policy=rows)
    lanes = (LaneView("gpu", (SpanView(now - 7200, now, LONG),)),)
    happened = (HappenedView(now - 60, "warn", LONG),)
    w.core.idle.history = HistoryView(now - 86400, now, (SpanView(now - 86400, now, "active"),), lanes, happened)


@pytest.mark.usefixtures("told")
async def test_what_is_refused_stays_to_be_mended(w: World, browser: BrowserContext) -> None:
    page, complaints = await signed_in(w, browser)
    await page.goto(f"{w.pages}/notebooks/{ADA}/why")
    await page.get_by_text("Set your own, tighter ones").click()
    await page.get_by_label("Its GPU is given back after").fill("3h")
    w.core.idle.trouble = Refused("park_after can only be shorter than 30min", hint="ask an admin for another profile")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_contain_text("park_after can only be shorter than 30min.")
    # Something changes elsewhere, and the page looks again.
    assert w.core.idle.why
    w.core.idle.why = replace(w.core.idle.why, sentence="RUNNING · idle for 3 min", verdict="idle")
    w.core.put(replace(w.core.notebooks[ADA], verdict="idle"), w.folder / "editor.sock")
    await expect(page.get_by_text("RUNNING · idle for 3 min")).to_be_visible()
    await expect(page.get_by_label("Its GPU is given back after")).to_have_value("3h")
    w.core.idle.trouble = None
    await page.get_by_label("Its GPU is given back after").fill("10min")
    await page.get_by_role("button", name="Save").click()
    await until(lambda: bool(w.core.idle.settings))
    assert w.core.idle.settings[-1].settings["park_after"] == "10min"
    assert not complaints


@pytest.mark.usefixtures("told")
async def test_it_fits_a_phone(w: World, browser: BrowserContext) -> None:
    page, complaints = await signed_in(w, browser)
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.goto(f"{w.pages}/notebooks/{ADA}/why")
    for summary in await page.locator("summary").all():
        await summary.click()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    await expect(page.get_by_role("img", name="GPU: seen")).to_be_visible()
    assert not complaints


@pytest.mark.usefixtures("told")
async def test_keep_by_keyboard(w: World, browser: BrowserContext) -> None:
    page, _ = await signed_in(w, browser)
    await page.goto(f"{w.pages}/notebooks/{ADA}/why")
    await page.get_by_role("button", name="Keep fold for 8 h").focus()
    await page.keyboard.press("Enter")
    await until(lambda: w.core.idle.kept == [("fold", 28800.0)])
    await page.wait_for_url(f"{w.pages}/notebooks/{ADA}/why")
