"""Files that appear whole or not at all."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seesame.errors import StorageFull


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Writes a file beside its place and moves it there, so that nobody ever reads a part of it.

    Args:
        durable: it is on the disk, with its name and that of its folder, when this returns.

    Raises:
        OSError: no room, or no right; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    if durable:
        sync(path.parent)
        sync(path.parent.parent)  # always: another thread may have made the folder a moment ago


def make_folder(path: Path) -> None:
    """Makes a folder, with those above it, whose names are on the disk when this returns."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)


@contextmanager
def room() -> Iterator[None]:
    """Tells a full disk as StorageFull; all other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("There is no room left on the disk.") from error
        raise


def sync(path: Path) -> None:
    """Returns when a file, or the names in a folder, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
