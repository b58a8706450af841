"""Rewards that ask somebody: judges, readers, reward models, by the responders that a stage names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Message, Prompt, ResponderError, text
from gamutrl.rewards.answers import number_in
from gamutrl.rewards.tags import Tag, tag_text


def ask(
    batch: Batch, context: Context, responder: str, conversation_R: Sequence[Sequence[Message] | None]
) -> list[str | None]:
    """What a responder says to one conversation a rollout; None where there was nothing to ask.

    All are asked at once. Where that fails for good each is asked alone, so that one bad conversation costs only its
    own rollout, which ends in "error".
    """
    asked = [r for r, conversation in enumerate(conversation_R) if conversation is not None]
    replies: list[str | None] = [None] * len(conversation_R)
    try:
        for r, reply in zip(asked, context.respond(responder, [conversation_R[r] or () for r in asked])):
            replies[r] = reply
    except ResponderError:
        for r in asked:
            try:
                (replies[r],) = context.respond(responder, [conversation_R[r] or ()])
            except ResponderError as error:
                rollout = batch.rollouts[r]
                rollout.end, rollout.info["error"] = "error", str(error)
    return replies


@dataclass(frozen=True)
class ModelScore:
    """The number that a responder gives to prompt and answer (a scalar reward model's score), within [low, high].

    NaN (does not apply) where the reply holds no number.
    """

    responder: str = "reward_model"
    low: float = -10.0
    high: float = 10.0

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        conversation_R = [
            (*rollout.prompt.messages, Message("assistant", (text(rollout.text),))) for rollout in batch.rollouts
        ]
        values = [number_in(reply or "") for reply in ask(batch, context, self.responder, conversation_R)]
        return torch.tensor([float("nan") if v is None else v for v in values]).clamp(self.low, self.high)


@dataclass(frozen=True)
class AnsweredFrom:
    """How well a reader answers the row's question from one tagged part of each rollout, and from nothing else.

    A rollout without that part gets 0; so does a reply that is `refusal`, which `instruction` may ask for. score:
    `(reply, prompt) -> value`. multiline: whether the part may hold line breaks. The question is the row's column
    `question`, or its last message. Source: Visionary-R1 (2505.14677), whose reader is the policy; RAPID and others
    have frozen ones.
    """

    tag: Tag
    score: Callable[[str, Prompt], float]
    instruction: str
    reader: str = "reader"
    refusal: str = ""
    multiline: bool = True

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        parts = [tag_text(rollout.text, self.tag, multiline=self.multiline) for rollout in batch.rollouts]
        conversation_R = [
            (Message("system", (text(self.instruction),)), Message("user", (text(_question(part, rollout.prompt)),)))
            if part
            else None
            for part, rollout in zip(parts, batch.rollouts)
        ]
        replies = ask(batch, context, self.reader, conversation_R)
        return torch.tensor(
            [
                0.0 if reply is None or (self.refusal and reply == self.refusal) else self.score(reply, rollout.prompt)
                for reply, rollout in zip(replies, batch.rollouts)
            ]
        )


def _question(part: str, prompt: Prompt) -> str:
    asked = prompt.columns.get("question") or prompt.messages[-1].text
    return f"Text: {part}\nQuestion: {asked}"
