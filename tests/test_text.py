"""Class names -> text features; two kinds of evidence -> one score."""

import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from taskadapter_lite.text import TextFeatures, fuse_scores, semantic_scores

NAMES = ("push", "pull", "tear_paper")


@pytest.fixture
def text():
    return TextFeatures(NAMES, torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), "toy encoder")


def test_semantic_scores_by_hand():
    """Query mean (1, 1); texts (3, 0), (0, -2) and (1, 1): cosines 1 / sqrt 2, -1 / sqrt 2 and 1."""
    query = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
    scores = semantic_scores(query, torch.tensor([[3.0, 0.0], [0.0, -2.0], [1.0, 1.0]]))
    torch.testing.assert_close(scores, torch.tensor([[0.5**0.5, -(0.5**0.5), 1.0]]))


def test_queries_are_rows_and_classes_columns():
    """4 queries, 3 classes: each entry is one cosine; a transposed matrix would have another shape."""
    query, texts = torch.randn(4, 5, 6), torch.randn(3, 6)
    scores = semantic_scores(query, texts)
    assert scores.shape == (4, 3)
    for q in range(4):
        for c in range(3):
            torch.testing.assert_close(scores[q, c], F.cosine_similarity(query[q].mean(0), texts[c], dim=0))


def test_product_by_hand():
    """0.5 x 0.25 x 64 = 8, as published."""
    assert fuse_scores(torch.tensor([[0.5]]), torch.tensor([[0.25]])).item() == 8.0


def test_two_rejections_win_by_product_but_not_by_log_probabilities():
    """Class 0 is rejected by both (-0.5, -0.5: product 0.25), class 1 accepted by both (0.4, 0.4: product 0.16)."""
    visual = semantic = torch.tensor([[-0.5, 0.4]])
    assert fuse_scores(visual, semantic, "product").argmax().item() == 0
    assert fuse_scores(visual, semantic, "log_probabilities").argmax().item() == 1


def test_log_probabilities_multiply_the_two_softmaxes():
    visual, semantic = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0))
    product = (3 * visual).softmax(1) * (3 * semantic).softmax(1)
    fused = fuse_scores(visual, semantic, "log_probabilities", temperature=3.0)
    torch.testing.assert_close(fused.softmax(1), product / product.sum(1, keepdim=True))


def test_features_come_in_the_order_asked_for(text):
    found = text.for_classes(["tear_paper", "push"])
    assert torch.equal(found, text.features[[2, 0]])
    with pytest.raises(ValueError, match="missing are fold, cut"):
        text.for_classes(["push", "fold", "cut"])


def test_a_file_comes_back_whole(text, tmp_path):
    path = tmp_path / "text.safetensors"
    text.save(path)
    loaded = TextFeatures.load(path)
    assert torch.equal(loaded.features, text.features)
    assert (loaded.class_names, loaded.source) == (NAMES, text.source)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "text.safetensors"
    save_file({"weights": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="holds no text features"):
        TextFeatures.load(path)


def test_malformed_features_are_refused():
    with pytest.raises(ValueError, match="for 3 class names"):
        TextFeatures(NAMES, torch.zeros(2, 4), "toy")
    with pytest.raises(ValueError, match="place of the class name"):
        TextFeatures(NAMES, torch.zeros(3, 4), "toy", prompt="a photo")


@pytest.fixture
def fake_open_clip(monkeypatch):
    """An open_clip whose text feature is the length of the sentence, and a list of the sentences it was given."""
    seen = []

    def create_model(name, pretrained, device):
        encode = lambda tokens: tokens.half()  # noqa: E731
        return SimpleNamespace(eval=lambda: SimpleNamespace(encode_text=encode))

    def get_tokenizer(name):
        return lambda sentences: seen.extend(sentences) or torch.tensor([[len(s), 1.0] for s in sentences])

    fake = SimpleNamespace(create_model=create_model, get_tokenizer=get_tokenizer)
    monkeypatch.setitem(sys.modules, "open_clip", fake)
    return seen


def test_open_clip_encodes_prompts(fake_open_clip):
    found = TextFeatures.from_open_clip(NAMES)
    assert fake_open_clip == [
        "a photo of action about push",
        "a photo of action about pull",
        "a photo of action about tear paper",
    ]
    assert found.features[:, 0].tolist() == [len(s) for s in fake_open_clip]
    assert found.features.dtype == torch.float32
    for change in ({"model": "ViT-L-14"}, {"pretrained": "laion2b"}, {"prompt": "{}"}):
        assert TextFeatures.from_open_clip(NAMES, **change).source != found.source


def test_without_open_clip_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ImportError, match=r"taskadapter_lite\[text\]"):
        TextFeatures.from_open_clip(NAMES)


def test_wrong_fusions_are_refused():
    with pytest.raises(ValueError, match="fusion is 'sum'; it must be one of product, log_probabilities"):
        fuse_scores(torch.zeros(2, 3), torch.zeros(2, 3), "sum")
    with pytest.raises(ValueError, match="must match"):
        fuse_scores(torch.zeros(2, 3), torch.zeros(3, 2))
