"""Every bad argument of every public function: the type of its error, a message that names it, and nothing written.

The table is one of parameters: what is wrong with a `temperature` is so wherever there is one. `CALLS` has every public
function with arguments that are right. Each of them is replaced by each of the values that are wrong for a parameter of
its name.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from scipy.sparse import csr_array

import xentrs as xe
from xentrs import attacks, boosting, distributed, metrics, nn, optim, stats

nan, inf = np.nan, np.inf
RNG = np.random.default_rng(0)

# --- What is called ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A public function, or what makes a method of a new object, with arguments that are right."""

    name: str
    function: Callable[..., Any]
    good: dict[str, Any]
    is_made: bool = False
    variant: str = ""
    """What the name is followed by, where a function is tried in two ways."""
    parameters: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", list(inspect.signature(self.fresh()).parameters))

    def fresh(self) -> Callable[..., Any]:
        made: Callable[..., Any] = self.function() if self.is_made else self.function
        return made

    @property
    def family(self) -> str:
        return self.name.removesuffix("_with_grad").removesuffix("_with_hess")

    @property
    def dtypes(self) -> tuple[type, ...]:
        """Of the core those that are computed with, and that are not; of all else the one of everything."""
        return (np.float32, np.float16) if hasattr(xe, self.name) else (np.float64,)

    def arguments(self, dtype: type) -> dict[str, Any]:
        """Arguments that are right, the floating ones of a dtype, and nobody else's."""
        return {name: _of(given, dtype) for name, given in self.good.items()}

    def out(self, arguments: dict[str, Any]) -> Any:
        """Places for the gradients, full of what none of them is."""
        if self.family in ("info_nce", "siglip_loss"):
            return tuple(np.full_like(arguments[name], 77) for name in ("x", "y"))
        if self.family.startswith("linear"):
            return tuple(np.full_like(arguments[name], 77) for name in ("x", "weight", "bias"))
        return np.full_like(next(iter(arguments.values())), 77)


def _of(given: Any, dtype: type) -> Any:
    if isinstance(given, tuple | list):
        return type(given)(_of(part, dtype) for part in given)
    if isinstance(given, np.ndarray):
        return given.astype(dtype) if given.dtype.kind == "f" else given.copy()
    return given


Z = RNG.normal(size=(4, 3))
P, Q = xe.softmax(Z), xe.softmax(Z[::-1].copy())
CLASSES, LABELS = np.array([0, 2, 1, 0]), RNG.integers(0, 2, (4, 3))
ROWS, COLUMNS, PLACES = RNG.uniform(0.5, 2, 4), RNG.uniform(0.5, 2, 3), RNG.uniform(0.5, 2, (4, 3))
OF_ROWS = {"target": CLASSES, "class_weight": COLUMNS, "sample_weight": ROWS}
OF_POINTS = {"target": LABELS, "pos_weight": COLUMNS, "sample_weight": ROWS}
PAIR = {"mean_p": Z, "var_p": PLACES, "mean_q": Z[::-1].copy(), "var_q": PLACES + 1}
LAYER = {"x": Z, "weight": np.eye(3), "bias": COLUMNS}
TOKEN = {"token": CLASSES, "log_prior": -COLUMNS}
LOG = {"var_p": "log_var_p", "var_q": "log_var_q"}

GOOD: list[tuple[str, dict[str, Any], str]] = [
    ("softmax_cross_entropy", {"logits": Z, **OF_ROWS, "log_prior": -COLUMNS}, ""),
    ("softmax_focal_loss", {"logits": Z, **OF_ROWS, "log_prior": -COLUMNS}, ""),
    ("softmax_cross_entropy", {"logits": np.asfortranarray(Z), **OF_ROWS, "log_prior": -COLUMNS}, "of columns"),
    ("sigmoid_cross_entropy", {"logits": Z, **OF_POINTS}, ""),
    ("sigmoid_cross_entropy", {"logits": Z, **OF_POINTS, "pos_weight": PLACES}, "weighed by place"),
    ("sigmoid_focal_loss", {"logits": Z, **OF_POINTS}, ""),
    ("hinge_loss", {"scores": Z, "target": LABELS, "sample_weight": ROWS}, ""),
    ("binary_cross_entropy", {"p": P, **OF_POINTS}, ""),
    ("categorical_cross_entropy", {"p": P, **OF_ROWS}, ""),
    ("gaussian_nll", {"mean": Z, "target": Z[::-1].copy(), "var": PLACES, "sample_weight": ROWS}, ""),
    ("gaussian_nll", {"mean": Z, "target": Z[::-1].copy(), "log_var": PLACES, "sample_weight": ROWS}, "of log_var"),
    ("linear_cross_entropy", {**LAYER, **OF_ROWS, "log_prior": -COLUMNS}, ""),
    ("linear_cross_entropy", {**LAYER, **OF_POINTS, "sample_weight": PLACES, "kind": "sigmoid"}, "of labels"),
    ("token_logprobs", {"logits": Z, **TOKEN}, ""),
    ("linear_token_logprobs", {**LAYER, **TOKEN}, ""),
    ("topk_kl_divergence", {"logits": Z, "target": (CLASSES[:, None], P[:, :1]), "sample_weight": ROWS}, ""),
    ("info_nce", {"x": Z, "y": Z[::-1].copy(), "temperature": 0.5}, ""),
    ("siglip_loss", {"x": Z, "y": Z[::-1].copy(), "temperature": 0.5}, ""),
    ("entropy", {"p": P}, ""),
    ("perplexity", {"p": P}, ""),
    ("cross_entropy", {"p": P, "q": Q}, ""),
    ("kl_divergence", {"p": P, "q": Q, "sample_weight": ROWS}, ""),
    ("js_divergence", {"p": P, "q": Q, "sample_weight": ROWS}, ""),
    ("gaussian_entropy", {"var": PLACES}, ""),
    ("gaussian_entropy", {"log_var": PLACES}, "of log_var"),
    *((name, PAIR, "") for name in ("gaussian_cross_entropy", "gaussian_kl_divergence")),
    ("gaussian_kl_divergence", {LOG.get(name, name): given for name, given in PAIR.items()}, "of log_var"),
    ("js_smoothness", {"logits": Z, "segments": CLASSES}, ""),
    ("parity_penalty", {"logits": Z[:, 0].copy(), "group": CLASSES, "target": LABELS[:, 0].copy()}, ""),
    *((name, {"x": Z}, "") for name in "logsumexp softmax log_softmax sigmoid log_sigmoid softplus".split()),
    ("softmax_stats", {"logits": Z, "target": CLASSES, "sample_weight": ROWS}, ""),
    ("expected_calibration_error", {"logits": Z, "target": CLASSES, "sample_weight": ROWS}, ""),
    ("evaluate", {"logits": Z, "labels": CLASSES, "sample_weight": ROWS, "verbose": False}, ""),
    ("set_num_threads", {"n": 2}, ""),
    ("threads", {"n": 2}, ""),
    ("value_and_grad", {"loss": xe.hinge_loss}, ""),
]


