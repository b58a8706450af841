"""A bidirectional transformer over words and picture codes in one vocabulary (LLaDA, Show-o, MMaDA), and its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gamutrl.core import Prompt
from gamutrl.policies.drawing import pictures_of, values_of
from gamutrl.policies.next_scale.model import read_config, tuples, weights_of
from gamutrl.policies.next_scale.tokenizer import Tokenizer, TokenizerConfig
from gamutrl.policies.next_scale.transformer import TextLayer
from gamutrl.policies.words import PAD, START, UNKNOWN, Words

MODEL_TYPE = "gamut_masked"
Kind = Literal["image", "text"]
"""What an answer is made of: a picture's codes, or words."""


@dataclass(frozen=True)
class MaskedConfig:
    """words: the vocabulary; text_length: how many words a question, and an answer, may have, with its start."""

    words: tuple[str, ...]
    text_length: int = 16
    depth: int = 8
    width: int = 512
    heads: int = 8


@dataclass(frozen=True, eq=False)
class Layout:
    """N rows to predict: their tokens `[N, L]`, where each stands, which count, and which L are the answer's slots."""

    token_NL: Tensor
    place_L: Tensor
    real_NL: Tensor
    slot_S: Tensor

    def take(self, index_N: Tensor) -> Layout:
        return Layout(self.token_NL[index_N], self.place_L, self.real_NL[index_N], self.slot_S)

    def filled(self, token_NS: Tensor) -> Layout:
        """The same rows with other tokens in the slots."""
        return Layout(self.token_NL.index_copy(1, self.slot_S, token_NS), self.place_L, self.real_NL, self.slot_S)


