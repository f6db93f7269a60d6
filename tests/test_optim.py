"""SGD and Adam: steps computed by hand, the textbooks' recursions, schedules, and what is refused."""

import numpy as np
import pytest

import xentrs as xe
from xentrs.optim import SGD, Adam, constant, cosine, inverse_scaling, lipschitz


@pytest.mark.parametrize(
    ("options", "expected"),  # three steps from w = 1 with the gradients 1, 1, -2
    [
        ({"learning_rate": 0.5}, [0.5, 0.0, 1.0]),
        ({"learning_rate": 0.5, "momentum": 0.5}, [0.5, -0.25, 0.375]),  # v = 1, 1.5, -1.25
        (
            {"learning_rate": 0.5, "momentum": 0.5, "nesterov": True},
            [0.25, -0.625, 0.6875],
        ),  # g + v/2 = 1.5, 1.75, -2.625
        ({"learning_rate": 0.5, "weight_decay": 0.5}, [0.25, -0.3125, 0.765625]),  # g + w/2 = 1.5, 1.125, -2.15625
        ({"learning_rate": 0.0, "momentum": 0.5}, [1.0, 1.0, 1.0]),
    ],
)
def test_steps_computed_by_hand(options, expected):
    w = np.array([1.0])
    optimizer = SGD([w], **options)
    for gradient, value in zip([1.0, 1.0, -2.0], expected, strict=True):
        optimizer.step([np.array([gradient])])
        assert w[0] == value


def test_nesterov_is_the_gradient_at_the_point_ahead():
    """Sutskever et al. evaluate the gradient at w + momentum * v; the rule keeps that point instead of w."""
    rate, momentum = 0.1, 0.9
    curvature = np.array([1.0, 3.0, 10.0])
    ahead = np.array([1.0, -2.0, 3.0])
    optimizer = SGD([ahead], learning_rate=rate, momentum=momentum, nesterov=True)
    w, v = ahead.copy(), np.zeros(3)
    for _ in range(50):
        v = momentum * v - rate * curvature * (w + momentum * v)
        w = w + v
        optimizer.step([curvature * ahead])
        np.testing.assert_allclose(ahead, w + momentum * v, rtol=1e-12, atol=1e-15)


def test_weight_decay_is_the_gradient_of_the_penalty():
    rng = np.random.default_rng(0)
    decayed = rng.normal(size=(4, 3))
    penalised = decayed.copy()
    options = {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}
    one, other = SGD([decayed], **options, weight_decay=0.3), SGD([penalised], **options)
    for grad in rng.normal(size=(20, 4, 3)):
        one.step([grad])
        other.step([grad + 0.3 * penalised])
    np.testing.assert_array_equal(decayed, penalised)


def test_adam_is_algorithm_1_of_its_authors():
    alpha, beta1, beta2, eps = 0.01, 0.8, 0.95, 1e-3
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3, 2))
    expected, m, v = w.copy(), np.zeros((3, 2)), np.zeros((3, 2))
    optimizer = Adam([w], learning_rate=alpha, beta1=beta1, beta2=beta2, eps=eps)
    for t, g in enumerate(rng.normal(size=(30, 3, 2)), start=1):
        optimizer.step([g])
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        expected = expected - alpha * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        np.testing.assert_allclose(w, expected, rtol=1e-12)
    assert optimizer.n_steps == 30


def test_adams_weight_decay_is_decoupled_from_the_moments():
    """Without a gradient nothing else moves, and the decay is not scaled."""
    w = np.array([4.0, -2.0])
    optimizer = Adam([w], learning_rate=0.5, weight_decay=0.5)
    for _ in range(3):
        optimizer.step([np.zeros(2)])
    np.testing.assert_array_equal(w, [4 * 0.75**3, -2 * 0.75**3])
    assert not optimizer.mean_square[0].any()


