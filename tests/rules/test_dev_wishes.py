"""`nbd dev`: what cannot be is said at once, in the words of the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from nbd.config import defaults
from nbd.dev import MOST_SIMULATED, Wish, add_arguments, banner, make, require_root, wish
from nbd.errors import HostUnfit, InvalidInput


def asked(*words: str) -> Wish:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return wish(parser.parse_args(words))


def test_what_can_be() -> None:
    assert asked().folder == Path.cwd() / ".nbd"
    assert asked("--listen", "[::1]:9000", "--simulate-gpus", "4").simulate_gpus == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--listen", "foo"), "--listen foo: must be an address and a port"),
        (("--listen", ""), "--listen : must be an address and a port"),
        (("--simulate-gpus", "-2"), f"--simulate-gpus -2: must be 0 to {MOST_SIMULATED}"),
        (("--simulate-gpus", "1000000"), "--simulate-gpus 1000000: must be 0 to"),
    ],
)
def test_what_cannot_be(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        asked(*words)
    assert caught.value.message.startswith(said)


@pytest.mark.parametrize(
    ("store", "at"),
    [("/srv/store", "/srv/store"), ("./mine", f"{Path.cwd()}/mine"), ("../mine", f"{Path.cwd()}/../mine"), (".", str(Path.cwd())),
     ("./s3:/x", f"{Path.cwd()}/s3:/x"), ("s3://bucket/prefix", "s3://bucket/prefix"), ("gs://nbd-{user}", "gs://nbd-{user}")],
)  # fmt: skip
def test_where_snapshots_go(store: str, at: str) -> None:
    assert asked("--store", store).store == at


@pytest.mark.parametrize(
    ("store", "meant"),
    [("s3:/bucket/x", "s3://bucket/x"), ("S3://bucket", "s3://bucket"), ("s3:bucket", "s3://bucket"), ("s3//bucket", "./s3//bucket"),
     ("gcs://bucket", "gs://bucket"), ("azure://bucket", "az://bucket"), ("mine", "./mine"), ("", "/a/folder"), ("http://host/x", "s3://bucket/prefix"),
     ("s3://", "s3://bucket/prefix"), ("s3:///x", "s3://bucket/prefix"), ("s3://b/{person}", "s3://bucket/prefix")],
)  # fmt: skip
def test_a_store_that_is_meant_otherwise_becomes_no_folder(store: str, meant: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        asked("--store", store)
    assert meant in caught.value.hint


@pytest.mark.parametrize("folder", ["/dev/null/x", "/" + "x" * 300])
def test_a_folder_that_cannot_be(folder: str) -> None:
    with pytest.raises(HostUnfit, match="cannot be made"):
        make(Path(folder))


def test_it_needs_root() -> None:
    require_root(0)
    with pytest.raises(HostUnfit) as caught:
        require_root(1000)
    assert "sudo" in caught.value.hint


def test_one_simulated_card_is_one() -> None:
    config = defaults()
    assert "SIMULATED GPUs: 1 card that exists only in a file; nothing computes on it." in banner(config, asked("--simulate-gpus", "1"))
    assert "SIMULATED GPUs: 2 cards that exist only in a file; nothing computes on them." in banner(config, asked("--simulate-gpus", "2"))
