"""Pictures in a report: each file once, made small, with boxes drawn over it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup, escape
from PIL import Image

MAX_SIDE = 448
SMALL_SIDE = 160
"""Up to this side a picture is kept as it is and shown with hard pixels; it is a small world's canvas."""

_NAME = re.compile(r"media/[0-9a-f]{8,64}\.png")

Box = Sequence[float]


@dataclass(frozen=True)
class Drawn:
    """A box to draw, in the picture's own pixels. kind: "truth", "guess", or "look" (the rest of the picture is
    dimmed)."""

    box: Box
    kind: str
    label: str = ""


@dataclass
class Pictures:
    """The pictures of one report. Each is stored once, in `definitions()`, however often it is shown.

    budget: bytes of picture data at most; what comes later is replaced by a note.
    """

    folder: Path
    budget: int = 12 << 20
    _known: dict[str, tuple[str, int, int] | None] = field(default_factory=dict)
    _stored: list[str] = field(default_factory=list)
    _spent: int = 0

    def show(self, file: str, boxes: Sequence[Drawn] = (), note: str = "") -> Markup:
        """One picture of the run's `media/`, with boxes over it."""
        found = self._find(file)
        if found is None:
            return Markup('<span class="missing">picture left out</span>')
        key, width, height = found
        drawn = _dimmed([box for box in boxes if box.kind == "look"], width, height)
        drawn += "".join(_box(box, width, height) for box in boxes)
        hard = " hard" if max(width, height) <= SMALL_SIDE else ""
        return Markup(
            f'<svg class="picture{hard}" viewBox="0 0 {width} {height}" style="--w:{width};--h:{height}" role="img" '
            f'aria-label="{escape(note or "picture")}"><use href="#{key}"/>{drawn}</svg>'
        )

    def size(self, file: str) -> tuple[int, int] | None:
        """Width and height of a picture in its own pixels."""
        found = self._find(file)
        return found and (found[1], found[2])

    def definitions(self) -> Markup:
        """All pictures that were shown, to be put into the page once."""
        return Markup(f'<svg class="store" aria-hidden="true"><defs>{"".join(self._stored)}</defs></svg>')

    def _find(self, file: str) -> tuple[str, int, int] | None:
        if file not in self._known:
            self._known[file] = self._load(file)
        return self._known[file]

    def _load(self, file: str) -> tuple[str, int, int] | None:
        # A run directory may come from elsewhere: nothing outside its media folder is read.
        if not _NAME.fullmatch(file) or self._spent > self.budget:
            return None
        try:
            with Image.open(self.folder / file, formats=("PNG",)) as opened:
                size = opened.size
                url = data_url(opened)
        except (OSError, ValueError, Image.DecompressionBombError):
            return None
        self._spent += len(url)
        key = f"p{len(self._stored)}"
        self._stored.append(f'<image id="{key}" width="{size[0]}" height="{size[1]}" href="{url}"/>')
        return key, *size


def data_url(picture: Image.Image) -> str:
    """A picture as a data URL: small ones exactly, larger ones at most `MAX_SIDE` wide and high, as JPEG."""
    stream = io.BytesIO()
    if max(picture.size) <= SMALL_SIDE:
        picture.save(stream, "PNG", optimize=True)
        kind = "png"
    else:
        smaller = picture.convert("RGB")
        smaller.thumbnail((MAX_SIDE, MAX_SIDE))
        smaller.save(stream, "JPEG", quality=82)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def in_pixels(boxes: Sequence[Box], size: tuple[int, int]) -> list[Box]:
    """Boxes in pixels of a picture of this size, whichever of the usual frames they were written in.

    Fractions where nothing exceeds 1; thousandths where something lies outside of the picture and nothing exceeds 1000;
    pixels else. A guess for the eye only: rewards are told their frames.
    """
    edges = [edge for box in boxes for edge in box]
    if not edges:
        return []
    largest = max(edges)
    outside = any(box[2] > size[0] * 1.02 or box[3] > size[1] * 1.02 for box in boxes)
    if largest <= 1:
        scale = (float(size[0]), float(size[1]))
    elif outside and largest <= 1000:
        scale = (size[0] / 1000, size[1] / 1000)
    else:
        scale = (1.0, 1.0)
    return [(b[0] * scale[0], b[1] * scale[1], b[2] * scale[0], b[3] * scale[1]) for b in boxes]


def _box(drawn: Drawn, width: int, height: int) -> str:
    x1, y1, x2, y2 = _inside(drawn.box, width, height)
    title = f"<title>{escape(drawn.label)}</title>" if drawn.label else ""
    kind = drawn.kind if drawn.kind in ("truth", "look") else "guess"
    return (
        f'<rect class="box {kind}" x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}">'
        f"{title}</rect>"
    )


def _dimmed(looks: Sequence[Drawn], width: int, height: int) -> str:
    """A shade over all of the picture but these boxes."""
    if not looks:
        return ""
    holes = "".join(
        f"M{x1:.1f} {y1:.1f}V{y2:.1f}H{x2:.1f}V{y1:.1f}Z"
        for x1, y1, x2, y2 in (_inside(look.box, width, height) for look in looks)
    )
    return f'<path class="dim" d="M0 0H{width}V{height}H0Z{holes}"/>'


def _inside(box: Box, width: int, height: int) -> tuple[float, float, float, float]:
    """A box with its corners in order, hardly outside of the picture."""
    x1, y1, x2, y2 = (min(max(edge, -0.1 * side), 1.1 * side) for edge, side in zip(box, (width, height) * 2))
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
