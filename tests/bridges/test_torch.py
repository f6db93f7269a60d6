"""`xentrs.torch` on its own: the numbers of the core, without a copy, with derivatives of every order or none."""

import doctest
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch_bridge  # noqa: E402
import xentrs as xe  # noqa: E402
import xentrs.torch as xt  # noqa: E402
from docstrings import missing_in_docstring  # noqa: E402
from torch_cases import CASES, every_case  # noqa: E402
from xentrs.torch import autograd, core, tensors  # noqa: E402
from xentrs.torch.formulas import formula  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")  # PyTorch's own

REDUCTIONS = ["mean", "sum", "none"]
HALVES = [torch.float16, torch.bfloat16]

every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


def gradients(loss, leaves, up=None):
    return torch.autograd.grad(loss, leaves, torch.ones_like(loss) if up is None else up)


def close(ours, theirs, tolerance=1e-12):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


# --------------------------------------------------------------------------------------------------------- the numbers


@every_case
@every_reduction
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("differentiable", [False, True])
def test_the_numbers_are_those_of_the_core(case, reduction, dtype, differentiable):
    leaves = case.leaves(dtype)
    loss = case.loss(*leaves, reduction=reduction, differentiable=differentiable)
    expected, *grads = case.core(*leaves, reduction=reduction)
    assert loss.dtype == dtype
    np.testing.assert_array_equal(loss.detach().numpy(), np.asarray(expected, dtype=loss.detach().numpy().dtype))
    for ours, theirs in zip(gradients(loss, leaves), grads, strict=False):
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours.numpy(), theirs)


@every_case
@every_reduction
def test_without_a_gradient_the_loss_is_the_same(case, reduction):
    expected = case.core(reduction=reduction).loss
    with torch.no_grad():
        np.testing.assert_array_equal(case.loss(*case.leaves(), reduction=reduction).numpy(), expected)
    assert not case.loss(reduction=reduction).requires_grad


@every_case
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_precision_is_storage(case, dtype):
    """The loss is float32, and as if the logits had been widened; the gradient is rounded once."""
    leaves = case.leaves(dtype)
    wide = [leaf.detach().float().requires_grad_() for leaf in leaves]
    loss, expected = case.loss(*leaves, reduction="sum"), case.loss(*wide, reduction="sum")
    assert loss.dtype == torch.float32
    close(loss, expected, 1e-5)
    for ours, theirs in zip(gradients(loss, leaves), gradients(expected, wide), strict=True):
        assert ours.dtype == dtype
        close(ours, theirs.to(dtype), 2 * torch.finfo(dtype).eps)


@every_case
@every_reduction
@pytest.mark.parametrize("differentiable", [False, True])
def test_what_comes_from_above_is_multiplied_in(case, reduction, differentiable):
    """Signed, a number for each loss; also a second time, from a graph that is kept."""
    leaves = case.leaves()
    loss = case.loss(*leaves, reduction=reduction, differentiable=differentiable)
    up = torch.linspace(-2.0, 3.0, loss.numel(), dtype=torch.float64).reshape(loss.shape)
    expected = gradients(formula_of(case, leaves, reduction), leaves, up)
    for kept in (True, True, False):
        for ours, theirs in zip(torch.autograd.grad(loss, leaves, up, retain_graph=kept), expected, strict=True):
            close(ours, theirs)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(loss, leaves, up)


def test_some_operands_may_not_require_a_gradient():
    case = next(case for case in CASES if len(case.operands) == 3)
    every = case.leaves()
    expected = gradients(case.loss(*every), every)
    for i, leaf in enumerate(every):
        others = [leaf if j == i else other.detach() for j, other in enumerate(every)]
        for differentiable in (False, True):
            (found,) = gradients(case.loss(*others, differentiable=differentiable), [leaf])
            close(found, expected[i])


