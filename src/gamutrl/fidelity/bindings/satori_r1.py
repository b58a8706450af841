"""SATORI-R1's released code, answered by ours."""

from __future__ import annotations

import re

from gamutrl.environments import crops
from gamutrl.functional import geometry
from gamutrl.rewards import answers, parsing, tags


def format_reward(completion: str) -> float:
    ends = re.search(r"</answer>[^\S\n]*+(?=\n|\Z)", completion)
    completion = completion[: ends.end()] if ends else completion  # Released: further lines may follow.
    boxes = tags.tag_text(completion, "bbox", missing="empty")
    listed = boxes.startswith("[[") and boxes.endswith("]]")
    return tags.tag_format(completion, ("caption", "bbox", "answer"), strip=True) * listed


def vqa_reward(completion: str, possible_answers: list[str]) -> float:
    return float(tags.tag_text(completion) in possible_answers)


def bbox_reward(completion: str, bboxs: list[list[float]], height: int, width: int) -> float:
    value = parsing.literal(tags.tag_text(completion, "bbox", missing="empty"))
    rows = value if isinstance(value, list) and all(isinstance(row, list) for row in value) else [value]
    boxes = [parsing.numbers(row, 4) for row in rows]
    if not boxes or None in boxes:
        return 0.0
    shown = crops.fitted_size((width, height), least=200704, most=401408)
    found = [crops.scaled(box, shown, (width, height)) for box in boxes if box is not None]
    return geometry.union_iou(found, bboxs, eps=1e-6)


def caption_reward(completion: str, image_caption: str) -> float:
    said = tags.tag_text(completion, "caption")
    if said is None:
        return 0.0
    return (answers.bleu_4(said, image_caption) + answers.rouge(said, image_caption, kinds=("rougeL",))) / 2
