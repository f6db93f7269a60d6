"""The benchmark measures what it says: right answers only, every row, ratios and goals that follow from the figures.

No figure is judged here: a benchmark never gates a test run.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn.datasets import load_wine

import clock
import draw_precision
import draw_speed
import draw_widths
import peers
import run as full
import training
import widths
import xentrs as xe
from registry import CASES, PROBABILITIES
from xentrs import bench
from xentrs.bench import contest, table
from xentrs.bench import work as works
from xentrs.bench.contest import Figure, Limit, measure
from xentrs.bench.work import (
    FLOAT32,
    GRADIENT,
    HESSIAN,
    IN_PLACE,
    LIMIT,
    LONG_ROWS,
    LOSS,
    NUMPY,
    PEER,
    WORKS,
    XENTRS,
    Contestant,
    Row,
    Work,
)

SOFTMAX = Row("softmax_cross_entropy", (300, 7))
SIGMOID = Row("sigmoid_cross_entropy", (500,), "float64")
CATEGORICAL = Row("categorical_cross_entropy", (300, 7))


@pytest.fixture(scope="module", autouse=True)
def jax_is_as_it_was() -> Iterator[None]:
    """A peer asks JAX for double precision, which it then has for the whole process."""
    yield
    if jax := sys.modules.get("jax"):
        jax.config.update("jax_enable_x64", False)


def lines_of(output: str) -> Iterator[tuple[str, str, list[str]]]:
    """Row, work and cells of each line of a table: numbers, of which times and ratios have a unit."""
    for line in output.splitlines():
        if line.startswith(("softmax ", "sigmoid ")):
            yield line[:36].strip(), line[36:45].strip(), re.findall(r"([\d.]+|-)(?: (?:ms|µs|x))?(?:\s|$)", line[45:])


def test_the_command_of_users_prints_every_row() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "xentrs", "bench", "--quick"],
        capture_output=True,
        encoding="utf-8",
        env={"PYTHONIOENCODING": "utf-8", "XENTRS_NUM_THREADS": "2"},
        check=True,
    )
    assert f"xentrs {XENTRS.version}, NumPy {np.__version__}; " in done.stdout
    assert "2 threads" in done.stdout
    quick = [row.name for row in bench.SHORT if row.is_quick]
    printed = list(lines_of(done.stdout))
    assert [(row, work) for row, work, _ in printed] == [(row, work) for row in quick for work in WORKS]
    for _, _, cells in printed:
        median, minimum, speed, limit, numpy = cells
        assert float(median) > 0 and float(minimum) > 0 and float(speed) >= 0 and float(numpy) > 0
        assert limit == "-" or float(limit) > 0


def test_users_run_rows_of_the_table() -> None:
    assert {(row.loss, row.shape, row.dtype) for row in bench.SHORT} <= {row[:3] for row in full.rows()}


@pytest.mark.parametrize("row", full.rows(), ids=lambda row: row.name)
def test_the_goals_of_the_table_can_be_judged(row: Row) -> None:
    for goal in row.reach.values():
        all_at = dict.fromkeys((LIMIT, PEER, LONG_ROWS, FLOAT32), 1.0)
        assert table.reached(goal, 1e-9, all_at) is True
        assert table.reached(goal, 1e9, all_at) is False


@pytest.mark.parametrize(
    "row", [SOFTMAX, SIGMOID, Row("softmax_cross_entropy", (1, 10), "float64"), Row("sigmoid_cross_entropy", (9, 4))]
)
def test_every_contestant_is_right_and_timed(row: Row) -> None:
    """Of the peers those that `dev` brings along; JAX and PyTorch compile for too long."""
    there, _ = peers.installed(threads=2)
    contestants = [XENTRS, NUMPY, *(peer for peer in there if peer.name in ("SciPy", "scikit-learn"))]
    figures = list(measure(row, contestants, quick=True))
    timed = {(name.name, work) for name in contestants for work in (LOSS, GRADIENT)} | {(XENTRS.name, IN_PLACE)}
    assert {(figure.contestant, figure.work) for figure in figures} == timed
    assert all(0 < figure.minimum <= figure.median and figure.rounds == 3 for figure in figures)


@pytest.mark.parametrize("name", ["sigmoid_focal_loss", "hinge_loss", "binary_cross_entropy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_no_peer_computes_is_timed_beside_numpy(name: str, dtype: str) -> None:
    there, _ = peers.installed(threads=2)
    contestants = [XENTRS, NUMPY, *(peer for peer in there if peer.name in ("SciPy", "scikit-learn"))]
    figures = list(measure(Row(name, (1000,), dtype), contestants, quick=True))
    timed = {(figure.contestant, figure.work) for figure in figures}
    in_place = set() if name == "binary_cross_entropy" else {(XENTRS.name, IN_PLACE)}
    assert timed == {(who.name, work) for who in (XENTRS, NUMPY) for work in (LOSS, GRADIENT)} | in_place


@pytest.mark.parametrize("shape", [(300, 6, 7), (40, 5, 60)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layer_is_timed_beside_those_who_know_it(shape: tuple[int, ...], dtype: str) -> None:
    """scikit-learn knows no gradient of the inputs, which is asked for where classes are many."""
    there, _ = peers.installed(threads=2)
    who = [XENTRS, NUMPY, *(peer for peer in there if peer.name in ("SciPy", "scikit-learn"))]
    figures = list(measure(Row("linear_cross_entropy", shape, dtype), who, quick=True))
    timed = {"xentrs", "NumPy"} | ({"scikit-learn"} if shape[-1] <= 32 else set())
    assert {(f.contestant, f.work) for f in figures} == {(name, work) for name in timed for work in (LOSS, GRADIENT)}


@pytest.mark.parametrize(
    ("name", "shape", "works"),
    [
        ("js_smoothness", (300, 7), (LOSS, GRADIENT)),
        ("parity_penalty", (1000,), (LOSS, GRADIENT)),
        ("info_nce", (40, 7), (LOSS, GRADIENT)),
        ("siglip_loss", (40, 7), (LOSS, GRADIENT)),
        ("softmax_stats", (300, 7), (LOSS,)),
        ("logsumexp", (300, 7), (LOSS,)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_joins_rows_or_tells_more_of_them(name: str, shape: tuple[int, ...], works: Any, dtype: str) -> None:
    figures = list(measure(Row(name, shape, dtype), [XENTRS, NUMPY], quick=True))
    assert {(figure.contestant, figure.work) for figure in figures} == {
        (who.name, work) for who in (XENTRS, NUMPY) for work in works
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "other"), [("softmax", xe.log_softmax), ("log_softmax", xe.softmax)])
def test_what_maps_an_array_to_another(name: str, other: Any, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row(name, (300, 7), dtype)
    there, _ = peers.installed(threads=2)
    who = [XENTRS, NUMPY, *(peer for peer in there if peer.name in ("SciPy", "scikit-learn"))]
    timed = {(figure.contestant, figure.work) for figure in measure(row, who, quick=True)}
    assert timed == {(name, GRADIENT) for name in (XENTRS.name, NUMPY.name, "SciPy")} | {(XENTRS.name, IN_PLACE)}
    monkeypatch.setattr(works.losses, name, other)
    with pytest.raises(RuntimeError, match=f"xentrs, {name}.* 300x7 {dtype}, gradient: .* gradients are wrong"):
        list(measure(row, [XENTRS], quick=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_hessian_is_checked_and_timed_where_it_is_asked_for(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("softmax_cross_entropy", (300, 7), dtype)
    large = measure(row._replace(shape=(1000, 300)), [XENTRS], quick=True, works=[HESSIAN])
    assert [(figure.contestant, figure.bytes) for figure in large] == [
        ("xentrs", 1000 * 300 * 3 * np.dtype(dtype).itemsize + 1000 * 8)
    ]
    asked = list(measure(row, [XENTRS, NUMPY], quick=True, works=[HESSIAN]))
    assert {(figure.contestant, figure.work) for figure in asked} == {("xentrs", HESSIAN), ("NumPy", HESSIAN)}
    assert HESSIAN not in {figure.work for figure in measure(row, [XENTRS, NUMPY], quick=True)}
    right = xe.softmax_cross_entropy_with_hess

    def wrong(*given: Any, **options: Any) -> Any:
        answer = right(*given, **options)
        return answer._replace(hess=answer.hess * 1.001)

    monkeypatch.setattr(works.losses, "softmax_cross_entropy_with_hess", wrong)
    with pytest.raises(RuntimeError, match=r"xentrs, .*, Hessian: .* are wrong"):
        list(measure(row, [XENTRS], quick=True, works=[HESSIAN]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_held_to_their_rounding(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("softmax_cross_entropy", (300, 70), dtype)
    figures = list(measure(row, [XENTRS, NUMPY], quick=True))
    assert {(figure.contestant, figure.work) for figure in figures} == {("xentrs", work) for work in WORKS}
    assert {figure.bytes for figure in figures if figure.work == LOSS} == {300 * 70 * 2 + 300 * 8}
    part, _ = works.ROUNDING[dtype]
    right = xe.softmax_cross_entropy_with_grad

    def wrong(*given: Any, **options: Any) -> Any:
        loss, grad = right(*given, **options)
        return loss, (grad.astype(np.float32) * (1 + 4 * part)).astype(grad.dtype)

    monkeypatch.setattr(works.losses, "softmax_cross_entropy_with_grad", wrong)
    with pytest.raises(RuntimeError, match=f"xentrs, softmax 300x70 {dtype}, gradient: .* are wrong"):
        list(measure(row, [XENTRS], quick=True))


def test_a_goal_brings_its_yardstick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is timed with the works whose goals name it, and tells the time of as many numbers."""
    reach = {LOSS: "4 x peer or 1.35 x long rows", GRADIENT: "0.65 x float32"}
    row = Row("softmax_cross_entropy", (300, 70), "float16", reach)
    figures = list(measure(row, [XENTRS], quick=True))
    timed = {(figure.contestant, figure.work) for figure in figures}
    assert timed == {("xentrs", work) for work in WORKS} | {(LONG_ROWS, LOSS), (FLOAT32, GRADIENT)}
    assert works.yardstick(LONG_ROWS, row, 3).shape == (24, works.LONG)
    assert works.yardstick(FLOAT32, row, 3)[:3] == ("softmax_cross_entropy", (300, 70), "float32")
    slow, small = contest.Entrant("xentrs", "1", LOSS, lambda number: 3.0 * number), Work(Row("softmax", (10, 70)))
    assert contest.scaled(slow, LONG_ROWS, small, Work(row)).seconds(2) == 3.0 * 2 * 30


