"""The preference stage: pairs, single judgements and rankings, of texts and of pictures."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import pytest
import torch
from flows import gradient, point_rows, small_policy
from letters import LETTERS, TablePolicy

from gamutrl.core import Context, Prompt
from gamutrl.data.sources import InMemory, WorldRows
from gamutrl.functional import preference
from gamutrl.policies.flow import Corruption
from gamutrl.policies.scorer import ScorerModel
from gamutrl.training.config import from_json, to_json
from gamutrl.training.forward import LogitNormal, Matching, Noised, OfSampler, Uniform
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preference import Gain, Imitation, Judged, PairLoss, Pairs, Preference, Ranked, answered, pairs_of
from gamutrl.training.reward_model import ModelScore, Ordering, Standardise, reward_model
from gamutrl.training.session import Session, Stopped
from gamutrl.training.update import forward_parts

CONTEXT = Context()


def letter_pairs(n: int) -> list[Prompt]:
    """The kind's own letter twice is better than the letter after it."""
    kinds = [i % 4 for i in range(n)]
    return [
        Prompt.ask(f"kind {k}?", id=f"pair/{i}", kind=k, chosen=LETTERS[k] * 2, rejected=LETTERS[k] + LETTERS[k + 1])
        for i, k in enumerate(kinds)
    ]


def texts(**changes) -> Preference:
    settings = {"data": InMemory(letter_pairs(32)), "steps": 8, "rows_per_step": 16, "optimizer": AdamW(lr=0.2)}
    return Preference(**{**settings, **changes})


def pictures(**changes) -> Preference:
    settings = {
        "data": InMemory(point_rows(24, "pairs")),
        "steps": 4,
        "rows_per_step": 8,
        "prepare": Noised(Uniform(3), shared=True),
        "likelihood": Matching(0.5),
        "objective": PairLoss(beta=20.0, gain=Gain("action")),
        "optimizer": AdamW(lr=1e-3),
    }
    return Preference(**{**settings, **changes})


def prepared(stage: Preference, policy, rows: int = 8):
    """A batch of the stage, ready for its update."""
    for reference in stage.references:
        policy.keep_reference(reference.name)
    context = Context(models={"policy": policy, "reward": policy})
    with torch.no_grad():
        return stage.prepare(stage, stage.answers(policy, stage.data.batch(0, rows, 0)), context), context


def lines(folder) -> list[dict]:
    clocks = ("seconds", "peak_memory_gib")
    told = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith(clocks)} for line in told]


# -- texts ------------------------------------------------------------------------------------------------------------


def test_dpo_starts_at_log_2_and_learns_what_is_chosen(tmp_path):
    policy = TablePolicy()
    texts().run(Session(tmp_path, {"policy": policy}))
    told = lines(tmp_path)
    assert told[0]["loss"] == pytest.approx(math.log(2))
    assert told[-1]["loss"] < 0.6
    assert told[-1]["pairs/right"] == 1
    assert told[-1]["gain/better"] > 0 > told[-1]["gain/worse"]


def test_the_loss_is_dpos_by_hand():
    policy = TablePolicy()
    with torch.no_grad():
        policy.module.weight.copy_(torch.randn(4, 16, generator=torch.Generator().manual_seed(0)))
    stage = texts(objective=PairLoss(beta=0.3))
    batch, context = prepared(stage, policy)
    with torch.no_grad():
        policy.module.weight.add_(torch.randn(4, 16, generator=torch.Generator().manual_seed(1)))
    terms_NT, _ = stage.loss(policy, batch, context)
    loss = (terms_NT * stage.weights(batch)).sum()

    with policy.reference("base"):
        base_N = policy.log_probs(batch).sum(1)
    gain_N = policy.log_probs(batch).sum(1) - base_N
    chosen, rejected = gain_N[0::2], gain_N[1::2]
    assert float(loss) == pytest.approx(float(-torch.sigmoid(0.3 * (chosen - rejected)).log().mean()), rel=1e-5)


def test_changed_words_count_more_where_the_batch_says_so():
    stage = texts(objective=PairLoss(gain=Gain(average=True)))
    batch, context = prepared(stage, TablePolicy())
    plain, _ = stage.loss(TablePolicy(), batch, context)
    stage_policy = TablePolicy()
    with torch.no_grad():
        stage_policy.module.weight[:, 8:] += torch.arange(8.0)
    first = Gain(average=True)(stage_policy.log_probs(batch), batch)
    only_first = batch.with_(emphasis_NT=torch.tensor([1.0, 0.0]).expand(len(batch.rows), 2))
    weighed = Gain(average=True)(stage_policy.log_probs(batch), only_first)
    assert torch.allclose(weighed, torch.zeros_like(weighed), atol=1e-6)
    assert first.abs().max() > 0.1
    assert torch.allclose(plain, torch.full_like(plain, math.log(2)))


