"""Draws that depend on words alone: the same on every machine and in every version of NumPy, and nothing is stored."""

from __future__ import annotations

import hashlib
from statistics import NormalDist


def uniform(*key: str) -> float:
    """Return a number in (0, 1) that depends on the words of the key alone."""
    digest = hashlib.blake2b("\x1f".join(key).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**64


def normal(*key: str) -> float:
    """Return a standard normal draw that depends on the words of the key alone."""
    return NormalDist().inv_cdf(uniform(*key))
