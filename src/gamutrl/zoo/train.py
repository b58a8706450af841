"""How `vlm-tiny` is trained: vision, then language; resumable, a function of the seed and the numbers of steps."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerFast

from gamutrl.zoo.architecture import IMAGE_TOKENS
from gamutrl.zoo.batches import LessonBatches, Packed
from gamutrl.zoo.muon import Muon
from gamutrl.zoo.vision import Canvases, Heads

CHECKPOINT_SECONDS = 60


PHASES = ("vision_steps", "reading_steps", "varied_from", "language_steps")


@dataclass(frozen=True)
class Plan:
    """The length of each phase in steps (the first of the language phase are of dense reading, those from
    `varied_from` on ask questions of every kind), and its learning rate: risen to in `warmup` steps, held, and brought
    to nearly nothing over the last part (`decay`) of the phase.

    Vision stays as the first phase leaves it: the gradients of language wiped it out when they reached it.
    """

    vision_steps: int = 900
    reading_steps: int = 400
    varied_from: int = 2800
    language_steps: int = 4500
    vision_rate: float = 1.5e-3
    language_rate: float = 1.5e-3
    warmup: int = 100
    decay: float = 0.35
    seed: int = 0

    def rate(self, step: int, steps: int, peak: float) -> float:
        left = (steps - step) / max(1.0, self.decay * steps)
        return peak * min(1.0, (step + 1) / self.warmup, max(left, 0.01))


@dataclass
class Phase:
    """A phase on its way: what trains, how far it came, and what was last measured."""

    name: str
    modules: nn.Module
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    measured: dict[str, float] = field(default_factory=dict)

    @classmethod
    def start(cls, name: str, modules: nn.Module) -> Phase:
        matrices: list[nn.Parameter] = []
        tables: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for key, parameter in modules.named_parameters():
            table = "embed" in key or parameter.dim() > 2
            (others if parameter.dim() < 2 else tables if table else matrices).append(parameter)
        groups = [{"params": tables, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
        adam = torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98), fused=True)
        return cls(name, modules, [Muon(matrices, weight_decay=0.05), adam])

    def update(self, loss: Tensor, rate: float) -> None:
        if not torch.isfinite(loss):
            raise FloatingPointError(f"The loss of the {self.name} phase is {loss.item()} at step {self.step}.")
        loss.backward()
        nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def measure(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.measured[name] = 0.98 * self.measured.get(name, value) + 0.02 * value

    def save(self, folder: Path) -> None:
        """Write weights, optimizer state and progress, in one atomic file each."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"weights/{name}": p.detach().contiguous() for name, p in self.modules.named_parameters()}
        names: dict[Tensor, str] = {p: name for name, p in self.modules.named_parameters()}
        for parameter, state in ((p, state) for optimizer in self.optimizers for p, state in optimizer.state.items()):
            tensors |= {f"optimizer/{key}/{names[parameter]}": value for key, value in state.items()}
        progress = {"step": self.step, "seconds": self.seconds, "measured": self.measured}
        partial = folder / f"{self.name}.partial"
        save_file(tensors, partial, {"progress": json.dumps(progress)})
        partial.replace(folder / f"{self.name}.safetensors")

    def resume(self, folder: Path) -> bool:
        """Go on from what `save` wrote, if it did."""
        from safetensors import safe_open

        path = folder / f"{self.name}.safetensors"
        if not path.exists():
            return False
        tensors = load_file(path)
        owner_of = {p: o for o in self.optimizers for group in o.param_groups for p in group["params"]}
        with torch.no_grad():
            for name, parameter in self.modules.named_parameters():
                parameter.copy_(tensors[f"weights/{name}"])
                keys = [key for key in tensors if key.startswith("optimizer/") and key.split("/", 2)[2] == name]
                if keys:
                    owner_of[parameter].state[parameter] = {key.split("/")[1]: tensors[key] for key in keys}
        with safe_open(path, "pt") as file:
            progress = json.loads(file.metadata()["progress"])
        self.step, self.seconds, self.measured = progress["step"], progress["seconds"], progress["measured"]
        return True


