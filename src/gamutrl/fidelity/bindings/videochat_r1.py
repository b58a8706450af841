"""VideoChat-R1's released code, answered by ours."""

from __future__ import annotations

from functools import partial

from gamutrl.fidelity import released
from gamutrl.functional import geometry
from gamutrl.rewards import answers, spans, tags

read = partial(spans.in_answer, spans=spans.bare_spans_in)


def tg_iou_joint(completion: str, solution: list[float]) -> float:
    return spans.span_score(completion, solution, read=read, denominator="hull", ordered=False, zero_length=0.0)


def tg_iou_single(completion: str, solution: list[float]) -> float:
    return spans.span_score(completion, solution, read=read, denominator="hull")


def glue_iou(completion: str, glue: list[list[float]]) -> float:
    return spans.span_set_score(completion, glue, read=released.videochat_r1_clips)


def gqa_format(completion: str) -> float:
    laid_out = tags.tag_format(completion, ("think", "answer", "glue"), strip=True)
    return laid_out * (released.videochat_r1_clips(completion) is not None)


def mcq_answer(completion: str, answer: str) -> float:
    said = tags.tag_text(completion, missing="empty")
    letters = [answers.first_letter(text, drop=released.LEAD_INS) for text in (said, answer)]
    return float(letters[0] == letters[1])


def tracking_iou(completion: str, gt: list[list[float]]) -> float:
    overlap = partial(geometry.box_iou, inverted="signed")
    return spans.track_score(released.videochat_r1_track(completion), gt, overlap=overlap)


def tracking_format(completion: str) -> float:
    return tags.tag_format(completion, strip=True) * (released.videochat_r1_track(completion) is not None)
