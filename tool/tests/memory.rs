//! Activations of one frame on one core take hardly more than the largest live set.

#[path = "support/skip.rs"]
mod skip;

use std::fs;
use std::path::Path;

use pipeit_rt::kernels;
use pipeit_rt::platform::hosted::{HostCluster, Machine};
use pipeit_tool::import::tflite;
use pipeit_tool::lower::lower;
use pipeit_tool::memory::largest_live_set;
use pipeit_tool::partition::Partition;
use pipeit_tool::planning::Planner;

/// Bytes of slot and arena for one frame on one core, and the least possible.
fn bytes(file: &[u8]) -> (u64, u64) {
    let network = lower(&tflite(file).unwrap()).unwrap();
    let model = network.check().unwrap();
    let machine = Machine { clusters: vec![HostCluster::new("one", vec![0])] };
    let planner = Planner::new(&model, kernels::Path::Reference);
    let plan = planner.plan(&Partition::one_core(), &machine, Some(1)).unwrap();
    (plan.tables().arena_bytes() as u64, largest_live_set(&model))
}

#[test]
fn one_frame_takes_little_more_than_it_must() {
    let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/data/digits/digits.tflite");
    let mut files = vec![Path::new(digits).to_owned()];
    if let Some(shared) = skip::shared("memory of the shared networks") {
        let entries = fs::read_dir(shared.join("models")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|e| e == "tflite")));
    }
    for file in files {
        let (found, least) = bytes(&fs::read(&file).unwrap());
        println!("{}: {found} bytes, at least {least}", file.display());
        assert!(found * 100 <= least * 105, "{}: {found} of {least}", file.display());
    }
}
