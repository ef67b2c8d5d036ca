"""Damage to bytes, JSON values, tables and folder entries: what disks, editors, exports and attackers do to files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TOKENS = (
    b"\x00", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xff\xfe", b"\r", b"\n", b'"', b"'", b"\t", b",", b"NaN", b"-1",
    b"1e999", b"1" + b"0" * 23, b"../victim.txt", b"/etc/passwd", b"\x1b[2J", b"\xe2\x80\xae", b"[" * 5_000,
    b'{"a":' * 5_000, b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"${HOME}", b"null",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**23, float("nan"), "", "x" * 5_000, "../victim.txt", "/etc/passwd", "\x1b[2J", "\ud800",
    "e\u0301", [], {}, [[[]]], {"a": None}, "true", "1e999",
)  # fmt: skip


def damage_bytes(content: bytes, rng: Random) -> bytes:
    """The content with one to four changes: bits flipped, cut, repeated, removed, or a nasty token put in."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = data[at : at + rng.randrange(1, 200)]
            case 3:
                del data[at : at + rng.randrange(1, 40)]
            case _:
                data[at:at] = rng.choice(TOKENS)
    return bytes(data)


def damage_json(content: bytes, rng: Random) -> bytes:
    """JSON of which one value is another, a key is gone, doubled or renamed, or which is nested too deep."""
    whole = json.loads(content)
    places = list(_places(whole))
    if not places or rng.random() < 0.1:
        return b"[" * 100_000 if rng.random() < 0.5 else json.dumps(rng.choice(VALUES)).encode()
    parent, key = rng.choice(places)
    match rng.randrange(5):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[f"{key}x"] = parent.pop(key)
        case 2:
            return json.dumps(whole).replace(json.dumps(parent[key]), "[" * 3_000 + "]" * 3_000, 1).encode()
        case _:
            parent[key] = rng.choice(VALUES)
    return json.dumps(whole).encode()


def damage_table(path: Path, rng: Random) -> None:
    """A Parquet table of which a cell is null, a column is gone or of another type, or a row stands twice."""
    table = pq.read_table(path)
    name = rng.choice(table.column_names)
    place, values = table.schema.get_field_index(name), table[name].to_pylist()
    match rng.randrange(6):
        case 0:
            table = table.remove_column(place)
        case 1:
            kept = [None if row == 0 else value for row, value in enumerate(values)]
            table = table.set_column(place, name, pa.array(kept, table.schema.field(name).type))
        case 2:
            table = table.set_column(place, name, pa.array([str(value) for value in values]))
        case 3:
            table = table.set_column(place, name, pa.array([[1.5]] * len(values)))
        case 4:
            table = pa.concat_tables([table, table.slice(0, 1)])
        case _:
            odd = [rng.choice(("", "../victim.txt", "/etc/passwd", "[1]", "\x1b[2J")) for _ in values]
            table = table.set_column(place, name, pa.array(odd))
    pq.write_table(table, path)


def damage_tensors(path: Path, rng: Random) -> None:
    """A safetensors file of which a tensor is gone, renamed, of another shape, or not a number."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(path)
    name = rng.choice(sorted(tensors))
    match rng.randrange(4):
        case 0:
            del tensors[name]
        case 1:
            tensors[f"{name}.more"] = tensors.pop(name)
        case 2:
            tensors[name] = np.zeros((3, *tensors[name].shape), tensors[name].dtype)
        case _ if tensors[name].dtype.kind == "f":
            tensors[name] = np.full_like(tensors[name], np.nan)
    save_file(tensors, path, metadata={"format": "pt"})


def damage_entry(path: Path, rng: Random, *, victim: Path) -> None:
    """Put another kind of entry in the place of a file: a symlink out of the folder, a FIFO, a folder, nothing."""
    path.unlink(missing_ok=True) if not path.is_dir() else shutil.rmtree(path)
    match rng.randrange(5):
        case 0:
            path.symlink_to(victim)
        case 1:
            os.mkfifo(path)
        case 2:
            path.mkdir()
        case 3:
            path.symlink_to("/dev/zero")
        case _:
            pass


def damage_file(path: Path, rng: Random, *, victim: Path) -> str:
    """Damage a file in a way that fits its kind; return which way."""
    if rng.random() < 0.2 or not path.is_file():
        damage_entry(path, rng, victim=victim)
        return "entry"
    if rng.random() < 0.6:
        if path.suffix == ".parquet":
            damage_table(path, rng)
            return "table"
        if path.suffix == ".safetensors":
            damage_tensors(path, rng)
            return "tensors"
        if path.suffix == ".json":
            path.write_bytes(damage_json(path.read_bytes(), rng))
            return "json"
    path.write_bytes(damage_bytes(path.read_bytes(), rng))
    return "bytes"


def _places(value: Any) -> Any:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        yield value, key
        yield from _places(part)
