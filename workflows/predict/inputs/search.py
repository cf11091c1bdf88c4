"""Find the images in folders and cohort tables, in a stable order, whatever the folders hold."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from offsite.files import is_file
from offsite.preprocessing.formats.companions import companion_folder
from offsite.tables.reading import is_table
from offsite.training.prediction.codes import Code
from offsite.training.prediction.contract import FileChoice
from offsite.training.prediction.items import Item, item_of
from offsite.workflows.predict.inputs.worklist import worklist_items
from offsite.workflows.predict.output.run_record import is_ours

# What operating systems leave in folders is no input.
_LITTER = {"thumbs.db", "desktop.ini", ".ds_store"}
_Identity = tuple[int, int]


class Search:
    """Lists what names on the command line stand for.

    ``left_out`` counts, by what they are, the files and folders that were left out on purpose.

    Parameters
    ----------
    leave_out : Path, optional
        A folder that is not searched: the output.
    choice, features : FileChoice and Path, optional
        See `offsite.workflows.predict.inputs.listing.find_inputs`.
    """

    def __init__(
        self,
        leave_out: Path | None,
        choice: FileChoice | None = None,
        features: Path | None = None,
    ) -> None:
        self._choice, self._features = choice, features
        self._leave_out = leave_out.resolve() if leave_out else None
        self._linked: set[_Identity] = set()
        self.left_out: Counter[str] = Counter()

    def items(self, path: Path) -> Iterator[Item]:
        """Yield the inputs that a name stands for: a table's rows, a folder's files, or itself."""
        if is_table(path) and is_file(path):
            yield from worklist_items(path, self._choice, self._features)
        elif os.path.isdir(path):  # noqa: PTH112 (of what may not be looked at it says no)
            yield from self._folder(path, (), path.resolve())
        elif _is_absent(path):
            yield item_of(path, fault=(Code.NOT_FOUND, "there is no such file"))
        else:
            yield item_of(path)

    def _folder(self, folder: Path, above: tuple[_Identity, ...], root: Path) -> Iterator[Item]:
        try:
            stat = folder.stat()
            identity = (stat.st_dev, stat.st_ino)
            if identity in above:
                fault = (Code.FOLDER_LOOP, "the folder leads back into itself")
                yield item_of(folder, fault=fault)
                return
            if self._known_elsewhere(folder, identity, root):
                self.left_out["links to folders that are searched anyway"] += 1
                return
            if is_ours(folder):
                self.left_out["folders with results of an earlier run"] += 1
                return
            with os.scandir(folder) as entries:
                names = sorted((entry.name for entry in entries), key=os.fsencode)
        except OSError as error:
            yield item_of(folder, fault=(Code.PERMISSION_DENIED, f"folder: {error.strerror}"))
            return
        files, folders = self._sorted_out(folder, names)
        yield from map(item_of, files)
        data = {companion_folder(path) for path in files}
        for path in folders:
            if path not in data and path.resolve() != self._leave_out:
                yield from self._folder(path, (*above, identity), root)

    def _sorted_out(self, folder: Path, names: list[str]) -> tuple[list[Path], list[Path]]:
        files, folders = [], []
        for name in names:
            path = folder / name
            if name.startswith(".") or name.lower() in _LITTER:
                self.left_out["hidden files"] += 1
            elif os.path.isdir(path):  # noqa: PTH112
                folders.append(path)
            elif self._choice is not None and not self._choice.takes(path):
                self.left_out[self._choice.others] += 1
            else:
                files.append(path)
        return files, folders

    def _known_elsewhere(self, folder: Path, identity: _Identity, root: Path) -> bool:
        """Whether a link leads to what is searched anyway: a few links could make millions."""
        if not folder.is_symlink() or folder.resolve() == root:
            return False
        if folder.resolve().is_relative_to(root) or identity in self._linked:
            return True
        self._linked.add(identity)
        return False


def _is_absent(path: Path) -> bool:
    """Whether there is no such file, as far as one may know."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return True
    except OSError:  # its row will say why
        pass
    return False
