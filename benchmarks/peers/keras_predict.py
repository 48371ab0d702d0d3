"""The article's network on Keras with TensorFlow, untrained, timed in `predict`. Knows nothing about numerals.

Its argument is n. Standard input brings the digits, the bytes of uint8 (n, 28, 28), and then a line for each timing,
[batch size, digits]; each is answered by a line, its seconds. The first line of the answer has the versions.
"""

import json
import sys
import time
from importlib import metadata

import numpy as np

from benchmarks.peers.keras_article import build

PACKAGES = ("keras", "tensorflow-cpu", "numpy")


def main() -> None:
    content = sys.stdin.buffer.read(int(sys.argv[1]) * 28 * 28)
    digits = np.frombuffer(content, np.uint8).reshape(-1, 28, 28, 1).astype("float32") / 255
    model = build()
    print(json.dumps({name: metadata.version(name) for name in PACKAGES}), flush=True)
    for line in sys.stdin.buffer:
        batch, count = json.loads(line)
        part = digits[:count]
        started = time.perf_counter()
        model.predict(part, batch_size=batch, verbose=0)
        print(json.dumps(time.perf_counter() - started), flush=True)


if __name__ == "__main__":
    main()
