//! Plans found, simulated, profiled and reported, as the commands print them.

#[path = "support/skip.rs"]
mod skip;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

use clap::Args;
use pipeit_rt::platform::hosted::Machine;
use pipeit_tool::commands::{
    CommandError, fit, import, inspect, plan, profile, report, run, simulate,
};
use pipeit_tool::planning::PlanningError;
use serde_json::Value;
use skip::skip;

const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/digits/digits.tflite");

type Run<T> = fn(&T, &mut dyn std::io::Write) -> Result<(), CommandError>;

/// What a command prints, called with these flags.
fn call<T: Args>(run: Run<T>, flags: &[&str]) -> Result<String, CommandError> {
    let command = T::augment_args(clap::Command::new("pipeit").no_binary_name(true));
    let matches = command.try_get_matches_from(flags).expect("flags");
    let mut out = Vec::new();
    run(&T::from_arg_matches(&matches).expect("flags"), &mut out)?;
    // Tables fill their last column with spaces.
    let text = String::from_utf8(out).expect("UTF-8");
    Ok(text.lines().map(|line| line.trim_end().to_owned() + "\n").collect())
}

fn json<T: Args>(run: Run<T>, flags: &[&str]) -> Value {
    let text = call(run, &[flags, &["--json"]].concat()).expect("a report");
    assert_eq!(text.lines().count(), 1);
    serde_json::from_str(&text).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("pipeit-{name}-{}", process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_emulated() -> bool {
    env::var_os("PIPEIT_EMULATED").is_some_and(|value| value == "1")
}

#[test]
fn plans_explain_themselves() {
    for board in ["kirin970", "raspi5"] {
        let text = call(plan::run, &[DIGITS, "--board", board]).expect("a plan");
        insta::assert_snapshot!(format!("plan_{board}"), text);
    }
    let text = call(plan::run, &[DIGITS, "--board", "rk3588", "--search", "paper"]);
    insta::assert_snapshot!("plan_paper", text.expect("a plan"));
    let text = call(plan::run, &[DIGITS, "--board", "rk3399pro", "--pareto"]).expect("plans");
    insta::assert_snapshot!("plan_pareto", text);
    let found = json(plan::run, &[DIGITS, "--board", "kirin970"]);
    assert!(number(&found["search_ms"]) > 0.0);
    assert_eq!(found["slower_10_percent"].as_array().expect("clusters").len(), 2);
    assert_eq!(found["error"], Value::Null);
}

#[test]
fn every_search_agrees_on_a_network_of_many_layers() {
    let Some(shared) = skip::shared("every_search_agrees_on_a_network_of_many_layers") else {
        return;
    };
    let model = shared.join("models/mobilenet_v1_1.0_224_quant_stitched.tflite");
    let model = model.to_str().expect("UTF-8");
    for board in ["raspi4", "rk3588"] {
        let plan = |flags: &[&str]| json(plan::run, &[&[model, "--board", board], flags].concat());
        let [exact, one_team, paper] =
            [&[][..], &["--one-team"], &["--search", "paper"]].map(|flags| {
                let found = plan(flags);
                let best = found["plans"].as_array().expect("plans").iter();
                best.map(|plan| number(&plan["period_ns"])).fold(f64::INFINITY, f64::min)
            });
        assert!(exact <= one_team * (1.0 + 1e-6) && one_team <= paper * (1.0 + 1e-6));
    }
}

#[test]
fn limits_are_kept_or_the_best_is_told() {
    let free = json(plan::run, &[DIGITS, "--board", "rk3399pro"]);
    let (ram, latency) = (&free["pipeline_memory_bytes"], number(&free["latency_ns"]));
    let half = (number(ram) / 2.0) as u64;
    let found = json(plan::run, &[DIGITS, "--board", "rk3399pro", "--max-ram", &half.to_string()]);
    assert!(number(&found["pipeline_memory_bytes"]) <= half as f64, "{found}");
    let bound = 0.7 * latency / 1e6;
    let flags = [DIGITS, "--board", "rk3399pro", "--max-latency", &bound.to_string()];
    let quick = json(plan::run, &flags);
    assert!(number(&quick["latency_ns"]) <= bound * 1e6);
    assert!(number(&quick["period_ns"]) >= number(&free["period_ns"]) * (1.0 - 1e-6));
    let rate = (0.3 * number(&free["frames_per_second"])).to_string();
    let sparing = json(plan::run, &[DIGITS, "--board", "rk3399pro", "--min-energy", &rate]);
    assert!(number(&sparing["energy_nj"]) <= number(&free["energy_nj"]) * (1.0 + 1e-6));
    for (flag, value, told) in
        [("--max-latency", "0.0001", "frames/s"), ("--max-ram", "100", "the smallest takes")]
    {
        let error = call(plan::run, &[DIGITS, "--board", "raspi4", flag, value]).unwrap_err();
        assert!(matches!(error, CommandError::Planning(PlanningError::Limits { .. })));
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[test]
fn boards_have_artefacts_with_a_plan_for_whatever_cores_come_up() {
    let folder = Folder::new("plans-board");
    let file = folder.path("digits.pipeit");
    let board = folder.path("board.toml");
    let text = "name = \"two\"\n[[clusters]]\nname = \"big\"\ncount = 1\npath = \"neon\"\n\
                [[clusters]]\nname = \"little\"\ncount = 2\npath = \"neon\"\n";
    fs::write(&board, text).expect("a file");
    call(import::run, &[DIGITS, "-o", &file, "--board", &board]).expect("an artefact");
    let found = json(inspect::run, &[&file]);
    let plans = found["plans"].as_array().expect("plans");
    let cores = |plan: &Value| -> Vec<u64> {
        let mut cores = vec![0, 0];
        for stage in plan["stages"].as_array().expect("stages") {
            for team in stage["teams"].as_array().expect("teams") {
                // Named by the machine the test runs on, or by number where it has no such.
                let little = usize::from(team["cluster"] == "c1" || team["cluster"] == "little");
                cores[little] += team["cores"].as_u64().expect("cores");
            }
        }
        cores
    };
    let all: Vec<_> = plans.iter().map(cores).collect();
    for topology in [[1, 2], [1, 1], [1, 0], [0, 2], [0, 1]] {
        assert!(all.contains(&topology.to_vec()), "{all:?}");
    }
    assert_eq!(plans[0]["paths"], serde_json::json!(["neon", "neon"]));
}

#[test]
fn simulations_tell_where_frames_wait() {
    let flags = [DIGITS, "--board", "rk3399pro", "--stages", "0-6=big*2 7-=little*4"];
    let text = call(simulate::run, &flags).expect("an outcome");
    insta::assert_snapshot!("simulate", text);
    let full = json(simulate::run, &flags);
    let half = (number(&full["frames_per_second"]) / 2.0).to_string();
    let folder = Folder::new("plans-simulate");
    let file = folder.path("trace.json");
    let paced = ["--rate", &half, "--source-jitter", "20", "--jitter", "10", "--trace", &file];
    let slow = json(simulate::run, &[&flags[..], &paced].concat());
    let ratio = number(&slow["frames_per_second"]) / number(&full["frames_per_second"]);
    assert!((0.45..0.55).contains(&ratio), "{ratio}");
    let median = |found: &Value| number(&found["latency_ns"]["median"]);
    assert!(median(&slow) < median(&full));
    let trace: Value =
        serde_json::from_str(&fs::read_to_string(&file).expect("a file")).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let spans = events.iter().filter(|event| event["ph"] == "X");
    assert!(spans.count() >= 2 * 400);
    assert!(events.iter().any(|event| event["args"]["name"] == "stage 1: little*4"));
}

#[test]
fn a_run_is_traced_layer_by_layer() {
    let folder = Folder::new("plans-trace");
    let file = folder.path("trace.json");
    json(run::run, &[DIGITS, "--noise", "3", "--trace", &file]);
    let trace: Value =
        serde_json::from_str(&fs::read_to_string(&file).expect("a file")).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let mut layers = vec![0; 14];
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let name = event["name"].as_str().expect("a name");
        let layer: usize = name.split(' ').next().expect("a layer").parse().expect("a layer");
        layers[layer] += 1;
    }
    // Other tests of this process do not trace.
    assert!(layers.iter().all(|&count| count >= 3), "{layers:?}");
}

#[test]
fn profiles_are_made_fitted_and_planned_by() {
    let test = "profiles_are_made_fitted_and_planned_by";
    if is_emulated() {
        skip(test, "times of an emulated CPU mean nothing, and take long");
        return;
    }
    let folder = Folder::new("plans-profile");
    let file = folder.path("profile.json");
    let cpu = Machine::detect().clusters[0].cpus[0];
    let clusters = format!("big={cpu} little={cpu}");
    let flags = [DIGITS, "--only", "-o", &file, "--rounds", "1", "--seconds", "0.001"];
    let made = json(profile::run, &[&flags[..], &["--clusters", &clusters]].concat());
    assert_eq!(made["clusters"].as_array().expect("clusters").len(), 2);
    assert_eq!(made, json(fit::run, &["--profile", &file]));
    let text = call(fit::run, &["--profile", &file]).expect("a fit");
    assert!(text.contains("digits") && text.contains("MACs of tiles"), "{text}");
    let flags = [DIGITS, "--profile", &file, "--clusters", &clusters];
    let found = json(plan::run, &flags);
    assert!(found["source"].as_str().expect("a source").starts_with("profile of"), "{found}");
    assert!(found["error"].is_number());

    let twice = [DIGITS, DIGITS, "--only", "-o", &file];
    let error = call(profile::run, &twice).unwrap_err();
    assert!(error.to_string().contains("are called digits"), "{error}");

    fs::write(&file, "{}").expect("a file");
    let error = call(plan::run, &flags).unwrap_err();
    assert!(error.to_string().contains("not a profile"), "{error}");
}

/// The page of the digits on a board.
fn page(folder: &Folder) -> (String, Value) {
    let file = folder.path("report.html");
    let found = json(report::run, &[DIGITS, "--board", "kirin970", "-o", &file]);
    (file, found)
}

#[test]
fn reports_have_the_numbers_and_load_nothing() {
    let folder = Folder::new("plans-report");
    let (file, found) = page(&folder);
    let html = fs::read_to_string(&file).expect("a page");
    let rate = format!("{:.1}", 1e9 / number(&found["period_ns"]));
    let spec = found["spec"].as_str().expect("a plan");
    for part in [rate.as_str(), spec, "prefers-color-scheme:dark", "@media print", "<title>digits"]
    {
        assert!(html.contains(part), "{part}");
    }
    for part in ["http://", "https://", "<script", "src=", "@import", "url("] {
        assert!(!html.contains(part), "{part}");
    }
    for heading in ["Stages", "Network", "Frames", "Memory", "Choices"] {
        assert!(html.contains(&format!("<h2>{heading}</h2>")), "{heading}");
    }
}

#[test]
fn reports_are_light_and_dark() {
    let test = "reports_are_light_and_dark";
    let found = |name: &&str| {
        let paths = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&paths).any(|folder| folder.join(name).is_file())
    };
    let Some(browser) = ["chromium", "chromium-browser"].into_iter().find(found) else {
        skip(test, "there is no chromium");
        return;
    };
    let folder = Folder::new("plans-browser");
    let (file, found) = page(&folder);
    // What the browser makes of the page, as an attribute of it.
    let tell = "<script>const s=getComputedStyle(document.body);\
                document.body.dataset.seen=s.backgroundColor+' '+s.color+' '+\
                document.querySelectorAll('svg rect').length+' '+\
                (document.documentElement.scrollWidth<=innerWidth)+' '+\
                document.querySelector('.facts b').textContent</script></body>";
    let html = fs::read_to_string(&file).expect("a page").replace("</body>", tell);
    fs::write(&file, html).expect("a page");
    let rate = format!("{:.1}", 1e9 / number(&found["period_ns"]));
    for (scheme, page) in [("1", "rgb(255, 255, 255)"), ("0", "rgb(13, 17, 23)")] {
        let dom = seen(browser, scheme, Path::new(&file));
        let seen = dom.split("data-seen=\"").nth(1).and_then(|rest| rest.split('"').next());
        let seen = seen.unwrap_or_else(|| panic!("{dom}"));
        assert!(seen.starts_with(page), "{seen}");
        assert!(seen.ends_with(&format!(" true {rate}")), "{seen}");
    }
}

fn seen(browser: &str, scheme: &str, file: &Path) -> String {
    let profile = file.with_extension(scheme);
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("--dump-dom")
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("a browser");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
