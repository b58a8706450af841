"""The next-scale policy: VAR and its kin, which draw all tokens of a scale at once, coarse scales first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Batch, Prompt, Rollout, Sampling, Turn
from gamutrl.environments import Environment
from gamutrl.functional.probabilities import selective_log_softmax
from gamutrl.policies.base import Statistic
from gamutrl.policies.drawing import answered, pictures_of, uniforms, values_of
from gamutrl.policies.next_scale.model import NextScale
from gamutrl.policies.next_scale.transformer import Cache, Condition
from gamutrl.policies.references import Referenced, References
from gamutrl.policies.sampling import choose

Actions = Literal["scale", "token"]


@dataclass(eq=False)
class Drawn(Turn):
    """A picture drawn in one turn. guidance: the classifier-free weight of the distribution that `logp_T` is of.

    `tokens_T` is `[K, widest]`, each scale's codes and -1 after them, where an action is a scale; `[L]` where it is a
    token.
    """

    guidance: float = 1.0

    @property
    def codes(self) -> Tensor:
        """All codes, coarse scales first, `[L]`."""
        return self.tokens_T[self.tokens_T >= 0]


class NextScalePolicy(Referenced):
    """A next-scale model that acts.

    actions: what is one action, a scale, whose log-probability is the sum of its tokens', or a single token. Guidance
    grows evenly from none at the first scale to all of it at the last, as in VAR. What is recorded is the
    log-probability under the guidance and the temperature that are trained. Prompts are their text, or, for a model of
    classes, the column `label`.
    """

    kinds = frozenset({"text"})
    exact = True

    module: NextScale

    def __init__(self, module: NextScale, *, actions: Actions = "scale") -> None:
        self.module, self.actions = module.eval(), actions
        self.references = References(module)
        self.scales = module.tokenizer.config.scales

    @classmethod
    def load(
        cls, place: str | Path, *, actions: Actions = "scale", device: str | torch.device = "cpu"
    ) -> NextScalePolicy:
        """A folder, or published weights of the hub (`FoundationVision/var/var_d30.pth`), to a policy."""
        return cls(NextScale.load(place).to(device), actions=actions)

    @property
    def device(self) -> torch.device:
        return self.module.transformer.pos_start.device

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
        """`group_size` pictures of each prompt. What a row samples depends on the seed, its id and its number only."""
        prompt_R = torch.arange(len(prompts)).repeat_interleave(group_size)
        uniform_RL = uniforms(prompts, group_size, seed, self.module.tokenizer.config.tokens)
        condition = self.conditions(prompts).take(prompt_R.to(self.device))
        code_RL, logp_RL, total = self._draw(condition, uniform_RL.to(self.device), sampling)
        shown = pictures_of(self.module.tokenizer.show(total))
        rollouts = [
            self._rollout(prompts[p], code_L, logp_L, picture, sampling)
            for p, code_L, logp_L, picture in zip(prompt_R.tolist(), code_RL.cpu(), logp_RL.cpu(), shown)
        ]
        answered(rollouts, environment, seed)
        batch = Batch.of(prompts, rollouts, prompt_R)
        batch.info["sampling"] = sampling
        return batch

    @torch.no_grad()
    def demonstrated(self, prompts: Sequence[Prompt], texts: Sequence[Any]) -> Batch:
        """One rollout a prompt whose actions are the codes of a given picture. Raises TypeError for what is none."""
        if odd := [text for text in texts if not isinstance(text, Image.Image)]:
            raise TypeError(f"A next-scale policy is shown pictures, not {type(odd[0]).__name__}.")
        side = self.module.tokenizer.config.pixels
        code_NL = self.module.tokenizer.encode(values_of(texts, side).to(self.device)).cpu()
        rollouts = [
            self._rollout(prompt, code_L, torch.zeros(len(code_L)), picture, Sampling())
            for prompt, code_L, picture in zip(prompts, code_NL, texts)
        ]
        for rollout in rollouts:
            rollout.turns[0].exact = False
        return Batch.of(prompts, rollouts, range(len(rollouts)))

    def conditions(self, prompts: Sequence[Prompt]) -> Condition:
        """What the model draws for, one row a prompt."""
        transformer = self.module.transformer
        if (words := transformer.words) is not None:
            return transformer.texts(words.rows([prompt.text for prompt in prompts]).to(self.device))
        return transformer.classes(torch.tensor([self._label(prompt) for prompt in prompts], device=self.device))

    def unconditional(self) -> Condition:
        """One row that asks for nothing."""
        transformer = self.module.transformer
        if (words := transformer.words) is not None:
            return transformer.texts(words.rows([""]).to(self.device))
        return transformer.classes(torch.tensor([transformer.config.classes], device=self.device))

    def _label(self, prompt: Prompt) -> int:
        label, classes = prompt.columns.get("label"), self.module.transformer.config.classes
        if not isinstance(label, int) or not 0 <= label < classes:
            raise ValueError(
                f"Row {prompt.id or prompt.text[:40]!r} needs a column `label`, a class of 0 to {classes - 1}, "
                f"not {label!r}: this model draws classes."
            )
        return label

    def _draw(self, condition: Condition, uniform_RL: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor]:
        """Codes and log-probabilities `[R, L]`, and the features that the codes stand for."""
        quantizer, rows = self.module.tokenizer.quantize, len(condition)
        both = condition
        if sampling.needs_unconditional:
            both = condition.join(self.unconditional().take(torch.zeros(rows, dtype=torch.long, device=self.device)))
        cache: Cache = []
        seen: Tensor | None = None
        total, codes, logps = torch.zeros((), device=self.device), [], []
        for k, side in enumerate(self.scales):
            inputs = None if seen is None else seen.repeat(len(both) // rows, 1, 1)
            logits = self.module.transformer.scale(k, inputs, both, cache)
            share = self.share(k)
            sampled = _guided(logits, rows, 1 + (sampling.guidance - 1) * share) / sampling.score_temperature
            start = sum(s * s for s in self.scales[:k])
            draw = uniform_RL[:, start : start + side * side]
            code_Rl, logp_Rl = choose(sampled.flatten(0, 1), draw.flatten(), sampling)
            code_Rl, logp_Rl = code_Rl.view(draw.shape), logp_Rl.view(draw.shape)
            if not sampling.exact:
                trained = _guided(logits, rows, 1 + (sampling.trained_guidance - 1) * share)
                logp_Rl = selective_log_softmax(trained, code_Rl, sampling.trained_temperature)
            codes.append(code_Rl)
            logps.append(logp_Rl)
            total = total + quantizer.part(code_Rl, k)
            seen = quantizer.seen(total, k + 1) if k + 1 < len(self.scales) else None
        return torch.cat(codes, 1), torch.cat(logps, 1), total

    def share(self, k: int) -> float:
        """How much of the guidance scale k gets."""
        return k / (len(self.scales) - 1) if len(self.scales) > 1 else 1.0

    def _rollout(
        self, prompt: Prompt, code_L: Tensor, logp_L: Tensor, picture: Image.Image, sampling: Sampling
    ) -> Rollout:
        if self.actions == "token":
            actions, logp = code_L, logp_L
        else:
            sizes = [side * side for side in self.scales]
            actions = torch.nn.utils.rnn.pad_sequence(code_L.split(sizes), batch_first=True, padding_value=-1)
            logp = torch.stack([part.sum() for part in logp_L.split(sizes)])
        turn = Drawn(
            "", "", actions, logp, temperature=sampling.trained_temperature, guidance=sampling.trained_guidance
        )
        return Rollout(prompt, [turn], output=picture)

    # -- scoring --------------------------------------------------------------------------------------------------

    @overload
    def log_probs(self, batch: Batch) -> Tensor: ...

    @overload
    def log_probs(self, batch: Batch, statistics: Mapping[str, Statistic]) -> tuple[Tensor, dict[str, Tensor]]: ...

    def log_probs(
        self, batch: Batch, statistics: Mapping[str, Statistic] | None = None
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Log-probabilities of the rows' actions, `logp_NT` float32, differentiable; 0 where the mask is False.

        With `statistics` (functions of the trained distribution's logits, token by token), the pair of it and
        `{name: value_NT}`; an action that is a scale has the sum of its tokens' values.
        """
        turns: list[Drawn] = [batch.rollouts[row.rollout].turns[row.turns[0]] for row in batch.rows]  # type: ignore[misc]
        mask_NT = batch.mask_NT.to(self.device)
        if not turns:
            empty = mask_NT.float()
            return (empty, dict.fromkeys(statistics, empty)) if statistics is not None else empty
        code_NL = torch.stack([turn.codes for turn in turns]).to(self.device)
        logits = self._logits(batch, code_NL, [turn.guidance for turn in turns])
        logits = logits / torch.tensor([turn.temperature for turn in turns], device=self.device)[:, None, None]
        logp_NT = self._by_action(selective_log_softmax(logits, code_NL)) * mask_NT
        if statistics is None:
            return logp_NT
        found = {name: torch.zeros_like(logp_NT) for name in statistics}
        group_N = batch.group_N.to(self.device)
        for group in group_N.unique():
            rows = (group_N == group).nonzero().flatten()
            every = torch.ones(len(rows), logits.shape[1], dtype=torch.bool, device=self.device)
            for name, statistic in statistics.items():
                value = self._by_action(statistic(logits[rows], every).expand(every.shape)) * mask_NT[rows]
                found[name] = found[name].index_copy(0, rows, value)
        return logp_NT, found

    def _logits(self, batch: Batch, code_NL: Tensor, guidance: Sequence[float]) -> Tensor:
        """The trained distribution's logits before the temperature, `[N, L, V]`, all scales at once."""
        seen = self.module.tokenizer.quantize.inputs(code_NL)
        prompt_N, rows = batch.prompt_N.to(self.device), len(code_NL)
        used, place_N = prompt_N.unique(return_inverse=True)
        condition = self.conditions([batch.prompts[p] for p in used.tolist()]).take(place_N)
        if all(weight == 1 for weight in guidance):
            return self.module.transformer(seen, condition)
        condition = condition.join(self.unconditional().take(torch.zeros_like(place_N)))
        share_L = torch.tensor([self.share(k) for k in range(len(self.scales))], device=self.device)
        share_L = share_L[self.module.transformer.scale_L]
        weight_NL = 1 + (torch.tensor(guidance, device=self.device)[:, None] - 1) * share_L
        return _guided(self.module.transformer(seen.repeat(2, 1, 1), condition), rows, weight_NL[..., None])

    def _by_action(self, value_NL: Tensor) -> Tensor:
        if self.actions == "token":
            return value_NL
        sizes = [side * side for side in self.scales]
        return torch.stack([part.sum(1) for part in value_NL.split(sizes, 1)], 1)

    # -- weights --------------------------------------------------------------------------------------------------

    def save(self, folder: Path | str) -> None:
        """config.json and safetensors, as `load` reads them."""
        self.module.save(folder)


def _guided(logits: Tensor, rows: int, weight: Tensor | float) -> Tensor:
    """The first `rows` rows led away from the others by a weight; there are others only where it is needed."""
    if len(logits) == rows:
        return logits
    asked, unasked = logits[:rows], logits[rows:]
    return unasked + weight * (asked - unasked)
