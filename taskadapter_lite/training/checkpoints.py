"""Trained adapters and the state of a training run <-> one verified .safetensors file.

A file holds the adapters (without the frozen backbone), optionally a training state, and a description in JSON. Its
SHA-256 covers every byte, so damage anywhere is found before a tensor is used. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import warnings
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.files import write_whole
from taskadapter_lite.metrics import METRICS
from taskadapter_lite.model import TaskAdapterViT

FORMAT = "taskadapter_lite checkpoint 1"
OLD_AGGREGATION = "prototype"  # of every metric, when files did not name it
KEEP_LAST = 2  # training checkpoints that a run's folder keeps
_CHECKSUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')
# What must agree; another T is interpolated with a warning
_SHAPED_BY = ("depth", "axes", "ratio", "temporal_embedding", "task_frames", "class_mark")
_SINCE = {"task_frames": "same", "class_mark": False}  # arguments that files of before do not name


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message names the file and the reason in one sentence."""


def save_checkpoint(
    path: str | Path, model: TaskAdapterViT, training_state: dict | None = None, metadata: dict | None = None
) -> Path:
    """Write adapters, and a training state if there is one, so that `path` is never seen half-written.

    The bytes go to a temporary file that is flushed to the disk and then renamed; an older file at `path` stays whole
    until that moment. A backbone that is trainable (full fine-tuning) is stored too.

    Args:
        path: the file to write, by convention `*.safetensors`.
        model: its `adapter_state()` is stored.
        training_state: flat dict of tensors and JSON values, given back by `load_checkpoint`.
        metadata: JSON values that describe the run (data set, class names, accuracy, ...).

    Raises:
        OSError: the folder is missing, unwritable or full; an older file at `path` is left as it was.
    """
    state = training_state or {}
    trains_backbone = any(weight.requires_grad for weight in model.backbone.parameters())
    tensors = {f"adapters.{name}": value for name, value in model.adapter_state().items()}
    tensors |= {f"training.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    content = {
        "model": model.config,
        "backbone": {
            "arguments": getattr(model.backbone, "load_arguments", None),
            "fingerprint": fingerprint(model.backbone),
            "image_side": model.backbone.patch_embed.img_size[0],
        },
        "trains_backbone": trains_backbone,
        "training_state": None
        if training_state is None
        else {name: value for name, value in state.items() if not isinstance(value, Tensor)},
        "trained_with": model.trained_with,
        "metadata": metadata or {},
    }
    header = {"format": FORMAT, "sha256": "0" * 64, "content": json.dumps(content)}
    data = _seal(safetensors.torch.save(tensors, header))
    try:
        write_whole(path, data)
    except OSError as error:
        raise OSError(f"can't write {path}: {error.strerror or error}; earlier checkpoints are untouched") from None
    return Path(path)


def load_checkpoint(path: str | Path, model: TaskAdapterViT) -> dict:
    """Verify the file, put its adapters into `model`, and return what else it holds.

    `model.trained_with` is then the metric, aggregation and temperature of the run that made the adapters, or None
    where the file does not say.

    Returns:
        {"training_state": dict or None, "metadata": dict, "model": config of the stored model, "backbone": dict}

    Raises:
        CheckpointError: missing, damaged, not one of ours, or made for another model or backbone; `model` is unchanged.
    """
    tensors, content = read_checkpoint(path)
    _check_fits(Path(path), content, model)
    if content["trains_backbone"]:
        model.backbone.requires_grad_(True)
    model.load_adapter_state(without_prefix(tensors, "adapters."))
    model.trained_with = _trained_with(tensors, content)
    if content["training_state"] is not None:
        content["training_state"] |= without_prefix(tensors, "training.")
    return content


def load_model(path: str | Path, backbone: VisionTransformer | None = None) -> TaskAdapterViT:
    """Build the model that a file of adapters describes and load it.

    Args:
        path: a file written by `save_checkpoint`.
        backbone: the frozen backbone the adapters were trained on; None loads the one the file names.

    Raises:
        CheckpointError: as `load_checkpoint`.
    """
    _, content = read_checkpoint(path)
    if backbone is None:
        arguments = content["backbone"]["arguments"]
        if arguments is None or not arguments["pretrained"]:
            raise CheckpointError(f"{path} does not say where its backbone's weights came from: give `backbone`")
        backbone = load_backbone(**arguments)
    model = TaskAdapterViT(backbone, **content["model"])
    load_checkpoint(path, model)
    return model.eval()


