"""What a text policy promises beside exactness: whose tokens are whose, what can't be said, what is kept."""

from __future__ import annotations

import pytest
import torch
from plainly import picture

from gamutrl.core import Message, Prompt, Sampling, audio, image, text
from gamutrl.environments import SingleTurn, Step
from gamutrl.policies import scoring
from gamutrl.policies.models import Lora
from gamutrl.policies.text import TextPolicy


@pytest.fixture
def policy(load) -> TextPolicy:
    return load("smolvlm")


def words(batch) -> dict[str, list[list[int]]]:
    """Each prompt's rollouts as token ids, by the prompt's id."""
    out: dict[str, list[list[int]]] = {}
    for rollout in batch.rollouts:
        out.setdefault(rollout.prompt.id, []).append([t for turn in rollout.turns for t in turn.tokens_T.tolist()])
    return out


class TestSampling:
    def test_a_row_samples_the_same_whatever_shares_its_batch(self, policy, prompts):
        together = words(policy.rollout(prompts, 3, SingleTurn(), Sampling(max_tokens=12), seed=5))
        for prompt in prompts:
            alone = words(policy.rollout([prompt], 3, SingleTurn(), Sampling(max_tokens=12), seed=5))
            assert alone[prompt.id] == together[prompt.id]
        assert together["one"][0] != together["one"][1]
        assert words(policy.rollout(prompts, 3, SingleTurn(), Sampling(max_tokens=12), seed=6)) != together

    def test_a_row_given_twice_samples_anew(self, policy, prompts):
        both = words(policy.rollout([prompts[0], prompts[0]], 2, SingleTurn(), Sampling(max_tokens=12), seed=0))["one"]
        assert both == words(policy.rollout([prompts[0]], 4, SingleTurn(), Sampling(max_tokens=12), seed=0))["one"]

    def test_rollouts_that_end_early_leave(self, policy, prompts):
        """Given an end token that is likely: lengths differ, and the others' log-probabilities stay right."""
        with torch.no_grad():
            policy.model.lm_head.weight[policy.segments.end] = 4 * policy.model.lm_head.weight[65:75].mean(0)
        batch = policy.rollout(prompts, 8, SingleTurn(), Sampling(max_tokens=40), seed=0)
        lengths = batch.length_R.tolist()
        assert min(lengths) < 15 < max(lengths)
        for rollout in batch.rollouts:
            said = rollout.turns[0].tokens_T.tolist()
            assert policy.segments.end not in said[:-1]
            assert rollout.end == ("eos" if said[-1] == policy.segments.end else "length")
            assert rollout.end == "eos" or len(said) == 40
        assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=2e-5)

    def test_a_stop_string_ends_a_turn_and_stays(self, policy, prompts):
        free = policy.rollout(prompts[:1], 1, SingleTurn(), Sampling(max_tokens=30), seed=0).rollouts[0]
        stop = free.raw_text[4:6]
        batch = policy.rollout(prompts[:1], 1, SingleTurn(), Sampling(max_tokens=30, stop=("¿¿", stop)), seed=0)
        said = batch.rollouts[0].raw_text
        assert said == free.raw_text[: free.raw_text.index(stop) + len(stop)]
        assert batch.rollouts[0].end == "eos"

    def test_temperature_zero_is_greedy_and_recorded_at_one(self, policy, prompts):
        batch = policy.rollout(prompts, 2, SingleTurn(), Sampling(max_tokens=6, temperature=0), seed=0)
        said = words(batch)
        assert all(a == b for a, b in said.values())
        assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=1e-5)

    def test_what_is_recorded_is_not_renormalised_after_truncation(self, policy, prompts):
        sampling = Sampling(max_tokens=6, temperature=1.3, top_p=0.5, top_k=5)
        batch = policy.rollout(prompts, 2, SingleTurn(), sampling, seed=0)
        assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=1e-5)
        assert batch.info["sampling"] == sampling

    def test_a_prefill_is_the_prompts_and_not_the_policys(self, policy, prompts):
        batch = policy.rollout(prompts, 2, SingleTurn(), Sampling(max_tokens=6, prefill=" I think"), seed=0)
        assert not batch.rollouts[0].text.startswith(" I think")
        assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=1e-5)


