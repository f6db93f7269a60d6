"""Under PyTorch's names `xentrs.torch` does what PyTorch does: its own test inputs, its means, its errors."""

import inspect
import itertools
import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import xentrs.torch as xt  # noqa: E402
from torch_cases import OURS, THEIRS  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")  # PyTorch's own

by_name = pytest.mark.parametrize("name", THEIRS)
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


HALVES = DTYPES[2:]


def same(ours, theirs, *operands, slack=1):
    """Loss, its dtype and shape, and the gradients of its sum weighted by numbers of either sign.

    `ours` and `theirs` are functions of the operands. In half precision theirs is computed of widened ones, and
    rounded. There `slack` makes room for logits that are rounded too.
    """
    dtype = operands[0].dtype
    rtol = {torch.float64: 1e-11, torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}[dtype]
    rtol *= slack if dtype in HALVES else 1
    leaves = [operand.detach().requires_grad_() for operand in operands]
    others = [operand.detach().requires_grad_() for operand in operands]
    if dtype in HALVES:
        others = [operand.detach().float().requires_grad_() for operand in operands]
    found, expected = ours(*leaves), theirs(*others)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected.to(dtype), rtol=rtol, atol=rtol, equal_nan=True)
    if expected.isnan().any():
        return
    up = torch.linspace(-1, 1.5, max(found.numel(), 1), dtype=dtype)[: found.numel()].reshape(found.shape)
    grads = torch.autograd.grad(expected, others, up.to(expected.dtype))
    for mine, other in zip(torch.autograd.grad(found, leaves, up), grads, strict=True):
        if dtype in HALVES:
            error = torch.linalg.vector_norm(mine.float() - other)
            assert (mine.shape, mine.dtype) == (other.shape, dtype)
            assert error <= rtol * max(torch.linalg.vector_norm(other), 1)
        else:
            torch.testing.assert_close(mine, other, rtol=rtol, atol=rtol)


# ------------------------------------------------------------------------------------------------ what it is called by


@by_name
def test_signatures(name):
    """PyTorch's own, and keywords of ours behind it."""
    ours, theirs = (inspect.signature(function).parameters for function in (OURS[name], THEIRS[name]))
    assert list(ours)[: len(theirs)] == list(theirs)
    for parameter in theirs.values():
        assert ours[parameter.name].default == parameter.default
        assert ours[parameter.name].kind == parameter.kind
    assert all(ours[added].kind == inspect.Parameter.KEYWORD_ONLY for added in list(ours)[len(theirs) :])


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "BCEWithLogitsLoss", "LinearCrossEntropyLoss"])
def test_modules_are_pytorchs(name):
    if not hasattr(torch.nn, name):
        with pytest.raises(ImportError, match="no LinearCrossEntropyLoss"):
            xt.LinearCrossEntropyLoss(3, 4)
        return
    ours, theirs = getattr(xt, name), getattr(torch.nn, name)
    assert issubclass(ours, theirs)
    assert inspect.signature(ours) == inspect.signature(theirs)


def module_inputs():
    """PyTorch's own, of the three modules."""
    common = pytest.importorskip("torch.testing._internal.common_modules", reason="PyTorch's tests are not installed")
    for info in common.module_db:
        name = info.name.removeprefix("nn.")
        if hasattr(xt, name):
            for dtype in DTYPES:
                if dtype in info.dtypes:
                    torch.manual_seed(0)
                    inputs = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=True)
                    yield from ((name, info.module_cls, dtype, sample) for sample in inputs)


@pytest.mark.thorough
def test_pytorchs_own_module_inputs():
    seen = set()
    for name, theirs, dtype, sample in module_inputs():
        made = sample.constructor_input
        torch.manual_seed(1)
        module = theirs(*made.args, **made.kwargs)
        torch.manual_seed(1)
        ours = getattr(xt, name)(*made.args, **made.kwargs)
        ours.load_state_dict(module.state_dict())
        input, target = sample.forward_input.args
        if made.kwargs.get("options") is not None:  # PyTorch's fused way, whose backward pass has rules of its own
            module.options = None
        names = list(dict(module.named_parameters()))

        def of(module, target=target, names=names):
            def loss(rows, *parameters):
                buffers = {name: buffer.to(rows.dtype) for name, buffer in module.named_buffers()}
                swapped = dict(zip(names, parameters, strict=True)) | buffers
                labels = target.to(rows.dtype) if target.is_floating_point() else target
                return torch.func.functional_call(module, swapped, (rows, labels))

            return loss

        same(of(ours), of(module), input, *module.parameters(), slack=5 if name.startswith("Linear") else 1)
        seen.add((name, dtype))
    assert {name for name, _ in seen} >= {"CrossEntropyLoss", "BCEWithLogitsLoss"}


