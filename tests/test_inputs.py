"""What people pass: masked arrays, frames, weights that NumPy would repeat, integers of any width, and mistakes."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import xentrs as xe
from checks import assert_same_bits
from layouts import LAYOUTS
from xentrs import attacks, nn, optim, stats

nan = np.nan
RNG = np.random.default_rng(0)
Z = RNG.normal(size=(4, 3))
P, Q = xe.softmax(Z), xe.softmax(Z[::-1].copy())
CLASSES = np.array([0, 2, 1, 0])
LABELS = RNG.integers(0, 2, (4, 3))
ROWS, COLUMNS, PLACES = RNG.uniform(0.5, 2, 4), RNG.uniform(0.5, 2, 3), RNG.uniform(0.5, 2, (4, 3))
VAR = RNG.uniform(0.5, 2, (4, 3))

SOFTMAX = {"logits": Z, "target": CLASSES, "class_weight": COLUMNS, "sample_weight": ROWS}
SIGMOID = {"logits": Z, "target": LABELS, "pos_weight": COLUMNS, "sample_weight": ROWS}
HINGE = {"scores": Z, "target": LABELS, "sample_weight": ROWS}
BINARY = {"p": P, "target": LABELS, "pos_weight": COLUMNS, "sample_weight": ROWS}
CATEGORICAL = {"p": P, "target": CLASSES, "class_weight": COLUMNS, "sample_weight": ROWS}
GAUSSIAN = {"mean": Z, "target": Z[::-1].copy(), "var": VAR, "sample_weight": ROWS}
LINEAR = {"x": Z, "weight": PLACES, "bias": ROWS, **{name: SOFTMAX[name] for name in ("target", "sample_weight")}}
LINEAR |= {"class_weight": ROWS}
TOKEN = {"token": CLASSES, "log_prior": -COLUMNS}
PAIR = {"mean_p": Z, "var_p": VAR, "mean_q": Z[::-1].copy(), "var_q": VAR[::-1].copy()}


class Slope:
    def input_gradient(self, X: Any, y: Any) -> Any:
        return np.ones_like(X)


def epoch(x: Any, **arguments: Any) -> Any:
    weight = np.zeros((3, 3))
    optim.SGD([weight]).linear_epoch(x, batch_size=2, **arguments)
    return weight


def accumulated(**arguments: Any) -> Any:
    return tuple(xe.LossAccumulator().update(**arguments).result())


def accumulated_stats(**arguments: Any) -> Any:
    return tuple(
        xe.LossAccumulator()
        .update_stats(xe.SoftmaxStats(argmax=None, logsumexp=None, entropy=None, confidence=None, **arguments))
        .result()
    )


def of_pairs(name: str, **arguments: Any) -> Any:
    return getattr(xe, name)(temperature=0.5, **arguments)


def of_teacher(name: str, **arguments: Any) -> Any:
    return getattr(xe, name)(target=(CLASSES[:, None], P[:, :1]), **arguments)


# Of every function that reads arrays: those that it reads.
READERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "LossAccumulator.update": (accumulated, {name: SOFTMAX[name] for name in ("logits", "target", "sample_weight")}),
    "LossAccumulator.update_stats": (accumulated_stats, {"loss": ROWS, "weight": ROWS, "correct": ROWS > 1}),
    "attacks.fgsm": (lambda X: attacks.fgsm(Slope(), X, None, eps=1.0), {"X": Z}),
    "attacks.pgd": (lambda X: attacks.pgd(Slope(), X, None, eps=1.0, random_state=0), {"X": Z}),
    "optim.SGD.linear_epoch": (epoch, {"x": Z, **{name: given for name, given in SOFTMAX.items() if name != "logits"}}),
    "stats.cross_entropy_test": (
        lambda **losses: stats.cross_entropy_test(**losses, n_resamples=9, random_state=0).difference,
        {"loss_a": ROWS, "loss_b": ROWS[::-1].copy()},
    ),
    **{
        name: (functools.partial(of_teacher, name), {"logits": Z, "sample_weight": ROWS})
        for name in ("topk_kl_divergence", "topk_kl_divergence_with_grad")
    },
    **{
        name: (functools.partial(of_pairs, name), {"x": Z, "y": Z[::-1].copy()})
        for name in ("info_nce", "info_nce_with_grad", "siglip_loss", "siglip_loss_with_grad")
    },
    "gaussian_nll of log_var": (xe.gaussian_nll, {"mean": Z, "target": Z, "log_var": VAR}),
    "gaussian_kl_divergence of log_var": (
        xe.gaussian_kl_divergence,
        {"mean_p": Z, "mean_q": Z, "log_var_p": VAR, "log_var_q": VAR},
    ),
    "gaussian_entropy of log_var": (xe.gaussian_entropy, {"log_var": VAR}),
    "linear_cross_entropy of labels": (
        lambda **given: xe.linear_cross_entropy(**given, kind="sigmoid"),
        {"x": Z, "weight": np.eye(3), "target": LABELS, "pos_weight": COLUMNS, "sample_weight": PLACES},
    ),
}
READERS["evaluate"] = (
    lambda **given: xe.evaluate(**given).loss,
    {"logits": Z, "labels": CLASSES, "sample_weight": SOFTMAX["sample_weight"]},
)
FAMILIES = [
    ("softmax_cross_entropy", SOFTMAX),
    ("softmax_focal_loss", SOFTMAX),
    ("softmax_stats", {name: SOFTMAX[name] for name in ("logits", "target", "sample_weight")}),
    ("expected_calibration_error", {name: SOFTMAX[name] for name in ("logits", "target", "sample_weight")}),
    ("sigmoid_cross_entropy", SIGMOID),
    ("sigmoid_focal_loss", SIGMOID),
    ("hinge_loss", HINGE),
    ("binary_cross_entropy", BINARY),
    ("categorical_cross_entropy", CATEGORICAL),
    ("gaussian_nll", GAUSSIAN),
    ("linear_cross_entropy", LINEAR),
    ("token_logprobs", {"logits": Z, **TOKEN}),
    ("linear_token_logprobs", {"x": Z, "weight": np.eye(3), "bias": COLUMNS, **TOKEN}),
    ("entropy", {"p": P}),
    ("perplexity", {"p": P}),
    ("cross_entropy", {"p": P, "q": Q}),
    ("kl_divergence", {"p": P, "q": Q}),
    ("js_divergence", {"p": P, "q": Q}),
    ("gaussian_entropy", {"var": VAR}),
    ("gaussian_cross_entropy", PAIR),
    ("gaussian_kl_divergence", PAIR),
    ("js_smoothness", {"logits": Z, "segments": CLASSES}),
    ("parity_penalty", {"logits": Z[:, 0].copy(), "group": CLASSES, "target": LABELS[:, 0].copy()}),
    *((name, {"x": Z}) for name in "logsumexp softmax log_softmax sigmoid log_sigmoid softplus".split()),
]
for family, arrays in FAMILIES:
    for name in (family, f"{family}_with_grad", f"{family}_with_hess"):
        if hasattr(xe, name):
            READERS[name] = (getattr(xe, name), arrays)
ARGUMENTS = [(reader, name) for reader, (_, arrays) in READERS.items() for name in arrays]


def flat(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple) else [result]


def assert_equal(ours: Any, theirs: Any) -> None:
    for a, b in zip(flat(ours), flat(theirs), strict=True):
        np.testing.assert_array_equal(np.asarray(a, float), np.asarray(b, float))


def masked(array: Any, count: int) -> Any:
    mask = np.zeros(array.shape, bool)
    mask.ravel()[:count] = True
    return np.ma.MaskedArray(array, mask)


# --- Masked arrays ----------------------------------------------------------------------------------------------------


def test_every_public_function_that_reads_arrays_is_tried() -> None:
    functions = {name for name in xe.__all__ if inspect.isfunction(getattr(xe, name))}
    assert functions - READERS.keys() <= {"get_num_threads", "set_num_threads", "threads", "value_and_grad"}


@pytest.mark.parametrize(("reader", "name"), ARGUMENTS)
def test_arrays_with_nothing_masked_are_arrays(reader: str, name: str) -> None:
    function, arrays = READERS[reader]
    for given in (masked(arrays[name], 0), np.ma.MaskedArray(arrays[name])):
        assert_equal(function(**arrays | {name: given}), function(**arrays))


@pytest.mark.parametrize(
    ("use", "name"),
    [
        (lambda array: nn.Dense(3, 2).forward(array), "x"),
        (lambda array: nn.Dense.of(array, np.zeros(4)), "weight"),
        (lambda array: nn.Dense.of(Z, array[:, 0]), "bias"),
        (lambda array: nn.ReLU().forward(array), "x"),
        (lambda array: (layer := nn.Dense(2, 3), layer.forward(Z[:, :2]), layer.backward(array)), "grad"),
        (lambda array: (layer := nn.GELU(), layer.forward(Z), layer.backward(array)), "grad"),
        (lambda array: nn.Sequential(nn.Dense(3, 2), nn.Tanh()).forward(array), "x"),
        (lambda array: optim.SGD([array]), r"params\[0\]"),
        (lambda array: optim.SGD([np.zeros((4, 3))]).step([array]), r"grads\[0\]"),
        (lambda array: optim.Adam([np.zeros((4, 3))]).step([array]), r"grads\[0\]"),
    ],
)
def test_masked_arrays_are_refused_by_layers_and_optimisers(use: Callable[[Any], Any], name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must not be masked, got \d of \d+ elements masked"):
        use(masked(Z, 2))
    use(masked(Z, 0))


def test_masked_arrays_in_lists_and_pairs() -> None:
    with pytest.raises(ValueError, match="logits must not be masked, got 1 of 6 elements masked"):
        xe.softmax_cross_entropy([masked(Z[0], 1), masked(Z[1], 0)], [0, 1])
    pair = CLASSES[:, np.newaxis], np.ones((4, 1))
    for i in range(2):
        wrong = tuple(masked(part, 1) if i == j else part for j, part in enumerate(pair))
        with pytest.raises(ValueError, match="target must not be masked"):
            xe.softmax_cross_entropy(Z, wrong)


def test_other_subclasses_are_read_as_they_are() -> None:
    class Named(np.ndarray):
        pass

    assert_equal(
        xe.softmax_cross_entropy_with_grad(Z.view(Named), CLASSES), xe.softmax_cross_entropy_with_grad(Z, CLASSES)
    )


# --- Weights ----------------------------------------------------------------------------------------------------------

ROW_LOSSES = ["softmax_cross_entropy", "softmax_focal_loss", "categorical_cross_entropy"]
POINT_LOSSES = ["sigmoid_cross_entropy", "sigmoid_focal_loss", "binary_cross_entropy", "hinge_loss", "gaussian_nll"]
Z4 = RNG.normal(size=(2, 3, 4, 5))
LABELS4 = RNG.integers(0, 2, Z4.shape)


def calls_of(family: str) -> list[Callable[..., Any]]:
    names = (family, f"{family}_with_grad", f"{family}_with_hess")
    return [getattr(xe, name) for name in names if hasattr(xe, name)]


def of_points(family: str, z: Any, labels: Any) -> tuple[Any, ...]:
    data = {"binary_cross_entropy": xe.sigmoid(z)}.get(family, z)
    return (data, labels, np.ones_like(z)) if family == "gaussian_nll" else (data, labels)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (1, 4), (1, 1), (3, 4)])
@pytest.mark.parametrize("family", ROW_LOSSES)
def test_weights_of_rows_are_repeated(family: str, shape: tuple[int, ...], reduction: str) -> None:
    z = RNG.normal(size=(3, 4, 5))
    data, target = (xe.softmax(z) if "categorical" in family else z), RNG.integers(0, 5, (3, 4))
    weight = RNG.uniform(0.5, 2, shape)
    whole = np.broadcast_to(weight, (3, 4)).copy()
    for call in calls_of(family):
        if "reduction" in inspect.signature(call).parameters:
            expected = call(data, target, sample_weight=whole, reduction=reduction)
            assert_equal(call(data, target, sample_weight=weight, reduction=reduction), expected)
            first = call(np.moveaxis(data, -1, 1), target, sample_weight=weight, reduction=reduction, axis=1)
            assert_equal(flat(first)[0], flat(expected)[0])


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1)])
def test_weights_of_rows_are_repeated_everywhere(shape: tuple[int, ...]) -> None:
    z, target, weight = RNG.normal(size=(3, 4, 5)), RNG.integers(0, 5, (3, 4)), RNG.uniform(0.5, 2, shape)
    whole = np.broadcast_to(weight, (3, 4)).copy()
    x, layer = RNG.normal(size=(3, 4, 2)), RNG.normal(size=(5, 2))
    for call in (
        lambda w: xe.softmax_stats(z, target, sample_weight=w),
        lambda w: xe.expected_calibration_error(z, target, sample_weight=w),
        lambda w: tuple(xe.LossAccumulator().update(z, target, sample_weight=w).result()),
        lambda w: xe.linear_cross_entropy_with_grad(x, layer, target, sample_weight=w)[:3],
    ):
        assert_equal(call(weight), call(whole))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (4, 5), (3, 1, 1), (2, 1, 1, 1), (1, 1, 4, 1), (1, 1, 1, 5)])
@pytest.mark.parametrize("family", POINT_LOSSES)
def test_weights_of_points_are_repeated(family: str, shape: tuple[int, ...], reduction: str) -> None:
    weight = RNG.uniform(0.5, 2, shape)
    if len(shape) == 3:  # one a row, as the shape has one axis less
        weight = weight[:1]
        whole = np.broadcast_to(np.broadcast_to(weight, Z4.shape[:-1])[..., np.newaxis], Z4.shape)
    else:
        whole = np.broadcast_to(weight, Z4.shape)
    arguments = of_points(family, Z4, LABELS4)
    for call in calls_of(family):
        expected = call(*arguments, sample_weight=whole.copy(), reduction=reduction)
        assert_equal(call(*arguments, sample_weight=weight, reduction=reduction), expected)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "shape", [(), (1,), (1, 1), (5,), (1, 5), (4, 1), (3, 1, 1), (1, 3, 1, 1), (3, 4, 5), (2, 1, 1, 1), (2, 3, 4, 5)]
)
@pytest.mark.parametrize("family", ["sigmoid_cross_entropy", "sigmoid_focal_loss", "binary_cross_entropy"])
def test_pos_weight_is_repeated(family: str, shape: tuple[int, ...], reduction: str) -> None:
    """Against the same data flat, where each label has its weight."""
    weight, each = RNG.uniform(0.5, 3, shape), RNG.uniform(0.5, 2, Z4.shape)
    data, labels = of_points(family, Z4, LABELS4)
    whole = np.broadcast_to(weight, Z4.shape).ravel()
    for call in calls_of(family):
        for sample_weight in (None, each, each[:, :1], each[..., 0].copy()):
            one_each = np.ones(Z4.shape) if sample_weight is None else sample_weight
            one_each = np.broadcast_to(one_each[..., np.newaxis] if one_each.ndim == 3 else one_each, Z4.shape)
            options = {"reduction": reduction, "sample_weight": None if sample_weight is None else one_each.ravel()}
            expected = flat(call(data.ravel(), labels.ravel(), pos_weight=whole, **options))
            options["sample_weight"] = sample_weight
            ours = flat(call(data, labels, pos_weight=weight, **options))
            for a, b in zip(ours, expected, strict=True):
                assert np.shape(a) == (Z4.shape if np.ndim(b) else ())
                np.testing.assert_allclose(np.ravel(a), np.ravel(b), rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_pos_weight_per_channel_of_every_layout(layout: Any, dtype: Any) -> None:
    weight = np.array([1.0, 2.0, 3.0])
    z, labels = layout(Z4.astype(dtype)), layout(LABELS4.astype(np.int8))
    last = [np.ascontiguousarray(np.moveaxis(np.asarray(a), 1, -1)) for a in (z, labels)]
    expected = xe.sigmoid_cross_entropy_with_grad(*last, pos_weight=weight)
    loss, grad = xe.sigmoid_cross_entropy_with_grad(z, labels, pos_weight=weight[:, None, None])
    assert loss == pytest.approx(expected.loss, rel=1e-6)
    assert grad.dtype == dtype and grad.shape == z.shape
    np.testing.assert_allclose(
        np.moveaxis(grad, 1, -1).astype(float), expected.grad.astype(float), rtol=1e-2 if grad.itemsize == 2 else 1e-6
    )


@pytest.mark.parametrize("place", ["new", "strided", "padded", "logits", "strided logits", "padded logits"])
def test_pos_weight_per_channel_writes_to_out(place: str) -> None:
    weight = np.array([1.0, 2.0, 3.0])[:, None, None]
    expected = xe.sigmoid_cross_entropy_with_grad(Z4, LABELS4, pos_weight=weight)
    wide = np.full((2, 2, 3, 4, 10), 77.0)
    z, out = wide[..., ::2] if "strided" in place else wide[..., :5] if "padded" in place else np.zeros((2, *Z4.shape))
    z[...] = Z4
    out = z if "logits" in place else out
    loss, grad = xe.sigmoid_cross_entropy_with_grad(z, LABELS4, pos_weight=weight, out=out)
    assert grad is out and loss == expected.loss
    assert_same_bits(grad, expected.grad)
    if "padded" in place:
        assert (wide[..., 5:] == 77).all()


@pytest.mark.parametrize(
    ("logits", "options"),
    [
        (np.zeros((4, 3), np.float32), {"sample_weight": np.full(4, 1e300)}),  # computed again in float64
        (np.asfortranarray(np.zeros((5_000, 3))), {}),
        (np.zeros((3, 4, 3), np.float16), {"axis": 1}),
    ],
)
def test_results_are_named_whatever_way_a_call_takes(logits: Any, options: dict[str, Any]) -> None:
    target = np.zeros(np.delete(logits.shape, options.get("axis", -1)), int)
    grad = xe.softmax_cross_entropy_with_grad(logits, target, reduction="sum", **options)
    hess = xe.softmax_cross_entropy_with_hess(logits, target, reduction="sum", **options)
    assert type(grad) is xe.LossGrad and type(hess) is xe.LossGradHess
    assert_same_bits(grad.grad, hess.grad)
    channel = np.array([1.0, 2.0, 3.0])[:, None, None]
    assert type(xe.sigmoid_cross_entropy_with_hess(Z4, LABELS4, pos_weight=channel)) is xe.LossGradHess


def test_pos_weight_per_channel_refuses_a_bad_out() -> None:
    weight = np.array([1.0, 2.0, 3.0])[:, None, None]
    z = Z4.copy()
    for out, error, message in [
        (np.zeros((2, 3, 4)), ValueError, "out must have shape"),
        (np.zeros(Z4.shape, np.float16), TypeError, "out must have the dtype"),
        (z[::-1], ValueError, "out must not overlap an input"),
        ([1.0], TypeError, "out must be a NumPy array"),
    ]:
        with pytest.raises(error, match=message):
            xe.sigmoid_cross_entropy_with_grad(z, LABELS4, pos_weight=weight, out=out)
        assert_same_bits(z, Z4)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 3), (1, 1)])
def test_pos_weight_of_a_linear_layer_is_repeated(shape: tuple[int, ...]) -> None:
    weight = RNG.uniform(0.5, 3, shape)
    given = READERS["linear_cross_entropy of labels"][1] | {"pos_weight": np.broadcast_to(weight.ravel(), 3).copy()}
    expected = xe.linear_cross_entropy_with_grad(**given, kind="sigmoid")
    ours = xe.linear_cross_entropy_with_grad(**given | {"pos_weight": weight}, kind="sigmoid")
    assert_equal(ours[:3], expected[:3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: xe.softmax_cross_entropy(Z, CLASSES, sample_weight=np.ones((4, 3))),
            r"sample_weight must have shape \(4,\), got \(4, 3\)$",
        ),
        (
            lambda: xe.softmax_cross_entropy(Z, CLASSES, sample_weight=np.ones((1, 4))),
            r"sample_weight must have shape \(4,\), got \(1, 4\)$",
        ),
        (
            lambda: xe.sigmoid_cross_entropy(Z, LABELS, sample_weight=COLUMNS),
            r"got \(3,\); .* for one a label write sample_weight\[numpy.newaxis\]",
        ),
        (
            lambda: xe.sigmoid_cross_entropy(Z, LABELS, pos_weight=ROWS),
            r"pos_weight must have shape \(3,\), got \(4,\)$",
        ),
        (
            lambda: xe.sigmoid_cross_entropy(Z, LABELS, pos_weight=-ROWS[:, None]),
            "pos_weight must be finite and non-negative, got -.* at index 0",
        ),
        (
            lambda: xe.sigmoid_cross_entropy(Z, LABELS, pos_weight=PLACES * [1, nan, 1]),
            "pos_weight must be finite .*, got nan at index 1",
        ),
        (
            lambda: xe.sigmoid_cross_entropy(Z, LABELS + 7, pos_weight=PLACES),
            r"target must be in \[0, 1\], got . at index 0",
        ),
        (
            lambda: xe.sigmoid_cross_entropy(Z, LABELS[:2], pos_weight=PLACES),
            r"target must have shape \(4, 3\), got \(2, 3\)",
        ),
        (
            lambda: xe.linear_cross_entropy(Z, np.eye(3), LABELS, kind="sigmoid", pos_weight=PLACES),
            r"pos_weight must have shape \(3,\), got \(4, 3\); it is one number",
        ),
    ],
)
def test_weights_that_cannot_be_repeated_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("rng", [None, 0])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (4, 1), (1, 3)])
def test_weights_of_an_epoch_are_repeated(shape: tuple[int, ...], rng: int | None) -> None:
    weight = RNG.uniform(0.5, 2, shape)
    whole = np.broadcast_to(weight, (4, 3) if len(shape) == 2 else 4).copy()
    given = {"x": Z, "target": LABELS, "kind": "sigmoid", "rng": rng}
    assert_equal(epoch(**given, sample_weight=weight), epoch(**given, sample_weight=whole))
    if shape != (4, 1):
        each = np.broadcast_to(weight.ravel(), 3).copy()
        assert_equal(epoch(**given, pos_weight=weight), epoch(**given, pos_weight=each))
    if len(shape) < 2:
        classes = {"x": Z, "target": CLASSES, "rng": rng}
        assert_equal(epoch(**classes, sample_weight=weight), epoch(**classes, sample_weight=whole))


def test_one_weight_a_row_of_a_square() -> None:
    """Where a row has as many labels as there are rows, one weight a row is what a weight less deep means."""
    z, labels, weight = Z[:3], LABELS[:3], COLUMNS
    ours = xe.sigmoid_cross_entropy(z, labels, sample_weight=weight)
    assert ours == xe.sigmoid_cross_entropy(z, labels, sample_weight=weight[:, np.newaxis])
    assert ours != xe.sigmoid_cross_entropy(z, labels, sample_weight=weight[np.newaxis])


# --- Integers ---------------------------------------------------------------------------------------------------------

WIDE = [2**53, 2**53 + 1, 2**62 + 1, 2**63 - 1, -(2**53) - 1, -(2**63)]


@pytest.mark.parametrize("label", [*WIDE, 2**63, 2**64 - 1, 2**64, -(2**64)])
@pytest.mark.parametrize(
    "call", [xe.softmax_cross_entropy, xe.softmax_stats, accumulated, xe.expected_calibration_error]
)
def test_classes_of_any_width_are_told_exactly(call: Callable[..., Any], label: int) -> None:
    given: list[Any] = [[0, label, 1, 2], [0, label, -100, 2]]
    if -(2**63) <= label < 2**63:
        given.append(np.array([0, label, 1, 2]))
    elif 0 < label < 2**64:
        given.append(np.array([0, label, 1, 2], np.uint64))
    for target in given:
        with pytest.raises(IndexError, match=f"target must be .*got {label} at row 1"):
            call(logits=Z, target=target)


@pytest.mark.parametrize("ignored", WIDE)
@pytest.mark.parametrize(
    "call", [xe.softmax_cross_entropy, xe.softmax_stats, accumulated, xe.expected_calibration_error]
)
def test_the_ignored_class_is_compared_exactly(call: Callable[..., Any], ignored: int) -> None:
    with pytest.raises(IndexError):
        call(logits=Z, target=np.array([0, ignored ^ 1, 1, 2]), ignore_index=ignored)
    for target in (np.array([0, ignored, 1, 2]), [0, ignored, 1, 2], np.array([0, ignored, 1, 2], object)):
        expected = call(logits=Z, target=[0, -100, 1, 2])
        assert_equal(call(logits=Z, target=target, ignore_index=ignored), expected)


@pytest.mark.parametrize("ignored", WIDE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ignored_label_is_compared_exactly(dtype: Any, ignored: int) -> None:
    z = Z.astype(dtype)
    for call in (xe.sigmoid_cross_entropy, xe.sigmoid_focal_loss):
        labels = LABELS.copy()
        labels[0, 0] = ignored ^ 1
        with pytest.raises(ValueError, match=f"target must be .*got {ignored ^ 1} at index 0"):
            call(z, labels, ignore_index=ignored)
        labels[0, 0] = ignored
        weight = np.ones((4, 3))
        weight[0, 0] = 0
        assert call(z, labels, ignore_index=ignored) == pytest.approx(call(z, LABELS, sample_weight=weight), rel=1e-6)


def test_segments_and_groups_of_any_width_are_told_apart() -> None:
    for big in (2**53, 2**62):
        for labels in ([big, big, big + 1, big + 1], [big, big, big + 1, 2**63], [-1, -1, big, 2**63]):
            _, numbers = np.unique(np.array(labels, object), return_inverse=True)
            expected = xe.parity_penalty(Z[:, 0].copy(), numbers)
            assert xe.parity_penalty(Z[:, 0].copy(), labels) == expected
    assert xe.js_smoothness(Z, segments=np.uint64([2**64 - 1, 2**64 - 1, 2**64 - 2, 0])) == xe.js_smoothness(
        Z, segments=[0, 0, 1, 2]
    )


# --- Mistakes ---------------------------------------------------------------------------------------------------------

HOT = np.eye(3, dtype=int)[CLASSES]
ROW_CALLS: dict[str, Callable[..., Any]] = {
    "softmax_cross_entropy": xe.softmax_cross_entropy,
    "softmax_cross_entropy_with_grad": xe.softmax_cross_entropy_with_grad,
    "softmax_cross_entropy_with_hess": xe.softmax_cross_entropy_with_hess,
    "softmax_focal_loss": xe.softmax_focal_loss,
    "categorical_cross_entropy": lambda logits, target: xe.categorical_cross_entropy(
        xe.softmax(logits) if getattr(logits, "dtype", None) == np.float64 else logits, target
    ),
    "softmax_stats": xe.softmax_stats,
    "LossAccumulator.update": lambda logits, target: xe.LossAccumulator().update(logits, target),
    "expected_calibration_error": xe.expected_calibration_error,
    "linear_cross_entropy": lambda logits, target: xe.linear_cross_entropy(
        logits, np.eye(3, dtype=getattr(logits, "dtype", float)), target
    ),
}
ROW_MISTAKES: dict[str, tuple[Any, Any, str]] = {
    "floats as class numbers": (
        CLASSES.astype(float),
        (TypeError, ValueError),
        r"for classes write integers, target.astype\(int\)",
    ),
    "float32 as class numbers": (
        CLASSES.astype(np.float32),
        (TypeError, ValueError),
        r"for classes write integers, target.astype\(int\)",
    ),
    "a list of floats": (
        CLASSES.astype(float).tolist(),
        (TypeError, ValueError),
        r"for classes write integers, target.astype\(int\)",
    ),
    "a missing class": (
        np.array([0, nan, 1, 2]),
        (TypeError, ValueError),
        r"label at row 1 is missing \(NaN\): write numpy.where\(.*-100.*astype\(int\)",
    ),
    "one-hot integers": (
        HOT,
        ValueError,
        r"got \(4, 3\); one-hot rows are .*target.astype\(float\), or classes, target.argmax\(-1\)",
    ),
    "one-hot uint8": (HOT.astype(np.uint8), ValueError, r"one-hot rows are .*target.astype\(float\)"),
    "one-hot booleans": (HOT.astype(bool), TypeError, r"got bool; one-hot rows are .*target.astype\(float\)"),
    "booleans": (CLASSES > 0, TypeError, r"got bool; write target.astype\(int\)"),
    "a column": (CLASSES[:, np.newaxis], ValueError, r"got \(4, 1\); write target\[..., 0\]"),
    "strings": (np.array(["a", "b", "c", "a"]), TypeError, "got <U1; write the number of each label, numpy.unique"),
    "a list of strings": (["a", "b", "c", "a"], TypeError, "got <U1; write the number of each label, numpy.unique"),
    "strings as objects": (
        np.array(["a", "b", "c", "a"], object),
        TypeError,
        "'a' at row 0; write the number of each label",
    ),
    "None": (
        [0, 1, None, 2],
        TypeError,
        "got object, with None at row 2; write a number for what is missing, such as -100",
    ),
    "NaN among objects": (np.array([0, 1, 2, nan], object), TypeError, "got object, with nan at row 3; write a number"),
}


@pytest.mark.parametrize("mistake", ROW_MISTAKES)
@pytest.mark.parametrize("call", ROW_CALLS)
def test_mistaken_classes_are_told_what_to_write(call: str, mistake: str) -> None:
    target, error, message = ROW_MISTAKES[mistake]
    for logits in (Z, Z.astype(np.float32), np.asfortranarray(Z), Z.tolist()):
        with pytest.raises(error, match=message):
            ROW_CALLS[call](logits if call != "categorical_cross_entropy" else P, target)


@pytest.mark.parametrize("target", [np.zeros((2, 4, 5), int), np.zeros((2, 4, 5))], ids=["classes", "floats"])
@pytest.mark.parametrize("call", [call for call in ROW_CALLS if call != "linear_cross_entropy"])
def test_classes_on_another_axis(call: str, target: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="axis=1"):
        ROW_CALLS[call](Z4, target)
    assert xe.softmax_cross_entropy(Z4, target.astype(int), axis=1) > 0


def test_log_odds_in_a_column() -> None:
    with pytest.raises(ValueError, match=r"got \(4, 1\); write target\[..., 0\]"):
        xe.softmax_stats(Z[:, :1], LABELS[:, :1])
    with pytest.raises(ValueError, match=r"got \(4, 1\); write target\[..., 0\]"):
        xe.softmax_stats(Z[:, 0].copy(), LABELS[:, :1])


@pytest.mark.parametrize(("given", "message"), [("balanced", "got <U8"), ({0: 1.0}, "got dict")])
def test_class_weight_by_name(given: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"class_weight must be floating, {message}; .*compute_class_weight"):
        xe.softmax_cross_entropy(Z, CLASSES, class_weight=given)


POINT_MISTAKES: dict[str, tuple[Any, Any, Any, str]] = {
    "classes": (Z, CLASSES, ValueError, "got .*; for labels of which several may hold .*use softmax_cross_entropy"),
    "a column of labels": (Z[:, 0].copy(), LABELS[:, :1], ValueError, r"got \(4, 1\); write target\[..., 0\]"),
    "a column of scores": (Z[:, :1].copy(), LABELS[:, 0], ValueError, r"got \(4,\); write {name}\[..., 0\]"),
    "strings": (Z, np.full((4, 3), "yes"), TypeError, "got <U3; write booleans"),
    "strings as objects": (Z, np.full((4, 3), "yes", object), TypeError, "'yes' at row 0; write booleans"),
    "None": (
        Z,
        np.array([[0, 1, 1], [0, None, 1], [0, 1, 1], [1, 1, 1]], object),
        TypeError,
        "None at row 1; .*sample_weight of 0",
    ),
}


@pytest.mark.parametrize("mistake", POINT_MISTAKES)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (xe.sigmoid_cross_entropy, "logits"),
        (xe.sigmoid_cross_entropy_with_grad, "logits"),
        (xe.sigmoid_focal_loss_with_hess, "logits"),
        (xe.hinge_loss, "scores"),
        (lambda p, target: xe.binary_cross_entropy(xe.sigmoid(p), target), "p"),
    ],
)
def test_mistaken_labels_are_told_what_to_write(call: Callable[..., Any], name: str, mistake: str) -> None:
    data, target, error, message = POINT_MISTAKES[mistake]
    with pytest.raises(error, match=message.replace("{name}", name)):
        call(data, target)


@pytest.mark.parametrize("call", [xe.softmax_cross_entropy, xe.sigmoid_cross_entropy, xe.softmax_stats])
def test_logits_that_are_no_numbers(call: Callable[..., Any]) -> None:
    for logits, message in [
        ([["1", "2"]], r"got <U1; .*numpy.asarray\(logits, float\)"),
        ([[1.0, None]], r"got object, with None at row 0; .*numpy.asarray\(logits, float\)"),
    ]:
        with pytest.raises(TypeError, match=f"logits must be floating .*{message}"):
            call(logits, [0])


@pytest.mark.parametrize(
    ("said", "what", "other"),
    [
        (TypeError("Got unsupported ScalarType BFloat16"), "of bfloat16", "float"),
        (RuntimeError("Can't call numpy() on Tensor that requires grad."), "that requires a gradient", "detach"),
    ],
)
def test_what_torch_says_of_its_tensors(said: Exception, what: str, other: str) -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise said

    class Broken:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise type(said)("another fault")

    for call in (xe.softmax_cross_entropy, xe.sigmoid_cross_entropy, xe.softmax_stats):
        with pytest.raises(
            TypeError, match=rf"logits must be .* torch tensor {what}; use .* xentrs.torch, .*logits.{other}\(\)$"
        ):
            call(Tensor(), [0])
        with pytest.raises(type(said), match=r"^another fault$"):
            call(Broken(), [0])
    with pytest.raises(TypeError, match=rf"x must be .* torch tensor {what}; .* write x.{other}\(\)"):
        xe.softmax(Tensor())


def test_what_cannot_be_looked_at_raises_as_it_did() -> None:
    for target, message in [
        ((CLASSES[:, np.newaxis], np.ones((4, 2))), r"^target classes must have shape \(4, 2\), got \(4, 1\)$"),
        ((CLASSES, [[1.0], [1.0, 2.0]]), "^target must be an array, got a tuple of uneven lengths$"),
        ([[0], [1, 2]], "^target must be an array, got a list of uneven lengths$"),
    ]:
        for weight in (None, 2.0):
            with pytest.raises(ValueError, match=message):
                xe.softmax_cross_entropy(Z, target, sample_weight=weight)
    with pytest.raises(ValueError, match="target must be an array, got a list of uneven"):
        xe.sigmoid_cross_entropy(Z, [[0], [1, 2]], pos_weight=PLACES)
    with pytest.raises(ValueError, match="sample_weight must be an array, got a list of uneven"):
        xe.softmax_cross_entropy(Z, CLASSES, sample_weight=[[1.0], [1.0, 2.0]])


def test_an_error_holds_no_arrays_alive() -> None:
    """A fault and the frame that catches it must not refer to each other: what they hold is freed at once."""
    import gc
    import weakref

    class Logits(np.ndarray):
        pass

    gc.disable()
    try:
        logits = Z.copy().view(Logits)
        alive = weakref.ref(logits)
        for target in (CLASSES + 7, HOT):
            with pytest.raises((IndexError, ValueError)):
                xe.softmax_cross_entropy(logits, target)
        del logits
        assert alive() is None
    finally:
        gc.enable()


# --- Probabilities given for logits -----------------------------------------------------------------------------------

JUDGES: dict[str, Callable[..., Any]] = {
    "softmax_cross_entropy": xe.softmax_cross_entropy,
    "softmax_cross_entropy_with_grad": xe.softmax_cross_entropy_with_grad,
    "softmax_cross_entropy_with_hess": xe.softmax_cross_entropy_with_hess,
    "softmax_focal_loss": xe.softmax_focal_loss,
    "classes on the first axis": lambda logits, target: xe.softmax_cross_entropy(
        np.moveaxis(np.array(logits), -1, 0), target, axis=0
    ),
    "softmax_stats": xe.softmax_stats,
    "LossAccumulator.update": lambda logits, target: xe.LossAccumulator().update(logits, target),
    "expected_calibration_error": xe.expected_calibration_error,
}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, list])
@pytest.mark.parametrize("judge", JUDGES)
def test_probabilities_given_for_logits_are_warned_of(judge: str, dtype: Any) -> None:
    p = P.tolist() if dtype is list else P.astype(dtype)
    with pytest.warns(UserWarning, match=r"logits are probabilities, it seems: .*numpy.log\(logits\)") as warned:
        JUDGES[judge](p, CLASSES)
    assert warned[0].filename == __file__
    for logits in (Z, np.log(P), P * 1.1, P - 0.01, P[:1], np.eye(3)[CLASSES], np.zeros((4, 3)), np.full((4, 3), nan)):
        JUDGES[judge](logits, CLASSES[: len(logits)])
    JUDGES[judge](np.array([[1.00001], [0.99999]]), [0, 0])  # of one class
    for row in ([np.inf, -np.inf, 1.0], [nan, 1.0, 0.0], [np.inf, 0.0, 0.0]):  # of which NumPy would warn
        logits = np.array([P[0], row]).astype(ml_dtypes.bfloat16 if dtype is list else dtype)
        JUDGES[judge](logits, CLASSES[:2])
    for shape in ((0, 3), (2, 0, 3), (2, 0)):
        JUDGES[judge](np.zeros(shape), np.full(shape[:-1], -100))


# --- Binary models ----------------------------------------------------------------------------------------------------

ODDS = np.array([2.0, -1.0, 0.0, -30.0, 400.0, 1e-8, -np.inf, nan])
YES = np.array([1, 1, 0, 0, 1, 1, 1, 0])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("form", ["booleans", "integers", "uint8", "list"])
def test_log_odds_are_two_columns(dtype: Any, form: str) -> None:
    target = {"booleans": YES.astype(bool), "integers": YES, "uint8": YES.astype(np.uint8), "list": YES.tolist()}[form]
    odds = ODDS.astype(dtype)
    columns = np.stack([np.zeros_like(odds), odds], axis=-1)
    weight = np.arange(8.0)
    expected = xe.softmax_stats(columns, YES, sample_weight=weight)
    for ours, theirs in zip(xe.softmax_stats(odds, target, sample_weight=weight), expected, strict=True):
        assert_same_bits(ours, theirs)
    for call in (accumulated, lambda **given: xe.expected_calibration_error(**given, temperature=2.0, n_bins=4)):
        for keep in (slice(None), slice(6)):
            ours = call(logits=odds[keep], target=target[keep], sample_weight=weight[keep])
            assert_equal(ours, call(logits=columns[keep], target=YES[keep], sample_weight=weight[keep]))
    assert_equal(xe.softmax_stats(columns, YES.astype(bool)), xe.softmax_stats(columns, YES))


def test_log_odds_with_ignored_labels() -> None:
    target = np.where(ODDS < 0, -100, YES)
    assert xe.softmax_stats(ODDS, target).weight.sum() == (target != -100).sum() == 5
    assert accumulated(logits=ODDS[:5], target=target[:5])[-1] == 3


def test_what_is_no_binary_label_is_refused() -> None:
    for wrong in (2, -1, 2**53 + 1):
        with pytest.raises(
            IndexError, match=rf"target must be integers in \[0, 2\) or ignore_index=-100, got {wrong} at row 1"
        ):
            xe.softmax_stats(ODDS, [0, wrong, *YES[2:]])
    with pytest.raises(TypeError, match="of log-odds the labels 0 and 1 are integers or booleans"):
        xe.softmax_stats(ODDS, YES.astype(float))
    with pytest.raises(ValueError, match="target must have shape"):
        xe.softmax_stats(ODDS, YES[:3])
    with pytest.raises(TypeError, match="got bool"):
        xe.softmax_stats(Z, YES[:4].astype(bool))
    assert xe.softmax_stats(Z[0], 1).loss == xe.softmax_stats(Z[:1], [1]).loss[0]


def test_accumulators_add() -> None:
    parts = [xe.LossAccumulator().update(Z[i : i + 1] * 1e9 ** (i % 2), CLASSES[i : i + 1]) for i in range(4)]
    whole = xe.LossAccumulator()
    for part in parts:
        whole.merge(part)
    before = [part.result() for part in parts]
    assert sum(parts) == whole == parts[0] + parts[1] + (parts[2] + parts[3]) == sum(parts, xe.LossAccumulator())
    assert [part.result() for part in parts] == before
    total = first = xe.LossAccumulator()
    for part in parts:
        total += part
    assert total is first and total == whole
    assert sum([parts[0]]) == parts[0] and sum([parts[0]]) is not parts[0]
    for wrong in (1, 0.0, None, parts[0].result()):
        with pytest.raises(TypeError):
            parts[0] + wrong
        with pytest.raises(TypeError):
            wrong + parts[0]
