"""Every verb, for real, on a random model of a few thousand parameters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from small import SMALL

from gamutrl.cli import main


def test_train_leaves_a_whole_run_directory(finished):
    for name in (
        "config.json",
        "metrics.jsonl",
        "rollouts.jsonl",
        "summary.json",
        "report.html",
        "checkpoints",
        "model",
    ):
        assert (finished / name).exists(), name
    summary = json.loads((finished / "summary.json").read_text())
    for part in ("before", "after", "constant"):
        assert {"metric", "value", "low", "high", "rows"} <= set(summary[part])
    assert summary["seed"] == 3
    assert summary["about"]["system"] == "grpo"


def test_a_finished_run_is_not_trained_again(finished, capsys):
    before = (finished / "metrics.jsonl").read_text()
    assert main(["resume", str(finished)]) == 0
    assert "finished already" in capsys.readouterr().err
    assert (finished / "metrics.jsonl").read_text() == before


def test_training_into_a_folder_that_holds_a_run_is_refused(finished, model, capsys):
    assert main(["train", "grpo", "--model", str(model), "--out", str(finished)]) == 2
    assert "gamut resume" in capsys.readouterr().err
    assert (finished / "summary.json").exists()


def test_a_run_with_a_reward_of_ones_own_goes_on_only_when_told_where_it_is(finished, tmp_path, capsys):
    import shutil

    run = shutil.copytree(finished, tmp_path / "run")
    (run / "summary.json").unlink()
    sys.modules.pop("short_reward", None)
    assert main(["resume", str(run)]) == 2
    told = capsys.readouterr().err
    assert "If you trust them" in told
    words = told.split("gamut resume ", 1)[1].split()
    assert main(["resume", *words]) == 0
    assert (run / "summary.json").exists()


def test_a_configuration_that_is_not_json_is_named(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{")
    assert main(["resume", "run"]) == 2
    assert "run/config.json is not valid JSON" in capsys.readouterr().err


def test_eval_measures_the_model_of_a_run(finished, tmp_path, capsys):
    sys.modules.pop("short_reward", None)
    assert main(["eval", str(finished)]) == 2
    _, _, reward = capsys.readouterr().err.strip().rpartition(f"gamut eval {finished} ")
    words = [
        "eval",
        str(finished),
        *reward.split(),
        "--metric",
        "format",
        "--rows",
        "3",
        "--json",
        "--out",
        "kept",
    ]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"]["metric"] == "format"
    assert told["model"]["rows"] == 3
    assert (tmp_path / "kept" / "evaluation" / "eval.json").exists()


def test_eval_says_of_a_measure_that_it_applies_to_no_row(model, tmp_path, capsys):
    (tmp_path / "never.py").write_text("def never(completions, **columns):\n    return [None for _ in completions]\n")
    words = ["eval", str(model), "--system", "grpo", "--metric", "never.py:never", "--rows", "3"]
    words.append("--evaluation.sampling.max_tokens=6")
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "applies to no row" in told
    assert "nan" not in told
    assert main([*words, "--json"]) == 0
    model_value = json.loads(capsys.readouterr().out)["model"]
    assert (model_value["value"], model_value["rows"]) == (None, 0)


def test_report_can_be_written_again(finished, tmp_path, capsys):
    assert main(["report", str(finished), "--out", "page.html"]) == 0
    assert "page.html" in capsys.readouterr().out
    assert "format" in (tmp_path / "page.html").read_text()


def test_a_dry_run_checks_everything_and_trains_nothing(model, tmp_path, capsys):
    assert main(["train", "visual-rft", "--model", str(model), "--dry-run"]) == 0
    told = capsys.readouterr().out
    for words in ("rl.optimizer.lr", "✓ configuration", "✓ rows", "✓ rewards", "✓ model", "✓ memory", "tokens", "GiB"):
        assert words in told
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_says_what_is_wrong_with_the_rows(model, tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text('{"question": "How many?", "answer": 3}\n' * 20)
    words = ["train", "grpo", "--model", str(model), "--data", "rows.jsonl", "--columns", "prompt=quest,answer=answer"]
    assert main([*words, "--dry-run"]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "✗ rows" in told
    assert "question" in told
    assert "– rewards not scored: no rows were read" in told


def test_rows_that_are_left_out_are_counted_and_listed(model, tmp_path, capsys):
    rows = [{"question": "How many?" if n % 5 else "", "answer": "3"} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    small = ["--steps", "1", "--rl.prompts_per_step", "2", "--rl.group_size", "2", "--evaluation.rows", "2"]
    words = ["train", "grpo", "--model", str(model), "--data", "rows.jsonl", "--on-bad-row", "skip", "--out", "run"]
    assert main([*words, *small]) == 0
    assert "4 bad rows are left out" in " ".join(capsys.readouterr().err.split())
    left_out = json.loads((tmp_path / "run" / "summary.json").read_text())["left_out"]
    assert [row["row"] for row in left_out] == [0, 5, 10, 15]
    assert left_out[0] == {"file": "rows.jsonl", "row": 0, "reason": "the prompt is empty."}


def test_a_dry_run_says_that_no_prompt_asks_for_the_layout_that_is_paid_for(model, tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text('{"question": "How many?", "answer": 3}\n' * 20)
    words = ["train", "grpo", "--model", str(model), "--data", "rows.jsonl", "--dry-run"]
    assert main(words) == 0
    assert "accuracy, format pay less for the same answers without <think></think><answer>" in capsys.readouterr().out
    assert main([*words, "--columns", "prompt={question} Reply <think></think><answer></answer>."]) == 0
    assert "pay less" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ("g1", ("✗ environment", "no column 'state'", "✗ rewards", "it needs 'facts', 'state'; the rows have: quest")),
        ("active-o3", ("✗ environment", "there is no image")),
        ("vrag-rl", ("✗ environment", "vrag/pages holds no pictures of", "environment.tools.search.pages.folder")),
    ],
)
def test_a_dry_run_begins_an_episode_of_every_row(system, said, model, tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text('{"question": "How many?", "answer": 3}\n' * 20)
    words = ["train", system, "--preset", "paper", "--model", str(model), "--data", "rows.jsonl", "--dry-run"]
    assert main(words) == 1
    told = " ".join(capsys.readouterr().out.split())
    for words in said:
        assert words in told


def test_a_dry_run_looks_for_the_device(model, capsys, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["train", "grpo", "--model", str(model), "--model.device", "cuda", "--dry-run"]) == 1
    assert "PyTorch sees no CUDA device" in capsys.readouterr().out


def test_a_reward_that_hangs_on_held_out_rows_is_named(model, tmp_path, capsys):
    (tmp_path / "rewards_that_hang.py").write_text(
        "import time\n\ndef hangs(rollouts):\n    while True:\n        time.sleep(0.01)\n"
    )
    words = ["train", "grpo", "--model", str(model), "--out", "run", *SMALL]
    words += ["--reward", "rewards_that_hang.py:hangs", "--reward-timeout", "0.2"]
    assert main(words) == 1
    assert "The reward 'hangs' did not answer within 0.2 s (--reward-timeout), at row" in capsys.readouterr().err
    assert main([*words[:-1], "0"]) == 2
    assert "seconds above 0" in capsys.readouterr().err


def test_a_failure_before_the_first_step_leaves_no_empty_run(tmp_path, capsys):
    assert main(["train", "grpo", "--model", str(tmp_path / "no-model"), "--out", "run"]) == 1
    assert "can't be loaded" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_rows_shows_what_a_policy_would_get(tmp_path, capsys):
    assert main(["rows", "digits", "--task", "sum", "--rows", "2"]) == 0
    told = capsys.readouterr().out
    assert "<image 72" in told
    assert "answer:" in told
    assert main(["rows", "digits", "--task", "sum", "--rows", "2", "--html", "rows.html"]) == 0
    assert (tmp_path / "rows.html").read_text().count("<image ") == 2


def test_compare_trains_each_system_and_writes_evidence(model, tmp_path, capsys):
    words = [
        "compare",
        "visual-rft",
        "grpo",
        "--seeds",
        "1",
        "--steps",
        "1",
        "--model",
        str(model),
        "--out",
        "both",
        *SMALL,
    ]
    assert main(words) == 0
    evidence = json.loads((tmp_path / "both" / "evidence" / "visual-rft.json").read_text())
    assert evidence["baseline"] == "grpo"
    assert set(evidence["difference"]) >= {"value", "low", "high"}
    assert evidence["budget"]["rollouts"] == evidence["budget"]["baseline_rollouts"]
    assert "visual-rft" in (tmp_path / "both" / "report.html").read_text()
    metrics = tmp_path / "both" / "grpo" / "seed-0" / "metrics.jsonl"
    written = metrics.stat().st_mtime_ns
    assert main(words) == 0
    assert metrics.stat().st_mtime_ns == written, "finished runs are kept"
    words[words.index("--steps") + 1] = "2"
    assert main(words) == 2, "runs of other settings are not mixed with new ones"
    assert "other settings" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_is_terminated_saves_and_can_be_resumed(model, tmp_path):
    run = tmp_path / "run"
    words = ["train", "grpo", "--model", str(model), "--out", str(run), "--steps", "200", *SMALL]
    process = subprocess.Popen(
        [sys.executable, "-m", "gamutrl.cli", *words], env={**os.environ}, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "gamut resume" in told
    assert list((run / "checkpoints").glob("stage-*"))
