"""Shell completion, made from the table of verbs. Names of notebooks, profiles and images are asked of nbctl itself, for at most two seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .grammar import EVERYWHERE, Arg, Verb, Words

ASK = {Words.NOTEBOOKS: "ls --names", Words.PROFILES: "profile ls --names", Words.IMAGES: "image ls --names", Words.SNAPSHOTS: "home snapshots --ids"}


def script(shell: str, verbs: Sequence[Verb]) -> str:
    makers: dict[str, Callable[[Sequence[Verb]], Iterator[str]]] = {"bash": bash, "zsh": zsh, "fish": fish}
    return "\n".join(makers[shell](verbs))


def paths(verbs: Sequence[Verb], before: str = "") -> Iterator[tuple[str, Verb]]:
    """Every verb under its full name, "profile ls"."""
    for verb in verbs:
        yield before + verb.name, verb
        yield from paths(verb.verbs, f"{before}{verb.name} ")


def options(verb: Verb) -> list[Arg]:
    return [arg for arg in (*verb.args, *EVERYWHERE) if not arg.positional]


def place(verb: Verb) -> Arg | None:
    return next((arg for arg in verb.args if arg.positional), None)


def bash(verbs: Sequence[Verb]) -> Iterator[str]:
    yield "# bash completion of nbctl. Install: nbctl completion bash > /etc/bash_completion.d/nbctl"
    yield from shell_head(verbs)
    yield from (
        "_nbctl() {",
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}",
        '    _nbctl_verb "${COMP_WORDS[@]:1:COMP_CWORD-1}"',
        '    local words; words=$(_nbctl_words "$verb" "$prev" "$cur")',
        '    if [ "$words" = "FILES" ]; then',
        "        compopt -o filenames",
        '        mapfile -t COMPREPLY < <(compgen -f -- "$cur")',
        "    else",
        '        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")',
        "    fi",
        "}",
        "complete -F _nbctl nbctl",
    )


def zsh(verbs: Sequence[Verb]) -> Iterator[str]:
    yield "#compdef nbctl"
    yield "# zsh completion of nbctl. Install: nbctl completion zsh > /usr/local/share/zsh/site-functions/_nbctl"
    yield from shell_head(verbs)
    yield from (
        "_nbctl() {",
        "    local cur=${words[CURRENT]} prev=${words[CURRENT-1]} offered verb",
        '    _nbctl_verb "${(@)words[2,CURRENT-1]}"',
        '    offered=$(_nbctl_words "$verb" "$prev" "$cur")',
        '    if [ "$offered" = "FILES" ]; then _files; else compadd -- ${=offered}; fi',
        "}",
        'if [ "$funcstack[1]" = "_nbctl" ]; then _nbctl "$@"; else compdef _nbctl nbctl; fi',
    )


def shell_head(verbs: Sequence[Verb]) -> Iterator[str]:
    """What bash and zsh share: which verb is meant so far, and the words that may come next."""
    yield from (
        '_nbctl_ask() { NBD_TIMEOUT=2 command nbctl "$@" 2>/dev/null; }',
        "_nbctl_verb() {",
        '    verb=""',
        "    local word",
        '    for word in "$@"; do',
        '        case "$verb $word" in',
    )
    for path, _ in paths(verbs):
        before, _, last = path.rpartition(" ")
        yield f"            {quoted(f'{before} {last}')}) verb={quoted(path)} ;;"
    yield from ("        esac", "    done", "}", "_nbctl_words() {", '    case "$1:$2" in')
    yield from option_values(verbs)
    yield from ("    esac", '    case "$1:$3" in')
    everywhere = " ".join(flag for arg in EVERYWHERE for flag in arg.flags)
    yield f'        :-*) echo "{everywhere} --help"; return ;;'
    for path, verb in paths(verbs):
        flags = " ".join(flag for arg in options(verb) for flag in arg.flags)
        yield f'        {quoted(path)}:-*) echo "{flags} --help"; return ;;'
    yield from ("    esac", '    case "$1" in')
    yield f'        "") echo "{" ".join(verb.name for verb in verbs)}" ;;'
    for path, verb in paths(verbs):
        offered = f'echo "{" ".join(inner.name for inner in verb.verbs)}"' if verb.verbs else words_of(place(verb))
        if offered:
            yield f"        {quoted(path)}) {offered} ;;"
    yield from ("    esac", "}")


def option_values(verbs: Sequence[Verb]) -> Iterator[str]:
    for path, verb in (("", Verb("", "")), *paths(verbs)):
        for arg in options(verb):
            if arg.kind is not None:
                patterns = "|".join(f"{quoted(path)}:{flag}" for flag in arg.flags)
                yield f"        {patterns}) {words_of(arg) or ':'}; return ;;"


def words_of(arg: Arg | None) -> str:
    """The shell command that prints the words for an argument; empty where there are none."""
    if arg is None:
        return ""
    if arg.choices:
        return f'echo "{" ".join(arg.choices)}"'
    if arg.words is Words.FILES:
        return "echo FILES"
    return f"_nbctl_ask {ASK[arg.words]}" if arg.words in ASK else ""


def fish(verbs: Sequence[Verb]) -> Iterator[str]:
    yield "# fish completion of nbctl. Install: nbctl completion fish > ~/.config/fish/completions/nbctl.fish"
    yield "complete -c nbctl -f"
    for arg in EVERYWHERE:
        yield f"complete -c nbctl{fish_flags(arg)}{fish_value(arg)} -d {quoted(arg.help)}"
    yield from fish_verbs(verbs, "")


def fish_verbs(verbs: Sequence[Verb], before: str) -> Iterator[str]:
    """The verbs that may come after what `before` tests for, and theirs."""
    names = " ".join(verb.name for verb in verbs)
    for verb in verbs:
        yield f"complete -c nbctl -n {quoted(f'{before}not __fish_seen_subcommand_from {names}')} -a {verb.name} -d {quoted(verb.help)}"
        here = f"{before}__fish_seen_subcommand_from {verb.name}"
        yield from fish_verb(here, verb)
        yield from fish_verbs(verb.verbs, f"{here}; and ")


def fish_verb(condition: str, verb: Verb) -> Iterator[str]:
    for arg in verb.args:
        flags = "" if arg.positional else fish_flags(arg)
        value = fish_value(arg)
        if flags or value:
            yield f"complete -c nbctl -n {quoted(condition)}{flags}{value} -d {quoted(arg.help)}"


def fish_flags(arg: Arg) -> str:
    return "".join(f" -l {flag[2:]}" if flag.startswith("--") else f" -s {flag[1:]}" for flag in arg.flags)


def fish_value(arg: Arg) -> str:
    required = "" if arg.positional or arg.kind is None else " -r" if arg.words is Words.FILES else " -x"
    if arg.choices:
        return f"{required} -a {quoted(' '.join(arg.choices))}"
    if arg.words is Words.FILES:
        return f"{required} -F"
    return f"{required} -a {quoted(f'(env NBD_TIMEOUT=2 nbctl {ASK[arg.words]} 2>/dev/null)')}" if arg.words in ASK else required


def quoted(text: str) -> str:
    """For any of the three shells; the table's texts are ours and hold no backslash."""
    return "'" + text.replace("'", "’") + "'"
