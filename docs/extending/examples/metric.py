"""The Brier score of an event: are the odds that an ensemble gives to it right?"""


def brier_score(samples, truth, event):
    """Return the mean squared error of the probability that the samples give to an event (Brier 1950).

    Fair: the share of ``K`` samples scatters about the probability with the variance ``p (1 - p) / K``, whose unbiased
    estimate ``p (1 - p) / (K - 1)`` is subtracted, so that ensembles of different sizes compare.

    Args:
        samples: Ensembles ``(n, K, *state)``.
        truth: True states ``(n, *state)``.
        event: ``(batch, *state) -> (batch,)``, true where the event happens.

    Returns:
        The score, 0 for certain and right, .25 for even odds at all times: lower is better.
    """
    n, k = samples.shape[:2]
    odds = event(samples.flatten(0, 1)).reshape(n, k).float().mean(1)
    return ((odds - event(truth).float()).square() - odds * (1 - odds) / (k - 1)).mean()
