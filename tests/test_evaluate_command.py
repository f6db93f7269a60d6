"""``python -m xentrs evaluate`` and ``merge``: what they print and write, exit codes, interrupts, kills."""

import argparse
import csv
import json
import math
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from xentrs.__main__ import main
from xentrs.evaluation.command import add_evaluate_options

C = 5


def made(place: Path, n: int = 200, c: int = C) -> tuple[str, str]:
    rng = np.random.default_rng(250)
    np.save(place / "logits.npy", (3 * rng.normal(size=(n, c))).astype(np.float32))
    np.save(place / "labels.npy", rng.integers(0, c, n))
    return str(place / "logits.npy"), str(place / "labels.npy")


class Command:
    """The command line, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: Any, code: int = 0) -> tuple[str, str]:
        self.monkeypatch.setattr(sys, "argv", ["xentrs", *map(str, arguments)])
        try:
            found = main()
        except SystemExit as end:
            found = int(end.code or 0)
        out, err = self.capsys.readouterr()
        assert found == code, err
        assert "Traceback" not in err
        if code == 1:
            assert err.startswith("xentrs: error: ") and err.count("\n") == 1 and out == ""
        return out, err


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_figures_are_those_of_the_library(command: Command, tmp_path: Path) -> None:
    logits, labels = made(tmp_path)
    weights = tmp_path / "w.npy"
    np.save(weights, np.random.default_rng(0).random(200))
    before = xe.get_num_threads()
    out, err = command(
        "evaluate", logits, labels, "--weights", weights, "--ignore-index", 3, "--temperature", 2, "--rows", "10:150",
        "--bins", 9, "--top-k", "2,3", "--bytes", 1000, "--per-class", tmp_path / "t.csv",
        "--json", tmp_path / "r.json", "--threads", 1, "--axis", 1, "--dtype", "float32",
    )  # fmt: skip
    assert err == "" and xe.get_num_threads() == before
    options: Any = {"temperature": 2.0, "n_bins": 9, "top_k": (2, 3), "per_class": True, "n_bytes": 1000}
    evaluation = xe.evaluate(logits, labels, sample_weight=weights, ignore_index=3, rows=(10, 150), **options)
    text = (tmp_path / "r.json").read_text()
    assert xe.Evaluation.from_json(text) == evaluation
    content = json.loads(text)
    for name, figure in evaluation.result().items():
        assert content[name] == ({"2": figure[2], "3": figure[3]} if name == "top_k_accuracy" else figure)
    assert content["parts"][0]["rows"] == [10, 150] and content["parts"][0]["logits"][0]["file"] == logits
    shown = dict(re.split(" {2,}", line, maxsplit=1) for line in out.splitlines() if "  " in line)
    assert (
        shown["loss"] == f"{evaluation.loss:.6g} nats" and shown["bits per byte"] == f"{evaluation.bits_per_byte:.6g}"
    )
    assert "top-2 accuracy     " + f"{evaluation.top_k_accuracy[2]:.4f}" in out
    with open(tmp_path / "t.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in table] == evaluation.per_class.loss.tolist()
    assert list(table[0]) == ["class", "rows", "weight", "loss", "recall", "precision"]


def test_the_page_has_every_option() -> None:
    parser = argparse.ArgumentParser()
    add_evaluate_options(parser)
    options = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    page = (Path(__file__).parents[1] / "docs" / "evaluate.md").read_text(encoding="utf-8")
    table = page[page.index("| option |") : page.index("The exit code")]
    assert set(re.findall(r"--[a-z-]+[a-z]", table)) == options - {"--help"}


def test_json_on_the_standard_output_is_all_there_is(command: Command, tmp_path: Path) -> None:
    logits, labels = made(tmp_path)
    out, _ = command("evaluate", logits, labels, "--json", "-", "--ignore-index", "none")
    assert xe.Evaluation.from_json(out) == xe.evaluate(logits, labels)


def test_a_container_given_twice_and_many_files(command: Command, tmp_path: Path) -> None:
    logits, labels = made(tmp_path)
    z, y = np.load(logits), np.load(labels)
    np.savez(tmp_path / "both.npz", logits=z, label=y, other=y)
    np.savez(tmp_path / "named.npz", z=z, y=y)
    for i in range(2):
        np.save(tmp_path / f"z-{i}.npy", z[100 * i :][:100])
        np.save(tmp_path / f"y-{i}.npy", y[100 * i :][:100])
    expected = command("evaluate", logits, labels, "--json", "-")[0]
    for arguments in (
        [tmp_path / "both.npz"] * 2,
        [*[tmp_path / "named.npz"] * 2, "--logits-key", "z", "--label-key", "y"],
        [tmp_path / "z-*.npy", tmp_path / "y-*.npy"],
        [tmp_path / name for name in ("z-0.npy", "z-1.npy", "y-0.npy", "y-1.npy")],
    ):
        found = json.loads(command("evaluate", *arguments, "--json", "-")[0])
        assert {**found, "parts": 0} == {**json.loads(expected), "parts": 0}


def test_pictures(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    logits, labels = made(tmp_path)
    command("evaluate", logits, labels, "--plot", tmp_path / "p.png", "--per-class", tmp_path / "t.csv")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    _, err = command("evaluate", logits, labels, "--plot", tmp_path / "p.xyz", code=2)
    assert "--plot must end with one of " in err


# ---------------------------------------------------------------------------------------------------------------- merge


def swap(old: str, new: str) -> Any:
    return lambda text: text.replace(old, new)


def parts_of(command: Command, place: Path, logits: str, labels: str, *options: Any) -> list[Path]:
    paths = []
    for i, rows in enumerate(["0:70", "70:71", "71:"]):
        paths.append(place / f"part-{i}.json")
        command("evaluate", logits, labels, "--rows", rows, "--json", paths[-1], *options)
    return paths


def test_parts_of_many_machines_are_the_whole(command: Command, tmp_path: Path) -> None:
    logits, labels = made(tmp_path)
    options = ["--per-class", tmp_path / "t.csv", "--top-k", "2"]
    whole = json.loads(command("evaluate", logits, labels, "--json", "-", *options)[0])
    parts = parts_of(command, tmp_path, logits, labels, *options)
    out, _ = command("merge", *parts[::-1], "--json", tmp_path / "all.json", "--per-class", tmp_path / "all.csv")
    assert "200 that count (3 parts)" in out
    merged = json.loads((tmp_path / "all.json").read_text())
    assert {**merged, "parts": 0} == {**whole, "parts": 0}
    first_two = command("merge", *parts[:2], "--json", tmp_path / "two.json") and tmp_path / "two.json"
    again = json.loads(command("merge", first_two, parts[2], "--json", "-")[0])
    assert {**again, "parts": 0} == {**whole, "parts": 0}
    assert [part["rows"] for part in again["parts"]] == [[0, 70], [70, 71], [71, 200]]
    command("merge", first_two, parts[1], code=1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text[: len(text) // 2], "must be a result of evaluate --json, got one cut short"),
        (lambda text: "", "must be a result of evaluate --json, got one cut short"),
        (lambda text: "\x00\x01", "must be a result of evaluate --json, got one cut short"),
        (lambda text: "[]", "expected the JSON of an Evaluation, got another one"),
        (lambda text: '{"checkpoint": 1}', "got the checkpoint of a run that may go on"),
        (swap('"format": 1', '"format": 2'), "of format 1, got 2: update xentrs"),
        (
            swap(f'"xentrs": "{xe.__version__}"', '"xentrs": "0.0.9"'),
            "must be of xentrs .* got '0.0.9'",
        ),
        (
            swap('"rows": [71, 200]', '"rows": [70, 200]'),
            "has rows 70:200 of logits.npy, of which .*part-1",
        ),
        (swap('"rows": [71, 200]', '"rows": "many"'), "is damaged: its parts make no sense"),
        (swap('"rows": [71, 200]', '"rows": ["a", "b"]'), "is damaged: its parts make no sense"),
        (swap('"parts": [', '"parts": [3, '), "is damaged: its parts make no sense"),
        (
            swap('"temperature": 1.0', '"temperature": 2.0'),
            "are of different runs: .* temperature=1.0 has no",
        ),
        (
            swap('"n_classes": 5', '"n_classes": 6'),
            "are of different runs: .* 5 classes has no sum with one of 6",
        ),
    ],
)
def test_parts_that_are_none(command: Command, tmp_path: Path, spoil: Any, message: str) -> None:
    parts = parts_of(command, tmp_path, *made(tmp_path))
    text = parts[2].read_text()
    assert spoil(text) != text
    parts[2].write_text(spoil(text))
    _, err = command("merge", *parts, "--json", tmp_path / "all.json", code=1)
    assert re.search(message, err) and "part-2.json" in err
    assert not (tmp_path / "all.json").exists()


def test_the_same_part_twice_and_one_that_is_not_there(command: Command, tmp_path: Path) -> None:
    parts = parts_of(command, tmp_path, *made(tmp_path))
    _, err = command("merge", *parts, parts[0], code=1)
    assert "part-0.json has rows 0:70 of logits.npy, of which" in err
    _, err = command("merge", parts[0], tmp_path / "none.json", code=1)
    assert "none.json must be a file that can be read, got: No such file" in err
    command("merge", parts[0], "--per-class", tmp_path / "t.csv", code=2)


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["LOGITS"], "expected files of logits and as many of labels, got 1 files"),
        (["LOGITS", "LABELS", "LABELS"], "expected files of logits and as many of labels, got 3 files"),
        (["LOGITS", "LABELS", "--temperature", "0"], "temperature must be positive and finite, got 0.0"),
        (["LOGITS", "LABELS", "--temperature", "warm"], "invalid float value"),
        (["LOGITS", "LABELS", "--bins", "0"], "n_bins must be at least 1, got 0"),
        (["LOGITS", "LABELS", "--top-k", "0"], "argument --top-k: expected K or K,K"),
        (["LOGITS", "LABELS", "--rows", "7"], "argument --rows: expected A:B, as 0:50000 or 50000:, got '7'"),
        (["LOGITS", "LABELS", "--ignore-index", "all"], "argument --ignore-index: expected a label, or none"),
        (["LOGITS", "LABELS", "--threads", "0"], "n must be at least 1, got 0"),
        (["LOGITS", "LABELS", "--bytes", "-3"], "bytes must not be negative, got -3"),
        (["LOGITS", "LABELS", "--dtype", "int8"], "invalid choice"),
        (
            ["LOGITS", "LABELS", "--json", "/no/where.json"],
            "--json /no/where.json must be a place that can be",
        ),
        (
            ["LOGITS", "LABELS", "--per-class", "/no/t.csv"],
            "--per-class /no/t.csv must be a place that can be",
        ),
        (
            ["LOGITS", "LABELS", "--checkpoint", "/no/k.json"],
            "--checkpoint /no/k.json must be a place that",
        ),
        (["LOGITS", "LABELS", "--json", "/"], "--json / must be a file, got a directory"),
    ],
)
def test_wrong_usage(command: Command, tmp_path: Path, arguments: list[str], message: str, monkeypatch: Any) -> None:
    logits, labels = made(tmp_path)
    monkeypatch.setattr(xe.evaluation.run.Run, "go", lambda *_: pytest.fail("nothing is read before that is noticed"))
    _, err = command("evaluate", *[{"LOGITS": logits, "LABELS": labels}.get(a, a) for a in arguments], code=2)
    assert message in err


def test_wrong_data(command: Command, tmp_path: Path) -> None:
    logits, labels = made(tmp_path)
    y = np.load(labels)
    y[123] = C
    np.save(labels, y)
    _, err = command(
        "evaluate", logits, labels, "--json", tmp_path / "r.json", "--checkpoint", tmp_path / "k.json", code=1
    )
    assert (
        f"target must be integers in [0, 5) or ignore_index=-100, got 5 at row 123 of {labels}; rows up to 0 are in"
        in err
    )
    assert not (tmp_path / "r.json").exists()
    _, err = command("evaluate", tmp_path / "none.npy", labels, code=1)
    assert "none.npy must be a file, got none of this name" in err
    _, err = command("evaluate", logits, labels, "--rows", "5:900", code=1)
    assert "rows must be within 0:200, got 5:900" in err
    _, err = command("evaluate", logits, labels, "--checkpoint", tmp_path / "k.json", "--temperature", 3, code=1)
    assert "must be a checkpoint of this run, got one of another: options was" in err


def test_debug_shows_where(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xentrs", "evaluate", "none.npy", "none.npy", "--debug"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" in done.stderr and "none.npy must be a file" in done.stderr


def test_probabilities_are_noticed(command: Command, tmp_path: Path) -> None:
    logits, labels = made(tmp_path)
    np.save(logits, xe.softmax(np.load(logits)))
    _, err = command("evaluate", logits, labels)
    assert err.startswith("xentrs: warning: logits are probabilities, it seems") and err.count("\n") == 1


# ---------------------------------------------------------------------------------------------------- interrupts, kills

SLOW = """
import sys, time
from xentrs.evaluation import run, sweep
sweep.BLOCK, run.SECONDS = 2000, 0.0
take = run.Run._take
def slow(self, start, stop):
    time.sleep({pause})
    take(self, start, stop)
