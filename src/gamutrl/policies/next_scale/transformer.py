"""The transformer of VAR (arXiv 2404.02905): every token of a scale at once, from the scales before it.

Attention is causal over scales; a condition enters by adaptive layer norms and as the start of the sequence. Modules
bear the names of the published weights, which know classes only; words are encoded by `TextEncoder` and stand before
the first scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gamutrl.policies.next_scale.tokenizer import TokenizerConfig
from gamutrl.policies.words import PAD, Words


@dataclass(frozen=True)
class TransformerConfig:
    """depth, width, heads: of the blocks. shared: all blocks share the map from condition to norms. classes: how many
    there are to draw; words, text_length, text_depth: the vocabulary of prompts, where they are texts."""

    depth: int = 16
    width: int = 1024
    heads: int = 16
    shared: bool = False
    classes: int = 0
    words: tuple[str, ...] = ()
    text_length: int = 16
    text_depth: int = 2


@dataclass(frozen=True, eq=False)
class Condition:
    """What N rows are drawn for: a vector; where prompts are texts, their words too, and which of these count."""

    vector_ND: Tensor
    prefix_NSD: Tensor
    real_NS: Tensor

    def take(self, index_N: Tensor) -> Condition:
        return Condition(self.vector_ND[index_N], self.prefix_NSD[index_N], self.real_NS[index_N])

    def join(self, other: Condition) -> Condition:
        """These rows, then the other's."""
        pairs = zip(vars(self).values(), vars(other).values())
        return Condition(*(torch.cat(pair) for pair in pairs))

    def __len__(self) -> int:
        return len(self.vector_ND)


Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of each block, `[N, heads, S, width / heads]`, of the scales so far."""


class Transformer(nn.Module):
    """Token maps, a condition → logits of every scale's codes."""

    scale_L: Tensor
    """Of which scale each token is."""

    def __init__(self, config: TransformerConfig, tokens: TokenizerConfig) -> None:
        super().__init__()
        self.config, self.scales = config, tokens.scales
        width, std = config.width, math.sqrt(1 / config.width / 3)
        sizes = [side * side for side in self.scales]
        self.word_embed = nn.Linear(tokens.latent, width)
        if config.words:
            self.text = TextEncoder(config)
        else:
            self.class_emb = nn.Embedding(config.classes + 1, width)
        self.pos_start = nn.Parameter(torch.randn(1, sizes[0], width) * std)
        self.pos_1LC = nn.Parameter(torch.randn(1, sum(sizes), width) * std)
        self.lvl_embed = nn.Embedding(len(sizes), width)
        self.shared_ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width)) if config.shared else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.head_nm = FinalNorm(width)
        self.head = nn.Linear(width, tokens.codes)
        for part in self.modules():
            if isinstance(part, nn.Embedding):
                nn.init.normal_(part.weight, std=std)
        self.register_buffer("scale_L", torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)), False)

    @property
    def words(self) -> Words | None:
        """The vocabulary of its prompts; None where it draws classes."""
        return Words(self.config.words, self.config.text_length) if self.config.words else None

    # -- conditions -----------------------------------------------------------------------------------------------

    def classes(self, class_N: Tensor) -> Condition:
        """Conditions of classes; the number after the last is that of none."""
        vector = self.class_emb(class_N)
        return Condition(
            vector, vector.new_zeros(len(vector), 0, vector.shape[1]), class_N.new_zeros(len(vector), 0).bool()
        )

    def texts(self, word_NS: Tensor) -> Condition:
        """Conditions of texts, as `Words.rows` writes them; the empty text is that of none."""
        real_NS = word_NS != PAD
        prefix_NSD = self.text(word_NS, real_NS)
        vector_ND = (prefix_NSD * real_NS[..., None]).sum(1) / real_NS.sum(1, keepdim=True)
        return Condition(self.text.pooled(vector_ND), prefix_NSD, real_NS)

    # -- logits ---------------------------------------------------------------------------------------------------

    def forward(self, seen_NLC: Tensor, condition: Condition) -> Tensor:
        """Logits of all scales at once, `[N, L, V]`, from what each scale after the first is predicted from."""
        first = condition.vector_ND[:, None] + self.pos_start
        x = torch.cat([first, self.word_embed(seen_NLC)], 1) + self._places(0, len(self.scale_L))
        prefix, real = condition.prefix_NSD, condition.real_NS
        level_S = torch.cat([self.scale_L.new_full((prefix.shape[1],), -1), self.scale_L])
        allowed = (level_S[:, None] >= level_S)[None]
        counted = torch.cat([real, real.new_ones(x.shape[:2])], 1)
        hidden = self._run(torch.cat([prefix, x], 1), condition, (allowed & counted[:, None])[:, None], None)
        return self._logits(hidden[:, prefix.shape[1] :], condition)

    def scale(self, k: int, seen_NlC: Tensor | None, condition: Condition, cache: Cache) -> Tensor:
        """Logits of scale k, `[N, side², V]`, after those before it, whose keys and values the cache holds.

        seen_NlC: what it is predicted from (None: the first scale). The cache grows in place.
        """
        size = self.scales[k] ** 2
        start = sum(side * side for side in self.scales[:k])
        prefix, real = condition.prefix_NSD, condition.real_NS
        places = self._places(start, start + size)
        if seen_NlC is None:
            x = torch.cat([prefix, condition.vector_ND[:, None] + self.pos_start + places], 1)
        else:
            x = self.word_embed(seen_NlC) + places
        counted = torch.cat([real, real.new_ones(len(x), start + size)], 1)[:, None, None]
        if seen_NlC is None and prefix.shape[1]:  # The prompt does not look at the picture.
            picture = torch.arange(x.shape[1], device=x.device) >= prefix.shape[1]
            counted = counted & (picture[:, None] | ~picture)
        return self._logits(self._run(x, condition, counted, cache)[:, -size:], condition)

    def _places(self, start: int, end: int) -> Tensor:
        return self.lvl_embed(self.scale_L[start:end]) + self.pos_1LC[:, start:end]

    def _run(self, x: Tensor, condition: Condition, allowed: Tensor, cache: Cache | None) -> Tensor:
        adapted = self.shared_ada_lin(condition.vector_ND)
        for number, block in enumerate(self.blocks):
            x = block(x, adapted, allowed, cache, number)
        return x

    def _logits(self, hidden: Tensor, condition: Condition) -> Tensor:
        return self.head(self.head_nm(hidden.float(), condition.vector_ND)).float()


