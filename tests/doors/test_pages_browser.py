"""The pages in a real Chromium: the ways of a person through the door, on a desk and on a phone, without one complaint from the browser."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright, expect

from nbd.messages import CardView, GpusView, ProfileView, Progress
from tests.doors.world import ADA, World, until
from tests.fakes.core_api import notebook

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
)
pytestmark = pytest.mark.real


@pytest.fixture
async def browser(w: World) -> AsyncIterator[BrowserContext]:
    async with async_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or playwright.chromium.executable_path
        assert Path(program).exists(), "these tests need Chromium: make test installs it"
        chromium = await playwright.chromium.launch(executable_path=program, args=FLAGS.split())
        context = await chromium.new_context()
        context.set_default_timeout(10_000)
        yield context
        await chromium.close()


async def signed_in(w: World, browser: BrowserContext) -> tuple[Page, list[str]]:
    """Ada's page, and what the browser complains of: a script that broke, a rule of the content policy that a page of ours hit."""
    page, complaints = await browser.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "Security Policy" in message.text else None)
    await page.goto(f"{w.pages}/enter?ticket={w.core.ticket('ada')}")
    return page, complaints


async def test_open_leads_into_the_editor_without_a_question(w: World, browser: BrowserContext) -> None:
    page, complaints = await signed_in(w, browser)
    await page.get_by_role("button", name="Open fold").click()
    await page.wait_for_url(w.origin() + "/lab")
    await expect(page.locator("body")).to_contain_text("xxx")
    assert not complaints
    assert b"nbd_session" not in w.editor.heard()


async def test_a_start_is_watched_and_then_opens_by_itself(w: World, browser: BrowserContext) -> None:
    w.core.profiles = [ProfileView("cpu-small", "Small", "", "jupyterlab", "jupyter", 2, 2**32, 0, "", available=True, reason="free now")]
    page, complaints = await signed_in(w, browser)
    await page.get_by_role("link", name="New notebook").click()
    await page.get_by_label("Name").fill("fresh")
    await page.get_by_role("button", name="Start").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("fresh")
    view = next(view for view in w.core.notebooks.values() if view.name == "fresh")
    w.core.put(
        replace(view, state="STARTING", sentence="pulls the image: 1.2 of 3.4 GiB", progress=Progress("image", "", 0.35), phases={"home": 0.1})
    )
    await expect(page.get_by_text("Pulls the image: 1.2 of 3.4 GiB.")).to_be_visible()
    await expect(page.get_by_text("35 %")).to_be_visible()
    w.core.put(replace(view, state="RUNNING", sentence="runs"), w.folder / "editor.sock")
    await page.wait_for_url(w.origin(view.id) + "/lab")
    await page.go_back()
    await expect(page.get_by_role("button", name="Open fresh")).to_be_visible()
    assert not complaints


async def test_the_number_of_gpus_is_asked_for_where_it_means_something(w: World, browser: BrowserContext) -> None:
    w.core.profiles = [
        ProfileView("cpu-small", "Small", "", "jupyterlab", "jupyter", 2, 2**32, 0, "", available=True, reason="free now"),
        ProfileView("gpu-1", "One GPU", "", "jupyterlab", "jupyter", 4, 2**32, 1, "1 GPU", available=True, reason="free now"),
    ]
    w.core.gpus = GpusView(tuple(CardView(f"GPU-{number}", "NVIDIA H200", 2**37) for number in range(4)), simulated=False, reason="")
    page, complaints = await signed_in(w, browser)
    await page.goto(w.pages + "/new")
    many = page.get_by_label("How many GPUs")
    await expect(many).to_be_hidden()
    await page.get_by_role("radio", name="One GPU").check()
    await many.fill("3")
    await page.get_by_label("Name").fill("wide")
    await page.get_by_role("button", name="Start").click()
    await until(lambda: "start ada/wide gpu-1 3 False" in w.core.calls)
    assert not complaints


async def test_an_editor_that_goes_and_comes_back_takes_its_page_along(w: World, browser: BrowserContext) -> None:
    page, complaints = await signed_in(w, browser)
    await page.goto(f"{w.origin()}/.nbd/enter?ticket={w.core.ticket('ada', ADA)}")
    w.core.put(replace(w.core.notebooks[ADA], state="STOPPED", sentence="stopped by you"))
    await asyncio.sleep(0.1)
    await page.goto(w.origin() + "/lab/tree/a.ipynb")
    await expect(page.get_by_text("Stopped by you.")).to_be_visible()
    await expect(page.get_by_role("link", name="Start it")).to_have_attribute("href", f"{w.pages}/notebooks/{ADA}")
    w.core.put(replace(w.core.notebooks[ADA], state="RUNNING", sentence="runs"), w.folder / "editor.sock")
    await expect(page.locator("body")).to_contain_text("xxx")
    assert page.url == w.origin() + "/lab/tree/a.ipynb"
    assert not complaints


async def test_a_strangers_link_asks_first(w: World, browser: BrowserContext) -> None:
    page = await browser.new_page()
    link = f"{w.origin()}/.nbd/enter?ticket={w.core.ticket('ada', ADA)}"
    await page.goto(f"data:text/html,<a href='{link}'>free GPUs</a>")
    await page.get_by_role("link").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in here?")
    assert "redeem" not in w.core.calls
    await page.get_by_role("button", name="I asked for it: sign in").click()
    await page.wait_for_url(w.origin() + "/lab")


async def test_a_change_elsewhere_shows_without_moving_the_focus(w: World, browser: BrowserContext) -> None:
    page, complaints = await signed_in(w, browser)
    stop = page.get_by_role("button", name="Stop fold")
    await stop.focus()
    w.core.put(notebook("nada000002", "ada", "another"), w.folder / "editor.sock")
    await expect(page.get_by_role("link", name="another")).to_be_visible()
    await expect(stop).to_be_focused()
    await page.keyboard.press("Enter")
    await until(lambda: "stop fold" in w.core.calls)
    assert not complaints


@pytest.mark.parametrize("path", ["/", "/new", f"/notebooks/{ADA}", f"/notebooks/{ADA}/delete", f"/notebooks/{ADA}/log"])
async def test_every_page_fits_a_phone(w: World, browser: BrowserContext, path: str) -> None:
    w.core.put(replace(w.core.notebooks[ADA], name="a-name-as-long-as-names-may-be-1234567890", sentence="x" * 200), w.folder / "editor.sock")
    page, complaints = await signed_in(w, browser)
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.goto(w.pages + path)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not complaints
