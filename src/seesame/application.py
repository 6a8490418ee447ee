"""Puts the parts together from the settings, for every entrypoint."""

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from seesame.cache import VectorCache
from seesame.catalogue import Catalogue
from seesame.clip_watch import ClipWatch
from seesame.db.embedded import EmbeddedPostgres
from seesame.db.exact import ExactVectors
from seesame.db.migrate import migrate
from seesame.db.pool import Database
from seesame.embedding.local import LocalEmbedder
from seesame.embedding.remote import ClipService
from seesame.errors import (
    DatabaseError,
    ModelInvalid,
    ModelNotFound,
    ModelUnavailable,
    SettingsError,
    StorageFull,
)
from seesame.fetch import Fetcher, FetchPolicy
from seesame.files import make_folder
from seesame.importing import Importer
from seesame.indexing import Indexer
from seesame.logs import request_id
from seesame.metrics import ShopMetrics
from seesame.models import hub
from seesame.models.clip import ClipModel
from seesame.models.fallback import FallbackModel
from seesame.pictures import PictureStore
from seesame.recall import RecallGauge
from seesame.search import Search
from seesame.settings import Settings
from seesame.spaces import Spaces
from seesame.types import Embedder, Space

_log = logging.getLogger(__name__)

_BULK_S = 25.0  # for a request of the backfill; two of them fit into the lease of its images
_RETRY_S = (60, 300, 1800)  # between attempts to download the model; the last repeats


@dataclass(frozen=True, slots=True)
class Application:
    """All services of one process, on one database."""

    settings: Settings
    database: Database
    catalogue: Catalogue
    spaces: Spaces
    search: Search
    indexer: Indexer
    importer: Importer
    cache: VectorCache
    metrics: ShopMetrics
    clip: ClipWatch | None  # None: the model runs in this process

    def use_model(self) -> bool:
        """Lets CLIP answer if it can right now, from the service or the cache; whether it can.

        Raises:
            ModelNotFound: the configured name is no model.
            ModelInvalid: the files are not a usable model.
        """
        if self.clip is None:
            return self.load_model() is not None
        self.clip.look()
        return self.clip.state.status == "available"

    def keep_model(self, stop: threading.Event) -> None:
        """Lets CLIP answer as soon and as long as it can, until `stop`; the fallback answers meanwhile."""
        if self.clip is not None:
            self.clip.run_forever(stop)
            return
        try:
            self.fetch_model(stop)
        except (ModelNotFound, ModelInvalid) as error:
            _log.error("⚠️ %s The fallback model answers until SEESAME_MODEL names another.", error)

    def load_model(self) -> Space | None:
        """Adds the configured model if it is in the cache; its space, or None.

        Raises:
            ModelNotFound: the configured name is no model.
            ModelInvalid: the files are not a usable model.
        """
        embedder = self._from_cache(self.settings.model)
        if embedder is None:
            return None
        try:
            space = self.spaces.add(embedder)
        except BaseException:
            embedder.close()
            raise
        _log.info("✅ CLIP feature extraction successful: %d dimensions (%s)", space.dimensions, space.key)
        return space

    @contextmanager
    def embedder(self, name: str) -> Iterator[Embedder]:
        """An embedder of any model that is here, without a space being made for it: the fallback, what the CLIP
        service has, or what is in the cache.

        Raises:
            ModelUnavailable: it is not here.
            ModelNotFound: the name is no model.
            ModelInvalid: the files are not a usable model.
        """
        fallback = self.spaces.fallback("clip_unavailable").embedder
        remote = self.clip.embedder() if self.clip is not None else None
        if name == fallback.identity.model:
            yield fallback
        elif remote is not None and remote.identity.model == hub.space_name(name):
            yield remote
        elif (local := self._from_cache(name)) is not None:
            with closing(local):
                yield local
        else:
            raise ModelUnavailable(f"The model {name} is not here. Get it with: seesame models pull {name}")

    def fetch_model(self, stop: threading.Event) -> None:
        """Loads the configured model, downloading it first where it is not in the cache; tries until `stop`.

        Searches go on in the fallback space meanwhile.
        """
        for wait_s in itertools.chain(_RETRY_S, itertools.repeat(_RETRY_S[-1])):
            try:
                if self.load_model() is None:
                    self._download()
                    self.load_model()
                return
            except (ModelUnavailable, DatabaseError, StorageFull) as error:
                _log.warning("⚠️ %s The fallback model answers; next try in %d s.", error, wait_s)
            if stop.wait(wait_s):
                return

    def _from_cache(self, name: str) -> LocalEmbedder | None:
        settings = self.settings
        folder = hub.locate(name, cache_dir=settings.cache_dir, precision=settings.precision)
        if folder is None:
            return None
        model = ClipModel.load(
            folder, name=hub.space_name(name), precision=settings.precision, cache_dir=settings.cache_dir
        )
        return LocalEmbedder(model, limits=settings.image_limits)

    def _download(self) -> None:
        settings = self.settings
        _log.info("%s is not here yet; the fallback model answers", settings.model)
        self.spaces.waiting("clip_downloading")
        try:
            hub.pull(
                settings.model,
                cache_dir=settings.cache_dir,
                precision=settings.precision,
                progress=_log_download(settings.model),
            )
        finally:
            self.spaces.waiting("clip_unavailable")


