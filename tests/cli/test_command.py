"""The command line answers at once, teaches, and fails with a sentence."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gamutrl.cli import main
from gamutrl.cli.command import explain, split_overrides
from gamutrl.cli.errors import UsageError
from gamutrl.training.config import ConfigError
from gamutrl.training.session import Stopped


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["train", "--help"], ["compare", "--help"], ["eval", "--help"]]
)
def test_help_does_not_wait_for_pytorch(words):
    code = (
        "import sys; from gamutrl.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_help_names_every_verb_with_examples(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    for verb in ("demo", "train", "resume", "eval", "compare", "list", "show", "report", "rows", "zoo", "fidelity"):
        assert verb in shown
    assert "gamut train visual-rft" in shown


def test_the_list_holds_every_recipe_and_is_quick_the_second_time(capsys, monkeypatch):
    import gamutrl.cli.catalogue as catalogue

    monkeypatch.setattr(catalogue, "_package_key", lambda: "as it is now")
    assert main(["list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    from gamutrl.recipes.recipe import slugs

    assert [entry["slug"] for entry in entries] == slugs()
    for entry in entries:
        assert {"title", "arxiv", "kind", "policy", "modalities", "stages", "presets", "evidence", "source"} <= set(
            entry
        )
        assert set(entry["presets"]) == {"tiny", "paper"}

    monkeypatch.setattr(catalogue, "_from_recipes", lambda: pytest.fail("the list was made again"))
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == entries


def test_the_list_never_cuts_a_name_short(capsys, monkeypatch):
    import gamutrl.cli.catalogue as catalogue

    monkeypatch.setenv("COLUMNS", "40")
    assert main(["list"]) == 0
    told = capsys.readouterr().out
    for entry in catalogue.catalogue():
        assert entry["slug"] in told
        assert entry["arxiv"] in told


def test_the_list_is_made_again_when_the_package_changes(monkeypatch):
    import gamutrl.cli.catalogue as catalogue

    made = []
    monkeypatch.setattr(catalogue, "_from_recipes", lambda: made.append(1) or [])
    for key in ("a", "a", "b"):
        monkeypatch.setattr(catalogue, "_package_key", lambda key=key: key)
        catalogue.catalogue()
    # An empty list is never taken from the cache, so that a broken one heals.
    assert len(made) == 3


def test_the_list_can_be_narrowed_to_a_kind(capsys):
    assert main(["list", "--kind", "understanding"]) == 0
    assert "visual-rft" in capsys.readouterr().out
    assert main(["list", "--kind", "nonsense"]) == 2


def test_show_tells_the_change_the_formulas_and_both_presets(capsys):
    assert main(["show", "visual-rft"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "Visual-RFT",
        "2503.01785",
        "Formulas",
        "Preset tiny",
        "Preset paper",
        "Evidence",
        "Qwen/Qwen2-VL-2B-Instruct",
    ):
        assert words in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "visul-rft"], "Did you mean visual-rft?"),
        (["train", "visul-rft"], "Did you mean visual-rft?"),
        (["train"], "Name a system"),
        (["trian", "grpo"], "invalid choice"),
        (["train", "grpo", "--sead", "3"], "did you mean --seed?"),
        (["train", "grpo", "--rl.steps"], "needs a value"),
        (["train", "grpo", "--rl.stepz", "3"], "did you mean 'steps'?"),
        (["train", "grpo", "--rl.optimizer.lr", "fast"], "is not a number"),
        (["train", "grpo", "--rl.optimizer.lr", "-1"], "must be positive"),
        (["train", "grpo", "--steps", "0"], "--steps must be at least 1"),
        (["train", "grpo", "--variant", "released"], "variant 'released'"),
        (["train", "grpo", "--model", "var-tiny"], "`gamut train grpo --variant next_scale --model var-tiny` does"),
        (["train", "simplear", "--model", "flow-tiny"], "flow-tiny is of the family flow"),
        (["train", "grpo", "--columns", "prompt=question"], "--data, which is missing"),
        (["train", "grpo", "--data", "x.parquet", "--held-out", "some"], "--held-out takes a share"),
        (["train", "grpo", "--reward", "speed"], "has no reward 'speed'"),
        (["eval", "some/model"], "--system"),
        (["compare", "grpo"], "at least two"),
        (["compare", "grpo", "flow-grpo"], "flow-grpo does not train models of vlm-tiny's family"),
        (["compare", "grpo", "visual-rft", "--baseline", "x"], "none of the systems compared"),
        (["rows"], "Name a world"),
        (["list", "--rl.steps", "3"], "nrecognized arguments"),
    ],
)
def test_a_wrong_usage_is_one_sentence_and_exit_code_2(words, said, capsys):
    assert main(words) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert len(told.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "."], "neither a run directory"),
        (["train", "grpo", "--model", "nowhere"], "There is no model 'nowhere'"),
        (["train", "grpo", "--reward", "nowhere.py:score"], "There is no file nowhere.py"),
        (["rows", "atlantis"], "no world 'atlantis'"),
        (["zoo", "build", "vlm-huge"], "No script builds 'vlm-huge'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_code_1(words, said, capsys):
    assert main(words) == 1
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_debug_shows_where_it_happened(capsys):
    assert main(["report", ".", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("Name a system."), 2, "Name a system."),
        (ConfigError("no field 'x'"), 2, "no field 'x'"),
        (ValueError("Row 3 is bad."), 1, "Row 3 is bad."),
        (KeyError("There is none."), 1, "There is none."),
        (TypeError("unsupported"), 1, "TypeError: unsupported. Run the command again with --debug to see where."),
    ],
)
def test_errors_are_explained(error, code, said):
    assert explain(error) == (said, code)


def test_a_run_that_was_stopped_returns_what_a_shell_expects(tmp_path):
    assert explain(Stopped(15, tmp_path))[1] == 143
    assert explain(Stopped(2, tmp_path))[1] == 130


def test_overrides_are_taken_out_of_the_command_line():
    words = ["train", "grpo", "--rl.kl.weight", "-0.5", "--seed", "1", "--rl.steps=3", "--dry-run"]
    assert split_overrides(words, {"--seed", "--dry-run"}) == (
        ["train", "grpo", "--seed", "1", "--dry-run"],
        [("rl.kl.weight", "-0.5"), ("rl.steps", "3")],
    )
    assert split_overrides(words, None) == (words, [])


def test_help_of_one_system_lists_its_fields_with_their_values(capsys):
    assert main(["train", "visual-rft", "--help"]) == 0
    shown = capsys.readouterr().out
    for field in (
        "--rl.optimizer.lr",
        "--rl.group_size",
        "--rl.rewards.iou.weight",
        "--model.lora",
        "--evaluation.rows",
    ):
        assert field in shown
    assert "examples:" in shown
