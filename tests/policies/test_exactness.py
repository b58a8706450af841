"""Sharing a prompt changes nothing: neither in sampling, nor in scoring, nor in the gradient."""

from __future__ import annotations

import warnings

import pytest
import torch
from plainly import picture, plain_log_probs

from gamutrl.core import Message, Prompt, Sampling, image, text, video
from gamutrl.environments import SingleTurn, Step

SHORT = Sampling(max_tokens=8)


class Talk:
    """An environment of many words: a picture as an answer, one within a turn, and a fresh context at the end."""

    def __call__(self, prompt: Prompt, seed: int) -> Talk:
        made = Talk()
        made.turn = 0
        return made

    def step(self, output: str) -> Step:
        self.turn += 1
        if self.turn == 1:
            return Step((text("Look closer: "), image(picture(7, 40, 40))))
        if self.turn == 2:
            return Step((text(" here "), image(picture(9, 20, 60)), text(" so")), role="inside", prefill=" then")
        if self.turn == 3:
            return Step(context=(Message("user", (image(picture(8, 30, 30)), text("And anew?"))),))
        return Step(done=True)


@pytest.mark.parametrize(("left", "right"), [(0, 0), (3, 0), (0, 5)])
def test_log_probs_are_those_of_the_plain_forward(load, family, prompts, left, right):
    policy = load(family)
    batch = policy.rollout(prompts, 2, SingleTurn(), SHORT, seed=0)
    with torch.no_grad():
        logp_NT = policy.log_probs(batch)
        for n, row in enumerate(batch.rows):
            tokens = batch.rollouts[row.rollout].turns[0].tokens_T
            plain = plain_log_probs(policy, prompts[batch.prompt_N[n]], tokens, left, right)
            assert torch.allclose(logp_NT[n, : len(tokens)], plain, atol=1e-5, rtol=0)
    assert policy.exact


def test_gradients_are_those_of_the_plain_forward(load, family, prompts):
    policy = load(family)
    batch = policy.rollout(prompts, 2, SingleTurn(), SHORT, seed=0)
    weight_NT = torch.randn(batch.mask_NT.shape, generator=torch.Generator().manual_seed(0))
    (policy.log_probs(batch) * weight_NT).sum().backward()
    packed = {name: p.grad for name, p in policy.module.named_parameters()}
    policy.module.zero_grad(set_to_none=True)
    for n, row in enumerate(batch.rows):
        tokens = batch.rollouts[row.rollout].turns[0].tokens_T
        (plain_log_probs(policy, prompts[batch.prompt_N[n]], tokens) * weight_NT[n, : len(tokens)]).sum().backward()
    plain = {name: p.grad for name, p in policy.module.named_parameters()}
    # A key's bias has no influence, so its gradient is rounding alone: it is held to the size of the others.
    size = torch.stack([g.norm() for g in plain.values() if g is not None]).median()
    for name, gradient in plain.items():
        if gradient is None:
            assert packed[name] is None or not packed[name].any()
            continue
        assert (packed[name] - gradient).norm() <= 1e-4 * max(gradient.norm(), 0.01 * size), name


def test_what_sampling_records_is_what_scoring_finds(load, family, prompts):
    """Through several turns, with pictures between them, after the prompts were shared and the caches expanded."""
    policy = load(family)
    batch = policy.rollout(prompts, 3, Talk(), Sampling(max_tokens=6, temperature=0.8), seed=1)
    assert len(batch.rows) == 2 * len(batch.rollouts)
    with torch.no_grad():
        assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=2e-5, rtol=0)


