"""Stage `labels`: what people said of creatives is kept in labels/labels.parquet, and goes to Label Studio and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from clickscape.catalog.images import open_image
from clickscape.errors import WorkspaceError
from clickscape.files import write_text
from clickscape.json_files import write_json
from clickscape.render.scene import slots_of
from clickscape.reward import label_studio
from clickscape.reward.labels import Agreement, Label, agreement, comparisons, merge
from clickscape.reward.protocol import RewardModel
from clickscape.types import Creative
from clickscape.workspace import Workspace
from clickscape.workspace.tables import records

LOCAL_FILES = "/data/local-files/?d="
"""Where Label Studio serves files below its document root; the workspace's folder has to lie there."""

LABELS = pa.schema([
    (one.name, pa.timestamp("us", tz="UTC") if one.name == "created_at" else pa.string()) for one in fields(Label)
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelTasks:
    """The file of tasks and that of the labeling interface, how many tasks it has, and how many have an answer."""

    path: Path
    config: Path
    tasks: int
    answered: int


def labels_path(workspace: Workspace) -> Path:
    """Return where the table `LABELS` of a workspace is stored."""
    return workspace.path / "labels" / "labels.parquet"


def read_labels(workspace: Workspace) -> list[Label]:
    """Return what people said of creatives that are still there; nothing before anybody did."""
    path = labels_path(workspace)
    if not path.exists():
        return []
    known = _products_of(workspace.creatives())
    found = records(workspace.read_table(path, LABELS).to_pylist(), Label, where=path)
    return [one for one in found if _is_known(one, known)]


def keep_labels(workspace: Workspace, new: Iterable[Label]) -> int:
    """Add labels to those that are kept, each in the place of an earlier one about the same; return their number."""
    with workspace.lock():
        known = _products_of(workspace.creatives())
        kept = merge(read_labels(workspace), (one for one in new if _is_known(one, known)))
        rows = [{name: getattr(one, name) for name in LABELS.names} for one in kept]
        workspace.write_table(labels_path(workspace), pa.Table.from_pylist(rows, schema=LABELS))
    return len(kept)


def import_labels(workspace: Workspace, path: Path) -> int:
    """Keep the answers of a project exported from Label Studio, all or none; return how many they are. LogError."""
    new = label_studio.read(path, product_of=_products_of(workspace.some_creatives()))
    keep_labels(workspace, new)
    return len(new)


def export_labels(
    workspace: Workspace, path: Path, *, per_product: int = 6, base_url: str = "", product_id: str | None = None
) -> LabelTasks:
    """Write tasks for Label Studio as JSON, and beside it the labeling interface as XML.

    At most `per_product` pairs of each product, those with an answer first; no simulated or retired creatives.
    base_url: where the workspace's folder lies on the web; "": Label Studio serves it as local files.
    """
    titles = {one.product_id: one.title for one in workspace.products()}
    shown: dict[str, list[Creative]] = {}
    for one in workspace.some_creatives():
        if not one.is_simulated and one.status != "retired" and product_id in (None, one.product_id):
            shown.setdefault(one.product_id, []).append(one)
    known = {frozenset((one.better, one.worse)): one for one in comparisons(read_labels(workspace))}
    images = {one.creative_id: workspace.name_image(one.image) for own in shown.values() for one in own}
    root = f"{base_url.rstrip('/')}/" if base_url else f"{LOCAL_FILES}{quote(workspace.path.name)}/"
    tasks = [
        label_studio.task(pair, product_id=name, title=titles[name], known=known.get(frozenset(pair)),
                          address=lambda one: root + quote(images[one].lstrip("/")))
        for name, own in sorted(shown.items()) if name in titles
        for pair in _pairs(own, known.keys(), most=per_product)
    ]  # fmt: skip
    if not tasks:
        raise WorkspaceError(f"no product of {workspace.path.name} has two ads to compare. Run `clickscape generate`.")
    config = path.with_suffix(".xml")
    write_json(path, tasks)
    write_text(config, label_studio.CONFIG)
    return LabelTasks(path, config, len(tasks), sum("annotations" in one for one in tasks))


def check(workspace: Workspace, model: RewardModel, *, rng: np.random.Generator) -> Agreement | None:
    """Return how often a reward model agrees with the workspace's labels, None where there are none to compare."""
    products = {one.product_id: one for one in workspace.products()}
    pairs = [one for one in comparisons(read_labels(workspace)) if one.product_id in products]
    if not pairs:
        return None
    creatives = {one.creative_id: one for one in workspace.creatives()}
    return agreement(
        model, pairs, products=products, images=lambda name: open_image(creatives[name].image)[..., :3],
        scenes=lambda name: slots_of(creatives[name]), rng=rng,
    )  # fmt: skip


def _products_of(creatives: Sequence[Creative]) -> dict[str, str]:
    return {one.creative_id: one.product_id for one in creatives}


def _is_known(label: Label, products: dict[str, str]) -> bool:
    names = (label.creative_id, *([label.preferred_to] if label.preferred_to else ()))
    return all(products.get(name) == label.product_id for name in names)


def _pairs(own: Sequence[Creative], known: Iterable[frozenset[str]], *, most: int) -> Iterator[tuple[str, str]]:
    answered = set(known)
    pairs = sorted(
        combinations(sorted(one.creative_id for one in own), 2), key=lambda one: frozenset(one) not in answered
    )
    yield from pairs[:most]
