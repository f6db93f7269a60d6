//! Calls of the Rust API, made of any bytes, beside oracles in float64.
//!
//! The bytes choose a type, a function, a shape, options, kinds of targets and of numbers; the first four of them seed
//! the generator of the numbers themselves. So random bytes reach every function, and a fuzzer that changes one byte
//! changes one choice.
//!
//! Of each call it is known whether it is valid. One that is not must be refused, and leave a place that the caller
//! keeps as it was. One that is valid must agree with its oracle where that holds; must give the same bits beside the
//! numbers and over them, in rows that stand apart, on two threads; and what is stored in half precision must give what
//! the same numbers in single precision do.
//!
//! `make fuzz` runs [`run`] with the bytes of libFuzzer. `XENTRS_FUZZ_SHOWS=1` prints what is called.

mod check;
mod draw;
mod measures;
mod others;
mod points;
mod rows;
mod truth;

use draw::{Draw, Stored};
use half::{bf16, f16};

/// A call. What is wrong with it is a panic.
pub fn run(data: &[u8]) {
    let mut draw = Draw::new(data);
    match draw.byte() % 8 {
        0..3 => call::<f32>(&mut draw),
        3..6 => call::<f64>(&mut draw),
        6 => call::<f16>(&mut draw),
        _ => call::<bf16>(&mut draw),
    }
}

fn call<S: Stored>(draw: &mut Draw<'_>) {
    match draw.byte() % 16 {
        0..5 => rows::losses::<S>(draw),
        5..8 => points::losses::<S>(draw),
        8 => points::gaussian::<S>(draw),
        9 => others::tokens::<S>(draw),
        10 => others::functions::<S>(draw),
        11 => others::layers::<S>(draw),
        12 => others::statistics::<S>(draw),
        13 => others::penalties::<S>(draw),
        _ => measures::measures::<S>(draw),
    }
}
