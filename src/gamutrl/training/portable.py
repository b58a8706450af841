"""Prompts and turns as tensors and JSON, so that what a run remembers of them can be saved with its checkpoints.

`checkpoint.pack` takes what these functions return. Pictures become PNG bytes (lossless); what has no plain form in an
answer, a column or an `info` is kept as `samples.plain` writes it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Call, Message, Part, Prompt, Turn
from gamutrl.training.samples import plain

State = dict[str, Any]
"""Nested dictionaries and lists of tensors and JSON values."""

PNG_MODES = ("1", "L", "LA", "RGB", "RGBA")


def pack_prompt(prompt: Prompt) -> State:
    """A prompt with its media, answer and columns."""
    return {
        "messages": _pack_messages(prompt.messages),
        "answer": plain(prompt.answer),
        "columns": plain(prompt.columns),
        "pool": prompt.pool,
        "id": prompt.id,
    }


def unpack_prompt(state: Mapping[str, Any]) -> Prompt:
    return Prompt(
        _unpack_messages(state["messages"]), state["answer"], state["columns"], pool=state["pool"], id=state["id"]
    )


def pack_turn(turn: Turn) -> State:
    """A turn with its actions and what the environment said after it."""
    return {
        "text": turn.text,
        "raw_text": turn.raw_text,
        "tokens_T": turn.tokens_T.cpu(),
        "logp_T": turn.logp_T.cpu(),
        "char_of_T": list(turn.char_of_T),
        "temperature": turn.temperature,
        "calls": [[call.name, plain(call.arguments), call.error] for call in turn.calls],
        "info": plain(turn.info),
        "context": None if turn.context is None else _pack_messages(turn.context),
        "observation": [_pack_part(part) for part in turn.observation],
        "observation_role": turn.observation_role,
        "prefill": turn.prefill,
        "exact": turn.exact,
    }


def unpack_turn(state: Mapping[str, Any]) -> Turn:
    context = state["context"]
    return Turn(
        **{
            **state,
            "char_of_T": tuple(state["char_of_T"]),
            "calls": tuple(Call(*call) for call in state["calls"]),
            "context": None if context is None else _unpack_messages(context),
            "observation": tuple(_unpack_part(part) for part in state["observation"]),
        }
    )


def _pack_messages(messages: tuple[Message, ...]) -> list[State]:
    return [{"role": message.role, "parts": [_pack_part(part) for part in message.parts]} for message in messages]


def _unpack_messages(states: list[State]) -> tuple[Message, ...]:
    return tuple(Message(state["role"], tuple(map(_unpack_part, state["parts"]))) for state in states)


def _pack_part(part: Part) -> State:
    match part.kind:
        case "text":
            value: Any = part.value
        case "image":
            value = _png(part.value)
        case "video":
            value = [_png(frame) for frame in part.value]
        case "audio":
            value = torch.from_numpy(np.array(part.value, np.float32))
        case _:
            raise ValueError(f"A part of kind {part.kind!r} cannot be saved with a checkpoint; only text, images, "
                             "videos and audio can.")  # fmt: skip
    return {"kind": part.kind, "value": value, "info": plain(part.info)}


def _unpack_part(state: Mapping[str, Any]) -> Part:
    value = state["value"]
    match state["kind"]:
        case "image":
            value = _picture(value)
        case "video":
            value = tuple(_picture(frame) for frame in value)
        case "audio":
            value = value.numpy()
    return Part(state["kind"], value, state["info"])


def _png(picture: Image.Image) -> Tensor:
    """The bytes of a PNG, uint8; a mode that PNG does not know is made RGB first, as every policy does."""
    out = io.BytesIO()
    (picture if picture.mode in PNG_MODES else picture.convert("RGB")).save(out, "PNG", compress_level=1)
    return torch.frombuffer(bytearray(out.getvalue()), dtype=torch.uint8)


def _picture(png: Tensor) -> Image.Image:
    picture = Image.open(io.BytesIO(png.numpy().tobytes()), formats=("PNG",))
    picture.load()
    return picture
