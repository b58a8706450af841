"""GThinker's released code, answered by ours."""

from __future__ import annotations

from gamutrl.rewards import answers, grading, tags


def edit_distance_reward(
    predicted_str: str, ground_truth_str: str, threshold: float = 0.6, reward_type: str = "similarity"
) -> float:
    similarity = answers.edit_similarity(predicted_str, ground_truth_str, both_empty=1.0)
    passes = 1 - similarity < threshold if reward_type == "distance" else similarity > threshold
    return similarity if passes else 0.0


def compute_score(response: str, ground_truth: str, type: str, format_weight: float = 0.5) -> dict[str, float]:
    gold = tags.tag_text(ground_truth, missing="whole")
    if type == "geoqa+":
        said = tags.tag_text(response, which="last", missing="whole")
        accuracy = float(grading.same_answer(said.replace("$", ""), gold.replace("$", "")))
    elif len(gold.split(" ")) > 5:
        accuracy = edit_distance_reward(response, gold)
    else:
        accuracy = float(tags.tag_text(response, multiline=False, missing="whole", strip=False) == gold)
    layout = tags.tag_format(response)
    return {
        "overall": (1 - format_weight) * accuracy + format_weight * layout,
        "format": layout,
        "accuracy": accuracy,
    }
