"""Reading accuracy: exact pictures and character error rate."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Counts over a set of pictures. The error rate is a ratio of sums: a long number weighs more than a short one."""

    pictures: int
    exact: int  # pictures where every digit was read, in reading order, and no other; line breaks do not count
    digits: int  # digits written in all pictures
    errors: int  # digits to insert, delete or substitute to turn what was read into what is written

    @property
    def error_rate(self) -> float:
        return self.errors / self.digits


def score(pairs: Iterable[tuple[str, str]]) -> Score:
    """Compare pairs of (written digits, text that was read); characters other than 0 to 9 are ignored."""
    compared = [(written, digits_in(read)) for written, read in pairs]
    return Score(
        pictures=len(compared),
        exact=sum(written == read for written, read in compared),
        digits=sum(len(written) for written, _ in compared),
        errors=sum(edit_distance(written, read) for written, read in compared),
    )


def digits_in(text: str) -> str:
    """The ASCII digits in a text, in order."""
    return "".join(character for character in text if character in "0123456789")


def edit_distance(a: str, b: str) -> int:
    """Number of insertions, deletions and substitutions that turn `a` into `b` (Levenshtein 1966)."""
    distances = list(range(len(b) + 1))  # from the part of `a` read so far to each prefix of `b`
    for row, from_a in enumerate(a, 1):
        diagonal, distances[0] = distances[0], row
        for column, from_b in enumerate(b, 1):
            substituted = diagonal + (from_a != from_b)
            diagonal = distances[column]
            distances[column] = min(substituted, distances[column] + 1, distances[column - 1] + 1)
    return distances[-1]
