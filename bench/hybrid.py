"""Whether words help a photo find its product: damaged photos alone, the words alone, and both fused."""

from collections.abc import Iterator, Sequence

from bench.bench import Bench
from bench.material import Picture
from bench.table import Row, at_least, skipped
from seesame.application import Application, open_application
from seesame.camera import photograph
from seesame.queries import Part, Photo, Query, Words

_FOUND = 10


def rows(bench: Bench) -> Iterator[Row]:
    """R@1 and R@10. The words are the product's title, which all products of its kind have."""
    if not bench.real_photos:
        yield skipped("words together with a photo", "needs photos (PHOTOS=folder)")
        return
    ranks: dict[str, list[int | None]] = {"a damaged photo": [], "its title": [], "both": []}
    with open_application(bench.filled.settings) as application:
        bench.say(f"Searching by {bench.material.name}, damaged as a camera would, and by words")
        for number, picture in enumerate(bench.real_photos):
            photo = Part(Photo(photograph(picture.path.read_bytes(), "camera", number)))
            words = Part(Words(picture.label))
            for name, parts in zip(ranks, ([photo], [words], [photo, words]), strict=True):
                ranks[name].append(_rank(application, parts, picture))
    for name, found in ranks.items():
        yield Row(f"the product found by {name}: R@1, R@10", f"{_recall(found, 1):.3f}, {_recall(found, _FOUND):.3f}")
    both, alone = ranks["both"], ranks["a damaged photo"]
    gain = _recall(both, 1) - _recall(alone, 1)
    yield at_least("what words add to a photo: R@1", gain, 0.0, f"{gain:+.3f}", "0")


def _rank(application: Application, parts: Sequence[Part], picture: Picture) -> int | None:
    """The place of the photo's own product, None where it is not on the first page."""
    hits = application.search.find(parts, Query(limit=_FOUND)).page.hits
    ids = [hit.product.product_id for hit in hits]
    return ids.index(picture.path.name) + 1 if picture.path.name in ids else None


def _recall(ranks: Sequence[int | None], first: int) -> float:
    return sum(rank is not None and rank <= first for rank in ranks) / len(ranks)
