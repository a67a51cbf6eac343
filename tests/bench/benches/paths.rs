//! How long each step of a decision takes: `cargo bench -p cloakroom-bench --bench paths`.

use cloakroom_bench::STEPS;
use criterion::{Criterion, criterion_group, criterion_main};

fn steps(criterion: &mut Criterion) {
    for step in &STEPS {
        let mut once = step.make();
        criterion.bench_function(step.name, |bencher| bencher.iter(&mut once));
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
