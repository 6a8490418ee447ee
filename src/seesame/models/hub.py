"""Model folders by name: the curated table, the cache, and the download that fills it.

A name is a curated one, a repository on a Hugging Face hub (`owner/name`) or a folder. What is downloaded stays in the
cache as the hub's own library lays it out; beside it stands a receipt with the revision and every file's digest. A
model with an intact receipt is used as it is and never looked up again, so that it cannot change under a catalogue's
vectors; deleting its folder fetches the newest.

`HF_ENDPOINT`, `HF_HUB_OFFLINE` and `HF_TOKEN` mean what they mean to that library, but are read at each call.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Final

from seesame.errors import ModelInvalid, ModelNotFound, ModelUnavailable
from seesame.files import write_whole
from seesame.models.folder import SUFFIXES, Layout, Precision

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes in all."""


@dataclass(frozen=True, slots=True)
class CuratedModel:
    """A model that is known to work. `size_mb` is what fp32 takes on disk, both towers, in 10^6 bytes."""

    name: str
    repository: str
    dimensions: int
    licence: str
    size_mb: int
    layout: Layout
    note: str


DEFAULT: Final = "vit-b-32-laion2b"

CURATED: Final[Mapping[str, CuratedModel]] = MappingProxyType(
    {
        model.name: model
        for model in (
            CuratedModel(
                DEFAULT, "immich-app/ViT-B-32__laion2b-s34b-b79k", 512, "MIT", 608, "immich",
                "The default: as fast as OpenAI's ViT-B/32, and clearly better.",
            ),
            CuratedModel(
                "vit-b-32-openai", "Xenova/clip-vit-base-patch32", 512, "MIT", 606, "transformers.js",
                "The original CLIP; also in fp16 and int8.",
            ),
            CuratedModel(
                "fashion-clip", "Marqo/marqo-fashionCLIP", 512, "Apache-2.0", 602, "transformers.js",
                "Trained on fashion products; four times the cost of ViT-B/32. Also in fp16 and int8.",
            ),
            CuratedModel(
                "siglip-b-16", "Xenova/siglip-base-patch16-224", 768, "Apache-2.0", 816, "transformers.js",
                "SigLIP, for general catalogues; four times the cost of ViT-B/32. Also in fp16 and int8.",
            ),
        )
    }
)  # fmt: skip

_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LOOK_UP_TIMEOUT_S: Final = 10
_ATTEMPTS: Final = 2
_TRUE: Final = frozenset({"1", "ON", "YES", "TRUE"})


