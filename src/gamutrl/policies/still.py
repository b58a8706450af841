"""Steps of decoding, from weights that stand still meanwhile.

To feed one token a row is to multiply few rows with every matrix, which a CPU does at about the speed at which it reads
them. So the matrices are laid out anew for as long as a rollout takes: those that read the same input side by side, the
norms' weights and the attention's scale multiplied in. The longest products are cut among the cores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gamutrl.policies import beside
from gamutrl.policies.attention import Cached
from gamutrl.policies.decoder import Decoder, inverse_size, rms_norm, rotated, rotation


class Still:
    """A decoder's steps, computed from copies of its weights: right until these change.

    It takes and gives what the decoder does, for one token a row.
    """

    def __init__(self, decoder: Decoder, head: nn.Linear) -> None:
        self.language = decoder.language
        self.layers = [_Layer.of(layer) for layer in self.language.layers]
        self.logits = _Matrix.of([head])

    @classmethod
    def of(cls, decoder: Decoder | None, head: Any) -> Still | None:
        """The steps, where copies of the weights serve."""
        return cls(decoder, head) if decoder is not None and cls.fits(decoder, head) else None

    @staticmethod
    def fits(decoder: Decoder, head: Any) -> bool:
        """Whether weights are worth copies: a small model's, on a CPU, in float32, all of them plain matrices."""
        if not decoder.ready or type(head) is not nn.Linear:
            return False
        layers = decoder.language.layers
        weights = [head.weight, *layers.parameters()]
        return (
            all(weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in weights)
            and sum(weight.numel() for weight in weights) <= beside.SMALL
            and all(type(part) is nn.Linear for layer in layers for part in _projections(layer))
        )

    def __call__(self, embeds_ND: Tensor, position: Tensor, cache: Cached) -> Tensor:
        """Embeddings with positions as the model counts them to the last hidden states `[N, D]`."""
        cos, sin = rotation(*self.language.rotary_emb(embeds_ND[:, None], position))
        hidden = embeds_ND
        for layer in self.layers:
            hidden = layer(hidden, cos, sin, cache)
        return rms_norm(self.language.norm, hidden)


@dataclass(frozen=True, eq=False)
class _Layer:
    """keys: how many key heads there are. qk_norm: the weight `[H + Hk, d]` of the norm that queries and keys go
    through, with its epsilon."""

    number: int
    keys: int
    window: int | None
    qkv: _Matrix
    qk_norm: tuple[Tensor, float] | None
    out: _Matrix
    gate_up: _Matrix
    act: Callable[[Tensor], Tensor]
    down: _Matrix
    eps: tuple[float, float]

    @classmethod
    def of(cls, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        scale, normed = attention.scaling, "q_norm" in attention._modules
        query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
        qk_norm = None
        if normed:
            of_query, of_key = attention.q_norm.weight, attention.k_norm.weight
            heads = [of_query.expand(len(query.weight) // len(of_query), -1) * scale]
            heads.append(of_key.expand(len(key.weight) // len(of_key), -1))
            qk_norm = (torch.cat(heads), attention.q_norm.variance_epsilon)
        return cls(
            attention.layer_idx,
            len(key.weight) // attention.head_dim,
            getattr(attention, "sliding_window", None),
            _Matrix.of([query, key, value], layer.input_layernorm, 1.0 if normed else scale),
            qk_norm,
            _Matrix.of([attention.o_proj]),
            _Matrix.of([mlp.gate_proj, mlp.up_proj], layer.post_attention_layernorm),
            mlp.act_fn,
            _Matrix.of([mlp.down_proj]),
            (layer.input_layernorm.variance_epsilon, layer.post_attention_layernorm.variance_epsilon),
        )

    def __call__(self, hidden_ND: Tensor, cos: Tensor, sin: Tensor, cache: Cached) -> Tensor:
        heads = self.qkv(hidden_ND * inverse_size(hidden_ND, self.eps[0])).unflatten(1, (-1, cos.shape[-1]))
        turned, value = heads[:, : -self.keys], heads[:, -self.keys :]
        if self.qk_norm is not None:
            weight, eps = self.qk_norm
            turned = (turned * inverse_size(turned, eps)).mul_(weight)
        turned = rotated(turned, cos, sin)
        seen = cache.step(self.number, turned[:, : -self.keys], turned[:, -self.keys :], value, 1.0, self.window)
        hidden_ND = self.out(seen.flatten(1), hidden_ND)
        gate, up = self.gate_up(hidden_ND * inverse_size(hidden_ND, self.eps[1])).chunk(2, 1)
        return self.down(self.act(gate).mul_(up), hidden_ND)


@dataclass(frozen=True, eq=False)
class _Matrix:
    """What projections of one input are together: `weight @ x + bias`. threads: that may share in it."""

    weight_ED: Tensor
    bias_E: Tensor | None
    threads: int

    @classmethod
    def of(cls, projections: Sequence[nn.Linear], norm: Any = None, scale: float = 1.0) -> _Matrix:
        """norm: whose weight the input is still to be multiplied with. scale: of the first projection's output."""
        scales = [scale, *[1.0] * (len(projections) - 1)]
        weight_ED = torch.cat([p.weight * s for p, s in zip(projections, scales)])
        bias_E = None
        if any(p.bias is not None for p in projections):
            biases = [p.weight.new_zeros(len(p.weight)) if p.bias is None else p.bias for p in projections]
            bias_E = torch.cat([bias * s for bias, s in zip(biases, scales)])
        return cls(weight_ED if norm is None else weight_ED * norm.weight, bias_E, torch.get_num_threads())

    def __call__(self, x_ND: Tensor, rest_NE: Tensor | None = None) -> Tensor:
        """rest: what is added. The result lies column by column, which is the fastest way round for few rows."""
        with beside.divided(x_ND.shape[0] * self.weight_ED.numel(), self.threads):
            x_DN, rest_EN = x_ND.t(), None if rest_NE is None else rest_NE.t()
            if self.bias_E is not None:
                rest_EN = self.bias_E[:, None] if rest_EN is None else rest_EN + self.bias_E[:, None]
            return (self.weight_ED @ x_DN if rest_EN is None else torch.addmm(rest_EN, self.weight_ED, x_DN)).t()


def _projections(layer: Any) -> list[Any]:
    attention, mlp = layer.self_attn, layer.mlp
    of_attention = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    return [*of_attention, mlp.gate_proj, mlp.up_proj, mlp.down_proj]
