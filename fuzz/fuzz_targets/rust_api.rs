//! libFuzzer's way to the calls of the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xentrs_fuzz::run(data));
