"""Prompts of small models: a closed vocabulary of words, as numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

PAD, START, UNKNOWN = 0, 1, 2
SPECIAL = 3

_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


class Words:
    """Texts as rows of numbers: a start, then a number a word (case is folded, punctuation stands alone).

    words: the vocabulary, numbered from `SPECIAL` on. length: how many numbers a row has; pads fill it.
    """

    def __init__(self, words: Sequence[str], length: int) -> None:
        self.words, self.length = tuple(words), length
        self._number = {word: SPECIAL + k for k, word in enumerate(self.words)}

    def __len__(self) -> int:
        return SPECIAL + len(self.words)

    def numbers(self, text: str) -> list[int]:
        return [self._number.get(word, UNKNOWN) for word in _WORD.findall(text.lower())]

    def rows(self, texts: Sequence[str]) -> Tensor:
        """The texts, int64 `[N, length]`. Raises ValueError for a text that does not fit."""
        rows = torch.full((len(texts), self.length), PAD)
        for row, text in zip(rows, texts):
            numbers = self.numbers(text)
            if len(numbers) >= self.length:
                raise ValueError(
                    f"A text has {len(numbers)} words, but this model reads {self.length - 1}: {text[:80]!r}."
                )
            row[: len(numbers) + 1] = torch.tensor([START, *numbers])
        return rows

    def spell(self, numbers: Sequence[int]) -> str:
        """The words of these numbers, up to a pad; commas are set against the word before."""
        said = []
        for number in numbers:
            if number == PAD:
                break
            if SPECIAL <= number < len(self):
                said.append(self.words[number - SPECIAL])
        return " ".join(said).replace(" ,", ",")
