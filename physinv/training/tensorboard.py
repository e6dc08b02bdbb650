"""Training records as TensorBoard events, where that is installed (``pip install physinv[tensorboard]``)."""

from __future__ import annotations

__all__ = ["event_writer"]

import dataclasses
from collections.abc import Callable
from pathlib import Path

from physinv.training.validation import ValidationRecord


def event_writer(folder: Path) -> Callable[[ValidationRecord], None]:
    """Return a function that logs a record as TensorBoard events.

    Args:
        folder: Folder of the event files, which is made.

    Raises:
        ValueError: If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("TensorBoard is not installed; run `pip install physinv[tensorboard]`.") from None
    writer = SummaryWriter(str(folder))

    def write(record: ValidationRecord) -> None:
        for name, value in dataclasses.asdict(record).items():
            if name != "step":
                writer.add_scalar(name, value, record.step)
        writer.flush()

    return write
