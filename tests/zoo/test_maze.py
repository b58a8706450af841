"""`maze-tiny`: its frames, how it is trained and written, and what the packaged one paints."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from gamutrl import zoo
from gamutrl.data.worlds import mazes
from gamutrl.policies.image_tokens import ImageTokenPolicy
from gamutrl.zoo import janus, maze
from gamutrl.zoo.writing import export

PLAN = replace(maze.Plan(), code_steps=2, steps=2, batch=4, code_batch=4, bank=12)


def test_frames_show_the_same_maze_with_the_agent_at_most_three_steps_on():
    rng = random.Random(0)
    for _ in range(50):
        one = mazes.make(rng)
        start = tuple(one["start"])
        end = maze.strayed(one, start, rng)
        assert abs(end[0] - start[0]) + abs(end[1] - start[1]) <= 3
        assert not mazes.fell(one, end)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model trained for two steps a phase: its folder, where it was kept, its tokenizer."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("maze")
    tokenizer = janus.build_tokenizer(["the next frame"] * 40)
    model = maze.build_model(tokenizer)
    processor = maze.build_processor(tokenizer)
    maze.train(model, processor, PLAN, folder / "work")
    export(model, processor, folder / "model")
    return folder, tokenizer, model


def test_a_trained_model_is_written_and_paints(trained):
    folder, _, model = trained
    policy = ImageTokenPolicy.load(folder / "model", dtype="float32", device="cpu")
    assert policy.codes.count == 16
    assert set(maze.measure(policy, 4)) == {"state", "move"}
    weights = load_file(folder / "model" / "model.safetensors")
    assert sum(one.numel() for one in weights.values()) < 1_000_000
    assert torch.equal(model.model.vqmodel.quantize.embedding.weight, torch.eye(maze.CODES))


def test_a_build_goes_on_where_it_stopped(trained):
    folder, tokenizer, model = trained
    again = maze.build_model(tokenizer, seed=1)
    codes, frames = maze.train(again, maze.build_processor(tokenizer), PLAN, folder / "work")
    assert (codes.step, frames.step) == (2, 2)
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values()))


@pytest.mark.skipif("maze-tiny" not in zoo.available(), reason="maze-tiny is not packaged")
def test_the_packaged_model_paints_states_of_the_maze_it_is_shown():
    policy = ImageTokenPolicy.load(zoo.path("maze-tiny"), dtype="float32", device="cpu")
    found = maze.measure(policy, 60)
    assert found["state"] > 0.7
    assert 0.1 < found["move"] < 0.6
