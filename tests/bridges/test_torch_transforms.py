"""`xentrs.torch` where PyTorch does more than run: compiled, exported, traced, and under torch.func."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.autograd import forward_ad  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402

import xentrs.torch as xt  # noqa: E402
from torch_cases import every_case  # noqa: E402
from xentrs._extras import version_of  # noqa: E402
from xentrs.torch import autograd  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning"),  # PyTorch's own
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),  # of PyTorch 2.6, as the next one
    pytest.mark.filterwarnings("ignore:Skipping serialization:UserWarning"),
]

CLASSES = torch.arange(6) % 4


def close(ours, theirs, tolerance=1e-12):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def gradients(case, leaves):
    return torch.autograd.grad(case.loss(*leaves), leaves)


# ---------------------------------------------------------------------------------------------------------- torch.func


@every_case
def test_grad(case):
    leaves = case.leaves()
    positions = tuple(range(len(leaves)))
    found = torch.func.grad(case.loss, argnums=positions)(*[leaf.detach() for leaf in leaves])
    for ours, theirs in zip(found, gradients(case, leaves), strict=True):
        close(ours, theirs, 0)


@every_case
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_vmap(case, reduction):
    """Several sets of operands at once, the first along another axis than the others."""
    stacks = [torch.stack([operand, -operand, operand / 2], -1) for operand in case.operands]

    def loss(*operands):
        return case.loss(*operands, reduction=reduction)

    def slope(*operands):
        return torch.func.grad(lambda *operands: loss(*operands).sum(), tuple(range(len(operands))))(*operands)

    found = torch.func.vmap(loss, in_dims=-1)(*stacks)
    grads = torch.func.vmap(slope, in_dims=-1)(*stacks)
    for i in range(3):
        leaves = [stack.select(-1, i).detach().clone().requires_grad_() for stack in stacks]
        expected = loss(*leaves)
        close(found[i], expected.detach(), 0)
        for ours, theirs in zip(grads, torch.autograd.grad(expected.sum(), leaves), strict=True):
            close(ours[i], theirs, 0)


def test_gradients_of_single_examples():
    """Of the parameters of a model: what ``vmap(grad)`` is used for most."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 4)
    x = torch.randn(6, 3)

    def loss(parameters, row, label):
        return xt.cross_entropy(torch.func.functional_call(layer, parameters, row), label)

    parameters = {name: parameter.detach() for name, parameter in layer.named_parameters()}
    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, x, CLASSES)
    for i in range(6):
        layer.zero_grad()
        torch.nn.functional.cross_entropy(layer(x[i]), CLASSES[i]).backward()
        close(found["weight"][i], layer.weight.grad, 1e-6)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_jacobians(reduction):
    logits = torch.randn(6, 4, dtype=torch.float64)
    theirs = torch.nn.functional.cross_entropy

    def of(loss):
        return lambda logits: loss(logits, CLASSES, reduction=reduction)

    close(torch.func.jacrev(of(xt.cross_entropy))(logits), torch.func.jacrev(of(theirs))(logits))
    ours = torch.func.jacrev(torch.func.jacrev(of(xt.cross_entropy)))(logits)
    close(ours, torch.func.hessian(of(theirs))(logits))
    slope = torch.func.grad(lambda z: torch.func.grad(lambda z: of(xt.cross_entropy)(z).sum())(z).square().sum())
    expected = torch.func.grad(lambda z: torch.func.grad(lambda z: of(theirs)(z).sum())(z).square().sum())
    close(slope(logits), expected(logits))


# ---------------------------------------------------------------------------------------- compilation, export, tracing


@pytest.mark.thorough
@every_case
def test_operators(case):
    """PyTorch's own tests: the schema, what is declared of results, and autograd's registration."""
    leaves = case.leaves()
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xentrs.torch.losses.evaluated", lambda call, **_: seen.append(call))
        for reduction in ("mean", "none"):
            case.loss(*[leaf.detach() for leaf in leaves], reduction=reduction)
    for call in seen:
        text, numbers = autograd._packed(call)
        operands, beside = list(call.operands), list(call.beside)
        torch.library.opcheck(autograd._value, (operands, beside, text, numbers))
        up = torch.ones(call.shape_of_losses() if call.options["reduction"] == "none" else (), dtype=torch.float64)
        wanted = [True] * len(operands)
        torch.library.opcheck(autograd._grads, (up, operands, beside, text, numbers, wanted))


def compiled_and_not(loss, shapes, dynamic, backend):
    """Check a function of a tensor compiled, on several shapes, against itself."""
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, dynamic=dynamic, backend=backend)
    for n, c in shapes:
        x = torch.randn(n, c, requires_grad=True)
        target = torch.arange(n) % c
        expected = loss(x, target)
        found = compiled(x, target)
        close(found, expected, 1e-6)
        close(torch.autograd.grad(found.sum(), x)[0], torch.autograd.grad(expected.sum(), x)[0], 1e-6)


def focal(x, target):
    return 3 * xt.softmax_focal_loss(torch.sin(2 * x), target, gamma=1.5, reduction="none")


def options_of_the_caller(x, target, smoothing=0.125, ignored=2):
    return xt.softmax_cross_entropy(x, target, label_smoothing=smoothing, ignore_index=ignored)


def behind_a_layer(x, target):
    return xt.linear_cross_entropy(x, torch.cos(x), target % len(x), bias=x.sum(1))


