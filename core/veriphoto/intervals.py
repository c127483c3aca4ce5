"""Wilson's interval for a share of independent trials: unlike the normal one it says something at 0 and at 1."""

from __future__ import annotations

import math
from typing import Final

Z95: Final = 1.959963984540054
"""Standard deviations either side of a 95 % interval."""


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Returns the 95 % interval of a share; 0 to 1 where nothing was tried.

    Args:
        successes: How many of the trials; a fraction where pictures that depend on each other count as less than one.
        trials: All of them.
    """
    if not trials:
        return 0.0, 1.0
    share, spread = successes / trials, Z95 * Z95 / trials
    middle = (share + spread / 2.0) / (1.0 + spread)
    half = Z95 * math.sqrt(share * (1.0 - share) / trials + spread / (4.0 * trials)) / (1.0 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
