"""SpaceR's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from typing import Any

from gamutrl.rewards import answers, maps, tags

NUMBER = partial(answers.number_or_word, words_first=True)
TYPES: dict[str, answers.Compare] = {
    **answers.PROBLEM_TYPES,
    "multiple choice": answers.same_text,
    "numerical": partial(answers.mean_relative_accuracy, number=NUMBER),
}


def accuracy_reward(completion: str, problem_type: str, solution: str, cognitive_map: Any) -> float:
    asked = tags.tag_text(solution, missing="empty")
    value = answers.typed_accuracy(completion, asked, problem_type, compare=TYPES, missing="empty") or 0.0
    drawn = tags.tag_text(completion, "map") if "</map>" in completion else None
    if drawn is None or problem_type not in ("multiple choice", "numerical") or value <= 0.5:
        return value
    score = map_score(maps.places_in(drawn, list(cognitive_map)), cognitive_map)
    return value + score if score > 0 else 0.0


def extract_map_data(map_string: str, object_list: list[str]) -> dict[str, Any]:
    return maps.places_in(map_string, object_list)


def map_score(response: Any, solution: Any, grid_size_N: float = 10) -> float:
    return maps.map_score(response, solution, size=grid_size_N)
