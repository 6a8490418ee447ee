"""What a shopper asks for, as it stands in addresses and forms."""

from decimal import Decimal
from urllib.parse import parse_qsl, urlsplit

import pytest

from seesame.errors import InvalidInput
from seesame.queries import EarlierPhoto, LikeProduct, Part, Photo, Words
from seesame.types import Clause, Region
from seesame.web.wish import LESS, Wish

_ALL = [
    ("q", " red dress "),
    ("similar", "A"),
    ("similar", "B/1"),
    ("less", "C"),
    ("category", "boots"),
    ("category", "hats"),
    ("attributes.size", "42"),
    ("min", "10"),
    ("max", "20.50"),
]


def test_address_brings_the_wish_back() -> None:
    """Whatever an address asks for stands in the address that the page gives it."""
    wish = Wish.parse(_ALL)
    again = Wish.parse(parse_qsl(urlsplit(wish.address).query))
    assert again == wish
    assert wish.words == "red dress"
    assert wish.chosen == {"category": ("boots", "hats"), "attributes.size": ("42",)}


def test_photo_and_place_stay_out_of_the_address() -> None:
    """A photo's id is nobody else's, and a shared address begins with the first page."""
    wish = Wish.parse([("photo", "q_secret"), ("region", "0,0,1,1"), ("cursor", "24"), ("brand", "B")])
    assert wish.address == "/?brand=B"


def test_nothing_is_asked_for_by_an_empty_form() -> None:
    """Empty fields, and names that mean nothing here, are passed over."""
    assert Wish.parse([("q", " "), ("min", ""), ("utm_source", "mail"), ("price", "3")]) == Wish()
    assert Wish().address == "/"
    assert Wish().parts(None) == []


@pytest.mark.parametrize(
    ("without", "address"),
    [
        ("q", "/?similar=A&less=C&category=x&max=5"),
        ("similar=A", "/?q=w&less=C&category=x&max=5"),
        ("category=x", "/?q=w&similar=A&less=C&max=5"),
        ("category=other", "/?q=w&similar=A&less=C&category=x&max=5"),
        ("max=5", "/?q=w&similar=A&less=C&category=x"),
        ("filters", "/?q=w&similar=A&less=C"),
    ],
)
def test_without_takes_away(without: str, address: str) -> None:
    """A chip's button takes away what it names, and nothing else."""
    given = [("q", "w"), ("similar", "A"), ("less", "C"), ("category", "x"), ("max", "5")]
    assert Wish.parse([*given, ("without", without)]).address == address


def test_parts_have_their_weights() -> None:
    """Photo, words and products to be like count fully, those to be unlike half as much, against them."""
    wish = Wish.parse([*_ALL[:4], ("photo", "q_1"), ("region", "0.1,0.2,0.3,0.4")])
    region = Region(0.1, 0.2, 0.3, 0.4)
    others = [Part(Words("red dress")), Part(LikeProduct("A")), Part(LikeProduct("B/1")), Part(LikeProduct("C"), LESS)]
    assert wish.parts(None) == [Part(EarlierPhoto("q_1"), region=region), *others]
    assert wish.parts(Photo(b"new")) == [Part(Photo(b"new"), region=region), *others]
    assert LESS < 0


def test_unlike_alone_is_no_wish() -> None:
    """When the last thing to be like is taken away, what was to be unlike goes with it."""
    assert Wish.parse([("less", "C"), ("q", "w"), ("without", "q")]) == Wish()
    assert Wish.parse([("less", "C")], has_photo=True).less == ("C",)


def test_values_of_attributes_may_be_numbers() -> None:
    """A text in an address stands for what the attribute may hold: the text, a number, true or false."""
    wish = Wish.parse([("attributes.size", "42"), ("attributes.sale", "true"), ("brand", "42"), ("min", "1")])
    assert wish.clauses == (
        Clause("attributes.size", any_of=("42", 42)),
        Clause("attributes.sale", any_of=("true", True)),
        Clause("brand", any_of=("42",)),
        Clause("price", lower=Decimal(1)),
    )


@pytest.mark.parametrize(
    "pair",
    [
        ("min", "cheap"),
        ("max", "NaN"),
        ("max", "1e999"),
        ("region", "1,2,3"),
        ("region", "a,b,c,d"),
        ("region", "0,0,2,2"),
    ],
)
def test_bad_numbers_are_named(pair: tuple[str, str]) -> None:
    """An address that somebody wrote by hand fails as a request does, naming the field."""
    with pytest.raises(InvalidInput):
        assert Wish.parse([("photo", "q_1"), pair]).clauses


def test_too_many_values_are_refused() -> None:
    """A filter has its limits on the page, too."""
    with pytest.raises(InvalidInput):
        assert Wish.parse([("brand", str(number)) for number in range(101)]).clauses
