"""How well digits were read: exact pictures and character error rate. Knows nothing about pictures or engines."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Counts over a set of pictures; the rate is of the sums, so that a long number weighs more than a short one."""

    pictures: int
    exact: int  # pictures of which every digit was read, in reading order, and no other; line breaks do not count
    digits: int  # that are written in them
    errors: int  # digits to insert, delete or change until what was read is what is written

    @property
    def error_rate(self) -> float:
        return self.errors / self.digits


def score(pairs: Iterable[tuple[str, str]]) -> Score:
    """Counts over pairs of what is written, digits alone, and what was read: of that the digits count, nothing else."""
    compared = [(written, digits_in(read)) for written, read in pairs]
    return Score(
        pictures=len(compared),
        exact=sum(written == read for written, read in compared),
        digits=sum(len(written) for written, _ in compared),
        errors=sum(edit_distance(written, read) for written, read in compared),
    )


def digits_in(text: str) -> str:
    """0 to 9 out of any text, in order; no other script's digits."""
    return "".join(character for character in text if character in "0123456789")


def edit_distance(one: str, other: str) -> int:
    """Characters to insert, delete or change to get from one to the other (Levenshtein 1966)."""
    distances = list(range(len(other) + 1))  # from what of `one` was looked at, to each beginning of `other`
    for row, mine in enumerate(one, 1):
        diagonal, distances[0] = distances[0], row
        for column, theirs in enumerate(other, 1):
            changed = diagonal + (mine != theirs)
            diagonal = distances[column]
            distances[column] = min(changed, distances[column] + 1, distances[column - 1] + 1)
    return distances[-1]
