"""Layers: their gradients against finite differences, their ends against the truth, and what is refused."""

import mpmath
import numpy as np
import pytest
import scipy.sparse

import xentrs as xe
from xentrs import nn

ACTIVATIONS = [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU]


def differences(loss, array, step=1e-6):
    """Central differences of a function of no arguments by every number of `array`."""
    grad = np.zeros_like(array)
    for i in np.ndindex(array.shape):
        kept = array[i]
        array[i] = kept + step
        above = loss()
        array[i] = kept - step
        grad[i] = (above - loss()) / (2 * step)
        array[i] = kept
    return grad


def assert_gradients(layer, x, rng):
    """Of the sum of the outputs, each times a weight of its own, to the input and to all parameters."""
    factors = rng.normal(size=layer.forward(x).shape)
    to_input = layer.backward(factors)
    grads = [grad.copy() for grad in layer.grads]

    def loss():
        return np.vdot(factors, layer.forward(x))

    np.testing.assert_allclose(to_input, differences(loss, x), rtol=1e-6, atol=1e-8)
    assert len(grads) == len(layer.params)
    for grad, param in zip(grads, layer.params, strict=True):
        np.testing.assert_allclose(grad, differences(loss, param), rtol=1e-6, atol=1e-8)

    layer.forward(x)
    layer.backward(np.zeros_like(factors))
    layer.backward_params(factors)
    for grad, again in zip(grads, layer.grads, strict=True):
        np.testing.assert_array_equal(again, grad)


# --------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_of_an_activation(activation):
    rng = np.random.default_rng(0)
    assert_gradients(activation(), rng.normal(scale=2.0, size=(7, 5)), rng)


@pytest.mark.parametrize(("n", "n_in", "n_out"), [(5, 3, 4), (1, 1, 1), (2, 6, 1), (0, 3, 2)])
@pytest.mark.parametrize("init", ["glorot", "he"])
def test_the_gradient_of_a_dense_layer(n, n_in, n_out, init):
    rng = np.random.default_rng(0)
    layer = nn.Dense(n_in, n_out, init=init, random_state=rng)
    layer.bias[:] = rng.normal(size=n_out)
    assert_gradients(layer, rng.normal(size=(n, n_in)), rng)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_of_a_composition(activation):
    rng = np.random.default_rng(1)
    inner = nn.Sequential(nn.Dense(4, 6, random_state=1), activation())
    network = nn.Sequential(nn.Dense(3, 4, random_state=0), activation(), inner, nn.Dense(6, 2, random_state=2))
    assert len(network.params) == 6
    assert all(param is other for param, other in zip(network.params[2:4], inner.params, strict=True))
    assert_gradients(network, rng.normal(size=(5, 3)), rng)


def test_the_gradient_of_a_cross_entropy_behind_a_network():
    rng, target = np.random.default_rng(2), [0, 2, 1, 1]
    network = nn.Sequential(nn.Dense(3, 5, random_state=0), nn.GELU(), nn.Dense(5, 3, random_state=1))
    x = rng.normal(size=(4, 3))

    def loss():
        return xe.softmax_cross_entropy(network.forward(x), target)

    _, grad = xe.softmax_cross_entropy_with_grad(network.forward(x), target)
    np.testing.assert_allclose(network.backward(grad), differences(loss, x), rtol=1e-6, atol=1e-9)
    for grad, param in zip(network.grads, network.params, strict=True):
        np.testing.assert_allclose(grad, differences(loss, param), rtol=1e-6, atol=1e-9)


def test_no_layers_are_the_identity():
    x = np.ones((2, 3))
    network = nn.Sequential()
    assert network.forward(x) is x
    assert network.backward(x) is x
    network.backward_params(x)
    assert network.params == network.grads == []


# ------------------------------------------------------------------------------------------------------------- values

POINTS = np.array([-700.0, -88.0, -30.0, -17.0, -5.0, -1.0, -1e-3, 0.0, 1e-3, 0.5, 3.0, 9.0, 17.0, 40.0, 88.0, 700.0])


def truth(activation, x):
    """Value and slope with fifty digits."""
    with mpmath.workdps(50):
        x = mpmath.mpf(float(x))
        if activation is nn.ReLU:
            return max(x, 0), mpmath.mpf(x > 0)
        if activation is nn.Tanh:
            return mpmath.tanh(x), mpmath.sech(x) ** 2
        if activation is nn.Sigmoid:
            share = 1 / (1 + mpmath.exp(-x))
            return share, share / (1 + mpmath.exp(x))
        u = 2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)
        share, du = 1 / (1 + mpmath.exp(-u)), 2 * mpmath.sqrt(2 / mpmath.pi) * (1 + 3 * mpmath.mpf("0.044715") * x**2)
        return x * share, share + x * share / (1 + mpmath.exp(u)) * du


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_value_and_slope_at_every_margin(activation, dtype):
    """A GELU's exponent grows like the cube of its argument, and its rounding with it."""
    layer, x = activation(), POINTS.astype(dtype)
    value, slope = layer.forward(x), layer.backward(np.ones_like(x))
    assert value.dtype == slope.dtype == dtype
    expected = np.array([[float(number) for number in truth(activation, point)] for point in x]).T
    tiny = np.finfo(dtype).tiny
    rtol = np.finfo(dtype).eps * (8 if activation is not nn.GELU else 8 * 87)
    np.testing.assert_allclose(value, expected[0], rtol=rtol, atol=tiny)
    np.testing.assert_allclose(slope, expected[1], rtol=rtol, atol=tiny)


