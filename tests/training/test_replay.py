"""Replay: what is kept, what is drawn, and that a resumed run draws the same."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from letters import LETTERS, Letters, TableModel, TablePolicy, all_right
from PIL import Image

from gamutrl.core import Batch, Context, Message, Prompt, Rollout, Sampling, Turn, image, text, video
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.training import checkpoint
from gamutrl.training.defaults import KL
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.optimizer import AdamW
from gamutrl.training.portable import pack_prompt, pack_turn, unpack_prompt, unpack_turn
from gamutrl.training.preset import Preset
from gamutrl.training.replay import Replay, strength
from gamutrl.training.rl import RL, per_action
from gamutrl.training.run import resume, train
from gamutrl.training.session import Stopped


def noise(seed: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@dataclass(frozen=True)
class Pictured:
    """Letters, each row with a picture of its own."""

    def batch(self, index: int, size: int, seed: int) -> list[Prompt]:
        rows = Letters().batch(index, size, seed)
        return [
            Prompt.ask(
                row.text, image(noise(seed * 1000 + index * 10 + i)), answer=row.answer, id=row.id, **row.columns
            )
            for i, row in enumerate(rows)
        ]


def scored(advantage_R: list[float], step: int = 0, policy: TablePolicy | None = None) -> tuple[Batch, Context]:
    """A batch of groups of two with these advantages, and its step's context."""
    policy = policy or TablePolicy()
    batch = policy.rollout(Pictured().batch(step, len(advantage_R) // 2, 0), 2, None, Sampling(), seed=step)
    given_R = torch.tensor(advantage_R)
    batch = batch.with_(reward_R=given_R, reward_RK=given_R[:, None], advantage_NT=per_action(given_R, batch))
    batch.reward_names = ("share",)
    return batch, Context(step=step, steps=100, models={"policy": policy})


def test_with_nothing_kept_the_batch_stays_as_it_is():
    batch, context = scored([1.0, -1.0, 0.0, 0.0])
    out = Replay()(batch, context)
    assert out.rollouts == batch.rollouts
    assert torch.equal(out["logp_old_NT"], batch.logp_sampled_NT)
    assert context.metrics["replay/effective"] == 0.5


def test_rollouts_without_an_advantage_give_way_to_earlier_ones():
    replay = Replay()
    first, context = scored([1.0, -1.0, 0.5, -0.5], step=0)
    replay(first, context)

    second, context = scored([2.0, -2.0, 0.0, 0.0, 0.0, 0.0], step=3)
    out = replay(second, context)

    assert len(out.rollouts) == 6
    assert out.rollouts[:2] == second.rollouts[:2]
    told = {
        rollout.prompt.id + rollout.text: advantage for rollout, advantage in zip(first.rollouts, (1, -1, 0.5, -0.5))
    }
    for r, rollout in enumerate(out.rollouts[2:], start=2):
        assert told[rollout.prompt.id + rollout.text] == out["advantage_NT"][r, 0] == out["reward_R"][r]
        assert torch.equal(out["logp_old_NT"][r], rollout.turns[0].logp_T)
    assert context.metrics["replay/effective_before"] == pytest.approx(1 / 3)
    assert context.metrics["replay/effective"] == 1.0
    assert context.metrics["replay/age"] == 3.0


def test_replayed_rollouts_keep_the_probabilities_they_were_sampled_with():
    policy, replay = TablePolicy(), Replay()
    replay(*scored([1.0, -1.0], step=0, policy=policy))
    torch.nn.init.normal_(policy.module.weight)

    out = replay(*scored([0.0, 0.0], step=1, policy=policy))

    now_NT = policy.log_probs(out)
    assert torch.allclose(out["logp_old_NT"], torch.tensor(1 / len(LETTERS)).log().expand(2, 2))
    assert not torch.allclose(now_NT, out["logp_old_NT"])


def test_what_was_drawn_is_scored_again_where_sampling_did_not_record_it_exactly():
    policy, replay = TablePolicy(), Replay()
    policy.exact = False
    batch, context = scored([1.0, -1.0], policy=policy)
    batch.logp_sampled_NT = torch.full_like(batch.logp_sampled_NT, -9.0)
    out = replay(batch, context)
    assert torch.allclose(out["logp_old_NT"], torch.tensor(1 / len(LETTERS)).log().expand(2, 2))


def test_drawing_is_in_proportion_to_the_advantage():
    replay = Replay()
    replay(*scored([3.0, -1.0]))
    kept = replay.kept
    drawn: Counter[float] = Counter()
    for step in range(1, 2001):
        replay.kept = list(kept)
        drawn[replay._draw(1, Context(step=step))[0].weight] += 1
    assert drawn[3.0] / 2000 == pytest.approx(0.75, abs=0.04)


def test_none_is_drawn_twice_in_a_step():
    replay = Replay()
    replay(*scored([9.0, -0.1]))
    weights = sorted(kept.weight for kept in replay._draw(8, Context(step=1)))
    assert weights == pytest.approx([0.1, 9.0])


def test_the_oldest_leave_first_and_age_has_a_limit():
    replay = Replay(capacity=3, max_age=5)
    replay(*scored([1.0, -1.0], step=0))
    replay(*scored([2.0, -2.0], step=4))
    assert [kept.weight for kept in replay.kept] == [1.0, 2.0, 2.0]
    batch, context = scored([0.0, 0.0, 0.0, 0.0], step=6)
    replay(batch, context)
    assert [kept.step for kept in replay.kept] == [4, 4]
    assert context.metrics["replay/share"] == 0.5


def test_strength_is_the_mean_over_a_rollouts_own_actions():
    turn = Turn("ab", "ab", torch.tensor([0, 1]), torch.zeros(2))
    prompt = Prompt.ask("?")
    batch = Batch.of([prompt], [Rollout(prompt, [turn]), Rollout(prompt, [turn, turn]), Rollout(prompt, [])], [0, 0, 0])
    batch = batch.with_(advantage_NT=torch.tensor([[1.0, -3.0, 9.0, 9.0], [1.0, 1.0, 1.0, -5.0]]))
    assert strength(batch).tolist() == [2.0, 2.0, 0.0]


def saved_and_read(state):
    """Through what a checkpoint does to a state: named tensors and JSON."""
    tensors, skeleton = checkpoint.pack(state, "state")
    return checkpoint.unpack(tensors, json.loads(json.dumps(skeleton)))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "1", "CMYK"])
