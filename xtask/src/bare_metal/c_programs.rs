//! The C programs of `capi/examples`, built as their users build theirs: a compiler, the header,
//! the static library.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::image::Image;
use crate::command::stream;
use crate::setup::CROSS_GCC;
use crate::toolchain::BARE_TARGET;
use crate::workspace::Workspace;

/// Longest time for a build, in seconds.
const LIMIT_S: u32 = 600;
const WARNINGS: [&str; 5] = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror"];

/// Builds the program for threads of this machine, with sanitizers for addresses and undefined
/// behaviour.
pub(super) fn host(workspace: &Workspace) -> Result<PathBuf> {
    let library = library(workspace, None)?;
    let program = workspace.bare_metal_dir()?.join("host");
    let mut compiler = compiler(workspace, "cc");
    compiler.args(["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"]);
    compiler.arg("capi/examples/host.c").arg(library);
    compiler.args(["-lpthread", "-lm", "-ldl", "-o"]).arg(&program);
    stream(&mut compiler)?;
    Ok(program)
}

/// Builds the firmware, which brings its own boot code.
pub(super) fn firmware(workspace: &Workspace) -> Result<Image> {
    let library = library(workspace, Some(BARE_TARGET))?;
    let elf = workspace.bare_metal_dir()?.join("c-firmware.elf");
    let mut compiler = compiler(workspace, CROSS_GCC);
    compiler.args(["-O2", "-ffreestanding", "-fno-pic", "-static", "-nostdlib"]);
    compiler.args(["-Wl,--gc-sections", "-Wl,--build-id=none"]);
    compiler.args(["-T", "capi/examples/bare-metal/link.ld"]);
    compiler.args(["capi/examples/bare-metal/start.S", "capi/examples/bare-metal/main.c"]);
    compiler.arg(library).arg("-o").arg(&elf);
    stream(&mut compiler)?;
    Image::read(elf)
}

fn compiler(workspace: &Workspace, name: &str) -> Command {
    let mut compiler = workspace.limited(LIMIT_S, name);
    compiler.args(WARNINGS).args(["-Icapi/include", "-Icapi/examples"]);
    compiler
}

/// Builds the static library.
fn library(workspace: &Workspace, target: Option<&str>) -> Result<PathBuf> {
    let mut cargo = workspace.limited_cargo(LIMIT_S);
    cargo.args(["build", "--quiet", "--release", "--package", "pipeit-capi"]);
    if let Some(target) = target {
        cargo.args(["--target", target]);
    }
    stream(&mut cargo)?;
    let folder = workspace.target_dir().join(target.unwrap_or_default());
    Ok(folder.join("release/libpipeit_capi.a"))
}
