"""Completion of ``python -m server …`` in shells, made of the parsers themselves."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping

#: What a value's placeholder in the help says about where values come from.
_FILES, _FOLDERS = frozenset({"FILE", "PEM", "PATH", "TOML", "NAME_OR_YAML"}), frozenset({"DIR"})

Parsers = Mapping[str, argparse.ArgumentParser | None]
Words = Mapping[str, Iterable[str]]


def script(shell: str, parsers: Parsers, words: Words) -> str:
    """A script that the shell sources.

    Args:
        shell: ``bash``, ``zsh`` or ``fish``.
        parsers: command to its parser, None where it takes nothing; "" is serving.
        words: placeholder of a value to values that are known for it.
    """
    makers = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    return "\n".join(makers[shell](parsers, words)) + "\n"


def _options(parser: argparse.ArgumentParser | None) -> Iterator[argparse.Action]:
    """What the help of a parser names, options only."""
    for action in parser._actions if parser else ():
        if action.option_strings and action.help != argparse.SUPPRESS:
            yield action


def _choices(parser: argparse.ArgumentParser | None) -> list[str]:
    """Words that a parser takes without an option in front."""
    found: list[str] = []
    for action in parser._actions if parser else ():
        if not action.option_strings and action.choices:
            found += map(str, action.choices)
    return found


def _place(action: argparse.Action) -> str:
    """The placeholder of a value: ``FILE``, and ``FILE`` of ``FILE[,...]``."""
    return str(action.metavar).partition("[")[0]


def _values(action: argparse.Action, words: Words) -> list[str]:
    return [*map(str, action.choices or ()), *words.get(_place(action), ())]


def _help(action: argparse.Action) -> str:
    return " ".join((action.help or "").split())


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# --- bash

_BASH_HEAD = """\
# python -m server completion bash: source this in ~/.bashrc
_paddle_pipeline_server() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=
    COMPREPLY=()
    if [[ ${COMP_WORDS[1]} != -m || ${COMP_WORDS[2]} != server ]]; then
        [[ -n $_paddle_pipeline_server_before ]] && "$_paddle_pipeline_server_before" "$@"
        return
    fi
    [[ $word == = ]] && word=
    [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    if ((COMP_CWORD > 3)); then
        case ${COMP_WORDS[3]} in"""
_BASH_TAIL = """\
}
if [[ -z ${_paddle_pipeline_server_before+set} ]]; then
    declare -F _completion_loader >/dev/null && _completion_loader python
    _paddle_pipeline_server_before=$(complete -p python 2>/dev/null | sed -n 's/.* -F \\([^ ]*\\) .*/\\1/p')
fi
complete -o bashdefault -o default -F _paddle_pipeline_server python python3"""


def _bash(parsers: Parsers, words: Words) -> Iterator[str]:
    commands = [name for name in parsers if name]
    yield _BASH_HEAD
    yield f"            {'|'.join(commands)}) command=${{COMP_WORDS[3]}} ;;"
    yield from ("        esac", "    fi", "    case $command:$before in")
    for command, parser in parsers.items():
        for action in _options(parser):
            if action.nargs != 0:
                names = "|".join(f"{command}:{name}" for name in action.option_strings)
                yield f"        {names}) {_bash_value(action, words)}; return ;;"
    yield from ("    esac", "    case $command in")
    for command, parser in parsers.items():
        names_of = [name for action in _options(parser) for name in action.option_strings]
        every = " ".join([*names_of, *_choices(parser), *(commands if not command else [])])
        yield f'        {_quote(command)}) COMPREPLY=($(compgen -W {_quote(every)} -- "$word")) ;;'
    yield from ("    esac", _BASH_TAIL)


def _bash_value(action: argparse.Action, words: Words) -> str:
    """The command that completes an option's value; where there is none, nothing is offered."""
    parts = []
    if values := _values(action, words):
        parts.append(f'$(compgen -W {_quote(" ".join(values))} -- "$word")')
    if _place(action) in _FILES:
        parts.append('$(compgen -f -- "$word")')
    if _place(action) in _FOLDERS:
        parts.append('$(compgen -d -- "$word")')
    return f"COMPREPLY=({' '.join(parts)})"


# --- zsh

_ZSH_HEAD = """\
# python -m server completion zsh: source this in ~/.zshrc, after compinit
_paddle_pipeline_server() {
    if [[ $words[2] != -m || $words[3] != server ]]; then
        if (( $+functions[_python] )); then _python "$@"; else _default; fi
        return
    fi
    local command=
    shift 2 words
    (( CURRENT -= 2 ))"""


def _zsh(parsers: Parsers, words: Words) -> Iterator[str]:
    commands = [name for name in parsers if name]
    yield _ZSH_HEAD
    yield f"    if (( CURRENT > 2 )) && [[ $words[2] == ({'|'.join(commands)}) ]]; then"
    yield from ("        command=$words[2]", "        shift words", "        (( CURRENT -= 1 ))", "    fi")
    yield "    case $command in"
    for command, parser in parsers.items():
        specs = [
            _zsh_spec(action, name, words) for action in _options(parser) for name in action.option_strings
        ]
        places = [*_choices(parser), *(commands if not command else [])]
        if places:
            specs.append(_quote(f"*::word:({' '.join(places)})"))
        yield f"        {_quote(command)}) _arguments {' '.join(specs) or _quote('*: :')} ;;"
    yield from ("    esac", "}", "compdef _paddle_pipeline_server python python3")


def _zsh_spec(action: argparse.Action, name: str, words: Words) -> str:
    text = _help(action)
    for sign in "\\[]:":
        text = text.replace(sign, "\\" + sign)
    if action.nargs == 0:
        return _quote(f"{name}[{text}]")
    if values := _values(action, words):
        how = f"({' '.join(values)})"
    else:
        place = _place(action)
        how = "_files" if place in _FILES else "_files -/" if place in _FOLDERS else " "
    return _quote(f"{name}[{text}]:{action.dest}:{how}")


# --- fish

_FISH_HEAD = """\
# python -m server completion fish: save this as ~/.config/fish/completions/python.fish
function __paddle_pipeline_server
    set -l before (commandline -opc)
    test (count $before) -ge 3; and test "$before[2] $before[3]" = '-m server'; or return 1
    set -l command ''"""


def _fish(parsers: Parsers, words: Words) -> Iterator[str]:
    commands = [name for name in parsers if name]
    yield _FISH_HEAD
    yield f'    contains -- "$before[4]" {" ".join(commands)}; and set command $before[4]'
    yield from ('    test "$command" = "$argv[1]"', "end")
    for command, parser in parsers.items():
        condition = _quote(f"__paddle_pipeline_server '{command}'")
        head = f"complete -c python -n {condition}"
        for action in _options(parser):
            yield f"{head} {_fish_option(action, words)} -d {_fish_quote(_help(action))}"
        places = [*_choices(parser), *(commands if not command else [])]
        if places:
            yield f"{head} -f -a {_fish_quote(' '.join(places))}"


def _fish_option(action: argparse.Action, words: Words) -> str:
    names = " ".join(
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in action.option_strings
    )
    if action.nargs == 0:
        return names
    values = _values(action, words)
    offered = f" -a {_fish_quote(' '.join(values))}" if values else ""
    return f"{names} -r{' -F' if _place(action) in _FILES | _FOLDERS else ' -f'}{offered}"


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
