"""Columns of Parquet files: of numbers, or of lists of one length."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._extras import need
from .mapped import one_of
from .stored import FileError, Index, Stored, closed_if_refused, identity_of

__all__ = ["open_parquet"]

BATCH = 2 << 20
"""Bytes of a column that are unpacked at a time."""


def open_parquet(path: str, key: str) -> Stored:
    """Open a column of a Parquet file."""
    return _Column(path, key)


class _Column(Stored):
    """A column, which is unpacked from the front to the back; whole row groups are skipped without that."""

    in_order = True

    def __init__(self, path: str, key: str) -> None:
        need("reading Parquet files", "pyarrow")
        import pyarrow.parquet as pq

        self.name = self._path = path
        self._batches: Any = None
        # No whole column chunk in the memory: pages as they are needed.
        self._file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        schema = self._file.schema_arrow
        with closed_if_refused(self):
            kind = self._find(schema, key)
            if self.dtype.kind not in "biuf":
                raise FileError(f"{path} must hold numbers under {self._key!r}, got {kind}")
        self._held, self._first = np.empty((0, *self.shape[1:]), self.dtype), 0

    def _find(self, schema: Any, key: str) -> Any:
        """Set shape and dtype, and give the type of the numbers."""
        import pyarrow as pa

        self._key = one_of(schema.names, key, self._path)
        kind = schema.field(self._key).type
        n = self._file.metadata.num_rows
        if pa.types.is_fixed_size_list(kind):
            self.shape, kind = (n, kind.list_size), kind.value_type
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            raise FileError(f"{self._path} must hold fixed-size lists under {self._key!r}, got {kind}: cast the column")
        else:
            self.shape = (n,)
        try:
            self.dtype = np.dtype(kind.to_pandas_dtype())
        except (NotImplementedError, TypeError):
            self.dtype = np.dtype(object)
        return kind

    def read(self, index: Index) -> NDArray[Any]:
        rows = index[0]
        start, stop, _ = (rows if isinstance(rows, slice) else slice(rows, rows + 1)).indices(self.shape[0])
        if self._batches is None:
            self._start(start)
        block = np.empty((stop - start, *self.shape[1:]), self.dtype)
        filled = 0
        while filled < len(block):
            # What is held are the rows from _first on; those before the first that is wanted are done with.
            skip = min(start + filled - self._first, len(self._held))
            found = self._held[skip : skip + len(block) - filled]
            block[filled : filled + len(found)] = found
            filled += len(found)
            self._held, self._first = self._held[skip + len(found) :], self._first + skip + len(found)
            if filled < len(block):
                self._next()
        rest = (slice(None), *index[1:]) if isinstance(rows, slice) else (0, *index[1:])
        return block[rest]

    def _start(self, row: int) -> None:
        """Begin at the row group that holds a row."""
        metadata, group, first = self._file.metadata, 0, 0
        while group < metadata.num_row_groups and first + metadata.row_group(group).num_rows <= row:
            first += metadata.row_group(group).num_rows
            group += 1
        width = self.dtype.itemsize * max(1, int(np.prod(self.shape[1:])))
        self._first = first
        self._batches = self._file.iter_batches(
            batch_size=max(1, BATCH // width),
            row_groups=range(group, metadata.num_row_groups),
            columns=[self._key],
            use_threads=False,
        )

    def _next(self) -> None:
        try:
            batch = next(self._batches)
        except StopIteration:
            raise FileError(f"{self.name} is cut short: expected {self.shape[0]} rows, got {self._first}") from None
        column = batch.column(0)
        values = column.flatten() if len(self.shape) == 2 else column
        if column.null_count or values.null_count:
            place = next(i for i in range(len(column)) if not column[i].is_valid or _has_null(column[i]))
            raise FileError(f"row {self._first + place} of {self.name} must hold numbers, got a null")
        array = values.to_numpy(zero_copy_only=False)
        self._held = array.reshape(len(column), *self.shape[1:])

    def close(self) -> None:
        self._batches = None
        self._file.close()

    @property
    def identity(self) -> dict[str, Any]:
        return identity_of(self._path)


def _has_null(item: Any) -> bool:
    values = getattr(item, "values", None)
    return values is not None and values.null_count > 0
