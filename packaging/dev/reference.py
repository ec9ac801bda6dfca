"""Writes what is generated from the code's own tables: config/nbd.toml, docs/states.md, docs/failures.md, docs/profiles.md.

`make config` runs it; tests/test_style.py fails when the files are not what it would write.
"""

from __future__ import annotations

from pathlib import Path

from nbd import config, profiles
from nbd.notebooks.failure import CODES, PERSONS_FAULT
from nbd.notebooks.model import MOVES

ROOT = Path(__file__).resolve().parents[2]


def states() -> str:
    moves = "\n".join(f"    {state} --> {other}" for state, others in MOVES.items() for other in sorted(others))
    return f"""# The states of a notebook

Drawn from `MOVES` in `nbd/notebooks/model.py`, which is the whole state machine; a move that is not here does not exist.
PARKED and FROZEN are entered only by the idle engine.

```mermaid
stateDiagram-v2
    [*] --> STOPPED
{moves}
```
"""


def failures() -> str:
    ends = {code: 'FAILED' if code in PERSONS_FAULT else 'STOPPED' if code == 'no_capacity' else 'ERROR' for code in CODES}
    rows = "\n".join(f"| `{code}` | {meaning} | {ends[code]} |" for code, meaning in CODES.items())
    return f"""# Why a notebook is not there

The code is in `failure.code` of the API and of `nbctl show --json`; people read the sentence and the next step beside it.

| code | meaning | state |
|---|---|---|
{rows}
"""


def profile_page() -> str:
    return f"""# Profiles

A profile is an admin's offer: one TOML file in `/etc/nbd/profiles.d`, whose name is the profile's name. Check one before you save it:
`nbctl profile check FILE` names file, line, key and the nearest known key. A change is in force at once; while a file is wrong, the last right set stays
in force and `nbctl status` says what is wrong. Only `title` must be given.

```toml
title = "One big GPU"
description = "A whole card with 24 GiB or more."
cpus = 8
memory = "32GiB"

[gpu]
count = 1
models = ["rtx4090", "a6000"]
memory = "24GiB"

[idle]
park_after = "20min"
max_session = "6h"

[[mounts]]
source = "/srv/datasets"
target = "/datasets"

[[attach]]
url = "s3://lab-data/imagenet"
path = "/imagenet"
secrets = "/etc/nbd/lab-data.toml"

[[attach]]
url = "s3://lab-results/{{user}}"
path = "/results"
writable = true
secrets = "/etc/nbd/lab-results.toml"
```

What is attached is a folder on this box that is kept like a part of a bucket: plain objects, which any other tool reads and writes too. See
[attached data](attached.md). What is done about an idle notebook, and when: [idle](idle.md).

Every key:

```
{profiles.reference_text()}```
"""


def main() -> None:
    (ROOT / "config/nbd.toml").write_text(config.reference())
    for name, text in (("states", states()), ("failures", failures()), ("profiles", profile_page())):
        (ROOT / f"docs/{name}.md").write_text(text)


if __name__ == "__main__":
    main()
