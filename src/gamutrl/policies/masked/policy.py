"""The masked policy: discrete diffusion, which unmasks an answer in a few steps, the surest tokens first.

Two likelihoods: that of the path (every token as it was when it was unmasked), which replays the steps; and the one
that methods train on, an estimate: masked tokens given the others, under a mask that is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from gamutrl.core import Batch, Prompt, Rollout, Row, Sampling, Turn
from gamutrl.environments import Environment
from gamutrl.functional.masking import mask_rate, random_mask, tokens_left
from gamutrl.functional.probabilities import selective_log_softmax
from gamutrl.policies.base import Statistic
from gamutrl.policies.drawing import answered, uniforms
from gamutrl.policies.masked.model import Kind, Layout, MaskedTransformer
from gamutrl.policies.references import Referenced, References
from gamutrl.policies.sampling import choose


@dataclass(frozen=True)
class MaskedSampling(Sampling):
    """Sampling settings of unmasking.

    unmasking: how many steps. schedule: the share still masked by progress (`functional.masking.mask_rate`). noise: of
    Gumbel noise in which tokens count as surest, less with each step; none when greedy. block: so many tokens at a
    time, from left to right, are unmasked before the next (0: all of the answer together).
    """

    unmasking: int = 9
    schedule: str = "cosine"
    noise: float = 1.0
    block: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unmasking < 1:
            raise ValueError(f"sampling.unmasking must be at least 1, not {self.unmasking}.")
        if self.noise < 0 or self.block < 0:
            raise ValueError("sampling.noise and sampling.block must not be negative.")
        mask_rate(0.5, self.schedule)

    def revealed(self, slots: int) -> list[int]:
        """How many tokens of an answer have been unmasked after each step, block after block."""
        block = self.block or slots
        blocks = -(-slots // block)
        steps = max(1, self.unmasking // blocks)
        counts = []
        for b in range(blocks):
            size = min(block, slots - b * block)
            counts += [b * block + size - left for left in self._left(steps, size)]
        return counts

    def _left(self, steps: int, size: int) -> list[int]:
        """How many tokens are still masked after each of a block's steps."""
        if self.schedule == "cosine":
            return [*tokens_left(steps, size)[:-1], 0]
        return [*(int(size * mask_rate(step / steps, self.schedule)) for step in range(1, steps)), 0]


@dataclass(eq=False)
class Unmasked(Turn):
    """An answer and in which step each of its tokens was unmasked, `step_T`. kind: what it is made of. guidance: the
    classifier-free weight of the distribution that `logp_T` is of."""

    step_T: Tensor | None = None
    kind: Kind = "image"
    guidance: float = 1.0


