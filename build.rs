//! Tells the crate the profile it is built with, for `build_info()`. Cargo itself says only "release" or "debug".

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // <target>/<profile>/build/<package>/out
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    let profile = out.ancestors().nth(3).and_then(|path| path.file_name()).unwrap_or_default();
    println!("cargo::rustc-env=XENTRS_PROFILE={}", profile.to_string_lossy());
    // What is in the build of the tests alone.
    println!("cargo::rustc-check-cfg=cfg(quick)");
    if profile == "quick" {
        println!("cargo::rustc-cfg=quick");
    }
}
