//! What finding the borders of requests and replies costs, of one that has come alone and of a batch as
//! the proxy sees it: many behind each other in one buffer.

#![expect(clippy::unwrap_used, reason = "in a benchmark a panic is the failure")]

use std::hint::black_box;

use codis_resp::{
    Cut, ReplyScanner, Request, RequestLimits, RequestParser, lookup, push_array_header, push_bulk,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Requests or replies in one buffer.
const BATCH: usize = 256;

fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    push_array_header(&mut out, args.len());
    args.iter().for_each(|arg| push_bulk(&mut out, arg));
    out
}

fn parse(c: &mut Criterion) {
    let value = [b'x'; 64];
    let keys: Vec<Vec<u8>> = (0..100).map(|i| format!("key:{i:012}").into_bytes()).collect();
    let mget: Vec<&[u8]> = [&b"MGET"[..]].into_iter().chain(keys.iter().map(Vec::as_slice)).collect();
    let cases = [
        ("GET", request(&[b"GET", b"key:000000001234"])),
        ("SET 64 bytes", request(&[b"SET", b"key:000000001234", &value])),
        ("MGET 100", request(&mget)),
    ];
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, one) in cases {
        let many = one.repeat(BATCH);
        let mut parser = RequestParser::new(RequestLimits::default());
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut rest = black_box(&many[..]);
                while !rest.is_empty() {
                    let Request::Complete { len } = parser.advance(rest).unwrap() else { return };
                    black_box(parser.args());
                    rest = &rest[len..];
                }
            });
        });
    }
    group.finish();
}

fn pieces(c: &mut Criterion) {
    let whole = request(&[b"SET", b"key", &[b'x'; 4096]]);
    c.bench_function("parse/SET 4 KiB in pieces of 512 bytes", |b| {
        b.iter_batched(
            || RequestParser::new(RequestLimits::default()),
            |mut parser| {
                for end in (512..whole.len()).step_by(512).chain([whole.len()]) {
                    black_box(parser.advance(black_box(&whole[..end])).unwrap());
                }
            },
            BatchSize::SmallInput,
        );
    });
}

fn route(c: &mut Criterion) {
    let get = request(&[b"GET", b"key:000000001234"]);
    let mut parser = RequestParser::new(RequestLimits::default());
    parser.advance(&get).unwrap();
    c.bench_function("command/lookup and key of GET", |b| {
        b.iter(|| {
            let id = lookup(black_box(parser.args()[0].of(&get))).unwrap();
            let mut key = 0;
            id.command().each_key(&get, parser.args(), |at| key = at).unwrap();
            black_box((id, key))
        });
    });
}

fn frame(c: &mut Criterion) {
    let mut nested = Vec::new();
    push_array_header(&mut nested, 100);
    (0..100).for_each(|_| push_bulk(&mut nested, &[b'x'; 64]));
    let mut bulk = Vec::new();
    push_bulk(&mut bulk, &[b'x'; 64]);
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, one) in [("+OK", b"+OK\r\n".to_vec()), ("64 bytes", bulk), ("array of 100", nested)] {
        let many = one.repeat(BATCH);
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut scanner = ReplyScanner::default();
                let mut rest = black_box(&many[..]);
                while !rest.is_empty() {
                    let Cut::Complete(len) = scanner.advance(rest).unwrap() else { return };
                    rest = black_box(&rest[len..]);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse, pieces, route, frame);
criterion_main!(benches);
