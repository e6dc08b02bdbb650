"""One seed as a tree of named streams: every purpose has a stream of random numbers of its own.

``seeds(seed).child("training", "images", step)`` names a stream.  What it yields depends on the seed and the names
alone, through a hash: not on the order of calls, the process, or where an interrupted run went on.  These are all
names in use; capitals stand for numbers or for names of files' parts.

    data / SPLIT / FILE / PART              parameters, initial states and noise of the trajectories of a part
    data / given / PART                     noise of the trajectories from a user's initial states
    import / shares                         which imported trajectories are set aside
    model / reference                       starts of the fit of a mixture
    model / network                         first weights of a network
    model / network / memory                first weights of the recurrent state that reads frames
    physics / network                       random layers of learned physics
    prior / network                         first weights of the network of a learned prior
    prior / fill / SPLIT                    noise in the modes that do not vary, for a law of states by a flow
    prior / training / ...                  its training, with the names of training
    physics / training / ...                training of learned physics, with the names of training
    training / order / EPOCH                order of the windows in one epoch
    training / order / UPDATE               trajectories and jumps of jump kernels, of this update and more
    training / fresh / ROUND                trajectories that are simulated anew
    training / images / UPDATE              image of each window under the symmetries of the process
    training / noise / UPDATE               noise that the objective draws
    training / doubts                       noise whose size is looked at before training
    training / validation / windows         which windows are validated on
    training / layers / STEP                layers of torch that take no generator, such as torch.nn.Dropout
    training / validation / images          images of the trajectories that jump kernels are validated on
    training / validation / layers          the same at every validation
    training / validation / noise           noise that the objective draws there, the same at every validation
    training / validation / trial           noise of the windows on which a loss is tried
    training / observed / SPLIT             noise of the partial observations that a run is trained for
    training / smoother-noise / steps       what single steps of the calibration see their states from
    training / smoother-noise / ensembles   ensembles of the calibration
    training / observed / level / SPLIT     deviation of the noise of each trajectory, where it is unknown
    observation / level / BLOCK             the same of the observations that are read together
    observation / sensors                   where the sensors of a partial observation are
    observation / hidden / NUMBER           entries of trajectories that are hidden for a test
    observation / noise / BLOCK             noise of the partial observations that are read together
    reconstruction / samples                paths that samples are refined by
    reconstruction / samples / FIRST        samples of the part that begins there, of unknown parameters as well
    reconstruction / prediction             noise of samples that are run forward, of observations without truth
    reconstruction / stages                 final states at which draws given a part begin, and their test
    reconstruction / refinement             noise of their refinement, in benchmarks; its trial, in reconstructions
    reconstruction / expected               new trajectories that the numbers of a record are compared with
    reconstruction / trial                  new trajectories by which the answer to a record is tried
    reconstruction / trial / prior          states of the prior that take the place of some draws given a part of x_T
    reconstruction / certificate            draws of a reversal that bounds of log p(x_T) are made of
    evidence / samples / FIRST              draws of a reversal that are weighed, of the part that begins there
    free-energy / equilibrium / END         states in equilibrium at both values of a parameter
    free-energy / steps                     moves by which the number of steps is chosen
    free-energy / runs / DIRECTION          driven runs, forward and backward
    evaluation / exact                      samples of the exact posterior, to compare with
    evaluation / spectra                    one exact sample for each observation, of which the spectrum is drawn
    evaluation / ranks                      ranks among equal numbers, in figures
    evaluation / baselines                  draws of climatology, and errors of the linear estimate
    evaluation / prediction                 noise of samples that are run forward
    evaluation / checks                     new noise, patches and bootstrap samples of the checks of samples
    comparison / samples                    samples of a method
    comparison / trajectories               reconstructed trajectories of a method
    comparison / bracket                    draws of a reversal that bounds of log p(x_T) are made of
    comparison / example                    samples of a method that figures show
    comparison / calibration                random choices of the tests of calibration
    comparison / laws                       random choices of the tests of the law of the samples
    comparison / checks                     the same in a comparison of methods
    comparison / variogram                  pairs of components, the same for every method
    method / values                         samples that a quantile mapping is fitted to
    method / ways                           draws by which jumps and small steps are compared
    method / newton                         draws of Newton's steps and of what was learned, which are compared
    method / judges                         new trajectories by which it chooses
    method / mean                           samples that a method averages for its estimate
    method / samples                        passes with dropout for samples, where no generator is given
    method / paths                          runs that the coordinates of paths are fitted to
    method / prior                          runs of a process from initial states of a prior's data
    method / density                        random directions of a divergence
    method / noise                          passes with dropout that the size of the noise is fitted to
    method / widths                         noisy states that residuals are measured on
    method / choice                         samples of the candidates that a choice is made among
    method / network / NUMBER               masks and noise by which a network of trajectories is compared with none
    method / increments                     draws by which the spread of increments is fitted
    method / package                        another package, which draws from the global stream
    parameters / ...                        the law of unknown parameters, with the names of model and training
    parameters / unseen                     new trajectories that its width is fitted to
    jumps / ...                             jump kernels beside a score, with the names of model and training
    jumps / further / ...                   jump kernels that are trained further, with the names of training
    jumps / finish / JUMP                   noise of draws of fields that is compared with errors
    member / NUMBER / ...                   a member of an ensemble of networks, with the names of model and training
    member / NUMBER / method / increments   noise of draws of fields that is compared with errors

Methods of one comparison share the streams of model and training on purpose: they see the same batches.
"""

