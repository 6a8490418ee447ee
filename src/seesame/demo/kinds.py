"""The kinds of products that the sample shop sells, and the words it uses for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from seesame.demo.accessories import (
    backpack,
    beanie,
    brimmed_hat,
    cap,
    handbag,
    mug,
    sunglasses,
    umbrella,
    watch,
)
from seesame.demo.canvas import Part
from seesame.demo.footwear import boot, sneaker
from seesame.demo.garments import dress, hoodie, skirt, t_shirt, trousers

BRANDS = (
    "Alder & Finch",
    "Casa Verano",
    "Fennel Row",
    "Harbour Nine",
    "Nordlicht Studio",
    "Petit Mardi",
    "Tindra",
    "Wren & Moss",
)


@dataclass(frozen=True)
class Style:
    """One shape of a kind: what it is called, what is special about it, and how it is drawn."""

    noun: str
    detail: str
    draw: Callable[..., list[Part]]
    shape: Mapping[str, str | bool] = field(default_factory=dict)
    materials: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A category: its styles, and what they are made of, cost and are for.

    `two_tone`: always in two colours. `plain`: the colours without a pattern, where not every colour would do.
    """

    category: str
    code: str
    styles: tuple[Style, ...]
    materials: tuple[str, ...]
    patterns: tuple[str, ...]
    prices: tuple[int, int]
    uses: tuple[str, ...]
    trims: tuple[str, ...] = ("cream",)
    plain: tuple[tuple[str, str], ...] = ()
    two_tone: bool = False
    standing: bool = False


_METALS = ("#d3b26a", "#c3c7cc", "#d9a48c")
_LEATHERS = ("#6f4930", "#8a5a3a", "#2f2c2e", "#b98552")

