"""Several processes train as one: the same steps, the same weights, the same files."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing
from letters import Letters, TableModel, share_right
from plainly import picture
from safetensors.torch import load_file, save_file

from gamutrl.core import Prompt, Sampling, image
from gamutrl.environments import SingleTurn
from gamutrl.policies.scoring import entropy
from gamutrl.policies.text import TextPolicy
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.training.defaults import KL, ActionWeights
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preset import Preset
from gamutrl.training.ranks import _part, _places_of, begin, first, shared, sum_gradients
from gamutrl.training.rl import RL
from gamutrl.training.run import resume, train
from gamutrl.zoo import random

SHARE = Reward("share", per_rollout(share_right))
STAGE = RL(
    Letters(),
    (SHARE,),
    steps=4,
    prompts_per_step=5,
    group_size=4,
    sampling=Sampling(max_tokens=2),
    kl=KL(0.1),
    weights=ActionWeights("token"),
    entropy_bonus=0.01,
    statistics=(("entropy", entropy),),
    minibatches=2,
    updates_per_batch=2,
    optimizer=AdamW(lr=0.05),
)
PRESET = Preset(TableModel(), (STAGE,), Evaluation(Letters(), SHARE, rows=6, constants=("aa",)), save_every=2)


def joined(rank: int, count: int, port: int) -> None:
    """Where `torchrun` would have put this process."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    begin()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def one_of(rank: int, count: int, port: int, folder: str) -> None:
    joined(rank, count, port)
    run = train(PRESET, folder, seed=3)
    assert run.summary["steps"] == 4
    assert resume(folder, allowed=("letters",)).summary["after"] == run.summary["after"]
    torch.distributed.destroy_process_group()


def lines(folder: Path) -> list[dict]:
    told = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    timed = ("seconds", "tokens_per_second", "peak_memory_gib")
    return [{key: value for key, value in line.items() if not key.startswith(timed)} for line in told]


def test_two_processes_do_what_one_does(tmp_path):
    alone = train(PRESET, tmp_path / "one", seed=3)
    multiprocessing.start_processes(one_of, (2, free_port(), str(tmp_path / "two")), nprocs=2, start_method="fork")
    one, two = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert len(two) == len(one) == 4
    for a, b in zip(one, two):
        assert a.keys() == b.keys()
        assert {k: v for k, v in a.items() if isinstance(v, str)} == {k: v for k, v in b.items() if isinstance(v, str)}
        numbers = [key for key in a if isinstance(a[key], int | float)]
        assert [b[key] for key in numbers] == pytest.approx([a[key] for key in numbers], rel=1e-4, abs=1e-6)
    assert (tmp_path / "two" / "rollouts.jsonl").read_text("utf-8") == (tmp_path / "one" / "rollouts.jsonl").read_text(
        "utf-8"
    )
    summary = json.loads((tmp_path / "two" / "summary.json").read_text("utf-8"))
    assert summary["after"] == alone.summary["after"]
    places = [sorted(p.name for p in (tmp_path / name / "checkpoints").iterdir()) for name in ("one", "two")]
    assert places[0] == places[1]


def rollouts_and_gradients(model: str, place: str) -> None:
    """Samples, scores and differentiates with a real policy; a loss that no single row's terms add up to."""
    policy = shared(TextPolicy.load(model))
    prompts = [Prompt.ask("How many?", image(picture(seed)), id=str(seed)) for seed in range(3)]
    batch = policy.rollout(prompts, 2, SingleTurn(), Sampling(max_tokens=5), seed=1)
    logp_NT, found = policy.log_probs(batch, {"entropy": entropy})
    (logp_NT.mean(1).std() + logp_NT.square().sum() + found["entropy"].mean()).backward()
    named = {name: parameter for name, parameter in policy.module.named_parameters() if parameter.requires_grad}
    sum_gradients(list(named.values()))
    grads = {name: parameter.grad for name, parameter in named.items() if parameter.grad is not None}
    if first():
        save_file({**grads, "logp_NT": logp_NT.detach(), "entropy_NT": found["entropy"].detach()}, place)


def its_share(rank: int, count: int, port: int, model: str, place: str) -> None:
    joined(rank, count, port)
    rollouts_and_gradients(model, place)
    torch.distributed.destroy_process_group()


def test_gradients_of_two_add_up_to_those_of_one(tmp_path):
    model = str(random.build("smolvlm", tmp_path / "model"))
    places = [str(tmp_path / f"{name}.safetensors") for name in ("one", "two")]
    multiprocessing.start_processes(its_share, (2, free_port(), model, places[1]), nprocs=2, start_method="fork")
    rollouts_and_gradients(model, places[0])
    one, two = (load_file(place) for place in places)
    assert one.keys() == two.keys()
    # A key's bias has no influence: its gradient is rounding alone.
    for name in [name for name in one if not name.endswith("k_proj.bias")]:
        assert (one[name] - two[name]).norm() <= 1e-5 * one[name].norm() + 1e-9, name


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_are_even_and_whole(monkeypatch, count):
    items = list("abcdefg")
    monkeypatch.setattr("gamutrl.training.ranks.size", lambda: count)
    parts = []
    for rank in range(count):
        monkeypatch.setattr("gamutrl.training.ranks.number", lambda rank=rank: rank)
        parts.append(_part(items))
    assert [item for part in parts for item in part] == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_prompt_that_comes_twice_has_two_places():
    a, b, c = Letters().batch(0, 3, 0)
    prompts = [a, b, a, c]
    assert _places_of([a, a], prompts, [0, 1, 2]) == [0, 2]
    assert _places_of([b, c], prompts, [1, 3]) == [1, 3]
