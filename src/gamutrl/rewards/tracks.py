"""Rewards of finding things in a video: when to look, and what is where in each frame (Omni-R1, 2505.20256)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gamutrl.functional.geometry import as_boxes, box_iou
from gamutrl.functional.matching import hungarian
from gamutrl.rewards.boxes import Overlap
from gamutrl.rewards.parsing import loads
from gamutrl.rewards.spans import Span, to_seconds
from gamutrl.rewards.tags import tag_texts


class Matched(NamedTuple):
    """Objects matched frame by frame: IoU and L1 distance `[N, F]`, and whose box each took, `[F, N]`."""

    iou_NF: Tensor
    distance_NF: Tensor
    taken_FN: Tensor


def matched_frames(found_NF4: Any, true_NF4: Any, *, overlap: Overlap = box_iou) -> Matched:
    """Each frame's boxes matched to its objects for the best total IoU; as many boxes as objects are expected."""
    frames = len(true_NF4[0])
    iou, distance, taken = [], [], []
    for f in range(frames):
        found_N4, true_N4 = (as_boxes([track[f] for track in tracks]) for tracks in (found_NF4, true_NF4))
        iou_NN = overlap(true_N4, found_N4)
        to_N = hungarian(iou_NN)[:, 1]
        taken.append(to_N)
        iou.append(iou_NN[torch.arange(len(to_N)), to_N])
        distance.append((true_N4 - found_N4[to_N]).abs().sum(1))
    return Matched(torch.stack(iou, 1), torch.stack(distance, 1), torch.stack(taken))


class Segments(NamedTuple):
    """What a completion asks to look at: well-formed parts of each item, and the spans described."""

    items: int
    complete: int
    spans: list[tuple[Span, str]]


def segments_in(text: str, duration: float) -> Segments:
    """The `{"start_time": "mm:ss.ff", "end_time", "description"}` of a text; spans within the video are kept."""
    rows = [loads(f"{{{inside}}}") for inside in tag_texts(text, ("{", "}"))]
    complete, spans = 0, []
    for row in rows:
        try:
            start, end, what = to_seconds(row["start_time"]), to_seconds(row["end_time"]), str(row["description"])
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
            continue
        complete += 1
        if 0 <= start <= end <= duration:
            spans.append(((start, end), what))
    return Segments(len(rows), complete, spans)


def frames_of(span: Span, rate: float, count: int) -> range:
    """The frames that a span shows, at so many a second."""
    return range(min(int(span[0] * rate), count - 1), min(int(span[1] * rate), count - 1) + 1)


def coverage(frames: Sequence[int], visible_NF: Sequence[Sequence[float]]) -> float:
    """The share of objects and frames in which the object can be seen."""
    seen = sum(track[f] > 0 for track in visible_NF for f in frames)
    return seen / (len(frames) * len(visible_NF)) if frames and visible_NF else 0.0


def frame_count_reward(unique: int, *, most: int = 4, each: float = 0.4) -> float:
    """So much for each frame chosen, up to `most`; beyond that less for each more."""
    return each * (unique if unique <= most else 2 * most - unique - 1)
