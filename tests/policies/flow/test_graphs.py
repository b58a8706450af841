"""Graphs of sampling: an update that goes back through them finds what one that computes everything again finds."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch
from denoisers import SmallDenoiser, asking, small_policy
from torch import nn

from gamutrl.environments import SingleTurn
from gamutrl.policies.flow import DiffusionSchedule, FlowPolicy, FlowSampling, FlowSchedule, quick, step_mean
from gamutrl.policies.flow.graphs import affordable
from gamutrl.training.optimizer import AdamW

SAMPLING = FlowSampling(steps=5, guidance=3.0, trained=(0, 1, 2))
NONE_KEPT = replace(SAMPLING, graph_bytes=0)


@pytest.fixture
def doubles():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    own = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(own)


def rolled(policy, sampling=SAMPLING, labels=(0, 1), group_size=4):
    return policy.rollout(asking(*labels), group_size, SingleTurn(), sampling, seed=0)


def gradients(policy, batch):
    """Of a loss that weighs each step's log-probability and mean differently."""
    policy.module.zero_grad()
    for part in policy.parts(batch):
        logp_NT, found = policy.log_probs(part, {"mean": step_mean})
        weight_NT = torch.linspace(-1, 1, logp_NT.numel()).view_as(logp_NT)
        (logp_NT * weight_NT + found["mean"].square().flatten(2).mean(-1)).sum().backward()
    return [parameter.grad.clone() for parameter in policy.parameters() if parameter.grad is not None]


def passes(policy, act):
    """How many rows the denoiser is asked for."""
    policy.denoiser.asked.clear()
    act()
    return sum(policy.denoiser.asked)


def adapted(**settings):
    """A policy whose adapter does something."""
    peft = pytest.importorskip("peft")
    denoiser = SmallDenoiser()
    denoiser.module.requires_grad_(False)
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["layers.0", "layers.2"])
    denoiser.module = peft.get_peft_model(denoiser.module, config)
    for n, parameter in enumerate(p for p in denoiser.module.parameters() if p.requires_grad):
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(n))
    return FlowPolicy(denoiser, **settings)


class TestTheSame:
    @pytest.mark.parametrize(("guidance", "detach"), [(1.0, True), (3.0, True), (3.0, False)])
    @pytest.mark.parametrize("schedule", [FlowSchedule(3.0), DiffusionSchedule()], ids=["flow", "diffusion"])
    def test_gradients_are_those_of_computing_again(self, doubles, threads, schedule, guidance, detach):
        settings = {"guidance": guidance, "detach_negative": detach}
        policy = small_policy(schedule)
        again = gradients(policy, rolled(policy, replace(NONE_KEPT, **settings)))
        batch = rolled(policy, replace(SAMPLING, **settings))
        assert len(policy.graphs) > 0
        kept = gradients(policy, batch)
        assert len(policy.graphs) == 0
        assert all(torch.allclose(one, other, rtol=1e-9, atol=1e-12) for one, other in zip(kept, again, strict=True))

    @pytest.mark.parametrize("values", [6, 18, 10**6])
    def test_so_they_are_however_the_work_is_split(self, doubles, threads, values):
        whole = gradients(policy := adapted(), rolled(policy))
        policy = adapted(values_per_pass=values, values_per_update=values)
        found = gradients(policy, rolled(policy))
        assert all(torch.allclose(one, other, rtol=1e-9, atol=1e-12) for one, other in zip(found, whole, strict=True))

    def test_what_the_first_update_scores_is_what_was_recorded(self, threads):
        policy = small_policy()
        batch = rolled(policy)
        assert torch.equal(policy.log_probs(batch), batch.logp_sampled_NT * batch.mask_NT)


