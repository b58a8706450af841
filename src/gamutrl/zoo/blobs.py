"""Small denoisers of the world of blobs, predicting velocity or noise, for each of its spaces.

The world knows what a perfect denoiser would answer, so the networks learn from that, without the noise of samples.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from gamutrl.core import Prompt
from gamutrl.data.worlds import blobs
from gamutrl.policies.flow.denoiser import Condition, Denoiser
from gamutrl.policies.flow.schedules import DiffusionSchedule, FlowSchedule, Schedule
from gamutrl.zoo.packaged import MODELS

NAMES = {
    f"{prefix}-{suffix}": (space, predicts)
    for prefix, space in (("blobs", "pictures"), ("points", "points"))
    for suffix, predicts in (("flow", "velocity"), ("eps", "epsilon"))
}
STEPS, BATCH, RATE, DROPPED = 3000, 256, 2e-3, 0.1
NO_CLASS = -1


@dataclass(frozen=True)
class BlobConfig:
    """space: of the world. predicts: what the network answers. width, depth: of its residual blocks."""

    space: Literal["points", "pictures"] = "pictures"
    predicts: Literal["velocity", "epsilon"] = "velocity"
    width: int = 160
    depth: int = 3


class BlobNet(nn.Module):
    """A residual perceptron: the velocity of a flow, from a latent, its σ and a class (what and where, or neither)."""

    def __init__(self, config: BlobConfig) -> None:
        super().__init__()
        self.config = config
        space, width = blobs.space(config.space), config.width
        self.places = len(space.places)
        self.kind = nn.Embedding(len(space.kinds) + 1, width)
        self.place = nn.Embedding(len(space.places) + 1, width)
        self.time = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width))
        self.first, self.last = nn.Linear(space.size, width), nn.Linear(width, space.size)
        self.blocks = nn.ModuleList(
            nn.ModuleList((nn.Linear(width, width), nn.Linear(width, width))) for _ in range(config.depth)
        )
        nn.init.zeros_(self.last.weight)

    def forward(self, x_ND: Tensor, sigma_N: Tensor, class_N: Tensor) -> Tensor:
        """x_ND: (1 - σ) x₀ + σ noise. sigma_N: in [0, 1]. class_N: class numbers, -1 for none."""
        known_N = class_N >= 0
        kind_N = torch.where(known_N, class_N.div(self.places, rounding_mode="floor"), self.kind.num_embeddings - 1)
        place_N = torch.where(known_N, class_N % self.places, self.place.num_embeddings - 1)
        frequency = torch.arange(1, 17, device=x_ND.device, dtype=x_ND.dtype) * torch.pi / 2
        phase_NF = sigma_N[:, None].to(x_ND.dtype) * frequency
        told_NW = self.time(torch.cat([phase_NF.sin(), phase_NF.cos()], 1)) + self.kind(kind_N) + self.place(place_N)
        h_NW = self.first(x_ND)
        for block in self.blocks:
            into, out = block.children()
            h_NW = h_NW + out(F.silu(into(h_NW) + told_NW))
        return self.last(h_NW)


class BlobDenoiser(Denoiser):
    """A `BlobNet` as a flow policy takes it; an output is a `Blob`.

    As a noise predictor it is the same network, by an exact change of variables: a latent of the diffusion's schedule
    is one of the flow but for its scale, and the noise follows from the velocity.
    """

    module: BlobNet

    def __init__(self, module: BlobNet) -> None:
        self.module = module
        self.space = blobs.space(module.config.space)
        self.shape = (self.space.size,)
        self.schedule: Schedule = FlowSchedule() if module.config.predicts == "velocity" else DiffusionSchedule()

    @classmethod
    def load(cls, folder: Path | str, device: str | torch.device = "cpu") -> BlobDenoiser:
        """The denoiser that `save` or `gamut zoo build` wrote."""
        config = json.loads((Path(folder) / "config.json").read_text("utf-8"))
        module = BlobNet(BlobConfig(**{key: config[key] for key in ("space", "predicts", "width", "depth")}))
        module.load_state_dict({k: v.float() for k, v in load_file(Path(folder) / "model.safetensors").items()})
        return cls(module.to(device))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        told = {"model_type": "blobs", **asdict(self.module.config)}
        (folder / "config.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in self.module.state_dict().items()},
            folder / "model.safetensors",
        )

    def encode(self, prompts: Sequence[Prompt]) -> list[Condition]:
        space, class_P = blobs.space_of(prompts)
        if space is not self.space:
            raise ValueError(f"This denoiser makes {self.space.name}; the prompts ask for {space.name}.")
        return [{"class": label} for label in class_P.to(self.device)]

    def negative(self, prompts: Sequence[Prompt]) -> list[Condition]:
        return [{"class": torch.tensor(NO_CLASS, device=self.device)} for _ in prompts]

    def predict(self, x_N: Tensor, time_N: Tensor, condition: Condition) -> Tensor:
        if not isinstance(self.schedule, DiffusionSchedule):
            return self.module(x_N, time_N, condition["class"])
        alpha_N = self.schedule.alpha_K.to(x_N.device)[time_N.round().long()]
        scale_N = alpha_N.sqrt() + (1 - alpha_N).sqrt()
        sigma_N, x_N = (1 - alpha_N).sqrt() / scale_N, x_N / scale_N[:, None]
        return x_N + (1 - sigma_N)[:, None] * self.module(x_N, sigma_N, condition["class"])

    def decode(self, latent_N: Tensor) -> Tensor:
        return latent_N

    def show(self, decoded_N: Tensor) -> list[Any]:
        return [blobs.Blob(self.space.name, values_D) for values_D in decoded_N]

    def carry(self, decoded_N: Tensor) -> list[Any]:
        return self.show(decoded_N)

    def latents(self, outputs: Sequence[Any]) -> Tensor:
        """Blobs, or lists of numbers as the world's rows hold them, to latents."""
        values = [output.values_D if isinstance(output, blobs.Blob) else torch.as_tensor(output) for output in outputs]
        return torch.stack(values).float().to(self.device)


