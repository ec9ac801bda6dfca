"""Which buckets, options and places may be named; which folder each is; and whether there is room for it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nbd.errors import HostUnfit, InvalidInput, NbdError, Refused, Unreachable
from nbd.homes.attached.fit import fits
from nbd.homes.attached.model import Action, Do, Here, Plan, Remote
from nbd.homes.attached.plan import SECOND, ripe
from nbd.homes.attached.url import parsed, persons_options, signs, unfit_path
from nbd.homes.model import HomeFacts, Kind, Seen
from nbd.messages import AttachRequest
from nbd.notebooks.attach import Ground, Wanted, checked, failed, offered, own, wanted
from nbd.notebooks.model import Occupant
from nbd.profiles import parse_profile

ADA, EVE = Occupant("ada", 1000, 1000, "/home/ada"), Occupant("eve", 1001, 1001, "/home/eve")
GROUND = Ground("/state/attached", Occupant("nobody", 65534, 65534, "/"))
GIB = 1 << 30


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("s3://bucket", "s3://bucket"), ("s3://bucket/", "s3://bucket"), ("s3://my.bucket-1/a b/ü/", "s3://my.bucket-1/a b/ü"),
        ("az://container/x", "az://container/x"), ("gs://Bucket_1/x/y", "gs://Bucket_1/x/y"),
    ],
)  # fmt: skip
def test_urls(url: str, wanted: str) -> None:
    assert parsed(url).url == wanted


@pytest.mark.parametrize(
    "url",
    ["", "s3://", "s3:///x", "bucket/x", "http://bucket/x", "file:///etc", "S3://bucket", "s3://b", "s3://a@evil.example/x", "s3://a:80/x", "s3://a?b/x",
     "s3://-abc/x", "s3://abc#/x", "s3://bucket//x", "s3://bucket/../x", "s3://bucket/x//", "s3://bucket/x\n", "s3://bucket/" + "x" * 256,
     "memory://bucket/x", "s3://бакет/x"],
)  # fmt: skip
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(InvalidInput) as said:
        parsed(url)
    assert said.value.code == "bad_attachment"


@pytest.mark.parametrize("path", ["/data", "/data/in/it", "/opt/data", "/mnt", "/srv/x y", "/homework", "/etcetera", "/data:1"])
def test_places(path: str) -> None:
    assert unfit_path(path, "/home/ada") == ""


@pytest.mark.parametrize(
    "path",
    ["", "data", "/", "/data/", "//data", "/data/../etc", "/data/./x", "/data//x", "/a\nb", "/a\0b", "/opt", "/etc", "/etc/passwd", "/usr/local/lib",
     "/proc/1", "/dev/shm", "/sys", "/run", "/run/nbd", "/tmp/x", "/var/lib", "/home", "/home/ada", "/home/ada/data", "/home/eve", "/root",
     "/lib64/x", "/" + "x" * 600],
)  # fmt: skip
def test_places_where_the_system_or_the_home_is(path: str) -> None:
    assert unfit_path(path, "/home/ada")


def test_places_that_are_taken() -> None:
    for path in ("/data", "/data/x", "/data/x/y"):
        assert "there already" in unfit_path(path, "/home/ada", ("/data/x",)) or path == "/data2"
    assert unfit_path("/data/xy", "/home/ada", ("/data/x",)) == ""
    assert unfit_path("/srv", "/srv/homes/ada")
    assert unfit_path("/srv/homes/adam", "/srv/homes/ada") == ""


GOOGLE = {
    "type": "service_account", "private_key_id": "1", "private_key": "-----BEGIN", "client_email": "a@b", "token_uri": "http://169.254.169.254/",
    "gcs_base_url": "http://169.254.169.254/", "disable_oauth": True,
}  # fmt: skip


GOOGLE_KEY = {"service_account_key": json.dumps(GOOGLE)}


def test_what_a_person_says_of_a_bucket_is_cut_down_to_what_leads_nowhere() -> None:
    s3 = {"access_key_id": "AKIA123", "secret_access_key": "a/b+c=", "session_token": "x" * 900, "region": "eu-central-1"}
    assert persons_options("s3", s3) == s3
    assert persons_options("s3", {}) == {}
    az = {"account_name": "lab1", "account_key": "abc="}
    assert persons_options("az", az) == az
    found = json.loads(persons_options("gs", GOOGLE_KEY)["service_account_key"])
    assert found.keys() == {"type", "private_key_id", "private_key", "client_email"}
    assert [signs("s3", s3), signs("az", az), signs("gs", GOOGLE_KEY)] == [True] * 3
    assert [signs("s3", {"region": "x"}), signs("az", {"account_name": "x"}), signs("gs", {})] == [False] * 3


@pytest.mark.parametrize(
    ("scheme", "options"),
    [
        ("s3", {"endpoint": "http://169.254.169.254"}), ("s3", {"region": "x.evil.example/"}), ("s3", {"region": "a b"}),
        ("s3", {"skip_signature": "false"}), ("s3", {"access_key_id": "x"}), ("s3", {"access_key_id": "x\ny", "secret_access_key": "z"}),
        ("s3", {"metadata_endpoint": "http://x"}), ("s3", {"allow_http": "true"}), ("s3", {"proxy_url": "http://x"}),
        ("s3", {"ca_file": "/etc/shadow"}), ("s3", {"web_identity_token_file": "/etc/shadow"}), ("az", {"account_name": "evil.example/#"}),
        ("az", {"account_name": "Ab"}), ("az", {"authority_host": "http://x"}), ("az", {"use_emulator": "true"}),
        ("gs", {"service_account_key": "not json"}), ("gs", {"service_account_key": json.dumps({**GOOGLE, "type": "external_account"})}),
        ("gs", {"service_account_key": "[" * 9000}), ("gs", {"service_account_file": "/etc/shadow"}), ("gs", {"base_url": "http://x"}),
        ("gs", {"service_account_key": json.dumps({**GOOGLE, "private_key": ["x"]})}),
    ],
)  # fmt: skip
def test_what_a_person_may_not_say_of_a_bucket(scheme: str, options: dict[str, str]) -> None:
    with pytest.raises(NbdError) as said:
        persons_options(scheme, options)
    assert said.value.code == "bad_option"
    assert isinstance(said.value, (Refused, InvalidInput))
    for value in options.values():
        assert value not in f"{said.value}" or len(value) < 3


PROFILE = parse_profile(
    """title = "x"
