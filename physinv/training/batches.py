"""Batches of windows: shuffled ones for training, a fixed subset for validation, images under symmetries in both."""

from __future__ import annotations

__all__ = ["Windows", "images_of", "shuffled", "training_batches", "validation_batches"]

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from physinv.config.seeds import Seeds
from physinv.data.dataset import TrajectoryDataset
from physinv.equations.sde import SDE
from physinv.training.objectives.base import Batch


@dataclass(frozen=True, eq=False)
class Windows:
    """Make batches of the windows of a dataset, together with what was computed about them before training.

    Args:
        data: Trajectories; ``data.window`` states make a window.
        backward: Backward states of the stored ones after the first (see :mod:`~physinv.training.backward_cache`).
        estimates: An estimate of the first state of each trajectory.

    Raises:
        ValueError: If the tensors do not have the shapes that ``data`` asks for.
    """

    data: TrajectoryDataset
    backward: Float[Tensor, "n interval *state"] | None = None
    estimates: Float[Tensor, "n *state"] | None = None

    def __post_init__(self) -> None:
        n, shape = self.data.n_trajectories, self.data.shape
        wanted = {"backward": (n, len(self.data.times) - 1, *shape), "estimates": (n, *shape)}
        for name, want in wanted.items():
            tensor = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != want:
                raise ValueError(f"`{name}` must have shape {want}, got {tuple(tensor.shape)}.")

    def __len__(self) -> int:
        return len(self.data)

    @property
    def plain(self) -> bool:
        """Whether batches hold states and times alone, which worker processes can read from disk."""
        return self.backward is None and self.estimates is None

    def with_window(self, window: int) -> Windows:
        """Return the same windows with ``window`` states each.

        Args:
            window: States in each window.
        """
        return dataclasses.replace(self, data=self.data.with_window(window))

    def with_backward(self, backward: Float[Tensor, "n interval *state"] | None) -> Windows:
        """Return the same windows with these backward states.

        Args:
            backward: States taken back over each stored interval, ``(n, interval, *state)``; None: none.
        """
        return dataclasses.replace(self, backward=backward)

    def batch(self, indices: Sequence[int] | Tensor) -> Batch:
        """Return the windows with these numbers, as they are counted by the dataset.

        Args:
            indices: Numbers from 0 to ``len(self) - 1``.
        """
        states, times = self.data.__getitems__(indices)
        if self.plain:
            return Batch(states, times)
        index = torch.as_tensor(indices, dtype=torch.int64)
        starts = len(self.data.times) - self.data.window + 1
        trajectory, last = index // starts, index % starts + self.data.window - 2
        back, estimates = self.backward, self.estimates
        return Batch(
            states,
            times,
            backward=None if back is None else back[trajectory.to(back.device), last.to(back.device)],
            estimate=None if estimates is None else estimates[trajectory.to(estimates.device)],
        )


def training_batches(
    windows: Windows, sde: SDE, *, size: int, seeds: Seeds, start: int, workers: int, device: torch.device
) -> Iterator[Batch]:
    """Yield the batches of all updates from number ``start`` on, without end.

    Windows come in shuffled order, every window once an epoch, each under an image of the process's symmetries chosen
    at random. What an update sees depends on the seed and the number of the update alone, and for data of more than 32
    MiB also on whether they are streamed: see :meth:`~physinv.data.dataset.TrajectoryDataset.shuffled`.

    Args:
        windows: The windows that are trained on.
        sde: The process, of which the symmetries count.
        size: Windows per batch, at most all of them.
        seeds: Streams ``order`` (per epoch), ``images`` and ``noise`` (per update) are below these.
        start: Number of the first update.
        workers: Worker processes that read streamed data.
        device: Where batches are needed.

    Yields:
        One batch for each update.
    """
    generator = torch.Generator(device)
    for step, batch in enumerate(_read(windows, size, seeds, start, workers), start):
        chosen = _random_image(_to(batch, device), sde, seeds.child("images", step))
        yield dataclasses.replace(chosen, generator=generator.manual_seed(seeds.child("noise", step).number))