class Slope:
    """A model that can be attacked."""

    def input_gradient(self, X: Any, y: Any) -> Any:
        return np.ones_like(X)


BATCH = {"logits": Z, "target": CLASSES, "sample_weight": ROWS}
ATTACK = {"model": Slope(), "X": Z, "y": CLASSES, "eps": 1.0, "clip": (Z - 1, Z + 1)}
CALLS = [
    *(
        Call(name, getattr(xe, name), good, variant=variant)
        for family, good, variant in GOOD
        for name in (family, f"{family}_with_grad", f"{family}_with_hess")
        if hasattr(xe, name)
    ),
    Call("Evaluation", xe.Evaluation, {}),
    Call("Evaluation.update", lambda: xe.Evaluation().update, BATCH, True),
    Call("Evaluation.merge", lambda: xe.Evaluation().merge, {"other": xe.Evaluation()}, True),
    Call("Evaluation.from_json", xe.Evaluation.from_json, {"text": xe.Evaluation().to_json()}),
    Call("LossAccumulator.update", lambda: xe.LossAccumulator().update, BATCH, True),
    Call("LossAccumulator.merge", lambda: xe.LossAccumulator().merge, {"other": xe.LossAccumulator()}, True),
    Call("attacks.fgsm", attacks.fgsm, ATTACK),
    Call("attacks.pgd", attacks.pgd, ATTACK),
    Call("stats.cross_entropy_test", stats.cross_entropy_test, {"loss_a": ROWS, "loss_b": ROWS[::-1].copy()}),
    Call("optim.SGD", optim.SGD, {"params": [np.eye(3)], "momentum": 0.5}),
    Call("optim.SGD.step", lambda: optim.SGD([np.eye(3)]).step, {"grads": [np.eye(3)]}, True),
    Call(
        "optim.SGD.linear_epoch",
        lambda: optim.SGD([np.eye(3)]).linear_epoch,
        {"x": Z, **OF_ROWS, "log_prior": -COLUMNS, "batch_size": 2},
        True,
    ),
    Call("optim.Adam", optim.Adam, {"params": [np.eye(3)]}),
    Call("optim.Adam.step", lambda: optim.Adam([np.eye(3)]).step, {"grads": [np.eye(3)]}, True),
    Call("optim.constant", optim.constant, {}),
    Call("optim.cosine", optim.cosine, {"n_steps": 3}),
    Call("optim.inverse_scaling", optim.inverse_scaling, {}),
    Call("optim.lipschitz", optim.lipschitz, {"smoothness": 1.0}),
    Call("nn.Dense", nn.Dense, {"n_in": 3, "n_out": 2}),
    Call("nn.Dense.of", nn.Dense.of, {"weight": np.eye(3), "bias": COLUMNS}),
    Call("nn.Dense.forward", lambda: nn.Dense(3, 2).forward, {"x": Z}, True),
    Call("boosting.Sigmoid", boosting.Sigmoid, {}),
    Call("boosting.Focal", boosting.Focal, {}),
    Call("boosting.Softmax", boosting.Softmax, {"class_weight": COLUMNS}),
    Call("boosting.SoftmaxFocal", boosting.SoftmaxFocal, {"class_weight": COLUMNS}),
    Call("metrics.get_scorer", metrics.get_scorer, {"scoring": "neg_calibration_error"}),
    Call("distributed.evaluate", distributed.evaluate, {"parts": [(Z, CLASSES)]}),
]


# --- What is wrong ----------------------------------------------------------------------------------------------------


class Bad(NamedTuple):
    """A value that is wrong, its error, and what the message says behind the name of the argument.

    A `^` in front: the whole message, as the argument is not its first word. `beside` are other arguments of the call.
    """

    value: Any
    error: Any
    message: str
    beside: dict[str, Any] = {}  # noqa: RUF012  # never changed


class Made(NamedTuple):
    """A value that is made of the right one."""

    of: Callable[[Any], Any]


def masked(array: Any) -> Any:
    return np.ma.MaskedArray(array, np.ones(np.shape(array), bool), fill_value=0)


def one_more(array: Any) -> Any:
    return np.concatenate([array, array[:1]])


def all_but(value: float) -> Made:
    """The right array but for its last element."""

    def changed(array: Any) -> Any:
        array = np.array(array)
        array.flat[-1] = value
        return array

    return Made(changed)


Object = type("Object", (), {})
NO_NUMBERS = ["0.5", b"1", [0.5, 0.5], np.array([0.5, 0.5]), 1j, None, Object(), {}]
HUGE = 10**400


def number(says: str, *outside: float, **beside: Any) -> list[Bad]:
    """What is wrong with a number that `says` what it must be."""
    return [
        *(Bad(value, TypeError, "be a number, got ", beside) for value in NO_NUMBERS),
        *(Bad(value, ValueError, "be within the range of float64, got -?1000", beside) for value in (HUGE, -HUGE)),
        *(Bad(value, ValueError, f"be ({says}), got -?(?i:{value}|{value:g})$", beside) for value in (nan, *outside)),
    ]


FRACTION = number(r"in \[0, 1\]", -0.1, 1.5, inf)
POSITIVE = number("positive and finite", 0.0, -1.0, inf)
NON_NEGATIVE = number("finite and non-negative|in .0, inf.", -1.0, inf)
INTEGER = [
    *(
        Bad(value, TypeError, "be an integer, got ")
        for value in (1.5, nan, "1", b"1", [1], np.array([1, 2]), 1j, None, Object())
    ),
    *(Bad(value, ValueError, "be an integer of at most 64 bits, got -?118") for value in (2**70, -(2**70))),
]
AXIS = [
    *INTEGER,
    *(
        Bad(
            axis,
            (np.exceptions.AxisError, ValueError),
            rf"^(logits must have an )?axis {axis}( is out of bounds|, got)",
        )
        for axis in (2, -3, 2**62)
    ),
]
COUNT = [*INTEGER, Bad(0, ValueError, "be at least 1, got 0"), Bad(-1, ValueError, "be at least 1, got -1")]
BOOLEAN = [
    Bad(value, TypeError, "be True or False, got ")
    for value in ("yes", 1, 0.0, nan, [], np.array([True, False]), None, Object())
]