# --------------------------------------------------------------------------------------------------------- the numbers


def compared(name, operands, target, **options):
    """Hold a function against PyTorch's of that name."""

    def of(function):
        def loss(*operands):
            def cast(given):
                floating = isinstance(given, torch.Tensor) and given.is_floating_point()
                return given.to(operands[0].dtype) if floating else given

            return function(*operands, cast(target), **{name: cast(option) for name, option in options.items()})

        return loss

    same(of(OURS[name]), of(THEIRS[name]), *operands)


SHAPES = [(5, 4), (4,), (2, 4, 3), (2, 4, 3, 2), (0, 4), (5, 1)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy(shape, dtype):
    """Every option with every other; weights and distributions of either sign."""
    torch.manual_seed(0)
    c = shape[min(len(shape) - 1, 1)]
    input = (2 * torch.randn(shape)).to(dtype).requires_grad_()
    classes = torch.randint(c, shape[:1] + shape[2:] if len(shape) > 1 else ())
    some = torch.where(torch.rand(classes.shape) < 0.4, -100, classes)
    soft = torch.rand(shape).to(dtype)
    targets, weights = [classes, some, soft], [None, torch.rand(c).to(dtype)]
    if dtype not in HALVES:  # in which terms of both signs leave nothing but rounding errors
        targets.append(soft - 0.3)
        weights.append(torch.linspace(-1, 1, c).to(dtype))
    for target, weight, smoothing, reduction in itertools.product(
        targets, weights, [0.0, 0.1], ["mean", "sum", "none"]
    ):
        options = {"weight": weight, "label_smoothing": smoothing, "reduction": reduction}
        if weight is not None and reduction == "mean" and not target.is_floating_point():
            total = weight[target[target != -100]].sum()
            if total.abs() < 0.1:  # PyTorch divides by what rounding has left of nothing
                continue
        compared("cross_entropy", (input,), target, **options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(5, 4), (4,), (), (2, 3, 4), (0, 4)], ids=str)
def test_binary_cross_entropy_with_logits(shape, dtype):
    torch.manual_seed(0)
    input = (2 * torch.randn(shape)).to(dtype).requires_grad_()
    target = torch.rand(shape).to(dtype)
    last = shape[-1:]
    answers_of = [target, target.round()]
    weights, pos_weights = [None, torch.rand(last).to(dtype)], [None, 2 * torch.rand(last).to(dtype)]
    if dtype not in HALVES:  # in which terms of both signs leave nothing but rounding errors
        answers_of.append(2 * target - 0.5)
        weights.append(torch.linspace(-1, 1, math.prod(shape)).reshape(shape).to(dtype))
        pos_weights.append(torch.tensor(-0.5).to(dtype))
    for answers, weight, pos_weight, reduction in itertools.product(
        answers_of, weights, pos_weights, ["mean", "sum", "none"]
    ):
        options = {"weight": weight, "pos_weight": pos_weight, "reduction": reduction}
        compared("binary_cross_entropy_with_logits", (input,), answers, **options)


def test_weights_for_each_row_are_no_weights_for_each_element():
    """A weight of PyTorch's is broadcast from the right, also where there are as many rows as columns."""
    input, target = torch.randn(4, 4, requires_grad=True), torch.rand(4, 4)
    for weight in (torch.rand(4), torch.rand(4, 1), torch.rand(1, 4)):
        compared("binary_cross_entropy_with_logits", (input,), target, weight=weight)


