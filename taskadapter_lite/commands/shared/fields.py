"""A dataclass of settings -> an option a field, with the docstring's words as help."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Collection, Container, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

TYPES: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float, "Path": Path}


def add_fields(
    parser: argparse._ActionsContainer,
    settings: type,
    without: Container[str] = (),
    choices: Mapping[str, Collection[str]] | None = None,
    kept: str = "default",
) -> None:
    """An option for each field of a dataclass; `given_fields` finds those that were given.

    Args:
        parser: gets the options.
        settings: the dataclass; what its docstring says of a field is the option's help.
        without: fields that get no option.
        choices: field -> its values, where the dataclass refuses no others.
        kept: what the value that stays is called.
    """
    said = _attributes(settings)
    for setting in fields(settings):
        if setting.name in without:
            continue
        option, default = f"--{setting.name.replace('_', '-')}", "none" if setting.default is None else setting.default
        text = f"{said.get(setting.name, '')} ({kept}: {default})".strip().replace("%", "%%")
        if setting.type == "bool":
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
            continue
        kind, _, optional = str(setting.type).partition(" | ")
        allowed = (choices or {}).get(setting.name)
        shown = {"choices": allowed} if allowed else {"metavar": kind.upper()}
        read = _or_none(kind) if optional else TYPES[kind]
        parser.add_argument(option, type=read, default=argparse.SUPPRESS, help=text, **shown)


def given_fields(args: argparse.Namespace, settings: type) -> dict[str, Any]:
    """The fields of a dataclass that the caller gave as options."""
    return {setting.name: getattr(args, setting.name) for setting in fields(settings) if setting.name in args}


def _or_none(kind: str) -> Callable[[str], Any]:
    """Reads a value of a kind, or the word "none"."""

    def read(text: str) -> Any:
        return None if text.lower() == "none" else TYPES[kind](text)

    read.__name__ = kind  # argparse names it in its message
    return read


def _attributes(settings: type) -> dict[str, str]:
    """What a class's docstring says of its attributes, one line each."""
    block = re.split(r"\n\n", (inspect.getdoc(settings) or "").partition("Attributes:\n")[2])[0]
    entries = re.split(r"\n {4}(?=\S)", "\n" + block)
    found: dict[str, str] = {}
    for names, _, text in (entry.partition(": ") for entry in entries):
        line = " ".join(re.sub(r"\bNone\b", "none", text).split()).rstrip(".")
        found |= {name: line for name in names.split(", ")}
    return found
