"""A device that works, the cores of this process, and one thread for tiny states."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from physinv.config.devices import pick_device, threads_for


def test_a_device_that_works():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device(None) == pick_device("auto")
    for name in ("cuda:77", "abacus", "meta"):
        with pytest.raises(ValueError, match=f"^`device` '{name}' is not available here; leave it out"):
            pick_device(name)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_a_process_held_to_one_core_counts_one():
    code = """if True:
        import os
        from physinv.config.devices import cores, hardware
        os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
        print(cores(), hardware())
    """
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("1 ")
    assert told.strip().endswith(", 1 core")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_not_faulted_in_again():
    code = """if True:
        import resource, sys
        import torch
        from physinv.config.devices import keep_freed_memory
        if sys.argv[1] == "keep":
            keep_freed_memory()
        def use(n):
            for _ in range(n):
                torch.zeros(10**7) + 1  # 40 MB, ten thousand pages
        use(3)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        use(20)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """

    def faults(word: str) -> int:
        return int(subprocess.run([sys.executable, "-c", code, word], capture_output=True, check=True).stdout)

    assert faults("keep") < 100_000
    assert faults("give") > 200_000


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