def test_a_prompt_comes_back_pixel_by_pixel(mode):
    clip = video([noise(2), noise(3)], fps=2.0)
    prompt = Prompt(
        (Message("system", (text("look"),)), Message("user", (image(noise(1, mode)), clip, text("what?\ud800")))),
        answer=[1, {"a": 2.5}],
        columns={"kind": 3, "boxes": np.array([[1, 2]]), "none": None},
        pool="p",
        id="row/1",
    )
    back = unpack_prompt(saved_and_read(pack_prompt(prompt)))
    before, after = prompt.media, back.media
    kept = before[0].value if mode != "CMYK" else before[0].value.convert("RGB")
    assert after[0].value.mode == kept.mode
    assert after[0].value.tobytes() == kept.tobytes()
    assert [frame.tobytes() for frame in after[1].value] == [frame.tobytes() for frame in clip.value]
    assert after[1].info == {"fps": 2.0}
    assert back.text == prompt.text
    assert [m.role for m in back.messages] == ["system", "user"]
    assert (back.answer, back.pool, back.id) == (prompt.answer, "p", "row/1")
    assert back.columns == {"kind": 3, "boxes": [[1, 2]], "none": None}


def test_a_turn_comes_back_with_its_actions_and_what_the_environment_said():
    turn = Turn(
        text="zoom",
        raw_text="zoom<end>",
        tokens_T=torch.tensor([5, 6, 7]),
        logp_T=torch.tensor([-0.1, -0.2, -0.30000001]),
        char_of_T=(0, 2, 4),
        temperature=0.9,
        info={"n": 1},
        context=(Message("user", (text("again"),)),),
        observation=(image(noise(4)), text("here")),
        observation_role="tool",
        prefill="<think>",
        exact=False,
    )
    back = unpack_turn(saved_and_read(pack_turn(turn)))
    assert torch.equal(back.tokens_T, turn.tokens_T)
    assert torch.equal(back.logp_T, turn.logp_T)
    for name in ("text", "raw_text", "char_of_T", "temperature", "observation_role", "prefill", "exact"):
        assert getattr(back, name) == getattr(turn, name)
    assert back.observation[0].value.tobytes() == turn.observation[0].value.tobytes()
    assert back.context[0].text == "again"


def test_the_buffer_comes_back_whole_and_holds_each_prompt_once():
    replay = Replay(capacity=10)
    replay(*scored([1.0, -1.0, 2.0, -2.0]))
    state = replay.state_dict()
    assert len(state["prompts"]) == 2

    again = Replay(capacity=10)
    again.load_state_dict(saved_and_read(state))

    mine, theirs = (one(*scored([0.0] * 4, step=1)) for one in (again, replay))
    assert torch.equal(mine["logp_old_NT"], theirs["logp_old_NT"])
    assert torch.equal(mine["advantage_NT"], theirs["advantage_NT"])
    assert [r.text for r in mine.rollouts] == [r.text for r in theirs.rollouts]
    assert [r.prompt.media[0].value.tobytes() for r in mine.rollouts] == [
        r.prompt.media[0].value.tobytes() for r in theirs.rollouts
    ]


def preset() -> Preset:
    stage = RL(
        data=Pictured(),
        rewards=(Reward("all", per_rollout(all_right)),),
        steps=16,
        prompts_per_step=4,
        group_size=8,
        select=Replay(capacity=24),
        kl=KL(0.01),
        optimizer=AdamW(lr=0.2, clip_norm=0.0),
    )
    evaluation = Evaluation(Letters(), Reward("all", per_rollout(all_right)), rows=20, answer_format="{answer}")
    return Preset(TableModel(), (stage,), evaluation, save_every=4)


def test_a_stopped_run_replays_the_same_rollouts(tmp_path):
    class Asker:
        def begin(self, stage, steps, done):
            pass

        def step(self, metrics):
            if metrics["step"] == 9:
                os.kill(os.getpid(), signal.SIGTERM)

        def message(self, text):
            pass

        def close(self):
            pass

    def told(folder):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        clocks = ("seconds", "peak_memory_gib", "tokens_per_second")
        return [{k: v for k, v in line.items() if not k.startswith(clocks)} for line in lines]

    whole = train(preset(), tmp_path / "whole", allowed=["test_replay", "letters"])
    with pytest.raises(Stopped):
        train(preset(), tmp_path / "stopped", watchers=[Asker()], allowed=["test_replay", "letters"])
    again = resume(tmp_path / "stopped", allowed=["test_replay", "letters"])

    assert told(again.folder) == told(whole.folder)
    shares = [line["replay/share"] for line in told(whole.folder)]
    assert max(shares) > 0
    assert all(line["replay/effective"] >= line["replay/effective_before"] for line in told(whole.folder))
