"""The losses under JAX: the core's numbers, through each of JAX's transformations, on the JAX that is installed."""

import contextlib
import doctest
import functools
import inspect
import re
import threading
from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'xentrs[jax]'")

import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import xentrs as xe  # noqa: E402
import xentrs.jax as xj  # noqa: E402
from docstrings import missing_in_docstring  # noqa: E402

LOSSES = ["softmax_cross_entropy", "softmax_focal_loss", "sigmoid_cross_entropy", "sigmoid_focal_loss"]
SOFTMAX, SIGMOID = LOSSES[:2], LOSSES[2:]
DTYPES = ["float32", "float64", "float16", "bfloat16"]
ROWS, CLASSES = 6, 5
WRONG = (ValueError, jax.errors.JaxRuntimeError)
"""What JAX makes of a wrong argument: the first where it computes at once, the second in the background."""

OPTIONS = {
    "softmax": [
        {},
        {"class_weight": "one a class", "sample_weight": "one a row", "label_smoothing": 0.1},
        {"temperature": 2.0, "softcap": 5.0, "z_loss": 1e-3, "ignore_index": 2},
    ],
    "sigmoid": [
        {},
        {"pos_weight": "one a class", "sample_weight": "one a row", "label_smoothing": 0.1},
        {"pos_weight": "one each", "sample_weight": "one each", "ignore_index": 1},
    ],
}


@pytest.fixture(autouse=True)
def double_precision():
    """JAX keeps float64 only where it is asked to."""
    with x64(True):
        yield


@contextlib.contextmanager
def x64(on):
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", on)
    yield
    jax.config.update("jax_enable_x64", before)


def family(loss):
    return "softmax" if loss in SOFTMAX else "sigmoid"


def draw(loss, kind="classes", dtype="float32", shape=(ROWS, CLASSES), seed=0):
    """Logits of JAX, and a target."""
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(rng.standard_normal(shape) * 3, dtype)
    if kind == "soft":
        t = rng.random(shape) + 0.1
        return logits, jnp.asarray(t / t.sum(-1, keepdims=True) if loss in SOFTMAX else t / 2, dtype)
    if kind == "sparse":
        classes = rng.integers(0, shape[-1], (*shape[:-1], 2))
        return logits, (jnp.asarray(classes), jnp.asarray(rng.random(classes.shape), "float32"))
    if loss in SOFTMAX:
        return logits, jnp.asarray(rng.integers(0, shape[-1], shape[:-1]))
    return logits, jnp.asarray(rng.integers(0, 2, shape))


def filled(options, shape=(ROWS, CLASSES)):
    """The options of a case, with weights in the place of words."""
    rng = np.random.default_rng(7)
    sizes = {"one a class": shape[-1:], "one a row": shape[:-1], "one each": shape}
    return {
        name: rng.random(sizes[value]).astype(np.float32) + 0.5 if isinstance(value, str) else value
        for name, value in options.items()
    }


def of_numpy(argument):
    """The same for the core."""
    if isinstance(argument, tuple):
        return tuple(map(of_numpy, argument))
    return np.array(argument)


def reference(loss, logits, target, **options):
    """Loss and gradient of the core."""
    return getattr(xe, f"{loss}_with_grad")(of_numpy(logits), of_numpy(target), **options)


def assert_same(actual, expected):
    """Loss and gradient, but for the rounding of the loss to the type of JAX's array."""
    (loss, grad), (true_loss, true_grad) = actual, expected
    assert grad.dtype == true_grad.dtype
    np.testing.assert_allclose(loss, true_loss, rtol=1e-6 if loss.dtype == jnp.float32 else 1e-15)
    np.testing.assert_array_equal(np.array(grad), true_grad)


CASES = [
    (loss, kind, options)
    for loss in LOSSES
    for options in OPTIONS[family(loss)]
    for kind in (["classes", "soft", "sparse"] if loss in SOFTMAX else ["classes", "soft"])
]


