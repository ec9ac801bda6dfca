"""One policy of three: the admin's, the profile's, a person's; the tightest that is allowed wins, and each setting says whose word it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbd import config
from nbd.config import IdleSettings
from nbd.errors import InvalidInput
from nbd.idle.model import Policy
from nbd.idle.policy import ADMIN, NO_OFFER, SHIPPED, YOU, IdleOffer, checked, effective, parsed, rows
from nbd.profiles import parse_profile
from nbd.values import spans

SHIPS = IdleSettings()
HEAD = 'title = "x"\n'


def test_what_ships_is_the_policy_s_default() -> None:
    assert replace(effective(SHIPS, "cpu-small", None, {}), origins={}) == Policy()
    assert set(effective(SHIPS, "cpu-small", None, {}).origins.values()) == {SHIPPED}


@pytest.mark.parametrize(
    ("admin", "offer", "person", "value", "origin"),
    [
        (1800.0, None, None, 1800.0, SHIPPED),
        (600.0, None, None, 600.0, ADMIN),
        (600.0, 900.0, None, 900.0, "profile gpu"),
        (600.0, float("inf"), None, None, "profile gpu"),
        (float("inf"), None, None, None, ADMIN),
        (float("inf"), None, "5min", 300.0, YOU),
        (600.0, 900.0, "5min", 300.0, YOU),
        (600.0, 900.0, "15min", 900.0, "profile gpu"),
        (600.0, 900.0, "20min", 900.0, "profile gpu; you asked for 20min, which is longer"),
        (600.0, 900.0, "none", 900.0, "profile gpu; you asked for none, which is longer"),
        (600.0, None, "soon", 600.0, ADMIN),
    ],
)
def test_whose_word_holds(admin: float, offer: float | None, person: str | None, value: float | None, origin: str) -> None:
    own = None if offer is None else replace(NO_OFFER, park_after=offer)
    policy = effective(replace(SHIPS, park_after=admin), "gpu", own, {"park_after": person} if person else {})
    assert (policy.park_after, policy.origins["park_after"]) == (value, origin)


@pytest.mark.parametrize("key", ["warn_before", "auto_restart", "quiet_hours", "shadow", "sample_every", "probe", "park"])
def test_what_is_not_a_person_s_to_set(key: str) -> None:
    assert effective(SHIPS, "gpu", None, {key: "1s"}) == effective(SHIPS, "gpu", None, {})
    with pytest.raises(InvalidInput, match="is not a setting of yours"):
        checked({key: "1s"})


def test_a_person_s_settings_are_read_when_they_are_set() -> None:
    assert checked({"park_after": "10min", "stop_after": ""}) == {"park_after": "10min"}
    for wrong in ({"park_after": "10"}, {"busy_grace": "none"}, {"park_after": "0s"}):
        with pytest.raises(InvalidInput, match=r"must be") as caught:
            checked(wrong)
        assert caught.value.code == "bad_setting"


def test_all_of_an_offer_is_taken() -> None:
    offer = IdleOffer(60.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, True, ((0, 60),), True)  # noqa: FBT003
    policy = effective(SHIPS, "gpu", offer, {})
    assert replace(policy, origins={}) == Policy(60.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, True, ((0, 60),), True)  # noqa: FBT003
    assert set(policy.origins.values()) == {"profile gpu"}


def test_a_profile_s_table() -> None:
    profile = parse_profile(HEAD + '[idle]\npark_after = "20min"\nmax_running = "none"\nprobe = "/usr/bin/probe"\n', "gpu.toml", "gpu")
    assert profile.idle == replace(NO_OFFER, park_after=1200.0, max_running=float("inf"), probe="/usr/bin/probe")
    assert parse_profile(HEAD, "gpu.toml", "gpu").idle == NO_OFFER


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('[idle]\npark_afer = "20min"\n', "gpu.toml:3: idle.park_afer: unknown key"),
        ('[idle]\npark_after = "0s"\n', "gpu.toml:3: idle.park_after: must be longer than nothing"),
        ('[idle]\nbusy_grace = "none"\n', 'gpu.toml:3: idle.busy_grace: must be a time such as "20s", "30min" or "8h"'),
        ('[idle]\nsample_every = "1s"\n', "gpu.toml:3: idle.sample_every: unknown key"),
        ("idle = 3\n", "gpu.toml:2: idle: must be written as [idle]"),
    ],
)
def test_a_wrong_table_is_named(source: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_profile(HEAD + source, "gpu.toml", "gpu")
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('sample_every = "10ms"', 'must be a time from "500ms" to "5min"'),
        ('sample_every = "6min"', 'must be a time from "500ms" to "5min"'),
        ('warn_before = "0s"', "must be longer than nothing"),
        ('quiet_hours = "22-7"', '"22-7" must be hours, such as "22:00-07:00"'),
        ('quiet_hours = "07:00-07:00"', '"07:00-07:00" must be hours, such as "22:00-07:00"'),
        ('quiet_hours = "00:00-24:00"', '"00:00-24:00" must be hours, such as "22:00-07:00"'),
        ('quiet_hours = "22:00-24:01"', '"22:00-24:01" must be hours, such as "22:00-07:00"'),
        ('shadow = "yes"', "must be true or false"),
    ],
)
def test_a_wrong_setting_is_named(line: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        config.parse(f"[idle]\n{line}\n", "nbd.toml")
    assert caught.value.message == f"nbd.toml:2: idle.{line.partition(' ')[0]}: {message}"


def test_hours_of_the_day() -> None:
    assert spans("22:00-07:00, 12:30-13:00") == ((1320, 420), (750, 780))
    assert spans("18:00-24:00") == ((1080, 0),)
    assert spans("") == ()


def test_the_file_of_a_replay() -> None:
    policy = parsed('[idle]\npark_after = "10min"\n', "p.toml", SHIPS)
    assert (policy.park_after, policy.stop_after, policy.origins["park_after"]) == (600.0, 3600.0, "p.toml")
    assert parsed("", "p.toml", SHIPS).park_after == 1800.0
    for wrong, message in (("[idle]\nx = 1\n", "p.toml:2: idle.x: unknown key"), ("[core]\n", "p.toml:1: a policy is one table")):
        with pytest.raises(InvalidInput) as caught:
            parsed(wrong, "p.toml", SHIPS)
        assert caught.value.message.startswith(message)


def test_it_is_shown_as_it_is_written() -> None:
    person = {"park_after": "10min"}
    policy = effective(replace(SHIPS, max_running=float("inf"), quiet_hours=((1320, 420), (750, 780))), "gpu", None, person)
    shown = {key: (value, own) for key, value, _, own in rows(policy)}
    assert shown == {
        "warn_before": ("5min", False),
        "park_after": ("10min", True),
        "freeze_after": ("1h", True),
        "stop_after": ("1h", True),
        "busy_grace": ("2h", True),
        "max_session": ("8h", True),
        "max_running": ("none", True),
        "auto_restart": ("false", False),
        "quiet_hours": ("22:00-07:00, 12:30-13:00", False),
        "shadow": ("false", False),
    }
    assert [origin for key, _, origin, _ in rows(policy) if key == "park_after"] == [YOU]
