//! Compiles the BPF programs with clang. The objects are built, never committed.

use std::{env, error::Error, path::Path, process::Command};

const SOURCE: &str = "src/bpf/to_switch.c";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let object = Path::new(&env::var("OUT_DIR")?).join("to_switch.bpf.o");
    // For a target of its own, clang does not look where Debian keeps asm/types.h.
    let headers = format!("-I/usr/include/{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH")?);
    // Line numbers for the verifier's log, but not this machine's paths.
    let status = Command::new(&clang)
        .args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3", &headers])
        .args(["-fdebug-compilation-dir=.", "-c", SOURCE, "-o"])
        .arg(&object)
        .status()
        .map_err(|error| {
            format!(
                "{clang} cannot be run: {error}; install it (apt-get install clang), or name one in CLANG"
            )
        })?;
    if status.success() { Ok(()) } else { Err(format!("{clang} could not compile {SOURCE}").into()) }
}