class MaskedTransformer(nn.Module):
    """Predicts the words and codes that are masked from all that are not.

    A row is a question in words, a picture, and an answer in words; either of the last two is what is to be predicted,
    and a part that a row lacks is left out. Codes are numbered after the words, the mask after the codes.
    """

    def __init__(self, config: MaskedConfig, tokens: TokenizerConfig) -> None:
        super().__init__()
        if len(tokens.scales) != 1:
            raise ValueError(f"A masked model's pictures have one map of codes, not those of scales {tokens.scales}.")
        self.config = config
        self.tokenizer = Tokenizer(tokens).requires_grad_(False)
        self.words = Words(config.words, config.text_length)
        self.mask = len(self.words) + tokens.codes
        self.sizes = (config.text_length, tokens.tokens, config.text_length - 1)
        self.embed = nn.Embedding(self.mask + 1, config.width)
        self.embed_place = nn.Embedding(sum(self.sizes), config.width)
        self.layers = nn.ModuleList(TextLayer(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, self.mask)
        for table in (self.embed, self.embed_place):
            nn.init.normal_(table.weight, std=0.02)

    # -- rows -----------------------------------------------------------------------------------------------------

    @staticmethod
    def kind_of(prompt: Prompt) -> Kind:
        """What a prompt asks for: words about the picture that it shows, else a picture."""
        return "text" if prompt.media else "image"

    def slots(self, kind: Kind) -> int:
        """How many tokens an answer has."""
        return self.sizes[1] if kind == "image" else self.sizes[2]

    def lay_out(self, prompts: Sequence[Prompt], kind: Kind) -> Layout:
        """The prompts, all of one kind, with an answer of masks. Raises ValueError for a prompt with two pictures."""
        device = self.embed.weight.device
        question = self.words.rows([prompt.text for prompt in prompts]).to(device)
        if kind == "image":
            return self.layout(question, None)
        if odd := [prompt for prompt in prompts if len(prompt.media) != 1]:
            raise ValueError(f"Row {odd[0].id or odd[0].text[:40]!r} shows {len(odd[0].media)} pictures: one is read.")
        return self.layout(question, self.codes([prompt.media[0].value for prompt in prompts]))

    def layout(self, question_NQ: Tensor, code_NS: Tensor | None) -> Layout:
        """Rows whose answers are masks: words about the pictures of these codes, or pictures where there are none."""
        parts = [question_NQ, question_NQ.new_full((len(question_NQ), self.sizes[1]), self.mask)]
        if code_NS is not None:
            parts[1:] = [code_NS + len(self.words), question_NQ.new_full((len(question_NQ), self.sizes[2]), self.mask)]
        token_NL = torch.cat(parts, 1)
        place_L = torch.arange(token_NL.shape[1], device=token_NL.device)
        real_NL = torch.ones_like(token_NL, dtype=torch.bool)
        real_NL[:, : self.sizes[0]] = question_NQ != PAD
        return Layout(token_NL, place_L, real_NL, place_L[-parts[-1].shape[1] :])

    def unasked(self, layout: Layout) -> Layout:
        """The same rows with an empty question: what guidance leads away from."""
        token_NL, real_NL = layout.token_NL.clone(), layout.real_NL.clone()
        token_NL[:, 1 : self.sizes[0]], real_NL[:, 1 : self.sizes[0]] = PAD, False
        return Layout(token_NL, layout.place_L, real_NL, layout.slot_S)

    def tokens(self, answer_NS: Tensor, kind: Kind) -> Tensor:
        """An answer's numbers (codes, or words) as numbers of the joint vocabulary."""
        return answer_NS + len(self.words) if kind == "image" else answer_NS

    # -- logits ---------------------------------------------------------------------------------------------------

    def forward(self, token_NL: Tensor, place_L: Tensor, real_NL: Tensor) -> Tensor:
        """Logits of the joint vocabulary less the mask, `[N, L, V]`."""
        return self.head(self.norm(self._hidden(token_NL, place_L, real_NL))).float()

    def answers(self, layout: Layout, kind: Kind) -> Tensor:
        """Logits of what may stand in the slots, `[N, S, V]`: codes, or words (a pad ends them)."""
        hidden = self._hidden(layout.token_NL, layout.place_L, layout.real_NL)[:, layout.slot_S]
        count = len(self.words)
        chosen = slice(count, self.mask) if kind == "image" else slice(0, count)
        logits = nn.functional.linear(self.norm(hidden), self.head.weight[chosen], self.head.bias[chosen]).float()
        if kind == "text":
            banned = torch.tensor([START, UNKNOWN], device=logits.device)
            logits = logits.index_fill(-1, banned, torch.finfo(torch.float32).min)
        return logits

    def _hidden(self, token_NL: Tensor, place_L: Tensor, real_NL: Tensor) -> Tensor:
        x = self.embed(token_NL) + self.embed_place(place_L)
        for layer in self.layers:
            x = layer(x, real_NL[:, None, None])
        return x

    # -- answers --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def codes(self, shown: Sequence[Image.Image]) -> Tensor:
        """Pictures as codes, `[N, S]`."""
        side = self.tokenizer.config.pixels
        return self.tokenizer.encode(values_of(shown, side).to(self.embed.weight.device))

    @torch.no_grad()
    def shown(self, code_NS: Tensor) -> list[Image.Image]:
        return pictures_of(self.tokenizer.decode(code_NS))

    def read(self, outputs: Sequence[Any], kind: Kind) -> Tensor:
        """Given answers as numbers, `[N, S]`. Raises TypeError for what is no picture, or no text."""
        wanted = Image.Image if kind == "image" else str
        if odd := [output for output in outputs if not isinstance(output, wanted)]:
            raise TypeError(f"An answer of kind {kind!r} is a {wanted.__name__}, not a {type(odd[0]).__name__}.")
        if kind == "image":
            return self.codes(outputs)
        return self.words.rows(outputs)[:, 1:].to(self.embed.weight.device)

    # -- folders --------------------------------------------------------------------------------------------------

    def save(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """config.json and safetensors, in another dtype if one is given."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "model_type": MODEL_TYPE,
            "tokenizer": asdict(self.tokenizer.config),
            "transformer": asdict(self.config),
        }
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
        state = {name: tensor.to(dtype or tensor.dtype).contiguous() for name, tensor in self.state_dict().items()}
        save_file(state, folder / "model.safetensors", {"format": "pt"})

    @classmethod
    def load(cls, folder: Path | str) -> MaskedTransformer:
        """What `save` wrote, in float32. Raises ValueError where the folder holds something else."""
        config = read_config(folder, MODEL_TYPE)
        model = cls(MaskedConfig(**tuples(config["transformer"])), TokenizerConfig(**tuples(config["tokenizer"])))
        model.load_state_dict({name: tensor.float() for name, tensor in load_file(weights_of(folder)).items()})
        return model
