"""Estimators in files: `.npz` archives, which hold numbers and text but no code, replaced in one step.

An archive holds each array under the name of its attribute, so that ``numpy.load(path)["coef_"]`` works without xentrs,
and one more array, ``xentrs``: a JSON text in UTF-8 that says which class and which parameters it was, and where among
the attributes the arrays belong. In that text numbers, strings, None and lists stand for themselves. All else is an
object of one key, its kind: array, scalar, objects (an array of Python objects), tuple or dict.
"""

from __future__ import annotations

import itertools
import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .._files import kind_of_file, replaced, status_of_file

Arrays = dict[str, NDArray[Any]]

FORMAT = 1
"""Goes up by one when files written from then on can no longer be read by an older xentrs."""

HEADER = "xentrs"


class SaveMixin:
    """Gives an estimator `save` and `load`."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimator to a file, all or nothing.

        The file is written beside its place, forced to the disk, and moved over what was there in one step. A process
        that dies on the way leaves the old file whole, and perhaps a ``.tmp`` beside it. A file that is replaced keeps
        its permissions, and a symbolic link goes on pointing to it.

        Parameters
        ----------
        path : str or path-like
            The file, by custom ``.npz``. One that exists is replaced; what is no regular file, such as a device or a
            pipe, is refused.

        Raises
        ------
        TypeError
            If a parameter or an attribute is neither a number, text, an array, nor a list, tuple or dict of these, such
            as a function or a RandomState. Nothing is written then.
        OSError
            If the file cannot be written, or is no regular file.

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
        with replaced(path) as file:
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
            If the file is empty, cut short or damaged, holds another class, is of a later format, is something else
            altogether, or has attributes that no fitted estimator has, such as coefficients that are NaN. The message
            says which.
        OSError
            If the file cannot be read: FileNotFoundError where there is none, IsADirectoryError for a directory. What
            is no regular file is not opened.
        MemoryError
            If there is no memory for what the file holds. It is never more than the size of the file.
        """
        file = os.fspath(path)
        arrays = _read(path)
        if HEADER not in arrays:
            raise ValueError(f"{file} is an archive of arrays, but not of an estimator: it has {_named(arrays)}")
        with _blamed_on(file):
            header = dict(json.loads(arrays[HEADER].tobytes()))
        if (written := header.get("format")) != FORMAT:
            raise ValueError(f"{file} must be of format {FORMAT}, got {written!r}: update xentrs")
        if (name := header.get("class")) != cls.__name__:
            raise ValueError(f"{file} must hold a {cls.__name__}, got a {name}")
        with _blamed_on(file):
            params, fitted = (
                {key: _decode(value, arrays) for key, value in header[part].items()} for part in ("params", "fitted")
            )
        if unknown := sorted(set(params) - set(cls._get_param_names())):  # type: ignore[attr-defined]  # of BaseEstimator
            raise ValueError(
                f"{file} is of another version of xentrs: the parameters of its {name} that are unknown here are "
                f"{', '.join(unknown)}. Load it with that version, or train anew."
            )
        estimator = cls(**params)
        if fault := _fault(cls, fitted):
            raise ValueError(f"{file} holds what is no fitted {name}: {fault}")
        vars(estimator).update(fitted)
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
    if kind in ("array", "scalar"):
        if content not in arrays:
            raise ValueError(f"the array {content!r} is missing")
        return arrays[content] if kind == "array" else arrays[content][()]
    if kind == "objects":
        items, shape = content
        if len(items) != prod(shape) or any(n < 0 for n in shape):
            raise ValueError("an array of objects has another shape than its objects")
        array = np.empty(len(items), object)
        for i, item in enumerate(_decode(items, arrays)):
            array[i] = item
        return array.reshape(shape)
    return {"tuple": tuple, "dict": dict}[kind](_decode(content, arrays))


# ------------------------------------------------------------------------------------------------- fitted attributes


_NUMBERS = ("coef_", "intercept_", "log_var_coef_", "log_var_intercept_", "coefs_", "intercepts_", "temperature_")
"""Attributes that predictions are made from."""


