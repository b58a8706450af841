"""The language model and the vision tower run our way compute what the library's own do."""

from __future__ import annotations

import warnings

import pytest
import torch
from plainly import picture
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLVisionAttention

from gamutrl.core import Prompt, Sampling, image
from gamutrl.environments import SingleTurn
from gamutrl.policies.decoder import Decoder, rms_norm, rotated, rotation
from gamutrl.policies.vision import ChunkedAttention, PatchProduct, hasten

SHORT = Sampling(max_tokens=4)


def gradients(output: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Of a sum with unequal weights."""
    weight = torch.linspace(-1, 1, output.numel()).view_as(output)
    return list(torch.autograd.grad((output * weight).sum(), inputs))


@pytest.mark.parametrize("shape", [(1, 7, 16), (2, 3, 4, 16)])
def test_the_norm_is_the_librarys_forth_and_back(shape):
    torch.manual_seed(0)
    module = LlamaRMSNorm(16, eps=1e-5)
    nn.init.normal_(module.weight)
    x = torch.randn(shape, requires_grad=True)
    ours, theirs = rms_norm(module, x), module(x)
    assert torch.allclose(ours, theirs, atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(rms_norm(module, x), theirs, atol=1e-6)
    for a, b in zip(gradients(ours, [x, module.weight]), gradients(theirs, [x, module.weight])):
        assert torch.allclose(a, b, atol=1e-5)


def test_positions_turn_heads_as_the_librarys_do():
    torch.manual_seed(0)
    query, key = torch.randn(2, 5, 4, 8), torch.randn(2, 5, 2, 8)
    angle = torch.randn(2, 5, 4)
    cos, sin = (torch.cat([part, part], -1) for part in (angle.cos(), angle.sin()))
    ours = [rotated(x, *rotation(cos[:, :, None], sin[:, :, None])) for x in (query, key)]
    theirs = apply_rotary_pos_emb(query, key, cos, sin, unsqueeze_dim=2)
    for a, b in zip(ours, theirs):
        assert torch.allclose(a, b, atol=1e-6)


def test_which_families_have_layers_of_the_common_kind(load, family):
    assert (load(family).backbone.decoder is not None) == (family != "gemma3")


def test_the_last_layer_goes_on_with_what_is_wanted(load, family):
    """Given a prompt with a picture: states of some tokens, from our layers and from the library's."""
    policy = load(family)
    backbone = policy.backbone
    prompt = Prompt.ask("Which?", image(picture(0)), id="x")
    with torch.no_grad():
        batch = policy.rollout([prompt], 2, SingleTurn(), SHORT, seed=0)
        ours = policy.log_probs(batch)
        backbone.decoder = None
        theirs = policy.log_probs(batch)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_layer_that_something_hangs_on_is_called_whole(load):
    policy = load("qwen2_5_vl")
    seen = []
    assert policy.backbone.decoder.ready
    policy.backbone.language.layers[0].register_forward_hook(lambda *_: seen.append(1))
    assert not policy.backbone.decoder.ready
    policy.rollout([Prompt.ask("?", id="x")], 1, SingleTurn(), SHORT, seed=0)
    assert seen


def test_a_model_that_only_looks_common_is_left_to_the_library(load, monkeypatch):
    """Given parts of the right names that are put together otherwise: the trial finds out, and prompts stay shared."""
    own = Decoder.__call__
    monkeypatch.setattr(Decoder, "__call__", lambda self, *given, **named: own(self, *given, **named) * 1.5)
    policy = load("qwen2_5_vl")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert policy.exact
    assert policy.backbone.decoder is None


@pytest.mark.parametrize("lengths", [[4, 4, 4], [4, 2, 4, 3], [1, 9]], ids=["equal", "unequal", "too unequal to pad"])
def test_windows_in_one_call_are_windows_one_by_one(load, lengths):
    torch.manual_seed(0)
    config = load("qwen2_5_vl").backbone.config.vision_config
    config._attn_implementation = "sdpa"
    theirs = Qwen2_5_VLVisionAttention(config)
    ours = Qwen2_5_VLVisionAttention(config)
    ours.load_state_dict(theirs.state_dict())
    hasten(ours)
    assert isinstance(ours, ChunkedAttention)
    assert not isinstance(theirs, ChunkedAttention)
    x = torch.randn(sum(lengths), config.hidden_size, requires_grad=True)
    ends = torch.tensor([0, *lengths]).cumsum(0)
    angle = torch.randn(len(x), theirs.head_dim // 2)
    turn = tuple(torch.cat([part, part], -1) for part in (angle.cos(), angle.sin()))
    one, other = (attention(x, ends, position_embeddings=turn) for attention in (ours, theirs))
    assert torch.allclose(one, other, atol=1e-6)
    grads = (
        gradients(out, [x, attention.qkv.weight, attention.proj.weight])
        for out, attention in ((one, ours), (other, theirs))
    )
    for a, b in zip(*grads):
        assert torch.allclose(a, b, atol=1e-5)


def test_patches_by_a_product_are_a_convolution():
    torch.manual_seed(0)
    theirs = nn.Conv3d(3, 8, kernel_size=(2, 4, 4), stride=(2, 4, 4))
    ours = nn.Sequential(nn.Conv3d(3, 8, kernel_size=(2, 4, 4), stride=(2, 4, 4)))
    ours[0].load_state_dict(theirs.state_dict())
    hasten(ours)
    patches = torch.randn(5, 3, 2, 4, 4)
    assert isinstance(ours[0], PatchProduct)
    assert torch.allclose(ours(patches), theirs(patches), atol=1e-5)
    larger = torch.randn(2, 3, 4, 8, 8)
    assert torch.allclose(ours(larger), theirs(larger), atol=1e-5)
