"""What a digit image is, for training and reading alike: size, range of values, classes.

A digit image is uint8 (28, 28) in [0, 255], white ink on black, of one of ten classes.
"""

SIDE = 28  # pixels along each edge
PIXELS = SIDE * SIDE  # 784
WHITE = 255  # full ink; 0 is the background
CLASSES = tuple("0123456789")
INK_SIDE = 20  # side of the square, centred in the image, that the ink fits in

# Tensors of exported models
MODEL_INPUT = "digits"  # uint8 (n, 28, 28)
MODEL_OUTPUTS = ("probabilities", "is_digit")  # float32 (n, 10) and (n,), both in [0, 1]
ROWS_INPUT = "strips"  # the row model: uint8 (n, 1, 40, width), bright ink
DETECTOR_INPUT = "planes"  # the detector: uint8 (n, 2, h, w), paper 85 and ink brighter
DETECTOR_OUTPUT = "cells"  # float32 (n, 15, h / 4, w / 4): logits of a centre and of the ten classes, and a box
ROWS_OUTPUT = "probabilities"  # float32 (n, ceil(width / 2), 11), the CTC blank first
