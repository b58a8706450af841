"""ReasonGen-R1: CoT for Autoregressive Image Generation Models through SFT and RL (arXiv 2505.24875).

What it changes: the model thinks, then draws, in one sequence: a rationale runs on into the codes of its picture. GRPO
with a strict judge (1 or 0) trains both; groups that all pass or all fail are left out and others sampled instead; and
two controllers, one for words and one for codes, steer the entropy of each to a target, since codes drift to chaos or
collapse under a 0/1 reward. It should help because the rationale names what must be drawn, and the controllers keep
exploration alive. There is no KL and no reference model.

Source: github.com/Franklin-Zhang0/ReasonGen-R1 at cda3c808. As in its code (the docstring says the opposite), entropy
above its target is pushed down, entropy below it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Sampling
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import Changed
from gamutrl.data.transforms import WithPrefix, WithSuffix
from gamutrl.environments.planned import PlanThenDraw
from gamutrl.functional.controllers import EntropyController
from gamutrl.functional.weights import masked_mean
from gamutrl.policies.scoring import entropy
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.recipes.tokens_plain import FACTS, JANUS_PRO, PLAN, PROMPTS, RIGHT, paper, tiny
from gamutrl.rewards.asking import JudgedPicture
from gamutrl.rewards.base import Reward
from gamutrl.rewards.grading import boxed
from gamutrl.training.defaults import ClippedSurrogate, GroupAdvantage, KeepGroups
from gamutrl.training.optimizer import AdamW
from gamutrl.training.responders import Endpoint

JUDGE = (
    "Describe the image on its own. Then list every element that this prompt requires, with counts, colors and "
    "positions, and check each against the image: {prompt}\nBe extremely strict. End with \\boxed{1} if the image "
    "matches the prompt perfectly, else with \\boxed{0}."
)


def passed(reply: str) -> float:
    """1 where the last box of a judge's reply holds 1, else 0."""
    return float(boxed(reply) == "1")


@dataclass(frozen=True)
class SteeredEntropy:
    """The clipped objective with an entropy term for words and one for codes, each steered to its target.

    text, image: targets in nats. lr, bound: how fast a coefficient moves and how far. After each use of it the
    controllers take in the entropies that they saw. The batch must carry `entropy_NT`.
    """

    text: float = 2.0
    image: float = 7.0
    lr: float = 5e-5
    bound: float = 5e-3
    surrogate: ClippedSurrogate = ClippedSurrogate()
    controllers: dict[str, EntropyController] = field(default_factory=dict, init=False, compare=False)

    def __post_init__(self) -> None:
        for part, target in (("text", self.text), ("image", self.image)):
            self.controllers[part] = EntropyController(target, lr=self.lr, low=-self.bound, high=self.bound)

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        terms_NT = self.surrogate(logp_NT, batch, context)
        entropy_NT = batch["entropy_NT"]
        for part, controller in self.controllers.items():
            rows = torch.tensor([row.part == part for row in batch.rows])
            mask_NT = (batch.mask_NT & rows[:, None]).to(entropy_NT.device)
            if not mask_NT.any():
                continue
            terms_NT = terms_NT + float(controller.alpha) * entropy_NT * mask_NT
            measured = float(masked_mean(entropy_NT.detach(), mask_NT))
            controller.update(measured)
            context.metrics[f"entropy/{part}"] = measured
            context.metrics[f"entropy_weight/{part}"] = float(controller.coefficient)
        return terms_NT

    def state_dict(self) -> dict[str, Any]:
        return {
            part: {"psi": controller.psi.detach().clone(), "optimizer": controller.optimizer.state_dict()}
            for part, controller in self.controllers.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for part, controller in self.controllers.items():
            with torch.no_grad():
                controller.psi.copy_(state[part]["psi"])
            controller.optimizer.load_state_dict(state[part]["optimizer"])


ASKED = (WithPrefix("A photo of "), WithSuffix(". Output a richly detailed prompt: "))

STRICT = Reward("judge", RIGHT.score)

TINY = tiny(
    (STRICT,),
    change=WithPrefix(PLAN),
    environment=PlanThenDraw(),
    sampling=Sampling(max_tokens=32),
    others=(FACTS,),
    select=KeepGroups(),
    advantage=GroupAdvantage(eps=1e-6),
    statistics=(("entropy", entropy),),
    objective=SteeredEntropy(text=0.4, image=0.8, lr=1e-3, bound=0.02),
    minibatches=2,
    kl=None,
    steps=100,
)

PAPER = paper(
    JANUS_PRO,
    Changed(Changed(FileRows("Franklin0/ReasonGen-R1-RL-T2I-11k", PROMPTS), ASKED[0]), ASKED[1]),
    (Reward("judge", JudgedPicture(JUDGE, passed, low=0.0, high=1.0)),),
    environment=PlanThenDraw(),
    sampling=Sampling(max_tokens=448),
    responders=(("judge", Endpoint(model="Qwen/Qwen2.5-VL-7B-Instruct", max_tokens=1024)),),
    select=KeepGroups(refill=True),
    max_draws=8,
    advantage=GroupAdvantage(eps=1e-6),
    statistics=(("entropy", entropy),),
    objective=SteeredEntropy(),
    steps=400,
    prompts_per_step=32,
    group_size=8,
    minibatches=2,
    kl=None,
    optimizer=AdamW(lr=5e-6),
)

RECIPE = Recipe(
    title="ReasonGen-R1: CoT for Autoregressive Image Generation Models through SFT and RL",
    arxiv="2505.24875",
    kind="generation",
    policy="image_tokens",
    modalities=("text", "image"),
    change="a rationale runs on into its picture in one sequence; controllers steer the entropy of words and of codes",
    formulas=(
        "r = 1 if a strict judge finds every element, else 0",
        "A = (r − mean_group) / (std_group + 1e-6); groups without spread are sampled anew",
        "loss = mean over words and codes of −min(ρ A, clip(ρ, 0.8, 1.2) A) + α_text H_text + α_image H_image",
        "α = sinh ψ; one Adam step on −α (H − H_target) after each update, |α| ≤ 5e-3",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("pictures that show all that is asked for, on held-out prompts", baseline="the starting checkpoint"),
    assumptions={
        "tiny.rewards": "the world's vision program is the judge",
        "tiny.objective": "targets near the small model's own entropies, and a faster controller for its few steps",
        "tiny.select": "groups without spread are left out; none are sampled in their place",
        "environment": "a rationale that ends without opening a picture keeps its last token and the picture is opened "
        "after it; the code writes the opening over that token",
    },
)
