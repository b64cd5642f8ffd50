//! What each command does with good input.

use std::fs;
use std::path::Path;

use crate::{DIGITS, Folder, Pipeit, cpu, digits};

#[test]
fn without_arguments_the_demo_reads_digits() {
    let Some(pipeit) = Pipeit::new("without_arguments_the_demo_reads_digits") else { return };
    let text = pipeit.succeed(&[]);
    assert!(text.contains("\naccuracy 98.9 %"), "{text}");
    assert!(text.contains("every byte equals"), "{text}");
    assert!(text.lines().count() <= 40 && text.lines().all(|line| line.chars().count() <= 80));
    let two = format!("a={0} b={0}", cpu());
    let report = pipeit.json(&["demo", "--clusters", &two, "--slow", "b=1.5"]);
    assert_eq!(report["pipeline"]["stages"].as_array().expect("stages").len(), 2);
    assert!(report["pipeline"]["frames_per_second"].as_f64() > Some(0.0));
}

#[test]
fn import_is_reproducible_and_leaves_only_the_artefact() {
    let name = "import_is_reproducible_and_leaves_only_the_artefact";
    let Some(pipeit) = Pipeit::new(name) else { return };
    let folder = Folder::new(name);
    let clusters = format!("big={0} little={0},{0}", cpu());
    let import = |file: &str| {
        let path = folder.path(file);
        let stages = ["--stages", "big*1 little*2"];
        pipeit.succeed(
            &[&["import", DIGITS, "-o", &path, "--clusters", &clusters], &stages[..]].concat(),
        );
        fs::read(path).expect("an artefact")
    };
    assert_eq!(import("a.pipeit"), import("b.pipeit"));
    assert_eq!(fs::read_dir(&folder.0).expect("a folder").count(), 2);

    let report = pipeit.json(&["inspect", &folder.path("a.pipeit"), "--clusters", &clusters]);
    let plans = report["plans"].as_array().expect("plans");
    let cores = |plan: &serde_json::Value| -> u64 {
        let stages = plan["stages"].as_array().expect("stages").iter();
        let teams = stages.flat_map(|stage| stage["teams"].as_array().expect("teams"));
        teams.map(|team| team["cores"].as_u64().expect("cores")).sum()
    };
    assert_eq!(plans.iter().map(cores).collect::<Vec<_>>(), [3, 3, 2, 2, 1, 1]);
    assert_eq!(report["golden_frames"], 2);
    let one = pipeit.json(&[
        "bench",
        &folder.path("a.pipeit"),
        "--cores",
        &cpu().to_string(),
        "--seconds",
        "0.05",
    ]);
    assert_eq!(one["plan"], "0-13=cpu*1");
}

#[test]
fn inspect_shows_layers_ports_and_memory() {
    let Some(pipeit) = Pipeit::new("inspect_shows_layers_ports_and_memory") else { return };
    let report = pipeit.json(&["inspect", DIGITS]);
    assert_eq!(report["macs"], 1_848_960);
    assert_eq!(report["layers"].as_array().expect("layers").len(), 14);
    assert_eq!(report["inputs"][0]["shape"], "1x8x8x1");
    assert_eq!(report["outputs"][0]["zero_point"], -128);
    assert_eq!(report["folded"][0]["name"], "ADD");
    assert_eq!(report["folded"][1]["name"], "CONCATENATION");
    let plan = &report["plans"][0];
    assert!(plan["arena_bytes"].as_u64() < plan["pipeline_memory_bytes"].as_u64());
    let text = pipeit.succeed(&["inspect", DIGITS]);
    assert!(text.contains("largest live set 6 144 bytes"), "{text}");
}

#[test]
fn a_stated_plan_is_written_and_run() {
    let Some(pipeit) = Pipeit::new("a_stated_plan_is_written_and_run") else { return };
    let folder = Folder::new("a_stated_plan_is_written_and_run");
    let clusters = format!("big={0},{0} little={0}", cpu());
    let path = folder.path("digits.pipeit");
    let spec = "0-7=big*2 8-13=little*1";
    let plan = ["plan", DIGITS, "--clusters", &clusters, "--stages", spec, "--slots", "3"];
    let report = pipeit.json(&[&plan[..], &["-o", &path]].concat());
    assert_eq!((&report["spec"], &report["slots"]), (&spec.into(), &3.into()));
    let bench = ["bench", &path, "--clusters", &clusters, "--seconds", "0.1"];
    let report = pipeit.json(&bench);
    assert_eq!(report["plan"], spec);
    for field in ["frames_per_second", "seconds"] {
        assert!(report[field].as_f64() > Some(0.0), "{report}");
    }
    let latency = |part: &str| report["latency_ms"][part].as_f64().expect("a latency");
    assert!(latency("p50") <= latency("p90") && latency("p99") <= latency("max"));
    assert_eq!(report["cores"], serde_json::json!([cpu()]));
}

