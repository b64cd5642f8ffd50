//! Links the network in that `PIPEIT_ARTEFACT` names, or else the one of the runtime's tests.

use std::env;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=PIPEIT_ARTEFACT");
    let artefact = env::var_os("PIPEIT_ARTEFACT");
    let artefact = artefact.unwrap_or_else(|| "../../tests/data/tiny.pipeit".into());
    pipeit_board_build::program("qemu-virt", Some(Path::new(&artefact)))
}