def test_the_limit_moves_the_bytes_of_the_work() -> None:
    row = Row("softmax_cross_entropy", (300, 1000))
    limits = {figure.work: figure for figure in measure(row, [XENTRS], quick=True) if figure.contestant == LIMIT}
    read = 300 * 1000 * 4 + 300 * 8
    assert {work: figure.bytes for work, figure in limits.items()} == {LOSS: read, GRADIENT: read + 300 * 1000 * 4}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_limit_reads_or_copies(dtype: str, threads: int) -> None:
    work = Work(SOFTMAX._replace(dtype=dtype))
    with ThreadPoolExecutor(threads) as pool:
        assert Limit(pool, threads, work, LOSS)(2) > 0
        assert not work.out.any()
        assert Limit(pool, threads, work, GRADIENT)(2) > 0
    assert work.out.tobytes() == work.logits.tobytes()


def test_the_truth_agrees_with_the_oracle_of_the_suite() -> None:
    others = [Row(case.name, (500,), "float64") for case in CASES if not case.has_class_axis]
    for row in (SOFTMAX, SIGMOID, CATEGORICAL, *others):
        work = Work(row)
        (case,) = (case for case in [*CASES, *PROBABILITIES] if case.name == row.loss)
        loss, grad, _ = case.oracle(work.logits, work.target).reduced("mean")
        np.testing.assert_allclose(work.loss, loss, rtol=1e-13)
        np.testing.assert_allclose(work.grad, grad[work.some], rtol=1e-10, atol=1e-16)


