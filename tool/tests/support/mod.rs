//! What the tests that run networks under many plans share.

use pipeit_rt::platform::hosted::Hosted;
use pipeit_tool::machine::CoreArgs;
use pipeit_tool::session::{fill, stream, with_pipeline};
use pipeit_tool::trials::Trial;

/// The CPUs that stand for the cores of all trials.
pub(crate) fn cpus() -> Vec<usize> {
    CoreArgs::default().cpus().expect("this process has CPUs")
}

/// All outputs of each frame under a plan.
pub(crate) fn run(
    model: &pipeit_rt::Model<'_>,
    trial: &Trial,
    frames: &[Vec<Vec<i8>>],
) -> Vec<Vec<i8>> {
    let plan = trial.plan.check(model).unwrap();
    let mut results = Vec::new();
    let mut next = frames.iter();
    with_pipeline::<Hosted, _>(&plan, &trial.machine, |pipeline| {
        stream(
            pipeline,
            |frame| next.next().map(|inputs| fill(frame, inputs)).is_some(),
            |output| {
                let outputs = (0..model.outputs.len()).flat_map(|i| output.output(i).unwrap());
                results.push(outputs.copied().collect());
            },
        )
        .unwrap();
    })
    .unwrap();
    results
}
