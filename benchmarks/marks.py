"""Which marks of an exported ad are left after what platforms and editors do to files?

    python benchmarks/marks.py [--objects 12] [--page docs/concepts/provenance.md]

One studio ad of each object of the sample catalog, 480 × 480 pixels, as JPEG, PNG and WebP: labeled with XMP as exports
are, and signed by c2pa's library with a certificate made here.  Then each file goes through every treatment, and is
read back as `clickscape inspect` does, and `inspect --delivered` against the picture itself.  Prints Markdown and
appends one JSON row to benchmarks/results/marks.jsonl.
"""

from __future__ import annotations

import argparse
import io
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.certificates import NOW, make_signer

from _results import append_row, write_part
from clickscape.catalog import sample
from clickscape.gates import delivered
from clickscape.render import provenance
from clickscape.render.c2pa_reading import verify
from clickscape.render.c2pa_signing import Claim, Signing, manifest_bytes, open_signing, sign
from clickscape.render.containers import open_container, with_packet
from clickscape.render.provenance import Provenance
from clickscape.render.scene import Scene
from clickscape.render.studio.engine import StudioRenderer

Pixels = npt.NDArray[np.uint8]
FORMATS = ("JPEG", "PNG", "WEBP")
SIDE = 480
SCENES = (
    Scene("studio", "oak", "soft", "table", "mint", ("lemons",)),
    Scene("loft", "sand", "window", "podium", "teal"),
    Scene("kitchen", "white marble", "soft", "table", "cream"),
)
MARKS = ("label is there", "label says unaltered", "manifest is there", "signature holds", "recognized by its pixels")


@dataclass(frozen=True, slots=True)
class Marked:
    """An encoded ad with all its marks, its pixels as they were approved, and what its manifest took.

    `added`: bytes. `signing` and `reading`: CPU-seconds, the first with the trial that says how many bytes it takes.
    """

    data: bytes
    approved: Pixels
    added: int
    signing: float
    reading: float


def main() -> None:
    """Measure, print, and write the page's part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=12)
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        config = make_signer().save(Path(folder) / "keys")
        signing = open_signing(config, folder=Path(folder) / "shop", now=NOW)
        assert signing is not None
        ads = [draw(number) for number in range(arguments.objects)]
        files = {form: [mark(ad, photo, form, signing) for ad, photo in ads] for form in FORMATS}
    found = {
        name: {form: [left(treat(one.data), one.approved) for one in files[form]] for form in FORMATS}
        for name, treat in TREATMENTS.items()
    }
    made = [one for by_format in files.values() for one in by_format]
    text = table(found, objects=arguments.objects) + "\n" + costs(made)
    print(text)
    counts = {
        name: {form: list(map(sum, zip(*rows, strict=True))) for form, rows in by.items()} for name, by in found.items()
    }
    seconds = round(time.process_time() - began, 1)
    append_row({"objects": arguments.objects, "marks": MARKS, "left": counts, "cpu_seconds": seconds}, by="marks")
    if arguments.page:
        write_part(arguments.page, text, by="marks")


def draw(number: int) -> tuple[Pixels, bytes]:
    """The ad of one object of the sample catalog, and the encoded cut-out that it was made of."""
    item = sample.objects()[number]
    cutout = sample.cutout(f"{item.object_id}-{sample.VARIANTS[0]}", 384)
    made = StudioRenderer().compose(cutout, SCENES[number % len(SCENES)], size=(SIDE, SIDE), seed=number)
    return made.image, saved(Image.fromarray(cutout), "PNG")


def mark(picture: Pixels, photo: bytes, form: str, signing: Signing) -> Marked:
    """Encode, label and sign an ad as `clickscape export` does."""
    label = Provenance("A-1", "studio", "tiny", "compositeSynthetic", seed=1, description="oak table, soft light")
    plain = provenance.embed(saved(Image.fromarray(picture), form, quality=90), label)
    claim = Claim("A-1", "compositeSynthetic", "photo of product A", photo)
    times = [time.process_time()]
    manifest_bytes(claim, signing)
    data = sign(plain, claim, signing)
    times.append(time.process_time())
    verify(data)
    times.append(time.process_time())
    return Marked(data, picture, len(data) - len(plain), *np.diff(times))


def left(data: bytes, approved: Pixels) -> tuple[bool, ...]:
    """Which of MARKS a file still has."""
    label, signature = provenance.inspect(data), verify(data)
    shown = np.asarray(opened(data).convert("RGB"))
    return (
        label is not None,
        label is not None and not label.altered,
        signature is not None,
        signature is not None and signature.state == "valid",
        delivered.compare(shown, approved).approved,
    )


def opened(data: bytes) -> Image.Image:
    """The decoded picture with what Pillow keeps of its metadata."""
    return Image.open(io.BytesIO(data))


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """The picture as Pillow writes it; PNG knows no quality."""
    stream = io.BytesIO()
    image.save(stream, form, **({} if form == "PNG" else options))
    return stream.getvalue()


def again(form: str = "", *, quality: int = 90, factor: float = 1.0, crop: float = 0.0) -> Callable[[bytes], bytes]:
    """Open, crop, resize and save in a format ("": its own), without asking for any metadata to be kept."""

    def treat(data: bytes) -> bytes:
        image = opened(data)
        kind = form or str(image.format)
        box = (round(crop * image.width), 0, image.width, image.height)
        size = (round((box[2] - box[0]) * factor), round(image.height * factor))
        return saved(image.convert("RGB").resize(size, Image.Resampling.LANCZOS, box), kind, quality=quality)

    return treat


def keep_all(data: bytes) -> bytes:
    """Open and save in the same format, with the XMP that Pillow found."""
    image = opened(data)
    stream = io.BytesIO()
    image.save(stream, image.format, quality=90, xmp=image.info.get("xmp", b""))
    return stream.getvalue()


def recaption(data: bytes) -> bytes:
    """Another program writes a caption into the XMP; the picture's own bytes stay."""
    container = open_container(data)
    return with_packet(container, container.packets[0].replace(b"oak table", b"a caption"))