def words(says: str) -> list[Bad]:
    """What is wrong with a word that `says` what it must be."""
    wrong = ["avg", "", "MEAN", None, 1, nan, b"mean", ["mean"], Object(), np.array(["mean", "sum"])]
    return [Bad(value, ValueError, f"be {says}, got ") for value in wrong]


RAGGED = Bad([[1.0, 2.0], [1.0]], ValueError, "be an array, got a list of uneven lengths")
MASKED = Bad(Made(masked), ValueError, r"not be masked, got (\d+) of (\d+) elements masked; write")
MISSING = Bad(None, TypeError, "(be|have) .*, got NoneType")
NO_FLOATS: list[tuple[Any, str]] = [
    ("text", "<U4"),
    ([["a", "b", "c"]] * 4, "<U1"),
    (b"12", r"\|S2"),
    (np.zeros((4, 3), complex), "complex128"),
    (np.full((4, 3), None), "object, with None at row 0"),
    (np.zeros((4, 3), "datetime64[s]"), "datetime64"),
    (np.zeros((4, 3), "V2"), r"\|V2"),
    (np.zeros((4, 3), [("a", float)]), r"\[\('a', '<f8'\)\]"),
    (np.zeros((4, 3), ml_dtypes.float8_e4m3fn), "float8_e4m3fn"),
    (csr_array(np.eye(3)), "csr_array"),
    ({1: 2}, "dict"),
    (Object(), "Object"),
]


def numbers(says: str, *, named: bool = True) -> list[Bad]:
    """What is wrong with arrays of numbers, but for their values and shapes."""
    wrong = [Bad(value, TypeError, f"{says}, got {what if named else '.*'}") for value, what in NO_FLOATS]
    return [*wrong, MISSING, RAGGED, MASKED]


LONG = Bad(np.zeros((4, 3), np.longdouble), TypeError, f"be floating .*, got {np.dtype(np.longdouble)}")
SCALAR = Bad(
    1.0, ValueError, "have at least one dimension, got a scalar|be of one dimension .*, got 0|be of at least two"
)
DATA = [*numbers(r"be floating \(float16, bfloat16, float32 or float64\)"), LONG]
ROW_DATA = [*DATA, SCALAR]
SHAPE = Bad(Made(one_more), ValueError, r"have shape .*, got \(.*\)")


WEIGHTS_OUT_OF_RANGE = [
    Bad(all_but(value), ValueError, rf"be finite and non-negative, got {said}.* at (index|row) \d+")
    for value, said in ((-0.5, "-0.5"), (nan, "(?i:nan)"), (inf, "inf"))
]


def weights(*, shaped: bool = True, named: bool = True) -> list[Bad]:
    return [*numbers("be (floating|numbers)", named=named), *WEIGHTS_OUT_OF_RANGE, *([SHAPE] if shaped else [])]


def probabilities(name: str) -> list[Bad]:
    return [
        Bad(all_but(-0.5), ValueError, r"be (non-negative|in \[0, 1\]), got -0.5 at (row 3|index 11)"),
        Bad(all_but(1.5), ValueError, r"(sum to 1|be in \[0, 1\]), got .* at (row 3|index 11)"),
        Bad(all_but(inf), ValueError, r"(sum to 1|be in \[0, 1\]), got inf at (row 3|index 11)"),
    ]


def integers_in(what: str) -> str:
    return rf"be integers in \[0, 3\){what}, got "


IGNORED = r"( or ignore_index=-100)?"
ONLY_CLASSES = [
    Bad([0, 1, 2, 3], IndexError, integers_in(IGNORED) + "3 at row 3"),
    Bad([0, 2**62, 0, 0], IndexError, integers_in(IGNORED) + "4611686018427387904 at row 1"),
    Bad([0, 2**64 - 1, 0, 0], IndexError, "be .*, got 18446744073709551615 at row 1"),
    Bad([0, 1, -1, 3], IndexError, integers_in(IGNORED) + "-1 at row 2"),
    Bad([-100, 1, 2, 0], IndexError, integers_in(" or ignore_index=1") + "-100 at row 0", {"ignore_index": 1}),
    Bad([0, 1, 2, -100], IndexError, integers_in("") + "-100 at row 3", {"ignore_index": None}),
    Bad([0, 1], ValueError, r"have shape \(4,\).*, got \(2,\)"),
    Bad([[0], [1], [2], [0]], ValueError, r"have shape \(4,\).*, got \(4, 1\)"),
    Bad(np.zeros((4, 3), int), ValueError, r"have shape \(4,\).*, got \(4, 3\)"),
    Bad(1, ValueError, r"have shape \(4,\).*, got \(\)"),
    *(
        Bad(value, (TypeError, ValueError), f"(be .*, got .*{what}|have shape .*, got)")
        for value, what in [
            ([True, False, True, False], "bool"),
            (["a", "b", "c", "d"], "<U1"),
            (np.array([0, 1, None, 2], object), "object, with None at row 2"),
            (np.zeros(4, complex), "complex128"),
            (np.zeros(4, "datetime64[s]"), "datetime64"),
            (csr_array(np.eye(3)), "csr_array"),
            (None, "NoneType"),
        ]
    ),
    RAGGED,
    MASKED,
]
WEIGHTLESS = Bad(
    [0, 1, 9, 0], IndexError, integers_in(IGNORED) + "9 at row 2", {"sample_weight": np.array([1, 1, 0, 1.0])}
)
DISTRIBUTIONS = [
    WEIGHTLESS,
    Bad(np.zeros((4, 2)), ValueError, r"have shape \(4, 3\), got \(4, 2\)"),
    Bad(np.zeros(3), ValueError, r"have shape \(4, 3\), got \(3,\)"),
    Bad((CLASSES[:, None], np.ones((4, 2))), ValueError, r"^target classes must have shape \(4, 2\), got \(4, 1\)"),
]
NO_DISTRIBUTIONS = [Bad(P, (TypeError, ValueError), r"(be integers \(classes\), got|have shape)")]
CLASS_TARGET = [*ONLY_CLASSES, *DISTRIBUTIONS]
LABEL_TARGET = [
    *(
        Bad(value, TypeError, f"be boolean, integer or floating, got {what}")
        for value, what in NO_FLOATS
        if "float8" not in what
    ),
    Bad([[0, 0.5, 1]] * 3 + [[0, 1.5, 0]], ValueError, "be .*, got (0.5 at index 1|1.5 at index 10)"),
    Bad([[0, -0.5, 1]] * 4, ValueError, "be .*, got -0.5 at index 1"),
    Bad([[0, 1, 2]] * 4, ValueError, "be .*, got 2 at index 2"),
    Bad([[0, 1, -2]] * 4, ValueError, "be .*, got -2 at index 2"),
    Bad([[inf, 0.0, 0.0]] * 4, ValueError, "be .*, got inf at index 0"),
    Bad([0, 1, 0, 1], ValueError, r"have shape \(4, 3\), got \(4,\)"),
    Bad(1, ValueError, r"have shape \(4, 3\), got \(\)"),
    Bad(
        [[0.5, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0] * 3, [0.0] * 3],
        ValueError,
        "be .*, got (2.0 at index 3|0.5 at index 0)",
        {"sample_weight": np.array([[1.0], [0.0], [1.0], [1.0]])},
    ),
    MISSING,
    RAGGED,
    MASKED,
]
NOT_IGNORED = [
    Bad([[0, -100, -1]] * 4, ValueError, r"be in \[0, 1\] or ignore_index, got -1 at index 2", {"ignore_index": -100}),
    Bad(
        [[0.5, -100.0, -1.0]] * 4,
        ValueError,
        r"be in \[0, 1\] or ignore_index, got -1.0 at index 2",
        {"ignore_index": -100},
    ),
]
VARIANCE = [
    *numbers("be floating.*"),
    Bad(all_but(0.0), ValueError, r"be positive, got 0.0 at index 11"),
    Bad(all_but(-1.0), ValueError, r"be positive, got -1.0 at index 11"),
]
LEFT_OUT = Bad(None, (ValueError, TypeError), "^.*must be given")
NO_SHAPE = Bad(Made(one_more), ValueError, r"^.*must (have shape|broadcast)")
UPSTREAM = [
    *(Bad(value, TypeError, f"be a number, or floating, got {what}") for value, what in NO_FLOATS),
    Bad(np.ones(5), ValueError, r"be a number.*, got shape \(5,\)"),
    Bad(masked(np.ones(1)), ValueError, "not be masked, got 1 of 1 elements masked"),
    RAGGED,
]
MODEL = [Bad(value, TypeError, "^other must be .*, got ") for value in (None, 1, "text", Z)]


