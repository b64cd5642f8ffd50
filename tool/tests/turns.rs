//! Depthwise convolutions and the pointwise ones after them, computed by turns, some rows at a
//! time, wherever nothing is overwritten that is still read.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;

use pipeit_rt::kernels::{ALL, Path};
use pipeit_rt::model::Model;
use pipeit_rt::plan::{Home, Placement};
use pipeit_rt::platform::hosted::{HostCluster, Hosted, Machine, ParkingEvent, Yield};
use pipeit_rt::platform::{Platform, Ticks};
use pipeit_tool::artefact::OwnedPlan;
use pipeit_tool::import::tflite;
use pipeit_tool::interpreter::Interpreter;
use pipeit_tool::lower::lower;
use pipeit_tool::memory::lifetimes;
use pipeit_tool::noise::Noise;
use pipeit_tool::pack::{PackTarget, pack};
use pipeit_tool::partition::Partition;
use pipeit_tool::planning::Planner;
use pipeit_tool::session::{fill, stream, with_pipeline};
use pipeit_tool::zoo::Architecture;

/// [`Hosted`], with a record of the layers that each core has computed, one after another.
struct Recording;

static RUNS: Mutex<BTreeMap<usize, Vec<u16>>> = Mutex::new(BTreeMap::new());

thread_local! {
    static CORE: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Platform for Recording {
    type Relax = Yield;
    type Event = ParkingEvent;

    fn now() -> Ticks {
        Hosted::now()
    }

    fn tick_hz() -> u64 {
        Hosted::tick_hz()
    }

    fn after_layer(layer: u16, _started: Ticks) {
        let mut runs = RUNS.lock().unwrap();
        let core = CORE.get().unwrap_or(runs.len());
        CORE.set(Some(core));
        runs.entry(core).or_default().push(layer);
    }
}

/// The outputs of a frame under `plan`, and the layers that each core computed.
fn run(
    model: &Model<'_>,
    plan: &OwnedPlan,
    machine: &Machine,
    frame: &[Vec<i8>],
) -> (Vec<i8>, Vec<Vec<u16>>) {
    let plan = plan.check(model).unwrap();
    let (mut frames, mut results) = ([frame].into_iter(), Vec::new());
    with_pipeline::<Recording, _>(&plan, machine, |pipeline| {
        stream(
            pipeline,
            |to| frames.next().map(|inputs| fill(to, inputs)).is_some(),
            |output| results.extend(output.output(0).unwrap()),
        )
        .unwrap();
    })
    .unwrap();
    (results, std::mem::take(&mut *RUNS.lock().unwrap()).into_values().collect())
}

/// What a core did of `layer` and the next one.
fn of_pair(runs: &[u16], layer: u16) -> Vec<u16> {
    runs.iter().copied().filter(|run| [layer, layer + 1].contains(run)).collect()
}

/// `plan` with storages in `places` by turns: one is written where the one so many before it was.
fn placed(model: &Model<'_>, plan: &OwnedPlan, places: u32) -> OwnedPlan {
    let mut plan = plan.clone();
    let bytes = model.storages.iter().max().unwrap().next_multiple_of(64);
    let mut order: Vec<_> = lifetimes(model).iter().map(|l| l.first).enumerate().collect();
    order.sort_by_key(|&(_, first)| first);
    for ((storage, _), place) in order.into_iter().zip((0..places).cycle()) {
        plan.placements[storage] = Placement { home: Home::Slot, offset: place * bytes };
    }
    plan.stages[0].arena_bytes = 0;
    plan.needs.slot_bytes = places * bytes;
    plan
}

#[test]
fn layers_take_turns_where_nothing_is_overwritten() {
    let file = Architecture::named("ds_cnn").unwrap().tflite(0, &mut || {});
    let network = lower(&tflite(&file).unwrap()).unwrap();
    let reference = network.check().unwrap();
    let frame = Noise::new(0).frame(&reference);
    let expected = Interpreter::new(&reference).run(&frame).remove(0);
    for kernels in ALL.iter().filter(|kernels| (kernels.supported)()) {
        // An eighth is two rows of 5x64 bytes, and a half.
        let target = PackTarget { l2_bytes: 6400, ..kernels.path.into() };
        let packed = pack(&network, &[target]).unwrap();
        let model = packed.check().unwrap();
        let layers = 0..model.layers.len() as u16;
        let pairs = layers.clone().filter(|&at| model.rows_at_once(kernels.path, at).is_some());
        let pairs: Vec<u16> = pairs.collect();
        let wanted = if kernels.path == Path::Reference { 0 } else { 4 };
        assert_eq!(pairs.len(), wanted, "{}", kernels.path);
        for cores in 1..=3 {
            let machine = Machine { clusters: vec![HostCluster::new("cpu", vec![0; cores])] };
            let stage = format!("0-{}=cpu*{cores}", layers.end - 1);
            let partition = Partition::parse(&stage, &machine, layers.len()).unwrap();
            let planner = Planner::new(&model, kernels.path);
            let plan = planner.plan(&partition, &machine, Some(1)).unwrap();
            let apart = placed(&model, &plan, 3);
            let (found, runs) = run(&model, &apart, &machine, &frame);
            assert_eq!(found, expected, "{}, {cores} cores", kernels.path);
            assert_eq!(runs.len(), cores);
            for &layer in &pairs {
                let turns: usize = runs
                    .iter()
                    .map(|runs| of_pair(runs, layer))
                    .inspect(|turns| assert!(turns.chunks(2).all(|t| t == [layer, layer + 1])))
                    .map(|turns| turns.len() / 2)
                    .sum();
                assert_eq!(turns, 13, "25 by two, shared as 12 and 13, or 8, 8 and 9");
            }
            let overwriting = placed(&model, &plan, 2);
            let (found, runs) = run(&model, &overwriting, &machine, &frame);
            assert_eq!(found, expected, "{}, {cores} cores, overwriting", kernels.path);
            for &layer in &pairs {
                let all = [layer, layer + 1];
                assert!(runs.iter().all(|runs| of_pair(runs, layer) == all), "one by one");
            }
        }
    }
}
