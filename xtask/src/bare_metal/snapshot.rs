//! What a firmware prints, compared with what it printed when someone last looked.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Words that numbers follow which may change with every build.
const VARIABLE: [&str; 7] = ["tables ", "all ", "all # of ", "busy ", "starved ", "stack: ", "0x"];

/// Compares `lines` with the file at `path`, which is written instead if `bless`.
pub(crate) fn compare(path: &Path, lines: &[String], bless: bool) -> Result<()> {
    let found: String = lines.iter().map(|line| mask(line) + "\n").collect();
    if bless {
        return fs::write(path, found).with_context(|| path.display().to_string());
    }
    let expected = fs::read_to_string(path)
        .with_context(|| format!("{} (--bless writes it)", path.display()))?;
    if found == expected {
        return Ok(());
    }
    let mut pairs = expected.lines().zip(found.lines()).enumerate();
    let differ = pairs.find(|(_, (expected, found))| expected != found);
    match differ {
        Some((index, (expected, found))) => {
            bail!("{} line {}: {found:?}, not {expected:?}", path.display(), index + 1)
        }
        None => bail!("{}: other lines at the end:\n{found}", path.display()),
    }
}

/// `line` with a `#` for each number that may change.
fn mask(line: &str) -> String {
    let mut text = line.to_owned();
    for word in VARIABLE {
        let mut parts = text.split(word);
        let mut masked = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits =
                part.len() - part.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
            masked += word;
            masked += if digits > 0 { "#" } else { "" };
            masked += &part[digits..];
        }
        text = masked;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_change_is_masked() {
        assert_eq!(
            mask("memory: tables 5320, arena 445440, all 477536 of 131321856 bytes"),
            "memory: tables #, arena 445440, all # of # bytes"
        );
        assert_eq!(mask("stage 0: 8 frames, busy 12 us"), "stage 0: 8 frames, busy # us");
        assert_eq!(mask("at 0x4020ed48, 0x0"), "at 0x#, 0x#");
        assert_eq!(mask("stack: 11 of 22 bytes"), "stack: # of 22 bytes");
    }
}
