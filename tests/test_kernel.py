"""Our own steps against their twins in plain torch, and against float64."""

import platform
import subprocess
import sys

import pytest
import torch

from numerals.learn import kernel


@pytest.mark.parametrize("shape", [(32, 32, 26, 26), (32, 64, 11, 11), (1, 3, 2, 2), (7, 1, 5, 3)])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_batch_norm_is_its_twin_forward_and_backward(
    shape: tuple[int, ...], memory_format: torch.memory_format
) -> None:
    chance = torch.Generator().manual_seed(0)
    maps = (torch.rand(shape, generator=chance) * 3 + 1).contiguous(memory_format=memory_format)
    weight, bias = torch.rand(shape[1], generator=chance) + 0.5, torch.rand(shape[1], generator=chance)
    wanted = torch.rand(shape, generator=chance) - 0.5
    results = []
    for function, kind in ((kernel.batch_norm, torch.float32), (kernel.batch_norm_plain, torch.float64)):
        inputs = [each.detach().to(kind).requires_grad_() for each in (maps, weight, bias)]
        normalised, mean, variance = function(inputs[0], inputs[1], inputs[2], 1e-3)
        (normalised * wanted.to(kind)).sum().backward()
        results.append([normalised, mean, variance, *(each.grad for each in inputs)])
    for ours, twin in zip(*results, strict=True):
        assert ours.shape == twin.shape
        scale = float(twin.detach().abs().max()) + 1e-6
        assert float((ours.double() - twin).detach().abs().max()) <= 2e-5 * scale


def test_batch_norm_keeps_its_exactness_where_the_mean_is_far_from_zero() -> None:
    maps = 1000 + torch.rand((32, 2, 26, 26), generator=torch.Generator().manual_seed(0))
    _, _, variance = kernel.batch_norm(maps, torch.ones(2), torch.zeros(2), 1e-3)
    assert variance.tolist() == pytest.approx(maps.double().var((0, 2, 3), correction=0).tolist(), rel=1e-3)


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="it is about glibc")
def test_kept_memory_comes_from_what_malloc_holds() -> None:
    """By glibc's own account, mallinfo2: how many bytes a tensor of 16 MiB maps anew."""
    program = """if True:
        import ctypes, sys, torch
        from numerals.learn import kernel

        class Info(ctypes.Structure):
            _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd a b c d e".split()]

        mallinfo = ctypes.CDLL("libc.so.6").mallinfo2
        mallinfo.restype = Info
        if sys.argv[1] == "kept":
            kernel.keep_memory()
        before = mallinfo().hblkhd
        held = torch.ones(2**22)
        print(mallinfo().hblkhd - before)
    """
    kept, plain = (
        int(subprocess.run([sys.executable, "-c", program, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "plain")
    )
    assert kept == 0 and plain >= 2**24
