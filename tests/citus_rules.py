"""What a statement must keep to so that it runs, and means the same, where the catalogue is distributed by product.

Citus says for some of this that it is not supported; the rest it does slowly or wrongly, without a word.
"""

import itertools
from collections.abc import Iterator
from typing import TypeVar

import sqlglot
from sqlglot import Expr, exp

LOCAL = {"image_work", "job_errors", "jobs", "spaces", "query_samples", "duplicate_runs", "migrations", "api_keys"}
_Node = TypeVar("_Node", bound=Expr)
_SCOPES = (exp.Select, exp.Update, exp.Delete, exp.Insert)
_WRITES = (exp.Update, exp.Delete, exp.Insert)
_CLOCKS = {"current_timestamp", "current_date", "current_time", "localtime", "localtimestamp"}


def violations(statement: str, not_immutable: set[str]) -> list[str]:
    """The rules that a statement breaks, in words; parameters are `:name`.

    Args:
        not_immutable: names of functions that may give something else the next time.
    """
    tree = sqlglot.parse_one(statement, dialect="postgres")
    scopes = [_Scope(node) for node in tree.find_all(*_SCOPES)]
    return [
        *itertools.chain.from_iterable(scope.violations() for scope in scopes),
        *_mixed_writes(tree),
        *_changed_by_clock(tree, not_immutable | _CLOCKS),
        *_moved(tree),
        *_lateral(tree),
        *_computed_vectors(tree),
    ]


def _is_distributed(table: Expr) -> bool:
    return isinstance(table, exp.Table) and table.db == "seesame" and table.name not in LOCAL


def _is_local(table: Expr) -> bool:
    return isinstance(table, exp.Table) and table.db == "seesame" and table.name in LOCAL


class _Scope:
    """One SELECT, or one statement that writes, without those inside it."""

    def __init__(self, node: Expr) -> None:
        self._node = node
        outer = node.find_ancestor(*_SCOPES)
        # Those around an INSERT … SELECT are no source of the SELECT.
        self._outer = _Scope(outer) if outer is not None and not isinstance(outer, exp.Insert) else None
        self._tables: dict[str, Expr] = {t.alias_or_name: t for t in self._own(exp.Table)}

    def violations(self) -> Iterator[str]:
        """What is wrong here."""
        used = self._tables | self._correlated()
        distributed = {name for name, table in used.items() if _is_distributed(table)}
        if isinstance(self._node, exp.Insert):
            return
        if distributed and any(_is_local(table) for table in used.values()):
            yield "a local table is joined with a distributed one"
        if len(self._connected(distributed)) > 1:
            yield "distributed tables are not joined by product_id"
        if isinstance(self._node, exp.Select):
            yield from self._outer_joins()
            yield from self._locks()
            if distributed and not self._node.expressions and not self._correlated():
                yield "a subquery without columns"

    def _own(self, kind: type[_Node]) -> list[_Node]:
        return [node for node in self._node.find_all(kind) if node.find_ancestor(*_SCOPES) is self._node]

    def _correlated(self) -> dict[str, Expr]:
        """Tables around this that it names."""
        if self._outer is None:
            return {}
        around = self._outer._tables | self._outer._correlated()
        named = {column.table for column in self._own(exp.Column)} - self._tables.keys()
        return {name: table for name, table in around.items() if name in named}

    def _connected(self, names: set[str]) -> list[set[str]]:
        """The tables, those together that are joined by product_id."""
        groups = [{name} for name in names]
        for pair in self._equal_products():
            touched = [group for group in groups if group & pair]
            groups = [group for group in groups if not group & pair] + ([set().union(*touched)] if touched else [])
        return groups

    def _equal_products(self) -> Iterator[set[str]]:
        for join in self._own(exp.Join):
            if any(column.name == "product_id" for column in join.args.get("using") or ()):
                yield set(self._tables)
        for equal in self._own(exp.EQ):
            sides = [side.expressions if isinstance(side, exp.Tuple) else [side] for side in (equal.left, equal.right)]
            for left, right in zip(*sides, strict=False):
                columns = isinstance(left, exp.Column) and isinstance(right, exp.Column)
                if columns and left.name == right.name == "product_id":
                    yield {left.table, right.table}

    def _outer_joins(self) -> Iterator[str]:
        """Where all rows of something else are kept, Citus fetches the whole distributed table."""
        for join in self._own(exp.Join):
            inside = {id(table) for table in join.find_all(exp.Table)}
            joined = any(_is_distributed(table) for table in self._own(exp.Table) if id(table) in inside)
            others = any(_is_distributed(table) for table in self._own(exp.Table) if id(table) not in inside)
            if (join.side == "LEFT" and joined > others) or (join.side == "RIGHT" and others > joined):
                yield "an outer join whose kept side is not distributed"

    def _locks(self) -> Iterator[str]:
        for lock in self._node.args.get("locks") or ():
            names = {table.name for table in lock.expressions} or set(self._tables)
            if any(_is_distributed(self._tables[name]) for name in names if name in self._tables):
                if lock.args.get("wait") is False:
                    yield "FOR UPDATE SKIP LOCKED on a distributed table"
                elif not self._one_product():
                    yield "FOR UPDATE on several shards"

    def _one_product(self) -> bool:
        return any(
            isinstance(equal.left, exp.Column) and equal.left.name == "product_id"
            and isinstance(equal.right, exp.Placeholder)
            for equal in self._own(exp.EQ)
        )  # fmt: skip


def _mixed_writes(tree: Expr) -> Iterator[str]:
    """An INSERT may copy from the one kind into the other; nothing else may touch both."""
    writes = [node for node in tree.find_all(*_WRITES) if node is not tree or not isinstance(node, exp.Insert)]
    tables = list(tree.find_all(exp.Table))
    if writes and any(map(_is_local, tables)) and any(map(_is_distributed, tables)):
        yield "a change beside tables of the other kind"


def _target(node: Expr) -> Expr:
    return node.this.this if isinstance(node.this, exp.Schema) else node.this  # type: ignore[no-any-return]


def _changes(tree: Expr) -> Iterator[Expr]:
    """The parts that change rows of distributed tables."""
    for node in tree.find_all(exp.Update, exp.Insert):
        if _is_distributed(_target(node)):
            change = node.args.get("conflict") if isinstance(node, exp.Insert) else node
            if change is not None:
                yield change


def _changed_by_clock(tree: Expr, not_immutable: set[str]) -> Iterator[str]:
    for change in _changes(tree):
        for function in change.find_all(exp.Func):
            name = function.sql(dialect="postgres").split("(")[0].lower()
            if name in not_immutable:
                yield f"{name} in a change of a distributed table"


def _moved(tree: Expr) -> Iterator[str]:
    for change in _changes(tree):
        for assignment in change.expressions:
            if assignment.this.name == "product_id":
                yield "product_id is changed"


def _lateral(tree: Expr) -> Iterator[str]:
    for lateral in tree.find_all(exp.Lateral):
        if lateral.find(exp.Limit, exp.AggFunc):
            yield "LATERAL with LIMIT or an aggregate"


def _computed_vectors(tree: Expr) -> Iterator[str]:
    for distance in tree.find_all(exp.NullSafeEQ):  # <=>
        operand = distance.right.this if isinstance(distance.right, exp.Cast) else distance.right
        if not isinstance(operand, exp.Placeholder):
            yield "a query vector that is no parameter"
