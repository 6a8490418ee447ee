"""Certificates for servers of tests, by the real openssl."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.requirements import require_or_skip


class Certificate(NamedTuple):
    """Two files in PEM."""

    chain: Path
    key: Path


def self_signed(folder: Path, name: str) -> Certificate:
    """One for a host, which nobody signed."""
    openssl = shutil.which("openssl") or require_or_skip("openssl", "makes its certificate with openssl")
    made = Certificate(folder / "fullchain.pem", folder / "key.pem")
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", "2"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(made.key)]
    command = [openssl, "req", "-x509", *key, *names, "-out", str(made.chain)]
    subprocess.run(command, check=True, capture_output=True)
    return made
