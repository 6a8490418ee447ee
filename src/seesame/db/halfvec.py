"""Query vectors for pgvector as bytes: a thousand instead of six thousand, and nothing to parse."""

import struct

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from seesame.types import Vector


class HalfVector:
    """A parameter that is cast to `halfvec` in the statement."""

    def __init__(self, vector: Vector) -> None:
        self.vector = vector


class _HalfVectorDumper(Dumper):
    """The binary form: the dimensions, an unused word, and the numbers in half precision, all of them big-endian."""

    format = Format.BINARY
    oid = 0  # extensions have no fixed numbers; the cast tells PostgreSQL

    def dump(self, obj: HalfVector) -> bytes:
        return struct.pack(">hh", len(obj.vector), 0) + obj.vector.astype(">f2").tobytes()


psycopg.adapters.register_dumper(HalfVector, _HalfVectorDumper)
