"""`xentrs.torch.token_logprobs`: two results, and derivatives of every order through both."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import xentrs as xe  # noqa: E402
import xentrs.torch as xt  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning"),  # PyTorch's own
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]

TOKEN = torch.tensor([0, 3, -100, 1, 2])
OPTIONS = [{}, {"temperature": 1.5, "softcap": 4.0, "log_prior": torch.tensor([0.5, -1.0, 0.0, 0.25])}]


def operands(name, dtype=torch.float64):
    torch.manual_seed(0)
    shapes = [(5, 4)] if name == "token_logprobs" else [(5, 3), (4, 3), (4,)]
    return [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def ours(name, options, *leaves):
    bias = {"bias": leaves[2]} if len(leaves) > 1 else {}
    return getattr(xt, name)(*leaves[:2], TOKEN, **bias, **options)


def theirs(options, *leaves):
    """By PyTorch's operations."""
    z = leaves[0] if len(leaves) == 1 else torch.nn.functional.linear(*leaves)
    if options:
        z = 4.0 * torch.tanh(z / 4.0) / 1.5 + options["log_prior"]
    log_p = torch.log_softmax(z, -1)
    counts = TOKEN != -100
    logprob = log_p.gather(-1, TOKEN.clamp(min=0)[:, None])[:, 0]
    return torch.where(counts, logprob, 0.0), torch.where(counts, -(log_p.exp() * log_p).sum(-1), 0.0)


both = pytest.mark.parametrize("name", ["token_logprobs", "linear_token_logprobs"])
with_options = pytest.mark.parametrize("options", OPTIONS, ids=["", "mapped"])


@both
@with_options
def test_numbers_and_gradients(name, options):
    leaves = operands(name)
    weights = torch.linspace(-1, 2, 5, dtype=torch.float64), torch.linspace(2, -0.5, 5, dtype=torch.float64)
    found, expected = ours(name, options, *leaves), theirs(options, *leaves)
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)
    for chosen in ([0], [1], [0, 1]):  # one of the results may be left alone
        of_mine, of_other = (
            torch.autograd.grad([results[i] for i in chosen], leaves, [weights[i] for i in chosen], retain_graph=True)
            for results in (found, expected)
        )
        for mine, other in zip(of_mine, of_other, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


@both
@with_options
def test_derivatives(name, options):
    def loss(*leaves):
        return tuple(ours(name, options, *leaves))

    assert torch.autograd.gradcheck(loss, operands(name), fast_mode=True)
    assert torch.autograd.gradgradcheck(loss, operands(name), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_the_numbers_are_those_of_the_core(dtype):
    (logits,) = operands("token_logprobs", dtype)
    found = xt.token_logprobs(logits, TOKEN)
    expected = xe.token_logprobs(logits.detach().float().numpy(), TOKEN.numpy())
    for mine, other in zip(found, expected, strict=True):
        assert mine.dtype == torch.float32
        np.testing.assert_allclose(mine.detach().numpy(), other, rtol=1e-6)
    assert torch.autograd.grad(found.logprob.sum(), logits)[0].dtype == dtype


def test_other_axes():
    logits, token = torch.randn(2, 4, 3, requires_grad=True), torch.ones(2, 3, dtype=torch.long)
    moved = xt.token_logprobs(logits.movedim(1, -1), token)
    for mine, other in zip(xt.token_logprobs(logits, token, axis=1), moved, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
        (of_mine,), (of_other,) = (torch.autograd.grad(r.sum(), logits, retain_graph=True) for r in (mine, other))
        torch.testing.assert_close(of_mine, of_other, rtol=0, atol=0)


def test_transformed_and_compiled():
    (logits,) = operands("token_logprobs")

    def surprise(row, token):
        logprob, entropy = xt.token_logprobs(row, token)
        return 0.1 * entropy - logprob

    each = torch.func.vmap(torch.func.grad(surprise))(logits.detach(), TOKEN)
    (expected,) = torch.autograd.grad(surprise(logits, TOKEN).sum(), logits)
    torch.testing.assert_close(each, expected, rtol=0, atol=0)
    compiled = torch.compile(surprise, fullgraph=True, dynamic=True, backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(logits, TOKEN).sum(), logits)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_bad_token_is_named():
    with pytest.raises(IndexError, match=r"got 9 at row 1"):
        xt.token_logprobs(torch.zeros(2, 3), torch.tensor([0, 9]))
