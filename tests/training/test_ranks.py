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

from gamutrl.core import Sampling
from gamutrl.policies.scoring import entropy
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.training.defaults import KL, ActionWeights
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preset import Preset
from gamutrl.training.ranks import _part, _places_of
from gamutrl.training.rl import RL
from gamutrl.training.run import resume, train

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


def one_of(rank: int, count: int, port: int, folder: str) -> None:
    """What `torchrun` starts."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    run = train(PRESET, folder, seed=3)
    assert run.summary["steps"] == 4
    assert resume(folder, allowed=("letters",)).summary["after"] == run.summary["after"]
    torch.distributed.destroy_process_group()


def lines(folder: Path) -> list[dict]:
    told = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    timed = ("seconds", "tokens_per_second", "peak_memory_gib")
    return [{key: value for key, value in line.items() if not key.startswith(timed)} for line in told]


def test_two_processes_do_what_one_does(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    alone = train(PRESET, tmp_path / "one", seed=3)
    multiprocessing.start_processes(one_of, (2, port, str(tmp_path / "two")), nprocs=2, start_method="fork")
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
