"""Draw the README's picture of reading: a page written with MNIST's test digits, and what was read.

python -m docs.annotated PICTURE.jpg
"""

import sys
from pathlib import Path

import numerals
from benchmarks.pictures import draw_page, glyphs_of_test_digits
from numerals.read.annotate import annotate

page, _ = draw_page(glyphs_of_test_digits(), 0, 17)
upper_part = page[: page.shape[0] * 5 // 8]  # the rows are there
annotated = annotate(upper_part, numerals.Reader().read(upper_part))
annotated.resize((annotated.width * 2 // 3, annotated.height * 2 // 3)).save(Path(sys.argv[1]), quality=80)
