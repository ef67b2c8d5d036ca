"""What an exported dataset says of itself: the hub's data card, Croissant metadata, and the types of its columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from huggingface_hub import DatasetCardData

from clickscape import __version__

CARD, CROISSANT = "README.md", "croissant.json"
_MEANINGS = {
    "creative_id": "name of the advertising image",
    "product_id": "name of the product that it advertises",
    "group": "products of one group are variants of one thing; no group is in both splits",
    "image": "the picture: of a creative, or of a product's cut-out",
    "description": "words that the background was drawn from",
    "scene": "what the renderer made of the words, JSON",
    "renderer": "what drew it; `own`: the shop's own ad",
    "impressions": "how often it was shown",
    "clicks": "how often it was clicked, at most once an impression",
    "true_ctr": "true probability of a click on an impression that is looked at; null for real clicks",
    "title": "title of the product",
    "category": "categories, coarse to fine",
    "attributes": "attributes, JSON",
    "tags": "tags of the product",
    "price": "price in units of the currency",
    "currency": "ISO 4217 code",
    "position": "place in the list where it was shown, from 1; null where the log does not say",
}
_TYPES = {"string": "sc:Text", "int64": "sc:Integer", "int32": "sc:Integer", "double": "sc:Float"}
_CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract",
    "equivalentProperty": "cr:equivalentProperty",
    "field": "cr:field", "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty", "fileSet": "cr:fileSet",
    "format": "cr:format", "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath",
    "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path",
    "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated",
    "replace": "cr:replace", "samplingRate": "cr:samplingRate", "sc": "https://schema.org/",
    "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip
"""Croissant 1.0's own context (mlcommons.org/croissant/1.0)."""


def write(
    folder: Path,
    tables: Mapping[str, pa.Schema],
    rows: Mapping[str, Mapping[str, int]],
    *,
    world: str | None,
    license_id: str | None,
) -> None:
    """Write data card and Croissant beside the tables. world: that of simulated clicks, None for real ones."""
    (folder / CARD).write_text(_card(rows, tables, world=world, license_id=license_id), encoding="utf-8")
    (folder / CROISSANT).write_text(
        json.dumps(_croissant(folder, tables, world=world, license_id=license_id), indent=1) + "\n", encoding="utf-8"
    )


def features(schema: pa.Schema) -> dict[str, str]:
    """Return the schema's metadata by which `datasets` knows that a column holds pictures."""
    columns = {field.name: _feature(field.type) for field in schema}
    return {"huggingface": json.dumps({"info": {"features": columns}})}


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_struct(kind):
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    return {"dtype": "float64" if pa.types.is_floating(kind) else str(kind), "_type": "Value"}


def _about(world: str | None) -> str:
    if world is None:
        return "Ads of a shop's products with their impressions and clicks."
    return (
        f"Ads with simulated clicks, from clickscape's world '{world}': every creative comes with its true CTR, "
        "which no real log can tell. Nobody clicked here, and no person was observed."
    )


def _card(
    rows: Mapping[str, Mapping[str, int]],
    tables: Mapping[str, pa.Schema],
    *,
    world: str | None,
    license_id: str | None,
) -> str:
    simulated = ["simulated"] if world else []
    data = DatasetCardData(
        license=license_id,
        pretty_name=f"Ads and clicks{f' of the simulated world {world}' if world else ''}",
        tags=["clickscape", "advertising", "click-through-rate", "croissant", *simulated],
        size_categories=[_size(sum(rows["creatives"].values()))],
        annotations_creators=["machine-generated"] if world else None,
        configs=[
            {
                "config_name": table,
                "default": table == "creatives",
                "data_files": [{"split": part, "path": f"{table}/{part}.parquet"} for part in parts],
            }
            for table, parts in rows.items()
        ],
    )
    lines = ["---", data.to_yaml().strip(), "---", "", "# Ads and clicks", "", _about(world), ""]
    lines += ["    datasets.load_dataset(FOLDER, 'creatives')  # or 'products', 'counts'", ""]
    lines += ["| table | train | test |", "| --- | ---: | ---: |"]
    lines += [f"| {table} | {parts['train']:,} | {parts['test']:,} |" for table, parts in rows.items()]
    lines += [
        "",
        "The split is by group: no variant of a product is in both. Test products are for measuring alone.",
        "",
    ]
    for table, schema in tables.items():
        lines += [f"## {table}", "", "| column | type | meaning |", "| --- | --- | --- |"]
        lines += [
            f"| {one.name} | {'image' if pa.types.is_struct(one.type) else one.type} | {_MEANINGS[one.name]} |"
            for one in schema
        ]
        lines.append("")
    lines += ["## What is not in it", "", "Users, times and devices: the log left as counts, after cleaning.", ""]
    return "\n".join(lines)


def _size(rows: int) -> str:
    steps = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for limit, name in steps if rows < limit), "1M<n<10M")


def _croissant(
    folder: Path, tables: Mapping[str, pa.Schema], *, world: str | None, license_id: str | None
) -> dict[str, Any]:
    files = {f"{table}/{part}": folder / table / f"{part}.parquet" for table in tables for part in ("train", "test")}
    licensed = {"license": license_id} if license_id else {}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": "ads-and-clicks",
        "description": _about(world),
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "version": __version__,
        **licensed,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": f"{name}.parquet",
                "name": f"{name}.parquet",
                "contentUrl": f"{name}.parquet",
                "encodingFormat": "application/x-parquet",
                "sha256": _digest(file),
            }
            for name, file in files.items()
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": name.replace("/", "-"),
                "name": name.replace("/", "-"),
                "field": [_field(name, column) for column in tables[name.partition("/")[0]]],
            }
            for name in files
        ],
    }


def _field(name: str, column: pa.Field) -> dict[str, Any]:
    is_image, is_list = pa.types.is_struct(column.type), pa.types.is_list(column.type)
    source: dict[str, Any] = {"fileObject": {"@id": f"{name}.parquet"}, "extract": {"column": column.name}}
    if is_image:
        source["transform"] = {"jsonPath": "bytes"}
    inner = column.type.value_type if is_list else column.type
    return {
        "@type": "cr:Field",
        "@id": f"{name.replace('/', '-')}/{column.name}",
        "name": column.name,
        "description": _MEANINGS[column.name],
        "dataType": "sc:ImageObject" if is_image else _TYPES[str(inner)],
        **({"repeated": True} if is_list else {}),
        "source": source,
    }


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
