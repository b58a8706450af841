"""Reward models of pictures load as they are published, and score as the library's own code does; all at toy size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny_scorers
import torch
from PIL import Image
from torch.nn.functional import cosine_similarity

from gamutrl.core import Batch, Context, Prompt, Rollout
from gamutrl.rewards.base import Reward
from gamutrl.rewards.models.detector import OpenDetector
from gamutrl.rewards.models.embedding import AestheticScore, ClipScore, load_clip
from gamutrl.rewards.models.image_reward import ImageReward
from gamutrl.rewards.models.loading import MEAN, STD, prepared
from gamutrl.rewards.outputs import pixels
from gamutrl.rewards.shown import Shown
from gamutrl.rewards.table import RewardError, score

TEXTS = ("a red circle", "two blue squares", "a red circle")


def noise(seed, width=32, height=32):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def batch_of(outputs, texts=TEXTS, **columns):
    prompts = [Prompt.ask(text, id=f"test/{k}", **columns) for k, text in enumerate(texts[: len(outputs)])]
    rollouts = [Rollout(prompt, [], output=output) for prompt, output in zip(prompts, outputs)]
    return Batch.of(prompts, rollouts, range(len(prompts)))


def scored(reward, batch):
    return score([Reward("r", reward)], batch, Context()).reward("r")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    return folder, tiny_scorers.clip(folder)


def expected_embeddings(model, folder, pictures, texts):
    """The library's own way, with pictures that need no resizing."""
    from transformers import AutoTokenizer

    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    seen = torch.stack([(pixels(picture) - mean) / std for picture in pictures])
    read = AutoTokenizer.from_pretrained(folder)(list(texts), padding=True, return_tensors="pt")
    with torch.no_grad():
        answer = model(pixel_values=seen, input_ids=read["input_ids"], attention_mask=read["attention_mask"])
    return answer.image_embeds, answer.text_embeds


class TestClip:
    def test_the_score_is_the_cosine_of_the_librarys_embeddings(self, clip):
        folder, model = clip
        pictures = [noise(k) for k in range(3)]
        expected = cosine_similarity(*expected_embeddings(model, folder, pictures, TEXTS))
        assert torch.allclose(scored(ClipScore(str(folder)), batch_of(pictures)), expected, atol=1e-5)
        scale = float(model.logit_scale.detach().exp())
        assert torch.allclose(
            scored(ClipScore(str(folder), scale=None), batch_of(pictures)), scale * expected, atol=1e-4
        )

    def test_parts_are_scored_alike_and_what_has_no_picture_is_left_out(self, clip):
        folder, _ = clip
        outputs = [noise(0), None, noise(2, 50, 40)]
        whole, parts = (scored(ClipScore(str(folder), most=most), batch_of(outputs)) for most in (32, 1))
        assert torch.allclose(whole, parts, atol=1e-6, equal_nan=True)
        assert whole.isnan().tolist() == [False, True, False]

    def test_a_gradient_flows_to_the_pixels(self, clip):
        folder, _ = clip
        pixel = pixels(noise(0, 40, 36)).requires_grad_()
        value = scored(ClipScore(str(folder)), batch_of([pixel, noise(1)]))
        value[0].backward()
        assert pixel.grad.abs().sum() > 0
        step = (pixel + 0.02 * pixel.grad.sign()).detach()
        assert scored(ClipScore(str(folder)), batch_of([step]))[0] > value[0]

    def test_the_columns_prompt_is_what_counts(self, clip):
        folder, _ = clip
        plain = scored(ClipScore(str(folder)), batch_of([noise(0)]))
        told = scored(ClipScore(str(folder)), batch_of([noise(0)], ["Draw this, with care"], prompt=TEXTS[0]))
        assert torch.equal(plain, told)

    def test_an_open_clip_checkpoint_takes_the_weights_place(self, clip, tmp_path):
        folder, _ = clip
        other = tiny_scorers.clip(tmp_path / "other", seed=5)
        torch.save({"state_dict": tiny_scorers.as_open_clip(other)}, tmp_path / "hps.pt")
        pictures = [noise(k) for k in range(2)]
        expected = scored(ClipScore(str(tmp_path / "other")), batch_of(pictures))
        found = scored(ClipScore(str(folder), weights=str(tmp_path / "hps.pt")), batch_of(pictures))
        assert torch.allclose(found, expected, atol=1e-6)
        assert not torch.allclose(found, scored(ClipScore(str(folder)), batch_of(pictures)), atol=1e-3)

    def test_a_model_is_loaded_once(self, clip):
        folder, _ = clip
        assert load_clip(str(folder), "", "", "auto", "auto") is load_clip(str(folder), "", "", "auto", "auto")

    def test_what_cannot_be_loaded_is_named(self, clip, tmp_path):
        with pytest.raises(RewardError, match=r"nowhere.*could not be loaded"):
            scored(ClipScore(str(tmp_path / "nowhere")), batch_of([noise(0)]))
        torch.save({"visual.proj": torch.zeros(3, 3)}, tmp_path / "odd.pt")
        with pytest.raises(RewardError, match="do not fit"):
            scored(ClipScore(str(clip[0]), weights=str(tmp_path / "odd.pt")), batch_of([noise(0)]))

    def test_a_checkpoint_that_holds_code_is_refused(self, clip, tmp_path):
        torch.save({"state_dict": Context()}, tmp_path / "code.pt")
        with pytest.raises(RewardError, match="more than tensors"):
            scored(ClipScore(str(clip[0]), weights=str(tmp_path / "code.pt")), batch_of([noise(0)]))


