"""How good a policy is on held-out rows, and how good it would be if it never looked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Rollout, Sampling, Source, Turn
from gamutrl.data.sources import take
from gamutrl.environments import Environment, SingleTurn
from gamutrl.environments.calls import action_answer
from gamutrl.metrics.behaviour import stop_rates
from gamutrl.metrics.intervals import mean_interval
from gamutrl.policies.flow.sampling import FlowSampling
from gamutrl.rewards.base import Reward
from gamutrl.rewards.grading import boxed
from gamutrl.rewards.table import score
from gamutrl.training.samples import describe_prompt, describe_rollout, plain


@dataclass(frozen=True)
class Evaluation:
    """What is measured on held-out rows, before and after.

    data: held-out rows. metric: the score that counts, in [0, 1] where it is an accuracy. others: further scores to
    measure. rows: how many. sampling: greedy unless said otherwise. constants: answers that a policy which does not
    look could always give, as full assistant texts; None: the distinct answers of the held-out rows, through
    `answer_format`. samples: how many rows are kept for the report. reward_timeout: seconds that the score of one batch
    of rows may take.
    """

    data: Source
    metric: Reward
    others: tuple[Reward, ...] = ()
    rows: int = 200
    sampling: Sampling | FlowSampling = Sampling(temperature=0.0)
    environment: Environment = SingleTurn()
    constants: tuple[str, ...] | None = None
    answer_format: str = "<think></think><answer>{answer}</answer>"
    samples: int = 24
    batch: int = 64
    reward_timeout: float = 300.0

    def prompts(self) -> list[Prompt]:
        """The held-out rows: the same for whoever asks, none of them twice."""
        return take(self.data, self.rows)


@dataclass(frozen=True)
class Measured:
    """A mean over held-out rows with its 95% interval."""

    metric: str
    value: float
    low: float
    high: float
    rows: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.metric}, {self.rows} rows)"


@dataclass(frozen=True, eq=False)
class Outcome:
    """One evaluation: the measure, the other scores, each row's value, and what was answered how often."""

    measured: Measured
    others: dict[str, float]
    value_R: Tensor
    batch: Batch
    answers: dict[str, int]
    mean_length: float


