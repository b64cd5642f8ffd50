//! Damaged files. What becomes of damaged artefacts, the runtime's own tests show.

use std::env;

use pipeit_rt::kernels;
use pipeit_rt::platform::hosted::{HostCluster, Hosted, Machine};
use pipeit_tool::machine::CoreArgs;
use pipeit_tool::noise::Noise;
use pipeit_tool::planning::Planner;
use pipeit_tool::session::{fill, stream, with_pipeline};
use pipeit_tool::{import, lower};

use crate::sketch::tiny;

/// The CPU that all cores are threads on.
fn cpu() -> usize {
    CoreArgs::default().cpus().expect("CPUs")[0]
}

/// All outputs of a frame of noise on one core; `None` when the network is refused.
pub(crate) fn run(file: &[u8]) -> Option<Vec<i8>> {
    let network = lower::lower(&import::tflite(file).ok()?).ok()?;
    let model = network.check().expect("it has been checked");
    let machine = Machine { clusters: vec![HostCluster::new("one", vec![cpu()])] };
    let planner = Planner::new(&model, kernels::Path::Reference);
    let plan = planner.stated(None, &machine, Some(1)).expect("a plan");
    let plan = plan.check(&model).expect("a plan that fits");
    let frame = Noise::new(0).frame(&model);
    let mut frames = std::iter::once(&frame);
    let mut outputs = Vec::new();
    let streamed = with_pipeline::<Hosted, _>(&plan, &machine, |pipeline| {
        stream(
            pipeline,
            |frame| frames.next().map(|codes| fill(frame, codes)).is_some(),
            |frame| outputs.extend((0..).map_while(|i| frame.output(i)).flatten()),
        )
    });
    streamed.expect("memory").expect("a frame");
    Some(outputs)
}

/// Which of a number of steps are taken: fewer where the CPU is emulated.
fn step() -> usize {
    if env::var_os("PIPEIT_EMULATED").is_some() { 11 } else { 1 }
}

#[test]
fn a_tflite_with_any_byte_damaged_is_refused_or_runs() {
    let file = tiny();
    let expected = run(&file).expect("a network");
    let (mut refused, mut equal, mut other) = (0, 0, 0);
    let masks = (0..8).map(|bit| 1 << bit).chain([0xff]);
    let changes = (0..file.len()).flat_map(|at| masks.clone().map(move |mask| (at, mask)));
    for (at, mask) in changes.step_by(step()) {
        let mut damaged = file.clone();
        damaged[at] ^= mask;
        match run(&damaged) {
            None => refused += 1,
            Some(found) if found == expected => equal += 1,
            Some(_) => other += 1,
        }
    }
    println!("{} bytes: {refused} refused, {equal} equal, {other} with other outputs", file.len());
    assert!(refused > 0 && other > 0);
}

#[test]
fn a_tflite_cut_off_anywhere_is_refused_or_runs() {
    let file = tiny();
    let expected = run(&file).expect("a network");
    let mut whole = 0;
    for len in (0..file.len()).step_by(step()) {
        let found = run(&file[..len]);
        whole += usize::from(found.is_some());
        // Nothing but padding at its end can be missing.
        assert!(found.is_none_or(|found| found == expected), "{len} of {} bytes", file.len());
    }
    assert!(whole < 16, "{whole}");
}
