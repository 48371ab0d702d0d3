"""The memory setting of article/device.py; tests/runs checks how a training chooses its device and precision."""

import platform
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_reused() -> None:
    """glibc's mallinfo2 counts the bytes that a tensor of 16 MiB maps from Linux: none with keep_freed_memory."""
    program = """if True:
        import ctypes, sys, torch
        from numerals.article.device import keep_freed_memory

        class Info(ctypes.Structure):
            _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd a b c d e".split()]

        mallinfo = ctypes.CDLL("libc.so.6").mallinfo2
        mallinfo.restype = Info
        if sys.argv[1] == "kept":
            keep_freed_memory()
        before = mallinfo().hblkhd
        held = torch.ones(2**22)
        print(mallinfo().hblkhd - before)
    """
    kept, plain = (
        int(subprocess.run([sys.executable, "-c", program, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "plain")
    )
    assert kept == 0 and plain >= 2**24
