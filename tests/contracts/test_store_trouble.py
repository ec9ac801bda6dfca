"""What goes wrong with a real server, in the port's words: with a hint that helps, no secret in it, and mended without a restart."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nbd.errors import HostUnfit, NbdError, NotFound, Unreachable
from nbd.homes.ports import ObjectStore
from nbd.homes.stores import layout, policy
from nbd.host.credentials import spelled
from nbd.host.objectstore import BucketStore
from nbd.host.stores import stores_of
from tests.fakes.fault_server import faulty
from tests.fakes.object_servers import BUCKET, SERVERS, Server, s3_user, strict_s3

from .object_stores import Servers, bucket_of, settings_of


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with ExitStack() as until_the_end:
        yield Servers(until_the_end)


@pytest.fixture(scope="module", params=[*SERVERS])
def server(servers: Servers, request: pytest.FixtureRequest) -> Server:
    found = servers.of(request.param)
    assert found
    return found


@pytest.fixture
def strict(server: Server) -> Iterator[Server]:
    if server.scheme == "s3":
        strict_s3(server, strict=True)
    yield server
    if server.scheme == "s3":
        strict_s3(server, strict=False)


async def every_call(store: ObjectStore) -> list[NbdError]:
    calls = [store.create("data/ab", b"x"), store.replace("latest", b"x", None), store.fetch("latest"), store.read("data/ab", 0, 1)]
    results = await asyncio.gather(*calls, store.list("data/"), store.delete("data/ab"), return_exceptions=True)
    return [result for result in results if isinstance(result, NbdError)]


async def test_wrong_credentials(strict: Server) -> None:
    for error in (found := await every_call(bucket_of(strict, strict.wrong))):
        assert isinstance(error, HostUnfit), error
        assert (error.code, error.retryable) == ("store_denied", False)
        assert "credentials" in error.hint
        assert "hush" not in str(error)
        assert f"{strict.scheme}://{BUCKET}" in error.message
    assert len(found) == 6


async def test_a_bucket_that_is_not_there(server: Server) -> None:
    for error in (found := await every_call(bucket_of(server, server.secrets, "none-such"))):
        assert (type(error), error.code) == (HostUnfit, "store_unfit"), error
        assert "does not exist" in error.message
    assert len(found) >= 5


async def test_new_credentials_in_the_file_are_found_without_a_restart(server: Server, tmp_path: Path) -> None:
    """They are denied: said clearly; the file is written anew: it goes on, for everybody, and what was stored is there."""
    good = server.secrets
    if server.scheme == "s3":
        good = s3_user(server, "nbd-sync", policy.document(layout.parse("s3://homes"), None))
        strict_s3(server, strict=True)
    try:
        stores = stores_of(settings_of(server, tmp_path, good), f"{server.scheme}://{BUCKET}/renewed")
        await stores("ada").create("data/ab", b"x")
        stores = stores_of(settings_of(server, tmp_path, server.wrong), f"{server.scheme}://{BUCKET}/renewed")
        for _ in range(2):
            with pytest.raises(HostUnfit) as said:
                await stores("ada").fetch("data/ab")
            assert "read again by itself" in said.value.hint
        settings_of(server, tmp_path, good)
        assert (await stores("ada").fetch("data/ab")).data == b"x"
        assert await stores("eve").create("data/ab", b"y")
        settings_of(server, tmp_path, server.wrong)
        assert (await stores("eve").fetch("data/ab")).data == b"y", "what is not denied is not looked at again"
    finally:
        if server.scheme == "s3":
            strict_s3(server, strict=False)


async def test_a_server_that_is_gone_and_one_that_is_silent() -> None:
    lines: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(writer)
        await reader.read()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    for endpoint in (f"http://127.0.0.1:{port}", "http://127.0.0.1:9"):
        for scheme, secrets in (
            ("s3", {"access_key_id": "hush", "secret_access_key": "hush"}),
            ("az", {"account_name": "hush", "sas_key": "sv=2021-08-06&sig=hush"}),
            ("gs", {"bearer_token": "hush"}),
        ):
            found = spelled(scheme, {**secrets, "endpoint": endpoint})
            for error in (errors := await every_call(BucketStore(f"{scheme}://{BUCKET}", found.options, found.client, patience=0.2))):
                assert isinstance(error, Unreachable)
                assert (error.code, error.retryable) == ("store_away", True)
                assert "hush" not in str(error)
            assert len(errors) == 6
    listening.close()
    for line in lines:
        line.close()


async def test_accounts_with_any_name_have_each_their_own(server: Server, tmp_path: Path) -> None:
    stores = stores_of(settings_of(server, tmp_path, server.secrets), f"{server.scheme}://{BUCKET}/everybody/{{user}}/nbd")
    people = ["ada", "Ada", "ada.", ".ada", "D\\ada", "ada/../eve", "a%2Fb", "ä ö", "+?&=#;"]
    for person in people:
        await stores(person).create("latest", person.encode())
    for person in people:
        assert (await stores(person).fetch("latest")).data == person.encode()
        assert [one.key for one in await stores(person).list("")] == ["latest"]
    assert sorted(await stores.persons()) == sorted(people)




async def test_two_in_one_moment_of_whom_none_may_have_won() -> None:
    """S3's 409 is not "it is there already"."""
    async with faulty(("127.0.0.1", 9), seed=1, share=1.0, only=("busy",)) as busy:
        found = spelled("s3", {"access_key_id": "x", "secret_access_key": "x", "endpoint": busy.endpoint})
        store = BucketStore(f"s3://{BUCKET}", found.options, found.client)
        for call in (store.create("data/ab", b"x"), store.replace("latest", b"x", None)):
            with pytest.raises(Unreachable) as said:
                await call
            assert said.value.code == "store_busy"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Of 127.0.0.1, vouched for by itself alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a store of our own")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = serialization.NoEncryption()
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return paths


async def test_an_endpoint_that_no_public_authority_vouches_for(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    secrets = {"access_key_id": "x", "secret_access_key": "x", "endpoint": f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"}
    for extra, kind in (({}, HostUnfit), ({"ca_file": str(cert)}, NotFound)):
        found = spelled("s3", {**secrets, **extra})
        with pytest.raises(kind) as said:
            await BucketStore(f"s3://{BUCKET}", found.options, found.client, patience=10).fetch("latest")
        assert ("certificate" in said.value.message) == (kind is HostUnfit)
    assert len(asked) == 1
    listening.close()