from __future__ import annotations

__all__ = ["SEEDS", "Seed", "Seeds", "seeds"]

import hashlib
import json
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from physinv.config.inputs import describe


@dataclass(frozen=True)
class Seeds:
    """Name a stream of random numbers, and the streams below it.

    Args:
        path: The seed, then the names.

    Example:
        >>> root = seeds(0)
        >>> root.child("training", "noise", 7) == root.child("training").child("noise", 7)
        True
        >>> root.child("training", "noise", 7).number == root.child("training", "noise", 8).number
        False
    """

    path: tuple[int | str, ...]

    def child(self, *names: int | str) -> Seeds:
        """Return the stream with these names below this one.

        Args:
            names: Purpose first, then numbers, such as that of an update.
        """
        return Seeds((*self.path, *names))

    @property
    def number(self) -> int:
        """A seed below 2^63 for generators, from the SHA-256 digest of the path.

        torch's generators on CPUs look at its lowest 32 bits only. Where many streams must all differ, compare those.
        """
        digest = hashlib.sha256(json.dumps(["physinv", *self.path]).encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a new generator at the beginning of this stream.

        Args:
            device: Where random numbers are needed.
        """
        return torch.Generator(device).manual_seed(self.number)

    @contextmanager
    def as_global(self) -> Iterator[None]:
        """Let torch's global CPU generator yield this stream inside the block, and restore it after.

        It is meant for what takes no generator, such as the first weights of torch's layers.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.number)
            yield


SEEDS = range(2**63)
"""All seeds: on the command line, in recipes and in Python."""

Seed = int | Seeds
"""A seed, or a stream below which names are to be found."""


def seeds(seed: Seed) -> Seeds:
    """Return the root of the tree of a seed; a stream is returned as it is, so that parts of a program can be nested.

    Args:
        seed: A whole number of :data:`SEEDS`, or a stream.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(seed, Seeds):
        return seed
    try:
        number = operator.index(seed)
    except TypeError:
        raise ValueError(f"`seed` must be a whole number, got {describe(seed)}; give 0, for example.") from None
    if number not in SEEDS:
        raise ValueError(f"`seed` must be between 0 and {SEEDS[-1]}, got {number}; give 0, for example.")
    return Seeds((number,))
