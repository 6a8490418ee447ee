"""Where the catalogue's pictures are kept: JPEG files, re-encoded, without metadata."""

import secrets
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from PIL import Image

from seesame.errors import NotFound
from seesame.files import make_folder, room, write_whole
from seesame.images import decode, encode_jpeg

STORED_SIDE = 1_600  # pixels; no model looks at more, no page shows more
THUMBNAIL_SIDE = 400


class PictureStore:
    """Pictures in a folder. A file appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

    def put(self, image_id: UUID, picture: Image.Image) -> str:
        """Stores a checked picture and returns the reference to it.

        Raises:
            StorageFull: no room.
        """
        # A name of its own each time: what one request deletes, another that stores the same picture keeps.
        ref = f"{image_id.hex[:2]}/{image_id.hex}-{secrets.token_hex(4)}.jpg"
        jpeg = encode_jpeg(picture, max_side=STORED_SIDE)
        with room():
            write_whole(self._folder / ref, jpeg)
        return ref

    def read(self, ref: str) -> bytes:
        """The stored JPEG.

        Raises:
            NotFound: it was deleted meanwhile.
        """
        try:
            return (self._folder / ref).read_bytes()
        except FileNotFoundError as error:
            raise NotFound("The picture is gone.") from error

    def thumbnail(self, ref: str) -> bytes:
        """A JPEG with no side over 400 pixels, made when it is first asked for."""
        path = self._thumbnail_path(ref)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            small = encode_jpeg(
                decode(self.read(ref), shortest_side=THUMBNAIL_SIDE), max_side=THUMBNAIL_SIDE, quality=85
            )
            with suppress(OSError):  # a full disk costs time, not the picture
                write_whole(path, small, durable=False)
            return small

    def delete(self, ref: str) -> None:
        """Deletes a picture; one that is gone already is no fault."""
        (self._folder / ref).unlink(missing_ok=True)
        self._thumbnail_path(ref).unlink(missing_ok=True)

    def _thumbnail_path(self, ref: str) -> Path:
        return self._folder / "thumbnails" / ref
