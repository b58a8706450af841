"""Segments: messages and observations to tokens with their media in place.

A segment is what enters a context at once: a prompt, or what the environment said. Its media are known by their places
in it, as the processor made them; no one ever looks for placeholder tokens in what a policy sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from transformers import ProcessorMixin

from gamutrl.core import Message, Part
from gamutrl.policies.families import Backbone

TEXT, IMAGE, VIDEO = 0, 1, 2
MARK = "¤¤¤"


@dataclass(frozen=True)
class MediaSize:
    """A picture's width and height in pixels, as given and as the model's vision tower sees it."""

    original: tuple[int, int]
    model: tuple[int, int]


@dataclass(eq=False)
class Segment:
    """Tokens that enter a context at once, with their media.

    tokens_L: int64. kind_L: 0 text, 1 an image's token, 2 a video's. position_AL: rotary positions, counted from the
    segment's beginning, one row an axis; `span` is how far they carry on. media: what the vision tower takes.
    sizes: of each picture (a video counts once). features: encoded media, kept where the tower does not train.
    """

    tokens_L: Tensor
    kind_L: Tensor
    position_AL: Tensor
    span: int
    media: dict[str, Tensor] = field(default_factory=dict)
    sizes: tuple[MediaSize, ...] = ()
    features: list[Tensor] | None = None

    def __len__(self) -> int:
        return len(self.tokens_L)

    @cached_property
    def placed(self) -> int:
        """How many tokens are media's."""
        return int((self.kind_L != TEXT).sum())

    @cached_property
    def block_L(self) -> Tensor:
        """For each token the number of its picture in this segment, -1 for text."""
        picture = self.kind_L != TEXT
        begins = picture & ~torch.nn.functional.pad(picture, (1, 0))[:-1]
        return torch.where(picture, begins.long().cumsum(0) - 1, -1)

    @cached_property
    def pictures(self) -> int:
        """How many pictures it has (neighbours without text between them are one)."""
        return int(self.block_L.max()) + 1 if len(self) else 0


