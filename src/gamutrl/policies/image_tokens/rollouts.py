"""Rollouts of words and pictures: turn by turn, for all rollouts at once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from gamutrl.core import Message, Prompt, ResponderError, Rollout, Sampling, Turn
from gamutrl.environments import Environment
from gamutrl.environments.base import Episode, Step
from gamutrl.policies.generation import Sampled
from gamutrl.policies.image_tokens.joint import Easel, JointSegments
from gamutrl.policies.sampling import draws
from gamutrl.policies.segments import Segment

Makes = Literal["text", "image"]


@dataclass(eq=False)
class _Live:
    """A rollout under way. `makes`: what its next turn is. `length`: tokens in its context. `said`: what enters it."""

    rollout: Rollout
    episode: Episode
    name: str
    place: int
    makes: Makes
    length: int
    prefill: str
    context: tuple[Message, ...] | None = None
    said: list[Segment] = field(default_factory=list)


def first_of(environment: Environment) -> Makes:
    """What a rollout's first turn is: a picture, unless the environment says otherwise."""
    return getattr(environment, "makes", "image")


def perform(
    easel: Easel,
    segments: JointSegments,
    prompts: Sequence[Prompt],
    begun: Sequence[Segment],
    group_size: int,
    environment: Environment,
    sampling: Sampling,
    seed: int,
    limit: int,
) -> list[Rollout]:
    """`group_size` rollouts of each prompt, in order. begun: the prompts' segments. limit: the most a context holds."""
    makes = first_of(environment)
    opening = segments.backbone.codes.opening if makes == "image" else ""
    live: list[_Live] = []
    times: Counter[str] = Counter()
    for prompt, segment in zip(prompts, begun):
        name = prompt.id or hashlib.sha256(prompt.text.encode("utf-8", "surrogatepass")).hexdigest()
        start = times[name] * group_size
        times[name] += 1
        state = int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest(), "little")
        for place in range(start, start + group_size):
            rollout = Rollout(prompt, [], info={"media_size": segment.sizes})
            episode = environment(prompt, state)
            live.append(_Live(rollout, episode, name, place, makes, len(segment), sampling.prefill + opening))
    room = segments.backbone.codes.count if makes == "image" else sampling.max_tokens
    easel.begin(begun, [p for p in range(len(prompts)) for _ in range(group_size)], room)

    going = list(range(len(live)))
    while going:
        goes_on: set[int] = set()

        def ended(r: int, sampled: Sampled, picture: Any = None, goes_on: set[int] = goes_on) -> bool:
            if _take(live[r], sampled, picture, segments, sampling, limit):
                goes_on.add(r)
            return r not in goes_on

        def uniform(rollouts: Sequence[int], count: int) -> torch.Tensor:
            turns = [(live[r].name, live[r].place, len(live[r].rollout.turns)) for r in rollouts]
            return torch.stack([draws(seed, *turn, count) for turn in turns])

        drawing = [r for r in going if live[r].makes == "image"]
        writing = [r for r in going if live[r].makes == "text"]
        if drawing:
            codes = segments.backbone.codes
            lengths = [live[r].length for r in drawing]
            made = easel.draw(drawing, lengths, uniform(drawing, codes.count), sampling)
            pictures = codes.decode(torch.stack([one.tokens_T for one in made]) - segments.backbone.words)
            easel.leave([r for r, one, picture in zip(drawing, made, pictures) if ended(r, one, picture)])
        if writing:
            easel.decode(writing, uniform(writing, sampling.max_tokens), sampling, ended)
        going = [r for r in going if r in goes_on]
        if going:
            easel.extend(going, [live[r].said for r in going], [live[r].context is not None for r in going])
    return [one.rollout for one in live]


def _take(one: _Live, sampled: Sampled, picture: Any, segments: JointSegments, sampling: Sampling, limit: int) -> bool:
    """Add a turn to its rollout and ask the environment; True if the rollout goes on."""
    rollout, tokens = one.rollout, sampled.tokens_T
    text, raw, char_of = segments.spell(tokens)
    try:
        step = one.episode.step(text if picture is None else picture)
    except ResponderError as error:
        step = Step(done=True, info={"error": str(error)})
        rollout.end = "error"
    about = {} if picture is None else {"picture": picture, "guidance": sampling.trained_guidance}
    turn = Turn(
        text=text,
        raw_text=raw,
        tokens_T=tokens,
        logp_T=sampled.logp_T,
        char_of_T=char_of,
        temperature=sampling.trained_temperature,
        calls=step.calls,
        info={**step.info, **about},
        context=one.context,
        observation=step.parts,
        observation_role=step.role,
        prefill=one.prefill,
        # What drawing records is what is trained; words are recorded as they were sampled.
        exact=picture is not None or sampling.trained_temperature == sampling.score_temperature,
    )
    rollout.turns.append(turn)
    if picture is not None or not any("picture" in turn.info for turn in rollout.turns):
        rollout.output = text if picture is None else picture
    if step.done or rollout.end == "error":
        if rollout.end != "error":
            rollout.end = "length" if sampled.cut else step.info.get("end", "eos")
        return False
    if picture is not None and step.context is None:
        raise ValueError("After a picture an environment must open a fresh context (Step.context): it is shown there.")
    _open(one, turn, step, segments)
    room = segments.backbone.codes.count if one.makes == "image" else 1
    if one.length + room > limit:
        rollout.end = "budget"
        return False
    return True


def _open(one: _Live, turn: Turn, step: Step, segments: JointSegments) -> None:
    """What enters the context before the next turn."""
    last = int(turn.tokens_T[-1])
    one.makes, one.context = step.makes, step.context
    one.prefill = step.prefill
    if step.makes == "image":
        # A plan that ended in the token that opens a picture has opened it.
        opened = step.context is None and not step.parts and last == segments.opens
        one.prefill += segments.opening_rest if opened else segments.backbone.codes.opening
    if step.context is not None:
        one.said, one.length = [segments.prompt(step.context, one.prefill)], 0
    else:
        one.said = [segments.observation(step.parts, step.role, one.prefill, last in segments.eos)]
        one.length += len(turn)
    one.length += sum(len(segment) for segment in one.said)
