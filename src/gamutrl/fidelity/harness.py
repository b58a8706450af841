"""`gamut fidelity`: run every bound function over a folder of recorded cases, and say where it answers otherwise.

A folder holds `<system>/<function>.json` with `tolerance` and `cases` [{`inputs`, `output`}]. Equal means
|got - expected| <= tolerance * max(1, |expected|), element by element; text and integers exactly.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

import gamutrl
from gamutrl.fidelity.inputs import arguments, number

GOLDEN = Path("tests", "fidelity", "golden")


@dataclass(frozen=True)
class Result:
    """One recorded function held against ours. `bound` is False where no binding has its name.

    deviation: the largest |got - expected| / max(1, |expected|) of all cases, infinite where the answers differ in kind
    or the binding raised. failures: what the disagreeing cases said.
    """

    function: str
    kind: str
    cases: int
    bound: bool = False
    agreeing: int = 0
    deviation: float = 0.0
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bound:
    """A system's part in the catalogue: functions bound (of those recorded), their cases, and how many agree."""

    functions: int
    of: int
    cases: int
    agreeing: int


def golden_folder(folder: Path | None = None) -> Path:
    """The folder of vectors: the one named, or that of the checkout we run in or from.

    Raises FileNotFoundError with what to do where there is none.
    """
    if folder is not None:
        if not folder.is_dir():
            raise FileNotFoundError(
                f"--golden {folder} is not a folder; it should hold <system>/<function>.json files."
            )
        return folder
    for root in (Path.cwd(), Path(gamutrl.__file__).parents[2]):
        if (root / GOLDEN).is_dir():
            return root / GOLDEN
    raise FileNotFoundError(f"No vectors here: run in a checkout of gamutrl (they are in {GOLDEN}) or name --golden.")


def check(system: str, folder: Path | None = None) -> list[Result]:
    """Every recorded function of a system, held against its binding."""
    files = sorted((golden_folder(folder) / system).glob("*.json"))
    if not files:
        raise FileNotFoundError(f"No vectors of {system!r} in {golden_folder(folder)}.")
    return [_check_file(path, _binding(system, path.stem)) for path in files]


def bound(system: str, folder: Path | None = None) -> Bound | None:
    """What of a system is bound and agrees; None where nothing is recorded of it or no vectors are at hand."""
    try:
        results = check(system, folder)
    except FileNotFoundError:
        return None
    mine = [result for result in results if result.bound]
    return Bound(len(mine), len(results), sum(r.cases for r in mine), sum(r.agreeing for r in mine))


def deviation(got: Any, expected: Any) -> float:
    """The largest relative difference of two answers; 0 where equal, infinite where more than numbers differ."""
    if isinstance(got, Tensor):
        got = got.detach().cpu().tolist()
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping) or got.keys() != expected.keys():
            return math.inf
        return max((deviation(got[key], expected[key]) for key in expected), default=0.0)
    if isinstance(expected, list):
        if not isinstance(got, Sequence) or isinstance(got, str) or len(got) != len(expected):
            return math.inf
        return max((deviation(one, other) for one, other in zip(got, expected)), default=0.0)
    if isinstance(got, bool | int | float) and not isinstance(expected, bool | None):
        return _distance(got, number(expected))
    return 0.0 if type(got) is type(expected) and got == expected else math.inf


def main(argv: Sequence[str] | None = None) -> int:
    """`gamut fidelity [SYSTEM …] [--golden DIR] [--json]`: 0 where every bound case agrees, else 1."""
    parser = argparse.ArgumentParser(
        "gamut fidelity", description="Hold our functions against what released code answered."
    )
    parser.add_argument(
        "systems", nargs="*", metavar="SYSTEM", help="systems to check (default: all that are recorded)"
    )
    parser.add_argument("--golden", type=Path, metavar="DIR", help="a folder of vectors: DIR/<system>/<function>.json")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    args = parser.parse_args(argv)
    try:
        folder = golden_folder(args.golden)
        systems = args.systems or sorted(path.name for path in folder.iterdir() if any(path.glob("*.json")))
        results = {system: check(system, folder) for system in systems}
    except FileNotFoundError as error:
        parser.exit(2, f"{error}\n")
    print(json.dumps(_as_json(results), indent=1)) if args.json else _print(results)
    return 0 if all(r.agreeing == r.cases for rs in results.values() for r in rs if r.bound) else 1


def _binding(system: str, function: str) -> Callable[..., Any] | None:
    return getattr(_module(system), function, None)


@cache
def _module(system: str) -> Any:
    name = f"gamutrl.fidelity.bindings.{''.join(c if c.isalnum() else '_' for c in system)}"
    name = name if not system[0].isdigit() else name.replace("bindings.", "bindings.s")
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def _check_file(path: Path, binding: Callable[..., Any] | None) -> Result:
    vector = json.loads(path.read_text(encoding="utf-8"))
    cases = vector["cases"]
    if binding is None:
        return Result(path.stem, vector["kind"], len(cases))
    deviations, failures = [], []
    for index, case in enumerate(cases):
        try:
            got = binding(**arguments(binding, case["inputs"]))
            deviations.append(deviation(got, case["output"]))
            said = f"differs by {deviations[-1]:.3g}"
        except Exception as error:
            deviations.append(math.inf)
            said = f"raised {type(error).__name__}: {error}"
        if deviations[-1] > vector["tolerance"]:
            failures.append(f"case {index} {said}")
    agreeing = len(cases) - len(failures)
    return Result(path.stem, vector["kind"], len(cases), True, agreeing, max(deviations, default=0.0), tuple(failures))


def _distance(got: float, expected: Any) -> float:
    if not isinstance(expected, int | float):
        return math.inf
    if math.isnan(got) or math.isnan(expected):
        return 0.0 if math.isnan(got) and math.isnan(expected) else math.inf
    if got == expected:
        return 0.0
    if math.isinf(got) or math.isinf(expected) or (isinstance(got, int) and isinstance(expected, int)):
        return math.inf
    return abs(got - expected) / max(1.0, abs(expected))


def _as_json(results: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    def row(result: Result) -> dict[str, Any]:
        finite = math.isfinite(result.deviation)
        return {**asdict(result), "deviation": result.deviation if finite else "inf", "failures": list(result.failures)}

    return {
        "systems": {system: [row(result) for result in rs] for system, rs in results.items()},
        **_totals([result for rs in results.values() for result in rs]),
    }


def _totals(results: Sequence[Result]) -> dict[str, int]:
    mine = [result for result in results if result.bound]
    return {
        "functions": len(results),
        "bound": len(mine),
        "cases": sum(result.cases for result in mine),
        "agreeing": sum(result.agreeing for result in mine),
    }


def _print(results: Mapping[str, Sequence[Result]]) -> None:
    table = Table("system", "function", "cases", "agreeing", "largest deviation", box=None, pad_edge=False)
    for system, rs in results.items():
        for r in rs:
            shown = (str(r.agreeing), f"{r.deviation:.1e}") if r.bound else ("unbound", "")
            table.add_row(system, r.function, str(r.cases), *shown, style="red" if r.failures else None)
    console = Console(soft_wrap=True)
    console.print(table)
    for system, rs in results.items():
        for r in rs:
            for failure in r.failures:
                console.print(f"{system}/{r.function}: {failure}", style="red", markup=False, highlight=False)
    totals = _totals([r for rs in results.values() for r in rs])
    console.print("{bound} of {functions} functions bound, {agreeing} of their {cases} cases agree.".format(**totals))