def full(array: Any, dtype: Any = None) -> Any:
    return np.full_like(array, 77, dtype=dtype)


def locked(array: Any) -> Any:
    place = full(array)
    place.flags.writeable = False
    return place


def places(of: str) -> list[Bad]:
    """What is wrong with a place for a gradient."""
    dtypes = (np.int64, bool, complex, np.longdouble, ">i4")
    return [
        *(
            Bad(value, TypeError, "be a NumPy array, got ")
            for value in ([1.0], "text", 1.0, Object(), memoryview(b"1"))
        ),
        Bad(Made(one_more), ValueError, r"have shape .*, got \("),
        Bad(Made(lambda data: np.zeros((), data.dtype)), ValueError, r"have shape .*, got \(\)"),
        Bad(Made(lambda data: np.zeros((*np.shape(data), 1), data.dtype)), ValueError, r"have shape .*, got \("),
        *(
            Bad(Made(partial(full, dtype=dtype)), TypeError, f"have the dtype of {of}, .*, got {np.dtype(dtype)}")
            for dtype in dtypes
        ),
        Bad(Made(locked), ValueError, "be writeable, got a read-only array"),
        Bad(Made(lambda data: np.broadcast_to(full(data[0]), data.shape)), ValueError, "be writeable"),
        Bad(Made(lambda data: data[::-1]), ValueError, "not overlap an input"),
    ]


def in_tuple(bad: Bad, before: int, after: int) -> Bad:
    """The same in one place of several."""
    made = bad.value.of if isinstance(bad.value, Made) else lambda data: bad.value
    return Bad(
        Made(lambda data: (*[None] * before, made(data), *[None] * after)),
        bad.error,
        bad.message and rf"^out\[{before}\] must {bad.message}",
    )


def tuples(names: str, after: int) -> list[Bad]:
    """What is wrong with places for several gradients."""
    return [
        *(
            Bad(value, TypeError, rf"be a tuple \({names}\), got ")
            for value in (np.zeros((4, 3)), 1.0, "text", (), (None,) * 7)
        ),
        *(in_tuple(bad, 0, after) for bad in places("x")),
    ]


WRT = [
    Bad(value, ValueError, 'be some of "x", "weight" and "bias", got ')
    for value in ("y", "", 1, ["x", "y"], Z, [None], None, Object())
]
PATHS = [Bad(value, TypeError, "be a path, got ") for value in (1, 1.5, b"1", [1], Z, Object())]
DTYPE = [
    *(Bad(value, TypeError, "be .*, got ") for value in ("text", 1, nan, [1], Z, Object())),
    *(Bad(value, TypeError, "be float32 or float64, got ") for value in (np.float16, int, complex)),
]