class Block(nn.Module):
    """Attention and a feed-forward layer, whose norms and gates the condition sets."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attn, self.ffn = SelfAttention(config.width, config.heads), FeedForward(config.width)
        self.shared = config.shared
        if config.shared:
            self.ada_gss = nn.Parameter(torch.randn(1, 1, 6, config.width) / config.width**0.5)
        else:
            self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(config.width, 6 * config.width))

    def forward(self, x: Tensor, adapted: Tensor, allowed: Tensor, cache: Cache | None, number: int) -> Tensor:
        width = x.shape[-1]
        if self.shared:
            set_N16D = self.ada_gss + adapted.view(-1, 1, 6, width)
        else:
            set_N16D = self.ada_lin(adapted).view(-1, 1, 6, width)
        gate1, gate2, scale1, scale2, shift1, shift2 = set_N16D.unbind(2)
        normal = F.layer_norm(x, (width,), eps=1e-6)
        x = x + gate1 * self.attn(normal * (scale1 + 1) + shift1, allowed, cache, number)
        normal = F.layer_norm(x, (width,), eps=1e-6)
        return x + gate2 * self.ffn(normal * (scale2 + 1) + shift2)


class SelfAttention(nn.Module):
    """Attention over normalised queries and keys, with a learned sharpness a head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.mat_qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.scale_mul_1H11 = nn.Parameter(torch.full((1, heads, 1, 1), math.log(4.0)))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, allowed: Tensor, cache: Cache | None, number: int) -> Tensor:
        rows, length, width = x.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.mat_qkv.weight, bias).view(rows, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        q = F.normalize(q, dim=-1) * self.scale_mul_1H11.clamp(max=math.log(100.0)).exp()
        k = F.normalize(k, dim=-1)
        if cache is not None:
            if len(cache) > number:
                k, v = (torch.cat(pair, 2) for pair in zip(cache[number], (k, v)))
                cache[number] = (k, v)
            else:
                cache.append((k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=1.0)
        return self.proj(out.transpose(1, 2).reshape(rows, length, width))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class FinalNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, vector_ND: Tensor) -> Tensor:
        scale, shift = self.ada_lin(vector_ND)[:, None].chunk(2, -1)
        return F.layer_norm(x, (x.shape[-1],), eps=1e-6) * (scale + 1) + shift


class TextEncoder(nn.Module):
    """A small transformer over the words of a prompt, which all see each other."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(Words(config.words, config.text_length)), config.width)
        self.embed_place = nn.Embedding(config.text_length, config.width)
        self.layers = nn.ModuleList(TextLayer(config.width, config.heads) for _ in range(config.text_depth))
        self.pooled = nn.Linear(config.width, config.width)

    def forward(self, word_NS: Tensor, real_NS: Tensor) -> Tensor:
        x = self.embed(word_NS) + self.embed_place.weight[: word_NS.shape[1]]
        for layer in self.layers:
            x = layer(x, real_NS[:, None, None])
        return x


class TextLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.ffn = SelfAttention(width, heads), FeedForward(width)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), allowed, None, 0)
        return x + self.ffn(self.norm2(x))
