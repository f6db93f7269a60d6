"""Estimators in files: `.npz` archives, which hold numbers and text but no code, replaced in one step.

An archive holds each array under the name of its attribute, so that ``numpy.load(path)["coef_"]`` works without xentrs,
and one more array, ``xentrs``: a JSON text in UTF-8 that says which class and which parameters it was, and where among
the attributes the arrays belong. In that text numbers, strings, None and lists stand for themselves. All else is an
object of one key, its kind: array, scalar, objects (an array of Python objects), tuple or dict.
"""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

FORMAT = 1
"""Goes up by one when files written from then on can no longer be read by an older xentrs."""

HEADER = "xentrs"


class SaveMixin:
    """Gives an estimator `save` and `load`."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimator to a file, all or nothing.

        The file is written beside its place, forced to the disk, and moved over what was there in one step. A process
        that dies on the way leaves the old file whole, and perhaps a ``.tmp`` beside it.

        Parameters
        ----------
        path : str or path-like
            The file, by custom ``.npz``. One that exists is replaced.

        Raises
        ------
        TypeError
            If a parameter or an attribute is neither a number, text, an array, nor a list, tuple or dict of these, such
            as a function or a RandomState. Nothing is written then.
        OSError
            If the file cannot be written.

        See Also
        --------
        load : the way back.

        Notes
        -----
        The file is an archive of NumPy arrays without pickled objects, so loading one from a stranger runs no code of
        his. Parameters, fitted attributes and the state of the optimiser are all in it, to the last bit: a loaded
        estimator goes on training as this one would. `pickle` works too, and takes functions, but trust is needed then.
        """
        arrays: Arrays = {}
        params = self.get_params(deep=False)  # type: ignore[attr-defined]  # of BaseEstimator
        fitted = {name: value for name, value in vars(self).items() if name not in params}
        header = {
            "format": FORMAT,
            "class": type(self).__name__,
            "params": {name: _encode(value, name, arrays) for name, value in params.items()},
            "fitted": {name: _encode(value, name, arrays) for name, value in fitted.items()},
        }
        arrays[HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        with _replaced(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # no attribute is called allow_pickle

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read an estimator that `save` has written.

        Parameters
        ----------
        path : str or path-like
            The file. It must hold an estimator of this class.

        Returns
        -------
        estimator
            A new one, with the parameters, the attributes and the state of the one that was saved.

        Raises
        ------
        ValueError
            If the file holds another class, is of a later format or damaged, or is something else altogether.
        OSError
            If the file cannot be read.
        """
        arrays = _read(path)
        with _blamed_on(path):
            header = json.loads(arrays[HEADER].tobytes())
            written, name = header["format"], header["class"]
        if written != FORMAT:
            raise ValueError(f"{os.fspath(path)} must be of format {FORMAT}, got {written}: update xentrs")
        if name != cls.__name__:
            raise ValueError(f"{os.fspath(path)} must hold a {cls.__name__}, got a {name}")
        with _blamed_on(path):
            estimator = cls(**{name: _decode(value, arrays) for name, value in header["params"].items()})
            vars(estimator).update({name: _decode(value, arrays) for name, value in header["fitted"].items()})
        return estimator


# ---------------------------------------------------------------------------------------------------- values as JSON


def _encode(value: Any, place: str, arrays: Arrays) -> Any:
    """JSON for `value`; the arrays in it go to `arrays`, under `place`, its attribute and the way from there."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (list, tuple):
        items = [_encode(item, f"{place}.{i}", arrays) for i, item in enumerate(value)]
        return items if kind is list else {"tuple": items}
    if kind is dict:
        return {"dict": [_encode(list(item), f"{place}.{i}", arrays) for i, item in enumerate(value.items())]}
    if isinstance(value, np.ndarray) and value.dtype == object:
        return {"objects": [_encode(value.ravel().tolist(), place, arrays), list(value.shape)]}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcSUmM":
        arrays[place] = np.array(value)
        return {"array" if isinstance(value, np.ndarray) else "scalar": place}
    name = place.partition(".")[0]
    remedy = f"set_params({name}=None) first" if not name.endswith("_") else "remove it first"
    raise TypeError(f"{name} must be numbers, text or arrays to be saved, got {kind.__name__}: {remedy}, or use pickle")


def _decode(value: Any, arrays: Arrays) -> Any:
    """The value that `_encode` has made JSON of."""
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    if kind == "scalar":
        return arrays[content][()]
    if kind == "objects":
        items, shape = content
        array = np.empty(prod(shape), object)
        for i, item in enumerate(_decode(items, arrays)):
            array[i] = item
        return array.reshape(shape)
    return {"tuple": tuple, "dict": dict}[kind](_decode(content, arrays))


# ------------------------------------------------------------------------------------------------------------- files


@contextmanager
def _replaced(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends, and vanishes if it raises."""
    place = Path(os.path.realpath(path))  # a symbolic link is kept
    temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read(path: str | os.PathLike[str]) -> Arrays:
    """All arrays of an archive."""
    with open(path, "rb") as file, _blamed_on(path), np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@contextmanager
def _blamed_on(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say which file it was. Damaged archives raise half a dozen kinds of errors."""
    try:
        yield
    except Exception as reason:
        raise ValueError(f"{os.fspath(path)} is damaged or no saved estimator: {reason}") from reason
