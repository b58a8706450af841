"""How well a packaged model does on held-out rows of the worlds: greedy, and single samples at temperature 1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from transformers import Idefics3ForConditionalGeneration, Idefics3Processor

from gamutrl.core import Prompt
from gamutrl.data.worlds import clips, digits, puzzles, scenes
from gamutrl.functional.geometry import box_iou

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_BOX = re.compile(r"[\[(](\d{1,3}), ?(\d{1,3})(?:\), ?\(|, ?)(\d{1,3}), ?(\d{1,3})[\])]")


@dataclass(frozen=True)
class Probe:
    """A task to be measured, and whether it belongs to what the model should see or to what it should half know."""

    kind: str
    world: ModuleType
    task: str
    knobs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        world = self.world.__name__.rsplit(".", 1)[-1]
        knobs = "".join(f" {key}={value}" for key, value in self.knobs.items())
        return f"{world} {self.task}{knobs}"


THINK = {"form": "think"}
PROBES = [
    *(Probe("sees", digits, task) for task in ("read", "classify", "locate", "detect", "count", "sum")),
    *(
        Probe("sees", scenes, task)
        for task in ("read", "caption", "everything", "locate", "detect", "point", "numbers")
    ),
    *(Probe("sees", scenes, task) for task in ("attribute", "count", "relation", "compare", "statement", "images")),
    *(Probe("sees", clips, task) for task in ("direction", "order", "count", "span", "truths", "choice")),
    *(Probe("sees", puzzles, "full", {"shape": shape}) for shape in ((2, 1), (3, 1), (2, 2))),
    *(
        Probe("half knows", world, task, {"boxes": "position", **THINK})
        for world in (digits, scenes)
        for task in ("locate", "detect")
    ),
    *(
        Probe("half knows", world, task, {"boxes": "bbox_2d", **THINK})
        for world in (digits, scenes)
        for task in ("locate", "detect")
    ),
    *(Probe("half knows", scenes, task, {"boxes": "native"}) for task in ("locate", "detect")),
    *(Probe("half knows", digits, task, THINK) for task in ("classify", "count", "sum")),
    *(Probe("half knows", scenes, task, THINK) for task in ("count", "attribute", "options", "arithmetic")),
    *(Probe("half knows", scenes, task, {"form": "info"}) for task in ("numbers", "count")),
    *(Probe("half knows", clips, task, THINK) for task in ("direction", "order", "span", "truths", "choice")),
    *(Probe("half knows", puzzles, "full", {"shape": shape, **THINK}) for shape in ((2, 1), (3, 1), (2, 2))),
]


def share(text: str, row: Prompt) -> float:
    """How much of its row's answer a reply gets right: 1 for all and nothing besides.

    Boxes: those met by one of IoU at least 0.5, of the larger number. Lists: the items that stand at their place.
    """
    tagged = _ANSWER.search(text)
    answer = (tagged.group(1) if tagged else text).strip()
    if row.columns["form"] != "plain" and not tagged:
        return 0.0
    if "boxes" in row.columns:
        true = torch.tensor(row.columns["boxes"], dtype=torch.float32).reshape(-1, 4)
        found = torch.tensor([[float(edge) for edge in box] for box in _BOX.findall(answer)]).reshape(-1, 4)
        if not len(true) or not len(found):
            return float(len(true) == len(found))
        return int((box_iou(true, found).amax(1) >= 0.5).sum()) / max(len(true), len(found))
    parting = ", " if ", " in row.answer else " "
    wanted, said = row.answer.split(parting), answer.split(parting)
    return sum(a == b for a, b in zip(wanted, said)) / max(len(wanted), len(said))


def right(text: str, row: Prompt) -> bool:
    """Whether a reply answers its row: the same text, or, for boxes, each true box met by one of IoU at least 0.5."""
    return share(text, row) == 1.0


@torch.no_grad()
def replies(
    model: Idefics3ForConditionalGeneration,
    processor: Idefics3Processor,
    rows: list[Prompt],
    sample: bool = False,
    max_tokens: int = 128,
) -> list[str]:
    """One reply a row, greedy or sampled at temperature 1."""
    texts, pictures = [], []
    speaker: Any = model
    for row in rows:
        shown = [v for part in row.media for v in (part.value if part.kind == "video" else [part.value])]
        content = [*({"type": "image"} for _ in shown), {"type": "text", "text": row.messages[0].text}]
        conversation: list[Any] = [{"role": "user", "content": content}]
        texts.append(processor.apply_chat_template(conversation, add_generation_prompt=True))
        pictures.append(shown)
    inputs = processor(text=texts, images=pictures, padding=True, padding_side="left", return_tensors="pt")
    banned = [[model.config.image_token_id]]
    sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0} if sample else {"do_sample": False}
    output = speaker.generate(**inputs, max_new_tokens=max_tokens, bad_words_ids=banned, **sampling)
    return processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def measure(
    model: Idefics3ForConditionalGeneration,
    processor: Idefics3Processor,
    rows: int = 200,
    probes: list[Probe] = PROBES,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Each probe's share of right replies on the first `rows` held-out rows, greedy and sampled; the mean share of
    what a greedy reply gets right (`parts`); and the commonest answer's share."""
    model.eval()
    torch.manual_seed(seed)
    measured = []
    for probe in probes:
        asked = probe.world.rows("test", rows, seed, task=probe.task, **probe.knobs)
        scores = {}
        for how, sample in (("greedy", False), ("sampled", True)):
            said = [text for i in range(0, rows, 50) for text in replies(model, processor, asked[i : i + 50], sample)]
            shares = [share(text, row) for text, row in zip(said, asked)]
            scores[how] = shares.count(1.0) / rows
            if not sample:
                scores["parts"] = sum(shares) / rows
        answers = [row.answer for row in asked]
        constant = max(answers.count(answer) for answer in set(answers)) / rows
        measured.append({"kind": probe.kind, "task": probe.name, **scores, "constant": constant, "rows": rows})
    return measured
