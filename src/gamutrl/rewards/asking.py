"""Rewards that ask somebody: judges, readers, reward models, by the responders that a stage names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Message, Prompt, ResponderError, image, text
from gamutrl.rewards.answers import number_in
from gamutrl.rewards.judging import grade_after, verdict
from gamutrl.rewards.ocr import quoted, rendered_text
from gamutrl.rewards.outputs import asked_text, picture_of
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


@dataclass(frozen=True)
class JudgedAnswer:
    """What a judge, who does not see the picture, says of each tagged answer beside the row's own.

    template: what the judge is told: `{question}` (the row's column `question`, or its last message), `{truth}`,
    `{answer}`. read: `(reply) -> value`; NaN (does not apply) where it is None. A rollout without an answer gets 0.
    """

    template: str = (
        "Judge whether an answer to a question about a picture agrees with the true one in meaning, whatever its "
        "wording.\nQuestion: {question}\nTrue answer: {truth}\nAnswer: {answer}\n"
        "Reply `Judgement: 1` if it does, `Judgement: 0` if it does not."
    )
    read: Callable[[str], float | None] = verdict
    responder: str = "judge"
    tag: Tag = "answer"

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        asked = [
            self._asked(rollout.prompt, tag_text(rollout.text, self.tag, which="last")) for rollout in batch.rollouts
        ]
        values = []
        for conversation, reply in zip(asked, ask(batch, context, self.responder, asked)):
            value = 0.0 if conversation is None else None if reply is None else self.read(reply)
            values.append(float("nan") if value is None else float(value))
        return torch.tensor(values)

    def _asked(self, prompt: Prompt, answer: str | None) -> tuple[Message, ...] | None:
        if not answer:
            return None
        question = prompt.columns.get("question") or prompt.messages[-1].text
        filled = {"{question}": str(question), "{truth}": str(prompt.answer), "{answer}": answer}
        said = re.sub("|".join(map(re.escape, filled)), lambda found: filled[found[0]], self.template)
        return (Message("user", (text(said),)),)


@dataclass(frozen=True)
class JudgedPicture:
    """What a judge says of each picture, read from its reply; NaN where that cannot be read.

    template: the question, with the row's columns and `prompt` (what was asked for) in braces. read: `(reply) ->
    value`. low, high: the reply's scale, brought to [0, 1]. A rollout without a picture gets 0.
    """

    template: str = "Is this a good picture of: {prompt}? Say why, then write `score: ` and a number from 0 to 10."
    read: Callable[[str], float | None] = grade_after
    responder: str = "judge"
    low: float = 0.0
    high: float = 10.0

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        conversation_R = shown_and_asked(batch, lambda prompt: filled_in(self.template, prompt))
        values = []
        for conversation, reply in zip(conversation_R, ask(batch, context, self.responder, conversation_R)):
            value = 0.0 if conversation is None else None if reply is None else self.read(reply)
            scaled = value if conversation is None or value is None else (value - self.low) / (self.high - self.low)
            values.append(float("nan") if scaled is None else min(max(scaled, 0.0), 1.0))
        return torch.tensor(values)


@dataclass(frozen=True)
class WrittenWords:
    """How much of the text that a row wants in its picture a reader finds there (`ocr.rendered_text`).

    The text is the row's column `text`, or what its prompt has in double quotes; NaN for rows without any. A rollout
    without a picture gets 0.
    """

    responder: str = "reader"
    instruction: str = "Read all text in this picture. Reply with the text and nothing else."

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        wanted_R = [_wanted(rollout.prompt) for rollout in batch.rollouts]
        conversation_R = shown_and_asked(batch, lambda prompt: self.instruction if _wanted(prompt) else "")
        replies = ask(batch, context, self.responder, conversation_R)
        values = [
            float("nan") if not wanted else rendered_text([[reply or "", 1.0]], wanted)
            for wanted, reply in zip(wanted_R, replies)
        ]
        return torch.tensor(values)


@dataclass(frozen=True)
class YesProbability:
    """How probable a model of the run's holds "yes" rather than "no", asked about each picture (VQAScore, 2404.01291).

    model: its name among the run's models; any image-text-to-text model will do. question: with the row's columns and
    `prompt` in braces. A rollout without a picture gets 0.
    """

    question: str = "Does this picture show {prompt}? Answer yes or no."
    model: str = "judge"
    yes: str = "Yes"
    no: str = "No"

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        conversation_R = shown_and_asked(batch, lambda prompt: filled_in(self.question, prompt))
        asked = [Prompt(conversation) for conversation in conversation_R if conversation is not None]
        value_R = torch.zeros(len(conversation_R))
        if asked:
            # The words part at their first token: what follows it is no longer a choice.
            first_2P = [self._first(context.models[self.model], asked, word) for word in (self.yes, self.no)]
            there_R = torch.tensor([conversation is not None for conversation in conversation_R])
            value_R[there_R] = (first_2P[0] - first_2P[1]).sigmoid().float().cpu()
        return value_R

    @staticmethod
    def _first(model: Any, prompts: Sequence[Prompt], word: str) -> Tensor:
        with torch.no_grad():
            return model.log_probs(model.demonstrated(prompts, [word] * len(prompts)))[:, 0]


def shown_and_asked(batch: Batch, question: Callable[[Prompt], str]) -> list[tuple[Message, ...] | None]:
    """Each rollout's picture with a question about it; None where there is no picture or no question."""
    conversations: list[tuple[Message, ...] | None] = []
    for rollout in batch.rollouts:
        picture, words = picture_of(rollout), question(rollout.prompt)
        shown = picture is not None and words
        conversations.append((Message("user", (image(picture), text(words))),) if shown else None)
    return conversations


def filled_in(template: str, prompt: Prompt) -> str:
    """A template with a row's columns put in for their names in braces; braces without such a name stay."""
    values = {**prompt.columns, "prompt": asked_text(prompt)}
    return re.sub(r"\{(\w{1,64})\}", lambda found: str(values.get(found[1], found[0])), template)


def _wanted(prompt: Prompt) -> str:
    said = prompt.columns.get("text")
    return said if isinstance(said, str) else quoted(asked_text(prompt))


def _question(part: str, prompt: Prompt) -> str:
    asked = prompt.columns.get("question") or prompt.messages[-1].text
    return f"Text: {part}\nQuestion: {asked}"
