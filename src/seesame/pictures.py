"""Where the catalogue's pictures are kept: JPEG files, re-encoded, without metadata."""

import secrets
import threading
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from PIL import Image

from seesame.errors import NotFound
from seesame.files import make_folder, room, write_whole
from seesame.images import decode, encode_jpeg
from seesame.models.session import default_threads

STORED_SIDE = 1_600  # pixels; no model looks at more, no page shows more
THUMBNAIL_SIDE = 400


class PictureStore:
    """Pictures in a folder. A file appears whole or not at all."""

    def __init__(self, folder: Path, *, keep_originals: bool = False) -> None:
        """`keep_originals`: what came is kept beside what is stored of it, byte for byte; it is never served."""
        self._folder = folder
        self._keep_originals = keep_originals
        # As many thumbnails are made at once as there are locks, and each by one thread: the same meets the same lock.
        self._making = [threading.Lock() for _ in range(default_threads())]
        make_folder(folder)

    def put(self, image_id: UUID, picture: Image.Image, original: bytes) -> str:
        """Stores a checked picture, which was decoded from `original`, and returns the reference to it.

        Raises:
            StorageFull: no room.
        """
        # A name of its own each time: what one request deletes, another that stores the same picture keeps.
        ref = f"{image_id.hex[:2]}/{image_id.hex}-{secrets.token_hex(4)}.jpg"
        jpeg = encode_jpeg(picture, max_side=STORED_SIDE)
        with room():
            try:
                if self._keep_originals:
                    write_whole(self._original_path(ref), original)
                write_whole(self._folder / ref, jpeg)
            except OSError:
                self.delete(ref)
                raise
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
        with suppress(FileNotFoundError):
            return path.read_bytes()
        with self._making[hash(ref) % len(self._making)]:
            with suppress(FileNotFoundError):  # another thread made it meanwhile
                return path.read_bytes()
            small = encode_jpeg(
                decode(self.read(ref), shortest_side=THUMBNAIL_SIDE), max_side=THUMBNAIL_SIDE, quality=85
            )
            with suppress(OSError):  # a full disk costs time, not the picture
                write_whole(path, small, durable=False)
        if not (self._folder / ref).exists():
            self.delete(ref)  # it went meanwhile, and nothing of it is to stay
        return small

    def delete(self, ref: str) -> None:
        """Deletes a picture and what belongs to it; one that is gone already is no fault."""
        for path in (self._folder / ref, self._thumbnail_path(ref), self._original_path(ref)):
            path.unlink(missing_ok=True)

    def _thumbnail_path(self, ref: str) -> Path:
        return self._folder / "thumbnails" / ref

    def _original_path(self, ref: str) -> Path:
        return self._folder / "originals" / ref.removesuffix(".jpg")  # of whatever format it is
