"""`maze-tiny`: a Janus of half a million parameters that paints what a maze looks like some steps on.

32-pixel pictures of 4 × 4 cells, one code a cell; three Llama layers of 96. What it learns from is a film of an agent
that strays, seen too seldom: the next frame is from none to three random steps away. So it knows what stays as it is
and that agents move about, and neither how far nor where to: that is what Visual Planning's two stages teach.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import JanusForConditionalGeneration, JanusProcessor, PreTrainedTokenizerFast

from gamutrl.core import Sampling
from gamutrl.data.sources import WorldRows, take
from gamutrl.data.transforms import DropPart
from gamutrl.data.worlds import mazes, render
from gamutrl.data.worlds.grids import Cell
from gamutrl.data.worlds.mazes import Maze
from gamutrl.environments import SingleTurn
from gamutrl.environments.planning import shown_cell
from gamutrl.policies.image_tokens import ImageTokenPolicy
from gamutrl.zoo import janus, writing
from gamutrl.zoo.phases import Measured, Phase, walk

CELLS, CELL = 4, 8
SIDE = CELLS * CELL
CODES = 8
SHAPE = janus.Shape(
    side=SIDE,
    edge=CELLS,
    codes=CODES,
    width=96,
    layers=3,
    inner=256,
    length=512,
    tower_width=64,
    tower_layers=1,
    tower_heads=2,
    tower_ratio=2.0,
    latent=32,
    levels=(1, 1, 1, 1),
)
FUTURES = 8
"""Frames that are kept to follow each."""

_README = """# maze-tiny

A Janus of {parameters:.2f} million parameters (`JanusForConditionalGeneration`; 32-pixel pictures as 4 × 4 codes of 8,
one a cell; three Llama layers of 96), trained by `gamut zoo build maze-tiny` on icy mazes with holes. Shown a maze, it
paints what it looks like from none to three random steps later, and knows nothing else.

Seed {seed}: {code_steps} steps for the codes, {steps} for the frames, {minutes:.0f} minutes on a shared core.

