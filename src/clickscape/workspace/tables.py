"""The columns of the workspace's tables (Parquet), and records turned into them and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from clickscape.errors import ClickscapeError, WorkspaceError
from clickscape.files import to_json
from clickscape.json_files import parse_json
from clickscape.types import Creative, Product

Record = TypeVar("Record")
_TIME = pa.timestamp("us", tz="UTC")
_REMEDY = "Delete the file and run its stage again."
_LATER = frozenset({"more_images", "product_digest", "allocation"})
_REQUIRED = frozenset(
    """product_id creative_id rendition_id title image file description renderer model_id seed status
    placement impressions clicks audience examinations first second preference gap weight""".split()
)
PRODUCTS = pa.schema(
    {
        "product_id": pa.string(),
        "title": pa.string(),
        "category": pa.list_(pa.string()),
        "attributes": pa.map_(pa.string(), pa.string()),
        "tags": pa.list_(pa.string()),
        "price": pa.float64(),
        "currency": pa.string(),
        "image": pa.string(),
        "more_images": pa.list_(pa.string()),
    }
)
CREATIVES = pa.schema(
    {
        "creative_id": pa.string(),
        "product_id": pa.string(),
        "image": pa.string(),
        "description": pa.string(),
        "scene": pa.string(),
        "renderer": pa.string(),
        "model_id": pa.string(),
        "seed": pa.int64(),
        "parent_id": pa.string(),
        "status": pa.string(),
        "product_digest": pa.string(),
        "created_at": _TIME,
    }
)
RENDITIONS = pa.schema(
    {
        "rendition_id": pa.string(),
        "creative_id": pa.string(),
        "placement": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "file": pa.string(),
        "bytes": pa.int64(),
    }
)
EVENTS = pa.schema(
    {
        "event_id": pa.string(),
        "ts": _TIME,
        "kind": pa.string(),
        "decision_id": pa.string(),
        "creative_id": pa.string(),
        "product_id": pa.string(),
        "placement": pa.string(),
        "position": pa.int32(),
        "user_key": pa.string(),
        "policy_id": pa.string(),
        "allocation": pa.string(),
        "candidates": pa.list_(pa.string()),
        "propensities": pa.list_(pa.float64()),
    }
)
COUNTS = pa.schema(
    {
        "creative_id": pa.string(),
        "product_id": pa.string(),
        "position": pa.int32(),
        "audience": pa.string(),
        "impressions": pa.int64(),
        "clicks": pa.int64(),
        "allocation": pa.string(),
    }
)


def product_table(products: Sequence[Product], *, name_image: Callable[[str], str]) -> pa.Table:
    """Table `products`; `name_image` turns an image path into what the table shall say."""
    check_unique([product.product_id for product in products], what="product")
    rows = [
        {
            **{name: getattr(product, name) for name in PRODUCTS.names},
            "attributes": list(product.attributes.items()),
            "image": name_image(product.image),
            "more_images": [name_image(image) for image in product.more_images],
        }
        for product in products
    ]
    return pa.Table.from_pylist(rows, schema=PRODUCTS)


def products_from(table: pa.Table, *, resolve: Callable[[str], Path], where: object) -> list[Product]:
    """Products of the table; `resolve` turns what it says of an image into a path."""
    rows = [
        {
            **row,
            "category": row["category"] or (),
            "attributes": dict(row["attributes"] or ()),
            "tags": row["tags"] or (),
            "image": str(resolve(row["image"])) if row["image"] else "",
            "more_images": [str(resolve(image)) for image in row["more_images"] or () if image],
        }
        for row in table.to_pylist()
    ]
    found = records(rows, Product, where=where)
    check_unique([product.product_id for product in found], what="product", where=where)
    return found


def creative_table(creatives: Sequence[Creative], *, name_image: Callable[[str], str], now: datetime) -> pa.Table:
    """Table `creatives`, all made at `now` (UTC)."""
    check_unique([creative.creative_id for creative in creatives], what="creative")
    rows = [
        {
            **{name: getattr(creative, name) for name in CREATIVES.names if name != "created_at"},
            "image": name_image(creative.image),
            "scene": to_json(creative.scene),
            "product_digest": creative.product_digest or None,
            "created_at": now.astimezone(UTC),
        }
        for creative in creatives
    ]
    return pa.Table.from_pylist(rows, schema=CREATIVES)


def creatives_from(table: pa.Table, *, resolve: Callable[[str], Path], where: object) -> list[Creative]:
    """Creatives of the table; `resolve` turns what it says of an image into a path."""
    rows = [
        {
            **row,
            "scene": parse_json(row["scene"] or "{}", dict[str, Any], where=f"{where}, row {number}, scene",
                                error=WorkspaceError, remedy=_REMEDY),
            "image": str(resolve(row["image"])),
            "product_digest": row["product_digest"] or "",
        }
        for number, row in enumerate(table.drop_columns(["created_at"]).to_pylist(), start=1)
    ]  # fmt: skip
    found = records(rows, Creative, where=where)
    check_unique([creative.creative_id for creative in found], what="creative", where=where)
    return found


def records(rows: Sequence[Mapping[str, object]], kind: type[Record], *, where: object) -> list[Record]:
    """Rows of a table as records; WorkspaceError names the row and column of the first wrong value."""
    try:
        return TypeAdapter(list[kind]).validate_python(rows)  # type: ignore[valid-type]  # a type that is a value
    except ValidationError as damage:
        row, *column = damage.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
        problem = damage.errors(include_url=False, include_context=False, include_input=False)[0]["msg"]
        place = f"row {int(row) + 1}" + "".join(f", {step}" for step in column)
        raise WorkspaceError(f"{where}, {place}: {problem}. {_REMEDY}") from None


def without(table: pa.Table, column: str, values: Iterable[str]) -> pa.Table:
    """Return the rows whose text in a column is none of these."""
    return table.filter(pc.invert(pc.is_in(table[column], pa.array(list(values), pa.string()))))


def check_unique(identifiers: Sequence[str], *, what: str, where: object = None) -> None:
    """Refuse a table in which one id stands twice; `where`: the file that it was read from."""
    seen: set[str] = set()
    for identifier in identifiers:
        if identifier in seen:
            place, remedy = (f"{where}: ", _REMEDY) if where else ("", f"Give every {what} an id of its own.")
            raise WorkspaceError(f"{place}{what} {identifier!r} appears twice. {remedy}")
        seen.add(identifier)


def conform(table: pa.Table, schema: pa.Schema, *, where: str, error: type[ClickscapeError]) -> pa.Table:
    """Pick and cast the columns of `schema`; `error` names the column that is missing or of another type.

    A column that an earlier version did not write is filled with nulls.
    """
    for field in schema:
        if field.name in _LATER and field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise error(f"{where}: no column {missing[0]!r}; expected {', '.join(schema.names)}. Add the column.")
    columns = []
    for field in schema:
        try:
            columns.append(table[field.name].cast(field.type))
        except (pa.ArrowException, KeyError) as problem:
            raise error(f"{where}: column {field.name!r} is not {field.type} ({problem}). Convert it.") from None
    return pa.Table.from_arrays(columns, schema=schema)


def check_filled(table: pa.Table, *, where: object) -> None:
    """Raise WorkspaceError where a column that no table can do without has no value."""
    for name in sorted(_REQUIRED.intersection(table.column_names)):
        if table[name].null_count:
            row = table[name].is_null().to_pylist().index(True) + 1
            raise WorkspaceError(f"{where}, row {row}: no {name}. {_REMEDY}")
