"""Next-scale models: tokens of a scale at once, scored as they were drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gamutrl.core import Batch, Prompt, Sampling
from gamutrl.environments import SingleTurn
from gamutrl.policies.next_scale import NextScale, NextScalePolicy, TokenizerConfig, TransformerConfig
from gamutrl.policies.scoring import entropy

TOKENS = TokenizerConfig(
    scales=(1, 2, 4), codes=24, latent=8, channels=16, multipliers=(1, 2), blocks=1, groups=4, patch=2
)
WORDS = ("a", "and", "blue", "circle", "red", "square")
TEXT = TransformerConfig(depth=2, width=32, heads=4, shared=True, words=WORDS, text_length=8, text_depth=1)
CLASSES = TransformerConfig(depth=2, width=32, heads=4, classes=5)

GUIDED = Sampling(guidance=3.0)
SETTINGS = {
    "plain": Sampling(),
    "cooler": Sampling(temperature=0.7, top_k=9, top_p=0.9),
    "guided": GUIDED,
    "guided only in sampling": Sampling(guidance=3.0, guidance_train=1.0, temperature=0.8, temperature_train=1.0),
    "greedy": Sampling(temperature=0.0),
}


def policy(config: TransformerConfig = TEXT, **options) -> NextScalePolicy:
    torch.manual_seed(0)
    return NextScalePolicy(NextScale(TOKENS, config), **options)


@pytest.fixture
def prompts() -> list[Prompt]:
    asked = ("a red circle", "a blue square and a red circle", "something unheard of")
    return [Prompt.ask(text, id=text, label=n) for n, text in enumerate(asked)]


def draw(policy: NextScalePolicy, prompts: list[Prompt], sampling: Sampling, size: int = 2, seed: int = 0) -> Batch:
    return policy.rollout(prompts, size, SingleTurn(), sampling, seed=seed)


# Tokens


def test_a_picture_is_the_sum_of_its_scales():
    tokenizer = policy().module.tokenizer
    picture = torch.rand(3, 3, 16, 16) * 2 - 1
    feature = tokenizer.features(picture)
    codes = tokenizer.encode(picture)
    assert codes.shape == (3, TOKENS.tokens) == (3, 21)
    rest = feature
    for k, code in enumerate(tokenizer.quantize.split(codes)):
        side = TOKENS.scales[k]
        small = torch.nn.functional.adaptive_avg_pool2d(rest, side).flatten(2).mT
        distance = torch.cdist(small, tokenizer.quantize.embedding.weight.expand(3, -1, -1))
        assert torch.equal(distance.argmin(-1), code)
        rest = rest - tokenizer.quantize.part(code, k)
    assert torch.allclose(tokenizer.quantize.total(codes), feature - rest, atol=1e-6)
    assert tokenizer.decode(codes).shape == picture.shape


def test_a_scale_is_predicted_from_those_before_it_only():
    model = policy().module
    condition = policy().conditions([Prompt.ask("a red circle")])
    codes = torch.randint(24, (1, 21))
    changed = codes.clone()
    changed[0, 5:] = torch.randint(24, (16,))  # The last scale.
    one, other = (model.transformer(model.tokenizer.quantize.inputs(c), condition) for c in (codes, changed))
    assert torch.equal(one, other)
    changed[0, 1] += 1
    third = model.transformer(model.tokenizer.quantize.inputs(changed % 24), condition)
    assert torch.equal(one[:, :5], third[:, :5])
    assert not torch.allclose(one[:, 5:], third[:, 5:])


# Acting and scoring


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("actions", ["scale", "token"])
@pytest.mark.parametrize("config", [TEXT, CLASSES], ids=["text", "classes"])
def test_scoring_finds_what_sampling_recorded(prompts, settings, actions, config):
    drawing = policy(config, actions=actions)
    batch = draw(drawing, prompts, SETTINGS[settings])
    assert batch.mask_NT.shape == (6, 3 if actions == "scale" else 21)
    with torch.no_grad():
        assert torch.allclose(drawing.log_probs(batch), batch.logp_sampled_NT, atol=1e-5)


def test_a_scale_counts_as_all_its_tokens(prompts):
    whole, single = (draw(policy(actions=actions), prompts, GUIDED) for actions in ("scale", "token"))
    parts = single.logp_sampled_NT.split([1, 4, 16], 1)
    assert torch.allclose(whole.logp_sampled_NT, torch.stack([part.sum(1) for part in parts], 1), atol=1e-5)
    assert torch.equal(whole.rollouts[3].turns[0].codes, single.rollouts[3].turns[0].codes)


def test_what_a_row_draws_does_not_depend_on_its_company(prompts):
    drawing = policy()
    together = draw(drawing, prompts, GUIDED)
    alone = draw(drawing, prompts[1:2], GUIDED)
    for n in range(2):
        assert torch.equal(alone.rollouts[n].turns[0].codes, together.rollouts[2 + n].turns[0].codes)
    assert not torch.equal(together.rollouts[0].turns[0].codes, together.rollouts[1].turns[0].codes)
    again = draw(drawing, prompts, GUIDED, seed=1)
    assert not torch.equal(again.rollouts[0].turns[0].codes, together.rollouts[0].turns[0].codes)


def test_guidance_grows_from_none_at_the_first_scale(prompts):
    drawing = policy(actions="token")
    batch = draw(drawing, prompts, Sampling())
    guided = draw(drawing, prompts, GUIDED)
    first, last = [rollout.turns[0].codes[0] for rollout in batch.rollouts], batch.logp_sampled_NT
    assert first == [rollout.turns[0].codes[0] for rollout in guided.rollouts]
    assert torch.allclose(guided.logp_sampled_NT[:, 0], last[:, 0], atol=1e-5)
    assert not torch.allclose(guided.logp_sampled_NT[:, 5:], last[:, 5:], atol=1e-2)


def test_pictures_come_out_and_a_given_one_is_scored(prompts):
    drawing = policy()
    batch = draw(drawing, prompts, Sampling(), size=1)
    assert [rollout.output.size for rollout in batch.rollouts] == [(16, 16)] * 3
    shown = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    given = drawing.demonstrated(prompts[:1], [shown])
    assert given.mask_NT.all()
    assert (drawing.log_probs(given) < 0).all()
    with pytest.raises(TypeError, match="shown pictures"):
        drawing.demonstrated(prompts[:1], ["a text"])


def test_gradients_reach_the_transformer_and_the_words_but_not_the_tokenizer(prompts):
    drawing = policy()
    drawing.log_probs(draw(drawing, prompts, GUIDED)).sum().backward()
    got = {name for name, parameter in drawing.module.named_parameters() if parameter.grad is not None}
    assert not any(name.startswith("tokenizer") for name in got)
    assert {"transformer.head.weight", "transformer.text.embed.weight", "transformer.word_embed.weight"} <= got


def test_the_gradient_is_that_of_small_differences(prompts):
    drawing = policy(actions="token")
    batch = draw(drawing, prompts[:1], Sampling(), size=1)
    weight = drawing.module.transformer.head.bias
    drawing.log_probs(batch).sum().backward()
    code, step = int(batch.rollouts[0].turns[0].codes[0]), 1e-2
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            weight[code] += sign * step
            values.append(float(drawing.log_probs(batch).double().sum()))
            weight[code] -= sign * step
    assert float(weight.grad[code]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=2e-2, abs=1e-3)


def test_statistics_are_of_the_distribution_that_is_trained(prompts):
    drawing = policy(actions="token")
    batch = draw(drawing, prompts, Sampling(temperature=0.5))
    with torch.no_grad():
        logp_NT, found = drawing.log_probs(batch, {"entropy": entropy})
        whole = policy(actions="scale")
        _, by_scale = whole.log_probs(draw(whole, prompts, Sampling(temperature=0.5)), {"entropy": entropy})
    assert torch.allclose(logp_NT, drawing.log_probs(batch))
    assert (found["entropy"] > 0).all()
    assert (found["entropy"] < np.log(24)).all()
    assert torch.allclose(by_scale["entropy"][:, 2], found["entropy"][:, 5:].sum(1), rtol=1e-4)


def test_references_and_folders(prompts, tmp_path: Path):
    drawing = policy()
    batch = draw(drawing, prompts, GUIDED)
    before = drawing.log_probs(batch).detach()
    drawing.keep_reference("base")
    drawing.save(tmp_path / "model")
    with torch.no_grad():
        drawing.module.transformer.head.weight.mul_(-3)
    assert not torch.allclose(drawing.log_probs(batch), before, atol=1e-2)
    with drawing.reference("base"):
        assert torch.allclose(drawing.log_probs(batch), before, atol=1e-6)
    again = NextScalePolicy.load(tmp_path / "model")
    assert torch.allclose(again.log_probs(batch), before, atol=1e-6)


def test_errors_say_what_to_do(prompts, tmp_path: Path):
    with pytest.raises(ValueError, match="reads 7"):
        draw(policy(), [Prompt.ask("a red circle and a blue square and a red square")], Sampling())
    with pytest.raises(ValueError, match="a class of 0 to 4"):
        draw(policy(CLASSES), [Prompt.ask("a red circle", id="rows.txt:3")], Sampling())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="gamut_next_scale"):
        NextScale.load(tmp_path)


def test_the_published_layout_is_read_off_its_shapes():
    """A tokenizer and a transformer under the released names, with all that the released files hold beside."""
    tokens = TokenizerConfig(codes=32, latent=8, channels=32, multipliers=(1, 1, 2, 2, 4), blocks=2)
    model = NextScale(tokens, TransformerConfig(depth=2, width=32, heads=4, classes=1000))
    tokenizer = {**model.tokenizer.state_dict(), "quantize.ema_vocab_hit_SV": torch.zeros(10, 32)}
    transformer = {
        **model.transformer.state_dict(),
        "lvl_1L": torch.zeros(1, 680),
        "attn_bias_for_masking": torch.zeros(1, 1, 680, 680),
        "blocks.0.attn.zero_k_bias": torch.zeros(32),
    }
    names = ("encoder.down.4.attn.1.proj_out.weight", "decoder.up.1.upsample.conv.bias", "quantize.embedding.weight")
    assert set(names) <= set(tokenizer)
    assert {"blocks.1.ada_lin.1.weight", "blocks.1.attn.mat_qkv.weight", "head_nm.ada_lin.1.bias"} <= set(transformer)
    read = NextScale.published(tokenizer, transformer)
    assert read.tokenizer.config == tokens
    assert read.transformer.config == model.transformer.config
    assert all(torch.equal(a, b) for a, b in zip(read.state_dict().values(), model.state_dict().values()))
