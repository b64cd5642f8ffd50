//! The artefact format: bytes pinned, errors typed.

use pipeit_rt::artefact::{ArtefactError, checksum};
use pipeit_rt::kernels::Path;
use pipeit_rt::platform::hosted::{HostCluster, Machine};
use pipeit_rt::topology::Topology;
use pipeit_tool::artefact::{AlignedBytes, open, tables, write};
use pipeit_tool::import::tflite;
use pipeit_tool::lower::lower;
use pipeit_tool::partition::Partition;
use pipeit_tool::planning::Planner;

const DIGITS: &[u8] = include_bytes!("../data/digits/digits.tflite");

/// The digits network with a plan for two clusters, then one for one core.
fn artefact() -> AlignedBytes {
    let network = lower(&tflite(DIGITS).unwrap()).unwrap();
    let model = network.check().unwrap();
    let planner = Planner::new(&model, Path::Reference);
    let cluster = |name, cpus: &[usize]| HostCluster::new(name, cpus.to_vec());
    let machine = Machine { clusters: vec![cluster("big", &[0, 1]), cluster("little", &[2, 3])] };
    let plans = [Partition::stage_per_cluster(&machine), Partition::one_core()]
        .map(|partition| planner.plan(&partition, &machine, None).unwrap());
    write(&model, &plans, &[]).unwrap()
}

fn error(bytes: &[u8]) -> Option<ArtefactError> {
    let bytes = AlignedBytes::from_slice(64, bytes);
    match tables(&bytes) {
        Ok(mut tables) => open(&bytes, &mut tables).err(),
        Err(error) => Some(error),
    }
}

/// Changes of the format must be meant: they change this number, and the format version.
#[test]
fn the_bytes_are_pinned() {
    let bytes = artefact();
    assert_eq!((bytes.len(), checksum(&[&bytes])), PINNED);
    assert_eq!(bytes, artefact(), "the same network gives the same bytes");
}

const PINNED: (usize, u32) = (77_376, 1_455_621_722);

#[test]
fn plans_are_chosen_by_the_cores_there_are() {
    let bytes = artefact();
    let mut tables = tables(&bytes).unwrap();
    let artefact = open(&bytes, &mut tables).unwrap();
    let chosen = |cores: &[u8]| {
        let plan = artefact.best_plan(&Topology::new(cores).unwrap());
        plan.map(|plan| plan.stages.len())
    };
    assert_eq!(chosen(&[2, 2]), Ok(2));
    assert_eq!(chosen(&[4, 4]), Ok(2));
    assert_eq!(chosen(&[2, 1]), Ok(1));
    assert_eq!(chosen(&[1]), Ok(1));
    let cluster = pipeit_rt::topology::ClusterId(0);
    let lacks = pipeit_rt::plan::PlanError::TooManyCores { cluster, asked: 2, present: 0 };
    assert_eq!(chosen(&[0]), Err(Some(lacks)));
}

#[test]
fn foreign_and_future_files_are_told_apart() {
    let mut bytes = artefact();
    let found = bytes.len() - 64;
    let wanted = bytes.len();
    assert_eq!(error(&bytes[..found]), Some(ArtefactError::Length { wanted, found }));
    assert_eq!(error(b"\x7fELF"), Some(ArtefactError::Magic));
    assert_eq!(error(&bytes[..20]), Some(ArtefactError::Length { wanted: 64, found: 20 }));
    bytes[8] = 2;
    assert_eq!(error(&bytes), Some(ArtefactError::Version { found: 2 }));
    bytes[8] = 1;
    bytes[30] ^= 1;
    assert_eq!(error(&bytes), Some(ArtefactError::HeaderChecksum));
    bytes[30] ^= 1;
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(error(&bytes), Some(ArtefactError::SectionChecksum { section: 4 }));
    bytes[last] ^= 1;
    let mut tables = tables(&bytes).unwrap();
    let len = tables.len();
    assert!(matches!(open(&bytes, &mut tables[..len / 2]), Err(ArtefactError::Memory(_))));
    let shifted = AlignedBytes::from_slice(64, &[&[0], &bytes[..]].concat());
    assert_eq!(open(&shifted[1..], &mut tables).err(), Some(ArtefactError::Misaligned));
}
