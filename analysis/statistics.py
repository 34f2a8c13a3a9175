# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests over seeds and examples; numpy alone."""
import math

import numpy

RESAMPLES = 10000


def student_t_cdf(t, degrees):
    """P(T <= t) for whole degrees of freedom, by the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for i in range(degrees // 2):
        total += term
        term *= cosine * cosine * ((2 * i + 2) / (2 * i + 3) if odd else (2 * i + 1) / (2 * i + 2))
    within = 2 / math.pi * (angle + sine * total) if odd else sine * total  # P(|T| <= |t|) with the sign of t
    return 0.5 + within / 2


def student_t_quantile(probability, degrees):
    """The t with P(T <= t) = probability, for probabilities from 0.5 on; by bisection."""
    low, high = 0.0, 1.0
    while student_t_cdf(high, degrees) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if student_t_cdf(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def mean_interval(values, level=0.95):
    """(mean, low, high) by Student's t over independent values; low and high are NaN for fewer than two."""
    values = numpy.asarray(values, dtype=float)
    mean = float(values.mean()) if len(values) else math.nan
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = student_t_quantile((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return mean, mean - float(half), mean + float(half)


def paired_t(differences):
    """(mean, low, high, p) of paired differences: 95% interval and two-sided p by Student's t; NaN for fewer than two
    and where all are the same, as counts over few examples can be: that says nothing of how they vary."""
    differences = numpy.asarray(differences, dtype=float)
    mean, low, high = mean_interval(differences)
    error = differences.std(ddof=1) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    if error <= 1e-12 * abs(mean):
        return mean, math.nan, math.nan, math.nan
    return mean, low, high, 2 * (1 - student_t_cdf(abs(mean) / error, len(differences) - 1))


def paired_bootstrap(differences, resamples=RESAMPLES, seed=1):
    """(mean, low, high, p) of paired differences over examples: percentile interval (95%) and two-sided p = twice the
    smaller share of resampled means on the other side of 0, at least 1 / resamples. `differences`: (examples,)."""
    differences = numpy.asarray(differences, dtype=float)
    if len(differences) < 2:
        return (float(differences.mean()) if len(differences) else math.nan, *(math.nan,) * 3)
    random = numpy.random.Generator(numpy.random.Philox(seed))
    means = numpy.empty(resamples)
    at_once = max(1, 2**22 // len(differences))
    for begin in range(0, resamples, at_once):
        end = min(resamples, begin + at_once)
        means[begin:end] = differences[random.integers(0, len(differences),
                                                       (end - begin, len(differences)))].mean(axis=1)
    low, high = numpy.percentile(means, (2.5, 97.5))
    smaller = min(float((means <= 0).mean()), float((means >= 0).mean()))
    return float(differences.mean()), float(low), float(high), min(1.0, max(2 * smaller, 1 / resamples))


def holm(values):
    """p-values adjusted for their number by Holm's method, in the given order; NaN stays NaN and does not count."""
    values = numpy.asarray(values, dtype=float)
    adjusted = numpy.full(len(values), numpy.nan)
    order = [i for i in numpy.argsort(values) if not math.isnan(values[i])]
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, float(values[i]) * (len(order) - rank)))
        adjusted[i] = largest
    return adjusted
