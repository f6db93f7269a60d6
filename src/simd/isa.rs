//! The instruction set in use: detected once, or forced by the environment variable `XENTRS_ISA`.

#[cfg(not(target_arch = "x86_64"))]
use super::portable::Portable as Baseline;
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512, sse2::Sse2 as Baseline};
use crate::error::{Error, Result};
use std::sync::OnceLock;

/// An instruction set that this processor has; only [`Isa::available`] creates one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Token);

/// The proof that the processor has the instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// 512-bit vectors: AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// 256-bit vectors: AVX2, FMA, F16C and POPCNT.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// The baseline of the architecture: SSE2, or plain arrays, which the compiler turns into vectors (NEON).
    Portable(Baseline),
}

impl Isa {
    /// Every instruction set of this processor, best first.
    pub fn available() -> Vec<Isa> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx512::detect().map(|token| Isa(Token::Avx512(token))));
            all.extend(Avx2::detect().map(|token| Isa(Token::Avx2(token))));
        }
        all.push(Isa(Token::Portable(Baseline)));
        all
    }

    /// The instruction set in use: `XENTRS_ISA` if it is set, else the best. It is chosen at the first call.
    ///
    /// # Errors
    /// [`Error::Isa`] if `XENTRS_ISA` names an instruction set that does not exist or that this processor lacks.
    #[inline(always)]
    pub fn active() -> Result<Isa> {
        static ACTIVE: OnceLock<Result<Isa>> = OnceLock::new();
        #[cold]
        fn first() -> Result<Isa> {
            let wanted = || Some(std::env::var_os("XENTRS_ISA")?.to_string_lossy().into_owned());
            ACTIVE.get_or_init(|| Isa::choose(wanted().as_deref())).clone()
        }
        if let Some(Ok(isa)) = ACTIVE.get() { Ok(*isa) } else { first() }
    }

    fn choose(wanted: Option<&str>) -> Result<Isa> {
        let available = Isa::available();
        let Some(wanted) = wanted.filter(|name| !name.is_empty()) else {
            return Ok(available[0]);
        };
        available.iter().copied().find(|isa| isa.name() == wanted).ok_or_else(|| Error::Isa {
            got: wanted.to_owned(),
            available: available.iter().map(|isa| isa.name()).collect(),
        })
    }

    /// `"avx512"`, `"avx2"` or `"portable"`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => "avx2",
            Token::Portable(_) => "portable",
        }
    }

    /// The number of lanes of a register of this type; that of plain arrays is the baseline's of x86-64.
    pub(crate) fn lanes<T>(self) -> usize {
        let bytes = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => 64,
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => 32,
            Token::Portable(_) => 16,
        };
        bytes / size_of::<T>()
    }

    #[inline(always)]
    pub(super) fn token(self) -> Token {
        self.0
    }
}

/// Whether Intel made the processor.
pub(crate) fn is_intel() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static INTEL: OnceLock<bool> = OnceLock::new();
        *INTEL.get_or_init(|| std::arch::x86_64::__cpuid(0).ebx == u32::from_le_bytes(*b"Genu"))
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_one_by_default_and_any_by_name() {
        assert_eq!(Isa::choose(None), Ok(Isa::available()[0]));
        assert_eq!(Isa::choose(Some("")), Ok(Isa::available()[0]));
        for isa in Isa::available() {
            assert_eq!(Isa::choose(Some(isa.name())), Ok(isa));
        }
    }

    #[test]
    fn an_unknown_one_is_an_error_that_names_those_available() {
        let message = Isa::choose(Some("mmx")).unwrap_err().to_string();
        assert!(message.starts_with("XENTRS_ISA must be one of ") && message.contains("portable"), "{message}");
        assert!(message.ends_with("got \"mmx\""), "{message}");
    }
}
