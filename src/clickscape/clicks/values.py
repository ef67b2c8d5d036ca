"""Values of a log in clickscape's own types: ids as texts, counts as whole numbers, times as seconds since 1970 in UTC.

Nothing is rounded and nothing guessed: a value that is no whole number or no time becomes null, and the text that came
is kept beside it, so that a check can refuse it with its own words. `PORTABLE` means the same on every engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ibis

from clickscape.errors import LogError

EARLIEST, LATEST = 946_684_800, 4_102_444_800
"""The years 2000 and 2100: a time outside of them was written or read in another unit."""

_EXACT = 2.0**53  # a float beyond it is no count
_WHOLE = r"^[+-]?[0-9]{1,15}([.]0*)?$"
_THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}[.]000$"  # 1.000 is one to some and a thousand to others
_ZONE = r"[ 0-9][A-Za-z]{2,5}$"  # BST, CST and IST are several zones each
_EPOCH = r"^[0-8]?[0-9]{9,18}([.][0-9]*)?$"


@dataclass(frozen=True)
class Values:
    """How an engine converts: `seconds`, timestamps or texts of them; `normalize`, texts to Unicode NFC."""

    seconds: Callable[[Any], Any]
    normalize: Callable[[Any], Any] | None = None


def text(column: Any, *, where: str) -> Any:
    """Return ids or names as texts, null for empty ones as in a CSV.

    LogError for numbers with a fraction, of which 7 and 7.0 are two spellings.
    """
    kind = column.type()
    if kind.is_string():
        return column.nullif("")
    if kind.is_integer() or kind.is_boolean() or kind.is_uuid() or kind.is_null() or _is_whole_decimal(kind):
        return column.cast("string")
    raise LogError(
        f"{where}: column {column.get_name()!r} is {kind}, expected text or whole numbers, for 7.0 is "
        f"another id than 7. Write it as text."
    )


def whole(column: Any) -> Any:
    """Return a column as int64, null where it is not a whole number: 48.6 is not rounded, in whatever type it came."""
    kind = column.type()
    if kind.is_integer():
        return column.cast("int64")
    if kind.is_floating():  # NaN >= 0 is true in DuckDB, false elsewhere
        usable = ~column.isnan() & ~column.isinf() & (column == column.floor()) & (column.abs() < _EXACT)
        return ibis.ifelse(usable, column, ibis.null(kind)).cast("int64")
    number = column.cast("string").strip()
    if kind.is_string():
        number = ibis.ifelse(number.re_search(_THOUSANDS), ibis.null("string"), number)
    return _digits(number, _WHOLE)


def seconds(column: Any, *, where: str, engine: Values) -> Any:
    """Return times as whole seconds since 1970, UTC, rounded down; null where a text is no time.

    A time without zone is UTC. Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970, whichever
    puts them between 2000 and 2100: no two do.
    """
    kind = column.type()
    if kind.is_timestamp():
        return engine.seconds(column)
    if kind.is_date():
        return engine.seconds(column.cast("timestamp"))
    if kind.is_string():
        number = _digits(column.strip(), _EPOCH)
        clear = number.isnull() & (~column.re_search(_ZONE) | column.endswith("UTC") | column.endswith("GMT"))
        time = engine.seconds(ibis.ifelse(clear, column, ibis.null("string")))
        return ibis.coalesce(_from_epoch(number), time)
    if kind.is_integer():
        return _from_epoch(column.cast("int64"))
    if kind.is_floating() or kind.is_decimal():
        number = column.cast("float64")
        usable = ~number.isnan() & ~number.isinf() & (number.abs() < 2.0**62)
        return _from_epoch(ibis.ifelse(usable, number, ibis.null("float64")).floor().cast("int64"))
    raise LogError(f"{where}: column {column.get_name()!r} is {kind}, expected a timestamp. Convert it.")


def day(column: Any, *, where: str) -> Any:
    """Return the days of counts as dates."""
    if not (column.type().is_string() or column.type().is_temporal()):
        raise LogError(f"{where}: column {column.get_name()!r} is {column.type()}, expected a date. Convert it.")
    return column.cast("date")


def is_number(text: Any) -> Any:
    """Return whether the text of a time is a number, for which `seconds` finds the unit."""
    return text.re_search(r"^ *[0-9][0-9.e+]*$")


def portable_seconds(time: Any) -> Any:
    """Return a timestamp, or a text of one, as whole seconds since 1970: engines differ in how they cast a fraction."""
    if time.type().is_string():
        time = time.cast("timestamp('UTC')")
    return time.epoch_seconds().floor().cast("int64")


PORTABLE = Values(portable_seconds)
"""For any engine: it stops with an error of its own at a text that is no time, and leaves accents as they are."""


def _digits(text: Any, pattern: str) -> Any:
    """The whole number before the point of texts of this pattern, as int64; other texts are null."""
    number = text.re_replace(r"[.][0-9]*$", "")
    # what does not match is null before the cast, for engines may cast all rows
    return ibis.ifelse(text.re_search(pattern), number, ibis.null("string")).cast("int64")


def _from_epoch(number: Any) -> Any:
    size = number.abs()
    return ibis.cases(
        (size < 10**11, number),
        (size < 10**14, number // 1_000),
        (size < 10**17, number // 1_000_000),
        else_=number // 1_000_000_000,
    ).cast("int64")


def _is_whole_decimal(kind: Any) -> bool:
    return bool(kind.is_decimal() and not kind.scale)