class TestWhatIsSaved:
    def test_only_the_last_step_and_the_negatives_cost_a_pass_beside_the_trained_ones(self):
        policy = small_policy()
        rolled(policy)  # weighs a row
        assert passes(policy, lambda: gradients(policy, rolled(policy))) == 8 * 5 * 2
        assert passes(policy, lambda: gradients(policy, rolled(policy, NONE_KEPT))) == 8 * (5 * 2 + 3)

    def test_a_second_use_computes_again(self, doubles):
        policy = small_policy()
        batch = rolled(policy)
        first = gradients(policy, batch)
        second = []
        assert passes(policy, lambda: second.extend(gradients(policy, batch))) == 8 * 3
        assert all(torch.allclose(one, other, rtol=1e-9) for one, other in zip(first, second, strict=True))

    def test_part_of_a_pass_computes_again_and_frees_it(self):
        policy = small_policy()
        batch = rolled(policy).take_rows([0, 3, 5])
        whole = rolled(policy, NONE_KEPT).take_rows([0, 3, 5])
        found, again = gradients(policy, batch), gradients(policy, whole)
        assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found, again, strict=True))
        assert policy.graphs.bytes == 0

    def test_whole_passes_serve_where_others_do_not(self):
        policy = small_policy(values_per_pass=12)  # of two guided rows, or of four with one half: a group
        batch = rolled(policy)
        assert passes(policy, lambda: gradients(policy, batch.take_rows(range(4)))) == 0
        assert passes(policy, lambda: gradients(policy, batch.take_rows(range(5, 8)))) == 3 * 3

    def test_other_weights_drop_every_graph(self, doubles):
        policy = small_policy()
        batch = rolled(policy)
        with torch.no_grad():
            next(policy.parameters()).add_(0.1)
        found = gradients(policy, batch)
        assert policy.graphs.bytes == 0
        again = gradients(policy, replace(batch, cache={}))
        assert all(torch.allclose(one, other, rtol=1e-9) for one, other in zip(found, again, strict=True))

    @pytest.mark.parametrize("make", [small_policy, adapted])
    def test_so_does_a_step_of_the_stages_optimizer(self, doubles, make):
        """It is a fused one, which by itself leaves no trace in the weights' versions."""
        policy, settings = make(), AdamW(lr=0.05)
        optimizer = settings.build(policy.parameters())
        batch = rolled(policy)
        gradients(policy, batch.take_rows(range(4)))
        settings.step(optimizer, 0.5)
        x_N, time_N, told = torch.randn(4, 2, 3), torch.rand(4), {"label": torch.arange(4)}
        made, plain = (one.predict(x_N, time_N, told) for one in (policy.laid.now(), policy.denoiser))
        assert torch.allclose(made, plain)
        found = gradients(policy, batch)
        forgotten = [replace(turn, negative=None) for rollout in batch.rollouts for turn in rollout.turns]
        rollouts = [replace(r, turns=forgotten[5 * n : 5 * n + 5]) for n, r in enumerate(batch.rollouts)]
        again = gradients(policy, replace(batch, rollouts=rollouts, cache={}))
        assert all(torch.allclose(one, other, rtol=1e-9) for one, other in zip(found, again, strict=True))

    def test_scoring_without_gradient_leaves_them(self):
        policy = small_policy()
        batch = rolled(policy)
        held = policy.graphs.bytes
        policy.keep_reference("base")
        with policy.reference("base"):
            policy.log_probs(batch)
        with torch.no_grad():
            policy.log_probs(batch)
        assert policy.graphs.bytes == held > 0

    @pytest.mark.parametrize(
        "changes",
        [{"eta": 0.0}, {"guidance_train": 1.0}, {"graph_bytes": 0}],
        ids=["no noise", "other guidance", "none"],
    )
    def test_none_is_kept_that_no_update_could_use(self, changes):
        policy = small_policy()
        batch = rolled(policy, replace(SAMPLING, **changes))
        assert len(policy.graphs) == 0
        assert len(batch.rollouts) == 8

    def test_a_reference_that_acts_keeps_none(self):
        policy = small_policy()
        policy.keep_reference("old")
        with policy.reference("old"):
            rolled(policy)
        assert len(policy.graphs) == 0


