"""numerals as an engine of the reading benchmark, under the same rules as its peers.

echo '["one.png"]' | python -m benchmarks.peers.read_numerals
"""

import numerals
from benchmarks.peers.process import installed_mebibytes, own_peak, read_pictures, versions_of


def main() -> None:
    reader = numerals.Reader()
    read_pictures(
        read=lambda path: reader.read(path).text,
        program=f"numerals {numerals.__version__}",
        versions=versions_of("numpy", "onnxruntime", "opencv-python-headless", "pillow"),
        installed_mebibytes=installed_mebibytes("numerals", "numerals"),
        peak_mebibytes=own_peak,
    )


if __name__ == "__main__":
    main()
