"""The language model run from its weights: what the library's layers compute, in fewer and cheaper steps.

For the layer that most open models have (RMSNorm, rotary positions, a gated MLP: Llama, Mistral, Qwen 2 to 3, and the
vision-language models built on them). At every token of decoding the library's own forward spends more on its
surroundings than on the arithmetic of a small model; here there is nothing but the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gamutrl.policies.attention import Layout

MODEL = {"embed_tokens", "layers", "norm", "rotary_emb"}
LAYER = {"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"}
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
HEAD_NORMS = {"q_norm", "k_norm"}
MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}


class Decoder:
    """A language model of the library, its layers called part by part.

    It is recognised by its parts' names alone, so whoever relies on it compares it with the library's forward first.
    """

    def __init__(self, language: Any) -> None:
        self.language = language

    @staticmethod
    def fits(language: Any) -> bool:
        """Whether every layer has the parts of this kind and no other."""
        return _parts(language) == MODEL and all(
            _parts(layer) == LAYER
            and _parts(layer.self_attn) - HEAD_NORMS == ATTENTION
            and _parts(layer.mlp) == MLP
            and hasattr(layer.input_layernorm, "variance_epsilon")
            for layer in language.layers
        )

    @property
    def ready(self) -> bool:
        """Not while something hangs on whole layers: hooks (as sharding has them), gradient checkpointing."""
        layers = self.language.layers
        return not any(
            layer._forward_hooks or layer._forward_pre_hooks or getattr(layer, "gradient_checkpointing", False)
            for layer in layers
        )

    def __call__(
        self,
        embeds: Tensor,
        position: Tensor,
        layout: Layout,
        wanted: Tensor | None = None,
        visual_pos_masks: Tensor | None = None,
        deepstack_visual_embeds: Sequence[Tensor] = (),
    ) -> Tensor:
        """Embeddings `[B, L, D]` with positions as the model counts them to the last hidden states `[B, L, D]`.

        wanted: which tokens' states are asked for, if not all, `[W]` of the flattened B·L; then they are `[W, D]`. The
        last layer goes on with these alone. The rest is what Qwen3-VL adds to the pictures' tokens in its first layers.
        """
        cos, sin = self.language.rotary_emb(embeds, position)
        cos, sin = rotation(cos[:, :, None], sin[:, :, None])
        hidden, last = embeds, len(self.language.layers) - 1
        for number, layer in enumerate(self.language.layers):
            attention = layer.self_attn
            normal = rms_norm(layer.input_layernorm, hidden)
            heads = (*normal.shape[:2], -1, cos.shape[-1])
            query, key = attention.q_proj(normal).view(heads), attention.k_proj(normal).view(heads)
            if "q_norm" in attention._modules:
                query, key = rms_norm(attention.q_norm, query), rms_norm(attention.k_norm, key)
            seen = layout.attend(
                attention.layer_idx,
                rotated(query, cos, sin).transpose(1, 2),
                rotated(key, cos, sin).transpose(1, 2),
                attention.v_proj(normal).view(heads).transpose(1, 2),
                attention.scaling,
                getattr(attention, "sliding_window", None),
            ).flatten(2)
            if number == last and wanted is not None:
                seen, hidden = (tensor.flatten(0, 1).index_select(0, wanted) for tensor in (seen, hidden))
            hidden = attention.o_proj(seen).add_(hidden)
            normal = rms_norm(layer.post_attention_layernorm, hidden)
            gate = layer.mlp.act_fn(layer.mlp.gate_proj(normal))
            hidden = layer.mlp.down_proj(gate * layer.mlp.up_proj(normal)).add_(hidden)
            if number < len(deepstack_visual_embeds):
                hidden = _deepened(hidden, visual_pos_masks, deepstack_visual_embeds[number])
        return rms_norm(self.language.norm, hidden)


def rms_norm(module: Any, x: Tensor) -> Tensor:
    """The module's own norm; in float32 in fewer passes over x, forth and back."""
    if x.dtype != torch.float32 or module.weight.dtype != torch.float32:
        return module(x)
    if torch.is_grad_enabled():
        return _RMSNorm.apply(x, module.weight, module.variance_epsilon)
    return (x * inverse_size(x, module.variance_epsilon)).mul_(module.weight)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        inverse = inverse_size(x, eps)
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, inverse = ctx.saved_tensors
        shape, width = x.shape, x.shape[-1]
        grad, x, inverse = (tensor.reshape(-1, tensor.shape[-1]) for tensor in (grads[0], x, inverse))
        both = grad * x
        share = (both @ weight)[:, None] * inverse.pow(3).mul_(-1 / width)
        of_weight = (inverse.t() @ both)[0]
        return torch.mul(grad, weight, out=both).mul_(inverse).addcmul_(x, share).view(shape), of_weight, None


def inverse_size(x: Tensor, eps: float) -> Tensor:
    """1 / √(mean of squares + eps) over the last axis, which is kept."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()


def rotation(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """The angles of a rotary embedding by halves `(x₁, x₂) ↦ (x₁, x₂) cos + (−x₂, x₁) sin`, as `rotated` takes them.

    The halves change places by a roll; the minus is carried by the sine.
    """
    half = sin.shape[-1] // 2
    return cos, torch.cat([-sin[..., :half], sin[..., half:]], -1)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x turned by the angles that `rotation` gave."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def _deepened(hidden: Tensor, mask: Tensor | None, features: Tensor) -> Tensor:
    assert mask is not None
    place = mask.flatten().nonzero()[:, 0]
    return hidden.flatten(0, 1).index_add(0, place, features.to(hidden)).view(hidden.shape)


def _parts(module: Any) -> set[str]:
    return set(getattr(module, "_modules", ()))