def test_numbers_are_weights_too():
    logits, target = torch.randn(4, 3), torch.rand(4, 3)
    ours = xt.sigmoid_cross_entropy(logits, target, pos_weight=3, sample_weight=0.5)
    assert ours.item() == pytest.approx(xe.sigmoid_cross_entropy(logits, target, pos_weight=3, sample_weight=0.5))


# --------------------------------------------------------------------------------------------- derivatives of formulas


def formula_of(case, operands, reduction):
    """The loss by PyTorch's operations."""
    seen = []

    def stop(call, **_):
        seen.append(call)
        return torch.zeros(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xentrs.torch.losses.evaluated", stop)
        case.loss(*operands, reduction=reduction)
    return formula(seen[0])


@pytest.mark.parametrize("case", CASES, ids=str)
@every_reduction
def test_the_formula_is_the_loss(case, reduction):
    leaves = case.leaves()
    loss, expected = case.loss(*leaves, reduction=reduction), formula_of(case, leaves, reduction)
    close(loss, expected)
    for ours, theirs in zip(gradients(loss, leaves), gradients(expected, leaves), strict=True):
        close(ours, theirs)


@every_case
@every_reduction
def test_first_derivatives(case, reduction):
    for differentiable in (False, True):
        assert torch.autograd.gradcheck(
            lambda *leaves: case.loss(*leaves, reduction=reduction, differentiable=differentiable),  # noqa: B023
            case.leaves(),
            fast_mode=True,
        )


@every_case
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_second_derivatives(case, reduction):
    leaves = case.leaves()
    assert torch.autograd.gradgradcheck(
        lambda *leaves: case.loss(*leaves, reduction=reduction, differentiable=True), leaves, fast_mode=True
    )


@every_case
def test_second_derivatives_are_refused_where_they_were_not_asked_for(case):
    leaves = case.leaves()
    with pytest.raises(RuntimeError, match="differentiable=True"):
        torch.autograd.grad(case.loss(*leaves), leaves, create_graph=True)


def test_a_gradient_penalty():
    """The usual way to second derivatives: the square of a gradient, in the loss."""
    x, target = torch.randn(6, 3, dtype=torch.float64), torch.arange(6) % 4

    def trained_by(cross_entropy, **options):
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 4, dtype=torch.float64)
        rows = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(layer(rows), target, **options), rows, create_graph=True)
        slope.square().sum().backward()
        return layer.weight.grad

    expected = trained_by(torch.nn.functional.cross_entropy)
    assert expected.abs().max() > 1e-3
    close(trained_by(xt.softmax_cross_entropy, differentiable=True), expected)
    close(trained_by(xt.cross_entropy, differentiable=True), expected)


# ----------------------------------------------------------------------------------------------------------- no copies


def watched(monkeypatch):
    """The addresses of the arrays that the core is given, and those of the gradients that it returns."""
    given, returned = [], []

    def watch(name):
        original = getattr(core.losses, name)

        def loss(*arrays, **options):
            given.extend(array.ctypes.data for array in arrays if isinstance(array, np.ndarray))
            result = original(*arrays, **options)
            if name.endswith("_with_grad"):
                returned.extend(grad.ctypes.data for grad in result[1:] if grad is not None)
            return result

        monkeypatch.setattr(core.losses, name, loss)

    for name in {case.name for case in CASES}:
        watch(name)
        watch(f"{name}_with_grad")
    return given, returned


