"""Hierarchical Gamma–Poisson: a creative's CTR is its product's rate × its own effect, and both priors are learned.

Clicks are Poisson with mean examinations × rate × effect; effect ~ Gamma(mean 1, shape κ), rate ~ Gamma(mean of the
log or of the category, shape a). Given the rate, clicks are negative binomial; the rate is integrated out by adaptive
Gauss–Hermite quadrature on its log, one integral per product. κ, a and the means are where the probability of all
clicks is largest (empirical Bayes). A fixed Beta prior shrinks by a number that somebody chose; here the log says how
much creatives of one product differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite import hermgauss
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import digamma, gammaln, logsumexp, polygamma

from clickscape.clicks.cells import Floats, Integers

_X, _WEIGHT = hermgauss(15)
_GUESS = np.log([16.0, 4.0])  # of κ and a: creatives of a product differ by 25 %, products by a factor of two
_GUESS_SD = 1.0  # of their logs: worth a handful of products, and keeps a small log from the estimate "no difference"


@dataclass(frozen=True)
class Prior:
    """Prior of CTRs, estimated from all products: shapes κ and a, and the mean CTR of every category.

    `categories`, `means`: (category,); one category named "" when none were given.
    """

    creative_shape: float
    product_shape: float
    categories: tuple[str, ...]
    means: tuple[float, ...]

    @property
    def creative_sd(self) -> float:
        """Standard deviation of log CTR between creatives of one product."""
        return float(np.sqrt(polygamma(1, self.creative_shape)))

    @property
    def product_sd(self) -> float:
        """Standard deviation of log CTR between products of one category."""
        return float(np.sqrt(polygamma(1, self.product_shape)))


@dataclass(frozen=True, eq=False)
class Posterior:
    """log CTR of every creative: log of Gamma(`shape`, `rate`) + `pull` × an error that its product's creatives share.

    All (creative,); `rate` in examinations. Mean ψ(shape) − log rate and variance ψ′(shape) + pull² are those of the
    whole mixture over the product's rate.
    """

    prior: Prior
    shape: Floats
    rate: Floats
    pull: Floats


@dataclass(frozen=True, eq=False)
class _Clicks:
    """Creatives sorted by product; `first`: (product,) where each product's creatives start."""

    clicks: Floats
    examinations: Floats
    product: Integers
    first: Integers
    category: Integers

    def per_product(self, values: Floats) -> Floats:
        """Sums over each product's creatives, (product, …)."""
        return np.asarray(np.add.reduceat(values, self.first, axis=0))


def shrink(
    clicks: Floats,
    examinations: Floats,
    product: Integers,
    *,
    category: NDArray | None = None,
    learned: NDArray | None = None,
) -> Posterior:
    """Estimate the prior and return every creative's posterior; clicks, examinations, product: (creative,).

    `product` counts from 0 without gaps; `category`: names, (product,), whose products have their own mean. `learned`:
    (creative,) bool, from whose clicks the prior is learned; default: all.
    """
    used = np.ones(len(clicks)) if learned is None else learned
    prior = fit_prior(clicks * used, examinations * used, product, category=category)
    return posterior(clicks, examinations, product, prior=prior, category=category)


def fit_prior(clicks: Floats, examinations: Floats, product: Integers, *, category: NDArray | None = None) -> Prior:
    """Estimate the prior by maximum likelihood, κ and a pulled a little to a guess; arguments as of `shrink`."""
    names, codes = _categories(product, category)
    known, _ = _sorted(clicks, examinations, product, codes)
    middle = np.log(_mean_of(known, len(names)))
    bounds = [(np.log(0.05), np.log(1e6)), (np.log(0.02), np.log(1e6)), *((mean - 8, mean + 8) for mean in middle)]
    found = minimize(
        _cost,
        np.concatenate([_GUESS, middle]),
        args=(known, middle),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 100, "ftol": 1e-12, "gtol": 1e-3},
    )
    creative_shape, product_shape, *means = np.exp(found.x).tolist()
    return Prior(creative_shape, product_shape, names, tuple(means))


def posterior(
    clicks: Floats, examinations: Floats, product: Integers, *, prior: Prior, category: NDArray | None = None
) -> Posterior:
    """Return the posterior of every creative under a prior; arguments as of `shrink`."""
    _, codes = _categories(product, category)
    known, order = _sorted(clicks, examinations, product, codes)
    node, weight, _ = _integrate(np.log([prior.creative_shape, prior.product_shape, *prior.means]), known)
    log_rate = np.log(prior.creative_shape * np.exp(-node)[known.product] + known.examinations[:, None])
    weight = weight[known.product]
    mean = np.sum(weight * log_rate, axis=1)
    variance = np.sum(weight * (log_rate - mean[:, None]) ** 2, axis=1)
    rate, pull = np.empty_like(mean), np.empty_like(mean)
    rate[order], pull[order] = np.exp(mean), np.sqrt(np.maximum(variance, 0))
    return Posterior(prior, prior.creative_shape + clicks, rate, pull)


