"""Stage `dataset export`: products, creatives, counts and, in simulated worlds, true CTRs as a folder for others.

Tables are Parquet with the pictures inside, one file per table and split, which `datasets.load_dataset` opens. Users,
times and paths of the machine are in none of them: of the click log, counts alone leave.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clickscape.catalog.images import open_image
from clickscape.catalog.split import Split
from clickscape.errors import WorkspaceError
from clickscape.regular_files import read_bytes, real_path
from clickscape.stages import dataset_card, split, truth
from clickscape.stages.clicks import read_log
from clickscape.stages.progress import Progress, Stage
from clickscape.types import OWN, Creative, Product
from clickscape.workspace import Workspace, atomic_folder

STAGE = "dataset"
SPLITS = ("train", "test")
_ROWS = 100  # of a group, so that readers and this stage hold few pictures at a time
_WORDS = ("product_id", "title", "category", "tags", "price", "currency")
_IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
TABLES: Mapping[str, pa.Schema] = {
    "creatives": pa.schema(
        {
            "creative_id": pa.string(),
            "product_id": pa.string(),
            "group": pa.string(),
            "image": _IMAGE,
            "description": pa.string(),
            "scene": pa.string(),
            "renderer": pa.string(),
            "impressions": pa.int64(),
            "clicks": pa.int64(),
            "true_ctr": pa.float64(),
        }
    ),
    "products": pa.schema(
        {
            "product_id": pa.string(),
            "group": pa.string(),
            "image": _IMAGE,
            "title": pa.string(),
            "category": pa.list_(pa.string()),
            "attributes": pa.string(),
            "tags": pa.list_(pa.string()),
            "price": pa.float64(),
            "currency": pa.string(),
        }
    ),
    "counts": pa.schema(
        {
            "creative_id": pa.string(),
            "product_id": pa.string(),
            "position": pa.int32(),
            "impressions": pa.int64(),
            "clicks": pa.int64(),
        }
    ),
}
"""Table → its columns; `scene` and `attributes` are JSON, `true_ctr` is per impression that is looked at."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: rows of every table and split, and the simulated world, None for real clicks."""

    folder: Path
    rows: Mapping[str, Mapping[str, int]]
    world: str | None


def export(workspace: Workspace, out: Path, *, license_id: str | None = None) -> Stage[Exported]:
    """Write the folder, whole or not at all; an older export is replaced, any other folder that holds files is refused.

    license_id: what the card says of what others may do, as the hub writes it ("cc-by-4.0"). WorkspaceError without
    clicks, and where `out` would replace the workspace or something else.
    """
    _check(workspace, out)
    products = workspace.products()
    held_out = split.read(workspace, products)
    yield Progress(STAGE, 0, 1, "counting")
    counts = _counts(workspace)
    shown = [one for one in workspace.some_creatives() if one.creative_id in counts]
    if not shown:
        raise WorkspaceError(f"{workspace.path} has no clicks of its creatives. Bring a log, or `clickscape simulate`.")
    simulated = truth.simulation(workspace)
    true = truth.read(workspace) or {}
    total, done = 2 * len(TABLES), 0
    rows: dict[str, dict[str, int]] = {}
    with atomic_folder(out) as waiting:
        for table, schema in TABLES.items():
            (waiting / table).mkdir()
            rows[table] = {}
            for part in SPLITS:
                yield Progress(STAGE, done, total, f"{table}, {part}")
                own = [one for one in products if held_out.is_held_out(one.product_id) == (part == "test")]
                found = _rows(table, own, shown, counts=counts, true=true, split=held_out)
                rows[table][part] = _write(found, schema, waiting / table / f"{part}.parquet")
                done += 1
        world = simulated[1].result["world"] if simulated else None
        dataset_card.write(waiting, TABLES, rows, world=world, license_id=license_id)
    yield Progress(STAGE, total, total)
    return Exported(out, rows, world)


def _check(workspace: Workspace, out: Path) -> None:
    new = real_path(out)
    if new is None or workspace.path.resolve().is_relative_to(new):
        raise WorkspaceError(f"{out}: the dataset would replace the workspace. Name another folder with --out.")
    filled = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if filled and not (out / dataset_card.CROISSANT).is_file():
        raise WorkspaceError(f"{out}: exists and is no exported dataset. Name a new folder with --out.")


def _counts(workspace: Workspace) -> dict[str, dict[int | None, tuple[int, int]]]:
    """creative_id → position (None where the log knows none) → impressions and clicks, after cleaning."""
    table = read_log(workspace).counts
    by = ["creative_id", *(["position"] if "position" in table.columns else [])]
    pooled = table.group_by(by).aggregate(impressions=table.impressions.sum(), clicks=table.clicks.sum())
    found: dict[str, dict[int | None, tuple[int, int]]] = {}
    for row in pooled.order_by(by).to_pyarrow().to_pylist():
        own = found.setdefault(row["creative_id"], {})
        own[row.get("position")] = (int(row["impressions"]), int(row["clicks"]))
    return found


def _rows(
    table: str,
    products: list[Product],
    creatives: list[Creative],
    *,
    counts: Mapping[str, Mapping[int | None, tuple[int, int]]],
    true: Mapping[str, float],
    split: Split,
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table for these products, pictures read one by one."""
    if table == "products":
        for product in products:
            image = _picture(product.image, f"{product.product_id}.png", ours=True) if product.image else None
            yield {
                **{name: getattr(product, name) for name in _WORDS},
                "group": split.groups[product.product_id],
                "image": image,
                "attributes": json.dumps(dict(product.attributes), ensure_ascii=False),
            }  # fmt: skip
        return
    known = {product.product_id for product in products}
    for one in creatives:
        if one.product_id not in known:
            continue
        own = counts[one.creative_id]
        if table == "counts":
            for position, (impressions, clicks) in own.items():
                yield {"creative_id": one.creative_id, "product_id": one.product_id, "position": position,
                       "impressions": impressions, "clicks": clicks}  # fmt: skip
            continue
        yield {
            "creative_id": one.creative_id,
            "product_id": one.product_id,
            "group": split.groups[one.product_id],
            "image": _picture(one.image, f"{one.creative_id}.webp", ours=one.renderer != OWN),
            "description": one.description,
            "scene": json.dumps(dict(one.scene), ensure_ascii=False),
            "renderer": one.renderer,
            "impressions": sum(impressions for impressions, _ in own.values()),
            "clicks": sum(clicks for _, clicks in own.values()),
            "true_ctr": math.exp(true[one.creative_id]) if one.creative_id in true else None,
        }


def _picture(path: str, name: str, *, ours: bool) -> dict[str, Any]:
    """A picture as `datasets` keeps it. Somebody else's is written anew: its metadata may say where it was taken."""
    if ours:
        return {"bytes": read_bytes(Path(path)), "path": name}
    written = io.BytesIO()
    Image.fromarray(open_image(Path(path))[..., :3]).save(written, "WEBP", lossless=True, method=0)
    return {"bytes": written.getvalue(), "path": name}


def _write(rows: Iterable[dict[str, Any]], schema: pa.Schema, path: Path) -> int:
    """Write rows some at a time; returns their number."""
    number = 0
    with pq.ParquetWriter(path, schema.with_metadata(dataset_card.features(schema)), compression="zstd") as file:
        waiting = iter(rows)
        while some := list(islice(waiting, _ROWS)):
            file.write_table(pa.Table.from_pylist(some, schema=schema))
            number += len(some)
    return number
