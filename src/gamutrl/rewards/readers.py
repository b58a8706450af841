"""Choosing readers for somebody else: what a choice does to a frozen reasoner's answer (VisTA, 2505.20289)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan

import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Batch, Context, Message, Prompt, image, text
from gamutrl.data.transforms import over_pictures
from gamutrl.rewards.asking import ask
from gamutrl.rewards.charts import relaxed_match
from gamutrl.rewards.tags import tag_text
from gamutrl.rewards.tools import gain


def kept_reports(prompt: Prompt) -> Sequence[str]:
    """What the readers said of a row's picture: its column `reports`, empty where one said nothing."""
    return prompt.columns["reports"]


@dataclass(frozen=True)
class Reasoned:
    """What a choice does to a frozen reasoner: `worth(right without readers, right with those chosen)`.

    choose: the readers that a reply chooses. reports: what each reader says of a row. The reasoner is shown the picture
    squeezed, and asked the row's column `question`, whose answer is the row's. One that fails for good ends the rollout
    in "error".
    """

    choose: Callable[[str], Sequence[int]]
    reports: Callable[[Prompt], Sequence[str]] = kept_reports
    worth: Callable[[bool, bool], float] = gain
    responder: str = "reasoner"
    before: str = "Answer the question about the picture in <answer></answer>."

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        without_R = self.right(batch, context, [()] * len(batch.rollouts))
        with_R = self.right(batch, context, [self.choose(rollout.text) for rollout in batch.rollouts])
        pairs = zip(without_R, with_R)
        return torch.tensor([nan if one is None or other is None else self.worth(one, other) for one, other in pairs])

    def right(self, batch: Batch, context: Context, choice_R: Sequence[Sequence[int]]) -> list[bool | None]:
        """Whether the reasoner is right when told what these readers say; None where it failed for good."""
        asked = [self.asked(rollout.prompt, choice) for rollout, choice in zip(batch.rollouts, choice_R)]
        return [
            None if reply is None else bool(relaxed_match(_answer(reply), rollout.prompt.answer))
            for rollout, reply in zip(batch.rollouts, ask(batch, context, self.responder, asked))
        ]

    def asked(self, prompt: Prompt, choice: Sequence[int]) -> list[Message]:
        """The squeezed picture, the question, and what the chosen readers say, blank lines between."""
        reports = self.reports(prompt)
        said = [reports[reader] for reader in choice if reader < len(reports) and reports[reader]]
        told = "\nExtra information: " + "\n\n".join(said) if said else ""
        words = text(f"{self.before} Question: {prompt.columns['question']}{told}")
        return [Message("user", (*(image(part.value) for part in squeezed(prompt).media), words))]


def squeezed(prompt: Prompt) -> Prompt:
    """The row with each picture at half its width or height, at one end of a white sheet of its size."""
    rng = random.Random(f"{prompt.id}/squeezed")

    def half(picture: Image.Image) -> Image.Image:
        wide, high = picture.size
        small = rng.choice(((max(1, wide // 2), high), (wide, max(1, high // 2))))
        end = rng.randrange(2)
        sheet = Image.new("RGB", picture.size, "white")
        sheet.paste(picture.convert("RGB").resize(small), (end * (wide - small[0]), end * (high - small[1])))
        return sheet

    return over_pictures(prompt, half)


def right_with(without: bool, chosen: bool) -> float:
    """Whether the reasoner is right with the readers chosen."""
    return float(chosen)


def misled(without: bool, chosen: bool) -> float:
    """Whether the readers chosen cost the reasoner an answer that it had."""
    return float(without and not chosen)


def _answer(reply: str) -> str:
    return tag_text(reply, multiline=False) or reply.strip()
