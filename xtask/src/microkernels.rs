//! The inner loops of the kernels for Arm, cut out of the assembly that [`frame_path`] leaves:
//! what must not be in them, and what they cost by a static model (`cargo xtask microkernels`).
//!
//! The model, llvm-mca, assumes that everything is in the first-level cache. Its cycles rank
//! kernels; they promise no time.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use rustc_demangle::demangle;
use serde_json::{Value, json};

use crate::command::stream;
use crate::frame_path;
use crate::setup::LLVM_MCA;
use crate::workspace::Workspace;

/// Flags of `cargo xtask microkernels`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
}

/// A core of the static model.
#[derive(Debug)]
struct Core {
    /// Its name for llvm-mca.
    name: &'static str,
    /// Multiply-accumulates of int8 that it can complete in a cycle.
    peak: f64,
}

/// What the kernels of a path are judged by.
#[derive(Debug)]
struct Family {
    path: &'static str,
    cores: &'static [Core],
}

/// Advanced SIMD takes two multiplications and an addition for sixteen products: on Cortex-A53
/// they share the only 128-bit pipe; the others multiply in one pipe and add in another.
const FAMILIES: &[Family] = &[
    Family {
        path: "neon",
        cores: &[
            Core { name: "cortex-a53", peak: 16.0 / 3.0 },
            Core { name: "cortex-a72", peak: 8.0 },
            Core { name: "neoverse-n1", peak: 8.0 },
        ],
    },
    Family { path: "dotprod", cores: &[Core { name: "neoverse-n1", peak: 32.0 }] },
    Family { path: "i8mm", cores: &[Core { name: "neoverse-v1", peak: 128.0 }] },
];

/// The modules that hold microkernels; their functions that the frame path calls per tile or line
/// have such loops.
const MODULES: &[&str] = &["conv_2d", "depthwise_conv_2d"];

/// Iterations whose cost is compared with that of twice as many: what is left is the loop's own.
const ITERATIONS: u32 = 500;

/// The innermost loop of a function that multiplies; without what is before and after the
/// multiplications if branches are between.
#[derive(Debug)]
struct Microkernel {
    path: &'static str,
    /// Module and function.
    name: String,
    instructions: Vec<String>,
}

/// Prints the table.
///
/// # Errors
/// If the build fails, a path has no microkernel, or the model cannot take one.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    frame_path::clean(workspace)?;
    stream(&mut frame_path::build(workspace))?;
    let mut rows = Vec::new();
    println!(
        "{:8} {:36} {:>16} {:12} {:>10} {:>9} {:>8}",
        "path", "microkernel", "instructions/MAC", "core", "cycles/MAC", "MAC/cycle", "of peak"
    );
    for kernel in all(&frame_path::assembly_dir(workspace))? {
        let instructions = kernel.instructions.len() as f64 / f64::from(kernel.macs());
        let family = FAMILIES.iter().find(|family| family.path == kernel.path);
        for core in family.map_or(&[][..], |family| family.cores) {
            let cycles = kernel.cycles(workspace, core)? / f64::from(kernel.macs());
            let share = 100.0 / (cycles * core.peak);
            println!(
                "{:8} {:36} {instructions:16.4} {:12} {cycles:10.4} {:9.2} {share:7.0}%",
                kernel.path,
                kernel.name,
                core.name,
                cycles.recip(),
            );
            rows.push(json!({
                "path": kernel.path,
                "microkernel": kernel.name,
                "macs": kernel.macs(),
                "instructions_per_mac": instructions,
                "core": core.name,
                "cycles_per_mac": cycles,
                "share_of_peak": share / 100.0,
            }));
        }
    }
    if args.json {
        println!("{}", json!({ "microkernels": Value::from(rows) }));
    }
    Ok(())
}

/// One line for everything in the microkernels under `dir` that should not be there: loads of
/// single bytes, into which the bare-metal target takes unaligned loads apart, and sums that
/// leave their registers between multiplications.
///
/// # Errors
/// If a path has no microkernel.
pub(crate) fn findings(dir: &Path) -> Result<Vec<String>> {
    let kernels = all(dir)?;
    let findings: Vec<String> = kernels.iter().flat_map(Microkernel::findings).collect();
    println!("{} microkernels looked at, {} findings", kernels.len(), findings.len());
    Ok(findings)
}

