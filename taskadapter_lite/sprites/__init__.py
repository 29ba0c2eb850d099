"""Something-Sprites: 100 drawn actions, in pairs that only the order of time tells apart.

`motions` moves things, `actions` says what each class does, `render` turns class, number and seed into clips,
`export` writes them as files, `bundled` finds those that come with the library.
"""

from taskadapter_lite.sprites.actions import ACTIONS
from taskadapter_lite.sprites.export import slug, write_mp4
from taskadapter_lite.sprites.render import (
    LEVELS,
    SHAPES,
    TEXTURES,
    partners,
    render_clips,
    render_images,
    render_portraits,
)

__all__ = [
    "ACTIONS",
    "LEVELS",
    "SHAPES",
    "TEXTURES",
    "partners",
    "render_clips",
    "render_images",
    "render_portraits",
    "slug",
    "write_mp4",
]