def strip(data: bytes) -> bytes:
    """Leave out all metadata; the picture's own bytes stay, as `jpegtran -copy none` does."""
    container = open_container(data)
    parts = [part.data for part in container.parts if part.role == "picture"]
    if container.format != "WEBP":
        return b"".join(parts)
    header = parts[0][:8] + bytes([parts[0][8] & ~0x04]) + parts[0][9:]  # no XMP is announced
    body = b"".join([b"WEBP", header, *parts[1:]])
    return b"RIFF" + struct.pack("<I", len(body)) + body


TREATMENTS: Mapping[str, Callable[[bytes], bytes]] = {
    "copied, renamed, uploaded as it is": bytes,
    "caption edited in the XMP": recaption,
    "metadata stripped, picture not encoded again": strip,
    "saved again by Pillow, its XMP handed on": keep_all,
    "saved again by Pillow, same format": again(),
    "encoded as JPEG 75": again("JPEG", quality=75),
    "encoded as WebP 80": again("WEBP", quality=80),
    "resized to 50 %, same format": again(factor=0.5),
    "resized to 50 %, JPEG 75": again("JPEG", quality=75, factor=0.5),
    "5 % cut away, same format": again(crop=0.05),
}


def table(found: Mapping[str, Mapping[str, list[tuple[bool, ...]]]], *, objects: int) -> str:
    """A row for each treatment: of which formats every file still has the mark."""
    lines = [f"| file was … | {' | '.join(MARKS)} |", "| --- |" + " --- |" * len(MARKS)]
    for name, by_format in found.items():
        cells = []
        for number in range(len(MARKS)):
            counts = {form: sum(row[number] for row in rows) for form, rows in by_format.items()}
            cells.append(_cell(counts, objects=objects))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    bound = 1 - 0.05 ** (1 / objects)
    lines += ["", f"Each cell is of {objects} ads in three formats. *Yes* and *no* mean all of them,"]
    lines += [f"so at most {bound:.0%} of such ads behave otherwise (one-sided 95 %)."]
    return "\n".join(lines)


def costs(made: Sequence[Marked]) -> str:
    """Medians, and the largest, over all files."""
    signing, reading = ([1e3 * getattr(one, part) for one in made] for part in ("signing", "reading"))
    added = [one.added for one in made]
    return (
        f"A manifest took {np.median(added):,.0f} bytes (at most {max(added):,}), signing {np.median(signing):.1f} "
        f"CPU-milliseconds a file (at most {max(signing):.1f}), and verifying {np.median(reading):.1f} "
        f"(at most {max(reading):.1f})."
    )


def _cell(counts: Mapping[str, int], *, objects: int) -> str:
    if set(counts.values()) <= {0, objects}:
        whole = [form for form, count in counts.items() if count]
        return "no" if not whole else "yes" if len(whole) == len(counts) else f"{', '.join(whole)} only"
    return ", ".join(f"{form} {count} of {objects}" for form, count in counts.items())


if __name__ == "__main__":
    main()
