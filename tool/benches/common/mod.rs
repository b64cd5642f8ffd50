//! What benchmarks of two cores share.

use pipeit_rt::platform::hosted::Machine;
use pipeit_tool::zoo::{Architecture, ZOO};

/// The first two CPUs; None, and said, where there is but one.
pub(crate) fn two_cpus() -> Option<[usize; 2]> {
    let mut cpus = Machine::detect().clusters.into_iter().flat_map(|cluster| cluster.cpus);
    let pair = cpus.next().zip(cpus.next());
    if pair.is_none() {
        println!("needs two cores");
    }
    pair.map(<[usize; 2]>::from)
}

/// The networks named by the program's arguments, of which flags are cargo's; all without any.
pub(crate) fn networks() -> impl Iterator<Item = Architecture> {
    let asked: Vec<_> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    let is_asked = move |found: &Architecture| {
        asked.is_empty() || asked.iter().any(|asked| asked == found.name)
    };
    ZOO.into_iter().filter(is_asked)
}