def _fault(cls: Any, fitted: dict[str, Any]) -> str | None:
    """Why no estimator of a class has these attributes, if none has."""
    for name in fitted:
        if not name.isidentifier() or name in cls._get_param_names() or hasattr(cls, name):
            return f"an attribute named {name!r} would hide what every {cls.__name__} has"
    for name in _NUMBERS:
        value = fitted.get(name, 0.0)
        for part in value if isinstance(value, list) else [value]:
            numbers = np.array(part)
            if numbers.dtype.kind not in "fiu" or np.any(np.isnan(numbers)):
                return f"{name} must be real numbers without NaN"
    if (temperature := fitted.get("temperature_", 1.0)) is not None and not (np.ndim(temperature) == 0 < temperature):
        return f"temperature_ must be a positive number, got {temperature!r}"
    coef, intercept, features = (fitted.get(name) for name in ("coef_", "intercept_", "n_features_in_"))
    shape: tuple[int, ...] = () if coef is None else np.shape(coef)
    if coef is not None and (len(shape) not in (1, 2) or shape[-1] != (features or shape[-1])):
        return f"coef_ must have {features} columns, one for each feature, got shape {shape}"
    if coef is not None and intercept is not None and np.shape(intercept) not in ((), shape[:-1]):
        return f"intercept_ must fit coef_, of shape {shape}, got shape {np.shape(intercept)}"
    layers = [np.shape(layer) for layer in fitted.get("coefs_", [])]
    biases = [np.shape(bias) for bias in fitted.get("intercepts_", [])]
    if layers and not all(len(layer) == 2 for layer in layers):
        return f"coefs_ must be matrices, got shapes {layers}"
    widths = [features or layers[0][0], *(layer[1] for layer in layers)] if layers else [0]
    if layers != list(itertools.pairwise(widths)) or biases != [(width,) for width in widths[1:]]:
        return f"coefs_ and intercepts_ must be layers that fit each other, got shapes {layers} and {biases}"
    return None


# ------------------------------------------------------------------------------------------------------------- files


def _read(path: str | os.PathLike[str]) -> Arrays:
    """All arrays of an archive, or what is wrong with the file."""
    name = os.fspath(path)
    status_of_file(path)
    with open(path, "rb") as file:
        head = file.read(8)
        if not head:
            raise ValueError(f"{name} is empty: perhaps the writing of it, or a copy, was cut off")
        if not head.startswith(b"PK"):
            raise ValueError(f"{name} must be a file that save has written, got {kind_of_file(head)}")
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.namelist()
                if not members or not all(member.endswith(".npy") for member in members):
                    raise ValueError(
                        f"{name} is a zip archive, but not of arrays: it has {_named(members) or 'nothing in it'}"
                    )
                size = os.fstat(file.fileno()).st_size
                if sum(member.file_size for member in archive.infolist()) > size:
                    raise ValueError(f"{name} is damaged: the arrays in it are larger than the file")
                return {member.removesuffix(".npy"): _array(archive, member, name) for member in members}
        except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
            raise ValueError(f"{name} is cut short or damaged: the list of its contents cannot be read") from error


def _array(archive: zipfile.ZipFile, member: str, name: str) -> NDArray[Any]:
    """One of the arrays."""
    what = repr(member.removesuffix(".npy"))
    try:
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
            if not dtype.hasobject and prod(shape) * dtype.itemsize > archive.getinfo(member).file_size:
                raise ValueError("more numbers than the file has place for")
            file.seek(0)
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):  # asks for the end, where the checksum is looked at
                raise EOFError
            return array
    except MemoryError:
        raise
    except Exception as error:  # damaged members raise half a dozen kinds of errors
        if "allow_pickle" in str(error):
            raise ValueError(f"{name} has Python objects in the array {what}, which load never unpickles") from None
        raise ValueError(f"{name} is damaged: the array {what} cannot be read") from error


@contextmanager
def _blamed_on(file: str) -> Iterator[None]:
    """Say which file it was where the text that describes the estimator makes no sense."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = str(error) if "is missing" in str(error) else "the text that describes the estimator makes no sense"
        raise ValueError(f"{file} is damaged: {reason}") from error


def _named(names: Iterable[str]) -> str:
    """A few names, to recognise a file by."""
    shown = list(names)
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
