"""What is made of a call that the core has refused: another one, with the arguments that were meant, or advice.

The core takes weights of the shapes that its loops know. What NumPy's rules repeat to one of these is repeated here.
What cannot have been meant raises the core's error, with a word on what to write. What rounding put outside [0, 1] is
moved to its bounds, and a call with weights that float32 cannot hold is made in float64. None of this costs anything
where a call succeeds.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ._arrays import (
    Array,
    NeedsConversion,
    as_grad_output,
    as_weights,
    check_hess_out,
    check_out,
    fits,
    kind_of,
    read,
    two_columns,
    without_leading_ones,
)

__all__ = ["mended", "of_one_argument"]

Shape = tuple[int, ...]

DATA = ("logits", "scores", "p", "mean", "x")
"""The names of what a loss is a function of. Of `x` a linear layer makes the logits."""


def mended(
    compiled: Callable[..., Any], fault: Exception, arguments: dict[str, Any], parts: dict[str, Any] | None = None
) -> Any:
    """Call a compiled function again with the arguments that were meant, or raise its fault, with advice.

    Parameters
    ----------
    compiled : callable
        The function.
    fault : Exception
        What it has raised.
    arguments : dict
        The arguments of that call, by name.
    parts : dict, optional
        What the tuples among them are made of, by name.
    """
    if isinstance(fault, NeedsConversion):
        return _converted(compiled, fault, arguments)
    named = arguments | (parts or {})
    if refusal := of_one_argument(fault, named):
        raise refusal from None
    try:
        call = Call.of(compiled, arguments) if type(fault) in (TypeError, ValueError, IndexError) else None
        if call is None:
            raise fault
        try:
            changed = call.binary() or call.with_weights()
            folds = not changed and call.weighs_by_place()
            advice = None if changed or folds else call.advice(str(fault))
        except (TypeError, ValueError, IndexError) as other:  # what cannot be looked at needs no advice
            raise (other if str(other).startswith(tuple(f"{name} must " for name in arguments)) else fault) from None
        try:
            if changed:
                return again(compiled, arguments | changed)
            if folds:
                return call.folded()
        except (TypeError, OverflowError) as other:
            raise of_one_argument(other, named) or other from None
        if advice:
            raise type(fault)(f"{fault}; {advice}") from None
        raise fault
    finally:
        del fault  # it refers to this frame, and to those that hold the arguments


def of_one_argument(fault: Exception, arguments: dict[str, Any]) -> Exception | None:
    """What is wrong with an argument of another type, or too large: the fault says how, a note names the argument."""
    note = next(iter(getattr(fault, "__notes__", ())), "")
    name = note.removeprefix("while processing '").removesuffix("'")
    if name not in arguments:
        return None
    kind = TypeError if type(fault) is TypeError else ValueError
    said = _SAID[kind] if type(fault) in (TypeError, OverflowError) else {}
    wanted = next((what for words, what in said.items() if words in str(fault)), None)
    return kind(f"{name} must be {wanted}, got {reprlib.repr(arguments[name])}") if wanted else None


_SAID: dict[type, dict[str, str]] = {
    TypeError: {
        "real number": "a number",
        "to Python scalars": "a number",
        "as an integer": "an integer",
        "to a scalar index": "an integer",
        "instance of 'bool'": "True or False",
    },
    ValueError: {"to float": "within the range of float64", "too large": "an integer of at most 64 bits"},
}
"""What Python and NumPy say of an object that is no number, and what they ought to."""


def again(compiled: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call with arguments that have been changed, which need no change any more."""
    try:
        return compiled(**arguments)
    except Exception as fault:
        return mended(compiled, fault, arguments)


def _converted(compiled: Callable[..., Any], fault: NeedsConversion, arguments: dict[str, Any]) -> Any:
    """Call again with what the core asks for: numbers moved into [0, 1], or all of the call in float64."""
    message, how, name = fault.args
    if how == "to_double":
        return _in_double(compiled, arguments)
    unit = _to_unit(read(arguments[name], name)) if name != "p" or arguments["eps"] else None
    if unit is None:
        return mended(compiled, ValueError(message), arguments)
    return again(compiled, arguments | {name: unit})