TABLE: dict[str, list[Bad]] = {
    # data
    "logits": ROW_DATA,
    "scores": DATA,
    "p": ROW_DATA,
    "q": [*ROW_DATA[:-1], Bad(Made(one_more), ValueError, r"have shape \(4, 3\), got \(5, 3\)")],
    "x": ROW_DATA,
    "y": [*numbers("have the dtype of x, .*"), Bad(Made(one_more), ValueError, r"have shape \(4, 3\), got \(5, 3\)")],
    "mean": DATA,
    "mean_p": DATA,
    "mean_q": [*(bad for bad in DATA if bad is not MISSING), LEFT_OUT, NO_SHAPE],
    "var": [*(bad for bad in VARIANCE if bad is not MISSING), LEFT_OUT],
    "var_p": [*(bad for bad in VARIANCE if bad is not MISSING), LEFT_OUT, NO_SHAPE],
    "var_q": [*(bad for bad in VARIANCE if bad is not MISSING), LEFT_OUT, NO_SHAPE],
    "log_var": [*(bad for bad in numbers("be floating.*") if bad is not MISSING), LEFT_OUT],
    "log_var_p": [*(bad for bad in numbers("be floating.*") if bad is not MISSING), LEFT_OUT, NO_SHAPE],
    "log_var_q": [*(bad for bad in numbers("be floating.*") if bad is not MISSING), LEFT_OUT, NO_SHAPE],
    "weight": [
        *numbers("have the dtype of x, .*"),
        Bad(
            Made(lambda weight: weight[0]), ValueError, r"be of shape \(c, d\), a row of features a class, got shape \("
        ),
        Bad(Made(lambda weight: weight[:, :2]), ValueError, r"have shape \(3, 3\), got \(3, 2\)"),
    ],
    "bias": [*numbers("have the dtype of x, .*"), SHAPE],
    "target": CLASS_TARGET,
    "token": [*ONLY_CLASSES, *NO_DISTRIBUTIONS],
    "labels": [
        Bad([0, 1, 2, 3], IndexError, r"^target must be integers in \[0, 3\) .*, got 3 at row 3 of labels"),
        Bad([0, 1], ValueError, "have a label for each of the 4 rows of logits .*, got 2"),
        Bad([0.0, 1.0, 2.0, 0.0], ValueError, "hold integers, .*, got float64"),
        RAGGED,
        MASKED,
    ],
    "group": [
        Bad(Made(one_more), ValueError, r"have shape \(4,\), got \(5,\)"),
        Bad(np.array([{}, {}, {}, {}], object), TypeError, "be labels, got what is none: unhashable type: 'dict'"),
        RAGGED,
        MASKED,
    ],
    "segments": [
        *(Bad(value, TypeError, "be integers, got ") for value in (np.zeros(4), ["a"] * 4, np.zeros(4, complex))),
        Bad(Made(one_more), ValueError, r"have shape \(4,\), got \(5,\)"),
        RAGGED,
        MASKED,
    ],
    # weights
    "class_weight": weights(),
    "pos_weight": weights(),
    "sample_weight": weights(),
    "log_prior": [
        *numbers("be floating"),
        SHAPE,
        Bad(all_but(nan), ValueError, "be finite or -inf, got (?i:nan) at index 2"),
        Bad(all_but(inf), ValueError, "be finite or -inf, got inf at index 2"),
    ],
    # options
    "ignore_index": INTEGER,
    "axis": AXIS,
    "label_smoothing": FRACTION,
    "temperature": POSITIVE,
    "softcap": POSITIVE,
    "z_loss": NON_NEGATIVE,
    "gamma": number(r"in \[0, 1e9\]|finite and non-negative|in \[0, inf\)", -1.0, inf),
    "gamma_neg": number(r"in \[0, 1e9\]", -1.0, inf),
    "clip": FRACTION,
    "alpha": FRACTION,
    "eps": number(r"in \[0, 0.5[\])]", -0.1, 0.75, inf),
    "base": number("above 1 and finite", 1.0, 0.5, -2.0, inf),
    "squared": BOOLEAN,
    "full": BOOLEAN,
    "symmetric": BOOLEAN,
    "normalize": [
        *BOOLEAN,
        Bad(True, ValueError, "be False where from_logits is True.*, got True", {"from_logits": True}),
    ],
    "from_logits": BOOLEAN,
    "keepdims": BOOLEAN,
    "reduction": words('"mean", "sum" or "none"'),
    "kind": words('"softmax" or "sigmoid"'),
    "link": words('"sigmoid" or "identity"'),
    "curvature": words('.*"exact", "convex" or "gradient"'),
    "n_bins": COUNT,
    "top_k": [
        *(bad for bad in COUNT if not isinstance(bad.value, list | bytes | np.ndarray)),
        Bad([0], ValueError, "be at least 1, got 0"),
    ],
    "per_class": BOOLEAN,
    "n": [*COUNT, Bad(4097, ValueError, "be at most 4096, got 4097")],
    # gradients
    "grad_output": UPSTREAM,
    "grad_logprob": UPSTREAM,
    "grad_entropy": UPSTREAM,
    "out": places("the logits"),
    "hess_out": places("the gradient"),
    "hess_scale": POSITIVE,
    "hess_floor": NON_NEGATIVE,
    "wrt": WRT,
    "loss": [Bad(value, TypeError, "be one of .*, got ") for value in (None, "hinge_loss", xe.softmax, 1.0)],
    "other": MODEL,
    "text": [
        *(Bad(value, TypeError, "be a str, got ") for value in (None, 1, {}, Z)),
        *(Bad(value, ValueError, "^expected the JSON ") for value in ("", "{}", "[]", "nan")),
    ],
    # files
    "dtype": words('"bfloat16", "float16", "float32" or "float64"'),
    "rows": [
        *(Bad(value, TypeError, r"be a tuple \(start, stop\), got ") for value in ("text", 1, (1, 2, 3), Z, Object())),
        Bad((0.5, 2), TypeError, "be an integer, got 0.5"),
        Bad((0, 5), ValueError, "be within 0:4, got 0:5"),
    ],
    "n_bytes": [*INTEGER, Bad(-1, ValueError, "be at least 0, got -1")],
    "checkpoint": PATHS,
    "logits_key": [Bad(value, TypeError, "be a str, got ") for value in (None, 1, b"1", ["a"])],
    "label_key": [Bad(value, TypeError, "be a str, got ") for value in (None, 1, b"1", ["a"])],
    "verbose": BOOLEAN,
    # optimisers, layers, attacks, statistics
    "model": [Bad(value, TypeError, r"have a method input_gradient\(X, y\), got ") for value in (None, 1, np.exp)],
    "X": [
        *(bad for bad in numbers("be floating", named=False)),
        Bad(all_but(nan), ValueError, r"be finite, got nan at index \(3, 2\)"),
        Bad(1.0, ValueError, r"have shape \(n_samples, n_features\), got \(\)"),
    ],
    "norm": words('"linf" or "l2"'),
    "step_size": NON_NEGATIVE,
    "n_iter": COUNT,
    "random_start": BOOLEAN,
    "loss_a": [*numbers("be floating", named=False), Bad([1.0], ValueError, "hold at least two observations, got 1")],
    "loss_b": [
        *numbers("be floating", named=False),
        Bad(ROWS[:3], ValueError, "^loss_a and loss_b must have the same shape"),
    ],
    "paired": BOOLEAN,
    "alternative": words('"two-sided", "less" or "greater"'),
    "n_resamples": COUNT,
    "confidence_level": number(r"in \(0, 1\)", -0.1, 0.0, 1.0, inf),
    "params": [
        *(Bad(value, TypeError, "be a sequence of arrays, got ") for value in (None, 1.0)),
        *(
            Bad([value], TypeError, r"^params\[0\] must be a writable floating array, got ")
            for value in (1.0, np.zeros(3, int), np.zeros(3, complex), [1.0], locked(np.zeros(3)))
        ),
    ],
    "grads": [
        *(Bad(value, TypeError, "be a sequence of arrays, got ") for value in (None, 1.0)),
        Bad([], ValueError, "hold 1 arrays, got 0"),
        Bad([np.zeros((2, 3))], ValueError, r"^grads\[0\] must have shape \(3, 3\), got \(2, 3\)"),
        Bad([np.zeros((3, 3), np.float32)], TypeError, r"^grads\[0\] must have dtype float64, got float32"),
    ],
    "learning_rate": NON_NEGATIVE,
    "momentum": number(r"in \[0, 1\)", -0.1, 1.0, inf),
    "beta1": number(r"in \[0, 1\)", -0.1, 1.0, inf),
    "beta2": number(r"in \[0, 1\)", -0.1, 1.0, inf),
    "nesterov": BOOLEAN,
    "weight_decay": [
        *(bad for bad in NON_NEGATIVE if not isinstance(bad.value, str | bytes | list | np.ndarray)),
    ],
    "batch_size": COUNT,
    "schedule": [Bad(value, TypeError, "be callable, got ") for value in (1.0, "constant", Object())],
    "n_steps": COUNT,
    "final": NON_NEGATIVE,
    "power": NON_NEGATIVE,
    "smoothness": [*NON_NEGATIVE, Bad(0.0, ValueError, "be positive, and its inverse finite, got 0.0")],
    "n_in": COUNT,
    "n_out": COUNT,
    "init": words('"glorot" or "he"'),
    "scoring": words('.* or ".*"'),
    "parts": [
        Bad(value, (TypeError, ValueError), "^parts? ?(0: .*)?must (be|hold) ") for value in (None, 1.0, [], Z[0])
    ],
    "map": [Bad(value, TypeError, r"be callable as map\(function, items\), got ") for value in (None, 1.0, "map")],
    "same_bits": BOOLEAN,
}
LEFT_ALONE = "be left alone, as an option of the other kind, got it"
ONLY_LABELS = [*ONLY_CLASSES, *NO_DISTRIBUTIONS]
OF_FAMILY: dict[str, list[Bad]] = {
    "js_smoothness.logits": [
        *ROW_DATA,
        Bad([1.0, 2.0], ValueError, r"be of at least two dimensions \(length, c\), got one"),
    ],
    "parity_penalty.logits": [*ROW_DATA, Bad(Z, ValueError, r"be of one dimension \(n,\), got 2")],
    "sigmoid_cross_entropy.logits": DATA,
    "sigmoid_focal_loss.logits": DATA,
    **{f"{name}.x": DATA for name in ("sigmoid", "log_sigmoid", "softplus")},
    "sigmoid_cross_entropy.target": [*LABEL_TARGET, *NOT_IGNORED],
    "sigmoid_focal_loss.target": [*LABEL_TARGET, *NOT_IGNORED],
    "hinge_loss.target": LABEL_TARGET,
    "binary_cross_entropy.target": LABEL_TARGET,
    "gaussian_nll.target": [*numbers("be floating"), SHAPE],
    "gaussian_nll.var": [*(bad for bad in VARIANCE if bad is not MISSING), LEFT_OUT, NO_SHAPE],
    "gaussian_nll.log_var": [*(bad for bad in numbers("be floating") if bad is not MISSING), LEFT_OUT, NO_SHAPE],
    "parity_penalty.target": [
        *(
            Bad(value, TypeError, "be boolean, integer or floating, got ")
            for value in (["a"] * 4, np.zeros(4, complex))
        ),
        Bad([0, 0.5, 1, 1], ValueError, "be 0 or 1, got 0.5 at index 1"),
        Bad([0, 1, 1, nan], ValueError, "be 0 or 1, got nan at index 3"),
        SHAPE,
        RAGGED,
        MASKED,
    ],
    "topk_kl_divergence.target": [
        *(Bad(value, TypeError, r"be a tuple \(classes, probabilities\) .*, got ") for value in (P, CLASSES)),
        Bad((CLASSES[:, None] + 3, P[:, :1]), IndexError, integers_in(IGNORED) + "3 at row 0"),
        Bad((CLASSES[:, None], -P[:, :1]), ValueError, "^target weights must be finite and non-negative, got -"),
        Bad((CLASSES[:, None], P[:, :1] + 1), ValueError, "sum to at most 1, got 1"),
        Bad((CLASSES[:, None], P[:, :2]), ValueError, "^target classes must have shape"),
        Bad((CLASSES[:, None], ["a", "b"]), ValueError, "be an array, got a tuple of uneven lengths"),
    ],
    **{
        f"{name}.target": ONLY_LABELS
        for name in ("softmax_stats", "expected_calibration_error", "Evaluation.update", "LossAccumulator.update")
    },
    "linear_cross_entropy of labels.target": LABEL_TARGET,
    **{
        f"linear_cross_entropy of labels.{name}": [Bad(value, ValueError, f"{LEFT_ALONE} with kind=.sigmoid")]
        for name, value in [
            ("class_weight", COLUMNS),
            ("temperature", 0.5),
            ("softcap", 30.0),
            ("log_prior", -COLUMNS),
            ("z_loss", 0.1),
        ]
    },
    "linear_cross_entropy.pos_weight": [Bad(COLUMNS, ValueError, f"{LEFT_ALONE} with kind=.softmax")],
    "optim.SGD.linear_epoch.pos_weight": [Bad(COLUMNS, ValueError, f"{LEFT_ALONE} with kind=.softmax")],
    "optim.SGD.linear_epoch.x": [
        *numbers("be floating"),
        Bad(1.0, ValueError, r"have shape \(n_samples, n_features\), got \(\)"),
        Bad(np.zeros((4, 2)), ValueError, r"have shape \(n, 3\), got \(4, 2\)"),
    ],
    "optim.SGD.linear_epoch.sample_weight": weights(named=False),
    **{
        f"nn.Dense.{name}": [
            *(Bad(value, TypeError, "be an array of float.*, got ") for value in (None, 1.0, [1.0], "text", {})),
            *(
                Bad(value, TypeError, f"be an array of float.*, got {value.dtype}")
                for value in (np.zeros((4, 3), int), np.zeros((4, 3), complex), np.zeros((4, 3), np.float16))
            ),
            Bad(np.zeros((2, 2, 2)), ValueError, "have (shape|two dimensions).*, got "),
            MASKED,
        ]
        for name in ("of.weight", "of.bias", "forward.x")
    },
    **{
        f"boosting.{name}.target": [
            *(Bad(value, ValueError, "be floats of shape .n, c., .*, got ") for value in (CLASSES, ["a"], P[0], {})),
            RAGGED,
            Bad(P[:, :2], ValueError, r"^class_weight must have shape \(2,\), got \(3,\)"),
        ]
        for name in ("Softmax", "SoftmaxFocal")
    },
    **{
        f"boosting.{name}.class_weight": [bad for bad in weights(shaped=False) if bad is not MASKED]
        for name in ("Softmax", "SoftmaxFocal")
    },
    **{f"boosting.{name}.pos_weight": NON_NEGATIVE for name in ("Sigmoid", "Focal")},
    "linear_cross_entropy of labels.pos_weight": weights(),
    "sigmoid_cross_entropy weighed by place.pos_weight": [
        *(bad for bad in weights() if not bad.message.startswith("have")),
        Bad(np.ones((2, 3)), ValueError, r"have shape \(3,\), got \(2, 3\)"),
    ],
    "binary_cross_entropy.p": [*DATA, *probabilities("p")],
    "kl_divergence.temperature": number("positive and finite", 0.0, -1.0, inf, from_logits=True),
    "js_divergence.temperature": number("positive and finite", 0.0, -1.0, inf, from_logits=True),
    "info_nce.temperature": number(r"in \[1e-30, 1e30\]", 0.0, -1.0, inf),
    "siglip_loss.temperature": number(r"in \[1e-30, 1e30\]", 0.0, -1.0, inf),
    "siglip_loss.bias": number("finite", inf, -inf),
    "js_divergence.weight": number(r"in \[0, 1\]", -0.1, 1.1, inf),
    "info_nce.out": tuples("grad_x, grad_y", 1),
    "siglip_loss.out": tuples("grad_x, grad_y", 1),
    "linear_cross_entropy.out": tuples("grad_x, grad_weight, grad_bias", 2),
    "linear_token_logprobs.out": tuples("grad_x, grad_weight, grad_bias", 2),
    "evaluate.logits": [
        *(
            Bad(value, TypeError, f"be floating .*, got {what}")
            for value, what in ((np.array([["a", "b"]] * 4), "<U1"), (np.zeros((4, 3), complex), "complex128"))
        ),
        *(
            Bad(value, ValueError, "hold numbers, got ")
            for value in (np.zeros((4, 3), "V2"), np.zeros((4, 3), ml_dtypes.float8_e4m3fn))
        ),
        *(Bad(value, ValueError, r"have an axis -1, got shape \(\)") for value in (None, 1.0, {}, b"1", Object())),
        Bad("no such file", ValueError, "^no such file must be a file, got none of this name"),
        RAGGED,
        MASKED,
    ],
    "evaluate.sample_weight": [
        *(
            Bad(value, ValueError, "hold numbers, a weight for each row, got ")
            for value in (np.array(["a"] * 4), np.zeros(4, complex), np.full(4, None))
        ),
        Bad(Made(one_more), ValueError, "have a weight for each of the 4 rows of logits .*, got 5"),
        Bad("no such file", ValueError, "^no such file must be a file, got none of this name"),
        *WEIGHTS_OUT_OF_RANGE,
        RAGGED,
        MASKED,
    ],
    "Evaluation.update.sample_weight": [
        *(Bad(value, TypeError, "be floating, got ") for value in (np.zeros(4, complex), np.full(4, None), {}, "text")),
        SHAPE,
        *WEIGHTS_OUT_OF_RANGE,
        RAGGED,
        MASKED,
    ],
    "attacks.fgsm.eps": NON_NEGATIVE,
    "attacks.pgd.eps": NON_NEGATIVE,
    "optim.Adam.eps": NON_NEGATIVE,
    "nn.Dense.dtype": DTYPE,
    **{
        f"attacks.{name}.clip": [
            *(Bad(value, ValueError, r"be a pair \(least, largest\), got ") for value in (1.0, (1, 2, 3), Object())),
            Bad((Z + 1, Z + 2), ValueError, "^X must be within clip, "),
            Bad(("a", "b"), TypeError, "be floating, got <U1"),
        ]
        for name in ("fgsm", "pgd")
    },
}
SPREADS = {"var", "log_var", *LOG, *LOG.values()}
"""Of a variance and its logarithm one is given."""
UNCHECKED = {"random_state", "rng", "y"}
"""Parameters that others check: seeds (test_seeds.py), and the labels that an attack hands to its model."""


