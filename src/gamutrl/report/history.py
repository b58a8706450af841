"""A run directory as the report reads it: whatever is there, finished or not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class NoRun(ValueError):
    """The folder holds nothing to report on."""


@dataclass(frozen=True)
class History:
    """What a run left: its configuration, its steps, samples of its rollouts, its evaluations, its summary."""

    folder: Path
    config: Mapping[str, Any]
    steps: Sequence[Mapping[str, Any]]
    samples: Sequence[Mapping[str, Any]]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    summary: Mapping[str, Any] | None

    @classmethod
    def read(cls, folder: Path) -> History:
        """Raises NoRun where the folder is no run directory."""
        config = _json(folder / "config.json")
        if config is None:
            raise NoRun(f"{folder} is not a run directory: it has no config.json that can be read.")
        return cls(
            folder,
            config,
            list(_lines(folder / "metrics.jsonl")),
            _spread(list(_lines(folder / "rollouts.jsonl")), 12),
            _json(folder / "evaluation" / "before.json"),
            _json(folder / "evaluation" / "after.json"),
            _json(folder / "summary.json"),
        )

    def series(self, name: str) -> list[float]:
        """One metric over all steps, NaN where it was not logged; a reason to stop that did not occur is 0."""
        if name.startswith("stop/"):
            return [_number(step.get(name, 0.0 if "turns/mean" in step else None)) for step in self.steps]
        return [_number(step.get(name)) for step in self.steps]

    def names(self) -> list[str]:
        """Every metric that was logged as a number, in the order of first appearance."""
        seen = dict.fromkeys(name for step in self.steps for name, value in step.items() if _is_number(value))
        return [name for name in seen if name not in ("step", "stage_number")]

    def marks(self) -> list[tuple[int, str]]:
        """Where each stage begins, on the axis of all steps; nothing where there is one stage."""
        starts = []
        for i, step in enumerate(self.steps):
            if i == 0 or step.get("stage_number") != self.steps[i - 1].get("stage_number"):
                starts.append((i, str(step.get("stage", ""))))
        return starts if len(starts) > 1 else []


@dataclass(frozen=True)
class Concentration:
    """How an evaluation's answers are spread: the commonest one's share, and how many there are in effect.

    in_effect is the exponential of the entropy: n answers given equally often count n; one answer counts 1.
    """

    commonest: str
    share: float
    in_effect: float

    @classmethod
    def of(cls, answers: Mapping[str, int], rows: int) -> Concentration:
        counted = sum(answers.values())
        # Only the commonest answers are kept; the rest were given once or a few times each.
        counts = [*answers.values(), *[1] * max(0, rows - counted)]
        total = sum(counts) or 1
        entropy = -sum(count / total * math.log(count / total) for count in counts if count)
        commonest = max(answers, key=lambda answer: answers[answer], default="")
        return cls(commonest, answers.get(commonest, 0) / total, math.exp(entropy))


def warnings(history: History) -> list[str]:
    """What a reader must know before believing the gain."""
    found = []
    summary = history.summary
    if history.before and history.after:
        rows = [len(told["values"]) for told in (history.before, history.after)]
        before = Concentration.of(history.before["answers"], rows[0])
        after = Concentration.of(history.after["answers"], rows[1])
        if after.share >= 0.4 and after.share > before.share + 0.15 and after.in_effect < 0.6 * before.in_effect:
            found.append(
                f"The answers collapsed: «{after.commonest}» is now {after.share:.0%} of all answers "
                f"(the commonest before: {before.share:.0%}), and {before.in_effect:.1f} answers in effect became "
                f"{after.in_effect:.1f}."
            )
        elif after.share >= 0.9 and rows[1] >= 20:
            found.append(f"{after.share:.0%} of the rows get one and the same answer: «{after.commonest}».")
    if summary:
        if not summary["after"]["rows"]:
            found.append(f"Of the held-out rows, {summary['after']['metric']} applies to none any more.")
        elif "constant" in summary and summary["after"]["low"] <= _number(summary["constant"]["value"]):
            found.append(
                f"The result ({summary['after']['value']:.3f}) does not stand clear of the best constant answer "
                f"({summary['constant']['value']:.3f}): a policy that never looks could do as well."
            )
        elif "text_only" in summary and summary["after"]["low"] <= _number(summary["text_only"]["value"]):
            found.append(
                f"The result ({summary['after']['value']:.3f}) does not stand clear of what the questions alone give "
                f"away ({summary['text_only']['value']:.3f})."
            )
        if _number(summary["gain"]["low"]) <= 0:
            found.append(
                f"The gain ({summary['gain']['value']:+.3f}, 95% interval {summary['gain']['low']:+.3f} to "
                f"{summary['gain']['high']:+.3f}) does not lie above zero."
            )
    flat = [value for value in history.series("groups/without_spread") if value == value]
    last = flat[len(flat) * 3 // 4 :]
    gained = summary is not None and _number(summary["gain"]["low"]) > 0
    if not gained and len(flat) >= 8 and sum(last) / len(last) > 0.8:
        found.append(
            "In the last quarter of training more than 80% of the groups had no spread in reward: they taught nothing."
        )
    return found


def _spread(items: list[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """At most so many items, evenly from first to last."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _lines(file: Path) -> Any:
    if not file.exists():
        return
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                continue  # The last line of a killed run may be cut.


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float:
    return float(value) if _is_number(value) and math.isfinite(value) else math.nan
