//! The machine as the runtime sees it: the cores that came up, and what they do beside.

use heapless::Vec;
use pipeit_board::{MAX_CORES, cores};
use pipeit_rt::platform::baremetal::{BareMetal, WfeEvent, Yield};
use pipeit_rt::platform::{Platform, Ticks};
use pipeit_rt::topology::{CoreId, TooManyCores, Topology};

/// Bare metal, and what can be made to go wrong there.
#[derive(Debug)]
pub(crate) struct Machine;

impl Platform for Machine {
    type Relax = Yield;
    type Event = WfeEvent;

    fn now() -> Ticks {
        BareMetal::now()
    }

    fn tick_hz() -> u64 {
        BareMetal::tick_hz()
    }

    #[cfg(feature = "faults")]
    fn after_layer(_layer: u16, _started: Ticks) {
        crate::faults::after_layer();
    }
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
}
