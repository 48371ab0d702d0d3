"""Counts how often the actors that read a part of an archive died, so that one bad picture cannot stop a job.

Ray Data replaces an actor that dies and gives its part to another, for ever. This module imports nothing else, so that
the actor that counts starts at once.
"""

from collections import Counter

MAX_DEATHS = 2  # at a part, before it is read picture by picture; then at a picture, before it is left out


class Attempts:
    """An actor that knows what other actors read at the moment. Parts and pictures are numbers."""

    def __init__(self) -> None:
        self._starts: Counter[int] = Counter()  # by part
        self._deaths: dict[int, Counter[int]] = {}  # by part and picture
        self._current: dict[int, int] = {}  # the picture of a part that is read picture by picture

    def begin(self, part: int) -> set[int] | None:
        """Note that an actor starts with a part.

        Returns:
            None to read it at once. After MAX_DEATHS at this part, the pictures to leave out; call `reading` before
            each of the others.
        """
        self._starts[part] += 1
        deaths = self._deaths.setdefault(part, Counter())
        if part in self._current:
            deaths[self._current.pop(part)] += 1
        if self._starts[part] <= MAX_DEATHS:
            return None
        return {picture for picture, count in deaths.items() if count >= MAX_DEATHS}

    def reading(self, part: int, picture: int) -> None:
        """Note that the actor starts with this picture of the part."""
        self._current[part] = picture

    def end(self, part: int) -> None:
        """Note that the part is read."""
        for noted in (self._starts, self._deaths, self._current):
            noted.pop(part, None)