class TestPlaceholders:
    def test_they_are_never_sampled(self, policy, prompts):
        banned = policy.segments.banned[0]
        with torch.no_grad():
            policy.model.lm_head.weight[banned] = 100 * policy.model.lm_head.weight[65:75].mean(0)
        batch = policy.rollout(prompts, 4, SingleTurn(), Sampling(max_tokens=10), seed=0)
        assert all(banned not in said for own in words(batch).values() for said in own)
        assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=1e-5)

    def test_nobody_can_write_one(self, policy):
        """Given «<image>» in the words of a row: it is words."""
        prompt = Prompt.ask("What does <image> mean in <image><image>?", image(picture(0)), id="html")
        batch = policy.rollout([prompt], 2, SingleTurn(), Sampling(max_tokens=4), seed=0)
        assert policy.log_probs(batch).isfinite().all()
        assert len(batch.info["media_size"][0]) == 1

    def test_one_in_anothers_rollout_is_not_taken_for_a_picture(self, policy, prompts):
        batch = policy.rollout(prompts[:1], 1, SingleTurn(), Sampling(max_tokens=4), seed=0)
        batch.rollouts[0].turns[0].tokens_T[1] = policy.segments.banned[0]
        logp_NT = policy.log_probs(batch)
        assert logp_NT[0, [0, 2, 3]].isfinite().all()


class TestPrompts:
    def test_one_that_is_too_long_is_named(self, load, prompts):
        policy = load("smolvlm", max_prompt_tokens=60)
        with pytest.raises(ValueError, match=r"Row talk has \d+ prompt tokens, over the limit of 60.*never cut"):
            policy.rollout(prompts, 2, SingleTurn(), Sampling(max_tokens=4), seed=0)

    def test_or_dropped(self, load, prompts):
        policy = load("smolvlm", max_prompt_tokens=60, on_long_prompt="drop")
        with pytest.warns(UserWarning, match="Row talk is dropped"):
            batch = policy.rollout(prompts, 2, SingleTurn(), Sampling(max_tokens=4), seed=0)
        assert [prompt.id for prompt in batch.prompts] == ["one", "none", "two"]
        assert len(batch.rollouts) == 6

    def test_a_kind_it_does_not_take_is_named(self, policy):
        with pytest.raises(ValueError, match=r"Row sound .* not 'audio'"):
            policy.rollout(
                [Prompt.ask("?", audio([0.0], 16000), id="sound")], 1, SingleTurn(), Sampling(max_tokens=4), seed=0
            )

    def test_media_sizes_are_on_the_batch(self, load):
        """Of the picture as given and as the model sees it: Qwen rounds to its patches."""
        prompt = Prompt.ask("?", image(picture(0, 50, 100)), image(picture(1, 56, 56)), id="x")
        batch = load("qwen2_5_vl").rollout([prompt], 1, SingleTurn(), Sampling(max_tokens=2), seed=0)
        first, second = batch.info["media_size"][0]
        assert first.original == (50, 100)
        assert all(side % 28 == 0 for side in first.model)
        assert second.original == second.model == (56, 56)
        assert batch.rollouts[0].info["media_size"] == batch.info["media_size"][0]


