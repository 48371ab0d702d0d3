"""The exceptions that numerals raises. A message is one line: what is wrong, where, and what to do.

NumeralsError
├── InputError          wrong call or input: commands exit with 2
│   ├── DataError           unusable images or labels
│   ├── RecipeError         unknown key or invalid value in a recipe
│   ├── RunError            run folder exists already, or is not a run folder
│   ├── PictureError        unreadable picture
│   └── ModelError          not an exported model, or not the one that its card describes
└── FailureError        correct call that failed: commands exit with 1
    ├── StorageError        the disk is full or not writable
    └── MissingError        a part of numerals is not installed
"""

import unicodedata

# Unicode: control and format characters, which include those that reverse or hide text; surrogates; line and paragraph
# separators.
UNPRINTABLE_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    """Escape line breaks, control and invisible characters, so that a text such as a file name prints as one line.

    What is printed looks like what it is: "gnp.exe" after a right-to-left override would look like "exe.png".
    """
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in UNPRINTABLE_CATEGORIES else c for c in text
    )


class NumeralsError(Exception):
    """The base class of all exceptions that numerals raises."""

    exit_code = 1


class InputError(NumeralsError):
    """Wrong call or input."""

    exit_code = 2


class DataError(InputError):
    """Unusable images or labels."""


class RecipeError(InputError):
    """Unknown key or invalid value in a recipe."""


class RunError(InputError):
    """A run folder that exists already, cannot be created, or is not a run folder."""


class PictureError(InputError):
    """Unreadable picture."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class ModelError(InputError):
    """Not an exported model, or not the one that its card describes."""


class FailureError(NumeralsError):
    """A correct call that failed."""


class StorageError(FailureError):
    """The disk is full or not writable."""


class MissingError(FailureError):
    """A part of numerals is not installed."""
