"""On real parts: a person replaces their editor's socket by a link to core's own, and the real door leads nobody there."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator

import aiohttp
import pytest
from yarl import URL

from tests.doors.world import Loopback

from .real_box import Person, RealBox, account, real_box, short_folder

pytestmark = pytest.mark.real


@pytest.fixture
def box() -> Iterator[tuple[RealBox, Person]]:
    with short_folder() as folder, account("nbdtest-gus") as gus, real_box(folder, who=gus) as box:
        yield box, gus


async def asked(link: str, box: RealBox, who: Person) -> list[tuple[int, str]]:
    """What the notebook's address answers, before and after its socket is a link. Signed in by the one-time link."""
    answers = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Loopback()), cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.get(link, allow_redirects=False) as answer:
            cookie = answer.cookies["nbd_session"].value
        url, headers = URL(link).with_path("/v1/status").with_query(None), {"Cookie": f"nbd_session={cookie}", "Connection": "close"}
        for swapped in (False, True):
            if swapped:
                squat(box, who)
            async with http.post(url, headers=headers, data=bytes(1 << 20)) as answer:  # an upload has a connection of its own always
                answers.append((answer.status, await answer.text()))
    return answers


def squat(box: RealBox, who: Person) -> None:
    """As the person, who may write in that folder."""
    socket = box.editor_socket(box.show()["id"])
    subprocess.run(["ln", "-sfn", str(box.socket), str(socket)], user=who.uid, group=who.gid, extra_groups=[], check=True)
    assert socket.is_symlink()


def test_a_link_to_cores_socket_leads_nobody_there(box: tuple[RealBox, Person]) -> None:
    it, gus = box
    it.ask("start", "main", "--profile", "cpu-small")
    answers = asyncio.run(asked(it.ask("open", "main")["url"], it, gus))
    (before, _), (after, said) = answers
    assert before == 403, "the editor itself refuses what has no token of its own"
    assert (after, "not_the_editor" in said) == (503, True), said
