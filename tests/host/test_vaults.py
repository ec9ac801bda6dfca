"""What the settings of homes name: a key that is made once and said, secrets that nobody else may read, a part of the store for each person."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbd.config import HomeSettings
from nbd.errors import HostUnfit, InvalidInput, NbdError, StateUnusable
from nbd.host.sequences import SequenceFile
from nbd.host.vaults import open_vault


@pytest.mark.parametrize("store", ["store", "/srv/{user}", "ftp://x/y", "s3://", "s3://{who}"])
def test_what_is_no_store(tmp_path: Path, store: str) -> None:
    with pytest.raises(InvalidInput):
        open_vault(HomeSettings(store=store), tmp_path)


def with_secrets(tmp_path: Path, text: str, store: str = "s3://bucket/homes") -> HomeSettings:
    file = tmp_path / "secrets"
    file.touch(mode=0o600)
    file.write_text(text)
    return HomeSettings(store=store, store_secrets=str(file))


GOOD = {
    "s3": 'access_key_id = "hush"\nsecret_access_key = "hush"\nvirtual_hosted_style_request = true\n',
    "az": 'account_name = "hush"\nsas_key = "sv=2021-08-06&sig=hush"\n',
    "gs": 'bearer_token = "hush"\n',
}


@pytest.mark.parametrize("scheme", GOOD)
def test_secrets_are_nobody_elses_and_never_told(tmp_path: Path, scheme: str) -> None:
    store = f"{scheme}://bucket/homes"
    settings = with_secrets(tmp_path, f'acess_key = "hush"\n{GOOD[scheme]}', store)
    file = tmp_path / "secrets"
    file.chmod(0o640)
    with pytest.raises(HostUnfit, match="others may read") as unfit:
        open_vault(settings, tmp_path)
    assert unfit.value.hint == f"chmod 0600 {file}"
    file.chmod(0o600)
    for wrong, why in ((f'acess_key = "hush"\n{GOOD[scheme]}', "acess_key"), ("", "lacks the credentials"), ('endpoint = "hush', "not TOML")):
        with pytest.raises(InvalidInput, match=why) as said:
            open_vault(with_secrets(tmp_path, wrong, store), tmp_path)
        assert "hush" not in str(said.value)
    assert open_vault(with_secrets(tmp_path, GOOD[scheme], store), tmp_path).vault.where == store


@pytest.mark.parametrize("scheme", GOOD)
def test_no_credentials_are_looked_for_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """Neither in the environment, nor at the cloud's metadata service, unless that was asked for."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCOUNT_NAME", "GOOGLE_BEARER_TOKEN"):
        monkeypatch.setenv(name, "aHVzaA==")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store = f"{scheme}://bucket"
    with pytest.raises(InvalidInput, match=r"homes\.store_secrets is not set") as said:
        open_vault(HomeSettings(store=store), tmp_path)
    assert "homes.store_role" in said.value.hint
    with pytest.raises(InvalidInput, match="skip_signature"):
        open_vault(with_secrets(tmp_path, GOOD[scheme] + 'skip_signature = "true"\n', store), tmp_path)
    open_vault(with_secrets(tmp_path, GOOD[scheme], store), tmp_path)
    assert not [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]


def test_systemd_hands_the_secrets_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nbd.store-secrets").write_text(GOOD["s3"])
    (tmp_path / "nbd.store-secrets").chmod(0o440)
    with pytest.raises(InvalidInput):
        open_vault(HomeSettings(store="s3://bucket"), tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert open_vault(HomeSettings(store="s3://bucket"), tmp_path).vault.where == "s3://bucket"


def test_files_that_the_secrets_name_are_looked_at_too(tmp_path: Path) -> None:
    key, ca = tmp_path / "key.json", tmp_path / "ca.pem"
    key.write_text('{"gcs_base_url": "http://127.0.0.1:1", "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}')
    key.chmod(0o644)
    with pytest.raises(HostUnfit, match="others may read"):
        open_vault(with_secrets(tmp_path, f'service_account_file = "{key}"', "gs://bucket"), tmp_path)
    key.chmod(0o600)
    open_vault(with_secrets(tmp_path, f'service_account_file = "{key}"', "gs://bucket"), tmp_path)
    with pytest.raises(HostUnfit, match="ca_file"):
        open_vault(with_secrets(tmp_path, f'{GOOD["s3"]}ca_file = "{ca}"'), tmp_path)


async def test_the_sequence_file_only_grows(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    for number in (3, 7, 5):
        await SequenceFile(path).note("ada", number)
    assert [await SequenceFile(path).highest(person) for person in ("ada", "eve")] == [7, 0]
    path.write_text("{")
    with pytest.raises(StateUnusable) as said:
        SequenceFile(path)
    assert isinstance(said.value, NbdError)
