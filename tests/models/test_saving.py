"""Estimators in files: every value comes back, an interrupted write harms nothing, and a bad file is told by name."""

import gzip
import json
import math
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from processes import LIMIT
from xentrs.models import GaussianRegressor, LogisticRegression, MLPClassifier, TemperatureScaler
from xentrs.models.saving import SaveMixin, _encode


class Box(SaveMixin, BaseEstimator):
    """An estimator that holds whatever it is given."""

    def __init__(self, content=None, size=1):
        self.content = content
        self.size = size


VALUES = {
    "nothing": None,
    "truth": True,
    "number": 7,
    "large": 2**80,
    "float": 0.1 + 0.2,
    "infinity": -math.inf,
    "text": 'ä "quoted" \N{SNOWMAN} \ud800',
    "list": [1, [2.5, None], "x"],
    "tuple": (100, (50,)),
    "dict": {0: 3.0, "one": [1], (2, "x"): np.float32(0.5), None: np.arange(3)},
    "looks like JSON": {"array": "content", "tuple": []},
    "arrays": [np.arange(6.0).reshape(2, 3), np.zeros((0, 4), np.float32)],
    "scalar": np.float32(1 / 3),
    "truth of NumPy": np.True_,
    "words": np.array(["setosa", "virginica"]),
    "bytes": np.array([b"a", b"bc"]),
    "objects": np.array([["a", "b\0"], [1, None]], dtype=object),
    "lists in objects": np.array([[1, 2], [3], None], dtype=object),
    "0-d": np.array(4.0),
    "Fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "byte-swapped": np.arange(4, dtype=">f8"),
    "dates": np.array(["2024-02-29", "NaT"], dtype="datetime64[D]"),
}


def same(a, b):
    if isinstance(a, np.ndarray) and a.dtype == object:
        return type(b) is type(a) and b.dtype == object and a.shape == b.shape and same(a.tolist(), b.tolist())
    if isinstance(a, np.ndarray | np.generic):
        return type(b) is type(a) and b.dtype == a.dtype and b.shape == a.shape and b.tobytes() == a.tobytes()
    if isinstance(a, dict):
        return type(b) is dict and same(list(a.items()), list(b.items()))
    if isinstance(a, list | tuple):
        return type(b) is type(a) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("place", ["parameter", "attribute"])
def test_every_plain_value_comes_back(tmp_path, value, place):
    box = Box(value) if place == "parameter" else Box()
    if place == "attribute":
        box.content_ = value
    box.save(tmp_path / "box.npz")
    again = Box.load(tmp_path / "box.npz")
    assert type(again) is Box
    assert vars(again).keys() == vars(box).keys()
    assert same(again.content_ if place == "attribute" else again.content, value)


def test_other_programs_can_read_the_arrays(tmp_path):
    box = Box(size=3)
    box.coef_, box.coefs_ = np.eye(2), [np.ones(3), np.zeros(2)]
    box.save(str(tmp_path / "no suffix is added"))
    with np.load(tmp_path / "no suffix is added", allow_pickle=False) as archive:
        assert set(archive.files) == {"coef_", "coefs_.0", "coefs_.1", "xentrs"}
        np.testing.assert_array_equal(archive["coef_"], np.eye(2))
        header = json.loads(archive["xentrs"].tobytes())
    assert header["format"] == 1
    assert header["class"] == "Box"
    assert header["params"] == {"content": None, "size": 3}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.random.RandomState(0), "RandomState"),
        (print, "builtin_function_or_method"),
        ([lambda x: x], "function"),
        (partial(print), "partial"),
        ({1: {2}}, "set"),
        (Box(), "Box"),
        (np.zeros(3, "i4,f8"), "ndarray"),
        (np.array([print]), "builtin_function_or_method"),
    ],
)
def test_what_cannot_be_saved_is_named_and_leaves_the_old_file(tmp_path, value, kind):
    path = tmp_path / "box.npz"
    Box(size=1).save(path)
    with pytest.raises(
        TypeError, match=rf"content must be .* got {kind}: set_params\(content=None\) first, or use pickle"
    ):
        Box(value, size=2).save(path)
    box = Box(size=2)
    box.content_ = value
    with pytest.raises(TypeError, match=rf"content_ must be .* got {kind}: remove it first, or use pickle"):
        box.save(path)
    assert Box.load(path).size == 1
    assert os.listdir(tmp_path) == ["box.npz"]


