"""An epoch of a linear model in one call: the same as steps by hand; order, interrupts, refusals."""

import _thread
import operator
from functools import partial

import numpy as np
import pytest

import xentrs as xe
from xentrs.optim import SGD, inverse_scaling

SIGMOID = {"kind": "sigmoid"}
RULES = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    {"weight_decay": [0.3, 0.0]},
]
OPTIONS = [
    {},
    {"label_smoothing": 0.2, "temperature": 2.0, "softcap": 5.0, "z_loss": 0.01},
    {"ignore_index": 1},
    {"ignore_index": None},
    SIGMOID,
    SIGMOID | {"label_smoothing": 0.1, "ignore_index": 0},
]


def problem(n, d, c, dtype, options, seed=0):
    """Rows, targets, weight and bias, and options with weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(dtype)
    labels = rng.integers(0, 2, (n, c)) if "kind" in options else rng.integers(0, c, n)
    weight, bias = rng.normal(size=(c, d)).astype(dtype), rng.normal(size=c).astype(dtype)
    one_a_class = "pos_weight" if "kind" in options else "class_weight"
    weights = {one_a_class: rng.uniform(0.5, 2, c), "sample_weight": rng.integers(0, 3, n) * 0.5}
    return x, labels, weight, bias, options | weights


def by_hand(optimizer, x, target, options, batch_size, order, rates):
    """The same epoch as steps, batch by batch, from the gradients of sums."""
    weights = options.get("sample_weight")
    options = {name: value for name, value in options.items() if name != "sample_weight"}
    x, target = x[order], tuple(part[order] for part in target) if isinstance(target, tuple) else target[order]
    weights = None if weights is None else weights[order]

    def evaluate(rows):
        part = tuple(part[rows] for part in target) if isinstance(target, tuple) else target[rows]
        options["sample_weight"] = None if weights is None else weights[rows]
        weight, bias = (*optimizer.params, None)[:2]
        answer = xe.linear_cross_entropy_with_grad(x[rows], weight, part, bias=bias, reduction="sum", **options)
        return answer.loss, [answer.grad_weight, answer.grad_bias][: len(optimizer.params)]

    loss = 0.0
    for rate, start in zip(rates, range(0, len(x), batch_size), strict=True):
        rows = slice(start, min(start + batch_size, len(x)))
        value, grads = evaluate(rows)
        optimizer.learning_rate = rate
        optimizer.step([(grad / (rows.stop - rows.start)).astype(x.dtype) for grad in grads])
        loss += value
    return loss / len(x)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_epoch_is_its_steps(options, rule, batch_size, dtype):
    x, target, weight, bias, options = problem(50, 11, 3, dtype, options)
    order = np.random.default_rng(3).permutation(len(x))
    rates = inverse_scaling(0.1)(np.arange(-(-len(x) // batch_size)))
    ours, theirs = [weight.copy(), bias.copy()], [weight, bias]
    optimizer, reference = SGD(ours, **rule), SGD(theirs, **rule)
    loss = optimizer.linear_epoch(x, target, batch_size=batch_size, rng=3, schedule=inverse_scaling(0.1), **options)
    truth = by_hand(reference, x, target, options, batch_size, order, rates)
    rtol = 1e-4 if dtype == np.float32 else 1e-11
    assert loss == pytest.approx(truth, rel=rtol)
    for mine, other in zip([*ours, *optimizer.velocity], [*theirs, *reference.velocity], strict=True):
        if rule.get("momentum") or not np.array_equal(other, np.zeros_like(other)):
            np.testing.assert_allclose(mine, other, rtol=rtol, atol=rtol)
    assert optimizer.n_steps == reference.n_steps == len(rates)


@pytest.mark.parametrize("kind", ["distributions", "sparse"])
@pytest.mark.parametrize("classes", [5, 40])  # few, and more than few
def test_soft_targets_are_visited_in_the_same_order(kind, classes):
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(60, 9)), rng.normal(size=(classes, 9))
    pairs = rng.integers(0, classes, (60, 2)), rng.random((60, 2))
    target = rng.dirichlet(np.ones(classes), 60) if kind == "distributions" else pairs
    ours, theirs = [weight.copy()], [weight]
    loss = SGD(ours).linear_epoch(x, target, batch_size=8, rng=1)
    truth = by_hand(SGD(theirs), x, target, {}, 8, np.random.default_rng(1).permutation(60), [0.1] * 8)
    assert loss == pytest.approx(truth, rel=1e-11)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-10, atol=1e-12)


def test_without_a_seed_rows_are_visited_as_they_stand():
    x, target, weight, bias, _ = problem(33, 4, 3, np.float64, {})
    ours, theirs = [weight.copy(), bias.copy()], [weight, bias]
    SGD(ours).linear_epoch(x[::-1], target, batch_size=5)  # any layout
    by_hand(SGD(theirs), x[::-1], target, {}, 5, np.arange(33), [0.1] * 7)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-11)


@pytest.mark.parametrize("classes", [4, 40])
@pytest.mark.once
def test_large_batches_are_shared_among_threads(classes):
    x, target, weight, bias, options = problem(7000, 40, classes, np.float64, {"label_smoothing": 0.1})
    ours, theirs = [weight.copy(), bias.copy()], [weight, bias]
    loss = SGD(ours).linear_epoch(x, target, batch_size=4000, rng=1, **options)
    order = np.random.default_rng(1).permutation(7000)
    assert loss == pytest.approx(by_hand(SGD(theirs), x, target, options, 4000, order, [0.1] * 2), rel=1e-12)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("batch_size", [1, 64, 3000])
@pytest.mark.once
def test_same_seed_same_bits_for_any_number_of_threads(batch_size):
    x, target, weight, bias, _ = problem(5000, 40, 7, np.float32, {})
    results = []
    for threads in (1, 2, 3, 7):
        params = [weight.copy(), bias.copy()]
        with xe.threads(threads):
            loss = SGD(params, momentum=0.5).linear_epoch(
                x, target, batch_size=batch_size, rng=np.random.default_rng(5)
            )
        results.append((loss, params[0].tobytes(), params[1].tobytes()))
    assert len(set(results)) == 1
    other = [weight.copy(), bias.copy()]
    SGD(other, momentum=0.5).linear_epoch(x, target, batch_size=batch_size, rng=6)
    assert other[0].tobytes() != results[0][1]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_what_does_not_count_changes_nothing_whatever_it_holds(batch_size):
    x = np.array([[np.nan, 1.0], [1.0, 2.0], [np.inf, 0.0]])
    weight, bias = np.zeros((2, 2)), np.zeros(2)
    SGD([weight, bias]).linear_epoch(x, [-100, 1, 0], batch_size=batch_size, sample_weight=[1.0, 1.0, 0.0])
    assert np.isfinite(weight).all()
    assert weight.any()
    before = weight.copy()
    loss = SGD([weight, bias]).linear_epoch(x, [-100, -100, -100], batch_size=batch_size)
    assert loss == 0.0
    np.testing.assert_array_equal(weight, before)


def test_no_rows_make_no_step():
    weight = np.ones((3, 2))
    optimizer = SGD([weight])
    assert optimizer.linear_epoch(np.empty((0, 2)), np.empty(0, int), rng=0) == 0.0
    assert optimizer.linear_epoch(np.empty((0, 2)), [], rng=0) == 0.0
    assert optimizer.n_steps == 0
    np.testing.assert_array_equal(weight, 1.0)


@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.once
def test_an_interrupt_comes_between_steps_and_loses_nothing(monkeypatch):
    """The parameters of an interrupted epoch are those after so many steps."""
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(50_000, 200)), rng.integers(0, 3, 50_000)
    weight, again = np.zeros((3, 200)), np.zeros((3, 200))
    optimizer, epoch = SGD([weight], learning_rate=0.01), xe._core.linear_epoch
    xe.softmax([0.0])  # the first call of a process runs imports, which would see the interrupt

    def interrupted(*args):
        # No bytecode stands between the two calls, so the interrupt is pending when the epoch begins.
        list(map(operator.call, [_thread.interrupt_main, partial(epoch, *args)]))

    monkeypatch.setattr(xe._core, "linear_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        optimizer.linear_epoch(x, target, batch_size=1)
    monkeypatch.undo()
    steps = optimizer.n_steps
    assert 0 < steps < len(x)
    SGD([again], learning_rate=0.01).linear_epoch(x[:steps], target[:steps], batch_size=1)
    np.testing.assert_array_equal(weight, again)


GOOD = {"x": np.zeros((5, 3)), "target": np.zeros(5, int)}


@pytest.mark.parametrize(
    ("params", "change", "error", "message"),
    [
        (
            [np.zeros(3)],
            {},
            ValueError,
            r"params must be a weight of shape \(c, d\) and at most a bias of shape \(c,\)",
        ),
        ([np.zeros((2, 3)), np.zeros(3)], {}, ValueError, "params must be a weight"),
        ([np.zeros((2, 3)), np.zeros(2), np.zeros(2)], {}, ValueError, "params must be a weight"),
        ([np.zeros((2, 4))], {}, ValueError, r"x must have shape \(n, 4\), got \(5, 3\)"),
        (
            [np.zeros((2, 3))],
            {"x": np.zeros(3)},
            ValueError,
            r"x must have shape \(n_samples, n_features\), got \(3,\)",
        ),
        ([np.zeros((2, 3), np.float32)], {}, TypeError, "x and params must all be float32 or all float64"),
        ([np.zeros((2, 3), np.float16)], {"x": np.zeros((5, 3), np.float16)}, TypeError, "x and params must all be"),
        ([np.zeros((3, 2)).T], {}, ValueError, r"params\[0\] must be C-ordered"),
        ([np.zeros((2, 3), ">f8")], {}, TypeError, "x and params must all be float32 or all float64"),
        ([np.zeros((2, 3))], {"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ([np.zeros((2, 3))], {"batch_size": 2.0}, TypeError, "batch_size must be an integer, got 2.0"),
        ([np.zeros((2, 3))], {"schedule": lambda t: -1.0 - t}, ValueError, r"schedule must give .* got -1.0"),
        ([np.zeros((2, 3))], {"schedule": 0.1}, TypeError, "schedule must be callable, got 0.1"),
        ([np.zeros((2, 3))], {"schedule": lambda t: "fast"}, TypeError, "the answer of schedule must be floating"),
        ([np.zeros((2, 3))], {"schedule": lambda t: np.ones(7)}, ValueError, r"each of \d+ steps, got shape \(7,\)"),
        ([np.zeros((2, 3))], {"target": np.full(5, 7)}, IndexError, r"target must be integers in \[0, 2\)"),
        (
            [np.zeros((2, 3))],
            {"target": np.zeros(4, int), "rng": 0},
            ValueError,
            "target must have 5 rows, one for each row of x",
        ),
        ([np.zeros((2, 3))], {"target": np.zeros(4, int)}, ValueError, r"target must have shape \(5,\), got \(4,\)"),
        ([np.zeros((2, 3))], {"kind": "tanh"}, ValueError, 'kind must be "softmax" or "sigmoid"'),
        ([np.zeros((2, 3))], {"pos_weight": np.ones(2)}, ValueError, "pos_weight must be left alone"),
        (
            [np.zeros((2, 3))],
            {"sample_weight": -np.ones(5)},
            ValueError,
            "sample_weight must be finite and non-negative",
        ),
    ],
)
@pytest.mark.once
def test_a_refused_epoch_changes_nothing(params, change, error, message):
    optimizer = SGD(params)
    with pytest.raises(error, match=message):
        optimizer.linear_epoch(**(GOOD | change))
    assert not any(param.any() for param in params)
    assert optimizer.n_steps == 0


def test_what_is_written_must_not_overlap():
    both = np.zeros(6)
    overlap = "must not overlap an input, or another parameter or velocity"
    with pytest.raises(ValueError, match=rf"params\[0\] {overlap}"):
        SGD([both[:4].reshape(2, 2)]).linear_epoch(both.reshape(3, 2), [0, 1, 0])
    with pytest.raises(ValueError, match=rf"params\[1\] {overlap}"):
        SGD([both[:4].reshape(2, 2), both[3:5]]).linear_epoch(np.zeros((3, 2)), [0, 1, 0])
    weight = np.zeros((2, 3))
    with pytest.raises(ValueError, match=rf"params\[0\] {overlap}"):
        SGD([weight]).linear_epoch(np.zeros((3, 3)), weight.T, kind="sigmoid")
    with pytest.raises(ValueError, match=rf"params\[0\] {overlap}"):
        SGD([weight]).linear_epoch(np.zeros((3, 3)), [0, 1, 0], class_weight=weight[:, 0])
    optimizer = SGD([weight], momentum=0.5)
    optimizer.velocity = [weight]
    with pytest.raises(ValueError, match=rf"velocity\[0\] {overlap}"):
        optimizer.linear_epoch(np.zeros((3, 3)), [0, 1, 0])


@pytest.mark.parametrize(
    ("velocity", "error", "message"),
    [
        (np.zeros((3, 2)), ValueError, r"velocity must have the shapes of params, \[\(2, 3\)\], got \[\(3, 2\)\]"),
        (np.zeros((2, 3), np.float32), TypeError, "x and velocity must all be float32 or all float64"),
        (np.zeros((3, 2)).T, ValueError, r"velocity\[0\] must be C-ordered, aligned and writeable"),
    ],
)
@pytest.mark.once
def test_a_velocity_that_was_put_in_place_must_fit(velocity, error, message):
    optimizer = SGD([np.zeros((2, 3))], momentum=0.5)
    optimizer.velocity = [velocity]
    with pytest.raises(error, match=message):
        optimizer.linear_epoch(np.zeros((3, 3)), [0, 1, 0])


@pytest.mark.parametrize("batch_size", [1, 2, 2**62])
def test_models_without_features_or_outputs(batch_size):
    weight, bias = np.zeros((2, 0)), np.zeros(2)
    SGD([weight, bias]).linear_epoch(np.ones((5, 0)), np.zeros(5, int), batch_size=batch_size, rng=0)
    assert bias[0] > 0 > bias[1]
    optimizer = SGD([np.zeros((0, 3)), np.zeros(0)])
    assert optimizer.linear_epoch(np.ones((5, 3)), np.zeros((5, 0)), kind="sigmoid", batch_size=batch_size) == 0.0


@pytest.mark.parametrize("decay", [[0.1], [0.1, 0.2, 0.3]])
def test_weight_decay_is_one_number_or_one_a_parameter(decay):
    with pytest.raises(ValueError, match=f"weight_decay must be one number, or 2, got {len(decay)}"):
        SGD([np.zeros((2, 3)), np.zeros(2)], weight_decay=decay)