@contextmanager
def open_application(settings: Settings) -> Iterator[Application]:
    """Starts or joins the database, brings its schema up to date and opens the services on it.

    Raises:
        DatabaseUnavailable: not reached, or the embedded one does not come up.
        DatabaseUnsuitable: too old, or the user may not create the schema.
    """
    limits = settings.image_limits
    _make(settings.cache_dir, "SEESAME_CACHE_DIR")
    with ExitStack() as stack:
        database = stack.enter_context(open_database(settings))
        migrate(database)
        pictures = PictureStore(settings.data_dir / "pictures")
        catalogue = Catalogue(database, pictures, limits=limits)
        fallback = LocalEmbedder(FallbackModel.load(settings.cache_dir), limits=limits)
        spaces = Spaces(database, fallback)
        stack.callback(spaces.close)
        fetcher = stack.enter_context(
            Fetcher(FetchPolicy(max_bytes=limits.max_bytes, allowed_hosts=settings.image_hosts))
        )
        cache = VectorCache(redis_url=settings.redis_url.get_secret_value() if settings.redis_url else None)
        stack.callback(cache.close)
        clip = None
        if settings.clip_url is not None:
            service = ClipService(
                settings.clip_url, deadline_s=settings.clip_timeout_s, bulk_deadline_s=_BULK_S, headers=_headers
            )
            stack.callback(service.close)
            clip = ClipWatch(service, spaces)
        metrics = ShopMetrics()
        exact = ExactVectors(max_bytes=settings.exact_memory_mb * 1024 * 1024)
        gauge = RecallGauge(database, on_measured=metrics.recalled) if settings.sample_queries else None
        search = Search(
            database, spaces, catalogue, cache, exact, limits=limits, on_answer=metrics.answered, gauge=gauge
        )
        indexer = Indexer(database, pictures, spaces, on_batch=metrics.indexed)
        metrics.watch(lambda: cache.counts, spaces.clip_is_available, indexer)
        yield Application(
            settings=settings,
            database=database,
            catalogue=catalogue,
            spaces=spaces,
            search=search,
            indexer=indexer,
            importer=Importer(catalogue, fetcher, limits=limits),
            cache=cache,
            metrics=metrics,
            clip=clip,
        )


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database of the settings, or the embedded one where they name none."""
    _make(settings.data_dir, "SEESAME_DATA_DIR")
    with ExitStack() as stack:
        if settings.database_url is None:
            dsn = stack.enter_context(EmbeddedPostgres.start(settings.data_dir)).dsn
        else:
            dsn = settings.database_url.get_secret_value()
        database = Database(dsn)
        stack.callback(database.close)
        database.open()
        yield database


def _make(folder: Path, variable: str) -> None:
    try:
        make_folder(folder)
    except OSError as error:
        raise SettingsError(f"{variable}: the folder {folder} cannot be made ({error.strerror}).") from error


def _headers() -> dict[str, str]:
    """What goes along to the CLIP service, so that one id leads through the logs of both."""
    current = request_id.get()
    return {"X-Request-ID": current} if current is not None else {}


def _log_download(name: str) -> Callable[[int, int], None]:
    """Logs every tenth of a download."""
    logged = 0

    def progress(done: int, total: int) -> None:
        nonlocal logged
        tenth = 10 * done // total if total else 0
        if tenth > logged:
            logged = tenth
            _log.info("Downloading %s: %d of %d MB", name, done // 1_000_000, total // 1_000_000)

    return progress
