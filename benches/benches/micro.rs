//! Times of every case of `weir-micro`: `make micro`, or `make micro BENCH=route` for those with
//! `route` in their names.

use criterion::{Criterion, criterion_group, criterion_main};
use weir_allocator::Allocator;
use weir_micro::cases::CASES;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn every_case(criterion: &mut Criterion) {
    for case in CASES {
        criterion.bench_function(case.name, |bencher| {
            let mut work = (case.make)();
            bencher.iter(&mut work);
        });
    }
}

criterion_group! {
    name = micro;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(1500));
    targets = every_case
}
criterion_main!(micro);