run.Run._take = slow
sys.argv[0] = "xentrs"
from xentrs.__main__ import main
from xentrs.evaluation.command import add_evaluate_options
sys.exit(main())
"""


def started(place: Path, *options: Any, pause: float = 0.005, **more: Any) -> subprocess.Popen[str]:
    """A run of twenty blocks, which keeps every one."""
    command = [sys.executable, "-c", SLOW.format(pause=pause), "evaluate", place / "logits.npy", place / "labels.npy"]
    more = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, **more}
    return subprocess.Popen([*command, "--json", place / "r.json", "--checkpoint", place / "k.json", *options], **more)


def until_it_has_begun(place: Path, process: subprocess.Popen[Any], before: bytes = b"") -> None:
    end = time.monotonic() + 60
    checkpoint = place / "k.json"
    while process.poll() is None and (not checkpoint.exists() or checkpoint.read_bytes() == before):
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.usefixtures("heeds_interrupts")
def test_interrupted_work_says_how_to_go_on(command: Command, tmp_path: Path) -> None:
    logits, labels = made(tmp_path, n=2000)
    expected = command("evaluate", logits, labels, "--json", "-")[0]
    process = started(tmp_path, pause=0.05)
    until_it_has_begun(tmp_path, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130 and out == "" and not (tmp_path / "r.json").exists()
    assert re.fullmatch(
        r"xentrs: interrupted at row [\d,]+ of 2,000; to go on, give the same command again: .*k.json has what is .*\n",
        err,
    )
    _, err = command("evaluate", logits, labels, "--json", tmp_path / "r.json", "--checkpoint", tmp_path / "k.json")
    assert re.match(r"xentrs: going on at row [1-9][\d,]+ of 2,000, from .*k.json", err)
    assert (tmp_path / "r.json").read_text() == expected


@pytest.mark.usefixtures("heeds_interrupts")
def test_interrupted_work_without_a_checkpoint(tmp_path: Path) -> None:
    logits, labels = made(tmp_path, n=2000)
    process = subprocess.Popen(
        [sys.executable, "-c", "print('.', flush=True)\n" + SLOW.format(pause=0.1), "evaluate", logits, labels],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == ".\n"
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode in (130, -signal.SIGINT)
    if process.returncode == 130:
        assert "nothing is kept: --checkpoint FILE keeps what is done" in err


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.thorough)])
def test_killed_work_ends_with_the_same_bits(command: Command, tmp_path: Path, times: int) -> None:
    logits, labels = made(tmp_path, n=2000)
    expected = command("evaluate", logits, labels, "--json", "-", "--per-class", tmp_path / "t.csv")[0]
    draw, killed = random.Random(260), 0
    checkpoint = tmp_path / "k.json"
    while killed < times:
        before = checkpoint.read_bytes() if checkpoint.exists() else b""
        process = started(tmp_path, "--per-class", tmp_path / "t.csv", pause=0.01)
        until_it_has_begun(tmp_path, process, before)
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        process.communicate()
        killed += 1
        if (tmp_path / "r.json").exists():  # it had ended before: begin anew
            assert (tmp_path / "r.json").read_text() == expected
            checkpoint.unlink()
            (tmp_path / "r.json").unlink()
    command(
        "evaluate",
        logits,
        labels,
        "--json",
        tmp_path / "r.json",
        "--checkpoint",
        checkpoint,
        "--per-class",
        tmp_path / "t.csv",
    )
    assert (tmp_path / "r.json").read_text() == expected


# ------------------------------------------------------------------------------------------------------------- progress


def test_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    made(tmp_path, n=2000)
    source = SLOW.format(pause=0.001).replace(
        "import sys, time", "import sys, time\nfrom xentrs.evaluation import command\ncommand.LINES = 0"
    )
    done = subprocess.run(
        [sys.executable, "-c", source, "evaluate", "logits.npy", "labels.npy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 0 and len(lines) == 20
    assert re.fullmatch(r"xentrs: 100 of 2,000 rows \(5%\), loss \d\.\d+, \d+\.\d\d GB/s", lines[0])
    assert lines[-1].startswith("xentrs: 2,000 of 2,000 rows (100%)")


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    fcntl, pty, termios = (pytest.importorskip(name, reason="no Unix") for name in ("fcntl", "pty", "termios"))
    made(tmp_path, n=2000)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = started(tmp_path, pause=0.08, stderr=theirs, text=False)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    out, _ = process.communicate()
    assert process.returncode == 0 and b"loss" in out
    assert re.search(rb"evaluate: +\d+%.*\d+\.?\d*k?/40\.0k .*B/s, loss=\d\.\d{4}\]", shown), shown


def test_nothing_at_all(command: Command, tmp_path: Path) -> None:
    logits, labels = made(tmp_path, n=0)
    out, err = command("evaluate", logits, labels, "--json", tmp_path / "r.json")
    assert "accuracy           nan" in out and err == ""
    assert json.loads((tmp_path / "r.json").read_text())["accuracy"] is None
    assert math.isnan(xe.Evaluation.from_json((tmp_path / "r.json").read_text()).accuracy)
