"""What the pages say of this box's GPUs, to people and to admins, and what they offer accordingly."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from nbd.messages import NO_DRIVER, CardView, GpusView, ProfileView
from tests.doors.test_pages import GIB, get
from tests.doors.world import World
from tests.fakes.core_api import digest

CPU = ProfileView("cpu", "Small", "", "jupyterlab", "jupyter", 2, GIB, 0, "", available=True, reason="free now")
GPU = ProfileView("gpu-1", "One GPU", "", "jupyterlab", "jupyter", 4, GIB, 1, "1 GPU", available=True, reason="free now")
REASON = f"{NO_DRIVER}: libnvidia-ml.so.1 is not installed"


def cards(count: int, **more: str) -> tuple[CardView, ...]:
    return tuple(CardView(f"GPU-{number}", "NVIDIA H200", 141 * GIB, **more) for number in range(count))  # type: ignore[arg-type]


async def admin(w: World) -> str:
    token = w.core.sign_in("boss")
    sign_in = w.core.sign_ins[digest(token)]
    w.core.add(token, replace(sign_in, person=replace(sign_in.person, admin=True)))
    async with asyncio.timeout(10):
        while "boss" not in await text(w, token):  # the door hears of it a moment later
            await asyncio.sleep(0.01)
    return token


async def text(w: World, token: str) -> str:
    async with w.ask("GET", w.pages + "/", token) as answer:
        return await answer.text()


async def test_a_box_without_gpus_says_so_plainly_and_tells_admins_why(w: World, pages_token: str) -> None:
    w.core.gpus = GpusView((), simulated=False, reason=REASON)
    for path in ("/", "/new"):
        page = await get(w, path, pages_token)
        assert "This box has no GPU." in page
        assert "libnvidia" not in page
        assert "Simulated" not in page
    boss = await admin(w)
    assert re.search(r"<details[^>]*><summary>Why</summary>No NVIDIA driver: libnvidia-ml.so.1 is not installed", await get(w, "/", boss))


async def test_a_driver_in_trouble_is_not_called_a_box_without_gpus(w: World, pages_token: str) -> None:
    w.core.gpus = GpusView((), simulated=False, reason="the driver did not answer within 5 s")
    page = await get(w, "/", pages_token)
    assert "The GPUs of this box cannot be used now." in page
    assert "did not answer" not in page


@pytest.mark.parametrize(("count", "offered"), [(0, None), (1, None), (2, "2"), (4, "4")])
async def test_gpus_are_offered_as_many_as_there_are_and_with_their_profiles_alone(
    w: World, pages_token: str, count: int, offered: str | None
) -> None:
    w.core.profiles, w.core.gpus = [CPU, GPU], GpusView(cards(count), simulated=False, reason="" if count else REASON)
    page = await get(w, "/new", pages_token)
    fields = re.findall(r'<input name="(gpus[^"]*)"[^>]* max="(\d+)"', page)
    assert fields == ([("gpus.gpu-1", offered)] if offered else [])


async def test_a_card_that_is_cut_is_not_counted_beside_its_instances(w: World, pages_token: str) -> None:
    instances = tuple(replace(card, uuid=f"MIG-{card.uuid}", parent="GPU-0") for card in cards(2))
    w.core.profiles, w.core.gpus = [GPU], GpusView((*cards(2), *instances), simulated=False, reason="")
    assert ' max="3"' in await get(w, "/new", pages_token)


async def test_the_names_field_says_its_rule(w: World, pages_token: str) -> None:
    page = await get(w, "/new", pages_token)
    (rule,) = re.findall(r'<input name="name"[^>]* title="([^"]+)"', page)
    assert "a to z" in rule
    assert f'<small id="name-help">{rule}</small>' in page
