"""A drawn figure or an animation, and words for it -> a picture in the page, with those words as its alt text.

Neither JupyterLab nor nbconvert keeps the alt text of an image output, and nbconvert leaves GIFs out. HTML says both.
"""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

QUALITY = 82  # of WebP with loss, for photographs
BEST_LOSSLESS = 1.5  # letters stay sharp as long as that takes at most so many times the bytes


class Picture:
    """An encoded image that notebooks, and pages made of them, show with its alt text.

    Args:
        data: the bytes of the file.
        kind: "webp", "png", "gif" or "jpeg".
        alt: what the picture shows, for those who can't see it.
        width: pixels on the page.
        height: pixels on the page.
    """

    def __init__(self, data: bytes, kind: str, alt: str, width: int, height: int) -> None:
        if not alt.strip():
            raise ValueError("a picture needs alt text: a sentence that says what it shows")
        self.data, self.kind, self.alt, self.width, self.height = data, kind, " ".join(alt.split()), width, height

    def __repr__(self) -> str:
        return f"[picture: {self.alt}]"

    def _repr_html_(self) -> str:
        source = f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode()}"
        size = f'width="{self.width}" height="{self.height}" style="max-width:100%;height:auto"'
        return f'<img alt="{html.escape(self.alt)}" {size} src="{source}">'


def show(drawn: Any, alt: str) -> None:
    """Show a drawn figure here and now, with alt text; the figure is closed.

    Args:
        drawn: a Figure, an Axes, an array of Axes of one figure, or an image of PIL.
        alt: what the picture shows, for those who can't see it: a sentence, not the title again.

    Text is read at 100%: the size on the page is that of the figure in inches times `figure.dpi` of the style.
    """
    from IPython.display import display

    display(picture(drawn, alt))


def picture(drawn: Any, alt: str) -> Picture:
    """What `show` shows."""
    image = drawn if isinstance(drawn, Image.Image) else _rendered(_figure_of(drawn))
    return Picture(_encoded(image.convert("RGB")), "webp", alt, *image.size)


def _figure_of(drawn: Any) -> Figure:
    if isinstance(drawn, Figure):
        return drawn
    (figure,) = {ax.figure for ax in np.ravel(np.asarray(drawn, dtype=object))}
    return figure


def _rendered(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=plt.rcParams["figure.dpi"], bbox_inches="tight")
    plt.close(figure)
    buffer.seek(0)
    return Image.open(buffer)


def _encoded(image: Image.Image) -> bytes:
    """WebP: without loss where that is about as small, which it is for charts; with loss for film strips."""
    sharp, soft = io.BytesIO(), io.BytesIO()
    image.save(sharp, "WEBP", lossless=True, method=6)
    image.save(soft, "WEBP", quality=QUALITY, method=6)
    return min(sharp, soft, key=lambda file: file.tell() / (BEST_LOSSLESS if file is sharp else 1)).getvalue()
