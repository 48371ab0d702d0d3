"""Which device computes, and with which numbers. Knows nothing about what is computed."""

import torch

from numerals.errors import InputError


def choose_device(device: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one.

    Raises:
        InputError: unknown, or not on this machine.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {device}: must be auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device cuda: there is none on this machine, or this torch is built without it; use --device cpu"
        )
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def seed_torch(device: torch.device, value: int) -> None:
    """Set where the device's chance starts. torch.manual_seed also keeps a traceback for a GPU that may never come."""
    if device.type == "cuda":
        torch.cuda.manual_seed(value)
    else:
        torch.default_generator.manual_seed(value)


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether the network multiplies in bfloat16: where "auto" finds a matrix unit for it (AMX, or a GPU's).

    It asks what the processor has, not how fast it was just now, so that one machine always answers the same.
    """
    if precision != "auto":
        return False
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was missing; torch says so of a GPU's in a type of its own, of the processor's in words."""
    said = any(words in str(error) for words in ("can't allocate memory", "not enough memory"))
    return (said and isinstance(error, RuntimeError)) or isinstance(error, MemoryError | torch.OutOfMemoryError)
