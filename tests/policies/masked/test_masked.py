"""Masked diffusion: answers unmasked in steps, scored along their path or under a mask that is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from gamutrl.core import Batch, Prompt, Sampling, image
from gamutrl.environments import SingleTurn
from gamutrl.policies.masked import MaskedConfig, MaskedPolicy, MaskedSampling, MaskedTransformer
from gamutrl.policies.next_scale import TokenizerConfig
from gamutrl.policies.scoring import entropy

TOKENS = TokenizerConfig(scales=(4,), codes=24, latent=8, channels=16, multipliers=(1, 2), blocks=1, groups=4, patch=2)
CONFIG = MaskedConfig(words=("a", "and", "blue", "circle", "red", "square"), text_length=9, depth=2, width=32, heads=4)
SETTINGS = {
    "plain": MaskedSampling(unmasking=5),
    "from left to right": MaskedSampling(unmasking=8, block=3, schedule="linear"),
    "cooler": MaskedSampling(unmasking=4, temperature=0.7, top_k=9, top_p=0.9, noise=0.0),
    "guided": MaskedSampling(unmasking=4, guidance=3.0),
    "guided only in sampling": MaskedSampling(unmasking=4, guidance=3.0, guidance_train=1.0, temperature=0.8),
    "greedy": MaskedSampling(unmasking=3, temperature=0.0),
    "settings of text": Sampling(),
}


@pytest.fixture
def policy() -> MaskedPolicy:
    torch.manual_seed(0)
    return MaskedPolicy(MaskedTransformer(CONFIG, TOKENS))


@pytest.fixture
def prompts() -> list[Prompt]:
    """Two that ask for pictures, and between them one that asks about a picture."""
    shown = Image.linear_gradient("L").resize((20, 20)).convert("RGB")
    return [
        Prompt.ask("a red circle", id="draw"),
        Prompt.ask("a square?", image(shown), id="say"),
        Prompt.ask("a blue square and a red circle", id="draw more"),
    ]


def act(policy: MaskedPolicy, prompts: list[Prompt], sampling: Sampling, size: int = 2, seed: int = 0) -> Batch:
    return policy.rollout(prompts, size, SingleTurn(), sampling, seed=seed)


# Acting


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_path_is_scored_as_it_was_sampled(policy, prompts, settings):
    batch = act(policy, prompts, SETTINGS[settings])
    assert [row.part for row in batch.rows] == ["image", "image", "text", "text", "image", "image"]
    assert batch.mask_NT.sum(1).tolist() == [16, 16, 8, 8, 16, 16]
    with torch.no_grad():
        assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=1e-5)


def test_fewer_stay_masked_with_each_step_and_blocks_follow_each_other(policy, prompts):
    steps = act(policy, prompts[:1], MaskedSampling(unmasking=4)).rollouts[0].turns[0].step_T
    counts = [int((steps <= step).sum()) for step in range(4)]
    assert counts == MaskedSampling(unmasking=4).revealed(16) == [2, 5, 10, 16]
    blocked = MaskedSampling(unmasking=8, block=4)
    for rollout in act(policy, prompts, blocked).rollouts:
        steps = rollout.turns[0].step_T
        ends = [part.max() for part in steps.split(4)]
        begins = [part.min() for part in steps.split(4)]
        assert all(end < begin for end, begin in zip(ends, begins[1:]))


@pytest.mark.parametrize("slots", [1, 2, 5, 16, 36])
@pytest.mark.parametrize(
    "sampling", [MaskedSampling(unmasking=3), MaskedSampling(unmasking=40), MaskedSampling(block=4)]
)
def test_every_token_is_unmasked_once(sampling, slots):
    counts = sampling.revealed(slots)
    assert counts[-1] == slots
    assert counts == sorted(counts)


def test_what_a_row_samples_does_not_depend_on_its_company(policy, prompts):
    together = act(policy, prompts, MaskedSampling(unmasking=4))
    alone = act(policy, prompts[2:], MaskedSampling(unmasking=4))
    for n in range(2):
        assert torch.equal(alone.rollouts[n].turns[0].tokens_T, together.rollouts[4 + n].turns[0].tokens_T)
    assert not torch.equal(together.rollouts[4].turns[0].tokens_T, together.rollouts[5].turns[0].tokens_T)


def test_answers_are_pictures_or_words(policy, prompts):
    for rollout in act(policy, prompts, MaskedSampling(unmasking=3)).rollouts:
        if rollout.prompt.media:
            assert rollout.output == rollout.text
            assert set(rollout.text.replace(",", "").split()) <= set(CONFIG.words)
        else:
            assert rollout.output.size == (16, 16)


def test_given_answers_are_read_and_have_no_path(policy, prompts):
    picture = Image.new("RGB", (33, 33), (200, 30, 30))
    batch = policy.demonstrated(prompts[:2], [picture, "a red square"])
    assert torch.equal(batch.rollouts[0].turns[0].tokens_T, policy.module.codes([picture])[0])
    assert policy.module.words.spell(batch.rollouts[1].turns[0].tokens_T.tolist()) == "a red square"
    with pytest.raises(ValueError, match="`corrupt` and `score`"):
        policy.log_probs(batch)
    with pytest.raises(TypeError, match="'text'"):
        policy.demonstrated(prompts[1:2], [picture])


# The estimate


def test_masked_tokens_are_scored_given_the_others(policy, prompts):
    batch = act(policy, prompts, MaskedSampling(unmasking=3))
    masked = policy.corrupt(batch, torch.full((6,), 0.5), torch.Generator().manual_seed(1))
    scored = policy.score(batch, masked)
    assert torch.equal(scored != 0, masked)
    turn, row = batch.rollouts[0].turns[0], masked[0, :16]
    layout = policy.module.lay_out(prompts[:1], "image")
    tokens = policy.module.tokens(turn.tokens_T, "image").masked_fill(row, policy.module.mask)
    logp = policy.module.answers(layout.filled(tokens[None]), "image")[0].log_softmax(-1)
    assert torch.allclose(scored[0, :16][row], logp[torch.arange(16), turn.tokens_T][row], atol=1e-5)


def test_a_masked_token_says_nothing_of_itself_to_the_others(policy, prompts):
    batch = act(policy, prompts[:1], MaskedSampling(unmasking=3), size=1)
    masked = torch.zeros(1, 16, dtype=torch.bool)
    masked[0, :8] = True
    before = policy.score(batch, masked)
    batch.rollouts[0].turns[0].tokens_T[0] = (batch.rollouts[0].turns[0].tokens_T[0] + 1) % 24
    after = policy.score(batch, masked)
    assert torch.equal(before[0, 1:], after[0, 1:])
    assert before[0, 0] != after[0, 0]


def test_masks_follow_their_level_and_never_leave_a_row_empty(policy, prompts):
    batch = act(policy, prompts, MaskedSampling(unmasking=2), size=20)
    generator = torch.Generator().manual_seed(0)
    level_N = torch.linspace(0, 1, 60)
    masked = policy.corrupt(batch, level_N, generator)
    assert (masked & ~batch.mask_NT).sum() == 0
    assert (masked.sum(1) >= 1).all()
    assert masked[-1].sum() == 16
    share = masked.sum(1) / batch.mask_NT.sum(1)
    assert torch.corrcoef(torch.stack([share, level_N]))[0, 1] > 0.8
    exact = policy.corrupt(batch, torch.full((60,), 0.5), generator, exact=True)
    assert exact.sum(1).tolist() == (batch.mask_NT.sum(1) // 2).tolist()
    pairs = torch.arange(60) // 2
    shared = policy.corrupt(batch, torch.full((60,), 0.3), generator, shared_N=pairs)
    assert torch.equal(shared[0::2], shared[1::2])


def test_gradients_reach_the_transformer_but_not_the_tokenizer(policy, prompts):
    batch = act(policy, prompts, MaskedSampling(unmasking=3, guidance=2.0))
    policy.log_probs(batch).sum().backward()
    got = {name for name, parameter in policy.module.named_parameters() if parameter.grad is not None}
    assert {"embed.weight", "head.weight", "layers.0.attn.mat_qkv.weight"} <= got
    assert not any(name.startswith("tokenizer") for name in got)


def test_statistics_references_and_folders(policy, prompts, tmp_path: Path):
    batch = act(policy, prompts, MaskedSampling(unmasking=3))
    with torch.no_grad():
        logp, found = policy.log_probs(batch, {"entropy": entropy})
    assert torch.equal(found["entropy"] > 0, batch.mask_NT)
    policy.keep_reference("base")
    policy.save(tmp_path / "model")
    with torch.no_grad():
        policy.module.head.weight.add_(torch.randn_like(policy.module.head.weight))
    assert not torch.allclose(policy.log_probs(batch), logp, atol=1e-2)
    with policy.reference("base"):
        assert torch.allclose(policy.log_probs(batch), logp, atol=1e-6)
    again = MaskedPolicy.load(tmp_path / "model")
    assert torch.allclose(again.log_probs(batch), logp, atol=1e-6)