def test_what_peers_do_not_know_is_timed_beside_numpy_alone() -> None:
    there, _ = peers.installed(threads=2)
    figures = list(measure(CATEGORICAL, [XENTRS, NUMPY, *there], quick=True))
    timed = {(name, work) for name in (XENTRS.name, NUMPY.name) for work in (LOSS, GRADIENT)}
    assert {(figure.contestant, figure.work) for figure in figures} == timed


@pytest.mark.parametrize("row", [SOFTMAX, SIGMOID, CATEGORICAL], ids=lambda row: row.name)
@pytest.mark.parametrize(
    ("broken", "message"), [(0, "xentrs, .*, loss: the loss is"), (2, "xentrs, .*, gradient: .* gradients are wrong")]
)
def test_a_wrong_answer_is_refused(monkeypatch: pytest.MonkeyPatch, row: Row, broken: int, message: str) -> None:
    """The other way round: with an oracle that is off in the fifth digit all answers are wrong."""
    right = works.oracle

    def wrong(work: Work) -> tuple[Any, ...]:
        truth = list(right(work))
        truth[broken] = truth[broken] * (1 + 5e-5)
        return tuple(truth)

    monkeypatch.setattr(works, "oracle", wrong)
    with pytest.raises(RuntimeError, match=message):
        list(measure(row, [XENTRS], quick=True))


