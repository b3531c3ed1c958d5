"""How sure a figure is: 95 % intervals of shares and means. Pure.

Both hold at one look, not at many: who watches a figure to decide by it wants the experiments' confidence sequences.
"""

from math import sqrt

Z = 1.959964  # 97.5th percentile of the normal distribution

Interval = tuple[float, float]


def wilson(count: float, total: float) -> Interval | None:
    """Of a share: the score interval (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927); None of nothing.

    Also of a mean of values in [0, 1], as their sum: no such values vary more than flags of the same mean do, so it is
    then too wide rather than too narrow.
    """
    if not total:
        return None
    share, slack = count / total, Z * Z / total
    middle = (share + slack / 2) / (1 + slack)
    half = sqrt(max(0.0, share * (1 - share)) * slack + slack * slack / 4) / (1 + slack)
    return max(0.0, middle - half), min(1.0, middle + half)


def normal(count: int, total: float, squares: float) -> Interval | None:
    """Of a mean, from the count, the sum and the sum of squares: the normal approximation; None of fewer than two.

    With fewer than some thirty, or a few very long ones among them, it is too narrow.
    """
    if count < 2:
        return None
    mean = total / count
    half = Z * sqrt(max(0.0, squares / count - mean * mean) / (count - 1))
    return mean - half, mean + half
