"""One axis of tokens for words and codes, and the engine that samples along it.

Code c of a picture is token `words + c`: what a row is made of says by itself how it is embedded and predicted, and the
machinery for text (segments, packing, caches) serves pictures as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from gamutrl.core import Part, Sampling, Turn
from gamutrl.functional.denoising import guide
from gamutrl.policies.families import Backbone
from gamutrl.policies.generation import Native, Sampled
from gamutrl.policies.image_tokens.codes import Codes
from gamutrl.policies.packing import Rows
from gamutrl.policies.sampling import choose
from gamutrl.policies.scoring import scored
from gamutrl.policies.segments import Segment, Segments


class Joint(Backbone):
    """A model whose tokens are words below `words` and codes from there on."""

    def __init__(self, model: PreTrainedModel, codes: Codes) -> None:
        super().__init__(model)
        self.codes = codes
        self.embed_words = self.embed
        self.words = self.vocabulary
        self.vocabulary = self.words + codes.size
        self.embed = self._embed
        self.no_token = torch.zeros(0, dtype=torch.long, device=self.device)

    @property
    def device(self) -> torch.device:
        return self.embed_words.weight.device

    def part(self, name: str) -> list[torch.nn.Parameter]:
        """The parameters of "vision", "connector", "generation" (what embeds and predicts codes) or "language"."""
        if name == "generation":
            return self.codes.generation
        apart = {id(p) for p in (*self.codes.generation, *self.codes.tokenizer)}
        return [parameter for parameter in super().part(name) if id(parameter) not in apart]

    def _embed(self, tokens: Tensor) -> Tensor:
        drawn = tokens >= self.words
        if not drawn.any():
            return self.embed_words(tokens)
        if drawn.all():
            return self.codes.embed(tokens - self.words)
        embeds = self.embed_words(tokens.clamp(max=self.words - 1))
        return embeds.masked_scatter(drawn[..., None], self.codes.embed(tokens[drawn] - self.words).to(embeds.dtype))


class JointSegments(Segments):
    """Segments of a model that draws; the token that opens a picture ends a turn of text."""

    backbone: Joint

    def __init__(self, processor: ProcessorMixin, backbone: Joint) -> None:
        super().__init__(processor, backbone)
        opening = self.tokens_of(backbone.codes.opening)
        self.opens = int(opening[0])
        self.opening_rest = self.tokenizer.decode(opening[1:]) if len(opening) > 1 else ""
        self.eos = sorted({*self.eos, self.opens})

    def drawn(self, tokens_T: Tensor) -> bool:
        """Whether a turn's tokens are a picture."""
        return len(tokens_T) > 0 and int(tokens_T[0]) >= self.backbone.words

    def spell(self, tokens_T: Tensor) -> tuple[str, str, tuple[int, ...]]:
        """A picture spells nothing."""
        return ("", "", (0,) * len(tokens_T)) if self.drawn(tokens_T) else super().spell(tokens_T)

    def observation(self, parts: Sequence[Part], role: str, prefill: str = "", closed: bool = True) -> Segment:
        if role == "inside" and not parts:
            return self._segment(prefill, [])
        return super().observation(parts, role, prefill, closed)

    def written(self, codes_T: Tensor) -> tuple[Segment, Tensor]:
        """A picture as it stands in a context: its codes, a token after each row where the model wants one."""
        codes = self.backbone.codes
        index = torch.arange(len(codes_T))
        if codes.line is None:
            return self.text(codes_T), index
        place = index + index // codes.row
        tokens = torch.full((len(codes_T) + len(codes_T) // codes.row,), codes.line)
        tokens[place] = codes_T
        return self.text(tokens), place


class JointRows(Rows):
    """A batch's rows, pictures among them."""

    segments: JointSegments

    def _said(self, turn: Turn) -> tuple[Segment, Tensor]:
        return self.segments.written(turn.tokens_T) if self.segments.drawn(turn.tokens_T) else super()._said(turn)


class Easel(Native):
    """The engine that also draws: every rollout that is drawing decodes its codes in step with the others."""

    backbone: Joint
    segments: JointSegments

    def draw(
        self, rollouts: Sequence[int], lengths: Sequence[int], uniform: Tensor, sampling: Sampling
    ) -> list[Sampled]:
        """A picture of each of the rollouts. lengths: of their contexts. What is recorded is what `sampling` trains.

        uniform: one draw a code, `[rollouts, count]`.
        """
        codes, words = self.backbone.codes, self.backbone.words
        live = set(rollouts)
        place = {rollout: i for i, rollout in enumerate(rollouts)}
        uniform_NT = self._of_rows(uniform, place)
        twin = self._unasked(place, lengths) if sampling.needs_unconditional else None
        said, logps = [], []
        for k in range(codes.count):
            asked = codes.logits(self.last).float()
            unasked = asked if twin is None else codes.logits(twin.last).float()
            logits = scored(
                _guided(asked, unasked, sampling.guidance), sampling.score_temperature, self.backbone.no_token
            )
            code, logp = choose(logits, uniform_NT[:, k], sampling)
            if not sampling.exact:
                trained = _guided(asked, unasked, sampling.trained_guidance) / sampling.trained_temperature
                logp = trained.log_softmax(-1).gather(1, code[:, None])[:, 0]
            said.append(code)
            logps.append(logp)
            self._feed(code + words, live, twin)
            if codes.line is not None and (k + 1) % codes.row == 0:
                self._feed(torch.full_like(code, codes.line), live, twin)
        row_of = {rollout: row for row, rollout in enumerate(self.number)}
        code_NT, logp_NT = torch.stack(said, 1).cpu() + words, torch.stack(logps, 1).cpu()
        return [Sampled(code_NT[row_of[r]], logp_NT[row_of[r]], False) for r in rollouts]

    def decode(
        self, rollouts: Sequence[int], uniform: Tensor, sampling: Sampling, ended: Callable[[int, Sampled], bool]
    ) -> None:
        """As for any text; rollouts that are to draw keep the state that their first code is read from."""
        others = set(self.number) - set(rollouts)
        kept = {rollout: self.last[row] for row, rollout in enumerate(self.number) if rollout in others}
        super().decode(rollouts, uniform, sampling, ended)
        for row, rollout in enumerate(self.number):
            if rollout in kept:
                self.last[row] = kept[rollout]

    def leave(self, rollouts: Sequence[int]) -> None:
        """These rollouts are done; their rows are freed."""
        self.gone.update(rollouts)
        self._leave()

    def _feed(self, token: Tensor, live: set[int], twin: Native | None) -> None:
        last = self._step(token, live)
        # Rows that wait for words keep the state that their next word is read from.
        waiting = torch.tensor([r not in live for r in self.number], device=last.device)
        self.last = torch.where(waiting[:, None], self.last, last) if bool(waiting.any()) else last
        if twin is not None:
            twin.last = twin._step(token, set(twin.number))

    def _unasked(self, place: dict[int, int], lengths: Sequence[int]) -> Native:
        """A second engine for the same rows, whose contexts ask for nothing."""
        length_N = [lengths[place[r]] if r in place else min(lengths) for r in self.number]
        prompt_N = self.cache.prompt_N.tolist()
        by_prompt: dict[int, set[int]] = {}
        for prompt, length in zip(prompt_N, length_N):
            by_prompt.setdefault(prompt, set()).add(length)
        even = all(len(found) == 1 for found in by_prompt.values())
        keys = list(zip(prompt_N, length_N)) if even else list(enumerate(length_N))
        unique = list(dict.fromkeys(keys))
        twin = Native(self.backbone, self.segments, self.keep, self.budget)
        contexts = [self.segments.text(self.backbone.codes.unconditional(length)) for _, length in unique]
        twin.begin(contexts, [unique.index(key) for key in keys], self.backbone.codes.count)
        return twin


def guided_head(codes: Codes, weight: float) -> Callable[[Tensor], Tensor]:
    """Hidden states, the conditional and the unconditional side by side `[…, 2 D]`, to guided logits."""

    def head(hidden: Tensor) -> Tensor:
        asked, unasked = (codes.logits(part).float() for part in hidden.chunk(2, dim=-1))
        return guide(asked, unasked, weight)

    return head


def _guided(asked: Tensor, unasked: Tensor, weight: float) -> Tensor:
    return asked if weight == 1.0 else guide(asked, unasked, weight)