[[mounts]]
source = "/srv/x"
target = "/x"
[[attach]]
url = "s3://lab/pictures"
path = "/pictures"
secrets = "/etc/lab.toml"
[[attach]]
url = "s3://lab/home/{user}/"
path = "/results"
writable = true
optional = true
""",
    "x.toml",
    "x",
)


def test_a_read_only_one_of_a_profile_is_shared_and_all_else_a_persons_own() -> None:
    asked = (AttachRequest("s3://mine/x/", "/mine", writable=True),)
    of_ada, of_eve = wanted(PROFILE, asked, ADA, GROUND), wanted(PROFILE, asked, EVE, GROUND)
    assert of_ada[0] == of_eve[0]
    shared = of_ada[0].attachment
    assert (shared.person, shared.uid, shared.own, shared.secrets) == ("", 65534, False, "/etc/lab.toml")
    assert shared.folder == f"/state/attached/shared/{shared.id}"
    results, mine = of_ada[1].attachment, of_ada[2].attachment
    assert (results.url, results.person, results.uid, results.writable, of_ada[1].optional) == ("s3://lab/home/ada", "ada", 1000, True, True)
    assert (mine.url, mine.own, mine.secrets, of_ada[2].path) == ("s3://mine/x", True, "", "/mine")
    ids = [one.attachment.id for one in (*of_ada, *of_eve[1:])]
    assert len(set(ids)) == len(ids) == 5
    assert all(one.attachment.folder.startswith("/state/attached/people/eve/") for one in of_eve[1:])


def test_an_account_made_anew_a_profile_and_a_person_never_share_a_folder() -> None:
    asked = AttachRequest("s3://lab/x", "/data")
    again = replace(ADA, uid=2000)
    offer = replace(PROFILE.attach[0], url="s3://lab/x", writable=True, secrets=None)
    mine = [own(asked, ADA, GROUND), own(replace(asked, writable=True), ADA, GROUND), own(asked, again, GROUND), offered(offer, ADA, GROUND)]
    assert len({one.id for one in mine}) == 4
    assert own(asked, ADA, GROUND).id == own(replace(asked, url="s3://lab/x/", path="/other"), ADA, GROUND).id


@pytest.mark.parametrize("name", ["..", ".", "a/../b", "D\\Ada ~%2Fä+b?."])
def test_no_accounts_name_leads_out(name: str) -> None:
    found = own(AttachRequest("s3://lab/x", "/data"), replace(ADA, name=name), GROUND)
    assert found.folder.startswith("/state/attached/people/")
    assert len(found.folder.split("/")) == 6
    assert ".." not in found.folder.split("/")
    assert offered(PROFILE.attach[1], replace(ADA, name=name), GROUND).url.startswith("s3://lab/home/")


@pytest.mark.parametrize(
    "asked",
    [
        [AttachRequest("s3://lab/x", "/pictures")], [AttachRequest("s3://lab/x", "/results/mine")], [AttachRequest("s3://lab/x", "/x")],
        [AttachRequest("s3://lab/x", "/a"), AttachRequest("s3://lab/y", "/a/b")], [AttachRequest("s3://lab/x", "/home/ada/x")],
        [AttachRequest("ftp://lab/x", "/a")], [AttachRequest("s3://lab/x", f"/a{number}") for number in range(9)],
    ],
)  # fmt: skip
def test_what_cannot_be_attached_whatever_happens(asked: list[AttachRequest]) -> None:
    with pytest.raises(InvalidInput) as said:
        checked(PROFILE, asked, ADA, GROUND)
    assert said.value.code == "bad_attachment"


def test_an_admin_may_keep_people_from_it() -> None:
    with pytest.raises(Refused) as said:
        checked(PROFILE, [AttachRequest("s3://lab/x", "/a")], ADA, replace(GROUND, people=False))
    assert said.value.code == "no_attaching"
    checked(PROFILE, [], ADA, replace(GROUND, people=False))


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (Unreachable("it is away", code="store_away"), "data_away", Unreachable),
        (HostUnfit("denied", code="store_denied"), "data_unfit", HostUnfit),
        (HostUnfit("full", code="disk_full"), "disk_full", HostUnfit),
        (HostUnfit("too much", code="data_too_large", hint="less"), "data_unfit", HostUnfit),
    ],
)
def test_what_keeps_a_start_is_said_with_the_bucket_and_the_place(error: NbdError, code: str, kind: type[NbdError]) -> None:
    what = Wanted(own(AttachRequest("s3://lab/x", "/data"), ADA, GROUND), "/data", optional=False)
    found = failed(error, what)
    assert (found.code, type(found)) == (code, kind)
    assert found.message == f"s3://lab/x for /data: {error.message}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[attach]\nurl = "s3://lab/x"\n', "must be written as [[attach]]"),
        ('[[attach]]\npath = "/data"\n', "x.toml:2: attach.url: is missing"),
        ('[[attach]]\nurl = "ftp://lab"\npath = "/data"\n', "x.toml:3: attach.url: 'ftp://lab' is no bucket"),
        ('[[attach]]\nurl = "s3://lab/x"\npath = "/etc"\n', "x.toml:4: attach.path: nothing can be attached at /etc: the system is there"),
        ('[[attach]]\nurl = "s3://lab/x"\npath = "/d"\nwritabel = true\n', "x.toml:5: attach.writabel: unknown key (did you mean 'writable'?)"),
        ('[[attach]]\nurl = "s3://lab/x"\npath = "/d"\nsecrets = "lab.toml"\n', "x.toml:5: attach.secrets: must be an absolute path"),
        ('[[mounts]]\nsource = "/srv"\ntarget = "/d/x"\n[[attach]]\nurl = "s3://lab/x"\npath = "/d"\n', "at /d: /d/x is there already"),
        ('attach = [1]\n', "must be written as [[attach]]"),
    ],
)
def test_a_wrong_profile_says_where(text: str, complaint: str) -> None:
    with pytest.raises(InvalidInput) as said:
        parse_profile(f'title = "x"\n{text}', "x.toml", "x")
    assert complaint in str(said.value)


def download(size: int, before: int = 0) -> Action:
    seen = Seen(b"a", Kind.FILE, 0o644, 1, 1, before, 1, 1, 1, 1) if before else None
    return Action(Do.DOWNLOAD, "a", "new there", "a", None, Remote(size, "v", 1), seen)


@pytest.mark.parametrize(
    ("size", "before", "free", "code"),
    [
        (5 * GIB, 0, 100 * GIB, ""), (11 * GIB, 0, 100 * GIB, "data_too_large"), (10 * GIB, 2 * GIB, 100 * GIB, ""), (5 * GIB, 0, 15 * GIB, ""),
        (5 * GIB, 0, 15 * GIB - 1, "disk_full"), (0, 0, 0, ""),
    ],
)  # fmt: skip
def test_room(size: int, before: int, free: int, code: str) -> None:
    facts = HomeFacts(exists=True, is_folder=True, free_bytes=free, total_bytes=1000 * GIB)
    here = Here({"a": Seen(b"a", Kind.FILE, 0o644, 1, 1, before, 1, 1, 1, 1)} if before else {})
    made = Plan((download(size, before),))
    if not code:
        fits(made, here, facts, 10 * GIB)
        return
    with pytest.raises(HostUnfit) as said:
        fits(made, here, facts, 10 * GIB)
    assert said.value.code == code


def upload(ctime: int) -> Action:
    return Action(Do.UPLOAD, "a", "changed here", "a", None, None, Seen(b"a", Kind.FILE, 0o644, 1, 1, 1, ctime, ctime, 1, 1))


NOW = 1000 * SECOND


@pytest.mark.parametrize(
    ("action", "waiting", "goes"),
    [
        (upload(NOW - 3 * SECOND), {}, True), (upload(NOW - SECOND), {}, False), (upload(NOW - SECOND), {"a": NOW - 59 * SECOND}, False),
        (upload(NOW - SECOND), {"a": NOW - 60 * SECOND}, True), (upload(NOW + SECOND), {}, True),
        (Action(Do.DELETE_THERE, "a", "deleted here", "a", "v"), {}, False),
        (Action(Do.DELETE_THERE, "a", "deleted here", "a", "v"), {"a": NOW - SECOND}, False),
        (Action(Do.DELETE_THERE, "a", "deleted here", "a", "v"), {"a": NOW - 2 * SECOND}, True),
        (Action(Do.FORGET, "a", "deleted on both sides"), {}, True),
    ],
)  # fmt: skip
def test_what_is_just_being_written_or_replaced_waits_a_moment(action: Action, waiting: dict[str, int], goes: bool) -> None:  # noqa: FBT001
    due, later = ripe(Plan((action,), {"x": "y"}, "z"), NOW, waiting)
    assert (due.actions, later) == (((action,), {}) if goes else ((), {"a": waiting.get("a", NOW)}))
    assert (due.left, due.withheld) == ({"x": "y"}, "z")
