"""What an export left in its folder: the manifest that lies beside the files, and the lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clickscape.generation.rendition import RenditionRecord
from clickscape.generation.retry import refusal_reason
from clickscape.render import placements

MANIFEST = "manifest.json"
_REFUSED = {"rendition_id", "creative_id", "product_id", "placement", "gate"}


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What lies in the folder `out` now, and what was left out and why.

    records: of all renditions, by placement and creative. drawn: files that this export made. left_out: reason →
    creatives that may not be published. unfit: product → why no feed can hold it. base: where the folder lies on the
    web, None: nowhere. failed: renditions that could not be made, and why.
    """

    out: Path
    records: tuple[RenditionRecord, ...]
    drawn: int
    left_out: Mapping[str, int]
    feeds: tuple[Path, ...]
    unfit: Mapping[str, str]
    base: str | None
    failed: tuple[str, ...] = ()

    @property
    def renditions(self) -> list[RenditionRecord]:
        """The records that have a file."""
        return [record for record in self.records if record.file]

    @property
    def files(self) -> int:
        """Number of files, without feeds."""
        return len(self.renditions)

    @property
    def refused(self) -> tuple[str, ...]:
        """Renditions of which no picture passed the fidelity gate, each with its reason."""
        return tuple(
            f"{one.creative_id} at {one.placement}: {refusal_reason(one.gate)}" for one in self.records if not one.file
        )

    def manifest(self, *, workspace: str) -> dict[str, object]:
        """Return every file with the creative it shows, every placement with the page that it follows, and the rest."""
        used = {record.placement for record in self.renditions}
        used_placements = [
            {key: getattr(one, key) for key in ("name", "size", "max_bytes", "source")} | {"checked": str(one.checked)}
            for one in placements.load()
            if one.name in used
        ]
        return {
            "workspace": workspace,
            "base_url": self.base,
            "placements": used_placements,
            "renditions": [one.model_dump(mode="json", exclude={"work"}) for one in self.renditions],
            "left_out": dict(self.left_out),
            "refused": [one.model_dump(mode="json", include=_REFUSED) for one in self.records if not one.file],
            "not_in_feeds": dict(self.unfit),
        }

    def lines(self) -> list[str]:
        """Return the report in lines for people."""
        found = self.renditions
        lines = [f"{len(found)} files in {self.out}, {self.drawn} of them drawn now"]
        signers = Counter(record.signer for record in found if record.signer)
        lines += [f"{count} files signed by {signer}" for signer, count in sorted(signers.items())]
        lines += [f"left out, {reason}: {count} creatives" for reason, count in sorted(self.left_out.items())]
        if again := sum(bool(record.gate.rejected) for record in found):
            lines.append(f"{again} files were drawn again until the fidelity gate let one pass; {MANIFEST} says why")
        lines += [f"left out, no picture passed the fidelity gate: {one}" for one in self.refused]
        lines += [f"not made: {one}" for one in self.failed]
        if outside := sum(not record.inside_margins for record in found):
            lines.append(f"{outside} files show the product outside the placement's safe zone; see {MANIFEST}")
        lines += [f"feed {path}" for path in self.feeds]
        lines += [f"not in a feed: product {name!r}: {reason}" for name, reason in sorted(self.unfit.items())]
        if self.base is None:
            lines.append("no feeds: they need links. Add --base-url with the address the folder will have on the web.")
        elif not self.feeds:
            lines.append("no feeds: none of these placements is one that a product feed points at.")
        return lines
