"""What is wrong with a table of vectors, its index, or pgvector itself."""

import numpy as np

from seesame.db import recall
from seesame.db.halfvec import HalfVector
from seesame.db.pool import Connection, pgvector_version, scalar
from seesame.db.spaces import embeddings_table
from seesame.db.statements import statements
from seesame.types import Space

_SQL = statements("health")

_FIXED_IN = {
    (0, 8, 2): "a parallel index build may overflow a buffer",
    (0, 8, 3): "vacuum may corrupt an HNSW index",
    (0, 8, 4): "vacuum may leave an HNSW index unrepaired, and inserts beside it may fail",
}
"""Faults of pgvector, by the release that mended them, from its changelog."""

_MANY_DEAD = 0.2  # of the rows
_FEW_ROWS = 1_000
_DRIFT = 0.02  # of recall
_ENOUGH_SAMPLES = 30


def extension_faults(connection: Connection) -> list[str]:
    """Known faults of the pgvector that is installed, each a sentence."""
    installed = pgvector_version(connection)
    if installed is None:
        return []
    version = tuple(int(part) for part in installed.split("."))
    faults = [what for fixed, what in _FIXED_IN.items() if version < fixed]
    if not faults:
        return []
    newest = ".".join(map(str, max(_FIXED_IN)))
    advice = f"install {newest} or newer, then run: ALTER EXTENSION vector UPDATE"
    return [f"pgvector {installed}: {'; '.join(faults)}; {advice}"]


def space_faults(connection: Connection, space: Space) -> list[str]:
    """What is wrong with the vectors of a space, each a sentence that says what to do. Reads all of them."""
    table = embeddings_table(space.space_id)
    name = table.as_string().replace('"', "")
    faults = []
    kind = "halfvec" if space.vector_type == "halfvec" else "real"
    unusable = int(scalar(connection, _SQL[f"unusable_{kind}"].format(embeddings=table)))
    if unusable:
        faults.append(
            f"{unusable:,} vectors of {space.key} are NaN, zero or not of length 1; delete them from {name}, then run:"
            " seesame index"
        )
    live, dead = connection.execute(_SQL["rows"], {"table": name}).fetchone() or (0, 0)
    if dead > max(_FEW_ROWS, _MANY_DEAD * live):
        faults.append(f"{dead:,} rows of {name} are dead, which slows searches down; run: VACUUM {name}")
    if space.indexed and not _index_is_used(connection, space):
        faults.append(f"The index of {space.key} is not used by PostgreSQL; run: ANALYZE {name}")
    late = recall.of_late(connection, space.space_id)
    if late.samples >= _ENOUGH_SAMPLES and (late.recall or 0) < (late.wanted or 0) - _DRIFT:
        faults.append(
            f"{space.key} finds {late.recall:.1%} of the nearest of late, not {late.wanted:.1%}; run: seesame tune"
        )
    return faults


def _index_is_used(connection: Connection, space: Space) -> bool:
    vector = np.zeros(space.dimensions, dtype=np.float32)
    vector[0] = 1
    statement = _SQL["plan"].format(embeddings=embeddings_table(space.space_id))
    plan = connection.execute(statement, {"vector": HalfVector(vector)}).fetchall()
    return any("Index Scan" in row[0] for row in plan)
