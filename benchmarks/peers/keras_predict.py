"""Time Keras's `predict` on the article's network, untrained, with TensorFlow.

The argument is n. Standard input has the digits (the bytes of uint8 (n, 28, 28)), then one JSON request per line, each
answered by one line. ["throughput", batch, digits]: seconds of one predict over that many digits. ["latencies", batch,
calls]: median and 99th percentile of the milliseconds of that many predicts of one batch.
"""

import json
import sys
import time

import numpy as np

from benchmarks.peers.keras_article import build

WARM_UP = 5  # calls before the first one that counts


def main() -> None:
    content = sys.stdin.buffer.read(int(sys.argv[1]) * 28 * 28)
    digits = np.frombuffer(content, np.uint8).reshape(-1, 28, 28, 1).astype("float32") / 255
    model = build()

    def predict(batch: int, count: int) -> float:
        started = time.perf_counter()
        model.predict(digits[:count], batch_size=batch, verbose=0)
        return time.perf_counter() - started

    for line in sys.stdin.buffer:
        measure, batch, count = json.loads(line)
        if measure == "throughput":
            print(json.dumps(predict(batch, count)), flush=True)
        else:
            seconds = [predict(batch, batch) for _ in range(WARM_UP + count)][WARM_UP:]
            p50, p99 = np.percentile(np.array(seconds) * 1000, (50, 99))
            print(json.dumps({"p50_ms": float(p50), "p99_ms": float(p99)}), flush=True)


if __name__ == "__main__":
    main()
