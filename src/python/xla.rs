//! The C interface by which XLA, and so JAX, calls functions of others: its structs, and the two handlers.
//!
//! The structs are those of `xla/ffi/api/c_api.h`, which comes with jaxlib. A handler gets a [`CallFrame`]: operands and
//! results as buffers in C order, and attributes, which are numbers and words that are known when a program is compiled.
//! It returns null, or an error that XLA makes of a message. There is no Python in it, and no interpreter lock is held.
//!
//! # Versions
//! XLA asks a handler for its version before the first call, and refuses one that it does not support. Version 0.1, of
//! JAX 0.5, has all that is used here, and later ones have added to the end of structs. Each struct begins with its size.
//! A struct inside another one must have the size that is known here, or what follows would be elsewhere; one behind a
//! pointer may be longer. All others are refused.

mod losses;

use crate::error::Error;
use crate::simd::float_mode;
use half::{bf16, f16};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use std::any::Any;
use std::ffi::{CString, c_char, c_int, c_void};
use std::mem::offset_of;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{NonNull, null_mut};
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// The handlers, for `jax.ffi.register_ffi_target`: of the losses, and of platforms that they do not run on.
#[pyfunction(name = "_xla_handlers")]
pub(super) fn xla_handlers(py: Python<'_>) -> PyResult<[Bound<'_, PyCapsule>; 2]> {
    let capsule = |handler: Handler| {
        #[expect(clippy::expect_used, reason = "a function has an address")]
        let pointer = NonNull::new(handler as *mut c_void).expect("a function has an address");
        // SAFETY: a function lives as long as the process does. XLA calls it by the type of `Handler`.
        unsafe { PyCapsule::new_with_pointer(py, pointer, c"xla._CUSTOM_CALL_TARGET") }
    };
    Ok([capsule(on_cpu)?, capsule(elsewhere)?])
}

type Handler = unsafe extern "C" fn(*mut CallFrame) -> *mut c_void;

/// Computes a loss, its gradient, or both.
///
/// # Safety
/// XLA alone may call it.
unsafe extern "C" fn on_cpu(frame: *mut CallFrame) -> *mut c_void {
    let compute = |frame: &CallFrame| {
        // SAFETY: XLA has made the frame.
        losses::compute(unsafe { Call::read(frame)? })
    };
    // SAFETY: the caller is XLA.
    unsafe { answer(frame, compute) }
}

/// Says where losses are computed, in place of memory faults on buffers of another device.
///
/// # Safety
/// XLA alone may call it.
unsafe extern "C" fn elsewhere(frame: *mut CallFrame) -> *mut c_void {
    let refuse = |_: &CallFrame| {
        let words =
            "xentrs.jax computes on the CPU, got another device; write jax.device_put(x, jax.devices(\"cpu\")[0])";
        Err(Fault { code: UNIMPLEMENTED, message: words.into() })
    };
    // SAFETY: the caller is XLA.
    unsafe { answer(frame, refuse) }
}

// ------------------------------------------------------------------------------------------------------- the structs

const VERSION: [c_int; 2] = [0, 1];
const METADATA: c_int = 1;
const EXECUTE: c_int = 3;
const BUFFER: c_int = 1;
const SCALAR: c_int = 3;
const STRING: c_int = 4;
const INVALID_ARGUMENT: c_int = 3;
const RESOURCE_EXHAUSTED: c_int = 8;
const UNIMPLEMENTED: c_int = 12;
const INTERNAL: c_int = 13;

#[repr(C)]
struct Extension {
    struct_size: usize,
    kind: c_int,
    next: *mut Extension,
}

#[repr(C)]
struct MetadataExtension {
    base: Extension,
    metadata: *mut Metadata,
}

#[repr(C)]
struct Metadata {
    struct_size: usize,
    api_version: ApiVersion,
    traits: u32,
}

#[repr(C)]
struct ApiVersion {
    struct_size: usize,
    extensions: *mut Extension,
    major: c_int,
    minor: c_int,
}

#[repr(C)]
struct Api {
    struct_size: usize,
    extensions: *mut Extension,
    version: ApiVersion,
    internal: *const c_void,
    error_create: Option<unsafe extern "C" fn(*mut ErrorArguments) -> *mut c_void>,
}

#[repr(C)]
struct ErrorArguments {
    struct_size: usize,
    extensions: *mut Extension,
    message: *const c_char,
    code: c_int,
}