def test_the_plain_path_samples_and_scores_the_same(load, family, prompts):
    packed, plain = load(family), load(family)
    plain.backbone.reason = "it is told not to"
    with pytest.warns(UserWarning, match="it is told not to"):
        slow = plain.rollout(prompts, 2, Talk(), Sampling(max_tokens=4), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logp_NT = plain.log_probs(slow)
    fast = packed.rollout(prompts, 2, Talk(), Sampling(max_tokens=4), seed=0)
    assert not plain.exact
    for a, b in zip(slow.rollouts, fast.rollouts):
        assert [turn.tokens_T.tolist() for turn in a.turns] == [turn.tokens_T.tolist() for turn in b.turns]
    assert torch.allclose(logp_NT, packed.log_probs(fast), atol=2e-5, rtol=0)


def test_pictures_count(load, family):
    """The trials above would prove nothing with a model that does not look."""
    policy = load(family)
    a, b = (Prompt.ask("What?", image(picture(seed)), id="x") for seed in (0, 1))
    batch = policy.rollout([a], 1, SingleTurn(), SHORT, seed=0)
    other = policy.rollout([b], 1, SingleTurn(), SHORT, seed=0)
    other.rollouts[0].turns = batch.rollouts[0].turns
    other = type(batch).of([b], other.rollouts, [0])
    assert (policy.log_probs(batch) - policy.log_probs(other)).abs().max() > 1e-3


def test_frames_go_in_as_pictures_without_a_video_processor(load, family):
    policy = load(family)
    frames = [picture(seed, 32, 32) for seed in range(3)]
    clip = Prompt.ask("What happens?", video(frames), id="clip")
    stills = Prompt.ask("What happens?", *(image(frame) for frame in frames), id="clip")
    batches = [policy.rollout([prompt], 2, SingleTurn(), SHORT, seed=0) for prompt in (clip, stills)]
    assert [r.raw_text for r in batches[0].rollouts] == [r.raw_text for r in batches[1].rollouts]


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_a_video_with_its_own_positions(load, family, monkeypatch):
    """Three-axis positions of a clip, whose time axis outgrows its height and width, carry on into the rollouts."""
    policy = load(family)
    backbone = policy.backbone
    patch = 3 * 2 * backbone.config.vision_config.patch_size**2
    grid = torch.tensor([[6, 2, 2]])
    pixels = torch.randn(6 * 4, patch, generator=torch.Generator().manual_seed(0))
    frame = [backbone.video_token]
    spaced = [t for _ in range(6) for t in (5, *frame, 6)] if family == "qwen3_vl" else frame * 6
    tokens = torch.tensor([1, 2, 3, *spaced, 7, 8, 9])
    kind = (tokens == backbone.video_token).long() * 2
    media = {"pixel_values_videos": pixels, "video_grid_thw": grid}
    position, span = backbone.positions(tokens, kind, media)
    segment = type(policy.segments.text(tokens))(tokens, kind, position, span, media)
    monkeypatch.setattr(policy.segments, "prompt", lambda messages, prefill="": segment)
    batch = policy.rollout([Prompt.ask("?", id="clip")], 3, SingleTurn(), SHORT, seed=0)
    with torch.no_grad():
        logp_NT = policy.log_probs(batch)
        assert torch.allclose(logp_NT, batch.logp_sampled_NT, atol=1e-5, rtol=0)
        for n, rollout in enumerate(batch.rollouts):
            said = rollout.turns[0].tokens_T
            whole = torch.cat([tokens, said])[None]
            types = torch.cat([kind, torch.zeros_like(said)])[None]
            logits = policy.model(
                input_ids=whole,
                attention_mask=torch.ones_like(whole),
                mm_token_type_ids=types,
                use_cache=False,
                **media,
            ).logits[0]
            logits[:, policy.segments.banned] = -torch.inf
            plain = logits.log_softmax(-1)[len(tokens) - 1 : -1].gather(1, said[:, None])[:, 0]
            assert torch.allclose(logp_NT[n, : len(said)], plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["smolvlm", "gemma3"])
def test_a_shorter_type_is_near(load, family, prompts):
    """In bfloat16 prompts are expanded to their rows instead of held once: the same, up to rounding."""
    policy = load(family, dtype="bfloat16")
    batch = policy.rollout(prompts, 3, Talk(), Sampling(max_tokens=6), seed=1)
    assert policy.exact
    with torch.no_grad():
        assert (policy.log_probs(batch) - batch.logp_sampled_NT).abs().mean() < 0.05
