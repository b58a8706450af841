"""What `flow-tiny` and `unet-tiny` share: pictures with prompts, the words of prompts, and the autoencoder."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gamutrl.data.worlds import pictures
from gamutrl.zoo import tokens
from gamutrl.zoo.muon import Muon
from gamutrl.zoo.phases import Measured, Phase
from gamutrl.zoo.tokens import Bank

SIZE = 32
"""The side of a picture, in pixels; of its latent, a quarter."""
LENGTH = 9
"""How many tokens a prompt is: eight words and an end."""
TASKS = {"object": 0.3, "pair": 0.25, "count": 0.2, "relation": 0.1, "digit": 0.15}
"""How often each task of the world comes."""
KL = 1e-3
"""What a latent's distance from a standard normal costs, beside the mean error of a pixel."""
RATE = 2e-3


def bank(count: int, seed: int) -> Bank:
    """`count` pictures of the world's training rows."""
    rng = random.Random(f"latents/{seed}")
    tasks = rng.choices(list(TASKS), list(TASKS.values()), k=count)
    made = {task: iter(pictures.rows("train", tasks.count(task), seed, task=task)) for task in dict.fromkeys(tasks)}
    rows = [next(made[task]) for task in tasks]
    shown = np.stack([pictures.draw(row.columns["facts"], SIZE) for row in rows])
    return Bank(shown, [row.columns["prompt"] for row in rows], tasks)


def tokenizer() -> Any:
    """A word a token; an end after the last, and pads."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = ("<pad>", "</s>", "<unk>", *pictures.WORDS)
    split = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    split.pre_tokenizer = pre_tokenizers.Whitespace()
    split.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=split, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=LENGTH
    )


def autoencoder() -> Any:
    """A small AutoencoderKL: 32-pixel pictures as latents of 4 × 8 × 8."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
        sample_size=SIZE,
        shift_factor=0.0,
    )


def phase_of(name: str, modules: nn.Module) -> Phase:
    """A phase in which Muon moves matrices and kernels, AdamW tables and all else."""
    named = [(key, parameter) for key, parameter in modules.named_parameters() if parameter.requires_grad]
    tables = {
        parameter for part in modules.modules() if isinstance(part, nn.Embedding) for parameter in part.parameters()
    }
    moved = [parameter for _, parameter in named if parameter.dim() > 1 and parameter not in tables]
    others = [parameter for _, parameter in named if parameter.dim() < 2 or parameter in tables]
    adam = torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    return Phase(name, modules, [Muon(moved, weight_decay=0.01), adam])


def train_autoencoder(vae: Any, shown: Bank, steps: int, folder: Path, seed: int = 0) -> Phase:
    """Train the autoencoder in place, from where a run in this folder stopped; its latents then have unit spread."""
    phase = phase_of("autoencoder", vae)

    def loss_of(index: Tensor) -> Measured:
        picture, _ = shown.take(index)
        latent = vae.encode(picture).latent_dist
        off = vae.decode(latent.sample()).sample - picture
        error = off.abs().mean() + off.square().mean()
        spread = 0.5 * (latent.mean.square() + latent.var - 1 - latent.logvar).mean()
        return error + KL * spread, {"error": off.detach().abs().mean().item(), "kl": spread.item()}

    tokens.drive(phase, loss_of, len(shown.prompts), steps, RATE, folder, seed)
    vae.requires_grad_(False)
    some = torch.arange(min(len(shown.prompts), 1024))
    vae.register_to_config(scaling_factor=1 / means(vae, shown, some).std().item())
    return phase


@torch.no_grad()
def means(vae: Any, shown: Bank, index: Tensor) -> Tensor:
    """The latents of some pictures, as the autoencoder gives them."""
    return torch.cat([vae.encode(shown.take(part)[0]).latent_dist.mean for part in index.split(256)])


def latents(vae: Any, shown: Bank) -> Tensor:
    """The latents of all pictures `[B, 4, 8, 8]`, of unit spread."""
    return means(vae, shown, torch.arange(len(shown.prompts))) * vae.config.scaling_factor