def test_pictures_are_prepared_as_pillow_does():
    picture = noise(3, 90, 50)
    ours = prepared(pixels(picture), 32)
    sized = picture.resize((58, 32), Image.Resampling.BICUBIC).crop((13, 0, 45, 32))
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    assert ours.shape == (3, 32, 32)
    difference = (ours * std + mean - pixels(sized)).abs() * 255
    assert difference.mean() < 1  # Pillow rounds between its two passes.
    assert difference.max() < 6


def test_the_aesthetic_head_reads_the_normalised_embedding(clip, tmp_path):
    folder, model = clip
    state = tiny_scorers.head((24, 16, 8, 1), "layers.", (0, 2, 4))
    torch.save(state, tmp_path / "head.pth")
    (picture,) = pictures = [noise(7)]
    embedding, _ = expected_embeddings(model, folder, pictures, TEXTS[:1])
    value = embedding / embedding.norm(dim=-1, keepdim=True)
    for number in (0, 2, 4):
        value = value @ state[f"layers.{number}.weight"].T + state[f"layers.{number}.bias"]
    found = scored(AestheticScore(str(folder), str(tmp_path / "head.pth")), batch_of([picture]))
    assert float(found) == pytest.approx(float(value), abs=1e-4)


def test_image_reward_scores_as_its_parts_do(tmp_path):
    state, vision, text = tiny_scorers.image_reward(tmp_path)
    torch.save(state, tmp_path / "ImageReward.pt")
    pictures = [noise(1), noise(2)]
    reward = ImageReward(str(tmp_path / "ImageReward.pt"), str(tmp_path), mean=0.5, std=2.0)
    found = scored(reward, batch_of(pictures))

    from transformers import AutoTokenizer

    read = AutoTokenizer.from_pretrained(tmp_path)(
        list(TEXTS[:2]), padding="max_length", max_length=35, return_tensors="pt"
    )
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    with torch.no_grad():
        seen = vision(torch.stack([(pixels(picture) - mean) / std for picture in pictures])).last_hidden_state
        state_BTD = text(
            input_ids=read["input_ids"],
            attention_mask=read["attention_mask"],
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long),
        ).last_hidden_state[:, 0]
    for number in (0, 2, 4):
        state_BTD = state_BTD @ state[f"mlp.layers.{number}.weight"].T + state[f"mlp.layers.{number}.bias"]
    assert torch.allclose(found, (state_BTD[:, 0] - 0.5) / 2.0, atol=1e-4)
    assert abs(float(found[0] - found[1])) > 1e-4


@pytest.mark.parametrize("family", ["owlv2", "grounding_dino"])
def test_detectors_look_for_what_is_asked(family, clip, tmp_path):
    getattr(tiny_scorers, family)(tmp_path)
    detector = OpenDetector(str(tmp_path), threshold=0.0, clip=str(clip[0]), colors=("red", "blue"))
    found = detector([noise(0, 60, 40), noise(1, 40, 40)], [["circle", "square"], []])
    assert found[1] == []
    assert {thing.name for thing in found[0]} <= {"circle", "square"}
    assert {thing.color for thing in found[0]} <= {"red", "blue"}
    assert [thing.score for thing in found[0]] == sorted((thing.score for thing in found[0]), reverse=True)
    assert all(0 <= edge <= 1 for thing in found[0] for edge in thing.box)
    strict = OpenDetector(str(tmp_path), threshold=1.1, clip="")
    row = {"objects": ["circle"], "counts": [1]}
    assert strict([noise(0)], [["circle"]]) == [[]]
    assert scored(Shown(strict, exact=False), batch_of([noise(0)], **row)).tolist() == [0.0]


def test_a_rollout_of_a_clip_is_judged_by_its_middle_frame(clip):
    folder, _ = clip
    frames = [noise(k) for k in range(5)]
    batch = batch_of([frames, frames[2]], [TEXTS[0]] * 2)
    first, second = scored(ClipScore(str(folder)), batch).tolist()
    assert first == second
    assert not math.isnan(first)