def _to_unit(array: Array) -> Array | None:
    """Move what rounding put outside [0, 1] to its bounds; None where nothing is there, or only what is further off."""
    tolerance = 8 * _EPS.get(array.dtype.name, 2.0**-23)
    with np.errstate(invalid="ignore"):  # NumPy warns of signalling NaN
        unit = np.clip(array, 0, 1)
        moved = (array != unit) & (np.abs(array - unit) <= tolerance)
    return np.where(moved, unit, array) if moved.any() else None


_EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
"""The rounding of numbers that come from these types; all others may come from float32."""


def _in_double(compiled: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Compute in float64 what float32 cannot hold, and round the results."""
    hess = arguments.get("hess")
    places = arguments["out"] if isinstance(arguments["out"], tuple) else (arguments["out"], hess and hess[0])
    operands = {name: read(arguments[name], name) for name in _OPERANDS if arguments.get(name) is not None}
    dtype = next(iter(operands.values())).dtype.newbyteorder("=")
    with np.errstate(invalid="ignore"):  # NumPy warns of signalling NaN
        wide = {name: array.astype(np.float64) for name, array in operands.items()}
    without = {"out": None} | ({"hess": (None, *hess[1:])} if hess else {})
    results = again(compiled, arguments | wide | without)
    with np.errstate(over="ignore", under="ignore"):
        if not isinstance(results, tuple):
            return _rounded(results, np.dtype(np.float32))
        loss, *grads = results
        for i, grad in enumerate(grads):
            place = places[i] if i < len(places) else None
            if place is None:
                grads[i] = _rounded(grad, dtype)
            else:
                place[...] = grad
                grads[i] = place
        return tuple.__new__(type(results), (_rounded(loss, np.dtype(np.float32)), *grads))


_OPERANDS = (*DATA, "weight", "bias")
"""The arguments whose dtype is that of the gradients."""


def _rounded(result: Any, dtype: np.dtype[Any]) -> Any:
    """Of a dtype, but for a Python number, and None."""
    return result.astype(dtype) if isinstance(result, np.ndarray | np.generic) else result


class Call(NamedTuple):
    """A call of a loss, and what shapes its arguments ought to have."""

    compiled: Callable[..., Any]
    arguments: dict[str, Any]
    name: str
    """That of the logits, or of what stands for them."""
    shape: Shape
    """That of the logits."""
    rows: Shape | None
    """That of classes; None where labels are independent."""

    @classmethod
    def of(cls, compiled: Callable[..., Any], arguments: dict[str, Any]) -> Call | None:
        """Look at a call; None where it is not of a loss with targets, or its arguments tell nothing."""
        name = next((name for name in DATA if name in arguments), None)
        if name is None or "target" not in arguments:
            return None
        try:
            shape = read(arguments[name], name).shape
            if name == "x":
                shape = (*shape[:-1], len(read(arguments["weight"], "weight")))
            kind = arguments.get("kind", "softmax" if "axis" in arguments else "sigmoid")
            rows = _without(shape, arguments.get("axis", -1)) if kind == "softmax" else None
        except (TypeError, ValueError, IndexError):
            return None
        return cls(compiled, arguments, name, shape, rows)

    def given(self, name: str) -> Array | None:
        """An argument as an array."""
        given = self.arguments.get(name)
        return None if given is None else read(given, name, labels=name == "target")

    def binary(self) -> dict[str, Any] | None:
        """Two columns of one-dimensional log-odds, and classes of boolean labels; of statistics alone."""
        if self.compiled.__name__ != "softmax_stats":
            return None
        logits, target = self.given(self.name), self.given("target")
        if logits is None or target is None or target.dtype.kind not in "biu":
            return None
        if logits.ndim == 1 and target.shape == logits.shape:
            return {self.name: two_columns(logits), "target": target, "axis": -1}
        if target.dtype == bool and target.shape == self.rows and math.prod(self.shape) == 2 * target.size:
            return {"target": target.astype(np.int64)}
        return None

    def with_weights(self) -> dict[str, Any]:
        """Weights repeated to the shape that the core takes, those that are not of it already."""
        changed = {}
        sample_weight, pos_weight = self.given("sample_weight"), self.given("pos_weight")
        if sample_weight is not None:
            whole = self.whole(sample_weight)
            if kind_of(sample_weight) in "biuf" and sample_weight.shape != whole and fits(sample_weight, whole):
                changed["sample_weight"] = np.broadcast_to(sample_weight, whole)
        if pos_weight is not None and fits(pos_weight, self.shape):
            short = without_leading_ones(pos_weight)
            if short.ndim <= 1 and short.shape != pos_weight.shape:
                changed["pos_weight"] = short
        return changed

    def whole(self, sample_weight: Array) -> Shape:
        """The shape that sample weights are repeated to: one a row or, of independent labels, also one a label."""
        if self.rows is not None:
            return self.rows
        one_a_row = self.shape and sample_weight.ndim == len(self.shape) - 1
        return self.shape[:-1] if one_a_row else self.shape

    def weighs_by_place(self) -> bool:
        """Whether `pos_weight` varies along other axes than the last."""
        weight = self.given("pos_weight")
        if weight is None or self.name == "x":
            return False
        target = self.given("target")
        if target is None or target.shape != self.shape:
            return False
        return kind_of(weight) in "biuf" and fits(weight, self.shape) and without_leading_ones(weight).ndim > 1

    def folded(self) -> Any:
        """Take the axes along which `pos_weight` varies for one, the last one, along which the core lets it vary."""
        logits, target = self.given(self.name), self.given("target")
        weight, sample_weight = self.given("pos_weight"), self.given("sample_weight")
        assert logits is not None and target is not None and weight is not None  # as weighs_by_place has seen
        if (wrong := ~((weight >= 0) & np.isfinite(weight))).any():
            index = int(np.argmax(wrong))
            raise ValueError(
                f"pos_weight must be finite and non-negative, got {weight.ravel()[index]} at index {index}"
            )
        weight = without_leading_ones(weight)
        last = self.shape[len(self.shape) - weight.ndim :]
        shape = (*self.shape[: len(self.shape) - weight.ndim], math.prod(last))
        changed = {
            self.name: logits.reshape(shape),
            "target": target.reshape(shape),
            "pos_weight": np.broadcast_to(weight, last).ravel(),
        }
        if sample_weight is not None:
            sample_weight, whole = (
                as_weights(sample_weight, "sample_weight", np.dtype(np.float64)),
                self.whole(sample_weight),
            )
            if not fits(sample_weight, whole):
                raise ValueError(f"sample_weight must have shape {whole}, got {sample_weight.shape}")
            one_each = sample_weight if whole == self.shape else sample_weight[..., np.newaxis]
            changed["sample_weight"] = np.broadcast_to(one_each, self.shape).reshape(shape)
        upstream = self.arguments.get("grad_output")
        if upstream is not None and read(upstream, "grad_output").ndim:
            changed["grad_output"] = as_grad_output(upstream, "grad_output", self.shape).reshape(shape)
        out = self.arguments.get("out")
        dtype = logits.dtype.newbyteorder("=") if logits.dtype.kind not in "iub" else np.dtype(np.float64)
        if out is not None:
            inputs = [self.arguments[name] for name in ("target", "pos_weight", "sample_weight", "grad_output")]
            computed = np.dtype(np.float32)
            check_out(out, self.arguments[self.name], inputs, dtype, computed)
            place = out.reshape(shape)
            changed["out"] = place if np.may_share_memory(place, out) else np.empty(shape, out.dtype)
        wanted: Any = self.arguments.get("hess")
        hess_out = wanted[0] if wanted else None
        if hess_out is not None:
            dtype = dtype if out is None else out.dtype.newbyteorder("=")
            inputs = [self.arguments[name] for name in ("target", "pos_weight", "sample_weight")]
            check_hess_out(hess_out, self.arguments[self.name], out, inputs, dtype)
            wanted = (None, *wanted[1:])
        results = again(self.compiled, self.arguments | changed | ({"hess": wanted} if wanted else {}))
        if not isinstance(results, tuple):
            return _unfolded(results, self.shape)
        loss, grad, *hess = (_unfolded(result, self.shape) for result in results)
        if hess_out is not None:
            np.copyto(hess_out, hess[0])
            hess = [hess_out]
        if out is not None:
            if not np.may_share_memory(grad, out):
                np.copyto(out, grad)
            grad = out
        return tuple.__new__(type(results), (loss, grad, *hess))

    def advice(self, message: str) -> str | None:
        """What to write instead, for an error with this message."""
        if message.startswith(f"{self.name} must be floating"):
            return self.advice_on_data()
        if message.startswith("class_weight") and isinstance(self.arguments.get("class_weight"), str | dict):
            return "write a number for each class, as sklearn.utils.class_weight.compute_class_weight gives them"
        if message.startswith("pos_weight must have shape") and self.name == "x":
            return "it is one number, or one for each label; a weight for each row is a sample_weight"
        weight: Any = self.arguments.get("sample_weight")
        if message.startswith("sample_weight must have shape") and self.rows is None and np.ndim(weight) == 1:
            return "it is one number for each row; for one a label write sample_weight[numpy.newaxis]"
        if message.startswith("target must be classes"):
            return None
        if message.startswith("target") and not isinstance(self.arguments["target"], tuple):
            target = read(self.arguments["target"], "target", labels=True)
            return self.advice_on_labels(target) if self.rows is None else self.advice_on_classes(target, self.rows)
        return None

    def advice_on_data(self) -> str | None:
        data = read(self.arguments[self.name], self.name)
        if data.dtype.kind in "US":
            return f"numbers written as text are made numbers by numpy.asarray({self.name}, float)"
        if data.dtype == object:
            return f"numbers, and NaN for None, are made of objects by numpy.asarray({self.name}, float)"
        return None

    def advice_on_classes(self, target: Array, rows: Shape) -> str | None:
        if target.dtype.kind in "US" or _is_text(target):
            return "write the number of each label, numpy.unique(target, return_inverse=True)[1]"
        if target.dtype == object:
            return "write a number for what is missing, such as -100, with ignore_index=-100"
        if target.shape in ((*rows, 1), (*self.shape, 1)) and target.dtype.kind != "f":
            return "write target[..., 0]"
        if target.shape == self.shape and target.dtype.kind in "iub":
            return "one-hot rows are distributions: write target.astype(float), or classes, target.argmax(-1)"
        if target.dtype == bool:
            return "write target.astype(int) for the classes 0 and 1"
        axes = [axis for axis in range(len(self.shape)) if _without(self.shape, axis) == target.shape]
        floating = target.dtype.kind == "f"
        if floating and (target.shape == rows or axes):
            if np.isnan(target).any():
                row = int(np.argmax(np.isnan(target)))
                return (
                    f"floats are distributions, and for classes integers are needed, but the label at row {row} is "
                    "missing (NaN): write numpy.where(numpy.isnan(target), -100, target).astype(int)"
                )
            axis = "" if target.shape == rows else f", and axis={axes[0]}"
            return f"floats are distributions; for classes write integers, target.astype(int){axis}"
        if axes and target.shape != rows and self.name != "x":
            return f"where the classes are on axis {axes[0]}, write axis={axes[0]}, or move it to the end"
        if target.shape == self.shape and len(rows) == 0 and self.compiled.__name__ == "softmax_stats":
            return "of log-odds the labels 0 and 1 are integers or booleans, target.astype(int)"
        if self.shape == (*target.shape, 1) and self.compiled.__name__ == "softmax_stats":
            return f"of log-odds write {self.name}[..., 0]"
        return None

    def advice_on_labels(self, target: Array) -> str | None:
        if target.dtype.kind in "US" or _is_text(target):
            return "write booleans, target == the label that is positive"
        if target.dtype == object:
            return "write anything for what is missing, and give it a sample_weight of 0, or name it by ignore_index"
        if target.shape == (*self.shape, 1):
            return "write target[..., 0]"
        if self.shape == (*target.shape, 1):
            return f"write {self.name}[..., 0]"
        if self.shape[:-1] == target.shape and self.shape[-1] > 1 and target.dtype.kind in "iu" and target.ndim:
            return (
                "for labels of which several may hold write a row of answers each, and for classes that exclude each "
                "other use softmax_cross_entropy"
            )
        return None


def _without(shape: Shape, axis: int) -> Shape:
    return tuple(int(n) for n in np.delete(shape, axis))


def _unfolded(result: Any, shape: Shape) -> Any:
    return result.reshape(shape) if isinstance(result, np.ndarray) else result


def _is_text(target: Array) -> bool:
    return target.dtype == object and all(isinstance(item, str) for item in target.ravel().tolist())
