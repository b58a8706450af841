"""A batch of every kind, made by hand, through score, combine, advantage, select and loss."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image

from gamutrl.core import Batch, Call, Context, Message, Prompt, Rollout, Row, Turn, audio, image, text, video
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.training.defaults import ActionWeights, KeepGroups
from gamutrl.training.rl import RL, per_action
from gamutrl.training.update import forward_parts, split_groups


def turn(words: str, logps: list[float], **more) -> Turn:
    return Turn(words, words + "</s>", torch.arange(len(logps)), torch.tensor(logps), **more)


def picture() -> Image.Image:
    return Image.new("RGB", (4, 4), "red")


@pytest.fixture
def batch() -> Batch:
    """Six prompts of one group each: plain, several turns with a picture, fresh context, no media, two media, one
    empty."""
    prompts = [
        Prompt.ask("Which colour?", image(picture()), answer="red", id="plain"),
        Prompt.ask("Zoom and tell.", image(picture()), answer="7", id="turns"),
        Prompt.ask("Plan, then draw.", answer="a cat", id="fresh"),
        Prompt.ask("1 + 1?", answer="2", id="words"),
        Prompt.ask("Who speaks?", video([picture()] * 2, fps=2.0), audio([0.0] * 8, 8000), answer="Ann", id="both"),
        Prompt.ask("Say nothing.", answer="", id="empty"),
    ]
    zoomed = turn(
        "<zoom>", [-0.5, -0.25], calls=(Call("crop", {"box": [0, 0, 2, 2]}),), observation=(image(picture()),)
    )
    rollouts = [
        Rollout(prompts[0], [turn("red", [-1.0])]),
        Rollout(prompts[0], [turn("blue", [-2.0, -3.0])]),
        Rollout(prompts[1], [zoomed, turn("7", [-0.1])], end="answer"),
        Rollout(prompts[1], [turn("8", [-0.7])]),
        Rollout(
            prompts[2],
            [turn("a plan", [-1.0] * 3), turn("", [-2.0] * 4, context=(Message("user", (text("draw"),)),))],
            output=picture(),
        ),
        Rollout(prompts[2], [turn("no plan", [-1.5])]),
        Rollout(prompts[3], [turn("2", [-0.2])]),
        Rollout(prompts[3], [turn("2", [-0.2])]),
        Rollout(prompts[4], [turn("Ann", [-0.3])]),
        Rollout(prompts[4], [turn("Bob", [-0.9, -0.1])], end="length"),
        Rollout(prompts[5], [], end="error"),
        Rollout(prompts[5], [], end="budget"),
    ]
    return Batch.of(prompts, rollouts, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])


def right(words: str, answer: str) -> float | None:
    return None if answer == "a cat" else float(words.endswith(answer) and words != "")


REWARDS = (
    Reward("right", per_rollout(right)),
    Reward("short", per_rollout(lambda words: -float(len(words))), weight=0.1),
)


def test_rows_follow_contexts_and_an_empty_rollout_has_none(batch):
    assert [(row.rollout, list(row.turns)) for row in batch.rows] == [
        (0, [0]), (1, [0]), (2, [0, 1]), (3, [0]), (4, [0]), (4, [1]), (5, [0]), (6, [0]), (7, [0]), (8, [0]), (9, [0]),
    ]  # fmt: skip
    assert batch.mask_NT.sum(1).tolist() == [1, 2, 3, 1, 3, 4, 1, 1, 1, 1, 2]
    assert batch.logp_sampled_NT[2, :3].tolist() == pytest.approx([-0.5, -0.25, -0.1])
    assert batch.length_R.tolist() == [1, 2, 3, 1, 7, 1, 1, 1, 1, 2, 0, 0]
    assert batch.prompt_N.tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]


def test_every_kind_goes_through_score_combine_advantage_select_and_loss(batch):
    stage = RL(data=None, rewards=REWARDS, select=KeepGroups(), kl=None)
    context = Context()
    scored = stage.with_advantage(stage.score(context, batch), context)

    assert context.metrics["rollouts/error"] == 1
    assert len(scored.rollouts) == 11
    assert scored.reward("right").nan_to_num(-1).tolist() == [1, 0, 1, 0, -1, -1, 1, 1, 1, 0, 0]
    assert scored["reward_R"][0].item() == pytest.approx(1 - 0.3)
    assert scored["reward_R"][4].item() == pytest.approx(-0.6), "what does not apply adds nothing"
    pair = torch.tensor([0.7, -0.4])
    assert scored["advantage_NT"][0, 0].item() == pytest.approx(
        float((0.7 - pair.mean()) / (pair.std() + 1e-4)), rel=1e-5
    )
    assert scored["advantage_NT"][4, 0] == scored["advantage_NT"][5, 0], "both rows of a rollout inherit its reward"

    kept = stage.select(scored, context)
    assert kept is not None
    assert {p.id for p in (kept.prompts[i] for i in kept.prompt_R.tolist())} == {"plain", "turns", "fresh", "both"}

    logp_NT = kept.logp_sampled_NT.clone().requires_grad_()
    terms_NT = stage.objective(logp_NT, kept, context)
    loss = (terms_NT * ActionWeights("rollout")(kept)).sum()
    loss.backward()
    per_rollout_NT = logp_NT.grad[kept.rollout_N == 4 - 0].abs().sum()
    assert torch.isfinite(loss)
    assert (logp_NT.grad[~kept.mask_NT] == 0).all()
    assert per_rollout_NT > 0


def test_taking_rollouts_keeps_their_rows_and_numbers(batch):
    part = batch.with_(note_N=torch.arange(11.0)).take_rollouts([4, 2])
    assert [rollout.prompt.id for rollout in part.rollouts] == ["fresh", "turns"]
    assert part["note_N"].tolist() == [2, 4, 5]
    assert [row.rollout for row in part.rows] == [1, 0, 0]
    assert part.prompt_N.tolist() == [1, 2, 2]


def test_batches_side_by_side_keep_their_groups_apart(batch):
    both = Batch.concat([batch.take_rollouts([0, 1]), batch.take_rollouts([2, 3, 4])])
    assert len(both.group_R.unique()) == 3
    assert both.mask_NT.shape == (6, 4)
    assert [both.prompts[p].id for p in both.prompt_R.tolist()] == ["plain", "plain", "turns", "turns", "fresh"]
    assert both.logp_sampled_NT[1, :2].tolist() == [-2.0, -3.0]


def test_a_tensor_must_fit_its_name(batch):
    with pytest.raises(ValueError, match="R=12"):
        batch.with_(reward_R=torch.zeros(3))
    with pytest.raises(ValueError, match="end in its axes"):
        batch.with_(reward=torch.zeros(12))
    with pytest.raises(KeyError, match="attached: none"):
        batch["reward_R"]


def test_weights_give_every_unit_the_same_say(batch):
    assert ActionWeights("sequence")(batch).sum(1).tolist() == pytest.approx([1 / 11] * 11)
    by_rollout = batch.rows_to_rollouts(ActionWeights("rollout")(batch).sum(1))
    assert by_rollout[:10].tolist() == pytest.approx([0.1] * 10)
    weight_NT = ActionWeights("token")(batch)
    assert weight_NT[batch.mask_NT].tolist() == pytest.approx([1 / 20] * 20)
    by_turn = ActionWeights("turn")(batch)
    assert by_turn[2, :3].tolist() == pytest.approx([1 / 24, 1 / 24, 1 / 12])


def test_micro_batches_change_no_weight(batch):
    whole = ActionWeights("token")(batch)
    again = torch.zeros_like(whole)
    for rows in forward_parts(batch, limit=3):
        again[rows] = whole[rows]
    assert torch.equal(whole, again)
    sizes = [len(rows) for rows in forward_parts(batch, limit=4)]
    assert sizes == [4, 3, 4], "groups are never split"


def test_minibatches_are_whole_groups(batch):
    parts = list(split_groups(batch, 2, torch.Generator().manual_seed(0)))
    assert sum(len(part.rows) for part in parts) == 11
    assert not set(parts[0].group_N.tolist()) & set(parts[1].group_N.tolist())


def test_an_advantage_of_the_wrong_shape_is_told(batch):
    with pytest.raises(ValueError, match="axes R or NT"):
        per_action(torch.zeros(3), batch)
    assert math.isclose(float(per_action(torch.ones(12), batch).sum()), 20.0)


def test_a_row_can_be_any_part_of_a_rollout(batch):
    tree = Batch.of(
        batch.prompts, batch.rollouts, batch.prompt_R, rows=[Row(2, range(1), "edge"), Row(2, range(1, 2), "edge")]
    )
    assert tree.mask_NT.sum(1).tolist() == [2, 1]
    assert tree.rollout_N.tolist() == [2, 2]


def test_each_use_of_a_batch_may_have_its_own_values(batch):
    shape = (*batch.mask_NT.shape, 2)
    mask_NTU = torch.rand(shape) < 0.5
    batch = batch.with_(mask_NTU=mask_NTU, logp_old_NTU=torch.rand(shape), reward_R=torch.zeros(len(batch.rollouts)))
    for use in range(2):
        used = batch.of_update(use)
        assert torch.equal(used.mask_NT, mask_NTU[..., use])
        assert torch.equal(used["logp_old_NT"], batch["logp_old_NTU"][..., use])
        assert used["reward_R"] is batch["reward_R"]
    assert "logp_old_NT" not in batch
