"""Exposure of impressions: what multiplies a CTR besides the creative, position and strata.

A stratum is a day, a placement, a device or an audience; its effect is one factor on every CTR of the log, estimated
from creatives that were shown in several strata, together with the positions. A creative that was shown on better days
has more expected examinations per impression, and so does not win by its days.

Impressions without a position, in a log of which others have one, are such a stratum: where they stood is not guessed,
and how they compare with the first position is learned from creatives that were shown in both ways.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from clickscape.clicks.cells import Cells, Factor, Floats
from clickscape.clicks.likelihood import Maximum, maximize
from clickscape.clicks.position import Examination, comparable_rows, uncorrected

MAX_VALUES = 400
"""Positions, and values of a stratum column, at most; with more it is an identifier, not a stratum."""

_PRIOR_PRECISION = 1.0  # log effects of strata are about N(0, 1): e times more or less, far wider than days differ
_NEGLIGIBLE = 1e-3  # shared errors whose root mean square over the creatives is smaller are dropped


@dataclass(frozen=True)
class Stratum:
    """Effects of one column on the CTR, 1 on the average impression, and of `POSITIONED` 1 where there is a position.

    `reason` says why it was left out.

    `values`, `effect`, `log_se` (standard error of the log): (value,).
    """

    name: str
    values: tuple[str, ...]
    effect: tuple[float, ...]
    log_se: tuple[float, ...]
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class Exposure:
    """Estimated examination and strata, and the expected examinations per impression that follow.

    multiplier: (row,), expected examinations per impression. shared_errors: (creative, error), by how much a creative's
    log expected examinations are off per standard error of independent errors that all creatives share.
    """

    examination: Examination
    strata: tuple[Stratum, ...]
    multiplier: Floats
    shared_errors: Floats


def fit_exposure(cells: Cells, *, position_correction: bool, within_strata: bool) -> Exposure:
    """Estimate the exposure by maximum likelihood, given each creative's clicks; log effects of strata have a prior.

    The prior, N(0, 1), only matters where nothing else decides: days that share no creative are taken to differ little,
    and the shared errors widen every comparison across them.
    """
    examination, rows = _positions(cells, position_correction)
    used, left_out = _usable(cells.strata) if within_strata else ((), ())
    if cells.positioned is not None and position_correction:
        used = (cells.positioned, *used)
    factors = [] if rows is None or cells.position is None else [replace(cells.position, code=rows[1])]
    creative, impressions, clicks = (
        (cells.creative, cells.impressions, cells.clicks) if rows is None else (rows[0], rows[2], rows[3])
    )
    extra = len(creative) - len(cells.creative)  # the imaginary creative's rows all lie in one stratum
    for factor in used:
        code = np.concatenate([factor.code, np.zeros(extra, dtype=np.int64)])
        factors.append(replace(factor, code=code, precision=_PRIOR_PRECISION))
    if not factors:
        return Exposure(examination, left_out, np.ones(len(cells.creative)), np.zeros((len(cells.creatives), 0)))
    found = maximize(creative, factors, impressions=impressions, clicks=clicks)
    return _assemble(cells, examination, used, left_out, found)


def _positions(cells: Cells, correct: bool) -> tuple[Examination, tuple | None]:
    """The examination when it is not to be estimated, else the rows to estimate it on."""
    if cells.position is None:
        return uncorrected((1,), reason="the log has no positions"), None
    positions = tuple(int(value) for value in cells.position.values)
    if not correct:
        return uncorrected(positions, reason="position_correction is off"), None
    if len(positions) > MAX_VALUES:
        return uncorrected(positions, reason=f"{len(positions):,} positions; at most {MAX_VALUES} are corrected"), None
    has = 1 if cells.positioned is None else cells.positioned.code  # whoever has none did not move between positions
    rows = comparable_rows(
        cells.creative, cells.position.code, positions, impressions=has * cells.impressions, clicks=has * cells.clicks
    )
    if rows.reason:
        return uncorrected(positions, reason=rows.reason), None
    added = slice(len(cells.creative), None)
    impressions, clicks = (
        np.concatenate([all_rows, found[added]])
        for all_rows, found in ((cells.impressions, rows.impressions), (cells.clicks, rows.clicks))
    )
    return Examination(positions, (), ()), (rows.creative, rows.column, impressions, clicks)


def _usable(strata: tuple[Factor, ...]) -> tuple[tuple[Factor, ...], tuple[Stratum, ...]]:
    """The strata to estimate, and those left out with the reason; a single value cannot favor a creative."""
    used, left_out = [], []
    for factor in strata:
        if len(factor.values) > MAX_VALUES:
            reason = f"{len(factor.values):,} values; a stratum has at most {MAX_VALUES}"
            left_out.append(Stratum(factor.name, (), (), (), reason))
        elif len(factor.values) > 1:
            used.append(factor)
        else:
            left_out.append(Stratum(factor.name, factor.values, (1.0,), (0.0,), "the same for every impression"))
    return tuple(used), tuple(left_out)


def _assemble(
    cells: Cells, examination: Examination, used: tuple[Factor, ...], left_out: tuple[Stratum, ...], found: Maximum
) -> Exposure:
    log_effect, covariance = found.log_effect.copy(), found.covariance
    typical = np.zeros_like(log_effect)  # (level,): what a shared error is measured from
    multiplier = np.ones(len(cells.creative))
    strata: list[Stratum] = []
    start = 0
    if examination.corrected:
        start = len(examination.positions)
        assert cells.position is not None
        probability = np.exp(log_effect[:start])
        log_se = np.sqrt(np.maximum(covariance.diagonal()[:start], 0))
        examination = Examination(examination.positions, tuple(probability.tolist()), tuple(log_se.tolist()))
        multiplier *= probability[cells.position.code]
    for factor in used:
        levels = slice(start, start + len(factor.values))
        volume = np.bincount(factor.code, weights=cells.impressions, minlength=len(factor.values))
        if factor.reference is not None:
            volume = volume * (np.arange(len(volume)) == factor.reference)
        weighted = volume * np.exp(log_effect[levels])
        effect = np.exp(log_effect[levels]) * volume.sum() / weighted.sum()
        typical[levels] = weighted / weighted.sum()
        away = np.eye(len(factor.values)) - typical[levels]
        variance = np.einsum("ij,jk,ik->i", away, covariance[levels, levels], away)
        strata.append(
            Stratum(
                factor.name, factor.values, tuple(effect.tolist()), tuple(np.sqrt(np.maximum(variance, 0)).tolist())
            )
        )
        multiplier *= effect[factor.code]
        start = levels.stop
    share = found.share[: len(cells.creatives)]
    return Exposure(examination, (*strata, *left_out), multiplier, _shared_errors(share - typical, covariance))


def _shared_errors(away: Floats, covariance: Floats) -> Floats:
    """Shared errors of away (creative, level) × effects, (creative, error), largest first, without faint ones."""
    values, vectors = np.linalg.eigh(covariance)
    spread = away @ (vectors * np.sqrt(np.maximum(values, 0)))
    power, turn = np.linalg.eigh(spread.T @ spread)
    kept = np.flatnonzero(power > _NEGLIGIBLE**2 * len(away))[::-1]
    return spread @ turn[:, kept]