def validation_batches(
    windows: Windows, sde: SDE, *, count: int, size: int, seeds: Seeds, device: torch.device
) -> list[Batch]:
    """Return about ``count`` windows in equal batches, with all their images under the process's symmetries.

    With all images, no accident of the subset counts. A dataset of fewer windows is gone through again, for objectives
    that draw noise. There are at least two batches, so that their losses have a standard error.

    Args:
        windows: The windows that are validated on.
        sde: The process, of which the symmetries count.
        count: Number of windows, images included.
        size: Windows in a batch, images included.
        seeds: The stream ``windows`` is below these.
        device: Where batches are needed.
    """
    kinds = len(images_of(sde, windows.batch([0])))
    part = max(1, min(size, count) // kinds)
    whole = part * max(2, count // kinds // part)
    order = torch.randperm(len(windows), generator=seeds.child("windows").generator())
    chosen = order.repeat(math.ceil(whole / len(order)))[:whole]
    return [_joined(images_of(sde, _to(windows.batch(indices), device))) for indices in torch.split(chosen, part)]


def shuffled(
    n: int,
    size: int,
    *,
    seeds: Seeds,
    start: int = 0,
    order: Callable[..., Iterable[Tensor]] | None = None,
) -> Iterator[Tensor]:
    """Yield batches of the numbers below ``n``, in an order of its own for every epoch, without end.

    Args:
        n: How many numbers there are.
        size: Numbers in a batch, at most ``n``; what does not fill a batch is left out of an epoch.
        seeds: The stream of each epoch is below these.
        start: Number of the first batch.
        order: Function of a ``generator`` that returns all numbers in random order, a part at a time; None: a
            permutation.

    Yields:
        ``size`` different numbers.
    """
    per_epoch = n // size
    for epoch in itertools.count(start // per_epoch):
        generator = seeds.child(epoch).generator()
        parts = [torch.randperm(n, generator=generator)] if order is None else order(generator=generator)
        first = start % per_epoch if epoch == start // per_epoch else 0
        yield from itertools.islice(_cut(parts, size), first, per_epoch)


def images_of(sde: SDE, batch: Batch) -> list[Batch]:
    """Return a batch under every symmetry of the process (:meth:`~physinv.equations.sde.SDE.images`), itself first.

    Args:
        sde: The process.
        batch: Windows; every state, and what was computed about it, is replaced by its image.
    """
    states = [x.reshape(batch.states.shape) for x in sde.images(batch.states.flatten(0, 1))]
    if len(states) == 1:
        return [batch]
    backward, estimate = (
        [None] * len(states) if x is None else sde.images(x) for x in (batch.backward, batch.estimate)
    )
    return [
        dataclasses.replace(batch, states=x, backward=b, estimate=e)
        for x, b, e in zip(states, backward, estimate, strict=True)
    ]


def _read(windows: Windows, size: int, seeds: Seeds, start: int, workers: int) -> Iterator[Batch]:
    """Batches in shuffled order, where they are stored."""
    size, seeds, n = min(size, len(windows)), seeds.child("order"), len(windows)
    order = shuffled(n, size, seeds=seeds, start=start, order=windows.data.shuffled)
    if not workers or not windows.plain or windows.data.in_memory:
        return (windows.batch(indices) for indices in order)
    collate: Callable[..., tuple[Tensor, Tensor]] = TrajectoryDataset.collate
    loader = torch.utils.data.DataLoader(
        windows.data, batch_sampler=_Endless(order), num_workers=workers, collate_fn=collate
    )
    return (Batch(states, times) for states, times in loader)


def _cut(parts: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Batches of ``size`` numbers, of parts that follow each other; what is left at the end is dropped."""
    left = torch.empty(0, dtype=torch.int64)
    for part in parts:
        numbers = torch.cat([left, part]) if len(left) else part
        whole = len(numbers) // size * size
        yield from (numbers[i : i + size] for i in range(0, whole, size))
        left = numbers[whole:]


class _Endless(torch.utils.data.Sampler[list[int]]):
    """The order of batches, for a DataLoader."""

    def __init__(self, order: Iterator[Tensor]) -> None:
        self.order = order

    def __iter__(self) -> Iterator[list[int]]:
        return (indices.tolist() for indices in self.order)


def _random_image(batch: Batch, sde: SDE, stream: Seeds) -> Batch:
    """Each window replaced by one of its images under the symmetries of the process, chosen at random."""
    images = images_of(sde, batch)
    if len(images) == 1:
        return batch
    which = torch.randint(len(images), (len(batch.states),), generator=stream.generator())
    which = which.to(batch.states.device, non_blocking=True)
    rows = which * len(which) + torch.arange(len(which), device=which.device)

    def chosen(parts: Sequence[Tensor | None]) -> Tensor | None:
        known = [x for x in parts if x is not None]
        return torch.cat(known).index_select(0, rows) if known else None

    states = torch.cat([image.states for image in images]).index_select(0, rows)
    backward, estimate = chosen([image.backward for image in images]), chosen([image.estimate for image in images])
    return dataclasses.replace(batch, states=states, backward=backward, estimate=estimate)


def _joined(batches: Sequence[Batch]) -> Batch:
    """All windows of several batches as one."""
    return _mapped(torch.cat, batches)


def _to(batch: Batch, device: torch.device) -> Batch:
    return _mapped(lambda parts: parts[0].to(device, non_blocking=True), [batch])


def _mapped(function: Callable[[list[Tensor]], Tensor], batches: Sequence[Batch]) -> Batch:
    """``function`` of the states of all batches, and the same of their times, backward states and estimates."""

    def made(parts: list[Tensor | None]) -> Tensor | None:
        known = [x for x in parts if x is not None]
        return function(known) if known else None

    return Batch(
        function([batch.states for batch in batches]),
        function([batch.times for batch in batches]),
        backward=made([batch.backward for batch in batches]),
        estimate=made([batch.estimate for batch in batches]),
    )
