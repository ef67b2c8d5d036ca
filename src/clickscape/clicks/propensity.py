"""Position bias from randomized traffic: where the policy noted how likely it was to show each candidate.

An impression that is weighted with one over its creative's propensity stands for all candidates alike (inverse
propensity weighting; Wang et al., WSDM 2016). The weighted CTR of one list of candidates is then the same at every
position but for the examination, whatever the policy preferred where; no creative has to move.
"""

from __future__ import annotations

import ibis
import numpy as np
from scipy.sparse import coo_array

from clickscape.clicks.cells import Floats, Integers
from clickscape.clicks.likelihood import Levels, climb
from clickscape.clicks.position import Examination, comparable, uncorrected
from clickscape.errors import LogError


def weighted(events: ibis.Table) -> ibis.Table:
    """Events → list (of candidates), position, impressions, unweighted, weight, weighted_clicks, click_variance.

    Reads kind, decision_id, creative_id, position, candidates and propensities of impressions that have a propensity;
    weight = Σ 1 / (propensity × candidates), so that weighted_clicks / weight is the CTR of an evenly drawn candidate.
    click_variance is the Poisson variance of weighted_clicks; `unweighted` counts impressions without a weight.
    """
    shown = events.filter((events.kind == "impression") & events.candidates.notnull() & events.propensities.notnull())
    place = shown.candidates.index(shown.creative_id)  # −1 for a stranger, which would mean the last one
    shown = shown.mutate(propensity=ibis.ifelse(place >= 0, shown.propensities[place], ibis.null("float64")))
    clicked = events.filter(events.kind == "click").select("decision_id", "creative_id", clicked=ibis.literal(1.0))
    joined = shown.left_join(clicked.distinct(), ["decision_id", "creative_id"], rname="{name}_click")
    drawn = joined.select(
        "position",
        list=joined.candidates.sort().join("\x1f"),
        weight=1.0 / (joined.propensity.nullif(0.0) * joined.candidates.length()),
        clicked=joined.clicked.fill_null(0.0),
    )
    return drawn.group_by(["list", "position"]).agg(
        impressions=drawn.count(),
        unweighted=drawn.weight.isnull().sum(),
        weight=drawn.weight.sum(),
        weighted_clicks=(drawn.weight * drawn.clicked).sum(),
        click_variance=(drawn.weight * drawn.weight * drawn.clicked).sum(),
    )


def examine(events: ibis.Table) -> Examination:
    """Examination of every position from impressions with logged propensities; LogError where one is not possible.

    Weighted clicks of each list of candidates fall on the positions as `likelihood` says; log_se (a sandwich) knows
    that a heavy click is one click.
    """
    rows = weighted(events).order_by(["list", "position"]).to_pyarrow()
    if not rows.num_rows:
        return uncorrected((1,), reason="no impression has candidates and propensities")
    if rows["unweighted"].to_numpy().any():
        raise LogError(
            "an impression shows a creative that is no candidate, or one of propensity 0. "
            "Log the candidates and propensities as they were when the creative was drawn."
        )
    _, unit = np.unique(np.asarray(rows["list"].to_pylist(), dtype=object), return_inverse=True)
    positions, column = np.unique(rows["position"].to_numpy(), return_inverse=True)
    places = tuple(positions.tolist())
    weight, clicks = rows["weight"].to_numpy(), rows["weighted_clicks"].to_numpy()
    usable = comparable(unit, column, places, impressions=weight, clicks=clicks)
    if usable.reason:
        return uncorrected(places, reason=usable.reason.replace("creative", "list of candidates"))
    found = climb(
        usable.creative, [Levels(usable.column, len(places))], impressions=usable.impressions, clicks=usable.clicks
    )
    noise = _noise(unit, column, rows["click_variance"].to_numpy(), found.share)
    log_se = np.sqrt(np.maximum((found.covariance @ noise @ found.covariance).diagonal(), 0))
    return Examination(places, tuple(np.exp(found.log_effect).tolist()), tuple(log_se.tolist()))


def _noise(unit: Integers, column: Integers, variance: Floats, share: Floats) -> Floats:
    """Covariance of the score, (position, position): each list's clicks less its share of their sum, added up."""
    own = coo_array((variance, (unit, column)), shape=share.shape).toarray()
    crossed = own.T @ share
    return np.asarray(
        np.diag(own.sum(axis=0)) - crossed - crossed.T + (share * own.sum(axis=1, keepdims=True)).T @ share
    )
