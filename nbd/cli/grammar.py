"""The verbs as a table, from which the parser, the help and the shell completion are made: they cannot disagree."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from ..errors import InvalidInput
from .client import Client
from .render import Screen

DEFAULT_SOCKET = "/run/nbd/nbd.sock"
DEFAULT_SECONDS = 30.0


class Words(StrEnum):
    """What the shell offers for an argument."""

    NOTHING = ""
    NOTEBOOKS = "notebooks"
    PROFILES = "profiles"
    IMAGES = "images"
    SNAPSHOTS = "snapshots"
    FILES = "files"


@dataclass(frozen=True, slots=True)
class Arg:
    flags: tuple[str, ...]
    """("name",) is a positional argument, ("-f", "--follow") an option."""
    help: str
    metavar: str = ""
    kind: Callable[[str], Any] | None = str
    """None makes the option a switch."""
    default: Any = None
    optional: bool = False
    words: Words = Words.NOTHING
    choices: tuple[str, ...] = ()
    many: bool = False
    """May be said several times."""
    several: bool = False
    """A positional argument that takes all the words that are left, one at least."""
    required: bool = False
    """An option that must be there."""

    @property
    def positional(self) -> bool:
        return not self.flags[0].startswith("-")


@dataclass(frozen=True, slots=True)
class Call:
    """One run of one verb."""

    args: argparse.Namespace
    client: Client
    out: Screen
    err: Screen
    now: float
    json: bool


@dataclass(frozen=True, slots=True)
class Verb:
    name: str
    help: str
    run: Callable[[Call], int] | None = None
    args: tuple[Arg, ...] = ()
    verbs: tuple[Verb, ...] = ()


def seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 86400:
        raise ValueError(text)
    return value


def natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


natural.__name__ = "number"  # argparse names the type in its complaint

EVERYWHERE = (
    Arg(("--json",), "print JSON with the API's fields, and nothing else", kind=None),
    Arg(("--socket",), "where nbd listens (else NBD_SOCKET, else /run/nbd/nbd.sock)", metavar="PATH", words=Words.FILES),
    Arg(("--timeout",), "how long nbd may take to answer (else NBD_TIMEOUT, else 30)", metavar="SECONDS", kind=seconds),
)


class Parser(argparse.ArgumentParser):
    """Complains as nbctl does: a sentence and a next step."""

    def error(self, message: str) -> NoReturn:
        raise InvalidInput(message.replace("the following arguments are required", "missing"), hint=f"{self.prog} --help", code="wrong_use")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            close = difflib.get_close_matches(str(value), known, n=1)
            what = f"{action.option_strings[-1]} {value}" if action.option_strings else str(value)
            hint = f"did you mean {close[0]!r}?" if close else "one of: " + ", ".join(known)
            raise InvalidInput(f"nbctl does not know {what!r}", hint=hint, code="wrong_use")


def parser(verbs: Sequence[Verb], argv: Sequence[str]) -> Parser:
    """The parser for these arguments: a verb that is not among them is only listed, for filling in all of them costs 8 ms of each start."""
    made = Parser("nbctl", description="Notebooks on the GPUs of this machine.", allow_abbrev=False, formatter_class=Help)
    made.epilog = "nbctl VERB --help says more. Exit codes: 0 done, 1 failed, 2 wrong use, 3 refused, 4 not found, 5 nbd cannot be reached."
    made.set_defaults(json=False, socket=None, timeout=None)
    _add_args(made, EVERYWHERE)
    _add_verbs(made, verbs, argv)
    return made


class Help(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        return text.partition("\n")[2] if isinstance(action, argparse._SubParsersAction) else text

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """ "-p, --profile PROFILE", where argparse would say PROFILE twice."""
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {action.metavar}"


def _add_verbs(to: Parser, verbs: Sequence[Verb], argv: Sequence[str]) -> None:
    places = to.add_subparsers(title="verbs", metavar="VERB", required=True, parser_class=Parser)
    for verb in verbs:
        place = places.add_parser(verb.name, help=verb.help, description=verb.help, allow_abbrev=False, formatter_class=Help)
        if verb.name not in argv:
            continue
        _add_args(place, (*verb.args, *EVERYWHERE))
        place.set_defaults(run=verb.run)
        if verb.verbs:
            _add_verbs(place, verb.verbs, argv)


def _add_args(to: Parser, args: Sequence[Arg]) -> None:
    for arg in args:
        # An option that stands before the verb must not be undone by the verb's own default.
        default = argparse.SUPPRESS if arg in EVERYWHERE else arg.default
        options: dict[str, Any] = {"help": arg.help, "default": default}
        if arg.kind is None:
            options["action"] = "store_true"
            options["default"] = argparse.SUPPRESS if arg in EVERYWHERE else False
        else:
            options |= {"action": "append"} if arg.many else {}
            options |= {"type": arg.kind, "metavar": arg.metavar or arg.flags[-1].lstrip("-").upper(), "choices": arg.choices or None}
        if arg.required:
            options["required"] = True
        if arg.positional and arg.several:
            options["nargs"] = "+"
            del options["default"]
        elif arg.positional and arg.optional:
            options["nargs"] = "?"
        elif arg.positional:
            del options["default"]
        to.add_argument(*arg.flags, **options)


def call(args: argparse.Namespace, env: Mapping[str, str], now: float) -> Call:
    """The call that the arguments and the environment ask for. Raises InvalidInput for an NBD_TIMEOUT that is none."""
    patience = args.timeout
    if patience is None:
        try:
            patience = seconds(env.get("NBD_TIMEOUT") or str(DEFAULT_SECONDS))
        except ValueError:
            raise InvalidInput(f"NBD_TIMEOUT must be seconds, not {env['NBD_TIMEOUT']!r}", hint="NBD_TIMEOUT=30", code="wrong_use") from None
    client = Client(args.socket or env.get("NBD_SOCKET") or DEFAULT_SOCKET, patience)
    return Call(args, client, Screen.on(sys.stdout, env), Screen.on(sys.stderr, env), now, args.json)
