//! Takes topology, linker script and artefact in.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    pipeit_board_build::board()
}
