"""Read the amount and the currency of a price as shops write it, where both have one meaning."""

from __future__ import annotations

import re
from decimal import Decimal

from clickscape.catalog.formats.row import plain_words

CURRENCY = re.compile(r"[A-Z]{3}")

_SIGNS = {"€": "EUR", "£": "GBP", "₹": "INR", "₩": "KRW", "₺": "TRY", "₫": "VND", "₴": "UAH", "₱": "PHP", "₪": "ILS"}
_SHARED = {"$": "", "¥": ""}  # several countries' own: the amount is clear, the currency is not
_SIGN = "[A-Z]{3}|[" + "".join((*_SIGNS, *_SHARED)) + "]"
_PRICE = re.compile(
    rf"(?P<before>(?:(?:{_SIGN}) ?){{0,2}})(?P<amount>[0-9.,][0-9., '’–—-]*?) ?(?P<after>(?:(?:{_SIGN}) ?){{0,2}})"
)
_PLAIN = re.compile(r"(?P<whole>[0-9]*)(?:(?P<point>[.,])(?P<rest>[0-9]+))?")
_GROUPED = re.compile(
    r"[1-9][0-9]{0,2}(?P<mark>[ '’.,])(?:[0-9]{3}(?P=mark))*[0-9]{3}(?:(?!(?P=mark))(?P<point>[.,])[0-9]+)?"
)
_INDIAN = re.compile(r"[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}(?:(?P<point>\.)[0-9]+)?")
_ROUND = re.compile(r"[.,][–—-]{1,2}$")  # 12,- for 12
_THOUSANDTHS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


def sign(text: str) -> str:
    """The currency's code for its sign (€), any other text as it is."""
    return _SIGNS.get(text, text)


def read_price(value: object) -> tuple[float, frozenset[str]] | None:
    """The amount and the currencies that are named beside it; None where there is none, or where it has two meanings.

    12,99 and 1.299,00 and €12.99 are clear. 1,299 and 1.299 are not, but in a currency of thousandths.
    """
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return float(str(value)), frozenset()  # a giant whole number is inf
    found = _PRICE.fullmatch(plain_words(value).upper())
    if not found:
        return None
    named = re.findall(_SIGN, f"{found['before']} {found['after']}")
    codes = frozenset(sign(name) for name in named if name not in _SHARED)
    amount = _amount(found["amount"], thousandths=bool(codes & _THOUSANDTHS))
    return None if amount is None else (amount, codes)


def _amount(text: str, *, thousandths: bool) -> float | None:
    text = _ROUND.sub("", text)
    if (plain := _PLAIN.fullmatch(text)) and (plain["whole"] or plain["rest"]):
        whole, rest = plain["whole"] or "0", plain["rest"] or "0"
        is_unclear = len(rest) == 3 and len(whole) <= 3 and whole[0] != "0"
        if is_unclear and not (thousandths and plain["point"] == "."):
            return None
        return float(f"{whole}.{rest}")
    if not (grouped := _GROUPED.fullmatch(text) or _INDIAN.fullmatch(text)):
        return None
    whole, rest = text.rsplit(grouped["point"], 1) if grouped["point"] else (text, "0")
    return float(f"{re.sub('[^0-9]', '', whole)}.{rest}")
