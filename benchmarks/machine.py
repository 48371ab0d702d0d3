"""Under what conditions something was measured, and the record that keeps it. Knows nothing about what is measured."""

import datetime
import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "benchmarks" / "records"


def machine() -> dict[str, Any]:
    """What the runs ran on, as far as Linux tells."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    flags = Path("/proc/cpuinfo").read_text()
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "amx": "amx_bf16" in flags,
        "avx512_bf16": "avx512_bf16" in flags,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def source_hash() -> str:
    """SHA-256 over the package's own source and models, so that a record names what it measured."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix in (".py", ".toml", ".onnx"):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def conditions(note: str) -> dict[str, Any]:
    """What every line of a record says besides what was measured."""
    return {
        "date": datetime.date.today().isoformat(),
        "source": source_hash(),
        "machine": machine(),
        "note": note,
    }


def keep(record: Path, result: dict[str, Any]) -> None:
    """One more line in the record."""
    record.parent.mkdir(parents=True, exist_ok=True)
    with open(record, "a") as file:
        file.write(json.dumps(result) + "\n")
