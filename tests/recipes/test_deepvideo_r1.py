"""DeepVideo-R1: rewards regressed on log-ratios; hard questions are asked again with a hint, easy ones with noise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from by_hand import Scripted, answered, clip, groups_of, random_model, shades_of, short_run

from gamutrl.core import Context, Prompt
from gamutrl.functional.advantages import group_normalize
from gamutrl.recipes.deepvideo_r1 import RECIPE, RegressedAdvantage, SecondTry
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.table import score
from gamutrl.training.config import from_json, to_json

RIGHT, WRONG = answered("first it waits then it moves right", "A"), answered("no idea", "B")
STAGE = RECIPE.tiny.stages[0]


# The objective


def test_descent_drives_normalised_log_ratios_to_normalised_rewards():
    batch = groups_of([clip(0), clip(1)], [["a", "bb", "ccc", "d"], ["a", "b", "c"]])
    reward_R = torch.tensor([0.0, 1.0, 2.0, 1.5, 3.0, 3.0, 0.0])
    advantage_R = group_normalize(reward_R, batch.group_R, eps=0.0)
    batch = batch.with_(advantage_NT=advantage_R[:, None] * batch.mask_NT, logp_old_NT=torch.zeros(batch.mask_NT.shape))
    logp_NT = (0.1 * torch.randn(batch.mask_NT.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    weight_NT = STAGE.weights(batch)
    optimizer = torch.optim.Adam([logp_NT], lr=0.05)
    for _ in range(500):
        loss = (RegressedAdvantage(eps=1e-6)(logp_NT, batch, Context()) * weight_NT).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ratio_R = (logp_NT.detach() * batch.mask_NT).sum(1).numpy()
    for rows in (slice(0, 4), slice(4, 7)):
        rho, wanted = ratio_R[rows], reward_R[rows].numpy()
        normal = (rho - rho.mean()) / rho.std(ddof=1)
        assert normal == pytest.approx((wanted - wanted.mean()) / wanted.std(ddof=1), abs=1e-3)
    assert loss.item() < 1e-5


def test_the_loss_is_the_mean_square_error_over_rollouts():
    batch = groups_of([clip(0)], [["a", "bcd"]])
    logp_NT = torch.tensor([[0.5, 0.5, 9.0, 9.0], [0.0, 0.0, 0.0, 0.0]]) * batch.mask_NT
    batch = batch.with_(
        advantage_NT=torch.tensor([[1.0], [-1.0]]) * batch.mask_NT, logp_old_NT=torch.zeros(batch.mask_NT.shape)
    )
    predicted = 0.5 / math.sqrt(0.5 + 0.01)
    loss = (RegressedAdvantage(eps=0.01)(logp_NT, batch, Context()) * STAGE.weights(batch)).sum()
    assert loss.item() == pytest.approx((1 - predicted) ** 2, rel=1e-5)


def test_at_the_first_update_the_gradient_is_finite_and_prefers_the_better():
    batch = groups_of([clip(0)], [["ab", "cd"]])
    batch = batch.with_(advantage_NT=torch.tensor([[0.7], [-0.7]]) * batch.mask_NT)
    logp_NT = torch.full(batch.mask_NT.shape, -1.0, requires_grad=True)
    (RegressedAdvantage()(logp_NT, batch, Context()) * STAGE.weights(batch)).sum().backward()
    assert logp_NT.grad.isfinite().all()
    assert (logp_NT.grad[0] < 0).all()
    assert (logp_NT.grad[1] > 0).all()


# The second try


def step(hook: SecondTry, policy: Scripted, prompts: list[Prompt], number: int = 0):
    context = Context(step=number, models={"policy": policy}, seed=1)
    context.score_batch = lambda batch, names: score(STAGE.rewards, batch, context)
    return hook(replace(STAGE, group_size=4), prompts, context), context


def by_difficulty(right: dict[str, int]):
    """Of a question's rollouts the first few are right; whoever is told the answer is always right."""

    def script(prompt: Prompt, k: int) -> str:
        return RIGHT if "The answer is" in prompt.text or k < right[prompt.id] else WRONG

    return Scripted(script)