/// The microkernels in the assembly of the runtime, by path and name.
fn all(dir: &Path) -> Result<Vec<Microkernel>> {
    let mut kernels = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("pipeit_rt-") && name.ends_with(".s") {
            kernels.extend(cut(&fs::read_to_string(&path)?));
        }
    }
    for Family { path, .. } in FAMILIES {
        let is_there = kernels.iter().any(|kernel| kernel.path == *path);
        ensure!(is_there, "no microkernel of path {path} in {}", dir.display());
    }
    kernels.sort_by(|a, b| (a.path, &a.name).cmp(&(b.path, &b.name)));
    // Tails of a loop that the compiler has written out.
    kernels.dedup_by(|b, a| (a.path, &a.name, a.macs()) == (b.path, &b.name, b.macs()));
    Ok(kernels)
}

/// Cuts the microkernels out of assembly.
fn cut(text: &str) -> Vec<Microkernel> {
    let mut found = Vec::new();
    let mut function = None;
    // Labels of the function so far, each with the number of instructions before it.
    let (mut labels, mut instructions) = (BTreeMap::new(), Vec::<String>::new());
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default().trim_end();
        if let Some(label) = code.strip_suffix(':') {
            if label.starts_with(".LBB") {
                labels.insert(label.to_owned(), instructions.len());
            } else if !label.starts_with('.') {
                function = microkernel(label);
                labels.clear();
                instructions.clear();
            }
            continue;
        }
        let Some((path, name)) = &function else { continue };
        let code = code.trim();
        if code.is_empty() || code.starts_with(['.', '/']) {
            continue;
        }
        instructions.push(code.to_owned());
        let target = code.split([' ', '\t', ',']).next_back().unwrap_or_default();
        let Some(&start) = labels.get(target).filter(|_| is_branch(code)) else { continue };
        let straight = straight(instructions.get(start..).unwrap_or_default());
        if !straight.is_empty() {
            found.push(Microkernel { path, name: name.clone(), instructions: straight.to_vec() });
            // Loops around this one are no inner loops.
            labels.retain(|_, &mut before| before > start);
        }
    }
    found
}

/// From the last branch before the first multiplication to the first branch behind the last, which
/// is part of it if it closes the loop.
fn straight(code: &[String]) -> &[String] {
    let multiplies = |code: &String| macs(code) > 0;
    let (Some(first), Some(last)) =
        (code.iter().position(multiplies), code.iter().rposition(multiplies))
    else {
        return &[];
    };
    let branch = |code: &String| is_branch(code);
    let (before, after) = (code.get(..first), code.get(last..));
    let start = before.and_then(|code| code.iter().rposition(branch)).map_or(0, |at| at + 1);
    let end =
        after.and_then(|code| code.iter().position(branch)).map_or(code.len(), |at| last + at);
    let closes = end + 1 == code.len();
    code.get(start..end + usize::from(closes)).unwrap_or_default()
}

fn is_branch(code: &str) -> bool {
    let word = word(code);
    word.starts_with("b.") || matches!(word, "b" | "bl" | "ret" | "cbz" | "cbnz" | "tbz" | "tbnz")
}

/// Path, and module and function, if the function with this symbol is one of [`MODULES`].
fn microkernel(symbol: &str) -> Option<(&'static str, String)> {
    let name = format!("{:#}", demangle(symbol));
    let (path, name) = name.strip_prefix("pipeit_rt::kernels::")?.split_once("::")?;
    let family = FAMILIES.iter().find(|family| family.path == path)?;
    let module = name.split("::").next()?;
    MODULES.contains(&module).then(|| (family.path, name.to_owned()))
}

/// The word that names an instruction.
fn word(code: &str) -> &str {
    code.split_whitespace().next().unwrap_or_default()
}

/// Products of int8 that an instruction adds up or hands on.
fn macs(code: &str) -> u32 {
    match word(code) {
        "sdot" => 16,
        "smmla" => 32,
        "smull" | "smull2" | "smlal" | "smlal2" if code.contains(".8h") => 8,
        "smull" | "smull2" | "smlal" | "smlal2" if code.contains(".4s") => 4,
        _ => 0,
    }
}

impl Microkernel {
    fn macs(&self) -> u32 {
        self.instructions.iter().map(|code| macs(code)).sum()
    }

