"""How a flow policy samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FlowSampling:
    """Sampling settings of denoising steps.

    steps: how many. eta: how much noise a stochastic step adds (Flow-GRPO's `a`, DDIM's η); 0 samples by the ODE.
    kernel: the stochastic step of a flow (`functional.sampling.flow_sde`); a diffusion's is DDIM's. sigma_one: what
    stands for σ = 1 under the root of kernel "flow" (None: the second level, as Flow-GRPO has it). form: what is
    recorded as the log-probability (`functional.sampling.gaussian_logp`). stochastic: the numbers of the steps that
    draw noise (None: all). trained: those of them that are trained (None: all). solver: how the other steps of a flow
    are taken: Euler's, or DPM-Solver++ of second order. noise: "shared": a prompt's rollouts start from one latent.
    guidance: the classifier-free weight used to sample (1: none); guidance_train: the one whose log-probability is
    trained (None: the same). detach_negative: no gradient through the unconditional prediction. graph_bytes: how much
    memory the graphs of trained steps may take, so that the first update goes back through them and computes nothing
    again (0: none is kept; None: 2 GiB on a CPU, none on an accelerator); results are the same.
    """

    steps: int = 10
    eta: float = 0.7
    kernel: Literal["flow", "constant", "preserving"] = "flow"
    sigma_one: float | None = None
    form: Literal["density", "exponent", "square"] = "density"
    stochastic: tuple[int, ...] | None = None
    trained: tuple[int, ...] | None = None
    solver: Literal["euler", "dpm"] = "euler"
    noise: Literal["own", "shared"] = "own"
    guidance: float = 1.0
    guidance_train: float | None = None
    detach_negative: bool = True
    graph_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"sampling.steps must be at least 1, not {self.steps}.")
        if self.eta < 0:
            raise ValueError(f"sampling.eta must not be negative (0 samples by the ODE), not {self.eta}.")
        if self.graph_bytes is not None and self.graph_bytes < 0:
            raise ValueError(f"sampling.graph_bytes must not be negative (0 keeps no graphs), not {self.graph_bytes}.")
        for name in ("stochastic", "trained"):
            odd = [step for step in getattr(self, name) or () if not 0 <= step < self.steps]
            if odd:
                raise ValueError(f"sampling.{name} names step {odd[0]}, but the steps are 0 to {self.steps - 1}.")

    @property
    def exact(self) -> bool:
        """Whether what sampling records is what the update scores, so that it may serve as the old log-probability."""
        return self.guidance_train is None or self.guidance_train == self.guidance

    @property
    def weight_trained(self) -> float:
        """The guidance weight whose log-probability is trained."""
        return self.guidance if self.guidance_train is None else self.guidance_train

    def draws_noise(self, step: int) -> bool:
        return self.eta > 0 and (self.stochastic is None or step in self.stochastic)

    def trains(self, step: int) -> bool:
        return self.trained is None or step in self.trained
