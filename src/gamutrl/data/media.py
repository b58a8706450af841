"""Pictures as data sets hold them, made RGB: paths, bytes, data URLs, animated, CMYK, 16-bit, turned by EXIF."""

from __future__ import annotations

import base64
import binascii
import io
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from gamutrl.data.problems import BadRow

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "TGA", "ICO")
"""What is opened. Formats that run programs (EPS through Ghostscript) are left out: data are not trusted."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".avif", ".jp2", ".tga")


@dataclass(frozen=True)
class MediaOptions:
    """How media are found and opened.

    image_root: the folder that relative paths start from ("": the folder of the file that names them).
    allow_http: fetch http(s) addresses (`timeout` seconds, `max_bytes` each); off, so that no data set reaches the net
    unasked. max_pixels: a larger picture is refused before it is decoded. max_frames: a longer video is sampled evenly
    down to so many frames; fps: frames a second instead, still at most `max_frames`. max_side: larger pictures and
    frames are made smaller, keeping their shape (0: as they are). cache_pixels: decoded pixels kept for the next epoch.
    """

    image_root: str = ""
    allow_http: bool = False
    max_pixels: int = 89_478_485
    max_frames: int = 16
    fps: float | None = None
    max_side: int = 0
    timeout: float = 20.0
    max_bytes: int = 256 << 20
    cache_pixels: int = 1 << 26


DEFAULTS = MediaOptions()


def decode_image(value: Any, root: Path = Path(), options: MediaOptions = DEFAULTS) -> Image.Image:
    """One picture, RGB, upright, 8 bits a channel.

    Takes a `PIL.Image`, bytes, a path (relative to `root`), a data URL, an http(s) address where allowed, a struct with
    `bytes` or `path`, or an array of pixels. An animation gives its first frame; what is transparent is laid on white.
    Raises `BadRow` with the reason.
    """
    if isinstance(value, np.ndarray) or (isinstance(value, list | tuple) and len(value) > 0):
        return fitted(_from_array(value), options)
    if isinstance(value, Image.Image):
        return fitted(_rgb(value), options)
    with opened(value, root, options) as picture:
        try:
            return fitted(_rgb(picture), options)
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            raise BadRow(f"the picture{_named(value)} is damaged: {error}") from None


def opened(value: Any, root: Path = Path(), options: MediaOptions = DEFAULTS) -> Image.Image:
    """The picture or animation with its header read and its size checked, not yet decoded."""
    source = content(value, root, options)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats())
    except Image.DecompressionBombError as error:
        raise BadRow(f"the picture{_named(value)} is refused: {error}") from None
    except (OSError, ValueError, SyntaxError, EOFError):
        raise BadRow(f"the picture{_named(value)} cannot be read: no picture format that is known.") from None
    if picture.width * picture.height > options.max_pixels:
        picture.close()
        size = f"{picture.width} × {picture.height}"
        raise BadRow(f"the picture{_named(value)} is {size}: more than max_pixels ({options.max_pixels}).")
    return picture


def content(value: Any, root: Path = Path(), options: MediaOptions = DEFAULTS) -> bytes | Path:
    """Where a medium's bytes are: themselves, or a file that exists."""
    if isinstance(value, Mapping):
        kept = {key: value[key] for key in ("bytes", "path", "url", "image_url") if value.get(key)}
        if not kept:
            raise BadRow("the medium is a struct without bytes or path.")
        value = next(iter(kept.values()))
        if isinstance(value, Mapping):
            return content(value, root, options)
    if isinstance(value, bytes | bytearray | memoryview):
        if not value:
            raise BadRow("the medium has no bytes.")
        return bytes(value)
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        raise BadRow(f"a medium cannot be read from {type(value).__name__}; give a path, bytes or a data URL.")
    if value.startswith("data:"):
        return _from_data_url(value)
    if value.startswith(("http://", "https://")):
        return _fetched(value, options)
    return located(value.removeprefix("file://"), root, options)