@dataclass(frozen=True, slots=True)
class _File:
    """A file of a repository. `digest` is `sha256:...` or, for a file kept in git itself, `git:...`."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class _Receipt:
    """What a finished download consists of."""

    revision: str
    files: tuple[_File, ...]


def locate(name: str, *, cache_dir: Path, precision: Precision = "fp32") -> Path | None:
    """The model's folder, if it is here and complete; never the network.

    Sizes are compared, digests are not (`pull` does that). Raises ModelNotFound for a name that cannot be one.
    """
    folder = _as_folder(name)
    if folder is not None:
        return folder
    store = _Store(_repository(name), cache_dir, precision)
    receipt = store.receipt()
    if receipt is None:
        return None
    complete = all(_size(store.path(receipt, file)) == file.size for file in receipt.files)
    return store.snapshot(receipt) if complete else None


def pull(name: str, *, cache_dir: Path, precision: Precision = "fp32", progress: Progress | None = None) -> Path:
    """The model's folder, complete and with every digest checked; what lacks or is damaged is downloaded.

    A connection that breaks is taken up again where it broke. `progress` is called from the thread that downloads.

    Raises ModelNotFound when there is no such repository, ModelUnavailable when it cannot be reached now (offline, no
    network, no right, no room) and ModelInvalid when it holds no usable model.
    """
    folder = _as_folder(name)
    if folder is not None:
        return folder
    store = _Store(_repository(name), cache_dir, precision)
    receipt = store.receipt()
    if receipt is not None and all(_intact(store.path(receipt, file), file) for file in receipt.files):
        return store.snapshot(receipt)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        raise ModelUnavailable(
            f"The model {name} is not complete in the cache, and HF_HUB_OFFLINE forbids downloading it. Unset "
            "HF_HUB_OFFLINE, or copy the model's folder here and give its path as the model."
        )
    with _translated(name):
        return _download(store, progress or _ignore)


def is_published(name: str) -> bool:
    """Whether `name` is one that a hub has, and no folder of this machine."""
    return _as_folder(name) is None and (name in CURATED or bool(_REPOSITORY.fullmatch(name)))


def lasting_name(name: str) -> str:
    """The name by which another process finds the same model: of a folder its whole path."""
    folder = _as_folder(name)
    return name if folder is None else str(folder.resolve())


def space_name(name: str) -> str:
    """What spaces of the model are named after; of a path its last part, since names of spaces are seen outside."""
    is_path = _as_folder(name) is not None or not (name in CURATED or _REPOSITORY.fullmatch(name))
    return Path(name).expanduser().resolve().name if is_path else name


def _download(store: "_Store", progress: Progress) -> Path:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ.get("HF_TOKEN") or None)
    info = api.model_info(store.repository, files_metadata=True, timeout=_LOOK_UP_TIMEOUT_S)
    files = _needed(info.siblings or [], store.precision)
    receipt = _Receipt(str(info.sha), tuple(files))
    counter = _Counter(sum(file.size for file in files), progress)
    for file in files:
        _fetch(api, store, receipt, file, counter)
    store.write(receipt)
    return store.snapshot(receipt)


def _fetch(api: Any, store: "_Store", receipt: _Receipt, file: _File, counter: "_Counter") -> None:
    """Brings one file into the cache and proves it; a file there that fails the proof is fetched anew."""
    before = counter.done
    for attempt in range(_ATTEMPTS):
        counter.reset(before)
        damaged = attempt > 0 or not _absent_or_intact(store.path(receipt, file), file)
        path = api.hf_hub_download(
            store.repository,
            file.name,
            revision=receipt.revision,
            cache_dir=store.cache_dir,
            force_download=damaged,
            tqdm_class=_bar_class(counter),
        )
        if _intact(Path(path), file):
            counter.reset(before + file.size)
            return
    raise ModelUnavailable(f"{file.name} arrived damaged {_ATTEMPTS} times. Try again, or check the hub's mirror.")


def _needed(siblings: list[Any], precision: Precision) -> list[_File]:
    """The files of the repository that the model needs in this precision. Raises ModelInvalid if it has no model."""
    names = {sibling.rfilename for sibling in siblings}
    if "visual/model.onnx" in names:
        if precision != "fp32":
            raise ModelInvalid(f"This model has no {precision} files; it has fp32.")
        wanted = _is_immich_file
    else:
        stems = _stems(names, precision)
        wanted = lambda name: _is_transformers_js_file(name, stems)  # noqa: E731 - the other one's counterpart
    return [_describe(sibling) for sibling in siblings if wanted(sibling.rfilename)]


def _stems(names: set[str], precision: Precision) -> tuple[str, ...]:
    """The models' names in this precision, such as `onnx/vision_model_fp16.onnx`."""

    def find(tower: str, wanted: Precision) -> str | None:
        candidates = (f"onnx/{tower}_model{suffix}.onnx" for suffix in SUFFIXES[wanted])
        return next((candidate for candidate in candidates if candidate in names), None)

    visual = find("vision", precision)
    if visual is None:
        have = [other for other in SUFFIXES if find("vision", other)]
        if have:
            raise ModelInvalid(f"This model has no {precision} files; it has {', '.join(have)}.")
        raise ModelInvalid("This repository has neither onnx/vision_model.onnx nor visual/model.onnx.")
    textual = find("text", precision)
    return (visual, textual) if textual else (visual,)


def _is_transformers_js_file(name: str, stems: tuple[str, ...]) -> bool:
    if name in ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        return True
    # Weights beside the graph are called as it is, with an ending: .onnx_data, .onnx.data, .onnx_data_1
    return any(name == stem or re.fullmatch(re.escape(stem) + r"[._]data\w*", name) for stem in stems)


def _is_immich_file(name: str) -> bool:
    if name == "config.json":
        return True
    path = PurePosixPath(name)
    # Weights beside the graph can have any name there; what is known to be of no use is left out.
    useless = path.suffix in (".armnn", ".rknn", ".txt", ".md", ".model") or path.name == "vocab.json"
    return path.parent.as_posix() in ("visual", "textual") and not useless


