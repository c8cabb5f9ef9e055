//! `/metrics`: the same counters for Prometheus.

use hdrhistogram::Histogram as Times;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};

use super::pages;
use crate::stats::{Calls, Stats};
use crate::status::Facts;
use crate::table::Table;

/// Upper bounds of the latency buckets, microseconds.
const BUCKETS_US: [u64; 13] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];

/// The page.
///
/// # Errors
/// When the encoder refuses a family, which none of these is.
pub(super) fn text(stats: &Stats, facts: &Facts, table: &Table) -> Result<String, prometheus::Error> {
    let mut families = process(facts, table);
    families.extend(clients(stats));
    families.extend(moves(stats));
    families.extend(commands(stats));
    families.extend(failures(stats));
    families.extend(backends(stats));
    families.extend(backend_commands(stats));
    // The encoder refuses a family without samples.
    families.retain(|family| !family.get_metric().is_empty());
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn process(facts: &Facts, table: &Table) -> Vec<MetricFamily> {
    let counts = pages::slot_counts(table);
    let slots = [
        ("offline", counts.offline),
        ("online", counts.online),
        ("pre_migrate", counts.pre_migrate),
        ("migrate", counts.migrate),
    ];
    let slots = slots.into_iter().map(|(state, n)| gauge(&[("state", state)], f64::from(n))).collect();
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    vec![
        family("codis_proxy_info", "The program.", MetricType::GAUGE, vec![gauge(&version, 1.0)]),
        one_gauge("codis_proxy_uptime_seconds", "Time since the start.", facts.started.elapsed().as_secs()),
        one_gauge("codis_proxy_ready", "1 while clients are served.", u64::from(facts.not_ready.is_none())),
        one_gauge("codis_proxy_store_connected", "1 while the store answers.", facts.store_connected.into()),
        one_gauge("codis_proxy_last_action", "Last acknowledged action.", facts.last_action.unwrap_or(0)),
        family("codis_proxy_slots", "Slots by state.", MetricType::GAUGE, slots),
    ]
}

fn clients(stats: &Stats) -> Vec<MetricFamily> {
    vec![
        one_gauge("codis_proxy_clients", "Clients connected now.", stats.clients),
        one_counter("codis_proxy_clients_accepted_total", "Clients accepted.", stats.clients_accepted),
        one_counter("codis_proxy_clients_refused_total", "Clients above the limit.", stats.clients_refused),
        one_counter(
            "codis_proxy_clients_dropped_total",
            "Clients disconnected by us.",
            stats.clients_dropped,
        ),
        one_counter("codis_proxy_requests_total", "Requests read.", stats.requests),
        one_counter("codis_proxy_errors_total", "Requests answered with an error.", stats.errors),
        one_gauge("codis_proxy_in_flight", "Replies that clients wait for.", stats.in_flight),
        one_gauge("codis_proxy_parked", "Requests held back by a slot or key on its way.", stats.parked),
        one_gauge(
            "codis_proxy_pinned",
            "Connections to servers that one client has to itself.",
            stats.pinned,
        ),
        one_gauge("codis_proxy_listeners", "Clients that listen to channels or patterns.", stats.listeners),
        one_counter(
            "codis_proxy_messages_total",
            "Published messages, once for each listener.",
            stats.messages,
        ),
        one_counter("codis_proxy_client_bytes_in_total", "Bytes from clients.", stats.bytes_in),
        one_counter("codis_proxy_client_bytes_out_total", "Bytes to clients.", stats.bytes_out),
    ]
}

fn moves(stats: &Stats) -> Vec<MetricFamily> {
    let moves = &stats.moves;
    vec![
        one_counter(
            "codis_proxy_on_demand_moves_total",
            "Requests that had keys handed over first.",
            stats.on_demand_moves,
        ),
        one_counter("codis_proxy_on_demand_failures_total", "Of these, failed.", stats.on_demand_failures),
        one_counter("codis_proxy_keys_moved_total", "Keys handed over on demand.", moves.moved),
        one_gauge("codis_proxy_settled_keys", "Keys known to have left their old group.", moves.settled),
        one_gauge("codis_proxy_broken_pairs", "Pairs of servers that do not answer.", moves.broken_pairs),
        one_gauge("codis_proxy_connections_to_kill", "Connections to be killed on a server.", moves.to_kill),
    ]
}

fn commands(stats: &Stats) -> Vec<MetricFamily> {
    let mut calls = Vec::new();
    let mut errors = Vec::new();
    let mut seconds = Vec::new();
    for (command, counts) in &stats.commands {
        let labels = [("command", *command)];
        calls.push(counter(&labels, counts.calls));
        errors.push(counter(&labels, counts.errors));
        seconds.push(histogram(&labels, counts));
    }
    vec![
        family("codis_proxy_command_calls_total", "Requests answered.", MetricType::COUNTER, calls),
        family("codis_proxy_command_errors_total", "Of these, errors.", MetricType::COUNTER, errors),
        family("codis_proxy_command_seconds", "Time to the reply.", MetricType::HISTOGRAM, seconds),
    ]
}

fn failures(stats: &Stats) -> Vec<MetricFamily> {
    let one = |one: &codis_admin::CauseCount| counter(&[("cause", one.cause.as_str())], one.count);
    let failures = stats.failures.iter().map(one).collect();
    vec![
        family("codis_proxy_failures_total", "Operations that failed.", MetricType::COUNTER, failures),
        one_counter("codis_proxy_slow_requests_total", "Requests that the slow log has noted.", stats.slow),
    ]
}

/// What each server was asked, by command.
fn backend_commands(stats: &Stats) -> Vec<MetricFamily> {
    let (mut calls, mut errors, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
    for (addr, backend) in &stats.backends {
        for (command, counts) in &backend.commands {
            let labels = [("backend", addr.as_str()), ("command", *command)];
            calls.push(counter(&labels, counts.calls));
            errors.push(counter(&labels, counts.errors));
        }
        let mut all = Calls::new();
        backend.commands.values().for_each(|calls| all.add(calls));
        seconds.push(histogram(&[("backend", addr.as_str())], &all));
    }
    let family =
        |name, help, kind, samples| family(&format!("codis_proxy_backend_{name}"), help, kind, samples);
    vec![
        family("command_calls_total", "Requests answered, by command.", MetricType::COUNTER, calls),
        family("command_errors_total", "Of these, errors.", MetricType::COUNTER, errors),
        family("seconds", "Time to the reply.", MetricType::HISTOGRAM, seconds),
    ]
}

fn backends(stats: &Stats) -> Vec<MetricFamily> {
    type Value = fn(&crate::stats::BackendStats) -> u64;
    let values: [(&str, &str, MetricType, Value); 9] = [
        ("connections", "Connections that are up.", MetricType::GAUGE, |b| b.connections),
        ("connects_total", "Connections opened.", MetricType::COUNTER, |b| b.connects),
        ("failures_total", "Connections broken or refused.", MetricType::COUNTER, |b| b.failures),
        ("in_flight", "Requests that wait for a reply.", MetricType::GAUGE, |b| b.in_flight),
        ("queued_bytes", "Bytes that wait to be sent.", MetricType::GAUGE, |b| b.queued_bytes),
        ("bytes_out_total", "Bytes sent.", MetricType::COUNTER, |b| b.bytes_out),
        ("bytes_in_total", "Bytes received.", MetricType::COUNTER, |b| b.bytes_in),
        ("calls_total", "Requests answered.", MetricType::COUNTER, |b| {
            b.commands.values().map(|c| c.calls).sum()
        }),
        ("errors_total", "Of these, errors.", MetricType::COUNTER, |b| {
            b.commands.values().map(|c| c.errors).sum()
        }),
    ];
    let one = |(name, help, kind, value): (&str, &str, MetricType, Value)| {
        let samples = stats.backends.iter().map(|(addr, backend)| {
            let labels = [("backend", addr.as_str())];
            match kind {
                MetricType::COUNTER => counter(&labels, value(backend)),
                _ => gauge(&labels, value(backend) as f64),
            }
        });
        family(&format!("codis_proxy_backend_{name}"), help, kind, samples.collect())
    };
    values.into_iter().map(one).collect()
}

fn family(name: &str, help: &str, kind: MetricType, samples: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(samples);
    family
}

fn one_gauge(name: &str, help: &str, value: u64) -> MetricFamily {
    family(name, help, MetricType::GAUGE, vec![gauge(&[], value as f64)])
}

fn one_counter(name: &str, help: &str, value: u64) -> MetricFamily {
    family(name, help, MetricType::COUNTER, vec![counter(&[], value)])
}

fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = labelled(labels);
    metric.set_gauge(gauge);
    metric
}

fn counter(labels: &[(&str, &str)], value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = labelled(labels);
    metric.set_counter(counter);
    metric
}

fn histogram(labels: &[(&str, &str)], calls: &Calls) -> Metric {
    let seconds = |us: u64| us as f64 / 1e6;
    let mut histogram = Histogram::default();
    histogram.set_sample_count(calls.latency.len());
    histogram.set_sample_sum(seconds(calls.usecs));
    histogram.set_bucket(
        BUCKETS_US
            .iter()
            .map(|&bound| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(seconds(bound));
                bucket.set_cumulative_count(up_to(&calls.latency, bound));
                bucket
            })
            .collect(),
    );
    let mut metric = labelled(labels);
    metric.set_histogram(histogram);
    metric
}

