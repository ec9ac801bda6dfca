"""From what was the same once, what is here and what is there, to what has to be done. Pure.

Two questions are asked of each name: what became of the file, and what became of the object. The answers lead into a table. Without a listing
(a notebook is running) the object is taken to be as it was last seen: whoever acts on that says so to the store, which knows better.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from ..guards import Loss, refuse
from .model import Action, Do, Here, Known, Plan, Remote, Rules, There
from .names import above


class Side(Enum):
    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"


SAME, CHANGED, GONE = Side.SAME, Side.CHANGED, Side.GONE
Table = Mapping[tuple[Side, Side], tuple[Do, str]]
TWO_WAY: Table = {
    (SAME, CHANGED): (Do.DOWNLOAD, "changed there"),
    (SAME, GONE): (Do.DELETE_HERE, "deleted there"),
    (CHANGED, SAME): (Do.UPLOAD, "changed here"),
    (CHANGED, CHANGED): (Do.MEET, "changed on both sides"),
    (CHANGED, GONE): (Do.UPLOAD, "changed here after it was deleted there"),
    (GONE, SAME): (Do.DELETE_THERE, "deleted here"),
    (GONE, CHANGED): (Do.DOWNLOAD, "changed there after it was deleted here"),
    (GONE, GONE): (Do.FORGET, "deleted on both sides"),
}
"""(here, there). What is not in the table is left as it is."""
TWO_WAY_NEW: Table = {
    (CHANGED, GONE): (Do.UPLOAD, "new here"),
    (GONE, CHANGED): (Do.DOWNLOAD, "new there"),
    (CHANGED, CHANGED): (Do.MEET, "new on both sides"),
}
MIRROR: Table = {
    (SAME, CHANGED): (Do.DOWNLOAD, "changed there"),
    (SAME, GONE): (Do.DELETE_HERE, "deleted there"),
    (CHANGED, SAME): (Do.DOWNLOAD, "not as it is there"),
    (CHANGED, CHANGED): (Do.DOWNLOAD, "changed there"),
    (CHANGED, GONE): (Do.DELETE_HERE, "deleted there"),
    (GONE, SAME): (Do.DOWNLOAD, "missing here"),
    (GONE, CHANGED): (Do.DOWNLOAD, "missing here"),
    (GONE, GONE): (Do.FORGET, "deleted there"),
}
MIRROR_NEW: Table = {
    (CHANGED, GONE): (Do.DELETE_HERE, "not there"),
    (GONE, CHANGED): (Do.DOWNLOAD, "new there"),
    (CHANGED, CHANGED): (Do.DOWNLOAD, "not known to be what is there"),
}
ORDER = tuple(Do)
SECOND = 1_000_000_000
QUIET, LONGEST = 2 * SECOND, 60 * SECOND


def plan(known: Mapping[str, Known], here: Here, there: There | None, rules: Rules) -> Plan:
    """`there` None: as last seen. A name that is closed on either side is left alone on both."""
    actions: list[Action] = []
    left = {**here.closed, **(there.closed if there else {}), **(there.left if there else {})}
    for path in sorted(known.keys() | here.files.keys() | (there.objects.keys() if there else set())):
        if not is_closed(path, here, there):
            actions += decide(path, known.get(path), here, there, rules)
    if rules.writable and there:
        actions += uncovered(known, here, there)
        left = {name: why for name, why in left.items() if name not in {action.path for action in actions}}
    actions, withheld = guarded(actions, known, (here, there), rules)
    actions, blocked = passable(actions, here)
    return Plan(tuple(sorted(actions, key=lambda action: (ORDER.index(action.do), action.path))), {**left, **blocked}, withheld)


def is_closed(path: str, here: Here, there: There | None) -> bool:
    if there and path in there.left:
        return True
    closed = [here.closed, there.closed] if there else [here.closed]
    return any(name in names for name in (path, *above(path), "") for names in closed)


def uncovered(known: Mapping[str, Known], here: Here, there: There) -> Iterator[Action]:
    """Files that became folders here, and whose objects nobody changed: their deletion there was not carried out yet."""
    for path, remote in there.covered.items():
        was = known.get(path)
        if was is not None and was.version == remote.version and path not in here.files and not is_closed(path, here, There(closed=there.closed)):
            yield Action(Do.DELETE_THERE, path, "it became a folder here", path, was.version)


def decide(path: str, was: Known | None, here: Here, there: There | None, rules: Rules) -> Iterator[Action]:
    if was is not None and was.key != path:
        yield from decide_copied(was, here, there)
        return
    seen, remote = here.files.get(path), there.objects.get(path) if there else None
    at_home = GONE if seen is None else SAME if was is not None and was.holds(seen) else CHANGED
    abroad = side_of(was, remote) if there else SAME if was is not None else GONE
    tables = (TWO_WAY_NEW, TWO_WAY) if rules.writable else (MIRROR_NEW, MIRROR)
    found = tables[was is not None].get((at_home, abroad))
    if found is not None:
        expected = was.version if was is not None and abroad is SAME else None
        yield Action(found[0], path, found[1], path, expected, remote, seen)


def decide_copied(was: Known, here: Here, there: There | None) -> Iterator[Action]:
    """A file whose content went up as the copy of a conflict: until the next start it goes on there."""
    seen = here.files.get(was.path)
    if seen is not None and not was.holds(seen):
        if there is None or side_of(was, there.objects.get(was.key)) is SAME:
            yield Action(Do.UPLOAD, was.path, "changed here, kept as a copy there", was.key, was.version, None, seen)
        else:
            yield Action(Do.MEET, was.path, "its copy there was changed too", was.path, None, there.objects.get(was.path), seen)
    elif there is not None:
        remote = there.objects.get(was.path)
        if seen is not None and remote is not None:
            yield Action(Do.DOWNLOAD, was.path, "what was here is kept as a copy", was.path, None, remote, seen)
        else:
            yield Action(Do.FORGET, was.path, "its copy is an object of its own")


def side_of(was: Known | None, remote: Remote | None) -> Side:
    if remote is None:
        return GONE
    return SAME if was is not None and remote.version == was.version else CHANGED


def passable(actions: Iterable[Action], here: Here) -> tuple[list[Action], dict[str, str]]:
    """Without the downloads for which there is a file where a folder has to be, or a folder where the file has to be."""
    found = list(actions)
    going = {action.path for action in found if action.do is Do.DELETE_HERE}
    staying = here.files.keys() - going
    folders = {folder for path in staying for folder in above(path)}
    blocked: dict[str, str] = {}
    for action in found:
        if action.do is not Do.DOWNLOAD:
            continue
        file = next((folder for folder in above(action.path) if folder in staying), "")
        if file:
            blocked[action.path] = f"{file} is a file here"
        elif action.path in folders:
            blocked[action.path] = "it is a folder here"
    return [action for action in found if action.do is not Do.DOWNLOAD or action.path not in blocked], blocked


def guarded(actions: list[Action], known: Mapping[str, Known], sides: tuple[Here, There | None], rules: Rules) -> tuple[list[Action], str]:
    """Without deletions that look like a hole where the data should be."""
    here, there = sides
    if rules.confirmed:
        return actions, ""
    came = {seen.ino for path, seen in here.files.items() if path not in known}
    gone = [action for action in actions if action.do is Do.DELETE_THERE and known[action.path].ino not in came]
    why = {Do.DELETE_THERE: refuse(Loss(len(known), len(gone), now_empty=not here.files))}
    if there is not None:
        lost = sum(action.do is Do.DELETE_HERE for action in actions)
        # What is only a mirror can be had again while there is anything to have.
        count = lost if rules.writable else 0
        why[Do.DELETE_HERE] = refuse(Loss(len(known), count, now_empty=not there.objects and bool(lost)))
    places = {Do.DELETE_THERE: "here", Do.DELETE_HERE: "there"}
    held = {do: text for do, text in why.items() if text and any(action.do is do for action in actions)}
    said = "; ".join(f"{places[do]}: {text.replace('the home is empty', 'the folder is empty')}" for do, text in held.items())
    return [action for action in actions if action.do not in held], said


def ripe(made: Plan, now: int, waiting: Mapping[str, int]) -> tuple[Plan, dict[str, int]]:
    """What goes up now, and what waits since when: a file that is just being written, or that is away for the moment of its replacement.

    `now`: nanoseconds since the epoch; `waiting`: what waited after the last look.
    """
    later: dict[str, int] = {}
    for action in made.actions:
        since = waiting.get(action.path, now)
        written = action.seen is not None and now - QUIET < action.seen.ctime <= now
        away = action.do is Do.DELETE_THERE and since > now - QUIET
        if (written and since > now - LONGEST) or away:
            later[action.path] = since
    return Plan(tuple(action for action in made.actions if action.path not in later), made.left, made.withheld), later
