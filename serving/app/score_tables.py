"""Small trees as lookup tables: the score of one row without walking hundreds of trees.

A row meets a tree only at the tree's thresholds, so that a tree is a table over the cells between
them. Trees that share thresholds share a table. LightGBM itself fills the cells, so that no rule of
its trees (missing values, default directions) is written a second time here. A score is then one
lookup per table, where walking 250 trees misses the processor's caches at each of them.

The position in all tables at once is one Python integer of 32-bit lanes: each measurement adds its
share to every lane, so that eight additions find every cell.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.app.single_row import Row

Thresholds = dict[int, set[float]]
"""The thresholds of some trees by column."""

TreeScores = Callable[[NDArray[np.float64], int], NDArray[np.float64]]
"""Returns one tree's share of the raw score for each row of a matrix."""

# Few cells a table keep all tables near the processor; few tables keep the sum short.
_MOST_CELLS = 1024
_MOST_TABLES = 128
_LANE_BITS = 32


@dataclass
class _Table:
    """Trees that share a table, and where it is split."""

    trees: list[int] = field(default_factory=list)
    thresholds: Thresholds = field(default_factory=dict)

    def cells_with(self, more: Thresholds) -> int:
        """Return how many cells the table would have with `more` thresholds."""
        columns = self.thresholds.keys() | more.keys()
        both = (self.thresholds.get(one, set()) | more.get(one, set()) for one in columns)
        return math.prod(len(edges) + 2 for edges in both)

    def add(self, tree: int, thresholds: Thresholds) -> None:
        """Add a tree."""
        self.trees.append(tree)
        for column, edges in thresholds.items():
            self.thresholds[column] = self.thresholds.get(column, set()) | edges


class ScoreTables:
    """The tables of one model; threads may share them."""

    def __init__(self, tables: list[_Table], scores: TreeScores, width: int) -> None:
        self._edges = [
            sorted(set().union(*(one.thresholds.get(column, set()) for one in tables)))
            for column in range(width)
        ]
        self._shares = [[0] * (len(edges) + 2) for edges in self._edges]
        # A list: an array would make a new float of each value it is asked for.
        self._values: list[float] = []
        self._bytes = len(tables) * _LANE_BITS // 8
        for lane, table in enumerate(tables):
            self._append(lane, table, scores)
        self._columns = list(zip(self._edges, self._shares, strict=True))
        self._value_at = self._values.__getitem__

    def score(self, row: Row) -> float:
        """Return the raw score of `row`, in the model's column order."""
        position = 0
        for value, (edges, shares) in zip(row, self._columns, strict=True):
            # A value at a threshold belongs below it; the last bin is for the missing.
            position += shares[-1 if value is None else bisect_left(edges, value)]
        cells = memoryview(position.to_bytes(self._bytes, "little")).cast("I")
        return sum(map(self._value_at, cells))

    def _append(self, lane: int, table: _Table, scores: TreeScores) -> None:
        columns = sorted(table.thresholds)
        edges = [sorted(table.thresholds[column]) for column in columns]
        # One value in each bin: at each threshold, above them all, missing.
        inside = [[*one, math.nextafter(one[-1], math.inf), math.nan] for one in edges]
        cells = np.zeros((math.prod(map(len, inside)), len(self._edges)))
        for column, axis in zip(columns, np.meshgrid(*inside, indexing="ij"), strict=True):
            cells[:, column] = axis.ravel()
        first = len(self._values)
        self._values += np.sum([scores(cells, tree) for tree in table.trees], axis=0).tolist()
        self._shares[0] = [share + (first << lane * _LANE_BITS) for share in self._shares[0]]
        stride = len(cells)
        for column, own, values in zip(columns, edges, inside, strict=True):
            stride //= len(values)
            bins = [bisect_left(own, edge) for edge in (*self._edges[column], math.inf)]
            for index, cell in enumerate((*bins, len(values) - 1)):
                self._shares[column][index] += cell * stride << lane * _LANE_BITS


def pack(trees: list[Thresholds]) -> list[_Table] | None:
    """Return tables for `trees`, each in the one that it enlarges least; None for large trees."""
    tables: list[_Table] = []
    for tree, thresholds in enumerate(trees):
        if _Table().cells_with(thresholds) > _MOST_CELLS:
            return None
        fitting = [
            (cells / table.cells_with({}), index)
            for index, table in enumerate(tables)
            if (cells := table.cells_with(thresholds)) <= _MOST_CELLS
        ]
        if not fitting:
            tables.append(_Table())
        tables[min(fitting)[1] if fitting else -1].add(tree, thresholds)
    return tables if len(tables) <= _MOST_TABLES else None


def thresholds_of(tree_info: list[dict[str, Any]]) -> list[Thresholds] | None:
    """Return each tree's thresholds from LightGBM's `dump_model`; None for other kinds of trees."""
    trees: list[Thresholds] = []
    for info in tree_info:
        thresholds: Thresholds = {}
        nodes = [info["tree_structure"]]
        while nodes:
            node = nodes.pop()
            if "split_feature" not in node:
                if "leaf_coeff" in node:
                    return None
                continue
            if node["decision_type"] != "<=" or node["missing_type"] == "Zero":
                return None
            thresholds.setdefault(node["split_feature"], set()).add(node["threshold"])
            nodes += [node["left_child"], node["right_child"]]
        trees.append(thresholds)
    return trees