def rows_of(call: Call, name: str) -> list[Bad]:
    """What is wrong with an argument, but for None, where that is right."""
    own = [f"{call.family} {call.variant}.{name}", f"{call.family}.{name}"]
    if name in SPREADS and name not in call.good:
        return [Bad(PLACES, ValueError, "^.*var.* or log_var.* must be given, one of the two, got both")]
    rows = next((OF_FAMILY[key] for key in own if key in OF_FAMILY), TABLE.get(name, []))
    optional = name == "ignore_index" or inspect.signature(call.fresh()).parameters[name].default is None
    return [bad for bad in rows if not (optional and bad.value is None and bad is not LEFT_OUT)]


ARGUMENTS = [
    pytest.param(call, name, id=f"{call.name}{'-' + call.variant if call.variant else ''}-{name}".replace(" ", "_"))
    for call in CALLS
    for name in call.parameters
    if name not in UNCHECKED
]


# --- The tests --------------------------------------------------------------------------------------------------------


def contents(given: Any) -> Iterator[tuple[int, bytes]]:
    """The bytes of all arrays."""
    if isinstance(given, dict | tuple | list):
        for part in given.values() if isinstance(given, dict) else given:
            yield from contents(part)
    elif isinstance(given, np.ndarray) and given.dtype != object:
        yield id(given), given.tobytes()


