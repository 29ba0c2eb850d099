"""Options that mirror a dataclass: its fields, their types, and what its docstring says of them."""

import argparse
from dataclasses import dataclass, fields

import pytest
import torch

from taskadapter_lite.commands import build_parser
from taskadapter_lite.commands.shared.fields import add_fields, given_fields
from taskadapter_lite.commands.shared.options import chosen_device
from taskadapter_lite.commands.train import _config
from taskadapter_lite.studies.ladder import Budget
from taskadapter_lite.studies.pretraining import PretrainConfig
from taskadapter_lite.training import TrainConfig


@dataclass(frozen=True)
class Settings:
    """Of a test.

    Attributes:
        height, width: in pixels, 100%
            of them.
        limit: the largest; None: no limit.

    Raises:
        ValueError: never.
    """

    height: "int" = 1
    width: "int" = 2
    limit: "float | None" = 3.0
    quick: "bool" = True
    kind: "str" = "a"


def parse(*words, **options):
    parser = argparse.ArgumentParser()
    add_fields(parser, Settings, **options)
    return parser, given_fields(parser.parse_args(words), Settings)


def test_only_what_is_given_is_found_in_the_type_of_its_field():
    assert parse()[1] == {}
    given = {"height": 5, "limit": 0.5, "quick": False}
    assert parse("--height", "5", "--limit", "0.5", "--no-quick")[1] == given
    assert parse("--limit", "none")[1] == {"limit": None}


@pytest.mark.parametrize("words", [["--height", "none"], ["--limit", "x"], ["--kind", "c"], ["--width", "3"]])
def test_what_does_not_fit_a_field_is_refused(words, capsys):
    with pytest.raises(SystemExit):
        parse(*words, without=("width",), choices={"kind": ("a", "b")})
    assert words[0] in capsys.readouterr().err


def test_the_help_is_what_the_docstring_says():
    said = " ".join(parse(kept="now")[0].format_help().split())
    assert "--height INT in pixels, 100% of them (now: 1)" in said
    assert "--width INT in pixels, 100% of them (now: 2)" in said
    assert "--limit FLOAT the largest; none: no limit (now: 3.0)" in said


@pytest.mark.parametrize(
    "verb, settings, without",
    [
        ("train", TrainConfig, set()),
        ("pretrain", PretrainConfig, set()),
        ("ladder", Budget, {"test_episodes", "device"}),
    ],
)
def test_a_verb_offers_every_field_of_its_settings_and_changes_none_by_itself(verb, settings, without):
    args = build_parser(verb).parse_args([verb])
    assert given_fields(args, settings).keys() <= without
    for setting in fields(settings):
        if setting.name not in without and setting.type == "int":
            args = build_parser(verb).parse_args([verb, f"--{setting.name.replace('_', '-')}", "7"])
            assert given_fields(args, settings)[setting.name] == 7


def test_clipping_can_be_switched_off():
    args = build_parser("train").parse_args(["train", "--clip-norm", "none"])
    assert _config(args).clip_norm is None
    assert _config(build_parser("train").parse_args(["train"])) == TrainConfig.recommended()


def test_the_device_is_the_callers_else_the_launchers_else_an_accelerator(monkeypatch):
    none, cpu = argparse.Namespace(device=None), argparse.Namespace(device="cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen_device(none) == torch.device("cuda")
    assert chosen_device(none, torch.device("cuda:3")) == torch.device("cuda:3")
    assert chosen_device(cpu, torch.device("cuda:3")) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device(none) == torch.device("cpu")
