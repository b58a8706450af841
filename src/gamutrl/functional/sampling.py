"""Steps of flow and diffusion samplers, as Gaussian transitions that can be drawn from and scored.

Flow convention: x_σ = (1 - σ) x₀ + σ noise, velocity v = noise - x₀, σ from 1 to 0. A level (σ, ᾱ) is a number or one
value a row; latents are `[N, ...]`. Log-probabilities are means over the latent, not sums, as in every published code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

Level = Tensor | float
Either = TypeVar("Either", Tensor, float)


class Transition(NamedTuple):
    """One denoising step: x_next ~ N(mean, std²), and the clean latent it was heading for.

    std is the step's whole deviation, with √(-dt) in it; 0 is a deterministic step.
    """

    mean: Tensor
    std: Tensor
    clean: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        """mean + std · noise."""
        return self.mean + like(self.std, self.mean) * noise


def gaussian_logp(
    x: Tensor, mean: Tensor, std: Level, form: Literal["density", "exponent", "square"] = "density"
) -> Tensor:
    """log N(x; mean, std²), averaged over the latent, `[N]`.

    form: "exponent" leaves out the normalising constants (MixGRPO), "square" divides by nothing either (CPS).
    """
    square = (x - mean).square()
    if form == "square":
        return _mean(-square)
    std = like(std, x)
    exponent = -square / (2 * std.square())
    return _mean(exponent if form == "exponent" else exponent - std.log() - 0.5 * math.log(2 * math.pi))


# -- flow matching ----------------------------------------------------------------------------------------------------


def shift_time(t: Either, shift: float) -> Either:
    """shift · t / (1 + (shift - 1) t): more steps where there is more noise (SD3, arXiv 2403.03206, equation 23).

    Flux's time shift with exponent mu is that of shift e^mu.
    """
    return shift * t / (1 + (shift - 1) * t)


def shifted_sigmas(steps: int, shift: float = 1.0) -> Tensor:
    """steps + 1 noise levels from 1 to 0."""
    return shift_time(torch.linspace(1, 0, steps + 1), shift)


def resolution_mu(tokens: int, low: tuple[int, float] = (256, 0.5), high: tuple[int, float] = (4096, 1.15)) -> float:
    """Flux's shift exponent, linear in the number of image tokens through two points."""
    return low[1] + (high[1] - low[1]) * (tokens - low[0]) / (high[0] - low[0])


def flow_sde(
    x: Tensor,
    velocity: Tensor,
    sigma: Level,
    sigma_next: Level,
    eta: float,
    kind: Literal["flow", "constant", "preserving"] = "flow",
    *,
    sigma_one: Level = 0.99,
) -> Transition:
    """A stochastic step that keeps the flow's marginals.

    kind "flow": noise η √(σ / (1 - σ)) (Flow-GRPO, arXiv 2505.05470), with sigma_one in place of σ = 1
    under the root; "constant": noise η (DanceGRPO, arXiv 2505.07818); "preserving": σ_next sin(η π/2), which leaves the
    latent's coefficients as they are (CPS, arXiv 2509.05952). η = 0 is Euler's step (for "preserving", DDIM's).
    """
    sigma, sigma_next, one = (like(level, x) for level in (sigma, sigma_next, sigma_one))
    clean = x - sigma * velocity
    if kind == "preserving":
        std = sigma_next * math.sin(eta * math.pi / 2)
        mean = clean * (1 - sigma_next) + (x + (1 - sigma) * velocity) * (sigma_next.square() - std.square()).sqrt()
        return Transition(mean, _row(std), clean)
    dt = sigma_next - sigma
    noise = _flow_noise(sigma, one) * eta if kind == "flow" else torch.full_like(sigma, eta)
    drift = noise.square() / (2 * sigma)
    mean = x * (1 + drift * dt) + velocity * (1 + drift * (1 - sigma)) * dt
    return Transition(mean, _row(noise * (-dt).sqrt()), clean)


def flow_noise_level(sigma: Tensor, most: float = 0.99) -> Tensor:
    """√(σ / (1 - σ)), σ at most `most` in the denominator: Flow-GRPO's deviation before η and √(-dt)."""
    return (sigma / (1 - sigma.clamp(max=most))).sqrt()


