//! Scratch memory, which a thread keeps from one block of rows to the next.

use crate::memory;
use bytemuck::Zeroable;
use std::cell::RefCell;
use std::thread::LocalKey;

/// Buffers up to this number of elements are kept; a longer one is freed after its use.
const KEPT: usize = 1 << 18;

/// Free buffers of one type: a pile, since a block may need several at a time (logits, targets, exponentials).
type Pile<T> = LocalKey<RefCell<Vec<Vec<T>>>>;

/// A type that scratch memory consists of.
pub trait Scratch: Copy + Default + Zeroable + 'static {
    /// Runs `f` with `len` numbers of arbitrary value. Calls may be nested.
    fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R;
}

macro_rules! scratch {
    ($($t:ty)+) => {
        $(impl Scratch for $t {
            #[inline]
            fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R {
                thread_local! { static PILE: RefCell<Vec<Vec<$t>>> = const { RefCell::new(Vec::new()) } }
                let mut scratch = take(&PILE, len);
                let result = f(&mut scratch[..len]);
                give_back(&PILE, scratch);
                result
            }
        })+
    };
}

scratch!(f32 f64);

/// A buffer of at least `len` elements.
#[inline]
fn take<T: Scratch>(pile: &'static Pile<T>, len: usize) -> Vec<T> {
    if len == 0 {
        return Vec::new();
    }
    let scratch = pile.with_borrow_mut(Vec::pop).unwrap_or_default();
    if scratch.len() < len { memory::zeros(len) } else { scratch }
}

#[inline]
fn give_back<T: Scratch>(pile: &'static Pile<T>, scratch: Vec<T>) {
    if (1..=KEPT).contains(&scratch.len()) {
        pile.with_borrow_mut(|pile| pile.push(scratch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_kept_up_to_a_length() {
        // A new thread, whose pile is empty.
        std::thread::spawn(|| {
            f32::with_scratch(KEPT, |scratch| scratch[0] = 7.0);
            f32::with_scratch(1, |scratch| assert_eq!(scratch, [7.0], "it was kept"));
            f32::with_scratch(KEPT + 1, |scratch| scratch[0] = 8.0);
            f32::with_scratch(1, |scratch| assert_eq!(scratch, [0.0], "it was freed"));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn nested_calls_have_buffers_of_their_own() {
        f64::with_scratch(3, |outer| {
            outer.fill(1.0);
            f64::with_scratch(5, |inner| inner.fill(2.0));
            f64::with_scratch(0, |none| assert!(none.is_empty()));
            assert_eq!(outer, [1.0; 3]);
        });
    }
}
