"""Ways to draw states, by the name that a layout gives (:attr:`~physinv.processes.layout.StateLayout.picture`).

``vector``      components against time, histograms, scatter plots
``profile``     fields on a line: space-time images and profiles
``image``       fields in the plane or in space: rows of images
``particles``   dots in the plane, coloured by species

A layout with a name of its own needs one more :class:`Picture`, listed here.
"""

from __future__ import annotations

__all__ = ["PICTURES", "Picture", "picture_of"]

from physinv.processes.layout import StateLayout
from physinv.reports.plots.pictures.base import Picture
from physinv.reports.plots.pictures.images import ImagePicture
from physinv.reports.plots.pictures.particles import ParticlePicture
from physinv.reports.plots.pictures.profiles import ProfilePicture
from physinv.reports.plots.pictures.vectors import VectorPicture

PICTURES: dict[str, Picture] = {
    "vector": VectorPicture(),
    "profile": ProfilePicture(),
    "image": ImagePicture(),
    "particles": ParticlePicture(),
}


def picture_of(layout: StateLayout) -> Picture:
    """Return the way in which states of a layout are drawn.

    Args:
        layout: Layout of the states.
    """
    return PICTURES[layout.picture]
