"""What a container gets, to the last field: a golden spec, and the laws that hold for each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbd import wire
from nbd.gpus.model import Lease
from nbd.host.containers import as_libpod
from nbd.notebooks.model import Notebook, Occupant
from nbd.notebooks.spec import LABEL, HostLimits, Site, build, group, image_of, passwd
from nbd.profiles import Mount, parse_profile

GIB = 1 << 30
ADA = Occupant("ada", 1001, 1002, "/home/ada")
ROW = Notebook("nabcdefghi", "train_1.b", "ada", "p", "jupyterlab", 5.0, run=3)
PROFILE = parse_profile('title = "P"\ncpus = 4\nmemory = "8GiB"\nshm = "2GiB"\n[gpu]\n', "p", "p")
LIMITS = HostLimits(open_files=20_000, processes=16_384, cpus=2, memory_bytes=6 * GIB)
SITE = Site("/var/lib/nbd", "localhost/nbd/", "/run/nbd/notebooks/nabcdefghi", "/run/nbd/identities/1001", "/var/lib/nbd/logs/n.log", "nbd-n", LIMITS)
LEASE = Lease("GPU-1", ROW.id, "ada/train", 7.0)


def test_a_container_is_the_persons() -> None:
    spec = build(ROW, PROFILE, ADA, [LEASE], SITE)
    assert (spec.uid, spec.gid, spec.work_dir) == (1001, 1002, "/home/ada")
    assert [(bind.source, bind.target, bind.writable) for bind in spec.binds] == [
        ("/home/ada", "/home/ada", True),
        (SITE.editor_folder, "/run/nbd", True),
        ("/run/nbd/identities/1001/passwd", "/etc/passwd", False),
        ("/run/nbd/identities/1001/group", "/etc/group", False),
    ]
    assert spec.devices == ("nvidia.com/gpu=GPU-1",)
    assert spec.hostname == "train-1-b"


def test_it_asks_for_no_more_than_the_box_has() -> None:
    spec = build(ROW, PROFILE, ADA, [], SITE)
    assert (spec.cpus, spec.memory_bytes, spec.open_files, spec.pids) == (2.0, 6 * GIB, 20_000, 2048)
    assert spec.shm_bytes == 2 * GIB


def test_its_labels_rebuild_the_state() -> None:
    labels = build(ROW, PROFILE, ADA, [LEASE], SITE).labels
    assert wire.decode(Notebook, labels[f"{LABEL}notebook"]) == ROW
    assert wire.decode(tuple[Lease, ...], labels[f"{LABEL}leases"]) == (LEASE,)
    assert (labels[f"{LABEL}instance"], labels[f"{LABEL}id"], labels[f"{LABEL}run"]) == ("/var/lib/nbd", ROW.id, "3")


def test_podman_is_asked_for_a_closed_box() -> None:
    body = as_libpod(build(ROW, PROFILE, ADA, [LEASE], SITE))
    assert body["cap_drop"] == ["ALL"]
    assert body["no_new_privileges"] is body["read_only_filesystem"] is body["init"] is True
    assert "privileged" not in body
    assert "seccomp_policy" not in body
    assert body["user"] == "1001:1002"
    assert body["devices"] == [{"path": "nvidia.com/gpu=GPU-1"}]
    assert {mount["destination"] for mount in body["mounts"]} == {
        "/home/ada", "/run/nbd", "/etc/passwd", "/etc/group", "/tmp", "/var/tmp", "/run/lock", "/dev/shm",
    }  # fmt: skip
    assert all({"nosuid", "nodev"} <= set(mount["options"]) for mount in body["mounts"])
    assert body["resource_limits"]["memory"] == {"limit": 6 * GIB, "swap": 6 * GIB}
    assert body["networks"] == {"nbd-n": {}}


def test_no_network_is_none_at_all() -> None:
    body = as_libpod(build(ROW, PROFILE, ADA, [], replace(SITE, network=None)))
    assert body["netns"] == {"nsmode": "none"}
    assert "networks" not in body


def test_no_environment_of_the_daemon_leaks() -> None:
    spec = build(ROW, PROFILE, ADA, [], SITE)
    assert set(spec.env) == {"HOME", "USER", "LOGNAME", "SHELL", "LANG", "JUPYTER_RUNTIME_DIR", "JUPYTER_ALLOW_INSECURE_WRITES"}
    assert not any("token=" in word and not word.endswith("token=") for word in spec.command)


def test_a_profiles_mounts_are_read_only_unless_it_says_so() -> None:
    profile = replace(PROFILE, mounts=(Mount("/srv/data", "/data"), Mount("/srv/out", "/out", writable=True)))
    assert [bind.writable for bind in build(ROW, profile, ADA, [], SITE).binds][-2:] == [False, True]


@pytest.mark.parametrize(
    ("image", "reference"),
    [("jupyter", "localhost/nbd/jupyter:latest"), ("lab/torch", "lab/torch"), ("torch:2.5", "torch:2.5"), ("example.org/a/b:1", "example.org/a/b:1")],
)
def test_images(image: str, reference: str) -> None:
    assert image_of(replace(PROFILE, image=image), "localhost/nbd/") == reference


def test_everybody_has_a_name_inside() -> None:
    assert passwd(ADA).splitlines()[:2] == ["root:x:0:0:root:/root:/bin/bash", "ada:x:1001:1002::/home/ada:/bin/bash"]
    root = Occupant("root", 0, 0, "/root")
    assert [line for line in passwd(root).splitlines() if line.startswith("root")] == ["root:x:0:0::/root:/bin/bash"]
    assert "ada:x:1002:" in group(ADA)


@pytest.mark.parametrize(
    ("own", "hidden"),
    [
        (("/var/lib/nbd", "/run/nbd"), ()),
        (("/home/ada/x/.nbd", "/home/ada/x/.nbd/state", "/home/ada/x/.nbd/run"), ("/home/ada/x/.nbd",)),
        (("/home/ada", "/home/ada/state", "/home/ada/run"), ("/home/ada/run", "/home/ada/state")),
        (("/home/adalbert/.nbd",), ()),
        (("/srv/data/nbd/state",), ("/data/nbd/state",)),
        (("/srv",), ()),
    ],
)
def test_nbds_own_folders_are_not_seen_through_a_home_or_a_mount(own: tuple[str, ...], hidden: tuple[str, ...]) -> None:
    profile = replace(PROFILE, mounts=(Mount("/srv/data", "/data"),))
    spec = build(ROW, profile, ADA, [], replace(SITE, own=own))
    assert spec.hidden == hidden
    empty = [mount for mount in as_libpod(spec)["mounts"] if mount["destination"] in hidden]
    assert [(mount["type"], {"ro", "notmpcopyup"} <= set(mount["options"])) for mount in empty] == [("tmpfs", True)] * len(hidden)
