"""Files of every format give the bits of one call in the memory; those that are damaged are refused by name and row."""

import json
import os
import shutil
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import xentrs as xe
from xentrs.evaluation import run, sweep
from xentrs.evaluation.files import FORMATS, Rows
from xentrs.evaluation.files.stored import Held, indices

N, C = 301, 7
Arrays = dict[str, NDArray[Any]]


def package(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed: pip install 'xentrs[evaluate]'")


def some(n: int = N, dtype: Any = np.float32) -> Arrays:
    rng = np.random.default_rng(240)
    y = rng.integers(0, C, n)
    y[::17] = -100
    return {"logits": (3 * rng.normal(size=(n, C))).astype(dtype), "label": y, "weight": rng.random(n)}


def npy(place: Path, arrays: Arrays) -> dict[str, Path]:
    for name, array in arrays.items():
        np.save(place / f"{name}.npy", array)
    return {name: place / f"{name}.npy" for name in arrays}


def npz(place: Path, arrays: Arrays) -> Path:
    np.savez(place / "stored.npz", **arrays)
    return place / "stored.npz"


def npz_compressed(place: Path, arrays: Arrays) -> Path:
    np.savez_compressed(place / "compressed.npz", **arrays)
    return place / "compressed.npz"


def safetensors(place: Path, arrays: Arrays) -> Path:
    package("safetensors.numpy").save_file(
        {name: np.ascontiguousarray(a) for name, a in arrays.items()}, place / "a.safetensors"
    )
    return place / "a.safetensors"


def hdf5(place: Path, arrays: Arrays, chunk: int = 0, **options: Any) -> Path:
    with package("h5py").File(place / "a.h5", "w") as file:
        for name, array in arrays.items():
            chunks = (min(chunk, len(array)), *array.shape[1:]) if chunk else None
            file.create_dataset(name, data=array, chunks=chunks, **options)
    return place / "a.h5"


def hdf5_chunked(place: Path, arrays: Arrays) -> Path:
    return hdf5(place, arrays, chunk=20, compression="gzip")


def zarr(place: Path, arrays: Arrays, **options: Any) -> Path:
    group = package("zarr").open_group(place / "a.zarr", mode="w")
    for name, array in arrays.items():
        chunks = (40, *array.shape[1:])
        shards = {"shards": (80, *array.shape[1:])} if options else {}
        made = group.create_array(name, shape=array.shape, dtype=array.dtype, chunks=chunks, **shards)
        made[...] = array
    return place / "a.zarr"


def zarr_shards(place: Path, arrays: Arrays) -> Path:
    return zarr(place, arrays, shards=True)


def parquet(place: Path, arrays: Arrays, **options: Any) -> Path:
    pa, pq = package("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(a.ravel()), a.shape[1]) if a.ndim == 2 else pa.array(a)
        for name, a in arrays.items()
    }
    pq.write_table(pa.table(columns), place / "a.parquet", row_group_size=90, **options)
    return place / "a.parquet"


WRITERS: list[Callable[[Path, Arrays], Any]] = [
    npy, npz, npz_compressed, safetensors, hdf5, hdf5_chunked, zarr, zarr_shards, parquet,
]  # fmt: skip
each_format = pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)


def files(written: Any) -> tuple[Any, Any, Any]:
    return tuple(written.values()) if isinstance(written, dict) else (written,) * 3


def whole(arrays: Arrays, **options: Any) -> xe.Evaluation:
    return xe.Evaluation(**options).update(arrays["logits"], arrays["label"], sample_weight=arrays.get("weight"))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "BLOCK", 37 * C * 4)


@each_format
def test_a_file_gives_the_bits_of_the_memory(write: Any, tmp_path: Path, small_blocks: None) -> None:
    arrays = some()
    logits, labels, weights = files(write(tmp_path, arrays))
    options: Any = {"top_k": (2,), "per_class": True, "temperature": 0.7}
    assert xe.evaluate(logits, labels, sample_weight=weights, **options) == whole(arrays, **options)
    part = xe.evaluate(logits, labels, rows=(95, 233))
    assert part == whole({name: array[95:233] for name, array in arrays.items() if name != "weight"})
    rest = [xe.evaluate(str(logits), str(labels), rows=rows) for rows in ((0, 95), (233, None), (5, 5))]
    assert sum(rest, part) == whole({**arrays, "weight": np.ones(N)})


