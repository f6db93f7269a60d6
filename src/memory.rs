//! The only file that asks for memory whose size depends on an input. Each request may fail, and then nothing aborts.
//!
//! A request that fails unwinds, like a panic but without its message, from wherever it is made, a helper thread or the
//! middle of a kernel, to the nearest [`or_error`], which makes [`Error::OutOfMemory`] of it. So no function on the way needs
//! to know of it. Buffers on the way are freed; results that a caller keeps may be half-written, as in no other error.

use crate::error::{Error, Result};
use bytemuck::Zeroable;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What unwinds.
struct OutOfMemory {
    bytes: usize,
}

/// Runs `f`. If memory that it asks for is not to be had, that is an error as all others are.
///
/// The functions of this library ask for little memory beside their results. Where it is not to be had, they unwind; inside
/// this function they return an error.
///
/// # Errors
/// [`Error::OutOfMemory`], or the error of `f`.
pub fn or_error<R>(f: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| match payload.downcast::<OutOfMemory>() {
        Ok(failed) => Err(Error::OutOfMemory { bytes: failed.bytes }),
        Err(panic) => resume_unwind(panic),
    })
}

#[cold]
#[inline(never)]
pub(crate) fn fail(bytes: usize) -> ! {
    resume_unwind(Box::new(OutOfMemory { bytes }))
}

fn bytes_of<T>(len: usize) -> usize {
    len.saturating_mul(size_of::<T>())
}

/// A vector of zeros, in memory that the system may give page by page, as it is written.
pub(crate) fn zeros<T: Zeroable>(len: usize) -> Vec<T> {
    bytemuck::allocation::try_zeroed_vec(len).unwrap_or_else(|()| fail(bytes_of::<T>(len)))
}

/// A vector of equal items.
pub(crate) fn copies<T: Clone>(item: T, len: usize) -> Vec<T> {
    let mut list = with_capacity(len);
    list.resize(len, item);
    list
}

/// An empty vector with place for items.
pub(crate) fn with_capacity<T>(len: usize) -> Vec<T> {
    let mut list = Vec::new();
    reserve(&mut list, len);
    list
}

/// A vector of all items.
pub(crate) fn list<T>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut list = Vec::new();
    append(&mut list, items);
    list
}

/// Adds items to the end of a vector.
pub(crate) fn append<T>(list: &mut Vec<T>, items: impl IntoIterator<Item = T>) {
    let mut items = items.into_iter();
    while let Some(item) = items.next() {
        if list.len() == list.capacity() {
            reserve(list, items.size_hint().0.saturating_add(1));
        }
        list.push(item);
    }
}

/// Makes a vector `len` items long; what is new is zero.
pub(crate) fn resize<T: Zeroable + Clone>(list: &mut Vec<T>, len: usize) {
    reserve(list, len.saturating_sub(list.len()));
    list.resize(len, T::zeroed());
}

/// Unwinds unless so many bytes are to be had at this moment, for a library that aborts where they are not.
pub(crate) fn expect(bytes: usize) {
    reserve(&mut Vec::<u8>::new(), bytes);
}

fn reserve<T>(list: &mut Vec<T>, more: usize) {
    if list.try_reserve(more).is_err() {
        fail(bytes_of::<T>(list.len().saturating_add(more)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than any machine has.
    const TOO_MANY: usize = 1 << 60;

    #[test]
    #[cfg_attr(miri, ignore = "it ends where it has no memory")]
    fn what_is_not_to_be_had_is_an_error() {
        let failures: [fn(); 8] = [
            || drop(zeros::<f64>(TOO_MANY)),
            || drop(zeros::<f64>(usize::MAX)),
            || drop(copies(1.5f32, TOO_MANY)),
            || drop(copies((), usize::MAX)),
            || drop(list((0..9).filter(|i| i % 3 == 0))),
            || drop(list(0..TOO_MANY)),
            || resize(&mut vec![1.0f32], TOO_MANY),
            || expect(TOO_MANY),
        ];
        let bytes = |f: fn()| match or_error(|| {
            f();
            Ok(())
        }) {
            Err(Error::OutOfMemory { bytes }) => Some(bytes),
            other => other.map(|()| None).unwrap(),
        };
        let (e, all) = (TOO_MANY, usize::MAX);
        let expected = [Some(8 * e), Some(all), Some(4 * e), None, None, Some(8 * e), Some(4 * e), Some(e)];
        assert_eq!(failures.map(bytes), expected);
    }

    #[test]
    fn a_panic_stays_one() {
        let panic = catch_unwind(|| or_error(|| -> Result<()> { panic!("on purpose") })).unwrap_err();
        assert_eq!(*panic.downcast::<&str>().unwrap(), "on purpose");
    }

    #[test]
    fn vectors_are_what_was_asked_for() {
        let mut numbers = list([1.0, 2.0].into_iter().filter(|x| *x > 0.0));
        append(&mut numbers, [3.0]);
        resize(&mut numbers, 4);
        assert_eq!(numbers, [1.0, 2.0, 3.0, 0.0]);
        resize(&mut numbers, 1);
        assert_eq!((numbers, copies(5, 2), zeros::<i64>(2)), (vec![1.0], vec![5, 5], vec![0, 0]));
    }
}
