"""Where a picture comes from, written into its file as XMP, and read back with whether it is still the same picture.

The choice made here: the packet holds a hash of the compressed picture without its metadata, so that a re-encoded,
scaled or retouched file is distinct from one whose title was edited.  It is a label, not a signature: who means to
forge it can.  Packets come from anywhere: entities, DTDs, deep nesting and size are refused; what does not parse is
nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from lxml import etree

import clickscape
from clickscape.render.containers import Format, open_container, prepared, with_packet
from clickscape.render.renderer import DigitalSource

DIGITAL_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""The IPTC NewsCodes vocabulary that a DigitalSource is a term of."""

NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "clickscape": "urn:clickscape:xmp:1.0#",
}

MIME: dict[Format, str] = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""The media types of the formats."""

_UNSTORABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold
_ESCAPED = re.compile(r"\\(?:\\|u([0-9a-f]{4}))")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which creative a picture is and what made it; `source` is the IPTC term, `created` is a time with its zone."""

    creative_id: str
    renderer: str
    model_id: str
    source: DigitalSource
    seed: int | None = None
    description: str = ""
    created: datetime | None = None

    def __post_init__(self) -> None:
        if not self.creative_id:
            raise ValueError("provenance needs a creative_id")
        if self.source not in get_args(DigitalSource):
            raise ValueError(f"expected a source out of {', '.join(get_args(DigitalSource))}, got {self.source!r}")
        if self.created is not None and self.created.tzinfo is None:
            raise ValueError(f"created needs a time zone, got {self.created.isoformat()}; use datetime.now(UTC)")


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file says of itself, and whether its compressed picture differs from the one that was labeled."""

    provenance: Provenance
    altered: bool
    format: Format


def embed(data: bytes, provenance: Provenance) -> bytes:
    """The same JPEG, PNG or WebP with the provenance as its only XMP packet; its compressed picture is not touched.

    ImageError for other formats, for malformed or truncated files, and for a description that a JPEG cannot hold.
    """
    container = open_container(data)
    return with_packet(container, _packet(provenance, prepared(container).digest, container.format))


def inspect(data: bytes) -> Inspection | None:
    """The provenance of an encoded JPEG, PNG or WebP, None when it holds none of ours; ImageError as `embed`."""
    container = open_container(data)
    for packet in container.packets:
        properties = _properties(packet)
        try:
            digest = properties["pictureDigest"]
            provenance = _provenance(properties)
        except (KeyError, ValueError):
            continue
        return Inspection(provenance, digest != container.digest, container.format)
    return None


def _packet(provenance: Provenance, digest: str, form: Format) -> bytes:
    """The XMP packet, UTF-8; the namespace `clickscape` holds what `inspect` reads, the others tell everybody else."""
    root = etree.Element(_name("x", "xmpmeta"), nsmap={"x": NAMESPACES["x"]})
    rdf = etree.SubElement(root, _name("rdf", "RDF"), nsmap={"rdf": NAMESPACES["rdf"]})
    spoken = {prefix: uri for prefix, uri in NAMESPACES.items() if prefix not in ("x", "rdf")}
    about = etree.SubElement(rdf, _name("rdf", "Description"), {_name("rdf", "about"): ""}, nsmap=spoken)
    etree.SubElement(about, _name("Iptc4xmpExt", "DigitalSourceType")).text = DIGITAL_SOURCE_TYPES + provenance.source
    etree.SubElement(about, _name("xmp", "CreatorTool")).text = f"clickscape {clickscape.__version__}"
    if provenance.created is not None:
        etree.SubElement(about, _name("xmp", "CreateDate")).text = provenance.created.isoformat()
    etree.SubElement(about, _name("dc", "format")).text = MIME[form]
    etree.SubElement(about, _name("dc", "identifier")).text = _UNSTORABLE.sub("\ufffd", provenance.creative_id)
    if provenance.description:
        alternatives = etree.SubElement(etree.SubElement(about, _name("dc", "description")), _name("rdf", "Alt"))
        language = {"{http://www.w3.org/XML/1998/namespace}lang": "x-default"}
        words = _UNSTORABLE.sub("\ufffd", provenance.description)
        etree.SubElement(alternatives, _name("rdf", "li"), language).text = words
    ours = {
        "creativeId": provenance.creative_id,
        "renderer": provenance.renderer,
        "modelId": provenance.model_id,
        "source": provenance.source,
        "seed": None if provenance.seed is None else str(provenance.seed),
        "description": provenance.description or None,
        "created": None if provenance.created is None else provenance.created.isoformat(),
        "pictureDigest": digest,
    }
    for key, value in ours.items():
        if value is not None:
            etree.SubElement(about, _name("clickscape", key)).text = _storable(value)
    start = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'.encode()
    return start + etree.tostring(root, encoding="UTF-8", xml_declaration=False) + b'\n<?xpacket end="w"?>'


def _properties(packet: bytes) -> dict[str, str]:
    """Our own properties of an XMP packet, written as elements or as attributes; {} when it is not to be read."""
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(packet, parser)
        if root.getroottree().docinfo.doctype:
            return {}
        own = "{" + NAMESPACES["clickscape"] + "}"
        found: dict[str, str] = {}
        for about in root.iter(_name("rdf", "Description")):
            found |= {name.removeprefix(own): text for name, text in about.attrib.items() if name.startswith(own)}
            found |= {child.tag.removeprefix(own): child.text or "" for child in about.iterchildren(own + "*")}
    except (etree.LxmlError, ValueError, LookupError):
        return {}
    return {key: _restored(value) for key, value in found.items()}


def _provenance(properties: Mapping[str, str]) -> Provenance:
    """KeyError when a property is missing, ValueError when one makes no sense."""
    source = next((term for term in get_args(DigitalSource) if term == properties["source"]), None)
    if source is None:
        raise ValueError(f"an unknown source {properties['source']!r}")
    return Provenance(
        creative_id=properties["creativeId"],
        renderer=properties["renderer"],
        model_id=properties["modelId"],
        source=source,
        seed=int(properties["seed"]) if "seed" in properties else None,
        description=properties.get("description", ""),
        created=datetime.fromisoformat(properties["created"]) if "created" in properties else None,
    )


def _storable(text: str) -> str:
    r"""Text without the characters that XML cannot hold: they become \uXXXX, and a backslash becomes two."""
    return _UNSTORABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\\", "\\\\"))


def _restored(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "\\", text)


def _name(prefix: str, local: str) -> str:
    return f"{{{NAMESPACES[prefix]}}}{local}"