@pytest.mark.parametrize(
    "write", [npy, npz_compressed, safetensors, hdf5, zarr, parquet], ids=lambda write: write.__name__
)
@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", np.int32], ids=str)
def test_types(write: Any, dtype: Any, tmp_path: Path) -> None:
    if (write is safetensors and dtype == ">f4") or (write is parquet and dtype in (np.float16, ">f4")):
        dtype = np.float32  # the format has no other byte order, and Parquet's of half precision is recent
    if write is zarr and dtype == ">f4" and package("zarr").__version__.startswith("3.0."):
        pytest.skip("zarr 3.0 has no other byte order")
    arrays = some(60, dtype)
    arrays["label"] = arrays["label"].astype(np.int16)
    logits, labels, _ = files(write(tmp_path, arrays))
    assert xe.evaluate(logits, labels) == whole({**arrays, "weight": np.ones(60)})


@pytest.mark.parametrize("write", [npy, npz, npz_compressed, safetensors], ids=lambda write: write.__name__)
def test_bfloat16(write: Any, tmp_path: Path, small_blocks: None) -> None:
    arrays = some(100, package("ml_dtypes").bfloat16)
    logits, labels, _ = files(write(tmp_path, arrays))
    expected = whole({**arrays, "weight": np.ones(100)})
    assert xe.evaluate(logits, labels, dtype="bfloat16") == expected
    if write is safetensors:
        assert xe.evaluate(logits, labels) == expected
    else:
        with pytest.raises(ValueError, match=r"must hold numbers, got \|V2.*say so by the dtype"):
            xe.evaluate(logits, labels)
    with pytest.raises(ValueError, match="must hold float32, or its bits, got"):
        xe.evaluate(logits, labels, dtype="float32")


def swapped(array: NDArray[Any], axis: int) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(array, -1, axis))


@pytest.mark.parametrize("write", [npy, hdf5_chunked, zarr], ids=lambda write: write.__name__)
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("size", [20, 90, 600, 10**6])
def test_axes(write: Any, axis: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """(batch, sequence, classes) in any order, cut within a sequence and across several."""
    monkeypatch.setattr(sweep, "BLOCK", size * 4)
    arrays = some(60)
    z, y, w = arrays["logits"].reshape(4, 15, C), arrays["label"].reshape(4, 15), arrays["weight"].reshape(4, 15)
    logits, labels, weights = files(write(tmp_path, {"logits": swapped(z, axis), "label": y, "weight": w}))
    assert xe.evaluate(logits, labels, sample_weight=weights, axis=axis) == whole(arrays)
    part = xe.evaluate(logits, labels, axis=axis, rows=(7, 41))
    assert part == xe.Evaluation().update(arrays["logits"][7:41], arrays["label"][7:41])


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 2), (1, 6, 1), (3, 0, 2)], ids=str)
def test_indices_cover_every_range(shape: tuple[int, ...]) -> None:
    numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    for start in range(numbers.size + 1):
        for stop in range(start, numbers.size + 1):
            found = [numbers[index].ravel() for index in indices(shape, start, stop)]
            np.testing.assert_array_equal(np.concatenate([[], *found]), np.arange(start, stop))


@pytest.mark.parametrize("rows", [(0, 100), (7, 93), (20, 21)])
@pytest.mark.parametrize("size", [1, 30, 65, 10**6])
def test_no_block_begins_within_a_chunk(rows: tuple[int, int], size: int) -> None:
    """It would be unpacked twice."""
    array = Held(np.zeros((100, C), np.int8), "array")
    array.chunks = (20, C)
    start, stop = rows
    blocks = list(Rows([array], -1).blocks(start, stop, 2 * size * C, 10**6))
    assert [start for start, _ in blocks] + [stop] == [start] + [stop for _, stop in blocks]
    assert all(begin % 20 == 0 for begin, _ in blocks[1:])
    assert all(end - begin <= max(20, size) for begin, end in blocks)


def test_many_files(tmp_path: Path, small_blocks: None) -> None:
    """Of several formats, and labels that are divided in another way."""
    arrays = some()
    z, y = arrays["logits"], arrays["label"]
    np.save(tmp_path / "z-0.npy", z[:100])
    np.save(tmp_path / "z-1.npy", z[100:100])
    np.savez_compressed(tmp_path / "z-2.npz", z[100:250])
    np.save(tmp_path / "z-3.npy", np.asfortranarray(z[250:]))
    for i, part in enumerate(np.split(y, [40, 260])):
        np.save(tmp_path / f"y-{i}.npy", part)
    expected = whole({**arrays, "weight": np.ones(N)})
    assert xe.evaluate(tmp_path / "z-*", str(tmp_path / "y-[0-9].npy")) == expected
    assert xe.evaluate([tmp_path / f"z-{i}.n*" for i in range(4)], y) == expected
    with pytest.raises(ValueError, match=r"none-\*.npy must match a file, got none"):
        xe.evaluate(tmp_path / "none-*.npy", y)


