"""The plain path: one forward pass a row, through the model's own front door.

For models whose attention can't be laid out by us, and the yardstick that packing is held to before it is relied on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from gamutrl.core import Message, Sampling, image, text
from gamutrl.policies.families import Backbone
from gamutrl.policies.generation import Sampled, Stop
from gamutrl.policies.media import embedded
from gamutrl.policies.packing import Continuation, pack
from gamutrl.policies.sampling import choose
from gamutrl.policies.scoring import scored
from gamutrl.policies.segments import Segment, Segments


def hidden(backbone: Backbone, sequences: Sequence[Continuation]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Row numbers, hidden states `[T, D]` that predict their actions, and which of these predicts which, `[1, T]`."""
    for n, sequence in enumerate(sequences):
        states = backbone.base(**inputs(backbone, [sequence.prompt, *sequence.rest]), use_cache=False)[0][0]
        states = states[len(sequence.prompt) + sequence.action_T.to(states.device) - 1]
        yield [n], states, torch.arange(len(states), device=states.device)[None]


def inputs(backbone: Backbone, segments: Sequence[Segment]) -> dict[str, Tensor]:
    """What the model's own forward takes for these segments in a row."""
    tokens = torch.cat([segment.tokens_L for segment in segments])[None]
    kind = torch.cat([segment.kind_L for segment in segments])[None]
    offered = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "mm_token_type_ids": kind,
        "token_type_ids": kind,
    }
    for name in dict.fromkeys(name for segment in segments for name in segment.media):
        parts = [segment.media[name] for segment in segments if name in segment.media]
        offered[name] = _joined(parts, backbone.media_axis() if parts[0].dim() > 2 else 0)
    return {name: value.to(backbone.device) for name, value in offered.items() if name in backbone.forward_names}


@torch.no_grad()
def disagreement(backbone: Backbone, segments: Segments) -> str | None:
    """Why packing can't be trusted with this model: what went wrong in a small trial, or by how much it is off."""
    picture = Image.linear_gradient("L").resize((56, 56)).convert("RGB")
    said = [segments.text(segments.tokens_of(words)) for words in ("It is a small picture.", "Nothing?")]
    asked = [Message("user", (image(picture), text("What is this?"))), Message("user", (text("What is this?"),))]
    try:
        prompts = [segments.prompt([message]) for message in asked]
        sequences = [Continuation(p, [s], torch.arange(len(s))) for p in prompts for s in said]
        packed = pack(sequences, range(len(sequences)), backbone)
        embeds, deep = embedded(backbone, packed.tokens_L, packed.segments, packed.starts, False)
        ours = backbone.hidden(embeds, packed.position_AL[:, None], packed.layout, deep, packed.wanted_W)
        worst = 0.0
        for (n,), plain, _ in hidden(backbone, sequences):
            states = ours[packed.source_NT[n, : len(plain)]]
            both = [backbone.logits(state).float().log_softmax(-1) for state in (states, plain)]
            worst = max(worst, float((both[0] - both[1]).abs().mean()))
    except Exception as error:
        return f"a trial failed ({type(error).__name__}: {error})"
    tolerance = 1e-3 if ours.dtype == torch.float32 else 0.1
    return None if worst < tolerance else f"log-probabilities are off by {worst:.2g}"


class Plain:
    """The engine that calls the library's `generate`, a rollout at a time."""

    def __init__(self, backbone: Backbone, segments: Segments) -> None:
        self.backbone, self.segments = backbone, segments
        self.banned = torch.tensor(segments.banned, dtype=torch.long, device=backbone.device)

    def begin(self, prompts: Sequence[Segment], prompt_R: Sequence[int], room: int) -> None:
        self.contexts = [[prompts[p]] for p in prompt_R]

    def decode(
        self, rollouts: Sequence[int], uniform: Tensor, sampling: Sampling, ended: Callable[[int, Sampled], bool]
    ) -> None:
        model: Any = self.backbone.model
        for rollout, draws in zip(rollouts, uniform):
            draw = _Draw(draws, sampling, self.banned)
            settings = GenerationConfig(
                max_new_tokens=sampling.max_tokens,
                do_sample=False,
                eos_token_id=self.segments.eos,
                pad_token_id=self.segments.eos[0],
            )
            heard = _Heard(Stop(sampling.stop, self.segments.tokenizer)) if sampling.stop else None
            model.generate(
                **inputs(self.backbone, self.contexts[rollout]),
                generation_config=settings,
                logits_processor=[draw],
                stopping_criteria=[heard] if heard is not None else None,
            )
            tokens = torch.tensor(draw.tokens)
            own = draw.tokens[-1] in self.segments.eos or (heard is not None and heard.done)
            self.contexts[rollout].append(self.segments.text(tokens))
            ended(rollout, Sampled(tokens, torch.tensor(draw.logps), not own))

    def extend(self, rollouts: Sequence[int], said: Sequence[Sequence[Segment]], fresh: Sequence[bool]) -> None:
        for rollout, segments, new in zip(rollouts, said, fresh):
            self.contexts[rollout] = [*([] if new else self.contexts[rollout]), *segments]


class _Draw(LogitsProcessor):
    """Draws by our rule, and leaves `generate` no other choice."""

    def __init__(self, uniform: Tensor, sampling: Sampling, banned: Tensor) -> None:
        self.uniform, self.sampling, self.banned = uniform, sampling, banned
        self.tokens: list[int] = []
        self.logps: list[float] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logits = scored(scores, self.sampling.score_temperature, self.banned)
        uniform = self.uniform[len(self.tokens)].to(scores.device).view(1)
        token, logp = choose(logits, uniform, self.sampling)
        self.tokens.append(int(token))
        self.logps.append(float(logp))
        return torch.full_like(scores, -torch.inf).index_fill(1, token, 0.0)


class _Heard(StoppingCriteria):
    def __init__(self, stop: Stop) -> None:
        self.stop, self.done = stop, False

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        self.done = self.stop.hears(int(input_ids[0, -1]))
        return torch.tensor([self.done], device=input_ids.device)


def _joined(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Side by side along an axis, zeros filling up what is smaller along the others."""
    shape = [max(sizes) for sizes in zip(*(part.shape for part in parts))]
    padded = []
    for part in parts:
        wanted = [part.shape[axis] if a == axis else size for a, size in enumerate(shape)]
        missing = [m for have, want in zip(reversed(part.shape), reversed(wanted)) for m in (0, want - have)]
        padded.append(torch.nn.functional.pad(part, missing))
    return torch.cat(padded, dim=axis)
