"""A device that works, and one thread for tiny states."""

import pytest
import torch

from physinv.config.devices import pick_device, threads_for


def test_a_device_that_works():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device(None) == pick_device("auto")
    for name in ("cuda:77", "abacus"):
        with pytest.raises(ValueError, match=f"^`device` '{name}' is not available here; leave it out"):
            pick_device(name)


def test_tiny_states_get_one_thread():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with threads_for((1, 15, 17)):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with threads_for((1, 16, 16)):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