@pytest.mark.parametrize("stage", [texts(), pictures()], ids=["texts", "pictures"])
def test_forward_passes_do_not_change_the_gradient(stage):
    def slope(limit: int) -> torch.Tensor:
        policy = TablePolicy() if stage.likelihood is None else small_policy()
        batch, context = prepared(stage, policy)
        weight_NT = stage.weights(batch)
        for rows in forward_parts(batch, limit):
            terms_NT, _ = stage.loss(policy, batch.take_rows(rows), context)
            (terms_NT * weight_NT[rows]).sum().backward()
        return gradient(policy)

    assert torch.allclose(slope(0), slope(6), atol=1e-6)
    assert slope(0).abs().max() > 0


@pytest.mark.parametrize("kind", ["texts", "pictures"])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, kind):
    stage, fresh = (texts(), TablePolicy) if kind == "texts" else (pictures(), small_policy)
    whole, again = fresh(), fresh()
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    stage.run(Session(tmp_path / "whole", {"policy": whole}))

    class Asks:
        def begin(self, *told): ...
        def message(self, text): ...
        def step(self, metrics):
            session._signal = 15 if metrics["step"] == 1 else 0

    session = Session(tmp_path / "cut", {"policy": fresh()}, watchers=[Asks()])
    with pytest.raises(Stopped):
        stage.run(session)
    session = Session(tmp_path / "cut", {"policy": again})
    session.resume()
    stage.run(session)

    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters()))


def test_a_row_without_a_pair_is_named():
    rows = [*letter_pairs(1), Prompt.ask("?", id="bare/7", kind=0, chosen="aa")]
    with pytest.raises(ValueError, match=r"bare/7 has no column 'rejected'.*kind, chosen"):
        Pairs()(TablePolicy(), rows)
    with pytest.raises(ValueError, match="bare/7 has 1 answers and 2 labels"):
        answered(TablePolicy(), rows[1:], [["aa"]], [[1, 0]])


def test_ties_teach_nothing():
    tied = [replace(row, columns={**row.columns, "tie": True}) for row in letter_pairs(4)]
    stage = texts(data=InMemory(tied))
    policy = TablePolicy()
    batch, context = prepared(stage, policy, 4)
    terms_NT, _ = stage.loss(policy, batch, context)
    assert torch.equal(terms_NT, torch.zeros_like(terms_NT))


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_a_pair_is_noised_alike_and_others_are_not():
    batch, _ = prepared(pictures(), small_policy())
    noise, level = batch["noise_NL"], batch["level_NL"]
    assert torch.equal(noise[0::2], noise[1::2])
    assert torch.equal(level[0::2], level[1::2])
    assert not torch.allclose(noise[0], noise[2])
    apart, _ = prepared(pictures(prepare=Noised(Uniform(3))), small_policy())
    assert not torch.allclose(apart["noise_NL"][0], apart["noise_NL"][1])


@pytest.mark.parametrize("predicts", ["velocity", "epsilon"])
def test_the_loss_is_diffusion_dpos_by_hand(predicts):
    """Equation 14 of 2311.12908, one noise level of one pair at a time."""
    policy = small_policy(predicts)
    stage = pictures()
    batch, context = prepared(stage, policy)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    terms_NT, measured = stage.loss(policy, batch, context)

    outputs, corruption = policy.outputs(batch), Corruption.of(batch)
    target = policy.target(outputs, corruption)

    def error() -> torch.Tensor:
        return (policy.denoise(outputs, corruption) - target).square().mean(-1)

    own_NL = error()
    with policy.reference("base"):
        base_NL = error()
    gain = (own_NL - base_NL)[0::2] - (own_NL - base_NL)[1::2]
    by_hand = -torch.nn.functional.logsigmoid(-0.5 * 20.0 * gain)
    assert torch.allclose(terms_NT[0::2], by_hand, rtol=1e-4)
    assert torch.allclose(terms_NT[1::2], by_hand, rtol=1e-4)
    assert measured["pairs/right"] == pytest.approx(float((gain.mean(1) < 0).float().mean()))


def test_imitation_follows_the_winners_alone():
    stage = pictures(objective=Imitation(), prepare=Noised(Uniform(2), references=()), references=())
    policy = small_policy()
    batch, context = prepared(stage, policy)
    terms_NT, _ = stage.loss(policy, batch, context)
    assert torch.equal(terms_NT[1::2], torch.zeros_like(terms_NT[1::2]))
    assert torch.allclose(terms_NT[0::2], -Matching(0.5)(policy, batch)[0::2])


def test_single_judgements_and_rankings_become_labels():
    policy = small_policy()
    judged = Judged()(policy, point_rows(6, "labels"))
    assert set(judged["label_R"].tolist()) <= {0.0, 1.0}
    assert judged.group_R.tolist() == list(range(6))
    rows = point_rows(3, "rankings", count=4)
    ranked = Ranked()(policy, rows)
    better_M, worse_M = pairs_of(ranked)
    assert len(better_M) == 3 * 6
    rank_R = torch.tensor([rank for row in rows for rank in row.columns["rank"]])
    assert (rank_R[better_M] < rank_R[worse_M]).all()