def test_arrays_and_log_odds(tmp_path: Path) -> None:
    z, y = np.array([3.0, -2.0, 0.5]), np.array([True, False, False])
    expected = xe.Evaluation().update(z, y)
    assert xe.evaluate(z, y) == expected == xe.evaluate(z.tolist(), [1, 0, 0])
    logits, labels = npy(tmp_path, {"z": z, "y": y}).values()
    assert xe.evaluate(logits, labels) == expected
    assert xe.evaluate(np.load(logits, mmap_mode="r"), labels) == expected
    assert xe.evaluate(np.zeros((0, 3)), np.zeros(0, int)).rows == 0


def test_names_in_containers(tmp_path: Path) -> None:
    arrays = some(20)
    np.savez(tmp_path / "a.npz", z=arrays["logits"], y=arrays["label"])
    found = xe.evaluate(tmp_path / "a.npz", tmp_path / "a.npz", logits_key="z", label_key="y")
    assert found == whole({**arrays, "weight": np.ones(20)})
    with pytest.raises(ValueError, match=r"a\.npz must hold an array 'logits', got z, y: name another"):
        xe.evaluate(tmp_path / "a.npz", tmp_path / "a.npz")


# -------------------------------------------------------------------------------------------------------- what is wrong


@each_format
@pytest.mark.parametrize("left", [0.0, 0.5, 0.98])
def test_truncated_files(write: Any, left: float, tmp_path: Path) -> None:
    """Whatever is left of a file, the error is in one line and names it."""
    arrays = some(2000)
    path = files(write(tmp_path, {"logits": arrays["logits"]} if write is not parquet else arrays))[0]
    victims = [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else [path]
    for victim in victims:
        os.truncate(victim, int(victim.stat().st_size * left))
    with pytest.raises(ValueError, match=path.name) as fault:
        xe.evaluate(path, arrays["label"])
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "content", [b"", b"PK", b"hello, world\n" * 100, b"\x80\x04pickle", b"\x93NUMPY\x09\x00\xff\xff"]
)
def test_foreign_files(suffix: str, content: bytes, tmp_path: Path) -> None:
    needed = {".h5": "h5py", ".hdf5": "h5py", ".zarr": "zarr", ".parquet": "pyarrow"}
    if suffix in needed:
        package(needed[suffix])
    path = tmp_path / f"foreign{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"foreign{suffix} must be") as fault:
        xe.evaluate(path, [0])
    assert "\n" not in str(fault.value)


@each_format
def test_flipped_bits(write: Any, tmp_path: Path) -> None:
    """Whatever a file has become, the answer is a number, or an error in one line that names it."""
    rng, arrays = np.random.default_rng(242), some(60)
    path = files(write(tmp_path, arrays))[0]
    victims = [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else [path]
    for _ in range(25):
        victim = victims[rng.integers(len(victims))]
        content = victim.read_bytes()
        changed = bytearray(content)
        for place in rng.integers(0, min(len(content), 600), 2):
            changed[place] ^= 1 << rng.integers(8)
        victim.write_bytes(changed)
        try:
            xe.evaluate(path, arrays["label"])
        except ValueError as fault:
            assert path.name in str(fault) and "\n" not in str(fault)  # noqa: PT017  # it may as well be right
        victim.write_bytes(content)


def changed(**new: Any) -> Callable[[Path], tuple[Any, Any]]:
    def make(place: Path) -> tuple[Any, Any]:
        paths = npy(place, {**some(50), **new})
        return paths["logits"], paths["label"]

    return make


def at(row: int, value: Any, name: str) -> Callable[[Path], tuple[Any, Any]]:
    array = some(50)[name]
    array[row] = value
    return changed(**{name: array})


def bent_npz(place: Path) -> tuple[Any, Any]:
    path = npz_compressed(place, some(3000))
    content = bytearray(path.read_bytes())
    content[50_000] ^= 255
    path.write_bytes(content)
    return path, path


def other_checksum(place: Path) -> tuple[Any, Any]:
    """Unpacks without a fault, to something else than was packed, for all that is known."""
    path = npz_compressed(place, some(3000))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 16] ^= 1  # of the first member, in the list of contents
    path.write_bytes(content)
    return path, path


