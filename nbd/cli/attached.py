"""Attached data: what `start --attach` says, and the verb that tells how each folder is kept."""

from __future__ import annotations

from collections.abc import Sequence

from ..attachments import AttachedView, Entrusted
from ..errors import InvalidInput, NotFound
from ..messages import AttachRequest
from .client import quoted, typed_all
from .grammar import Arg, Call, Verb, Words
from .output import emit
from .render import Cell, table
from .text import ago, amount

NONE = "none"
FORM = "s3://bucket/prefix:/data, or s3://bucket/prefix:/data:rw"
SHOWN = 20
ATTACH = (
    Arg(("--attach",), f"see a bucket as a folder: {FORM}; {NONE}: no more. May be said several times", metavar="URL:PATH", many=True),
    Arg(("--attach-keys",), "file (TOML) with your own keys for what is attached, such as access_key_id", metavar="FILE", words=Words.FILES),
)


def asked(call: Call) -> tuple[AttachRequest, ...] | None:
    """What is to be attached; None: what was before. Hands over keys on the way. Raises InvalidInput."""
    texts: Sequence[str] | None = call.args.attach
    if not texts:
        if call.args.attach_keys:
            raise InvalidInput("--attach-keys is about what --attach names", hint="say both", code="wrong_use")
        return None
    found = () if list(texts) == [NONE] else tuple(parsed(text) for text in texts)
    if call.args.attach_keys:
        options = read_keys(call.args.attach_keys)
        for url in dict.fromkeys(one.url for one in found):
            call.client.post("/v1/home/bucket-keys", Entrusted(url, options))
    return found


def parsed(text: str) -> AttachRequest:
    rest, _, last = text.rpartition(":")
    mode, rest = (last, rest) if last in ("ro", "rw") else ("ro", text)
    url, colon, path = rest.rpartition(":/")
    if not colon or "://" not in url:
        raise InvalidInput(f"--attach {text[:80]}: it is not said where the notebook sees it", hint=FORM, code="wrong_use")
    return AttachRequest(url, f"/{path}", mode == "rw")


def read_keys(file: str) -> dict[str, str]:
    """Read as who calls, so nobody hands over what they may not read. The text of an error never quotes the file."""
    import tomllib  # Not every call of nbctl should wait for it.

    try:
        with open(file, "rb") as opened:
            found = tomllib.load(opened)
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}", code="wrong_use") from None
    except ValueError:
        raise InvalidInput(f"{file} is not TOML", hint='lines such as: access_key_id = "…"', code="wrong_use") from None
    if not all(isinstance(value, str) for value in found.values()):
        raise InvalidInput(f"{file}: each key must be a text in quotes", code="wrong_use")
    return found


def attached(call: Call) -> int:
    args, every = call.args, "/v1/home/attached"
    messages = call.client.get(every)
    if args.confirm:
        messages = call.client.post(f"{every}/{one_of(messages, args.confirm)}/confirm")
    elif args.forget:
        messages = call.client.delete(f"{every}/{one_of(messages, args.forget)}")
    views = typed_all(AttachedView, messages)
    emit(call, messages, lambda: _tell(call, views))
    return 0


def one_of(messages: object, asked: str) -> str:
    """The id that begins so. Raises NotFound, InvalidInput."""
    found = [view.id for view in typed_all(AttachedView, messages) if view.id.startswith(asked)]
    if not found:
        raise NotFound(f"nothing of yours is attached as {asked[:40]!r}", hint="see: nbctl home attached")
    if len(found) > 1:
        raise InvalidInput(f"{len(found)} ids begin with {asked!r}", hint="say more of it", code="ambiguous")
    return quoted(found[0])


def _tell(call: Call, views: Sequence[AttachedView]) -> None:
    if not views:
        call.err.tell("nothing is attached; nbctl start NAME --attach URL:PATH attaches a bucket")
        return
    rows = [
        (
            Cell(view.id[:8], "dim"),
            Cell(view.url, "bold"),
            "read-write" if view.writable else "read-only",
            ", ".join(view.places) or Cell("not in use", "dim"),
            f"{view.files} ({amount(view.bytes)})",
            Cell(f"{view.sentence}{_when(call, view)}", "green" if quiet(view) else "yellow"),
        )
        for view in views
    ]
    call.out.say_all(table(call.out, ("ID", "BUCKET", "", "SEEN AT", ">FILES", "HOW"), rows))
    for view in views:
        _tell_more(call, view)


def _tell_more(call: Call, view: AttachedView) -> None:
    lines = [f"both versions kept: {name}" for name in view.conflicts[:SHOWN]]
    lines += [f"not carried: {one.path}: {one.reason}" for one in view.left[:SHOWN]]
    if view.hint:
        call.out.tell(f"{view.url}: {view.hint}", "yellow")
    call.out.say_all([call.out.line(f"  {line}") for line in lines])


def _when(call: Call, view: AttachedView) -> str:
    return f" ({ago(view.synced, call.now)})" if quiet(view) and view.synced else ""


def quiet(view: AttachedView) -> bool:
    return not (view.trouble or view.withheld or view.conflicts)


ATTACHED = Verb(
    "attached",
    "tell what is attached to your notebooks, and how it is kept",
    attached,
    (
        Arg(("--confirm",), "what is gone on one side may go on the other", metavar="ID"),
        Arg(("--forget",), "remove the copy on this box; the bucket stays as it is", metavar="ID"),
    ),
)
