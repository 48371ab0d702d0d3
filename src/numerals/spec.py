"""What a digit image is: the one contract between learning and reading. Knows nothing about files or networks.

A digit image is SIDE x SIDE, uint8 in [0, WHITE], white ink on black. There are ten classes, 0 to 9.
"""

SIDE = 28  # pixels along each edge
PIXELS = SIDE * SIDE  # 784
WHITE = 255  # full ink; 0 is paper
CLASSES = tuple("0123456789")
INK_SIDE = 20  # the side that the ink itself fits in
MODEL_INPUT = "digits"  # the exported model's tensors: uint8 (n, 28, 28)
MODEL_OUTPUTS = ("probabilities", "is_digit")  # float32 (n, 10) and (n,), both in [0, 1]
ROWS_INPUT = "strips"  # the row model's: uint8 (n, 1, 40, w), ink bright
ROWS_OUTPUT = "probabilities"  # float32 (n, ceil(w / 2), 11), blank first
