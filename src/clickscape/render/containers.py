"""The containers of encoded pictures: a JPEG, PNG or WebP taken apart into its segments and put together with XMP.

Pixels are never decoded, so a picture that passes through keeps every byte of its compressed data.  Lengths in the file
are not trusted: each is checked against the bytes that are there.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from clickscape.errors import ImageError

Format = Literal["JPEG", "PNG", "WEBP"]
Role = Literal["picture", "packet", "other", "tail"]

LARGEST_PACKET = 1_000_000
"""Bytes of XMP that are read at most; a larger packet is nobody's provenance."""

_MOST_PARTS = 1_000_000

_REMEDY = "Export or download the picture again."
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_XMP_MORE = b"http://ns.adobe.com/xmp/extension/\0"
_JPEG_EXIF = b"Exif\0\0"
_JPEG_LARGEST = 65_533 - len(_JPEG_XMP)
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_XMP = b"XML:com.adobe.xmp"
_PNG_LOOK = (b"tRNS", b"acTL", b"fcTL", b"fdAT")
_WEBP_LOOK = (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
_C2PA: dict[Format, tuple[int, bytes]] = {"JPEG": (16, b"jumb"), "PNG": (4, b"caBX"), "WEBP": (0, b"C2PA")}
_WEBP_XMP_FLAG, _WEBP_ALPHA_FLAG = 0x04, 0x10
_WEBP_METADATA_FLAGS = 0x2C  # color profile, EXIF, XMP: they may come and go without touching the picture


@dataclass(frozen=True, slots=True)
class Part:
    """A segment as it lies in the file, or the tail behind its end.

    `content` is what counts of a picture's segment, and the XMP of a packet.
    """

    role: Role
    data: bytes
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Container:
    """An encoded picture in parts, in the order of the file."""

    format: Format
    parts: tuple[Part, ...]

    @property
    def digest(self) -> str:
        """sha256, in hex, of the compressed picture: no metadata, no color profile, whatever their order."""
        digest = hashlib.sha256(self.format.encode())
        for part in self.parts:
            if part.role == "picture":
                digest.update(len(part.content).to_bytes(8, "big") + part.content)
        return digest.hexdigest()

    @property
    def packets(self) -> tuple[bytes, ...]:
        """Return every XMP packet up to a size limit, as it was written."""
        return tuple(part.content for part in self.parts if part.role == "packet" and part.content)

    @property
    def has_c2pa(self) -> bool:
        """Whether a C2PA manifest lies in the file; none of it is read."""
        at, mark = _C2PA[self.format]
        return any(part.role == "other" and part.data[at : at + len(mark)] == mark for part in self.parts)


def open_container(data: bytes) -> Container:
    """The parts of an encoded JPEG, PNG or WebP; ImageError for other formats, truncated and contradictory files."""
    readers: dict[Format, tuple[bool, Callable[[bytes], Iterator[Part]]]] = {
        "JPEG": (data.startswith(_JPEG_START), _jpeg_parts),
        "PNG": (data.startswith(_PNG_START), _png_parts),
        "WEBP": (data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp_parts),
    }
    for kind, (fits, read) in readers.items():
        if fits:
            parts = tuple(islice(read(data), _MOST_PARTS + 1))
            if len(parts) > _MOST_PARTS:
                raise ImageError(f"the {kind} is malformed: more than {_MOST_PARTS} segments. {_REMEDY}")
            return Container(kind, parts)
    came = f"one that starts with {data[:8]!r}" if data else "an empty file"
    raise ImageError(f"expected a JPEG, PNG or WebP file, got {came}. Save the picture in one of the three formats.")


def with_packet(container: Container, packet: bytes) -> bytes:
    """The file with `packet` (XMP, UTF-8) as its only one; ImageError when the format cannot hold so much.

    A plain WebP becomes an extended one, which alone may hold metadata.
    """
    parts = [part for part in container.parts if part.role != "packet"]
    if container.format == "JPEG":
        if len(packet) > _JPEG_LARGEST:
            raise ImageError(
                f"a JPEG holds {_JPEG_LARGEST} bytes of XMP, got {len(packet)}. Shorten the description, or write PNG."
            )
        place = next(at for at, part in enumerate(parts) if at and not _leads_jpeg(part))
        pieces = [part.data for part in parts]
        return b"".join([*pieces[:place], _jpeg_segment(0xE1, _JPEG_XMP + packet), *pieces[place:]])
    if container.format == "PNG":
        start, header, *rest = (part.data for part in parts)
        return b"".join([start, header, _png_chunk(b"iTXt", _PNG_XMP + bytes(5) + packet), *rest])
    chunks = [part.data for part in _extended(parts) if part.role != "tail"] + [_riff_chunk(b"XMP ", packet)]
    size = 4 + sum(map(len, chunks))
    if size > 0xFFFF_FFFF:
        raise ImageError(f"a WebP holds less than 4 GiB, got {size} bytes. Scale the picture down.")
    tail = [part.data for part in parts if part.role == "tail"]
    return b"".join([b"RIFF", struct.pack("<I", size), b"WEBP", *chunks, *tail])


def prepared(container: Container) -> Container:
    """The container as `with_packet` will write it, so that its digest can be known before."""
    return replace(container, parts=_extended(container.parts)) if container.format == "WEBP" else container


def _jpeg_parts(data: bytes) -> Iterator[Part]:
    """Header segments one by one, then everything from the first scan on as one part."""
    yield Part("picture", _JPEG_START, _JPEG_START)
    at = 2
    while True:
        start = at
        if data[at : at + 1] not in (b"\xff", b""):
            raise ImageError(f"the JPEG is malformed: no segment starts at byte {at}. {_REMEDY}")
        while data[at : at + 1] == b"\xff":  # fill bytes may stand before a marker
            at += 1
        if at + 3 > len(data):
            raise ImageError(f"the JPEG is truncated: it ends at byte {len(data)} before its picture. {_REMEDY}")
        marker, (length,) = data[at], struct.unpack_from(">H", data, at + 1)
        end = at + 1 + length
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD9 or length < 2:
            raise ImageError(f"the JPEG is malformed: an unexpected segment at byte {start}. {_REMEDY}")
        if marker == 0xDA:
            break
        if end > len(data):
            raise ImageError(
                f"the JPEG is truncated: its segment at byte {start} needs {end} bytes of {len(data)}. {_REMEDY}"
            )
        yield _jpeg_part(marker, data[start:end], data[at + 3 : end])
        at = end
    if data.rfind(_JPEG_END, end) < 0:  # coded data never holds these two bytes
        raise ImageError(f"the JPEG is truncated: its picture has no end before byte {len(data)}. {_REMEDY}")
    yield Part("picture", data[start:], data[start:])


def _jpeg_part(marker: int, segment: bytes, payload: bytes) -> Part:
    if marker == 0xE1 and payload.startswith(_JPEG_XMP):
        return Part("packet", segment, payload[len(_JPEG_XMP) :])
    if marker == 0xE1 and payload.startswith(_JPEG_XMP_MORE):
        return Part("packet", segment)
    decides = not (0xE0 <= marker <= 0xEF or marker == 0xFE) or (marker == 0xEE and payload.startswith(b"Adobe"))
    return Part("picture", segment, segment) if decides else Part("other", segment)


def _leads_jpeg(part: Part) -> bool:
    """Whether readers expect this segment before any other: JFIF and EXIF."""
    return part.data[:2] == b"\xff\xe0" or (part.data[:2] == b"\xff\xe1" and part.data[4:10] == _JPEG_EXIF)


def _jpeg_segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def _png_parts(data: bytes) -> Iterator[Part]:
    """The signature, every chunk, and what follows the last one."""
    yield Part("picture", _PNG_START, _PNG_START)
    at, kind, pictures = len(_PNG_START), b"", 0
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ImageError(f"the PNG is truncated: it ends at byte {len(data)} without its last chunk. {_REMEDY}")
        first = at == len(_PNG_START)
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        end = at + 12 + length
        if not kind.isalpha() or first != (kind == b"IHDR"):
            raise ImageError(f"the PNG is malformed: an unexpected chunk {kind!r} at byte {at}. {_REMEDY}")
        if end > len(data):
            raise ImageError(
                f"the PNG is truncated: its chunk at byte {at} needs {end} bytes of {len(data)}. {_REMEDY}"
            )
        yield _png_part(kind, data[at:end])
        pictures += kind == b"IDAT"
        at = end
    if not pictures:
        raise ImageError(f"the PNG is malformed: it has no picture. {_REMEDY}")
    yield Part("tail", data[at:])


def _png_part(kind: bytes, chunk: bytes) -> Part:
    if kind == b"iTXt" and chunk[8:].startswith(_PNG_XMP + b"\0"):
        return Part("packet", chunk, _png_text(chunk[8 + len(_PNG_XMP) + 1 : -4]))
    decides = kind[:1].isupper() or kind in _PNG_LOOK  # chunks with a capital are critical: decoders must know them
    return Part("picture", chunk, chunk) if decides else Part("other", chunk)


def _png_text(payload: bytes) -> bytes:
    """The text of an iTXt chunk after its keyword: flags, language and translated keyword come before it."""
    text = payload[2:].split(b"\0", 2)[-1]
    if payload[:1] != b"\1":
        return text if len(text) <= LARGEST_PACKET else b""
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(text, LARGEST_PACKET)
    except zlib.error:
        return b""
    return b"" if inflater.unconsumed_tail else text


def _png_chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def _webp_parts(data: bytes) -> Iterator[Part]:
    """Every chunk of the RIFF file, and what follows it; the twelve bytes before them follow from the chunks."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise ImageError(f"the WebP is truncated: it needs {end} bytes, the file has {len(data)}. {_REMEDY}")
    at, pictures = 12, 0
    while at < end:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        after = at + 8 + length + length % 2
        if after > end:
            raise ImageError(f"the WebP is malformed: the chunk at byte {at} reaches over the file's end. {_REMEDY}")
        kind = data[at : at + 4]
        pictures += kind in (b"VP8 ", b"VP8L") or (kind == b"ANMF" and data[12:16] == b"VP8X")
        yield _webp_part(kind, data[at:after], data[at + 8 : at + 8 + length])
        at = after
    if not pictures:
        raise ImageError(f"the WebP is malformed: it has no picture. {_REMEDY}")
    yield Part("tail", data[end:])


def _webp_part(kind: bytes, chunk: bytes, payload: bytes) -> Part:
    if kind == b"XMP ":
        return Part("packet", chunk, payload if len(payload) <= LARGEST_PACKET else b"")
    if kind == b"VP8X":
        if len(payload) != 10:
            raise ImageError(f"the WebP is malformed: its header has {len(payload)} bytes, expected 10. {_REMEDY}")
        return Part("picture", chunk, kind + bytes([payload[0] & ~_WEBP_METADATA_FLAGS]) + payload[1:])
    return Part("picture", chunk, chunk) if kind in _WEBP_LOOK else Part("other", chunk)


def _extended(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The chunks of a WebP behind a VP8X header that announces XMP."""
    extended = parts[0].data[:4] == b"VP8X"
    header = parts[0].data[8:] if extended else _webp_header(next(p.data for p in parts if p.data[:3] == b"VP8"))
    flagged = bytes([header[0] | _WEBP_XMP_FLAG]) + header[1:]
    return (_webp_part(b"VP8X", _riff_chunk(b"VP8X", flagged), flagged), *parts[extended:])


def _webp_header(chunk: bytes) -> bytes:
    """The VP8X payload that says of a plain picture what its own bitstream says: size and whether it has alpha."""
    kind, stream = chunk[:4], chunk[8:]
    if kind == b"VP8L" and stream[:1] == b"\x2f" and len(stream) >= 5:
        (bits,) = struct.unpack_from("<I", stream, 1)
        width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF  # both less one
        flags = _WEBP_ALPHA_FLAG if bits >> 28 & 1 else 0
    elif kind == b"VP8 " and stream[3:6] == b"\x9d\x01\x2a" and len(stream) >= 10:
        width, height = ((side & 0x3FFF) - 1 for side in struct.unpack_from("<HH", stream, 6))
        flags = 0
    else:
        raise ImageError(f"the WebP is malformed: its picture has no readable size. {_REMEDY}")
    if width < 0 or height < 0:
        raise ImageError(f"the WebP is malformed: its picture has no pixels. {_REMEDY}")
    return bytes([flags, 0, 0, 0]) + width.to_bytes(3, "little") + height.to_bytes(3, "little")


def _riff_chunk(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload + bytes(len(payload) % 2)