def load_metric(path: str | Path, model: TaskAdapterViT, name: str) -> nn.Module:
    """The metric with parameters that was trained together with the adapters of a file.

    Args:
        path: the file.
        model: the model of these adapters.
        name: of the metric, such as "trx".

    Raises:
        ValueError: the adapters were not trained with this metric.
    """
    state = without_prefix(read_checkpoint(path)[0], "training.objective.metric.")
    if not state:
        raise ValueError(f"{path} was not trained with the metric {name!r}, which has parameters")
    metric = METRICS[name].build(model.feature_dim, model.T)
    assert isinstance(metric, nn.Module)
    metric.load_state_dict(state)
    return metric


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Read a file and verify every byte of it; return its tensors and its description.

    Raises:
        CheckpointError: the file is missing, unreadable, damaged or not one of ours.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from None
    header_end = 8 + int.from_bytes(data[:8], "little")
    found = _CHECKSUM.search(data, 8, min(header_end, len(data)))
    if found is None:
        raise CheckpointError(f"{path} is damaged or not a checkpoint of taskadapter_lite (it carries no checksum)")
    if hashlib.sha256(data[: found.start(1)] + b"0" * 64 + data[found.end(1) :]).hexdigest().encode() != found[1]:
        raise CheckpointError(f"{path} is damaged (its checksum differs): use another copy or an earlier checkpoint")
    try:
        header = json.loads(data[8:header_end])["__metadata__"]
        tensors = safetensors.torch.load(data)
    except (ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{path} can't be read as safetensors: {error}") from None
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {header.get('format')!r}; this version reads {FORMAT!r}")
    return tensors, json.loads(header["content"])


def save_training_checkpoint(
    folder: Path, step: int, model: TaskAdapterViT, training_state: dict, metadata: dict
) -> Path:
    """Write `folder`/step_<step>.safetensors; remove all but the last two and what a killed run left half-written."""
    path = save_checkpoint(folder / f"step_{step:08d}.safetensors", model, training_state, metadata)
    for old in [*training_checkpoints(folder)[:-KEEP_LAST], *folder.glob(".step_*.tmp")]:
        old.unlink(missing_ok=True)
    return path


def training_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run's folder, oldest first; half-written temporary files are not among them."""
    return sorted(Path(folder).glob("step_*.safetensors"))


def newest_usable(paths: list[Path]) -> Path | None:
    """The newest of a run's checkpoints that is whole; a damaged one is named in a warning and passed over.

    Raises:
        CheckpointError: there are checkpoints and all are damaged.
    """
    for path in reversed(paths):
        try:
            read_checkpoint(path)
            return path
        except CheckpointError as error:
            warnings.warn(f"{error}; trying the one before", stacklevel=2)
    if paths:
        raise CheckpointError(f"every checkpoint in {paths[0].parent} is damaged: start again in another folder")
    return None


def image_side(content: dict) -> int | None:
    """The side in pixels of the frames that the adapters of a file were trained on, None where it does not say."""
    backbone = content["backbone"]
    side = backbone.get("image_side") or (backbone["arguments"] or {}).get("img_size")
    return side[0] if isinstance(side, (list, tuple)) else side


def check_writable(folder: Path, n_bytes: int) -> None:
    """Make the folder and try it, so that an unwritable or full disk is known before hours of work.

    Raises:
        OSError: one sentence with the folder and the reason.
    """
    probe = folder / ".probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise OSError(f"can't write checkpoints to {folder}: {error.strerror or error}") from None
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OSError(f"can't keep checkpoints in {folder}: they need {n_bytes:,} bytes and {free:,} are free")


def fingerprint(module: nn.Module) -> str:
    """Short hash of a module's weights (names, shapes and up to 256 values of each), the same on every device."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        sample = value.detach().flatten()[:: max(1, value.numel() // 256)].float().cpu().contiguous()
        digest.update(f"{name}{tuple(value.shape)}".encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def _trained_with(tensors: dict[str, Tensor], content: dict) -> dict | None:
    """Metric, aggregation and temperature of the adapters; files of a run say it by the run's settings."""
    run = content["metadata"].get("run")
    if not isinstance(run, dict) or "metric" not in run:
        return content.get("trained_with")
    learnt, has_choice = tensors.get("training.objective.log_temperature"), METRICS[run["metric"]].aggregation
    return {
        "metric": run["metric"],
        "aggregation": (run.get("aggregation") or OLD_AGGREGATION) if has_choice else None,
        "temperature": run["temperature"] if learnt is None else learnt.exp().item(),
    }


def without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose name starts with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _seal(data: bytes) -> bytes:
    """Put the hash of the bytes (with zeros in its own place) into the header."""
    found = _CHECKSUM.search(data)
    assert found is not None, "the header was written with a place for it"
    return data[: found.start(1)] + hashlib.sha256(data).hexdigest().encode() + data[found.end(1) :]


def _check_fits(path: Path, content: dict, model: TaskAdapterViT) -> None:
    stored, wanted = _SINCE | content["model"], json.loads(json.dumps(model.config))
    for key in _SHAPED_BY:
        if stored.get(key) != wanted.get(key):
            raise CheckpointError(f"{path} holds a model with {key} {stored.get(key)!r}, not {wanted.get(key)!r}")
    side, own_side = image_side(content), model.backbone.patch_embed.img_size[0]
    if side not in (None, own_side):
        raise CheckpointError(f"{path} was trained on frames of {side} pixels, but the model takes {own_side}")
    if not content["trains_backbone"] and content["backbone"]["fingerprint"] != fingerprint(model.backbone):
        name = (content["backbone"]["arguments"] or {}).get("name", "of unknown origin")
        raise CheckpointError(f"{path} was trained on another backbone ({name}): load it with that one")
