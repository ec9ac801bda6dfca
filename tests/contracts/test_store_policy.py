"""The printed policy on a server that goes by it: a person's key reaches their own prefix and no other; sync's own reaches all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nbd.errors import HostUnfit
from nbd.homes.ports import ObjectStore
from nbd.homes.stores import layout, policy
from tests.fakes.object_servers import BUCKET, Server, s3, s3_user, strict_s3

from .object_stores import bucket_of

LAYOUT = layout.parse(f"s3://{BUCKET}/people")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3() as found:
        yield found


async def all_denied(store: ObjectStore) -> None:
    for call in (store.fetch("latest"), store.read("latest", 0, 1), store.create("data/ab", b"x"), store.delete("latest")):
        with pytest.raises(HostUnfit, match="denies access"):
            await call


async def test_ones_own_prefix_and_no_other(server: Server) -> None:
    everybody = bucket_of(server, server.secrets)
    others = [everybody.below(path) for path in ("people/adam", "people/eve", "elsewhere/ada")]
    for other in (*others, everybody):
        await other.create("latest", b"theirs")
    keys = {person: s3_user(server, person or "sync", policy.document(LAYOUT, person)) for person in ("ada", None)}
    strict_s3(server, strict=True)
    try:
        ada = bucket_of(server, keys["ada"])
        own = ada.below("people/ada")
        version = await own.replace("latest", b"mine", None)
        await own.replace("latest", b"more", version)
        await own.create("data/ab", b"x")
        assert (await own.fetch("latest")).data == b"more"
        assert [one.key for one in await own.list("")] == ["data/ab", "latest"]
        await own.delete("data/ab")
        for theirs in (*(ada.below(path) for path in ("people/adam", "people/eve", "elsewhere/ada")), ada):
            await all_denied(theirs)
        sync = bucket_of(server, keys[None])
        for person in ("ada", "adam", "eve"):
            assert (await sync.below(f"people/{person}").fetch("latest")).data
            await sync.below(f"people/{person}").create("data/ab", b"x")
        assert sorted(await sync.folders("people/")) == ["ada", "adam", "eve"]
        with pytest.raises(HostUnfit):
            await sync.below("elsewhere/ada").fetch("latest")
    finally:
        strict_s3(server, strict=False)
