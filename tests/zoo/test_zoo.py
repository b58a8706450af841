"""The zoo: what is packaged loads and sees; what is built is built the same way again."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import AutoModelForImageTextToText, AutoProcessor

from gamutrl import zoo
from gamutrl.zoo import architecture, build, lessons, measure, train, vision
from gamutrl.zoo.batches import LessonBatches, pack
from gamutrl.zoo.phases import Phase


@pytest.fixture(scope="module")
def tokenizer():
    found = islice(lessons.examples(lessons.STILLS, 300, seed=0), 300)
    dialogues = [dialogue for example in found for dialogue in example.dialogues]
    return architecture.build_tokenizer(text for dialogue in dialogues for text in dialogue)


@pytest.fixture(scope="module")
def model(tokenizer):
    return architecture.build_model(tokenizer, seed=0).eval()


class TestTokenizer:
    @settings(max_examples=60, deadline=None)
    @given(st.text(st.characters(blacklist_categories=("Cs",)), max_size=40))
    def test_any_text_comes_back(self, tokenizer, text):
        if not any(token in text for token in architecture.SPECIAL):
            assert tokenizer.decode(tokenizer(text)["input_ids"]) == text

    @pytest.mark.parametrize("text", [*map(str, range(100)), *architecture.TAGS])
    def test_numbers_and_tags_are_single_tokens(self, tokenizer, text):
        assert len(tokenizer(text)["input_ids"]) == 1

    def test_tags_stay_in_decoded_text(self, tokenizer):
        reply = "<think>3 + 4</think><answer>7</answer>"
        ids = tokenizer(reply + architecture.EOS)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == reply


class TestBatches:
    def test_a_dialogue_reads_as_the_processor_writes_it(self, tokenizer, model):
        (example,) = lessons.examples(lessons.CLIPS, 1, seed=1)
        question, reply = example.dialogues[0]
        frames = example.media[0].value
        processor = architecture.build_processor(tokenizer)
        content = [*({"type": "image"} for _ in frames), {"type": "text", "text": question}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(text=text + reply + architecture.EOS, images=[list(frames)], return_tensors="pt")
        batch = pack([example], tokenizer)
        assert inputs["input_ids"].tolist() == batch.ids_BL.tolist()
        with torch.no_grad():
            logits = model(**inputs).logits[0]
            loss, _ = train.language_loss(model, batch)
        trained = batch.target_BL[0] >= 0
        alone = F.cross_entropy(logits[trained], batch.target_BL[0][trained])
        assert loss.item() == pytest.approx(alone.item(), abs=1e-5)

    def test_dialogues_about_one_picture_do_not_see_each_other(self, tokenizer, model):
        example = next(e for e in lessons.examples(lessons.STILLS, 20, seed=2) if len(e.dialogues) == 3)
        with torch.no_grad():
            together, _ = train.language_loss(model, pack([example], tokenizer))
            alone = [pack([lessons.Example(example.media, [dialogue])], tokenizer) for dialogue in example.dialogues]
            losses = torch.stack([train.language_loss(model, batch)[0] for batch in alone])
        tokens = torch.tensor([float((batch.target_BL >= 0).sum()) for batch in alone])
        assert together.item() == pytest.approx(((losses * tokens).sum() / tokens.sum()).item(), abs=1e-5)

    def test_a_batch_is_a_function_of_seed_and_number(self, tokenizer):
        one, other = (LessonBatches(tokenizer, 40, seed=3, reading=0, size=4) for _ in range(2))
        for k in (9, 2, 10, 5, 18):
            assert torch.equal(one[k].ids_BL, other[k].ids_BL)
        for k in (5, 9):
            assert torch.equal(one[k].pixels_MCHW, other[k].pixels_MCHW)


def test_a_phase_that_stopped_goes_on_as_if_it_had_not(tokenizer, tmp_path):
    canvases = vision.Canvases(4, seed=0, size=4)

    def phase():
        model = architecture.build_model(tokenizer, seed=0)
        torch.manual_seed(0)
        tower = train.tower(model, tokenizer)
        return model, tower["heads"], Phase.start("vision", tower)

    def steps(model, heads, running, until):
        while running.step < until:
            pixels, *shown = canvases[running.step]
            loss, seen = heads(train.see(model, pixels), model.get_input_embeddings().weight, *shown)
            running.update(loss, 1e-3)
            running.measure(seen)

    whole = phase()
    steps(*whole, until=4)
    first = phase()
    steps(*first, until=2)
    first[2].save(tmp_path)
    second = phase()
    assert second[2].resume(tmp_path)
    steps(*second, until=4)
    for p, q in zip(whole[2].modules.parameters(), second[2].modules.parameters()):
        assert torch.equal(p, q)
    assert whole[2].measured == second[2].measured


def test_an_unknown_model_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="holds no model 'vlm-huge'"):
        zoo.path("vlm-huge")
    with pytest.raises(ValueError, match="No script builds 'vlm-huge'"):
        build.build("vlm-huge")
    with pytest.raises(ValueError, match="not both"):
        build.plan_of(minutes=1, steps=1, seed=0)


@pytest.mark.slow
def test_a_build_writes_a_model_that_loads(tmp_path, monkeypatch):
    short = train.Plan(vision_steps=2, reading_steps=1, language_steps=2)
    monkeypatch.setattr(build, "plan_of", lambda minutes, steps, seed: short)
    folder = build.build("vlm-tiny", steps=2, out=tmp_path / "vlm-tiny", rows=2, probes=measure.PROBES[:1])
    assert {"config.json", "model.safetensors", "card.json", "README.md", "chat_template.jinja"} <= {
        path.name for path in folder.iterdir()
    }
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10e6
    AutoModelForImageTextToText.from_pretrained(folder)
    AutoProcessor.from_pretrained(folder)


def test_half_the_minutes_are_half_of_every_phase():
    whole, half = (build.plan_of(minutes=minutes, steps=None, seed=0) for minutes in (build.MINUTES, build.MINUTES / 2))
    assert whole == train.Plan()
    for phase in ("vision_steps", "reading_steps", "language_steps"):
        assert getattr(half, phase) == pytest.approx(getattr(whole, phase) / 2, abs=1)


@pytest.mark.skipif("vlm-tiny" not in zoo.available(), reason="vlm-tiny is not in the package")
def test_the_packaged_model_reads_digits_it_never_saw():
    folder = zoo.path("vlm-tiny")
    loaded = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    probes = [probe for probe in measure.PROBES if probe.name == "digits classify"]
    (scored,) = measure.measure(loaded, AutoProcessor.from_pretrained(folder), rows=60, probes=probes)
    assert scored["greedy"] >= 0.9
    assert scored["constant"] <= 0.3
