"""The fused kernels against their plain PyTorch twins in float64."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from numerals.ops import fused


@pytest.mark.parametrize("shape", [(32, 32, 26, 26), (32, 64, 11, 11), (1, 3, 2, 2), (7, 1, 5, 3)])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_batch_norm_agrees_with_its_twin_forward_and_backward(
    shape: tuple[int, ...], memory_format: torch.memory_format
) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = (torch.rand(shape, generator=generator) * 3 + 1).contiguous(memory_format=memory_format)
    weight, bias = torch.rand(shape[1], generator=generator) + 0.5, torch.rand(shape[1], generator=generator)
    weights = torch.rand(shape, generator=generator) - 0.5
    results = []
    for function, dtype in ((fused.batch_norm, torch.float32), (fused.batch_norm_plain, torch.float64)):
        inputs = [tensor.detach().to(dtype).requires_grad_() for tensor in (maps, weight, bias)]
        normalised, mean, variance = function(inputs[0], inputs[1], inputs[2], 1e-3)
        (normalised * weights.to(dtype)).sum().backward()
        results.append([normalised, mean, variance, *(tensor.grad for tensor in inputs)])
    assert_close(*results)


@pytest.mark.parametrize("shape", [(32, 28, 28), (1, 3, 4), (5, 7, 3)])
@pytest.mark.parametrize(("filters", "side"), [(32, 3), (3, 2), (1, 1)])
def test_convolve_one_channel_agrees_with_its_twin_forward_and_backward(
    shape: tuple[int, int, int], filters: int, side: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    count, height, width = shape
    maps = torch.rand((count, 1, height, width), generator=generator)
    weight, bias = torch.randn((filters, 1, side, side), generator=generator), torch.randn(filters, generator=generator)
    results = []
    for function, dtype in ((fused.convolve_one_channel, torch.float32), (torch.conv2d, torch.float64)):
        inputs = [tensor.detach().to(dtype).requires_grad_() for tensor in (weight, bias)]
        sums = function(maps.to(dtype), inputs[0], inputs[1])
        weights = torch.rand(sums.shape, generator=torch.Generator().manual_seed(1))  # positive: no sum cancels out
        (sums * weights.to(dtype)).sum().backward()
        results.append([sums, *(tensor.grad for tensor in inputs)])
    assert_close(*results)


@pytest.mark.parametrize("shape", [(32, 32, 26, 26), (32, 64, 11, 11), (1, 3, 2, 2), (7, 1, 5, 3), (3, 12, 4, 5)])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_relu_batch_norm_pool_agrees_with_its_twin_forward_and_backward(
    shape: tuple[int, ...], memory_format: torch.memory_format
) -> None:
    """Weights of both signs: with a negative one, the smallest pixel of a square is the largest after scaling."""
    generator = torch.Generator().manual_seed(0)
    maps = (torch.rand(shape, generator=generator) - 0.4).contiguous(memory_format=memory_format)
    weight, bias = torch.rand(shape[1], generator=generator) - 0.5, torch.rand(shape[1], generator=generator)
    results = []
    for function, dtype in (
        (fused.relu_batch_norm_pool, torch.float32),
        (fused.relu_batch_norm_pool_plain, torch.float64),
    ):
        inputs = [tensor.detach().to(dtype).requires_grad_() for tensor in (maps, weight, bias)]
        pooled, mean, variance = function(inputs[0], inputs[1], inputs[2], 1e-3)
        weights = torch.rand(pooled.shape, generator=torch.Generator().manual_seed(1)) - 0.5
        (pooled * weights.to(dtype)).sum().backward()
        results.append([pooled, mean, variance, *(tensor.grad for tensor in inputs)])
    assert_close(*results)


@pytest.mark.skipif(os.cpu_count() == 1, reason="two threads need two processors")
def test_relu_batch_norm_pool_does_not_depend_on_the_number_of_threads() -> None:
    generator, threads = torch.Generator().manual_seed(0), torch.get_num_threads()
    maps, weight = torch.randn((33, 32, 26, 26), generator=generator), torch.randn(32, generator=generator)
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            inputs = maps.clone().requires_grad_()
            pooled, *moments = fused.relu_batch_norm_pool(inputs, weight, weight, 1e-3)
            (pooled * pooled).sum().backward()
            results.append([pooled, *moments, inputs.grad])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_nan_propagates() -> None:
    """Training notices a NaN by the loss."""
    maps = torch.zeros(2, 3, 4, 4)
    maps[1, 1, 3, 2] = math.nan
    pooled, mean, variance = fused.relu_batch_norm_pool(maps, torch.ones(3), torch.zeros(3), 1e-3)
    for result in (pooled[:, 1], mean[1], variance[1]):
        assert result.isnan().all()
    assert pooled[:, [0, 2]].isfinite().all()


@pytest.mark.parametrize(
    ("maps", "weight", "bias"),
    [
        (torch.ones(2, 8, 4, 4), torch.ones(8), torch.ones(1)),
        (torch.ones(2, 8, 4, 4), torch.ones(1), torch.ones(1)),
        (torch.ones(0, 8, 4, 4), torch.ones(8), torch.ones(8)),
        (torch.ones(8, 4, 4), torch.ones(4), torch.ones(4)),
        (torch.ones(2, 8, 4, 4).double(), torch.ones(8), torch.ones(8)),
    ],
)
def test_wrong_shapes_and_dtypes_are_errors(maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """The loops check no bounds: they would read past the end of a bias of one value."""
    with pytest.raises(ValueError, match="must be float32"):
        fused.relu_batch_norm_pool(maps, weight, bias, 1e-3)


def test_gradients_of_gradients_are_an_error() -> None:
    """The kernels' gradients are not differentiable; a gradient penalty would be ignored silently."""
    for function in (fused.batch_norm, fused.relu_batch_norm_pool):
        maps = torch.randn(2, 3, 4, 4, requires_grad=True)
        result, *_ = function(maps, torch.ones(3), torch.zeros(3), 1e-3)
        (gradient,) = torch.autograd.grad((result**2).sum(), maps, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            (gradient**2).sum().backward()


@pytest.mark.parametrize(
    ("environment", "fuses"),
    [
        ({"NUMBA_DISABLE_JIT": "1"}, False),
        ({"NUMBA_THREADING_LAYER": "tbb"}, False),
        ({"NUMBA_NUM_THREADS": "1"}, True),
    ],
)
def test_without_a_usable_numba_nothing_is_fused(environment: dict[str, str], fuses: bool) -> None:
    """NUMBA_DISABLE_JIT would run the loops in Python; TBB is not installed with Numba."""
    program = "import torch; from numerals.ops import fused; print(fused.can_fuse(torch.ones(1)))"
    printed = subprocess.check_output([sys.executable, "-c", program], text=True, env=os.environ | environment)
    assert printed == f"{fuses}\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_disk_too_full_for_compiled_code_stops_no_training(tmp_path: Path) -> None:
    program = """if True:
        import resource, torch
        from numerals.ops import fused

        maps = torch.randn(2, 3, 4, 4, requires_grad=True)
        assert fused.can_fuse(maps)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        pooled, *_ = fused.relu_batch_norm_pool(maps, torch.ones(3), torch.zeros(3), 1e-3)
        pooled.sum().backward()
        expected, *_ = fused.relu_batch_norm_pool_plain(maps, torch.ones(3), torch.zeros(3), 1e-3)
        raise SystemExit(0 if torch.allclose(pooled, expected, atol=1e-5) and maps.grad is not None else 1)
    """
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (finished.stderr, finished.returncode) == ("", 0)
    assert [path for path in tmp_path.rglob("*.nbc") if path.stat().st_size] == [], "the disk was not full"


def test_one_thread_at_a_time_calls_the_loops() -> None:
    """Numba's own thread pool, its fallback without OpenMP, ends the process otherwise."""
    program = """if True:
        import threading, torch
        from numerals.ops import fused

        maps, one, zero = torch.randn(4, 32, 26, 26), torch.ones(32), torch.zeros(32)
        expected, *_ = fused.relu_batch_norm_pool(maps, one, zero, 1e-3)
        agreed = []

        def work():
            for _ in range(30):
                result, *_ = fused.relu_batch_norm_pool(maps, one, zero, 1e-3)
                agreed.append(torch.equal(result, expected))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        import numba
        print(numba.threading_layer(), len(agreed), all(agreed))
    """
    environment = os.environ | {"NUMBA_THREADING_LAYER": "workqueue"}
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (finished.stdout, finished.stderr, finished.returncode) == ("workqueue 120 True\n", "", 0)


@pytest.mark.parametrize("threads", [1, 2])
def test_pytorch_keeps_its_number_of_threads(threads: int) -> None:
    """When Numba starts and shares PyTorch's OpenMP, it sets it to all processors."""
    program = f"""if True:
        import torch
        from numerals.ops import fused

        torch.set_num_threads({threads})
        fused.relu_batch_norm_pool(torch.randn(4, 32, 26, 26), torch.ones(32), torch.zeros(32), 1e-3)
        print(torch.get_num_threads())
    """
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == f"{threads}\n"


def assert_close(results: list[Any], twin_results: list[Any]) -> None:
    for result, expected in zip(results, twin_results, strict=True):
        assert result.shape == expected.shape
        scale = float(expected.detach().abs().max()) + 1e-6
        assert float((result.double() - expected).detach().abs().max()) <= 2e-5 * scale


def test_batch_norm_is_exact_for_a_mean_far_from_zero() -> None:
    maps = 1000 + torch.rand((32, 2, 26, 26), generator=torch.Generator().manual_seed(0))
    _, _, variance = fused.batch_norm(maps, torch.ones(2), torch.zeros(2), 1e-3)
    assert variance.tolist() == pytest.approx(maps.double().var((0, 2, 3), correction=0).tolist(), rel=1e-3)