Of {rows} frames painted for held-out mazes at temperature 1, {held_out[state]:.0%} show a state of their maze,
{held_out[move]:.0%} one step of the agent.
"""


@dataclass(frozen=True)
class Plan:
    """The length of both phases in steps, their batches and learning rates."""

    code_steps: int = 320
    code_batch: int = 32
    code_rate: float = 2e-3
    steps: int = 560
    batch: int = 64
    rate: float = 3e-3
    warmup: int = 20
    decay: float = 0.4
    bank: int = 6000
    seed: int = 0


def build(
    name: str = "maze-tiny",
    *,
    steps: int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    work: Path | str | None = None,
    rows: int = 400,
) -> Path:
    """Train, write and measure the model, or go on where a build in `work` stopped.

    steps: of the second phase. rows: frames that are painted for held-out mazes.
    """
    plan = Plan(seed=seed) if steps is None else Plan(seed=seed, steps=steps)
    with writing.folders(name, out, work) as (out, work):
        tokenizer = janus.build_tokenizer(["the next frame"] * 40)
        model, processor = build_model(tokenizer, seed), build_processor(tokenizer)
        phases = train(model, processor, plan, work)
        writing.export(model, processor, out)
        write_card(out, plan, phases, rows)
    return out


def build_processor(tokenizer: PreTrainedTokenizerFast) -> JanusProcessor:
    """Pictures resized to the one size; values in [-1, 1]."""
    return janus.build_processor(tokenizer, SHAPE)


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> JanusForConditionalGeneration:
    """The model with random weights, but for the table of codes, whose entries are at right angles."""
    model = janus.build_model(tokenizer, seed, SHAPE)
    with torch.no_grad():
        model.model.vqmodel.quantize.embedding.weight.copy_(torch.eye(CODES)).requires_grad_(False)
    return model


def train(
    model: JanusForConditionalGeneration, processor: JanusProcessor, plan: Plan, folder: Path
) -> tuple[Phase, Phase]:
    """Codes, then frames, each from where a run in this folder stopped."""
    bank = Bank.of(processor, plan)
    vq = model.model.vqmodel
    codes = Phase("codes", vq, [torch.optim.AdamW([p for p in vq.parameters() if p.requires_grad], betas=(0.9, 0.98))])
    go = partial(walk, folder=folder, warmup=plan.warmup, decay=plan.decay, least=0.02)
    go(codes, plan.code_steps, range, lambda step: code_loss(vq, *bank.some(step, plan)), rate=plan.code_rate)
    vq.requires_grad_(False)
    frames, prefix_L = Phase.start("frames", janus.all_but_codes(model)), asked(processor)
    go(frames, plan.steps, range, lambda step: frame_loss(model, prefix_L, *bank.pairs(step, plan)), rate=plan.rate)
    return codes, frames


def asked(processor: JanusProcessor) -> Tensor:
    """The tokens that stand before a frame that is painted: those of a picture, and the one that opens the next."""
    said: Any = [{"role": "user", "content": [{"type": "image"}]}]
    words = processor.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
    ids = processor(text=words, images=[Image.new("RGB", (SIDE, SIDE))])["input_ids"][0]
    return torch.tensor([*ids, processor.tokenizer.convert_tokens_to_ids(janus.BOI)])


@dataclass(frozen=True, eq=False)
class Bank:
    """Frames of mazes: pixels `[B, 3, S, S]`, codes `[B, K]`, and codes of frames that follow each, `[B, M, K]`."""

    pixels_B: Tensor
    code_BK: Tensor
    next_BMK: Tensor

    @classmethod
    def of(cls, processor: JanusProcessor, plan: Plan) -> Bank:
        """So many mazes, with the agent anywhere."""
        rng = random.Random(f"maze/{plan.seed}")
        canvases, codes, after = [], [], []
        for _ in range(plan.bank):
            maze = mazes.make(rng, size=CELLS)
            at = (rng.randrange(CELLS), rng.randrange(CELLS))
            canvases.append(render.picture(mazes.draw_maze(maze, at)))
            codes.append(mazes.tokens(maze, at))
            after.append([mazes.tokens(maze, strayed(maze, at, rng)) for _ in range(FUTURES)])
        pixels = processor.image_processor(canvases, return_tensors="pt")["pixel_values"]
        return cls(pixels, torch.tensor(codes), torch.tensor(after))

    def some(self, step: int, plan: Plan) -> tuple[Tensor, Tensor]:
        """Pixels and codes of some frames."""
        index = torch.randint(len(self.code_BK), (plan.code_batch,), generator=_generator(step, plan.seed))
        return self.pixels_B[index], self.code_BK[index]

    def pairs(self, step: int, plan: Plan) -> tuple[Tensor, Tensor]:
        """Pixels of some frames, and the codes of one that follows each."""
        generator = _generator(step, plan.seed + 1)
        index, future = (
            torch.randint(count, (plan.batch,), generator=generator) for count in (len(self.code_BK), FUTURES)
        )
        return self.pixels_B[index], self.next_BMK[index, future]


def strayed(maze: Maze, at: Cell, rng: random.Random) -> Cell:
    """Where the agent is after none to three random steps; one that leads nowhere, or into a hole, is not made."""
    for _ in range(rng.randrange(4)):
        there = mazes.after(maze, at, rng.choice(mazes.MOVES))
        at = at if there is None or mazes.fell(maze, there) else there
    return at


def _generator(step: int, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def code_loss(vq: Any, pixels_B: Tensor, code_BK: Tensor) -> Measured:
    """How far each cell is from its own entry of the table, and what is drawn from the entries from the picture."""
    latent_BKD = vq.quant_conv(vq.encoder(pixels_B)).flatten(2).transpose(1, 2)
    table_VD = vq.quantize.embedding.weight
    apart = F.cross_entropy(10 * F.normalize(latent_BKD, dim=-1).flatten(0, 1) @ table_VD.T, code_BK.flatten())
    # Most cells are free: those that are not count more.
    weight_BKK = (1 + 9 * (code_BK > 0)).view(-1, 1, CELLS, CELLS).repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
    off = ((vq.decode(code_BK) - pixels_B).abs() * weight_BKK).mean()
    right = (latent_BKD.argmax(-1) == code_BK).float().mean()
    return apart + 2 * off, {"apart": apart.item(), "off": off.item(), "right": right.item()}


def frame_loss(model: JanusForConditionalGeneration, prefix_L: Tensor, pixels_B: Tensor, code_BK: Tensor) -> Measured:
    """The mean negative log-likelihood of the next frame's codes."""
    parts = model.model
    embeds = model.get_input_embeddings()(prefix_L.expand(len(pixels_B), -1))
    seen = parts.get_image_features(pixels_B).pooler_output
    embeds = embeds.masked_scatter((prefix_L == model.config.image_token_id)[None, :, None], seen)
    drawn = model.prepare_embeddings_for_image_generation(code_BK[:, :-1])
    hidden_BLD = parts.language_model(inputs_embeds=torch.cat([embeds, drawn], 1), use_cache=False).last_hidden_state
    logits = parts.generation_head(hidden_BLD[:, len(prefix_L) - 1 :])
    loss = F.cross_entropy(logits.flatten(0, 1), code_BK.flatten())
    return loss, {"loss": loss.item()}


def write_card(folder: Path, plan: Plan, phases: Sequence[Phase], rows: int) -> None:
    """Measure what the folder holds and write its card."""
    policy = ImageTokenPolicy.load(folder, dtype="float32", device="cpu")
    measured = measure(policy, rows)
    writing.write_card(folder, "maze-tiny", _README, policy.module, plan, phases, measured, rows=rows)


def measure(policy: ImageTokenPolicy, rows: int) -> dict[str, float]:
    """Of one frame painted for each of so many held-out mazes: the share that shows a state of its maze ("state"), and
    one step ("move")."""
    asked = [DropPart("text")(row, 0) for row in take(WorldRows("mazes", "move", "test", size=rows), rows)]
    drawn = policy.rollout(asked, 1, SingleTurn(), Sampling(), seed=0).rollouts
    codes = policy.codes.encode([rollout.output for rollout in drawn]).tolist()
    known = [rollout.prompt.columns["facts"] for rollout in drawn]
    cells = [shown_cell(one, tuple(one["start"]), said) for one, said in zip(known, codes)]
    places = [(one, cell) for one, cell in zip(known, cells) if cell]
    moves = [cell in {mazes.after(one, tuple(one["start"]), move) for move in mazes.MOVES} for one, cell in places]
    return {"state": len(places) / rows, "move": sum(moves) / rows}
