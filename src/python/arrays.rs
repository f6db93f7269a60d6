//! NumPy arrays as slices of the core: the check of dtype and layout, and the only place that releases the GIL.
//!
//! An array that is float32, float64, float16 or bfloat16, native, aligned and C-ordered is read in place (2-D logits
//! may have any distance between rows). Everything else, including lists, first goes through `xentrs._arrays`, which
//! copies.
//!
//! # Memory that others may write
//! NumPy lets another thread write to an array that is read here. This gives wrong numbers but no invalid memory
//! access: a label that is used as an index is read once and then tested ([`Classes::get`](crate::Classes::get)), and
//! no shape is read twice.
//!
//! # Code of users
//! Reading one argument may run code of its own (`__array__`, properties of subclasses), which may resize or reshape an
//! array that has been read before. So an [`Array`] keeps a copy of its shape, and has no numbers any more once it is
//! not the array that was looked at: the core then refuses its length. No code of users runs after numbers are taken.

use super::threads;
use crate::error::Error;
use crate::parallel::LOOP_ELEMENTS;
use crate::simd::float_mode;
use crate::storage::{Place, Storage};
use crate::view::Rows;
use half::{bf16, f16};
use numpy::npyffi::{NPY_ARRAY_WRITEABLE, NPY_TYPES, NpyTypes, PY_ARRAY_API, get_type_object, npy_intp};
use numpy::{
    Element, PyArrayDescr, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use std::ops::{Deref, Range};
use std::ptr::null_mut;

/// An argument as Python passes it.
pub(super) type Arg<'a, 'py> = &'a Bound<'py, PyAny>;

/// The number of elements from which releasing the GIL is worth its cost.
const DETACH_ELEMENTS: usize = 1 << 14;

/// Work that is shared among threads has always released the GIL and read the number of threads from the context.
const _: () = assert!(DETACH_ELEMENTS <= LOOP_ELEMENTS);

/// The type of elements that are read in place. They have no invalid bit patterns.
pub(super) trait Stored: Copy {
    /// Whether elements of this dtype have this type, in the machine's byte order.
    fn is(dtype: &Bound<'_, PyArrayDescr>) -> bool;
}

macro_rules! stored {
    ($($t:ty: $kind:literal)+) => {
        $(impl Stored for $t {
            #[inline]
            fn is(dtype: &Bound<'_, PyArrayDescr>) -> bool {
                dtype.kind() == $kind
                    && dtype.itemsize() == size_of::<Self>()
                    && dtype.is_native_byteorder() != Some(false)
            }
        })+
    };
}

stored!(f16: b'f' f32: b'f' f64: b'f' i32: b'i' i64: b'i');

/// The bfloat16 of ml_dtypes is recognised by its name, since ml_dtypes need not be installed.
impl Stored for bf16 {
    fn is(dtype: &Bound<'_, PyArrayDescr>) -> bool {
        dtype.num() >= NPY_TYPES::NPY_USERDEF as i32
            && dtype.itemsize() == size_of::<Self>()
            && dtype.is_native_byteorder() != Some(false)
            && dtype.typeobj().name().is_ok_and(|name| name == "bfloat16")
    }
}

/// A type of logits.
pub(super) trait Number:
    Storage<Real: Place<Self> + Stored + Element> + Place<Self> + Stored + Into<f64>
{
    /// Single precision, which the caller may want derivatives in.
    type Single: Place<Self> + Stored + Element;
}

impl Number for f32 {
    type Single = f32;
}
impl Number for f64 {
    type Single = f32;
}
impl Number for f16 {
    type Single = f32;
}
impl Number for bf16 {
    type Single = f32;
}

/// Runs `f` with standard arithmetic and the number of threads of the context, and without the GIL if the work is long
/// enough for other threads to benefit. Memory that is not to be had is an error.
pub(super) fn detached<R: Send>(
    py: Python<'_>,
    elements: usize,
    f: impl FnOnce() -> crate::Result<R> + Send,
) -> crate::Result<R> {
    /// A function of its own, which the branches share.
    #[inline(never)]
    fn standard<R>(f: impl FnOnce() -> crate::Result<R>) -> crate::Result<R> {
        float_mode::standard(|| crate::or_error(f))
    }
    let f = || standard(f);
    if elements < DETACH_ELEMENTS { f() } else { threads::of_context(py, || py.detach(f)) }
}

#[inline]
pub(super) fn check_shape(name: &'static str, expected: &[usize], got: &[usize]) -> crate::Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Shape { name, expected: expected.to_vec(), got: got.to_vec() })
}

/// The object as an array, unless it is of a subclass that masks elements, as `numpy.ma` does: `xentrs._arrays` looks at
/// the mask.
#[inline(always)]
fn as_array<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, PyUntypedArray>> {
    #[cold]
    #[inline(never)]
    fn of_subclass<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, PyUntypedArray>> {
        object.cast().ok().filter(|_| !object.hasattr(intern!(object.py(), "mask")).unwrap_or(true))
    }
    if object.is_exact_instance_of::<PyUntypedArray>() {
        // SAFETY: the object is an array, as has just been checked.
        Some(unsafe { object.cast_unchecked() })
    } else {
        of_subclass(object)
    }
}

/// An array whose numbers are read in place: of type `T`, native and aligned. Its last axis is contiguous, and all
/// other axes have one common stride.
pub(super) struct Array<'py, T> {
    array: Bound<'py, PyUntypedArray>,
    data: *mut T,
    shape: Shape,
    rows: usize,
    columns: usize,
    stride: usize,
    /// Whether it stands a class at a time: then the numbers of a row are as far from each other as there are rows.
    by_column: bool,
    /// Whether it is a copy of the argument.
    copied: bool,
}

/// The memory of an array.
pub(super) struct Span {
    pub(super) addresses: Range<usize>,
    /// Whether the argument was converted: then it may have memory of its own, besides this, or this.
    pub(super) copied: bool,
}

/// A copy of a shape. It is small, as arrays are moved from function to function, and a small call takes longer for each number.
enum Shape {
    Short([usize; 3], u8),
    Long(Box<[usize]>),
}

impl Shape {
    /// The shape, the number of rows, and their length. A short one stays in registers: what is written as single numbers
    /// and read as a vector at once makes a processor wait.
    #[inline]
    fn of(dims: &[usize]) -> (Self, usize, usize) {
        match *dims {
            [] => (Shape::Short([0; 3], 0), 1, 1),
            [c] => (Shape::Short([c, 0, 0], 1), 1, c),
            [n, c] => (Shape::Short([n, c, 0], 2), n, c),
            [m, n, c] => (Shape::Short([m, n, c], 3), m * n, c),
            [ref leading @ .., c] => (Shape::Long(dims.into()), leading.iter().product(), c),
        }
    }
}

impl Deref for Shape {
    type Target = [usize];

    #[inline]
    fn deref(&self) -> &[usize] {
        match self {
            #[expect(clippy::indexing_slicing, reason = "`of` has compared the lengths")]
            Shape::Short(dims, len) => &dims[..usize::from(*len)],
            Shape::Long(dims) => dims,
        }
    }
}

impl<'py, T: Stored> Array<'py, T> {
    /// `None` if the object is not such an array.
    pub(super) fn in_place(object: &Bound<'py, PyAny>) -> Option<Self> {
        let array = as_array(object)?;
        if !T::is(&array.dtype()) {
            return None;
        }
        // SAFETY: the object is an array of this type; both have just been checked.
        let data = unsafe { array.cast_unchecked::<PyArrayDyn<T>>() }.data();
        if !data.is_aligned() {
            return None;
        }
        let (shape, rows, columns) = Shape::of(array.shape());
        let size = size_of::<T>() as isize;
        let stride = match array.strides() {
            _ if array.is_c_contiguous() => columns,
            &[stride, inner] if inner == size && stride >= 0 && stride % size == 0 => (stride / size) as usize,
            _ => return None,
        };
        Some(Array { array: array.clone(), data, shape, rows, columns, stride, by_column: false, copied: false })
    }

    /// An array whose last axis is the slowest in memory, and whose others are in C order: a class at a time. Its
    /// numbers are [`data`](Self::data); there are no rows of it.
    pub(super) fn by_column(object: &Bound<'py, PyAny>) -> Option<Self> {
        let array = as_array(object).filter(|array| T::is(&array.dtype()))?;
        // SAFETY: the object is an array of this type; both have just been checked.
        let data = unsafe { array.cast_unchecked::<PyArrayDyn<T>>() }.data();
        let ([leading @ .., _], [strides @ .., last]) = (array.shape(), array.strides()) else { return None };
        let mut expected = size_of::<T>() as isize;
        for (&n, &stride) in leading.iter().zip(strides).rev() {
            if stride != expected {
                return None;
            }
            expected *= n as isize;
        }
        let (shape, rows, columns) = Shape::of(array.shape());
        (data.is_aligned() && *last == expected && rows > 0 && columns > 0).then(|| Array {
            array: array.clone(),
            data,
            shape,
            rows,
            columns,
            stride: columns,
            by_column: true,
            copied: false,
        })
    }

    /// An array that `xentrs._arrays` has made.
    pub(super) fn copy(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        match Self::in_place(object) {
            Some(array) => Ok(Array { copied: true, ..array }),
            None => Err(PyTypeError::new_err("xentrs._arrays must give native C-ordered arrays")),
        }
    }

    /// The result of `xentrs._arrays` for `arg`: a copy, unless it is the same object.
    pub(super) fn same_or_copy(made: &Bound<'py, PyAny>, arg: Arg<'_, 'py>) -> PyResult<Self> {
        let same = if made.is(arg) { Self::in_place(made) } else { None };
        same.map_or_else(|| Self::copy(made), Ok)
    }

    /// The same array, if it has this shape.
    #[inline]
    pub(super) fn of_shape(self, name: &'static str, shape: &[usize]) -> PyResult<Self> {
        check_shape(name, shape, self.shape())?;
        Ok(self)
    }

    /// A new, uninitialised array of this dtype.
    pub(super) fn empty(dtype: Bound<'py, PyArrayDescr>, shape: &[usize]) -> PyResult<Self> {
        let py = dtype.py();
        let dims = shape.as_ptr().cast::<npy_intp>().cast_mut();
        // SAFETY: NumPy reads `dims`, which are those of another array, and takes over `dtype`. The elements have no
        // invalid bit patterns, and every element is written before the array is returned.
        let array = unsafe {
            let class = get_type_object(py, NpyTypes::PyArray_Type);
            let descr = dtype.into_dtype_ptr();
            let ndim = shape.len() as i32;
            let new =
                PY_ARRAY_API.PyArray_NewFromDescr(py, class, descr, ndim, dims, null_mut(), null_mut(), 0, null_mut());
            Bound::from_owned_ptr_or_err(py, new)?
        };
        Self::copy(&array)
    }

    #[inline]
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether this is still the array that was looked at.
    #[inline]
    fn is_intact(&self) -> bool {
        // SAFETY: `in_place` has checked the type.
        let data = unsafe { self.array.cast_unchecked::<PyArrayDyn<T>>() }.data();
        let (dims, before) = (self.array.shape(), &*self.shape);
        data == self.data
            && dims.len() == before.len()
            && dims.iter().zip(before).all(|(n, before)| n == before)
            && self.is_inside_its_base()
    }

    /// Whether the array that this is a view of, if there is one, still has these numbers.
    fn is_inside_its_base(&self) -> bool {
        // SAFETY: `array` is a live array object, and keeps its base alive.
        let base = unsafe {
            let base = (*numpy::npyffi::_PyArray_GET_ITEM_DATA(self.array.as_array_ptr())).base;
            Bound::from_borrowed_ptr_or_opt(self.array.py(), base)
        };
        let Some(base) = base else { return true };
        let Ok(base) = base.cast::<PyUntypedArray>() else { return true };
        // SAFETY: the type of the elements does not matter, as the pointer is only compared.
        let start = unsafe { base.cast_unchecked::<PyArrayDyn<T>>() }.data() as usize;
        let (end, here) = (start + base.len() * base.dtype().itemsize(), self.addresses());
        !base.is_contiguous() || (start <= here.start && here.end <= end)
    }

    pub(super) fn len(&self) -> usize {
        self.rows * self.columns
    }

    pub(super) fn row_count(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn object(&self) -> &Bound<'py, PyUntypedArray> {
        &self.array
    }

    /// The numbers of the first row.
    pub(super) fn first_row(&self) -> impl Iterator<Item = T> {
        let len = if self.rows == 0 { 0 } else { self.columns };
        self.data().iter().step_by(if self.by_column { self.rows.max(1) } else { 1 }).take(len).copied()
    }

    pub(super) fn is_writeable(&self) -> bool {
        // SAFETY: `array` is a live array object.
        let flags = unsafe { (*numpy::npyffi::_PyArray_GET_ITEM_DATA(self.array.as_array_ptr())).flags };
        flags & NPY_ARRAY_WRITEABLE != 0
    }

    /// Divides a flat array into rows of `columns` numbers.
    pub(super) fn fold(&mut self, columns: usize) {
        let len = self.len();
        (self.rows, self.columns, self.stride) = (len.checked_div(columns).unwrap_or(0), columns, columns);
    }

    pub(super) fn is_flat(&self) -> bool {
        self.stride == self.columns || self.rows <= 1
    }

    pub(super) fn span_len(&self) -> usize {
        if self.len() == 0 { 0 } else { (self.rows - 1) * self.stride + self.columns }
    }

    /// All numbers from the first to the last, including those between the rows.
    pub(super) fn data(&self) -> &[T] {
        if self.span_len() == 0 || !self.is_intact() {
            return &[];
        }
        // SAFETY: `in_place` has checked type, alignment and strides, which are still those of the array, and `self`
        // keeps it alive. The caller is responsible for writers in other threads, as with every function of NumPy.
        unsafe { std::slice::from_raw_parts(self.data, self.span_len()) }
    }

    /// Like [`data`](Self::data), mutable.
    pub(super) fn data_mut(&mut self) -> &mut [T] {
        if self.span_len() == 0 || !self.is_intact() {
            return &mut [];
        }
        // SAFETY: as above; `Output` provides only writeable arrays that share no memory with an input.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.span_len()) }
    }

    /// The range of addresses that is read or written.
    pub(super) fn addresses(&self) -> Range<usize> {
        let start = self.data as usize;
        start..start + self.span_len() * size_of::<T>()
    }

    /// Whether `xentrs._arrays` has made the array.
    pub(super) fn is_copied(&self) -> bool {
        self.copied
    }

    pub(super) fn span(&self) -> Option<Span> {
        Some(Span { addresses: self.addresses(), copied: self.copied })
    }
}

impl<T: Stored> Array<'_, T> {
    /// Whether the array has rows or, without an axis, whether its numbers follow each other without gaps.
    pub(super) fn suits(&self, axis: Option<isize>) -> bool {
        if axis.is_some() { !self.shape().is_empty() } else { self.is_flat() }
    }

    pub(super) fn rows(&self) -> crate::Result<Rows<'_, T>> {
        Rows::with_stride("logits", self.data(), self.rows, self.columns, self.stride)
    }
}