/// `XLA_FFI_Args`, and `XLA_FFI_Rets`, which looks the same.
#[repr(C)]
struct Buffers {
    struct_size: usize,
    extensions: *mut Extension,
    len: i64,
    kinds: *const c_int,
    items: *const *const RawBuffer,
}

#[repr(C)]
struct RawBuffer {
    struct_size: usize,
    extensions: *mut Extension,
    dtype: c_int,
    data: *mut c_void,
    rank: i64,
    dims: *const i64,
}

#[repr(C)]
struct RawAttributes {
    struct_size: usize,
    extensions: *mut Extension,
    len: i64,
    kinds: *const c_int,
    names: *const *const Bytes,
    items: *const *const c_void,
}

#[repr(C)]
struct Bytes {
    data: *const u8,
    len: usize,
}

#[repr(C)]
struct Scalar {
    dtype: c_int,
    value: *const c_void,
}

#[repr(C)]
struct CallFrame {
    struct_size: usize,
    extensions: *mut Extension,
    api: *const Api,
    context: *mut c_void,
    stage: c_int,
    operands: Buffers,
    results: Buffers,
    attributes: RawAttributes,
}

// ----------------------------------------------------------------------------------------------- a call, checked once

/// Why a call failed.
#[derive(Debug)]
struct Fault {
    code: c_int,
    message: String,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let code = if matches!(error, Error::OutOfMemory { .. }) { RESOURCE_EXHAUSTED } else { INVALID_ARGUMENT };
        Fault { code, message: error.to_string() }
    }
}

/// What cannot happen unless this file and `xentrs.jax`, or this file and XLA, do not fit each other.
#[cold]
fn unfit(message: impl Into<String>) -> Fault {
    Fault { code: INTERNAL, message: message.into() }
}

/// The type of numbers in a buffer. They have no invalid bit patterns.
trait Dtype: Copy {
    const CODE: c_int;
}

macro_rules! dtypes {
    ($($t:ty: $code:literal)+) => { $(impl Dtype for $t { const CODE: c_int = $code; })+ };
}

dtypes!(i32: 4 i64: 5 f16: 10 f32: 11 f64: 12 bf16: 16);

/// The operands and results of a call by their names, and its attributes.
struct Call<'a> {
    attributes: Vec<(&'a str, Attribute<'a>)>,
    operands: Vec<(&'a str, Buffer<'a>)>,
    results: Vec<(&'a str, Place<'a>)>,
}

#[derive(Clone, Copy, Debug)]
enum Attribute<'a> {
    Word(&'a str),
    Integer(i64),
    Float(f64),
}

/// An operand.
#[derive(Clone, Copy)]
struct Buffer<'a> {
    dtype: c_int,
    dims: &'a [i64],
    data: *const c_void,
    len: usize,
}

/// A result: a buffer that nothing else refers to.
struct Place<'a>(Buffer<'a>);

impl<'a> Buffer<'a> {
    /// # Safety
    /// The buffer is valid for `'a`.
    unsafe fn read(raw: *const RawBuffer) -> Result<Self, Fault> {
        // SAFETY: as the caller promises; the struct says that there are so many dimensions.
        let (raw, dims) = unsafe {
            let raw = sized("XLA_FFI_Buffer", raw)?;
            (raw, list(raw.dims, raw.rank)?)
        };
        let len = dims.iter().try_fold(1usize, |len, &n| len.checked_mul(usize::try_from(n).ok()?));
        let len = len.ok_or_else(|| unfit(format!("a buffer has dimensions {dims:?}")))?;
        Ok(Buffer { dtype: raw.dtype, dims, data: raw.data, len })
    }

    /// All numbers, if they are of this type.
    fn numbers<T: Dtype>(&self) -> Option<&'a [T]> {
        if self.dtype != T::CODE || !self.data.cast::<T>().is_aligned() {
            return None;
        }
        if self.len == 0 {
            return Some(&[]);
        }
        // SAFETY: XLA has put so many numbers of this type there, which are valid during the call and which no result
        // overlaps (`Call::read`). The type and the alignment have just been checked.
        Some(unsafe { from_raw_parts(self.data.cast(), self.len) })
    }

    /// The addresses of the buffer. Numbers of other types than those above are taken for bytes.
    fn span(&self) -> Range<usize> {
        let size = match self.dtype {
            f16::CODE | bf16::CODE => 2,
            f32::CODE | i32::CODE => 4,
            f64::CODE | i64::CODE => 8,
            _ => 1,
        };
        let start = self.data.addr();
        start..start + self.len * size
    }
}