def bent_header(place: Path) -> tuple[Any, Any]:
    path = safetensors(place, {"logits": some(50)["logits"]})
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["logits"]["data_offsets"][1] += 4
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    return path, some(50)["label"]


def with_null(place: Path) -> tuple[Any, Any]:
    pa, pq = package("pyarrow"), pytest.importorskip("pyarrow.parquet")
    column = pa.array([[1.0, 2.0], [1.0, None], [0.0, 1.0]], pa.list_(pa.float32(), 2))
    pq.write_table(pa.table({"logits": column}), place / "n.parquet")
    return place / "n.parquet", [0, 1, 1]


def ragged(place: Path) -> tuple[Any, Any]:
    pa, pq = package("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"logits": [[1.0, 2.0], [1.0]]}), place / "r.parquet")
    return place / "r.parquet", [0, 1]


def missing_chunk(place: Path) -> tuple[Any, Any]:
    path = zarr(place, some(200))
    (next(path.glob("logits/c/2/*"))).write_bytes(b"not zstd")
    return path, path


def two_widths(place: Path) -> tuple[Any, Any]:
    np.save(place / "w-0.npy", np.zeros((3, 4)))
    np.save(place / "w-1.npy", np.zeros((3, 5)))
    return place / "w-*.npy", np.zeros(6, int)


def pickled(place: Path) -> tuple[Any, Any]:
    np.save(place / "o.npy", np.array([{}, {}]), allow_pickle=True)
    return place / "o.npy", [0, 1]


@pytest.mark.parametrize(
    ("make", "message", "options"),
    [
        (
            at(33, 7, "label"),
            r"target must be integers in \[0, 7\) or ignore_index=-100, got 7 at row 33 of .*label.npy",
            {},
        ),
        (at(40, -1, "label"), r"got -1 at row 40 of .*label.npy", {"ignore_index": None, "rows": (35, None)}),
        (at(0, -100, "label"), r"integers in \[0, 7\), got -100 at row 0 of", {"ignore_index": None}),
        (at(41, np.nan, "logits"), "row 41 of .*logits.npy must be logits that define a distribution, got NaN", {}),
        (at(41, np.inf, "logits"), "row 41 of .*logits.npy must be .* got several [+]inf", {}),
        (at(41, -np.inf, "logits"), "row 41 of .*logits.npy must be .* got nothing but -inf", {}),
        (
            changed(label=np.zeros(49, int)),
            r"label.npy must have a label for each of the 50 rows of .*logits.npy \(50, 7\), got 49",
            {},
        ),
        (changed(label=np.zeros(50)), "label.npy must hold integers, a label for each row, got float64", {}),
        (changed(logits=np.zeros((50, 7), complex)), "logits.npy must hold numbers, got complex128", {}),
        (changed(logits=np.zeros((50, 0))), r"logits.npy must have at least one class, got shape \(50, 0\)", {}),
        (changed(), r"logits.npy must have an axis 5, got shape \(50, 7\)", {"axis": 5}),
        (changed(), "rows must be within 0:50, got 10:60", {"rows": (10, 60)}),
        (changed(), "rows must be within 0:50, got 10:5", {"rows": (10, 5)}),
        (
            changed(),
            "sample_weight must be finite and non-negative, got -1.0 at row 3 of sample_weight",
            {"sample_weight": np.r_[1, 1, 1, -1.0, [1] * 46]},
        ),
        (changed(), "sample_weight must have a weight for each of the 50 rows", {"sample_weight": [1.0, 2.0]}),
        (lambda place: (place / "none.npy", [0]), "none.npy must be a file, got none of this name", {}),
        (lambda place: (place, [0]), "must end with one of .npy, .npz, .*, got a directory", {}),
        (
            lambda place: ((place / "d.npy").mkdir() or place / "d.npy", [0]),
            "d.npy must be a file, got a directory",
            {},
        ),
        (
            lambda place: ((place / "a.txt").write_text("1 2 3") and place / "a.txt", [0]),
            "must end with one of .* got text: '1 2 3'",
            {},
        ),
        (two_widths, "w-1.npy must have 4 classes, as .*w-0.npy has, got 5", {}),
        (pickled, "o.npy must hold numbers, got Python objects, which are never unpickled", {}),
        (bent_npz, "compressed.npz is damaged, or cannot be read: ", {}),
        (other_checksum, "compressed.npz is damaged, or cannot be read: BadZipFile: Bad CRC-32", {}),
        (bent_header, "a.safetensors must be a safetensors file, got a header that is damaged", {}),
        (with_null, "row 1 of .*n.parquet must hold numbers, got a null", {}),
        (ragged, "r.parquet must hold fixed-size lists under 'logits', got list", {}),
        (missing_chunk, "a.zarr is damaged, or cannot be read: ", {}),
        (
            lambda place: (npz_compressed(place, some(50)), [0] * 7),
            "compressed.npz must have the class axis last",
            {"axis": 0},
        ),
    ],
)
def test_bad_input(make: Any, message: str, options: dict[str, Any], tmp_path: Path, small_blocks: None) -> None:
    logits, labels = make(tmp_path)
    with pytest.raises((ValueError, IndexError), match=message) as fault:
        xe.evaluate(logits, labels, **options)
    assert "\n" not in str(fault.value)


def test_rows_that_do_not_count_may_hold_anything(tmp_path: Path) -> None:
    arrays = some(50)
    arrays["logits"][arrays["label"] == -100] = np.nan
    logits, labels, weights = files(npy(tmp_path, arrays))
    assert xe.evaluate(logits, labels, sample_weight=weights) == whole(arrays)


def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, suffix in [("h5py", ".h5"), ("zarr", ".zarr"), ("pyarrow", ".parquet")]:
        monkeypatch.setitem(sys.modules, name, None)
        (tmp_path / f"a{suffix}").touch()
        with pytest.raises(
            ImportError, match=rf"needs {name} .* which is not installed: pip install 'xentrs\[evaluate\]'"
        ):
            xe.evaluate(tmp_path / f"a{suffix}", [0])
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    np.save(tmp_path / "bits.npy", np.zeros((3, 2), "V2"))
    with pytest.raises(ImportError, match=r"bfloat16 needs ml_dtypes .*: pip install 'xentrs\[evaluate\]'"):
        xe.evaluate(tmp_path / "bits.npy", [0, 0, 0], dtype="bfloat16")


# ---------------------------------------------------------------------------------------------------------- checkpoints


class Cut(Exception):
    pass


def cut_after(blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, take = [0], run.Run._take

    def counted(self: Any, start: int, stop: int) -> None:
        if taken[0] == blocks:
            raise Cut
        taken[0] += 1
        take(self, start, stop)

    monkeypatch.setattr(run.Run, "_take", counted)


@each_format
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(
    write: Any, tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays, place = some(), tmp_path / "k.json"
    logits, labels, weights = files(write(tmp_path, arrays))
    options: Any = {"sample_weight": weights, "checkpoint": place, "per_class": True, "n_bytes": 77}
    expected = whole(arrays, per_class=True).merge(
        xe.Evaluation(per_class=True).update(np.zeros((0, C)), [], n_bytes=77)
    )
    for blocks in (0, 1, 2, 0):
        with monkeypatch.context() as patch:
            cut_after(blocks, patch)
            with pytest.raises(Cut):
                xe.evaluate(logits, labels, **options)
    assert 0 < json.loads(place.read_text())["done"] < N
    assert xe.evaluate(logits, labels, **options).to_json() == expected.to_json()
    assert xe.evaluate(logits, labels, **options) == expected, "a finished run has nothing left to do"
    assert [item for item in tmp_path.iterdir() if item.suffix == ".tmp"] == []


def test_what_was_done_before_a_bad_row_is_kept(tmp_path: Path, small_blocks: None) -> None:
    logits, labels = at(45, 99, "label")(tmp_path)
    with pytest.raises(IndexError, match="row 45"):
        xe.evaluate(logits, labels, checkpoint=tmp_path / "k.json")
    assert json.loads((tmp_path / "k.json").read_text())["done"] == 37
    with pytest.raises(IndexError, match="row 45"):
        xe.evaluate(logits, labels, checkpoint=tmp_path / "k.json")


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("options was .*'temperature': 1.0.* is .*'temperature': 2.0", {"temperature": 2.0}),
        ("options was ", {"per_class": True}),
        ("ignore_index was -100, is None", {"ignore_index": None}),
        (r"rows was \[0, 50\], is \[0, 40\]", {"rows": (0, 40)}),
        ("weights was None, is ", {"sample_weight": "weight.npy"}),
        ("bytes was 0, is 3", {"n_bytes": 3}),
        ("axis was -1, is 1", {"axis": 1}),
    ],
)
def test_a_checkpoint_of_other_options(message: str, options: Any, tmp_path: Path) -> None:
    paths = npy(tmp_path, {**some(50), "label": np.zeros(50, int)})
    logits, labels, place = paths["logits"], paths["label"], tmp_path / "k.json"
    xe.evaluate(logits, labels, checkpoint=place)
    before = place.read_bytes()
    if "sample_weight" in options:
        options = {"sample_weight": paths["weight"]}
    with pytest.raises(ValueError, match=rf"k.json must be a checkpoint of this run, got one of another: {message}"):
        xe.evaluate(logits, labels, checkpoint=place, **options)
    assert place.read_bytes() == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c["run"].update(isa="abacus"), "isa was 'abacus'"),
        (lambda c: c["run"].update(xentrs="0.0.1"), "xentrs was '0.0.1'"),
        (lambda c: c.pop("run"), "got one of another"),
        (lambda c: c.update(done=99), "is damaged: it has done 99 rows of 0:50"),
        (lambda c: c["evaluation"].pop("sums"), "is damaged: "),
        (lambda c: c.update(checkpoint=2), "must be a checkpoint of this run, or not exist, got another file"),
    ],
)
def test_a_checkpoint_that_is_damaged(spoil: Any, message: str, tmp_path: Path) -> None:
    paths, place = npy(tmp_path, some(50)), tmp_path / "k.json"
    xe.evaluate(paths["logits"], paths["label"], checkpoint=place)
    content = json.loads(place.read_text())
    spoil(content)
    place.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        xe.evaluate(paths["logits"], paths["label"], checkpoint=place)
    place.write_bytes(b"\xff{")
    with pytest.raises(ValueError, match="got another file"):
        xe.evaluate(paths["logits"], paths["label"], checkpoint=place)


