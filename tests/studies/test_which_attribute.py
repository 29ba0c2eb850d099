"""studies/which_attribute.py: rows, controls and files of the study of constructed tasks."""

import pytest
import torch

from taskadapter_lite.adapters import Adapter
from taskadapter_lite.backbone import load_backbone
from taskadapter_lite.data.which_attribute import AttributeClips, AttributeEpisodes
from taskadapter_lite.model import TaskAdapterViT
from taskadapter_lite.studies.which_attribute import (
    RULES,
    RUNGS,
    SPEC,
    TaskBudget,
    load_which_attribute,
    one_query_alone,
    run_which_attribute,
    which_attribute_table,
    without_task_attention,
)

SMALL = TaskBudget(n_steps=2, episodes_per_step=2, n_test=10)


def a_model():
    torch.manual_seed(0)
    model = TaskAdapterViT(load_backbone(), 2, T=1, axes=("space", "task", "joint"), scope="split")
    for parameter in model.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_a_run_makes_each_file_once_and_a_table_with_a_row_for_each(tmp_path):
    rungs = [RUNGS[0], RUNGS[2]]
    run_which_attribute(SMALL, [0], tmp_path, rungs, progress=False)
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    run_which_attribute(SMALL, [0], tmp_path, rungs, progress=False)
    assert stamps == {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    table = which_attribute_table(list(load_which_attribute(tmp_path)))
    assert len(table) == len(stamps) == 2 + 4  # frozen: unseen and seen; with task attention two controls more
    alone = table[table.control == "one query alone"]
    as_trained = table[(table.control == "as trained") & (table["values"] == "unseen values")]
    assert alone.episodes.item() == 10  # tasks, not queries
    inductive = as_trained[as_trained.model == "+ task, inductive"]
    assert alone.accuracy.item() == pytest.approx(inductive.accuracy.item())  # no query sees another
    assert alone.interval.item() == pytest.approx(inductive.interval.item())


def test_queries_alone_are_the_same_questions():
    clips = AttributeClips("test", n_draws=2, n_actions=1, T=1)
    episodes = list(AttributeEpisodes(clips, SPEC, 3, 0, RULES))
    alone = one_query_alone(episodes)
    assert len(alone) == 15
    assert torch.cat([e.query for e in alone]).tolist() == torch.cat([e.query for e in episodes]).tolist()
    assert all(torch.equal(alone[i].support, episodes[i // 5].support) for i in range(15))


def test_without_task_attention_no_clip_sees_another_and_the_model_stays():
    model = a_model()
    clips = torch.rand(4, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = model(clips, 2)
    off = without_task_attention(model)
    with torch.no_grad():
        together, apart = off(clips, 2), torch.cat([off(clips[:2], 2), off(clips[2:], 1)])
    torch.testing.assert_close(together, apart)
    assert (together - before).abs().max() > 0.1
    assert torch.equal(model(clips, 2), before)
    adapters = {name: module for name, module in off.named_modules() if isinstance(module, Adapter)}
    tokens = torch.rand(3, 128)
    silent = {name for name, adapter in adapters.items() if not adapter(tokens).any()}
    assert silent == {name for name in adapters if name.endswith(".task")}
    assert (len(silent), len(adapters)) == (2, 6)