def dpm_solver(
    x: Tensor,
    predictions: Sequence[Tensor],
    sigmas: Sequence[Level],
    *,
    predicts: Literal["clean", "noise"] = "clean",
    heun: bool = False,
    stochastic: bool = False,
) -> Transition:
    """A multistep DPM-Solver step in flow form (arXiv 2211.01095; stochastic: its SDE form).

    predictions: what the last steps predicted (x₀, or the noise for the solver without ++), newest first; their number
    is the order, 1 to 3. sigmas: (next, now, before, …), one more than predictions. heun: the second-order variant.
    """
    levels = [torch.as_tensor(sigma, dtype=torch.float64, device=x.device) for sigma in sigmas]
    (target, now), lam = levels[:2], [((1 - sigma) / sigma).log() for sigma in levels]
    h = lam[0] - lam[1]
    if predicts == "clean":
        g = -2 * h if stochastic else -h
        scale, weight = target / now * ((-h).exp() if stochastic else 1), 1 - target
        spread = (-(-2 * h).expm1()).sqrt()
    else:
        g = h
        scale, weight = (1 - target) / (1 - now), target * (2 if stochastic else 1)
        spread = (2 * h).expm1().sqrt()
    phi1 = g.expm1()
    phi2, phi3 = phi1 / g - 1, (phi1 - g) / g.square() - 0.5
    differences = divided_differences([value.double() for value in predictions], lam)
    step = phi1 * predictions[0]
    if len(differences) == 1:
        step = step + (phi2 if heun else phi1 / 2) * differences[0]
    elif differences:
        step = step + phi2 * differences[0] + phi3 * differences[1]
    mean = (scale * x.double() - weight * step).to(x.dtype)
    return Transition(mean, (target * spread if stochastic else torch.zeros_like(target)).to(x.dtype), predictions[0])


def multistep_order(order: int, step: int, steps: int, known: int) -> int:
    """The order that a multistep solver can use: 1 at the last step, 2 before it in short schedules, what is known."""
    if step == steps - 1:
        return 1
    return min(order, known, 2 if step == steps - 2 and steps < 15 else order)


def multistep(x: Tensor, velocity: Callable[[Tensor, int], Tensor], sigmas: Tensor, *, order: int = 2) -> list[Tensor]:
    """The whole deterministic trajectory, steps + 1 latents: DPM-Solver++ of order 1 (which is DDIM) to 3.

    velocity: `(latent, step) -> v`. First and last step are of order 1; of less than 15 steps, the last but one is of
    order 2 at most.
    """
    steps = len(sigmas) - 1
    trajectory: list[Tensor] = [x]
    clean: list[Tensor] = []
    for i in range(steps):
        clean.insert(0, x - sigmas[i] * velocity(x, i))
        use = multistep_order(order, i, steps, len(clean))
        x = dpm_solver(x, clean[:use], sigmas[: i + 2].flip(0)[: use + 1].unbind()).mean
        trajectory.append(x)
    return trajectory


def divided_differences(values: Sequence[Tensor], lam: Sequence[Tensor]) -> list[Tensor]:
    """First and second differences of predictions at λ (next, now, before, …), in units of the step to the next."""
    h = lam[0] - lam[1]
    if len(values) == 1:
        return []
    r0 = (lam[1] - lam[2]) / h
    near = (values[0] - values[1]) / r0
    if len(values) == 2:
        return [near]
    r1 = (lam[2] - lam[3]) / h
    change = near - (values[1] - values[2]) / r1
    return [near + r0 / (r0 + r1) * change, change / (r0 + r1)]


# -- diffusion --------------------------------------------------------------------------------------------------------


def scaled_linear_alphas(steps: int = 1000, start: float = 0.00085, end: float = 0.012) -> Tensor:
    """ᾱ of each training step under Stable Diffusion's schedule, float32 `[steps]`."""
    beta = torch.linspace(start**0.5, end**0.5, steps).square()
    return (1 - beta).cumprod(0)


def ddim(
    x: Tensor,
    predicted: Tensor,
    alpha: Level,
    alpha_next: Level,
    eta: float = 1.0,
    *,
    predicts: Literal["epsilon", "v_prediction", "sample"] = "epsilon",
    clip: float | None = None,
) -> Transition:
    """One DDIM step (arXiv 2010.02502, equation 12); alpha, alpha_next are ᾱ before and after. η = 1 is DDPM's noise.

    predicts: what the denoiser's output is (diffusers' names). clip: bound on the predicted clean latent.
    """
    alpha, alpha_next = like(alpha, x), like(alpha_next, x)
    signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
    if predicts == "epsilon":
        noise, clean = predicted, (x - spread * predicted) / signal
    elif predicts == "sample":
        noise, clean = (x - signal * predicted) / spread, predicted
    else:
        noise, clean = signal * predicted + spread * x, signal * x - spread * predicted
    if clip is not None:
        clean = clean.clamp(-clip, clip)
    variance = (1 - alpha_next) / (1 - alpha) * (1 - alpha / alpha_next)
    std = eta * variance.sqrt()
    mean = alpha_next.sqrt() * clean + (1 - alpha_next - std.square()).sqrt() * noise
    return Transition(mean, _row(std), clean)


def _flow_noise(sigma: Tensor, sigma_one: Tensor) -> Tensor:
    return (sigma / (1 - torch.where(sigma == 1, sigma_one, sigma))).sqrt()


def like(level: Level, x: Tensor) -> Tensor:
    """A number or `[N]` values as something that multiplies `[N, ...]`."""
    level = torch.as_tensor(level, dtype=x.dtype, device=x.device)
    return level if level.dim() == 0 else level.reshape(level.shape[0], *[1] * (x.dim() - 1))


def _row(level: Tensor) -> Tensor:
    """Back from `[N, 1, ...]` to `[N]`."""
    return level if level.dim() == 0 else level.flatten()


def _mean(value: Tensor) -> Tensor:
    return value.flatten(1).mean(1)
