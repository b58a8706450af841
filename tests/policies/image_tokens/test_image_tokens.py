"""Drawing by image tokens: what is recorded is what is scored, and both are what the library's own model says."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Message, Prompt, Sampling, text
from gamutrl.environments import SingleTurn, Step
from gamutrl.environments.planned import Answer, DrawThenAnswer, PlanThenDraw
from gamutrl.policies.image_tokens import ImageTokenPolicy
from gamutrl.policies.scoring import entropy

PROMPTS = [
    Prompt.ask("a red circle", id="one", prompt="a red circle", question="What color?"),
    Prompt.ask("two blue squares and a circle", id="two", prompt="two blue squares", question="How many?"),
]
SHORT = Sampling(max_tokens=5)
GUIDED = Sampling(max_tokens=5, guidance=3.0, guidance_train=1.0)
TRAINED_GUIDED = Sampling(max_tokens=5, guidance=5.0, temperature_train=5.0)


def plain_logits(policy: ImageTokenPolicy, tokens: Tensor, code_K: Tensor) -> Tensor:
    """The logits of each code after `tokens`, by the library's own forward pass, `[K, size]`."""
    codes, words = policy.codes, policy.model.get_input_embeddings()
    pieces = [words(tokens)]
    for k, code in enumerate(code_K):
        pieces.append(codes.embed(code[None]))
        if codes.line is not None and (k + 1) % codes.row == 0:
            pieces.append(words(torch.tensor([codes.line])))
    embeds = torch.cat(pieces)[None]
    hidden = policy.backbone.language(inputs_embeds=embeds, use_cache=False).last_hidden_state[0]
    place = torch.arange(len(code_K))
    place = place if codes.line is None else place + place // codes.row
    # The token before a code predicts it: the last of the context, a code, or the end of a line.
    return codes.logits(hidden[len(tokens) + place - 1])


def plain_log_probs(
    policy: ImageTokenPolicy, tokens: Tensor, code_K: Tensor, weight: float, temperature: float
) -> Tensor:
    asked = plain_logits(policy, tokens, code_K)
    unasked = plain_logits(policy, policy.codes.unconditional(len(tokens)), code_K)
    logits = (unasked + weight * (asked - unasked)) / temperature
    return logits.log_softmax(-1).gather(1, code_K[:, None])[:, 0]


@pytest.mark.parametrize(("sampling", "weight", "temperature"), [(SHORT, 1, 1), (GUIDED, 1, 1), (TRAINED_GUIDED, 5, 5)])
def test_what_is_recorded_is_what_is_trained(load, family, sampling, weight, temperature):
    policy = load(family)
    batch = policy.rollout(PROMPTS, 3, SingleTurn(), sampling, seed=0)
    logp_NT = policy.log_probs(batch)
    assert logp_NT.shape == (6, policy.codes.count)
    assert {row.part for row in batch.rows} == {"image"}
    assert torch.allclose(logp_NT, batch.logp_sampled_NT, atol=1e-5, rtol=0)
    for n in (0, 4):
        turn = batch.rollouts[n].turns[0]
        tokens = policy.segments.prompt(batch.rollouts[n].prompt.messages, policy.codes.opening).tokens_L
        plain = plain_log_probs(policy, tokens, turn.tokens_T - policy.backbone.words, weight, temperature)
        assert torch.allclose(logp_NT[n], plain, atol=1e-5, rtol=0)


def test_greedy_guided_codes_are_those_of_janus_own_generate(load):
    policy = load("janus")
    batch = policy.rollout(PROMPTS[:1], 1, SingleTurn(), Sampling(temperature=0.0, guidance=3.0), seed=0)
    tokens = policy.segments.prompt(PROMPTS[0].messages, policy.codes.opening).tokens_L[None]
    settings = policy.model.generation_config
    settings.bos_token_id, settings.pad_token_id = (policy.tokenizer.bos_token_id, policy.tokenizer.pad_token_id)
    settings.generation_kwargs = {"boi_token_id": policy.segments.opens}
    own = policy.model.generate(
        tokens, torch.ones_like(tokens), generation_mode="image", do_sample=False, guidance_scale=3.0
    )
    assert torch.equal(own[0], batch.rollouts[0].turns[0].tokens_T - policy.backbone.words)


