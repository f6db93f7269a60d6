"""The bodies of the losses: each calls a compiled function with the arguments of the same names.

A loss states its signature and its documentation. Written out, its body would repeat every argument in the order of the
compiled function; it is made here instead, when the module is imported. What does not fit together fails then, and a
call takes the time that it would take written out.
"""

import functools
import inspect
import textwrap
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, cast

from ._arrays import NeedsConversion, repeated

__all__ = ["calls"]

Function = TypeVar("Function", bound=Callable[..., Any])


def calls(
    compiled: Callable[..., Any],
    *,
    order: int = 0,
    returns: Callable[[Any], Any] | None = None,
    **constants: object,
) -> Callable[[Function], Function]:
    """Make the body of a function: ``return returns(compiled(...))``.

    Parameters
    ----------
    compiled : callable
        Takes the arguments of the function, matched by name, and ``order`` and ``out``.
    order : int, default 0
        Which derivatives the compiled function gives: 0 for none, 1 for the gradient, 2 for the Hessian too.
    returns : callable, optional
        Takes the results, where they are not returned as they are.
    **constants
        Arguments of `compiled` that the function lacks.
    """

    def with_body(function: Function) -> Function:
        parameters = inspect.signature(function).parameters.values()
        # 1. The call.
        given = {name: repr(value) for name, value in {"order": order, "out": None, **constants}.items()}
        given |= {parameter.name: parameter.name for parameter in parameters}
        taken = inspect.signature(compiled).parameters
        if differences := taken.keys() ^ given.keys():
            raise TypeError(f"{function.__name__} and {compiled} differ in {', '.join(sorted(differences))}")
        call = f"compiled({', '.join(given[name] for name in taken)})"
        again = f"repeated(compiled, fault, {{{', '.join(f'{name!r}: {given[name]}' for name in taken)}}})"
        # 2. A function of the same parameters that makes it, and repeats it where an argument must be converted first.
        bare = inspect.Signature([inspect.Parameter(parameter.name, parameter.kind) for parameter in parameters])
        made = _evaluated(
            f"""
            def factory(compiled, returns, repeated, NeedsConversion):
                def made{bare}:
                    try:
                        return {f"returns({call})" if returns else call}
                    except NeedsConversion as raised:
                        fault = raised
                    return {f"returns({again})" if returns else again}
                return made
            """
        )(compiled, returns, repeated, NeedsConversion)
        # 3. Its code in the place of the function's, where tracebacks and documentation look for it.
        here = function.__code__
        code = made.__code__.replace(
            co_name=here.co_name,
            co_qualname=here.co_qualname,
            co_filename=here.co_filename,
            co_firstlineno=here.co_firstlineno,
        )
        body = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, made.__closure__)
        body.__kwdefaults__ = function.__kwdefaults__
        functools.update_wrapper(body, function)
        del vars(body)["__wrapped__"]
        return cast(Function, body)

    return with_body


def _evaluated(source: str) -> Any:
    """The function that is defined in some lines, `factory`."""
    names: dict[str, Any] = {}
    exec(textwrap.dedent(source), names)
    return names["factory"]
