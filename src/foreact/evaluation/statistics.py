"""Success rates with their uncertainty."""

from scipy.stats import binomtest

from foreact.errors import ConfigurationError


def wilson_interval(successes: int, episodes: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a success rate.

    Raises:
        ConfigurationError: No episodes, or more successes than episodes.
    """
    if episodes < 1 or not 0 <= successes <= episodes:
        raise ConfigurationError(
            "success count", got=f"{successes} of {episodes}", allowed="0 <= successes <= episodes"
        )
    interval = binomtest(successes, episodes).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
