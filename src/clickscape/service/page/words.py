"""Numbers as people read them: clicks per impression and lifts in percent, each with its interval."""

from __future__ import annotations

import math

from clickscape.types import Estimate

_Z = 1.959963984540054  # of a two-sided interval of 95 %
_WIDEST = math.log(4)  # of half an interval in log odds: one from a quarter to four times as many clicks says nothing


def ctr(clicks: int, impressions: int) -> Estimate | None:
    """Return clicks per impression with Wilson's 95 % interval (Wilson 1927), None without impressions.

    Impressions are taken for independent, which those of one user are not quite.
    """
    if impressions <= 0:
        return None
    share, extra = clicks / impressions, _Z * _Z / impressions
    middle = (share + extra / 2) / (1 + extra)
    half = _Z / (1 + extra) * math.sqrt(share * (1 - share) / impressions + extra / (4 * impressions))
    return Estimate(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def predicted(score: float | None, score_sd: float | None) -> Estimate | None:
    """Return the lift of CTR that a score says, a log CTR against the product's average ad, with its 95 % interval.

    None where nothing was predicted, or with an interval that is too wide to go by.
    """
    if score is None or score_sd is None or _Z * score_sd > _WIDEST:
        return None
    value, low, high = (math.exp(score + z * score_sd) - 1 for z in (0.0, -_Z, _Z))
    return Estimate(value, low, high)


def percent(value: float, digits: int = 1) -> str:
    """Return a share as a percentage; number and sign stay on one line."""
    return f"{100 * value:.{digits}f}\u00a0%"


def change(value: float, digits: int = 0) -> str:
    """Return a relative change as a percentage with its sign; a minus is a minus, not a hyphen."""
    if abs(value) < 10:
        return f"{100 * value:+.{digits}f}\u00a0%".replace("-", "−")
    return f"{1 + value:,.0f} times"


def count(value: int) -> str:
    """Return a number with its thousands apart."""
    return f"{value:,}".replace(",", "\u202f")


def sentence(text: str) -> str:
    """Return a message of the service with a capital letter."""
    return text[:1].upper() + text[1:]