def tried(call: Call, name: str, bad: Bad, arguments: dict[str, Any]) -> str | None:
    """What a bad argument does wrong, if it is not refused by its name, or if something was written."""
    before = list(contents(arguments))
    note = f"{call.name}({name}={bad.value!r:.80})"
    pattern = bad.message if bad.message.startswith("^") else rf"^{name}(\[\d\])? must (?:{bad.message})"
    try:
        call.fresh()(**arguments)
    except bad.error as error:
        if list(contents(arguments)) != before:
            return f"{note} has written"
        return None if re.match(pattern, str(error), re.DOTALL) else f"{note} says {error}, not {pattern}"
    except Exception as error:
        return f"{note} raises {type(error).__name__}: {error}"
    return f"{note} was accepted"


@pytest.mark.parametrize(("call", "name"), ARGUMENTS)
def test_a_bad_argument_is_refused_by_name(call: Call, name: str) -> None:
    rows = rows_of(call, name)
    assert rows, f"nothing is tried that is wrong for {name} of {call.name}"
    faults = []
    for dtype in call.dtypes:
        for bad in rows:
            arguments = call.arguments(dtype) | bad.beside
            first = next(iter(arguments.values()), None)
            value = bad.value.of(arguments.get(name, first)) if isinstance(bad.value, Made) else bad.value
            ways: list[dict[str, Any]] = [{}]
            if "out" in call.parameters and name not in ("out", "hess_out", next(iter(call.good))):
                out = call.out(arguments)
                ways += [{"out": out}, {"out": first}] if isinstance(out, np.ndarray) else [{"out": out}]
            faults += [tried(call, name, bad, arguments | way | {name: value}) for way in ways]
    found = list(dict.fromkeys(filter(None, faults)))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.name} {call.variant}".strip().replace(" ", "_"))
