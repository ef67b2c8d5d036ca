"""A price is read as it is meant, or not at all."""

from __future__ import annotations

from decimal import Decimal

import pytest

from clickscape.catalog.formats.price import read_price


@pytest.mark.parametrize(
    ("written", "amount", "currencies"),
    [
        ("12,99", 12.99, ""),
        ("12,9", 12.9, ""),
        ("12.99 usd", 12.99, "USD"),
        ("€12.99", 12.99, "EUR"),
        ("12,99 €", 12.99, "EUR"),
        ("&euro;12,99", 12.99, "EUR"),
        ("1.299,00 €", 1299.0, "EUR"),
        ("1,299.00 USD", 1299.0, "USD"),
        ("1.299.000,5", 1299000.5, ""),
        ("1,299,000", 1299000.0, ""),
        ("1 299,50 EUR", 1299.5, "EUR"),
        ("1\u202f299\xa0€", 1299.0, "EUR"),
        ("CHF 1'299.-", 1299.0, "CHF"),
        ("₹1,23,456.00", 123456.0, "INR"),
        ("$12.99", 12.99, ""),
        ("$12.99 CAD", 12.99, "CAD"),
        ("EUR12", 12.0, "EUR"),
        ("0.125", 0.125, ""),
        ("0,125", 0.125, ""),
        ("1299,000", 1299.0, ""),
        ("1.299 KWD", 1.299, "KWD"),
        (".99", 0.99, ""),
        ("€5 USD", 5.0, "EUR USD"),
        (Decimal("5.000"), 5.0, ""),
        (1.299, 1.299, ""),
        (5, 5.0, ""),
        (10**400, float("inf"), ""),
    ],
)
def test_a_price_with_one_meaning_is_read(written: object, amount: float, currencies: str) -> None:
    assert read_price(written) == (amount, frozenset(currencies.split()))


@pytest.mark.parametrize(
    "written",
    [
        *(
            "1,299",
            "1.299",
            "1.299 €",
            "1,299 KWD",
            "12,34,56",
            "1.2.3",
            "1,29.00",
            "1.299,00,00",
            "12-13",
            "12.99 - 15",
        ),
        *("free", "", None, True, "-5", "12..", ",", "€", "1 2", "1e3", "12 EUR/kg", "12.99 EURO", "1 29", "0,299.00"),
        *("NaN", "inf"),
    ],
)
def test_a_price_with_two_meanings_or_none_is_not(written: object) -> None:
    assert read_price(written) is None
