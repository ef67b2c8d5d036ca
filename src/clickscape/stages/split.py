"""The split of a workspace into products to learn from and products held out, in catalog/split.json."""

from __future__ import annotations

from collections.abc import Sequence

from clickscape.catalog.split import Split, split_by_hash
from clickscape.errors import WorkspaceError
from clickscape.json_files import read_json
from clickscape.types import Product
from clickscape.workspace import Workspace, write_text

_FILE = "split.json"


def write(workspace: Workspace, split: Split) -> None:
    """Keep the split beside the catalog."""
    with workspace.lock():
        write_text(workspace.catalog / _FILE, split.to_json())


def read(workspace: Workspace, products: Sequence[Product]) -> Split:
    """Read the split beside the catalog; where there is none, split by hash as `[split]` says.

    WorkspaceError when it lacks a product: to split anew would test models on products that they learned from.
    """
    path = workspace.catalog / _FILE
    try:
        split = read_json(path, Split, remedy="Delete the file to split by hash.")
    except FileNotFoundError:
        return split_by_hash(products, config=workspace.settings.split)
    if missing := [product.product_id for product in products if product.product_id not in split.groups]:
        raise WorkspaceError(
            f"{path} has no group for product {missing[0]!r}. Add it, ingest the catalog again, or delete the file "
            "to split by hash; then train again, so that no model is tested on what it learned from."
        )
    return split