    /// See the function [`findings`].
    fn findings(&self) -> impl Iterator<Item = String> + '_ {
        let last = self.instructions.iter().rposition(|code| macs(code) > 0).unwrap_or(0);
        let is_wrong = |code: &&String| {
            let word = word(code);
            let is_byte_load = matches!(word, "ldrb" | "ldrsb" | "ldurb" | "ldursb")
                || word == "ldr" && code.contains("\tb");
            is_byte_load
                || word.starts_with("st") && (code.contains("[sp") || code.contains("[x29"))
        };
        let wrong = self.instructions.iter().take(last).filter(is_wrong);
        wrong.map(|code| format!("{}::{}: {code}", self.path, self.name))
    }

    /// Cycles of an iteration on `core`.
    fn cycles(&self, workspace: &Workspace, core: &Core) -> Result<f64> {
        let [once, twice] = [ITERATIONS, 2 * ITERATIONS].map(|n| self.total(workspace, core, n));
        Ok((twice? - once?) / f64::from(ITERATIONS))
    }

    /// Cycles of `iterations` on `core`.
    fn total(&self, workspace: &Workspace, core: &Core, iterations: u32) -> Result<f64> {
        let mut mca = workspace.command(LLVM_MCA);
        mca.args(["-mtriple=aarch64", "-mattr=+dotprod,+i8mm", "-mcpu", core.name]);
        mca.arg(format!("-iterations={iterations}"));
        let mut child = mca
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {LLVM_MCA}"))?;
        if let Some(mut input) = child.stdin.take() {
            let closing = self.instructions.last().map_or("", String::as_str);
            if is_branch(closing) {
                writeln!(input, "{}:", closing.split_whitespace().next_back().unwrap_or_default())?;
            }
            writeln!(input, "{}", self.instructions.join("\n"))?;
        }
        let output = child.wait_with_output()?;
        let output = String::from_utf8_lossy(&output.stdout);
        let total = output.lines().find_map(|line| line.strip_prefix("Total Cycles:"));
        let total = total.with_context(|| format!("{LLVM_MCA} cannot take {}", self.name))?;
        Ok(total.trim().parse()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function with a loop that multiplies after `code`, in a loop.
    fn function(code: &str) -> Vec<Microkernel> {
        let text = format!(
            "_ZN9pipeit_rt7kernels7dotprod7conv_2d4tile17h0000000000000000E:\n\
             .Lfunc_begin0:\n\
             .LBB0_1:\n\
             \tldrb\tw8, [x0]\n\
             \tcbz\tw8, .LBB0_3\n\
             .LBB0_2:                                // a comment\n\
             \tld1\t{{ v0.16b }}, [x10], #16\n\
             \tldp\tq1, q2, [x8]\n\
             {code}\
             \tsdot\tv3.4s, v1.16b, v0.4b[0]\n\
             \tsdot\tv4.4s, v2.16b, v0.4b[0]\n\
             \tstp\tq3, q4, [sp]\n\
             \tb.ne\t.LBB0_2\n\
             .LBB0_3:\n\
             \tcbnz\tw9, .LBB0_1\n\
             \tret\n\
             _ZN9pipeit_rt7kernels9reference4mean4mean17h0000000000000000E:\n\
             .LBB1_1:\n\
             \tsdot\tv3.4s, v1.16b, v0.4b[0]\n\
             \tb.ne\t.LBB1_1\n"
        );
        cut(&text)
    }

    #[test]
    fn the_innermost_loop_is_cut_out() {
        let found = function("");
        let [kernel] = &found[..] else { panic!("{} loops", found.len()) };
        assert_eq!((kernel.path, kernel.name.as_str()), ("dotprod", "conv_2d::tile"));
        assert_eq!((kernel.macs(), kernel.instructions.len()), (32, 6));
    }

    #[test]
    fn byte_loads_and_sums_in_memory_are_found() {
        assert_eq!(function("")[0].findings().count(), 0);
        let bad = function("\tldrb\tw1, [x8]\n\tldr\tb1, [x8]\n\tstr\tq4, [sp, #16]\n");
        let findings: Vec<_> = bad[0].findings().collect();
        let name = "dotprod::conv_2d::tile";
        let expected = ["ldrb\tw1, [x8]", "ldr\tb1, [x8]", "str\tq4, [sp, #16]"];
        assert_eq!(findings, expected.map(|code| format!("{name}: {code}")));
    }

    #[test]
    fn products_are_counted_by_arrangement() {
        assert_eq!(macs("smlal2\tv0.8h, v1.16b, v2.16b"), 8);
        assert_eq!(macs("smlal\tv0.4s, v1.4h, v2.4h"), 4);
        assert_eq!(macs("smmla\tv0.4s, v1.16b, v2.16b"), 32);
        assert_eq!(macs("sqdmull\tv0.4s, v1.4h, v2.4h"), 0);
    }
}
