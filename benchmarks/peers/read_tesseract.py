"""Tesseract from Debian's packages as an engine of the reading benchmark: digits only, one block of text.

It starts a process per picture, as its command and its usual Python wrappers do; the start counts as reading time.

    echo '["one.png"]' | python -m benchmarks.peers.read_tesseract
"""

import resource
import subprocess

from benchmarks.peers.process import read_pictures

BLOCK = "6"  # page segmentation mode: one uniform block. Modes 3, 7 and 11 made more errors on rows and pages
OPTIONS = ("--psm", BLOCK, "-c", "tessedit_char_whitelist=0123456789")
PACKAGES = ("tesseract-ocr", "tesseract-ocr-eng", "tesseract-ocr-osd", "libtesseract5", "liblept5")


def main() -> None:
    version = _output("tesseract", "--version").split()[1]
    read_pictures(
        read=lambda path: _output("tesseract", path, "stdout", *OPTIONS),
        program=f"Tesseract {version}",
        versions={},
        installed_mebibytes=installed_mebibytes(),
        peak_mebibytes=lambda: resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    )


def installed_mebibytes() -> float | None:
    """Size of Tesseract's own packages without the system's libraries, in MiB; None if dpkg does not list them."""
    try:
        sizes = _output("dpkg-query", "--show", "--showformat", "${Installed-Size}\n", *PACKAGES)
    except (OSError, RuntimeError):
        return None
    return round(sum(map(int, sizes.split())) / 1024, 1)


def _output(*command: str) -> str:
    """What a command prints to stdout.

    Raises:
        RuntimeError: it failed; the message is the last line of its stderr.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
    return done.stdout


if __name__ == "__main__":
    main()
