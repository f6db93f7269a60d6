"""The handler that XLA calls, called as XLA does: by C structs, those of its header, right and wrong ones."""

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    addressof,
    c_char_p,
    c_double,
    c_int,
    c_int64,
    c_size_t,
    c_uint32,
    c_void_p,
    pointer,
    sizeof,
)
from types import SimpleNamespace

import numpy as np
import pytest

import xentrs as xe

F32, I32 = 11, 4
HEAD = [("size", c_size_t), ("extensions", c_void_p)]


class Version(Structure):
    _fields_ = [*HEAD, ("major", c_int), ("minor", c_int)]


class ErrorArguments(Structure):
    _fields_ = [*HEAD, ("message", c_char_p), ("code", c_int)]


CREATE = CFUNCTYPE(c_void_p, POINTER(ErrorArguments))


class Api(Structure):
    _fields_ = [*HEAD, ("version", Version), ("internal", c_void_p), ("error_create", CREATE)]


class Bytes(Structure):
    _fields_ = [("data", c_char_p), ("len", c_size_t)]


class Scalar(Structure):
    _fields_ = [("dtype", c_int), ("value", c_void_p)]


class Buffer(Structure):
    _fields_ = [*HEAD, ("dtype", c_int), ("data", c_void_p), ("rank", c_int64), ("dims", POINTER(c_int64))]


class Buffers(Structure):
    _fields_ = [*HEAD, ("len", c_int64), ("kinds", POINTER(c_int)), ("items", POINTER(c_void_p))]


class Attributes(Structure):
    _fields_ = [
        *HEAD,
        ("len", c_int64),
        ("kinds", POINTER(c_int)),
        ("names", POINTER(c_void_p)),
        ("items", POINTER(c_void_p)),
    ]


class Frame(Structure):
    _fields_ = [
        *HEAD,
        ("api", POINTER(Api)),
        ("context", c_void_p),
        ("stage", c_int),
        ("operands", Buffers),
        ("results", Buffers),
        ("attributes", Attributes),
    ]


class Metadata(Structure):
    _fields_ = [("size", c_size_t), ("version", Version), ("traits", c_uint32)]


class MetadataExtension(Structure):
    _fields_ = [("size", c_size_t), ("kind", c_int), ("next", c_void_p), ("metadata", POINTER(Metadata))]


