"""Rollouts as people and the report read them: JSON with the media beside it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from gamutrl.core import Batch, Part, Prompt, Rollout, Turn
from gamutrl.rewards.outputs import drawn


def describe_prompt(prompt: Prompt, folder: Path) -> dict[str, Any]:
    """A prompt as JSON; its media go to `folder/media/`, named by content, so that the same picture is written once."""
    return {
        "id": prompt.id,
        "messages": [
            {"role": message.role, "parts": [describe_part(part, folder) for part in message.parts]}
            for message in prompt.messages
        ],
        "answer": plain(prompt.answer),
        "columns": {name: plain(value) for name, value in prompt.columns.items() if _is_plain(value)},
    }


def describe_part(part: Part, folder: Path) -> dict[str, Any]:
    if part.kind == "text":
        return {"kind": "text", "text": part.value}
    if part.kind == "image" and isinstance(part.value, Image.Image):
        return {"kind": "image", "file": _save(part.value, folder)}
    if part.kind == "video":
        return {
            "kind": "video",
            "files": [_save(frame, folder) for frame in part.value if isinstance(frame, Image.Image)],
        }
    return {"kind": part.kind}


def describe_rollout(rollout: Rollout, folder: Path, rewards: Mapping[str, float]) -> dict[str, Any]:
    """A rollout as JSON: its turns with what the environment said between them, the pictures it made, how it ended,
    every reward component. Turns without a word (denoising steps) are left out."""
    return {
        "text": rollout.text,
        "pictures": [_save(picture, folder) for picture in pictures_of(rollout)],
        "end": rollout.end,
        "length": rollout.length,
        "rewards": {name: plain(value) for name, value in rewards.items()},
        "stop": rollout.info.get("stop") or (rollout.turns[-1].info.get("stop") if rollout.turns else None),
        "turns": [
            describe_turn(turn, rollout.prompt, folder)
            for turn in rollout.turns
            if turn.text or turn.calls or turn.observation or rollout.output is None or isinstance(rollout.output, str)
        ],
    }


TOLD = ("shown", "sizes", "reward", "score", "regions")
"""What the report tells of an environment's `info`."""


def describe_turn(turn: Turn, prompt: Prompt, folder: Path) -> dict[str, Any]:
    """A turn as JSON: what was written, what it asked for, what came back. `fresh` is what a turn that starts anew sees
    beside the prompt."""
    own = {id(part) for part in prompt.parts()}
    seen = [part for message in turn.context or () for part in message.parts if id(part) not in own]
    return {
        "text": turn.text,
        "prefill": turn.prefill,
        "calls": [{"name": c.name, "arguments": plain(dict(c.arguments)), "error": c.error} for c in turn.calls],
        "observation": [describe_part(part, folder) for part in turn.observation],
        "fresh": [describe_part(part, folder) for part in seen] if turn.context is not None else None,
        "info": {name: plain(turn.info[name]) for name in TOLD if name in turn.info},
    }


def pictures_of(rollout: Rollout) -> list[Image.Image]:
    """The pictures that a rollout made: one, the frames of a clip, or how what it made is shown."""
    output = rollout.output
    if hasattr(output, "picture"):
        return [output.picture(rollout.prompt)]
    items = output if isinstance(output, list | tuple) else [output]
    pixels = [drawn(item) if isinstance(item, Tensor) and item.dim() == 3 else item for item in items]
    return [item for item in pixels if isinstance(item, Image.Image)]


def describe_group(batch: Batch, groups: int, folder: Path) -> list[dict[str, Any]]:
    """The first `groups` groups of a scored batch, each with its prompts and every rollout's reward components."""
    told = []
    for group in batch.group_R.unique().tolist()[:groups]:
        numbers = (batch.group_R == group).nonzero().flatten().tolist()
        prompts = list(dict.fromkeys(int(batch.prompt_R[r]) for r in numbers))
        rollouts = []
        for r in numbers:
            rewards = {name: float(batch["reward_RK"][r, k]) for k, name in enumerate(batch.reward_names)}
            total = {"total": float(batch["reward_R"][r])} if "reward_R" in batch else {}
            rollouts.append(
                {"prompt": prompts.index(int(batch.prompt_R[r]))}
                | describe_rollout(batch.rollouts[r], folder, total | rewards)
            )
        told.append({"prompts": [describe_prompt(batch.prompts[p], folder) for p in prompts], "rollouts": rollouts})
    return told


def plain(value: Any) -> Any:
    """A value as strict JSON can hold it (NaN becomes None, half a surrogate "?"; what has no JSON form, its text)."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return plain(str(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def _save(image: Image.Image, folder: Path) -> str:
    name = hashlib.blake2b(image.tobytes() + repr((image.mode, image.size)).encode(), digest_size=10).hexdigest()
    file = folder / "media" / f"{name}.png"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)
    return f"media/{name}.png"
