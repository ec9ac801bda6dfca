"""Whose rules hold for a notebook."""

from __future__ import annotations

import math

from nbd.config import IdleSettings
from nbd.coreidle import holding
from nbd.profiles import parse_profile

UVM = 'title = "UVM"\n[gpu]\ncount = 1\n[idle]\npark_after = "none"\n'


def test_who_lost_its_profile_is_let_be() -> None:
    """A profile's file that is broken when core starts, or is taken away, must not put its notebooks under the rules for all."""
    admin, profile = IdleSettings(park_after=1200.0, stop_after=math.inf), parse_profile(UVM, "uvm.toml", "uvm")
    known, lost = holding(admin, {"uvm": profile}, "uvm", {}), holding(admin, {}, "uvm", {"park_after": "10min"})
    assert (known.park_after, known.shadow) == (None, False)
    assert (lost.shadow, lost.origins["shadow"]) == (True, "there is no profile uvm")
