"""SPO: Step-by-step Preference Optimization (arXiv 2406.04314).

What it changes, against D3PO: a preference is found anew at every step. From one latent several candidates for the next
are drawn; what each is heading for is judged; the best and the worst are a pair, if one is clearly better, and DPO's
loss is taken on that one transition. Then the path goes on from a random candidate. It should help because the two have
one parent: what is learned at a step is what that step decided, not what a whole path did.

Source: github.com/RockeyCoss/SPO at 27a86428. Released is a judge of noisy pictures, PickScore told the time, trained
first; here the reward judges the clean picture that is predicted at the candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gamutrl.core import Batch, Context, Prompt, Rollout
from gamutrl.data.rows import FileRows
from gamutrl.policies.flow import FlowPolicy, FlowSampling
from gamutrl.policies.flow.state import State
from gamutrl.policies.models import FlowModel, Lora
from gamutrl.recipes.d3po import compared
from gamutrl.recipes.flow_plain import paper, tiny
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward
from gamutrl.rewards.models.embedding import pick_score
from gamutrl.rewards.pairs import gap
from gamutrl.training.defaults import ActionWeights, Reference
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preference import Gain, PairLoss


@dataclass(frozen=True)
class StepByStep:
    """Pairs of candidates for a step, from step `first` on: a `rollout` whose groups are pairs of single transitions.

    candidates: drawn from each latent. clear: the least by which the better one must be probable (a softmax of the two
    scores); the clearest pair of a batch is always kept.
    """

    first: int = 4
    candidates: int = 4
    clear: float = 0.3

    def __call__(self, stage: Any, prompts: Sequence[Prompt], context: Context) -> Batch:
        policy: FlowPolicy = context.models[stage.trains]
        seed = int(context.generator("rollout").initial_seed())
        state = policy.begin(prompts, 1, stage.sampling, seed=seed)
        draws = context.generator("survivors")
        found: list[tuple[float, int, Rollout, Rollout]] = []
        while not state.done:
            if state.step < self.first:
                state, _ = policy.step(state)
                continue
            several, taken = policy.step(state.fork(self.candidates))
            kept_P = torch.randint(self.candidates, (len(prompts),), generator=draws)
            state = several.take(torch.arange(len(prompts)) * self.candidates + kept_P)
            if not bool((taken.std > 0).any()):  # A step without noise has one outcome.
                continue
            judged = self.judged(policy, several, context)
            score_PC = judged["reward_R"].view(len(prompts), self.candidates)
            for p, score_C in enumerate(score_PC):
                best, worst = int(score_C.argmax()), int(score_C.argmin())
                better, worse = (judged.rollouts[p * self.candidates + c] for c in (best, worst))
                found.append((gap(float(score_C[best]), float(score_C[worst])), p, better, worse))
        clearest = max(lead for lead, *_ in found)
        pairs = [(p, better, worse) for lead, p, better, worse in found if lead > self.clear or lead == clearest]
        context.metrics["pairs/clear"] = len(pairs) / len(found)
        return policy.batch(
            prompts,
            [rollout for _, better, worse in pairs for rollout in (better, worse)],
            [p for p, *_ in pairs for _ in range(2)],
            [number for number in range(len(pairs)) for _ in range(2)],
            cache=state.conditions,
        )

    def beside(self, group_size: int) -> int:
        """How many candidates are drawn beside the one that goes on."""
        return self.candidates - 1

    def judged(self, policy: FlowPolicy, state: State, context: Context) -> Batch:
        """The candidates as rollouts of their last step, ending in what they are heading for, with their reward."""
        outputs = policy.preview(state)
        rollouts = [
            Rollout(state.prompts[p], [path[-1]], output=output)
            for p, path, output in zip(state.prompt_R.tolist(), state.paths, outputs)
        ]
        batch = context.score(Batch.of(state.prompts, rollouts, state.prompt_R))
        return batch.with_(reward_R=(batch["reward_RK"] * batch["weight_RK"]).nansum(1))


STEPWISE: dict[str, Any] = {
    "group_size": 1,
    "prepare": compared,
    "objective": PairLoss(beta=10.0, gain=Gain("action", clip=0.1)),
    "weights": ActionWeights("group"),
    "references": (Reference("base"),),
    "kl": None,
}

TINY = tiny(
    model="blobs-eps",
    sampling=FlowSampling(steps=10, eta=1.0),
    **{
        **STEPWISE,
        "rollout": StepByStep(first=2, candidates=4, clear=0.05),
        "objective": PairLoss(beta=1.0, gain=Gain("action", clip=0.9)),
        "prompts_per_step": 32,
        "optimizer": AdamW(lr=2e-4, weight_decay=1e-4),
    },
)

PICK = Reward("pick_score", pick_score())
PAPER = paper(
    FlowModel("stable-diffusion-v1-5/stable-diffusion-v1-5", lora=Lora(4, 4.0)),
    FileRows("spo_4k_prompts.json"),
    (PICK,),
    sampling=FlowSampling(steps=20, eta=1.0, guidance=5.0, detach_negative=False),
    measured_by=FlowSampling(steps=20, eta=1.0, guidance=5.0),
    **{
        **STEPWISE,
        "rollout": StepByStep(),
        "steps": 1000,
        "prompts_per_step": 40,
        "minibatches": 16,
        "rows_per_forward": 20,
        "optimizer": AdamW(lr=6e-5, weight_decay=1e-4),
    },
)

RECIPE = Recipe(
    title="Aesthetic Post-Training Diffusion Models from Generic Preferences with Step-by-step Preference Optimization",
    arxiv="2406.04314",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="at every step the best and the worst of several candidates are a pair; a random one goes on",
    formulas=(
        "x_{t−1}¹ … x_{t−1}ⁿ from one x_t; a pair if softmax(s_best) − softmax(s_worst) > 0.3",
        "loss = −log σ(10 (log ρ_best − log ρ_worst)), ρ = clip(p_θ / p_base, 1 ± 0.1)",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("gold score", baseline="d3po, at equal samples", budget="rollouts"),
    assumptions={
        "judge": "the reward of the predicted clean picture takes the place of a judge that was trained on noisy ones",
        "tiny.stages.rl.objective": "β = 1, clip 0.9: means over 64 numbers spread further than over 16,384",
        "tiny.stages.rl.rollout.clear": "0.05: gold lies in [0, 1], PickScore is on a wider scale",
        "paper.data": "spo_4k_prompts.json: the released prompts",
    },
)
