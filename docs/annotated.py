"""The README's picture of reading: a page with MNIST's test digits, read. `python -m docs.annotated PICTURE.jpg`."""

import sys
from pathlib import Path

import numerals
from benchmarks.pictures import draw_page, glyphs_of_test_digits
from numerals.read.annotate import annotate

page, _ = draw_page(glyphs_of_test_digits(), 0, 17)
written = page[: page.shape[0] * 5 // 8]
drawn = annotate(written, numerals.Reader().read(written))
drawn.resize((drawn.width * 2 // 3, drawn.height * 2 // 3)).save(Path(sys.argv[1]), quality=80)
