"""Rollouts of several turns with tools: scored as they were sampled, bounded by a budget of tokens, demonstrated."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gamutrl.core import Prompt, Sampling, text
from gamutrl.data.worlds import pages, turns
from gamutrl.environments import Budget, Toolbox, Wish, looking
from gamutrl.environments.calls import ToolCall
from gamutrl.environments.scripted import play

SHORT = Sampling(max_tokens=6)


def always(text: str) -> Wish:
    """Whatever is said, the middle of the page is looked at: a random model makes no calls of its own."""
    return Wish("calls", (ToolCall("image_zoom_in_tool", {"bbox_2d": [20, 20, 50, 50]}),))


@pytest.fixture(scope="module")
def rows() -> list[Prompt]:
    return pages.rows("train", 2, task="digit", side=144)


def zooming(**budget: int) -> Toolbox:
    return replace(looking.zoom(frame=(72, 72), instruction="And?"), read=always, budget=Budget(**budget))


def test_what_was_recorded_turn_by_turn_is_what_one_forward_pass_scores(load, rows):
    policy = load("idefics3")
    batch = policy.rollout(rows, 2, zooming(turns=3), SHORT, seed=0)
    assert all(len(rollout.turns) == 3 for rollout in batch.rollouts)
    assert all(turn.observation for rollout in batch.rollouts for turn in rollout.turns[:-1])
    assert {rollout.turns[-1].info["stop"] for rollout in batch.rollouts} == {"turns"}
    with torch.no_grad():
        logp_NT = policy.log_probs(batch)
    assert torch.allclose(logp_NT[batch.mask_NT], batch.logp_sampled_NT[batch.mask_NT], atol=1e-5, rtol=0)


def test_nothing_is_prefilled_twice_and_a_group_prefills_its_prompt_once(load, rows, monkeypatch):
    """Counted where tokens enter the model: prompts once for all of a group, then what was said last and what came
    back; a token that is sampled enters by itself."""
    policy = load("idefics3")
    entered: list[tuple[int, int]] = []
    through = policy.backbone.hidden

    def hidden(embeds, *rest):
        entered.append(tuple(embeds.shape[:2]))
        return through(embeds, *rest)

    policy._packs  # noqa: B018 - tried out before it is counted
    monkeypatch.setattr(policy.backbone, "hidden", hidden)
    batch = policy.rollout(rows, 3, zooming(turns=3), SHORT, seed=0)
    many = [shape for shape in entered if shape[1] > 1]
    prompts = [len(policy.segments.prompt(row.messages)) for row in rows]
    assert sum(length for n, length in many if n == 1) == sum(prompts)
    turns_of = [rollout.turns for rollout in batch.rollouts]
    for t, (n, width) in enumerate([shape for shape in many if shape[0] > 1]):
        said = [turns[t] for turns in turns_of]
        closed = [int(turn.tokens_T[-1]) in policy.segments.eos for turn in said]
        back = [
            len(policy.segments.observation(turn.observation, turn.observation_role, "", end))
            for turn, end in zip(said, closed)
        ]
        assert (n, width) == (len(said), 1 + max(back))
    assert len([shape for shape in many if shape[0] > 1]) == 2
    assert len(entered) - len(many) <= 3 * SHORT.max_tokens


def test_a_budget_of_tokens_ends_a_rollout_before_anything_is_cut(load, rows):
    policy = load("idefics3")
    free = policy.rollout(rows, 1, zooming(turns=4), SHORT, seed=0)
    bounded = policy.rollout(rows, 1, zooming(turns=4, tokens=30), SHORT, seed=0)
    for long, short in zip(free.rollouts, bounded.rollouts):
        assert len(short.turns) < len(long.turns)
        assert (short.end, short.info["stop"]) == ("budget", "tokens")
        assert torch.equal(short.turns[0].tokens_T, long.turns[0].tokens_T)


def test_demonstrated_turns_are_trained_and_what_came_back_is_not(load, rows):
    policy = load("idefics3")
    target = turns.Demonstration(detour=1.0)
    box = looking.zoom(frame=(72, 72), least=1)
    played = [play(box, row, 0, target(row, 0)) for row in rows]
    assert all(len(one) == 3 and one[-1][1].done for one in played)
    batch = policy.demonstrated(rows, played)
    words = [sum(len(policy.segments.tokens_of(said)) + 1 for said, _ in one) for one in played]
    assert batch.mask_NT.sum(1).tolist() == words
    assert [len(rollout.turns[0].observation) for rollout in batch.rollouts] == [3, 3]
    logp_NT = policy.log_probs(batch)
    assert logp_NT[batch.mask_NT].isfinite().all()
    logp_NT.sum().backward()
    # Blank pictures in the place of the crops change what follows them, and nothing before.
    blank = [[(said, replace(step, parts=step.parts[:1] + step.parts[2:])) for said, step in one] for one in played]
    with torch.no_grad():
        other_NT = policy.log_probs(policy.demonstrated(rows, blank))
    first = len(batch.rollouts[0].turns[0])
    assert torch.allclose(other_NT[0, :first], logp_NT[0, :first], atol=1e-5, rtol=0)
    assert not torch.allclose(other_NT[0, first : words[0]], logp_NT[0, first : words[0]], atol=1e-4, rtol=0)


def test_what_continues_a_turn_is_shown_whole_whatever_it_says(load):
    said = "one¤¤¤two ¤¤¤"
    segments = load("idefics3").segments
    shown = segments.observation((text(said),), "inside")
    assert segments.tokenizer.decode(shown.tokens_L) == said
