"""Known defects of posteriors, shared by the tests of what sees them."""

import math

import torch

N, K, BLOCKS, SHIFT = 8000, 24, 20, 0.5
DEFECTS = {"narrow": (0.8, 0.0), "wide": (1.2, 0.0), "shifted": (1.0, SHIFT)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def t_value(differences):
    """Mean over its standard error: 20 nearly normal numbers, so that |t| > 5 has probability 8e-5 by chance."""
    return float(differences.mean() / differences.std() * math.sqrt(len(differences)))


def in_blocks(samples, truth):
    return zip(samples.chunk(BLOCKS), truth.chunk(BLOCKS), strict=True)
