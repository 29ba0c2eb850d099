"""`pretrain`: still sprite images -> a backbone, and a file that says how well it sees."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from taskadapter_lite.backbone import BUNDLED, load_backbone
from taskadapter_lite.commands.shared.fields import add_fields, given_fields
from taskadapter_lite.commands.shared.options import add_device_argument, chosen_device
from taskadapter_lite.files import whole_file, write_json
from taskadapter_lite.results import environment
from taskadapter_lite.studies.pretraining import PretrainConfig, build, linear_probes, pretrain

HELP = "pre-train a backbone on still sprite images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `pretrain`."""
    parser.add_argument("--out", type=Path, default=Path("runs/pretrain"), help="folder to write into")
    add_fields(parser, PretrainConfig)
    add_device_argument(parser)
    parser.add_argument(
        "--probe",
        type=Path,
        metavar="WEIGHTS",
        help="train nothing: probe this file of --architecture and renew the probes in the .json beside it",
    )


def run(args: argparse.Namespace) -> int:
    """Pre-train, probe, and write `NAME.safetensors` and `NAME.json`, see `file_stem`."""
    config, device = config_of(args), chosen_device(args)
    if args.probe:
        return renew_probes(args.probe, config, device)
    build(config.architecture, config.image_size)  # says what does not fit before anything is written
    args.out.mkdir(parents=True, exist_ok=True)
    made_by, start = environment(device), time.monotonic()  # the code that starts is the code that counts
    vit, history = pretrain(config, str(device), on_log=lambda vit, _: save_weights(vit, config, args.out))
    minutes = (time.monotonic() - start) / 60
    save_weights(vit, config, args.out)
    report = write_report(vit, history, config, args.out, minutes, made_by)
    print(f"{report['images']:,} images in {minutes:.1f} minutes; read linearly from the class token:")
    print(json.dumps(report["probes"], indent=2))
    return 0


def renew_probes(weights: Path, config: PretrainConfig, device: torch.device) -> int:
    """Probe saved weights; the results file beside them, if there is one, gets the new probes and who made them."""
    backbone = load_backbone(weights, architecture=config.architecture, img_size=config.image_size).to(device)
    file = weights.with_suffix(".json")
    report = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    probes = linear_probes(backbone)
    if report is not None:
        write_json(file, report | {"probes": probes, "probes_made_by": environment(device)})
    print(json.dumps(probes, indent=2))
    return 0


def config_of(args: argparse.Namespace) -> PretrainConfig:
    """The settings that the options name, the others as they are by default."""
    return PretrainConfig(**given_fields(args, PretrainConfig))


def file_stem(config: PretrainConfig) -> str:
    """Name of what is written: `something_sprites_vit`, or of another architecture `ARCHITECTURE_sprites_SIZE`."""
    if (config.architecture, config.image_size) == (BUNDLED, 64):
        return "something_sprites_vit"
    return f"{config.architecture}_sprites_{config.image_size}"


def save_weights(vit: VisionTransformer, config: PretrainConfig, folder: Path) -> None:
    """Half-precision weights; the old file stays whole until the new one is."""
    state = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in vit.state_dict().items()}
    with whole_file(folder / f"{file_stem(config)}.safetensors") as beside:
        save_file(state, beside)


def write_report(
    vit: VisionTransformer, history: list[dict], config: PretrainConfig, folder: Path, minutes: float, made_by: dict
) -> dict:
    """Probe the backbone as saved and write what was done and found."""
    rounded = {name: value.half().float() for name, value in vit.state_dict().items()}
    vit.load_state_dict(rounded)
    report = {
        **made_by,
        "config": asdict(config),
        "images": history[-1]["images"] if history else 0,
        "minutes": round(minutes, 1),
        "probes": linear_probes(vit),
        "history": history[:: max(1, len(history) // 50)],
    }
    write_json(folder / f"{file_stem(config)}.json", report, indent=1)
    return report