def _describe(sibling: Any) -> _File:
    name = str(sibling.rfilename)
    if sibling.lfs is not None:
        return _File(name, int(sibling.lfs.size), f"sha256:{sibling.lfs.sha256}")
    if sibling.size is None or sibling.blob_id is None:
        raise ModelUnavailable("The hub does not say how large the model's files are. Try again, or another mirror.")
    return _File(name, int(sibling.size), f"git:{sibling.blob_id}")


@dataclass(frozen=True, slots=True)
class _Store:
    """Where one repository's files lie in the cache."""

    repository: str
    cache_dir: Path
    precision: Precision

    @property
    def folder(self) -> Path:
        return self.cache_dir / f"models--{self.repository.replace('/', '--')}"

    def snapshot(self, receipt: _Receipt) -> Path:
        return self.folder / "snapshots" / receipt.revision

    def path(self, receipt: _Receipt, file: _File) -> Path:
        return self.snapshot(receipt) / file.name

    def receipt(self) -> _Receipt | None:
        """The last finished download's receipt; None if there is none that can be read."""
        try:
            value = json.loads(self._receipt_path.read_text(encoding="utf-8"))
            return _Receipt(value["revision"], tuple(_File(**file) for file in value["files"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, receipt: _Receipt) -> None:
        write_whole(self._receipt_path, json.dumps(asdict(receipt), indent=1).encode())

    @property
    def _receipt_path(self) -> Path:
        return self.folder / f"receipt-{self.precision}.json"


class _Counter:
    """Bytes done, of all files together."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.done = 0
        self._total = total
        self._progress = progress

    def add(self, count: float) -> None:
        self.reset(self.done + int(count))

    def reset(self, done: int) -> None:
        self.done = max(0, min(done, self._total))
        self._progress(self.done, self._total)


def _bar_class(counter: _Counter) -> type[Any]:
    """The hub's library reports to a progress bar; this one draws nothing and passes the bytes on."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **(options | {"disable": True}))  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            counter.add(n or 0)
            return None

    return Bar


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Turns the errors of the hub's library into ours."""
    from huggingface_hub.errors import GatedRepoError, HTTPError, RepositoryNotFoundError  # type: ignore[attr-defined]

    try:
        yield
    except GatedRepoError as error:
        raise ModelUnavailable(
            f"The model {name} is given out only to those who accepted its terms. Accept them on the hub, then set "
            "HF_TOKEN."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"There is no model {name} on the hub. Check the name; if it is private, set HF_TOKEN."
        ) from error
    except HTTPError as error:
        raise ModelUnavailable(_unreachable(name)) from error
    except OSError as error:  # also how the library reports a download that stays incomplete
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelUnavailable(f"There is no room in the cache for the model {name}.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ModelUnavailable(f"The cache cannot be written, so the model {name} cannot be downloaded.") from error
        raise ModelUnavailable(_unreachable(name)) from error


def _unreachable(name: str) -> str:
    return (
        f"The model {name} is not complete in the cache and could not be downloaded. Check the network or HF_ENDPOINT "
        "and try again, or copy the model's folder here and give its path as the model."
    )


def _as_folder(name: str) -> Path | None:
    """The folder that `name` is the path of; None for a curated name or a repository."""
    if name in CURATED or not name:
        return None
    folder = Path(name).expanduser()
    return folder if folder.is_dir() else None


def _repository(name: str) -> str:
    if name in CURATED:
        return CURATED[name].repository
    if not _REPOSITORY.fullmatch(name) or ".." in name or "--" in name:
        raise ModelNotFound(
            f"The model must be one of {', '.join(CURATED)}, a repository such as owner/name, or an existing folder."
        )
    return name


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _absent_or_intact(path: Path, file: _File) -> bool:
    return _size(path) is None or _intact(path, file)


def _intact(path: Path, file: _File) -> bool:
    if _size(path) != file.size:
        return False
    kind, _, expected = file.digest.partition(":")
    # A file kept in git itself has only git's own name for its content, a SHA-1 over a header and the content.
    git = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    total = hashlib.sha256() if kind == "sha256" else git
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.hexdigest() == expected


def _ignore(done: int, total: int) -> None:
    """No progress is wanted."""
