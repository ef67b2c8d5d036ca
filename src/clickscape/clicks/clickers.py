"""Users who click too often to be people, however slowly they do it.

People differ in how often they click, and by how much is learned from the log: a user's clicks are Poisson around
impressions × the log's CTR × a personal factor, which is Gamma distributed around 1. Left out is who has so many clicks
that of all users of the log not even `false_alarms` would have as many if they were people. That asks for many clicks
*and* a CTR far above everybody's: a heavy user with an ordinary CTR stays, and a bot with an ordinary CTR, too, which
hardly moves a comparison of creatives.
"""

from __future__ import annotations

from collections.abc import Callable

import ibis
from ibis import _

LEAST_VARIANCE = 0.25
"""Variance of the personal factor, at least: of 400 people one then clicks three times as often as the average."""

_ROUNDS = 3  # the first takes people for alike, the others learn how they differ without those whom it suspects

_ERRORS = 2.0  # standard errors by which CTR and variance are taken to be larger than they were found


def improbable_clickers(
    events: ibis.Table,
    *,
    clicked: ibis.Table | None = None,
    false_alarms: float,
    keep: Callable[[ibis.Table], ibis.Table] = lambda table: table,
) -> ibis.Table:
    """Return the user_key of users who click too often to be people.

    events: kind, decision_id, creative_id, user_key. clicked: their `clicked_impressions`, where they are there
    already. false_alarms: people who may be among them, expected per log. keep: as of `cleaning.Engine`. CTR and
    variance are learned without the users whom the round before found, so that bots do not hide behind the CTR and the
    variance that they cause. An event without user tells nothing.
    """
    users = clicks_by_user(events, clicked_impressions(events) if clicked is None else clicked)
    return improbable_users(keep(users), false_alarms=false_alarms, keep=keep)


def improbable_users(
    users: ibis.Table, *, false_alarms: float, keep: Callable[[ibis.Table], ibis.Table]
) -> ibis.Table:  # fmt: skip
    """Return the user_key of those with too many clicks; users: as of `clicks_by_user`, and kept."""
    size = users.aggregate(users=_.count(), average=_.shown.mean())
    # a user counts with the average user's impressions at most: a few with half of the log are not what people are
    users = users.cross_join(size).mutate(weight=ibis.least(1.0, _.average / _.shown))
    people = moments(users).mutate(variance=ibis.literal(LEAST_VARIANCE))
    for _round in range(_ROUNDS):
        found = keep(improbable(users, people, false_alarms))
        people = moments(users.anti_join(found, "user_key"))
    return found


def clicked_impressions(events: ibis.Table) -> ibis.Table:
    """Return the impressions whose decision and creative a click names: who saw them, when and where."""
    key = ["decision_id", "creative_id"]
    clicks, impressions = (events.filter(events.kind == kind) for kind in ("click", "impression"))
    return impressions.semi_join(clicks.select(key), key).drop(
        *(name for name in ("event_id", "product_id", "kind") if name in events.columns)
    )


def clicks_by_user(events: ibis.Table, clicked: ibis.Table) -> ibis.Table:
    """Return per user_key the impressions, `shown`, and of how many decisions one was `clicked`.

    clicked: `clicked_impressions` of the events. Only a click on an impression of the same user counts: where a log
    writes the two under different keys, there is nothing to compare.
    """
    key = ["decision_id", "creative_id", "user_key"]
    known = events.filter(events.user_key.notnull())
    clicks = known.filter(known.kind == "click").select(key)
    own = clicked.semi_join(clicks, key).group_by("user_key").agg(clicked=_.decision_id.nunique())
    seen = known.filter(known.kind == "impression").group_by("user_key").agg(shown=_.count())
    return seen.left_join(own, "user_key").select("user_key", "shown", clicked=_.clicked.fill_null(0))


def moments(users: ibis.Table) -> ibis.Table:
    """One row: CTR of these users and the variance of their personal factors, from the first two moments of clicks."""
    sums = users.aggregate(
        shown=(_.weight * _.shown).sum(),
        squares=((_.weight * _.shown) * (_.weight * _.shown)).sum(),
        clicked=(_.weight * _.clicked).sum(),
        couples=(_.weight * _.weight * _.clicked * (_.clicked - 1)).sum(),
    ).filter(_.shown > 0)
    sums = sums.mutate(expected=(_.clicked + 0.5) * (_.clicked + 0.5) * _.squares / (_.shown * _.shown))
    variance = sums.couples / sums.expected - 1 + _ERRORS * (2 / sums.expected).sqrt()
    return sums.select(
        ctr=(_.clicked + _ERRORS * (_.clicked + 1).sqrt() + 1) / _.shown,
        variance=ibis.greatest(LEAST_VARIANCE, variance),
    )


def improbable(users: ibis.Table, people: ibis.Table, false_alarms: float) -> ibis.Table:
    """The user_key of users whose clicks are too many, by Chernoff's bound of the negative binomial's tail."""
    rows = users.filter(_.clicked > 1).cross_join(people).mutate(mean=_.ctr * _.shown, shape=1 / _.variance)
    bound = (
        rows.clicked * (rows.clicked / rows["mean"]).ln()
        - (rows.clicked + rows["shape"]) * ((rows.clicked + rows["shape"]) / (rows["mean"] + rows["shape"])).ln()
    )
    unlikely = (bound > (rows.users / false_alarms).ln()) & (rows.clicked > rows["mean"])
    return rows.filter(unlikely).select("user_key")
