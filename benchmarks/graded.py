"""Does the gate refuse what people would not publish?  Precision and recall on graded pictures of real products.

    python benchmarks/graded.py CATALOG FOLDER GRADES.json [GRADES.json …]

FOLDER is what `clickscape generate --catalog CATALOG --out FOLDER` made: creatives.jsonl, cutouts/ and pictures. GRADES
is a list of {"file": "p-1-1.png", "publishable": true, "defects": ["floating", …]}, by docs/concepts/publishable.md.
Each picture is drawn again from its record, because the gate asks for the placed cut-out; one that comes out otherwise
was drawn by another version and is only counted. Photos, pictures and grades stay outside of the repository.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from _results import append_row
from clickscape.catalog import read
from clickscape.catalog.cutout_file import cut_product
from clickscape.config import FidelityConfig
from clickscape.gates import fidelity
from clickscape.generation.retry import fidelity_limits
from clickscape.render.renderer import Rendering
from clickscape.render.studio.engine import StudioRenderer
from clickscape.stats.bootstrap import ClusterBootstrap
from clickscape.types import Product


@dataclass(frozen=True, slots=True)
class Judged:
    """One graded picture: its product, the grade, and the kinds for which the gate refuses it."""

    product: str
    publishable: bool
    defects: frozenset[str]
    kinds: tuple[str, ...]


def read_grades(files: Sequence[Path]) -> dict[str, tuple[bool, frozenset[str]]]:
    """File name → publishable, defects; publishable only where every grader says so; SystemExit for a bad entry."""
    found: dict[str, tuple[bool, frozenset[str]]] = {}
    for file in files:
        for number, entry in enumerate(json.loads(file.read_text(encoding="utf-8")), 1):
            try:
                name, good = Path(str(entry["file"])).name, entry["publishable"]
                defects = frozenset(map(str, entry["defects"]))
            except (KeyError, TypeError):
                raise SystemExit(f"{file}, entry {number}: expected file, publishable and defects") from None
            before = found.get(name, (True, frozenset()))
            found[name] = (before[0] and bool(good), before[1] | defects)
    return found


def judge(products: Mapping[str, Product], folder: Path, graded: Mapping[str, tuple[bool, frozenset[str]]]) -> Iterator[
    Judged | None
]:  # fmt: skip
    """Each graded picture of the folder; None for one that this version draws otherwise."""
    studio, limits = StudioRenderer(), fidelity_limits(FidelityConfig(), source="compositeSynthetic")
    for line in (folder / "creatives.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["image"] not in graded or record["renderer"] != "studio":
            continue
        drawn = _again(studio, products[record["product_id"]], folder, record)
        if drawn is None:
            yield None
            continue
        pose = drawn.staging.pose if drawn.staging else "stands"
        result = fidelity.check(drawn.image, drawn.product, limits=limits, pose=pose)
        yield Judged(record["product_id"], *graded[record["image"]], kinds=result.kinds)


def _again(studio: StudioRenderer, product: Product, folder: Path, record: Mapping[str, object]) -> Rendering | None:
    with Image.open(folder / str(record["image"])) as opened:
        image = np.asarray(opened.convert("RGB"))
    cut = replace(product, image=str(cut_product(product, folder=folder / "cutouts").file))
    size = (image.shape[1], image.shape[0])
    drawn = studio.render(cut, str(record["description"]), size=size, seed=int(str(record["seed"])))
    apart = np.abs(drawn.image.astype(int) - image).mean()
    return drawn if apart < 0.5 else None  # a processor's rounding is no other version


def table(judged: Sequence[Judged]) -> list[str]:
    """Markdown: how many good and bad pictures are refused, with 95 % intervals by bootstrap over products."""
    lines = ["| pictures | number | refused |", "| --- | --- | --- |"]
    groups = {
        "publishable": [one for one in judged if one.publishable],
        "not publishable": [one for one in judged if not one.publishable],
    }
    for defect in sorted({defect for one in judged for defect in one.defects}):
        groups[f"… with `{defect}`"] = [one for one in judged if defect in one.defects]
    for name, some in groups.items():
        if some:
            draws = ClusterBootstrap.draw([one.product for one in some], rng=np.random.default_rng(0))
            share = draws.mean(np.array([bool(one.kinds) for one in some], dtype=float))
            lines.append(
                f"| {name} | {len(some)} | {share.value:.0%} [{100 * share.low:.0f}, {100 * share.high:.0f}] |"
            )
    kinds = Counter(kind for one in judged for kind in one.kinds)
    return [*lines, "", "Refused for: " + (", ".join(f"{kind} {count}" for kind, count in kinds.items()) or "nothing")]


def main() -> None:
    """Print the table; add a row to benchmarks/results/."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("catalog", type=Path)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("grades", type=Path, nargs="+")
    asked = arguments.parse_args()
    products = {product.product_id: product for product in read(asked.catalog)}
    found = list(judge(products, asked.folder, read_grades(asked.grades)))
    judged = [one for one in found if one is not None]
    if not judged:
        raise SystemExit(f"{asked.folder}: this version draws none of the {len(found)} graded pictures. Grade its own.")
    lines = [*table(judged), f"Drawn by another version, left out: {found.count(None)}."]
    print("\n".join(lines))
    row = {"table": lines}
    append_row(row, by="graded")


if __name__ == "__main__":
    main()
