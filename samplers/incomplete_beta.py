"""The regularised incomplete beta function and its inverse, in double precision (for the beta schedule)."""

from __future__ import annotations

import math

TINY = 1e-300
PRECISION = 1e-15
MAX_TERMS = 1000


def beta_distribution(x: float, alpha: float, beta: float) -> float:
    """The probability of a value up to x, in [0, 1], under Beta(alpha, beta); alpha, beta > 0."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (alpha + 1) / (alpha + beta + 2):  # the fraction converges quickly on the other side only
        return 1.0 - _lower(1.0 - x, beta, alpha)
    return _lower(x, alpha, beta)


def _lower(x: float, alpha: float, beta: float) -> float:
    """The distribution by the fraction itself. At the border both sides do, and rounding may put x on neither."""
    log_beta = math.lgamma(alpha) + math.lgamma(beta) - math.lgamma(alpha + beta)
    front = math.exp(alpha * math.log(x) + beta * math.log1p(-x) - log_beta)
    return front / (alpha * _continued_fraction(x, alpha, beta))


def beta_quantile(p: float, alpha: float, beta: float) -> float:
    """The value in [0, 1] up to which the probability is p, by bisection to the last bit."""
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return high if p >= 1 else middle
        if beta_distribution(middle, alpha, beta) < p:
            low = middle
        else:
            high = middle


def _continued_fraction(x: float, alpha: float, beta: float) -> float:
    """1 + d1 x / (1 + d2 x / (1 + …)) by Lentz's method (Abramowitz and Stegun 26.5.8)."""
    value, c, d = 1.0, 1.0, 0.0
    for term in range(1, MAX_TERMS):
        half, odd = divmod(term, 2)
        if odd:
            number = -(alpha + half) * (alpha + beta + half) / ((alpha + 2 * half) * (alpha + 2 * half + 1))
        else:
            number = half * (beta - half) / ((alpha + 2 * half - 1) * (alpha + 2 * half))
        d = 1.0 / (1.0 + number * x * d or TINY)
        c = 1.0 + number * x / c or TINY
        value *= c * d
        if abs(c * d - 1.0) < PRECISION:
            break
    return value