impl Place<'_> {
    /// All places, if they are of this type.
    fn places<T: Dtype>(&mut self) -> Option<&mut [T]> {
        let Place(buffer) = self;
        if buffer.dtype != T::CODE || !buffer.data.cast::<T>().is_aligned() {
            return None;
        }
        if buffer.len == 0 {
            return Some(&mut []);
        }
        ask_for_large_pages(buffer.data.cast_mut(), buffer.len * size_of::<T>());
        // SAFETY: as in `Buffer::numbers`; no operand and no other result overlaps this one (`Call::read`), and this
        // reference is the only one to it.
        Some(unsafe { from_raw_parts_mut(buffer.data.cast_mut().cast(), buffer.len) })
    }
}

/// From this size on, in bytes, the C library takes memory from the system anew for each call: 32 MiB is the most that
/// the threshold of its `malloc` rises to.
const FRESH_BYTES: usize = 32 << 20;

/// Asks the system for large pages, as NumPy does for its arrays, before a large result is written. XLA's memory comes in
/// pages of 4 KiB, and the first touch of each takes longer than its gradient: 2048 x 32000 logits and their gradient
/// take 174 ms in such memory, 83 ms in large pages, and 24 ms in memory that is there (Xeon 2.8 GHz, two threads).
fn ask_for_large_pages(start: *mut c_void, bytes: usize) {
    #[cfg(target_os = "linux")]
    if bytes >= FRESH_BYTES {
        const ADVICE: c_int = 14;
        /// A multiple of every size of pages.
        const ALIGNMENT: usize = 1 << 16;
        unsafe extern "C" {
            fn madvise(start: *mut c_void, bytes: usize, advice: c_int) -> c_int;
        }
        let skipped = start.align_offset(ALIGNMENT);
        if skipped < bytes {
            // SAFETY: the whole pages of a result, of which none but the mapping changes. It is advice, and may fail.
            unsafe { madvise(start.byte_add(skipped), (bytes - skipped) & !(ALIGNMENT - 1), ADVICE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

impl<'a> Call<'a> {
    /// # Safety
    /// XLA has made the frame, which is valid for `'a`.
    unsafe fn read(frame: &'a CallFrame) -> Result<Self, Fault> {
        exactly("XLA_FFI_Args", frame.operands.struct_size, size_of::<Buffers>())?;
        exactly("XLA_FFI_Rets", frame.results.struct_size, size_of::<Buffers>())?;
        exactly("XLA_FFI_Attrs", frame.attributes.struct_size, size_of::<RawAttributes>())?;
        if frame.stage != EXECUTE {
            return Err(unfit(format!("XLA called at stage {}", frame.stage)));
        }
        // SAFETY: the sizes of the structs have been checked.
        let (attributes, operands, results) =
            unsafe { (attributes(&frame.attributes)?, buffers(&frame.operands)?, buffers(&frame.results)?) };
        // Each buffer has a name, in an attribute.
        let call = Call { attributes, operands: Vec::new(), results: Vec::new() };
        let operands = named(call.word("operands")?, operands)?;
        let results = named(call.word("results")?, results)?;
        for (i, (name, result)) in results.iter().enumerate() {
            let others = operands.iter().chain(results.iter().take(i));
            let meets = |other: &Buffer<'_>| {
                let (a, b) = (result.span(), other.span());
                a.start < b.end && b.start < a.end
            };
            if let Some((other, _)) = others.into_iter().find(|(_, other)| meets(other)) {
                return Err(unfit(format!("{name} overlaps {other}")));
            }
        }
        let results = results.into_iter().map(|(name, buffer)| (name, Place(buffer))).collect();
        Ok(Call { operands, results, ..call })
    }

    fn attribute(&self, name: &str) -> Option<Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.0 == name).map(|attribute| attribute.1)
    }

    fn word(&self, name: &str) -> Result<&'a str, Fault> {
        match self.attribute(name) {
            Some(Attribute::Word(word)) => Ok(word),
            other => Err(unfit(format!("{name} must be a word, got {other:?}"))),
        }
    }

    /// An option that may be left out.
    fn integer(&self, name: &str) -> Result<Option<i64>, Fault> {
        match self.attribute(name) {
            Some(Attribute::Integer(integer)) => Ok(Some(integer)),
            None => Ok(None),
            other => Err(unfit(format!("{name} must be an integer, got {other:?}"))),
        }
    }

    /// An option that may be left out.
    fn float(&self, name: &str) -> Result<Option<f64>, Fault> {
        match self.attribute(name) {
            Some(Attribute::Float(float)) => Ok(Some(float)),
            None => Ok(None),
            other => Err(unfit(format!("{name} must be a float, got {other:?}"))),
        }
    }

    fn operand(&self, name: &str) -> Option<Buffer<'a>> {
        self.operands.iter().find(|operand| operand.0 == name).map(|operand| operand.1)
    }
}

