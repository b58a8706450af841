"""Rollouts: the conversation between an engine's words and an environment's, turn by turn, for all rollouts at once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from gamutrl.core import Message, Prompt, ResponderError, Rollout, Sampling, Turn
from gamutrl.environments import Environment
from gamutrl.environments.base import Episode, Step
from gamutrl.policies.generation import Engine, Sampled
from gamutrl.policies.sampling import draws
from gamutrl.policies.segments import Segment, Segments


@dataclass(eq=False)
class _Live:
    """A rollout under way. `length`: tokens in its context, `limit`: the most. `context`, `prefill`: what its next turn
    opens with."""

    rollout: Rollout
    episode: Episode
    name: str
    place: int
    length: int
    limit: int
    context: tuple[Message, ...] | None = None
    prefill: str = ""
    said: list[Segment] = field(default_factory=list)


def converse(
    engine: Engine,
    segments: Segments,
    prompts: Sequence[Prompt],
    begun: Sequence[Segment],
    group_size: int,
    environment: Environment,
    sampling: Sampling,
    seed: int,
    limit: int,
) -> list[Rollout]:
    """`group_size` rollouts of each prompt, in order. begun: the prompts' segments. limit: the most a context holds."""
    live: list[_Live] = []
    budget = getattr(environment, "tokens", None)
    times: Counter[str] = Counter()
    for prompt, segment in zip(prompts, begun):
        name = prompt.id or hashlib.sha256(prompt.text.encode("utf-8", "surrogatepass")).hexdigest()
        start = times[name] * group_size
        times[name] += 1
        state = int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest(), "little")
        for place in range(start, start + group_size):
            rollout = Rollout(prompt, [], info={"media_size": segment.sizes})
            episode = environment(prompt, state)
            most = limit if budget is None else min(limit, len(segment) + budget)
            live.append(_Live(rollout, episode, name, place, len(segment), most, prefill=sampling.prefill))
    engine.begin(begun, [p for p in range(len(prompts)) for _ in range(group_size)], sampling.max_tokens)

    going = list(range(len(live)))
    while going:
        uniform = torch.stack(
            [draws(seed, live[r].name, live[r].place, len(live[r].rollout.turns), sampling.max_tokens) for r in going]
        )
        goes_on: set[int] = set()

        def ended(r: int, sampled: Sampled, goes_on: set[int] = goes_on) -> bool:
            if _take(live[r], sampled, segments, sampling):
                goes_on.add(r)
            return r not in goes_on

        engine.decode(going, uniform, sampling, ended)
        going = [r for r in going if r in goes_on]
        if going:
            engine.extend(going, [live[r].said for r in going], [live[r].context is not None for r in going])
    return [one.rollout for one in live]


def _take(one: _Live, sampled: Sampled, segments: Segments, sampling: Sampling) -> bool:
    """Add a turn to its rollout and ask the environment; True if the rollout goes on."""
    rollout, tokens = one.rollout, sampled.tokens_T
    text, raw, char_of = segments.spell(tokens)
    try:
        step = one.episode.step(text)
    except ResponderError as error:
        step = Step(done=True, info={"error": str(error)})
        rollout.end = "error"
    turn = Turn(
        text=text,
        raw_text=raw,
        tokens_T=tokens,
        logp_T=sampled.logp_T,
        char_of_T=char_of,
        temperature=sampling.score_temperature,
        calls=step.calls,
        info=step.info,
        context=one.context,
        observation=step.parts,
        observation_role=step.role,
        prefill=one.prefill,
    )
    if step.keep is not None and step.keep != text:
        turn = _edited(turn, step.keep, segments)
    rollout.turns.append(turn)
    rollout.output = turn.text
    if step.done or rollout.end == "error":
        if rollout.end != "error":
            rollout.end = "length" if sampled.cut else step.info.get("end", "eos")
        return False
    one.context, one.prefill = step.context, step.prefill
    if step.context is not None:
        one.said, one.length = [segments.prompt(step.context, step.prefill)], 0
    else:
        closed = len(turn) > 0 and int(turn.tokens_T[-1]) in segments.eos
        one.said = [segments.observation(step.parts, step.role, step.prefill, closed)]
        one.length += len(turn)
    one.length += sum(len(segment) for segment in one.said)
    if one.length + 1 > one.limit:
        rollout.end, rollout.info["stop"] = "budget", "tokens"
        return False
    return True


def _edited(turn: Turn, keep: str, segments: Segments) -> Turn:
    """The turn as the environment wants it remembered: its log-probabilities are not those of what is trained on."""
    tokens = segments.tokens_of(keep)
    text, raw, char_of = segments.spell(tokens)
    return Turn(
        **{**vars(turn), "text": text, "raw_text": raw, "tokens_T": tokens, "char_of_T": char_of, "exact": False}
        | {"logp_T": torch.zeros(len(tokens))}
    )
