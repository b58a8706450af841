"""Rewards of things found by name: every name's own boxes or times, averaged over the names that there are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gamutrl.functional.geometry import box_iou, span_set_iou, union_iou
from gamutrl.functional.matching import hungarian
from gamutrl.rewards.boxes import Overlap
from gamutrl.rewards.parsing import Detection
from gamutrl.rewards.spans import Span, to_seconds


def named_boxes_score(found: Sequence[Detection], true: Sequence[Detection], *, overlap: Overlap = box_iou) -> float:
    """The best overlap of each true box with any of its name, averaged per name, then over names (AV-Reasoner).

    Nothing true and nothing found is 1.
    """
    if not true:
        return float(not found)
    scores = []
    for name in dict.fromkeys(d.label for d in true):
        said, asked = ([d.box for d in ds if d.label == name] for ds in (found, true))
        scores.append(float(overlap(said, asked).amax(0).mean()) if said else 0.0)
    return sum(scores) / len(scores)


def named_spans_score(found: Mapping[Any, Sequence[Span]], true: Mapping[Any, Sequence[Span]]) -> float:
    """IoU of the time covered under each true name, averaged; names that are not true cost nothing."""
    scores = [span_set_iou(found[name], spans) if name in found else 0.0 for name, spans in true.items()]
    return sum(scores) / len(scores) if scores else 0.0


def events_in(items: Iterable[Any]) -> dict[tuple[str, str], list[Span]]:
    """The spans of each kind of event, `{"type", "event", "start", "end"}` ("1.5 seconds"), of items that have all."""
    events: dict[tuple[str, str], list[Span]] = {}
    for item in items:
        if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in EVENT_KEYS):
            continue
        try:
            start, end = (to_seconds(item[key].split(" ")[0]) for key in ("start", "end"))
        except (ValueError, OverflowError):
            continue
        events.setdefault((item["type"].lower(), item["event"].lower()), []).append((start, end))
    return events


EVENT_KEYS = ("start", "end", "event", "type")


def counted(overlap: float, found: int, true: int) -> float:
    """√(overlap · (1 - |found - true| / true)), at least 0: things must be found, and as many as there are."""
    return math.sqrt(overlap * max(0.0, 1 - abs(found - true) / max(true, 1)))


def counted_in_frames(found: Sequence[tuple[int, Any]], true: Sequence[tuple[int, Any]]) -> float:
    """`counted` of the areas covered, averaged over all frames that hold `(frame, box)` of either."""
    frames = {frame for frame, _ in [*found, *true]}
    total = 0.0
    for frame in frames:
        said, asked = ([box for where, box in boxes if where == frame] for boxes in (found, true))
        total += counted(union_iou(said, asked), len(said), len(asked)) if said and asked else 0.0
    return total / max(len(frames), 1)


def clusters_score(value_NM: Sequence[Sequence[float]], true: int) -> float:
    """The best total of any one-to-one pairing of clusters, over the number of true ones; 0 without any of either."""
    if not true or not len(value_NM):
        return 0.0
    pairs = hungarian(value_NM)
    return sum(value_NM[n][m] for n, m in pairs.tolist()) / true