def handler(which=0):
    """One of the two handlers, from its capsule."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = c_void_p, [ctypes.py_object, c_char_p]
    address = get(xe._core._xla_handlers()[which], b"xla._CUSTOM_CALL_TARGET")
    return CFUNCTYPE(c_void_p, POINTER(Frame))(address)


def sized(kind, **fields):
    return kind(size=sizeof(kind), **fields)


def array_of(kind, items):
    return (kind * len(items))(*items)


class Call:
    """A call that would succeed, whose structs a test may change before it is made."""

    def __init__(self, operands, results, **attributes):
        self.errors = []
        self.api = sized(Api, version=sized(Version, minor=3), error_create=CREATE(self._error))
        self.operands, self.results = self._buffers(operands), self._buffers(results)
        self.attributes = self._attributes(
            {"operands": " ".join(operands), "results": " ".join(results), "rank": 2} | attributes
        )
        self.frame = sized(
            Frame,
            api=pointer(self.api),
            stage=3,
            operands=self.operands.struct,
            results=self.results.struct,
            attributes=self.attributes.struct,
        )

    def _error(self, arguments):
        self.errors.append((arguments[0].code, arguments[0].message.decode()))
        return 0xE44  # what XLA would own

    def _buffers(self, arrays):
        kinds = {"float32": F32, "int32": I32}
        dims = [array_of(c_int64, array.shape) for array in arrays.values()]
        each = [
            sized(Buffer, dtype=kinds[array.dtype.name], data=array.ctypes.data, rank=array.ndim, dims=shape)
            for array, shape in zip(arrays.values(), dims, strict=True)
        ]
        items = array_of(c_void_p, [addressof(one) for one in each])
        codes = array_of(c_int, [1] * len(each))
        return SimpleNamespace(
            arrays=arrays, dims=dims, each=each, codes=codes, items=items,
            struct=sized(Buffers, len=len(each), kinds=codes, items=items),
        )  # fmt: skip

    def _attributes(self, attributes):
        names, values, codes, kept = [], [], [], []
        for name, value in sorted(attributes.items()):
            names.append(Bytes(name.encode(), len(name)))
            if isinstance(value, str):
                values.append(Bytes(value.encode("latin-1"), len(value)))
            else:
                number = c_double(value) if isinstance(value, float) else c_int64(value)
                kept.append(number)
                values.append(Scalar(dtype=12 if isinstance(value, float) else 5, value=addressof(number)))
            codes.append(4 if isinstance(value, str) else 3)
        pointers = [array_of(c_void_p, [addressof(one) for one in many]) for many in (names, values)]
        kinds = array_of(c_int, codes)
        return SimpleNamespace(
            kept=(names, values, kept, pointers, kinds),
            struct=sized(Attributes, len=len(codes), kinds=kinds, names=pointers[0], items=pointers[1]),
        )

    def __call__(self):
        """The code and the message of the error, if there is one."""
        result = handler()(pointer(self.frame))
        assert (result or 0) == (0xE44 if self.errors else 0)
        return self.errors[0] if self.errors else None


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((6, 5)).astype(np.float32)
    target = rng.integers(0, 5, 6).astype(np.int32)
    return SimpleNamespace(
        logits=logits, target=target, loss=np.full((), 7, np.float32), grad=np.full((6, 5), 7, np.float32)
    )


@pytest.fixture
def call(arrays):
    return Call(
        {"logits": arrays.logits, "target": arrays.target},
        {"loss": arrays.loss, "grad": arrays.grad},
        loss="softmax_cross_entropy",
        reduction="mean",
        label_smoothing=0.1,
    )


def test_a_call_computes_loss_and_gradient(call, arrays):
    assert call() is None
    loss, grad = xe.softmax_cross_entropy_with_grad(arrays.logits, arrays.target, label_smoothing=0.1)
    assert arrays.loss == np.float32(loss)
    np.testing.assert_array_equal(arrays.grad, grad)


def test_an_error_of_the_core_is_an_invalid_argument(call, arrays):
    arrays.target[3] = 9
    assert call() == (3, "target must be integers in [0, 5), got 9 at row 3")
    assert arrays.loss == 7


def set_(path, value):
    """A change of one field."""

    def change(call):
        *inner, last = path.split(".")
        place = call
        for name in inner:
            place = place[int(name)] if name.isdigit() else getattr(place, name)
        setattr(place, last, value)

    change.__name__ = f"{path}={value}"
    return change


def item(path, index, value):
    """A change of one item of an array."""

    def change(call):
        place = call
        for name in path.split("."):
            place = place[int(name)] if name.isdigit() else getattr(place, name)
        place[index] = value

    change.__name__ = f"{path}[{index}]={value}"
    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_("frame.size", 160), "this jaxlib does not fit xentrs: XLA_FFI_CallFrame must have at least 168 bytes"),
        (set_("frame.operands.size", 48), "XLA_FFI_Args must have exactly 40 bytes, got 48"),
        (set_("frame.results.size", 32), "XLA_FFI_Rets must have exactly 40 bytes, got 32"),
        (set_("frame.attributes.size", 56), "XLA_FFI_Attrs must have exactly 48 bytes, got 56"),
        (set_("operands.each.1.size", 40), "XLA_FFI_Buffer must have at least 48 bytes, got 40"),
        (set_("frame.stage", 0), "XLA called at stage 0"),
        (set_("frame.operands.len", -1), "a list is missing, or has length -1"),
        (set_("frame.operands.len", 1), "1 buffers cannot be"),
        (set_("frame.results.items", None), "a list is missing, or has length 2"),
        (item("operands.items", 0, None), "XLA_FFI_Buffer is missing"),
        (item("operands.codes", 1, 2), "an operand or a result is of kind 2"),
        (set_("operands.each.0.rank", -2), "a list is missing, or has length -2"),
        (set_("operands.each.0.dims", None), "a list is missing, or has length 2"),
        (item("operands.dims.0", 0, -6), "a buffer has dimensions [-6, 5]"),
        (item("operands.dims.0", 0, 1 << 62), f"a buffer has dimensions [{1 << 62}, 5]"),
        (set_("operands.each.0.dtype", 2), "logits are of XLA's type 2"),
        (set_("operands.each.1.dtype", 99), "target is of XLA's type 99"),
        (set_("results.each.0.dtype", I32), "loss is of XLA's type 4"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, change, message, arrays):
    change(call)
    code, got = call()
    assert (code, message in got) == (13, True), got
    assert arrays.loss == 7


def test_misaligned_numbers_are_refused(call, arrays):
    call.operands.each[0].data += 1
    assert call() == (13, "logits is of XLA's type 11, or misaligned")


@pytest.mark.parametrize("shift", [0, 4, -4, 116, -116])
def test_results_over_operands_are_refused(call, arrays, shift):
    call.results.each[1].data = arrays.logits.ctypes.data + shift
    assert call() == (13, "grad overlaps logits")


def test_results_over_each_other_are_refused(call, arrays):
    call.results.each[0].data = arrays.grad[5, 4:].ctypes.data
    assert call() == (13, "grad overlaps loss")


def test_newer_structs_that_have_grown_at_their_ends_are_taken(call, arrays):
    call.frame.size += 8
    call.api.size += 80
    call.operands.each[0].size += 16
    assert call() is None and np.isfinite(arrays.loss)


def test_a_word_that_is_no_text(arrays):
    call = Call({"logits": arrays.logits}, {"loss": arrays.loss}, loss="\xff", reduction="mean")
    assert call()[0] == 13


def test_no_rows_need_no_memory(call, arrays):
    for buffers, index in [(call.operands, 0), (call.operands, 1), (call.results, 1)]:
        buffers.each[index].data = None
        buffers.dims[index][0] = 0
    assert call() is None
    assert arrays.loss == 0


def asked(frame_size=168, metadata_size=36, version_size=24):
    """What a handler says of its version."""
    metadata = Metadata(size=metadata_size, version=Version(size=version_size), traits=5)
    extension = MetadataExtension(size=32, kind=1, metadata=pointer(metadata))
    frame = Frame(size=frame_size, extensions=addressof(extension))
    answers = []
    for which in (0, 1):
        assert handler(which)(pointer(frame)) is None
        answers.append((metadata.version.major, metadata.version.minor, metadata.traits))
    assert answers[0] == answers[1]
    return answers[0]


def test_the_version():
    assert asked() == (0, 1, 0)
    assert asked(frame_size=176, metadata_size=48) == (0, 1, 0)
    # Version 0.0, which XLA refuses.
    for wrong in [{"frame_size": 160}, {"metadata_size": 32}, {"version_size": 32}]:
        assert asked(**wrong) == (0, 0, 5)
