"""Numbers of blocks -> the architecture as an SVG picture that reads on light and dark pages."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable
from itertools import product

from taskadapter_lite.figures.clips import OTHER, OWN

PARTS = ("clips", "prefix", "time", "space", "task", "joint", "head")
GROUPS = {"adapted": ("time", "space", "task", "joint"), "backbone": ("prefix", "time", "space", "joint")}
WIDTH, HEIGHT, LINE = 940, 330, 262  # LINE: the height at which tokens run from left to right
DIMMED = 0.4
TRAINED = "#E69F00"
# On the page itself colours are the page's own; as an image of its own it brings a background for either theme.
STILL = "taskadapter-architecture-still"  # class of the image
PAGE = f"<style>.{STILL}{{display:none!important}}</style>"
PAPER = (
    "<style>svg{color:#222}.paper{fill:#fff}"
    "@media (prefers-color-scheme:dark){svg{color:#ddd}.paper{fill:#111}}</style>"
    f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
)


class Architecture:
    """Task-Adapter as a diagram; notebooks, and pages made of them, show it.

    Args:
        lit: the part at hand, others are dimmed: "clips", "prefix", "time", "space", "task", "joint", "head",
            "adapted" (the four steps), "backbone" (all that is frozen), or several of them. None lights up all.
        n_blocks: blocks of the image model.
        depth: how many of them are adapted, the last ones.

    Raises:
        ValueError: there is no such part, or there are fewer blocks than adapted ones.
    """

    def __init__(self, lit: str | Iterable[str] | None = None, n_blocks: int = 6, depth: int = 3) -> None:
        wanted = [] if lit is None else [lit] if isinstance(lit, str) else list(lit)
        unknown = [part for part in wanted if part not in (*PARTS, *GROUPS)]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no part of the diagram; parts are {', '.join((*PARTS, *GROUPS))}")
        if not 0 < depth <= n_blocks:
            raise ValueError(f"depth is {depth}, but must be from 1 to the {n_blocks} blocks of the model")
        self.lit = set(PARTS) if lit is None else {p for part in wanted for p in GROUPS.get(part, (part,))}
        self.n_blocks, self.depth, self.all_lit = n_blocks, depth, lit is None

    def __repr__(self) -> str:
        return f"[picture: {self.alt}]"

    @property
    def alt(self) -> str:
        """What the picture shows, in words."""
        shown = "" if self.all_lit else f" Lit up: {', '.join(p for p in PARTS if p in self.lit)}."
        return (
            f"Clips of an episode pass {self.n_blocks - self.depth} frozen blocks, then {self.depth} adapted blocks "
            "with four steps each, in time, in space, across the clips of the task, and jointly beside the MLP; "
            f"the class tokens become features and are compared with prototypes.{shown}"
        )

    def svg(self, style: str = "") -> str:
        """The drawing; `style` is put before it."""
        frozen = self.n_blocks - self.depth
        steps = {name: _step(i, name) for i, name in enumerate(GROUPS["adapted"])}
        drawings = {"clips": _clips(), "prefix": _prefix(frozen), **steps, "head": _head()}
        drawings["frame"] = _frame(frozen + 1, self.n_blocks)
        body = _arrows() + _legend()
        for name, drawing in drawings.items():
            bright = name in self.lit or name == "frame"
            body += f'<g id="{name}" opacity="{1 if bright else DIMMED}">{drawing}</g>'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{html.escape(self.alt)}" style="max-width:100%;width:{WIDTH}px;height:auto" '
            f'font-family="sans-serif" font-size="12" fill="currentColor">{style}{body}</svg>'
        )

    def _repr_html_(self) -> str:
        """Inline, with the page's colours. A page that leaves SVG out, as JupyterLab does before it trusts a notebook,
        leaves its style sheet out too and so shows the image, which the sheet would hide.
        """
        data = base64.b64encode(self.svg(PAPER).encode()).decode()
        said = f'class="{STILL}" alt="{html.escape(self.alt)}" width="{WIDTH}"'
        return self.svg(PAGE) + f'<img {said} src="data:image/svg+xml;base64,{data}">'


def _text(x: float, y: float, text: str, size: int = 12, weight: str = "normal", anchor: str = "middle") -> str:
    look = f'font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
    return f'<text x="{x:g}" y="{y:g}" {look}>{html.escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, text: str = "", trained: bool = False) -> str:
    look = 'fill-opacity=".09" stroke="currentColor"'
    if trained:
        look = f'fill="{TRAINED}" fill-opacity=".35" stroke="{OWN}"'
    lines = text.split("\n")
    first = y + height / 2 + 4 - 7 * (len(lines) - 1)
    words = "".join(_text(x + width / 2, first + 14 * i, line) for i, line in enumerate(lines) if line)
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" {look}/>{words}'


def _path(points: str, end: bool = True) -> str:
    arrow = ' marker-end="url(#tip)"' if end else ""
    return f'<path d="{points}" fill="none" stroke="currentColor" stroke-width="1.4"{arrow}/>'


def _plus(x: float) -> str:
    return (
        f'<circle cx="{x:g}" cy="{LINE}" r="7" fill="{OWN}"/>'
        f'<path d="M{x - 4:g} {LINE}h8M{x:g} {LINE - 4}v8" stroke="#fff" stroke-width="1.6"/>'
    )


def _arrows() -> str:
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    return f'<defs>{tip}<path d="M0 0L8 4L0 8z"/></marker></defs>{_path(f"M116 {LINE}H156")}{_path(f"M256 {LINE}H776")}'


def _legend() -> str:
    token = '<rect x="{}" y="305" width="9" height="9" fill="{}"/>'
    return (
        _box(40, 302, 16, 14)
        + _text(62, 313, "frozen, as pre-trained on images", anchor="start")
        + _box(262, 302, 16, 14, trained=True)
        + _text(284, 313, "trained: the adapters", anchor="start")
        + token.format(430, OWN)
        + _text(444, 313, "a token and", anchor="start")
        + token.format(516, OTHER)
        + _text(530, 313, "those it looks at (a row is a clip, a square of four a frame)", anchor="start")
    )


def _clips() -> str:
    """Rows of frames: labelled support clips and a query."""
    drawn = _text(60, 24, "an episode", 13, "bold")
    motions = ((OTHER, 4, 4), ("#009E73", 4, 0), ("#CC79A7", 4, -4), ("currentColor", 4, 0))  # the query moves as one
    for (colour, right, down), y in zip(motions, (70, 106, 142, 206), strict=True):
        for frame in range(4):
            x = 8 + 27 * frame
            look = f'fill="{colour}" fill-opacity=".18" stroke="{colour}"'
            drawn += f'<rect x="{x}" y="{y}" width="24" height="26" rx="2" {look}/>'
            cx, cy = x + 6 + right * frame, y + 13 + down * (frame - 1.5)
            drawn += f'<circle cx="{cx:g}" cy="{cy:g}" r="4" fill="{colour}"/>'
    drawn += _text(60, 62, "support, labelled") + _text(60, 198, "query, to be named")
    return drawn + _text(60, LINE + 4, "clips") + _text(60, LINE + 20, "(B, T, 3, H, W)", 11)


def _prefix(n: int) -> str:
    """Patch embedding and the blocks before the adapted ones."""
    drawn = _text(206, 24, "frozen prefix", 13, "bold") + _text(206, 42, "each frame by itself", 11)
    between = [f"block {i + 1}" for i in range(n)] if n < 3 else ["block 1", "…", f"block {n}"]
    names = ["patches,\npositions", *between]
    for i, name in enumerate(names):
        drawn += _box(158, 62 + 44 * i, 96, 36, name)
    return drawn + _text(206, LINE + 4, "tokens") + _text(206, LINE + 20, "(B, T, N, D)", 11)


def _frame(first: int, last: int) -> str:
    blocks = f"block {last}" if first == last else f"blocks {first} to {last}"
    edge = 'fill="none" stroke="currentColor" stroke-dasharray="5 4" stroke-opacity=".6"'
    box = f'<rect x="284" y="32" width="468" height="256" rx="8" {edge}/>'
    return box + _text(518, 24, f"adapted {blocks}: four steps each", 13, "bold")


FROZEN = {
    "time": "attention\nover frames",
    "space": "attention\nover patches",
    "task": "attention\nacross clips",
    "joint": "MLP",
}


def _step(i: int, name: str) -> str:
    """One of the four: which tokens look at each other, the frozen part, the adapter, and the sum."""
    x = 292 + 115 * i
    frozen = FROZEN[name]
    drawn = _text(x + 54, 52, f"{i + 1} {name}", 13, "bold") + _tokens(x + 28, 60, name)
    if name == "joint":  # side by side, both from the same input
        sides = _box(x + 2, 160, 40, 60, frozen) + _box(x + 48, 160, 50, 60, "adapter", trained=True)
        inputs = _path(f"M{x + 12} {LINE}V240H{x + 22}V222") + _path(f"M{x + 12} {LINE}V240H{x + 66}V222")
        outputs = _path(f"M{x + 22} 160V146H{x + 108}V236H{x + 96}V{LINE - 8}") + _path(f"M{x + 73} 160V146", False)
        return drawn + sides + inputs + outputs + _plus(x + 96)
    drawn += _box(x + 2, 182, 82, 38, frozen) + _box(x + 2, 132, 82, 30, "adapter", trained=True)
    drawn += _path(f"M{x + 12} {LINE}V222") + _path(f"M{x + 43} 182V164")
    return drawn + _path(f"M{x + 84} 147H{x + 96}V{LINE - 8}") + _plus(x + 96)


def _tokens(x: float, y: float, name: str) -> str:
    """Three clips of three frames of four tokens: one token, and those it looks at."""
    squares: dict[str, str] = {'fill-opacity=".16"': "", f'fill="{OTHER}"': "", f'fill="{OWN}"': ""}
    for clip, frame, patch in product(range(3), range(3), range(4)):
        own = (clip, frame, patch) == (1, 1, 0)
        seen = {
            "time": clip == 1 and patch == 0,
            "space": clip == 1 and frame == 1,
            "task": frame == 1 and patch == 0,
            "joint": own,
        }[name]
        look = f'fill="{OWN if own else OTHER}"' if seen else 'fill-opacity=".16"'
        squares[look] += f"M{x + 19 * frame + 8 * (patch % 2):g} {y + 19 * clip + 8 * (patch // 2):g}h7v7h-7z"
    return "".join(f'<path d="{d}" {look}/>' for look, d in squares.items() if d)


def _head() -> str:
    """Class tokens become features; prototypes and queries become scores."""
    drawn = _text(856, 24, "head and metric", 13, "bold") + _box(
        780, 240, 152, 42, "class token, norm:\nfeatures (B, T, D)"
    )
    drawn += _path("M856 240V218") + _box(780, 176, 152, 40, "prototypes: mean of\neach class's support")
    drawn += _path("M856 176V156")
    for i, share in enumerate((0.35, 0.9, 0.5)):
        colour = (OTHER, "#009E73", "#CC79A7")[i]
        drawn += (
            f'<rect x="790" y="{88 + 22 * i}" width="{132 * share:g}" height="15" fill="{colour}" fill-opacity=".8"/>'
        )
    return drawn + _text(856, 62, "scores of a query") + _text(856, 79, "(Q, n_way), highest wins", 11)
