"""The whole model against timm's own forward; who may see whom; what is trained."""

import pytest
import torch

from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.model import TaskAdapterViT

S, Q = 3, 2  # support and query clips: neither equal nor a multiple of any number of classes
SMALL = {"embed_dim": 32, "depth": 3, "num_heads": 2, "img_size": 28}
FAMILIES = {
    "bundled": {"name": "something_sprites", "patch_size": 14},
    "CLIP": {"name": "vit_base_patch16_clip_quickgelu_224.openai", "patch_size": 14},
    "AugReg": {"name": "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "patch_size": 14},
    "DeiT-III": {"name": "deit3_small_patch16_224.fb_in1k", "patch_size": 14},
    "DINOv2 with registers": {"name": "vit_small_patch14_reg4_dinov2.lvd142m"},
    "SigLIP": {"name": "vit_base_patch16_siglip_224.webli", "patch_size": 14},
    "average pooling": {"name": "something_sprites", "patch_size": 14, "global_pool": "avg"},
}
SWITCHES = [{"task_frames": "all"}, {"class_mark": True}, {"task_frames": "all", "class_mark": True}]


def make_model(depth=2, family="bundled", moved=True, seed=0, **options):
    """Build a small model with random weights; `moved` moves the adapters too, as training does."""
    torch.manual_seed(seed)
    backbone = load_backbone(pretrained=False, **SMALL, **FAMILIES[family])
    with torch.no_grad():
        for parameter in backbone.parameters():  # timm starts heads, class tokens and layer scales near 0
            parameter += 0.2 * torch.randn_like(parameter)
    model = TaskAdapterViT(backbone, depth, **options)
    if moved:
        for parameter in model.trainable_parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def make_clips(B=S + Q, T=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (B, T, 3, 28, 28), dtype=torch.uint8, generator=generator)


def features_of_frames(backbone, clips):
    mean, std = (torch.tensor(backbone.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    return backbone((clips.flatten(0, 1) / 255 - mean) / std).unflatten(0, clips.shape[:2])


# ---- identity at start


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_untrained_model_gives_timms_features_of_single_frames(family):
    model, clips = make_model(family=family, moved=False), make_clips()
    features = model(clips, S)
    torch.testing.assert_close(features, features_of_frames(model.backbone, clips))
    assert features.shape == (S + Q, 8, model.feature_dim)
    assert features.std() > 0.01


@pytest.mark.parametrize("options", [{"depth": 0}, {"depth": 3}, {"axes": ()}, {"temporal_embedding": "input"}])
@torch.no_grad()
def test_identity_at_start_for_every_depth_and_place_of_the_embedding(options):
    model, clips = make_model(moved=False, **options), make_clips()
    torch.testing.assert_close(model(clips, S), features_of_frames(model.backbone, clips))


@pytest.mark.parametrize("options", SWITCHES, ids=str)
@pytest.mark.parametrize("scope", ["split", "joint", "inductive"])
@torch.no_grad()
def test_identity_at_start_whatever_task_attention_sees(options, scope):
    model, clips = make_model(moved=False, scope=scope, **options), make_clips()
    torch.testing.assert_close(model(clips, S, n_way=S), features_of_frames(model.backbone, clips))


@pytest.mark.parametrize("options", [{"zero_init": False}, {"temporal_std": 0.5}])
@torch.no_grad()
def test_other_starts_leave_the_backbone(options):
    model, clips = make_model(moved=False, **options), make_clips()
    assert not torch.allclose(model(clips, S), features_of_frames(model.backbone, clips), atol=1e-3)


@pytest.mark.parametrize("place", ["input", "adapted"])
@torch.no_grad()
def test_embedding_enters_before_clips_pre_norm_or_before_the_first_adapted_block(place):
    model, clips = make_model(depth=2, family="CLIP", moved=False, temporal_embedding=place), make_clips()
    model.temporal.normal_()
    vit = model.backbone
    entrance = vit.norm_pre if place == "input" else vit.blocks[1]
    per_frame = model.temporal.repeat(S + Q, 1)[:, None]
    hook = entrance.register_forward_pre_hook(lambda _, args: (args[0] + per_frame,))
    expected = features_of_frames(vit, clips)
    hook.remove()
    torch.testing.assert_close(model(clips, S), expected)


# ---- prefix and adapt


@pytest.mark.parametrize("depth", [1, 3])
def test_adapt_of_prefix_equals_the_whole_forward_to_the_bit(depth):
    model, clips = make_model(depth), make_clips()
    tokens = model.prefix(clips)
    assert tokens.shape == (S + Q, 8, 5, 32)
    assert not tokens.requires_grad
    assert torch.equal(model.adapt(tokens, S), model(clips, S))


@torch.no_grad()
def test_prefix_depends_on_the_clip_alone():
    model, clips = make_model(), make_clips()
    tokens = model.prefix(clips)
    for parameter in model.trainable_parameters():
        parameter += 1
    assert torch.equal(model.prefix(clips), tokens)
    torch.testing.assert_close(model.prefix(clips[3:4]), tokens[3:4])


def test_embedding_at_the_input_has_no_prefix():
    with pytest.raises(ValueError, match="no prefix to cache"):
        make_model(temporal_embedding="input").prefix(make_clips())


# ---- which axis lets whom see whom


def who_changes(model, clips, changed):
    """Bool (B, T): whose features change when the pixels of one (clip, frame) change."""
    other = clips.clone()
    other[changed] = 255 - other[changed]
    with torch.no_grad():
        return (model(clips, S, n_way=S) - model(other, S, n_way=S)).abs().amax(-1) > 1e-6


@pytest.mark.parametrize("T, B", [(4, 3), (8, 5), (3, 4)])
@pytest.mark.parametrize("axes", [("space", "joint"), ("time", "space", "joint"), ("task",), ("time", "task")])
def test_only_time_lets_frames_and_only_task_lets_clips_see_each_other(axes, T, B):
    model = make_model(axes=axes, T=T, scope="joint")
    changes = who_changes(model, make_clips(B, T), changed=(1, 2))
    expected = torch.zeros(B, T, dtype=torch.bool)
    expected[slice(None) if "task" in axes else 1, slice(None) if "time" in axes else 2] = True
    assert torch.equal(changes, expected)


@pytest.mark.parametrize(
    "scope, from_support, from_query",
    [
        ("split", [1, 1, 1, 0, 0], [0, 0, 0, 1, 1]),
        ("joint", [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]),
        ("inductive", [1, 1, 1, 1, 1], [0, 0, 0, 1, 0]),
    ],
)
def test_who_sees_a_changed_support_clip_and_a_changed_query(scope, from_support, from_query):
    model, clips = make_model(scope=scope), make_clips()
    assert who_changes(model, clips, changed=(0, 2)).any(1).int().tolist() == from_support
    assert who_changes(model, clips, changed=(3, 2)).any(1).int().tolist() == from_query


@pytest.mark.parametrize("options", [{}, *SWITCHES], ids=str)
@torch.no_grad()
def test_an_inductive_query_is_unchanged_to_the_bit_by_replacing_the_other_queries(options):
    model, clips = make_model(**options), make_clips(S + 4)
    replaced = clips.clone()
    replaced[S + 1 :] = 255 - clips[S + 1 :]
    before, after = model(clips, S, n_way=S), model(replaced, S, n_way=S)
    assert torch.equal(before[: S + 1], after[: S + 1])
    assert not torch.allclose(before[S + 1 :], after[S + 1 :])


@torch.no_grad()
def test_an_inductive_query_is_unchanged_by_adding_or_removing_the_others():
    model, clips = make_model(), make_clips(S + 4)
    together, alone = model(clips, S), model(clips[: S + 1], S)
    torch.testing.assert_close(together[: S + 1], alone)
    model.scope = "split"
    assert not torch.allclose(model(clips, S)[S], model(clips[: S + 1], S)[S], atol=1e-3)


@torch.no_grad()
def test_split_support_is_unchanged_by_the_queries():
    model, clips = make_model(scope="split"), make_clips()
    torch.testing.assert_close(model(clips, S)[:S], model(clips[:S], S))


@pytest.mark.parametrize("scope", ["split", "joint", "inductive"])
@torch.no_grad()
def test_permuting_clips_permutes_their_features(scope):
    model, clips = make_model(scope=scope), make_clips()
    order = [2, 0, 1, 4, 3]  # support among themselves, queries among themselves
    torch.testing.assert_close(model(clips[order], S), model(clips, S)[order])


@pytest.mark.parametrize("class_mark", [False, True])
def test_all_frames_lets_a_frame_see_all_frames_of_the_clips_that_it_may_see(class_mark):
    model, clips = make_model(axes=("task",), task_frames="all", class_mark=class_mark), make_clips()
    assert who_changes(model, clips, changed=(0, 2)).all()  # of a support clip: every frame of every clip
    expected = torch.zeros(S + Q, 8, dtype=torch.bool)
    expected[S] = True  # of a query: every frame of its own
    assert torch.equal(who_changes(model, clips, changed=(S, 2)), expected)


@torch.no_grad()
def test_all_frames_of_one_are_the_same_frame_to_the_bit():
    for T in (1, 2):
        clips = make_clips(T=T)
        same, every = (make_model(T=T, task_frames=name)(clips, S) for name in ("same", "all"))
        assert torch.equal(same, every) == (T == 1)


# ---- class marks


@torch.no_grad()
def test_a_class_is_known_by_its_mark_alone():
    """Classes in another order with their marks give the same features in that order; with the old marks others."""
    model, clips, order = make_model(class_mark=True), make_clips(), [2, 0, 1, 3, 4]
    expected = model(clips, S, S)[order]
    assert not torch.allclose(model(clips[order], S, S), expected, atol=1e-3)
    for block in model.adapted.values():
        block.marks[:S] = block.marks[order[:S]]
    torch.testing.assert_close(model(clips[order], S, S), expected)


@torch.no_grad()
def test_clips_of_one_class_share_a_mark_and_queries_have_none():
    model, clips = make_model(class_mark=True, scope="split"), make_clips(B=6)
    before, order = model(clips, 4, n_way=2), [1, 0, 3, 2, 4, 5]
    torch.testing.assert_close(model(clips[order], 4, n_way=2), before[order])
    for block in model.adapted.values():
        block.marks[0] += 1
    after = model(clips, 4, n_way=2)
    assert torch.equal(after[4:], before[4:])  # among themselves, queries see no mark
    assert not torch.allclose(after[:4], before[:4], atol=1e-3)


@torch.no_grad()
def test_without_marks_the_number_of_classes_says_nothing():
    model, clips = make_model(), make_clips()
    assert torch.equal(model(clips, S), model(clips, S, n_way=2))
    blind = make_model(axes=("time", "space"), class_mark=True)  # no task attention, so nothing to mark
    assert not blind.class_mark
    assert blind(clips, S).shape == (S + Q, 8, 32)


def test_marks_are_trained_once_the_task_adapter_has_moved():
    start, moved = make_model(class_mark=True, moved=False), make_model(class_mark=True)
    for model in (start, moved):
        model(make_clips(), S, n_way=S).square().sum().backward()
    assert 0.4 < start.adapted["1"].marks.std() < 0.6
    for first, later in zip(start.adapted.values(), moved.adapted.values(), strict=True):
        assert not first.marks.grad.any()
        assert later.marks.grad[:S].any(1).all()
        assert not later.marks.grad[S:].any()  # of classes that the episode has not


# ---- what is trained


def test_gradients_reach_every_adapter_and_nothing_else():
    model = make_model()
    model(make_clips(), S).square().sum().backward()
    for name, parameter in model.named_parameters():
        trained = name == "temporal" or ("adapted" in name and ".block." not in name)
        assert parameter.requires_grad == trained, name
        assert (parameter.grad is not None and parameter.grad.abs().sum() > 0) == trained, name


def test_a_training_step_changes_the_adapters_alone():
    model = make_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    model(make_clips(), S).square().sum().backward()
    optimizer.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == set(model.adapter_state())


def test_backbone_stays_in_eval_mode():
    model = make_model().train()
    assert model.training
    assert not any(module.training for module in model.backbone.modules())


def test_counts_equal_the_closed_form():
    model = make_model(depth=2)
    count = 2 * 4 * (2 * 32 * 8 + 8 + 32) + 8 * 32  # blocks x adapters x (W1, W2, biases) + temporal embedding
    table = model.summary()
    assert sum(p.numel() for p in model.trainable_parameters()) == count
    assert table["parameters"].sum() == count
    assert table.columns.tolist() == ["block", "adapter", "shape", "parameters"]
    assert table.values.tolist()[:2] == [[1, "temporal embedding", "8 x 32", 256], [1, "time", "32 -> 8 -> 32", 552]]
    total = sum(p.numel() for p in model.backbone.parameters()) + count
    assert model.describe() == f"4,672 of {total:,} parameters are trained ({count / total:.1%})"


def test_an_unfrozen_backbone_is_trained_from_the_pixels_on():
    model = make_model(depth=1)
    model.backbone.requires_grad_(True)
    model(make_clips(), S).square().sum().backward()
    assert all(p.grad is not None for p in model.backbone.parameters())
    assert not model.prefix(make_clips()).requires_grad


def test_adapter_state_makes_another_model_the_same():
    trained, fresh, clips = make_model(), make_model(moved=False), make_clips()
    fresh.load_adapter_state(trained.adapter_state())
    assert torch.equal(fresh(clips, S), trained(clips, S))


def test_adapter_state_is_a_copy():
    model = make_model()
    state = model.adapter_state()
    with torch.no_grad():
        model.temporal += 1
    assert not torch.equal(state["temporal"], model.temporal)


def test_embedding_of_another_T_is_interpolated_with_a_warning():
    four, two = make_model(T=4), make_model(T=2, moved=False)
    with pytest.warns(UserWarning, match="trained for T=4 is interpolated to T=2"):
        two.load_adapter_state(four.adapter_state())
    expected = (four.temporal[0::2] + four.temporal[1::2]) / 2  # frame i of 2 covers frames 2 i and 2 i + 1 of 4
    torch.testing.assert_close(two.temporal, expected)


def test_adapters_of_another_model_are_refused_and_change_nothing():
    model = make_model(depth=2)
    before = model.adapter_state()
    for other in (make_model(depth=3, seed=1), make_model(ratio=0.5, seed=1), make_model(axes=("time",), seed=1)):
        with pytest.raises(ValueError, match="these adapters do not fit the model: 'adapted"):
            model.load_adapter_state(other.adapter_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.adapter_state().items())


def test_config_builds_the_model_again():
    options = {"depth": 1, "T": 4, "scope": "split", "axes": ("space", "task"), "ratio": 0.5, "zero_init": False}
    options |= {"task_frames": "all", "class_mark": True}
    model = make_model(**options, temporal_embedding=None)
    assert model.config == {**options, "temporal_embedding": None}
    again = TaskAdapterViT(model.backbone, **model.config)
    again.load_adapter_state(model.adapter_state())
    clips = make_clips(T=4)
    assert torch.equal(again(clips, S, S), model(clips, S, S))
    assert model.summary().values.tolist()[-1] == [2, "class marks", "20 x 32", 640]
    assert model.summary()["parameters"].sum() == sum(p.numel() for p in model.trainable_parameters())


# ---- speed and memory change nothing


@torch.no_grad()
def test_a_batch_of_episodes_equals_one_by_one():
    model, episodes = make_model(), torch.stack([make_clips(seed=1), make_clips(seed=2)])
    expected = torch.stack([model(clips, S) for clips in episodes])
    torch.testing.assert_close(model(episodes, S), expected)


@torch.no_grad()
def test_dropping_unread_tokens_changes_nothing():
    model, clips = make_model(), make_clips()
    features, model.n_read = model(clips, S), None
    torch.testing.assert_close(model(clips, S), features)


@torch.no_grad()
def test_bf16_autocast_stays_within_two_percent():
    model, clips = make_model(), make_clips()
    exact = model(clips, S)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(clips, S).float()
    assert (rounded - exact).norm() / exact.norm() < 0.02
    assert not torch.equal(rounded, exact)


@torch.no_grad()
def test_features_do_not_depend_on_the_number_of_threads():
    model, clips, threads = make_model(), make_clips(), torch.get_num_threads()
    features = {}
    for n in (1, 2):
        torch.set_num_threads(n)
        features[n] = model(clips, S)
    torch.set_num_threads(threads)
    torch.testing.assert_close(features[1], features[2])


def test_compiles_into_one_graph():
    model, clips = make_model(depth=1), make_clips()
    compiled = torch.compile(model.adapt, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(model.prefix(clips), S), model(clips, S))


# ---- what a caller can get wrong


@pytest.mark.parametrize(
    "options, message",
    [
        ({"depth": 4}, "depth=4: of this backbone's blocks, 0 to 3"),
        ({"depth": -1}, "depth=-1"),
        ({"T": 0}, "T=0"),
        ({"scope": "all"}, "unknown scope 'all': choose one of split, joint, inductive"),
        ({"axes": ("time", "depth")}, "unknown axis 'depth': choose any of time, space, task, joint"),
        ({"temporal_embedding": "output"}, "unknown temporal_embedding 'output'"),
        ({"ratio": 0.0}, "ratio=0.0 leaves no channel of 32"),
        ({"task_frames": "other", "depth": 0}, "unknown task_frames 'other': choose one of same, all"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_model(**options)


@pytest.mark.parametrize(
    "n_support, n_way, message",
    [
        (3, None, "n_way=None: a model with class_mark=True"),
        (3, 2, "n_support=3: class_mark=True needs equally many clips of each of 2 classes"),
        (21, 21, "n_way=21: 1 to 20 classes"),
        (3, 0, "n_way=0: 1 to 20 classes"),
    ],
)
def test_marks_that_do_not_fit_the_episode_are_refused(n_support, n_way, message):
    model = make_model(T=1, depth=1, class_mark=True)
    with pytest.raises(ValueError, match=message):
        model.adapt(torch.zeros(n_support, 1, 5, 32), n_support, n_way)


def test_bad_inputs_are_refused():
    model, clips = make_model(), make_clips()
    with pytest.raises(ValueError, match="clips of 4 frames: this model was built for T=8"):
        model(clips[:, :4], S)
    with pytest.raises(ValueError, match=r"\(14, 28\) pixels"):
        model(clips[..., :14, :], S)
    for n_support in (0, 6):
        with pytest.raises(ValueError, match=f"n_support={n_support} of 5 clips"):
            model(clips, n_support)
    for shape in [(5, 4, 5, 32), (5, 8, 5, 16), (8, 5, 32)]:
        with pytest.raises(ValueError, match=r"\(B, T=8, N, D=32\), or E such episodes"):
            model.adapt(torch.zeros(shape), S)
    with pytest.raises(ValueError, match="unknown scope 'transductive'"):
        model.scope = "transductive"
    with pytest.raises(ValueError, match="Linear can't be adapted"):
        TaskAdapterViT(torch.nn.Linear(2, 2), depth=1)
