"""Videos and sound: lists and folders of frames, animations, and files through PyAV."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gamutrl.core import Part, audio, video
from gamutrl.data.media import (
    DEFAULTS,
    IMAGE_SUFFIXES,
    MediaOptions,
    content,
    decode_image,
    even_indices,
    fitted,
    located,
    natural,
    opened,
    rgb_frame,
)
from gamutrl.data.problems import BadRow


def decode_video(value: Any, root: Path = Path(), options: MediaOptions = DEFAULTS) -> Part:
    """A video part of at most `max_frames` RGB frames, evenly spread over the whole.

    Takes a list of pictures, a folder of them (in the order of their numbers), an animation (GIF, WebP, APNG; bytes or
    path), or a video file (bytes or path; needs the extra `video`). `info["fps"]` is the rate of the frames kept, where
    the source has a clock. Raises `BadRow` with the reason.
    """
    if isinstance(value, list | tuple | np.ndarray):
        return video(_frames_of(list(value), root, options))
    if isinstance(value, Mapping) and "frames" in value:
        return video(_frames_of(list(value["frames"] or ()), root, options), value.get("fps"))
    if isinstance(value, str | Path) and not str(value).startswith(("data:", "http")):
        place = located(str(value).removeprefix("file://"), root, options)
        if place.is_dir():
            files = natural([file for file in place.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES])
            return video(_frames_of(files, place, options))
    source = content(value, root, options)
    if _is_animation(source):
        return _from_animation(source, options)
    return _from_file(source, options)


def decode_audio(value: Any, root: Path = Path(), options: MediaOptions = DEFAULTS) -> Part:
    """An audio part of one channel, float32 in [-1, 1].

    Takes a struct with `array` and `sampling_rate`, or a sound file (bytes or path; needs the extra `video`).
    """
    if isinstance(value, Mapping) and value.get("array") is not None:
        samples = np.asarray(value["array"], dtype=np.float32)
        if not value.get("sampling_rate"):
            raise BadRow("the sound has samples but no sampling_rate.")
        return audio(samples.mean(axis=int(samples.shape[0] > samples.shape[-1])) if samples.ndim > 1 else samples,
                     int(value["sampling_rate"]))  # fmt: skip
    av = _av("sound")
    try:
        with av.open(_readable(content(value, root, options))) as container:
            if not container.streams.audio:
                raise BadRow("the file has no sound in it.")
            rate = int(container.streams.audio[0].rate)
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            blocks = [
                block.to_ndarray().reshape(-1)
                for frame in container.decode(audio=0)
                for block in resampler.resample(frame)
            ]
    except (av.FFmpegError, ValueError, OSError) as error:
        if isinstance(error, BadRow):
            raise
        raise BadRow(f"the sound cannot be read: {error}") from None
    return audio(np.concatenate(blocks) if blocks else np.zeros(0, np.float32), rate)


def _frames_of(values: Sequence[Any], root: Path, options: MediaOptions) -> list[Image.Image]:
    if not values:
        raise BadRow("the video has no frames.")
    frames = [decode_image(values[k], root, options) for k in even_indices(len(values), options.max_frames)]
    if len({frame.size for frame in frames}) > 1:
        raise BadRow(f"the video's frames have unequal sizes: {', '.join(str(s) for s in {f.size for f in frames})}.")
    return frames


def _is_animation(source: bytes | Path) -> bool:
    if isinstance(source, bytes):
        head = source[:16]
    else:
        with source.open("rb") as file:
            head = file.read(16)
    return head.startswith((b"GIF8", b"\x89PNG")) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")


def _from_animation(source: bytes | Path, options: MediaOptions) -> Part:
    with opened(source, options=options) as moving:
        total = getattr(moving, "n_frames", 1)
        frames, seconds = [], 0.0
        try:
            for k in range(total):
                moving.seek(k)
                seconds += moving.info.get("duration", 0) / 1000
            wanted = _wanted(total, seconds, options)
            for k in wanted:
                moving.seek(k)
                frames.append(fitted(rgb_frame(moving.copy()), options))
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise BadRow(f"the animation is damaged: {error}") from None
    return video(frames, _rate(len(frames), seconds))


def _from_file(source: bytes | Path, options: MediaOptions) -> Part:
    av = _av("a video file")
    try:
        with av.open(_readable(source)) as container:
            if not container.streams.video:
                raise BadRow("the file has no video in it.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if stream.width * stream.height > options.max_pixels:
                raise BadRow(f"the video is {stream.width} × {stream.height}: more than max_pixels.")
            rate = float(stream.average_rate or 0)
            total = stream.frames
        if not total:
            with av.open(_readable(source)) as container:
                total = sum(1 for packet in container.demux(video=0) if packet.size)
        wanted = _wanted(total, total / rate if rate else 0.0, options)
        with av.open(_readable(source)) as container:
            frames = [fitted(frame.to_image(), options) for frame in _picked(container.decode(video=0), wanted)]
    except (av.FFmpegError, ValueError, OSError) as error:
        if isinstance(error, BadRow):
            raise
        raise BadRow(f"the video cannot be read: {error}") from None
    if not frames:
        raise BadRow("the video has no frames.")
    return video(frames, _rate(len(frames), total / rate if rate else 0.0))


def _picked(frames: Iterator[Any], wanted: Sequence[int]) -> Iterator[Any]:
    """The wanted frames of a stream; decoding stops after the last of them."""
    places = set(wanted)
    for k, frame in enumerate(frames):
        if k in places:
            yield frame
        if k >= wanted[-1]:
            return


def _wanted(total: int, seconds: float, options: MediaOptions) -> list[int]:
    if total < 1:
        raise BadRow("the video has no frames.")
    many = options.max_frames
    if options.fps and seconds:
        many = min(many, max(1, math.floor(seconds * options.fps)))
    return even_indices(total, many)


def _rate(frames: int, seconds: float) -> float | None:
    return frames / seconds if seconds else None


def _readable(source: bytes | Path) -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else str(source)


def _av(what: str) -> Any:
    try:
        import av
    except ImportError:
        raise BadRow(f"reading {what} needs PyAV: pip install 'gamutrl[video]'.") from None
    return av