def test_a_wrong_peer_is_refused() -> None:
    nan = Contestant("nan", "1", works.PEER_RTOL, lambda work: {LOSS: lambda: float("nan")})
    with pytest.raises(RuntimeError, match="nan, softmax 300x7 float32, loss: the loss is nan instead of"):
        list(measure(SOFTMAX, [nan], quick=True))
    short = Contestant("short", "1", works.PEER_RTOL, lambda w: {GRADIENT: lambda: (w.loss, w.out[1:])})
    with pytest.raises(RuntimeError, match=r"short, .* has shape \(299, 7\) instead of \(300, 7\)"):
        list(measure(SOFTMAX, [XENTRS, short], quick=True))


def test_a_wrong_answer_costs_no_other_row(capsys: pytest.CaptureFixture[str]) -> None:
    """A run of twenty minutes is not lost, and says at its end what was wrong."""

    def calls(work: Work) -> dict[str, Any]:
        return {LOSS: lambda: work.loss if work.row == SIGMOID else 7.0}

    figures, wrong = bench.run([SOFTMAX, SIGMOID], [Contestant("odd", "1", works.PEER_RTOL, calls)], quick=True)
    assert {figure.row for figure in figures} == {SIGMOID.name}
    assert len(wrong) == 1 and wrong[0].startswith("odd, softmax 300x7 float32, loss: the loss is 7.0")
    assert f"since an answer is wrong: {wrong[0]}" in capsys.readouterr().out


@pytest.mark.parametrize("loss", ["info_nce", "siglip_loss"])
def test_gradients_of_many_terms_are_held_against_their_sizes(loss: str) -> None:
    """A gradient that is a sum of a thousand terms of both signs is as exact as they are, not as it is itself."""
    assert list(measure(Row(loss, (1024, 64)), [XENTRS], quick=True))


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
@pytest.mark.parametrize("name", ["JAX", "PyTorch", "numba", "ONNX Runtime"])
@pytest.mark.parametrize(
    "loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "softmax", "log_softmax", "logsumexp"]
)
def test_a_peer_of_the_extra_is_right(name: str, loss: str) -> None:
    """Skipped where the extra `bench` is not installed, as it is no part of `dev`. torch.compile takes too long."""
    try:
        those = list(peers.MAKERS[name](2))
    except ImportError:
        pytest.skip(f"{name} is not installed")
    for peer in those[:1]:
        for dtype in ("float32", "float64"):
            data = Work(Row(loss, (40, 30), dtype))
            for work, call in peer.calls(data).items():
                works.check(peer.name, work, call(), data, peer.rtol[dtype])


def test_peers_know_what_they_are_asked_for() -> None:
    """A name that nobody knows is left out by all, and so is what only some know by the others."""
    there, _ = peers.installed(threads=2)
    for peer in there:
        assert not peer.calls(Work(Row("hinge_loss", (50,))))
        assert not peer.calls(Work(Row("softmax_focal_loss", (50, 4))))


