"""The RL loop on a policy small enough to check by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from letters import Letters, TableModel, TablePolicy, all_right, share_right
from safetensors import SafetensorError
from safetensors.torch import load_file

from gamutrl.cli.train import show_result
from gamutrl.core import Context, Sampling
from gamutrl.environments import looking
from gamutrl.report import write_report
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.training import checkpoint
from gamutrl.training.config import ConfigError, from_json, override, paths, to_json
from gamutrl.training.defaults import KL, ClippedSurrogate, GroupAdvantage, KeepGroups, Reference
from gamutrl.training.evaluation import Evaluation, best_constant, text_only
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preset import Preset
from gamutrl.training.rl import RL
from gamutrl.training.run import Run, _measured_stages, resume, train
from gamutrl.training.schedule import Cosine, Linear, Steps, at
from gamutrl.training.session import Stopped, TrainingError
from gamutrl.training.sft import SFT

ALLOWED = ("gamutrl", "letters")


def preset(**changes) -> Preset:
    stage = RL(
        data=Letters(),
        rewards=(Reward("share", per_rollout(share_right)), Reward("all", per_rollout(all_right), weight=0.5)),
        steps=12,
        prompts_per_step=4,
        group_size=8,
        kl=KL(0.01),
        optimizer=AdamW(lr=0.3, clip_norm=0.0),
    )
    evaluation = Evaluation(
        data=Letters(), metric=Reward("all", per_rollout(all_right)), rows=40, answer_format="{answer}"
    )
    return Preset(TableModel(), (replace(stage, **changes),), evaluation, save_every=4)


def lines(folder: Path, name: str = "metrics.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def without_clock(told: list[dict]) -> list[dict]:
    clocks = ("seconds", "peak_memory_gib", "tokens_per_second")
    return [{k: v for k, v in line.items() if not k.startswith(clocks)} for line in told]


def test_a_run_learns_and_writes_everything(tmp_path):
    run = train(preset(steps=40), tmp_path / "run", seed=1)

    assert run.before.value < 0.3 < 0.9 < run.after.value
    assert run.after.low <= run.after.value <= run.after.high
    assert {path.name for path in run.folder.iterdir()} >= {
        "config.json", "metrics.jsonl", "rollouts.jsonl", "checkpoints", "summary.json", "evaluation", "model",
    }  # fmt: skip
    told = lines(run.folder)
    assert [line["step"] for line in told] == list(range(40))
    assert told[-1]["reward/mean"] > told[0]["reward/mean"]
    for key in ("reward/share", "reward/all", "reward/std", "advantage/std", "loss", "kl", "entropy", "length/mean",
                "groups/without_spread", "seconds/rollout", "seconds/score", "seconds/update", "tokens_per_second",
                "peak_memory_gib"):  # fmt: skip
        assert key in told[0], key
    summary = json.loads((run.folder / "summary.json").read_text())
    assert set(summary["before"]) == {"metric", "value", "low", "high", "rows"}
    assert summary["constant"]["value"] < 0.5
    assert summary["gain"]["low"] > 0
    sample = lines(run.folder, "rollouts.jsonl")[0]
    assert set(sample["rollouts"][0]["rewards"]) == {"total", "share", "all"}


def test_each_stage_that_trains_the_policy_is_measured(tmp_path):
    """Given a warm start before the stage that it is for: what each of them won."""
    begun = replace(preset(steps=3), stages=(SFT(Letters(), steps=6, optimizer=AdamW(lr=0.3)), *preset(steps=3).stages))
    summary = train(begun, tmp_path / "run", seed=1).summary
    first, last = summary["stages"]
    assert (first["stage"], last["stage"]) == ("sft", "rl")
    assert last["measured"] == summary["after"]
    assert first["gain"]["value"] == pytest.approx(first["measured"]["value"] - summary["before"]["value"])
    assert last["gain"]["value"] == pytest.approx(summary["gain"]["value"] - first["gain"]["value"])
    assert len(train(preset(steps=2), tmp_path / "alone").summary["stages"]) == 1


def test_a_run_killed_between_its_stages_measures_what_it_had_not(tmp_path):
    """Given a run that ended while its first stage was measured: resumed, it says what one that went through says."""

    class Killer(Exception):
        pass

    class Watcher:
        def begin(self, stage, steps, done):
            if stage == "evaluate after-sft":
                raise Killer

        def step(self, metrics):
            pass

        def message(self, text):
            pass

        def close(self):
            pass

    begun = replace(preset(steps=3), stages=(SFT(Letters(), steps=6, optimizer=AdamW(lr=0.3)), *preset(steps=3).stages))
    with pytest.raises(Killer):
        train(begun, tmp_path / "killed", watchers=[Watcher()], allowed=ALLOWED)
    again = resume(tmp_path / "killed", allowed=ALLOWED).summary
    assert again["stages"] == train(begun, tmp_path / "whole").summary["stages"]


def test_a_stage_that_trains_another_model_is_not_measured():
    begun = SFT(Letters(), steps=1)
    other = replace(begun, name="reader", trains="reader")
    stages = (begun, other, *preset().stages)
    assert _measured_stages(replace(preset(), stages=stages)) == [begun]


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    whole = train(preset(), tmp_path / "whole", allowed=["letters"])
    program = textwrap.dedent(f"""
        import os, signal, sys
        sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1] / "support")!r}]
        import torch; torch.set_num_threads(1)
        from test_rl import preset
        from gamutrl.training.run import train
        class Killer:
            def begin(self, stage, steps, done): pass
            def step(self, metrics):
                if metrics["step"] == 6: os.kill(os.getpid(), signal.SIGKILL)
            def message(self, text): pass
            def close(self): pass
        train(preset(), {str(tmp_path / "killed")!r}, watchers=[Killer()], allowed=["letters"])
    """)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(lines(tmp_path / "killed")) == 7

    again = resume(tmp_path / "killed", allowed=["letters"])

    assert without_clock(lines(again.folder)) == without_clock(lines(whole.folder))
    assert lines(again.folder, "rollouts.jsonl") == lines(whole.folder, "rollouts.jsonl")
    mine, theirs = (load_file(run.folder / "model" / "model.safetensors") for run in (again, whole))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_first(tmp_path, number):
    class Asker:
        def begin(self, stage, steps, done):
            pass

        def step(self, metrics):
            if metrics["stage"] == "rl" and metrics["step"] == 5:
                os.kill(os.getpid(), number)

        def message(self, text):
            pass

        def close(self):
            pass

    with pytest.raises(Stopped, match=r"stage-00-step-00000[67]"):
        train(preset(), tmp_path / "run", watchers=[Asker()], allowed=["letters"])
    whole = train(preset(), tmp_path / "whole", allowed=["letters"])
    again = resume(tmp_path / "run", allowed=["letters"])
    assert without_clock(lines(again.folder)) == without_clock(lines(whole.folder))


def full(*things, **more):
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_disk_that_fills_up_costs_no_earlier_checkpoint(tmp_path, monkeypatch):
    folder = tmp_path / "run" / "checkpoints"
    checkpoint.write(folder, checkpoint.name_of(0, 4), {"weight": torch.ones(2)}, {"step": 4})
    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(
        checkpoint.CheckpointError, match=r"No space left.*stage-00-step-000004; make room, then"
    ) as told:
        checkpoint.write(folder, checkpoint.name_of(0, 8), {"weight": torch.ones(2)}, {"step": 8})
    assert f"gamut resume {tmp_path / 'run'}" in str(told.value)
    assert [place.name for place in folder.iterdir()] == ["stage-00-step-000004"]


def test_a_disk_that_has_no_room_for_the_model_is_told_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(TablePolicy, "save", full)
    with pytest.raises(TrainingError, match=r"No space left.*make room, then `gamut resume"):
        train(preset(steps=2), tmp_path / "run")


def test_a_checkpoint_that_is_damaged_is_named(tmp_path):
    place = checkpoint.write(tmp_path, checkpoint.name_of(0, 4), {"weight": torch.ones(2)}, {"step": 4})
    (place / "tensors.safetensors").write_bytes(b"no header")
    with pytest.raises(checkpoint.CheckpointError, match=r"stage-00-step-000004 cannot be read"):
        checkpoint.read(place)


def test_a_run_directory_is_never_overwritten(tmp_path):
    train(preset(steps=1), tmp_path / "run")
    with pytest.raises(ConfigError, match="gamut resume"):
        train(preset(steps=1), tmp_path / "run")


def gradient_of(stage: RL, policy: TablePolicy) -> torch.Tensor:
    context = Context(models={"policy": policy}, seed=3)
    batch = policy.rollout(Letters().batch(0, 4, 0), 8, stage.environment, stage.sampling, seed=5)
    batch = stage.with_advantage(stage.score(context, batch), context)
    batch = stage.prepare(stage, batch, context)
    from gamutrl.training.update import forward_parts

    weight_NT = stage.weights(batch)
    policy.module.zero_grad()
    for rows in forward_parts(batch, stage.rows_per_forward):
        terms, _ = stage.loss(policy, batch.take_rows(rows), context)
        (terms * weight_NT[rows]).sum().backward()
    return policy.module.weight.grad.clone()


@pytest.mark.parametrize("over", ["token", "sequence", "group"])
def test_micro_batches_do_not_change_the_gradient(over):
    from gamutrl.training.defaults import ActionWeights

    stage = replace(preset().stages[0], kl=None, weights=ActionWeights(over))
    whole = gradient_of(stage, TablePolicy())
    parts = gradient_of(replace(stage, rows_per_forward=8), TablePolicy())
    assert torch.allclose(whole, parts, atol=1e-7)
    assert whole.abs().max() > 0


def test_the_gradient_is_the_policy_gradient():
    """One action, two outcomes: d/dlogits of mean(A · logp) by hand."""
    policy = TablePolicy(kinds=1, length=1)
    stage = replace(preset().stages[0], kl=None, advantage=GroupAdvantage(scale="none"))
    context = Context(models={"policy": policy})
    prompts = Letters(kinds=1).batch(0, 1, 0)
    batch = policy.rollout(prompts, 8, stage.environment, Sampling(), seed=1)
    reward_R = torch.tensor([float(r.text == "a") for r in batch.rollouts])
    batch = batch.with_(advantage_NT=(reward_R - reward_R.mean())[:, None])
    terms, _ = stage.loss(policy, batch, context)
    terms.mean().backward()
    onehot = torch.stack([torch.nn.functional.one_hot(r.turns[0].tokens_T[0], 8).float() for r in batch.rollouts])
    expected = -((reward_R - reward_R.mean())[:, None] * (onehot - 1 / 8)).mean(0)
    assert torch.allclose(policy.module.weight.grad[0], expected, atol=1e-6)


def test_a_second_update_on_a_batch_clips(tmp_path):
    run = train(preset(updates_per_batch=2, minibatches=2, steps=6, objective=ClippedSurrogate(0.1)), tmp_path / "run")
    told = lines(run.folder)
    assert told[0]["ratio/mean"] != pytest.approx(1.0, abs=1e-6)


def test_references_follow_the_policy(tmp_path):
    policy = TablePolicy()
    policy.keep_reference("slow")
    with torch.no_grad():
        policy.module.weight.add_(1.0)
    Reference("slow", every=1, decay=0.75).follow(policy, Context())
    assert torch.allclose(policy.copies["slow"].weight, torch.full((4, 16), 0.25))


def test_groups_that_teach_nothing_are_dropped_or_sampled_on(tmp_path):
    run = train(preset(select=KeepGroups(), steps=25), tmp_path / "run")
    told = lines(run.folder)
    assert any(line.get("groups/kept", 1) < 1 for line in told)


def nothing_to_learn(text: str) -> float:
    return 1.0


def test_no_group_with_spread_means_no_update(tmp_path):
    rewards = (Reward("flat", per_rollout(nothing_to_learn)),)
    run = train(preset(rewards=rewards, select=KeepGroups(), steps=2, max_draws=3), tmp_path / "run")
    assert all(line["skipped"] for line in lines(run.folder))
    assert torch.equal(load_file(run.folder / "model" / "model.safetensors")["weight"], torch.zeros(4, 16))


def test_broken_weights_are_told_where_they_show_first(tmp_path, monkeypatch):
    rollout = TablePolicy.rollout

    def broken(*given, **settings):
        batch = rollout(*given, **settings)
        batch.logp_sampled_NT[3, 1] = float("nan")
        return batch

    monkeypatch.setattr(TablePolicy, "rollout", broken)
    with pytest.raises(TrainingError, match=r"sampled at step 0 has .* not finite, rows letters/.*weights are broken"):
        train(preset(), tmp_path / "run")


def never_applies(text: str, answer: str) -> float | None:
    return None


def test_a_step_to_which_no_reward_applies_stops_the_run(tmp_path):
    rewards = (Reward("never", per_rollout(never_applies)),)
    with pytest.raises(TrainingError, match=r"No reward applies .* step 0, rows letters/0/.*every one answered NaN"):
        train(preset(rewards=rewards), tmp_path / "run")


def nan_objective(logp_NT, batch, context):
    return logp_NT * float("nan") if context.step == 5 else logp_NT * 0


def test_a_loss_that_is_no_number_stops_with_step_rows_and_checkpoint(tmp_path):
    with pytest.raises(TrainingError) as told:
        train(preset(objective=nan_objective), tmp_path / "run")
    assert "at step 5" in str(told.value)
    assert "letters/5/" in str(told.value)
    assert "stage-00-step-000004" in str(told.value)


def of_letters(text: str, answer: str) -> float | None:
    return share_right(text, answer) if text.isalpha() else None


def test_blind_answers_that_the_measure_does_not_apply_to_are_told_as_none(tmp_path, capsys):
    measured = preset(steps=1)
    metric = Reward("letters", per_rollout(of_letters))
    evaluation = replace(measured.evaluation, metric=metric, constants=("12",), answer_format="{answer}!")

    run = train(replace(measured, evaluation=evaluation), tmp_path / "run")

    text = (run.folder / "summary.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["constant"]["value"] is None
    assert run.summary["constant"]["rows"] == run.summary["text_only"]["rows"] == 0
    assert write_report(run.folder).exists()
    show_result(run)
    assert "best constant answer" in capsys.readouterr().out


def test_the_best_constant_answer_is_one_that_the_measure_applies_to():
    evaluation = replace(preset().evaluation, metric=Reward("letters", per_rollout(of_letters)), constants=("12", "aa"))
    assert best_constant(evaluation)[0] == "aa"


def raising(text: str, kind: int) -> float:
    raise KeyError("no such box") if kind == 2 else ValueError("other")


def test_a_reward_that_raises_is_named_with_its_row(tmp_path):
    with pytest.raises(TrainingError, match=r"Step 0:.*'bad'.*letters/0/.*\. No checkpoint had been saved yet\."):
        train(preset(rewards=(Reward("bad", per_rollout(raising)),)), tmp_path / "run")


def test_two_rewards_of_one_name_are_refused():
    with pytest.raises(ValueError, match="Two rewards are called share"):
        preset(rewards=(Reward("share", per_rollout(share_right)),) * 2)


def test_controls_are_measured_on_the_held_out_rows():
    evaluation = preset().evaluation
    text, found = best_constant(evaluation)
    counts = [prompt.answer for prompt in evaluation.prompts()]
    assert found.value == pytest.approx(max(counts.count(a) for a in set(counts)) / 40)
    assert counts.count(text) == max(counts.count(a) for a in set(counts))
    assert text_only(evaluation).value == 1.0, "the question names the kind, so words alone suffice"


def imitate(prompt, seed) -> str:
    return prompt.answer


def test_supervised_training_imitates(tmp_path):
    stage = SFT(data=Letters(), target=imitate, steps=20, optimizer=AdamW(lr=0.5, clip_norm=0.0))
    run = train(replace(preset(), stages=(stage,)), tmp_path / "run")
    assert run.after.value == 1.0


def test_stages_follow_each_other_and_resume_in_the_right_one(tmp_path):
    sft = SFT(data=Letters(), target=imitate, steps=4, rows_per_step=8, optimizer=AdamW(lr=0.1))
    both = replace(preset(steps=4), stages=(sft, preset(steps=4).stages[0]))
    whole = train(both, tmp_path / "whole", allowed=["letters", "test_rl"])

    class Stop(Exception):
        pass

    class Stopper:
        def begin(self, stage, steps, done):
            pass

        def step(self, metrics):
            if metrics["stage"] == "rl" and metrics["step"] == 1:
                raise Stop

        def message(self, text):
            pass

        def close(self):
            pass

    with pytest.raises(Stop):
        train(both, tmp_path / "cut", watchers=[Stopper()], allowed=["letters", "test_rl"])
    again = resume(tmp_path / "cut", allowed=["letters", "test_rl"])
    assert isinstance(again, Run)
    assert without_clock(lines(again.folder)) == without_clock(lines(whole.folder))
    assert again.summary["wall_seconds"] >= again.summary["training_seconds"]


def test_a_configuration_comes_back_the_same():
    told = json.loads(json.dumps(to_json(preset())))
    assert from_json(told, ALLOWED) == preset()
    with pytest.raises(ConfigError, match="outside of gamutrl"):
        from_json(told)
    with pytest.raises(ConfigError, match="top of a module"):
        to_json(preset(objective=lambda *a: None))


def test_any_field_can_be_set_by_its_dotted_path():
    made = preset()
    assert override(made, "rl.optimizer.lr", "1e-3").stages[0].optimizer.lr == 1e-3
    assert override(made, "stages.0.group_size", "16").stages[0].group_size == 16
    assert override(made, "rl.rewards.all.weight", "0").stages[0].rewards[1].weight == 0.0
    assert override(made, "rl.kl", "none").stages[0].kl is None
    assert override(made, "evaluation.sampling.temperature", "0.7").evaluation.sampling.temperature == 0.7
    assert "stages.rl.kl.weight" in paths(made)
    acting = preset(environment=looking.zoom())
    there = "stages.rl.environment.tools.image_zoom_in_tool.region.longer_than"
    assert paths(acting)[there] == 30
    tool = override(acting, there, "5").stages[0].environment.tools["image_zoom_in_tool"]
    assert tool.region.longer_than == 5
    with pytest.raises(ConfigError, match="did you mean 'image_zoom_in_tool'"):
        override(acting, "rl.environment.tools.image_zom_in_tool.square", "true")
    with pytest.raises(ConfigError, match="did you mean 'group_size'"):
        override(made, "rl.group_siz", "16")
    with pytest.raises(ConfigError, match="not a whole number"):
        override(made, "rl.steps", "many")
    with pytest.raises(ConfigError, match="at least 1"):
        override(made, "rl.group_size", "0")


def test_numbers_follow_progress():
    assert [at(Linear(1, 0), p) for p in (0, 0.5, 1)] == [1, 0.5, 0]
    assert [round(at(Cosine(0.04), p), 4) for p in (0, 0.5, 1)] == [0.04, 0.02, 0]
    assert [at(Steps((0.1, 0.25, 1), (0.85, 0.95, 0.99)), p) for p in (0.1, 0.2, 0.9)] == [0.85, 0.95, 0.99]