def test_gradients_are_those_of_the_plain_forward(load, family):
    policy = load(family)
    batch = policy.rollout(PROMPTS[:1], 2, SingleTurn(), TRAINED_GUIDED, seed=0)
    weight_NT = torch.randn(batch.mask_NT.shape, generator=torch.Generator().manual_seed(0))
    (policy.log_probs(batch) * weight_NT).sum().backward()
    ours = {name: p.grad.clone() for name, p in policy.module.named_parameters() if p.grad is not None}
    policy.module.zero_grad(set_to_none=True)
    tokens = policy.segments.prompt(PROMPTS[0].messages, policy.codes.opening).tokens_L
    for n, rollout in enumerate(batch.rollouts):
        code_K = rollout.turns[0].tokens_T - policy.backbone.words
        (plain_log_probs(policy, tokens, code_K, 5.0, 5.0) * weight_NT[n]).sum().backward()
    plain = {name: p.grad for name, p in policy.module.named_parameters() if p.grad is not None}
    assert not any("vqmodel" in name for name in ours)
    size = max(grad.abs().max() for grad in plain.values())
    for name, grad in plain.items():
        assert torch.allclose(ours[name], grad, atol=float(1e-5 * size), rtol=1e-3), name


def test_a_picture_comes_out_and_goes_back_to_its_codes(load, family):
    policy = load(family)
    batch = policy.rollout(PROMPTS, 1, SingleTurn(), SHORT, seed=0)
    pictures = [rollout.output for rollout in batch.rollouts]
    assert all(isinstance(picture, Image.Image) and picture.size[0] >= 24 for picture in pictures)
    code_BK = policy.codes.encode(pictures)
    assert code_BK.shape == (2, policy.codes.count)
    assert int(code_BK.max()) < policy.codes.size
    shown = policy.demonstrated(PROMPTS, pictures)
    assert torch.equal(shown.rollouts[1].turns[0].tokens_T - policy.backbone.words, code_BK[1])
    assert policy.log_probs(shown).shape == (2, policy.codes.count)


@pytest.mark.parametrize("sampling", [SHORT, GUIDED])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_plan_and_its_picture_are_one_rollout_of_two_rows(load, family, fresh, sampling):
    policy = load(family)
    batch = policy.rollout(PROMPTS, 3, PlanThenDraw(fresh=fresh), sampling, seed=1)
    assert [row.part for row in batch.rows] == ["text", "image"] * 6
    assert all(isinstance(rollout.output, Image.Image) for rollout in batch.rollouts)
    with torch.no_grad():
        logp_NT = policy.log_probs(batch)
    assert torch.allclose(logp_NT, batch.logp_sampled_NT, atol=1e-5, rtol=0)
    rollout = batch.rollouts[4]
    plan, picture = rollout.turns
    if fresh:
        said = f"two blue squares. {plan.text.strip()}"
        tokens = policy.segments.prompt([Message("user", (text(said),))], policy.codes.opening).tokens_L
    else:
        tokens = policy.segments.prompt(rollout.prompt.messages).tokens_L
        opened = int(plan.tokens_T[-1]) == policy.segments.opens
        opening = policy.segments.opening_rest if opened else policy.codes.opening
        tokens = torch.cat([tokens, plan.tokens_T, policy.segments.tokens_of(opening)])
    plain = plain_log_probs(policy, tokens, picture.tokens_T - policy.backbone.words, 1.0, 1.0)
    assert torch.allclose(logp_NT[9], plain, atol=1e-5, rtol=0)


def test_it_looks_at_what_it_drew(load):
    policy = load("janus")
    batch = policy.rollout(PROMPTS, 2, DrawThenAnswer(), SHORT, seed=0)
    assert [row.part for row in batch.rows] == ["image", "text"] * 4
    assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=1e-5, rtol=0)
    rollout = batch.rollouts[0]
    assert isinstance(rollout.output, Image.Image)
    assert rollout.text == rollout.turns[1].text


