"""Settings and profiles: what is wrong is named by file, line, key and nearest known key."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbd import config
from nbd.config import defaults, override, parse
from nbd.errors import InvalidInput
from nbd.gpus.model import Request, Sharing
from nbd.profiles import check_file, parse_profile, read_profiles
from nbd.values import duration, size

GIB = 1 << 30


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("[web]\nlisten = 8080\n", 'nbd.toml:2: web.listen: must be an address and a port, such as "127.0.0.1:8686"', "Address and port"),
        ('[core]\n# x\nstop_grce = "1s"\n', "nbd.toml:3: core.stop_grce: unknown key", "did you mean 'stop_grace'?"),
        ("[cor]\n", "nbd.toml:1: cor: unknown section", "did you mean 'core'?"),
        ("core = 3\n", "nbd.toml:1: core: must be a section", ""),
        ('[core]\nstop_grace = "20"\n', 'nbd.toml:2: core.stop_grace: must be a time such as "20s", "30min" or "8h"', ""),
        ('[core]\nreconcile_every = "0s"\n', "nbd.toml:2: core.reconcile_every: must be longer than nothing", ""),
        ("[core]\ncrash_limit = true\n", "nbd.toml:2: core.crash_limit: must be a whole number, 0 to 1000000000", ""),
        ("[core\n", "nbd.toml:1: Expected ']' at the end of a table declaration", ""),
        ('[web]\nlisten = "1.2.3.4:99999"\n', 'nbd.toml:2: web.listen: must be an address and a port, such as "127.0.0.1:8686"', ""),
    ],
)
def test_a_wrong_setting_is_named(source: str, message: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(source, "nbd.toml")
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_a_setting_is_read() -> None:
    read = parse('[core]\nstop_grace = "1min"\n[gpus]\ncdi_folders = ["/x"]\n', "nbd.toml")
    assert (read.core.stop_grace, read.gpus.cdi_folders) == (60.0, ("/x",))


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert config.read(tmp_path / "absent.toml") == defaults()


def test_one_setting_can_be_overridden() -> None:
    assert override(defaults(), 'web.listen="[::1]:9"').web.listen == "[::1]:9"
    with pytest.raises(InvalidInput, match="unknown key"):
        override(defaults(), 'web.listn="x"')
    with pytest.raises(InvalidInput, match="no section"):
        override(defaults(), "wbe.listen=1")


@pytest.mark.parametrize(("text", "value"), [("12GiB", 12 * GIB), ("1.5 KiB", 1536), ("0B", 0), ("7", 7)])
def test_sizes(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["12GB", "-1GiB", "GiB", "", 12, None, "1e3"])
def test_no_sizes(text: object) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        size(text)


@pytest.mark.parametrize(("text", "value"), [("250ms", 0.25), ("20s", 20), ("30min", 1800), ("8h", 28800), ("7d", 604800)])
def test_durations(text: str, value: float) -> None:
    assert duration(text) == value


PROFILE = 'title = "One"\n'


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "p.toml:1: title: is missing"),
        (PROFILE + "cpu = 2\n", "p.toml:2: cpu: unknown key"),
        (PROFILE + 'memory = "4GB"\n', "p.toml:2: memory: must be a size"),
        (PROFILE + 'editor = "emacs"\n', 'p.toml:2: editor: must be one of "jupyterlab"'),
        (PROFILE + "gpu = 2\n", "p.toml:2: gpu: must be written as [gpu]"),
        (PROFILE + "[gpu]\nshared = true\n", "p.toml:3: gpu.shared: a shared card needs a VRAM budget"),
        (PROFILE + "[gpu]\nmodel = []\n", "p.toml:3: gpu.model: unknown key"),
        (PROFILE + '[[mounts]]\nsource = "data"\ntarget = "/data"\n', "p.toml:3: mounts.source: must be an absolute path"),
        (PROFILE + '[[mounts]]\nsource = "/a/../b"\ntarget = "/data"\n', "p.toml:3: mounts.source: must be an absolute path"),
        (PROFILE + 'name = "x"\n', "p.toml:2: name: unknown key"),
        (PROFILE + "cpus = 0\n", "p.toml:2: cpus: must be a number above 0"),
        (PROFILE + "cpus = nan\n", "p.toml:2: cpus: must be a number above 0"),
        (PROFILE + "cpus = inf\n", "p.toml:2: cpus: must be a number above 0"),
        (PROFILE + f"cpus = {10**400}\n", "p.toml:2: cpus: must be a number above 0"),
        (PROFILE + f"pids = {10**20}\n", "p.toml:2: pids: must be a whole number"),
        (PROFILE + f"pids = {'9' * 5000}\n", "p.toml:1: cannot be read"),
        (PROFILE + f"pids = {'[' * 5000}\n", "p.toml:1: cannot be read"),
        (PROFILE + "pids = 0\n", "p.toml:2: pids: must be a whole number, 1 to"),
        (PROFILE + "open_files = 0\n", "p.toml:2: open_files: must be a whole number, 1 to"),
        (PROFILE + 'memory = "0B"\n', 'p.toml:2: memory: must be "1MiB" or more'),
        (PROFILE + f'memory = "{"9" * 400}TiB"\n', "p.toml:2: memory: must be a size"),
        (PROFILE + 'tmp = "0B"\n', 'p.toml:2: tmp: must be "1MiB" or more'),
        (PROFILE + f'stop_grace = "{"9" * 400}d"\n', "p.toml:2: stop_grace: must be a time"),
        (PROFILE + 'image = ""\n', "p.toml:2: image: must be an image"),
        (PROFILE + 'image = "UPPER CASE"\n', "p.toml:2: image: must be an image"),
        (PROFILE + 'image = "-x"\n', "p.toml:2: image: must be an image"),
        (PROFILE + 'image = "a//b"\n', "p.toml:2: image: must be an image"),
        (PROFILE + f'image = "{"a" * 301}"\n', "p.toml:2: image: must be an image"),
        (PROFILE + 'mounts = ["/etc"]\n', "p.toml:2: mounts: must be written as [[mounts]]"),
        (PROFILE + "mounts = [1]\n", "p.toml:2: mounts: must be written as [[mounts]]"),
        (PROFILE + '[[mounts]]\nsource = "/a\\u0000b"\ntarget = "/data"\n', "p.toml:3: mounts.source: must be an absolute path"),
    ],
)
def test_a_wrong_profile_is_named(source: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_profile(source, "p.toml", "p")
    assert caught.value.message.startswith(said)


@pytest.mark.parametrize(
    "image",
    ["jupyter", "localhost/nbd/jupyter:latest", "debian:12-slim", "registry.example:5000/team/a_b/c--d:v1.2_3", f"a/b@sha256:{'0' * 64}", "Host/x"],
)
def test_images_that_podman_knows(image: str) -> None:
    assert parse_profile(f'{PROFILE}image = "{image}"\n', "f", "p").image == image


@pytest.mark.parametrize("name", ["Big", "a b", "../x", "", "x" * 41])
def test_a_profile_has_a_plain_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be called"):
        parse_profile(PROFILE, "f", name)


def test_what_a_profile_asks_of_the_pool() -> None:
    shared = parse_profile(PROFILE + '[gpu]\nshared = true\nmemory = "8GiB"\nmodels = ["a4000"]\n', "f", "p")
    assert shared.gpu_request(None) == Request(1, ("a4000",), 8 * GIB, Sharing.SHARED)
    assert shared.gpu_request(0) is None
    assert shared.gpu_request(3) == Request(3, ("a4000",), 8 * GIB, Sharing.SHARED)
    plain = parse_profile(PROFILE, "f", "p")
    assert plain.gpu_request(None) is None
    with pytest.raises(InvalidInput, match="has no GPUs"):
        plain.gpu_request(1)
    with pytest.raises(InvalidInput, match="negative"):
        shared.gpu_request(-1)


def test_a_file_is_checked(tmp_path: Path) -> None:
    good, bad, binary = tmp_path / "good.toml", tmp_path / "bad.toml", tmp_path / "binary.toml"
    good.write_text(PROFILE)
    bad.write_text("titel = 'x'\n")
    binary.write_bytes(b"\xff\xfe")
    assert check_file(good) == ()
    assert check_file(bad)[0].text == f"{bad}:1: titel: unknown key"
    assert check_file(bad)[0].hint == "did you mean 'title'?"
    assert check_file(binary)[0].text == f"{binary}: is not UTF-8 text"
    assert check_file(tmp_path / "absent.toml")[0].text.endswith("No such file or directory")
    assert list(read_profiles(tmp_path / "nowhere")) == []
