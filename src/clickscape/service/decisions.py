"""Decision ids: a choice, signed, in 58 characters: choosing writes nothing, and an event proves what was chosen.

An id holds who chose what when, and a keyed BLAKE2b tag; the policy that it names lists candidates and propensities.
Whoever lacks the key cannot make one, so nobody can invent impressions of a creative that was never chosen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import dataclass

_LAYOUT = struct.Struct(">Q8s8sIHB")  # nonce, user, policy, second, candidate, flags
_TAG = 12
_HOLDBACK, _STALE = 1, 2
_PLACE = 2  # bits of the flags before the position, which is 0 where nobody said
MOST_POSITIONS = 63
_LENGTH = 4 * ((_LAYOUT.size + _TAG) // 3)
assert (_LAYOUT.size + _TAG) % 3 == 1  # two characters more, and no padding to forge


@dataclass(frozen=True, slots=True)
class Decision:
    """Which of a policy's candidates was chosen for a user, and when.

    nonce: 64 random bits, the decision's name in every table; user, policy: 16 hexadecimal digits; second: since 1970,
    UTC; candidate: its place in the policy's list; holdback: whether the user is one that the bandit leaves alone;
    stale: whether the store did not answer, so that the last policy that was known chose; position: where the ad was
    to stand, 1 to MOST_POSITIONS, None where nobody said.
    """

    nonce: int
    user: str
    policy: str
    second: int
    candidate: int
    holdback: bool = False
    stale: bool = False
    position: int | None = None

    @property
    def name(self) -> str:
        """The decision's name in tables: 16 hexadecimal digits, without the user that the signed id holds."""
        return f"{self.nonce:016x}"


def sign(decision: Decision, key: bytes) -> str:
    """Return the decision as a URL-safe text with its tag; `key`: at least 16 secret bytes."""
    flags = _HOLDBACK * decision.holdback | _STALE * decision.stale | (decision.position or 0) << _PLACE
    user, policy = bytes.fromhex(decision.user), bytes.fromhex(decision.policy)
    packed = _LAYOUT.pack(decision.nonce, user, policy, decision.second, decision.candidate, flags)
    return base64.urlsafe_b64encode(packed + _tag(packed, key)).rstrip(b"=").decode()


def verify(text: str, key: bytes) -> Decision | None:
    """Return the decision that a text signs with this key, None for anything else."""
    if len(text) != _LENGTH + 2 or not text.isascii():
        return None
    try:
        data = base64.b64decode(text + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    packed, tag = data[: _LAYOUT.size], data[_LAYOUT.size :]
    if not hmac.compare_digest(tag, _tag(packed, key)):
        return None
    nonce, user, policy, second, candidate, flags = _LAYOUT.unpack(packed)
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:  # spare bits of the last character
        return None
    return Decision(
        nonce, user.hex(), policy.hex(), second, candidate, bool(flags & _HOLDBACK), bool(flags & _STALE),
        flags >> _PLACE or None,
    )  # fmt: skip


def hashed_user(user_key: str, key: bytes) -> str:
    """Return the keyed hash under which a user is kept, 16 hexadecimal digits; the user's own key is kept nowhere."""
    return hashlib.blake2b(
        user_key.encode("utf-8", "surrogatepass"), digest_size=8, key=key, person=b"user"
    ).hexdigest()


def _tag(packed: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(packed, digest_size=_TAG, key=key, person=b"decision").digest()
