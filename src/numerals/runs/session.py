"""The life of one training in its run folder, whichever network it trains.

A session creates or locks the run folder, handles Ctrl-C, and records seconds and memory. However the training ends,
the error says what was saved; a new folder in which nothing was saved is removed.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from numerals.article.device import is_out_of_memory
from numerals.errors import FailureError, InputError
from numerals.files import storage_error
from numerals.runs.folder import DETECTOR_CHECKPOINT, RunFolder
from numerals.runs.profiling import Profile
from numerals.runs.sigint import SigInt


class Session:
    """One training. Use `with session.new_folder(...) as folder:` or `with session.existing_folder(...) as folder:`."""

    def __init__(self) -> None:
        self.profile = Profile()
        self.sigint = SigInt()

    @contextmanager
    def new_folder(
        self, out: str | Path | None, recipe_name: str, files: Mapping[str, bytes] | None = None
    ) -> Iterator[RunFolder]:
        """A new, locked run folder; the arguments are those of `RunFolder.create`.

        Raises:
            RunError: `out` exists already, or cannot be created.
            StorageError: the disk is full or refuses.
            KeyboardInterrupt, FailureError: interrupted, or failed; the message says what was saved.
        """
        folder = None
        with self.sigint:
            try:
                with self.sigint.deferred():  # no Ctrl-C between the folder's creation and the code that removes it
                    folder = RunFolder.create(out, recipe_name, files)
                with folder.locked():
                    yield folder
            except BaseException as error:
                if folder is None:
                    raise
                saved = what_was_saved(folder)
                if saved is None:
                    folder.discard()
                raise _explained(error, folder, saved) from error

    @contextmanager
    def existing_folder(self, run: str | Path) -> Iterator[RunFolder]:
        """An existing run folder, locked.

        Raises:
            RunError: another training is using it.
            KeyboardInterrupt, FailureError: interrupted, or failed; the message says what was saved.
        """
        folder = RunFolder(Path(run))
        with self.sigint:
            try:
                with folder.locked():
                    yield folder
            except BaseException as error:
                raise _explained(error, folder, what_was_saved(folder)) from error


def check_seed(seed: int) -> None:
    """Raise InputError unless the seed is in [0, 2^63)."""
    if not 0 <= seed < 2**63:
        raise InputError(f"seed {seed}: must be 0 or more, and less than 2^63")


def what_was_saved(folder: RunFolder) -> str | None:
    """One phrase about what a training that ended early left in its folder; None if it left nothing of use."""
    if (folder.path / DETECTOR_CHECKPOINT).is_file():
        return f"a checkpoint is saved in {folder.path}; continue with numerals train-reader --resume {folder.path}"
    if folder.has_model():
        model = "best model so far is" if (folder.path / "checkpoint").is_dir() else "weights so far are"
        return f"the {model} saved in {folder.path}"
    if folder.has_checkpoint():
        return f"a checkpoint is saved in {folder.path}; continue with numerals train --resume {folder.path}"
    return None


def _explained(error: BaseException, folder: RunFolder, saved: str | None) -> BaseException:
    """The error to raise instead: one that also says what was saved."""
    saved = saved or "nothing was saved"
    if isinstance(error, OSError):  # TensorBoard writes its files itself
        return storage_error(error, folder.path)
    if isinstance(error, KeyboardInterrupt):
        return KeyboardInterrupt(saved)
    if is_out_of_memory(error):
        return FailureError(f"out of memory; lower the recipe's batch_size or make its model smaller ({saved})")
    if type(error) is FailureError:
        return FailureError(f"{error} ({saved})")
    return error
