"""The bar in a real Chromium: it comes, is read out, keeps with one click, goes; and the page says that somebody is here, no more."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright, expect

from nbd.errors import Conflict
from nbd.idlemessages import NoticeKind, NoticeView
from nbd.messages import Progress
from tests.doors.test_pages_browser import FLAGS
from tests.doors.world import ADA, World, until

pytestmark = pytest.mark.real
WARN = NoticeView(NoticeKind.WARN, "idle for 25 min; its GPU is given back", time.time() + 400, "profile gpu-small", 7200.0)
FORBIDS = "script-src 'self'; style-src 'self'; require-trusted-types-for 'script'"


@pytest.fixture
async def browser() -> AsyncIterator[BrowserContext]:
    async with async_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or playwright.chromium.executable_path
        assert Path(program).exists(), "these tests need Chromium: make test installs it"
        chromium = await playwright.chromium.launch(executable_path=program, args=FLAGS.split())
        context = await chromium.new_context()
        context.set_default_timeout(10_000)
        yield context
        await chromium.close()


async def in_editor(w: World, browser: BrowserContext, query: str = "") -> tuple[Page, list[str]]:
    page, complaints = await browser.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "Security Policy" in message.text else None)
    await page.goto(f"{w.origin()}/.nbd/enter?ticket={w.core.ticket('ada', ADA)}")
    await page.goto(w.origin() + "/lab/page" + query)
    return page, complaints


@pytest.mark.parametrize("query", ["", f"?policy={FORBIDS}"])
async def test_a_warning_comes_and_one_click_keeps_the_notebook(w: World, browser: BrowserContext, query: str) -> None:
    page, complaints = await in_editor(w, browser, query)
    status = page.get_by_role("status")
    await expect(status).to_be_empty()
    w.core.put(replace(w.core.notebooks[ADA], notice=WARN), w.folder / "editor.sock")
    await expect(status).to_contain_text("Idle for 25 min; its GPU is given back, at ")
    await expect(status).to_contain_text("(profile gpu-small).")
    assert await page.get_by_role("link", name="Why?").get_attribute("href") == "/.nbd/why"
    await page.get_by_role("button", name="Keep 2 h").click()
    await until(lambda: w.core.idle.kept == [("fold", 7200.0)])
    await expect(page.get_by_role("button", name="Keep 2 h")).to_have_count(0)
    assert not complaints


async def test_a_keep_that_is_refused_says_why(w: World, browser: BrowserContext) -> None:
    w.core.put(replace(w.core.notebooks[ADA], notice=WARN), w.folder / "editor.sock")
    page, _ = await in_editor(w, browser)
    w.core.idle.trouble = Conflict("it cannot be kept any longer today")
    await page.get_by_role("button", name="Keep 2 h").click()
    await expect(page.get_by_role("status")).to_contain_text("That did not work: it cannot be kept any longer today.")


async def test_who_dismissed_it_does_not_see_it_again_and_another_they_do(w: World, browser: BrowserContext) -> None:
    w.core.put(replace(w.core.notebooks[ADA], notice=WARN), w.folder / "editor.sock")
    page, complaints = await in_editor(w, browser)
    await page.get_by_role("button", name="Dismiss").click()
    await expect(page.get_by_role("status")).to_be_empty()
    await page.reload()
    await expect(page.get_by_text("hello")).to_be_visible()
    w.core.put(replace(w.core.notebooks[ADA], state="PARKED"), w.folder / "editor.sock")
    await expect(page.get_by_role("status")).to_contain_text("The GPU was given back; it comes back when you run something.")
    await page.get_by_role("button", name="Get it back now").click()
    await until(lambda: w.core.idle.woken == ["fold"])
    w.core.put(replace(w.core.notebooks[ADA], progress=Progress("unpark", "its memory goes back onto the GPU", 0.4)), w.folder / "editor.sock")
    await expect(page.get_by_role("progressbar")).to_have_attribute("value", "0.4")
    w.core.put(replace(w.core.notebooks[ADA], state="RUNNING", progress=None), w.folder / "editor.sock")
    await expect(page.get_by_role("status")).to_be_empty()
    assert not complaints


async def test_the_page_says_that_somebody_is_here_and_a_script_cannot(w: World, browser: BrowserContext) -> None:
    page, _ = await in_editor(w, browser)
    await page.evaluate("for (const kind of ['keydown', 'pointerdown']) document.body.dispatchEvent(new Event(kind, { bubbles: true }))")
    await page.mouse.move(100, 100)
    reports = len(w.core.idle.reports)
    await until(lambda: len(w.core.idle.reports) > reports + 5)
    assert w.core.idle.of(ADA).here == 0
    await page.keyboard.type("secret words")
    await until(lambda: w.core.idle.of(ADA).here == 1)
    assert b"secret" not in w.editor.heard()


async def test_a_tab_that_nobody_looks_at_holds_no_line_open(w: World, browser: BrowserContext) -> None:
    page, _ = await in_editor(w, browser)
    parked = replace(w.core.notebooks[ADA], state="PARKED")
    w.core.put(parked, w.folder / "editor.sock")
    await expect(page.get_by_role("status")).to_contain_text("The GPU was given back")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.evaluate("Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true })")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    w.core.put(replace(parked, state="RUNNING", notice=WARN), w.folder / "editor.sock")
    await asyncio.sleep(0.3)
    await expect(page.get_by_role("status")).to_contain_text("The GPU was given back")
    assert not asked
    await page.evaluate("Object.defineProperty(document, 'visibilityState', { value: 'visible', configurable: true })")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.get_by_role("status")).to_contain_text("Idle for 25 min")


async def test_who_opens_a_frozen_notebook_sees_it_wake_and_is_in_it(w: World, browser: BrowserContext) -> None:
    page, _ = await in_editor(w, browser)
    frozen = replace(w.core.notebooks[ADA], state="FROZEN", sentence="frozen: asleep on disk with its memory")
    w.core.put(frozen)
    await expect(page.get_by_role("status")).to_contain_text("This notebook sleeps on the disk")
    assert not w.core.idle.woken
    await page.goto(w.origin() + "/lab/page")
    await until(lambda: w.core.idle.woken == ["fold"])
    w.core.put(replace(frozen, sentence="frozen: its memory is read back", progress=Progress("thaw", "its memory is read back", 0.62)))
    await expect(page.get_by_text("62 %")).to_be_visible()
    w.core.put(replace(frozen, state="RUNNING", sentence="runs"), w.folder / "editor.sock")
    await expect(page.get_by_text("hello")).to_be_visible()
    assert page.url == w.origin() + "/lab/page"
    assert w.core.idle.woken == ["fold"], "the page that waited woke it again by itself"


async def test_a_page_that_comes_back_by_itself_wakes_nothing(w: World, browser: BrowserContext) -> None:
    # As a script of the page's own: what the test itself has the page do counts as a person's for a while.
    await browser.add_init_script("if (location.pathname === '/lab/page') setTimeout(() => location.reload(), 700)")
    page, _ = await in_editor(w, browser)
    w.core.put(replace(w.core.notebooks[ADA], state="FROZEN", sentence="frozen: asleep on disk with its memory"))
    await expect(page.get_by_role("button", name="Wake it")).to_be_visible()
    assert not w.core.idle.woken
    await page.get_by_role("button", name="Wake it").click()
    await until(lambda: w.core.idle.woken == ["fold"])
