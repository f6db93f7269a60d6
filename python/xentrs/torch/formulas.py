"""The losses once more, as formulas in PyTorch's own operations: what second derivatives are taken of."""

from __future__ import annotations

import torch
from torch import Tensor

from .call import Call

__all__ = ["formula"]


def formula(call: Call) -> Tensor:
    """The loss of a call."""
    options = call.options
    logits = _computed(call.operands[0])
    if call.is_linear():
        logits = torch.nn.functional.linear(logits, *map(_computed, call.operands[1:]))
    gamma = options.get("gamma", 2.0) if "focal" in call.loss else 0.0
    axis = options.get("axis", -1)
    scale = None
    if call.beside[4] is not None:
        scale = _like(call.beside[4], logits)
        if not call.has_classes() and scale.dim() == logits.dim() - 1:
            scale = scale.unsqueeze(-1)
        # What has no weight counts for nothing, whatever stands in it.
        logits = torch.where(scale.unsqueeze(axis) == 0 if call.has_classes() else scale == 0, 0.0, logits)
    if call.is_of_tokens():
        return of_tokens(logits, call)
    losses, weights = (of_rows if call.has_classes() else of_elements)(logits, call, gamma)
    if scale is not None:
        losses, weights = losses * scale, weights * scale
    if options["reduction"] == "none":
        return losses
    if options["reduction"] == "sum":
        return losses.sum()
    if call.divides_by_count():
        return losses.mean()
    total = weights.sum()
    return losses.sum() / (total if options.get("as_torch") else torch.where(total == 0, 1.0, total))


def of_rows(logits: Tensor, call: Call, gamma: float) -> tuple[Tensor, Tensor]:
    """The losses of rows, and their weights."""
    options, target = call.options, call.target
    shares, class_weight = call.beside[1:3]
    axis = options.get("axis", -1)
    z = logits.movedim(axis, -1)
    c = z.shape[-1]
    ignored = options.get("ignore_index", -100)
    counts = None
    if shares is not None:
        target, shares = target.movedim(axis, -1).long(), _like(shares.movedim(axis, -1), z)
        if ignored is not None:
            shares = torch.where(target == ignored, 0.0, shares)
            target = torch.where(target == ignored, 0, target)
        t = torch.zeros_like(z).scatter_add(-1, target, shares)
    elif target.is_floating_point():
        t = _like(target.movedim(axis, -1), z)
    else:
        target = target.long()
        if ignored is not None:
            counts = target != ignored
            target = torch.where(counts, target, 0)
        t = torch.nn.functional.one_hot(target, c).to(z.dtype)
        if counts is not None:
            t = t * counts.unsqueeze(-1)
            z = torch.where(counts.unsqueeze(-1), z, 0.0)
    w = torch.ones_like(t[..., :1]) if class_weight is None else _like(class_weight, z)
    weight = (w * t).sum(-1)
    smoothing = options.get("label_smoothing", 0.0)
    v = w * ((1 - smoothing) * t + smoothing / c * t.sum(-1, keepdim=True)) if smoothing else w * t
    z = mapped(z, call)
    lse = torch.logsumexp(z, -1)
    surprise = lse.unsqueeze(-1) - z
    if gamma:
        v = v * (-torch.expm1(-surprise)) ** gamma
    loss = torch.where(v == 0, 0.0, v * surprise).sum(-1)
    if options.get("z_loss", 0.0):
        added = options["z_loss"] * lse**2
        loss = loss + (added if counts is None else torch.where(counts, added, 0.0))
    return loss, weight


def of_tokens(logits: Tensor, call: Call) -> Tensor:
    """Log-probabilities of tokens, and entropies."""
    z, token = logits.movedim(call.options.get("axis", -1), -1), call.target.long()
    ignored = call.options.get("ignore_index", -100)
    counts = torch.ones_like(token, dtype=torch.bool) if ignored is None else token != ignored
    log_p = torch.log_softmax(mapped(torch.where(counts.unsqueeze(-1), z, 0.0), call), -1)
    logprob = log_p.gather(-1, torch.where(counts, token, 0).unsqueeze(-1)).squeeze(-1)
    terms = torch.where(log_p == -torch.inf, 0.0, log_p) * log_p.exp()
    return torch.where(counts, torch.stack([logprob, -terms.sum(-1)]), 0.0)


def mapped(z: Tensor, call: Call) -> Tensor:
    """Logits, whose last axis is that of the classes, as the loss looks at them."""
    options, log_prior = call.options, call.beside[5]
    if options.get("softcap") is not None:
        z = options["softcap"] * torch.tanh(z / options["softcap"])
    z = z / options.get("temperature", 1.0)
    return z if log_prior is None else z + _like(log_prior, z)


def of_elements(logits: Tensor, call: Call, gamma: float) -> tuple[Tensor, Tensor]:
    """The losses of elements, and their weights."""
    options, target, pos_weight = call.options, call.target, call.beside[3]
    t = _like(target, logits)
    x, counts = logits, torch.ones_like(logits)
    ignored = options.get("ignore_index", -100 if call.is_linear() else None)
    if ignored is not None:
        kept = target != ignored
        counts = kept.to(x.dtype)
        t, x = torch.where(kept, t, 0.0), torch.where(kept, x, 0.0)
    smoothing = options.get("label_smoothing", 0.0)
    t = (1 - smoothing) * t + smoothing / 2
    positive, negative = t, 1 - t
    if pos_weight is not None:
        positive = positive * _like(pos_weight, x)
    if options.get("alpha") is not None:
        positive, negative = options["alpha"] * positive, (1 - options["alpha"]) * negative
    if gamma:
        positive = positive * torch.sigmoid(-x) ** gamma
    # Of the negative answer, what its probability p is after the margin, and the logarithm of 1 - p.
    margin, other = options.get("clip", 0.0), options.get("gamma_neg")
    p, log_q = torch.sigmoid(x), torch.nn.functional.logsigmoid(-x)
    if margin:
        p = (p - margin).clamp(min=0)
        log_q = torch.log1p(-p)
    if exponent := gamma if other is None else other:
        negative = negative * torch.where(p == 0, 0.0, torch.where(p == 0, 1.0, p) ** exponent)
    lost = torch.where(positive == 0, 0.0, -positive * torch.nn.functional.logsigmoid(x))
    lost = lost + torch.where(negative == 0, 0.0, -negative * log_q)
    return lost * counts, counts


def _computed(tensor: Tensor) -> Tensor:
    """In the type that is computed with."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _like(tensor: Tensor, other: Tensor) -> Tensor:
    return tensor.to(other.dtype)