/// Gives buffers the names in a list that is parted by spaces.
fn named<'a>(names: &'a str, buffers: Vec<Buffer<'a>>) -> Result<Vec<(&'a str, Buffer<'a>)>, Fault> {
    let names = names.split(' ');
    if names.clone().count() != buffers.len() {
        return Err(unfit(format!("{} buffers cannot be {names:?}", buffers.len())));
    }
    Ok(names.zip(buffers).collect())
}

/// # Safety
/// XLA has made the struct, which is valid for `'a` and has the size that is known here.
unsafe fn buffers<'a>(raw: &'a Buffers) -> Result<Vec<Buffer<'a>>, Fault> {
    // SAFETY: the struct says that there are so many.
    let (kinds, items) = unsafe { (list(raw.kinds, raw.len)?, list(raw.items, raw.len)?) };
    let read = |(&kind, &item)| match kind {
        // SAFETY: the kind says that it is a buffer.
        BUFFER => unsafe { Buffer::read(item) },
        _ => Err(unfit(format!("an operand or a result is of kind {kind}"))),
    };
    kinds.iter().zip(items).map(read).collect()
}

/// # Safety
/// XLA has made the struct, which is valid for `'a` and has the size that is known here.
unsafe fn attributes<'a>(raw: &'a RawAttributes) -> Result<Vec<(&'a str, Attribute<'a>)>, Fault> {
    // SAFETY: the struct says that there are so many.
    let (kinds, names, items) =
        unsafe { (list(raw.kinds, raw.len)?, list(raw.names, raw.len)?, list(raw.items, raw.len)?) };
    let read = |((&kind, &name), &item): ((&c_int, &*const Bytes), &*const c_void)| {
        // SAFETY: a name is a span of bytes.
        let name = unsafe { text(name) }?;
        let value = match kind {
            // SAFETY: the kind says that it is a span of bytes.
            STRING => Attribute::Word(unsafe { text(item.cast()) }?),
            // SAFETY: the kind says that it is a scalar.
            SCALAR => unsafe { number(item.cast()) }.ok_or_else(|| unfit(format!("{name} is of an unknown type")))?,
            _ => return Err(unfit(format!("{name} is an attribute of kind {kind}"))),
        };
        Ok((name, value))
    };
    kinds.iter().zip(names).zip(items).map(read).collect()
}

/// # Safety
/// Null, or a scalar of XLA.
unsafe fn number<'a>(scalar: *const Scalar) -> Option<Attribute<'a>> {
    // SAFETY: as the caller promises; the type of the number is beside it.
    unsafe {
        let scalar = scalar.as_ref()?;
        match scalar.dtype {
            i64::CODE => scalar.value.cast::<i64>().as_ref().copied().map(Attribute::Integer),
            f64::CODE => scalar.value.cast::<f64>().as_ref().copied().map(Attribute::Float),
            _ => None,
        }
    }
}

/// # Safety
/// Null, or a span of bytes that is valid for `'a`.
unsafe fn text<'a>(bytes: *const Bytes) -> Result<&'a str, Fault> {
    // SAFETY: as the caller promises.
    let bytes = unsafe { bytes.as_ref() }.ok_or_else(|| unfit("a word is missing"))?;
    // SAFETY: the span says that there are so many.
    let bytes = unsafe { list(bytes.data, i64::try_from(bytes.len).unwrap_or(-1)) }?;
    std::str::from_utf8(bytes).map_err(|error| unfit(error.to_string()))
}

/// `len` items; none if the pointer is null and the length is 0.
///
/// # Safety
/// There are so many, valid for `'a`.
unsafe fn list<'a, T>(items: *const T, len: i64) -> Result<&'a [T], Fault> {
    match usize::try_from(len) {
        Ok(0) => Ok(&[]),
        // SAFETY: as the caller promises.
        Ok(len) if !items.is_null() => Ok(unsafe { from_raw_parts(items, len) }),
        _ => Err(unfit(format!("a list is missing, or has length {len}"))),
    }
}