def test_huge_numbers_overflow_nothing():
    for dtype in (np.float32, np.float64):
        for largest in (np.finfo(dtype).max, np.inf):
            x = np.array([-largest, largest], dtype)
            for layer, values, slopes in [
                (nn.GELU(), [0, largest], [0, 1]),
                (nn.ReLU(), [0, largest], [0, 1]),
                (nn.Tanh(), [-1, 1], [0, 0]),
                (nn.Sigmoid(), [0, 1], [0, 0]),
            ]:
                np.testing.assert_array_equal(layer.forward(x), np.array(values, dtype))
                np.testing.assert_array_equal(layer.backward(np.ones_like(x)), slopes)


def test_the_draw_of_the_weights():
    layer = nn.Dense(300, 200, random_state=0)
    bound = np.sqrt(6 / 500)
    assert 0.99 * bound < np.abs(layer.weight).max() <= bound
    assert layer.weight.var() == pytest.approx(2 / 500, rel=0.02)
    assert not layer.bias.any()
    assert nn.Dense(300, 200, init="he", random_state=0).weight.var() == pytest.approx(2 / 300, rel=0.02)
    np.testing.assert_array_equal(nn.Dense(300, 200, random_state=0).weight, layer.weight)
    assert (nn.Dense(300, 200, random_state=1).weight != layer.weight).any()
    single = nn.Dense(3, 2, dtype="float32", random_state=np.random.RandomState(0))
    assert {param.dtype for param in single.params} == {np.dtype(np.float32)}
    assert single.forward(np.ones((4, 3), np.float32)).dtype == np.float32


def test_a_layer_of_given_arrays_shares_them():
    weight, bias = np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.ones(2)
    layer = nn.Dense.of(weight, bias)
    assert layer.weight is weight
    assert layer.bias is bias
    np.testing.assert_array_equal(layer.forward(np.eye(3)), weight.T + 1)


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Dense(0, 2), ValueError, "n_in must be at least 1, got 0"),
        (lambda: nn.Dense(3, 2.0), TypeError, "n_out must be an integer, got 2.0"),
        (lambda: nn.Dense(True, 2), TypeError, "n_in must be an integer, got True"),
        (lambda: nn.Dense(3, 2, init="zeros"), ValueError, "init must be .glorot. or .he., got 'zeros'"),
        (lambda: nn.Dense(3, 2, dtype=np.float16), TypeError, "dtype must be float32 or float64, got float16"),
        (lambda: nn.Dense(3, 2, dtype=int), TypeError, "dtype must be float32 or float64, got int64"),
        (lambda: nn.Dense.of([[1.0]], np.ones(1)), TypeError, "weight must be .* float64, got list"),
        (lambda: nn.Dense.of(np.ones((2, 3), int), np.ones(2)), TypeError, "weight must be .* float64, got int64"),
        (lambda: nn.Dense.of(np.ones(3), np.ones(3)), ValueError, "weight must have two dimensions, got 1"),
        (lambda: nn.Dense.of(np.ones((2, 3)), np.ones(3)), ValueError, r"bias must have shape \(2,\), got \(3,\)"),
        (lambda: nn.Sequential(nn.ReLU(), np.tanh), TypeError, r"layers\[1\] must be a Layer, got ufunc"),
        (lambda: nn.Sequential(nn.ReLU), TypeError, r"layers\[0\] must be a Layer, got the class ReLU"),
    ],
)
def test_refuses_layers_that_make_no_sense(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones((4, 2)), ValueError, r"x must have shape \(4, 3\), got \(4, 2\)"),
        (np.ones(3), ValueError, r"x must have shape \(1, 3\), got \(3,\)"),
        (np.ones((4, 3), np.float32), TypeError, "x must be an array of float64, got float32"),
        ([[1.0, 2.0, 3.0]], TypeError, "x must be an array of float64, got list"),
        (scipy.sparse.csr_array(np.ones((4, 3))), TypeError, "x must be an array of float64, got csr_array"),
    ],
)
def test_refuses_input_that_does_not_fit(x, error, message):
    with pytest.raises(error, match=message):
        nn.Dense(3, 2).forward(x)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("x", "got"), [([1.0], "list"), (None, "NoneType"), (np.ones(2, int), "int64"), (np.array(["a"]), "<U1")]
)
def test_activations_refuse_what_is_no_floating_array(activation, x, got):
    layer = activation()
    with pytest.raises(TypeError, match=f"x must be a floating array, got {got}"):
        layer.forward(x)
    with pytest.raises(RuntimeError, match="backward needs a forward pass before it"):
        layer.backward(np.ones(2))


@pytest.mark.parametrize("layer", [nn.Dense(3, 3), *(activation() for activation in ACTIVATIONS)])
def test_refuses_gradients_that_do_not_fit(layer):
    layer.forward(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"grad must have shape \(4, 3\), got \(2, 3\)"):
        layer.backward(np.ones((2, 3)))
    with pytest.raises(TypeError, match="grad must be an array of float64, got float32"):
        layer.backward(np.ones((4, 3), np.float32))


@pytest.mark.parametrize("layer", [nn.Dense(3, 3), *(activation() for activation in ACTIVATIONS)])
def test_there_is_no_backward_without_forward(layer):
    with pytest.raises(RuntimeError, match="backward needs a forward pass before it"):
        type(layer)(*([3, 3] if isinstance(layer, nn.Dense) else [])).backward(np.ones((4, 3)))
