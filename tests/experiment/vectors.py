"""The places of units in [0, 1), written a second time from the description alone."""

from __future__ import annotations

import hashlib
import unicodedata

from tests.experiment.conftest import KEY


def place(unit: str, purpose: str) -> float:
    """u / 2^64, cut to six digits."""
    own = hashlib.blake2b(purpose.encode(), key=KEY, digest_size=32).digest()
    digest = hashlib.blake2b(unicodedata.normalize("NFC", unit).encode(), key=own, digest_size=16).digest()
    return int.from_bytes(digest[:8], "big") * 10**6 // 2**64 / 10**6
