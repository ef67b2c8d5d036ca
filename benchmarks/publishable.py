"""How many ads could be published as they are?  Draws ads of two versions for blind grading, and reads the grades.

    python benchmarks/publishable.py draw CATALOG FOLDER --against REVISION
    python benchmarks/publishable.py read FOLDER

`draw` runs `clickscape generate` on the catalog with this version and with the other, and copies all pictures in an
order drawn by chance to FOLDER/blind/0001.webp …; FOLDER/key.json says what each one is. Graders write
FOLDER/grades-NAME.json, a list of {"picture": "0001", "publishable": true, "defects": ["cut-out", …]}, by the rubric of
docs/concepts/publishable.md. `read` prints the table, and adds a row to benchmarks/results/. Photos and grades stay
outside of the repository.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from _results import append_row
from _revision import ROOT, unpack
from clickscape.stats.bootstrap import ClusterBootstrap

SIDES = ("before", "now")
DEFECTS = (
    "cut-out", "floating", "pose", "perspective", "scene", "props", "artificial", "light", "scale", "clutter",
)  # fmt: skip
QUALITY = 92  # of the blind copies, so that nobody waits for 180 PNG files


@dataclass(frozen=True, slots=True)
class Picture:
    """An ad: which version drew it, of which product, and whether its photo came with an alpha."""

    side: str
    product: str
    file: str
    alpha: bool


@dataclass(frozen=True, slots=True)
class Grade:
    """What one grader said of one picture."""

    picture: Picture
    publishable: bool
    defects: frozenset[str]


def draw(catalog: Path, folder: Path, *, against: str, keep: int, seed: int) -> None:
    """Draw `keep` ads per product with both versions, and the blind copies of all of them."""
    with tempfile.TemporaryDirectory() as other:
        for side, source in zip(SIDES, (unpack(against, Path(other)), ROOT / "src"), strict=True):
            if not (folder / side / "creatives.jsonl").exists():
                _generate(source, catalog, folder / side, keep=keep)
    transparent = _transparent(catalog)
    pictures = [
        Picture(side, record["product_id"], f"{side}/{record['image']}", transparent[record["product_id"]])
        for side in SIDES
        for record in map(json.loads, (folder / side / "creatives.jsonl").read_text(encoding="utf-8").splitlines())
    ]
    (folder / "blind").mkdir(exist_ok=True)
    key = {}
    for number, which in enumerate(np.random.default_rng(seed).permutation(len(pictures)), 1):
        picture = pictures[which]
        key[f"{number:04d}"] = {name: getattr(picture, name) for name in ("side", "product", "file", "alpha")}
        with Image.open(folder / picture.file) as image:
            image.convert("RGB").save(folder / "blind" / f"{number:04d}.webp", quality=QUALITY)
    (folder / "key.json").write_text(json.dumps(key, indent=1), encoding="utf-8")
    print(f"{len(pictures)} pictures in {folder / 'blind'}")


def _generate(source: Path, catalog: Path, out: Path, *, keep: int) -> None:
    command = [sys.executable, "-m", "clickscape", "generate", "--catalog", str(catalog), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    subprocess.run([*command, "--keep", str(keep), "--skip-bad-rows"], env=environment, check=True)


def _transparent(catalog: Path) -> dict[str, bool]:
    """Product → whether its photo has an alpha of its own."""
    found = {}
    with catalog.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            with Image.open(catalog.parent / row["image"]) as image:
                found[row["id"]] = "A" in image.getbands()
    return found


def grades(folder: Path) -> list[Grade]:
    """Read every grader's file; SystemExit for a picture or a defect that does not exist, or none graded."""
    key = {name: Picture(**entry) for name, entry in json.loads((folder / "key.json").read_text("utf-8")).items()}
    found = []
    for file in sorted(folder.glob("grades-*.json")):
        for entry in json.loads(file.read_text(encoding="utf-8")):
            defects = frozenset(entry["defects"])
            if entry["picture"] not in key or defects - set(DEFECTS):
                raise SystemExit(f"{file}: {entry} names an unknown picture or defect")
            found.append(Grade(key[entry["picture"]], entry["publishable"], defects))
    if not found:
        raise SystemExit(f"{folder}: no grades-NAME.json yet. docs/concepts/publishable.md says how to grade")
    return found


def shares(graded: Sequence[Grade]) -> dict[str, str]:
    """Share that can be published of what is named, in percent with its 95 % interval (bootstrap over products)."""
    rows: dict[str, list[Grade]] = {
        "all": list(graded),
        "photos with alpha": [one for one in graded if one.picture.alpha],
        "photographs": [one for one in graded if not one.picture.alpha],
        "no cut-out defect": [one for one in graded if "cut-out" not in one.defects],
    }
    return {name: _share(some) for name, some in rows.items()}


def _share(some: Sequence[Grade]) -> str:
    if not some:
        return "–"
    draws = ClusterBootstrap.draw([one.picture.product for one in some], rng=np.random.default_rng(0))
    estimate = draws.mean(np.array([one.publishable for one in some], dtype=float))
    return f"{estimate.value:.0%} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}] of {len(some)}"


def table(sides: Mapping[str, Sequence[Grade]]) -> str:
    """Markdown: both versions side by side, then how many pictures have each defect."""
    lines = ["| | " + " | ".join(sides) + " |", "| --- |" + " --- |" * len(sides)]
    columns = {side: shares(graded) for side, graded in sides.items()}
    lines += [
        f"| {row} | " + " | ".join(columns[side][row] for side in sides) + " |" for row in next(iter(columns.values()))
    ]
    for defect in DEFECTS:
        counts = (sum(defect in one.defects for one in graded) for graded in sides.values())
        lines.append(f"| `{defect}` | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Draw or read."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = arguments.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw", help="ads of both versions, and their blind copies")
    drawing.add_argument("catalog", type=Path)
    drawing.add_argument("folder", type=Path)
    drawing.add_argument("--against", required=True, help="revision of the other side")
    drawing.add_argument("--keep", type=int, default=3, help="ads per product")
    drawing.add_argument("--seed", type=int, default=0, help="of the order")
    reading = commands.add_parser("read", help="the table of what graders wrote")
    reading.add_argument("folder", type=Path)
    asked = arguments.parse_args()
    if asked.command == "draw":
        draw(asked.catalog, asked.folder, against=asked.against, keep=asked.keep, seed=asked.seed)
        return
    graded = grades(asked.folder)
    sides = {side: [one for one in graded if one.picture.side == side] for side in SIDES}
    print(table(sides))
    row = {side: shares(some) for side, some in sides.items()}
    append_row(row, by="publishable")


if __name__ == "__main__":
    main()