class MaskedPolicy(Referenced):
    """A masked model that acts.

    A prompt without a picture is answered by a picture, one with a picture by words. Actions are the answer's tokens.
    """

    kinds = frozenset({"text", "image"})
    exact = True

    module: MaskedTransformer

    def __init__(self, module: MaskedTransformer) -> None:
        self.module = module.eval()
        self.references = References(module)

    @classmethod
    def load(cls, place: str | Path, *, device: str | torch.device = "cpu") -> MaskedPolicy:
        return cls(MaskedTransformer.load(place).to(device))

    @property
    def device(self) -> torch.device:
        return self.module.embed.weight.device

    # -- acting ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def rollout(
        self,
        prompts: Sequence[Prompt],
        group_size: int,
        environment: Environment,
        sampling: Sampling,
        *,
        seed: int,
    ) -> Batch:
        """`group_size` answers to each prompt. What a row samples depends on the seed, its id and its number only."""
        sampling = sampling if isinstance(sampling, MaskedSampling) else MaskedSampling(**vars(sampling))
        rollouts: dict[int, Rollout] = {}
        for kind in dict.fromkeys(map(self.module.kind_of, prompts)):
            places = [p for p, prompt in enumerate(prompts) if self.module.kind_of(prompt) == kind]
            asked = [prompts[p] for p in places]
            slots, steps = self.module.slots(kind), len(sampling.revealed(self.module.slots(kind)))
            uniform = uniforms(asked, group_size, seed, 2 * steps * slots).view(-1, 2, steps, slots)
            index_R = torch.arange(len(asked), device=self.device).repeat_interleave(group_size)
            layout = self.module.lay_out(asked, kind).take(index_R)
            answer_RS, logp_RS, step_RS = self._unmask(layout, kind, uniform.to(self.device), sampling)
            made = self._rollouts([prompts[p] for p in places for _ in range(group_size)], kind, answer_RS, logp_RS)
            for r, (rollout, step_S) in enumerate(zip(made, step_RS.cpu())):
                turn: Any = rollout.turns[0]
                turn.step_T, turn.guidance = step_S, sampling.trained_guidance
                turn.temperature = sampling.trained_temperature
                rollouts[places[r // group_size] * group_size + r % group_size] = rollout
        ordered = [rollouts[r] for r in sorted(rollouts)]
        answered(ordered, environment, seed)
        batch = self._batch(prompts, ordered, group_size)
        batch.info["sampling"] = sampling
        return batch

    @torch.no_grad()
    def demonstrated(self, prompts: Sequence[Prompt], texts: Sequence[Any]) -> Batch:
        """One rollout a prompt with a given answer: a picture, or a text where the prompt has a picture."""
        rollouts: list[Rollout] = []
        for prompt, output in zip(prompts, texts):
            kind = self.module.kind_of(prompt)
            answer_NS = self.module.read([output], kind)
            rollouts += self._rollouts([prompt], kind, answer_NS, torch.zeros(answer_NS.shape), [output])
            rollouts[-1].turns[0].exact = False
        return self._batch(prompts, rollouts, 1)

    def _unmask(
        self, layout: Layout, kind: Kind, uniform: Tensor, sampling: MaskedSampling
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The answers, each token's log-probability when it was unmasked, and the step, `[R, S]`."""
        rows, slots = len(layout.token_NL), len(layout.slot_S)
        answer = torch.full((rows, slots), -1, device=self.device)
        logp, step_of = torch.zeros(rows, slots, device=self.device), torch.zeros_like(answer)
        counts = sampling.revealed(slots)
        block = sampling.block or slots
        order_S = torch.arange(slots, device=self.device)
        for step, count in enumerate(counts):
            both = self._asked_and_unasked(layout, kind, answer, sampling.needs_unconditional)
            sampled = _led(*both, sampling.guidance) / sampling.score_temperature
            draw, gumbel = uniform[:, 0, step], -(-uniform[:, 1, step].clamp(1e-9, 1 - 1e-9).log()).log()
            token, value = choose(sampled.flatten(0, 1), draw.flatten(), sampling)
            token, value = token.view(rows, slots), value.view(rows, slots)
            noise = sampling.noise * (1 - (step + 1) / len(counts)) if sampling.temperature else 0.0
            sure = (value + noise * gumbel.to(value.dtype)).masked_fill(answer >= 0, -torch.inf)
            sure = sure.masked_fill(order_S >= -(-count // block) * block, -torch.inf)
            fresh = torch.zeros_like(answer, dtype=torch.bool)
            fresh.scatter_(1, sure.topk(count - (counts[step - 1] if step else 0), 1).indices, True)
            if not sampling.exact:
                trained = _led(*both, sampling.trained_guidance)
                value = selective_log_softmax(trained, token, sampling.trained_temperature)
            answer, logp = torch.where(fresh, token, answer), torch.where(fresh, value, logp)
            step_of = step_of.masked_fill(fresh, step)
        return answer, logp, step_of

    def _asked_and_unasked(
        self, layout: Layout, kind: Kind, answer_NS: Tensor, both: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Logits of the slots, `[N, S, V]`, and without the question; slots of -1 are masked."""
        known = answer_NS >= 0
        token_NS = torch.where(known, self.module.tokens(answer_NS, kind), self.module.mask)
        filled = layout.filled(token_NS)
        unasked = self.module.answers(self.module.unasked(filled), kind) if both else None
        return self.module.answers(filled, kind), unasked

    def _rollouts(
        self,
        prompts: Sequence[Prompt],
        kind: Kind,
        answer_RS: Tensor,
        logp_RS: Tensor,
        outputs: Sequence[Any] | None = None,
    ) -> list[Rollout]:
        """Answers as rollouts; outputs: what the answers stand for, where it is known."""
        if outputs is None and kind == "image":
            outputs = self.module.shown(answer_RS)
        elif outputs is None:
            outputs = [self.module.words.spell(numbers) for numbers in answer_RS.tolist()]
        made = []
        for prompt, answer_S, logp_S, output in zip(prompts, answer_RS.cpu(), logp_RS.cpu(), outputs):
            said = output if kind == "text" else ""
            made.append(Rollout(prompt, [Unmasked(said, said, answer_S, logp_S, kind=kind)], output=output))
        return made

    def _batch(self, prompts: Sequence[Prompt], rollouts: list[Rollout], group_size: int) -> Batch:
        rows = [Row(r, range(1), part=rollout.turns[0].kind) for r, rollout in enumerate(rollouts)]  # type: ignore[attr-defined]
        prompt_R = torch.arange(len(prompts)).repeat_interleave(group_size)
        return Batch.of(prompts, rollouts, prompt_R, rows=rows)

    # -- scoring --------------------------------------------------------------------------------------------------

    @overload
    def log_probs(self, batch: Batch) -> Tensor: ...

    @overload
    def log_probs(self, batch: Batch, statistics: Mapping[str, Statistic]) -> tuple[Tensor, dict[str, Tensor]]: ...

    def log_probs(
        self, batch: Batch, statistics: Mapping[str, Statistic] | None = None
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Log-probabilities of the rows' tokens, `logp_NT` float32, differentiable; 0 where the mask is False.

        Where the batch holds drawn masks (`masked_NT`, as `corrupt` gives them), those of the masked tokens given the
        others; else those of the path, each token as it was unmasked, which takes a forward pass a step.
        With `statistics`, the pair of it and `{name: value_NT}`.
        """
        if "masked_NT" in batch:
            step_NT = torch.where(batch["masked_NT"].to(self.device), 0, -1)
        else:
            step_NT = _steps(batch).to(self.device)
        return self._score(batch, step_NT, statistics)

    def corrupt(
        self,
        batch: Batch,
        level_N: Tensor,
        generator: torch.Generator,
        *,
        exact: bool = False,
        shared_N: Tensor | None = None,
    ) -> Tensor:
        """Masks for the rows' answers, `masked_NT` bool: each token with its row's probability, one at least.

        exact: a share of the tokens, rounded, and not each by itself. shared_N: rows of one number share a draw.
        """
        content_NT = batch.mask_NT.cpu()
        draw_NT = torch.rand(content_NT.shape, generator=generator)
        if shared_N is not None:
            _, place_N = shared_N.cpu().unique(return_inverse=True)
            draw_NT = draw_NT[place_N]
        ranked = draw_NT.masked_fill(~content_NT, 2.0).argsort(1).argsort(1)
        if exact:
            count_N = (content_NT.sum(1) * level_N.cpu()).round().clamp(min=1)
            return content_NT & (ranked < count_N[:, None])
        return content_NT & (random_mask(content_NT, level_N.cpu(), draw_NT) | (ranked == 0))

    def score(self, batch: Batch, masked_NT: Tensor) -> Tensor:
        """Log-probabilities of the masked tokens given the others, `[N, T]`, 0 for the others."""
        return self.log_probs(replace(batch, mask_NT=masked_NT).with_(masked_NT=masked_NT))

    def _score(
        self, batch: Batch, step_NT: Tensor, statistics: Mapping[str, Statistic] | None
    ) -> tuple[Tensor, dict[str, Tensor]] | Tensor:
        turns: list[Unmasked] = [batch.rollouts[row.rollout].turns[row.turns[0]] for row in batch.rows]  # type: ignore[misc]
        mask_NT, prompt_N = batch.mask_NT.to(self.device), batch.prompt_N
        logp_NT = torch.zeros(mask_NT.shape, device=self.device)
        found = {name: torch.zeros_like(logp_NT) for name in statistics or {}}
        for kind in dict.fromkeys(turn.kind for turn in turns):
            rows = torch.tensor([n for n, turn in enumerate(turns) if turn.kind == kind])
            used, place = prompt_N[rows].unique(return_inverse=True)
            layout = self.module.lay_out([batch.prompts[p] for p in used.tolist()], kind).take(place.to(self.device))
            answer = torch.stack([turns[n].tokens_T for n in rows.tolist()]).to(self.device)
            weight, warmth = (
                torch.tensor([float(getattr(turns[n], name)) for n in rows.tolist()], device=self.device)[:, None, None]
                for name in ("guidance", "temperature")
            )
            rows = rows.to(self.device)
            slots = answer.shape[1]
            wanted, step_of = mask_NT[rows, :slots], step_NT[rows, :slots]
            for step in step_of[wanted & (step_of >= 0)].unique().tolist():
                now = (step_of == step) & wanted
                known = answer.masked_fill(step_of >= step, -1)
                both = self._asked_and_unasked(layout, kind, known, bool((weight != 1).any()))
                logits = _led(*both, weight) / warmth
                where = (rows[:, None].expand_as(now)[now], now.nonzero()[:, 1])
                logp_NT = logp_NT.index_put(where, selective_log_softmax(logits[now], answer[now]))
                for name, statistic in (statistics or {}).items():
                    value = self._by_group(statistic, logits, now, batch.group_N.to(self.device)[rows])
                    found[name] = found[name].index_put(where, value[now])
        return logp_NT if statistics is None else (logp_NT, found)

    @staticmethod
    def _by_group(statistic: Statistic, logits: Tensor, now: Tensor, group_N: Tensor) -> Tensor:
        value = torch.zeros(now.shape, device=logits.device)
        for group in group_N.unique():
            rows = (group_N == group).nonzero().flatten()
            value = value.index_copy(0, rows, statistic(logits[rows], now[rows]).expand(now[rows].shape))
        return value

    # -- weights --------------------------------------------------------------------------------------------------

    def save(self, folder: Path | str) -> None:
        """config.json and safetensors, as `load` reads them."""
        self.module.save(folder)


def _led(asked: Tensor, unasked: Tensor | None, weight: Tensor | float) -> Tensor:
    return asked if unasked is None else unasked + weight * (asked - unasked)


def _steps(batch: Batch) -> Tensor:
    """In which step each token was unmasked, `[N, T]`. Raises ValueError for answers that nobody sampled."""
    out = torch.full(batch.mask_NT.shape, -1)
    for n, row in enumerate(batch.rows):
        step_T = getattr(batch.rollouts[row.rollout].turns[row.turns[0]], "step_T", None)
        if step_T is None:
            raise ValueError("A given answer has no path: score it under a drawn mask, by `corrupt` and `score`.")
        out[n, : len(step_T)] = step_T
    return out
