"""`pages-tiny`: a small image-text model (CLIP's architecture) that finds the rendered pages of `library` by words.

Texts and pages in one space, so that a search tool reads pictures and not their print: `FromModel("pages-tiny")` in
`environments.tools.pages`. Trained by contrast on the training split's collections, whose titles no held-out page has.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

from gamutrl.data.worlds import library
from gamutrl.zoo import writing
from gamutrl.zoo.packaged import MODELS
from gamutrl.zoo.phases import Phase

SIDE, PATCH, WORDS = 48, 8, 24
"""Pixels of a picture and of a patch, and the most tokens of a text."""
NAME = "pages-tiny"
_README = """# {name}

An image-text model of {parameters:.1f} million parameters (`CLIPModel`, pictures of 48 pixels, words as tokens),
trained by `gamut zoo build {name}` on the rendered pages of `gamutrl.data.worlds.library`: `FromModel("{name}")` of
`environments.tools.pages` embeds them for a search. It knows nothing else.

Seed {seed}, {phases}, {batch} pages each, {minutes:.1f} minutes. In a collection of {held_out[pages]} held-out pages,
of whose titles none was taught, a title finds its page first {held_out[first]:.0%} of the time, and among the first
five {held_out[first_five]:.0%}.
"""


@dataclass(frozen=True)
class Plan:
    """steps of `batch` pages. collections: how many of `pages` each are drawn from. partial: how often a text says only
    a part of a title."""

    steps: int = 220
    batch: int = 128
    rate: float = 1.5e-3
    warmup: int = 40
    collections: int = 6
    pages: int = 480
    partial: float = 0.15
    seed: int = 0


def build(name: str = NAME, *, steps: int | None = None, seed: int = 0, out: Path | str | None = None) -> Path:
    """Train the model and write its folder. Raises ValueError for a name that no script here builds."""
    if name != NAME:
        raise ValueError(f"No script builds {name!r}; there is one for: {NAME}.")
    plan = Plan(seed=seed) if steps is None else Plan(steps=steps, seed=seed)
    began = time.monotonic()
    folder = Path(out) if out else MODELS / name
    shelves = [library.collection("train", number, plan.pages) for number in range(plan.collections)]
    every = [page for shelf in shelves for page in shelf]
    processor = make_processor([page.title_text for page in every])
    model = make_model(len(processor.tokenizer), seed)
    loss = train(model, processor, every, plan)
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    phase = Phase("contrast", model, [], plan.steps, time.monotonic() - began, {"loss": loss})
    writing.write_card(folder, name, _README, model, plan, [phase], measure(folder))
    return folder


def make_processor(texts: Sequence[str]) -> CLIPProcessor:
    """Words as tokens, in any case; pictures squeezed into a square."""
    known = sorted({word for text in texts for word in text.lower().split()})
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    vocabulary = {word: number for number, word in enumerate([*special.values(), *known])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B </s>", marks)
    words = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=WORDS, **special)
    size = {"height": SIDE, "width": SIDE}
    pictures = CLIPImageProcessor(size=size, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return CLIPProcessor(pictures, words)


def make_model(words: int, seed: int) -> CLIPModel:
    torch.manual_seed(seed)
    small = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4}
    marks = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    config = CLIPConfig(
        text_config={**small, **marks, "vocab_size": words, "max_position_embeddings": WORDS},
        vision_config={**small, "image_size": SIDE, "patch_size": PATCH},
        projection_dim=64,
    )
    return CLIPModel(config)


def said_of(page: library.Page, rng: random.Random, partial: float) -> str:
    """A page's title, or a part of it."""
    if rng.random() >= partial:
        return page.title_text
    shapes = " and ".join(f"{colour} {shape}" for colour, shape in page.title)
    return rng.choice((shapes, f"{' '.join(page.title[0])} on {page.band}"))


def train(model: CLIPModel, processor: CLIPProcessor, pages: Sequence[library.Page], plan: Plan) -> float:
    """Pull each text to its page and away from the batch's others; the mean loss of the last tenth."""
    pixels = pixels_of(processor, pages)
    optimizer = torch.optim.AdamW(model.parameters(), plan.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / plan.warmup, (plan.steps - step) / plan.steps)
    )
    rng = random.Random(plan.seed)
    losses = []
    model.train()
    for _ in range(plan.steps):
        chosen = rng.sample(range(len(pages)), plan.batch)
        texts = [said_of(pages[number], rng, plan.partial) for number in chosen]
        given = processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        seen = pixels[chosen]
        noise = torch.randn(seen.shape, generator=torch.Generator().manual_seed(rng.randrange(2**31)))
        out = model(**given, pixel_values=seen + 0.05 * noise)
        truth = same_words(texts)
        logits = out.logits_per_text
        loss = -((logits.log_softmax(1) + logits.log_softmax(0)) / 2 * truth).sum() / plan.batch
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    model.eval()
    return float(np.mean(losses[-max(1, plan.steps // 10) :]))


def same_words(texts: Sequence[str]) -> Tensor:
    """Which pages of a batch a text may mean, as shares `[B, B]`: those of which the same was said."""
    same = torch.tensor([[float(one == other) for other in texts] for one in texts])
    return same / same.sum(1, keepdim=True)


def pixels_of(processor: CLIPProcessor, pages: Sequence[library.Page]) -> Tensor:
    parts = [
        processor.image_processor([page.draw() for page in pages[start : start + 64]], return_tensors="pt")
        for start in range(0, len(pages), 64)
    ]
    return torch.cat([part["pixel_values"] for part in parts])


def measure(folder: Path, pages: int = 240) -> dict[str, float]:
    """On a held-out collection: how often the page that a title names comes first, and among the first five."""
    from gamutrl.environments.tools.pages import FromModel

    shelf = library.collection("test", pages=pages)
    embedder = FromModel(str(folder))
    near = embedder.texts([page.title_text for page in shelf]) @ embedder.pages(shelf).T
    before = (near > near.diagonal()[:, None]).sum(1)
    return {"first": float((before == 0).mean()), "first_five": float((before < 5).mean()), "pages": pages}
