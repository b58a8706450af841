"""Groups side by side: the same numbers and gradients as one after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from gamutrl.policies import beside


@pytest.fixture
def two_threads() -> Iterator[None]:
    own = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(own)


def test_lots_hold_everything_once_and_are_nearly_equal():
    sizes = [5, 1, 9, 3, 3, 7]
    lots = beside.share_of(sizes, 3)
    assert sorted(n for lot in lots for n in lot) == list(range(6))
    assert max(sum(sizes[n] for n in lot) for lot in lots) <= 10
    assert beside.share_of([4], 3) == [[0]]
    assert beside.share_of([], 3) == []


def test_gradients_are_those_of_one_after_the_other(two_threads):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    unused = nn.Parameter(torch.ones(1, dtype=torch.float64))
    inputs = [torch.randn(4, 3, dtype=torch.float64) for _ in range(3)]
    parameters = [*net.parameters(), unused]

    plain = torch.cat([net(x) for x in inputs])
    found = beside.differentiable([lambda x=x: [net(x)[:2], net(x)[2:]] for x in inputs], parameters)
    both = torch.cat([part for parts in found for part in parts])
    assert torch.equal(both, plain)
    weight = torch.randn_like(plain)
    expected = torch.autograd.grad((plain * weight).sum(), parameters, allow_unused=True)
    given = torch.autograd.grad((both * weight).sum(), parameters, allow_unused=True)
    for one, other in zip(given[:-1], expected[:-1]):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-14)
    assert given[-1] is None


def test_what_needs_no_gradient_makes_no_graph(two_threads):
    net = nn.Linear(2, 2)
    with torch.no_grad():
        ((found,), _) = beside.differentiable([lambda: [net(torch.ones(1, 2))], list], net.parameters())
    assert not found.requires_grad


def test_what_is_dealt_out_comes_back_in_order(two_threads):
    tasks = [lambda n=n: (n, threading.current_thread().name) for n in range(5)]
    with torch.no_grad():
        found = beside.dealt(tasks, [3, 1, 1, 2, 1], 2)
    assert [n for n, _ in found] == list(range(5))
    assert {name.startswith("gamut-group") for _, name in found} == {True}
    alone = beside.dealt(tasks, [3, 1, 1, 2, 1], 2)
    assert {name for _, name in alone} == {threading.current_thread().name}


def test_an_error_comes_out_after_all_have_ended(two_threads):
    done = []

    def fails() -> int:
        raise KeyError("one")

    with pytest.raises(KeyError, match="one"):
        beside.together([fails, lambda: done.append(1)])
    assert done == [1]


def test_the_callers_number_of_threads_stays(two_threads):
    counts = beside.together([torch.get_num_threads, torch.get_num_threads])
    assert counts == [1, 1]
    assert torch.get_num_threads() == 2
    with beside.undivided(10, torch.device("cpu")):
        assert torch.get_num_threads() == 1
    with beside.undivided(2 * beside.SHORT, torch.device("cpu")):
        assert torch.get_num_threads() == 2


def test_a_long_product_is_cut_where_threads_stand_by(two_threads, monkeypatch):
    monkeypatch.setattr(beside, "ASLEEP", False)
    with beside.undivided(10, torch.device("cpu")):
        with beside.divided(beside.LONG, 2):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 1
        with beside.divided(beside.LONG - 1, 2):
            assert torch.get_num_threads() == 1
        monkeypatch.setattr(beside, "ASLEEP", True)
        with beside.divided(beside.LONG, 2):
            assert torch.get_num_threads() == 1


def test_a_large_model_and_a_thread_of_its_own_are_not_divided(two_threads):
    small, large = nn.Linear(4, 4), nn.Linear(2**14, 2**14, device="meta")
    assert beside.threads_for(small) == 2
    assert beside.threads_for(large) == 1
    assert beside.together([lambda: beside.threads_for(small)]) == [1]


def test_what_is_not_dealt_out_keeps_to_one_core(two_threads, monkeypatch):
    net = nn.Linear(2, 2)
    with beside.aside(net):
        assert torch.get_num_threads() == 1
        assert beside.threads_for(net) == 2
        with beside.aside(net), beside.whole():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 1
        with torch.no_grad():
            assert beside.dealt([torch.get_num_threads], [1], 2) == [2]
            assert beside.dealt([torch.get_num_threads] * 2, [1, 1], 2) == [1, 1]
    assert torch.get_num_threads() == 2
    monkeypatch.setattr(beside, "SMALL", 1)
    with beside.aside(net):
        assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), beside.aside(nn.Linear(1, 1, bias=False)):
        raise KeyError
    assert torch.get_num_threads() == 2