@pytest.mark.parametrize(("loss", "kind", "options"), CASES)
def test_value_and_gradient_are_the_cores(loss, kind, options):
    logits, target = draw(loss, kind)
    options = filled(options)
    f = getattr(xj, loss)
    for reduction in ["mean", "sum"]:
        expected = reference(loss, logits, target, reduction=reduction, **options)
        assert_same(jax.value_and_grad(f)(logits, target, reduction=reduction, **options), expected)
        assert f(logits, target, reduction=reduction, **options) == np.float32(expected.loss)
    losses, back = jax.vjp(lambda z: f(z, target, reduction="none", **options), logits)
    expected = reference(loss, logits, target, reduction="none", **options)
    assert losses.dtype == expected.loss.dtype
    assert_same((losses, back(jnp.ones_like(losses))[0]), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_options_are_those_of_numpys_arrays(loss):
    """With the same defaults, all but the axis, the prior, which JAX adds itself, and the asymmetric focal loss."""
    ours, theirs = (
        {name: parameter.default for name, parameter in inspect.signature(getattr(module, loss)).parameters.items()}
        for module in (xj, xe)
    )
    left_out = {"axis", "log_prior", "gamma_neg", "clip"}
    assert ours == {name: default for name, default in theirs.items() if name not in left_out}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_dtype(loss, dtype):
    for kind in ["classes", "soft"]:
        logits, target = draw(loss, kind, dtype)
        actual = jax.jit(jax.value_and_grad(getattr(xj, loss)))(logits, target)
        assert actual[0].dtype == ("float64" if dtype == "float64" else "float32")
        assert_same(actual, reference(loss, logits, target))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_every_integer_is_a_class(dtype):
    logits, target = draw("softmax_cross_entropy")
    typed = target.astype(dtype)
    assert xj.softmax_cross_entropy(logits, typed) == xj.softmax_cross_entropy(logits, target)
    if dtype.startswith("u"):
        with pytest.raises(WRONG, match=r"INVALID_ARGUMENT: target must be integers in \[0, 5\)"):
            xj.softmax_cross_entropy(logits, typed.at[1].set(np.iinfo(dtype).max)).block_until_ready()


@pytest.mark.parametrize("loss", LOSSES)
def test_check_grads_in_reverse(loss):
    for kind, options in zip(["classes", "soft", "classes"], OPTIONS[family(loss)], strict=True):
        logits, target = draw(loss, kind, "float64")
        f = functools.partial(getattr(xj, loss), target=target, **filled(options))
        for reduction in ["mean", "none"]:
            check_grads(functools.partial(f, reduction=reduction), (logits,), order=1, modes=["rev"], rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_upstream_gradients_of_any_sign(loss, dtype):
    logits, target = draw(loss, dtype=dtype)
    # A gradient that is multiplied after it was rounded is rounded twice.
    rtol = {"float64": 1e-14, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1.2e-2}[dtype]
    wide = np.array(logits, "float64")
    for reduction in ["mean", "sum", "none"]:
        losses, back = jax.vjp(lambda z, r=reduction: getattr(xj, loss)(z, target, reduction=r), logits)
        upstream = jnp.linspace(-2.0, 3.0, losses.size).reshape(losses.shape).astype(losses.dtype)
        true = reference(loss, wide, target, reduction=reduction).grad
        per_row = reduction == "none" and loss in SOFTMAX
        factor = np.array(upstream, "float64")[..., np.newaxis] if per_row else np.array(upstream, "float64")
        np.testing.assert_allclose(np.array(back(upstream)[0], "float64"), factor * true, rtol=rtol, atol=1e-7)


def test_a_scaled_gradient_of_float16_does_not_round_to_nothing():
    logits, target = draw("softmax_cross_entropy", dtype="float16", shape=(4096, 3))
    scaled = jax.jit(jax.grad(lambda z: 2.0**12 * xj.softmax_cross_entropy(z, target)))(logits)
    truth = 2.0**12 * reference("softmax_cross_entropy", np.array(logits, "float64"), target).grad
    np.testing.assert_allclose(np.array(scaled, "float64"), truth, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_under_vmap(loss):
    """A batch is computed one by one, whatever of it varies."""
    logits, target = draw(loss, shape=(3, ROWS, CLASSES))
    weight = np.arange(1.0, 3 * ROWS + 1, dtype=np.float32).reshape(3, ROWS)
    per_class = {"softmax": "class_weight", "sigmoid": "pos_weight"}[family(loss)]
    classes = np.arange(1.0, 3 * CLASSES + 1, dtype=np.float32).reshape(3, CLASSES)
    f = getattr(xj, loss)

    def one(z, t, w, c, reduction):
        return f(z, t, sample_weight=w, reduction=reduction, **{per_class: c})

    several = [(0, 0, 0, 0), (0, 0, 0, None), (0, None, None, None), (None, 0, None, 0)]
    for reduction, all_axes in [("mean", several), ("none", several[:3])]:
        for axes in all_axes:
            arguments = [
                a if axis == 0 else a[1] for a, axis in zip([logits, target, weight, classes], axes, strict=True)
            ]
            g = lambda *a, r=reduction: jax.value_and_grad(lambda *a: one(*a, r).sum())(*a)  # noqa: E731
            values, grads = jax.jit(jax.vmap(g, in_axes=axes))(*arguments)
            for i in range(3):
                z, t, w, c = (a[i] if axis == 0 else a for a, axis in zip(arguments, axes, strict=True))
                expected = reference(loss, z, t, sample_weight=np.array(w), reduction=reduction, **{per_class: c})
                np.testing.assert_allclose(values[i], np.sum(expected.loss), rtol=1e-6)
                np.testing.assert_allclose(grads[i], expected.grad, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_loss_of_one_row_under_vmap(loss, reduction):
    """The gradient of each example."""
    logits, target = draw(loss)
    for options in OPTIONS[family(loss)][:1] + [{"ignore_index": int(np.ravel(target)[0])}]:
        f = lambda z, t, o=options: getattr(xj, loss)(z, t, reduction=reduction, **o).sum()  # noqa: E731
        values, grads = jax.vmap(jax.value_and_grad(f))(logits, target)
        for i in range(ROWS):
            expected = reference(loss, logits[i], target[i], reduction=reduction, **options)
            np.testing.assert_allclose(values[i], np.sum(expected.loss), rtol=1e-6)
            np.testing.assert_array_equal(grads[i], expected.grad)


def test_vmap_of_vmap_over_different_axes():
    logits, target = draw("softmax_cross_entropy", shape=(4, ROWS, CLASSES))
    _, targets = draw("softmax_cross_entropy", shape=(3, ROWS, CLASSES), seed=1)
    f = jax.vmap(jax.vmap(xj.softmax_cross_entropy, in_axes=(0, None)), in_axes=(None, 0))
    expected = [[reference("softmax_cross_entropy", z, t).loss for z in logits] for t in targets]
    np.testing.assert_allclose(f(logits, targets), expected, rtol=1e-6)
    last = jax.vmap(xj.softmax_cross_entropy, in_axes=(2, 1))(jnp.moveaxis(logits, 0, 2), target.T)
    np.testing.assert_allclose(
        last, [reference("softmax_cross_entropy", *zt).loss for zt in zip(logits, target, strict=True)], 1e-6
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_jacobian_in_reverse(loss):
    logits, target = draw(loss)
    jacobian = jax.jacrev(lambda z: getattr(xj, loss)(z, target, reduction="none"))(logits)
    grad = reference(loss, logits, target, reduction="none").grad
    diagonal = np.zeros(jacobian.shape, np.float32)
    for i in np.ndindex(jacobian.shape[: -logits.ndim]):
        diagonal[(*i, *i)] = grad[i]
    np.testing.assert_array_equal(jacobian, diagonal)


def test_scan_remat_and_cond():
    logits, target = draw("softmax_cross_entropy", shape=(3, ROWS, CLASSES))
    f = xj.softmax_cross_entropy

    def total(z, body):
        return jax.lax.scan(lambda sum_, zt: (sum_ + body(*zt), None), jnp.zeros((), jnp.float32), (z, target))[0]

    each = [reference("softmax_cross_entropy", *zt) for zt in zip(logits, target, strict=True)]
    guarded = lambda z, t: jax.lax.cond(z[0, 0] > 1e6, lambda z, t: z.sum(), f, z, t)  # noqa: E731
    for body in [f, jax.checkpoint(f), guarded]:
        value, grad = jax.jit(jax.value_and_grad(total), static_argnums=1)(logits, body)
        np.testing.assert_allclose(value, sum(one.loss for one in each), rtol=1e-6)
        np.testing.assert_array_equal(grad, [one.grad for one in each])


def test_a_training_step_with_a_donated_state():
    """The loss falls as it does by the core, and XLA may put new weights where the old ones were."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 8)).astype(np.float32), rng.integers(0, 4, 64)

    def step(weight):
        loss, grad = jax.value_and_grad(lambda w: xj.softmax_cross_entropy(x @ w, y))(weight)
        return weight - 0.5 * grad, loss

    step = jax.jit(step, donate_argnums=0)
    ours, theirs = jnp.zeros((8, 4), jnp.float32), np.zeros((8, 4), np.float32)
    for _ in range(20):
        ours, loss = step(ours)
        true_loss, grad = xe.softmax_cross_entropy_with_grad(x @ theirs, y)
        theirs = theirs - np.float32(0.5) * (x.T @ grad)
        np.testing.assert_allclose(loss, true_loss, rtol=1e-4)
    assert loss < 1.3


def test_donated_logits_and_a_shared_buffer():
    logits, target = draw("sigmoid_cross_entropy", "soft")
    expected = reference("sigmoid_cross_entropy", logits, target)
    f = jax.value_and_grad(xj.sigmoid_cross_entropy)
    assert_same(jax.jit(f, donate_argnums=0)(jnp.array(logits), target), expected)
    # The logits are kept beside their gradient, and are their own target.
    z = jax.nn.sigmoid(logits)
    kept, grad = jax.jit(lambda z: (z, jax.grad(xj.sigmoid_cross_entropy)(z, jax.lax.stop_gradient(z))))(z)
    np.testing.assert_array_equal(kept, z)
    np.testing.assert_array_equal(grad, reference("sigmoid_cross_entropy", z, z).grad)


def test_an_integer_target_has_the_tangent_of_integers():
    logits, target = draw("softmax_cross_entropy")
    _, back = jax.vjp(xj.softmax_cross_entropy, logits, target)
    assert back(jnp.float32(1))[1].dtype == jax.dtypes.float0


def test_the_loss_and_its_gradient_are_one_call():
    """A multiplication by 1, and a loss that nobody asks for, are left out."""
    logits, target = draw("softmax_cross_entropy")

    def calls(f):
        program = jax.jit(f).lower(logits, target).compile().as_text()
        return len(re.findall(r'custom_call_target="xentrs_loss"', program)), len(re.findall(r"multiply\(", program))

    f = xj.softmax_cross_entropy
    assert calls(jax.value_and_grad(f)) == (1, 0)
    assert calls(jax.grad(lambda z, t: 3.0 * f(z, t))) == (1, 1)
    each = lambda z, t: f(z, t, reduction="none").mean()  # noqa: E731
    assert calls(jax.grad(each)) == (1, 0)
    assert calls(jax.value_and_grad(each))[0] == 2


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit, jax.grad, lambda f: jax.jit(jax.value_and_grad(f))])
def test_a_class_out_of_range_is_named(transform):
    logits, target = draw("softmax_cross_entropy")
    message = r"target must be integers in \[0, 5\) or ignore_index=-100, got 9 at row 3"
    with pytest.raises(WRONG, match=f"INVALID_ARGUMENT: {message}"):
        jax.block_until_ready(transform(xj.softmax_cross_entropy)(logits, target.at[3].set(9)))
    assert np.isfinite(xj.softmax_cross_entropy(logits, target))


def test_wrong_numbers_are_named_when_they_are_met():
    f, g = xj.softmax_cross_entropy, xj.sigmoid_cross_entropy
    logits, target = draw("softmax_cross_entropy", shape=(2, ROWS, CLASSES))
    for call, message in [
        (lambda: f(logits, target, class_weight=[1, 1, -1, 1, 1]), "class_weight must be finite and non-negative"),
        (lambda: f(logits, target, sample_weight=np.inf), "sample_weight must be finite and non-negative, got inf"),
        (lambda: g(logits, logits), r"target must be in \[0, 1\], got"),
        (lambda: g(logits, logits > 0, pos_weight=-1.0), "pos_weight must be finite and non-negative, got -1.0"),
        (lambda: jax.vmap(f)(logits, target.at[1, 2].set(5)), "got 5 at row 2, of number 1 of the batch"),
        (lambda: f(logits, target, sample_weight=1e-44, reduction="sum"), "within the range of float32"),
    ]:
        with pytest.raises(WRONG, match=message):
            jax.block_until_ready(call())
    # Of weights that a mean divides by, only the ratios matter.
    assert f(logits, target, sample_weight=1e-44) == pytest.approx(float(f(logits, target)), rel=1e-5)


@pytest.mark.parametrize("trace", [False, True])
def test_wrong_shapes_and_dtypes_are_refused_while_tracing(trace):
    f, g = xj.softmax_cross_entropy, xj.sigmoid_cross_entropy
    z, y = draw("softmax_cross_entropy")
    for call, error, message in [
        (lambda z: f(z, y[:4]), ValueError, r"target must have shape \(6,\), got \(4,\)"),
        (lambda z: f(z, y[:, None]), ValueError, r"got \(6, 1\); write target\[\.\.\., 0\]"),
        (lambda z: f(z, z > 0), TypeError, "got bool; one-hot rows are distributions: write target.astype"),
        (lambda z: f(z, y.astype("float32")), ValueError, "for classes write integers, target.astype"),
        (lambda z: f(z, (y, y)), TypeError, "a pair of integers and floats, got int64 and int64"),
        (lambda z: f(z, (y, z)), ValueError, r"target classes must have shape \(6, 5\), got \(6,\)"),
        (lambda z: f(z[0, 0], y), ValueError, r"logits must have at least one axis, got shape \(\)"),
        (lambda z: f(z.astype(int), y), TypeError, r"float32 or float64, got int\d\d; write logits.astype\(float\)"),
        (lambda z: f(z, None), TypeError, "target must be an array of numbers, got None"),
        (lambda z: f(z, ["x"] * 6), TypeError, "target must be an array of numbers, got list: "),
        (lambda z: f(z, y, class_weight="balanced"), TypeError, "class_weight must be an array of numbers, got str: "),
        (lambda z: f(z.T, y), ValueError, r"the classes are on the last axis: write jnp.moveaxis\(logits, 0, -1\)"),
        (lambda z: f(z.T, y.astype(float)), ValueError, r"target.astype\(int\), and jnp.moveaxis\(logits, 0, -1\)"),
        (lambda z: f(z, y, class_weight=[1.0, 2.0]), ValueError, r"class_weight must have shape \(5,\), got \(2,\)"),
        (lambda z: f(z, y, sample_weight=z), ValueError, r"sample_weight must have shape \(6,\)"),
        (lambda z: f(z, y, sample_weight=1j), TypeError, "sample_weight must be floating, got complex"),
        (lambda z: g(z, y), ValueError, r"target must have shape \(6, 5\), got \(6,\); for labels of which several"),
        (lambda z: g(z, z, pos_weight=[1.0, 2.0]), ValueError, r"pos_weight must have shape \(6, 5\) or broadcast"),
        (lambda z: g(z, 1j * z), TypeError, "target must be boolean, integer or floating, got complex"),
        (lambda z: f(z, y, label_smoothing=1.5), ValueError, r"label_smoothing must be in \[0, 1\], got 1.5"),
        (lambda z: f(z, y, temperature=0.0), ValueError, "temperature must be positive"),
        (lambda z: f(z, y, reduction="median"), ValueError, 'reduction must be "mean", "sum" or "none"'),
        (lambda z: f(z, y, ignore_index=1.5), TypeError, "ignore_index must be an integer, got 1.5"),
        (lambda z: xj.softmax_focal_loss(z, y, gamma=-1.0), ValueError, "gamma must be finite and non-negative"),
        (lambda z: xj.sigmoid_focal_loss(z, z, alpha=2.0), ValueError, r"alpha must be in \[0, 1\], got 2.0"),
    ]:
        with pytest.raises(error, match=message):
            (jax.eval_shape if trace else lambda call, z: call(z))(call, z)


def test_options_are_known_while_tracing():
    logits, target = draw("softmax_cross_entropy")
    message = "temperature must be a number that is known when the function is traced.*, or divide logits by"
    with pytest.raises(TypeError, match=message):
        jax.jit(lambda t: xj.softmax_cross_entropy(logits, target, temperature=t))(2.0)


def test_the_functions_of_arrays_name_the_bridge():
    logits, target = draw("softmax_cross_entropy")
    for function in (jax.jit(xe.softmax_cross_entropy), jax.grad(xe.softmax_cross_entropy)):
        with pytest.raises(TypeError, match=r"logits must be what NumPy can read, .* use the functions of xentrs\.jax"):
            function(logits, target)


def test_no_gradient_is_silently_zero():
    logits, target = draw("softmax_cross_entropy", "soft")
    f = xj.softmax_cross_entropy
    weight = jnp.ones(ROWS)
    for g in [jax.grad(f, argnums=1), jax.jit(jax.grad(f, argnums=1)), jax.vmap(jax.grad(f, argnums=1))]:
        with pytest.raises(NotImplementedError, match=r"with respect to target.*jax.lax.stop_gradient\(target\)"):
            g(logits, target)
    with pytest.raises(NotImplementedError, match="with respect to sample_weight"):
        jax.grad(lambda w: f(logits, target, sample_weight=w))(weight)
    with pytest.raises(NotImplementedError, match="with respect to class_weight"):
        jax.grad(lambda w: f(logits, target, class_weight=w))(weight[:CLASSES])
    with pytest.raises(NotImplementedError, match="with respect to target"):
        jax.grad(lambda w: f(logits, (jnp.zeros((ROWS, 2), int), w)))(jnp.ones((ROWS, 2)))
    # What was refused once spoils nothing: the same function, the same shapes.
    jitted = jax.jit(f)
    with pytest.raises(NotImplementedError):
        jax.grad(jitted, argnums=1)(logits, target)
    np.testing.assert_array_equal(jax.grad(jitted)(logits, target), jax.grad(f)(logits, target))
    teacher = jax.grad(lambda z: f(z, jax.lax.stop_gradient(jax.nn.softmax(z))))(logits)
    np.testing.assert_allclose(teacher, 0, atol=1e-7)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda z: f(z, target), (logits,), (logits,))
    for twice in [jax.jacfwd(jax.grad(f)), jax.jacrev(jax.grad(f)), jax.hessian(f)]:
        with pytest.raises(NotImplementedError, match=r"xentrs\.jax gives first derivatives alone"):
            twice(logits, target)


def test_another_device_is_refused_by_name():
    """A handler that stands for the losses on other platforms, here where it can be called."""
    jax.ffi.register_ffi_target("xentrs_elsewhere", xe._core._xla_handlers()[1], platform="cpu")
    call = jax.ffi.ffi_call("xentrs_elsewhere", jax.ShapeDtypeStruct((), jnp.float32))
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"UNIMPLEMENTED: xentrs\.jax computes on the CPU"):
        call(jnp.zeros(3)).block_until_ready()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "hinge"}, "there is no loss hinge"),
        ({"operands": "logits"}, "2 buffers cannot be"),
        ({"operands": "logits labels"}, "target is missing"),
        ({"results": "hess"}, "there is no result hess"),
        ({"rank": np.int64(7)}, "the ranks do not fit"),
        ({"rank": np.int64(0)}, "the ranks do not fit"),
        ({"gamma": np.int64(2)}, "gamma must be a float"),
        ({"z_loss": np.float32(2)}, "z_loss is of an unknown type"),
        ({"z_loss": np.ones(3)}, "z_loss is an attribute of kind 1"),
        ({"reduction": "median"}, "reduction is median"),
    ],
)
def test_a_call_that_this_module_does_not_make(change, message):
    logits, target = draw("softmax_cross_entropy")
    attributes = {
        "loss": "softmax_cross_entropy",
        "reduction": "mean",
        "operands": "logits target",
        "results": "loss",
        "rank": np.int64(2),
    }
    call = jax.ffi.ffi_call("xentrs_loss", jax.ShapeDtypeStruct((), jnp.float32))
    assert np.isfinite(call(logits, target, **attributes))
    with pytest.raises(jax.errors.JaxRuntimeError, match=f"INTERNAL: {message}"):
        call(logits, target, **(attributes | change)).block_until_ready()


@pytest.mark.parametrize(
    ("place", "target", "message"),
    [
        (jax.ShapeDtypeStruct((), "float64"), None, "loss is of XLA's type 12"),
        (jax.ShapeDtypeStruct((2,), "float32"), None, "there is place for 2 losses"),
        (None, np.zeros(ROWS, "int16"), "target is of XLA's type 3"),
        (None, np.zeros(ROWS + 1, "int32"), r"target must have shape \(6,\), got \(7,\)"),
        (None, np.zeros((ROWS, CLASSES + 1), "float32"), r"target must have shape \(6, 5\), got \(36,\)"),
    ],
)
def test_buffers_that_do_not_fit(place, target, message):
    logits, classes = draw("softmax_cross_entropy")
    call = jax.ffi.ffi_call("xentrs_loss", jax.ShapeDtypeStruct((), "float32") if place is None else place)
    names = {"operands": "logits target", "results": "loss", "rank": np.int64(2)}
    with pytest.raises(WRONG, match=message):
        call(
            logits,
            classes if target is None else target,
            loss="softmax_cross_entropy",
            reduction="mean",
            **names,
        ).block_until_ready()


def test_a_result_over_an_operand_is_refused():
    logits, target = draw("softmax_cross_entropy")
    call = jax.ffi.ffi_call("xentrs_loss", jax.ShapeDtypeStruct(logits.shape, "float32"), input_output_aliases={0: 0})
    names = {"operands": "logits target", "results": "grad", "rank": np.int64(2)}
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: grad overlaps logits"):
        call(logits, target, loss="softmax_cross_entropy", reduction="mean", **names).block_until_ready()


# ---------------------------------------------------------------------------------------------------------- edges, use


def test_edges():
    f = xj.softmax_cross_entropy
    for shape in [(0, 3), (2, 0, 3), (3, 1)]:
        logits, target = draw("softmax_cross_entropy", shape=shape)
        assert_same(jax.value_and_grad(f)(logits, target), reference("softmax_cross_entropy", logits, target))
    empty = jax.vmap(jax.grad(f))(jnp.zeros((0, 4, 3), jnp.float32), jnp.zeros((0, 4), jnp.int32))
    assert empty.shape == (0, 4, 3)
    logits, target = draw("softmax_cross_entropy")
    ignored = jax.value_and_grad(f)(logits * jnp.nan, jnp.full(ROWS, -100))
    assert ignored[0] == 0 and not ignored[1].any()
    confident = f(jnp.array([[17.0, 0.0]], jnp.float32), jnp.array([0]))
    assert confident == pytest.approx(4.1399e-8, rel=1e-4)
    assert f([[2.0, 1.0]], [0]).dtype == jnp.asarray(1.0).dtype


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_the_bits_do_not_depend_on_threads(n_threads):
    logits, target = draw("softmax_cross_entropy", shape=(512, 300))
    before = xe.get_num_threads()
    try:
        xe.set_num_threads(n_threads)
        actual = jax.jit(jax.value_and_grad(xj.softmax_cross_entropy))(logits, target)
    finally:
        xe.set_num_threads(before)
    assert_same(actual, reference("softmax_cross_entropy", logits, target))


def test_from_many_threads_of_python():
    logits, target = draw("softmax_cross_entropy", shape=(512, 300))
    expected = reference("softmax_cross_entropy", logits, target)
    f, wrong = jax.jit(jax.value_and_grad(xj.softmax_cross_entropy)), []

    def work():
        for _ in range(20):
            loss, grad = f(logits, target)
            if loss != np.float32(expected.loss) or (np.array(grad) != expected.grad).any():
                wrong.append(loss)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_caller_without_the_interpreter_lock_is_not_needed():
    """XLA computes in the background, and calls the core while Python waits for something else."""
    logits, target = draw("softmax_cross_entropy", shape=(2048, 1000))
    results = [jax.jit(xj.softmax_cross_entropy)(logits, target) for _ in range(4)]
    assert len({float(result) for result in results}) == 1


@pytest.mark.parametrize("name", xj.__all__)
def test_every_docstring_is_complete(name):
    assert missing_in_docstring(f"xentrs.jax.{name}") == []


def test_the_page_of_the_guide_runs():
    page = Path(__file__).parents[2] / "docs" / "jax.md"
    with x64(False):
        result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted > 10 and result.failed == 0
