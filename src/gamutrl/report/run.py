"""The report of one run."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from gamutrl.report.history import Concentration, History, warnings
from gamutrl.report.page import fill
from gamutrl.report.pictures import Pictures
from gamutrl.report.plots import Interval, Line, interval_chart, line_chart, smooth, stacked_chart
from gamutrl.report.story import Asked, Told, asked, draws_boxes, guessed_boxes, told

SHOWN_ROLLOUTS = 8
SHOWN_ANSWERS = 12


@dataclass(frozen=True)
class Chart:
    title: str
    note: str
    drawing: Markup


@dataclass(frozen=True)
class Pair:
    """One held-out row before and after.

    boxed: whether boxes are drawn, so that before and after need a picture each. change: "fixed", "broken", "right",
    "wrong" for verdicts; "better", "worse", "same" for values; "" where there is nothing to compare.
    """

    before: Asked | None
    after: Asked
    boxed: bool
    told_before: Told | None
    told_after: Told | None
    value_before: float | None
    value_after: float | None
    change: str


@dataclass(frozen=True)
class Group:
    """One group of rollouts, sampled in training, best first."""

    prompts: tuple[Asked, ...]
    rollouts: tuple[Told, ...]
    left_out: int


@dataclass(frozen=True)
class Moment:
    """What was sampled at one step of training."""

    stage: str
    step: int
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class AnswerShare:
    """How often one answer was given, before and after, as shares of the rows."""

    answer: str
    before: float | None
    after: float | None


def render(folder: Path) -> str:
    """The page of a run directory."""
    history = History.read(folder)
    pictures = Pictures(folder)
    about = {"title": "", "change": "", "preset": "", "variant": "default", **(history.config.get("about") or {})}
    moments = [_moment(sample, pictures) for sample in _by_step(history.samples)]
    pairs = _pairs(history, pictures)
    return fill(
        "run.html.j2",
        title=about.get("system") or folder.name,
        folder=folder.name,
        about=about,
        arxiv=_arxiv(about.get("arxiv")),
        history=history,
        summary=history.summary,
        headline=_headline(history),
        warnings=warnings(history),
        intervals=_intervals(history),
        charts=_charts(history),
        more_charts=_more_charts(history),
        answers=_answers(history),
        spread=[_spread(told) for told in (history.before, history.after)],
        pairs=pairs,
        counts={name: sum(pair.change == name for pair in pairs) for name in ("fixed", "broken", "right", "wrong")},
        moments=moments,
        settings=_settings(history.config.get("preset")),
        pictures=pictures,
    )


def _headline(history: History) -> dict[str, Any] | None:
    if not history.summary:
        return None
    summary = history.summary
    return {
        "metric": summary["after"]["metric"].replace("_", " "),
        "manner": f", single samples at temperature {heat:g}" if (heat := _temperature(summary)) else "",
        "before": summary["before"],
        "after": summary["after"],
        "gain": summary["gain"],
        "constant_answer": summary.get("constant", {}).get("answer", ""),
        "minutes": summary["wall_seconds"] / 60,
    }


def _temperature(summary: Mapping[str, Any]) -> float:
    """The temperature that held-out rows were answered at; 0 is greedy."""
    return float(summary.get("sampling", {}).get("temperature", 0.0))


def _intervals(history: History) -> Markup | None:
    rows = []
    summary = history.summary
    sources: list[tuple[str, Any, int]] = [
        ("before", history.before and history.before["measured"], 1),
        *((f"after {one['stage']}", one["measured"], 2) for one in (summary or {}).get("stages", ())[:-1]),
        ("after", history.after and history.after["measured"], 0),
        ("best constant answer", summary and summary.get("constant"), 5),
        ("from the question alone", summary and summary.get("text_only"), 5),
    ]
    for label, measured, colour in sources:
        if measured:
            low, high = _finite(measured["low"]), _finite(measured["high"])
            rows.append(Interval(label, _finite(measured["value"]), low, high, colour, label == "after"))
    return interval_chart(rows) if rows else None


def _charts(history: History) -> list[Chart]:
    marks = history.marks()
    charts: list[Chart] = []

    def add(title: str, note: str, names: Sequence[tuple[str, str]], *, floor: float | None = None) -> None:
        lines = []
        for number, (name, label) in enumerate(names):
            values = history.series(name)
            if any(map(math.isfinite, values)):
                lines.append(Line(label, smooth(values), _colour(number), values if len(names) == 1 else None))
        if lines:
            charts.append(Chart(title, note, line_chart(lines, marks=marks, floor=floor)))

    parts = [
        name for name in history.names() if name.startswith("reward/") and name not in ("reward/mean", "reward/std")
    ]
    add("Reward", "mean over the step's rollouts", [("reward/mean", "reward")])
    add("Reward by component", "each before its weight", [(name, name.removeprefix("reward/")) for name in parts])
    add("KL to the reference", "how far the policy has moved", [("kl", "kl")], floor=0)
    add("Entropy", "towards zero: always the same", [("entropy", "entropy")], floor=0)
    add("Length", "the policy's own tokens, or steps", [("length/mean", "mean"), ("length/max", "longest")], floor=0)
    stops = [name for name in history.names() if name.startswith("stop/")]
    add("Turns and calls", "a rollout", [("turns/mean", "turns"), ("calls/mean", "calls")], floor=0)
    add("Calls refused", "share of all calls", [("calls/refused", "share")], floor=0)
    reasons = [(name, name.removeprefix("stop/")) for name in stops]
    note = "share of each reason" if len(reasons) > 1 else "".join(f"share of «{label}»" for _, label in reasons)
    add("Why rollouts ended", note, reasons, floor=0)
    add("Groups without spread", "share of groups that taught nothing", [("groups/without_spread", "share")], floor=0)
    add("Loss", "of the update", [("loss", "loss")])
    add("Gradient norm", "before clipping", [("grad_norm", "norm")], floor=0)
    seconds = [name for name in history.names() if name.startswith("seconds/")]
    if seconds:
        lines = [
            Line(name.removeprefix("seconds/"), history.series(name), _colour(i)) for i, name in enumerate(seconds)
        ]
        charts.append(Chart("Seconds a step", "where the time goes", stacked_chart(lines, marks=marks)))
    add("Tokens a second", "or denoising steps, sampled and trained", [("tokens_per_second", "a second")], floor=0)
    return charts


def _colour(number: int) -> int:
    """The palette's colours in turn, but for its grey, which means "before"."""
    return (0, 2, 3, 4, 5, 6, 7)[number % 7]