def _categories(product: Integers, category: NDArray | None) -> tuple[tuple[str, ...], Integers]:
    """Names of the categories, and each product's index among them, (product,)."""
    given = np.full(int(product.max()) + 1, "") if category is None else category
    names, codes = np.unique(given, return_inverse=True)
    return tuple(map(str, names)), codes.astype(np.int64)


def _sorted(clicks: Floats, examinations: Floats, product: Integers, category: Integers) -> tuple[_Clicks, Integers]:
    """The creatives sorted by product, and their order."""
    order = np.argsort(product, kind="stable")
    first = np.searchsorted(product[order], np.arange(len(category)))
    return _Clicks(clicks[order], examinations[order], product[order], first, category), order


def _mean_of(known: _Clicks, categories: int) -> Floats:
    """A first guess of every category's mean: its clicks over its examinations, pulled a little to the log's."""
    overall = (known.clicks.sum() + 0.5) / (known.examinations.sum() + 1)
    clicks = np.bincount(known.category, weights=known.per_product(known.clicks), minlength=categories)
    shown = np.bincount(known.category, weights=known.per_product(known.examinations), minlength=categories)
    return np.asarray((clicks + overall) / (shown + 1))


def _integrate(values: Floats, known: _Clicks) -> tuple[Floats, Floats, Floats]:
    """Nodes of log rate (product, node), their posterior weights, and the log evidence (product,).

    values: logs of κ, a and the categories' means.
    """
    (k, a), m = np.exp(values[:2]), np.exp(values[2:])[known.category]
    clicks, shown = known.clicks, known.examinations
    total = known.per_product(clicks)
    middle = np.log((total + a) / (known.per_product(shown) + a / m))
    for _ in range(40):
        rate = np.exp(middle)
        seen = shown * rate[known.product]
        share = seen / (k + seen)
        slope = a - a * rate / m + total - known.per_product((k + clicks) * share)
        bend = a * rate / m + known.per_product((k + clicks) * share * (1 - share))
        step = np.clip(slope / bend, -1, 1)
        middle += step
        if np.abs(step).max() < 1e-9:
            break
    node = middle[:, None] + np.sqrt(2 / bend)[:, None] * _X
    rate = np.exp(node)
    per_creative = clicks[:, None] * node[known.product] - (k + clicks)[:, None] * np.log1p(
        shown[:, None] * rate[known.product] / k
    )
    constant = gammaln(k + clicks) - gammaln(k) - clicks * np.log(k)
    height = known.per_product(per_creative + constant[:, None])
    height += a * (np.log(a) - np.log(m) + node.T - (rate.T / m)).T - gammaln(a)
    height += np.log(_WEIGHT) + _X**2 + 0.5 * np.log(2 / bend)[:, None]
    evidence = logsumexp(height, axis=1)
    return node, np.exp(height - evidence[:, None]), evidence


def _cost(values: Floats, known: _Clicks, middle: Floats) -> tuple[float, Floats]:
    """Minus the log posterior of the logs of κ, a and the means, and its gradient (by Fisher's identity)."""
    node, weight, evidence = _integrate(values, known)
    (k, a), m = np.exp(values[:2]), np.exp(values[2:])[known.category]
    rate = np.exp(node)
    to_mean = np.sum(weight * (rate.T / m).T, axis=1)
    log_to_mean = np.sum(weight * node, axis=1) - np.log(m)
    mean_slope = np.bincount(known.category, weights=a * (to_mean - 1), minlength=len(middle))
    product_slope = a * np.sum(1 + np.log(a) - digamma(a) + log_to_mean - to_mean)
    larger = k + known.examinations[:, None] * rate[known.product]
    weights = weight[known.product]
    log_larger = np.sum(weights * np.log(larger), axis=1)
    clicks = known.clicks
    creative_slope = k * np.sum(
        digamma(k + clicks) - digamma(k) + 1 + np.log(k) - log_larger - (k + clicks) * np.sum(weights / larger, axis=1)
    )
    away = (values[:2] - _GUESS) / _GUESS_SD
    far = (values[2:] - middle) / 10
    cost = -evidence.sum() + 0.5 * away @ away + 0.5 * far @ far
    slope = np.concatenate([[creative_slope, product_slope] - away / _GUESS_SD, mean_slope - far / 10])
    return float(cost), -slope
