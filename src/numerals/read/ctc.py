"""CTC decoding: the row model's probabilities to hypotheses, which are possible readings of a strip.

The row model gives the probabilities of eleven classes, blank first, at each step along a strip. The probability of a
hypothesis is the sum over all paths that spell it: repeats of a class and blanks are dropped from a path, so a repeated
digit needs a blank in between (Graves et al. 2006).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BLANK = 0  # class of "no digit here"; digit d is class d + 1
BEAM_WIDTH = 12  # prefixes kept at each step
MIN_CLASS_PROBABILITY = 1e-3  # at each step, the search skips digits that are less probable
MAX_HYPOTHESES = 4  # hypotheses that each view proposes, and that are returned in all
MIN_RELATIVE_PROBABILITY = 0.003  # hypotheses less probable than this share of the best one's are dropped

StepProbabilities = npt.NDArray[np.float32]  # (steps, 11), each step sums to 1
DigitSequence = tuple[int, ...]  # digits 0 to 9, left to right


@dataclass(frozen=True)
class Hypothesis:
    """One possible reading of a strip."""

    digits: DigitSequence
    steps: tuple[int, ...]  # of each digit's peak, rising
    confidences: tuple[float, ...]  # of each digit, in [0, 1]: its probability at its peak
    probability: float  # of all digits together, the mean over the views


def decode(views: list[StepProbabilities]) -> list[Hypothesis]:
    """Return the hypotheses on which several views of one strip agree best, best first.

    Averaging the views' probabilities step by step would blur them, since each view peaks at other steps. So each view
    proposes its best hypotheses, and these are ranked by their mean probability over all views.

    Args:
        views: the row model's output for each view.

    Returns:
        One to MAX_HYPOTHESES hypotheses; their steps are those of the first view.
    """
    proposals = [beam_search(view)[:MAX_HYPOTHESES] for view in views]
    sequences = sorted({digits for proposal in proposals for digits, _ in proposal})
    means = np.mean([likelihoods(view, sequences) for view in views], axis=0)
    ranking = np.argsort(-means, kind="stable")
    minimum = MIN_RELATIVE_PROBABILITY * means[ranking[0]]
    return [
        _hypothesis(sequences[index], float(means[index]), views)
        for index in ranking[:MAX_HYPOTHESES].tolist()
        if means[index] >= minimum
    ]


def _hypothesis(digits: DigitSequence, probability: float, views: list[StepProbabilities]) -> Hypothesis:
    alignments = [align(view, digits) for view in views]
    confidences = [
        [float(view[step, digit + 1]) for step, digit in zip(steps, digits, strict=True)]
        for view, steps in zip(views, alignments, strict=True)
    ]
    return Hypothesis(digits, alignments[0], tuple(np.mean(confidences, axis=0).tolist()), probability)


def beam_search(probabilities: StepProbabilities) -> list[tuple[DigitSequence, float]]:
    """Return the most probable digit sequences with their probabilities, best first (prefix search, Hannun 2014)."""
    # of each prefix, the probabilities that its path ends in a blank and that it ends in the last digit
    beam: dict[DigitSequence, tuple[float, float]] = {(): (1.0, 0.0)}
    for step in probabilities.astype(np.float64).tolist():
        next_digits = [digit for digit, probability in enumerate(step[1:]) if probability > MIN_CLASS_PROBABILITY]
        if not next_digits:  # true of most steps: the prefixes stay the same and need no sorting
            beam = {
                prefix: ((in_blank + in_digit) * step[BLANK], in_digit * step[prefix[-1] + 1] if prefix else 0.0)
                for prefix, (in_blank, in_digit) in beam.items()
            }
            continue
        extended: dict[DigitSequence, list[float]] = {}
        for prefix, (in_blank, in_digit) in beam.items():
            same = extended.setdefault(prefix, [0.0, 0.0])
            same[0] += (in_blank + in_digit) * step[BLANK]
            if prefix:
                same[1] += in_digit * step[prefix[-1] + 1]
            for digit in next_digits:
                before = in_blank if prefix and prefix[-1] == digit else in_blank + in_digit
                extended.setdefault((*prefix, digit), [0.0, 0.0])[1] += before * step[digit + 1]
        best = sorted(extended.items(), key=lambda item: -sum(item[1]))[:BEAM_WIDTH]
        beam = {prefix: (in_blank, in_digit) for prefix, (in_blank, in_digit) in best}
    return sorted(((digits, sum(parts)) for digits, parts in beam.items()), key=lambda item: -item[1])


def likelihoods(probabilities: StepProbabilities, sequences: list[DigitSequence]) -> list[float]:
    """Return the probability of each digit sequence, summed over all its paths (the forward algorithm, Graves 2006)."""
    lengths = [2 * len(digits) + 1 for digits in sequences]
    emissions = np.zeros((len(probabilities), len(sequences), max(lengths)))
    may_skip = np.zeros(emissions.shape[1:])
    for index, (digits, length) in enumerate(zip(sequences, lengths, strict=True)):
        emissions[:, index, :length], may_skip[index, :length] = _states(probabilities, digits)
    forward = np.zeros((len(sequences), max(lengths) + 2))  # padded by two states that are never reached
    forward[:, 2:4] = emissions[0, :, :2]
    for step in emissions[1:]:
        forward[:, 2:] = (forward[:, 2:] + forward[:, 1:-1] + may_skip * forward[:, :-2]) * step
    return [float(states[length : length + 2].sum()) for states, length in zip(forward, lengths, strict=True)]


def _states(
    probabilities: StepProbabilities, digits: DigitSequence
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the states blank, digit, blank, ..., digit, blank of a digit sequence.

    Returns:
        The probability of each state at each step, float64 (steps, states); and which states may follow the state two
        before them, bool (states,).
    """
    states = [BLANK]
    for digit in digits:
        states += [digit + 1, BLANK]
    may_skip = [index > 1 and state not in (BLANK, states[index - 2]) for index, state in enumerate(states)]
    return probabilities[:, states].astype(np.float64), np.array(may_skip)


def align(probabilities: StepProbabilities, digits: DigitSequence) -> tuple[int, ...]:
    """Return the step of each digit's peak on the most probable path of a digit sequence (Viterbi)."""
    if not digits:
        return ()
    emissions, may_skip = _states(probabilities, digits)
    scores = np.log(np.maximum(emissions, 1e-12))
    skip_penalty = np.where(may_skip, 0, -np.inf)
    path_scores = np.full(scores.shape[1] + 2, -np.inf)  # padded by two states that are never reached
    path_scores[2:4] = scores[0, :2]
    jumps = np.zeros(scores.shape, np.int64)  # how many states back the best path to this state comes from: 0, 1 or 2
    for step in range(1, len(scores)):
        from_same, from_previous = path_scores[2:], path_scores[1:-1]
        from_two_before = path_scores[:-2] + skip_penalty
        best = np.maximum(from_same, from_previous)
        jumps[step] = from_previous > from_same
        jumps[step][from_two_before > best] = 2
        path_scores[2:] = np.maximum(best, from_two_before) + scores[step]
    best = path_scores[2:]
    path = [len(best) - 1 if best[-1] >= best[-2] else len(best) - 2]
    for step in range(len(probabilities) - 1, 0, -1):
        path.append(path[-1] - int(jumps[step, path[-1]]))
    visited = np.array(path[::-1])
    return tuple(
        int(max(np.flatnonzero(visited == 2 * index + 1), key=lambda step: probabilities[step, digit + 1], default=0))
        for index, digit in enumerate(digits)
    )
