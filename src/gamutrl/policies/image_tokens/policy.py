"""A policy that draws by sampling the codes of a picture one after another, and writes as well.

What it is made of is the text policy's: prompts are prefilled once for their group, rows packed once a prompt, and what
sampling recorded is what scoring finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import ProcessorMixin

from gamutrl.core import Batch, Prompt, Rollout, Row, Sampling, Turn
from gamutrl.environments import Environment
from gamutrl.policies.image_tokens.codes import codes_of
from gamutrl.policies.image_tokens.joint import Easel, Joint, JointRows, JointSegments, guided_head
from gamutrl.policies.image_tokens.rollouts import first_of, perform
from gamutrl.policies.media import embedded
from gamutrl.policies.packing import Continuation, pack
from gamutrl.policies.text import Part, TextPolicy

Made = str | Image.Image | tuple[str, Image.Image]
"""What a demonstration shows: words, a picture, or a plan and its picture."""


class ImageTokenPolicy(TextPolicy):
    """A model that writes words and draws pictures as codes (Janus, Janus-Pro, Emu3).

    A rollout's turns are rows of their own: `part` is "text" or "image". `rollout.output` is the picture.
    Classifier-free guidance is the sampling settings': `guidance` weighs what is sampled, `guidance_train` what is
    recorded and trained. side: codes along a picture's edge, where the model leaves that open.
    """

    backbone: Joint
    segments: JointSegments

    def __init__(
        self, module: nn.Module, processor: ProcessorMixin, *, side: int | None = None, **options: Any
    ) -> None:
        super().__init__(module, processor, **options)
        self.codes = codes_of(self.model, processor, side)
        for parameter in self.codes.tokenizer:
            parameter.requires_grad_(False)
        self.backbone = Joint(self.model, self.codes)
        self.segments = JointSegments(processor, self.backbone)

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
        """`group_size` rollouts of each prompt; a picture each, unless the environment asks for words or for both.

        Raises ValueError, naming the row, for a prompt that the model can't take or that is too long, and for a model
        whose prompts can't be shared.
        """
        if not self._packs:
            raise ValueError(f"A {type(self.model).__name__} can't draw here: {self.backbone.reason or 'see above'}.")
        opening = self.codes.opening if first_of(environment) == "image" else ""
        prefill = sampling.prefill + opening
        opened = replace(sampling, prefill=prefill)
        kept = [(prompt, segment) for prompt in prompts if (segment := self._segment(prompt, opened)) is not None]
        prompts, begun = [prompt for prompt, _ in kept], [segment for _, segment in kept]
        rollouts: list[Rollout] = []
        if prompts:
            easel = Easel(self.backbone, self.segments, self._tower_fixed, self.tokens_per_pass)
            rollouts = perform(
                easel, self.segments, prompts, begun, group_size, environment, sampling, seed, self.max_tokens
            )
        batch = self._batch(prompts, rollouts, [p for p in range(len(prompts)) for _ in range(group_size)])
        batch.info["sampling"] = sampling
        batch.info["media_size"] = [segment.sizes for segment in begun]
        JointRows(batch, self.segments).cache.update({(prompt, prefill): segment for prompt, segment in kept})
        return batch

    def demonstrated(  # type: ignore[override]
        self, prompts: Sequence[Prompt], made: Sequence[Made], sampling: Sampling = Sampling()
    ) -> Batch:
        """One rollout a prompt, whose actions are given: words and the token that ends them, a picture, or a plan that
        runs on into its picture. `sampling` says at which guidance and temperature they are scored."""
        pictures = [one if isinstance(one, Image.Image) else one[1] for one in made if not isinstance(one, str)]
        codes: Iterator[Tensor] = iter(self.codes.encode(pictures) if pictures else [])
        rollouts = []
        for prompt, one in zip(prompts, made):
            turns: list[Turn] = []
            said = one if isinstance(one, str) else one[0] if isinstance(one, tuple) else None
            if said is not None:
                last = self.segments.end if isinstance(one, str) else self.segments.opens
                turns.append(self._shown(torch.cat([self.segments.tokens_of(said), torch.tensor([last])]), sampling))
            if not isinstance(one, str):
                prefill = self.segments.opening_rest if turns else self.codes.opening
                picture = one[1] if isinstance(one, tuple) else one
                turns.append(self._shown(next(codes) + self.backbone.words, sampling, prefill, picture))
                if len(turns) == 2:
                    turns[0].observation_role = "inside"
            rollouts.append(Rollout(prompt, turns, output=said if isinstance(one, str) else turns[-1].info["picture"]))
        return self._batch(prompts, rollouts, list(range(len(prompts))))

    def _shown(
        self, tokens_T: Tensor, sampling: Sampling, prefill: str = "", picture: Image.Image | None = None
    ) -> Turn:
        text, raw, char_of = self.segments.spell(tokens_T)
        info = {} if picture is None else {"picture": picture, "guidance": sampling.trained_guidance}
        temperature = sampling.trained_temperature
        zero = torch.zeros(len(tokens_T))
        return Turn(text, raw, tokens_T, zero, char_of, temperature, info=info, prefill=prefill, exact=False)

    def _batch(self, prompts: Sequence[Prompt], rollouts: Sequence[Rollout], prompt_R: Sequence[int]) -> Batch:
        """Every turn is a row: words and codes are scored by different heads."""
        rows = [
            Row(r, range(t, t + 1), "image" if self.segments.drawn(turn.tokens_T) else "text")
            for r, rollout in enumerate(rollouts)
            for t, turn in enumerate(rollout.turns)
        ]
        return Batch.of(prompts, rollouts, prompt_R, rows=rows)

    # -- scoring --------------------------------------------------------------------------------------------------

    def _continuations(self, batch: Batch) -> list[Continuation]:
        return JointRows(batch, self.segments).continuations()

    def _parts(
        self,
        rows: Sequence[int],
        hidden_WD: Tensor,
        source_NT: Tensor,
        batch: Batch,
        sequences: Sequence[Continuation],
    ) -> Iterator[Part]:
        """Words, then codes by their turn's guidance."""
        turns = [batch.rollouts[row.rollout].turns[row.turns.start] for row in batch.rows]
        by_guidance: dict[float | None, list[int]] = {}
        for place, n in enumerate(rows):
            drawn = self.segments.drawn(turns[n].tokens_T)
            by_guidance.setdefault(turns[n].info["guidance"] if drawn else None, []).append(place)
        no_token, size = self.backbone.no_token, self.codes.size
        for guidance, places in by_guidance.items():
            chosen, source = [rows[place] for place in places], source_NT[places]
            if guidance is None:
                banned = torch.tensor(self.segments.banned, dtype=torch.long, device=hidden_WD.device)
                yield Part(chosen, hidden_WD, source, self.backbone.logits, banned, self.backbone.words)
                continue
            head: Callable[[Tensor], Tensor] = self.codes.logits
            hidden, source = hidden_WD, source[:, : self.codes.count]
            if guidance != 1.0:
                hidden = torch.cat([hidden_WD[source], self._unasked(chosen, sequences)], dim=-1).flatten(0, 1)
                source = torch.arange(source.numel(), device=source.device).view(source.shape)
                head = guided_head(self.codes, guidance)
            yield Part(chosen, hidden, source, head, no_token, size, first=self.backbone.words)

    def _unasked(self, rows: Sequence[int], sequences: Sequence[Continuation]) -> Tensor:
        """The hidden states `[N, count, D]` that predict the rows' codes where nothing was asked."""
        pictures = [sequences[n].rest[-1] for n in rows]
        before = [len(sequences[n].prompt) + sum(len(s) for s in sequences[n].rest[:-1]) for n in rows]
        prompts = {length: self.segments.text(self.codes.unconditional(length)) for length in set(before)}
        place_K = self.segments.written(torch.zeros(self.codes.count, dtype=torch.long))[1]
        alone = [Continuation(prompts[length], [picture], place_K) for length, picture in zip(before, pictures)]
        order = sorted(range(len(rows)), key=before.__getitem__)
        packed = pack(alone, order, self.backbone)
        embeds, deep = embedded(self.backbone, packed.tokens_L, packed.segments, packed.starts, self._tower_fixed)
        hidden = self.backbone.hidden(embeds, packed.position_AL[:, None], packed.layout, deep, packed.wanted_W)
        states = hidden[packed.source_NT]
        return states[torch.tensor(order, device=states.device).argsort()]
