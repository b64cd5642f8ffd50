//! Writes that fail or are cut short: nothing half-written ever has the name that was asked for.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::{DIGITS, Folder, Pipeit};

/// The commands that write a file.
const WRITERS: [&str; 2] = ["import", "plan"];

/// Has a shell do `first` and then become the program.
fn run_after(first: &str, args: &[&str]) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{first}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_pipeit")]);
    shell.args(args).output().expect("the shell starts")
}

fn names(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(&folder.0).expect("a folder");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
    entries.map(|entry| name(entry.expect("an entry"))).collect()
}

/// No file may grow beyond 4 kB, much less than an artefact takes; a program that ignores the
/// signal is told.
const DISK_FULL: &str = "ulimit -f 8; trap '' XFSZ";
/// As above, and the signal ends the program in the midst of the write.
const CUT_SHORT: &str = "ulimit -f 8";

#[test]
fn a_disk_that_fills_up_leaves_what_was_there() {
    let Some(pipeit) = Pipeit::new("a_disk_that_fills_up_leaves_what_was_there") else { return };
    let folder = Folder::new("a_disk_that_fills_up_leaves_what_was_there");
    for writer in WRITERS {
        let path = folder.path("digits.pipeit");
        let write = [writer, DIGITS, "-o", &path];
        let output = run_after(DISK_FULL, &write);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("digits.pipeit") && errors.contains("too large"), "{errors}");
        assert_eq!(names(&folder), [""; 0], "{writer}");

        // Nor is an older one touched.
        pipeit.succeed(&write);
        let before = fs::read(&path).expect("an artefact");
        assert_eq!(run_after(DISK_FULL, &write).status.code(), Some(1));
        assert_eq!(names(&folder), ["digits.pipeit"]);
        assert!(fs::read(&path).expect("an artefact") == before);
        fs::remove_file(&path).expect("an artefact");
    }
}

#[test]
fn a_write_that_is_cut_short_leaves_what_was_there() {
    let name = "a_write_that_is_cut_short_leaves_what_was_there";
    let Some(pipeit) = Pipeit::new(name) else { return };
    let folder = Folder::new(name);
    for writer in WRITERS {
        let path = folder.path(&format!("{writer}.pipeit"));
        let write = [writer, DIGITS, "-o", &path];
        let killed = run_after(CUT_SHORT, &write);
        assert!(killed.status.signal().is_some(), "{:?}", killed.status);
        assert!(!Path::new(&path).exists(), "{writer}");

        pipeit.succeed(&write);
        let before = fs::read(&path).expect("an artefact");
        assert!(run_after(CUT_SHORT, &write).status.signal().is_some());
        assert!(fs::read(&path).expect("an artefact") == before);
        pipeit.succeed(&["inspect", &path]);
    }
}

#[test]
fn folders_and_devices_that_take_nothing_are_named() {
    let name = "folders_and_devices_that_take_nothing_are_named";
    let Some(pipeit) = Pipeit::new(name) else { return };
    let folder = Folder::new(name);
    let file = folder.file("file", b"no folder");
    let inside = format!("{file}/digits.pipeit");
    let missing = folder.path("missing/digits.pipeit");
    let itself = folder.path("");
    let paths = [("/dev/full", "No space left"), (&inside, "Not a directory")];
    let paths =
        paths.into_iter().chain([(&*missing, "No such file"), (&*itself, "Is a directory")]);
    for (path, reason) in paths {
        for writer in WRITERS {
            let error = pipeit.fail(1, &[writer, DIGITS, "-o", path]);
            assert!(error.contains(path) && error.contains(reason), "{error}");
        }
    }
    assert_eq!(names(&folder), ["file"]);
    // A device stays one.
    pipeit.succeed(&["import", DIGITS, "-o", "/dev/null"]);
    assert!(!fs::metadata("/dev/null").expect("a device").is_file());
}

#[test]
fn a_folder_that_may_only_be_read_is_named() {
    let name = "a_folder_that_may_only_be_read_is_named";
    let Some(pipeit) = Pipeit::new(name) else { return };
    let folder = Folder::new(name);
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o555)).expect("permissions");
    // Permissions do not bind root, who cannot make files in sysfs either.
    let is_bound = fs::write(folder.path("probe"), b"").is_err();
    let path = if is_bound { folder.path("a.pipeit") } else { "/sys/a.pipeit".to_owned() };
    for writer in WRITERS {
        let error = pipeit.fail(1, &[writer, DIGITS, "-o", &path]);
        assert!(error.contains(&path), "{error}");
        assert!(!Path::new(&path).exists());
    }
}