class Segments:
    """Makes segments with a model's processor and chat template."""

    def __init__(self, processor: ProcessorMixin, backbone: Backbone) -> None:
        self.processor, self.backbone = processor, backbone
        self.tokenizer: Any = getattr(processor, "tokenizer", processor)
        self.banned = self._banned()
        self.placeholders = [token for token in self.tokenizer.convert_ids_to_tokens(self.banned) if token]
        self.takes_video = getattr(processor, "video_processor", None) is not None and backbone.takes_video
        self.end, self.eos = self._ends()
        self.special = frozenset(self.tokenizer.all_special_ids)
        self.pieces: dict[int, str] = {}

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset({"text", "image", "video"})

    # -- what enters a context ------------------------------------------------------------------------------------

    def prompt(self, messages: Sequence[Message], prefill: str = "") -> Segment:
        """A whole conversation, up to where the policy speaks. An assistant message at its end is continued."""
        goes_on = bool(messages) and messages[-1].role == "assistant"
        media: list[Part] = []
        chat = [self._chat(message, media) for message in messages]
        text = self._render(chat, goes_on)
        bos = self.tokenizer.bos_token
        return self._segment(text + prefill, media, special=not (bos and text.startswith(bos)))

    def observation(self, parts: Sequence[Part], role: str, prefill: str = "", closed: bool = True) -> Segment:
        """What the environment said after a turn, up to where the policy speaks again.

        closed: whether the turn ended with the token that ends turns (if not, the segment begins with it). The role
        "inside" continues the same turn: nothing but the parts.
        """
        media: list[Part] = []
        content = self._chat(Message("user", tuple(parts)), media)["content"]
        if role == "inside":
            return self._segment(self._bare(content) + prefill, media)
        text = self._between_turns(content, role)
        if closed:
            text = text.removeprefix(self.tokenizer.decode([self.end]))
        return self._segment(text + prefill, media)

    def text(self, tokens_L: Tensor) -> Segment:
        """Tokens as they are, all text."""
        length = len(tokens_L)
        position = torch.arange(length).expand(self.backbone.axes, -1)
        return Segment(tokens_L.long(), torch.zeros(length, dtype=torch.long), position, length)

    def tokens_of(self, text: str) -> Tensor:
        return torch.tensor(self.tokenizer(text, add_special_tokens=False)["input_ids"], dtype=torch.long)

    def spell(self, tokens_T: Tensor) -> tuple[str, str, tuple[int, ...]]:
        """Text without special tokens, text with them, and where each token begins in the latter."""
        ids = tokens_T.tolist()
        for token in set(ids) - self.pieces.keys():
            self.pieces[token] = self.tokenizer.decode([token], skip_special_tokens=False)
        pieces = [self.pieces[token] for token in ids]
        raw = self.tokenizer.decode(ids, skip_special_tokens=False)
        text = self.tokenizer.decode(ids, skip_special_tokens=True) if self.special.intersection(ids) else raw
        if "".join(pieces) == raw:
            return text, raw, tuple(accumulate(map(len, pieces[:-1]), initial=0))[: len(ids)]
        # Characters that several tokens spell begin where the first of these does.
        starts, place, pending = [], 0, list[int]()
        for token in ids:
            starts.append(min(place, len(raw)))
            pending.append(token)
            said = self.tokenizer.decode(pending, skip_special_tokens=False)
            if not said.endswith("\ufffd") or len(pending) == 4:
                place, pending = place + len(said), []
        return text, raw, tuple(starts)

    # -- rendering ------------------------------------------------------------------------------------------------

    def _chat(self, message: Message, media: list[Part]) -> dict[str, Any]:
        content: list[dict[str, Any]] = []
        for part in message.parts:
            if part.kind == "text":
                content.append({"type": "text", "text": self._plain(part.value)})
            elif part.kind == "image" or (part.kind == "video" and self.takes_video):
                content.append({"type": part.kind})
                media.append(part)
            elif part.kind == "video":
                for frame in part.value:
                    content.append({"type": "image"})
                    media.append(Part("image", frame))
            else:
                raise ValueError(f"this model takes {', '.join(sorted(self.kinds))}, not {part.kind!r}")
        return {"role": message.role, "content": content}

    def _plain(self, text: str) -> str:
        """Text in which nobody can write a placeholder: «<image>» becomes «< image>»."""
        for token in self.placeholders:
            if token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def _render(self, chat: list[dict[str, Any]], goes_on: bool = False) -> str:
        return self.processor.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=not goes_on, continue_final_message=goes_on
        )

    def _between_turns(self, content: list[dict[str, Any]], role: str) -> str:
        """What the template writes between an assistant's words and the assistant's next ones."""
        before = [
            {"role": "user", "content": [{"type": "text", "text": "?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": MARK}]},
        ]
        try:
            text = self._render([*before, {"role": role, "content": content}])
        except Exception:
            # Many templates know no tool role, or refuse it where no call came before: it is a user's message then.
            if role == "user":
                raise
            text = self._render([*before, {"role": "user", "content": content}])
        return text.partition(MARK)[2]

    def _bare(self, content: list[dict[str, Any]]) -> str:
        """The parts as the template writes them, without a message around them."""
        mark = {"type": "text", "text": MARK}
        # Cut at the outermost marks: what is shown may hold one too.
        after = self._render([{"role": "user", "content": [mark, *content, mark]}]).partition(MARK)[2]
        text = after.rpartition(MARK)[0]
        pictures = sum(part["type"] != "text" for part in content)
        placeholder = getattr(self.processor, "image_token", None)
        if placeholder and text.count(placeholder) != pictures:
            # A template that writes all pictures of a message before its words.
            text = "".join(part["text"] if part["type"] == "text" else placeholder for part in content)
        return text

    def _segment(self, text: str, media: list[Part], special: bool = False) -> Segment:
        arguments: dict[str, Any] = {"text": [text], "return_tensors": "pt", "add_special_tokens": special}
        images = [_rgb(part.value) for part in media if part.kind == "image"]
        videos = [part for part in media if part.kind == "video"]
        if images:
            arguments["images"] = images
        if videos:
            arguments |= _video_arguments(videos)
        if not media:
            tokens = torch.tensor(self.tokenizer(text, add_special_tokens=special)["input_ids"], dtype=torch.long)
            return self.text(tokens)
        made = dict(self.processor(**arguments))
        tokens = torch.as_tensor(made.pop("input_ids"))[0].long()
        made = {name: value for name, value in made.items() if name in self.backbone.media_names}
        made = {name: torch.as_tensor(value) for name, value in made.items()}
        kind = torch.where(
            tokens == (-1 if self.backbone.image_token is None else self.backbone.image_token), IMAGE, TEXT
        )
        if self.backbone.video_token is not None:
            kind = torch.where(tokens == self.backbone.video_token, VIDEO, kind)
        position, span = self.backbone.positions(tokens, kind, made)
        sizes = self.backbone.sizes([_size(part) for part in media], made)
        return Segment(tokens, kind, position, span, made, tuple(MediaSize(*size) for size in sizes))

    # -- tokens with a meaning ------------------------------------------------------------------------------------

    def _banned(self) -> list[int]:
        """Placeholders of media: never sampled, and not in the vocabulary that is scored."""
        sources = (self.backbone.config, self.processor, self.tokenizer)
        ids = {getattr(source, f"{kind}_token_id", None) for source in sources for kind in ("image", "video", "audio")}
        ids |= {getattr(self.backbone.config, f"{kind}_token_index", None) for kind in ("image", "video", "audio")}
        return sorted(i for i in ids if isinstance(i, int) and 0 <= i < self.backbone.vocabulary)

    def _ends(self) -> tuple[int, list[int]]:
        """The token that ends a turn (what the template writes after an answer), and all that are taken for one."""
        after = self._between_turns([{"type": "text", "text": "?"}], "user")
        first = self.tokenizer(after, add_special_tokens=False)["input_ids"][:1]
        ends = [i for i in first if i in self.tokenizer.all_special_ids]
        ends += [i for i in (self.tokenizer.eos_token_id, *sorted(self.backbone.generation_eos)) if i is not None]
        if not ends:
            raise ValueError("The model has no token that ends an answer: set the tokenizer's eos_token.")
        return ends[0], sorted(set(ends))


def _rgb(image: Any) -> Any:
    return image if getattr(image, "mode", "RGB") == "RGB" else image.convert("RGB")


def _size(part: Part) -> tuple[int, int]:
    value = part.value if part.kind == "image" else part.value[0]
    return tuple(value.size)


def _video_arguments(videos: list[Part]) -> dict[str, Any]:
    """Clips go in with the frames they have; sampling frames is the data's business."""
    metadata = [
        {
            "total_num_frames": len(part.value),
            "fps": part.info.get("fps", 1.0),
            "frames_indices": list(range(len(part.value))),
        }
        for part in videos
    ]
    frames = [[_rgb(frame) for frame in part.value] for part in videos]
    return {"videos": frames, "videos_kwargs": {"do_sample_frames": False, "video_metadata": metadata}}
