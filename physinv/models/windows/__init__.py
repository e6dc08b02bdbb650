"""Models of whole trajectories given any of their entries: a Gaussian law of all frames and a network beside it."""

from physinv.models.windows.in_turn import FrameNetwork, FrameScore
from physinv.models.windows.law import LEAST, Conditional, WindowLaw, fit_window_law
from physinv.models.windows.masks import draw_masks
from physinv.models.windows.score import WindowScore

__all__ = [
    "LEAST",
    "Conditional",
    "FrameNetwork",
    "FrameScore",
    "WindowLaw",
    "WindowScore",
    "draw_masks",
    "fit_window_law",
]
