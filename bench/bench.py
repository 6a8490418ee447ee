"""What every benchmark gets: pictures, folders that are deleted at the end, and a line for progress."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from rich.console import Console

from bench import material
from bench.material import Material, Picture
from bench.shop import Shop
from seesame.models.fallback import ensure_fallback


class Bench:
    """One run of the benchmarks."""

    def __init__(self, folder: Path, photos: Path | None) -> None:
        self._folder = folder
        self._photos = photos
        self._console = Console(stderr=True)

    def say(self, text: str) -> None:
        """Tells what is being done, on stderr."""
        self._console.print(f"[dim]{text}[/]", highlight=False)

    def scratch(self, name: str) -> Path:
        """A new empty folder."""
        return Path(tempfile.mkdtemp(dir=self._folder, prefix=f"{name}-"))

    @cached_property
    def cache_dir(self) -> Path:
        """Where the converted fallback model is."""
        folder = self._folder / "cache"
        ensure_fallback(folder)
        return folder

    @cached_property
    def material(self) -> Material:
        """The photos if there are some, else drawn pictures."""
        if self._photos is not None:
            return material.photos(self._photos, self._folder)
        self.say("Drawing the sample catalogue, since no photos are given")
        return material.drawn(self._folder)

    @property
    def real_photos(self) -> tuple[Picture, ...]:
        """The photos; none if none are given."""
        return self.material.pictures if self._photos is not None else ()

    @cached_property
    def filled(self) -> Shop:
        """A shop with all pictures in it, indexed."""
        shop = Shop(self.scratch("filled"), self.cache_dir)
        self.say(f"Importing {self.material.name}")
        shop.run("import", str(self.material.csv))
        return shop


@contextmanager
def opened(photos: Path | None) -> Iterator[Bench]:
    """A run whose folders end with it."""
    # Below the folder for temporary files and not elsewhere: a socket's path may not be long.
    with tempfile.TemporaryDirectory(prefix="seesame-bench-", ignore_cleanup_errors=True) as folder:
        yield Bench(Path(folder), photos)
