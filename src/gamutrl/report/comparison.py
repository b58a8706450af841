"""Runs of several systems beside each other: the numbers, the evidence files, the page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gamutrl.metrics.intervals import paired_difference
from gamutrl.report.history import History
from gamutrl.report.page import fill, write
from gamutrl.report.plots import Interval, Line, interval_chart, line_chart, smooth

FILE = "comparison.json"
Numbers = dict[str, Any]


def collect(folder: Path, systems: Sequence[str], seeds: Sequence[int], baseline: str) -> Numbers:
    """What finished runs in `folder/<system>/seed-<n>/` say, as plain numbers.

    The difference to the baseline is taken seed by seed; its 95% interval is Student's over seeds, or over held-out
    rows (bootstrap) where there is one seed.
    """
    runs = {name: [History.read(folder / name / f"seed-{seed}") for seed in seeds] for name in systems}
    summaries = {name: [_finished(run) for run in histories] for name, histories in runs.items()}
    first = summaries[systems[0]][0]
    arms = {}
    for name in systems:
        after = [summary["after"]["value"] for summary in summaries[name]]
        arms[name] = {
            "before": _mean([summary["before"]["value"] for summary in summaries[name]]),
            "after": _mean(after),
            "after_by_seed": after,
            "gain_by_seed": [summary["gain"]["value"] for summary in summaries[name]],
            "difference": None if name == baseline else _difference(runs[name], runs[baseline]),
            "minutes": _mean([summary["training_seconds"] / 60 for summary in summaries[name]]),
            "steps": summaries[name][0]["steps"],
            "rollouts": (summaries[name][0]["about"] or {}).get("rollouts", 0),
            "change": (summaries[name][0]["about"] or {}).get("change", ""),
        }
    return {
        "baseline": baseline,
        "metric": first["after"]["metric"],
        "rows": first["after"]["rows"],
        "seeds": list(seeds),
        "preset": (first["about"] or {}).get("preset"),
        "model": runs[systems[0]][0].config["preset"]["model"].get("name"),
        "arms": arms,
        **{name: first[name] for name in ("constant", "text_only") if name in first},
        "device": first["device"],
        "versions": first["versions"],
        "commit": first["commit"],
    }


def write_comparison(comparison: Numbers, folder: Path) -> Path:
    """`comparison.json`, what `gamut report` reads again."""
    return write(json.dumps(comparison, ensure_ascii=False, indent=1), folder / FILE)


def write_evidence(comparison: Numbers, folder: Path) -> list[Path]:
    """`<system>.json` for each system but the baseline: what `gamut show` and the docs tell of it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    shared: dict[str, Any] = {
        name: comparison[name]
        for name in ("baseline", "metric", "rows", "seeds", "preset", "model", "constant", "text_only")
        if name in comparison
    }
    for name, arm in comparison["arms"].items():
        if name == comparison["baseline"]:
            continue
        against = comparison["arms"][comparison["baseline"]]
        evidence: dict[str, Any] = {
            "system": name,
            **shared,
            "difference": arm["difference"],
            "shown": bool(arm["difference"]["low"] > 0),
            "before": arm["before"],
            "after_by_seed": arm["after_by_seed"],
            "baseline_after_by_seed": against["after_by_seed"],
            "budget": {"rollouts": arm["rollouts"], "baseline_rollouts": against["rollouts"]},
            "minutes": arm["minutes"],
            "device": comparison["device"],
            "versions": comparison["versions"],
            "commit": comparison["commit"],
        }
        files.append(
            write(json.dumps(evidence, ensure_ascii=False, indent=1) + "\n", folder / f"{name.replace('/', '-')}.json")
        )
    return files


def render(folder: Path) -> str:
    """The page of a comparison's folder."""
    comparison = json.loads((folder / FILE).read_text("utf-8"))
    arms = comparison["arms"]
    runs = {name: [History.read(folder / name / f"seed-{seed}") for seed in comparison["seeds"]] for name in arms}
    # The baseline keeps the grey of "before"; the systems take the palette's other colours.
    palette = iter((0, 2, 3, 4, 5, 6, 7))
    colours = {name: 1 if name == comparison["baseline"] else next(palette, 0) for name in arms}
    curves = []
    for key, title in (
        ("reward/mean", "Reward"),
        ("entropy", "Entropy"),
        ("kl", "KL to the reference"),
        ("length/mean", "Length"),
        ("groups/without_spread", "Groups without spread"),
    ):
        lines = [
            Line(name, smooth(_average([run.series(key) for run in histories])), colours[name])
            for name, histories in runs.items()
        ]
        if any(math.isfinite(value) for line in lines for value in line.values):
            curves.append({"title": title, "note": "mean over seeds", "drawing": line_chart(lines)})
    return fill(
        "comparison.html.j2",
        title=" · ".join(arms),
        folder=folder.name,
        comparison=comparison,
        intervals=interval_chart(_rows(comparison, colours)),
        curves=curves,
    )


def _rows(comparison: Numbers, colours: Mapping[str, int]) -> list[Interval]:
    rows = []
    for name, arm in comparison["arms"].items():
        values = arm["after_by_seed"]
        rows.append(Interval(name, arm["after"], *_student(values), colours[name], True))
    before = next(iter(comparison["arms"].values()))["before"]
    rows.append(Interval("before training", before, math.nan, math.nan, 1))
    if constant := comparison.get("constant"):
        rows.append(Interval("best constant answer", constant["value"], constant["low"], constant["high"], 5))
    return rows


def _difference(runs: Sequence[History], baseline: Sequence[History]) -> Numbers:
    by_seed = [_finished(a)["after"]["value"] - _finished(b)["after"]["value"] for a, b in zip(runs, baseline)]
    if len(by_seed) > 1:
        low, high = _student(by_seed)
        return {"value": _mean(by_seed), "low": low, "high": high, "over": "seeds", "by_seed": by_seed}
    pairs = [
        (before, after)
        for a, b in zip(runs, baseline)
        for before, after in zip((b.after or {})["values"], (a.after or {})["values"])
        if before is not None and after is not None
    ]
    value, low, high = paired_difference([before for before, _ in pairs], [after for _, after in pairs])
    return {"value": value, "low": low, "high": high, "over": "rows", "by_seed": by_seed}


def _student(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95% interval of a mean; (nan, nan) for one value."""
    if len(values) < 2:
        return math.nan, math.nan
    from scipy import stats

    mean = _mean(values)
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return mean - half, mean + half


def _finished(run: History) -> Mapping[str, Any]:
    if run.summary is None:
        raise ValueError(f"{run.folder} is not finished: go on with `gamut resume {run.folder}`, or compare again.")
    return run.summary


def _average(series: Sequence[Sequence[float]]) -> list[float]:
    columns = zip(*series)
    return [_mean([value for value in column if math.isfinite(value)]) for column in columns]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
