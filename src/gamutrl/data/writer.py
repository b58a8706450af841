"""Prompts to parquet and back, whole: messages, media (lossless), answer, pool and every column.

The files are in the ecosystem's own layout (`messages` with typed parts, `images`, `videos`, `audios`, flat columns),
so other tools read them too. What a flat column cannot hold exactly (values of several types) is stored as JSON text.
Tuples come back as lists, and a column that is None as one that is absent.
"""

from __future__ import annotations

import io
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from gamutrl.core import Message, Part, Prompt
from gamutrl.data.layouts import Reader
from gamutrl.data.problems import BadRow, DataError
from gamutrl.data.tables import Table

METADATA = "gamut_columns"
"""The schema's key that marks a written file: for each stored column, its own name and whether it is JSON."""

_BYTES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_CONTENT = pa.struct([("type", pa.string()), ("text", pa.string()), ("info", pa.string())])
_FIXED = {
    "messages": pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(_CONTENT))])),
    "images": pa.list_(_BYTES),
    "videos": pa.list_(pa.list_(_BYTES)),
    "audios": pa.list_(pa.struct([("array", pa.list_(pa.float32())), ("sampling_rate", pa.int64())])),
    "pool": pa.string(),
    "row_id": pa.string(),
}
_PLACES = {"image": "images", "video": "videos", "audio": "audios"}
_BLOCK = 64


def write_rows(rows: Sequence[Prompt], path: Path | str) -> Path:
    """Write prompts as one parquet file, whole or not at all.

    Media are encoded a block of rows at a time. Raises `DataError` naming the row and column that cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    values, stored = _flat(rows)
    schema = pa.schema([*_FIXED.items(), *((name, column.type) for name, column in values.items())])
    schema = schema.with_metadata({METADATA: json.dumps(stored)})
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                for start in range(0, len(rows), _BLOCK):
                    block = [_fixed(row) for row in rows[start : start + _BLOCK]]
                    fixed = [pa.array([row[name] for row in block], kind) for name, kind in _FIXED.items()]
                    flat = [column.slice(start, _BLOCK) for column in values.values()]
                    writer.write_table(pa.Table.from_arrays([*fixed, *flat], schema=schema))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)
    return path


def append_rows(folder: Path | str, rows: Sequence[Prompt], part: int) -> None:
    """Write one numbered part of a data set that grows; written again, it is replaced: a resumed run may repeat."""
    file = Path(folder) / f"part-{part:06d}.parquet"
    if rows:
        write_rows(rows, file)
    else:
        file.unlink(missing_ok=True)


def written_rows(folder: Path | str, parts: int | None = None) -> int:
    """How many rows the parts below number `parts` hold (None: all)."""
    files = sorted(Path(folder).glob("part-*.parquet"))
    return sum(pq.read_metadata(file).num_rows for file in files if parts is None or _part(file) < parts)


def written_types(table: Table) -> dict[str, str]:
    """The columns of a written file under their own names (the answer's is "answer"), with what they hold."""
    stored = json.loads(table.metadata[METADATA])
    return {name or "answer": "json" if as_json else table.types[place] for place, (name, as_json) in stored.items()}


def written_reader(metadata: Mapping[str, str]) -> Reader:
    """The exact reader of a file that `write_rows` wrote. Media come unopened."""
    stored = json.loads(metadata[METADATA])

    def read(row: Mapping[str, Any]) -> Prompt:
        media = {kind: iter(row[place] or ()) for kind, place in _PLACES.items()}
        messages = tuple(
            Message(message["role"], tuple(_part_of(item, media) for item in message["content"] or ()))
            for message in row["messages"]
        )
        columns = {}
        for place, (name, as_json) in stored.items():
            value = row[place]
            if value is not None:
                columns[name] = json.loads(value) if as_json else value
        answer = columns.pop("", None)
        return Prompt(messages, answer, columns, row["pool"], row["row_id"] or "")

    return read


def _fixed(row: Prompt) -> dict[str, Any]:
    """The parts of a row that every file has."""
    found: dict[str, Any] = {place: [] for place in _PLACES.values()}
    messages = []
    for message in row.messages:
        content = []
        for part in message.parts:
            info = json.dumps(dict(part.info)) if part.info else None
            content.append({"type": part.kind, "text": None if part.is_media else _utf8(part.value), "info": info})
            if part.is_media:
                found[_place(part, row)].append(_encoded(part))
        messages.append({"role": message.role, "content": content})
    return {**found, "messages": messages, "pool": row.pool, "row_id": row.id}


def _utf8(words: str) -> str:
    """Text that can be stored: halves of surrogate pairs, which JSON lets through, become question marks."""
    return words.encode("utf-8", "replace").decode()


def _place(part: Part, row: Prompt) -> str:
    if part.kind not in _PLACES:
        raise DataError(f"Row {row.id or '?'} has a part of kind {part.kind!r}, which cannot be written to parquet.")
    return _PLACES[part.kind]


def _encoded(part: Part) -> Any:
    if part.kind == "image":
        return _png(part.value)
    if part.kind == "video":
        return [_png(frame) for frame in part.value]
    return {"array": np.asarray(part.value, np.float32), "sampling_rate": part.info["sampling_rate"]}


def _png(picture: Image.Image) -> dict[str, Any]:
    out = io.BytesIO()
    picture.convert("RGB").save(out, "PNG", compress_level=1)
    return {"bytes": out.getvalue(), "path": None}


def _part_of(item: Mapping[str, Any], media: Mapping[str, Iterator[Any]]) -> Part:
    info = json.loads(item["info"]) if item["info"] else {}
    if item["type"] == "text":
        return Part("text", item["text"] or "", info)
    value = next(media[item["type"]], None)
    if value is None:
        raise BadRow(f"the row has fewer media of kind {item['type']} than its messages ask for.")
    return Part(item["type"], value, info)


def _flat(rows: Sequence[Prompt]) -> tuple[dict[str, pa.Array], dict[str, tuple[str, bool]]]:
    """The answer (own name "") and the columns as Arrow arrays, by the name they are stored under."""
    own = ["", *dict.fromkeys(name for row in rows for name in row.columns)]
    arrays: dict[str, pa.Array] = {}
    stored: dict[str, tuple[str, bool]] = {}
    for name in own:
        place = name or "answer"
        while place in _FIXED or place in arrays:
            place += "_"
        values = [_plain(row.columns.get(name) if name else row.answer, row, name or "answer") for row in rows]
        try:
            array = pa.array(values)
            exact = _storable(array.type) and all(_same(a, b) for a, b in zip(values, array.to_pylist()))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeEncodeError):
            exact = False
        if not exact:
            array = pa.array([None if value is None else json.dumps(value) for value in values], pa.string())
        arrays[place], stored[place] = array, (name, not exact)
    return arrays, stored


def _plain(value: Any, row: Prompt, name: str) -> Any:
    """The value as JSON knows it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            value = {str(key): member for key, member in value.items()}
        return {key: _plain(member, row, name) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member, row, name) for member in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    raise DataError(
        f"Row {row.id or '?'}: column {name!r} holds a {type(value).__name__}, which cannot be written; "
        "make it text, a number, a list or a dict."
    )


def _storable(kind: pa.DataType) -> bool:
    """Whether parquet knows the type: it has no struct without members."""
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_storable(field.type) for field in kind)
    return _storable(kind.value_type) if pa.types.is_list(kind) else True


def _same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


def _part(file: Path) -> int:
    return int(file.stem.removeprefix("part-"))