def test_a_debug_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "build_info", lambda: {"profile": "debug"})
    with pytest.raises(SystemExit, match="a debug build says nothing about speed"):
        bench.run([SOFTMAX], [XENTRS])


def test_a_missing_peer_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    there, missing = peers.installed(threads=2)
    assert "SciPy" in missing and "SciPy" not in [peer.name for peer in there]
    bench.run([SOFTMAX._replace(reach={LOSS: "2 x peer"})], [XENTRS, NUMPY], ["SciPy"], quick=True)
    output = capsys.readouterr().out
    assert "SciPy is not installed: no column" in output
    assert "2 x peer: untold, for want of a peer" in output


# ------------------------------------------------------------------------------------------------------------ the table


@pytest.mark.parametrize(
    ("goal", "time", "met"),
    [
        ("1.25 x limit", 1.25, True),
        ("1.25 x limit", 1.26, False),
        ("4 x peer", 2.0, True),
        ("4 x peer", 2.1, False),
        ("1.25 x limit or 4 x peer", 1.9, True),
        ("1.25 x limit or 4 x peer", 2.1, False),
        ("4 x peer or 1.5 x long rows", 3.0, True),
        ("4 x peer or 1.5 x long rows", 3.1, False),
        ("0.75 x float32", 3.0, True),
        ("0.75 x float32", 3.1, False),
    ],
)
def test_what_a_goal_means(goal: str, time: float, met: bool) -> None:
    assert table.reached(goal, time, {LIMIT: 1.0, PEER: 8.0, LONG_ROWS: 2.0, FLOAT32: 4.0}) is met


def test_a_goal_that_cannot_be_judged() -> None:
    alone = {LIMIT: 1.0, PEER: None}
    assert table.reached("4 x peer", 1.0, alone) is None
    assert table.reached("1.25 x limit or 4 x peer", 1.0, alone) is True
    assert table.reached("1.25 x limit or 4 x peer", 2.0, alone) is None
    assert table.reached("1.35 x long rows", 1.0, alone) is None


def figure(work: str, contestant: str, median: float, minimum: float, reach: str = "") -> Figure:
    return Figure("softmax 1000x1000 float32", work, contestant, "1.0", median, minimum, 7, 1, 4_000_000, reach)


FIGURES = [
    figure(LOSS, "xentrs", 0.002, 0.001, "1.5 x limit"),
    figure(LOSS, "slow", 0.3, 0.2),
    figure(LOSS, "quick", 0.005, 0.004),
    figure(LOSS, LIMIT, 0.001, 0.0009),
    figure(GRADIENT, "xentrs", 0.004, 0.003, "4 x peer"),
    figure(IN_PLACE, "xentrs", 0.002, 0.002, "5 x peer"),
    figure(GRADIENT, "slow", 0.4, 0.3),
    figure(GRADIENT, "quick", 0.01, 0.009),
    figure(GRADIENT, LIMIT, 0.002, 0.002),
]


def test_a_yardstick_is_no_peer() -> None:
    goal = "4 x peer or 1.35 x long rows"
    figures = [
        figure(LOSS, "xentrs", 2.0, 2.0, goal),
        figure(LOSS, "quick", 3.0, 3.0),
        figure(LOSS, LONG_ROWS, 1.0, 1.0),
    ]
    head, line = table.lines(figures)
    assert head.split() == ["median", "min", "GB/s", "limit", "quick", "reach"]
    assert line.endswith(f"1.5 x   {goal}: MISSED; 2.00 x long rows")
    head, line = table.lines(figures, peers=["absent", "quick"])
    assert head.split() == ["median", "min", "GB/s", "limit", "absent", "quick", "reach"]
    assert re.search(r" - +1.5 x   4 x peer", line)


def test_the_table_follows_from_the_figures() -> None:
    head, *lines = table.lines(FIGURES)
    assert head.split() == ["median", "min", "GB/s", "limit", "slow", "quick", "reach"]
    assert [" ".join(line.split()) for line in lines] == [
        "softmax 1000x1000 float32 loss 2 ms 1 ms 2.0 2.00 150 x 2.5 x 1.5 x limit: MISSED (met by the minima)",
        "softmax 1000x1000 float32 gradient 4 ms 3 ms 1.0 2.00 100 x 2.5 x 4 x peer: MISSED",
        "softmax 1000x1000 float32 in place 2 ms 2 ms 2.0 1.00 200 x 5.0 x 5 x peer: met",
    ]