@pytest.mark.parametrize("levels", [Uniform(5), Uniform(5, 0.2, shift=3.0), LogitNormal(5), OfSampler(10, 5)])
def test_levels_are_shares_of_the_way_to_noise(levels):
    level_NL = levels(200, torch.Generator().manual_seed(0))
    assert level_NL.shape == (200, 5)
    assert level_NL.min() >= 0
    assert level_NL.max() <= 1
    assert level_NL.std() > 0.1


def test_levels_of_a_sampler_are_its_own():
    permuted = OfSampler(10, 9)(50, torch.Generator().manual_seed(0))
    assert {round(10 * x) for x in permuted.flatten().tolist()} == set(range(1, 11))
    assert all(len(set(row)) == 9 for row in permuted.tolist())
    parts = OfSampler(14, 6, "stratified", share=0.9, first=1)(4, torch.Generator().manual_seed(0))
    assert torch.equal(parts[0], parts[3])
    assert parts[0].tolist() == sorted(parts[0].tolist(), reverse=True)
    assert parts.max() < 1


# -- reward models ----------------------------------------------------------------------------------------------------


def test_a_scorer_learns_the_order_of_rankings(tmp_path):
    """Here the better points lie further right."""
    scorer = ScorerModel(size=2, width=32).load()
    points = torch.randn(64, 4, 2, generator=torch.Generator().manual_seed(0))
    ranks = (-points[..., 0]).argsort(1).argsort(1)
    told = [{"outputs": x, "rank": rank} for x, rank in zip(points.tolist(), ranks.tolist())]
    rows = InMemory([Prompt.ask("go right", id=str(i), **columns) for i, columns in enumerate(told)])
    stage = reward_model(rows, steps=30, rows_per_step=32, optimizer=AdamW(lr=1e-2))
    session = Session(tmp_path, {"reward": scorer})
    stage.run(session)
    told = lines(tmp_path)
    assert told[0]["loss"] == pytest.approx(math.log(2), abs=0.05)
    assert told[-1]["pairs/right"] > 0.9

    session.stage_number = 1
    Standardise(rows, rows=64).run(session)
    score_R = ModelScore()(Ranked()(scorer, rows.prompts), Context(models={"reward": scorer}))
    assert float(score_R.mean()) == pytest.approx(0, abs=1e-4)
    assert float(score_R.std()) == pytest.approx(1, abs=1e-4)


def test_ties_leave_room_between_scores():
    """Rao-Kupper, by hand: two answers that are tied, and two of which the first is better."""
    pair = Preference(InMemory([]))
    assert pair.weights.over == "group"
    scorer = ScorerModel(size=2).load()
    batch = answered(scorer, point_rows(2), [[[0.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]], [[1, 1], [1, 0]])
    score_NH = torch.tensor([[0.3], [0.1], [0.7], [0.2]])
    terms_NH = Ordering(ties=5.0)(score_NH, batch, CONTEXT)
    k = math.log(5)
    tied = -math.log(torch.tensor(0.2 - k).sigmoid()) - math.log(torch.tensor(-0.2 - k).sigmoid()) - math.log(24)
    won = -math.log(torch.tensor(0.5 - k).sigmoid())
    assert terms_NH.flatten().tolist() == pytest.approx([tied, tied, won, won], rel=1e-5)
    alone = Ordering()(score_NH, batch, CONTEXT).flatten().tolist()
    assert alone == pytest.approx([0, 0, *[float(preference.bradley_terry(torch.tensor(0.5), torch.tensor(0.0)))] * 2])


@dataclass(frozen=True)
class NotANumber:
    def __call__(self, logp_NT, batch, context):
        return logp_NT * float("nan")


def test_a_loss_that_is_no_number_names_the_rows(tmp_path):
    with pytest.raises(RuntimeError, match=r"The loss is nan at step 0, rows pair/\d"):
        texts(objective=NotANumber()).run(Session(tmp_path, {"policy": TablePolicy()}))


def test_a_stage_is_written_and_read_back_equal():
    stage = replace(pictures(), data=WorldRows("blobs", "pairs"))
    assert from_json(to_json(stage)) == stage


# -- a language model -------------------------------------------------------------------------------------------------


def test_a_vision_language_model_learns_from_pairs_of_texts(tmp_path):
    """The two answers of a row share its prompt; before the first update the loss is log 2."""
    from gamutrl.policies.text import TextPolicy
    from gamutrl.zoo import random

    torch.set_num_threads(1)
    policy = TextPolicy.load(random.build("idefics3", tmp_path / "model"))
    rows = WorldRows("digits", "classify").batch(0, 2, 0)
    told = [{"chosen": f"It is {row.answer}.", "rejected": "I can't see it at all."} for row in rows]
    pairs = [replace(row, columns={**row.columns, **columns}) for row, columns in zip(rows, told)]
    stage = texts(data=InMemory(pairs), steps=2, rows_per_step=2, optimizer=AdamW(lr=1e-3))
    stage.run(Session(tmp_path, {"policy": policy}))
    first, second = lines(tmp_path)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert first["grad_norm"] > 0
    assert second["loss"] < first["loss"]
    assert second["pairs/right"] == 1
