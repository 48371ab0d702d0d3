"""What a digit image is: the one contract between learning and reading. Knows nothing about files or networks.

A digit image is SIDE x SIDE, uint8 in [0, WHITE], white ink on black. There are ten classes, 0 to 9.
"""

SIDE = 28  # pixels along each edge
PIXELS = SIDE * SIDE  # 784
WHITE = 255  # full ink; 0 is paper
CLASSES = tuple("0123456789")
