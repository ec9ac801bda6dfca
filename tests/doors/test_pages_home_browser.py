"""The pages of a home in a real Chromium: what moves by itself, what a keyboard reaches, what fits a phone, and what is left without scripts."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.doors.home_world import EARLY, LATE, NASTY, ODD_QUOTED, put_home
from tests.doors.test_pages_browser import FLAGS
from tests.doors.world import World, until

pytestmark = pytest.mark.real
SNAP = f"/home/snapshots/{LATE}"
PAGES = (
    "/", "/home", "/home/now", "/home/room", "/home/confirm", SNAP, f"{SNAP}?path=a/{ODD_QUOTED}", f"{SNAP}/file?path=notes.md",
    f"{SNAP}/file?path=paper.ipynb", f"{SNAP}/file?path=paper.ipynb&against={EARLY}", f"{SNAP}/changes", f"{SNAP}/restore?path={'w' * 255}",
    "/home/restores/unknown",
)  # fmt: skip


@pytest.fixture
async def chromium(w: World) -> AsyncIterator[Browser]:
    put_home(w)
    expect.set_options(timeout=20_000)  # On a busy machine a page takes its time.
    async with async_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or playwright.chromium.executable_path
        assert Path(program).exists(), "these tests need Chromium: make test installs it"
        browser = await playwright.chromium.launch(executable_path=program, args=FLAGS.split())
        yield browser
        await browser.close()


@pytest.fixture
async def context(chromium: Browser) -> BrowserContext:
    made = await chromium.new_context()
    made.set_default_timeout(10_000)
    return made


async def signed_in(w: World, context: BrowserContext) -> tuple[Page, list[str]]:
    """Ada's page, and what the browser complains of."""
    page, complaints = await context.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "Security Policy" in message.text else None)
    await page.goto(f"{w.pages}/enter?ticket={w.core.ticket('ada')}")
    return page, complaints


async def test_what_was_saved_a_moment_ago_is_told_as_time_goes_on(w: World, context: BrowserContext) -> None:
    page, complaints = await signed_in(w, context)
    await page.get_by_role("link", name="See how it is kept").click()
    mood = page.locator("#mood")
    await expect(mood).to_contain_text("Protected, ")
    before = await mood.inner_text()
    await expect(mood).not_to_have_text(before)
    assert w.core.home
    w.core.home = replace(w.core.home, trouble="the store is away", pending=("stop main",))
    await expect(mood).to_have_text("Not protected")
    await expect(page.get_by_text("The store is away.")).to_be_visible()
    assert page.url == w.pages + "/home"
    assert not complaints


async def test_deleted_by_mistake_and_back_in_five_clicks(w: World, context: BrowserContext) -> None:
    page, complaints = await signed_in(w, context)
    await page.get_by_role("link", name="Home", exact=True).click()
    await page.get_by_role("link", name="stop main").click()
    await page.get_by_role("link", name="Restore work…").click()
    await expect(page.get_by_role("radio", name="Into a new folder")).to_be_checked()
    await page.get_by_role("button", name="Restore").click()
    await expect(page.get_by_text("3 of 10 names, 1.0 GiB")).to_be_visible()
    await expect(page.get_by_role("img", name="30 % done")).to_be_visible()
    w.core.kept.go_on.set()
    await expect(page.get_by_role("heading", name="Back, but not all of it")).to_be_visible()
    await expect(page.get_by_text("/home/ada/restored-x/work")).to_be_visible()
    assert not complaints


async def test_a_restore_is_stopped_by_its_button(w: World, context: BrowserContext) -> None:
    page, complaints = await signed_in(w, context)
    await page.goto(f"{w.pages}{SNAP}/restore?path=work")
    await page.get_by_role("radio", name="Back to its place").check()
    await page.get_by_role("button", name="Restore").click()
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_text("The restore was stopped.")).to_be_visible()
    await until(lambda: w.core.kept.left == 1)
    assert not complaints


async def test_a_keyboard_gets_to_each_snapshot(w: World, context: BrowserContext) -> None:
    page, complaints = await signed_in(w, context)
    await page.goto(w.pages + "/home")
    saves = page.get_by_text("1 save", exact=True).first
    await saves.focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    focused = page.locator(":focus")
    await expect(focused).to_have_attribute("href", SNAP)
    await page.keyboard.press("Enter")
    await page.wait_for_url(w.pages + SNAP)
    assert not complaints


async def test_names_lead_where_they_say(w: World, context: BrowserContext) -> None:
    page, complaints = await signed_in(w, context)
    for name in (*NASTY, "\\xff\\n\\x1b[2J"):
        await page.goto(w.pages + SNAP)
        await page.locator("td.name a", has_text="txt.exe" if "txt" in name else name).click()
        await expect(page.get_by_text("It is not shown here: it is no text.")).to_be_visible()
    asked = {query["path"] for word, query in w.core.kept.asked if word == "text"}
    assert asked == {*NASTY, "\udcff\n\x1b[2J"}
    assert not complaints


async def test_a_great_loss_waits_for_a_button(w: World, context: BrowserContext) -> None:
    assert w.core.home
    w.core.home = replace(w.core.home, withheld="4 of 5 entries are gone at once")
    page, complaints = await signed_in(w, context)
    await page.goto(w.pages + "/home")
    await page.get_by_role("link", name="See what would go").click()
    await expect(page.get_by_text("with 2 below it")).to_be_visible()
    await page.get_by_role("button", name="Yes, it is meant").click()
    await page.wait_for_url(w.pages + "/home")
    assert [word for word, _ in w.core.kept.asked].count("confirm") == 1
    assert not complaints


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_fits_a_phone_and_hits_no_rule(w: World, context: BrowserContext, path: str) -> None:
    page, complaints = await signed_in(w, context)
    await page.set_viewport_size({"width": 360, "height": 740})
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        await page.goto(w.pages + path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        assert await page.evaluate("[...document.querySelectorAll('a, button, input, select, summary')].every(one => one.tabIndex >= 0)")
    assert not complaints


async def test_without_scripts_all_of_it_works(w: World, chromium: Browser) -> None:
    context = await chromium.new_context(java_script_enabled=False)
    context.set_default_timeout(10_000)
    page, _ = await signed_in(w, context)
    await page.goto(w.pages + "/home")
    await expect(page.locator("#mood")).to_contain_text("Protected, ")
    await page.goto(f"{w.pages}{SNAP}/restore?path=work")
    await page.get_by_role("button", name="Restore").click()
    await expect(page.get_by_text("3 of 10 names")).to_be_visible()
    w.core.kept.go_on.set()
    await expect(page.get_by_role("heading", name="Back, but not all of it")).to_be_visible()