def linear_reference(input, linear_weight, target, *, linear_bias=None, **options):
    """What PyTorch's documentation says that it does."""
    c, *between = linear_weight.shape[:-1]
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = torch.nn.functional.linear(input, linear_weight.reshape(-1, linear_weight.shape[-1]), bias)
    return torch.nn.functional.cross_entropy(logits.reshape(*input.shape[:-1], c, *between), target, **options)


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize(("rows", "between"), [((5,), ()), ((), ()), ((5,), (3, 2))])
def test_linear_cross_entropy(rows, between, dtype):
    torch.manual_seed(0)
    leaves = [torch.randn(shape).to(dtype).requires_grad_() for shape in ((*rows, 3), (4, *between, 3), (4, *between))]
    classes = torch.randint(4, (*rows, *between))
    soft = torch.rand(*rows, 4, *between).to(dtype)
    weights = [None, torch.rand(4).to(dtype), torch.tensor([1.0, -0.5, 0.25, 2.0]).to(dtype)]
    for target, weight, smoothing, reduction in itertools.product(
        [classes, soft], weights, [0.0, 0.1], ["mean", "sum", "none"]
    ):
        options = {"weight": weight, "label_smoothing": smoothing, "reduction": reduction}
        for given in (leaves, leaves[:2]):

            def of(function, target=target, options=options):
                return lambda x, w, bias=None: function(x, w, target, linear_bias=bias, **options)

            same(of(OURS["linear_cross_entropy"]), of(linear_reference), *given)


def test_the_mean_of_nothing_is_not_a_number():
    for target in (torch.full((3,), -100), torch.zeros(0, dtype=torch.long)):
        logits = torch.randn(len(target), 4, requires_grad=True)
        assert xt.cross_entropy(logits, target).isnan()
        assert xt.softmax_cross_entropy(logits, target) == 0.0
    assert xt.cross_entropy(torch.zeros(2, 2), torch.tensor([0, 0]), weight=torch.tensor([0.0, 1.0])).isnan()
    assert xt.cross_entropy(torch.tensor([[200.0, 0.0]], dtype=torch.float64), torch.tensor([0])) == pytest.approx(0.0)


def test_confident_predictions_keep_their_loss():
    """Where PyTorch has lost it: the one number that differs, on purpose."""
    logits, target = torch.tensor([[17.0, 0.0]]), torch.tensor([0])
    assert THEIRS["cross_entropy"](logits, target) == 0.0
    assert xt.cross_entropy(logits, target).item() == pytest.approx(4.1399e-8, rel=1e-4)


@by_name
def test_targets_and_weights_may_be_trained(name):
    torch.manual_seed(0)
    input, target = torch.randn(4, 3, requires_grad=True), torch.rand(4, 3, requires_grad=True)
    layer = [torch.randn(3, 3, requires_grad=True)] if name.startswith("linear") else []
    same(OURS[name], THEIRS[name], input, *layer, target)


@pytest.mark.parametrize(("size_average", "reduce"), [(False, None), (None, False), (True, None), (None, True)])
def test_deprecated_arguments(size_average, reduce):
    input, target = torch.randn(3, 4), torch.arange(3)
    with pytest.warns(UserWarning, match="deprecated; write reduction="):
        ours = xt.cross_entropy(input, target, None, size_average, -100, reduce)
    with pytest.warns(UserWarning, match="will be deprecated"):
        theirs = THEIRS["cross_entropy"](input, target, None, size_average, -100, reduce)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("soft", [torch.float32, torch.float64, None], ids=str)
def test_dtypes_of_losses(dtype, soft):
    input, target = torch.randn(4, 3).to(dtype), torch.arange(4) % 3
    if soft is not None:
        target = torch.rand(4, 3).to(soft)
    assert xt.cross_entropy(input, target).dtype == THEIRS["cross_entropy"](input, target).dtype


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy_with_logits"])
def test_autocast(name):
    x = torch.randn(4, 3).bfloat16()
    target = torch.arange(4) % 3 if name == "cross_entropy" else torch.rand(4, 3).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = OURS[name](x, target), THEIRS[name](x, target)
    assert ours.dtype == theirs.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


# -------------------------------------------------------------------------------------------------------------- errors

Z, T, W = torch.zeros(4, 5), torch.zeros(4, dtype=torch.long), torch.zeros(5, 3)
X = torch.zeros(4, 3)