def test_adam_does_not_see_the_scale_of_the_gradients():
    rng = np.random.default_rng(0)
    grads, scales = rng.normal(size=(20, 5)), 2.0 ** np.arange(-10, 15, 5)
    plain, scaled = np.zeros(5), np.zeros(5)
    one, other = Adam([plain], eps=0), Adam([scaled], eps=0)
    for grad in grads:
        one.step([grad])
        other.step([grad * scales])
    np.testing.assert_allclose(plain, scaled, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_updates_in_place_whatever_the_layout(dtype):
    whole = np.ones((4, 6), dtype)
    params = [whole[::2, ::-1], np.ones((), dtype), np.ones((0, 3), dtype)]
    grads = [np.ones(param.shape, dtype) for param in params]
    optimizer = SGD(params, learning_rate=np.float64(0.5), momentum=0.5, weight_decay=1.0)
    optimizer.step(grads)
    assert all(kept is given for kept, given in zip(optimizer.params, params, strict=True))
    np.testing.assert_array_equal(whole, [[0] * 6, [1] * 6, [0] * 6, [1] * 6])
    assert params[1] == 0
    assert all((grad == 1).all() for grad in grads)
    assert {param.dtype for param in [*optimizer.params, *optimizer.velocity]} == {np.dtype(dtype)}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_adam_updates_in_place_whatever_the_layout(dtype):
    whole = np.ones((4, 6), dtype)
    params = [whole[::2, ::-1], np.ones((), dtype), np.ones((0, 3), dtype)]
    grads = [np.full(param.shape, 1e-3, dtype) for param in params]
    optimizer = Adam(params, learning_rate=np.float64(0.25), weight_decay=1.0)
    optimizer.step(grads)
    assert all(kept is given for kept, given in zip(optimizer.params, params, strict=True))
    np.testing.assert_allclose(whole, [[0.5] * 6, [1] * 6, [0.5] * 6, [1] * 6], rtol=1e-3)
    assert params[1] == pytest.approx(0.5, rel=1e-3)
    assert all((grad == dtype(1e-3)).all() for grad in grads)
    assert {param.dtype for param in optimizer.params} == {np.dtype(dtype)}
    moments = [*optimizer.mean, *optimizer.mean_square]
    assert {moment.dtype for moment in moments} == {np.dtype(np.float64 if dtype == np.float64 else np.float32)}


def test_the_learning_rate_is_a_schedule():
    w = np.zeros(1)
    optimizer = SGD([w], learning_rate=1.0)
    for t in range(1, 5):
        optimizer.learning_rate = 1 / t
        optimizer.step([np.ones(1)])
    assert w[0] == pytest.approx(-(1 + 1 / 2 + 1 / 3 + 1 / 4))
    with pytest.raises(ValueError, match=r"learning_rate must be in \[0, inf\), got -1"):
        optimizer.learning_rate = -1
    assert optimizer.learning_rate == 0.25


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"learning_rate": -0.1}, ValueError, r"learning_rate must be in \[0, inf\), got -0.1"),
        ({"learning_rate": np.nan}, ValueError, r"learning_rate must be in \[0, inf\), got nan"),
        ({"learning_rate": np.inf}, ValueError, r"learning_rate must be in \[0, inf\), got inf"),
        ({"learning_rate": "0.1"}, TypeError, "learning_rate must be a number, got '0.1'"),
        ({"momentum": 1.0}, ValueError, r"momentum must be in \[0, 1\), got 1.0"),
        ({"momentum": -0.5}, ValueError, r"momentum must be in \[0, 1\), got -0.5"),
        ({"weight_decay": -1}, ValueError, r"weight_decay must be in \[0, inf\), got -1"),
        ({"nesterov": True}, ValueError, r"nesterov needs momentum > 0, got 0.0"),
    ],
)
def test_sgd_refuses_numbers_out_of_range(options, error, message):
    with pytest.raises(error, match=message):
        SGD([np.zeros(3)], **options)


@pytest.mark.parametrize("name", ["learning_rate", "beta1", "beta2", "eps", "weight_decay"])
def test_adam_refuses_numbers_out_of_range(name):
    below = "1" if name.startswith("beta") else "inf"
    for value in (-0.5, float(below), np.nan):
        with pytest.raises(ValueError, match=rf"{name} must be in \[0, {below}\), got {value}"):
            Adam([np.zeros(3)], **{name: value})
    with pytest.raises(TypeError, match=rf"{name} must be a number, got None"):
        Adam([np.zeros(3)], **{name: None})