def test_a_failing_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "box.npz"
    Box(size=1).save(path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Box(size=2).save(path)
    assert Box.load(path).size == 1
    assert os.listdir(tmp_path) == ["box.npz"]


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="links need rights on this system")
def test_a_link_goes_on_pointing(tmp_path):
    (tmp_path / "there").mkdir()
    os.symlink(tmp_path / "there" / "box.npz", tmp_path / "link.npz")
    Box(size=3).save(tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink()
    assert Box.load(tmp_path / "there" / "box.npz").size == 3


TRAINING = """
import os, sys, time
import numpy as np
from xentrs.models import MLPClassifier

path, hook = sys.argv[1:]
rng = np.random.default_rng(0)
X, y = rng.normal(size=(500, 20)), rng.integers(0, 3, 500)
model = MLPClassifier(50, random_state=0)

def stop_in(module, name, calls):
    real = getattr(module, name)
    def slow(*args, **kwargs):
        nonlocal calls
        calls -= 1
        if calls == 0:
            args[0].flush() if hasattr(args[0], "flush") else None
            print("in the middle", flush=True)
            time.sleep(600)
        return real(*args, **kwargs)
    setattr(module, name, slow)

for _ in range(20):  # an end, where nothing comes to the middle
    model.partial_fit(X, y, classes=[0, 1, 2])
    if model.n_iter_ == 3:
        if hook == "of the arrays":
            stop_in(np.lib.format, "write_array", 2)  # the first is written
        elif hook == "of the sync":
            stop_in(os, "fsync", 1)  # everything is written, nothing is certain
        else:
            stop_in(os, "replace", 1)  # everything is certain, nothing has moved
    model.save(path)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize(
    "hook", ["of the arrays", pytest.param("of the sync", marks=pytest.mark.thorough), "of the move"]
)
def test_a_training_process_killed_in_the_middle_of_save(tmp_path, hook):
    path = tmp_path / "model.npz"
    program = [sys.executable, "-c", TRAINING, str(path), hook]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as child:
        try:
            assert child.stdout.readline() == "in the middle\n"
            assert len(os.listdir(tmp_path)) == 2, "the new file stands beside the old one"
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait(LIMIT)
    model = MLPClassifier.load(path)
    assert model.n_iter_ == len(model.loss_curve_) == 2
    X, y = np.zeros((2, 20)), [0, 2]
    assert model.partial_fit(X, y).predict_proba(X).shape == (2, 3)


# --------------------------------------------------------------------------------------------------------- bad files


@pytest.fixture
def saved(tmp_path):
    box = Box((1, 2))
    box.coef_ = np.arange(50.0)
    box.save(tmp_path / "box.npz")
    return tmp_path / "box.npz"


def rewritten(path, **changes):
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["xentrs"].tobytes()) | changes
    arrays["xentrs"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)


def test_a_file_cut_anywhere(saved):
    whole = saved.read_bytes()
    for length in range(0, len(whole), 7):
        saved.write_bytes(whole[:length])
        wrong = "is empty" if length == 0 else "is cut short or damaged: the list of its contents cannot be read"
        with pytest.raises(ValueError, match=rf"box\.npz {wrong}"):
            Box.load(saved)


def test_no_word_of_another_library(saved):
    """Whatever is wrong with a file, the advice is ours: `load` has no `allow_pickle` to set."""
    whole = saved.read_bytes()
    for place in range(0, len(whole), 3):
        saved.write_bytes(whole[:place] + b"\xff\x80\x04" + whole[place + 3 :])
        try:
            Box.load(saved)
        except ValueError as error:
            assert "box.npz" in str(error)  # noqa: PT017
            assert not any(word in str(error) for word in ("pickle", "magic", "header", "CRC", "zlib"))  # noqa: PT017


def test_a_file_with_a_flipped_byte_is_refused_or_the_same(saved):
    whole, box = saved.read_bytes(), Box.load(saved)
    for place in range(0, len(whole), 5):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        try:
            again = Box.load(saved)
        except ValueError as error:
            assert "box.npz" in str(error)  # noqa: PT017
        else:
            assert same(vars(again), vars(box))


OTHERS = {
    "text": (b"epoch,loss\n1,0.5\n" * 100, "got text: 'epoch,lo' ..."),
    "pickle": (pickle.dumps(Box()), "got a pickle: pickle.load reads it, if you trust"),
    "gzip": (gzip.compress(b"abc"), "got a compressed file"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "got an HDF5 file"),
    "bytes": (bytes(range(200)), "got a file that begins with the bytes 00 01 02 03 04 05 06 07"),
    "one letter": (b"P", "got text: 'P'"),
}


@pytest.mark.parametrize(("content", "got"), OTHERS.values(), ids=OTHERS)
def test_a_file_of_something_else(tmp_path, content, got):
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"other\.npz must be a file that save has written, {got}"):
        Box.load(tmp_path / "other.npz")


def test_an_archive_of_something_else(tmp_path):
    path = tmp_path / "other.npz"
    with open(path, "wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(ValueError, match=r"other\.npz must be .* got a single NumPy array \(\.npy\)"):
        Box.load(path)
    np.savez(path, coef_=np.eye(2), a=1, b=2, c=3)
    with pytest.raises(ValueError, match=r"arrays, but not of an estimator: it has coef_, a, b, \.\.\.$"):
        Box.load(path)
    for names, has in [(["word/document.xml"], "word/document.xml"), ([], "nothing in it")]:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "x")
        with pytest.raises(ValueError, match=rf"other\.npz is a zip archive, but not of arrays: it has {has}"):
            Box.load(path)


def test_an_array_that_is_damaged_or_missing(saved):
    with np.load(saved) as archive:
        arrays = dict(archive)
    np.savez(saved, **{name: array for name, array in arrays.items() if name != "coef_"})
    with pytest.raises(ValueError, match=r"box\.npz is damaged: the array 'coef_' is missing"):
        Box.load(saved)
    np.savez(saved, **arrays)
    whole = saved.read_bytes()
    place = whole.index(arrays["coef_"].tobytes()) + 100
    saved.write_bytes(whole[:place] + b"\0\0\0\0\0\0\0\1" + whole[place + 8 :])
    with pytest.raises(ValueError, match=r"box\.npz is damaged: the array 'coef_' cannot be read"):
        Box.load(saved)


def test_pickled_objects_are_never_loaded(tmp_path):
    path = tmp_path / "box.npz"
    np.savez(path, coef_=np.array([print], dtype=object), xentrs=np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="has Python objects in the array 'coef_', which load never unpickles"):
        Box.load(path)


SENSELESS = r"box\.npz is damaged: the text that describes the estimator makes no sense"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, r"box\.npz must be of format 1, got 2: update xentrs"),
        ({"format": 2, "params": "elsewhere"}, r"box\.npz must be of format 1, got 2: update xentrs"),
        ({"class": "Bag"}, r"box\.npz must hold a Box, got a Bag"),
        ({"params": {"content": {"array": "gone"}}}, r"box\.npz is damaged: the array 'gone' is missing"),
        ({"params": {"content": {"code": "x"}}}, SENSELESS),
        ({"params": {"colour": 1, "size": 2}}, r"box\.npz is of another version of xentrs: .* are colour\. Load it"),
        ({"fitted": 3}, SENSELESS),
        ({"fitted": {"a_": {"objects": [[1, 2], [1]]}}}, SENSELESS),
    ],
)
def test_a_header_that_does_not_fit(saved, changes, message):
    rewritten(saved, **changes)
    with pytest.raises(ValueError, match=message):
        Box.load(saved)


@pytest.mark.parametrize("text", [b"", b"[1, 2]", b"{", b"\xff", b"3"])
def test_a_header_that_is_none(saved, text):
    with np.load(saved) as archive:
        arrays = dict(archive) | {"xentrs": np.frombuffer(text, np.uint8)}
    np.savez(saved, **arrays)
    with pytest.raises(ValueError, match=SENSELESS):
        Box.load(saved)


def test_a_directory(tmp_path):
    with pytest.raises(IsADirectoryError, match="must be a file, got a directory"):
        Box.load(tmp_path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Box.load(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError):
        Box().save(tmp_path / "no folder" / "box.npz")


# --- What is no file, and what is no estimator ------------------------------------------------------------------------

posix = pytest.mark.skipif(os.name == "nt", reason="this system has no pipes among its files")


@posix
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link to a pipe"])
def test_what_is_no_regular_file_is_neither_replaced_nor_opened(tmp_path, kind):
    path = place = tmp_path / "place"
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))
    elif kind == "device":
        path = place = Path(os.devnull)
    else:
        os.mkfifo(place)
    if kind.startswith("link"):
        path = tmp_path / "link"
        path.symlink_to(place)
    before, listed = place.stat(), sorted(os.listdir(tmp_path))
    for call in (Box(size=3).save, Box.load):
        what = kind.removeprefix("link to a ")
        with pytest.raises(OSError, match=f"must be a file, got a {what}"):
            call(path)
    assert (place.stat().st_mode, place.stat().st_ino) == (before.st_mode, before.st_ino)
    assert sorted(os.listdir(tmp_path)) == listed


@posix
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path):
    path = tmp_path / "box.npz"
    mask = os.umask(0o077)
    try:
        Box().save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for mode in (0o644, 0o640, 0o400):
            path.chmod(mode)
            Box(size=mode).save(path)
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert Box.load(path).size == mode
    finally:
        os.umask(mask)


@posix
def test_links_in_a_circle_stay_links(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).symlink_to(tmp_path / other)
    with pytest.raises(OSError, match="symbolic links"):
        Box().save(tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert all(path.is_symlink() for path in tmp_path.iterdir())


def fitted(cls, path):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 3)), np.arange(40) % 3
    if cls is MLPClassifier:
        model = cls(4, max_iter=2, random_state=0)
    else:
        model = cls()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    model.save(path)
    return model


@pytest.mark.parametrize(
    ("cls", "name", "value", "message"),
    [
        (LogisticRegression, "coef_", np.full((3, 3), np.nan), "coef_ must be real numbers without NaN"),
        (LogisticRegression, "coef_", np.ones((3, 3)) * 1j, "coef_ must be real numbers without NaN"),
        (LogisticRegression, "coef_", np.ones((3, 3, 3)), r"coef_ must have 3 columns, .* got shape \(3, 3, 3\)"),
        (LogisticRegression, "coef_", np.ones((3, 4)), r"coef_ must have 3 columns, .* got shape \(3, 4\)"),
        (LogisticRegression, "coef_", np.array("x"), "coef_ must be real numbers without NaN"),
        (LogisticRegression, "intercept_", np.ones(4), r"intercept_ must fit coef_, of shape \(3, 3\)"),
        (LogisticRegression, "intercept_", np.full(3, np.nan), "intercept_ must be real numbers without NaN"),
        (LogisticRegression, "predict", 3, "an attribute named 'predict' would hide what every Logistic"),
        (LogisticRegression, "__class__", 3, "an attribute named '__class__' would hide"),
        (LogisticRegression, "C", 3, "an attribute named 'C' would hide"),
        (LogisticRegression, "two words", 3, "an attribute named 'two words' would hide"),
        (TemperatureScaler, "temperature_", 0.0, "temperature_ must be a positive number, got 0.0"),
        (TemperatureScaler, "temperature_", -1, "temperature_ must be a positive number, got -1"),
        (TemperatureScaler, "temperature_", [1.0], r"temperature_ must be a positive number, got \[1.0\]"),
        (TemperatureScaler, "temperature_", np.array(np.nan), "temperature_ must be real numbers without NaN"),
        (TemperatureScaler, "temperature_", "warm", "temperature_ must be real numbers without NaN"),
        (MLPClassifier, "coefs_", [np.ones((3, 4)), np.ones((5, 3))], "coefs_ and intercepts_ must be layers that fit"),
        (MLPClassifier, "coefs_", [np.ones(3), np.ones((4, 3))], "coefs_ must be matrices"),
        (MLPClassifier, "intercepts_", [np.ones(4)], "coefs_ and intercepts_ must be layers that fit"),
        (GaussianRegressor, "log_var_intercept_", np.array(np.nan), "log_var_intercept_ must be real numbers without"),
    ],
)
def test_attributes_that_no_fitted_estimator_has(tmp_path, cls, name, value, message):
    path = tmp_path / "model.npz"
    model = fitted(cls, path)
    assert same(vars(cls.load(path)), vars(model))
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["xentrs"].tobytes())
    header["fitted"][name] = _encode(value, name, arrays)
    arrays["xentrs"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=rf"model\.npz holds what is no fitted {cls.__name__}: {message}"):
        cls.load(path)


def test_sizes_beyond_the_file_are_refused_before_memory_is_asked_for(saved):
    """A kilobyte that says it is terabytes: an array of objects, the head of one, an archive that is compressed."""
    rewritten(saved, fitted={"a_": {"objects": [[1], [2**50]]}})
    with pytest.raises(ValueError, match=SENSELESS):
        Box.load(saved)
    with np.load(saved) as archive:
        arrays = dict(archive)
    np.savez_compressed(saved, **arrays, zeros=np.zeros(10**6))
    with pytest.raises(ValueError, match=r"box\.npz is damaged: the arrays in it are larger than the file"):
        Box.load(saved)
    with zipfile.ZipFile(saved, "w") as archive, archive.open("xentrs.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**50,)})
    with pytest.raises(ValueError, match=r"box\.npz is damaged: the array 'xentrs' cannot be read"):
        Box.load(saved)


def test_an_estimator_for_which_there_is_no_memory(saved, monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError("on purpose")

    for module, name in ((np.lib.format, "read_array"), (json, "loads")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            with pytest.raises(MemoryError, match="on purpose"):
                Box.load(saved)
