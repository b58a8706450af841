"""`gamut sample`: pictures and clips from any model that makes them."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gamutrl.cli.errors import UsageError
from gamutrl.cli.presets import find_preset, find_recipe
from gamutrl.cli.runs import add_allow_option, is_run, preset_of_run

if TYPE_CHECKING:
    from PIL import Image

    from gamutrl.core import Prompt
    from gamutrl.training.preset import Preset

EXAMPLES = """\
examples:
  gamut sample stabilityai/stable-diffusion-3.5-medium --prompt 'two red cubes on a table' --n 4
  gamut sample runs/flow-grpo-001 --n 4                     the run's model, on prompts of its held-out rows
  gamut sample runs/flow-grpo-001 --before --n 4            the same with the model that the run started from
  gamut sample var-tiny --world pictures --task digit --prompts 10
  gamut sample black-forest-labs/FLUX.1-dev --data prompts.txt --sampling.steps 20 --sampling.guidance 3.5

Every field of the sampling settings and of the model is an option too: --sampling.steps 20 --model.dtype bfloat16
"""


@dataclasses.dataclass(frozen=True)
class Session:
    """What is sampled, and how."""

    model: Any
    sampling: Any
    environment: Any


def add_verbs(verbs: Any) -> None:
    parser = verbs.add_parser(
        "sample",
        help="write pictures or clips that a model makes",
        description="Writes what a model makes of prompts: pictures as PNG, clips as GIF, all of them on one sheet.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "target", metavar="DIR_OR_MODEL", help="a run directory, a model's folder, a packaged model or a hub id"
    )
    parser.add_argument("--prompt", action="append", default=[], metavar="TEXT", help="may be repeated")
    parser.add_argument("--data", metavar="PATH", help="prompts of a file: a text of one a line, or rows")
    parser.add_argument("--world", metavar="WORLD", help="prompts of a world's held-out rows: pictures, blobs, …")
    parser.add_argument("--task", metavar="TASK", help="the world's task (default: its first)")
    parser.add_argument("--prompts", type=int, default=4, metavar="N", help="how many of those rows (default: 4)")
    parser.add_argument("--n", type=int, default=1, metavar="N", help="samples of each prompt (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same pictures")
    parser.add_argument("--out", metavar="DIR", default="samples", help="where they are written (default: samples)")
    parser.add_argument(
        "--system", metavar="SYSTEM", help="whose sampling settings to use, for a model that is no run's"
    )
    parser.add_argument("--before", action="store_true", help="of a run: the model that it started from")
    parser.add_argument("--fps", type=float, default=8.0, metavar="N", help="of clips (default: 8)")
    add_allow_option(parser)
    parser.set_defaults(run=_sample, takes_overrides=True)


def _sample(args: argparse.Namespace) -> None:
    import torch

    if args.n < 1 or args.prompts < 1:
        raise UsageError("--n and --prompts must be at least 1.")
    session, own = _session(args)
    prompts = _prompts(args, own)
    policy = session.model.load()
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    sheet: list[list[Image.Image]] = []
    with torch.no_grad(), (folder / "samples.jsonl").open("w", encoding="utf-8") as told:
        for number, prompt in enumerate(prompts):
            batch = policy.rollout([prompt], args.n, session.environment, session.sampling, seed=args.seed)
            sheet.append([])
            for copy, rollout in enumerate(batch.rollouts):
                frames = _frames(rollout, args.target)
                file = _write(frames, folder / f"{number:03d}-{copy}", args.fps)
                sheet[-1].append(frames[len(frames) // 2])
                line = {"file": file.name, "prompt": prompt.text, "copy": copy, "seed": args.seed, "text": rollout.text}
                told.write(json.dumps(line, ensure_ascii=False) + "\n")
                print(file)
    contact_sheet(sheet).save(folder / "sheet.png")
    print(folder / "sheet.png")


def _session(args: argparse.Namespace) -> tuple[Session, list[Prompt]]:
    """Model and settings as a run, a system or the model's kind has them, and the run's own held-out prompts."""
    from gamutrl.environments import SingleTurn
    from gamutrl.policies.models import model_of
    from gamutrl.training.config import override

    folder = Path(args.target)
    own: list[Prompt] = []
    preset: Preset | None = None
    if is_run(folder):
        preset, _ = preset_of_run(folder, args, before=args.before)
    elif args.before:
        raise UsageError(f"--before needs a run directory, which {folder} is not.")
    if args.system:
        other = find_preset(find_recipe(args.system), "tiny")
        preset = dataclasses.replace(
            preset or other.with_model(args.target), evaluation=other.evaluation, responders=other.responders
        )
    if preset is not None:
        evaluation = preset.evaluation
        session = Session(preset.model, evaluation.sampling, evaluation.environment)
        own = evaluation.prompts()[: args.prompts] if not (args.prompt or args.data or args.world) else []
    else:
        model = model_of(args.target)
        session = Session(model, _usual(model), SingleTurn())
    # Greedy words draw one picture only: whoever asks for several wants them to differ.
    if args.n > 1 and getattr(session.sampling, "temperature", None) == 0:
        session = dataclasses.replace(session, sampling=dataclasses.replace(session.sampling, temperature=1.0))
    for path, text in args.overrides:
        session = override(session, path, text)
    return session, own


def _usual(model: Any) -> Any:
    """The settings that models of a kind are usually sampled with: guided where they draw, as papers show them."""
    from gamutrl.core import Sampling
    from gamutrl.policies.flow.sampling import FlowSampling
    from gamutrl.policies.models import FlowModel, TextModel

    if isinstance(model, TextModel):
        return Sampling()
    if not isinstance(model, FlowModel):
        return Sampling(guidance=3.0)
    is_pipeline = (Path(model.place) / "model_index.json").is_file() or not Path(model.place).is_dir()
    return FlowSampling(steps=28, eta=0.0, guidance=4.5 if is_pipeline else 1.0)


def _prompts(args: argparse.Namespace, own: list[Prompt]) -> list[Prompt]:
    from gamutrl.core import Prompt
    from gamutrl.data.rows import FileRows
    from gamutrl.data.sources import WorldRows, take

    prompts = [Prompt.ask(text) for text in args.prompt]
    if args.data:
        prompts += take(FileRows(args.data, split="all"), args.prompts)
    if args.world:
        task = args.task or WorldRows(args.world, "").module.TASKS[0]
        prompts += take(WorldRows(args.world, task, split="test", size=args.prompts), args.prompts)
    if not (prompts or own):
        raise UsageError("Say what to make: --prompt TEXT, --data FILE or --world WORLD.")
    return prompts or own


def _frames(rollout: Any, target: str) -> list[Image.Image]:
    from gamutrl.training.samples import pictures_of

    frames = pictures_of(rollout)
    if not frames and (rollout.output is None or isinstance(rollout.output, str)):
        said = f" It said: {rollout.text[:200]!r}." if rollout.text else ""
        raise UsageError(f"{target} made no picture.{said} `gamut sample` is for models that make pictures.")
    if not frames:
        raise UsageError(f"What {target} makes cannot be shown as a picture ({type(rollout.output).__name__}).")
    return frames


def _write(frames: list[Image.Image], stem: Path, fps: float) -> Path:
    """One picture as PNG, several as an endless GIF."""
    if len(frames) == 1:
        file = stem.with_name(f"{stem.name}.png")
        frames[0].save(file)
        return file
    file = stem.with_name(f"{stem.name}.gif")
    first, *rest = [frame.convert("RGB") for frame in frames]
    first.save(file, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
    return file


def contact_sheet(rows: list[list[Image.Image]], least: int = 96) -> Image.Image:
    """All pictures on one, a row a prompt; small ones enlarged with hard pixels to at least `least` wide."""
    from PIL import Image

    pictures = [picture for row in rows for picture in row]
    width, height = (max(picture.size[k] for picture in pictures) for k in (0, 1))
    times = max(1, -(-least // width))
    gap, columns = 4, max(map(len, rows))
    step_x, step_y = width * times + gap, height * times + gap
    sheet = Image.new("RGB", (columns * step_x + gap, len(rows) * step_y + gap), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            larger = picture.convert("RGB").resize(
                (picture.width * times, picture.height * times), Image.Resampling.NEAREST
            )
            sheet.paste(larger, (gap + x * step_x, gap + y * step_y))
    return sheet
