"""The direct part of off-policy estimates: the click rate of every creative in every context, from counts.

    clicks ~ Poisson(impressions · product · position · placement · creative)

Products are Gamma distributed around the log's CTR, creatives around their product (or around a score of theirs); how
widely is learned by moments. A creative with few impressions so stays near its product, and one without any is what its
product is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clickscape.experiment.decisions import Decisions, Floats, Integers, totals

_ROUNDS = 6
_FIRST_SHAPE = 10.0  # clicks that a prior counts for before anything is learned
_SHAPES = (0.5, 1e4)


@dataclass(frozen=True, eq=False)
class Rewards:
    """Click rates as a product: base (set,) of the context, effect (creative,)."""

    base: Floats
    effect: Floats

    def of(self, sets: Integers, creatives: Integers) -> Floats:
        """Return the rates of creatives in sets, (row,); a creative beyond those that were fitted has the effect 1."""
        known = np.append(self.effect, 1.0)
        return self.base[sets] * known[np.minimum(creatives, len(self.effect))]


def fit_rewards(decisions: Decisions, *, impressions: Floats, clicks: Floats, prior: Floats | None = None) -> Rewards:
    """Fit rates to counts of the entries, both (entry,); prior: (creative,) expected effects, 1 where None.

    A fit without any impression says 0 everywhere: then nothing is known.
    """
    shown = np.flatnonzero(impressions > 0)
    count = len(decisions.creatives)
    expected_effect = np.ones(count) if prior is None else prior
    if not len(shown):
        return Rewards(np.zeros(len(decisions.product)), expected_effect)
    sets, creative = decisions.set_of_entry[shown], decisions.creative[shown]
    product, places = decisions.product[sets], [code[sets] for code in decisions.places]
    shows, clicked = impressions[shown], clicks[shown]
    products = len(decisions.products)
    of_product, of_creative = np.ones(products), expected_effect.copy()
    of_place = [np.ones(int(code.max()) + 1) for code in decisions.places]
    product_shape = creative_shape = _FIRST_SHAPE
    seen = totals(product, clicked, products)
    got = totals(creative, clicked, count)
    owner = np.zeros(count, np.int64)
    owner[creative] = product
    rate = (clicked.sum() + 0.5) / (shows.sum() + 1)

    def factor_of_places(but: int = -1) -> Floats:
        made = np.ones(len(shows))
        for number, code in enumerate(places):
            if number != but:
                made *= of_place[number][code]
        return made

    for _ in range(_ROUNDS):
        for number, code in enumerate(places):
            exposed = shows * of_product[product] * rate * of_creative[creative] * factor_of_places(but=number)
            size = len(of_place[number])
            of_place[number] = (np.bincount(code, clicked, size) + 1) / (np.bincount(code, exposed, size) + 1)
        exposed = shows * factor_of_places() * of_creative[creative]
        rate = (clicked.sum() + 0.5) / (exposed.sum() + 0.5 / rate)
        expected = totals(product, exposed * rate, products)
        product_shape = _shape(_variance(seen, expected))
        of_product = (seen + product_shape) / (expected + product_shape)
        expected = totals(creative, shows * factor_of_places() * rate * of_product[product], count)
        expected = expected * expected_effect
        creative_shape = _shape(_variance(got, expected, owner))
        of_creative = expected_effect * (got + creative_shape) / (expected + creative_shape)
    base = rate * of_product[decisions.product]
    for number, code in enumerate(decisions.places):
        base = base * of_place[number][code]
    return Rewards(base, of_creative)


def residual_variance(decisions: Decisions, impressions: Floats, clicks: Floats, rate: Floats) -> float:
    """Return the variance of what creatives do beyond their rates, as a share of them, by moments; all (entry,)."""
    count = len(decisions.creatives)
    owner = np.zeros(count, np.int64)
    owner[decisions.creative] = decisions.product[decisions.set_of_entry]
    expected = totals(decisions.creative, impressions * rate, count)
    return _variance(totals(decisions.creative, clicks, count), expected, owner)


def _shape(variance: float) -> float:
    """Shape of the Gamma whose factors have this variance."""
    return float(np.clip(1 / variance, *_SHAPES)) if variance > 0 else _SHAPES[1]


def _variance(clicks: Floats, expected: Floats, owner: Integers | None = None) -> float:
    """Variance of the factors on expected clicks beyond Poisson noise, by moments; clicks, expected: (name,).

    owner: (name,) of whose clicks these are the parts, in which only differences between the parts count.
    """
    noise, spread = expected, expected**2
    if owner is not None:
        whole = np.bincount(owner, expected)[owner]
        share = np.divide(expected, whole, out=np.zeros(len(expected)), where=whole > 0)
        expected = share * np.bincount(owner, clicks)[owner]
        noise = expected * (1 - share)
        spread = expected**2 * (1 - 2 * share + np.bincount(owner, share**2)[owner])
    surplus = float(((clicks - expected) ** 2 - noise).sum())
    return max(surplus / float(spread.sum()), 0.0) if spread.any() else 0.0
