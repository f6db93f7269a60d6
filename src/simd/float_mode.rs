//! The modes of a processor's arithmetic. Results are those of IEEE 754 whatever its caller has set: rounded to the nearest
//! number, with subnormal numbers that are neither read nor written as 0.
//!
//! Other libraries set other modes for the threads that they call us from (XLA reads and writes subnormal numbers as 0), and
//! a new thread begins with the modes of the thread that starts it.

/// Runs `f` with the standard modes, and puts those of the caller back.
#[inline(always)]
pub(crate) fn standard<R>(f: impl FnOnce() -> R) -> R {
    let _put_back = Modes::replace_by_standard();
    f()
}

/// The modes of the caller where they are not the standard ones. They are set again when it is dropped.
struct Modes(Option<register::Bits>);

impl Modes {
    #[inline(always)]
    fn replace_by_standard() -> Self {
        let bits = register::read();
        if register::standard(bits) == bits {
            return Modes(None);
        }
        register::write(register::standard(bits));
        Modes(Some(bits))
    }
}

impl Drop for Modes {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(bits) = self.0 {
            register::write(bits);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod register {
    use std::arch::asm;

    pub type Bits = u32;

    /// Which exceptions have happened since they were last cleared: no mode.
    pub const HAPPENED: u32 = 0x3f;
    /// No exception traps.
    const MASKED: u32 = 0x1f80;

    pub fn standard(bits: u32) -> u32 {
        bits & HAPPENED | MASKED
    }

    #[inline(always)]
    pub fn read() -> u32 {
        let mut bits = 0u32;
        // SAFETY: the instruction writes four bytes.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut bits, options(nostack, preserves_flags)) };
        bits
    }

    #[inline(always)]
    pub fn write(bits: u32) {
        // SAFETY: the bits are those that `read` returned, or the ones that Rust's arithmetic expects.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const bits, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod register {
    use std::arch::asm;

    pub type Bits = u64;

    pub fn standard(_bits: u64) -> u64 {
        0
    }

    #[inline(always)]
    pub fn read() -> u64 {
        let bits;
        // SAFETY: the instruction reads a register of this thread.
        unsafe { asm!("mrs {}, fpcr", out(reg) bits, options(nostack, preserves_flags)) };
        bits
    }

    #[inline(always)]
    pub fn write(bits: u64) {
        // SAFETY: the bits are those that `read` returned, or the ones that Rust's arithmetic expects.
        unsafe { asm!("msr fpcr, {}", in(reg) bits, options(nostack, preserves_flags)) };
    }
}

/// Other processors are believed to be in the standard modes.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod register {
    pub type Bits = ();

    pub fn standard((): ()) {}
    pub fn read() {}
    pub fn write((): ()) {}
}

#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) mod tests {
    use super::*;
    use std::hint::black_box;

    /// Runs `f` with subnormal numbers that are read and written as 0, rounded up.
    pub(crate) fn others<R>(f: impl FnOnce() -> R) -> R {
        let before = register::read();
        let theirs = register::standard(before) | 0x8000 | 0x40 | 0x4000;
        register::write(theirs);
        let result = f();
        let after = register::read();
        register::write(before);
        assert_eq!(after & !register::HAPPENED, theirs & !register::HAPPENED, "the caller's modes are back");
        result
    }

    /// 0 where subnormal numbers are. The compiler may not divide earlier or later.
    pub(crate) fn half_of_tiny() -> f64 {
        black_box(black_box(f64::MIN_POSITIVE) / black_box(2.0))
    }

    #[test]
    fn subnormal_numbers_and_rounding_are_those_of_ieee() {
        let numbers = || (half_of_tiny(), black_box(black_box(1.0f64) / black_box(3.0)));
        let plain = numbers();
        let (outside, inside) = others(|| (half_of_tiny(), standard(numbers)));
        assert_eq!(outside, 0.0);
        assert_eq!(inside, plain);
    }
}
