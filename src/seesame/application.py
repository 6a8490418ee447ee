"""Puts the parts together from the settings, for every entrypoint."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from pydantic import SecretStr

from seesame.cache import VectorCache
from seesame.calibrating import Calibrator
from seesame.catalogue import Catalogue
from seesame.clip_watch import ClipWatch
from seesame.db.embedded import EmbeddedPostgres
from seesame.db.exact import ExactVectors
from seesame.db.migrate import migrate
from seesame.db.pool import Database
from seesame.decoding.pool import open_decoder
from seesame.duplicates import Duplicates
from seesame.embedding.local import LocalEmbedder
from seesame.embedding.remote import ClipService
from seesame.errors import InvalidInput, ModelUnavailable, SettingsError, SpaceConflict
from seesame.facets import FacetCounts
from seesame.fetch import Fetcher, FetchPolicy
from seesame.files import make_folder
from seesame.http.metrics import DecoderReadings
from seesame.importing import Importer
from seesame.indexing import Indexer
from seesame.job_runner import JobRunner
from seesame.jobs import Jobs
from seesame.keys import FixedKey, Keys
from seesame.local_models import LocalModels
from seesame.logs import request_id
from seesame.metrics import ShopMetrics
from seesame.models import hub
from seesame.models.fallback import FallbackModel
from seesame.parts import Health
from seesame.pictures import PictureStore
from seesame.query_photos import QueryPhotos
from seesame.rates import Rates
from seesame.recall import RecallGauge
from seesame.search import Search
from seesame.settings import Settings
from seesame.spaces import Spaces
from seesame.statistics import Statistics
from seesame.tracing import Tracing, open_tracing
from seesame.trials import Trials
from seesame.types import Embedder, Space

_log = logging.getLogger(__name__)

_BULK_S = 25.0  # for a request of the backfill; two of them fit into the lease of its images


@dataclass(slots=True)
class Live:
    """What may change while the process runs."""

    origins: frozenset[str]


@dataclass(frozen=True, slots=True)
class Application:
    """All services of one process, on one database."""

    settings: Settings
    database: Database
    catalogue: Catalogue
    spaces: Spaces
    statistics: Statistics
    search: Search
    facets: FacetCounts
    indexer: Indexer
    trials: Trials
    calibrator: Calibrator
    importer: Importer
    duplicates: Duplicates
    jobs: Jobs
    job_runner: JobRunner
    keys: Keys
    rates: Rates
    cache: VectorCache
    metrics: ShopMetrics
    models: LocalModels
    clip: ClipWatch | None  # None: models run in this process
    health: Health
    fetcher: Fetcher
    live: Live
    tracing: Tracing | None

    TAKEN_UP: ClassVar[frozenset[str]] = frozenset({"allowed_image_hosts", "cors_origins"})

    def take_up(self, settings: Settings) -> None:
        """Works by the settings `TAKEN_UP` from now on."""
        self.fetcher.trust(settings.image_hosts)
        self.live.origins = settings.shared_origins

    def use_model(self, *, to_fill: bool = True) -> bool:
        """Lets CLIP answer if it can right now, from a service or the cache; whether it can.

        `to_fill` False: only searches are to come, so no model is loaded but the one that answers.

        Raises:
            ModelNotFound: the configured name is no model.
            ModelInvalid: the files are not a usable model.
        """
        if self.clip is not None:
            return self.clip.look()
        self.models.look(("primary", "candidate") if to_fill else ("primary",))
        if to_fill or not self.spaces.clip_is_available():
            try:
                self.models.load(self.settings.model)
            except SpaceConflict as error:
                _log.warning("⚠️ %s", error)
        return self.spaces.clip_is_available()

    def keepers(self) -> list[Callable[[threading.Event], None]]:
        """What has to run in threads until the process ends, so that CLIP answers as soon and as long as it can."""
        if self.clip is not None:
            return [link.run_forever for link in self.clip.links]
        return [self.models.look_forever, self.models.fetch_forever]

    @contextmanager
    def embedder(self, name: str) -> Iterator[Embedder]:
        """An embedder of any model that is here, without a space being made for it: the fallback, what a CLIP service
        has, or what is in the cache.

        Raises:
            ModelUnavailable: it is not here.
            ModelNotFound: the name is no model.
            ModelInvalid: the files are not a usable model.
        """
        fallback = self.spaces.fallback("clip_unavailable").embedder
        remote = self.clip.embedder(hub.space_name(name)) if self.clip is not None else None
        if name == fallback.identity.model:
            yield fallback
        elif remote is not None:
            yield remote
        elif (local := self.models.open(name)) is not None:
            with closing(local):
                yield local
        else:
            raise ModelUnavailable(f"The model {name} is not here. Get it with: seesame models pull {name}")

    def add_space(self, model: str, progress: hub.Progress | None = None) -> Space:
        """Registers the space of a model by hand, to be filled beside the others.

        A service that has the model computes its vectors, else this process does, which downloads it if need be.

        Raises:
            ModelNotFound: the name is no model.
            ModelInvalid: the files are not a usable model.
            ModelUnavailable: it cannot be downloaded now.
        """
        if self.clip is not None:
            self.clip.look()
            space = self.clip.add(hub.space_name(model))
            if space is not None:
                return space
        space = self.models.load(model, by_hand=True)
        if space is None:
            settings = self.settings
            hub.pull(model, cache_dir=settings.cache_dir, precision=settings.precision, progress=progress)
            space = self.models.load(model, by_hand=True)
            assert space is not None
        return space

    def arriving(self) -> dict[str, str | None]:
        """Models that this process brings and that have no space yet, with what went wrong with them."""
        return {} if self.clip is not None else self.models.arriving()

    def ask_for_space(self, model: str) -> None:
        """Lets this process bring a model and register its space, soon.

        Raises:
            InvalidInput: it is no published model: a folder is for those who are on this machine.
            SpaceConflict: models run in services, and none of them has this one.
        """
        if self.clip is not None:
            if self.clip.add(model) is None:
                raise SpaceConflict("No CLIP service has this model. Name one that has it in PYTHON_IMAGE_SERVICE_URL.")
        elif hub.is_published(model):
            self.models.ask(model)
        else:
            raise InvalidInput("model", "A name that `seesame models list` shows, or a repository such as owner/name.")


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
        tracing = open_tracing("seesame")
        if tracing is not None:
            stack.callback(tracing.close)
        metrics = ShopMetrics(tracing)
        decoder = stack.enter_context(
            open_decoder(limits, processes=settings.decode_processes, timeout_s=settings.decode_s)
        )
        metrics.registry.register(DecoderReadings(decoder))
        database = stack.enter_context(open_database(settings))
        migrate(database)
        pictures = PictureStore(settings.data_dir / "pictures", keep_originals=settings.keep_originals)
        catalogue = Catalogue(database, pictures, limits=limits, decoder=decoder)
        fallback = LocalEmbedder(
            FallbackModel.load(settings.cache_dir), limits=limits, decoder=decoder, on_stage=metrics.fallback_stage
        )
        spaces = Spaces(database, fallback)
        stack.callback(spaces.close)
        fetcher = stack.enter_context(
            Fetcher(
                FetchPolicy(max_bytes=limits.max_bytes, allowed_hosts=settings.image_hosts), on_fetch=metrics.fetched
            )
        )
        redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
        cache = VectorCache(redis_url=redis_url)
        stack.callback(cache.close)
        rates = Rates(redis_url=redis_url if any(settings.rates) else None)
        stack.callback(rates.close)
        models = LocalModels(
            spaces,
            model=settings.model,
            precision=settings.precision,
            cache_dir=settings.cache_dir,
            limits=limits,
            decoder=decoder,
            on_stage=metrics.clip_stage,
        )
        headers = partial(_headers, settings.clip_key, tracing)
        services = {
            url: ClipService(
                url,
                deadline_s=settings.clip_timeout_s,
                bulk_deadline_s=_BULK_S,
                headers=headers,
                on_request=metrics.clip_asked,
            )
            for url in settings.clip_urls
        }
        for service in services.values():
            stack.callback(service.close)
        clip = ClipWatch(services, spaces) if services else None
        exact = ExactVectors(max_bytes=settings.exact_memory_mb * 1024 * 1024)
        gauge = RecallGauge(database, on_measured=metrics.recalled) if settings.sample_queries else None
        search = Search(
            database,
            spaces,
            catalogue,
            cache,
            exact,
            limits=limits,
            decoder=decoder,
            fetcher=fetcher,
            photos=QueryPhotos(max_bytes=settings.query_photos_mb * 1024 * 1024),
            on_answer=metrics.answered,
            gauge=gauge,
        )
        indexer = Indexer(database, pictures, spaces, on_batch=metrics.indexed)
        trials = Trials(database, pictures, search)
        importer = Importer(catalogue, fetcher, limits=limits, on_stage=metrics.import_stage)
        imports = settings.data_dir / "imports"
        job_runner = JobRunner(database, catalogue, importer, imports, on_batch=metrics.imported)
        jobs = Jobs(database, imports, on_arrival=job_runner.wake)
        duplicates = Duplicates(database, pictures, placeholder_products=settings.placeholder_products)
        health = Health(spaces, cache, indexer, jobs, duplicates, clip, decoder, folder=settings.data_dir)
        metrics.watch(
            cache=cache,
            clip_available=spaces.clip_is_available,
            pool=lambda: database.counts,
            services=services,
            health=health,
        )
        yield Application(
            settings=settings,
            database=database,
            catalogue=catalogue,
            spaces=spaces,
            statistics=Statistics(catalogue, spaces),
            search=search,
            facets=FacetCounts(database),
            indexer=indexer,
            trials=trials,
            calibrator=Calibrator(database, spaces, trials),
            importer=importer,
            duplicates=duplicates,
            jobs=jobs,
            job_runner=job_runner,
            keys=Keys(database, fixed=FixedKey(settings.admin_key.get_secret_value()) if settings.admin_key else None),
            rates=rates,
            cache=cache,
            metrics=metrics,
            models=models,
            clip=clip,
            health=health,
            fetcher=fetcher,
            live=Live(settings.shared_origins),
            tracing=tracing,
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


def _headers(key: SecretStr | None, tracing: Tracing | None) -> dict[str, str]:
    """What goes along to the CLIP service: its key, and an id that leads through the logs of both, and one trace."""
    headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
    if (current := request_id.get()) is not None:
        headers["X-Request-ID"] = current
    return headers if tracing is None else headers | tracing.headers()
