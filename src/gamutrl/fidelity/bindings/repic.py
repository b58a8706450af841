"""RePIC's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from typing import Any

from gamutrl.functional import geometry
from gamutrl.metrics import mentions
from gamutrl.rewards import answers, boxes, parsing


def oct_yes_no_reward(content: str, sol: str) -> float:
    said, asked = (answers.first_of(text.lower(), ("yes", "no")) for text in (content, sol))
    return float(said is not None and said == asked)


def iou_reward(content: str, sol: Any) -> float:
    if parsing.numbers(sol, 4) is None:
        return 0.0
    overlap = partial(geometry.box_iou, min_overlap=1, inverted="signed")
    return boxes.box_score(content, sol, read=parsing.integer_boxes, overlap=overlap, at_least=0.5)


def ict_single_reward(content: str, sol: Any) -> float:
    named = isinstance(sol, str) and sol in content
    closed = isinstance(sol, str) and sol.startswith("<") and sol.replace("<", "</") in content
    return float(len(content) >= 100 and named and not closed)


def ict_multi_reward(content: str, sol: Any) -> float:
    names = [sol] if isinstance(sol, str) else sol
    return sum(name in content for name in names) / len(names) if names and len(content) >= 100 else 0.0


ROUTES = {
    "yes_no": oct_yes_no_reward,
    "yes_no_name": ict_single_reward,
    "yes_no_name_multi": ict_multi_reward,
    "iou": iou_reward,
}


def routed_accuracy_reward(contents: list[str], methods: list[str], solutions: list[Any]) -> list[float]:
    return [
        ROUTES[method](content, solution) if method in ROUTES else 0.0
        for content, method, solution in zip(contents, methods, solutions)
    ]


def two_concept_f1(captions: list[str], gt_pairs: list[list[str]]) -> dict[str, Any]:
    names = [[name.strip("<>") for name in pair] for pair in gt_pairs]
    wanted = [name for pair in names for name in pair]
    said = [one for caption, pair in zip(captions, names) for one in mentions.named_in(caption, pair, set(wanted))]
    precision, recall, f1 = mentions.precision_recall_f1(said, wanted)
    return {"predictions": said, "recall": recall, "precision": precision, "f1": f1}
