"""The table: figures laid out in lines, with their ratios to the limit and to the peers, and the goals judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from .contest import Figure
from .work import FLOAT32, GRADIENT, HESSIAN, LIMIT, LONG_ROWS, LOSS, PEER, XENTRS, goals

LEGEND = """\
median, min  time of a call of xentrs, over the rounds
GB/s         the inputs read once, the gradient written once, by the median
limit        time of xentrs / time in which as many plain threads read, or read and write, the same bytes: 1 is all
             that the memory gives; none is measured below 1 MiB of logits
peers        time of the peer / time of xentrs: at 2 x xentrs is twice as fast. Peers know no gradient in place, so
             there xentrs is held against their ordinary one, as where the call makes a new array
long rows    softmax cross-entropy, or its gradient, of as many numbers at the rate of rows of 16384 in the cache
float32      the same row in single precision"""


def peers_of(figures: Iterable[Figure]) -> list[str]:
    """Name the peers among the contestants."""
    ours = {XENTRS.name, LIMIT, LONG_ROWS, FLOAT32}
    return list(dict.fromkeys(f.contestant for f in figures if f.contestant not in ours))


def lines(figures: Iterable[Figure], all_peers: bool = True, peers: Sequence[str] | None = None) -> Iterator[str]:
    """Lay out figures as lines of text, one for each row of the table and each work, as they come.

    The columns are those of `peers`, and where it is not given, of all who have a figure.
    """
    figures = list(figures)
    peers = peers_of(figures) if peers is None else peers
    heads = ["median", "min", "GB/s", "limit", *peers]
    yield (
        f"{'':<36}{'':<11}"
        + "".join(f"{head:>{_width(head)}}" for head in heads)
        + ("   reach" if any(f.reach for f in figures) else "")
    )
    for ours in (f for f in figures if f.contestant == XENTRS.name):
        # A peer for which in place makes no difference has one row, under "gradient".
        shared = ours.work if ours.work in (LOSS, HESSIAN) else GRADIENT
        others = {f.contestant: f for f in figures if (f.row, f.work) == (ours.row, shared)}
        unit, scale = ("ms", 1e3) if ours.median >= 1e-3 else ("µs", 1e6)
        cells = [f"{scale * ours.median:.4g} {unit}", f"{scale * ours.minimum:.4g} {unit}"]
        cells += [f"{ours.bytes / ours.median / 1e9:.1f}"]
        cells += [f"{ours.median / others[LIMIT].median:.2f}" if LIMIT in others else "-"]
        cells += [_times(others[peer].median / ours.median) if peer in others else "-" for peer in peers]
        line = f"{ours.row:<36}{ours.work:<11}"
        line += "".join(f"{cell:>{_width(head)}}" for head, cell in zip(heads, cells, strict=True))
        yield line + (f"   {_verdict(ours, others, peers, all_peers)}" if ours.reach else "")


def reached(goal: str, time: float, others: Mapping[str, float | None]) -> bool | None:
    """Whether a time meets a goal such as ``1.25 x limit or 4 x peer``; None where that cannot be told.

    ``4 x peer``: four times as fast as the fastest peer. ``1.25 x limit``, and all else: at most 1.25 times its time.
    """
    verdicts = []
    for factor, against in goals(goal):
        other = others.get(against)
        bound = 1 / factor if against == PEER else factor
        verdicts.append(None if other is None else time <= bound * other)
    return True if True in verdicts else None if None in verdicts else False


def _verdict(ours: Figure, others: Mapping[str, Figure], peers: Sequence[str], all_peers: bool) -> str:
    """Say whether the goal is met by the medians, and where it is not, whether the minima meet it: noise, perhaps."""

    def judge(of: Callable[[Figure], float]) -> bool | None:
        times: dict[str, float | None] = {name: of(figure) for name, figure in others.items()}
        fastest = min((of(others[peer]) for peer in peers if peer in others), default=None) if all_peers else None
        return reached(ours.reach, of(ours), times | {PEER: fastest})

    verdict = {True: "met", False: "MISSED", None: "untold, for want of a peer"}[met := judge(lambda f: f.median)]
    noisy = met is False and judge(lambda f: f.minimum)
    # What has no column of its own.
    ratios = [f"; {ours.median / others[name].median:.2f} x {name}" for name in (LONG_ROWS, FLOAT32) if name in others]
    return f"{ours.reach}: {verdict}{' (met by the minima)' if noisy else ''}{''.join(ratios)}"


def _times(ratio: float) -> str:
    return f"{ratio:.{0 if ratio >= 99.95 else 1}f} x"


def _width(head: str) -> int:
    return max(11 if head in ("median", "min") else 9, len(head) + 2)
