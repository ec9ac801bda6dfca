"""What the settings of homes name: a key that is made once and said, secrets that nobody else may read, a part of the store for each person."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from nbd.config import HomeSettings
from nbd.errors import HostUnfit, InvalidInput, NbdError, StateUnusable
from nbd.host.sequences import SequenceFile
from nbd.host.vaults import open_vault, part_of


def test_the_key_is_made_once_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert open_vault(HomeSettings(), tmp_path).where == str(tmp_path / "store")
    key = tmp_path / "master.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert str(key) in caplog.text
    assert key.read_text().strip() not in caplog.text
    key.chmod(0o644)
    with pytest.raises(HostUnfit, match="others may read"):
        open_vault(HomeSettings(), tmp_path)


@pytest.mark.parametrize("store", ["store", "ftp://x/y", "s3://"])
def test_what_is_no_store(tmp_path: Path, store: str) -> None:
    with pytest.raises(InvalidInput):
        open_vault(HomeSettings(store=store), tmp_path)


def test_secrets_are_nobody_elses_and_never_told(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text('acess_key_id = "hush"\n')
    settings = HomeSettings(store="s3://bucket/homes", store_secrets=str(file))
    file.chmod(0o640)
    with pytest.raises(HostUnfit, match="others may read"):
        open_vault(settings, tmp_path)
    file.chmod(0o600)
    with pytest.raises(InvalidInput, match="acess_key_id") as said:
        open_vault(settings, tmp_path)
    assert "hush" not in str(said.value)
    file.write_text('access_key_id = "hush"\nsecret_access_key = "hush"\n')
    assert open_vault(settings, tmp_path).where == "s3://bucket/homes"


NAMES = [("ada", "ada"), ("a.b@c", "a.b@c"), ("..", "%2E."), (".", "%2E"), ("a/b", "a%2Fb"), ("D\\ada", "D%5Cada")]


@pytest.mark.parametrize(("person", "part"), NAMES)
def test_a_name_leads_nowhere_else(person: str, part: str) -> None:
    assert part_of(person) == part


async def test_the_sequence_file_only_grows(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    for number in (3, 7, 5):
        await SequenceFile(path).note("ada", number)
    assert [await SequenceFile(path).highest(person) for person in ("ada", "eve")] == [7, 0]
    path.write_text("{")
    with pytest.raises(StateUnusable) as said:
        SequenceFile(path)
    assert isinstance(said.value, NbdError)
