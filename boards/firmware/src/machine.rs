//! The machine as the runtime sees it: the cores that came up, and what they do beside.

use heapless::Vec;
use pipeit_board::{MAX_CORES, cores};
use pipeit_rt::platform::baremetal::{BareMetal, WfeEvent, Yield};
use pipeit_rt::platform::{Platform, Ticks};
#[cfg(feature = "trace")]
use pipeit_rt::topology::ClusterId;
use pipeit_rt::topology::{CoreId, TooManyCores, Topology};

/// Bare metal, and what can be made to go wrong there.
#[derive(Debug)]
pub(crate) struct Machine;

impl Platform for Machine {
    type Relax = Yield;
    type Event = WfeEvent;
    const INTERLEAVES: bool = !cfg!(feature = "trace");

    fn now() -> Ticks {
        BareMetal::now()
    }

    fn tick_hz() -> u64 {
        BareMetal::tick_hz()
    }

    #[cfg(any(feature = "faults", feature = "trace"))]
    fn after_layer(layer: u16, started: Ticks) {
        #[cfg(feature = "faults")]
        crate::faults::after_layer(layer, started);
        #[cfg(feature = "trace")]
        crate::trace::after_layer(layer, started);
    }
}

/// So many milliseconds.
pub(crate) fn ticks(ms: u32) -> Ticks {
    Ticks(Machine::tick_hz().saturating_mul(ms.into()) / 1000)
}

/// The cores that are up. The runtime numbers these without gaps, the board all it declares.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    /// The board's number of each core, by the runtime's.
    numbers: Vec<usize, MAX_CORES>,
    pub(crate) topology: Topology,
}

impl Cores {
    /// Those of the `declared` clusters.
    pub(crate) fn up(declared: &[u8]) -> Result<Self, TooManyCores> {
        let mut numbers = Vec::new();
        let mut sizes = Vec::<u8, MAX_CORES>::new();
        let mut next = 0;
        for &cluster in declared {
            let before = numbers.len();
            for number in next..next + usize::from(cluster) {
                if cores::is_up(number) {
                    numbers.push(number).map_err(|_| TooManyCores)?;
                }
            }
            sizes.push((numbers.len() - before) as u8).map_err(|_| TooManyCores)?;
            next += usize::from(cluster);
        }
        Ok(Self { numbers, topology: Topology::new(&sizes)? })
    }

    /// The runtime's number of the board's core `number`.
    pub(crate) fn id(&self, number: usize) -> Option<CoreId> {
        let index = self.numbers.iter().position(|&found| found == number)?;
        Some(CoreId(index as u8))
    }

    /// The cluster of the board's core `number`, and its index there.
    #[cfg(feature = "trace")]
    pub(crate) fn place(&self, number: usize) -> Option<(u8, u8)> {
        let id = self.id(number);
        let clusters = 0..self.topology.clusters() as u8;
        let places =
            clusters.flat_map(|cluster| (0..MAX_CORES as u8).map(move |core| (cluster, core)));
        let mut places = places.filter(|_| id.is_some());
        places.find(|&(cluster, core)| self.topology.core(ClusterId(cluster), core) == id)
    }
}