BAD = {
    "cross_entropy": {
        "fewer labels": (Z, T[:3]),
        "a column of labels": (Z, T[:, None]),
        "floats for classes": (Z, T.float()),
        "booleans for classes": (Z, T.bool()),
        "integers for distributions": (Z, Z.long()),
        "distributions of other classes": (Z, Z[:, :4]),
        "another plane": (torch.zeros(2, 3, 4), torch.zeros(2, 5).long()),
        "no plane": (torch.zeros(2, 3, 4), torch.zeros(2).long()),
        "no classes": (torch.tensor(1.0), torch.tensor(0)),
        "a label that is too large": (Z, T + 12),
        "a label that is negative": (Z, T - 1),
        "weights of other classes": (Z, T, torch.ones(4)),
        "a row of weights": (Z, T, torch.ones(1, 5)),
        "a list of weights": (Z, T, [1.0] * 5),
        "a list": ([[0.0]], T),
        "a list of labels": (Z, [0] * 4),
        "integers": (Z.long(), T),
        "complex numbers": (Z.to(torch.complex64), T),
        "another reduction": (Z, T, None, None, -100, None, "avg"),
        "too much smoothing": (Z, T, None, None, -100, None, "mean", 1.5),
        "logits elsewhere": (Z.to("meta"), T),
    },
    "binary_cross_entropy_with_logits": {
        "fewer answers": (Z, Z[:3]),
        "weights of other labels": (Z, Z, torch.ones(3)),
        "more weights": (Z, Z, torch.ones(2, 4, 5)),
        "another reduction": (Z, Z, None, None, None, "avg"),
        "pos_weight of other labels": (Z, Z, None, None, None, "mean", torch.ones(3)),
        "integers": (Z.long(), Z),
        "logits elsewhere": (Z.to("meta"), Z),
    },
    "linear_cross_entropy": {
        "three axes": (X[None], W, T),
        "other features": (X[:, :2], W, T),
        "a vector of weights": (X, W[0], T),
        "other types": (X, W.double(), T),
        "a label that is too large": (X, W, T + 12),
        "fewer labels": (X, W, T[:3]),
        "no rows": (X[0], W[:, None], T[0]),
    },
}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [pytest.param(name, BAD[name][what], id=f"{name}-{what}") for name in THEIRS for what in BAD[name]],
)
def test_errors_are_of_pytorchs_types(name, arguments):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        THEIRS[name](*arguments, **({"reduction": "none"} if "elsewhere" in name else {}))
    with pytest.raises(theirs.type) as ours:
        OURS[name](*arguments)
    assert " must be " in str(ours.value) or " must have " in str(ours.value)
    assert ", got " in str(ours.value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: xt.functional.linear_cross_entropy(X, W, T, linear_bias=W), RuntimeError, r"must have shape \(5,\)"),
        (
            lambda: xt.functional.linear_cross_entropy(X, W, Z, ignore_index=1),
            RuntimeError,
            "ignore_index must be None",
        ),
        (lambda: xt.cross_entropy(Z, T[:, None]), RuntimeError, r"write target.squeeze\(-1\)"),
        (lambda: xt.cross_entropy(Z, Z.long()), RuntimeError, r"target.argmax\(1\)"),
        (lambda: xt.linear_cross_entropy(X, W, T, linear_bias=W), TypeError, "linear_bias"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ------------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize(("optimizer", "rate"), [(torch.optim.SGD, 0.5), (torch.optim.Adam, 0.02)])
def test_one_changed_import_trains_the_same(optimizer, rate):
    """Images of three classes, smoothed, weighted: the losses of both are the same at every step."""

    def curve(cross_entropy):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
        steps = optimizer(model.parameters(), lr=rate)
        x = torch.randn(90, 12)
        y = (x[:, :3] + 0.5 * torch.randn(90, 3)).argmax(1)
        losses = []
        for epoch in range(12):
            for rows in torch.randperm(90).split(30):
                steps.zero_grad()
                weight = torch.tensor([1.0, 2.0, 0.5])
                loss = cross_entropy(model(x[rows]), y[rows], weight, label_smoothing=0.05 * (epoch % 2))
                (loss / 2).backward()
                steps.step()
                losses.append(loss.item())
        return torch.tensor(losses)

    ours, theirs = curve(xt.cross_entropy), curve(torch.nn.functional.cross_entropy)
    assert theirs[-3:].mean() < 0.8 * theirs[:3].mean()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