def located(path: str, root: Path, options: MediaOptions) -> Path:
    """A file or folder that exists, relative paths from `image_root` or else `root`."""
    base = Path(options.image_root) if options.image_root else root
    try:
        found = base / Path(path).expanduser()
        if path and found.exists():
            return found
    except (OSError, ValueError, RuntimeError):
        pass
    hint = "" if options.image_root else " (is it relative to another folder? Say so with --image-root)"
    raise BadRow(f"there is no file {path[:200]!r} under {base}{hint}.")


def fitted(picture: Image.Image, options: MediaOptions) -> Image.Image:
    """The picture made no larger than `max_side`."""
    longest = max(picture.size)
    if not options.max_side or longest <= options.max_side:
        return picture
    scale = options.max_side / longest
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC)


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def rgb_frame(picture: Image.Image) -> Image.Image:
    """The current frame as RGB on its own memory."""
    return _rgb(picture)


def _rgb(picture: Image.Image) -> Image.Image:
    picture = ImageOps.exif_transpose(picture)
    mode = picture.mode
    if mode == "RGB":
        picture.load()
        return picture if type(picture) is Image.Image else picture.copy()
    if mode.startswith("I") or mode == "F":
        return _from_depth(np.asarray(picture)).convert("RGB")
    if mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def _from_depth(pixels: np.ndarray) -> Image.Image:
    """More than 8 bits a channel to 8: floats up to 1 are shares of white, whole numbers above 255 are 16-bit."""
    values = np.nan_to_num(pixels.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    high = float(values.max(initial=0.0))
    if pixels.dtype.kind == "f" and high <= 1:
        values = values * 255
    elif pixels.dtype in (np.uint16, np.dtype(">u2")) or high > 255:
        values = values / max(257.0, high / 255)
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _from_array(value: Any) -> Image.Image:
    try:
        pixels = np.asarray(value)
    except ValueError:
        pixels = np.empty(0)
    if pixels.dtype.kind not in "biuf" or not (
        pixels.ndim == 2 or (pixels.ndim == 3 and (pixels.shape[-1] in (1, 3, 4) or pixels.shape[0] in (1, 3, 4)))
    ):
        raise BadRow("the picture is a list that is no array of pixels [height, width, 1, 3 or 4 channels].")
    if pixels.ndim == 3 and pixels.shape[-1] not in (1, 3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.size == 0:
        raise BadRow("the picture is an empty array.")
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    return _rgb(_from_depth(pixels.squeeze(-1) if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels))


def _from_data_url(url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise BadRow("the data URL is not of the form data:<type>;base64,<bytes>.")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise BadRow("the data URL's bytes are not valid base64.") from None


def _fetched(url: str, options: MediaOptions) -> bytes:
    if not options.allow_http:
        raise BadRow(f"{url[:100]} is on the net, which is not read by default (--allow-http allows it).")
    try:
        with urllib.request.urlopen(url, timeout=options.timeout) as reply:
            body = reply.read(options.max_bytes + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise BadRow(f"{url[:100]} could not be fetched: {error}") from None
    if len(body) > options.max_bytes:
        raise BadRow(f"{url[:100]} is larger than max_bytes ({options.max_bytes}).")
    return body


def _named(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("path")
    return f" {str(value)[:200]!r}" if isinstance(value, str | Path) and not str(value).startswith("data:") else ""


def even_indices(total: int, wanted: int) -> list[int]:
    """`wanted` of `total` places, evenly spread, the first and the last among them."""
    if total <= wanted:
        return list(range(total))
    if wanted == 1:
        return [total // 2]
    return [round(k * (total - 1) / (wanted - 1)) for k in range(wanted)]


def natural(names: Sequence[Path]) -> list[Path]:
    """Files in the order a person numbers them: frame2 before frame10."""

    def key(path: Path) -> list[tuple[int, int, str]]:
        runs, digits = [], ""
        for char in f"{path}\0":
            if char.isdecimal():
                digits += char
                continue
            if digits:
                runs.append((0, int(digits[:18]), digits))
                digits = ""
            runs.append((1, 0, char))
        return runs

    return sorted(names, key=key)
