"""Which variant a unit sees: a keyed hash of the unit, so that every machine agrees and nothing has to be stored.

The hash is BLAKE2b (RFC 7693) with a key of 32 bytes and a digest of 16; of it the first 8 bytes, big-endian, are the
unit's number u, and u / 2^64 its place in [0, 1). Three such numbers decide, each by a key of its own, derived as
BLAKE2b(purpose, key, digest of 32 bytes):

- "clickscape/holdback": below `holdback`, the unit is in no experiment, whichever;
- "clickscape/layer/LAYER": outside of [layer_from, layer_from + traffic), it is not in this one;
- "clickscape/experiment/SALT": its variant, by the cumulated shares in the order of the variants.

So more traffic moves nobody who is in, layers are independent, and limits are whole multiples of 2^-64. A unit is its
text in Unicode's composed form (NFC) as UTF-8. Kohavi, Tang and Xu (2020), Trustworthy Online Controlled Experiments,
chapter 4, describe layers; why keyed and why BLAKE2b is decision 0040.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clickscape.errors import ExperimentError
from clickscape.experiment.definition import HOLDBACK, ExperimentDefinition, exact

KEY_BYTES = 32
_WHOLE = 1 << 64
_HOLDBACK = b"clickscape/holdback"
_CHUNK = 1 << 16  # units that are Python objects at once


def assign(unit: str, *, definition: ExperimentDefinition, key: bytes) -> str | None:
    """Return the variant of one unit, "holdback", or None where it is not in the experiment; ExperimentError."""
    rules = _rules(definition, key)
    if not unit:
        raise ExperimentError("a unit without a key cannot be assigned. Give every unit a user_key.")
    data = unicodedata.normalize("NFC", unit).encode()
    if rules.holdback and _number(data, rules.holdback_key) < rules.holdback:
        return HOLDBACK
    if not rules.is_whole_layer and not rules.begin <= _number(data, rules.layer_key) < rules.end:
        return None
    number = _number(data, rules.variant_key)
    return next(name for name, limit in zip(rules.names, rules.limits, strict=True) if number < limit)


def assign_many(units: Any, *, definition: ExperimentDefinition, key: bytes) -> pa.DictionaryArray:
    """Return the variant of every unit as `assign` does; null for null and for a unit outside of the experiment.

    units: Arrow array or chunked array of texts (plain or dictionary-encoded), NumPy array or sequence. Units that
    recur are hashed once. Result: (unit,) dictionary array over the variants and "holdback"; ExperimentError.
    """
    rules = _rules(definition, key)
    encoded = _encoded(units)
    codes = _codes(encoded.dictionary, rules)
    taken = pa.array(codes, mask=codes < 0).take(encoded.indices)
    return pa.DictionaryArray.from_arrays(taken, pa.array([*rules.names, HOLDBACK], pa.string()))


def is_held_back(unit: str, *, share: float, key: bytes) -> bool:
    """Return whether a unit is one of the share that nothing of this key touches, the same as `assign` holds back."""
    limit, own_key = _holdback(share, key)
    return bool(limit) and _number(unicodedata.normalize("NFC", unit).encode(), own_key) < limit


def key_id(key: bytes) -> str:
    """Return what names a key and does not betray it: 16 hexadecimal digits; ExperimentError for a key too short."""
    if len(key) != KEY_BYTES:
        raise ExperimentError(f"the key of experiments has {len(key)} bytes, expected {KEY_BYTES}. Restore it.")
    return hashlib.blake2b(b"clickscape key id", key=key, digest_size=8).hexdigest()


@dataclass(frozen=True)
class _Rules:
    """Derived keys, and limits as whole numbers of 2^-64."""

    holdback_key: bytes
    layer_key: bytes
    variant_key: bytes
    holdback: int
    begin: int
    end: int
    names: tuple[str, ...]
    limits: tuple[int, ...]

    @property
    def is_whole_layer(self) -> bool:
        return self.begin == 0 and self.end == _WHOLE


def _rules(definition: ExperimentDefinition, key: bytes) -> _Rules:
    if (given := key_id(key)) != definition.key_id:
        raise ExperimentError(f"experiment {definition.name!r} assigns by the key {definition.key_id}, got {given}: "
                              f"every unit would move. Restore the key that it was started with.")  # fmt: skip
    shares = tuple(definition.shares.items())
    places = (definition.holdback, definition.layer_from, definition.traffic)
    return _derived(definition.layer, definition.salt, places, shares, key)


@lru_cache(maxsize=64)
def _holdback(share: float, key: bytes) -> tuple[int, bytes]:
    return _limit(exact(share)), hashlib.blake2b(_HOLDBACK, key=key, digest_size=KEY_BYTES).digest()


@lru_cache(maxsize=64)
def _derived(
    layer: str, salt: str, places: tuple[float, ...], shares: tuple[tuple[str, float], ...], key: bytes
) -> _Rules:
    purposes = (_HOLDBACK, f"clickscape/layer/{layer}".encode(), f"clickscape/experiment/{salt}".encode())
    keys = [hashlib.blake2b(purpose, key=key, digest_size=KEY_BYTES).digest() for purpose in purposes]
    holdback, begin, traffic = map(exact, places)
    names, weights = [name for name, _ in shares], [exact(share) for _, share in shares]
    total = sum(weights, Fraction(0))
    limits = [_limit(sum(weights[: place + 1], Fraction(0)) / total) for place in range(len(weights))]
    return _Rules(
        holdback_key=keys[0],
        layer_key=keys[1],
        variant_key=keys[2],
        holdback=_limit(holdback),
        begin=_limit(begin),
        end=_limit(begin + traffic),
        names=tuple(names),
        limits=tuple(limits),
    )


def _limit(share: Fraction) -> int:
    return round(share * _WHOLE)


def _number(data: bytes, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, key=key, digest_size=16).digest()[:8], "big")


def _encoded(units: Any) -> pa.DictionaryArray:
    """The units as a dictionary array over different texts in NFC."""
    try:
        array = units if isinstance(units, pa.Array | pa.ChunkedArray) else pa.array(units)
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        if not pa.types.is_dictionary(array.type) or array.dictionary.null_count:
            array = array.cast(pa.string()).dictionary_encode()
        texts = array.dictionary.cast(pa.string())
    except (pa.ArrowException, UnicodeError) as error:
        raise ExperimentError(f"units are no texts ({error}). Give the user_key of each as text.") from None
    if not pc.all(pc.string_is_ascii(texts)).as_py():
        texts = pc.utf8_normalize(texts, "NFC")
    return pa.DictionaryArray.from_arrays(array.indices, texts)


def _codes(texts: pa.Array, rules: _Rules) -> NDArray[np.int32]:
    """Place of each text's variant; len(names) for the holdback, -1 for a unit that is not in."""
    if pc.any(pc.equal(pc.binary_length(texts), 0)).as_py():
        raise ExperimentError("a unit without a key cannot be assigned. Give every unit a user_key.")
    octets = texts.cast(pa.binary())
    codes = np.full(len(texts), -1, np.int32)
    inside = np.arange(len(texts))
    if rules.holdback:
        held = _below(_numbers(octets, rules.holdback_key), rules.holdback)
        codes[held] = len(rules.names)
        inside = inside[~held]
    if not rules.is_whole_layer:
        places = _numbers(octets.take(pa.array(inside)), rules.layer_key)
        inside = inside[_below(places, rules.end) & ~_below(places, rules.begin)]
    picked = octets if len(inside) == len(texts) else octets.take(pa.array(inside))
    limits = np.array(rules.limits[:-1], np.uint64)  # the last is 2^64, above every number
    codes[inside] = np.searchsorted(limits, _numbers(picked, rules.variant_key), side="right")
    return codes


def _below(numbers: NDArray[np.uint64], limit: int) -> NDArray[np.bool_]:
    return np.ones(len(numbers), np.bool_) if limit >= _WHOLE else numbers < np.uint64(limit)


def _numbers(octets: pa.Array, key: bytes) -> NDArray[np.uint64]:
    """The keyed number of every unit, (unit,)."""
    blake, made = hashlib.blake2b, [np.empty(0, np.uint64)]
    for begin in range(0, len(octets), _CHUNK):
        some: Sequence[bytes] = octets.slice(begin, _CHUNK).to_numpy(zero_copy_only=False)
        digests = b"".join([blake(data, key=key, digest_size=16).digest() for data in some])
        made.append(np.frombuffer(digests, ">u8")[::2].astype(np.uint64))
    return np.concatenate(made)