@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES], ids=str)
@pytest.mark.parametrize("differentiable", [False, True])
def test_nothing_is_copied(case, dtype, differentiable, monkeypatch):
    given, returned = watched(monkeypatch)
    leaves = case.leaves(dtype)
    labels = case.target[0] if isinstance(case.target, tuple) else case.target
    loss = case.loss(*leaves, differentiable=differentiable)
    grads = torch.autograd.grad(loss, leaves)
    addresses = [leaf.data_ptr() for leaf in leaves[:2]]
    assert given[: len(addresses)] == addresses
    if not isinstance(case.target, tuple):
        assert given[len(addresses)] == labels.data_ptr()
    assert [grad.data_ptr() for grad in grads] == returned


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES], ids=str)
def test_every_layout_gives_the_same_numbers(dtype):
    logits, target = torch.randn(6, 8).to(dtype), torch.arange(6)
    expected = gradients(xt.softmax_cross_entropy(leaf := logits.clone().requires_grad_(), target), leaf)[0]
    wide = torch.zeros(6, 16).to(dtype)
    wide[:, ::2] = logits
    for layout in (logits.t().contiguous().t(), wide[:, ::2], logits[:, None, :].expand(6, 1, 8)[:, 0]):
        leaf = layout.detach().requires_grad_()
        for differentiable in (False, True):
            found = gradients(xt.softmax_cross_entropy(leaf, target, differentiable=differentiable), leaf)[0]
            close(found, expected, 0)


# ------------------------------------------------------------------------------------------------------------ in place


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES], ids=str)
@pytest.mark.parametrize("loss", [xt.softmax_cross_entropy, xt.cross_entropy, xt.sigmoid_cross_entropy])
def test_the_gradient_is_written_over_the_logits(dtype, loss):
    x = torch.randn(5, 4).to(dtype).requires_grad_()
    target = torch.rand(5, 4).to(dtype) if loss is xt.sigmoid_cross_entropy else torch.arange(5) % 4
    (expected,) = gradients(loss(2 * x, target), x)
    logits = 2 * x
    place = logits.data_ptr()
    grads = []
    logits.register_hook(grads.append)
    (found,) = gradients(loss(logits, target, inplace=True), x)
    close(found, expected, 0)
    assert grads[0].data_ptr() == place
    close(logits.detach(), grads[0], 0)


