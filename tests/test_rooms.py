"""A room imports only from rooms below it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gamutrl

SOURCE = Path(gamutrl.__file__).parent
FLOORS = {
    "core": 0,
    "functional": 1,
    "data": 2,
    "rewards": 3,
    "metrics": 4,
    "environments": 4,
    "policies": 5,
    "zoo": 6,
    "training": 7,
    "recipes": 8,
    "fidelity": 9,
    "report": 9,
    "cli": 10,
}


def imports(file: Path) -> set[str]:
    """The rooms of gamutrl that a file imports at its top level (imports inside functions are late on purpose)."""
    tree = ast.parse(file.read_text())
    found = set()
    for node in tree.body:
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("gamutrl.")}
    return found & set(FLOORS)


@pytest.mark.parametrize("room", sorted(FLOORS))
def test_a_room_imports_only_from_below(room):
    files = [*(SOURCE / room).rglob("*.py")] if (SOURCE / room).is_dir() else [SOURCE / f"{room}.py"]
    assert files, f"the room {room} is empty"
    for file in files:
        above = {name for name in imports(file) if name != room and FLOORS[name] >= FLOORS[room]}
        assert not above, (
            f"{file.relative_to(SOURCE)} imports from {', '.join(sorted(above))}, which is not below {room}"
        )


def test_every_room_is_on_a_floor():
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert rooms <= set(FLOORS)
