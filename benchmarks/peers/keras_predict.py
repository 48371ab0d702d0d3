"""The article's network on Keras with TensorFlow, untrained, timed in `predict`. Knows nothing about numerals.

Its argument is n. Standard input brings the digits, the bytes of uint8 (n, 28, 28), and then a line for each question,
each answered by a line: ["throughput", batch, digits] by the seconds of one predict over those digits; ["latencies",
batch, calls] by the median and 99th percentile of the milliseconds of so many predicts of one batch.
"""

import json
import sys
import time

import numpy as np

from benchmarks.peers.keras_article import build

WARM = 5  # calls before the first that counts


def main() -> None:
    content = sys.stdin.buffer.read(int(sys.argv[1]) * 28 * 28)
    digits = np.frombuffer(content, np.uint8).reshape(-1, 28, 28, 1).astype("float32") / 255
    model = build()

    def predict(batch: int, count: int) -> float:
        started = time.perf_counter()
        model.predict(digits[:count], batch_size=batch, verbose=0)
        return time.perf_counter() - started

    for line in sys.stdin.buffer:
        what, batch, count = json.loads(line)
        if what == "throughput":
            print(json.dumps(predict(batch, count)), flush=True)
        else:
            taken = [predict(batch, batch) for _ in range(WARM + count)][WARM:]
            p50, p99 = np.percentile(np.array(taken) * 1000, (50, 99))
            print(json.dumps({"p50_ms": float(p50), "p99_ms": float(p99)}), flush=True)


if __name__ == "__main__":
    main()
