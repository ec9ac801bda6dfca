"""A person at a browser: real Chromium, through the real web door, into real JupyterLab and back to the pages."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from .real_box import Person, RealBox, real_box

pytestmark = pytest.mark.real
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync")  # fmt: skip
PICTURES = Path(__file__).resolve().parents[2] / "docs/img"
SECONDS = 30_000
"""Longest wait for anything on a page, in milliseconds."""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, headless=True, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(SECONDS)
    page = await context.new_page()
    yield page
    await context.close()


@pytest.fixture
def box(short_path: Path, ada: Person) -> Iterator[RealBox]:
    with real_box(short_path, who=ada, gpus=2) as box:
        yield box


async def picture(page: Page, name: str) -> None:
    """For the README; a run of the tests alone changes no file of the checkout."""
    if os.environ.get("NBD_SCREENSHOTS") == "1":
        PICTURES.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=PICTURES / f"{name}.png")


def link(box: RealBox, *argv: str) -> str:
    said = box.nbctl(*argv)
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


async def new_python_notebook(page: Page) -> None:
    """As a person does from the launcher. A cell that is run before the kernel is there is not run at all: JupyterLab drops it."""
    await page.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    await expect(page.locator(".jp-NotebookPanel .jp-Cell").first).to_be_visible(timeout=SECONDS)
    await expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible(timeout=SECONDS)


async def run_cell(page: Page, code: str, output: str) -> None:
    """Type into the last cell, run it, and see what it prints."""
    cell = page.locator(".jp-NotebookPanel .jp-CodeCell .cm-content").last
    await cell.click()
    await expect(cell).to_be_focused(timeout=SECONDS)
    await page.keyboard.type(code)
    await page.keyboard.press("Shift+Enter")
    await expect(page.locator(".jp-OutputArea-output").last).to_have_text(output, timeout=SECONDS)


async def test_a_person_works_in_jupyterlab(box: RealBox, ada: Person, page: Page) -> None:
    view = box.ask("start")
    await page.goto(link(box, "open", "main"))
    await expect(page.locator("#jp-top-panel")).to_be_visible(timeout=SECONDS)
    assert page.url.startswith(f"{view['url']}lab")
    await new_python_notebook(page)
    await run_cell(page, "print(6*7)", "42")
    await run_cell(page, "import os; print(os.getcwd(), os.getuid(), os.environ['USER'])", f"{ada.home} {ada.uid} {ada.name}")
    await picture(page, "lab")
    await page.keyboard.press("Control+s")
    # The first save asks for a name.
    await page.get_by_role("dialog").get_by_role("textbox").fill("answer.ipynb")
    await page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    file = ada.home / "answer.ipynb"
    async with asyncio.timeout(SECONDS / 1000):
        while not (file.exists() and "42" in file.read_text()):
            await asyncio.sleep(0.05)
    assert file.stat().st_uid == ada.uid
    cells = json.loads(file.read_text())["cells"]
    assert (cells[0]["source"], cells[0]["outputs"][0]["text"]) == (["print(6*7)"], ["42\n"])


async def test_the_web_program_dies_under_an_open_page(box: RealBox, page: Page) -> None:
    """kill -9 of web: it comes back by itself, and the page, loaded again, has the same kernel with its variables, without a new sign-in."""
    first = box.ask("start")
    await page.goto(link(box, "open", "main"))
    await expect(page.locator("#jp-top-panel")).to_be_visible(timeout=SECONDS)
    await new_python_notebook(page)
    await run_cell(page, "kept = 6 * 7; print('put')", "put")
    box.kill_9("web")
    box.wait_for_the_door()
    # JupyterLab also tries by itself, after up to a minute of its own choosing; a person who is told that the connection is lost reloads.
    await page.reload()
    await expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible(timeout=SECONDS)
    await run_cell(page, "print(kept)", "42")
    assert box.show()["container"] == first["container"]


async def test_the_pages(box: RealBox, page: Page) -> None:
    box.ask("start")
    await page.goto(link(box, "login"))
    assert page.url == f"http://localhost:{box.port}/"
    card = page.get_by_role("article").filter(has=page.get_by_role("link", name="main"))
    await expect(card).to_contain_text("Running")
    await expect(page.get_by_text("Simulated GPUs")).to_be_visible()
    await card.get_by_role("button", name="Stop main").click()
    await expect(card).to_contain_text("Stopped", timeout=SECONDS)
    assert box.show()["stop_reason"] == "user"
    await page.get_by_role("link", name="New notebook").click()
    await page.get_by_label("Name").fill("train")
    await page.get_by_role("radio", name="One GPU").check()
    await page.get_by_role("button", name="Start").click()
    await expect(page.get_by_role("heading", name="train")).to_be_visible()
    await expect(page.get_by_role("rowheader", name="Image")).to_be_visible(timeout=SECONDS)
    # When it runs, the page opens the editor by itself: on the notebook's own origin, signed in there too.
    await page.wait_for_url(re.compile(r"http://[a-z0-9]{10}\.localhost:\d+/lab"), timeout=SECONDS)
    await expect(page.locator("#jp-top-panel")).to_be_visible(timeout=SECONDS)
    shown = box.show("train")
    assert page.url.startswith(shown["url"])
    assert shown["lease"]["cards"]
    await page.goto(f"http://localhost:{box.port}/")
    await expect(page.get_by_role("article").filter(has=page.get_by_role("link", name="train"))).to_contain_text("Running")
    await picture(page, "home")


async def test_a_link_works_once(box: RealBox, browser: Browser) -> None:
    box.ask("start")
    once = link(box, "open", "main")
    first, second = await browser.new_context(), await browser.new_context()
    answers = [await (await context.new_page()).goto(once, timeout=SECONDS) for context in (first, second)]
    assert [answer.status if answer else 0 for answer in answers] == [200, 401]
    # Nor does the address alone open anything.
    stranger = await (await second.new_page()).goto(box.show()["url"], timeout=SECONDS)
    assert stranger is not None
    assert stranger.status == 401
    await asyncio.gather(first.close(), second.close())
