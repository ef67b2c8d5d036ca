"""Provenance as others read it: exiftool, Pillow and a walk over the bytes that shares no code with the writer."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import warnings
import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from clickscape.errors import ImageError
from clickscape.render.provenance import Inspection, Provenance, embed, inspect

ORIGIN = Provenance(
    "A-17-1",
    renderer="studio",
    model_id="tiny",
    source="compositeSynthetic",
    seed=7,
    description="pale marble podium, soft light",
    created=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
)
KINDS = (
    "jpeg", "jpeg progressive", "jpeg gray", "jpeg cmyk", "jpeg exif", "png", "png alpha", "png palette", "png 16 bit",
    "png animated", "webp", "webp lossless", "webp alpha", "webp lossless alpha", "webp exif", "webp animated",
)  # fmt: skip
XMP_KEYWORD = b"XML:com.adobe.xmp\0"
XMP_SIGNATURE = b"http://ns.adobe.com/xap/1.0/\0"
DIGITAL_SOURCE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"


@cache
def encoded(kind: str, size: tuple[int, int] = (21, 13)) -> bytes:
    """A small picture as Pillow writes it, in one of `KINDS`."""
    pixels = np.random.default_rng(3).integers(0, 256, (*size[::-1], 4), np.uint8)
    pixels[..., :3] = pixels[..., :3] // 3 + np.arange(size[0], dtype=np.uint8)[:, None]
    picture = Image.fromarray(pixels)
    if "alpha" not in kind:
        picture = picture.convert("RGB")
    exif = Image.Exif()
    exif[0x010E] = "a caption"
    second = picture.rotate(180)
    options: dict[str, object] = {
        "jpeg progressive": {"progressive": True},
        "jpeg exif": {"exif": exif, "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()},
        "png animated": {"save_all": True, "append_images": [second]},
        "webp lossless": {"lossless": True},
        "webp lossless alpha": {"lossless": True},
        "webp exif": {"exif": exif},
        "webp animated": {"save_all": True, "append_images": [second], "minimize_size": True},
    }.get(kind, {})
    modes = {"jpeg gray": "L", "jpeg cmyk": "CMYK", "png palette": "P", "png 16 bit": "I;16"}
    if kind == "png 16 bit":
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif kind in modes:
        picture = picture.convert(modes[kind])
    stream = io.BytesIO()
    picture.save(stream, kind.split()[0].upper(), **options)
    return stream.getvalue()


def segments(data: bytes) -> list[tuple[str, bytes]]:
    """(name, payload) of every segment of a file, found by the formats' own rules, checksums and sizes checked."""
    found: list[tuple[str, bytes]] = []
    if data[:2] == b"\xff\xd8":
        at = 2
        while data[at + 1] != 0xDA:
            assert data[at] == 0xFF
            length = data[at + 2] * 256 + data[at + 3]
            found.append((f"{data[at + 1]:02X}", data[at + 4 : at + 2 + length]))
            at += 2 + length
        return [*found, ("scans", data[at:])]
    if data[:4] == b"\x89PNG":
        at = 8
        while at < len(data):
            length = int.from_bytes(data[at : at + 4], "big")
            name, payload = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
            assert zlib.crc32(name + payload).to_bytes(4, "big") == data[at + 8 + length : at + 12 + length]
            found.append((name.decode(), payload))
            at += 12 + length
        return found
    assert data[:4] + data[8:12] == b"RIFFWEBP"
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    at = 12
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        found.append((data[at : at + 4].decode(), data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return found


def xmp_packets(data: bytes) -> list[bytes]:
    """The XMP in a file, by `segments`."""
    packets = []
    for name, payload in segments(data):
        if name == "XMP ":
            packets.append(payload)
        elif name == "E1" and payload.startswith(XMP_SIGNATURE):
            packets.append(payload.removeprefix(XMP_SIGNATURE))
        elif name == "iTXt" and payload.startswith(XMP_KEYWORD):
            assert payload.removeprefix(XMP_KEYWORD)[:4] == bytes(4), "not compressed, no language"
            packets.append(payload.removeprefix(XMP_KEYWORD)[4:])
    return packets


def frames(data: bytes) -> list[bytes]:
    """The decoded pixels of every frame; what Pillow thinks of the metadata does not matter."""
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
        count, made = getattr(image, "n_frames", 1), []
        for number in range(count):
            image.seek(number)
            made.append(image.tobytes())
        return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_stay_and_only_xmp_is_added(kind: str) -> None:
    plain = encoded(kind)
    labeled = embed(plain, ORIGIN)
    assert frames(labeled) == frames(plain)
    kept = [segment for segment in segments(plain) if segment[0] != "VP8X"]
    added = [segment for segment in segments(labeled) if segment[0] != "VP8X" and segment not in kept]
    assert [segment for segment in segments(labeled) if segment in kept] == kept, "same segments in the same order"
    assert len(added) == 1
    (packet,) = xmp_packets(labeled)
    about = next(iter(ElementTree.fromstring(packet).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")))
    assert about.findtext(DIGITAL_SOURCE) == "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
    assert inspect(labeled) == Inspection(ORIGIN, altered=False, format=kind.split()[0].upper())  # type: ignore[arg-type]
    assert inspect(plain) is None


@pytest.mark.parametrize("kind", KINDS)
def test_pillow_finds_the_packet_and_the_extended_header_is_true(kind: str) -> None:
    labeled = embed(encoded(kind), ORIGIN)
    with Image.open(io.BytesIO(labeled)) as image:
        xmp = image.info["xmp"]
        assert b"digitalsourcetype/compositeSynthetic" in (xmp.encode() if isinstance(xmp, str) else xmp)
        if kind.startswith("webp"):
            (header,) = (payload for name, payload in segments(labeled) if name == "VP8X")
            flags, width, height = (
                header[0],
                int.from_bytes(header[4:7], "little"),
                int.from_bytes(header[7:], "little"),
            )
            assert (width + 1, height + 1) == image.size == (21, 13)
            assert bool(flags & 0x10) == (image.mode == "RGBA")
            assert flags & 0x04, "announces XMP"
            assert bool(flags & 0x08) == (kind == "webp exif")
            assert bool(flags & 0x02) == (kind == "webp animated")
            assert segments(labeled)[0][0] == "VP8X"
        if kind == "jpeg exif":
            assert [name for name, _ in segments(labeled)][:4] == ["E0", "E1", "E1", "E2"], "XMP comes after EXIF"
            assert image.getexif()[0x010E] == "a caption"


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("kind", ["jpeg exif", "png alpha", "webp", "webp lossless alpha"])
def test_exiftool_reads_it_and_its_edits_of_metadata_do_not_alter_the_picture(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind.split()[0]}"
    path.write_bytes(embed(encoded(kind), ORIGIN))
    said = json.loads(subprocess.run(["exiftool", "-j", "-G1", path], check=True, capture_output=True).stdout)[0]
    assert said["XMP-iptcExt:DigitalSourceType"] == "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
    assert said["XMP-clickscape:CreativeId"] == said["XMP-dc:Identifier"] == "A-17-1"
    assert said["XMP-clickscape:Renderer"] == "studio"
    assert said["XMP-clickscape:ModelId"] == "tiny"
    assert said["XMP-xmp:CreatorTool"].startswith("clickscape ")
    assert said["XMP-dc:Description"] == ORIGIN.description
    assert said["XMP-xmp:CreateDate"] == "2026:03:01 12:30:00+00:00"
    (tmp_path / "plain").write_bytes(encoded(kind))
    complaints = [
        subprocess.run(["exiftool", "-validate", "-warning", "-a", file], check=True, capture_output=True).stdout
        for file in (path, tmp_path / "plain")
    ]
    assert complaints[0] == complaints[1], "what was added is valid"
    edit = ["exiftool", "-q", "-overwrite_original", "-XMP-dc:Title=Spring", "-EXIF:ImageDescription=Spring", path]
    subprocess.run(edit, check=True, capture_output=True)
    assert path.read_bytes() != embed(encoded(kind), ORIGIN)
    assert inspect(path.read_bytes()) == Inspection(ORIGIN, False, kind.split()[0].upper())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_newer_label_replaces_the_older_one(kind: str) -> None:
    newer = Provenance("B-2", "diffusion", "sdxl", "trainedAlgorithmicMedia")
    twice = embed(embed(encoded(kind), ORIGIN), newer)
    assert twice == embed(encoded(kind), newer)
    found = inspect(twice)
    assert found is not None
    assert found.provenance == newer


def test_a_picture_of_the_same_pixels_encoded_anew_is_altered() -> None:
    with Image.open(io.BytesIO(embed(encoded("png"), ORIGIN))) as image:
        for form, quality in (("PNG", 0), ("WEBP", 90), ("JPEG", 95)):
            stream, text = io.BytesIO(), PngImagePlugin.PngInfo()
            text.add_itxt("XML:com.adobe.xmp", image.info["xmp"].decode())
            options = {"pnginfo": text, "compress_level": 1} if form == "PNG" else {"xmp": image.info["xmp"]}
            image.save(stream, form, quality=quality, **options)
            assert inspect(stream.getvalue()) == Inspection(ORIGIN, True, form)  # type: ignore[arg-type]


TEXTS = st.text(st.characters(), max_size=60) | st.text("\\u0041\x00\ud800\ufffe\r\n\t ]]>&<é語😀", max_size=20)


@settings(max_examples=150)
@given(
    creative_id=TEXTS.filter(bool),
    renderer=TEXTS,
    model_id=TEXTS,
    description=TEXTS,
    seed=st.none() | st.integers(),
    created=st.none() | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])),
    kind=st.sampled_from(["jpeg", "png", "webp"]),
)
def test_any_text_survives_writing_and_reading_the_label(
    creative_id: str,
    renderer: str,
    model_id: str,
    description: str,
    seed: int | None,
    created: datetime | None,
    kind: str,
) -> None:
    origin = Provenance(creative_id, renderer, model_id, "trainedAlgorithmicMedia", seed, description, created)
    labeled = embed(encoded(kind), origin)
    assert inspect(labeled) == Inspection(origin, False, kind.upper())  # type: ignore[arg-type]
    ElementTree.fromstring(xmp_packets(labeled)[0])


def picture_bytes(data: bytes) -> list[int]:
    """Where the payloads that make up the picture lie in the file."""
    look = {"scans", "DB", "C4", "C0", "IDAT", "IHDR", "VP8 ", "VP8L", "ALPH"}
    places, at = [], 0
    for name, payload in segments(data):
        payload = payload[4:] if name == "scans" else payload  # without the marker and the length of its head
        at = data.index(payload, at)
        if name in look:
            places += range(at, at + len(payload))
        at += len(payload)
    return places[:-2] if data[:2] == b"\xff\xd8" else places  # without the last two of a JPEG, the mark of its end


@pytest.mark.parametrize("kind", ["jpeg", "png alpha", "webp", "webp lossless", "webp alpha"])
def test_any_flipped_byte_of_the_picture_is_detected(kind: str) -> None:
    labeled = embed(encoded(kind), ORIGIN)
    for place in picture_bytes(labeled):
        for mask in (0x01, 0xFF):
            flipped = bytearray(labeled)
            flipped[place] ^= mask
            found = inspect(bytes(flipped))
            assert found is not None
            assert found.altered


@pytest.mark.parametrize("kind", ["jpeg exif", "png", "webp exif"])
def test_no_flipped_byte_is_taken_for_an_unaltered_picture_unless_it_is_metadata(kind: str) -> None:
    labeled = embed(encoded(kind), ORIGIN)
    untouched, silent = frames(labeled), 0
    for place in range(len(labeled)):
        flipped = bytearray(labeled)
        flipped[place] ^= 0x55
        try:
            found = inspect(bytes(flipped))
        except ImageError:
            continue
        if found is not None and not found.altered:
            silent += 1
            assert place not in picture_bytes(labeled)
            if kind != "png":  # Pillow refuses a PNG whose metadata has a wrong checksum
                assert frames(bytes(flipped)) == untouched
    assert silent > 300, "captions, profiles and other metadata may change"


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_one_clear_error(kind: str) -> None:
    labeled = embed(encoded(kind), ORIGIN)
    for length in range(len(labeled)):
        for verb in (inspect, lambda data: embed(data, ORIGIN)):
            with pytest.raises(ImageError, match=r"truncated|malformed|expected a JPEG, PNG or WebP file"):
                verb(labeled[:length])


@pytest.mark.slow
@settings(max_examples=300)
@given(kind=st.sampled_from(KINDS), noise=st.binary(max_size=64), place=st.floats(0, 1), cut=st.integers(0, 64))
def test_damaged_files_never_crash(kind: str, noise: bytes, place: float, cut: int) -> None:
    labeled = embed(encoded(kind), ORIGIN)
    at = int(place * len(labeled))
    damaged = labeled[:at] + noise + labeled[at + cut :]
    with suppress(ImageError):
        inspect(damaged)
        assert inspect(embed(damaged, ORIGIN)) is not None


def with_xmp(packet: bytes, *, compressed: bool = False) -> bytes:
    """A PNG that holds this very packet."""
    head, rest = encoded("png")[:33], encoded("png")[33:]
    body = XMP_KEYWORD + (b"\1\0\0\0" + zlib.compress(packet) if compressed else bytes(4) + packet)
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    return head + chunk + rest


def own_packet() -> bytes:
    return xmp_packets(embed(encoded("png"), ORIGIN))[0]


def test_packets_that_other_tools_rewrote_are_read() -> None:
    plain = own_packet()
    assert inspect(with_xmp(plain, compressed=True)) == Inspection(ORIGIN, False, "PNG")
    assert inspect(with_xmp(plain.decode().replace('begin="\ufeff"', 'begin=""').encode("utf-16"))) is not None
    assert inspect(with_xmp(plain.decode().encode("utf-16-le"))) == Inspection(ORIGIN, False, "PNG")
    short = ElementTree.fromstring(plain)  # Adobe's tools write simple properties as attributes
    about = next(iter(short.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")))
    for child in [child for child in about if child.tag.startswith("{urn:clickscape")]:
        about.set(child.tag, child.text or "")
        about.remove(child)
    assert inspect(with_xmp(ElementTree.tostring(short))) == Inspection(ORIGIN, False, "PNG")


BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "%s">%s]>""" % (
    b"ha" * 500,
    b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 50) for n in range(9)),
)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0" * 100,
        own_packet()[: len(own_packet()) // 2],
        own_packet().replace(b">studio<", b">\xff\xfe<"),
        b'<?xml version="1.0" encoding="no-such"?>' + own_packet(),
        BOMB + own_packet().replace(b"studio", b"&j;"),
        b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>' + own_packet().replace(b">studio<", b">&f;<"),
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">' + own_packet(),
        b"<a>" * 100_000 + b"</a>" * 100_000,
        own_packet().replace(b"</x:xmpmeta>", b" " * 1_100_000 + b"</x:xmpmeta>"),
        own_packet().replace(b">compositeSynthetic<", b">digitalCapture<"),
        own_packet().replace(b"<clickscape:seed>7<", b"<clickscape:seed>%s<" % (b"9" * 9999)),
        own_packet().replace(b"<clickscape:created>2026", b"<clickscape:created>yesterday"),
        own_packet().replace(b"+00:00</clickscape", b"</clickscape"),
        own_packet().replace(b"creativeId", b"creatureId"),
    ],
    ids=[
        "empty", "zeros", "cut", "not UTF-8", "unknown encoding", "entity bomb", "file entity",
        "remote DTD", "too deep", "too long", "another source", "huge number", "no date", "no zone", "no id",
    ],
)  # fmt: skip
@pytest.mark.parametrize("compressed", [False, True])
def test_a_hostile_packet_is_not_taken_for_ours(packet: bytes, compressed: bool) -> None:
    assert inspect(with_xmp(packet, compressed=compressed)) is None


def test_a_compressed_bomb_is_not_unpacked() -> None:
    assert inspect(with_xmp(b"\0" * 30_000_000, compressed=True)) is None


def test_what_a_format_cannot_hold_is_refused() -> None:
    long = Provenance("A", "studio", "tiny", "compositeSynthetic", description="moss " * 20_000)
    with pytest.raises(ImageError, match=r"a JPEG holds 65504 bytes of XMP, got .* Shorten the description"):
        embed(encoded("jpeg"), long)
    assert inspect(embed(encoded("png"), long)) == Inspection(long, False, "PNG")
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "GIF")
    with pytest.raises(ImageError, match=r"expected a JPEG, PNG or WebP file, got one that starts with b'GIF87a"):
        embed(stream.getvalue(), ORIGIN)


def test_provenance_is_checked_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="needs a creative_id"):
        Provenance("", "studio", "tiny", "compositeSynthetic")
    with pytest.raises(ValueError, match=r"expected a source out of compositeSynthetic, .* got 'digitalCapture'"):
        Provenance("A", "studio", "tiny", "digitalCapture")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="created needs a time zone"):
        Provenance("A", "studio", "tiny", "compositeSynthetic", created=datetime(2026, 1, 1))