class TestMemory:
    def test_no_more_is_kept_than_fits_and_the_rest_is_computed_again(self, doubles):
        policy = small_policy(values_per_pass=24)
        whole = gradients(policy, rolled(policy))
        batch = rolled(policy)
        size = policy.graphs.bytes // len(policy.graphs)
        del batch
        batch = rolled(policy, replace(SAMPLING, graph_bytes=2 * size + size // 2))
        assert len(policy.graphs) == 2
        assert policy.graphs.bytes == 2 * size
        found = gradients(policy, batch)
        assert all(torch.allclose(one, other, rtol=1e-9) for one, other in zip(found, whole, strict=True))

    def test_batches_that_live_at_once_share_the_room(self):
        policy = small_policy(values_per_pass=24)
        batches = [rolled(policy)]
        sampling = replace(SAMPLING, graph_bytes=policy.graphs.bytes)
        batches.append(rolled(policy, sampling))
        assert policy.graphs.bytes == sampling.graph_bytes

    def test_they_go_with_the_batch(self):
        policy = small_policy()
        batch = rolled(policy)
        assert policy.graphs.bytes > 0
        del batch
        gc.collect()
        assert policy.graphs.bytes == 0

    def test_a_row_is_weighed_by_what_its_graph_holds(self):
        """A perceptron of 24 holds its input (of 15), the two sides of its SiLU, and not its weights."""
        policy = small_policy()
        rolled(policy, replace(SAMPLING, guidance=1.0))
        (row_bytes,) = policy._row_bytes.values()
        assert 4 * (15 + 24) <= row_bytes <= 4 * 4 * (15 + 24)

    def test_what_an_accelerator_holds_is_left_to_the_update(self):
        assert affordable(torch.device("cuda")) == 0
        assert 0 < affordable(torch.device("cpu")) <= 2**31

    def test_a_negative_number_of_bytes_is_an_error(self):
        with pytest.raises(ValueError, match="graph_bytes"):
            FlowSampling(graph_bytes=-1)


class TestLaid:
    def test_predictions_and_gradients_are_those_of_the_adapter_beside(self, doubles):
        policy = adapted()
        denoiser, laid = policy.denoiser, policy.laid.now()
        assert laid is not denoiser
        x_N, time_N, told = torch.randn(4, 2, 3), torch.rand(4), {"label": torch.arange(4)}
        results = []
        for one in (denoiser, laid):
            x_N.requires_grad_()
            made = one.predict(x_N, time_N, told)
            wanted = [x_N, *policy.parameters()]
            results.append([made, *torch.autograd.grad(made.square().sum(), wanted)])
        assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(*results, strict=True))

    def test_it_follows_the_weights(self, doubles):
        policy = adapted()
        x_N, time_N, told = torch.randn(4, 2, 3), torch.rand(4), {"label": torch.arange(4)}
        policy.keep_reference("old")

        def agrees():
            return torch.allclose(
                policy.laid.now().predict(x_N, time_N, told), policy.denoiser.predict(x_N, time_N, told)
            )

        assert agrees()
        with torch.no_grad():
            list(policy.parameters())[-1].mul_(-2)
        assert agrees()
        for name in ("old", "base"):
            with policy.reference(name):
                assert agrees()
        assert agrees()

    @pytest.mark.parametrize("piece", [2**16, 50], ids=["whole", "in pieces"])
    def test_gelu_by_the_logistic_function_is_gelu_by_tanh(self, doubles, monkeypatch, piece):
        monkeypatch.setattr(quick, "PIECE", piece)
        x = torch.linspace(-30, 30, 200).view(8, 25).t().requires_grad_()
        ours, weight = quick.Gelu(nn.Identity()), torch.linspace(1, 2, 200).view(25, 8)
        expected = nn.functional.gelu(x, approximate="tanh")
        with torch.no_grad():
            assert torch.allclose(ours(x), expected, rtol=0, atol=1e-12)
        slope, theirs = (torch.autograd.grad((made * weight).sum(), x)[0] for made in (ours(x), expected))
        assert torch.allclose(slope, theirs, rtol=0, atol=1e-12)

    def test_the_norm_of_heads_is_diffusers_own(self, doubles):
        norm = pytest.importorskip("diffusers.models.normalization").RMSNorm(6, eps=1e-3).requires_grad_(False)
        norm.weight.copy_(torch.linspace(0.5, 2, 6))
        x = torch.randn(2, 5, 3, 6).transpose(1, 2).requires_grad_()
        ours, expected, weight = quick.RMSNorm(norm), norm(x), torch.randn(2, 3, 5, 6)
        with torch.no_grad():
            assert torch.allclose(ours(x), expected, rtol=1e-6)  # theirs takes the mean square in float32
        expected = nn.functional.rms_norm(x, (6,), norm.weight, norm.eps)
        assert torch.allclose(ours(x), expected, rtol=1e-12)
        slope, theirs = (torch.autograd.grad((made * weight).sum(), x)[0] for made in (ours(x), expected))
        assert torch.allclose(slope, theirs, rtol=0, atol=1e-12)

    def test_it_shares_what_is_not_adapted(self):
        policy = adapted()
        base = policy.module.get_base_model()
        assert policy.laid.now().module.label is base.label
        with policy.module.disable_adapter():
            assert policy.laid.now().module.layers[0] is base.layers[0].base_layer

    @pytest.mark.parametrize("settings", [{"use_dora": True}, {"lora_dropout": 0.1}, {"lora_bias": True}])
    def test_other_adapters_stay_beside(self, settings):
        peft = pytest.importorskip("peft")
        denoiser = SmallDenoiser()
        config = peft.LoraConfig(r=2, target_modules=["layers.0"], **settings)
        denoiser.module = peft.get_peft_model(denoiser.module, config)
        assert FlowPolicy(denoiser).laid.now() is denoiser

    def test_so_they_do_where_rounding_would_count(self):
        policy = adapted()
        policy.module.to(torch.bfloat16)
        assert FlowPolicy(policy.denoiser).laid.now() is policy.denoiser
