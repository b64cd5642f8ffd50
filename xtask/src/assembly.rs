//! Reads the assembly text that rustc writes for 64-bit Arm: which symbol mentions which.
//!
//! A *symbol* is a function or a piece of data. A function mentions what it branches to and
//! what it takes the address of (`adrp`); data mentions what it holds the address of, so
//! that calls through tables of functions are found as well.

use std::collections::{BTreeMap, HashMap};

/// Beginnings of labels inside a symbol.
const INNER_LABELS: &[&str] = &[".LBB", ".Ltmp", ".LJTI", ".LCPI", ".Lfunc", ".Lloh", ".Lpcrel"];

/// Directives that put an address into data.
const ADDRESSES: &[&str] = &[".xword", ".quad", ".word", ".long"];

/// What is in one symbol.
#[derive(Debug, Default)]
pub(crate) struct Symbol {
    /// Symbols it mentions, each with the source line of the first mention.
    pub(crate) mentions: BTreeMap<String, String>,
    /// Names of its floating-point instructions, each with the source line of the first.
    pub(crate) floats: BTreeMap<String, String>,
    /// Source line of the first instruction that stops the program.
    pub(crate) trap: Option<String>,
}

/// The symbols of several crates, by name; names local to a crate have its own after a `@`.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// All symbols that are defined.
    pub(crate) symbols: BTreeMap<String, Symbol>,
}

impl Program {
    /// Adds the symbols of the assembly `text` of `unit`.
    pub(crate) fn add(&mut self, unit: &str, text: &str) {
        let mut files: HashMap<&str, &str> = HashMap::new();
        let mut line = String::new();
        let mut current: Option<String> = None;
        for code in text.lines() {
            if let Some(label) = label(code) {
                if !is_inner(label) {
                    let name = qualified(label, unit);
                    self.symbols.entry(name.clone()).or_default();
                    current = Some(name);
                }
                continue;
            }
            let code = code.trim();
            let (word, operands) = code.split_once([' ', '\t']).unwrap_or((code, ""));
            match word {
                ".file" => {
                    // Its number, its folder if it has one, its name.
                    if let (Some(number), Some(name)) =
                        (operands.split_whitespace().next(), quoted(operands).last())
                    {
                        files.insert(number, name);
                    }
                }
                ".loc" => {
                    let mut words = operands.split_whitespace();
                    if let (Some(file), Some(number)) = (words.next(), words.next())
                        && number != "0"
                    {
                        line = format!("{}:{number}", files.get(file).unwrap_or(&"?"));
                    }
                }
                ".section" | ".text" | ".data" | ".bss" => current = None,
                ".set" => {
                    if let Some((alias, name)) = operands.split_once(',') {
                        let symbol = self.symbols.entry(qualified(alias.trim(), unit)).or_default();
                        symbol.mentions.insert(qualified(name.trim(), unit), line.clone());
                    }
                }
                _ => {
                    if let Some(symbol) = current.as_ref().and_then(|s| self.symbols.get_mut(s)) {
                        symbol.add(word, operands, unit, &line);
                    }
                }
            }
        }
    }
}

impl Symbol {
    /// Takes note of one instruction, or of one piece of data.
    fn add(&mut self, word: &str, operands: &str, unit: &str, line: &str) {
        let last = operands.rsplit(',').next().unwrap_or_default().trim();
        let is_branch =
            matches!(word, "b" | "bl" | "cbz" | "cbnz" | "tbz" | "tbnz") || word.starts_with("b.");
        let target = if is_branch || matches!(word, "adrp" | "adr") || ADDRESSES.contains(&word) {
            mentioned(last)
        } else {
            None
        };
        if let Some(target) = target {
            let name = qualified(target, unit);
            self.mentions.entry(name).or_insert_with(|| line.to_owned());
        }
        if is_float_arithmetic(word) {
            self.floats.entry(word.to_owned()).or_insert_with(|| line.to_owned());
        }
        if matches!(word, "brk" | "udf" | "hlt") && self.trap.is_none() {
            self.trap = Some(line.to_owned());
        }
    }
}

/// The name in a line that is a label.
fn label(code: &str) -> Option<&str> {
    if code.starts_with([' ', '\t', '#', '/']) {
        return None;
    }
    Some(code.split("//").next()?.trim_end().strip_suffix(':')?.trim_matches('"'))
}

fn is_inner(label: &str) -> bool {
    INNER_LABELS.iter().any(|start| label.starts_with(start))
}

/// The symbol in an operand like `symbol`, `:got:symbol` or `symbol+8`.
fn mentioned(operand: &str) -> Option<&str> {
    let name = operand.rsplit(':').next()?.trim_matches('"');
    let name = name.split(['+', '-']).next()?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '.');
    (is_name && !is_inner(name)).then_some(name)
}

fn qualified(name: &str, unit: &str) -> String {
    if name.starts_with(".L") { format!("{name}@{unit}") } else { name.to_owned() }
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

/// Whether an instruction computes with floating-point numbers; `fmov` only moves bits, and
/// moves integers, too.
fn is_float_arithmetic(word: &str) -> bool {
    (word.starts_with('f') && word != "fmov") || word == "scvtf" || word == "ucvtf"
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
\t.file\t1 \"/somewhere\" \"src/one.rs\"\n\
\t.section\t.text.one,\"ax\",@progbits\n\
\t.type\tone,@function\n\
one:\n\
.Lfunc_begin0:\n\
\t.loc\t1 12 5 prologue_end\n\
\tcbz\tx0, .LBB0_2\n\
\tbl\ttwo\n\
\t.loc\t1 0 5 is_stmt 0\n\
\tadrp\tx8, .Lanon.1\n\
\tadrp\tx9, :got:three\n\
\tfmov\tw0, s0\n\
\tbfxil\tw0, w1, #0, #8\n\
\tb.eq\tfour\n\
.LBB0_2:\n\
\t.loc\t1 14 9\n\
\tfadd\ts0, s1, s2\n\
\tblr\tx8\n\
\tbrk\t#0x1\n\
.Lfunc_end0:\n\
\t.section\t.rodata..Lanon.1,\"a\",@progbits\n\
.Lanon.1:                               // a comment\n\
\t.xword\tfive\n\
\t.word\t7\n\
\t.xword\t.Lanon.2+8\n\
\t.section\t.debug_info,\"\",@progbits\n\
\t.xword\tnobody\n\
\t.set six, one\n";

    #[test]
    fn mentions_are_found() {
        let mut program = Program::default();
        program.add("a", TEXT);
        let names = |symbol: &str| {
            let mentions = &program.symbols[symbol].mentions;
            mentions.keys().map(String::as_str).collect::<Vec<_>>()
        };
        assert_eq!(names("one"), [".Lanon.1@a", "four", "three", "two"]);
        assert_eq!(names(".Lanon.1@a"), [".Lanon.2@a", "five"]);
        assert_eq!(names("six"), ["one"]);
        assert_eq!(program.symbols.len(), 3);
        assert_eq!(program.symbols["one"].mentions["two"], "src/one.rs:12");
    }

    #[test]
    fn floats_and_traps_are_found() {
        let mut program = Program::default();
        program.add("a", TEXT);
        let one = &program.symbols["one"];
        let floats: Vec<_> = one.floats.iter().collect();
        assert_eq!(floats, [(&"fadd".to_owned(), &"src/one.rs:14".to_owned())]);
        assert_eq!(one.trap.as_deref(), Some("src/one.rs:14"));
        assert!(!is_float_arithmetic("fmov") && is_float_arithmetic("ucvtf"));
    }
}
