"""Class names -> text features; two kinds of evidence -> one score.

A class name is evidence that plain few-shot methods don't have. So results that use it always show three rows: by
video alone (visual), by name alone (semantic) and by both (fused).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from taskadapter_lite.files import whole_file

PROMPT = "a photo of action about {}"
TEXT_FORMAT = "taskadapter_lite text features 1"
FUSIONS = ("product", "log_probabilities")
PUBLISHED_TEMPERATURE = 64.0


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """Features of class names by one text encoder.

    Attributes:
        class_names: C names.
        features: (C, D) float32, not normalised.
        model: which encoder made them; it must be the partner of the image model.
        prompt: the sentence, with {} for the class name.
    """

    class_names: tuple[str, ...]
    features: Tensor
    model: str
    prompt: str = PROMPT

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) != len(self.class_names):
            raise ValueError(f"features {tuple(self.features.shape)} for {len(self.class_names)} class names")
        if "{}" not in self.prompt:
            raise ValueError(f"prompt is {self.prompt!r}; it must hold {{}}, the place of the class name")

    @property
    def source(self) -> dict[str, str]:
        """Encoder and prompt, as results quote them."""
        return {"model": self.model, "prompt": self.prompt}

    def for_classes(self, class_names: Sequence[str]) -> Tensor:
        """(len(class_names), D) features in this order.

        Raises:
            ValueError: names the classes without a feature.
        """
        missing = [name for name in class_names if name not in self.class_names]
        if missing:
            raise ValueError(f"every class needs a name with text features; missing are {', '.join(missing)}")
        return self.features[[self.class_names.index(name) for name in class_names]]

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file with model, prompt and names beside the features."""
        about = {**self.source, "class_names": json.dumps(self.class_names), "format": TEXT_FORMAT}
        with whole_file(path) as beside:
            save_file({"features": self.features.float().contiguous()}, beside, metadata=about)

    @classmethod
    def load(cls, path: str | Path) -> TextFeatures:
        """Reads what `save` wrote.

        Raises:
            ValueError: if the file is not one of text features.
        """
        try:
            with safe_open(path, "pt") as file:
                about, features = file.metadata() or {}, file.get_tensor("features")
            return cls(tuple(json.loads(about["class_names"])), features, about["model"], about["prompt"])
        except (KeyError, SafetensorError) as error:
            raise ValueError(f"{path} holds no text features ({error})") from error

    @classmethod
    def from_open_clip(
        cls,
        class_names: Sequence[str],
        model: str = "ViT-B-16-quickgelu",
        pretrained: str = "openai",
        prompt: str = PROMPT,
        device: str | torch.device = "cpu",
    ) -> TextFeatures:
        """Encodes class names with the text half of CLIP (needs the optional package `open-clip-torch`).

        Underscores in names become spaces.

        Args:
            class_names: names of all classes that will be met.
            model, pretrained: open_clip's names; the defaults are the partner of
                `vit_base_patch16_clip_quickgelu_224.openai` in timm.
            prompt: a sentence with {}.
            device: where the encoder runs.

        Raises:
            ImportError: without open_clip.
        """
        try:
            import open_clip
        except ImportError as error:
            raise ImportError("text features need open_clip: pip install 'taskadapter_lite[text]'") from error
        encoder = open_clip.create_model(model, pretrained=pretrained, device=device).eval()
        sentences = [prompt.format(name.replace("_", " ")) for name in class_names]
        with torch.no_grad():
            features = encoder.encode_text(open_clip.get_tokenizer(model)(sentences).to(device)).float().cpu()
        return cls(tuple(class_names), features, f"open_clip {model} {pretrained}", prompt)


def semantic_scores(query: Tensor, text: Tensor) -> Tensor:
    """Cosine of a query's time-averaged feature and each class's text feature.

    Args:
        query: (..., Q, T, D).
        text: (..., n_way, D).

    Returns:
        (..., Q, n_way) in [-1, 1].
    """
    q = F.normalize(query.float().mean(-2), dim=-1, eps=1e-6)
    return q @ F.normalize(text.float(), dim=-1, eps=1e-6).transpose(-1, -2)


def fuse_scores(
    visual: Tensor, semantic: Tensor, how: str = "product", temperature: float | Tensor = PUBLISHED_TEMPERATURE
) -> Tensor:
    """Two cosine scores -> logits of a softmax over the classes.

    "product" is the published temperature x visual x semantic. Two traps: the product of two *negative* cosines is
    positive, so a class that both sides reject can win; and raw CLIP's semantic cosines of 0.2 to 0.3 make 64 act as
    13 to 19. "log_probabilities" adds the two log-softmaxes, which is what independent evidence asks for and can't
    reward a double rejection.

    Args:
        visual, semantic: (..., Q, n_way) cosines.
        how: "product" or "log_probabilities".
        temperature: multiplies cosines before the softmax.

    Returns:
        (..., Q, n_way) logits, ready for a cross-entropy.
    """
    if visual.shape != semantic.shape:
        raise ValueError(f"visual scores {tuple(visual.shape)} and semantic ones {tuple(semantic.shape)} must match")
    if how == "product":
        return temperature * visual.float() * semantic.float()
    if how == "log_probabilities":
        by_sight, by_name = ((temperature * scores.float()).log_softmax(-1) for scores in (visual, semantic))
        return by_sight + by_name
    raise ValueError(f"fusion is {how!r}; it must be one of {', '.join(FUSIONS)}")
