"""RapidOCR, whose models come inside its package. Needs an environment of its own: benchmarks/peers/rapidocr.txt.

It cannot be told to read digits alone, so what else it reads is left out when it is scored. With --one-row it takes the
picture as one row and looks for none, which is much better (and faster) where that is so.

    echo '["one.png"]' | python -m benchmarks.peers.read_rapidocr [--one-row]
"""

import sys
from importlib import metadata

from rapidocr_onnxruntime import RapidOCR

from benchmarks.peers.process import answer, installed, own_peak, versions_of

PACKAGE = "rapidocr-onnxruntime"


def main() -> None:
    engine = RapidOCR()

    def read(path: str) -> str:
        found, _ = engine(path)  # [box, text, confidence] for each piece of text, from top to bottom, or None
        return "\n".join(text for _, text, _ in found or [])

    def read_row(path: str) -> str:
        found, _ = engine(path, use_det=False, use_cls=False)  # [text, confidence], once
        return "\n".join(text for text, _ in found or [])

    one_row = "--one-row" in sys.argv
    answer(
        read_row if one_row else read,
        program=f"RapidOCR {metadata.version(PACKAGE)}" + (", told: one row" if one_row else ""),
        versions=versions_of("numpy", "onnxruntime", "opencv-python", "pillow"),
        installed_mebibytes=installed(PACKAGE, "rapidocr_onnxruntime"),
        peak_mebibytes=own_peak,
    )


if __name__ == "__main__":
    main()
