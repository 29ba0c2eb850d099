"""studies/attribute_minute.py: the small study of the demo."""

import torch

from taskadapter_lite.data.which_attribute import AttributeEpisodes, AttributePortraits
from taskadapter_lite.studies.attribute_minute import ROWS, SPEC, queries_in_two_tasks, run_in_a_minute
from taskadapter_lite.training.checkpoints import load_model


def test_rows_differ_in_their_axes_alone_and_the_adapters_are_kept(tmp_path):
    results, model = run_in_a_minute(torch.device("cpu"), 0, tmp_path, quick=True, progress=False)
    assert [r.name for r in results] == list(ROWS)
    assert len({(r.dataset, r.episodes, len(r.accuracies)) for r in results}) == 1
    trained = [r.config["training"]["training"] for r in results[1:]]
    assert trained[0] == trained[1]
    assert [tuple(r.config["model"]["axes"]) for r in results] == [(), ("space", "joint"), ("space", "task", "joint")]
    assert results[0].trainable_parameters == 0
    kept = load_model(tmp_path / "which_attribute.safetensors").adapter_state()
    assert all(torch.equal(kept[name], value) for name, value in model.adapter_state().items())


def test_a_query_in_two_tasks_is_one_clip_under_two_rules_with_an_answer_each():
    episodes = AttributeEpisodes(AttributePortraits("test"), SPEC, 200, 0)
    values, found = episodes.clips.values, list(queries_in_two_tasks(episodes))
    assert len(found) > 10
    assert len({clip for clip, _ in found}) == len(found)
    for clip, tasks in found:
        for attribute, task in zip((1, 2), tasks, strict=True):  # colour, then form
            assert task.query.tolist() == [clip]
            support = values[task.support, attribute]
            assert len(support.unique()) == 5
            assert support[task.query_labels[0]] == values[clip, attribute]
            assert len(values[task.support, 3 - attribute].unique()) == 2
