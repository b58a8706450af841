"""Steps of decoding from copied weights are the decoder's own."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from plainly import picture
from torch import nn

from gamutrl.core import Prompt, Sampling, image
from gamutrl.environments import SingleTurn
from gamutrl.policies import generation
from gamutrl.policies.still import Still, _Matrix

ASKED = [
    Prompt.ask("Which?", image(picture(0)), id="a"),
    Prompt.ask("And this one, of two?", image(picture(1)), id="b"),
]
SAMPLING = Sampling(max_tokens=12)


@pytest.fixture
def used(monkeypatch):
    """The engines' answers to whether copies serve, in the order of asking."""
    answers: list[bool] = []
    fits = Still.fits
    monkeypatch.setattr(generation.Still, "fits", staticmethod(lambda *a: answers.append(fits(*a)) or answers[-1]))
    return answers


def test_rollouts_are_the_same_by_either_way(load, family, used, monkeypatch):
    """Given prompts of unequal length with pictures, in groups."""
    policy = load(family)
    ours = policy.rollout(ASKED, 3, SingleTurn(), SAMPLING, seed=0)
    assert used == [True] or (family == "gemma3" and not any(used))
    monkeypatch.setattr(generation.Still, "fits", staticmethod(lambda *_: False))
    theirs = policy.rollout(ASKED, 3, SingleTurn(), SAMPLING, seed=0)
    for a, b in zip(ours.rollouts, theirs.rollouts):
        assert torch.equal(a.turns[0].tokens_T, b.turns[0].tokens_T)
        assert torch.allclose(a.turns[0].logp_T, b.turns[0].logp_T, atol=1e-5)


def test_what_changed_is_copied_anew(load):
    """Given weights that an update changed, the next rollout is of the new ones."""
    policy = load("qwen2_5_vl")
    before = policy.rollout(ASKED, 2, SingleTurn(), SAMPLING, seed=0)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    after = policy.rollout(ASKED, 2, SingleTurn(), SAMPLING, seed=0)
    assert not torch.equal(before.rollouts[0].turns[0].logp_T, after.rollouts[0].turns[0].logp_T)
    with torch.no_grad():
        scored = policy.log_probs(after)
    for n, row in enumerate(after.rows):
        said = after.rollouts[row.rollout].turns[0]
        assert torch.allclose(said.logp_T, scored[n, : len(said)], atol=1e-5)


def test_matrices_that_are_not_plain_are_not_copied(load):
    """Given adapters on the projections, or a type that is not float32."""
    policy = load("qwen2_5_vl")
    backbone = policy.backbone
    assert Still.fits(backbone.decoder, backbone.logits)
    assert Still.of(None, backbone.logits) is None
    assert not Still.fits(backbone.decoder, nn.Sequential(backbone.logits))
    backbone.language.layers[1].mlp.down_proj.to(torch.bfloat16)
    assert not Still.fits(backbone.decoder, backbone.logits)
    backbone.language.layers[1].mlp.down_proj.to(torch.float32)
    get_peft_model(policy.model, LoraConfig(r=2, target_modules=["v_proj"]))
    assert not Still.fits(backbone.decoder, backbone.logits)


@pytest.mark.parametrize("biased", [(True, True), (True, False), (False, False)])
def test_projections_of_one_input_are_one_matrix(biased):
    torch.manual_seed(0)
    projections = [nn.Linear(6, width, bias=bias) for width, bias in zip((4, 3), biased)]
    norm = nn.RMSNorm(6)
    nn.init.normal_(norm.weight)
    x, rest = torch.randn(5, 6), torch.randn(5, 7)
    first, second = (p(x * norm.weight) for p in projections)
    wanted = torch.cat([0.5 * first, second], 1)
    matrix = _Matrix.of(projections, norm, 0.5)
    assert torch.allclose(matrix(x), wanted, atol=1e-6)
    assert torch.allclose(matrix(x, rest), wanted + rest, atol=1e-6)