def test_words_alone_are_the_text_policys(load):
    policy = load("janus")
    batch = policy.rollout(PROMPTS, 2, Answer(), SHORT, seed=0)
    assert [row.part for row in batch.rows] == ["text"] * 4
    logp_NT, values = policy.log_probs(batch, {"entropy": entropy})
    assert torch.allclose(logp_NT, batch.logp_sampled_NT, atol=1e-5, rtol=0)
    assert bool((values["entropy"][batch.mask_NT] > 0).all())


class Either:
    """The first turn of a rollout is words; then every second rollout draws while the others go on writing."""

    makes = "text"

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, prompt: Prompt, seed: int) -> Either._Episode:
        self.count += 1
        return self._Episode(self.count % 2)

    class _Episode:
        def __init__(self, draws: int) -> None:
            self.draws, self.turn = draws, 0

        def step(self, output: object) -> Step:
            self.turn += 1
            if self.turn == 1:
                return Step(role="inside", makes="image") if self.draws else Step((text("More."),))
            return Step(done=True)


def test_some_draw_while_others_write(load, family):
    policy = load(family)
    batch = policy.rollout(PROMPTS, 2, Either(), GUIDED, seed=0)
    assert [row.part for row in batch.rows] == ["text", "image", "text", "text"] * 2
    assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=1e-5, rtol=0)


def test_what_a_row_draws_does_not_depend_on_who_else_draws(load, family):
    policy = load(family)
    together = policy.rollout(PROMPTS, 2, SingleTurn(), GUIDED, seed=3)
    alone = policy.rollout(PROMPTS[1:], 2, SingleTurn(), GUIDED, seed=3)
    assert torch.equal(together.rollouts[3].turns[0].tokens_T, alone.rollouts[1].turns[0].tokens_T)


def test_a_demonstrated_plan_runs_on_into_its_picture(load, family):
    policy = load(family)
    picture = Image.new("RGB", (32, 32), (220, 40, 40))
    batch = policy.demonstrated(PROMPTS, [("red circle top left", picture), ("blue square", picture)])
    assert [row.part for row in batch.rows] == ["text", "image"] * 2
    tokens = policy.segments.prompt(PROMPTS[0].messages).tokens_L
    plan, drawn = batch.rollouts[0].turns
    tokens = torch.cat([tokens, plan.tokens_T, policy.segments.tokens_of(policy.segments.opening_rest)])
    plain = plain_log_probs(policy, tokens, drawn.tokens_T - policy.backbone.words, 1.0, 1.0)
    assert torch.allclose(policy.log_probs(batch)[1, : len(plain)], plain, atol=1e-5, rtol=0)


def test_statistics_are_of_the_guided_distribution(load):
    policy = load("janus")
    batch = policy.rollout(PROMPTS[:1], 2, SingleTurn(), TRAINED_GUIDED, seed=0)
    _, values = policy.log_probs(batch, {"entropy": entropy})
    tokens = policy.segments.prompt(PROMPTS[0].messages, policy.codes.opening).tokens_L
    code_K = batch.rollouts[0].turns[0].tokens_T - policy.backbone.words
    asked = plain_logits(policy, tokens, code_K)
    unasked = plain_logits(policy, policy.codes.unconditional(len(tokens)), code_K)
    logp = ((unasked + 5 * (asked - unasked)) / 5).log_softmax(-1)
    assert torch.allclose(values["entropy"][0], -(logp.exp() * logp).sum(-1), atol=1e-4)


def test_a_model_that_does_not_draw_is_refused(load):
    policy = load("janus")
    policy.model.config.model_type, before = "llama", policy.model.config.model_type
    try:
        with pytest.raises(ValueError, match="does not draw by image tokens"):
            ImageTokenPolicy(policy.model, policy.processor)
    finally:
        policy.model.config.model_type = before


def test_saved_and_loaded_it_is_the_same(load, tmp_path):
    policy = load("janus")
    batch = policy.rollout(PROMPTS, 1, SingleTurn(), SHORT, seed=0)
    policy.save(tmp_path)
    again = ImageTokenPolicy.load(tmp_path, freeze=("vision", "connector", "generation"))
    assert torch.allclose(again.log_probs(batch), policy.log_probs(batch), atol=1e-6)
    assert {name.split(".")[1] for name, p in again.module.named_parameters() if p.requires_grad} <= {
        "language_model",
        "weight",
    }
