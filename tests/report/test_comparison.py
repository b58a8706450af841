"""Runs beside each other: the difference, how sure it is, and the evidence."""

from __future__ import annotations

import json
import shutil

import pytest
from small import edit

from gamutrl.cli.catalogue import evidence_line
from gamutrl.report import write_report
from gamutrl.report.comparison import collect, write_comparison, write_evidence


@pytest.fixture
def arms(learned, collapsed, tmp_path):
    """Two systems with two seeds each: one gains by 0.5 and 0.7 on the other."""
    for name, run, values in (("good", learned, (0.8, 0.9)), ("plain", collapsed, (0.3, 0.2))):
        for seed, value in enumerate(values):
            folder = tmp_path / name / f"seed-{seed}"
            shutil.copytree(run, folder)
            edit(folder / "summary.json", lambda told, value=value: told["after"].update(value=value))
    return tmp_path


def test_the_difference_is_taken_seed_by_seed_with_students_interval(arms):
    comparison = collect(arms, ["good", "plain"], [0, 1], "plain")
    difference = comparison["arms"]["good"]["difference"]
    assert difference["by_seed"] == pytest.approx([0.5, 0.7])
    assert difference["value"] == pytest.approx(0.6)
    # t(0.975, 1 degree of freedom) = 12.7062; the standard error of 0.5 and 0.7 is 0.1.
    assert difference["low"] == pytest.approx(0.6 - 1.27062, abs=1e-4)
    assert difference["high"] == pytest.approx(0.6 + 1.27062, abs=1e-4)
    assert comparison["arms"]["plain"]["difference"] is None


def test_with_one_seed_the_interval_is_over_rows(arms):
    difference = collect(arms, ["good", "plain"], [0], "plain")["arms"]["good"]["difference"]
    assert difference["over"] == "rows"
    assert difference["low"] < difference["value"] < difference["high"]


def test_evidence_says_whether_the_effect_showed(arms):
    comparison = collect(arms, ["good", "plain"], [0, 1], "plain")
    (file,) = write_evidence(comparison, arms / "evidence")
    evidence = json.loads(file.read_text())
    assert file.name == "good.json"
    assert evidence["shown"] is False  # Two seeds are not enough to be sure.
    assert evidence["baseline_after_by_seed"] == [0.3, 0.2]
    assert evidence["versions"]["python"]
    assert evidence_line({"evidence": evidence}).endswith("accuracy against plain, 2 seeds")


def test_the_page_has_every_arm_and_the_numbers(arms):
    comparison = collect(arms, ["good", "plain"], [0, 1], "plain")
    write_comparison(comparison, arms)
    html = write_report(arms).read_text()
    for words in ("good", "plain", "+0.600", "best constant answer", "Reward"):
        assert words in html


def test_an_unfinished_run_is_named(arms):
    (arms / "good" / "seed-1" / "summary.json").unlink()
    with pytest.raises(ValueError, match="seed-1 is not finished"):
        collect(arms, ["good", "plain"], [0, 1], "plain")