def test_a_record_can_be_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record" / "cpu-2026-01-01.csv"
    about = full.machine() | {"missing": "JAX, PyTorch"}
    assert all(about.values()), "each line of a record says something"
    full.write(record, about, FIGURES)
    assert full.read(record) == (about, FIGURES)
    monkeypatch.setattr(sys, "argv", ["run.py", "--show", str(record)])
    full.main()
    printed = capsys.readouterr().out
    assert f"commit: {about['commit']}" in printed
    assert "1.5 x limit: MISSED (met by the minima)" in printed
    assert "5 x peer: untold, for want of a peer" in printed


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        ("Intel(R) Xeon(R) Processor @ 2.80GHz, cpu family 6, model 106", "intel-xeon-6-106-2026-01-01"),
        ("AMD EPYC, cpu family 26, model 2", "amd-epyc-26-2-2026-01-01"),
        ("arm64", "arm64-2026-01-01"),
    ],
)
def test_records_of_two_processors_have_two_names(cpu: str, name: str) -> None:
    assert full.slug({"cpu": cpu, "date": "2026-01-01"}) == name


def test_the_record_tells_the_clock_or_that_it_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full, "gigahertz", lambda threads: 3.14159)
    assert full.machine()["clock"] == "3.14 GHz as measured"
    monkeypatch.setattr(full, "gigahertz", lambda threads: None)
    assert full.machine()["clock"].startswith("not measured")


def test_the_clock_is_measured() -> None:
    pytest.importorskip("numba", reason="numba is a peer of the benchmarks, which dev leaves out")
    found = clock.gigahertz(2)
    assert found is None or 0.3 < found < 10


def test_without_numba_there_is_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert clock.gigahertz(2) is None


# ----------------------------------------------------------------------------------------------------------- the curve


def test_every_loss_is_drawn_at_every_width() -> None:
    rows = widths.rows(widths.NUMBERS)
    assert {(row.loss, row.shape[1]) for row in rows} == {
        (loss, width) for loss in widths.LOSSES for width in widths.WIDTHS
    }
    assert all(0.9 < np.prod(row.shape) / widths.NUMBERS < 1.1 for row in rows)
    timed = {
        (" ".join(f.row.split()[:-2]), f.work)
        for loss in widths.LOSSES
        for f in measure(Row(loss, (20, 3)), [XENTRS], quick=True, works=widths.WORKS)
    }
    assert timed == set(draw_widths.PANELS)


def test_the_curve_is_measured_and_leaves_no_record(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(widths, "installed", lambda threads: ([], ["JAX"]))
    monkeypatch.setattr(widths, "record", lambda *given: pytest.fail("a part of the curve is no record"))
    monkeypatch.setattr(sys, "argv", ["widths.py", "--quick", "stats", "x65"])
    widths.main()
    printed = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if " float32 " in line]
    shapes = [f"{max(1, round(widths.QUICK_NUMBERS / width))}x{width}" for width in widths.WIDTHS]
    assert [shape for name, shape in printed if name == "softmax_stats"] == shapes
    assert {shape for name, shape in printed if name != "softmax_stats"} == {"63x65", "function"}


def widths_record(path: Path) -> None:
    figures = [
        Figure(f"{row} {n}x{c} float32", work, who, "1", seconds, seconds, 7, 1, 1, "")
        for row, work in draw_widths.PANELS
        for n, c in ((500, 2), (10, 100))
        for who, seconds in (("xentrs", 1e-6), ("quick & easy", 2e-6), (LIMIT, 1e-7))
    ]
    full.write(path, full.machine() | {"missing": ""}, figures)


def test_a_curve_tells_nanoseconds_a_number(tmp_path: Path) -> None:
    widths_record(tmp_path / "widths.csv")
    _, figures = full.read(tmp_path / "widths.csv")
    found = draw_widths.curves(figures)
    assert found["softmax function", GRADIENT, "xentrs"] == {2: pytest.approx(1.0), 100: pytest.approx(1.0)}
    assert found["softmax", LOSS, "quick & easy"] == {2: pytest.approx(2.0), 100: pytest.approx(2.0)}


