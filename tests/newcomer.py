"""What a newcomer has, and the lines of the README at tiny settings, for the tests of that path."""

from pathlib import Path

from made_videos import make_video
from safetensors.torch import save_file

from taskadapter_lite.backbone import load_backbone

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## Your own videos")[2].partition("\n## ")[0]
LINES = [line.partition("#")[0].split()[1:] for line in SECTION.splitlines() if line.startswith("taskadapter-lite")]
TINY = {
    "check-data": ["--min-clips", "3", "--frames", "2"],
    "evaluate": ["--n-way", "2", "--n-episodes", "4"],
    "train": [
        "--n-way",
        "2",
        "--n-query",
        "1",
        "--n-steps",
        "2",
        "--validation-episodes",
        "2",
        "--views",
        "1",
        "--depth",
        "2",
    ],
    "attention": ["--n-way", "2"],
}


def make_home(folder: Path) -> Path:
    """Write `my_videos`, and `weights` with two blocks of a ViT-S/14 in float16, which is returned."""
    for part in ("train", "val", "test"):
        for c in range(2):
            videos = folder / "my_videos" / part / f"{part} {c}"
            videos.mkdir(parents=True)
            for i in range(3):
                make_video(videos / f"{i}.mp4", n_frames=6, texture=i == c)
    state = load_backbone("dinov2_small", pretrained=False, img_size=28, depth=2).state_dict()
    weights = folder / "weights"
    weights.mkdir()
    save_file({name: value.half() for name, value in state.items()}, weights / "vit_small_patch14_dinov2.safetensors")
    return weights


def lines() -> list[list[str]]:
    """The words of each line of the README after `taskadapter-lite`, with tiny settings."""
    found = [[*line, *TINY[line[0]]] for line in LINES]
    for words in found:
        if "--backbone" in words:
            words += ["--backbone-depth", "2", "--frames", "2"]
            words[words.index("--size") + 1] = "28"
    return found
