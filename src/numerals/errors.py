"""Everything that numerals raises on purpose. A message is one line: what was wrong, where, what to do.

NumeralsError
├── InputError          a mistake in the call or the input: the command line exits with 2
│   ├── DataError           digits or labels that cannot be used
│   ├── RecipeError         an unknown key or an impossible value in a recipe
│   ├── RunError            a run folder that exists already, or is not one
│   ├── PictureError        a picture that cannot be read
│   └── ModelError          an exported model that is none, or not the one its card names
└── FailureError        nobody's mistake, it did not work: the command line exits with 1
    ├── StorageError        the disk is full or refuses
    └── MissingError        a part of numerals that is not installed
"""

import unicodedata

BREAKING = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's categories of what ends a line, moves the cursor or cannot be printed


def printable(text: str) -> str:
    """The text in one line, whatever it holds, as a file's name may: a newline as \\n."""
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in BREAKING else c for c in text)


class NumeralsError(Exception):
    """The root: catch this to catch all of them."""

    exit_code = 1


class InputError(NumeralsError):
    """A mistake in the call or the input."""

    exit_code = 2


class DataError(InputError):
    """Digits or labels that cannot be used."""


class RecipeError(InputError):
    """An unknown key or an impossible value in a recipe."""


class RunError(InputError):
    """A run folder that exists already, cannot be made, or is not one."""


class PictureError(InputError):
    """A picture that cannot be read."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class ModelError(InputError):
    """An exported model that is none, or not the one that its card names."""


class FailureError(NumeralsError):
    """Nobody's mistake: it did not work."""


class StorageError(FailureError):
    """The disk is full or refuses to keep a file."""


class MissingError(FailureError):
    """A part of numerals that is not installed."""
