"""Looking closer: cropping, zooming and turning pictures, with each system's rules for what may be cropped.

A region rule takes the box that was asked for and the picture's size, both in the picture's own pixels, and gives the
box to cut; it raises Refusal, in words, for a box that cannot be cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from PIL import Image, ImageDraw

from gamutrl.environments import crops
from gamutrl.environments.crops import Box, Size
from gamutrl.environments.desk import Desk, Refusal, Seen, Shown, size_of
from gamutrl.rewards.parsing import numbers


class Region(Protocol):
    """Which part of a picture a box asks for."""

    def __call__(self, box: Box, size: Size) -> Box: ...


@dataclass(frozen=True)
class InPicture:
    """The part of the box in the picture, if it is large enough and not too elongated (DeepEyes: 30 pixels, 100)."""

    longer_than: float = 30.0
    elongation_up_to: float = 100.0

    def __call__(self, box: Box, size: Size) -> Box:
        inside = crops.clipped(box, size)
        if crops.croppable(inside, longer_than=self.longer_than, elongation_up_to=self.elongation_up_to):
            return inside
        raise Refusal(
            f"the box must be [x1, y1, x2, y2] in the image of {_size(size)}, with sides of more than "
            f"{self.longer_than:g} pixels"
        )


@dataclass(frozen=True)
class Enlarged:
    """A box that lies in the picture, grown around its centre and clipped (Chain-of-Focus: by 1.5)."""

    factor: float = 1.5

    def __call__(self, box: Box, size: Size) -> Box:
        if fault := crops.fault(list(box), size):
            raise Refusal(fault)
        return crops.clipped(crops.enlarged(box, self.factor), size)


@dataclass(frozen=True)
class Padded:
    """A box in fractions, or in pixels, with so much of the picture added on each side (Pixel-Reasoner: a tenth)."""

    share: float = 0.1
    longer_than: float = 28.0

    def __call__(self, box: Box, size: Size) -> Box:
        grown = crops.padded(crops.as_fractions(box, size), self.share)
        cut = crops.scaled(crops.clipped(grown, (1, 1)), (1, 1), size)
        if not crops.croppable(cut, longer_than=self.longer_than):
            raise Refusal(f"the cropped image is too small: its sides must be longer than {self.longer_than:g} pixels")
        return cut


@dataclass(frozen=True)
class Widened:
    """The box in whole pixels, widened to a least side; the whole picture where it is too thin (Ground-R1: 28, 200)."""

    least: int = 28
    elongation_below: float = 200.0

    def __call__(self, box: Box, size: Size) -> Box:
        x1, y1, x2, y2 = crops.whole([*box[:2], min(box[2], size[0]), min(box[3], size[1])])
        cut = crops.clipped(crops.at_least([x1, y1, x2, y2], self.least), size)
        return cut if crops.elongation(cut) < self.elongation_below and cut[2] > cut[0] else [0, 0, *size]


@dataclass(frozen=True)
class Grown:
    """The part of the box in the picture, with so many pixels on each side (VRAG-RL: 28 when it validates)."""

    pixels: float = 0.0

    def __call__(self, box: Box, size: Size) -> Box:
        cut = crops.clipped(crops.padded(box, self.pixels), size)
        if not crops.croppable(cut, longer_than=1):
            raise Refusal(f"the box [x1, y1, x2, y2] must cover a part of the image of {_size(size)}")
        return cut


@dataclass(frozen=True)
class View:
    """In which size a crop is shown: scaled, and in whole patches within limits of pixels (`most` 0: as it is)."""

    scale: float = 1.0
    multiple: int = 28
    least: int = 0
    most: int = 0

    def __call__(self, picture: Image.Image) -> Image.Image:
        size = tuple(max(1, round(side * self.scale)) for side in picture.size)
        if self.most:
            size = crops.fitted_size(size, multiple=self.multiple, least=self.least, most=self.most)
        if size == picture.size:
            return picture
        return picture.resize(size, Image.Resampling.BICUBIC)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Crop:
    """Cuts a box out of a picture, at the picture's full resolution.

    region: the rule for boxes. argument: the argument that holds the box; one that is None shows the whole picture.
    frame: the size in which boxes are written: that of the picture as shown (None), one that is given (the model's own
    view, or `(1000, 1000)`), or two columns. of: the row's first picture, the one that the argument `target` numbers
    from 1, or the newest that one of the tools `by` brought. square: the shorter side is grown, so that a model which
    sees all pictures square sees no distortion.
    """

    region: Region = InPicture()
    view: View = View()
    argument: str = "bbox_2d"
    frame: tuple[float, float] | tuple[str, str] | None = None
    of: Literal["first", "target", "newest"] = "first"
    target: str = "target_image"
    by: tuple[str, ...] = ()
    square: bool = False

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        seen = chosen(desk, arguments, self.of, self.target, self.by)
        size = seen.full.size
        if self.argument in arguments and arguments[self.argument] is None:
            return self._shown(desk, seen, [0, 0, *size])
        box = arguments.get(self.argument)
        if box is None or numbers(box, 4) is None:
            raise Refusal(f"{self.argument} must be a list of four numbers [x1, y1, x2, y2]")
        frame = size_of(desk, self.frame, seen.shown)
        asked = box if frame == size else crops.scaled(box, frame, size)
        if numbers(asked, 4) is None:
            raise Refusal(f"{self.argument} must lie near the image of {_size(frame)}")
        return self._shown(desk, seen, self.region(asked, size))

    def _shown(self, desk: Desk, seen: Seen, box: Box) -> Shown:
        if self.square:
            box = squared(box, seen.full.size)
        whole = crops.whole(box)
        whole = [*whole[:2], max(whole[2], whole[0] + 1), max(whole[3], whole[1] + 1)]
        cut = seen.full.crop(tuple(whole))  # type: ignore[arg-type]
        info = {"box": whole, "picture": desk.number(seen)}
        return Shown(pictures=(self.view(cut),), full=(cut,), info=info)


@dataclass(frozen=True)
class CropAround:
    """Shows the square around a point of the row's first picture (ViGoRL: half side 50 for pages, 182 for photographs).

    side: the side in which it is shown, in pixels. dot: the radius of the red dot drawn at the point (0: none).
    """

    half: float = 50.0
    side: int = 384
    dot: int = 0
    argument: str = "coordinate"
    frame: tuple[float, float] | tuple[str, str] | None = None

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        seen = desk.picture(0)
        point = numbers(arguments.get(self.argument), 2)
        if point is None:
            raise Refusal(f"{self.argument} must be a list of two numbers [x, y]")
        size = seen.full.size
        x, y = crops.scaled([*point, *point], size_of(desk, self.frame, seen.shown), size)[:2]
        if not (0 <= x < size[0] and 0 <= y < size[1]):
            raise Refusal(f"the point must lie in the image of {_size(size)}")
        whole = crops.whole(crops.around((x, y), self.half, size))
        cut = seen.full.crop(tuple(whole))  # type: ignore[arg-type]
        if self.dot:
            cut = cut.convert("RGB")
            left, top = x - whole[0] - self.dot, y - whole[1] - self.dot
            ImageDraw.Draw(cut).ellipse((left, top, left + 2 * self.dot, top + 2 * self.dot), fill=(255, 0, 0))
        shown = cut.resize((self.side, self.side), Image.Resampling.BICUBIC)
        return Shown(pictures=(shown,), full=(cut,), info={"box": whole, "picture": 0, "point": [x, y]})


@dataclass(frozen=True)
class Rotate:
    """Turns the row's first picture by an angle in degrees, counter-clockwise (DeepEyes)."""

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        angle = numbers([arguments.get("angle")], 1)
        if angle is None:
            raise Refusal("angle must be a number of degrees")
        return Shown(pictures=(desk.picture(0).full.rotate(angle[0] % 360),), info={"angle": angle[0] % 360})


def chosen(
    desk: Desk,
    arguments: Mapping[str, Any],
    of: Literal["first", "target", "newest"],
    target: str = "target_image",
    by: tuple[str, ...] = (),
) -> Seen:
    """The picture that a call is about. Raises Refusal where there is none."""
    if of == "first":
        return desk.picture(0)
    if of == "newest":
        return desk.newest(*by)
    number = numbers([arguments.get(target)], 1)
    if number is None or number[0] != int(number[0]):
        raise Refusal(f"{target} must be the number of an image, from 1 to {len(desk.seen)}")
    return desk.picture(int(number[0]) - 1)


def squared(box: Box, size: Size) -> list[float]:
    """The smallest square around a box that the picture has room for, moved into the picture."""
    side = min(max(box[2] - box[0], box[3] - box[1]), *size)
    corners = [min(max(0.0, (box[axis] + box[axis + 2] - side) / 2), size[axis] - side) for axis in (0, 1)]
    return [*corners, corners[0] + side, corners[1] + side]


def _size(size: Size) -> str:
    return f"{size[0]:g} x {size[1]:g} pixels"
