//! Streams that change plans when a cluster is slower than planned.

use std::path::Path as FilePath;

use pipeit_rt::kernels::Path;
use pipeit_rt::platform::hosted::{HostCluster, Hosted, Machine};
use pipeit_tool::interpreter::Interpreter;
use pipeit_tool::machine::CoreArgs;
use pipeit_tool::noise::Noise;
use pipeit_tool::planning::Planner;
use pipeit_tool::session::{fill, stream_live};
use pipeit_tool::{artefact, load};

/// Times slower than its plan expects.
const SLOWED: u32 = 100;
/// Frames until a change of plans must have been seen.
const MOST: usize = 50_000;

#[test]
fn a_slowed_cluster_gets_less_to_do_and_no_frame_is_lost() {
    let file = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("data/digits/digits.tflite");
    let loaded = load::load(&file, &[Path::Reference.into()]).unwrap();
    let mut tables = artefact::tables(&loaded.bytes).unwrap();
    let artefact = artefact::open(&loaded.bytes, &mut tables).unwrap();
    let model = artefact.model;
    let cpus = CoreArgs::default().cpus().unwrap();
    let cluster = |name, index: usize| HostCluster::new(name, vec![cpus[index % cpus.len()]]);
    let mut machine = Machine { clusters: vec![cluster("a", 0), cluster("b", 1)] };
    let planned = Planner::new(model, Path::Reference).plans(&machine).unwrap();
    let plans: Vec<_> = planned.iter().map(|plan| plan.check(model).unwrap()).collect();
    assert_eq!(plans[0].needs.paths.len(), 2, "the first plan has work for both");
    machine.clusters[1].slowdown_permille = 1000 * SLOWED;

    let frames: Vec<_> = (0..7).map(|seed| Noise::new(seed).frame(model)).collect();
    let expected: Vec<_> =
        frames.iter().map(|frame| Interpreter::new(model).run(frame).concat()).collect();
    let (mut sent, mut seen) = (0, 0);
    let slow = std::cell::RefCell::new(Vec::new());
    let (changed, after) = (std::cell::Cell::new(None), 100);
    stream_live::<Hosted>(
        &plans,
        &machine,
        |frame| {
            let enough = changed.get().map_or(MOST, |at: usize| at + after);
            if sent < enough {
                fill(frame, &frames[sent % frames.len()]);
                sent += 1;
                return true;
            }
            false
        },
        |frame| {
            assert_eq!(frame.output(0).unwrap(), expected[seen % frames.len()], "frame {seen}");
            seen += 1;
            if !slow.borrow().is_empty() && changed.get().is_none() {
                changed.set(Some(seen));
            }
        },
        |_, slowness| slow.borrow_mut().push(*slowness),
    )
    .unwrap()
    .unwrap();
    assert_eq!(seen, sent, "every frame came out");
    assert!(changed.get().is_some(), "no other plan in {MOST} frames");
}
