//! The header in the repository is the one that the source makes.
//!
//! `PIPEIT_BLESS=1 cargo test -p pipeit-capi --test header` writes it anew.

use std::path::Path;
use std::{env, fs};

#[test]
fn the_header_is_up_to_date() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config);
    let sources = ["src/status.rs", "src/lib.rs"].map(|file| package.join(file));
    let bindings = sources.into_iter().fold(builder, cbindgen::Builder::with_src).generate();
    let mut made = Vec::new();
    bindings.unwrap().write(&mut made);
    let path = package.join("include/pipeit.h");
    if env::var_os("PIPEIT_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let found = fs::read(&path).unwrap_or_default();
    assert!(found == made, "{} is out of date: PIPEIT_BLESS=1 writes it anew", path.display());
}
