"""The last whole checkpoint of a run found again; what is damaged, named. Knows nothing about how to train."""

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from numerals import files
from numerals.errors import RunError
from numerals.runs import events
from numerals.runs.checkpoint import FORM, About, Saved, names, recipe_of, sealed
from numerals.runs.folder import START, SUMS, RunFolder, damaged

SORTS = {"seed": int, "data": dict, "device": str, "precision": str, "threads": int, "processor": str, "versions": dict}


def newest(run: Path) -> tuple[Saved, list[str]]:
    """The last whole checkpoint of a run, or its beginning; and what is to be said of damage, a line each.

    Raises:
        RunError: not a run that can go on; or all of it is damaged.
    """
    folder, said = run / "checkpoint", list[str]()
    loaded, contents = list[Saved](), list[dict[str, Any]]()
    for name in reversed(names(folder)):
        try:
            contents.append(unsealed(folder / f"{name}.json"))
            loaded.append(_load(folder, name, contents[-1]))
        except RunError as error:
            said.append(f"{error}; the checkpoint before is used")
    try:
        beginning = Saved("", _checked(unsealed(run / START), run / START), None, {}, {})
    except RunError as error:
        if not loaded:
            raise RunError("; ".join([*said, f"{error}; nothing is left to go on from, train anew"])) from error
        said.append(f"{error}; written anew")
        beginning = loaded[0]
    used = (loaded or [beginning])[0]
    if lost := events.damage(run / "tensorboard", used.events):
        said.append(f"{lost}; figures are written anew, without the histograms of earlier epochs")
    known = contents if len(contents) == len(names(folder)) else []  # else nobody knows what the last one wrote
    return used, [*said, *_damages(run, [content["files"] for content in known], " ".join(said))]


def _load(folder: Path, name: str, content: dict[str, Any]) -> Saved:
    """Raises RunError where the tensors are damaged."""
    path = folder / f"{name}.safetensors"
    about, found = _checked(content, folder / f"{name}.json"), files.sha256(path)
    try:
        if found != content["tensors"]:
            raise RunError(damaged(path, found, content["tensors"]))
        known = {name: (size, sha) for name, (size, sha) in content["events"].items()}
        return Saved(name, about, safetensors.torch.load(path.read_bytes()), content["state"], known)
    except (KeyError, TypeError, ValueError, AttributeError, safetensors.SafetensorError) as error:
        raise RunError(f"{path}: none of our checkpoints ({str(error).splitlines()[0]})") from error


def _checked(content: dict[str, Any], path: Path) -> About:
    """What a file says that the training is.

    Raises:
        RunError: another version's, or not one of ours.
    """
    if content.get("form") != FORM:
        raise RunError(f"{path}: of form {content.get('form')}, which another version of numerals writes")
    try:
        about: About = content["about"]
        recipe_of(about)
        known = {name: type(about[name]) for name in SORTS}
        if known != SORTS or not isinstance(about["data"]["sha256"], str) or about["threads"] < 1:
            raise TypeError("of another kind than it should be")
        return about
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: none of our checkpoints ({str(error).splitlines()[0]})") from error


def _damages(run: Path, written: list[dict[str, str]], said: str) -> list[str]:
    """Which other files are not what the training wrote: at its end, or, before that, at one of its checkpoints."""
    at_end, found = RunFolder(run).sums(), list[str]()
    if (run / SUMS).exists() and not at_end:
        found.append(f"{run / SUMS}: damaged, its SHA-256 is {(files.sha256(run / SUMS) or '')[:12]}...; made anew")
    for name in sorted(set(at_end).union(*written) if written else at_end):
        expected = [at_end[name]] if name in at_end else [each[name] for each in written if name in each]
        sha = files.sha256(run / name)
        if sha not in expected and str(run / name) not in said and (sha or name in at_end):
            by = f" (as {run / SUMS} has it)" if name in at_end else ""
            found.append(f"{damaged(run / name, sha, expected[0])}{by}; made anew")
    return found


def unsealed(path: Path) -> dict[str, Any]:
    """What `sealed` was given.

    Raises:
        RunError: missing, or damaged.
    """
    try:
        raw = path.read_bytes()
        found = json.loads(raw)
        content: dict[str, Any] = dict(found["content"])
        if raw == sealed(content):
            return content
        text = json.dumps(content, indent=1)
        raise RunError(damaged(path, hashlib.sha256(text.encode()).hexdigest(), str(found["sha256"])))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        found = files.sha256(path)
        raise RunError(f"{path}: damaged, its SHA-256 is {(found or '')[:12]}..., and it is no JSON of ours") from error
