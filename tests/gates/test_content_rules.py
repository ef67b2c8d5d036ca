"""The content rules gate: every rule has its source and catches its phrases as whole words, never the studio's own."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.catalog import sample
from clickscape.errors import ConfigError
from clickscape.gates import content_rules
from clickscape.gates.wording import find_phrase
from clickscape.render.language import lexicon
from clickscape.types import Product

RULES = {rule.name: rule for rule in content_rules.load()}


def broken(text: str, **given_rules: object) -> list[str]:
    return [breach.rule for breach in content_rules.check(text, **given_rules)]  # type: ignore[arg-type]


def test_every_rule_names_a_public_page_and_when_it_was_read() -> None:
    assert len(RULES) == len(content_rules.load()) >= 8
    for rule in RULES.values():
        assert "support.google.com/" in rule.source or "transparency.meta.com/" in rule.source
        assert rule.checked >= date(2026, 1, 1)
        for phrases in rule.phrases.values():
            assert len({phrase.casefold() for phrase in phrases}) == len(phrases)


@pytest.mark.parametrize("name", RULES)
def test_every_phrase_is_caught_in_its_language(name: str) -> None:
    rule = RULES[name]
    for language, phrase in [(language, phrase) for language, said in rule.phrases.items() for phrase in said]:
        found = content_rules.check(f"oak table, {phrase.upper()}, soft light", language=language, minors=True)
        caught = [(one.reason, one.source, one.checked) for one in found if one.rule == name]
        assert caught == [(rule.reason, rule.source, rule.checked.isoformat())], (language, phrase)


@pytest.mark.parametrize("slot", lexicon.PHRASES)
def test_nothing_that_the_studio_draws_is_refused(slot: str) -> None:
    for phrase in [phrase for phrases in lexicon.PHRASES[slot].values() for phrase in phrases]:
        assert broken(phrase, minors=True) == [], phrase


def test_a_forbidden_word_is_not_found_inside_another_word() -> None:
    assert broken("gunmetal begonia vase, cigar-box oak, wordsmith desk, ginger, skilled hands") == ["tobacco"]
    assert broken("gunmetal begonia vase, ginger, drum, marginal") == []


@pytest.mark.parametrize("text", ["a g\u200bun", "G\u00adUN on oak", "gu\u0301n", "sale-sign", "ｇｕｎ", "a gun."])
def test_invisible_letters_and_accents_do_not_hide_a_word(text: str) -> None:
    assert broken(text) in (["weapons"], ["text"])


def test_alcohol_is_refused_where_minors_are_and_only_there() -> None:
    assert broken("oak bar with a glass of wine") == []
    assert broken("oak bar with a glass of wine", minors=True) == ["alcohol near minors"]
    toy = Product("T", "Vroomly Race Car", ("Toys",))
    cup = Product("C", "Coffee Mug", ("Home", "Kitchen"))
    assert content_rules.concerns_minors(toy)
    assert content_rules.concerns_minors(Product("K", "Rain Boots", attributes={"age_group": "kids"}))
    assert not content_rules.concerns_minors(cup)
    assert content_rules.concerns_minors(Product("K", "Regenstiefel für Kinder"), language="de")
    toys = {one.department for one in sample.products() if content_rules.concerns_minors(one)}
    assert "Toys" in toys


def test_words_of_another_language_hold_for_that_language() -> None:
    """German Gift is poison and English gift a present: what a language forbids is forbidden in it alone."""
    assert broken("Tisch aus Eiche mit Waffe", language="de") == ["weapons"]
    assert broken("Tisch aus Eiche mit Waffe") == []
    assert broken("table with a gun", language="de") == ["weapons"], "English holds everywhere"


def test_the_users_own_words_are_refused_last_and_rules_can_be_let_go() -> None:
    text = "billboard of Acme beside neon lemons"
    assert broken(text, avoid=["lemons"], competitors=["ACME"]) == ["text", "competitors", "avoid"]
    assert broken(text, allow=["text"]) == []
    with pytest.raises(ConfigError, match="no content rule 'txt'; expected some of: weapons, drugs"):
        content_rules.check(text, allow=["txt"])


@given(st.text(max_size=40), st.text(max_size=12))
def test_a_phrase_is_found_in_any_text_that_contains_it(text: str, phrase: str) -> None:
    if any(letter.isascii() and letter.isalnum() for letter in phrase):
        assert find_phrase(f"{text} {phrase} {text}", [phrase]) == phrase
