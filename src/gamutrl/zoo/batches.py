"""Training examples as dense tensors: several dialogues about one picture share its tokens.

A row is `[<|user|> picture tokens | question 1, reply 1 | question 2, reply 2 | …]`; a dialogue sees the picture and
itself, and its positions continue from the picture. Each reads exactly as the chat template and processor would write
it alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from gamutrl.zoo import lessons
from gamutrl.zoo.architecture import EOS, IMAGE_TOKENS


@dataclass(frozen=True)
class Packed:
    """B rows of length L: `ids_BL`, `position_BL`, `branch_BL` (0: picture, -1: padding), `target_BL` (-100: not
    trained), `pixels_MCHW` (uint8, all pictures in order)."""

    ids_BL: Tensor
    position_BL: Tensor
    branch_BL: Tensor
    target_BL: Tensor
    pixels_MCHW: Tensor


def pack(examples: list[lessons.Example], tokenizer: PreTrainedTokenizerFast) -> Packed:
    """Examples that hold equally many pictures, as one batch."""
    known = tokenizer.get_vocab()
    fake, whole, picture = known["<fake_token_around_image>"], known["<global-img>"], known["<image>"]
    user, assistant, end = known["<|user|>"], known["<|assistant|>"], known[EOS]
    rows, pixels = [], []
    texts = [text for example in examples for dialogue in example.dialogues for text in dialogue]
    tokens = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
    for example in examples:
        pictures = [value for part in example.media for value in (part.value if part.kind == "video" else [part.value])]
        pixels += [np.asarray(value).transpose(2, 0, 1) for value in pictures]
        prefix = [user, *([fake, whole, *[picture] * IMAGE_TOKENS, fake] * len(pictures))]
        row = [(token, i, 0, -100) for i, token in enumerate(prefix)]
        for branch in range(1, len(example.dialogues) + 1):
            question, reply = next(tokens), next(tokens)
            spoken = [*question, end, assistant, *reply, end]
            said = len(question) + 2
            targets = [*spoken[1:], -100]
            row += [
                (token, len(prefix) + i, branch, target if i >= said - 1 else -100)
                for i, (token, target) in enumerate(zip(spoken, targets))
            ]
        rows.append(row)
    length = max(map(len, rows))
    table = np.full((len(rows), length, 4), (tokenizer.pad_token_id, 0, -1, -100), dtype=np.int64)
    for k, row in enumerate(rows):
        table[k, : len(row)] = row
    ids, position, branch_BL, target_BL = torch.from_numpy(table).unbind(-1)
    return Packed(ids, position, branch_BL, target_BL, torch.from_numpy(np.stack(pixels)))


class LessonBatches(Dataset[Packed]):
    """Batch k of a run, a function of (seed, k) only.

    After `reading` batches of dense reading, batches come in rounds of `ROUND`: some of single pictures, which share
    out one pool by length so that little is padding, one of clips, and one of several pictures or of clips in turn.
    From batch `varied` on, the questions about one picture or clip are of different kinds.
    """

    ROUND = 8

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        steps: int,
        seed: int,
        reading: int,
        varied: int | None = None,
        size: int = 24,
    ) -> None:
        self.tokenizer, self.steps, self.seed, self.reading, self.size = tokenizer, steps, seed, reading, size
        self.varied = steps if varied is None else varied
        self.pool: tuple[int, list[lessons.Example]] = (-1, [])

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, k: int) -> Packed:
        turn, place = divmod(k, self.ROUND)
        seed, varied = self.seed * 1_000_003 + k, k >= self.varied
        if k < self.reading:
            return pack(list(lessons.examples(lessons.FIRST, self.size, seed)), self.tokenizer)
        if place == 5:
            return pack(list(lessons.examples(lessons.CLIPS, self.size // 2, seed, varied=varied)), self.tokenizer)
        if place == 2 and turn % 2:
            return pack(list(lessons.examples(lessons.CLIPS, self.size // 2, seed, varied=varied)), self.tokenizer)
        if place == 2:
            found = sorted(lessons.examples(lessons.SEVERAL, self.size, seed), key=lambda example: len(example.media))
            count = len(found[len(found) // 2].media)
            return pack([example for example in found if len(example.media) == count], self.tokenizer)
        start = (place - (place > 2) - (place > 5)) * self.size
        return pack(self._stills(turn)[start : start + self.size], self.tokenizer)

    def _stills(self, turn: int) -> list[lessons.Example]:
        """A round's single pictures: six batches, each of like lengths, in no order of length."""
        if self.pool[0] != turn:
            batches, first = self.ROUND - 2, turn * self.ROUND
            seed, varied = self.seed * 1_000_003 + first, first >= self.varied
            found = list(lessons.examples(lessons.STILLS, self.size * batches, seed, varied=varied))
            found.sort(key=lambda example: sum(len(text) for dialogue in example.dialogues for text in dialogue))
            order = random.Random(turn).sample(range(batches), batches)
            self.pool = turn, [found[b * self.size + i] for b in order for i in range(self.size)]
        return self.pool[1]
