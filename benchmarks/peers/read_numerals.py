"""Ours, held to the same rules as the peers.

echo '["one.png"]' | python -m benchmarks.peers.read_numerals
"""

import numerals
from benchmarks.peers.process import answer, installed, own_peak, versions_of


def main() -> None:
    reader = numerals.Reader()
    answer(
        read=lambda path: reader.read(path).text,
        program=f"numerals {numerals.__version__}",
        versions=versions_of("numpy", "onnxruntime", "opencv-python-headless", "pillow"),
        installed_mebibytes=installed("numerals", "numerals"),
        peak_mebibytes=own_peak,
    )


if __name__ == "__main__":
    main()
