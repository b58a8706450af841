"""The flow policy: flow matching and diffusion, acting by denoising steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from gamutrl.core import Batch, Prompt, Rollout, Row
from gamutrl.environments import Environment
from gamutrl.functional.divergences import mean_square
from gamutrl.functional.sampling import Transition, gaussian_logp
from gamutrl.policies import beside
from gamutrl.policies.flow.corruption import Corruption, Outputs
from gamutrl.policies.flow.denoiser import Condition, Denoiser, Kept, Predicted, predict, rows
from gamutrl.policies.flow.graphs import Graphs, Room, Weighed, affordable
from gamutrl.policies.flow.laid import Laid
from gamutrl.policies.flow.sampling import FlowSampling
from gamutrl.policies.flow.schedules import Grid
from gamutrl.policies.flow.state import Denoised, State, standard_noise
from gamutrl.policies.references import Referenced, References

StepStatistic = Callable[[Transition, Tensor], Tensor]
"""`fn(step, predicted_M) -> value_M`: something of M re-scored steps; further axes are kept (`value_NT` then has them).
"""


def step_mean(step: Transition, predicted_M: Tensor) -> Tensor:
    """The mean of each step, `[M, ...]`: what exact Gaussian divergences compare."""
    return step.mean


def prediction(step: Transition, predicted_M: Tensor) -> Tensor:
    """The denoiser's (guided) prediction at each step, `[M, ...]`."""
    return predicted_M