/// A struct that begins with its size.
///
/// # Safety
/// Null, or such a struct of XLA, which is valid for `'a`.
unsafe fn sized<'a, T>(name: &str, pointer: *const T) -> Result<&'a T, Fault> {
    // SAFETY: as the caller promises.
    let size = unsafe { pointer.cast::<usize>().as_ref() }.ok_or_else(|| unfit(format!("{name} is missing")))?;
    at_least(name, *size, size_of::<T>())?;
    // SAFETY: it is long enough.
    Ok(unsafe { &*pointer })
}

fn exactly(name: &str, got: usize, expected: usize) -> Result<(), Fault> {
    if got == expected { Ok(()) } else { Err(wrong_size(name, "exactly", got, expected)) }
}

fn at_least(name: &str, got: usize, expected: usize) -> Result<(), Fault> {
    if got >= expected { Ok(()) } else { Err(wrong_size(name, "at least", got, expected)) }
}

#[cold]
fn wrong_size(name: &str, how: &str, got: usize, expected: usize) -> Fault {
    unfit(format!("this jaxlib does not fit xentrs: {name} must have {how} {expected} bytes, got {got}"))
}

// ---------------------------------------------------------------------------------------------------------- the answer

/// Answers XLA's question for the version, or runs `f` and returns its error. A panic becomes an error too.
///
/// # Safety
/// XLA has made the frame.
unsafe fn answer(frame: *mut CallFrame, f: impl FnOnce(&CallFrame) -> Result<(), Fault>) -> *mut c_void {
    // SAFETY: every version has the first fields, and XLA keeps the frame until the handler returns.
    let (extension, api) = unsafe { ((*frame).extensions, (*frame).api) };
    // SAFETY: an extension begins with these fields.
    if let Some(extension) = unsafe { extension.as_ref() }
        && extension.kind == METADATA
    {
        // SAFETY: the kind says that it is of this type.
        unsafe { tell_version(sized("XLA_FFI_CallFrame", frame).is_ok(), extension) };
        return null_mut();
    }
    // SAFETY: XLA has made the frame, and keeps it until the handler returns.
    let frame = || unsafe { sized("XLA_FFI_CallFrame", frame) };
    let run = || float_mode::standard(|| crate::or_error(|| Ok(frame().and_then(f)))?);
    let fault = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => return null_mut(),
        Ok(Err(fault)) => fault,
        Err(panic) => unfit(format!("xentrs panicked: {}", said(&*panic))),
    };
    // SAFETY: XLA gives its functions with every call.
    unsafe { error(api, fault) }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Writes the version of this file, by which XLA refuses it if it is too old. Where the structs are not those of this
/// file, nothing is written, and XLA refuses version 0.0.
///
/// # Safety
/// `extension` is a [`MetadataExtension`], whose metadata nothing else refers to.
unsafe fn tell_version(knows_frame: bool, extension: *const Extension) {
    // SAFETY: as the caller promises.
    if let Some(metadata) = unsafe { (*extension.cast::<MetadataExtension>()).metadata.as_mut() }
        && knows_frame
        && metadata.struct_size >= offset_of!(Metadata, traits) + size_of::<u32>()
        && metadata.api_version.struct_size == size_of::<ApiVersion>()
    {
        [metadata.api_version.major, metadata.api_version.minor] = VERSION;
        metadata.traits = 0;
    }
}

/// The error as XLA has it.
///
/// # Safety
/// `api` is XLA's.
unsafe fn error(api: *const Api, Fault { code, message }: Fault) -> *mut c_void {
    let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
    let mut arguments = ErrorArguments {
        struct_size: offset_of!(ErrorArguments, code) + size_of::<c_int>(),
        extensions: null_mut(),
        message: message.as_ptr(),
        code,
    };
    // SAFETY: as the caller promises.
    let api = unsafe { sized("XLA_FFI_Api", api) };
    let create = api.ok().filter(|api| api.version.struct_size == size_of::<ApiVersion>());
    let create = create.and_then(|api| api.error_create);
    match create {
        // SAFETY: this is XLA's function for it, which copies the message.
        Some(create) => unsafe { create(&mut arguments) },
        // A result that nobody wrote must not be taken for one. No version that XLA accepts comes here.
        None => std::process::abort(),
    }
}