def test_a_second_user_of_overwritten_logits_is_told():
    x = torch.randn(5, 4, requires_grad=True)
    logits = x.exp()  # whose backward pass needs its result
    loss = xt.softmax_cross_entropy(logits, torch.zeros(5, dtype=torch.long), inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_leaves_are_not_overwritten():
    x, target = torch.randn(5, 4, requires_grad=True), torch.zeros(5, dtype=torch.long)
    before = x.detach().clone()
    for leaf in (x, x.view(5, 4)):
        with pytest.raises(RuntimeError, match="must not be a leaf that requires a gradient"):
            xt.softmax_cross_entropy(leaf, target, inplace=True)
    with pytest.raises(IndexError):
        xt.softmax_cross_entropy(logits := 1 * x, target + 9, inplace=True)
    assert torch.equal(x, before) and torch.equal(logits, before)
    with pytest.raises(ValueError, match="inplace must be False where differentiable is True"):
        xt.softmax_cross_entropy(x, target, inplace=True, differentiable=True)


def test_where_no_gradient_is_wanted_nothing_is_overwritten():
    logits, target = torch.randn(5, 4), torch.zeros(5, dtype=torch.long)
    before = logits.clone()
    xt.softmax_cross_entropy(logits, target, inplace=True)
    assert torch.equal(logits, before)


# ------------------------------------------------------------------------------------ a linear layer in half precision


@pytest.mark.parametrize("case", [case for case in CASES if len(case.operands) > 1], ids=str)
@every_reduction
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_products_of_pytorch_give_the_same(case, reduction, chunk, monkeypatch):
    """In float64, where they are as exact as ours: a row at a time, and all at once."""
    leaves = case.leaves()
    expected = case.loss(*leaves, reduction=reduction)
    up = torch.linspace(-1.0, 1.0, expected.numel(), dtype=torch.float64).reshape(expected.shape) + 0.5
    grads = gradients(expected, leaves, up)
    monkeypatch.setattr(core, "_products_pay", lambda x: True)
    monkeypatch.setattr(core, "CHUNK", chunk)
    loss = case.loss(*leaves, reduction=reduction)
    close(loss, expected, 1e-6)  # sums over rows are of float32
    for ours, theirs in zip(gradients(loss, leaves, up), grads, strict=True):
        close(ours, theirs, 1e-6)
    with torch.no_grad():
        close(case.loss(reduction=reduction), expected.detach(), 1e-6)


def test_products_of_pytorch_in_bfloat16(monkeypatch):
    torch.manual_seed(0)
    x, weight = torch.randn(70, 16).bfloat16(), torch.randn(90, 16).bfloat16()
    target = torch.arange(70)
    target[3] = -100
    leaves = x.requires_grad_(), weight.requires_grad_()
    wide = [leaf.detach().float().requires_grad_() for leaf in leaves]
    expected = xt.linear_cross_entropy(*wide, target)
    monkeypatch.setattr(core, "_products_pay", lambda x: x.dtype == torch.bfloat16)
    monkeypatch.setattr(core, "CHUNK", 32 * 90 * 2)
    loss = xt.linear_cross_entropy(*leaves, target)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    for ours, theirs in zip(gradients(loss, leaves), gradients(expected, wide), strict=True):
        assert ours.dtype == torch.bfloat16
        assert torch.linalg.norm(ours - theirs) < 6e-3 * torch.linalg.norm(theirs)


# ----------------------------------------------------------------------------------------------------------- bad input


LOGITS, TARGET = torch.zeros(4, 3), torch.zeros(4, dtype=torch.long)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: xt.softmax_cross_entropy([[1.0]], TARGET), TypeError, r"logits must be a torch.Tensor, got list"),
        (lambda: xt.softmax_cross_entropy(LOGITS, [0] * 4), TypeError, r"target must be a torch.Tensor, got list"),
        (lambda: xt.softmax_cross_entropy(LOGITS.to("meta"), TARGET), NotImplementedError, "on the CPU, got .* meta"),
        (lambda: xt.softmax_cross_entropy(LOGITS, TARGET.to("meta")), NotImplementedError, "target must be on the CPU"),
        (lambda: xt.softmax_cross_entropy(LOGITS.to_sparse(), TARGET), NotImplementedError, "logits must be dense"),
        (
            lambda: xt.softmax_cross_entropy(LOGITS.long(), TARGET),
            TypeError,
            r"logits must be float16.*, got torch.int64; write logits.float\(\)",
        ),
        (lambda: xt.softmax_cross_entropy(LOGITS, TARGET + 7), IndexError, r"in \[0, 3\).*, got 7 at row 0"),
        (lambda: xt.softmax_cross_entropy(LOGITS, TARGET[:3]), ValueError, r"target must have shape \(4,\)"),
        (
            lambda: xt.softmax_cross_entropy(LOGITS, TARGET > 0),
            TypeError,
            r"must be integers .*; write target.long\(\)",
        ),
        (lambda: xt.softmax_cross_entropy(LOGITS, TARGET.float()), ValueError, r"write integers, target.long\(\)$"),
        (lambda: xt.softmax_cross_entropy(LOGITS, TARGET * torch.nan), ValueError, r"write torch.where\(target.isnan"),
        (
            lambda: xt.softmax_cross_entropy(LOGITS, LOGITS.long()),
            ValueError,
            r"target.float\(\), or classes, .*argmax",
        ),
        (lambda: xt.softmax_cross_entropy(LOGITS, (TARGET,) * 3), TypeError, r"\(classes, weights\), got a tuple of 3"),
        (
            lambda: xt.softmax_cross_entropy(LOGITS, TARGET, temperature=torch.ones(()).requires_grad_()),
            NotImplementedError,
            "temperature must not require a gradient.* divide the logits by a temperature that is learnt",
        ),
        (lambda: xt.softmax_cross_entropy(LOGITS, TARGET, ignore_index=0.5), TypeError, "ignore_index must be an int"),
        (lambda: xt.linear_cross_entropy(LOGITS, torch.nn.Linear(3, 5), TARGET), TypeError, r"Linear; write weight\."),
        (lambda: xt.cross_entropy(LOGITS.long(), TARGET), NotImplementedError, r"input.*; write input.float\(\)"),
        (
            lambda: xt.cross_entropy(torch.zeros(2, 4, 3), TARGET.expand(2, 4)),
            RuntimeError,
            r"write input.movedim\(-1, 1",
        ),
        (lambda: xt.softmax_cross_entropy(LOGITS, TARGET, temperature=0.0), ValueError, "temperature must be positive"),
        (lambda: xt.softmax_cross_entropy(LOGITS, TARGET, reduction="avg"), ValueError, "reduction must be"),
        (
            lambda: xt.softmax_cross_entropy(LOGITS, LOGITS.clone().requires_grad_()),
            NotImplementedError,
            r"target must not require a gradient.*write target.detach\(\)",
        ),
        (
            lambda: xt.linear_cross_entropy(LOGITS, LOGITS.double(), TARGET),
            TypeError,
            "weight must have the dtype of x",
        ),
        (
            lambda: xt.linear_cross_entropy(LOGITS, LOGITS, LOGITS, kind="sigmoid", softcap=3.0),
            ValueError,
            'options of the kind "softmax"',
        ),
        (lambda: xt.SoftmaxFocalLoss(alpha=0.5), TypeError, r"SoftmaxFocalLoss\(\) got an unexpected .*'alpha'"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_core_names_the_bridge():
    """To a function of arrays, what it cannot read of a tensor."""
    for tensor in (LOGITS.bfloat16(), LOGITS.clone().requires_grad_()):
        with pytest.raises(TypeError, match=r"logits.*xentrs\.torch"):
            xe.softmax_cross_entropy(tensor, TARGET)
        with pytest.raises(TypeError, match=r"logits.*xentrs\.torch"):
            xe.sigmoid_cross_entropy_with_grad(tensor, TARGET)


def test_bfloat16_needs_ml_dtypes(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    tensors._bfloat16.cache_clear()
    with pytest.raises(ImportError, match=r"bfloat16 needs ml_dtypes 0\.4 or newer, .*pip install 'xentrs\[torch\]'"):
        xt.softmax_cross_entropy(LOGITS.bfloat16(), TARGET)


# ----------------------------------------------------------------------------------------------------- PyTorch's state


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_autocast(dtype):
    """Logits are taken as they are, and the loss is float32; a layer's operands are rounded, as those of any layer."""
    case = next(case for case in CASES if len(case.operands) == 3)
    x, weight, bias = case.leaves(torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        logits = torch.nn.functional.linear(x, weight, bias)
        assert logits.dtype == dtype
        loss = xt.softmax_cross_entropy(logits, case.target, **case.options)
        fused = xt.linear_cross_entropy(x, weight, case.target, bias=bias, **case.options)
    assert loss.dtype == fused.dtype == torch.float32
    close(fused, loss, 1e-2)
    for ours, theirs in zip(gradients(fused, (x, weight, bias)), gradients(loss, (x, weight, bias)), strict=True):
        assert ours.dtype == torch.float32
        close(ours, theirs, 3e-2)


@every_case
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(case, reentrant):
    from torch.utils.checkpoint import checkpoint

    leaves = case.leaves()
    expected = gradients(case.loss(*leaves), leaves)
    loss = checkpoint(case.loss, *leaves, use_reentrant=reentrant)
    loss.backward()
    for leaf, grad in zip(leaves, expected, strict=True):
        close(leaf.grad, grad, 0)


def test_checkpointing_in_place():
    from torch.utils.checkpoint import checkpoint

    x, weight, target = torch.randn(6, 3), torch.randn(4, 3, requires_grad=True), torch.arange(6) % 4

    def head(weight, inplace):
        return xt.softmax_cross_entropy(x @ weight.T, target, inplace=inplace)

    (expected,) = gradients(head(weight, False), weight)
    (found,) = gradients(checkpoint(head, weight, True, use_reentrant=False), weight)
    close(found, expected, 0)


def test_saved_gradients_may_be_packed():
    """As by hooks that move what is saved elsewhere."""
    x, target = torch.randn(6, 4, requires_grad=True), torch.arange(6) % 4
    (expected,) = gradients(xt.softmax_cross_entropy(x, target), x, torch.tensor(3.0))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy().copy(), torch.from_numpy):
        loss = xt.softmax_cross_entropy(x, target)
    (found,) = gradients(loss, x, torch.tensor(3.0))
    close(found, expected, 0)


def test_forward_mode_is_refused():
    from torch.autograd import forward_ad

    x, target = torch.randn(4, 3), torch.zeros(4, dtype=torch.long)
    for case_of in (xt.softmax_cross_entropy, xt.cross_entropy):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, torch.ones_like(x))
            with pytest.raises(NotImplementedError, match=r"no forward mode .* jacrev"):
                case_of(dual, target)
        with pytest.raises(NotImplementedError, match=r"no forward mode .* jacrev"):
            torch.func.jvp(lambda x: case_of(x, target), (x,), (x,))  # noqa: B023
        with pytest.raises(NotImplementedError, match=r"no forward mode .* jacrev"):
            torch.func.hessian(lambda x: case_of(x, target))(x)  # noqa: B023


@pytest.mark.thorough
def test_the_peak_of_memory():
    """Of a step of a language model's head: PyTorch's less one array of logits, and that of the gradient in place."""
    n, d, c = 512, 32, 20_000  # beyond 32 MiB, where malloc keeps nothing for later
    ((_, _, steps),) = torch_bridge.of_a_head(n, d, c, torch.float32, None)
    peaks = {}
    for name, (step, _) in steps.items():
        step()
        peaks[name] = torch_bridge.peak(step)
    if not any(peaks.values()):
        pytest.skip("this system does not say how much memory a step took")
    logits, slack = 4 * n * c, 2 << 20
    theirs = peaks[torch_bridge.PYTORCH]
    assert theirs > 2.5 * logits
    assert peaks["xentrs"] <= theirs - logits + slack
    assert peaks["xentrs, in place"] <= theirs - 1.5 * logits + slack
    assert peaks["xentrs, fused"] <= theirs - 1.5 * logits + slack  # of more rows it takes no more, 40 MiB


def test_the_benchmark(monkeypatch):
    """On small tensors: the answers agree, and everyone is timed."""

    def works():
        yield from torch_bridge.of_logits(6, 5, torch.float32, 1.0, None)
        yield from torch_bridge.of_a_head(6, 3, 5, torch.bfloat16, None)

    monkeypatch.setattr(torch_bridge, "works", works)
    found = list(torch_bridge.measured(1))
    assert [len(rows) for rows in found] == [4, 2, 4]
    assert all(row.minimum > 0 for rows in found for row in rows)
    assert any("reach 1 x" in line for rows in found for line in torch_bridge.lines(rows))
    monkeypatch.setattr(torch_bridge.xt, "cross_entropy", lambda *_, **__: torch.tensor(9.0, requires_grad=True))
    with pytest.raises(RuntimeError, match=r"xentrs says 9.0, expected"):
        next(torch_bridge.measured(1))


@pytest.mark.parametrize(
    "name",
    [name for name in xt.__all__ if name not in ("TokenLogprobs", "functional")] + ["functional.linear_cross_entropy"],
)
def test_every_docstring_is_complete(name):
    assert missing_in_docstring(f"xentrs.torch.{name}") == []


def test_the_page_of_the_guide():
    page = Path(__file__).parents[2] / "docs" / "torch.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted > 20
    assert result.failed == 0


def test_each_private_name_that_is_used_is_there():
    """Where PyTorch takes one away the bridge still works, and no longer notices what the name tells."""
    for name in ("_transform", "_modes", "_trace", "_graph_is_kept"):
        assert getattr(autograd, name).__module__ != autograd.__name__, name
