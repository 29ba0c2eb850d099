"""The published method once more, written out from the paper's formulas in plain functions on a dictionary of weights.

Nothing here calls a module of this library or of timm: both sides share the numbers of the weights alone. Support and
queries are run in two passes, as the public code does, and each attention is called once for each sequence.
"""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from taskadapter_lite.metrics import METRICS, TRX, bimhm_scores, cosine_scores, euclidean_scores, otam_scores
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.training.config import TrainConfig
from taskadapter_lite.training.step import Objective

WAY, SHOT, Q, T, SIZE, PATCH, D, HEADS, BLOCKS, ADAPTED, OUT = 3, 2, 4, 3, 8, 4, 16, 2, 3, 2, 6
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)

# ---- the paper's formulas: w is a dictionary of tensors, x (V, T, N, D)


def linear(w, name, x):
    """W x + b; CLIP's projection has no b."""
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def layer_norm(w, name, x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def msa(w, block, sequence):
    """Self-attention of one sequence (length, D), a head at a time, scaled by the root of a head's width."""
    q, k, v = linear(w, f"{block}.attn.qkv", sequence).split(D, dim=-1)
    width, heads = D // HEADS, []
    for h in range(HEADS):
        own = slice(h * width, (h + 1) * width)
        powers = (q[:, own] @ k[:, own].T / math.sqrt(width)).exp()
        heads.append(powers / powers.sum(-1, keepdim=True) @ v[:, own])
    return linear(w, f"{block}.attn.proj", torch.cat(heads, -1))


def mlp(w, block, x):
    hidden = linear(w, f"{block}.mlp.fc1", x)
    return linear(w, f"{block}.mlp.fc2", hidden / (1 + (-1.702 * hidden).exp()))  # QuickGELU, as in OpenAI's CLIP


def adapter(w, name, z):
    """W2 GELU(W1 z), with the exact GELU."""
    hidden = linear(w, f"{name}.down", z)
    return linear(w, f"{name}.up", hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)


def frozen_block(w, block, x):
    x = x + torch.stack(
        [torch.stack([msa(w, block, frame) for frame in v]) for v in layer_norm(w, f"{block}.norm1", x)]
    )
    return x + mlp(w, block, layer_norm(w, f"{block}.norm2", x))


def adapted_block(w, block, name, x):
    """Time, space, task, joint; the videos of `x` are those that see each other."""
    V, _, N, _ = x.shape
    z = layer_norm(w, f"{block}.norm1", x)
    z = torch.stack([torch.stack([msa(w, block, z[v, :, n]) for n in range(N)], 1) for v in range(V)])
    x = x + adapter(w, f"{name}.time", z)
    z = layer_norm(w, f"{block}.norm1", x)
    z = torch.stack([torch.stack([msa(w, block, z[v, t]) for t in range(T)]) for v in range(V)])
    x = x + z + adapter(w, f"{name}.space", z)
    z = layer_norm(w, f"{block}.norm1", x)
    z = torch.stack([torch.stack([msa(w, block, z[:, t, n]) for n in range(N)], 1) for t in range(T)], 1)
    x = x + adapter(w, f"{name}.task", z)
    z = layer_norm(w, f"{block}.norm2", x)
    return x + mlp(w, block, z) + adapter(w, f"{name}.joint", z)


def one_pass(w, videos):
    """Videos (V, T, 3, H, W) in [0, 1] that see each other -> frame features (V, T, OUT)."""
    V, side = len(videos), SIZE // PATCH
    pixels = (videos - videos.new_tensor(MEAN).view(3, 1, 1)) / videos.new_tensor(STD).view(3, 1, 1)
    kernel = w["backbone.patch_embed.proj.weight"]  # a patch at a time, row after row
    tokens = [w["backbone.cls_token"].view(1, 1, D).expand(V, T, D)]
    for row in range(side):
        for column in range(side):
            patch = pixels[..., row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
            tokens.append(patch.reshape(V, T, -1) @ kernel.reshape(D, -1).T)
    x = torch.stack(tokens, 2) + w["backbone.pos_embed"].view(1, 1, -1, D) + w["temporal"].view(1, T, 1, D)
    x = layer_norm(w, "backbone.norm_pre", x)
    for i in range(BLOCKS):
        block = f"backbone.blocks.{i}"
        first_adapted = BLOCKS - ADAPTED
        x = frozen_block(w, block, x) if i < first_adapted else adapted_block(w, block, f"adapted.{i}", x)
    return linear(w, "backbone.head", layer_norm(w, "backbone.norm", x[:, :, 0]))


def two_passes(w, clips):
    return torch.cat([one_pass(w, clips[: WAY * SHOT]), one_pass(w, clips[WAY * SHOT :])])


def cosine(a, b):
    return (a * b).sum() / (a.pow(2).sum().sqrt() * b.pow(2).sum().sqrt())


def published_loss(features, labels, text):
    """Mean over queries of the cross-entropy of 64 x visual x semantic; support clips lie class after class."""
    prototypes = [features[c * SHOT : (c + 1) * SHOT].mean((0, 1)) for c in range(WAY)]
    losses = []
    for query, label in zip(features[WAY * SHOT :], labels, strict=True):
        seen = query.mean(0)
        logits = [64 * cosine(seen, prototypes[c]) * cosine(seen, text[c]) for c in range(WAY)]
        losses.append(torch.stack(logits).exp().sum().log() - logits[label])
    return torch.stack(losses).mean()


# ---- the library's side, on the same numbers


def waves(*shape, start):
    """Numbers in -1..1 that look irregular, the same with every version of every library."""
    return torch.sin(start + 0.37 * torch.arange(math.prod(shape), dtype=torch.float64) ** 1.5).view(shape)


def published_model() -> TaskAdapterViT:
    """CLIP's build (pre-norm, QuickGELU, projection) in small; every number of it moved, adapters too."""
    shape = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": D, "depth": BLOCKS, "num_heads": HEADS}
    clip = {"pre_norm": True, "act_layer": "quick_gelu", "num_classes": OUT, "norm_layer": torch.nn.LayerNorm}
    backbone = VisionTransformer(**shape, **clip)
    backbone.head = torch.nn.Linear(D, OUT, bias=False)
    vars(backbone)["pretrained_cfg"] = {"input_size": (3, SIZE, SIZE), "mean": MEAN, "std": STD}
    model = TaskAdapterViT(backbone, ADAPTED, T, scope="split", zero_init=False, temporal_embedding="input").double()
    with torch.no_grad():
        for i, (name, parameter) in enumerate(sorted(model.named_parameters())):
            near_one = "norm" in name and name.endswith("weight")
            parameter.copy_(float(near_one) + 0.4 * waves(*parameter.shape, start=float(i)))
    return model.eval()


def clips_labels_text():
    clips = (waves(WAY * SHOT + Q, T, 3, SIZE, SIZE, start=0.5) + 1) / 2
    return clips, [2, 0, 1, 2], waves(WAY, OUT, start=3.0)


def weights_of(model):
    """Name -> number, as leaves of a graph of their own; biases that CLIP does not have are left out."""
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert not any(name.endswith("patch_embed.proj.bias") for name in weights)
    return {name: w.requires_grad_(model.get_parameter(name).requires_grad) for name, w in weights.items()}


def test_features_are_those_of_the_formulas():
    model, (clips, _, _) = published_model(), clips_labels_text()
    with torch.no_grad():
        found, expected = model(clips, WAY * SHOT), two_passes(weights_of(model), clips)
        torch.testing.assert_close(found, expected, rtol=0, atol=1.5e-6)
        assert (found - one_pass(weights_of(model), clips)).abs().max() > 1e-3  # one pass would be scope "joint"
        in_32_bits = model.float()(clips.float(), WAY * SHOT).double()
        torch.testing.assert_close(in_32_bits, expected, rtol=0, atol=2e-5)


def test_loss_and_gradients_are_those_of_the_formulas():
    model, (clips, labels, text) = published_model(), clips_labels_text()
    objective = Objective(TrainConfig.published("hmdb51"), OUT, T, n_classes=WAY)
    arguments = torch.tensor([labels]), torch.zeros(1, len(clips), dtype=torch.long), text[None]
    loss, _ = objective(model(clips, WAY * SHOT)[None], WAY, *arguments)
    loss.sum().backward()
    weights = weights_of(model)
    expected = published_loss(two_passes(weights, clips), labels, text)
    expected.backward()
    torch.testing.assert_close(loss.sum().double(), expected, rtol=1e-5, atol=0)
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 1 + ADAPTED * 4 * 4  # the embedding; four adapters a block, of four tensors each
    for name, gradient in trained.items():
        assert weights[name].grad.abs().max() > 6e-4, name  # a gradient that is nearly zero would show nothing
        torch.testing.assert_close(
            gradient, weights[name].grad, rtol=0, atol=6e-5, msg=lambda m, name=name: f"{name}: {m}"
        )


# ---- scores, in loops over frames


def softmin(*values, gamma=0.1):
    return -gamma * math.log(sum(math.exp(-value / gamma) for value in values))


def otam_one_way(d):
    """The padded table, cell by cell: d has rows of the query and columns of the support clip."""
    rows, columns = d.shape
    padded = np.pad(d, ((0, 0), (1, 1)))
    table = np.zeros_like(padded)
    for m in range(1, columns + 2):
        table[0, m] = table[0, m - 1] + padded[0, m]
    for row in range(1, rows):
        for m in range(1, columns + 2):
            before = [table[row - 1, m - 1], table[row, m - 1]]
            if m in (1, columns + 1):
                before.append(table[row - 1, m])
            table[row, m] = padded[row, m] + softmin(*before)
    return table[-1, -1]


def otam_loop(query, shot):
    d = distances(query, shot)
    return otam_one_way(d) + otam_one_way(d.T)


def bimhm_loop(query, shot):
    d = distances(query, shot)
    return sum(min(row) for row in d) / len(d) + sum(min(column) for column in d.T) / len(d.T)


def distances(query, shot):
    return np.array([[1 - q @ s / math.sqrt((q @ q) * (s @ s)) for s in shot] for q in query])


@pytest.mark.parametrize("scores, loop", [(otam_scores, otam_loop), (bimhm_scores, bimhm_loop)])
@pytest.mark.parametrize("frames, shots", [(8, 5), (4, 1)])
def test_alignments_average_their_distances_over_shots(scores, loop, frames, shots):
    rng = np.random.default_rng(frames)
    support, query = rng.normal(size=(3, shots, frames, 5)), rng.normal(size=(4, frames, 5))
    expected = [[-np.mean([loop(q, shot) for shot in of_class]) for of_class in support] for q in query]
    found = scores(torch.tensor(support), torch.tensor(query))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-5)


def trx_loop(trx, support, query):
    """Query tuples rebuilt from those of one class; its linear maps and norms as arrays."""
    frames, dim = query.shape
    position = np.zeros((frames, dim))
    for t in range(frames):
        for i in range(dim):
            angle = t / 10_000 ** (2 * (i // 2) / dim)
            position[t, i] = 0.1 * (math.cos(angle) if i % 2 else math.sin(angle))
    found = []
    for level, size in enumerate(trx.cardinalities):
        numbers = {
            (what, part): getattr(getattr(trx, what)[level], part).detach().double().numpy()
            for what in ("to_key", "to_value", "key_norm")
            for part in ("weight", "bias")
        }

        def rows_of(clip, what, size=size, numbers=numbers):
            tuples = [
                np.concatenate([(clip + position)[t] for t in chosen]) for chosen in combinations(range(frames), size)
            ]
            return [numbers[what, "weight"] @ x + numbers[what, "bias"] for x in tuples]

        def keys_of(clip, rows_of=rows_of, numbers=numbers):
            normed = [(x - x.mean()) / math.sqrt(x.var() + 1e-5) for x in rows_of(clip, "to_key")]
            return [x * numbers["key_norm", "weight"] + numbers["key_norm", "bias"] for x in normed]

        keys = [key for clip in support for key in keys_of(clip)]
        values = [value for clip in support for value in rows_of(clip, "to_value")]
        far = []
        for key, value in zip(keys_of(query), rows_of(query, "to_value"), strict=True):
            powers = np.exp([key @ other / math.sqrt(trx.key_dim) for other in keys])
            prototype = sum(p * other for p, other in zip(powers / powers.sum(), values, strict=True))
            far.append(((value - prototype) ** 2).sum())
        found.append(np.mean(far))
    return np.mean(found)


@torch.no_grad()
def test_trx_rebuilds_query_tuples_from_those_of_all_shots():
    torch.manual_seed(0)
    trx = TRX(dim=6, T=4, key_dim=7)
    for parameter in trx.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    rng = np.random.default_rng(0)
    support, query = rng.normal(size=(2, 3, 4, 6)), rng.normal(size=(3, 4, 6))
    expected = [[-trx_loop(trx, of_class, q) for of_class in support] for q in query]
    found = trx(torch.tensor(support), torch.tensor(query))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


# ---- decisions


@pytest.mark.parametrize("scores, name", [(euclidean_scores, "euclidean"), (cosine_scores, "cosine")])
def test_no_decision_differs_from_the_nearest_class_mean(scores, name):
    """As prototypical networks are written elsewhere: labels in any order, a mean a label, the nearest one wins."""
    rng, decisions, differing = np.random.default_rng(1), 0, 0
    for _ in range(1000):
        way, shot, n_query = rng.integers(2, 8), rng.integers(1, 6), rng.integers(1, 16)
        labels = rng.permutation(np.repeat(np.arange(way), shot))
        support = rng.normal(size=(way, 1, 8))[labels] + 2 * rng.normal(size=(way * shot, 4, 8))
        query = rng.normal(size=(n_query, 4, 8))
        means = [
            np.mean([clip.mean(0) for clip, own in zip(support, labels, strict=True) if own == c], axis=0)
            for c in range(way)
        ]
        by_class = np.stack([support[labels == c] for c in range(way)])
        found = scores(torch.tensor(by_class), torch.tensor(query)).argmax(-1).tolist()
        for clip, answer in zip(query, found, strict=True):
            x = clip.mean(0)
            if name == "euclidean":
                expected = min(range(way), key=lambda c: np.linalg.norm(x - means[c]))
            else:
                expected = max(range(way), key=lambda c: x @ means[c] / np.linalg.norm(means[c]))
            decisions, differing = decisions + 1, differing + (answer != expected)
    assert decisions > 7000
    assert differing == 0
    assert METRICS[name].aggregation == "prototype"
