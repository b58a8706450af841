"""Given a source and a seed, then every draw is a function of its number, and no row comes twice before its time."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamutrl.core import Prompt
from gamutrl.data import (
    Ahead,
    Between,
    Changed,
    DataError,
    Gaussian,
    InMemory,
    Mixture,
    Ordered,
    Pools,
    Repeat,
    Rows,
    Shuffled,
    Spread,
    Stages,
    WorldRows,
    take,
)  # fmt: skip
from gamutrl.data.sources import asked_alike
from gamutrl.data.transforms import WithSuffix, WithSystem, shuffle_frames


def rows(count: int, name: str = "r") -> InMemory:
    return InMemory(
        [Prompt.ask("?", answer=k, id=f"{name}{k}", level=k / 10, kind=f"k{k % 3}", many=k) for k in range(count)]
    )


def ids(prompts) -> list[str]:
    return [prompt.id for prompt in prompts]


def served(source, draws: int, size: int, seed: int = 0) -> list[str]:
    return [id for k in range(draws) for id in ids(source.batch(k, size, seed))]


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 5), st.integers(0, 3))
def test_shuffled_rows_come_once_an_epoch_whatever_the_batch(count, size, index, seed):
    source = rows(count)
    draws = -(-2 * count // size)
    stream = served(source, draws, size, seed)
    assert sorted(stream[:count]) == sorted(stream[count : 2 * count]) == sorted(ids(source.prompts))
    assert ids(source.batch(index, size, seed)) == [
        i for k in range(size) for i in ids(source.batch(index * size + k, 1, seed))
    ]


def test_each_epoch_and_seed_has_an_order_of_its_own():
    stream = served(rows(20), 2, 20)
    assert stream[:20] != stream[20:]
    assert stream[:20] != served(rows(20), 1, 20, seed=1)


def test_ordered_rows_rise_or_fall():
    assert ids(Ordered(rows(4), "level").batch(0, 5)) == ["r0", "r1", "r2", "r3", "r0"]
    assert ids(Ordered(rows(4), "level", descending=True).batch(1, 2)) == ["r1", "r0"]


def test_rows_between_bounds():
    view = Between(rows(10), "level", 0.2, 0.5)
    assert isinstance(view, Rows)
    assert ids(view[k] for k in range(len(view))) == ["r2", "r3", "r4", "r5"]
    assert view.column("many") == [2, 3, 4, 5]
    assert len(Between(rows(10), "level", 0.2, 0.5, open_ends=True)) == 2
    with pytest.raises(DataError, match="No row has level between 5 and 6"):
        len(Between(rows(10), "level", 5, 6))
    with pytest.raises(DataError, match="Row 0 has 'k0' in 'kind', where a number is needed"):
        len(Between(rows(10), "kind", 0, 1))


def test_a_gaussian_draw_prefers_rows_near_its_mean_and_takes_none_twice():
    near = Counter()
    for seed in range(200):
        view = Gaussian(rows(100), "level", mean=3.0, std=1.0, size=20, seed=seed)
        places = view.places.tolist()
        assert len(set(places)) == 20
        near.update(k // 20 for k in places)
    assert near[1] > near[0] > near[3] >= near[4]
    assert near[1] / 4000 > 0.5


def test_even_ranks():
    assert Spread(rows(9), "level", 3).places.tolist() == [0, 4, 8]


def test_linked_rows_are_never_parted():
    source = Pools(rows(9), "kind")
    for index in range(7):
        batch = source.batch(index, 6, seed=3)
        assert len(batch) == 6
        assert all(count == 3 for count in Counter(prompt.pool for prompt in batch).values())
        assert all(len({p.columns["kind"] for p in batch if p.pool == pool}) == 1 for pool in {p.pool for p in batch})


def test_pools_of_a_size_are_drawn_anew_each_epoch():
    source = Pools(rows(24), "kind", size=4)
    epoch = served(source, 3, 8)
    assert len(set(epoch)) == 24
    assert sorted(served(source, 6, 8)[24:]) == sorted(epoch)
    assert ids(source.batch(4, 8)) == ids(Pools(rows(24), "kind", size=4).batch(4, 8))
    with pytest.raises(DataError, match=r"pool of 4 rows .* does not fit a batch of 3"):
        source.batch(0, 3)
    with pytest.raises(DataError, match="No value of 'kind' has 9 rows"):
        Pools(rows(24), "kind", size=9).batch(0, 9)


def test_a_mixture_serves_each_source_its_share_without_gaps():
    mixture = Mixture((rows(1000, "a"), rows(1000, "b"), rows(1000, "c")), (5, 3, 2))
    stream = served(mixture, 10, 10)
    assert Counter(id[0] for id in stream) == {"a": 50, "b": 30, "c": 20}
    assert len(set(stream)) == 100
    fresh = Mixture((rows(1000, "a"), rows(1000, "b"), rows(1000, "c")), (5, 3, 2))
    assert ids(fresh.batch(9, 10)) == stream[90:]


def test_a_source_without_weight_is_never_asked():
    assert {id[0] for id in served(Mixture((rows(5, "a"), rows(5, "b")), (1, 0)), 4, 5)} == {"a"}


def test_a_mixture_by_batch_serves_one_source_at_a_time():
    mixture = Mixture((Pools(rows(9, "a"), "kind"), rows(9, "b")), by="batch")
    kinds = ["".join(sorted({id[0] for id in ids(mixture.batch(k, 3))})) for k in range(6)]
    assert Counter(kinds) == {"a": 3, "b": 3}


def test_a_mixture_that_makes_no_sense_is_refused():
    for sources, weights in (((), ()), ((rows(1),), (1, 2)), ((rows(1),), (-1,)), ((rows(1),), (0,))):
        with pytest.raises(DataError, match="mixture"):
            Mixture(sources, weights)


def test_repeated_prompts_stand_together():
    found = ids(Repeat(rows(10), 3).batch(0, 6))
    assert found[:3] == found[:1] * 3
    assert len(set(found)) == 2
    with pytest.raises(DataError, match="multiple"):
        Repeat(rows(10), 3).batch(0, 7)


def test_a_curriculum_changes_source_at_its_step_and_each_begins_at_its_beginning():
    easy, hard = rows(4, "e"), rows(4, "h")
    by_steps = Stages(((0, easy), (2, hard)))
    by_items = Stages(((0, easy), (3, hard)), by="items")
    for source in (by_steps, by_items):
        assert {id[0] for id in served(source, 2, 2)} == {"e"}
        assert ids(source.batch(2, 2)) == ids(hard.batch(0, 2))
    with pytest.raises(DataError, match="rise from 0"):
        Stages(((1, easy),))


def marked(prompt: Prompt, seed: int) -> Prompt:
    return Prompt.ask(f"{seed}", id=prompt.id)


def test_a_change_has_a_seed_of_its_own_each_time_and_the_same_one_again():
    changed = Changed(rows(3), marked)
    first, again = changed.batch(0, 9), changed.batch(0, 9)
    assert len({prompt.text for prompt in first}) == 9
    assert [prompt.text for prompt in first] == [prompt.text for prompt in again]
    assert (len(changed), changed[1].text, changed[1].id) == (3, changed[1].text, "r1")


@dataclass(frozen=True)
class Watched:
    """Counts draws."""

    draws: list[int] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        self.draws.append(index)
        self.threads.add(threading.current_thread().name)
        return [Prompt.ask(f"{index}/{k}/{seed}") for k in range(size)]


def test_working_ahead_gives_the_same_batches_and_makes_each_once():
    watched = Watched()
    ahead = Ahead(watched, depth=2)
    found = [ahead.batch(k, 2, 5)[0].text for k in range(6)]
    assert found == [f"{k}/0/5" for k in range(6)]
    assert ahead.batch(2, 2, 5)[1].text == "2/1/5"
    assert sorted(watched.draws[:6]) == list(range(6))
    assert threading.main_thread().name not in watched.threads


def test_worlds_are_streams_of_new_rows_for_training_and_fixed_rows_for_testing():
    stream = WorldRows("digits", "sum")
    first = ids(stream.batch(0, 70))
    assert len(set(first)) == 70
    assert ids(WorldRows("digits", "sum").batch(7, 10)) == ids(stream.batch(0, 80))[70:]
    assert ids(stream.batch(0, 5, seed=1)) != first[:5]
    fixed = WorldRows("digits", "sum", split="test", size=6)
    assert sorted(ids(fixed.batch(0, 6))) == sorted(ids(fixed[k] for k in range(6)))
    assert len(fixed.column("answer")) == 6
    with pytest.raises(DataError, match=r"no world 'digit'; there are: .*digits"):
        WorldRows("digit", "sum").batch(0, 1)
    with pytest.raises(DataError, match=r"no task 'som'; it has: .*sum"):
        WorldRows("digits", "som").batch(0, 1)


def test_rows_to_evaluate_on_are_all_different():
    assert ids(take(rows(5), 0)) == ["r0", "r1", "r2", "r3", "r4"]
    assert len(set(ids(take(rows(5), 99)))) == 5
    assert ids(take(rows(5), 3)) == ["r0", "r2", "r4"]
    assert len(take(WorldRows("digits", "sum"), 4)) == 4
    both = Changed(Mixture((rows(5, "a"), rows(50, "b")), (1, 1)), marked)
    found = ids(take(both, 20))
    assert (len(set(found)), Counter(id[0] for id in found)) == (15, {"a": 5, "b": 10})
    with pytest.raises(DataError, match="say how many"):
        take(WorldRows("digits", "sum"), 0)


def test_a_view_of_a_view_composes():
    source = Shuffled(Between(Between(rows(10), "level", 0.2, 0.8), "many", 0, 5))
    assert sorted(ids(source.batch(0, 4))) == ["r2", "r3", "r4", "r5"]


def test_other_rows_are_asked_in_a_systems_own_words():
    """Given what a system does to its rows: its words come along to other rows, the rest does not."""
    own = Mixture((Changed(Changed(WorldRows("digits", "sum"), shuffle_frames), WithSuffix(" Call a tool.")),))
    other = Changed(WorldRows("scenes", "count"), WithSystem("Look."))
    asked = asked_alike(WorldRows("scenes", "count"), Changed(own, WithSystem("Look.")))
    assert asked == Changed(Changed(WorldRows("scenes", "count"), WithSuffix(" Call a tool.")), WithSystem("Look."))
    assert asked_alike(WorldRows("digits", "sum"), other).change == WithSystem("Look.")
    assert asked_alike(other, WorldRows("digits", "sum")) == other
