"""What the row network answered -> digits with their places and confidences: CTC decoding. Knows no pictures."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BLANK = 0  # class of "no digit here"; digit d is class d + 1
BEAM = 12  # readings kept at each step
LEAST = 1e-3  # classes less probable than this are not followed
CANDIDATES = 4  # readings of each look that are weighed, and of all looks that are kept
WORTH = 0.003  # of the best reading's probability: what is less probable is not kept

StepProbabilities = npt.NDArray[np.float32]  # (steps, 11), each step sums to 1


@dataclass(frozen=True)
class Candidate:
    """A reading: its digits, the step at which each is surest, the network's confidence in each, its share in all."""

    digits: tuple[int, ...]
    steps: tuple[int, ...]
    confidences: tuple[float, ...]
    share: float  # its probability, the mean over the looks


def candidates(views: list[StepProbabilities]) -> list[Candidate]:
    """The readings on which several looks at one strip agree best, best first; their steps are the first look's.

    The mean of the looks' probabilities would blur, as each says a digit at another step; so whole readings are
    weighed: each look's best ones, by their mean probability over all looks.
    """
    found = [best_readings(view)[:CANDIDATES] for view in views]
    readings = sorted({reading for each in found for reading, _ in each})
    shares = np.mean([likelihoods(view, readings) for view in views], axis=0)
    best = np.argsort(-shares, kind="stable")
    kept = [int(which) for which in best[:CANDIDATES] if shares[which] >= WORTH * shares[best[0]]]
    return [_candidate(readings[which], float(shares[which]), views) for which in kept]


def _candidate(reading: tuple[int, ...], share: float, views: list[StepProbabilities]) -> Candidate:
    paths = [align(view, reading) for view in views]
    sure = [
        [float(view[step, digit + 1]) for step, digit in zip(path, reading, strict=True)]
        for view, path in zip(views, paths, strict=True)
    ]
    return Candidate(reading, paths[0], tuple(np.mean(sure, axis=0).tolist()), share)


def best_readings(probabilities: StepProbabilities) -> list[tuple[tuple[int, ...], float]]:
    """The most probable digits, over all the ways to say them, best first: prefix beam search (Hannun 2014)."""
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (1.0, 0.0)}  # ended by a blank, by its last digit
    for step in probabilities.astype(np.float64).tolist():
        following = [digit for digit, share in enumerate(step[1:]) if share > LEAST]
        if not following:  # as at most steps: the readings stay the same, and need no sorting
            beam = {
                prefix: ((blank + spoken) * step[BLANK], spoken * step[prefix[-1] + 1] if prefix else 0.0)
                for prefix, (blank, spoken) in beam.items()
            }
            continue
        grown: dict[tuple[int, ...], list[float]] = {}
        for prefix, (blank, spoken) in beam.items():
            same = grown.setdefault(prefix, [0.0, 0.0])
            same[0] += (blank + spoken) * step[BLANK]
            if prefix:
                same[1] += spoken * step[prefix[-1] + 1]
            for digit in following:
                before = blank if prefix and prefix[-1] == digit else blank + spoken
                grown.setdefault((*prefix, digit), [0.0, 0.0])[1] += before * step[digit + 1]
        best = sorted(grown.items(), key=lambda item: -sum(item[1]))[:BEAM]
        beam = {prefix: (ended, spoken) for prefix, (ended, spoken) in best}
    return sorted(((reading, sum(parts)) for reading, parts in beam.items()), key=lambda item: -item[1])


def likelihoods(probabilities: StepProbabilities, readings: list[tuple[int, ...]]) -> list[float]:
    """The probability of each reading, over all the ways to say it (Graves 2006, the forward sum)."""
    lengths = [2 * len(reading) + 1 for reading in readings]
    shares = np.zeros((len(probabilities), len(readings), max(lengths)))
    may_skip = np.zeros(shares.shape[1:])
    for place, (reading, length) in enumerate(zip(readings, lengths, strict=True)):
        shares[:, place, :length], may_skip[place, :length] = _states(probabilities, reading)
    reached = np.zeros((len(readings), max(lengths) + 2))  # two states before the first, never reached
    reached[:, 2:4] = shares[0, :, :2]
    for step in shares[1:]:
        reached[:, 2:] = (reached[:, 2:] + reached[:, 1:-1] + may_skip * reached[:, :-2]) * step
    return [float(line[length : length + 2].sum()) for line, length in zip(reached, lengths, strict=True)]


def _states(
    probabilities: StepProbabilities, reading: tuple[int, ...]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """For blank, digit, blank, digit, ..., blank: the share of each at each step, and which may follow two before."""
    states = [BLANK]
    for digit in reading:
        states += [digit + 1, BLANK]
    may_skip = [place > 1 and state not in (BLANK, states[place - 2]) for place, state in enumerate(states)]
    return probabilities[:, states].astype(np.float64), np.array(may_skip)


def align(probabilities: StepProbabilities, reading: tuple[int, ...]) -> tuple[int, ...]:
    """The step of each digit's peak on the best path that says this reading (Viterbi)."""
    if not reading:
        return ()
    shares, may_skip = _states(probabilities, reading)
    scores = np.log(np.maximum(shares, 1e-12))
    skip = np.where(may_skip, 0, -np.inf)
    reached = np.full(scores.shape[1] + 2, -np.inf)  # two states before the first, never reached
    reached[2:4] = scores[0, :2]
    came = np.zeros(scores.shape, np.int64)  # how many states before this one the path was
    for step in range(1, len(scores)):
        stayed, once, twice = reached[2:], reached[1:-1], reached[:-2] + skip
        best = np.maximum(stayed, once)
        came[step] = once > stayed
        came[step][twice > best] = 2
        reached[2:] = np.maximum(best, twice) + scores[step]
    best = reached[2:]
    path = [len(best) - 1 if best[-1] >= best[-2] else len(best) - 2]
    for step in range(len(probabilities) - 1, 0, -1):
        path.append(path[-1] - int(came[step, path[-1]]))
    visited = np.array(path[::-1])
    return tuple(
        int(max(np.flatnonzero(visited == 2 * place + 1), key=lambda step: probabilities[step, digit + 1], default=0))
        for place, digit in enumerate(reading)
    )