def see(model: Idefics3ForConditionalGeneration, pixels_MCHW: Tensor) -> Tensor:
    """Visual tokens `[M, 9, D]` of canvases in uint8; equal to what the processor and `get_image_features` give."""
    pixels = pixels_MCHW.float() / 127.5 - 1.0
    side = model.model.vision_model.embeddings.num_patches_per_side
    whole = torch.ones(len(pixels), side, side, dtype=torch.bool)
    hidden = model.model.vision_model(pixel_values=pixels, patch_attention_mask=whole).last_hidden_state
    return model.model.connector(hidden)


def tower(model: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> nn.ModuleDict:
    """What the first phase trains: vision, connector, word embeddings and the heads that read the pictures off."""
    words = model.get_input_embeddings()
    heads = Heads(words.embedding_dim, tokenizer)
    parts = {"vision": model.model.vision_model, "connector": model.model.connector, "heads": heads, "embed": words}
    return nn.ModuleDict(parts)


def language_loss(model: Idefics3ForConditionalGeneration, batch: Packed) -> tuple[Tensor, dict[str, float]]:
    """The mean negative log-likelihood of all replies' tokens, and how many of them greedy decoding would get right.

    No gradient reaches the vision tower or the connector.
    """
    embedded = model.model.text_model.get_input_embeddings()(batch.ids_BL)
    with torch.no_grad():
        features = see(model, batch.pixels_MCHW)
    embedded = embedded.masked_scatter((batch.ids_BL == model.config.image_token_id)[..., None], features)
    assert features.shape[1] == IMAGE_TOKENS
    branch, length = batch.branch_BL, batch.ids_BL.shape[1]
    allowed = (branch[:, None, :] == branch[:, :, None]) | (branch[:, None, :] == 0)
    allowed &= torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None]
    hidden = model.model.text_model(
        inputs_embeds=embedded, attention_mask=mask, position_ids=batch.position_BL, use_cache=False
    ).last_hidden_state
    trained = batch.target_BL >= 0
    logits, target = model.lm_head(hidden[trained]), batch.target_BL[trained]
    loss = F.cross_entropy(logits, target)
    return loss, {"loss": loss.item(), "right": (logits.detach().argmax(-1) == target).float().mean().item()}


def train(
    model: Idefics3ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, plan: Plan, folder: Path
) -> dict:
    """Both phases, from where a run in this folder stopped; what was measured last, by phase.

    The model is changed in place. A checkpoint is written every two minutes.
    """
    seeing, words = tower(model, tokenizer), model.get_input_embeddings()
    vision, language = Phase.start("vision", seeing), Phase.start("language", model.model.text_model)
    measured = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} {task.fields[seen]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ) as progress:
        vision.resume(folder)
        for pixels, *shown in steps_of(vision, Canvases(plan.vision_steps, plan.seed), progress, folder):
            loss, seen = seeing["heads"](see(model, pixels), words.weight, *shown)
            vision.update(loss, plan.rate(vision.step, plan.vision_steps, plan.vision_rate))
            vision.measure(seen)
        language.resume(folder)
        batches = LessonBatches(tokenizer, plan.language_steps, plan.seed, plan.reading_steps, plan.varied_from)
        for batch in steps_of(language, batches, progress, folder):
            loss, seen = language_loss(model, batch)
            language.update(loss, plan.rate(language.step, plan.language_steps, plan.language_rate))
            language.measure(seen)
        for phase in (vision, language):
            measured[phase.name] = phase.measured | {"steps": phase.step, "seconds": phase.seconds}
    return measured


def steps_of(phase: Phase, data: Dataset, progress: Progress, folder: Path) -> Iterator:
    """The batches that a phase has still to take, made by a process beside; saves and shows how it goes."""
    steps = len(data)  # type: ignore[arg-type]
    loader = DataLoader(
        data,
        batch_size=None,
        sampler=range(phase.step, steps),
        num_workers=1,
        prefetch_factor=16,
        multiprocessing_context="spawn",
    )
    bar = progress.add_task(phase.name, total=steps, completed=phase.step, seen="")
    begun, saved, before = time.monotonic(), time.monotonic(), phase.seconds
    for batch in loader:
        yield batch
        now = time.monotonic()
        phase.seconds = before + now - begun
        seen = " ".join(f"{name} {value:.3f}" for name, value in phase.measured.items())
        if now - saved > CHECKPOINT_SECONDS or phase.step == steps:
            phase.save(folder)
            saved = now
            progress.console.print(f"{phase.name} {phase.step} {phase.seconds:.0f} s {seen}")
        progress.update(bar, completed=phase.step, seen=seen)