@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize(
    ("param", "message"),
    [
        ([1.0, 2.0], "got list"),
        (np.zeros(3, int), "got int64"),
        (np.zeros(3, complex), "got complex128"),
        (np.broadcast_to(0.0, 3), "got float64"),  # read-only
        (np.zeros((2, 3))[0, 0], "got float64"),  # a scalar
    ],
)
def test_refuses_parameters_that_it_cannot_write(optimizer, param, message):
    with pytest.raises(TypeError, match=rf"params\[1\] must be a writable floating array, {message}"):
        optimizer([np.zeros(3), param])


@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize("params", [None, 3])
def test_refuses_what_is_no_sequence_of_parameters(optimizer, params):
    with pytest.raises(TypeError, match=f"params must be a sequence of arrays, got {type(params).__name__}"):
        optimizer(params)


@pytest.mark.parametrize(
    ("grads", "error", "message"),
    [
        ([np.ones(3)], ValueError, "grads must hold 2 arrays, got 1"),
        ([np.ones(3), np.ones((1, 2))], ValueError, r"grads\[1\] must have shape \(2,\), got \(1, 2\)"),
        ([np.ones(3), 1.0], ValueError, r"grads\[1\] must have shape \(2,\), got \(\)"),
        ([np.ones(3), np.ones(2, np.float32)], TypeError, r"grads\[1\] must have dtype float64, got float32"),
        ([np.ones(3), [1.0, 1.0]], TypeError, r"grads\[1\] must have dtype float64, got list"),
        (None, TypeError, "grads must be a sequence of arrays, got NoneType"),
    ],
)
def test_a_refused_step_changes_nothing(grads, error, message):
    params = [np.arange(3.0), np.arange(2.0)]
    optimizer = SGD(params, momentum=0.9)
    with pytest.raises(error, match=message):
        optimizer.step(grads)
    np.testing.assert_array_equal(params[0], np.arange(3.0))
    assert not any(velocity.any() for velocity in optimizer.velocity)


def test_a_step_that_adam_refuses_changes_nothing():
    params = [np.arange(3.0), np.arange(2.0)]
    optimizer = Adam(params)
    with pytest.raises(TypeError, match=r"grads\[1\] must have dtype float64, got float32"):
        optimizer.step([np.ones(3), np.ones(2, np.float32)])
    np.testing.assert_array_equal(params[0], np.arange(3.0))
    assert not optimizer.n_steps
    assert not any(mean.any() for mean in optimizer.mean)


