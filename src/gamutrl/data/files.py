"""From what a user names (a file, a folder, a hub id) to tables, by split."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gamutrl.data.media import IMAGE_SUFFIXES, natural
from gamutrl.data.problems import BadRow, DataError
from gamutrl.data.tables import ArrowTable, JsonLines, ListTable, Table

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".arrow")
TEXT = ".txt"
"""Prompts, one a line; in a folder they count as data only where nothing else does, for READMEs are texts too."""

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "validation", "valid", "val", "dev", "eval"),
}
"""What the splits are called, the name looked for first in front."""

IN_MEMORY = 256 << 20
"""Parquet files up to this many bytes (uncompressed) are read whole; larger ones are laid out on disk and mapped."""

Splits = dict[str, list[Table]]


def open_tables(path: str, subset: str = "") -> Splits:
    """Tables by the split names found on disk; {"": tables} where there are none.

    `path` is a file (parquet, JSON Lines, JSON, CSV, Arrow, a text of one prompt a line), a folder of them, a folder
    that `datasets.save_to_disk` wrote, a folder of pictures (with captions beside them, or in folders named by class),
    or the id of a data set on the Hugging Face hub (`subset`: its configuration).
    """
    place = Path(path).expanduser()
    if place.is_file():
        return {"": [open_file(place)]}
    if place.is_dir():
        return _open_folder(place)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", path) and not path.startswith(".") and place.suffix not in SUFFIXES:
        return _from_hub(path, subset)
    raise DataError(f"There is no file or folder {path!r} (a data set on the hub is named owner/name).")


def open_file(path: Path, file: str = "", many: bool = False) -> Table:
    """One file as a table; `many`: it is one of a large number, and not to be held in memory.

    Raises `DataError` for a kind that is not read, an empty file, or one that is damaged.
    """
    kind = path.suffix.lower()
    if kind not in (*SUFFIXES, TEXT):
        raise DataError(
            f"{path.name}: files of this kind are not read; give one of {', '.join((*SUFFIXES, TEXT))}, or a folder."
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty.")
    file = file or path.name
    try:
        if kind == ".parquet":
            return ArrowTable(partial(_parquet, path, many), pq.read_schema(path), file, path.parent)
        if kind == ".arrow":
            table = _mapped(path)
            return ArrowTable(lambda: table, table.schema, file, path.parent)
        if kind == TEXT:
            return ListTable(_lines(path), file, path.parent)
        if kind in (".csv", ".tsv"):
            return ListTable(_csv(path, "\t" if kind == ".tsv" else ","), file, path.parent)
        return JsonLines(path, file) if kind != ".json" or _is_json_lines(path) else _json(path, file)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(f"{path.name} cannot be read as {kind[1:]}: {error}") from None


def _open_folder(folder: Path) -> Splits:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _saved_dataset(folder)
    labelled = [found for found in folder.rglob("metadata.*") if found.suffix.lower() in SUFFIXES]
    if labelled:
        return _split_by_name(folder, [(found.parent, open_captions(found, folder)) for found in natural(labelled)])
    files = [file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and not _hidden(file, folder)]
    if files:
        many = sum(file.stat().st_size for file in files) > IN_MEMORY
        tables = [(file, open_file(file, str(file.relative_to(folder)), many)) for file in sorted(files)]
        return _split_by_name(folder, tables)
    pictures = [
        file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and not _hidden(file, folder)
    ]
    if pictures:
        return _pictures(folder, natural(pictures))
    texts = [file for file in folder.rglob(f"*{TEXT}") if not _hidden(file, folder)]
    if texts:
        return _split_by_name(
            folder, [(file, open_file(file, str(file.relative_to(folder)))) for file in natural(texts)]
        )
    raise DataError(f"The folder {folder} holds no data: no {', '.join((*SUFFIXES, TEXT))} file and no picture.")


def open_captions(path: Path, folder: Path) -> Table:
    """An image folder's `metadata` file: its `file_name` is the picture (Hugging Face's layout)."""
    table = open_file(path, str(path.relative_to(folder)))
    rows: list[dict[str, Any] | BadRow] = []
    for row in table.scan():
        name = row.get("file_name") if isinstance(row, dict) else None
        rows.append({**row, "image": name} if isinstance(row, dict) and name and "image" not in row else row)
    return ListTable(rows, table.file, table.root)


def _pictures(folder: Path, files: Sequence[Path]) -> Splits:
    """Pictures in folders named by class, below folders named by split where there are such; `a.png` has its caption in
    `a.txt`, if that is there."""
    splits: dict[str, list[dict[str, Any] | BadRow]] = {}
    for file in files:
        above = file.relative_to(folder).parts[:-1]
        split = above[0] if above and _split_of(above[0]) else ""
        classes = above[1:] if split else above
        row: dict[str, Any] = {"image": str(file.relative_to(folder))}
        caption = file.with_suffix(TEXT)
        if caption.is_file():
            row["caption"] = caption.read_text(encoding="utf-8-sig", errors="replace").strip()
        splits.setdefault(split, []).append({**row, "label": classes[-1]} if classes else row)
    return {name: [ListTable(rows, f"{folder.name}/{name}".rstrip("/"), folder)] for name, rows in splits.items()}


def _split_by_name(folder: Path, found: Sequence[tuple[Path, Table]]) -> Splits:
    """Files sorted into splits by the first word of their name, or of a folder above them."""
    splits: Splits = {}
    for path, table in found:
        words = [re.split(r"[-_.]", part)[0] for part in reversed(path.relative_to(folder).parts)]
        name = next((word for word in words if _split_of(word)), "")
        splits.setdefault(name, []).append(table)
    return splits


def _split_of(name: str) -> str | None:
    return next((split for split, names in SPLITS.items() if name.lower() in names), None)


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


# Reading each kind of file


def _parquet(path: Path, many: bool) -> pa.Table:
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=8 << 20) as file:
            meta = file.metadata
            size = sum(meta.row_group(group).total_byte_size for group in range(meta.num_row_groups))
            if size <= IN_MEMORY and not many:
                return file.read()
            rows = max(1, min(65_536, (64 << 20) * meta.num_rows // max(1, size)))
            return _mapped(_laid_out(path, file, rows))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(f"{path.name} cannot be read as parquet: {error}") from None


def _laid_out(path: Path, file: pq.ParquetFile, rows: int) -> Path:
    """The same rows as an Arrow file, so that any row can be read alone; written once, `rows` at a time, and kept."""
    state = path.stat()
    key = hashlib.sha256(f"{path.resolve()}\0{state.st_size}\0{state.st_mtime_ns}".encode()).hexdigest()[:24]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gamut" / "rows"
    target = folder / f"{path.stem}-{key}.arrow"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=folder, suffix=".part")
    os.close(handle)
    try:
        with pa.OSFile(draft, "wb") as sink, pa.ipc.new_file(sink, file.schema_arrow) as writer:
            for block in file.iter_batches(batch_size=rows):
                writer.write_batch(block)
        os.replace(draft, target)
    finally:
        Path(draft).unlink(missing_ok=True)
    return target


def _mapped(path: Path) -> pa.Table:
    source = pa.memory_map(str(path))
    try:
        return pa.ipc.open_file(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source).read_all()


def _lines(path: Path) -> list[dict[str, Any] | BadRow]:
    """Every line that is not blank, as a prompt."""
    rows: list[dict[str, Any] | BadRow] = []
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:  # As in UTF-16, half of whose bytes are zero: they decode, but say nothing.
            rows.append(BadRow(f"line {number} is not UTF-8."))
        elif text:
            rows.append({"prompt": text})
    return rows


def _csv(path: Path, separator: str) -> list[dict[str, Any] | BadRow]:
    csv.field_size_limit(1 << 30)
    rows: list[dict[str, Any] | BadRow] = []
    with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
        lines = csv.reader(file, delimiter=separator)
        try:
            header = next(lines)
            for values in lines:
                if not values:
                    continue
                if not all(map(_is_text, values)):
                    rows.append(BadRow(f"line {lines.line_num} is not UTF-8."))
                elif len(values) == len(header):
                    rows.append(dict(zip(header, values)))
                else:
                    rows.append(BadRow(f"line {lines.line_num} has {len(values)} fields; {len(header)} were expected."))
        except csv.Error as error:
            raise DataError(f"{path.name}, line {lines.line_num}: {error}") from None
    return rows


def _is_text(value: str) -> bool:
    """Whether all of its bytes were UTF-8; those that were not stand in it as half a surrogate pair."""
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)


def _is_json_lines(path: Path) -> bool:
    """Whether a .json file is really JSON Lines: its first line is an object by itself, and it has another."""
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
        try:
            alone = isinstance(json.loads(first), dict)
        except (ValueError, RecursionError):
            return False
        return alone and any(line.strip() for line in file)


def _json(path: Path, file: str) -> Table:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name} is not valid JSON: {error}") from None
    if isinstance(value, dict):
        lists = [member for member in value.values() if isinstance(member, list)]
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list):
        raise DataError(f"{path.name} holds no rows: a list of objects was expected.")
    rows = [
        row if isinstance(row, dict) else BadRow(f"a {type(row).__name__} stands where an object {{…}} was expected.")
        for row in value
    ]
    return ListTable(rows, file, path.parent)


# Hugging Face datasets


def _saved_dataset(folder: Path) -> Splits:
    import datasets

    try:
        found = datasets.load_from_disk(str(folder))
    except (ValueError, OSError, KeyError) as error:
        raise DataError(f"{folder} looks like a saved data set but cannot be read: {error}") from None
    return _datasets(found, folder.name, folder)


def _from_hub(name: str, subset: str) -> Splits:
    import datasets

    reachable = _reachable()
    try:
        with nullcontext() if reachable else _offline():
            found = datasets.load_dataset(name, subset or None)
    except Exception as error:
        words = str(error).strip() or type(error).__name__
        reason = (
            words.splitlines()[0]
            if reachable
            else "the hub cannot be reached from here, and no copy was downloaded before"
        )
        raise DataError(
            f"There is no file or folder {name!r}, and it could not be had from the Hugging Face hub: {reason}."
        ) from None
    return _datasets(found, name, Path())


def _table_of(dataset: Any) -> pa.Table:
    return dataset.data.table


@contextmanager
def _offline() -> Iterator[None]:
    """Inside, the hub's client reads its cache and does not wait for five retries. It has no argument for this."""
    import datasets
    import huggingface_hub

    settings: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
    before = [setting.HF_HUB_OFFLINE for setting in settings]
    for setting in settings:
        setting.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for setting, value in zip(settings, before):
            setting.HF_HUB_OFFLINE = value


def _datasets(found: Any, name: str, root: Path) -> Splits:
    splits: Mapping[str, Any] = found if isinstance(found, dict) else {"": found}
    tables: Splits = {}
    for split, dataset in splits.items():
        rows = None if dataset._indices is None else np.asarray(dataset._indices.column(0))
        schema = dataset.features.arrow_schema
        tables[split] = [ArrowTable(partial(_table_of, dataset), schema, f"{name}/{split}".rstrip("/"), root, rows)]
    return tables


def _reachable() -> bool:
    """Whether the hub answers, directly or through a proxy."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlparse(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=5):
            return True
    except OSError:
        return False
