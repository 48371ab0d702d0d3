"""RapidOCR as an engine of the reading benchmark. Needs its own environment: benchmarks/peers/rapidocr.txt.

Its models come with its package. It has no setting for digits only, so the score ignores other characters. With
--one-row it takes the picture as one row and skips detection, which is much more accurate (and faster) on single rows.

    echo '["one.png"]' | python -m benchmarks.peers.read_rapidocr [--one-row]
"""

import sys
from importlib import metadata

from rapidocr_onnxruntime import RapidOCR

from benchmarks.peers.process import installed_mebibytes, own_peak, read_pictures, versions_of

PACKAGE = "rapidocr-onnxruntime"


def main() -> None:
    engine = RapidOCR()

    def read(path: str) -> str:
        pieces, _ = engine(path)  # [box, text, confidence] of each piece of text, from top to bottom, or None
        return "\n".join(text for _, text, _ in pieces or [])

    def read_row(path: str) -> str:
        pieces, _ = engine(path, use_det=False, use_cls=False)  # one [text, confidence], or None
        return "\n".join(text for text, _ in pieces or [])

    one_row = "--one-row" in sys.argv
    read_pictures(
        read_row if one_row else read,
        program=f"RapidOCR {metadata.version(PACKAGE)}" + (", as one row" if one_row else ""),
        versions=versions_of("numpy", "onnxruntime", "opencv-python", "pillow"),
        installed_mebibytes=installed_mebibytes(PACKAGE, "rapidocr_onnxruntime"),
        peak_mebibytes=own_peak,
    )


if __name__ == "__main__":
    main()