KINDS = (
    Kind(
        "t-shirts",
        "TEE",
        (
            Style("T-shirt", "a round neck and short sleeves", t_shirt),
            Style("V-neck T-shirt", "a V neck and short sleeves", t_shirt, {"neck": "v"}),
            Style("long-sleeved T-shirt", "a round neck and long sleeves", t_shirt, {"sleeve": "long"}),
            Style(
                "scoop-neck T-shirt",
                "a wide neck and cap sleeves",
                t_shirt,
                {"neck": "scoop", "sleeve": "cap"},
            ),
        ),
        ("cotton", "organic cotton", "linen-blend"),
        ("plain", "striped", "striped", "dotted", "floral", "zigzag", "gradient", "colour-block"),
        (15, 39),
        ("every day", "warm days", "layering"),
    ),
    Kind(
        "hoodies",
        "HOO",
        (
            Style("hoodie", "a kangaroo pocket and ribbed cuffs", hoodie),
            Style("zip hoodie", "a full zip and ribbed cuffs", hoodie, {"closing": "zip", "pocket": False}),
        ),
        ("fleece", "cotton", "brushed cotton"),
        ("plain", "plain", "striped", "colour-block", "gradient", "marbled"),
        (35, 89),
        ("cool evenings", "slow Sundays", "the way to the gym"),
    ),
    Kind(
        "dresses",
        "DRE",
        (
            Style("sleeveless dress", "a flared skirt and a fitted waist", dress),
            Style("maxi dress", "thin straps and a long skirt", dress, {"bodice": "straps", "skirt": "maxi"}),
            Style(
                "puff-sleeve dress",
                "puff sleeves and a short skirt",
                dress,
                {"skirt": "short", "sleeve": "puff"},
            ),
            Style(
                "sheath dress",
                "a V neck and a narrow skirt",
                dress,
                {"bodice": "v", "skirt": "pencil", "sleeve": "short"},
            ),
            Style("tea dress", "a V neck and long sleeves", dress, {"bodice": "v", "sleeve": "long"}),
            Style("bandeau dress", "bare shoulders and a flared skirt", dress, {"bodice": "bandeau"}),
        ),
        ("cotton", "viscose", "linen", "crêpe"),
        ("plain", "dotted", "floral", "floral", "checked", "striped", "gradient"),
        (39, 129),
        ("summer parties", "the office and after", "a day in town"),
    ),
    Kind(
        "skirts",
        "SKI",
        (
            Style("flared skirt", "a swinging hem", skirt),
            Style("pleated skirt", "sharp pleats", skirt, {"cut": "pleated"}),
            Style("mini skirt", "a short, straight cut", skirt, {"cut": "mini"}),
            Style("button-through skirt", "a row of buttons", skirt, {"cut": "buttoned"}),
            Style("pencil skirt", "a narrow cut", skirt, {"cut": "pencil"}),
        ),
        ("cotton", "wool-blend", "denim", "viscose"),
        ("plain", "tartan", "checked", "floral", "dotted", "pinstriped"),
        (29, 79),
        ("the office", "days out", "any season"),
    ),
    Kind(
        "trousers",
        "TRO",
        (
            Style("slim trousers", "a slim leg", trousers, {"leg": "slim"}),
            Style("straight trousers", "a straight leg", trousers),
            Style("wide-leg trousers", "a wide leg and a high waist", trousers, {"leg": "wide"}),
            Style("flared trousers", "a leg that flares below the knee", trousers, {"leg": "flared"}),
            Style("cargo trousers", "two big side pockets", trousers, {"cargo": True}),
        ),
        ("cotton", "denim", "linen", "corduroy"),
        ("plain", "plain", "plain", "pinstriped", "checked", "floral", "marbled"),
        (35, 99),
        ("work and weekends", "long walks", "every day"),
        plain=tuple(
            (colour, colour) for colour in ("denim", "black", "navy", "sand", "olive", "rust", "grey", "camel")
        ),
        trims=_METALS,
    ),
    Kind(
        "sneakers",
        "SNE",
        (
            Style("sneakers", "a rubber toe cap", sneaker),
            Style("high-top sneakers", "a high ankle and a rubber toe cap", sneaker, {"height": "high"}),
            Style("slip-on sneakers", "elastic sides instead of laces", sneaker, {"height": "slip-on"}),
            Style("running sneakers", "a thick, soft sole", sneaker, {"sole": "chunky"}),
        ),
        ("canvas", "suede", "recycled mesh"),
        ("plain", "plain", "plain", "checked", "dotted", "floral"),
        (49, 139),
        ("city streets", "long days on your feet", "the park"),
        trims=("white", "cream"),
        two_tone=True,
        standing=True,
    ),
    Kind(
        "boots",
        "BOO",
        (
            Style("Chelsea boots", "elastic sides", boot, materials=("leather", "suede")),
            Style(
                "rain boots",
                "a tall shaft and a deep tread",
                boot,
                {"shaft": "tall", "closing": "plain", "heel": "flat"},
                ("rubber",),
            ),
            Style(
                "lace-up boots",
                "a row of brass eyelets",
                boot,
                {"shaft": "mid", "closing": "laces", "heel": "flat"},
            ),
            Style("riding boots", "a tall shaft and a buckle", boot, {"shaft": "tall", "closing": "buckle"}),
            Style("biker boots", "a buckled strap", boot, {"shaft": "mid", "closing": "buckle", "heel": "flat"}),
        ),
        ("leather", "suede", "vegan leather"),
        ("plain", "plain", "plain", "plain", "dotted", "floral", "marbled"),
        (59, 219),
        ("wet pavements", "autumn", "winter walks"),
        plain=(
            ("brown", "black"),
            ("black", "brown"),
            ("camel", "cream"),
            ("burgundy", "black"),
            ("yellow", "navy"),
            ("green", "brown"),
            ("charcoal", "camel"),
            ("red", "black"),
            ("white", "black"),
            ("navy", "camel"),
        ),
        trims=("cream", "#3a2c24"),
        two_tone=True,
        standing=True,
    ),
    Kind(
        "hats",
        "HAT",
        (
            Style("baseball cap", "a curved peak", cap, materials=("cotton",)),
            Style("sun hat", "a wide brim and a ribbon", brimmed_hat, materials=("straw",)),
            Style("bobble hat", "a fluffy bobble", beanie, materials=("wool",)),
            Style("mountain cap", "a round badge", cap, {"front": "badge"}, ("cotton",)),
            Style("fedora", "a pinched crown", brimmed_hat, {"brim": "medium", "crown": "pinched"}, ("felt",)),
            Style("beanie", "a folded edge", beanie, {"bobble": False}, ("merino",)),
            Style("boater", "a flat crown", brimmed_hat, {"brim": "medium", "crown": "flat"}, ("straw",)),
        ),
        ("cotton",),
        ("plain", "plain", "plain", "striped", "checked", "tartan", "dotted"),
        (19, 69),
        ("sunny days", "frosty mornings", "trips"),
        two_tone=True,
    ),
    Kind(
        "handbags",
        "BAG",
        (
            Style("tote bag", "two tall handles", handbag, {"shape": "tote"}),
            Style("satchel", "a flap and a lock", handbag, {"shape": "satchel"}),
            Style("shoulder bag", "a rounded flap and a long handle", handbag, {"shape": "shoulder"}),
            Style("bucket bag", "a soft, open shape", handbag, {"shape": "bucket"}),
            Style("bowling bag", "a rounded top", handbag, {"shape": "bowling"}),
        ),
        ("leather", "canvas", "vegan leather"),
        ("plain", "plain", "plain", "striped", "dotted", "floral", "checked"),
        (45, 249),
        ("every day", "the office", "an evening out"),
        plain=tuple(
            (colour, colour)
            for colour in ("camel", "black", "burgundy", "teal", "red", "sand", "mustard", "navy", "pink", "green")
        ),
        trims=_LEATHERS,
        standing=True,
    ),
    Kind(
        "backpacks",
        "PAC",
        (
            Style("backpack", "a zipped front pocket", backpack),
            Style("rucksack", "a flap and two buckles", backpack, {"shape": "square", "front": "flap"}),
            Style("roll-top backpack", "a roll top", backpack, {"shape": "roll"}),
            Style("daypack", "a buckled front", backpack, {"front": "flap"}),
        ),
        ("canvas", "recycled nylon", "waxed cotton"),
        ("plain", "plain", "plain", "marbled", "floral", "striped", "gradient"),
        (45, 149),
        ("school and work", "day trips", "the commute"),
        trims=_LEATHERS,
        two_tone=True,
        standing=True,
    ),
    Kind(
        "mugs",
        "MUG",
        (
            Style("mug", "a straight wall", mug),
            Style("coffee mug", "a tapered wall", mug, {"cup": "tapered"}),
            Style("tea mug", "a round belly", mug, {"cup": "round"}),
            Style("tall mug", "room for a large latte", mug, {"cup": "tall"}),
        ),
        ("stoneware", "porcelain", "ceramic"),
        ("plain", "plain", "striped", "dotted", "floral", "zigzag", "gradient", "marbled"),
        (9, 29),
        ("slow mornings", "the office kitchen", "a present"),
        two_tone=True,
        standing=True,
    ),
    Kind(
        "umbrellas",
        "UMB",
        (
            Style("umbrella", "a crook handle", umbrella),
            Style("dome umbrella", "a deep dome and a border", umbrella, {"canopy": "dome", "edge": "bordered"}),
            Style("wide umbrella", "room for two", umbrella, {"canopy": "wide"}),
            Style("walking umbrella", "a straight handle", umbrella, {"handle": "straight"}),
        ),
        ("polyester", "recycled polyester", "pongee"),
        ("plain", "striped", "dotted", "floral", "checked", "zigzag", "tartan"),
        (19, 59),
        ("April showers", "windy days", "the walk home"),
        trims=_LEATHERS,
        two_tone=True,
    ),
    Kind(
        "sunglasses",
        "SUN",
        (
            Style("round sunglasses", "round lenses", sunglasses),
            Style("aviator sunglasses", "a double bridge", sunglasses, {"lens": "aviator"}, ("metal",)),
            Style("square sunglasses", "square lenses", sunglasses, {"lens": "square"}),
            Style("cat-eye sunglasses", "upswept corners", sunglasses, {"lens": "cat-eye"}),
            Style("oversized sunglasses", "big lenses", sunglasses, {"lens": "oversized"}),
        ),
        ("acetate", "bio-acetate"),
        ("plain", "plain", "plain", "marbled", "dotted"),
        (25, 159),
        ("the beach", "bright days", "driving"),
        two_tone=True,
    ),
    Kind(
        "watches",
        "WAT",
        (
            Style("watch", "a clear round dial", watch),
            Style("chronograph", "three small dials", watch, {"face": "chronograph"}),
            Style("square watch", "a square case", watch, {"case": "square"}),
            Style("bracelet watch", "a link bracelet", watch, {"strap": "link"}, ("coated steel",)),
            Style("sports watch", "a soft strap", watch, {"case": "square", "strap": "rubber"}, ("silicone",)),
        ),
        ("leather", "suede"),
        ("plain", "plain", "plain", "plain", "striped"),
        (59, 349),
        ("every day", "special days", "the office"),
        plain=(
            ("brown", "white"),
            ("black", "black"),
            ("navy", "white"),
            ("camel", "cream"),
            ("burgundy", "white"),
            ("green", "cream"),
            ("grey", "navy"),
            ("red", "white"),
            ("mustard", "charcoal"),
            ("teal", "white"),
            ("sand", "brown"),
            ("pink", "white"),
            ("charcoal", "orange"),
            ("sky blue", "navy"),
        ),
        trims=_METALS,
        two_tone=True,
    ),
)