SHOWN_METRICS = re.compile(
    r"reward/.*|seconds/.*|stop/.*|turns/mean|calls/.*|kl|entropy|length/mean|length/max|groups/without_spread|loss|"
    r"grad_norm|tokens_per_second|seconds"
)


def _more_charts(history: History) -> list[Chart]:
    """Every other number that was logged, a recipe's own among them."""
    marks = history.marks()
    rest = [name for name in history.names() if not SHOWN_METRICS.fullmatch(name) or name == "reward/std"]
    return [
        Chart(name, "", line_chart([Line(name, smooth(history.series(name)), 0, history.series(name))], marks=marks))
        for name in rest
        if any(map(math.isfinite, history.series(name)))
    ]


def _answers(history: History) -> list[AnswerShare]:
    """The commonest answers before and after, those that gained most in the first place."""
    told = [history.before, history.after]
    rows = [len(t["values"]) if t else 0 for t in told]
    shares = [{a: n / max(1, rows[i]) for a, n in t["answers"].items()} if t else {} for i, t in enumerate(told)]
    largest = {name: max(share.get(name, 0.0) for share in shares) for name in [*shares[1], *shares[0]]}
    names = sorted(largest, key=lambda name: -largest[name])
    # Where nearly every row has an answer of its own (boxes, captions), a list of them says nothing.
    names = [name for n, name in enumerate(names[:SHOWN_ANSWERS]) if n < 3 or largest[name] >= 0.015]
    shown = [
        AnswerShare(name or "(nothing)", *(share.get(name, 0.0) if t else None for share, t in zip(shares, told)))
        for name in names
    ]
    rest = [1 - sum(share.get(name, 0.0) for name in names) for share in shares]
    if shown and max(rest) > 0.005:
        shown.append(AnswerShare("all other answers", *(max(0.0, r) if t else None for r, t in zip(rest, told))))
    return shown


def _spread(told: Mapping[str, Any] | None) -> Concentration | None:
    return Concentration.of(told["answers"], len(told["values"])) if told else None


