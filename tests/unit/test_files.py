"""Files and their names on the disk."""

import os
from pathlib import Path
from uuid import uuid4

import pytest
from PIL import Image

from seesame.pictures import PictureStore


def test_a_stored_picture_is_on_the_disk_with_its_name_and_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its row is written: a power cut after that takes neither the file nor a folder on the way to it."""
    synced: list[int] = []
    fsync = os.fsync

    def noted(number: int) -> None:
        synced.append(os.fstat(number).st_ino)
        fsync(number)

    monkeypatch.setattr(os, "fsync", noted)
    folder = tmp_path / "data" / "pictures"
    ref = PictureStore(folder).put(uuid4(), Image.new("RGB", (8, 8)), b"")
    on_the_way = [path.stat().st_ino for path in (folder / ref, (folder / ref).parent, folder, folder.parent, tmp_path)]
    assert set(on_the_way) <= set(synced)
    assert synced.index(on_the_way[0]) < synced.index(on_the_way[1])  # the content before the name
