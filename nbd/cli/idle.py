"""The verbs of idleness: why, keep; park, unpark, freeze and thaw; and what the policy is, was and would do."""

from __future__ import annotations

from ..errors import Conflict, InvalidInput
from ..idlemessages import HistoryView, IdleSettings, KeepRequest, ReplayRequest, ReplayView, WhyView
from ..messages import NotebookView
from .client import route, typed
from .grammar import Arg, Call, Verb, Words
from .idleviews import tell_history, tell_policy, tell_replay, tell_why
from .moments import span_of
from .notebooks import DETACH, NAME, settled
from .output import emit, label
from .text import clock

MOST_BYTES = 60_000
"""Of a policy's file: core takes no more."""
DONE = {
    "park": ("PARKED", "is parked: its GPU is given back, its kernel kept", "give it a GPU again: nbctl unpark"),
    "unpark": ("RUNNING", "runs again", "open it: nbctl open"),
    "freeze": ("FROZEN", "is frozen: it sleeps on the disk, with its memory", "bring it back: nbctl thaw"),
    "thaw": ("RUNNING", "runs again, as it was", "open it: nbctl open"),
}
"""Verb to the state it leads to, what is told then, and the next step."""
DOING = {"park": "parking", "unpark": "unparking", "freeze": "freezing", "thaw": "thawing"}


def why(call: Call) -> int:
    message = call.client.get(route("notebooks", call.args.name) + "/why")
    emit(call, message, lambda: tell_why(call, typed(WhyView, message)))
    return 0


def keep(call: Call) -> int:
    path = route("notebooks", call.args.name) + "/keep"
    if call.args.end and call.args.time:
        raise InvalidInput("either a time or --end", hint=f"nbctl keep {call.args.name} 2h", code="wrong_use")
    if not call.args.end and not call.args.time:
        raise InvalidInput("keep it for how long?", hint=f"nbctl keep {call.args.name} 2h; nbctl keep {call.args.name} --end", code="wrong_use")
    message = call.client.delete(path) if call.args.end else call.client.post(path, KeepRequest(span_of(call.args.time)))
    view = typed(WhyView, message)
    emit(call, message, lambda: _tell_kept(call, view))
    return 0


def _tell_kept(call: Call, view: WhyView) -> None:
    if view.kept_until is not None:
        call.out.tell(f"{view.name} is kept until {clock(view.kept_until, call.now)}.", "green")
    else:
        call.out.tell(f"{view.name} is kept no longer.")
    call.out.tell(view.sentence)


def rest(verb: str, call: Call) -> int:
    message = call.client.post(f"{route('notebooks', call.args.name)}/{verb}")
    goal, told, after = DONE[verb]
    if not call.args.detach:
        ended = settled(call, message, DOING[verb], lambda seen: over(seen, goal))
        if ended is None:
            raise Conflict(f"{call.args.name} was removed meanwhile", hint="nbctl ls")
        message = ended
    view = typed(NotebookView, message)
    if view.state != goal and not call.args.detach:
        reason = view.trouble or view.sentence
        raise Conflict(f"{label(view)} is {view.state}: {reason}", hint=f"nbctl why {label(view)}", code=f"not_{goal.lower()}")
    done = view.state == goal
    emit(call, message, lambda: call.out.tell(f"{label(view)} {told}; {after} {label(view)}" if done else f"{label(view)}: {view.sentence}"))
    return 0


def over(seen: NotebookView, goal: str) -> bool:
    """Whether it is there, or nothing is under way to it any more: core says what is, from the answer to the verb on."""
    return seen.state == goal or not (seen.progress or seen.waiting)


def park(call: Call) -> int:
    return rest("park", call)


def unpark(call: Call) -> int:
    return rest("unpark", call)


def freeze(call: Call) -> int:
    return rest("freeze", call)


def thaw(call: Call) -> int:
    return rest("thaw", call)


def show(call: Call) -> int:
    message = call.client.get(route("notebooks", call.args.name) + "/why")
    emit(call, message, lambda: tell_policy(call, typed(WhyView, message)))
    return 0


def set_(call: Call) -> int:
    message = call.client.patch(route("notebooks", call.args.name) + "/idle", IdleSettings(settings(call.args.settings)))
    emit(call, message, lambda: tell_policy(call, typed(WhyView, message)))
    return 0


def settings(words: list[str]) -> dict[str, str]:
    """ "park_after=10min" by key; an empty value takes one's own word back."""
    found: dict[str, str] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key:
            raise InvalidInput(f"{word!r} is no setting", hint="KEY=VALUE, such as park_after=10min; KEY= takes your own word back", code="wrong_use")
        found[key] = value
    return found


def history(call: Call) -> int:
    message = call.client.get(route("notebooks", call.args.name) + "/idle/history")
    emit(call, message, lambda: tell_history(call, typed(HistoryView, message)))
    return 0


def replay(call: Call) -> int:
    asked = ReplayRequest(policy_text(call.args.policy))
    message = call.client.post(route("notebooks", call.args.name) + "/idle/replay", asked)
    emit(call, message, lambda: tell_replay(call, typed(ReplayView, message)))
    return 0


def policy_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidInput(f"{path} cannot be read: {why}", hint="a profile's file, or its table [idle] alone", code="wrong_use") from None
    if len(text) > MOST_BYTES:
        raise InvalidInput(f"{path} is too long for a policy", hint="a profile's file, or its table [idle] alone", code="wrong_use")
    return text


IDLE = Verb(
    "idle",
    "what is done with a notebook in which nothing works",
    verbs=(
        Verb("show", "what is done when, and whose word that is", show, (NAME,)),
        Verb(
            "set",
            "your own word for a notebook, tighter than its profile's",
            set_,
            (NAME, Arg(("settings",), "such as park_after=10min; KEY= takes it back", metavar="KEY=VALUE", several=True)),
        ),
        Verb("history", "what was seen and done in the last day", history, (NAME,)),
        Verb(
            "replay",
            "what another policy would have done in the last day",
            replay,
            (NAME, Arg(("--policy",), "a profile's file, or its table [idle] alone", metavar="FILE", words=Words.FILES, required=True)),
        ),
    ),
)
VERBS = (
    Verb("why", "tell what shows that it works, what happens next and when, and whose rule that is", why, (NAME,)),
    Verb(
        "keep",
        "let a notebook be for a while",
        keep,
        (NAME, Arg(("time",), "for how long: 30min, 2h", metavar="TIME", optional=True), Arg(("--end",), "keep it no longer", kind=None)),
    ),
    Verb("park", "give its GPU back now; its kernel stays", park, (NAME, DETACH)),
    Verb("unpark", "give a parked notebook a GPU again", unpark, (NAME, DETACH)),
    Verb("freeze", "put all of it on the disk: its GPU and its memory are free", freeze, (NAME, DETACH)),
    Verb("thaw", "bring a frozen notebook back as it was", thaw, (NAME, DETACH)),
    IDLE,
)
