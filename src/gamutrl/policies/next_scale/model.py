"""A next-scale model as one module, its folder, and the published weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gamutrl.policies.next_scale.tokenizer import Tokenizer, TokenizerConfig
from gamutrl.policies.next_scale.transformer import Transformer, TransformerConfig

MODEL_TYPE = "gamut_next_scale"
PUBLISHED = "FoundationVision/var"
"""The repository on the hub that holds VAR's weights; a model of it is named by its file, `…/var_d30.pth`."""
TOKENIZER = "vae_ch160v4096z32.pth"


class NextScale(nn.Module):
    """A tokenizer, which is fixed, and the transformer over its codes."""

    def __init__(self, tokens: TokenizerConfig, transformer: TransformerConfig) -> None:
        super().__init__()
        self.tokenizer, self.transformer = Tokenizer(tokens), Transformer(transformer, tokens)
        self.tokenizer.requires_grad_(False)

    def save(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """config.json and safetensors, in another dtype if one is given."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "model_type": MODEL_TYPE,
            "tokenizer": asdict(self.tokenizer.config),
            "transformer": asdict(self.transformer.config),
        }
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
        state = {name: tensor.to(dtype or tensor.dtype).contiguous() for name, tensor in self.state_dict().items()}
        save_file(state, folder / "model.safetensors", {"format": "pt"})

    @classmethod
    def load(cls, place: Path | str) -> NextScale:
        """What `save` wrote in a folder, or a file of the hub's published weights, in float32.

        Raises ValueError where there is neither.
        """
        if not Path(place).is_dir() and str(place).startswith(f"{PUBLISHED}/"):
            from huggingface_hub import hf_hub_download

            files = [hf_hub_download(PUBLISHED, name) for name in (TOKENIZER, str(place).removeprefix(f"{PUBLISHED}/"))]
            tokenizer, transformer = (torch.load(file, map_location="cpu", weights_only=True) for file in files)
            return cls.published(tokenizer, transformer)
        folder = place
        config = read_config(folder, MODEL_TYPE)
        model = cls(TokenizerConfig(**tuples(config["tokenizer"])), TransformerConfig(**tuples(config["transformer"])))
        model.load_state_dict({name: tensor.float() for name, tensor in load_file(weights_of(folder)).items()})
        return model

    @classmethod
    def published(cls, tokenizer: Mapping[str, Tensor], transformer: Mapping[str, Tensor]) -> NextScale:
        """VAR's released weights; every size is read off their shapes."""
        return _published(cls, tokenizer, transformer)


def read_config(folder: Path | str, model_type: str) -> dict[str, Any]:
    file = Path(folder) / "config.json"
    config = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    if config.get("model_type") != model_type:
        raise ValueError(f"{folder} holds no model of type {model_type!r}: its config.json must say so.")
    return config


def weights_of(folder: Path | str) -> Path:
    file = Path(folder) / "model.safetensors"
    if not file.is_file():
        raise ValueError(f"{folder} has a config.json but no model.safetensors.")
    return file


def tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a configuration from JSON: lists are tuples again."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _published(cls: type[NextScale], tokenizer: Mapping[str, Tensor], transformer: Mapping[str, Tensor]) -> NextScale:
    tokenizer = {key: value for key, value in tokenizer.items() if "ema_vocab" not in key}
    unused = ("zero_k_bias", "lvl_1L", "attn_bias_for_masking")
    transformer = {key: value for key, value in transformer.items() if not key.endswith(unused)}
    places = {680: TokenizerConfig.scales, 2240: (1, 2, 3, 4, 6, 9, 13, 18, 24, 32)}
    length = transformer["pos_1LC"].shape[1]
    if length not in places:
        raise ValueError(
            f"These weights draw {length} tokens; the published models draw {' or '.join(map(str, places))}."
        )
    codes, latent = tokenizer["quantize.embedding.weight"].shape
    channels = tokenizer["encoder.conv_in.weight"].shape[0]
    down = sorted({int(key.split(".")[2]) for key in tokenizer if key.startswith("encoder.down.")})
    widths = [tokenizer[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] for i in down]
    blocks = {key.split(".")[4] for key in tokenizer if key.startswith("encoder.down.0.block.")}
    phis = sum(key.startswith("quantize.quant_resi.qresi_ls.") and key.endswith("weight") for key in tokenizer)
    tokens = TokenizerConfig(
        places[length], codes, latent, channels, tuple(w // channels for w in widths), len(blocks), phis=phis
    )
    config = TransformerConfig(
        depth=len({key.split(".")[1] for key in transformer if key.startswith("blocks.")}),
        width=transformer["word_embed.weight"].shape[0],
        heads=transformer["blocks.0.attn.scale_mul_1H11"].shape[1],
        shared="blocks.0.ada_gss" in transformer,
        classes=transformer["class_emb.weight"].shape[0] - 1,
    )
    model = cls(tokens, config)
    model.tokenizer.load_state_dict(tokenizer)
    model.transformer.load_state_dict(transformer)
    return model