class FlowPolicy(Referenced):
    """A denoiser that acts by its steps.

    The sampler is open: `begin`, `step`, `preview`, `finish`, and `State.fork` and `State.take` between them;
    `rollout` is the plain loop over these. A rollout's turns are its steps (`Denoised`), its output what was decoded,
    its `info["latent"]` the final latent. values_per_pass: how many numbers of latents one forward pass takes at most,
    of one half of guidance alone twice as many. values_per_update: how many one piece of an update keeps for its
    backward pass (at least a step of its rows). Zero: as many as a processor's caches like, or as an accelerator's
    memory holds.

    A small model's passes run side by side on a CPU's cores, forward and back; an adapter is laid into the weights for
    them (`Laid`). Where memory allows (`FlowSampling.graph_bytes`) `rollout` keeps the graphs of steps that are
    trained, and `log_probs`, while no weight has changed, answers with those, once.
    """

    kinds = frozenset({"text"})

    def __init__(self, denoiser: Denoiser, *, values_per_pass: int = 0, values_per_update: int = 0) -> None:
        self.denoiser = denoiser
        self.module: nn.Module = denoiser.module
        self.module.eval()
        self.references = References(self.module)
        cached = denoiser.device.type == "cpu"
        self.values_per_pass = values_per_pass or (2**16 if cached else 2**21)
        self.values_per_update = values_per_update or (2**17 if cached else 2**19)
        self.laid = Laid(denoiser)
        self.graphs = Graphs()
        self._acting: str | None = None
        self._trained = tuple(self.parameters())
        self._row_bytes: dict[Any, int] = {}

    @property
    def exact(self) -> bool:
        """What sampling records is what `log_probs` answers: the steps are replayed with the same prediction."""
        return True

    # -- acting ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def rollout(
        self,
        prompts: Sequence[Prompt],
        group_size: int,
        environment: Environment,
        sampling: FlowSampling,
        *,
        seed: int,
    ) -> Batch:
        """`group_size` rollouts of each prompt. What a row samples depends on the seed, its id and its number only.

        Raises ValueError for a prompt with pictures, and where the environment would go on after the output.
        """
        state = self.begin(prompts, group_size, sampling, seed=seed)
        with beside.aside(self.module):
            state = replace(state, room=self._room(state))
            while not state.done:
                state, _ = self.step(state)
            batch = self.finish(state)
        for rollout in batch.rollouts:
            said = environment(rollout.prompt, seed).step(rollout.output)
            rollout.info.update(said.info)
            if not said.done:
                raise ValueError("A flow policy answers once; this environment wants to go on after its output.")
        return batch

    def begin(
        self,
        prompts: Sequence[Prompt],
        copies: int,
        sampling: FlowSampling,
        *,
        seed: int,
        grid: Grid | None = None,
    ) -> State:
        """`copies` paths of each prompt, at pure noise. grid: other levels than the schedule's own."""
        prompts = list(prompts)
        index = [p for p in range(len(prompts)) for _ in range(copies)]
        names, first = _names(prompts, copies, seed)
        cache: dict[Any, Any] = {}
        conditions = self._conditions(prompts, cache, sampling.guidance)
        prompt_R = torch.tensor(index, dtype=torch.long)
        condition, negative = _of_rows(self.denoiser, conditions, prompt_R)
        latent_R = standard_noise(self.denoiser.shape, first if sampling.noise == "shared" else names, -1)
        return State(
            prompts=prompts,
            prompt_R=prompt_R,
            latent_R=latent_R.to(self.denoiser.device),
            sampling=sampling,
            grid=self.denoiser.schedule.grid(sampling.steps) if grid is None else grid,
            names=tuple(names),
            condition=condition,
            negative=negative,
            paths=((),) * len(index),
            conditions=cache,
        )

    def step(
        self, state: State, *, stochastic: bool | None = None, eta: float | None = None
    ) -> tuple[State, Transition]:
        """One denoising step of every path, and its Gaussian. Differentiable, unless gradients are off.

        stochastic: whether it draws noise (None: as the sampling settings say). eta: how much (None: as they say).
        """
        if state.done:
            raise ValueError(f"All {state.grid.steps} steps are taken; finish the state.")
        sampling, schedule, i = state.sampling, self.denoiser.schedule, state.step
        draws = sampling.draws_noise(i) if stochastic is None else stochastic
        eta = (sampling.eta if eta is None else eta) if draws else 0.0
        level, following, first = (float(state.grid.level_S1[k]) for k in (i, i + 1, 1))
        predicted, negative, kept = self._predict(state)
        taken = schedule.transition(state.latent_R, predicted, level, following, eta, sampling, first)
        clean = (taken.clean, *state.clean)[:2] if sampling.solver == "dpm" else ()
        std = float(taken.std.max()) if eta else 0.0
        if std:
            noise_R = standard_noise(state.latent_R.shape[1:], state.names, i)
            latent_R = taken.draw(noise_R.to(state.latent_R))
        else:
            latent_R = schedule.solve(state.latent_R, clean, state.grid, i) if clean else taken.mean
        about: dict[str, Any] = {
            "step": i,
            "level": level,
            "level_next": following,
            "time": float(state.grid.time_S[i]),
        }
        about |= {"first": first, "eta": eta, "std": std, "sampling": sampling, "moment": self._moment}
        steps = self._record(state, latent_R, taken, negative, about)
        paths = tuple((*path, step) for path, step in zip(state.paths, steps))
        after = replace(state, latent_R=latent_R, step=i + 1, paths=paths, clean=clean, predicted=[])
        if kept and std and state.room is not None:
            for row_M, predicted_M in kept:
                self.graphs.keep([steps[row] for row in row_M], predicted_M, state.room.row_bytes)
            used = sum(len(row_M) for row_M, _ in kept)
            after = replace(after, room=state.room._replace(rows=state.room.rows - used))
        return after, taken

    @staticmethod
    def _record(
        state: State, latent_R: Tensor, taken: Transition, negative: Tensor | None, about: dict[str, Any]
    ) -> list[Denoised]:
        """This step of each path; latents are kept where noise was drawn, for only there is something to replay."""
        sampling, count = state.sampling, len(state)
        if not about["std"]:
            nothing, zero = latent_R.new_zeros(1, 0), torch.zeros(1)
            return [Denoised("", "", nothing, zero, **about) for _ in range(count)]
        logp_R = gaussian_logp(latent_R, taken.mean, taken.std, sampling.form).detach().cpu()
        replayed = negative is not None and sampling.detach_negative and sampling.trains(about["step"])
        beside = negative.detach().unbind() if negative is not None and replayed else [None] * count
        before, after = state.latent_R.detach().unbind(), latent_R.detach().split(1)
        return [
            Denoised("", "", tokens, logp, latent=latent, negative=other, **about)
            for tokens, logp, latent, other in zip(after, logp_R.split(1), before, beside)
        ]

    def preview(self, state: State) -> list[Any]:
        """What the paths are heading for: the clean latents that are predicted now, decoded."""
        return self.show(self.clean(state))

    def clean(self, state: State) -> Tensor:
        """The clean latents that are predicted now, `[R, ...]`; the next step uses the same prediction."""
        if state.done:
            return state.latent_R
        level = float(state.grid.level_S1[state.step])
        return self.denoiser.schedule.clean(state.latent_R, self._predict(state).guided, level)

    def finish(self, state: State) -> Batch:
        """The paths as rollouts: a row each, trained where the settings say and noise was drawn.

        Attached: `level_NT`, `level_next_NT` and `std_NT`, of each step (std 0 where it was deterministic).
        """
        outputs = self.show(state.latent_R)
        latents = state.latent_R.detach().unbind()
        rollouts = [
            Rollout(state.prompts[p], list(path), output=output, info={"latent": latent})
            for p, path, output, latent in zip(state.prompt_R.tolist(), state.paths, outputs, latents)
        ]
        return self.batch(state.prompts, rollouts, state.prompt_R, cache=state.conditions)

    def batch(
        self,
        prompts: Sequence[Prompt],
        rollouts: Sequence[Rollout],
        prompt_R: Tensor | Sequence[int],
        group_R: Tensor | Sequence[int] | None = None,
        rows: Sequence[Row] | None = None,
        cache: dict[Any, Any] | None = None,
    ) -> Batch:
        """Rollouts of steps as a batch, by default a row a rollout (a tree's rows are its edges, for example)."""
        batch = Batch.of(prompts, rollouts, prompt_R, group_R, rows, cache)
        places, about = [], []
        for n, t, step in _steps(batch):
            places.append((n, t))
            trained = step.std > 0 and step.sampling.trains(step.step)
            about.append((step.level, step.level_next, step.std, float(trained)))
        about_NTX = torch.zeros(*batch.mask_NT.shape, 4)
        if places:
            about_NTX.index_put_(tuple(torch.tensor(places).unbind(1)), torch.tensor(about))
            batch.info["sampling"] = step.sampling
        level_NT, level_next_NT, std_NT, mask_NT = about_NTX.unbind(-1)
        batch = replace(batch, mask_NT=mask_NT.bool())
        return batch.with_(level_NT=level_NT, level_next_NT=level_next_NT, std_NT=std_NT)

    def show(self, latent_N: Tensor) -> list[Any]:
        """Latents decoded: PIL images, lists of them, points."""
        parts = self._parts(latent_N)
        tasks = [partial(lambda part: self.denoiser.show(self.denoiser.decode(part)), part) for part in parts]
        with torch.no_grad():
            return [one for some in beside.dealt(tasks, [len(part) for part in parts], self._threads) for one in some]

    @torch.no_grad()
    def demonstrated(self, prompts: Sequence[Prompt], outputs: Sequence[Any]) -> Batch:
        """One rollout a prompt that ended in the given picture (or point); nothing was sampled, so it has no steps."""
        latent_R = self.denoiser.latents(outputs).to(self.denoiser.device)
        rollouts = [Rollout(p, [], output=o, info={"latent": x}) for p, o, x in zip(prompts, outputs, latent_R)]
        rows = [Row(r, range(0)) for r in range(len(rollouts))]
        return Batch.of(prompts, rollouts, range(len(rollouts)), rows=rows)

    # -- scoring steps --------------------------------------------------------------------------------------------

    @overload
    def log_probs(self, batch: Batch) -> Tensor: ...

    @overload
    def log_probs(self, batch: Batch, statistics: Mapping[str, StepStatistic]) -> tuple[Tensor, dict[str, Tensor]]: ...

    def log_probs(
        self, batch: Batch, statistics: Mapping[str, StepStatistic] | None = None
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Log-probabilities of the rows' trained steps, `logp_NT`, differentiable; 0, and no work, where the mask is
        False.

        With `statistics` (`step_mean`, `prediction`), the pair of it and `{name: value_NT}`, `[N, T, ...]`.
        """
        with beside.aside(self.module):
            return self._scored(batch, statistics)

    def _scored(
        self, batch: Batch, statistics: Mapping[str, StepStatistic] | None
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        device = self.denoiser.device
        mask = batch.mask_NT.tolist()
        wanted = [(n, t, step) for n, t, step in _steps(batch) if mask[n][t]]
        for n, t, step in wanted:
            if step.latent is None:
                raise ValueError(
                    f"Step {t} of row {n} drew no noise, so it has no likelihood: leave it out of the mask."
                )
        unique = {id(step): (step, batch.rollouts[batch.rows[n].rollout].prompt) for n, _, step in wanted}
        place = {key: m for m, key in enumerate(unique)}
        source = torch.tensor([place[id(step)] for *_, step in wanted], dtype=torch.long, device=device)
        where = torch.tensor([(n, t) for n, t, _ in wanted], dtype=torch.long, device=device).reshape(-1, 2).unbind(1)
        asked = list(unique.values())
        passes = self._passes(asked, batch.cache)
        lots = beside.share_of([len(numbers) for numbers, _ in passes], self._threads)
        names = tuple(statistics or {})

        def score(lot: Sequence[int]) -> list[Tensor]:
            """Log-probabilities and statistics of some passes' steps, each as one tensor."""
            values: list[list[Tensor]] = []
            for numbers, predicted in (passes[k] for k in lot):
                steps, prompts = zip(*[asked[m] for m in numbers])
                taken, predicted, following = self._replay(steps, prompts, batch.cache, net, predicted)
                logp = gaussian_logp(following, taken.mean, taken.std, steps[0].sampling.form)
                values.append([logp, *(fn(taken, predicted) for fn in (statistics or {}).values())])
            return [torch.cat(parts) for parts in zip(*values)]

        net, scored = self.laid.now(), [partial(score, lot) for lot in lots]
        if len(lots) > 1:
            made = beside.differentiable(scored, self._trained)
        else:
            with beside.whole():
                made = [one() for one in scored]
        found = dict(zip(("", *names), (list(parts) for parts in zip(*made)))) or {name: [] for name in ("", *names)}
        order = [m for lot in lots for k in lot for m in passes[k][0]]
        back = torch.tensor(order, dtype=torch.long, device=device).argsort()
        spread = {name: self._spread(values, back[source], where, batch) for name, values in found.items()}
        logp_NT = spread.pop("")
        return (logp_NT, spread) if statistics is not None else logp_NT

    def _passes(
        self, asked: Sequence[tuple[Denoised, Prompt]], cache: MutableMapping[Any, Any]
    ) -> list[tuple[list[int], Tensor | None]]:
        """Step numbers of each pass, with its predictions where sampling kept them; the other steps' prompts are
        encoded."""
        steps = [step for step, _ in asked]
        passes: list[tuple[list[int], Tensor | None]] = []
        if torch.is_grad_enabled():
            passes += self.graphs.take(steps, self._moment)
        known = {number for numbers, _ in passes for number in numbers}
        rest = [number for number in range(len(steps)) if number not in known]
        for part in self._forwards([steps[number] for number in rest]):
            numbers = [rest[k] for k in part]
            prompts = dict.fromkeys(asked[number][1] for number in numbers)
            self._conditions(list(prompts), cache, steps[numbers[0]].sampling.weight_trained)
            passes.append((numbers, None))
        return passes

    def _replay(
        self,
        steps: Sequence[Denoised],
        prompts: Sequence[Prompt],
        cache: MutableMapping[Any, Any],
        net: Denoiser,
        predicted: Tensor | None,
    ) -> tuple[Transition, Tensor, Tensor]:
        """The Gaussians of recorded steps under the weights of now, their predictions, and what was drawn."""
        sampling, device = steps[0].sampling, self.denoiser.device
        about = torch.tensor([(step.level, step.level_next, step.first) for step in steps], device=device)
        level, following, first = about.unbind(1)
        time = torch.tensor([step.time for step in steps], device=device)
        x = torch.stack([step.latent for step in steps if step.latent is not None])
        if predicted is None:
            now, weight = self._moment, sampling.weight_trained
            made = [step.negative for step in steps if step.negative is not None and step.moment == now]
            known = torch.stack(made) if now is not None and len(made) == len(steps) else None
            predicted = self._guided(x, time, prompts, weight, cache, sampling.detach_negative, known, net)
        schedule = self.denoiser.schedule
        taken = schedule.transition(x, predicted, level, following, steps[0].eta, sampling, first)
        return taken, predicted, torch.cat([step.tokens_T for step in steps])

    def _forwards(self, steps: Sequence[Denoised]) -> Iterator[list[int]]:
        """Step numbers for each forward pass: of one setting, and no more than `values_per_pass` allows."""
        alike: dict[tuple[FlowSampling, float], list[int]] = {}
        for m, step in enumerate(steps):
            alike.setdefault((step.sampling, step.eta), []).append(m)
        for numbers in alike.values():
            yield from ([numbers[k] for k in part.tolist()] for part in self._split(len(numbers)))

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """The batch in parts that one backward pass has memory for: all of its rows, some of the steps under the mask.

        Steps are scored apart from each other, so a loss of theirs may be summed over parts.
        """
        most = self.values_per_update // torch.Size(self.denoiser.shape).numel()
        count_T = batch.mask_NT.sum(0).tolist() if "std_NT" in batch else []
        if sum(count_T) <= most:
            yield batch
            return
        part_T, part, held = [], 0, 0
        for count in count_T:
            if held and count and held + count > most:
                part, held = part + 1, 0
            held += count
            part_T.append(part)
        for number in range(part + 1):
            yield replace(batch, mask_NT=batch.mask_NT & (torch.tensor(part_T) == number))

    def _split(self, count: int, times: int = 1) -> Sequence[Tensor]:
        """Numbers of rows for each pass: no more than `values_per_pass` allows (so many times of it), and equally many
        passes for each thread. times: 2 where every pass has a second beside it."""
        passes, threads = -(-count // (times * self._most)), max(1, self._threads // times)
        return torch.arange(count).split(max(1, -(-count // max(1, -(-passes // threads) * threads))))

    @property
    def _threads(self) -> int:
        """How many passes run side by side."""
        return beside.threads_for(self.module)

    @property
    def _most(self) -> int:
        """How many latents go into one pass."""
        return max(1, self.values_per_pass // torch.Size(self.denoiser.shape).numel())

    @staticmethod
    def _spread(values: list[Tensor], source: Tensor, where: Sequence[Tensor], batch: Batch) -> Tensor:
        """Values of unique steps at their places, `[N, T, ...]`, 0 elsewhere."""
        shape = tuple(batch.mask_NT.shape)
        if not values:
            return torch.zeros(shape, device=source.device)
        value_M = torch.cat(values)[source]
        return value_M.new_zeros(*shape, *value_M.shape[1:]).index_put(tuple(where), value_M)

    # -- scoring outputs ------------------------------------------------------------------------------------------

    def outputs(self, batch: Batch) -> Outputs:
        """What the batch's rows ended in: a clean latent a row."""
        rollouts = [batch.rollouts[row.rollout] for row in batch.rows]
        latent_N = torch.stack([rollout.info["latent"] for rollout in rollouts])
        return Outputs([rollout.prompt for rollout in rollouts], latent_N, batch.cache)

    @torch.no_grad()
    def outputs_of(self, prompts: Sequence[Prompt], pictures: Sequence[Any]) -> Outputs:
        """Given pictures (or points) as outputs of prompts: data to train on."""
        return Outputs(list(prompts), self.denoiser.latents(pictures).to(self.denoiser.device))

    def corrupt(
        self,
        outputs: Outputs,
        level_NL: Tensor,
        generator: torch.Generator,
        share_N: Sequence[int] | Tensor | None = None,
    ) -> Corruption:
        """Each output noised at its L levels, shares of the way to pure noise in [0, 1).

        share_N: rows with one number get the same noise (a pair, say); None: each its own.
        """
        shares = torch.as_tensor(range(len(outputs)) if share_N is None else share_N).unique(return_inverse=True)
        shape = (len(shares[0]), level_NL.shape[1], *outputs.latent_N.shape[1:])
        noise_NL = torch.randn(shape, generator=generator)[shares[1]].to(outputs.latent_N)
        level_NL, time_NL = self.denoiser.schedule.at(level_NL.to(self.denoiser.device))
        clean_NL = outputs.latent_N[:, None].expand_as(noise_NL)
        noised = self.denoiser.schedule.mix(clean_NL.flatten(0, 1), noise_NL.flatten(0, 1), level_NL.flatten())
        return Corruption(noised.view_as(noise_NL), noise_NL, level_NL, time_NL)

    def denoise(
        self, outputs: Outputs, corruption: Corruption, guidance: float = 1.0, *, detach_negative: bool = True
    ) -> Tensor:
        """The predictions for corrupted outputs, `[N, L, ...]`, differentiable."""
        noised_NL, time_NL = corruption.noised_NL, corruption.time_NL
        prompts = [prompt for prompt in outputs.prompts for _ in range(noised_NL.shape[1])]
        x, time = noised_NL.flatten(0, 1), time_NL.flatten()
        predicted = [
            self._guided(
                x[part], time[part], [prompts[m] for m in part.tolist()], guidance, outputs.cache, detach_negative
            )
            for part in torch.arange(len(x)).split(self._most)
        ]
        return torch.cat(predicted).view_as(noised_NL)

    def score(self, outputs: Outputs, corruption: Corruption, guidance: float = 1.0) -> Tensor:
        """Minus the matching error of each corrupted output, `[N, L]`: a likelihood up to scale and constant."""
        predicted = self.denoise(outputs, corruption, guidance).flatten(0, 1)
        return -mean_square(predicted, self.target(outputs, corruption).flatten(0, 1)).view_as(corruption.level_NL)

    def target(self, outputs: Outputs, corruption: Corruption) -> Tensor:
        """What should have been predicted, `[N, L, ...]`."""
        noise_NL = corruption.noise_NL
        clean = outputs.latent_N[:, None].expand_as(noise_NL).flatten(0, 1)
        target = self.denoiser.schedule.target(clean, noise_NL.flatten(0, 1), corruption.level_NL.flatten())
        return target.view_as(noise_NL)

    # -- predictions ----------------------------------------------------------------------------------------------

    def _predict(self, state: State) -> Predicted:
        """The guided prediction at a state, made once."""
        if not state.predicted:
            sampling, net, negative = state.sampling, self.laid.now(), state.negative
            left = state.room.rows if state.room and self._keeps(sampling, state.step) else 0
            # What carries no gradient is a pass of its own.
            apart = left > 0 and negative is not None and sampling.detach_negative and sampling.guidance != 1
            times = 2 if apart else 1
            parts, keeps = self._split(len(state), times), []
            for row_M in parts:
                keeps.append(len(row_M) <= left)
                left -= len(row_M) if keeps[-1] else 0
            others = parts if apart else ()
            both = None if apart else negative
            tasks = [
                partial(self._passed, net, state, row_M, state.condition, both, k) for row_M, k in zip(parts, keeps)
            ]
            tasks += [partial(self._passed, net, state, row_M, negative or {}, None, False) for row_M in others]
            made = beside.dealt(tasks, [len(row_M) for row_M in (*parts, *others)], self._threads)
            found = made[: len(parts)]
            if apart:
                other_R = torch.cat([one.guided for one in made[len(parts) :]])
                found = [self._led(one, other_R[row_M], sampling.guidance) for one, row_M in zip(found, parts)]
            kept = [Kept(row_M.tolist(), one.guided) for row_M, one, k in zip(parts, found, keeps) if k]
            negatives = [one.negative for one in found if one.negative is not None]
            guided_R = torch.cat([one.guided.detach() if k else one.guided for one, k in zip(found, keeps)])
            state.predicted.append(Predicted(guided_R, torch.cat(negatives) if negatives else None, tuple(kept)))
        return state.predicted[0]

    @staticmethod
    def _passed(
        net: Denoiser, state: State, row_M: Tensor, told: Condition, negative: Condition | None, keep: bool
    ) -> Predicted:
        """Some rows of the prediction at a state; keep: with its graph."""
        at_M, sampling = row_M.to(state.latent_R.device), state.sampling
        time_M = torch.as_tensor(state.grid.time_S[state.step], device=at_M.device).expand(len(at_M))
        both = rows(told, at_M), negative and rows(negative, at_M)
        with torch.set_grad_enabled(keep or torch.is_grad_enabled()):
            weight, detach = sampling.guidance, sampling.detach_negative
            return predict(net, state.latent_R[at_M], time_M, *both, weight, detach=detach)

    def _led(self, conditional: Predicted, negative_M: Tensor, weight: float) -> Predicted:
        """A guided prediction of its two halves, with the graph of the conditional one."""
        with torch.set_grad_enabled(conditional.guided.requires_grad):
            return Predicted(self.denoiser.guide(conditional.guided, negative_M, weight), negative_M)

    def _keeps(self, sampling: FlowSampling, step: int) -> bool:
        """Whether the graph of a step is of use to an update: trained as it is sampled."""
        return sampling.exact and sampling.draws_noise(step) and sampling.trains(step)

    def _room(self, state: State) -> Room | None:
        """How many rows of trained steps may keep their graph; None where no update goes back through any.

        What a row takes is weighed by one pass of one row, once for each shape of what the denoiser is told.
        """
        sampling = state.sampling
        most = affordable(self.denoiser.device) if sampling.graph_bytes is None else sampling.graph_bytes
        if self._acting or not most or not any(self._keeps(sampling, step) for step in range(sampling.steps)):
            return None
        told = {name: value[:1] for name, value in state.condition.items()}
        shape = (sampling.guidance == 1, sampling.detach_negative, *((name, v.shape) for name, v in told.items()))
        if shape not in self._row_bytes:
            net, one = self.laid.now(), torch.zeros(1, dtype=torch.long, device=self.denoiser.device)
            time_N = torch.as_tensor(state.grid.time_S[:1], device=self.denoiser.device)
            other = state.negative and rows(state.negative, one)
            weight, detach = sampling.guidance, sampling.detach_negative
            with torch.enable_grad(), Weighed(net.module) as weighed:
                predict(net, state.latent_R[:1], time_N, told, other, weight, detach=detach)
            self._row_bytes[shape] = weighed.bytes
        return self.graphs.room(most, self._row_bytes[shape], self._moment)

    def _guided(
        self,
        x: Tensor,
        time: Tensor,
        prompts: Sequence[Prompt],
        weight: float,
        cache: MutableMapping[Any, Any],
        detach: bool,
        known: Tensor | None = None,
        net: Denoiser | None = None,
    ) -> Tensor:
        distinct = list(dict.fromkeys(prompts))
        number = {prompt: p for p, prompt in enumerate(distinct)}
        conditions = self._conditions(distinct, cache, weight)
        index = torch.tensor([number[prompt] for prompt in prompts])
        both = _of_rows(self.denoiser, conditions, index)
        return predict(net or self.laid.now(), x, time, *both, weight, detach=detach, known=known).guided

    @property
    def _moment(self) -> tuple[int, ...] | None:
        """Which weights act now, by how often each was changed; None for a reference's, which leave no such trace."""
        return None if self._acting else tuple(parameter._version for parameter in self._trained)

    def _conditions(
        self, prompts: Sequence[Prompt], cache: MutableMapping[Any, Any], weight: float
    ) -> list[tuple[Condition, Condition | None]]:
        """Each prompt encoded, once a batch; with what guidance leads away from, where there is guidance."""
        guided = weight != 1 and not self.denoiser.embeds_guidance
        with torch.no_grad():
            if new := [prompt for prompt in prompts if ("condition", prompt) not in cache]:
                for prompt, condition in zip(new, self.denoiser.encode(new)):
                    cache["condition", prompt] = condition
            if guided and (new := [prompt for prompt in prompts if ("negative", prompt) not in cache]):
                for prompt, condition in zip(new, self.denoiser.negative(new)):
                    cache["negative", prompt] = condition
        return [(cache["condition", p], cache["negative", p] if guided else None) for p in prompts]

    def _parts(self, latent_N: Tensor) -> Sequence[Tensor]:
        """Latents in parts that can be decoded at once: a decoder needs more memory for them than a denoiser."""
        return latent_N.split(max(1, self._most // 8))

    # -- references, weights --------------------------------------------------------------------------------------

    @contextmanager
    def reference(self, name: str) -> Iterator[None]:
        """Inside, the policy acts and scores as its named copy, without gradient."""
        before, self._acting = self._acting, name
        try:
            with self.references.use(name):
                yield
        finally:
            self._acting = before

    def save(self, folder: Path | str) -> None:
        """Weights as safetensors, with all that loading needs to find them again."""
        self.denoiser.save(Path(folder))


def _names(prompts: Sequence[Prompt], copies: int, seed: int) -> tuple[list[str], list[str]]:
    """What each path's noise is drawn by, and what the first latent is where a prompt's paths share it."""
    times: Counter[str] = Counter()
    names, shared = [], []
    for prompt in prompts:
        own = f"{seed}/{prompt.id or prompt.text}"
        start = times[own] * copies
        times[own] += 1
        names += [f"{own}/{start + copy}" for copy in range(copies)]
        shared += [own] * copies
    return names, shared


def _of_rows(
    denoiser: Denoiser, conditions: Sequence[tuple[Condition, Condition | None]], prompt_N: Tensor
) -> tuple[Condition, Condition | None]:
    """Conditions of prompts, collated and repeated for rows."""
    positive = rows(denoiser.collate([condition for condition, _ in conditions]), prompt_N)
    negatives = [negative for _, negative in conditions if negative is not None]
    return positive, rows(denoiser.collate(negatives), prompt_N) if negatives else None


def _steps(batch: Batch) -> Iterator[tuple[int, int, Any]]:
    """Every denoising step of the rows: its row, its place in it, and itself."""
    for n, row in enumerate(batch.rows):
        turns = batch.rollouts[row.rollout].turns
        for t, number in enumerate(row.turns):
            yield n, t, turns[number]