def test_the_arguments_that_are_replaced_are_right(call: Call) -> None:
    for dtype in call.dtypes:
        arguments = call.arguments(dtype)
        call.fresh()(**arguments)
        if "out" in call.parameters:
            call.fresh()(**arguments, out=call.out(arguments))


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.name} {call.variant}".strip().replace(" ", "_"))
def test_arguments_of_no_name_or_of_none(call: Call) -> None:
    good = call.arguments(np.float64)
    with pytest.raises(TypeError, match="unexpected keyword argument 'no_such_option'"):
        call.fresh()(**good, no_such_option=1)
    parameters = inspect.signature(call.fresh()).parameters.values()
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL:
            with pytest.raises(TypeError, match=f"missing.* '{parameter.name}'"):
                call.fresh()(**{name: given for name, given in good.items() if name != parameter.name})
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(positional) < len(parameters) and set(positional) <= good.keys():
        options = {name: given for name, given in good.items() if name not in positional}
        with pytest.raises(TypeError, match="positional argument"):
            call.fresh()(*[good[name] for name in positional], 1.0, **options)


def test_every_public_function_is_in_the_table() -> None:
    called = {call.name for call in CALLS}
    functions = {name for name in xe.__all__ if inspect.isfunction(getattr(xe, name))} - {"get_num_threads"}
    assert functions <= called
    for module in (attacks, boosting, distributed, metrics, optim, stats):
        for name in module.__all__:
            if callable(getattr(module, name)) and not name.endswith(("Result", "Display", "_names")):
                full_name = f"{module.__name__.removeprefix('xentrs.')}.{name}"
                assert full_name in {*called, "distributed.fit"}, full_name


# --- Where a fault lies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["class_weight", "sample_weight", "label_smoothing", "axis", "reduction"])
def test_errors_are_found_in_an_empty_batch_too(name: str) -> None:
    wrong = {
        "class_weight": [-1.0] * 3,
        "sample_weight": [1.0] * 2,
        "label_smoothing": 2.0,
        "axis": 5,
        "reduction": "avg",
    }
    with pytest.raises((ValueError, IndexError), match=name):
        xe.softmax_cross_entropy(np.empty((0, 3)), np.empty(0, int), **{name: wrong[name]})


def test_a_bad_class_in_a_large_batch_writes_nothing() -> None:
    """Classes are checked before the first row is computed, whatever thread would have come to the bad one."""
    logits = np.zeros((5_000, 200), np.float32)
    target = np.zeros(5_000, int)
    target[4_321] = 200
    out = np.full_like(logits, 77)
    with pytest.raises(
        IndexError, match=r"target must be integers in \[0, 200\) or ignore_index=-100, got 200 at row 4321"
    ):
        xe.softmax_cross_entropy_with_grad(logits, target, out=out)
    assert (out == 77).all()


def test_the_first_bad_class_is_named() -> None:
    with pytest.raises(IndexError, match="got 7 at row 1"):
        xe.softmax_cross_entropy(np.zeros((4, 3)), [0, 7, 8, -9])


def test_rows_are_counted_along_the_batch() -> None:
    """In more than two dimensions, and where the class axis is not the last."""
    target = np.zeros((2, 3), int)
    target[1, 2] = 9
    with pytest.raises(IndexError, match="got 9 at row 5"):
        xe.softmax_cross_entropy(np.zeros((2, 3, 4)), target)
    with pytest.raises(IndexError, match="got 9 at row 5"):
        xe.softmax_cross_entropy(np.zeros((4, 2, 3)), target, axis=0)


def test_no_class_is_right_where_there_is_none() -> None:
    with pytest.raises(IndexError, match=r"target must be integers in \[0, 0\) .*got 0 at row 0"):
        xe.softmax_cross_entropy(np.zeros((4, 0)), [0, 0, 0, 0])
    assert xe.softmax_cross_entropy(np.zeros((4, 0)), [-100] * 4) == 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16], ids=lambda dtype: dtype.__name__)
def test_a_bad_target_far_inside_a_large_batch(dtype: type) -> None:
    """Found in the pass of the loss, and named; where there is an `out`, before that is written."""
    logits, target = np.zeros(300_000, dtype), np.zeros(300_000, dtype)
    target[[234_567, 250_000]] = 2, 3
    target[-1] = nan
    message = r"target must be in \[0, 1\], got 2.0 at index 234567"
    for options in ({}, {"reduction": "none"}, {"sample_weight": np.zeros(300_000)}):
        for f in (xe.sigmoid_cross_entropy, xe.sigmoid_cross_entropy_with_grad, xe.sigmoid_cross_entropy_with_hess):
            with pytest.raises(ValueError, match=message):
                f(logits, target, **options)
    out = np.full_like(logits, 77)
    for f in (xe.sigmoid_cross_entropy_with_grad, xe.sigmoid_cross_entropy_with_hess):
        for place in (out, logits):
            with pytest.raises(ValueError, match=message):
                f(logits, target, out=place)
    assert (out == 77).all() and not logits.any()
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got 2.0 at index 234567"):
        xe.binary_cross_entropy(target, logits)
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got 2.0 at index 234567"):
        xe.binary_cross_entropy_with_grad(target, logits, out=target)
    assert np.isnan(target[-1]) and target[0] == 0