def test_a_checkpoint_of_other_files(tmp_path: Path) -> None:
    paths, place = npy(tmp_path, some(50)), tmp_path / "k.json"
    xe.evaluate(paths["logits"], paths["label"], checkpoint=place)
    moved = shutil.copy(paths["logits"], tmp_path / "copy.npy")
    with pytest.raises(ValueError, match="got one of another: logits was"):
        xe.evaluate(moved, paths["label"], checkpoint=place)
    os.utime(paths["label"], (1, 1))
    with pytest.raises(ValueError, match="got one of another: labels was"):
        xe.evaluate(paths["logits"], paths["label"], checkpoint=place)
    with pytest.raises(ValueError, match="checkpoint must be None where arrays are given"):
        xe.evaluate(paths["logits"], [0] * 50, checkpoint=tmp_path / "new.json")


def test_a_checkpoint_that_cannot_be_written_is_noticed_first(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"k\.json must be a place that can be written to, got: No such file"):
        xe.evaluate(tmp_path / "none.npy", [0], checkpoint=tmp_path / "nowhere" / "k.json")
    with pytest.raises(OSError, match="must be a file, got a directory"):
        xe.evaluate(tmp_path / "none.npy", [0], checkpoint=tmp_path)


# --------------------------------------------------------------------------------------------------------------- memory

PEAK = """
    import sys
    import numpy as np, xentrs as xe
    from resident import kib, now

    folder = sys.argv[1]
    xe.Evaluation().update(np.zeros((100, 10_000), np.float32), np.zeros(100, int))
    before, _ = now()
    xe.evaluate(f"{folder}/logits.npy", f"{folder}/label.npy", top_k=5)
    print(kib("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pages of a file are counted in another way")
def test_the_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """200 MB of logits in 100 MiB beside a block of 32 MiB: with their pages kept it would be 200."""
    n, c = 50_000, 1000
    rng = np.random.default_rng(241)
    logits = np.lib.format.open_memmap(tmp_path / "logits.npy", "w+", np.float32, (n, c))
    logits[:] = rng.normal(size=c)
    logits.flush()
    np.save(tmp_path / "label.npy", rng.integers(0, c, n))
    command = [sys.executable, "-c", textwrap.dedent(PEAK), tmp_path]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 132 * 1024, f"{int(done.stdout) // 1024} MiB"
