"""Products as files describe them: CSV, JSON Lines, or a folder of pictures."""

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TextIO

from seesame.catalogue import check_product, check_text
from seesame.errors import InvalidInput, PathNotAllowed
from seesame.types import Product

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".heic", ".heif"})
_TEXTS = ("title", "description", "category", "brand", "currency", "url")
_IMAGES = ("image", "images")
_ATTRIBUTE = "attributes."
_MAX_LINE = 1_000_000  # characters of a line, and of a row of several
MAX_IMAGES = 64
_MAX_PLACE = 5_000  # characters of a path or URL
_MAX_ROW_LINES = 1_000  # a quoted cell may go over lines


@dataclass(frozen=True, slots=True)
class Record:
    """One product with where its pictures are: paths, absolute by now, or URLs."""

    file: str
    line: int | None
    product: Product
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecordError:
    """A line, or a picture of it, that could not be imported. `product_id` is None where the line does not tell it."""

    file: str
    line: int | None
    product_id: str | None
    code: str
    message: str


def read_records(path: Path, *, sent: bool = False) -> Iterator[Record | RecordError]:
    """The products of a CSV file, a JSON Lines file, or a folder of pictures.

    Columns of a table are those of a product; `image` or `images` (several, parted by `|`) name its pictures, and
    every other column becomes an attribute. In a folder each picture is a product, and the name of the first
    sub-folder is its category.

    Args:
        sent: the file comes from somebody else, so it may name URLs alone: no path of this machine is ever read for it.

    Raises:
        InvalidInput: the path is none of these.
    """
    try:
        exists, is_file = path.exists(), path.is_file()
        if is_file:
            path.open("rb").close()
    except OSError as error:
        raise InvalidInput("path", f"{str(path)!r} cannot be read: {error.strerror}.") from error
    if not exists:
        raise InvalidInput("path", f"There is no file or folder {str(path)!r}.")
    path = path.absolute()
    if path.is_dir():
        return _folder(path)
    if not is_file:
        raise InvalidInput("path", f"{path.name!r} is neither a file nor a folder.")
    base = None if sent else path.parent
    match path.suffix.lower():
        case ".csv" | ".tsv":
            return _table(path, base)
        case ".jsonl" | ".ndjson":
            return _json_lines(path, base)
        case suffix if suffix in PICTURE_SUFFIXES:
            return iter([_picture(path, path.parent)])
        case _:
            raise InvalidInput("path", f"{path.name!r} is neither .csv, .jsonl, a picture nor a folder of pictures.")


def count_records(path: Path) -> int:
    """About how many records a path holds, for a progress bar: lines or pictures."""
    if path.is_dir():
        return sum(1 for _ in _pictures(path))
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return 1
    with path.open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return max(1, lines - (path.suffix.lower() in (".csv", ".tsv")))


def _folder(folder: Path) -> Iterator[Record | RecordError]:
    for picture in _pictures(folder):
        yield _picture(picture, folder)