def build(name: str, *, steps: int = STEPS, seed: int = 0, out: Path | str | None = None) -> Path:
    """Train a denoiser from nothing and write its folder. Raises ValueError for a name that is not among `NAMES`."""
    if name not in NAMES:
        raise ValueError(f"No script builds {name!r}; there is one for: {', '.join(NAMES)}.")
    space, predicts = NAMES[name]
    folder = MODELS / name if out is None else Path(out)
    began = time.perf_counter()
    denoiser = train(BlobConfig(space, predicts), steps, seed)  # type: ignore[arg-type]
    denoiser.save(folder)
    card = {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in denoiser.module.parameters()),
        "script": f"gamut zoo build {name} --steps {steps} --seed {seed}",
        "steps": steps,
        "seed": seed,
        "minutes": round((time.perf_counter() - began) / 60, 2),
        "measured": measure(denoiser),
        "versions": {"torch": version("torch"), "gamutrl": version("gamutrl")},
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")
    return folder


def train(config: BlobConfig, steps: int = STEPS, seed: int = 0) -> BlobDenoiser:
    """A network that learned the perfect denoiser's answers; the mean of its weights over the last part is kept."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = BlobDenoiser(BlobNet(config))
    module, mean = (
        denoiser.module,
        torch.optim.swa_utils.AveragedModel(
            denoiser.module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
        ),
    )
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.05)
    for _ in range(steps):
        predicted, target = _lesson(denoiser, BATCH, generator)
        loss = F.mse_loss(predicted, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        mean.update_parameters(module)
    module.load_state_dict(mean.module.state_dict())
    return denoiser


@torch.no_grad()
def measure(denoiser: BlobDenoiser, samples: int = 2000) -> dict[str, float]:
    """How far from perfect a denoiser is: the squared error of its answers over their variance."""
    generator = torch.Generator().manual_seed(12345)
    predicted, target = _lesson(denoiser, samples, generator)
    return {"error": round(float(F.mse_loss(predicted, target) / target.var()), 5)}


def _lesson(denoiser: BlobDenoiser, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noised samples at random levels: the velocity that the network answers, and that of a perfect one."""
    space = denoiser.space
    class_N = torch.randint(len(space.mode_CMD), (count,), generator=generator)
    clean, noise = space.sample(class_N, generator), torch.randn(count, space.size, generator=generator)
    sigma_N = torch.rand(count, generator=generator).clamp(min=1e-3)
    x_ND = (1 - sigma_N[:, None]) * clean + sigma_N[:, None] * noise
    class_N = torch.where(torch.rand(count, generator=generator) < DROPPED, NO_CLASS, class_N)
    expected = space.denoised(x_ND, class_N, 1 - sigma_N, sigma_N)
    return denoiser.module(x_ND, sigma_N, class_N), (x_ND - expected) / sigma_N[:, None]
