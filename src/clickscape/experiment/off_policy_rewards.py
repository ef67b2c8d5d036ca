"""The direct part of off-policy estimates: the click rate of every creative in every context, from counts.

    clicks ~ Poisson(impressions · product · position · placement · creative)

Products are Gamma distributed around the log's CTR, creatives around their product (or around a score of theirs); how
widely is learned by moments. A creative with few impressions so stays near its product, and one without any is what its
product is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clickscape.experiment.decisions import Decisions, Floats, Integers

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
    seen: Floats = np.asarray(np.bincount(product, clicked, products))
    got: Floats = np.asarray(np.bincount(creative, clicked, count))
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
        expected: Floats = np.asarray(np.bincount(product, exposed * rate, products))
        product_shape = _shape(seen, expected, np.zeros(products))
        of_product = (seen + product_shape) / (expected + product_shape)
        expected = np.asarray(np.bincount(creative, shows * factor_of_places() * rate * of_product[product], count))
        expected = expected * expected_effect
        whole = np.bincount(owner, expected, products)[owner]
        creative_shape = _shape(got, expected, np.divide(expected, whole, out=np.zeros(count), where=whole > 0))
        of_creative = expected_effect * (got + creative_shape) / (expected + creative_shape)
    base = rate * of_product[decisions.product]
    for number, code in enumerate(decisions.places):
        base = base * of_place[number][code]
    return Rewards(base, of_creative)


def _shape(clicks: Floats, expected: Floats, share: Floats) -> float:
    """Shape of the Gamma by moments: 1 / variance of the factor beyond Poisson noise.

    share: of what the expectation was fitted to, for which a part of the noise is gone.
    """
    surplus = float(((clicks - expected) ** 2 - expected * (1 - share)).sum())
    weight = float((expected**2 * (1 - share) ** 2).sum())
    return float(np.clip(weight / surplus, *_SHAPES)) if surplus > 0 and weight > 0 else _SHAPES[1]