def _pictures(folder: Path) -> Iterator[Path]:
    return (
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in PICTURE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _picture(path: Path, folder: Path) -> Record | RecordError:
    place = path.relative_to(folder)
    title = path.stem.replace("_", " ").replace("-", " ").strip()
    category = place.parts[0] if len(place.parts) > 1 else None
    values = {
        "product_id": place.with_suffix("").as_posix(),
        "title": title,
        "category": category,
        "image": str(path),
    }
    return _record(str(place), None, values, folder)


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a file; of one that is too long only what shows that it is."""
    while line := file.readline(_MAX_LINE + 1):
        yield line
        while len(line) > _MAX_LINE and not line.endswith("\n"):
            line = file.readline(_MAX_LINE + 1)


def _table(path: Path, base: Path | None) -> Iterator[Record | RecordError]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = _rows(_lines(file))
        _, header = next(rows, (1, []))
        if not header or header.count("product_id") != 1 or len(set(header)) != len(header):
            message = "The header has no column product_id, or names a column twice."
            yield RecordError(path.name, 1, None, "invalid_input", message)
            return
        for line, cells in rows:
            if cells is None:
                yield RecordError(path.name, line, None, "invalid_input", "Not readable as CSV.")
            elif any(cells):
                yield _row(path, line, header, cells, base)


def _rows(file: Iterable[str]) -> Iterator[tuple[int, list[str] | None]]:
    """The rows of a CSV file, stripped, with the number of the line each begins in; None for one that is broken.

    A quote that is never closed makes one bad row: reading goes on in the line below it.
    """
    lines = iter(file)
    ahead: deque[str] = deque()
    delimiter, width, number = ",", 0, 1
    while True:
        taken: list[str] = []
        quotes = size = 0
        while not taken or (quotes % 2 and len(taken) < _MAX_ROW_LINES and size <= _MAX_LINE):
            text = ahead.popleft() if ahead else next(lines, None)
            if text is None:
                break
            taken.append(text)
            quotes += text.count('"')
            size += len(text)
        if not taken:
            return
        if not width:
            delimiter = max(",;\t", key=taken[0].count)
        cells = _cells(taken, delimiter) if len(taken[0]) <= _MAX_LINE else None
        width = width or len(cells or [])
        if len(taken) > 1 and (cells is None or len(cells) != width):
            cells = None
            ahead.extendleft(reversed(taken[1:]))
            del taken[1:]
        yield number, cells
        number += len(taken)


def _cells(lines: list[str], delimiter: str) -> list[str] | None:
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return [cell.strip() for cell in rows[0]] if len(rows) == 1 else None


def _row(path: Path, line: int, header: list[str], cells: list[str], base: Path | None) -> Record | RecordError:
    if len(cells) != len(header):
        message = f"{len(cells)} cells where the header has {len(header)} columns."
        first = cells[0] if header[0] == "product_id" else ""  # any other may be shifted
        return RecordError(path.name, line, _readable(first) or None, "invalid_input", message)
    values: dict[str, Any] = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
    if "images" in values:
        values["images"] = [name.strip() for name in values["images"].split("|") if name.strip()]
    if "attributes" in values:
        try:
            values["attributes"] = json.loads(values["attributes"])
        except (ValueError, RecursionError):
            product_id = _readable(values.get("product_id", "")) or None
            return RecordError(path.name, line, product_id, "invalid_input", "attributes: not JSON.")
    return _record(path.name, line, values, base)


def _json_lines(path: Path, base: Path | None) -> Iterator[Record | RecordError]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for line, text in enumerate(_lines(file), start=1):
            if not text.strip():
                continue
            try:
                values = json.loads(text) if len(text) <= _MAX_LINE else None
            except (ValueError, RecursionError):
                values = None
            if isinstance(values, dict):
                yield _record(path.name, line, values, base)
            else:
                yield RecordError(path.name, line, None, "invalid_input", "Not a JSON object.")


def _record(file: str, line: int | None, values: Mapping[str, Any], base: Path | None) -> Record | RecordError:
    product_id = str(values["product_id"]) if isinstance(values.get("product_id"), str | int) else ""
    try:
        product = Product(
            product_id=product_id,
            price=_price(values.get("price")),
            attributes=_attributes(values),
            **{name: _text(name, values[name]) for name in _TEXTS if values.get(name) is not None},
        )
        check_product(product)
        images = tuple(_place(name, base) for name in _image_names(values))
        if len(images) > MAX_IMAGES:
            raise InvalidInput("images", f"At most {MAX_IMAGES} in one record.")
    except InvalidInput as error:
        told = None if error.field == "product_id" else _readable(product_id) or None
        return RecordError(file, line, told, error.code, f"{error.field}: {error}")
    return Record(file, line, product, images)


def _text(field: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise InvalidInput(field, "A text is needed.")


def _price(value: object) -> Decimal | None:
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise InvalidOperation
        return Decimal(str(value))
    except InvalidOperation as error:
        raise InvalidInput("price", f"{str(value)[:40]!r} is not a number such as 19.90.") from error


def _attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    named = values.get("attributes", {})
    if not isinstance(named, dict):
        raise InvalidInput("attributes", "An object is needed.")
    known = {"product_id", "price", "attributes", *_TEXTS, *_IMAGES}
    others = {name.removeprefix(_ATTRIBUTE): value for name, value in values.items() if name not in known}
    return {**named, **others}


def is_url(place: str) -> bool:
    """Whether a picture's place is a URL, not a path."""
    return "://" in place


def _image_names(values: Mapping[str, Any]) -> Iterable[str]:
    for column in _IMAGES:
        named = values.get(column) or []
        for name in named if isinstance(named, list) else [named]:
            if not isinstance(name, str):
                raise InvalidInput(column, "A path or a URL is needed.")
            yield name


def _place(name: str, base: Path | None) -> str:
    if not is_url(name) and base is None:
        raise PathNotAllowed("image")
    place = name if is_url(name) or base is None else str(base / name)
    check_text("image", place, _MAX_PLACE)  # it is kept with the image
    return place


def _readable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "?")[:200]
