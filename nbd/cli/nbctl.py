"""nbctl: parse, do one verb, and tell what went wrong once, in one way."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence

from ..errors import NbdError
from . import completion, homes, idle, notebooks, offers, storage, views
from .grammar import Arg, Call, Verb, call, parser
from .notebooks import NotStarted
from .output import emit
from .render import Screen
from .text import log_line

INTERRUPTED = 130
"""What a shell makes of Ctrl-C. Neither done nor failed: the daemon goes on."""
SHELLS = ("bash", "zsh", "fish")


def complete(call: Call) -> int:
    made = completion.script(call.args.shell, VERBS)
    emit(call, {"shell": call.args.shell, "script": made}, lambda: call.out.raw(made))
    return 0


COMPLETION = Verb(
    "completion",
    "print the completion script for a shell",
    complete,
    (Arg(("shell",), "bash, zsh or fish", metavar="SHELL", choices=SHELLS),),
)
VERBS: tuple[Verb, ...] = (
    notebooks.START,
    *views.NOTEBOOK_VERBS,
    *notebooks.VERBS,
    *idle.VERBS,
    *views.MACHINE_VERBS,
    *offers.VERBS,
    homes.HOME,
    storage.ADMIN,
    COMPLETION,
)


def main() -> int:
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding cannot say is shown escaped; it is no reason to fail.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = 1
    try:
        code = run(sys.argv[1:], os.environ)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough (`nbctl ls | head -1`): that is no failure, and nobody is left to tell.
        code = 0
        close_quietly()
    except OSError as error:
        code = 1
        close_quietly()
        sys.stderr.write(f"nbctl: the output cannot be written: {error.strerror}\n")
    return code


def close_quietly() -> None:
    """So that the interpreter, on its way out, does not complain of what it cannot flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(argv: Sequence[str], env: Mapping[str, str]) -> int:
    try:
        here = call(parser(VERBS, argv).parse_args(argv), env, time.time())
        verb: int = here.args.run(here)
    except NbdError as error:
        return tell(error, env, as_json="--json" in argv)
    except KeyboardInterrupt:
        return INTERRUPTED
    return verb


def tell(error: NbdError, env: Mapping[str, str], *, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps({"error": {"code": error.code, "message": error.message, "hint": error.hint}}) + "\n")
        return error.exit_code
    sys.stdout.flush()
    screen = Screen.on(sys.stderr, env)
    screen.tell(f"nbctl: {error.message}", "red")
    if error.hint:
        screen.tell(f"hint: {error.hint}")
    if isinstance(error, NotStarted):
        screen.say_all([screen.painted(f"  | {log_line(line)}", "dim") for line in error.log])
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
