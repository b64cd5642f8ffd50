//! Writes the tables of the boards whose timings are published.
//!
//! ```sh
//! cargo run -p pipeit-planner --example board_tables -- PUBLISHED BOARDS
//! ```
//!
//! `PUBLISHED` is a folder with the files that `pipeit_planner::published` reads, `BOARDS` the
//! folder of the boards.

use std::error::Error;
use std::fs;
use std::path::Path;

use pipeit_planner::published::{self, BoardTables, Published};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let (Some(from), Some(to)) = (args.next(), args.next()) else {
        return Err("want two folders: the published files, the boards".into());
    };
    let read = |name: &str| fs::read_to_string(Path::new(&from).join(name));
    let published = Published::parse(
        &read("layers.csv")?,
        &read("handover.csv")?,
        &read("pipelines.csv")?,
        &read("networks.csv")?,
    )?;
    let boards = [
        ("rk3399pro", published::rk3399pro(&published)?),
        ("kirin970", published::kirin970(&published)?),
    ];
    for (board, BoardTables { units, teams, handover }) in boards {
        let folder = Path::new(&to).join(board);
        fs::write(folder.join("units.csv"), units)?;
        fs::write(folder.join("teams.csv"), teams)?;
        fs::write(folder.join("handover.csv"), handover)?;
    }
    Ok(())
}
