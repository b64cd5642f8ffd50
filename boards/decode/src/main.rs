//! Shows what a firmware has logged: `decode FIRMWARE.elf defmt.bin`, a line per message.
//!
//! A line is the number of the core, the time in seconds, the level and the message.
#![forbid(unsafe_code)]

use std::{env, fs};

use anyhow::{Context, Result};
use defmt_decoder::{DecodeError, Table};

fn main() -> Result<()> {
    let mut args = env::args_os().skip(1);
    let mut file = || -> Result<Vec<u8>> {
        let path = args.next().context("usage: decode FIRMWARE.elf defmt.bin")?;
        fs::read(&path).with_context(|| path.display().to_string())
    };
    let table = Table::parse(&file()?)?.context("the firmware logs nothing")?;
    let mut decoder = table.new_stream_decoder();
    decoder.received(&file()?);
    loop {
        match decoder.decode() {
            Ok(frame) => println!("{}", frame.display(false)),
            Err(DecodeError::UnexpectedEof) => return Ok(()),
            Err(DecodeError::Malformed) => anyhow::bail!("a message is malformed"),
        }
    }
}