def evaluate(
    policy: Any,
    evaluation: Evaluation,
    context: Context | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Rolls out once per held-out row and scores. Deterministic: greedy, or seeded by row."""
    context = context or Context(models={"policy": policy})
    prompts = evaluation.prompts()
    batches = []
    with torch.no_grad():
        for start in range(0, len(prompts), evaluation.batch):
            part = prompts[start : start + evaluation.batch]
            batch = policy.rollout(part, 1, evaluation.environment, evaluation.sampling, seed=0)
            rewards = (evaluation.metric, *evaluation.others)
            batches.append(score(rewards, batch, context, timeout=evaluation.reward_timeout))
            if progress:
                progress(min(start + evaluation.batch, len(prompts)), len(prompts))
    batch = Batch.concat(batches)
    value_R = batch.reward(evaluation.metric.name)
    return Outcome(
        measured=measure(evaluation.metric.name, value_R),
        others={reward.name: float(batch.reward(reward.name).nanmean()) for reward in evaluation.others},
        value_R=value_R,
        batch=batch,
        answers=dict(Counter(answer_of(r) for r in batch.rollouts if answers_in_text(r)).most_common(40)),
        mean_length=float(batch.length_R.double().mean()),
    )


def measure(name: str, value_R: Tensor) -> Measured:
    """A mean and its 95% interval over the rows where the metric applies."""
    kept = value_R[~value_R.isnan()]
    low, high = mean_interval(kept.tolist())
    return Measured(name, float(kept.mean()) if len(kept) else float("nan"), low, high, len(kept))


def answers_in_text(rollout: Rollout) -> bool:
    """Whether what came out is text, rather than pictures or whatever else a policy makes."""
    return rollout.output is None or isinstance(rollout.output, str)


def blind(evaluation: Evaluation, context: Context | None = None) -> dict[str, dict[str, Any]]:
    """What a policy that does not look could get: "constant" and "text_only"; empty where rows have no answer in
    text. Means nothing of a policy that draws, whose rows may have answers all the same (a class, a label)."""
    unanswered = evaluation.constants is None and all(prompt.answer is None for prompt in evaluation.prompts())
    if unanswered or evaluation.constants == ():
        return {}
    text, constant = best_constant(evaluation, context)
    return {
        "constant": {**asdict(constant), "answer": text},
        "text_only": asdict(text_only(evaluation, context)),
    }


def best_constant(evaluation: Evaluation, context: Context | None = None) -> tuple[str, Measured]:
    """The answer that would do best if it were given to every held-out row, and how well it would do.

    Chosen on the held-out rows themselves: an upper bound on what any shortcut without looking can reach.
    """
    prompts = evaluation.prompts()
    texts = evaluation.constants
    if texts is None:
        answers = Counter(str(prompt.answer) for prompt in prompts if prompt.answer is not None)
        texts = tuple(evaluation.answer_format.format(answer=answer) for answer, _ in answers.most_common(64))
    best: tuple[str, Measured] | None = None
    for text in texts:
        value_R = score_texts(evaluation, evaluation.metric, prompts, [text] * len(prompts), context)
        found = measure(evaluation.metric.name, value_R)
        if best is None or not best[1].rows or found.value > best[1].value:
            best = (text, found)
    if best is None:
        raise ValueError(
            "There is no constant answer to compare with: the held-out rows have no answers and `constants` is empty."
        )
    return best


def text_only(evaluation: Evaluation, context: Context | None = None) -> Measured:
    """How well one would do by always giving the commonest answer of rows with the same question text.

    What one half of the held-out rows teaches is tried on the other: a question that is asked once gives nothing away.
    """
    prompts = evaluation.prompts()
    halves = [_by_text(prompts[start::2]) for start in (0, 1)]
    texts = []
    for number, prompt in enumerate(prompts):
        learned = halves[(number + 1) % 2]
        seen = learned.get(prompt.text) or sum(learned.values(), Counter()) or Counter([str(prompt.answer)])
        texts.append(evaluation.answer_format.format(answer=seen.most_common(1)[0][0]))
    return measure(evaluation.metric.name, score_texts(evaluation, evaluation.metric, prompts, texts, context))


def _by_text(prompts: Sequence[Prompt]) -> dict[str, Counter[str]]:
    """How often each answer is right, by question text."""
    found: dict[str, Counter[str]] = {}
    for prompt in prompts:
        found.setdefault(prompt.text, Counter())[str(prompt.answer)] += 1
    return found


def score_texts(
    evaluation: Evaluation,
    metric: Reward,
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    context: Context | None = None,
) -> Tensor:
    """What a metric gives to texts that nobody sampled, `[R]`, within the evaluation's time."""
    rollouts = [
        Rollout(prompt, [Turn(text, text, torch.zeros(0, dtype=torch.long), torch.zeros(0))], output=text)
        for prompt, text in zip(prompts, texts)
    ]
    batch = Batch.of(prompts, rollouts, range(len(prompts)))
    table = score((metric,), batch, context or Context(), timeout=evaluation.reward_timeout)
    return table.reward(metric.name)


def answer_of(rollout: Rollout) -> str:
    """What a rollout answers, for counting; white space folded, 60 characters.

    Inside its last answer tag or box, or the `ans` of its last turn's action; else the end of its text. Nothing if that
    is a call, or its budget was spent: then it never answered.
    """
    if not rollout.turns:
        return ""
    text, last = rollout.text, rollout.turns[-1]
    _, tag, tagged = text.rpartition("<answer>")
    said = tagged.partition("</answer>")[0] if tag else boxed(text)
    if said is None:
        said = action_answer(last.text)
    if said is None:
        said = "" if last.calls or rollout.end == "budget" else text[-60:]
    return " ".join(said.split())[:60]


def write_outcome(outcome: Outcome, folder: Path, name: str, samples: int) -> None:
    """`evaluation/<name>.json`: the measure, the answers' distribution, and the first rows with what came out."""
    rows = []
    for r, rollout in enumerate(outcome.batch.rollouts[:samples]):
        rewards = {key: float(outcome.batch["reward_RK"][r, k]) for k, key in enumerate(outcome.batch.reward_names)}
        rows.append(
            {"prompt": describe_prompt(rollout.prompt, folder), "rollout": describe_rollout(rollout, folder, rewards)}
        )
    told: Mapping[str, Any] = {
        "measured": asdict(outcome.measured),
        "others": outcome.others,
        "values": [None if value != value else value for value in outcome.value_R.tolist()],
        "answers": outcome.answers,
        "mean_length": outcome.mean_length,
        "stops": stop_rates(outcome.batch.rollouts),
        "rows": rows,
    }
    place = folder / "evaluation"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.json").write_text(json.dumps(plain(told), ensure_ascii=False, indent=1), "utf-8")
