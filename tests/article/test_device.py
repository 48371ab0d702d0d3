"""Devices by name, bfloat16 only where the processor has a unit for it, and reuse of freed memory."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from numerals.article.device import choose_device, uses_bfloat16
from numerals.errors import InputError
from numerals.runs.folder import RunFolder
from tests.helpers.keras_peer import KERAS_WARNS
from tests.helpers.trainings import CPU, train_few

pytestmark = [pytest.mark.filterwarnings(KERAS_WARNS), pytest.mark.usefixtures("one_thread")]


@pytest.mark.parametrize("name", ["tpu", "", "CPU", "cuda:7"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="auto, cpu or cuda"):
        choose_device(name)


@pytest.mark.parametrize("there", [True, False])
def test_auto_chooses_cuda_if_available(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if there else "cpu")
    if there:
        assert choose_device("cuda").type == "cuda"
    else:
        with pytest.raises(InputError, match="none on this machine"):
            choose_device("cuda")


@pytest.mark.parametrize("unit", [True, False])
def test_precision_is_bfloat16_only_with_a_matrix_unit(
    unit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": unit})
    assert not uses_bfloat16("float32", CPU) and uses_bfloat16("auto", CPU) is unit
    plain, auto = (train_few(tmp_path, name, epochs=1, precision=name) for name in ("float32", "auto"))
    assert plain.metrics["precision"] == "float32"
    assert auto.metrics["precision"] == ("bfloat16" if unit else "float32")
    assert (auto.metrics["weights_sha256"] == plain.metrics["weights_sha256"]) is not unit
    kept = RunFolder.open(auto.folder).network().state_dict()
    assert all(value.dtype == torch.float32 for name, value in kept.items() if "num_batches" not in name)
    assert auto.history[0].val_loss == pytest.approx(plain.history[0].val_loss, abs=0.2)


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
