"""Tesseract as Debian packages it, told to read digits alone, in one block of text. Needs nothing of Python's.

A process for each picture, as its command and its usual Python wrappers have it; its start counts as its time.

    echo '["one.png"]' | python -m benchmarks.peers.read_tesseract
"""

import resource
import subprocess

from benchmarks.peers.process import answer

BLOCK = "6"  # page segmentation mode: one uniform block. On rows and pages 3, 7 and 11 erred more
OPTIONS = ("--psm", BLOCK, "-c", "tessedit_char_whitelist=0123456789")
PACKAGES = ("tesseract-ocr", "tesseract-ocr-eng", "tesseract-ocr-osd", "libtesseract5", "liblept5")


def main() -> None:
    version = _output("tesseract", "--version").split()[1]
    answer(
        read=lambda path: _output("tesseract", path, "stdout", *OPTIONS),
        program=f"Tesseract {version}",
        versions={},
        installed_mebibytes=installed(),
        peak_mebibytes=lambda: resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    )


def installed() -> float | None:
    """Its own packages, without the system's libraries that they need, in MiB; None where dpkg does not know them."""
    try:
        sizes = _output("dpkg-query", "--show", "--showformat", "${Installed-Size}\n", *PACKAGES)
    except (OSError, RuntimeError):
        return None
    return round(sum(map(int, sizes.split())) / 1024, 1)


def _output(*command: str) -> str:
    """What a command prints.

    Raises:
        RuntimeError: it failed; its last line says how.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
    return done.stdout


if __name__ == "__main__":
    main()