/// How many of the times are no longer than `bound`.
fn up_to(times: &Times<u64>, bound: u64) -> u64 {
    if times.is_empty() { 0 } else { times.count_between(0, bound) }
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::pages::tests::{call, stats, table};
    use crate::status::Status;

    #[test]
    fn prometheus_can_read_the_page() {
        let mut counters = stats();
        call(&mut counters, "GET", &[200, 200, 3000]);
        let commands = counters.commands.clone();
        let backend =
            crate::stats::BackendStats { connections: 2, queued_bytes: 7, commands, ..Default::default() };
        counters.failures = vec![codis_admin::CauseCount { cause: "backend_lost".into(), count: 4 }];
        counters.backends.insert("127.0.0.1:7001".parse().unwrap(), backend);
        let page = text(&counters, &Status::starting("127.0.0.1:1").facts(), &table()).unwrap();
        for line in [
            "# TYPE codis_proxy_requests_total counter",
            "codis_proxy_requests_total 3",
            "codis_proxy_ready 0",
            "codis_proxy_slots{state=\"migrate\"} 1",
            "codis_proxy_command_calls_total{command=\"GET\"} 3",
            "codis_proxy_command_seconds_bucket{command=\"GET\",le=\"0.0001\"} 0",
            "codis_proxy_command_seconds_bucket{command=\"GET\",le=\"0.00025\"} 2",
            "codis_proxy_command_seconds_bucket{command=\"GET\",le=\"0.005\"} 3",
            "codis_proxy_command_seconds_bucket{command=\"GET\",le=\"+Inf\"} 3",
            "codis_proxy_command_seconds_count{command=\"GET\"} 3",
            "codis_proxy_backend_connections{backend=\"127.0.0.1:7001\"} 2",
            "codis_proxy_backend_queued_bytes{backend=\"127.0.0.1:7001\"} 7",
            "codis_proxy_backend_command_calls_total{backend=\"127.0.0.1:7001\",command=\"GET\"} 3",
            "codis_proxy_backend_seconds_bucket{backend=\"127.0.0.1:7001\",le=\"0.00025\"} 2",
            "codis_proxy_backend_seconds_count{backend=\"127.0.0.1:7001\"} 3",
            "codis_proxy_failures_total{cause=\"backend_lost\"} 4",
            "codis_proxy_slow_requests_total 0",
            "codis_proxy_on_demand_moves_total 0",
        ] {
            assert!(page.lines().any(|have| have == line), "{line} is missing in\n{page}");
        }
    }
}
