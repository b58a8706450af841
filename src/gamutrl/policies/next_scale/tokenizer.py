"""Pictures as token maps of growing size: the multi-scale tokenizer of VAR (arXiv 2404.02905, section 3.2).

Each scale's codes are looked up in one codebook, enlarged to the full map and passed through a convolution φ; what is
still missing of the features is left to the scales after it. Modules bear the names of the published weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class TokenizerConfig:
    """The published tokenizer of 256-pixel pictures, unless said otherwise.

    scales: the side of each token map. codes: size of the codebook. latent: length of a code's vector. channels,
    multipliers, blocks: of the convolutions, each level after the first at half the size. groups: of the
    normalisation. phis: how many φ the scales share. patch: pixels a side that the first convolution takes as one.
    """

    scales: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
    codes: int = 4096
    latent: int = 32
    channels: int = 160
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    blocks: int = 2
    groups: int = 32
    phis: int = 4
    patch: int = 1

    @property
    def tokens(self) -> int:
        """How many tokens a picture has."""
        return sum(side * side for side in self.scales)

    @property
    def pixels(self) -> int:
        """The side of a picture."""
        return self.scales[-1] * self.patch * 2 ** (len(self.multipliers) - 1)


class Tokenizer(nn.Module):
    """Pictures to codes and back. Pictures are `[N, 3, S, S]` in [-1, 1], codes `[N, L]`, coarsest scale first."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quantize = Quantizer(config)
        self.quant_conv = nn.Conv2d(config.latent, config.latent, 3, padding=1)
        self.post_quant_conv = nn.Conv2d(config.latent, config.latent, 3, padding=1)

    def features(self, picture_N3SS: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(F.pixel_unshuffle(picture_N3SS, self.config.patch)))

    def encode(self, picture_N3SS: Tensor) -> Tensor:
        return self.quantize.codes(self.features(picture_N3SS))

    def decode(self, code_NL: Tensor) -> Tensor:
        return self.show(self.quantize.total(code_NL))

    def show(self, feature_NCHW: Tensor) -> Tensor:
        """The picture that (quantised) features stand for."""
        return F.pixel_shuffle(self.decoder(self.post_quant_conv(feature_NCHW)), self.config.patch).clamp(-1, 1)

    def forward(self, picture_N3SS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For its training: the pictures as they come back, the quantiser's loss, and the codes."""
        feature = self.features(picture_N3SS)
        quantized, loss, code_NL = self.quantize(feature)
        shown = F.pixel_shuffle(self.decoder(self.post_quant_conv(quantized)), self.config.patch)
        return shown, loss, code_NL


class Quantizer(nn.Module):
    """Residual quantisation over scales, with one codebook."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.scales, self.latent = config.scales, config.latent
        self.embedding = nn.Embedding(config.codes, config.latent)
        self.quant_resi = Phis(config.latent, config.phis)

    def codes(self, feature_NCHW: Tensor) -> Tensor:
        """The nearest codes, scale after scale, int64 `[N, L]`."""
        total, codes = torch.zeros_like(feature_NCHW), []
        for k in range(len(self.scales)):
            codes.append(self.nearest(feature_NCHW - total, k))
            total = total + self.part(codes[-1], k)
        return torch.cat(codes, 1)

    def nearest(self, rest_NCHW: Tensor, k: int) -> Tensor:
        """Scale k's nearest codes for what is missing, `[N, side²]`."""
        vector_NLC = _shrunk(rest_NCHW, self.scales[k]).flatten(2).mT
        book_VC = self.embedding.weight
        return (book_VC.square().sum(1) - 2 * vector_NLC @ book_VC.T).argmin(-1)

    def part(self, code_Nl: Tensor, k: int) -> Tensor:
        """What scale k's codes add to the features, `[N, C, H, W]`."""
        side, full = self.scales[k], self.scales[-1]
        value = self.embedding(code_Nl).mT.reshape(len(code_Nl), self.latent, side, side)
        if side != full:
            value = F.interpolate(value, size=(full, full), mode="bicubic")
        last = len(self.scales) - 1
        return self.quant_resi(value, k / last if last else 1.0)

    def total(self, code_NL: Tensor) -> Tensor:
        """The features that all codes together stand for."""
        parts = [self.part(code, k) for k, code in enumerate(self.split(code_NL))]
        return torch.stack(parts).sum(0)

    def split(self, code_NL: Tensor) -> Sequence[Tensor]:
        """The codes of each scale."""
        return code_NL.split([side * side for side in self.scales], 1)

    def seen(self, total_NCHW: Tensor, k: int) -> Tensor:
        """What scale k is predicted from: the features so far at its size, `[N, side², C]`."""
        return _shrunk(total_NCHW, self.scales[k]).flatten(2).mT

    def inputs(self, code_NL: Tensor) -> Tensor:
        """What every scale after the first is predicted from, `[N, L - first, C]`."""
        total: Tensor | float = 0.0
        seen = []
        for k, code in enumerate(self.split(code_NL)[:-1]):
            total = total + self.part(code, k)
            seen.append(self.seen(total, k + 1))
        if not seen:
            return self.embedding.weight.new_zeros(len(code_NL), 0, self.latent)
        return torch.cat(seen, 1)

    def forward(self, feature_NCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The quantised features with the gradient straight through, the codebook's loss, and the codes."""
        fixed = feature_NCHW.detach()
        total, losses, codes = torch.zeros_like(fixed), [], []
        for k in range(len(self.scales)):
            codes.append(self.nearest(fixed - total.detach(), k))
            total = total + self.part(codes[-1], k)
            losses.append(F.mse_loss(total, fixed) + 0.25 * F.mse_loss(total.detach(), feature_NCHW))
        straight = feature_NCHW + (total - feature_NCHW).detach()
        return straight, torch.stack(losses).mean(), torch.cat(codes, 1)


class Phis(nn.Module):
    """The convolutions φ, each shared by neighbouring scales: half of what comes in, half of its convolution."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.qresi_ls = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(count))
        edge = 1 / (3 if count == 4 else 2) / count
        self.places = torch.linspace(edge, 1 - edge, count).tolist()

    @torch.no_grad()
    def pass_on(self) -> None:
        """Make them give back what comes in."""
        for name, parameter in self.qresi_ls.named_parameters():
            nn.init.dirac_(parameter) if name.endswith("weight") else nn.init.zeros_(parameter)

    def forward(self, value: Tensor, share: float) -> Tensor:
        """share: how far along the scales this one is, in [0, 1]."""
        nearest = min(range(len(self.places)), key=lambda i: abs(self.places[i] - share))
        return 0.5 * value + 0.5 * self.qresi_ls[nearest](value)


def _shrunk(feature_NCHW: Tensor, side: int) -> Tensor:
    return feature_NCHW if feature_NCHW.shape[-1] == side else F.interpolate(feature_NCHW, (side, side), mode="area")


# The convolutions


class Residual(nn.Module):
    def __init__(self, before: int, after: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, before, 1e-6), nn.GroupNorm(groups, after, 1e-6)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class Attention(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, 1e-6)
        self.qkv, self.proj_out = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).flatten(2).mT.chunk(3, -1)
        return x + self.proj_out(F.scaled_dot_product_attention(q, k, v).mT.reshape(x.shape))


class Middle(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.block_1, self.block_2 = Residual(width, width, groups), Residual(width, width, groups)
        self.attn_1 = Attention(width, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Level(nn.Module):
    """Residual blocks at one size, at the smallest with attention; then to the next size, if there is one."""

    def __init__(
        self, before: int, after: int, blocks: int, groups: int, *, attention: bool, **resize: nn.Module
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(Residual(after if b else before, after, groups) for b in range(blocks))
        self.attn = nn.ModuleList(Attention(after, groups) for _ in range(blocks if attention else 0))
        self.resize = tuple(resize)
        for name, module in resize.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        for b, block in enumerate(self.block):
            x = block(x)
            x = self.attn[b](x) if len(self.attn) else x
        for name in self.resize:
            x = getattr(self, name)(x)
        return x


class Half(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Double(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Encoder(nn.Module):
    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths, last = [config.channels * m for m in config.multipliers], len(config.multipliers) - 1
        self.conv_in = nn.Conv2d(3 * config.patch**2, config.channels, 3, padding=1)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            before = widths[i - 1] if i else config.channels
            smaller = {"downsample": Half(width)} if i != last else {}
            self.down.append(Level(before, width, config.blocks, config.groups, attention=i == last, **smaller))
        self.mid = Middle(widths[-1], config.groups)
        self.norm_out = nn.GroupNorm(config.groups, widths[-1], 1e-6)
        self.conv_out = nn.Conv2d(widths[-1], config.latent, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths, last = [config.channels * m for m in config.multipliers], len(config.multipliers) - 1
        self.conv_in = nn.Conv2d(config.latent, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], config.groups)
        self.up = nn.ModuleList()
        for i, width in enumerate(widths):
            before = widths[min(i + 1, last)]
            larger = {"upsample": Double(width)} if i else {}
            self.up.append(Level(before, width, config.blocks + 1, config.groups, attention=i == last, **larger))
        self.norm_out = nn.GroupNorm(config.groups, widths[0], 1e-6)
        self.conv_out = nn.Conv2d(widths[0], 3 * config.patch**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))