class TestConversations:
    def test_an_edited_turn_is_not_exact(self, policy, prompts):
        """Given an environment that keeps only some of what was said: that is what is trained on."""

        class Cut:
            def __call__(self, prompt, seed):
                self.turn = 0
                return self

            def step(self, output):
                self.turn += 1
                return Step((text("go on"),), keep="kept") if self.turn == 1 else Step(done=True)

        batch = policy.rollout(prompts[:1], 1, Cut(), Sampling(max_tokens=5), seed=0)
        first, second = batch.rollouts[0].turns
        assert (first.text, first.exact, second.exact) == ("kept", False, True)
        logp_NT = policy.log_probs(batch)
        assert (logp_NT[0, : len(first)] != 0).all()

    def test_a_context_that_is_full_ends_the_rollout(self, policy, prompts):
        policy.max_tokens = 120

        class Endless:
            def __call__(self, prompt, seed):
                return self

            def step(self, output):
                return Step((text("more"), image(picture(0))))

        batch = policy.rollout(prompts[:1], 2, Endless(), Sampling(max_tokens=5), seed=0)
        assert {rollout.end for rollout in batch.rollouts} == {"budget"}
        assert torch.allclose(policy.log_probs(batch), batch.logp_sampled_NT, atol=1e-5)

    def test_some_rows_of_a_rollout(self, policy, prompts):
        """Given a row of a later turn only: its context is there, its actions alone are scored."""

        class Twice:
            def __call__(self, prompt, seed):
                made = Twice()
                made.turn = 0
                return made

            def step(self, output):
                self.turn += 1
                return Step((text("again"), image(picture(3))), done=self.turn == 2)

        from gamutrl.core import Batch, Row

        batch = policy.rollout(prompts[:1], 1, Twice(), Sampling(max_tokens=5), seed=0)
        whole = policy.log_probs(batch)
        later = Batch.of(batch.prompts, batch.rollouts, [0], rows=[Row(0, range(1, 2))])
        assert torch.allclose(policy.log_probs(later)[0], whole[0, 5:], atol=1e-6)


class TestScoring:
    def test_chunks_change_nothing(self, policy, prompts, monkeypatch):
        batch = policy.rollout(prompts, 3, SingleTurn(), Sampling(max_tokens=6), seed=0)
        whole, entropies = policy.log_probs(batch, {"entropy": scoring.entropy})
        whole.sum().backward()
        gradient = policy.model.lm_head.weight.grad.clone()
        policy.module.zero_grad()
        largest = []
        head = policy.backbone.logits
        monkeypatch.setattr(scoring, "CHUNK", 7 * policy.backbone.vocabulary)
        monkeypatch.setattr(
            policy.backbone, "logits", lambda hidden: (largest.append(hidden[..., 0].numel()), head(hidden))[1]
        )
        chunked, again = policy.log_probs(batch, {"entropy": scoring.entropy})
        chunked.sum().backward()
        assert max(largest) <= 7
        assert torch.allclose(chunked, whole, atol=1e-6)
        assert torch.allclose(again["entropy"], entropies["entropy"], atol=1e-5)
        assert torch.allclose(policy.model.lm_head.weight.grad, gradient, rtol=1e-4, atol=1e-6)

    def test_entropy_is_over_the_vocabulary_less_the_placeholders(self, policy, prompts):
        batch = policy.rollout(prompts[:2], 2, SingleTurn(), Sampling(max_tokens=3, temperature=0.7), seed=0)
        _, found = policy.log_probs(batch, {"entropy": scoring.entropy})
        seen = []

        def spy(logits, mask):
            kept = logits[..., [i for i in range(logits.shape[-1]) if i not in policy.segments.banned]]
            seen.append(logits.shape[0])
            return torch.distributions.Categorical(logits=kept).entropy()

        _, expected = policy.log_probs(batch, {"spy": spy})
        assert torch.allclose(found["entropy"], expected["spy"], atol=1e-4)
        assert seen == [2, 2]

    def test_masked_actions_are_zero(self, policy, prompts):
        batch = policy.rollout(prompts[:2], 2, SingleTurn(), Sampling(max_tokens=4), seed=0)
        before = policy.log_probs(batch)
        batch.mask_NT[0, 1:] = False
        after = policy.log_probs(batch)
        assert not after[0, 1:].any()
        assert torch.allclose(after[1:], before[1:], atol=1e-6)

    def test_passes_of_few_tokens_change_nothing(self, policy, prompts):
        batch = policy.rollout(prompts, 2, SingleTurn(), Sampling(max_tokens=6), seed=0)
        whole = policy.log_probs(batch)
        policy.tokens_per_pass = 1
        assert torch.allclose(policy.log_probs(batch), whole, atol=1e-5)
        again = policy.rollout(prompts, 2, SingleTurn(), Sampling(max_tokens=6), seed=0)
        assert words(again) == words(batch)

    def test_shuffled_rows_and_kept_rollouts(self, policy, prompts):
        batch = policy.rollout(prompts, 3, SingleTurn(), Sampling(max_tokens=6), seed=0)
        whole = policy.log_probs(batch)
        order = torch.randperm(len(batch.rows), generator=torch.Generator().manual_seed(0))[:7]
        assert torch.allclose(policy.log_probs(batch.take_rows(order)), whole[order], atol=1e-5)
        joined = type(batch).concat([batch.take_rollouts([4, 5]), batch])
        assert torch.allclose(policy.log_probs(joined), torch.cat([whole[4:6], whole]), atol=1e-5)

    def test_demonstrations_are_scored_to_their_end_token(self, policy, prompts):
        batch = policy.demonstrated(prompts, ["yes", "no, none", "", "both"])
        assert [len(r.turns[0]) for r in batch.rollouts] == [4, 9, 1, 5]
        assert all(int(r.turns[0].tokens_T[-1]) == policy.segments.end for r in batch.rollouts)
        logp_NT = policy.log_probs(batch)
        assert (logp_NT[batch.mask_NT] < 0).all()


