//! What finding a key's slot costs.

use std::hint::black_box;

use codis_core::slot_of_key;
use criterion::{Criterion, criterion_group, criterion_main};

fn route(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    for (name, key) in [
        ("plain key", "key:000000001234"),
        ("tagged key", "cart:{user:1234}:items"),
        ("key of 200 bytes", &"k".repeat(200)),
    ] {
        group.bench_function(name, |b| b.iter(|| slot_of_key(black_box(key.as_bytes()))));
    }
    group.finish();
}

criterion_group!(benches, route);
criterion_main!(benches);
