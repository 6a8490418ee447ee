"""The page of a comparison: what two spaces find, side by side. One file that asks for no other."""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from html import escape
from importlib import resources
from string import Template
from uuid import UUID

from PIL import Image

from seesame.catalogue import Catalogue
from seesame.cli.tables import Show
from seesame.comparing import Agreement, Compared, Comparison
from seesame.errors import NotFound
from seesame.images import encode_jpeg
from seesame.types import Hit

_MOST = 100  # queries with their pictures; the file grows by 100 kB with each
_SIDE = 160  # pixels


def page(comparison: Comparison, catalogue: Catalogue, on_query: Show) -> str:
    """The page, the queries with the least overlap first."""
    worst = sorted(comparison.queries, key=lambda compared: (compared.overlap, compared.subject.product_id))[:_MOST]

    @cache
    def picture(image_id: UUID) -> str:
        return _data_uri(catalogue, image_id)

    articles = []
    for done, compared in enumerate(worst):
        on_query(done, len(worst))
        articles.append(_article(comparison, compared, picture))
    whole = comparison.agreement()
    return document(
        f"{comparison.old.key} and {comparison.new.key}",
        f"<p>{whole.queries} products as queries: on average {whole.overlap:.1%} of the first {comparison.k} products "
        f"are the same, and the first one for {whole.same_first:.1%} of the queries.</p>",
        table(
            ("category", "queries", "overlap", "same first"),
            [(name or "(none)", *_figures(agreement)) for name, agreement in comparison.by_category().items()],
        ),
        f'<p class="note">The {len(worst)} queries with the least overlap, the least first. '
        "Framed: found in one of the two spaces only.</p>",
        *articles,
    )


def document(title: str, *body: str) -> str:
    """A page that asks for no other file. `body` is HTML."""
    page = Template(resources.files("seesame.cli").joinpath("report.html").read_text(encoding="utf-8"))
    return page.substitute(title=escape(title), body="\n".join(body))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose rows begin with their name."""
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = [
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    ]
    return f"<table>\n<thead><tr>{columns}</tr></thead>\n<tbody>\n{chr(10).join(lines)}\n</tbody>\n</table>"


def _figures(agreement: Agreement) -> tuple[str, str, str]:
    return str(agreement.queries), f"{agreement.overlap:.3f}", f"{agreement.same_first:.3f}"


def _article(comparison: Comparison, compared: Compared, picture: Callable[[UUID], str]) -> str:
    subject = compared.subject
    old, new = ({hit.product.product_id for hit in hits} for hits in (compared.old, compared.new))
    return "\n".join(
        [
            "<article>",
            _figure(picture(subject.image_id), subject.title or subject.product_id, f"overlap {compared.overlap:.2f}"),
            "<div>",
            f"<h2>{escape(subject.product_id)}</h2>",
            _results(f"{comparison.old.key}, which answers now", compared.old, new, picture),
            _results(comparison.new.key, compared.new, old, picture),
            "</div>",
            "</article>",
        ]
    )


def _results(title: str, hits: tuple[Hit, ...], others: set[str], picture: Callable[[UUID], str]) -> str:
    items = []
    for hit in hits:
        assert hit.image is not None  # found by its vector
        assert hit.similarity is not None
        kind = "" if hit.product.product_id in others else ' class="one"'
        name = hit.product.title or hit.product.product_id
        figure = _figure(picture(hit.image.image_id), name, f"{hit.similarity:.3f}")
        items.append(f"<li{kind}>{figure}</li>")
    return f"<h3>{escape(title)}</h3>\n<ol>{''.join(items)}</ol>"


def _figure(source: str, name: str, note: str) -> str:
    image = f'<img src="{source}" alt="">' if source else ""
    return f"<figure>{image}<figcaption>{escape(name)}<br>{escape(note)}</figcaption></figure>"


def _data_uri(catalogue: Catalogue, image_id: UUID) -> str:
    """A small picture; empty for one that was deleted meanwhile."""
    try:
        thumbnail = catalogue.picture(image_id, thumbnail=True)
    except NotFound:
        return ""
    with Image.open(io.BytesIO(thumbnail)) as opened:
        small = encode_jpeg(opened, max_side=_SIDE, quality=75)
    return f"data:image/jpeg;base64,{base64.b64encode(small).decode()}"
