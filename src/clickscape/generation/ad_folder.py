"""The folder that `generate` writes: a record and pictures of every product, lists of all, and a page to look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clickscape.errors import WorkspaceError
from clickscape.files import atomic_file, file_name, sweep, write_text
from clickscape.generation.creative_record import LEFT_OUT, MANIFEST, REFUSED, CreativeRecord, ProductRecord
from clickscape.generation.gallery import CUTOUTS, gallery, preview_name, save_preview
from clickscape.generation.select import Refusal
from clickscape.json_files import read_json
from clickscape.regular_files import inside
from clickscape.render.renderer import Rendering
from clickscape.types import Product

PAGE = "index.html"


@dataclass(frozen=True, slots=True)
class AdFolder:
    """A folder of ads; `image_path`: where a workspace keeps the picture of a creative by its id, None without one."""

    path: Path
    image_path: Callable[[str], Path] | None = None

    def finished(self, works: Mapping[str, str]) -> dict[str, ProductRecord]:
        """Return the records of products (id → work) for which this very work was done and all pictures are there."""
        found = {product_id: self._read(product_id) for product_id in works}
        return {name: one for name, one in found.items() if one is not None and one.work == works[name]}

    def save_picture(self, creative: CreativeRecord, rendering: Rendering) -> None:
        """Write the creative's picture as a labeled PNG."""
        with atomic_file(self.path / creative.file) as temporary:
            temporary.write_bytes(creative.png(rendering))

    def save_record(self, product_id: str, record: ProductRecord) -> None:
        """Write what was made of a product; with it, the product is finished."""
        write_text(self._record(product_id), json.dumps(asdict(record)))

    def finish(
        self,
        products: Sequence[Product],
        records: Mapping[str, ProductRecord],
        *,
        drawn: Collection[str],
        photos: Mapping[str, str],
        size: int,
        language: str,
    ) -> None:
        """Write the lists, the previews and the page; drawn: ids of products that are new; photos: of cut-outs, by id.

        Lists of what was left out and refused are there only when they have a row.
        """
        made = [one for record in records.values() for one in record.made]
        refused = [one for record in records.values() for one in record.refused]
        lists: dict[str, Sequence[CreativeRecord | Refusal]] = {
            MANIFEST: [one for one in made if one.image],
            LEFT_OUT: [one for one in made if not one.image],
            REFUSED: refused,
        }
        for name, rows in lists.items():
            if rows or name == MANIFEST:
                lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows]
                write_text(self.path / name, "".join(lines))
            else:
                (self.path / name).unlink(missing_ok=True)
        previews = inside(self.path, CUTOUTS)
        sweep(previews)
        for product in products:
            if product.product_id in drawn or not (previews / preview_name(product)).exists():
                save_preview(product, previews, photo=photos.get(product.product_id))
        write_text(self.path / PAGE, gallery(products, records, previews=previews, size=size, language=language))

    def _record(self, product_id: str) -> Path:
        return self.path / f"{file_name(product_id)}.json"

    def _read(self, product_id: str) -> ProductRecord | None:
        """The product's record; None where it is not made yet, damaged, another's, or lacks a picture."""
        try:
            record = read_json(self._record(product_id), ProductRecord)
        except (FileNotFoundError, WorkspaceError):
            return None
        images = [self.path / one.file for one in record.ads]
        if self.image_path is not None:
            images += [self.image_path(one.creative_id) for one in record.ads]
        its = all(one.image in ("", one.file) and one.product_id == product_id for one in record.made)
        return record if its and all(image.exists() for image in images) else None