class TestWeights:
    def test_a_kept_reference_stays_while_the_policy_moves(self, policy, prompts):
        batch = policy.rollout(prompts, 2, SingleTurn(), Sampling(max_tokens=4), seed=0)
        policy.keep_reference("base")
        before = policy.log_probs(batch).detach()
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        moved = policy.log_probs(batch).detach()
        with policy.reference("base"):
            frozen = policy.log_probs(batch)
        assert torch.equal(frozen, before)
        assert not frozen.requires_grad
        assert torch.equal(policy.log_probs(batch), moved)
        assert (moved - before).abs().max() > 1e-3
        policy.update_reference("base", decay=0.0)
        with policy.reference("base"):
            assert torch.equal(policy.log_probs(batch), moved)

    def test_a_reference_follows_by_its_decay(self, policy):
        policy.keep_reference("slow")
        name, parameter = next(iter(policy.module.named_parameters()))
        old = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(1.0)
        policy.update_reference("slow", decay=0.9)
        assert torch.allclose(policy.state_dict()[f"reference/slow/{name}"], old + 0.1, atol=1e-6)

    def test_an_unknown_reference_is_named(self, policy):
        with pytest.raises(KeyError, match="no reference 'old'"), policy.reference("old"):
            pass

    def test_an_adapter_switched_off_is_the_base(self, load, prompts):
        whole, adapted = load("qwen2_5_vl"), load("qwen2_5_vl", lora=Lora(rank=4))
        batch = adapted.rollout(prompts, 2, SingleTurn(), Sampling(max_tokens=4), seed=0)
        names = [name for name, p in adapted.module.named_parameters() if p.requires_grad]
        assert names
        assert all("lora" in name and "language_model" in name for name in names)
        with torch.no_grad():
            for parameter in adapted.parameters():
                parameter.normal_(std=0.1)
        with adapted.reference("base"):
            base = adapted.log_probs(batch)
        assert torch.allclose(base, whole.log_probs(batch), atol=1e-5)
        assert (adapted.log_probs(batch) - base).abs().max() > 1e-3

    def test_a_fresh_adapter_needs_no_copy_and_one_that_moved_does(self, load):
        policy = load("smolvlm", lora=Lora(rank=2))
        policy.keep_reference("base")
        assert not [name for name in policy.state_dict() if name.startswith("reference/")]
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.fill_(1.0)
        policy.update_reference("base", decay=0.75)
        kept = {n: t for n, t in policy.state_dict().items() if n.startswith("reference/base/")}
        assert {float(t.mean()) for n, t in kept.items() if "lora_B" in n} == {0.25}
        policy.keep_reference("base")
        assert all(bool((t == 1).all()) for n, t in policy.state_dict().items() if n.startswith("reference/base/"))

    @pytest.mark.parametrize("lora", [None, Lora(rank=2)])
    def test_saved_and_loaded_it_is_the_same(self, load, prompts, tmp_path, lora):
        policy = load("smolvlm", lora=lora)
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        batch = policy.rollout(prompts, 2, SingleTurn(), Sampling(max_tokens=4), seed=0)
        policy.save(tmp_path)
        assert list(tmp_path.glob("*.safetensors"))
        again = TextPolicy.load(tmp_path)
        assert torch.allclose(again.log_probs(batch), policy.log_probs(batch), atol=1e-6)
        assert {len(list(p.parameters())) for p in (policy, again)} == {len(list(policy.parameters()))}

    def test_state_comes_back_with_its_references(self, load, prompts):
        policy, other = load("smolvlm"), load("smolvlm")
        policy.keep_reference("old")
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        other.load_state_dict({name: tensor.clone() for name, tensor in policy.state_dict().items()})
        batch = policy.rollout(prompts, 2, SingleTurn(), Sampling(max_tokens=4), seed=0)
        assert torch.equal(other.log_probs(batch), policy.log_probs(batch))
        with policy.reference("old"), other.reference("old"):
            assert torch.equal(other.log_probs(batch), policy.log_probs(batch))

    def test_a_state_of_another_is_refused(self, load):
        with pytest.raises(KeyError, match="does not belong to this policy"):
            load("smolvlm").load_state_dict(load("gemma3").state_dict())

    def test_frozen_parts_get_no_gradient(self, load, family, prompts):
        policy = load(family, freeze=("vision", "connector"))
        batch = policy.rollout(prompts, 2, SingleTurn(), Sampling(max_tokens=4), seed=0)
        policy.log_probs(batch).sum().backward()
        inside = {id(p) for p in policy.backbone.part("vision") + policy.backbone.part("connector")}
        assert inside
        for parameter in policy.module.parameters():
            assert (parameter.grad is None) == (id(parameter) in inside)

    def test_activations_made_again_give_the_same_gradient(self, load, prompts):
        gradients = []
        for again in (False, True):
            policy = load("qwen2_5_vl", gradient_checkpointing=again)
            batch = policy.rollout(prompts, 2, SingleTurn(), Sampling(max_tokens=4), seed=0)
            policy.module.double()  # layers that are run again are the library's own, which round in another order
            policy.log_probs(batch).sum().backward()
            gradients.append([p.grad for p in policy.module.parameters()])
        for a, b in zip(*gradients):
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)

    def test_what_cannot_be_loaded_says_why(self, tmp_path):
        with pytest.raises(ValueError, match="can't be loaded as an image-text-to-text model"):
            TextPolicy.load(tmp_path)


def test_tokens_know_their_characters(policy):
    """Given letters of several bytes, which here are several tokens, and a special one."""
    written = "né 数 <b>🙂!"
    tokens = torch.cat([policy.segments.tokens_of(written), torch.tensor([policy.segments.end])])
    said, raw, char_of = policy.segments.spell(tokens)
    assert said == written
    assert raw.startswith(written)
    assert len(char_of) == len(tokens)
    assert list(char_of) == sorted(char_of)
    assert char_of[0] == 0
    assert raw[char_of[-1] :] == policy.tokenizer.decode([policy.segments.end])


def test_an_assistant_message_at_the_end_is_continued(policy):
    asked = (Message("user", (text("Count."),)), Message("assistant", (text("One, two,"),)))
    segment = policy.segments.prompt(asked)
    assert policy.tokenizer.decode(segment.tokens_L).endswith("One, two,")
