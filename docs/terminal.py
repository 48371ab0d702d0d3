"""Draw a command's output as a terminal window: `COMMAND 2>&1 | python docs/terminal.py PICTURE.svg TITLE`."""

import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

picture, title = Path(sys.argv[1]), sys.argv[2]
output = sys.stdin.read().rstrip()
console = Console(record=True, width=max(map(len, output.splitlines())) + 1, file=sys.stderr, highlight=False)
console.print(Text(f"$ {title}", "bold"))
console.print(Text(output))
svg = console.export_svg(title=title)
picture.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))  # no fonts from the network
