"""--groups: support and query of a class never share a recording, in each verb that draws episodes."""

import pytest
from made_videos import make_frame_folder

from taskadapter_lite.__main__ import main
from taskadapter_lite.commands import build_parser
from taskadapter_lite.commands.shared import objects
from taskadapter_lite.data.datasets import ClipFolder
from taskadapter_lite.episodes import load_episodes


@pytest.fixture
def root(tmp_path):
    """Two classes, two signers with three takes each."""
    for name in ("eat", "sit"):
        for signer in (1, 2):
            for take in range(3):
                make_frame_folder(tmp_path / "set" / "test" / name / f"user{signer:02}_R{take}", n_frames=2)
    return tmp_path / "set"


def parse(verb, root, *words):
    return build_parser(verb).parse_args([verb, "--data", str(root), "--frames", "2", "--n-way", "2", *words])


@pytest.mark.parametrize("words, groups", [([], None), (["--groups", r"(user\d+)_"], {"user01", "user02"})])
def test_train_and_evaluate_draw_with_the_groups_of_the_data_set(root, words, groups):
    args = parse("evaluate", root, *words)
    clips = objects.open_clips(args, "test", 32)
    assert groups == (None if clips.groups is None else set(clips.groups))
    assert objects.open_episodes(args, clips).groups == clips.groups
    args = parse("train", root, "--n-query", "1", *words)
    assert objects.draw_episodes(args, clips, 5, 0).groups == clips.groups


def test_a_saved_list_never_asks_about_the_source_of_its_own_class(root, tmp_path, capsys):
    base = ["episodes", "--data", str(root), "--frames", "2", "--n-way", "2", "--n-episodes", "60"]
    shared = {}
    for name, words in (("never", ["--groups", r"(user\d+)_"]), ("allowed", ["--groups", "none"])):
        assert main([*base, *words, "--out", str(tmp_path / f"{name}.json")]) == 0
        clips = ClipFolder(root / "test", T=2, size=64, groups=r"(user\d+)_")
        episodes = load_episodes(tmp_path / f"{name}.json", clips)
        shared[name] = sum(
            clips.groups[s] == clips.groups[q] and clips.labels[s] == clips.labels[q]
            for e in episodes
            for s in e.support.tolist()
            for q in e.query.tolist()
        )
    assert shared["never"] == 0 < shared["allowed"]
    assert main([*base, "--groups", "(nobody)", "--out", str(tmp_path / "x.json")]) == 2
    assert "not found in the path" in capsys.readouterr().err


@pytest.mark.parametrize("pattern", [r"(user\d+)_", "none"])
def test_groups_beside_a_saved_list_are_refused(root, tmp_path, capsys, pattern):
    """The list says already which clips meet."""
    data = ["--data", str(root), "--frames", "2"]
    saved = tmp_path / "list.json"
    assert main(["episodes", *data, "--n-way", "2", "--n-episodes", "3", "--out", str(saved)]) == 0
    command = ["evaluate", "--random-weights", *data, "--episode-list", str(saved), "--out", str(tmp_path / "a.json")]
    capsys.readouterr()
    assert main([*command, "--groups", pattern]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert f"--groups {pattern} is about episodes that are drawn, but {saved} is a saved list" in said
    assert not (tmp_path / "a.json").exists()
    assert main(command) == 0