def by_their_names(x, target):
    answers = torch.nn.functional.one_hot(target, x.shape[1]).to(x.dtype)
    soft = xt.cross_entropy(x, answers, label_smoothing=0.1) + xt.cross_entropy(1 * x, target, inplace=True)
    images = xt.cross_entropy(x[:, :, None].expand(-1, -1, 3), target[:, None].expand(-1, 3))
    return soft + images + xt.binary_cross_entropy_with_logits(x, answers, pos_weight=x.detach()[0].abs())


@pytest.mark.parametrize("dynamic", [True, pytest.param(False, marks=pytest.mark.thorough)])
@pytest.mark.parametrize(
    "loss",
    [
        focal,
        *(pytest.param(f, marks=pytest.mark.thorough) for f in (options_of_the_caller, behind_a_layer, by_their_names)),
    ],
)
def test_compiled_in_one_graph(loss, dynamic):
    shapes = [(5, 4), (7, 3), (9, 8)] if dynamic else [(5, 4)]
    compiled_and_not(loss, shapes, dynamic, "aot_eager")


@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.parametrize("loss", [focal, by_their_names])
def test_compiled_to_machine_code(loss):
    compiled_and_not(loss, [(5, 4), (7, 3)], True, "inductor")


@pytest.mark.thorough
def test_compiled_with_numbers_that_are_not_known_before():
    compiled = torch.compile(options_of_the_caller, fullgraph=True, dynamic=True, backend="aot_eager")
    x = torch.randn(6, 4)
    for smoothing, ignored in [(0.1, 2), (0.2, 2), (0.3, 1)]:
        close(compiled(x, CLASSES, smoothing, ignored), options_of_the_caller(x, CLASSES, smoothing, ignored), 1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("module", [xt.CrossEntropyLoss(label_smoothing=0.1), xt.SoftmaxFocalLoss(gamma=1.0)], ids=repr)
def test_a_compiled_training_step(module):
    torch._dynamo.reset()
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 4)
    x = torch.randn(6, 3)

    @torch.compile(fullgraph=True, dynamic=True, backend="aot_eager")
    def step(x, target):
        return module(layer(x), target)

    step(x, CLASSES).backward()
    found, layer.weight.grad = layer.weight.grad, None
    module(layer(x), CLASSES).backward()
    close(found, layer.weight.grad, 1e-6)


def test_forward_mode_in_compiled_code_is_refused():
    """The compiler drops the tangents of functions that are not its own: the derivative would be 0."""
    for transform in (lambda f: lambda x: torch.func.jvp(f, (x,), (x,)), torch.func.hessian):
        compiled = torch.compile(transform(lambda x: xt.softmax_cross_entropy(x, CLASSES)), backend="aot_eager")
        with pytest.raises(NotImplementedError, match=r"no forward mode .* jacrev"):
            compiled(torch.zeros(len(CLASSES), 4))
    torch.compiler.reset()  # a frame that has failed is not compiled again
    compiled, x = torch.compile(xt.softmax_cross_entropy, backend="aot_eager"), torch.zeros(len(CLASSES), 4)
    compiled(x, CLASSES)
    with forward_ad.dual_level():
        assert forward_ad.unpack_dual(compiled(x, CLASSES)).tangent is None
        with pytest.raises(NotImplementedError, match=r"no forward mode .* jacrev"):
            compiled(forward_ad.make_dual(x, x), CLASSES)
    torch.compiler.reset()


def test_a_bad_label_in_compiled_code_is_named():
    compiled = torch.compile(xt.softmax_cross_entropy, fullgraph=True, dynamic=True, backend="aot_eager")
    with pytest.raises(IndexError, match=r"got 9 at row 1"):
        compiled(torch.zeros(2, 3), torch.tensor([0, 9]))


class Head(torch.nn.Module):
    """A layer and its loss."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 4)

    def forward(self, x, target):
        return xt.cross_entropy(self.layer(x), target, reduction="none")


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_export(strict):
    if strict and version_of("torch") < (2, 15):
        pytest.skip("the strict export of PyTorch 2.6 loses symbolic sizes inside a torch.autograd.Function")
    head, x = Head(), torch.randn(6, 3)
    rows = torch.export.Dim("rows", min=2)
    exported = torch.export.export(head, (x, CLASSES), dynamic_shapes=({0: rows}, {0: rows}), strict=strict)
    assert "xentrs.value" in exported.graph_module.print_readable(print_output=False)
    for n in (6, 3):
        close(exported.module()(x[:n], CLASSES[:n]), head(x[:n], CLASSES[:n]), 1e-6)


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_traces_hold_the_operator_not_its_result(mode):
    x = torch.randn(6, 4)
    graph = make_fx(lambda x, target: xt.softmax_cross_entropy(x, target), tracing_mode=mode)(x, CLASSES)
    for other in (x, 2 * x):
        close(graph(other, CLASSES), xt.softmax_cross_entropy(other, CLASSES), 0)


def test_fake_tensors():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x = torch.randn(6, 4).bfloat16().requires_grad_()
        loss = xt.softmax_cross_entropy(x, torch.zeros(6, dtype=torch.long))
        (grad,) = torch.autograd.grad(loss, x)
    assert (loss.shape, loss.dtype) == ((), torch.float32)
    assert (grad.shape, grad.dtype) == (x.shape, x.dtype)