@pytest.mark.parametrize(
    ("schedule", "rates"),  # of the steps 0, 1, 2, 3, 4, 5
    [
        (constant(0.5), [0.5] * 6),
        (inverse_scaling(0.6, power=1.0), [0.6, 0.3, 0.2, 0.15, 0.12, 0.1]),
        (inverse_scaling(0.6, power=0.0), [0.6] * 6),
        (inverse_scaling(6.0), [6.0 / np.sqrt(t) for t in (1, 2, 3, 4, 5, 6)]),
        (cosine(1.0, n_steps=4), [1.0, (1 + np.sqrt(0.5)) / 2, 0.5, (1 - np.sqrt(0.5)) / 2, 0.0, 0.0]),
        (cosine(1.0, n_steps=2, final=0.5), [1.0, 0.75, 0.5, 0.5, 0.5, 0.5]),
        (cosine(0.0, n_steps=1, final=0.5), [0.0, 0.5, 0.5, 0.5, 0.5, 0.5]),
        (lipschitz(4.0), [0.25] * 6),
    ],
)
def test_schedules(schedule, rates):
    optimizer = SGD([np.zeros(1)])
    for step, rate in enumerate(rates):
        optimizer.learning_rate = schedule(step)
        assert optimizer.learning_rate == pytest.approx(rate, rel=1e-15, abs=1e-16)
    np.testing.assert_allclose(np.broadcast_to(schedule(np.arange(6)), 6), rates, rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize(
    ("schedule", "error", "message"),
    [
        (lambda: constant(-1.0), ValueError, r"learning_rate must be in \[0, inf\), got -1"),
        (lambda: inverse_scaling(0.1, power=-1), ValueError, r"power must be in \[0, inf\), got -1"),
        (lambda: inverse_scaling(np.nan), ValueError, r"learning_rate must be in \[0, inf\), got nan"),
        (lambda: cosine(0.1, n_steps=0), ValueError, "n_steps must be at least 1, got 0"),
        (lambda: cosine(0.1, n_steps=9, final=np.inf), ValueError, r"final must be in \[0, inf\), got inf"),
        (lambda: cosine("0.1", n_steps=9), TypeError, "learning_rate must be a number, got '0.1'"),
        (lambda: lipschitz(0.0), ValueError, "smoothness must be positive, and its inverse finite, got 0.0"),
        (lambda: lipschitz(1e-320), ValueError, "smoothness must be positive, and its inverse finite, got 1e-320"),
        (lambda: cosine(0.1, n_steps=1.5), TypeError, "n_steps must be an integer, got 1.5"),
        (lambda: lipschitz(np.inf), ValueError, r"smoothness must be in \[0, inf\), got inf"),
    ],
)
def test_schedules_refuse_numbers_out_of_range(schedule, error, message):
    with pytest.raises(error, match=message):
        schedule()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_size", [1, 10])
def test_weight_decay_may_differ_from_weight_to_weight(dtype, batch_size):
    """By hand, a step at a time, and in one call; one row of factors stands for those of all classes."""
    rng = np.random.default_rng(0)
    X, y, decay = rng.normal(size=(30, 4)).astype(dtype), rng.integers(0, 3, 30), rng.uniform(size=4)
    options = {"learning_rate": 0.1, "momentum": 0.8, "nesterov": True}
    whole, steps = ([np.zeros((3, 4), dtype), np.zeros(3, dtype)] for _ in range(2))
    SGD(whole, **options, weight_decay=[decay, 0.0]).linear_epoch(X, y, batch_size=batch_size)
    optimizer = SGD(steps, **options, weight_decay=[decay, 0.0])
    plain = SGD([np.zeros((3, 4), dtype), np.zeros(3, dtype)], **options)
    hand = plain.params
    for first in range(0, 30, batch_size):
        rows = slice(first, first + batch_size)
        for one in (optimizer, plain):
            weight, bias = one.params
            _, grad = xe.softmax_cross_entropy_with_grad(X[rows] @ weight.T + bias, y[rows])
            pull = (decay * weight).astype(dtype) if one is plain else 0
            one.step([grad.T @ X[rows] + pull, grad.sum(axis=0)])
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(whole[0], hand[0], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(steps[0], hand[0], rtol=tolerance, atol=tolerance)
    assert np.abs(hand[0]).max() > 0.1


@pytest.mark.parametrize(
    ("decay", "message"),
    [
        (np.ones(5), r"weight_decay must have the shape of its parameter, \(3, 4\), got \(5,\)"),
        (-np.ones(4), r"weight_decay must be numbers in \[0, inf\)"),
        (np.full(4, np.nan), r"weight_decay must be numbers in \[0, inf\)"),
        (np.array(["a"] * 4), "weight_decay must be numbers, got <U1"),
    ],
)
def test_factors_of_weight_decay_must_fit(decay, message):
    with pytest.raises((TypeError, ValueError), match=message):
        SGD([np.zeros((3, 4)), np.zeros(3)], weight_decay=[decay, 0.0])


def test_the_bias_has_one_factor_in_linear_epoch():
    optimizer = SGD([np.zeros((3, 4)), np.zeros(3)], weight_decay=[0.0, np.ones(3)])
    with pytest.raises(ValueError, match="weight_decay of the bias must be one number, got an array"):
        optimizer.linear_epoch(np.zeros((5, 4)), [0, 1, 2, 0, 1])
