"""The conditions of a measurement (machine, date, source), and the record files that keep them with its result."""

import datetime
import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "benchmarks" / "records"

Record = dict[str, Any]  # one line of a record file, as JSON


def machine() -> Record:
    """The machine that runs this, from /proc/cpuinfo: Linux only."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = "unknown"
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "amx": "amx_bf16" in cpuinfo,
        "avx512_bf16": "avx512_bf16" in cpuinfo,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def source_hash() -> str:
    """First 16 hex digits of the SHA-256 of the package's code, recipes and models: the version that was measured."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix in (".py", ".toml", ".onnx"):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def conditions(note: str) -> Record:
    """The keys that every line of a record has besides its measurement."""
    return {
        "date": datetime.date.today().isoformat(),
        "source": source_hash(),
        "machine": machine(),
        "note": note,
    }


def append_record(path: Path, record: Record) -> None:
    """Add one line to a record file; create it and its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        file.write(json.dumps(record) + "\n")
