"""The text policy: any Hugging Face image-text-to-text model, acting by text tokens.

Prompts are prefilled once for their group when sampling and packed once for it when scoring; both are exact, so what
sampling recorded is what scoring finds (`exact`). A model that can't be run so is sampled and scored row by row.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Self, overload

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, ProcessorMixin

from gamutrl.core import Batch, Prompt, Rollout, Sampling, Turn
from gamutrl.environments import Environment, Step
from gamutrl.environments.scripted import Played
from gamutrl.policies import beside, plain, scoring
from gamutrl.policies.base import StateValue, Statistic
from gamutrl.policies.families import Backbone
from gamutrl.policies.generation import Engine, Native
from gamutrl.policies.loading import load
from gamutrl.policies.media import embedded
from gamutrl.policies.models import Lora
from gamutrl.policies.packing import Continuation, Rows, packs
from gamutrl.policies.plain import Plain
from gamutrl.policies.references import Referenced, References
from gamutrl.policies.rollouts import converse
from gamutrl.policies.segments import Segment, Segments

VALUE_HEAD = "value_head.safetensors"


@dataclass(frozen=True, eq=False)
class Part:
    """Rows whose actions one head predicts, each from a hidden state of `hidden_WD`.

    first: the token that is its column 0. vocabulary: how many columns it has.
    """

    rows: list[int]
    hidden_WD: Tensor
    source_NT: Tensor
    head: Callable[[Tensor], Tensor]
    banned: Tensor
    vocabulary: int
    first: int = 0


class TextPolicy(Referenced):
    """A vision-language model that acts by text.

    module: the model (with adapters, a `PeftModel`). max_prompt_tokens: a longer prompt is an error, or is dropped with
    `on_long_prompt="drop"`; it is never cut. tokens_per_pass: how many tokens one forward pass takes at most (a prompt
    with its rollouts is never split). value_head: a linear layer on the state that each action is taken in (`VALUE`
    among `log_probs`' statistics), which trains with the rest and begins at 0.
    """

    def __init__(
        self,
        module: nn.Module,
        processor: ProcessorMixin,
        *,
        max_prompt_tokens: int | None = None,
        on_long_prompt: Literal["fail", "drop"] = "fail",
        tokens_per_pass: int = 2**16,
        value_head: bool = False,
    ) -> None:
        self.module, self.processor = module, processor
        self.model: PreTrainedModel = module.get_base_model() if hasattr(module, "get_base_model") else module  # type: ignore[operator,assignment]
        self.model.eval()
        self.backbone = Backbone(self.model)
        self.segments = Segments(processor, self.backbone)
        self.references = References(module)
        self.max_prompt_tokens, self.on_long_prompt = max_prompt_tokens, on_long_prompt
        self.tokens_per_pass = tokens_per_pass
        self.max_tokens = int(getattr(self.backbone.text_config, "max_position_embeddings", 0) or 2**31)
        self.value_head: nn.Linear | None = None
        if value_head:
            self.value_head = nn.Linear(self.backbone.text_config.hidden_size, 1, device=self.backbone.device)
            for parameter in self.value_head.parameters():
                nn.init.zeros_(parameter)
            module.add_module("value_head", self.value_head)

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        lora: Lora | None = None,
        freeze: Sequence[str] = (),
        gradient_checkpointing: bool = False,
        **options: Any,
    ) -> Self:
        """A hub id or a folder to a policy.

        freeze: what does not train, of "vision", "connector" and "language" (and, where codes are drawn, "generation").
        options: the policy's own.
        """
        module, processor = load(name_or_path, dtype=dtype, device=device, lora=lora)
        policy = cls(module, processor, **options)
        if policy.value_head is not None and (saved := Path(name_or_path) / VALUE_HEAD).is_file():
            policy.value_head.load_state_dict(load_file(saved))
        for part in freeze:
            for parameter in policy.backbone.part(part):
                parameter.requires_grad_(False)
        if gradient_checkpointing:
            policy.backbone.checkpoint_layers()
        return policy

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Any:
        return self.segments.tokenizer

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of message part that it takes."""
        return self.segments.kinds

    @property
    def exact(self) -> bool:
        """Whether what sampling records is what `log_probs` finds: both share prompts, in the same arithmetic."""
        return self._packs

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
        """`group_size` rollouts of each prompt. What a row samples depends on the seed, its id and its number only.

        Raises ValueError, naming the row, for a prompt that the model can't take or that is too long.
        """
        kept = [(prompt, segment) for prompt in prompts if (segment := self._segment(prompt, sampling)) is not None]
        prompts, begun = [prompt for prompt, _ in kept], [segment for _, segment in kept]
        rollouts = []
        if prompts:
            rollouts = converse(
                self._engine(),
                self.segments,
                prompts,
                begun,
                group_size,
                environment,
                sampling,
                seed,
                self.max_tokens,
            )
        batch = Batch.of(prompts, rollouts, [p for p in range(len(prompts)) for _ in range(group_size)])
        batch.info["sampling"] = sampling
        batch.info["media_size"] = [segment.sizes for segment in begun]
        cache = Rows(batch, self.segments).cache
        cache.update({(prompt, sampling.prefill): segment for prompt, segment in kept})
        return batch

    def demonstrated(self, prompts: Sequence[Prompt], texts: Sequence[str | Played]) -> Batch:
        """One rollout a prompt, whose actions are the given assistant text and the token that ends a turn.

        In the place of a text there may be several turns with what an environment answered to each.
        """
        rollouts = []
        for prompt, said in zip(prompts, texts):
            rollout, before = Rollout(prompt, []), Step()
            for one, step in [(said, Step(done=True))] if isinstance(said, str) else said:
                rollout.turns.append(self._demonstrated_turn(one, step, before))
                before = step
            rollout.output = rollout.turns[-1].text if rollout.turns else ""
            rollouts.append(rollout)
        return Batch.of(prompts, rollouts, list(range(len(prompts))))

    def _demonstrated_turn(self, said: str, step: Step, before: Step) -> Turn:
        tokens = self.segments.tokens_of(said)
        if step.role != "inside":
            tokens = torch.cat([tokens, torch.tensor([self.segments.end])])
        text, raw, char_of = self.segments.spell(tokens)
        return Turn(
            text=text,
            raw_text=raw,
            tokens_T=tokens,
            logp_T=torch.zeros(len(tokens)),
            char_of_T=char_of,
            calls=step.calls,
            info=step.info,
            context=before.context,
            observation=step.parts,
            observation_role=step.role,
            prefill=before.prefill,
            exact=False,
        )

    def _segment(self, prompt: Prompt, sampling: Sampling) -> Segment | None:
        row = prompt.id or "a prompt without an id"
        try:
            segment = self.segments.prompt(prompt.messages, sampling.prefill)
        except Exception as error:
            raise ValueError(f"Row {row} can't be made a prompt: {error}") from error
        most = self.max_prompt_tokens or self.max_tokens - 1
        if len(segment) <= most:
            return segment
        if self.on_long_prompt == "drop":
            warnings.warn(f"Row {row} is dropped: {len(segment)} prompt tokens, over {most}.", stacklevel=3)
            return None
        raise ValueError(
            f"Row {row} has {len(segment)} prompt tokens, over the limit of {most}. Raise max_prompt_tokens, make its "
            "media smaller, or drop such rows (on_long_prompt='drop'); prompts are never cut."
        )

    def _engine(self) -> Engine:
        if self._packs:
            return Native(self.backbone, self.segments, self._tower_fixed, self.tokens_per_pass)
        return Plain(self.backbone, self.segments)

    @cached_property
    def _packs(self) -> bool:
        """Whether prompts are shared; tried out on this model before the first use, and said once if not."""
        reason = self.backbone.reason or plain.disagreement(self.backbone, self.segments)
        if reason is not None and self.backbone.decoder is not None:
            self.backbone.decoder = None
            reason = self.backbone.reason or plain.disagreement(self.backbone, self.segments)
        if reason is not None:
            name = type(self.model).__name__
            warnings.warn(
                f"{name} can't share a prompt within its group: {reason}. Each rollout is run by itself, slower.",
                stacklevel=4,
            )
        return reason is None

    @property
    def _tower_fixed(self) -> bool:
        """Whether encoded media stay what they are while the policy trains, in its references too."""
        parts = self.backbone.part("vision") + self.backbone.part("connector")
        return not any(parameter.requires_grad for parameter in parts)

    # -- scoring --------------------------------------------------------------------------------------------------

    @overload
    def log_probs(self, batch: Batch) -> Tensor: ...

    @overload
    def log_probs(self, batch: Batch, statistics: Mapping[str, Statistic]) -> tuple[Tensor, dict[str, Tensor]]: ...

    def log_probs(
        self, batch: Batch, statistics: Mapping[str, Statistic] | None = None
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Log-probabilities of the rows' actions, `logp_NT` float32, differentiable; 0 where the mask is False.

        With `statistics` (full-vocabulary functions, see `Statistic`; `scoring.entropy` is one; or `VALUE`), the pair
        of it and `{name: value_NT}`.
        """
        device = self.backbone.device
        names = list(statistics or {})
        head = self.value_head
        valued = [name for name, one in (statistics or {}).items() if isinstance(one, StateValue)] if head else []
        of_words = {name: one for name, one in (statistics or {}).items() if name not in valued}
        sequences = self._continuations(batch)
        lots = self._lots(sequences)
        places: list[list[tuple[Tensor, Tensor]]] = [[] for _ in lots]
        of_rows = batch.mask_NT.to(device), _targets(batch).to(device), _temperatures(batch).to(device)
        group_N = batch.group_N.to(device)

        def score(lot: list[int], places: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
            """Of each part's actions the log-probabilities and the statistics, `[1 + S, A]`."""
            found = []
            for rows, hidden_WD, source_NT in self._hidden([sequences[n] for n in lot]):
                for part in self._parts([lot[row] for row in rows], hidden_WD, source_NT, batch, sequences):
                    index = torch.tensor(part.rows, device=device)
                    mask, target, temperature = (tensor[index, : part.source_NT.shape[1]] for tensor in of_rows)
                    hidden_AD = part.hidden_WD.index_select(0, part.source_NT[mask])
                    scorer = part.head, part.banned, part.vocabulary
                    values = [scoring.log_probs(hidden_AD, target[mask] - part.first, temperature[mask], *scorer)]
                    measured = {name: head(hidden_AD.float())[:, 0] for name in valued} if head else {}
                    if of_words:
                        group = group_N[index]
                        groups = [(group == g).nonzero().flatten() for g in group.unique()]
                        states_NTD = part.hidden_WD[part.source_NT]
                        more = scoring.statistics(states_NTD, mask, temperature, groups, of_words, *scorer)
                        measured |= {name: value_NT[mask] for name, value_NT in more.items()}
                    values += [measured[name] for name in names]
                    places.append((index[:, None].expand_as(mask)[mask], mask.nonzero()[:, 1]))
                    found.append(torch.stack(values))
            return found

        tasks = [partial(score, lot, into) for lot, into in zip(lots, places)]
        scored = beside.differentiable(tasks, self.parameters()) if len(tasks) > 1 else [task() for task in tasks]
        out = torch.zeros(1 + len(names), *batch.mask_NT.shape, device=device)
        if parts := [part for parts in scored for part in parts]:
            row, column = (torch.cat(indices) for indices in zip(*(where for lot in places for where in lot)))
            every = torch.arange(len(out), device=device)[:, None]
            out = out.index_put((every, row, column), torch.cat(parts, 1))
        return (out[0], dict(zip(names, out[1:]))) if statistics is not None else out[0]

    def _continuations(self, batch: Batch) -> list[Continuation]:
        return Rows(batch, self.segments).continuations()

    def _parts(
        self,
        rows: Sequence[int],
        hidden_WD: Tensor,
        source_NT: Tensor,
        batch: Batch,
        sequences: Sequence[Continuation],
    ) -> Iterator[Part]:
        """The rows of a pass by what predicts their actions."""
        banned = torch.tensor(self.segments.banned, dtype=torch.long, device=hidden_WD.device)
        yield Part(list(rows), hidden_WD, source_NT, self.backbone.logits, banned, self.backbone.vocabulary)

    def _lots(self, sequences: Sequence[Continuation]) -> list[list[int]]:
        """Row numbers to be scored by each thread, whole prompts each."""
        if (count := beside.threads_for(self.module)) == 1 or not self._packs:
            return [list(range(len(sequences)))] if sequences else []
        rows_of: dict[Segment, list[int]] = {}
        for n, one in enumerate(sequences):
            rows_of.setdefault(one.prompt, []).append(n)
        sizes = [
            len(prompt) + sum(len(segment) for n in rows for segment in sequences[n].rest)
            for prompt, rows in rows_of.items()
        ]
        groups = list(rows_of.values())
        return [sorted(n for group in lot for n in groups[group]) for lot in beside.share_of(sizes, count)]

    def _hidden(self, sequences: Sequence[Continuation]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Row numbers, hidden states `[W, D]`, and which of these predicts which action of the rows, `[N, T]`."""
        if not self._packs:
            yield from plain.hidden(self.backbone, sequences)
            return
        keep = self._tower_fixed
        for pack in packs(sequences, self.tokens_per_pass, self.backbone):
            embeds, deep = embedded(self.backbone, pack.tokens_L, pack.segments, pack.starts, keep)
            hidden = self.backbone.hidden(embeds, pack.position_AL[:, None], pack.layout, deep, pack.wanted_W)
            yield pack.rows, hidden, pack.source_NT

    # -- weights --------------------------------------------------------------------------------------------------

    def save(self, folder: Path | str) -> None:
        """Weights as safetensors, with all that `load` needs to find them again."""
        head, module = self.value_head, self.module
        if head is None:
            module.save_pretrained(folder)  # type: ignore[operator]
        else:
            state = {name: one for name, one in module.state_dict().items() if not name.startswith("value_head.")}
            module.save_pretrained(folder, state_dict=state)  # type: ignore[operator]
            save_file(head.state_dict(), Path(folder) / VALUE_HEAD)
        self.processor.save_pretrained(folder)


def _temperatures(batch: Batch) -> Tensor:
    rows = [
        torch.cat([torch.full((len(turn),), turn.temperature) for turn in _turns(batch, n)])
        for n in range(len(batch.rows))
    ]
    return _padded(rows, batch, 1.0)


def _targets(batch: Batch) -> Tensor:
    rows = [torch.cat([turn.tokens_T for turn in _turns(batch, n)]).long() for n in range(len(batch.rows))]
    return _padded(rows, batch, 0)


def _turns(batch: Batch, n: int) -> list[Any]:
    row = batch.rows[n]
    return [batch.rollouts[row.rollout].turns[t] for t in row.turns]


def _padded(rows: list[Tensor], batch: Batch, fill: float) -> Tensor:
    kind = rows[0].dtype if rows else torch.float32
    out = torch.full(batch.mask_NT.shape, fill, dtype=kind)
    for n, row in enumerate(rows):
        out[n, : len(row)] = row
    return out
