"""Options from three places: the command line, then ``PPS_`` variables, then a TOML file, then defaults.

The parser is the only list of options: what a key is called, which values it takes and what it means is read
from its actions. A key is an option without its dashes.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.core.errors import ConfigError
from server.readers import Secret, Whole, public, read_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: In front of an option's name, in capitals, in the environment: ``PPS_MAX_PIXELS``.
PREFIX = "PPS_"
#: Names the file; a file cannot name another.
FILE_OPTION = "--config"

_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_PASSWORD = re.compile(r"(?<=://)[^/?#\s]*@")

Actions = dict[str, argparse.Action]


class Settings(NamedTuple):
    """Options as they are in force, and option to where its value is from, in words."""

    options: argparse.Namespace
    sources: dict[str, str]


def read(
    make_parser: Callable[[], argparse.ArgumentParser], argv: Sequence[str], environment: Mapping[str, str]
) -> Settings:
    """Everything that is set anywhere.

    Args:
        make_parser: gives a fresh parser.
        argv: the command line.
        environment: of the process; other names than ``PPS_…`` are left alone.

    Raises:
        ConfigError: a file or variable that cannot be used; one line that names it and the key.
        SystemExit: the command line is wrong, or nothing there asks for more than help.
    """
    typed = _typed(make_parser(), argv)
    parser = make_parser()
    actions = settable(parser)
    below, sources = _variables(actions, environment)
    path = typed.get("config") or below.get("config")
    if path:
        for key, value in _file(actions, path).items():
            if key not in below:
                below[key], sources[key] = value, f"file {path}"
    below = {key: value for key, value in below.items() if key not in typed}
    for key, action in actions.items():
        if action.required and path and key not in below and key not in typed:
            raise ConfigError(f"{path}: {key} is missing, and no {action.option_strings[0]} is given")
        action.required = action.required and key not in below
    options = parser.parse_args(argv, argparse.Namespace(**below))
    sources |= dict.fromkeys(typed, "option")
    return Settings(options, {key: sources.get(key, "default") for key in actions})


def settable(parser: argparse.ArgumentParser) -> Actions:
    """Key to option, of all that the help names."""
    hidden = (argparse.SUPPRESS,)
    return {
        action.dest: action
        for action in parser._actions
        if action.option_strings and action.dest != "help" and action.help not in hidden
    }


def show(parser: argparse.ArgumentParser, settings: Settings) -> Iterator[str]:
    """All settings as a TOML file, with where each is from. Secrets and passwords in URLs stay out."""
    kept = settable(parser)
    for group in parser._action_groups:
        actions = [kept[a.dest] for a in group._group_actions if a.dest in kept and a.dest != "config"]
        if not actions:
            continue
        yield f"\n# {group.title}"
        for action in actions:
            text = _shown(action, getattr(settings.options, action.dest))
            yield f"{text:<40}  # {' '.join(settings.sources[action.dest].split())}"


def _typed(parser: argparse.ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    """What the command line sets; exits when it is wrong."""
    for action in parser._actions:
        action.required = False
        if action.dest != "help":
            action.default = argparse.SUPPRESS
    return vars(parser.parse_known_args(argv)[0])  # what is unknown is complained of later


def _variables(actions: Actions, environment: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Values and sources of ``PPS_`` variables; one that is empty is not set."""
    keys = {PREFIX + key.upper(): key for key in actions}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, text in environment.items():
        if not name.startswith(PREFIX) or not text:
            continue
        if name not in keys:
            raise ConfigError(f"environment: unknown variable {name}{_meant(name, keys)}")
        action = actions[keys[name]]
        raw: Any = _FLAGS.get(text.lower(), text) if action.nargs == 0 else text
        values[keys[name]] = _value(action, raw, f"environment: {name}", from_text=True)
        sources[keys[name]] = f"environment {name}"
    return values, sources


def _file(actions: Actions, path: str) -> dict[str, Any]:
    """Values of a TOML file."""
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and numbers of thousands of digits
        raise ConfigError(f"{path}: no valid TOML: {error}") from None
    known = {key: action for key, action in actions.items() if key != "config"}
    values = {}
    for key, raw in content.items():
        if key not in known:
            raise ConfigError(f"{path}: unknown key {key!r}{_meant(key, known)}")
        values[key] = _value(known[key], raw, f"{path}: {key}")
    return values


def _meant(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; is it {near[0]}?" if near else ""


def _value(action: argparse.Action, raw: Any, where: str, from_text: bool = False) -> Any:
    """``raw`` as the option's own reader gives it. Raises ConfigError."""
    if isinstance(action, argparse._AppendAction):
        many = raw if isinstance(raw, list) else [raw]
        return [_one(action, each, where, from_text) for each in many]
    return _one(action, raw, where, from_text)


def _one(action: argparse.Action, raw: Any, where: str, from_text: bool) -> Any:
    kinds = _kinds(action)
    if type(raw) not in kinds and not (from_text and action.nargs != 0):
        raise ConfigError(f"{where} must be {' or '.join(_KINDS[kind] for kind in kinds)}")
    if action.nargs == 0:
        return raw
    text = str(raw)
    try:
        value = action.type(text) if callable(action.type) else text
    except argparse.ArgumentTypeError as fault:
        raise ConfigError(f"{where}: {fault}") from None
    except (TypeError, ValueError):
        raise ConfigError(f"{where} must be {' or '.join(_KINDS[kind] for kind in kinds)}") from None
    if action.choices is not None and value not in action.choices:
        raise ConfigError(f"{where} must be one of {', '.join(map(str, action.choices))}")
    return value


def _kinds(action: argparse.Action) -> tuple[type, ...]:
    """Types of TOML that an option takes; the first is how it is shown."""
    if action.nargs == 0:
        return (bool,)
    if action.type is read_bytes:
        return (int, str)
    if isinstance(action.type, Whole) or action.type is int:
        return (int,)
    return (float, int) if action.type is float else (str,)


def _shown(action: argparse.Action, value: Any) -> str:
    key = action.dest
    if value is None:
        return f"# {key} is not set"
    if action.type is Secret:
        return f"# {key} is set, and not shown"
    if action.type is read_bytes:
        return f"{key} = {_toml(public('_bytes', value))}"
    return f"{key} = {_toml(value)}"


def _toml(value: Any) -> str:
    """Numbers, truth values, text and lists of them look alike in TOML and JSON, but for what is not text."""
    if isinstance(value, str):
        value = _PASSWORD.sub("***@", value).encode(errors="backslashreplace").decode()
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
