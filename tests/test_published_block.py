"""The published method once more, written out from the paper's formulas in plain functions on a dictionary of weights.

Nothing here calls a module of this library or of timm: both sides share the numbers of the weights alone. Support and
queries are run in two passes, as the public code does, and each attention is called once for each sequence.
"""

import math

import torch
from timm.models.vision_transformer import VisionTransformer
from waves import check, wave

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


def around(backbone, mean, std, number_of) -> TaskAdapterViT:
    """As published: split scope, embedding at the input, task adapters that do not start at zero; every number set."""
    vars(backbone)["pretrained_cfg"] = {"input_size": (3, SIZE, SIZE), "mean": mean, "std": std}
    model = TaskAdapterViT(backbone, ADAPTED, T, scope="split", zero_init=False, temporal_embedding="input").double()
    with torch.no_grad():
        for i, (name, parameter) in enumerate(sorted(model.named_parameters())):
            parameter.copy_(number_of(name, parameter.shape, float(i)))
    return model.eval()


def published_model() -> TaskAdapterViT:
    """CLIP's build (pre-norm, QuickGELU, projection) in small."""
    shape = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": D, "depth": BLOCKS, "num_heads": HEADS}
    clip = {"pre_norm": True, "act_layer": "quick_gelu", "num_classes": OUT, "norm_layer": torch.nn.LayerNorm}
    backbone = VisionTransformer(**shape, **clip)
    backbone.head = torch.nn.Linear(D, OUT, bias=False)

    def number_of(name, shape, start):
        near_one = "norm" in name and name.endswith("weight")
        return float(near_one) + 0.4 * wave(*shape, start=start)

    return around(backbone, MEAN, STD, number_of)


def clips_labels_text():
    clips = (wave(WAY * SHOT + Q, T, 3, SIZE, SIZE, start=0.5) + 1) / 2
    return clips, [2, 0, 1, 2], wave(WAY, OUT, start=3.0)


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


# ---- numbers of the day on which features and gradients agreed with the public code to 1.5e-6 and 6e-5


def plain_model() -> TaskAdapterViT:
    """A plain backbone, of another width than the one above."""
    shape = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": 8, "depth": BLOCKS, "num_heads": HEADS}
    backbone = VisionTransformer(**shape, num_classes=0, global_pool="token")
    return around(backbone, (0.5,) * 3, (0.5,) * 3, lambda _, shape, start: 0.6 * wave(*shape, step=0.13, start=start))


def test_features_and_gradients_of_the_published_block():
    model = plain_model()
    clips = (wave(5, 3, 3, 8, 8, step=0.011) + 1) / 2
    features = model(clips, 3)
    assert features.shape == (5, 3, 8)
    check(features[[0, 2, 3, 4], 1, :4], FEATURES, 1.5e-6)
    (features * wave(*features.shape, step=0.7)).sum().backward()
    found = [model.adapted["1"].task.up.weight.grad[0, :2], model.adapted["2"].time.down.bias.grad[:2]]
    check(torch.stack([*found, model.temporal.grad[1, :2]]), GRADIENTS, 1e-6)
    joint = plain_model()
    joint.scope = "joint"
    assert (joint(clips, 3) - features).abs().max() > 1e-3  # the pin tells scopes apart


FEATURES = [  # of two support clips and two queries, frame 1, four of eight channels
    [-1.2359955836379743, 0.40897774371024626, 0.05647809802142569, 0.46767550279193343],
    [-1.2122743968301364, 0.37821683780457666, 0.0019347458290428577, 0.4872699681147326],
    [-1.2194624259500881, 0.3840367687256622, 0.0007024137841382465, 0.508919322607998],
    [-1.2121562291925143, 0.38375804321892326, 0.00997762665432378, 0.5328441662367267],
]
GRADIENTS = [  # of a task adapter, a time adapter and the temporal embedding
    [-0.0010934193421760197, 0.018343592797740095],
    [-0.0032250241613134365, 0.012313341551543636],
    [-0.04265570692613884, -0.15652490381017437],
]
