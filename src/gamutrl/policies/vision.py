"""Vision towers made faster without changing what they compute."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from gamutrl.policies.attention import Ragged
from gamutrl.policies.decoder import rotated, rotation


def hasten(model: nn.Module) -> None:
    """Give the model's slow parts, where it has them, our way of computing the same."""
    for module in model.modules():
        if type(module) is nn.Conv3d and module.kernel_size == module.stride and module.groups == 1:
            module.__class__ = PatchProduct
        elif _in_chunks(module) and not isinstance(module, ChunkedAttention):
            kind = type(module)
            module.__class__ = type(kind.__name__, (ChunkedAttention, kind), {})


class PatchProduct(nn.Conv3d):
    """A convolution over patches that come one by one is a matrix product, many times faster than the general case."""

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[2:] != self.kernel_size or self.padding != (0, 0, 0):
            return super().forward(input)
        return linear(input.flatten(1), self.weight.flatten(1), self.bias)[..., None, None, None]


class ChunkedAttention(nn.Module):
    """Attention of the Qwen-VL towers: all windows (or pictures) of a flat sequence in one call, not each by itself."""

    qkv: Any
    proj: Any
    config: Any
    num_heads: int
    scaling: float

    def forward(
        self, hidden_states: Tensor, cu_seqlens: Tensor, position_embeddings: Any = None, **kwargs: Any
    ) -> Tensor:
        chunks = Ragged(0, cu_seqlens.diff().tolist(), hidden_states.device)
        wasteful = chunks.real_BM.numel() > 2 * chunks.size
        if wasteful or "sdpa" not in str(self.config._attn_implementation):
            return super().forward(hidden_states, cu_seqlens, position_embeddings=position_embeddings, **kwargs)
        query, key, value = self.qkv(hidden_states).view(len(hidden_states), 3, self.num_heads, -1).unbind(1)
        cos, sin = rotation(*(angle.float()[:, None] for angle in position_embeddings))
        query, key = (rotated(tensor.float(), cos, sin).to(value.dtype) for tensor in (query, key))
        query, key, value = (chunks.pad(tensor.transpose(0, 1)[None]) for tensor in (query, key, value))
        seen = scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if chunks.uniform else chunks.real_BM[:, None, None],
            scale=self.scaling,
        )
        return self.proj(chunks.flat(seen).flatten(1))


def _in_chunks(module: nn.Module) -> bool:
    """Whether a module is the attention that Qwen2-VL, Qwen2.5-VL and Qwen3-VL share."""
    parameters = list(inspect.signature(type(module).forward).parameters)
    return (
        parameters[:4] == ["self", "hidden_states", "cu_seqlens", "position_embeddings"]
        and set(module._modules) == {"qkv", "proj"}
        and hasattr(module, "scaling")
    )
