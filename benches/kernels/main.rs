//! Every kernel over layers of real networks, on one core.
//!
//! `cargo bench --bench kernels` prints time and multiply-accumulates per second (`Gelem/s`;
//! elements of the output where nothing is multiplied) per layer and path. Add a part of a
//! name to measure fewer.

mod layers;

use std::time::Duration;

use criterion::{Criterion, Throughput};
use pipeit_rt::kernels;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    for shape in layers::SHAPES {
        let mut group = criterion.benchmark_group(shape.name());
        for kernels in kernels::ALL.iter().filter(|kernels| (kernels.supported)()) {
            let Some(layer) = shape.layer(kernels.path) else { continue };
            group.throughput(Throughput::Elements(layer.work));
            group.bench_function(kernels.path.name(), |bencher| {
                bencher.iter(|| layer.run(kernels));
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