def _pairs(history: History, pictures: Pictures) -> list[Pair]:
    """The kept held-out rows, those that changed first; rows of pictures in their own order."""
    before = {row["prompt"]["id"]: row for row in history.before["rows"]} if history.before else {}
    latest = history.after or history.before or {"rows": ()}
    pairs = []
    for row in latest["rows"]:
        earlier = before.get(row["prompt"]["id"]) if history.after else None
        metric = latest["measured"]["metric"]
        value = row["rollout"]["rewards"].get(metric)
        value_before = earlier["rollout"]["rewards"].get(metric) if earlier else None
        guesses = guessed_boxes(row["rollout"])
        guesses_before = guessed_boxes(earlier["rollout"]) if earlier else []
        pairs.append(
            Pair(
                before=asked(earlier["prompt"], pictures, guesses_before) if earlier else None,
                after=asked(row["prompt"], pictures, guesses),
                boxed=draws_boxes(row["prompt"]),
                told_before=told(earlier["rollout"], pictures, earlier["prompt"]) if earlier else None,
                told_after=told(row["rollout"], pictures, row["prompt"]),
                value_before=value_before,
                value_after=value,
                change=_change(value_before, value),
            )
        )
    if any(pair.told_after and pair.told_after.pictures for pair in pairs):
        return pairs  # A gallery that began with what became better would flatter.
    order = ("fixed", "broken", "better", "worse", "right", "wrong", "same", "")
    return sorted(pairs, key=lambda pair: order.index(pair.change))


def _change(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return ""
    if {before, after} <= {0.0, 1.0}:
        return {(0.0, 1.0): "fixed", (1.0, 0.0): "broken", (1.0, 1.0): "right", (0.0, 0.0): "wrong"}[before, after]
    return "better" if after > before + 1e-6 else "worse" if after < before - 1e-6 else "same"


def _by_step(samples: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    steps: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for sample in samples:
        steps.setdefault((sample.get("stage_number", 0), sample["step"]), []).append(sample)
    return list(steps.values())


def _moment(samples: Sequence[Mapping[str, Any]], pictures: Pictures) -> Moment:
    groups = []
    for sample in samples:
        rollouts = sorted(sample["rollouts"], key=lambda rollout: -(rollout["rewards"].get("total") or -math.inf))
        kept = _ends(rollouts, SHOWN_ROLLOUTS)
        alone = len(sample["prompts"]) == 1
        guesses = guessed_boxes(kept[0]) if alone and kept else []
        prompts = tuple(asked(prompt, pictures, guesses) for prompt in sample["prompts"])
        stories = tuple(told(rollout, pictures, sample["prompts"][rollout.get("prompt", 0)]) for rollout in kept)
        groups.append(Group(prompts, stories, len(rollouts) - len(kept)))
    return Moment(str(samples[0].get("stage", "")), int(samples[0]["step"]), tuple(groups))


def _ends(items: list[Any], most: int) -> list[Any]:
    """The first and the last of a sorted list, where there are too many."""
    return items if len(items) <= most else items[: most - most // 2] + items[-(most // 2) :]


def _settings(value: Any, path: str = "") -> list[tuple[str, str]]:
    """A configuration's leaves by dotted path."""
    if isinstance(value, Mapping):
        if "function" in value:
            return [(path, str(value["function"]))]
        if "tuple" in value or "dict" in value:
            inner = value.get("tuple", value.get("dict"))
            return _settings(inner, path) or [(path, "(empty)")]
        own = [(f"{path} =" if path else "preset", str(value["class"]))] if "class" in value else []
        found = [
            row
            for key, item in value.items()
            if key != "class"
            for row in _settings(item, f"{path}.{key}" if path else key)
        ]
        return own + found
    if isinstance(value, list):
        if all(not isinstance(item, Mapping | list) for item in value):
            return [(path, ", ".join(map(str, value)) or "(empty)")]
        return [row for i, item in enumerate(value) for row in _settings(item, f"{path}.{i}")]
    return [(path, "(empty)" if value == "" else str(value))]


def _arxiv(number: Any) -> str | None:
    text = str(number or "")
    return text if re.fullmatch(r"\d{4}\.\d{4,5}(v\d+)?", text) else None


def _finite(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