HARD, USUAL, EASY = (replace(clip(0, 100, 200), id=name) for name in ("hard", "usual", "easy"))


def test_questions_are_asked_again_by_how_hard_they_were():
    hook = SecondTry(hint=0.5, noise=0.4)
    policy = by_difficulty({"hard": 0, "usual": 2, "easy": 4})
    batch, context = step(hook, policy, [USUAL])
    assert batch.prompts == [USUAL]  # Nothing to compare with yet.
    assert hook.recent == [1.5]

    batch, context = step(hook, policy, [HARD, USUAL, EASY], 1)
    asked = {batch.prompts[p].id: batch.prompts[p] for p in batch.prompt_R.tolist()}
    assert asked["usual"] is USUAL
    # A gap of 0.5: half of `hint`, so a quarter of the seven words, rounded up.
    assert asked["hard"].text == f"{HARD.text}\nHint: first it"
    assert shades_of(asked["hard"]) == [0, 100, 200]
    assert asked["easy"].text == EASY.text
    assert shades_of(asked["easy"]) != [0, 100, 200]
    assert [int((batch.prompt_R == p).sum()) for p in batch.prompt_R.unique()] == [4, 4, 4]
    assert hook.recent == [1.5, 1.0, 1.5, 2.0]
    assert context.metrics == {
        "first/reward": 1.5,
        "second/hinted": pytest.approx(1 / 3),
        "second/noisy": pytest.approx(1 / 3),
    }


def test_noise_grows_with_the_gap():
    frame = clip(*[128] * 8)
    spread = {}
    for usual in (1.9, 1.0):
        hook = SecondTry(noise=0.2, tolerance=0.0)
        hook.recent = [usual]
        batch, _ = step(hook, Scripted(lambda prompt, k: RIGHT), [frame])
        pixels = [np.asarray(picture) for picture in batch.prompts[int(batch.prompt_R[0])].media[0].value]
        spread[usual] = np.std(pixels)
    assert spread[1.0] > 4 * spread[1.9] > 0


def test_a_hint_is_text_and_never_a_template():
    policy = Scripted(
        lambda prompt, k: answered("it says {answer} here", "A") if "The answer is" in prompt.text else WRONG
    )
    hook = SecondTry(hint=1.0)
    hook.recent = [2.0]
    batch, _ = step(hook, policy, [HARD])
    assert batch.prompts[-1].text.endswith("Hint: it says {answer} here")


def test_without_a_rationale_the_question_stays_as_it_is():
    hook = SecondTry()
    hook.recent = [2.0]
    batch, _ = step(hook, Scripted(lambda prompt, k: "B"), [HARD])
    assert batch.prompts[-1] is HARD
    assert len(batch.rollouts) == 4


def test_a_second_try_is_counted_with_its_hints():
    assert replace(STAGE, prompts_per_step=2, group_size=8).rollouts_per_step == 2 * (8 + 8 + 4)


def test_the_window_holds_so_many_first_tries_and_is_saved():
    hook = SecondTry(window=3)
    policy = by_difficulty({"hard": 0, "usual": 2, "easy": 4})
    for number in range(3):
        step(hook, policy, [HARD, EASY], number)
    assert hook.recent == [2.0, 1.0, 2.0]
    again = SecondTry(window=3)
    again.load_state_dict(hook.state_dict())
    assert again.recent == hook.recent


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def even(text: str) -> float:
    """A reward that even a random model sometimes earns."""
    return float(len(text) % 2 == 0)


def test_three_steps_on_a_random_model(tmp_path):
    _, lines = short_run(
        RECIPE.tiny,
        tmp_path / "run",
        random_model(tmp_path / "model"),
        steps=3,
        rewards=(Reward("even", per_rollout(even)),),
        rollout=SecondTry(tolerance=0.0, tries=2),
    )
    assert lines[0]["second/hinted"] == lines[0]["second/noisy"] == 0
    assert sum(line["second/hinted"] + line["second/noisy"] for line in lines[1:]) > 0
    assert all(math.isfinite(line["loss"]) for line in lines)
    assert lines[0]["ratio/mean"] == pytest.approx(1, abs=0.5)