#[test]
fn pictures_and_arrays_give_the_same_classes() {
    let name = "pictures_and_arrays_give_the_same_classes";
    let Some(pipeit) = Pipeit::new(name) else { return };
    let folder = Folder::new(name);
    let data = Path::new(DIGITS).parent().expect("a folder");
    let labels = data.join("labels.txt");
    let labels = labels.to_str().expect("UTF-8");
    let samples = data.join("samples");
    let report =
        pipeit.json(&["run", DIGITS, samples.to_str().expect("UTF-8"), "--labels", labels]);
    let images = report["images"].as_array().expect("images");
    let found: Vec<_> = images.iter().map(|image| image["top"][0]["index"].clone()).collect();
    assert_eq!(found, [0, 2, 3, 7, 9]);
    assert!(images.iter().all(|image| image["top"].as_array().expect("classes").len() == 5));

    let batch = folder.file("batch.npy", &digits("images.npy", 0..4));
    let text = pipeit.succeed(&["run", DIGITS, &batch, "--top", "1", "--labels", labels]);
    let classes: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().last())
        .collect();
    assert_eq!(classes, ["4", "7", "9", "6"]);
    assert!(text.contains("4 frames in"), "{text}");
}

#[test]
fn verify_compares_outputs_and_names_the_first_difference() {
    let name = "verify_compares_outputs_and_names_the_first_difference";
    let Some(pipeit) = Pipeit::new(name) else { return };
    let folder = Folder::new(name);
    for (number, row) in [(0, 0..1), (3, 7..8)] {
        folder.file(&format!("in_{number}.npy"), &digits("images.npy", row.clone()));
        folder.file(&format!("ref_{number}_0.npy"), &digits("expected.npy", row));
    }
    let goldens = folder.path("");
    let verify = ["verify", DIGITS, "--goldens", &goldens, "--plans", "10", "--seed", "7"];
    let text = pipeit.succeed(&verify);
    assert!(text.contains("2 frames x 14 plans: every byte equal"), "{text}");

    let mut wrong = digits("expected.npy", 7..8);
    *wrong.last_mut().expect("bytes") ^= 1;
    folder.file("ref_3_0.npy", &wrong);
    let error = pipeit.fail(1, &verify);
    assert!(error.contains("one core") && error.contains("frame 3: output 0"), "{error}");
    assert!(error.contains("index 9"), "{error}");
}

#[test]
fn the_zoo_is_listed_and_written() {
    let Some(pipeit) = Pipeit::new("the_zoo_is_listed_and_written") else { return };
    let report = pipeit.json(&["zoo"]);
    let networks = report["networks"].as_array().expect("networks");
    assert_eq!(networks.len(), 9);
    let ds_cnn = networks.iter().find(|network| network["name"] == "ds_cnn").expect("ds_cnn");
    assert_eq!(ds_cnn["input"], serde_json::json!([49, 10, 1]));
    assert!(pipeit.succeed(&["zoo"]).contains("1582.7"), "the MMAC of GoogLeNet");

    let folder = Folder::new("the_zoo_is_listed_and_written");
    let output = folder.path("new/folder");
    let report = pipeit.json(&["zoo", "ds_cnn", "resnet8", "-o", &output, "--seed", "3"]);
    let path = folder.path("new/folder/ds_cnn.tflite");
    assert_eq!(report["written"][0]["path"], path.as_str());
    assert_eq!(fs::read_dir(&output).expect("a folder").count(), 2);
    let first = fs::read(&path).expect("a network");
    assert_eq!(report["written"][0]["bytes"], first.len());
    let text = pipeit.succeed(&["zoo", "ds_cnn", "--output", &output, "--seed", "3"]);
    assert!(text.starts_with(&format!("{path}: ")) && text.lines().count() == 1, "{text}");
    assert_eq!(fs::read(&path).expect("a network"), first);
    assert_eq!(pipeit.json(&["inspect", &path])["macs"], ds_cnn["macs"]);
}
