"""The harness: equal, unequal, unbound, and what the command answers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from gamutrl.fidelity import bound, check, main
from gamutrl.fidelity.harness import deviation
from gamutrl.fidelity.inputs import F32, I64, Labels, Leaf, Mask, arguments, gradient


@pytest.mark.parametrize(
    ("got", "expected", "worst"),
    [
        (torch.tensor([1.0, 2.0]), [1.0, 2.0], 0.0),
        ([100.0], [101.0], 1 / 101),
        ({"a": 0.25}, {"a": 0.5}, 0.25),
        ({"a": 0.5}, {"a": 0.5, "b": 1}, math.inf),
        ([1.0], [1.0, 2.0], math.inf),
        (math.nan, "nan", 0.0),
        (-math.inf, "-inf", 0.0),
        (math.inf, "-inf", math.inf),
        (1.0, "nan", math.inf),
        (1, 2, math.inf),
        (1.0, 1, 0.0),
        ("one", "one", 0.0),
        ("one", "two", math.inf),
        (None, None, 0.0),
        (0.0, None, math.inf),
        (None, 0.0, math.inf),
        ("nan", "nan", 0.0),
    ],
)
def test_answers_are_compared_by_kind_and_number(got, expected, worst):
    assert deviation(got, expected) == pytest.approx(worst)


def test_inputs_arrive_as_annotated():
    def binding(a: F32, b: I64, c: Mask, d: Leaf, e: Labels, f, g: F32 | None = None): ...

    got = arguments(
        binding,
        {"a": ["nan", 1, None], "b": [1], "c": [0, 1], "d": [1.5], "e": ["x", "y", "x"], "f": ["nan"], "g": None},
    )
    assert got["a"].dtype == torch.float32
    assert got["a"].isnan().tolist() == [True, False, True]
    assert got["b"].dtype == torch.int64
    assert got["c"].tolist() == [False, True]
    assert got["d"].requires_grad
    assert got["e"].tolist() == [0, 1, 0]
    assert got["f"] == ["nan"]
    assert got["g"] is None


def test_a_loss_that_does_not_depend_on_the_leaf_has_gradient_zero():
    leaf = torch.ones(2, requires_grad=True)
    assert gradient(torch.tensor(3.0), leaf).tolist() == [0, 0]
    assert gradient((2 * leaf).sum(), leaf).tolist() == [2, 2]


def _folder(tmp_path: Path, output: list[float], function: str = "group_advantage") -> Path:
    folder = tmp_path / "video-r1"
    folder.mkdir()
    vector = {
        "system": "video-r1",
        "function": function,
        "kind": "advantage",
        "tolerance": 1e-4,
        "cases": [{"inputs": {"rewards": [0.0, 1.0], "group_size": 2}, "output": output}],
    }
    (folder / f"{function}.json").write_text(json.dumps(vector))
    return tmp_path


def test_given_another_folder_when_all_agree_then_the_command_succeeds(tmp_path, capsys):
    golden = _folder(tmp_path, [-0.70701, 0.70701])
    assert main(["--golden", str(golden), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["agreeing"] == answer["cases"] == answer["bound"] == 1
    assert bound("video-r1", golden).agreeing == 1


def test_given_a_disagreeing_case_then_it_is_named_and_the_command_fails(tmp_path, capsys):
    assert main(["video-r1", "--golden", str(_folder(tmp_path, [-0.5, 0.5]))]) == 1
    assert "video-r1/group_advantage: case 0 differs by" in capsys.readouterr().out


def test_an_unbound_function_is_counted_and_excused(tmp_path, capsys):
    golden = _folder(tmp_path, [], "not_yet")
    (result,) = check("video-r1", golden)
    assert not result.bound
    assert main(["--golden", str(golden)]) == 0
    assert "unbound" in capsys.readouterr().out


def test_a_system_without_vectors_is_a_clear_error(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["nobody", "--golden", str(tmp_path)])
    assert "No vectors of 'nobody'" in capsys.readouterr().err
    assert bound("nobody", tmp_path) is None
