"""TimeMaster's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, Labels
from gamutrl.rewards import extensions, tags


def grpo_outcome_advantage(rewards: F32, group_index: Labels, mask: F32) -> Tensor:
    return compose.outcome(rewards, group_index, mask)


CLASSES, STATES = ("desktop", "laptop"), ("healthy", "myopathy", "neuropathy")


def _class_id(label: str, labels: tuple[str, ...]) -> int:
    return labels.index(label.strip()) if label.strip() in labels else -1


def classification_score(predict_str: str, ground_truth: str) -> dict[str, float]:
    true = _class_id(ground_truth.lower(), CLASSES)
    found = [_class_id(label, CLASSES) for label in tags.tag_texts(predict_str.lower(), "class")]
    said = next((label for label in found if label >= 0), -1)
    if true < 0 or said < 0:
        return {"score": 0.0, "format_ok": 0.0, "pred_id": -1 if true < 0 else 1 - true, "label_id": true}
    return {"score": 0.9 * (said == true) + 0.1, "format_ok": 1.0, "pred_id": said, "label_id": true}


def classification_plus_judged_extension(predict_str: str, ground_truth: str, judge_reply: str) -> dict[str, float]:
    true = _class_id(ground_truth.lower(), STATES)
    said = _class_id(tags.tag_text(predict_str.lower(), "class", missing="empty"), STATES)
    extension = tags.tag_text(predict_str.lower(), "extension", missing="empty")
    score = 0.1 * (said >= 0) + 0.9 * (said == true >= 0)
    if said == true >= 0 and extension:
        score += 0.5 * extensions.graded_extension(extension, judge_reply)
    return {"score": score, "format_ok": float(said >= 0), "pred_id": said, "label_id": true}