def test_the_picture_follows_from_the_record(tmp_path: Path) -> None:
    record, picture = tmp_path / "widths.csv", tmp_path / "widths.svg"
    widths_record(record)
    draw_widths.draw(record, picture)
    once = picture.read_text(encoding="utf-8")
    draw_widths.draw(record, picture)
    assert picture.read_text(encoding="utf-8") == once, "the same record gives the same picture"
    drawn = "".join(ElementTree.fromstring(once).itertext())
    assert all(drawn.count(title) >= 1 for title in draw_widths.PANELS.values())
    assert "xentrs" in drawn and "quick & easy" in drawn and LIMIT not in drawn


def test_a_record_without_widths_is_not_drawn(tmp_path: Path) -> None:
    record, picture = tmp_path / "cpu.csv", tmp_path / "cpu.svg"
    full.write(record, full.machine(), [figure(LOSS, "xentrs", 1.0, 1.0)._replace(row="sigmoid 1000 float32")])
    with pytest.raises(ValueError, match="expected rows with a width, got 'sigmoid 1000 float32'"):
        draw_widths.draw(record, picture)
    assert not picture.exists()


# ---------------------------------------------------------------------------------------- the picture of the front page


def test_the_picture_of_speed_follows_from_the_record(tmp_path: Path) -> None:
    record, picture = tmp_path / "cpu.csv", tmp_path / "speed.svg"
    seconds = {"xentrs": 2e-6, "quick & easy": 5e-6, LIMIT: 1e-7}
    figures = [
        figure(GRADIENT, who, time, time)._replace(row=row) for row in draw_speed.ROWS for who, time in seconds.items()
    ]
    full.write(record, full.machine() | {"missing": ""}, figures)
    _, peers, times = draw_speed.ratios(record)
    assert peers == ["quick & easy"]
    assert all(times[row, "quick & easy"] == pytest.approx(2.5) for row in draw_speed.ROWS)
    draw_speed.draw(record, picture)
    drawn = "".join(ElementTree.fromstring(picture.read_text(encoding="utf-8")).itertext())
    assert "xentrs" in drawn and "quick & easy" in drawn and LIMIT not in drawn

    full.write(record, full.machine() | {"missing": ""}, figures[: len(seconds)])
    with pytest.raises(ValueError, match=r"expected a record with the rows \['softmax 4096x1000 float32'"):
        draw_speed.draw(record, picture)


# ------------------------------------------------------------------------------------------------ the picture of errors


@pytest.mark.parametrize(("name", "right"), [("xentrs", True), ("NumPy's formula", False), ("SciPy", False)])
def test_the_picture_of_precision_says_what_its_page_says(name: str, right: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr(draw_precision, "MARGINS", np.array([0.0, 5.0, 17.0, 18.5, 40.0]))
    found = draw_precision.errors(draw_precision.CONTESTANTS[name][1])
    assert (found[0] < 1e-6).all()
    assert (found < 1e-6).all() if right else (found[3:] == 1).all()


# ------------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(
    "trial",
    [
        lambda: training.head(threads=2, n=40, d=8, c=300),
        lambda: training.mini_batches(threads=2, n=1000),
        lambda: training.row_by_row(n=5000),
        lambda: training.to_the_minimum("wine", *load_wine(return_X_y=True)),
    ],
    ids=["head", "mini-batches", "row by row", "to the minimum"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_those_who_train_agree(trial: Any) -> None:
    figures = list(training.contest(trial(), rounds=1))
    assert figures[0].contestant == "xentrs"
    (line,) = training.lines(figures)
    assert all(figure.contestant in line for figure in figures[1:])


def test_training_that_leads_elsewhere_is_refused() -> None:
    trial = training.to_the_minimum("wine", *load_wine(return_X_y=True))
    trial.calls["scikit-learn"] = lambda: 0.0
    with pytest.raises(RuntimeError, match="xentrs and scikit-learn disagree"):
        list(training.contest(trial, rounds=1))
