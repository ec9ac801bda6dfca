"""A person's home on the pages of a real nbd: deleted by mistake and back by a few clicks; a home that is too full says so and is let in again."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from .real_box import Person, RealBox, account, real_box, until
from .test_browser import SECONDS, browser, link, picture

pytestmark = pytest.mark.real
__all__ = ["browser"]
"""A fixture of a neighbour's."""
SETTINGS = '[homes]\nlook_every = "1s"\nquota = "24MiB"\nmeasure_every = "1s"\ntariff = "0.02 USD/GB-month"\n'
MIB = 1 << 20


@pytest.fixture
def ada() -> Iterator[Person]:
    """A person whose home no other test has a hand in."""
    with account("nbdtest-ines") as person:
        yield person


@pytest.fixture
def box(short_path: Path, ada: Person) -> Iterator[RealBox]:
    with real_box(short_path, who=ada, settings=SETTINGS) as box:
        yield box


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(SECONDS)
    expect.set_options(timeout=SECONDS)
    yield await context.new_page()
    await context.close()


def save(who: Person, path: Path, data: bytes) -> None:
    for folder in reversed([one for one in path.parents if one.is_relative_to(who.home) and not one.exists()]):
        folder.mkdir()
        os.chown(folder, who.uid, who.gid)
    path.write_bytes(data)
    os.chown(path, who.uid, who.gid)


def cells(*lines: str) -> bytes:
    return json.dumps({"cells": [{"cell_type": "code", "execution_count": 1, "source": "\n".join(lines)}], "metadata": {}}).encode()


def kept(box: RealBox, folder: str, name: str) -> bool:
    return f'"{name}"' in box.nbctl("--json", "home", "ls", "latest", folder).stdout


async def test_deleted_by_mistake_and_back_by_a_few_clicks(box: RealBox, ada: Person, page: Page) -> None:
    box.ask("start")
    paper, data = ada.home / "work/paper.ipynb", ada.home / "work/data.bin"
    save(ada, data, os.urandom(MIB))
    save(ada, paper, cells("first = 1"))
    await asyncio.to_thread(until, lambda: kept(box, "work", "paper.ipynb"), 30, lambda: box.output[-4000:])
    box.ask("stop", "main")
    box.ask("start")
    save(ada, paper, cells("second = 2"))
    wanted = data.read_bytes()
    data.unlink()
    await asyncio.to_thread(until, lambda: not kept(box, "work", "data.bin"), 30, lambda: box.output[-4000:])

    await page.goto(link(box, "login"))
    await page.get_by_role("link", name="See how it is kept").click()
    await expect(page.locator("#mood")).to_contain_text("Protected, ")
    await expect(page.get_by_text("does not survive the loss of its disk")).to_be_visible()
    await picture(page, "your-home")
    await page.get_by_role("link", name="stop main").first.click()
    await page.get_by_role("link", name="work/").click()
    await page.get_by_role("link", name="paper.ipynb", exact=True).click()
    await expect(page.get_by_text("first = 1")).to_be_visible()
    await page.get_by_role("link", name="compare").first.click()
    await expect(page.locator(".gone", has_text="second = 2")).to_be_visible()
    await page.go_back()
    await page.go_back()
    await page.get_by_role("link", name="Restore data.bin…").click()
    await page.get_by_role("radio", name="Back to its place").check()
    await page.get_by_role("button", name="Restore").click()
    await expect(page.get_by_role("heading", name="Back", exact=True)).to_be_visible()
    assert data.read_bytes() == wanted
    assert (data.stat().st_uid, data.stat().st_gid) == (ada.uid, ada.gid)
    assert b"second" in paper.read_bytes(), "what was not asked for stays as it is"
    usage = box.ask("home", "usage")
    assert usage["stored"] > MIB
    assert "USD a month" in usage["cost"]


async def test_a_home_above_its_quota_names_what_to_remove_and_starts_when_that_is_gone(box: RealBox, ada: Person, page: Page) -> None:
    box.ask("start")
    cache = ada.home / ".cache/pip/wheel"
    save(ada, cache, os.urandom(30 * MIB))
    await asyncio.to_thread(until, lambda: box.ask("home", "usage")["bytes"] > 30 * MIB, 30)
    box.ask("stop", "main")
    assert box.refused("start")[1] == "home_over_quota"
    failed = box.ask("show", "main")
    assert failed["state"] == "FAILED"
    assert "pip cache purge" in failed["failure"]["hint"]
    await page.goto(link(box, "login"))
    await expect(page.get_by_text("that it may take").first).to_be_visible()
    await page.goto(page.url + "home/room")
    await expect(page.get_by_text("No notebook starts until there is room.")).to_be_visible()
    await expect(page.get_by_text("pip cache purge")).to_be_visible()
    await picture(page, "room")
    cache.unlink()
    assert box.ask("start")["state"] == "RUNNING"
