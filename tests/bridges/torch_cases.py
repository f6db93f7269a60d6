"""What the tests of `xentrs.torch` run on: every loss, with every option somewhere, and its tensors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch

import xentrs as xe
import xentrs.torch as xt
from xentrs.torch import functional


class Case(NamedTuple):
    """A loss of the house, with options."""

    name: str
    operands: tuple[torch.Tensor, ...]
    target: Any
    options: dict[str, Any]

    def __str__(self) -> str:
        kind = "sparse" if isinstance(self.target, tuple) else str(self.target.dtype).removeprefix("torch.")
        shape = "x".join(map(str, self.operands[0].shape))
        return "-".join([self.name, shape, kind, *self.options])

    def loss(self, *operands: torch.Tensor, **more: Any) -> torch.Tensor:
        """That of the bridge, with operands in the place of one's own."""
        operands = operands or self.operands
        bias = {"bias": operands[2]} if len(operands) == 3 else {}
        weights = {} if len(operands) == 1 else {"weight": operands[1]}
        return getattr(xt, self.name)(operands[0], *weights.values(), self.target, **bias, **self.options, **more)

    def core(self, *operands: torch.Tensor, **more: Any) -> Any:
        """That of NumPy's arrays, with gradients."""
        arrays = [operand.detach().numpy() for operand in operands or self.operands]
        bias = {"bias": arrays.pop()} if len(arrays) == 3 else {}
        target = tuple(part.numpy() for part in self.target) if isinstance(self.target, tuple) else self.target.numpy()
        options = {
            name: option.numpy() if isinstance(option, torch.Tensor) else option
            for name, option in self.options.items()
        }
        return getattr(xe, f"{self.name}_with_grad")(*arrays, target, **bias, **options, **more)

    def leaves(self, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
        """Operands that require a gradient."""
        return [operand.detach().to(dtype).requires_grad_() for operand in self.operands]


def cases() -> list[Case]:
    """All of them, small: each option at least once, and those that meet in one line of a formula together."""
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return 2 * torch.randn(shape, generator=rng, dtype=torch.float64)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=rng, dtype=torch.float64)

    def classes(*shape: int, c: int = 4) -> torch.Tensor:
        return torch.randint(c, shape, generator=rng)

    some = classes(5)
    some[2] = -100
    weights = {"class_weight": uniform(4), "sample_weight": uniform(5)}
    mapped = {"temperature": 1.5, "softcap": 4.0, "z_loss": 0.02}
    pairs = torch.tensor([[0, 3], [1, 2], [2, -100], [3, 0], [1, 1]]), uniform(5, 2)
    found = []
    for name, focus in [("softmax_cross_entropy", {}), ("softmax_focal_loss", {"gamma": 1.5})]:
        found += [
            Case(name, (normal(5, 4),), some, focus),
            Case(name, (normal(5, 4),), some, focus | weights | {"label_smoothing": 0.1}),
            Case(name, (normal(5, 4),), uniform(5, 4), focus | weights | mapped),
            Case(name, (normal(5, 4),), pairs, focus | {"label_smoothing": 0.1} | mapped),
            Case(name, (normal(2, 4, 3),), classes(2, 3), focus | {"axis": 1, "ignore_index": 2, "z_loss": 0.1}),
            Case(name, (normal(2, 4, 3),), uniform(2, 4, 3), focus | {"axis": 1, "sample_weight": uniform(2, 1)}),
            Case(name, (normal(4),), classes(), focus),
            Case(name, (normal(5, 4),), some, focus | {"log_prior": normal(4), "temperature": 2.0}),
        ]
    answers = (uniform(5, 4) > 0.5).long()
    answers[1, 2] = -1
    for name, focus in [("sigmoid_cross_entropy", {}), ("sigmoid_focal_loss", {"gamma": 1.5, "alpha": 0.3})]:
        found += [
            Case(name, (normal(5, 4),), uniform(5, 4), focus),
            Case(
                name, (normal(5, 4),), uniform(5, 4) > 0.5, focus | {"pos_weight": uniform(4), "label_smoothing": 0.1}
            ),
            Case(name, (normal(5, 4),), answers, focus | {"ignore_index": -1, "sample_weight": uniform(5)}),
            Case(name, (normal(),), uniform(), focus),
        ]
    asymmetric = {"gamma": 1.0, "gamma_neg": 3.0, "clip": 0.1}
    found.append(Case("sigmoid_focal_loss", (normal(5, 4),), uniform(5, 4), asymmetric))
    name = "linear_cross_entropy"
    layer = normal(5, 3), normal(4, 3), normal(4)
    return [
        *found,
        Case(name, layer[:2], some, {}),
        Case(name, layer, some, weights | mapped | {"label_smoothing": 0.1}),
        Case(name, layer, uniform(5, 4), {"sample_weight": uniform(5)}),
        Case(name, layer, pairs, {"log_prior": normal(4)}),
        Case(name, (normal(2, 3, 3), *layer[1:]), classes(2, 3), {"sample_weight": uniform(2, 3)}),
        Case(name, layer, answers.abs(), {"kind": "sigmoid", "pos_weight": uniform(4), "sample_weight": uniform(5)}),
        Case(name, layer, torch.where(answers < 0, -100, answers), {"kind": "sigmoid", "label_smoothing": 0.1}),
    ]


CASES = cases()

# All of them in `make test-bridges`; in `make test` the first of each loss.
every_case = pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, id=str(case), marks=[pytest.mark.thorough] if case.name in {other.name for other in CASES[:i]} else []
        )
        for i, case in enumerate(CASES)
    ],
)

Loss = Callable[..., torch.Tensor]

OURS: dict[str, Loss] = {name: getattr(functional, name) for name in functional.__all__}
THEIRS: dict[str, Loss] = {
    name: getattr(torch.nn.functional, name) for name in OURS if hasattr(torch.nn.functional, name)
}
