"""The bodies of the public functions: each calls a compiled one with the arguments of the same names.

A function states its signature and its documentation. Written out, its body would repeat every argument in the order of
the compiled function; it is made here instead, when the module is imported. What does not fit together fails then, and
a call takes the time that it would take written out. A call that the core refuses goes to `_mending`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, cast

from ._mending import mended

__all__ = ["Expression", "calls", "readable", "readable_constructor"]

# The most characters that are shown of a signature, the name in front not counted.
LONGEST = 375

Function = TypeVar("Function", bound=Callable[..., Any])


class Expression(str):
    """A piece of Python: an argument that is made of parameters of the function, or the name of a type."""

    __repr__ = str.__str__

    def names(self) -> list[str]:
        """All words in it."""
        return self.translate(str.maketrans("(),", "   ")).split()


def calls(
    compiled: Any,
    *,
    order: int = 0,
    returns: Callable[[Any], Any] | None = None,
    **constants: object,
) -> Callable[[Function], Function]:
    """Make the body of a function: ``return returns(compiled(...))``.

    Parameters
    ----------
    compiled : callable
        Takes the arguments of the function, matched by name, and maybe ``order``, ``grad_output``, ``out`` and
        ``hess``.
    order : int, default 0
        Which derivatives the compiled function gives: 0 for none, 1 for the gradient, 2 for the Hessian too.
    returns : callable, optional
        Takes the results, where they are not returned as they are.
    **constants
        Arguments of `compiled` that the function lacks: values, or an `Expression` in its parameters.
    """

    def with_body(function: Function) -> Function:
        code = function.__code__
        positional, names = (
            code.co_varnames[: code.co_argcount],
            code.co_varnames[: code.co_argcount + code.co_kwonlyargcount],
        )
        # 1. The call. What text a compiled function has of its signature is a list of names.
        taken = compiled.__text_signature__.strip("()").split(", ")
        left_out = {"order": order, "grad_output": None, "out": None, "hess": None}
        given = {name: repr(value) for name, value in left_out.items() if name in taken}
        given |= {name: repr(value) for name, value in constants.items()}
        used = {name for value in constants.values() if isinstance(value, Expression) for name in value.names()}
        given |= {name: name for name in names if name not in used}
        if differences := set(taken) ^ given.keys():
            raise TypeError(f"{function.__name__} and {compiled} differ in {', '.join(sorted(differences))}")
        call = f"compiled({', '.join(given[name] for name in taken)})"
        parts = ", ".join(f"{name!r}: {name}" for name in names if name in used)
        mend = f"mended(compiled, fault, {{{', '.join(f'{name!r}: {given[name]}' for name in taken)}}}, {{{parts}}})"
        if returns:
            call, mend = f"returns({call})", f"returns({mend})"
        # 2. A function that makes it. A fault costs nothing until there is one. Options are parameters like others,
        # behind one that nobody may give: of parameters behind an asterisk Python looks up each default in a
        # dictionary, which takes a fifth of a small call.
        barrier, defaults = object(), function.__kwdefaults__ or {}
        required = [name for name in names[len(positional) :] if name not in defaults]
        parameters = [*positional, "_", *defaults, *(["*", *required] if required else [])]
        source = f"""
def factory(compiled, returns, mended, barrier):
    def made({", ".join(parameters)}):
        if _ is not barrier:
            raise TypeError("{function.__name__}() takes {len(positional)} positional arguments; options need a name")
        try:
            return {call}
        except Exception as fault:
            return {mend}
    return made
"""
        defined: dict[str, Any] = {}
        exec(source, defined)
        made = defined["factory"](compiled, returns, mended, barrier)
        # 3. Its code in the place of the function's, where tracebacks and documentation look for it.
        code = made.__code__.replace(
            co_name=code.co_name,
            co_qualname=code.co_qualname,
            co_filename=code.co_filename,
            co_firstlineno=code.co_firstlineno,
        )
        values = (*(function.__defaults__ or ()), barrier, *defaults.values())
        body = FunctionType(code, function.__globals__, function.__name__, values, made.__closure__)
        functools.update_wrapper(body, readable(function))
        del vars(body)["__wrapped__"]
        vars(body)["__signature__"] = inspect.signature(function)
        return cast(Function, body)

    return with_body


def readable(function: Function) -> Function:
    """Show, in help and at the prompt, what an argument that must be given is, in a word; of others the default."""
    code, defaults = function.__code__, function.__defaults__ or ()
    shown = (*code.co_varnames[: code.co_argcount - len(defaults)], "return")
    function.__annotations__ = {
        name: Expression(kind) for name, kind in function.__annotations__.items() if name in shown
    }
    return function


def readable_constructor(constructor: Function) -> Function:
    """Show, of a constructor of many parameters, as much of the signature as one can read."""
    parameters = inspect.signature(constructor).parameters.values()
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    vars(constructor)["__signature__"] = _Short(bare)
    return constructor


class _Short(inspect.Signature):
    """All parameters, for tools; in the text some behind the middle give way to ``...`` where they do not fit."""

    def __str__(self) -> str:
        text, parameters = super().__str__(), list(self.parameters.values())
        for left_out in range(2, len(parameters)):
            if len(text) <= LONGEST:
                break
            start = 2 * (len(parameters) - left_out) // 3  # what matters most comes first
            before, after = parameters[:start], parameters[start + left_out :]
            gap = inspect.Parameter("GAP", parameters[start + left_out - 1].kind)
            text = str(inspect.Signature([*before, gap, *after])).replace("GAP", "...")
        return text
