"""The device that training runs on: CPU or CUDA, its precision, its random seed, its memory."""

import ctypes
import sys

import torch

from numerals.errors import InputError

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # parameters of mallopt, from glibc's malloc.h


def choose_device(device: str) -> torch.device:
    """Return the device named "cpu" or "cuda"; "auto" is CUDA if available.

    Raises:
        InputError: unknown name, or no CUDA on this machine.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {device}: must be auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: none on this machine, or this PyTorch is built without it; use --device cpu")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether the network multiplies in bfloat16: `precision` is "auto" and the device has a matrix unit for it.

    On a CPU that unit is AMX. The answer depends on the hardware alone, not on a timing, so one machine always gives
    the same answer.
    """
    if precision != "auto":
        return False
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def seed_torch(device: torch.device, seed: int) -> None:
    """Seed the device's default generator.

    torch.manual_seed seeds every device, and for a GPU that is not in use yet it keeps a traceback at each call.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def keep_freed_memory() -> None:
    """Make glibc reuse freed memory instead of returning it to Linux and asking for it again at each step.

    A training step of the article then takes four fifths of the time (docs/log.md). The setting holds for the whole
    process, so it is for programs to choose: the commands call it, the function `train` does not. Without glibc it
    does nothing.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return
    mallopt(MMAP_THRESHOLD, 2**25)  # larger blocks are those of an evaluation, which should be returned
    mallopt(TRIM_THRESHOLD, 2**30)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that memory ran out.

    PyTorch raises an OutOfMemoryError for a GPU, but a RuntimeError for the CPU that only its message tells apart.
    """
    in_message = any(words in str(error) for words in ("can't allocate memory", "not enough memory"))
    return (in_message and isinstance(error, RuntimeError)) or isinstance(error, MemoryError | torch.OutOfMemoryError)
