//! Activations of one frame on one core take hardly more than the largest live set, and what is
//! left of it lets layers take turns.

#[path = "support/skip.rs"]
mod skip;

use std::fs;
use std::path::Path;

use pipeit_rt::kernels;
use pipeit_rt::plan::Placement;
use pipeit_rt::platform::hosted::{HostCluster, Machine};
use pipeit_tool::import::tflite;
use pipeit_tool::lower::lower;
use pipeit_tool::memory::largest_live_set;
use pipeit_tool::pack::pack;
use pipeit_tool::partition::Partition;
use pipeit_tool::planning::Planner;
use pipeit_tool::zoo::Architecture;

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

#[test]
fn memory_is_left_for_turns_where_there_is_some() {
    let test = "memory_is_left_for_turns_where_there_is_some";
    if std::env::var_os("PIPEIT_EMULATED").is_some() {
        return skip::skip(test, "mobilenet_v1 takes an emulated machine too long");
    }
    let file = Architecture::named("mobilenet_v1").unwrap().tflite(0, &mut || {});
    let network = lower(&tflite(&file).unwrap()).unwrap();
    let packed = pack(&network, &[kernels::Path::Neon.into()]).unwrap();
    let model = packed.check().unwrap();
    let machine = Machine { clusters: vec![HostCluster::new("cpu", vec![0])] };
    let plan = Planner::new(&model, kernels::Path::Neon)
        .plan(&Partition::one_core(), &machine, Some(1))
        .unwrap();
    assert_eq!(plan.tables().arena_bytes() as u64, largest_live_set(&model));
    let bytes = |tensor| {
        let storage = usize::from(model.storage_of(tensor).unwrap().0);
        let Placement { home, offset } = plan.placements[storage];
        (home, offset..offset + model.storages[storage])
    };
    let are_apart = |layer: u16| {
        let [first, second] = [0, 1].map(|i| &model.layers[usize::from(layer + i)]);
        let ((home, a), (other, b)) = (bytes(first.inputs[0]), bytes(second.output));
        home != other || a.end <= b.start || b.end <= a.start
    };
    let layers = 0..model.layers.len() as u16;
    let pairs = layers.filter(|&layer| model.rows_at_once(kernels::Path::Neon, layer).is_some());
    let (apart, others): (Vec<u16>, Vec<u16>) = pairs.partition(|&layer| are_apart(layer));
    assert_eq!((apart.len(), others), (11, vec![1, 3]), "the largest live sets are there");
}
