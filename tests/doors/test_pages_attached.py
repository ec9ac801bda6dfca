"""The page of a home tells of attached data: where, how, what a person has to do; and escapes what others named."""

from __future__ import annotations

from nbd.attachments import AttachedView
from nbd.messages import Unkept

from .home_world import put_home
from .test_pages import get
from .world import World

FINE = AttachedView("1" * 20, "s3://lab/<b>x", True, False, True, "in step", "", ("main:/data",), 1.0, 1200, 5 << 20)  # noqa: FBT003
COPY = "paper<i>.conflict-box-20261120T140500Z"
WRONG = AttachedView(
    "2" * 20, "s3://lab/y", True, False, False, "in step; 1 file changed on both sides, both versions are kept", "compare each", conflicts=(COPY,),  # noqa: FBT003
    left=(Unkept("l<nk", "it is a symbolic link"),), left_count=3,
)  # fmt: skip


async def test_what_is_attached_is_told_with_its_next_step(w: World, pages_token: str) -> None:
    put_home(w, attached=(FINE, WRONG))
    page = await get(w, "/home", pages_token)
    for words in ("Attached data", "s3://lab/&lt;b&gt;x", "main:/data", "read and write: in step.", "1,200 files, 5.0 MiB", "Compare each.",
                  "paper&lt;i&gt;.conflict-box", "3 not carried, such as", "l&lt;nk"):  # fmt: skip
        assert words in page, words
    assert "<b>x" not in page


async def test_without_any_nothing_is_said_and_a_core_that_cannot_tell_spoils_nothing(w: World, pages_token: str) -> None:
    put_home(w, attached=())
    assert "Attached data" not in await get(w, "/home", pages_token)
    put_home(w)
    assert "Your home" in await get(w, "/home", pages_token)
