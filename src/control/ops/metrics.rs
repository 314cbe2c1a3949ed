//! `/metrics`: what the process tells of itself, in base units, with no client's name and no
//! key in it.

use std::fs;
use std::path::Path;

use trinity_protocol::{Code, PriceStatus, Refusal};
use trinity_tuning::facts::Reading;
use trinity_tuning::read::cgroup;

use super::Ops;
use super::exposition::{Exposition, seconds};
use super::{journal, venues};
use crate::shard::web::{CutReason, WebCounters};
use crate::tables::counters::{Counter, MissCounters, ShardCounters, Shed};
use crate::tables::prices::PriceRecord;

/// One counter of many.
type Pick<T> = fn(&T) -> &Counter;

/// The whole page.
pub(super) fn render(ops: &Ops, now_ns: u64) -> String {
    let mut out = Exposition::default();
    process(&mut out, ops);
    shards(&mut out, ops, now_ns);
    workers(&mut out, ops, now_ns);
    misses(&mut out, ops);
    market(&mut out, ops, now_ns);
    venues::render(&mut out, ops, now_ns);
    ledger_and_keys(&mut out, ops, now_ns);
    out.finish()
}

/// Symbols by the status of their price, in wire order.
pub(super) fn symbols_by_status(ops: &Ops, now_ns: u64) -> [u64; PriceStatus::ALL.len()] {
    let mut counts = [0; PriceStatus::ALL.len()];
    let prices = ops.prices.load();
    for (index, _) in prices.names().listed() {
        let record = prices.read(index).unwrap_or(PriceRecord::NONE);
        counts[record.status_at(now_ns, 0) as usize] += 1;
    }
    counts
}

fn process(out: &mut Exposition, ops: &Ops) {
    let facts = &ops.process;
    out.gauge("trinity_build_info", "Version of the program.")
        .sample(&[("version", &facts.version), ("node", &facts.node)], 1);
    out.gauge(
        "trinity_driver_info",
        "How shards wait for datagrams, and why so.",
    )
    .sample(&[("driver", &facts.driver), ("reason", &facts.driver_why)], 1);
    out.gauge(
        "trinity_start_time_seconds",
        "When the process started, Unix time.",
    )
    .sample(&[], seconds(facts.started_ns));
    if let Some(bytes) = resident_bytes() {
        out.gauge(
            "trinity_process_resident_memory_bytes",
            "Memory that the process holds.",
        )
        .sample(&[], bytes);
    }
    // Without a CPU quota most systems tell nothing, and then neither does this.
    if let Reading::Known(throttling) = cgroup::throttling(Path::new("/")) {
        out.counter(
            "trinity_cpu_throttled_periods_total",
            "Periods in which the CPU quota stopped this control group before their end.",
        )
        .sample(&[], throttling.throttled_periods);
        out.counter(
            "trinity_cpu_throttled_seconds_total",
            "Time that the CPU quota kept this control group's threads from running.",
        )
        .sample(&[], throttling.throttled_us as f64 / 1e6);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        out.gauge("trinity_process_open_fds", "File descriptors that are open.")
            .sample(&[], files.count());
    }
}

fn shards(out: &mut Exposition, ops: &Ops, now_ns: u64) {
    let mut family = out.gauge("trinity_shard_info", "The CPU each shard is pinned to, if any.");
    for (index, shard) in ops.shards.iter().enumerate() {
        let cpu = shard.cpu.map(|cpu| cpu.to_string()).unwrap_or_default();
        family.sample(&[("shard", &index), ("cpu", &cpu)], 1);
    }
    let mut family = out.gauge(
        "trinity_shard_heartbeat_age_seconds",
        "Time since a shard last took a turn.",
    );
    for (index, shard) in ops.shards.iter().enumerate() {
        let age_ns = ops.age_ns(shard.counters.heartbeat_ns.get(), now_ns);
        family.sample(&[("shard", &index)], seconds(age_ns));
    }
    for (name, help, buffer) in [
        (
            "trinity_shard_receive_buffer_bytes",
            "Receive buffer that the kernel granted.",
            0,
        ),
        (
            "trinity_shard_send_buffer_bytes",
            "Send buffer that the kernel granted.",
            1,
        ),
    ] {
        let mut family = out.gauge(name, help);
        for (index, shard) in ops.shards.iter().enumerate() {
            let granted = [&shard.receive_buffer_bytes, &shard.send_buffer_bytes][buffer];
            family.sample(&[("shard", &index)], granted.get());
        }
    }
    let plain: [(&'static str, &str, Pick<ShardCounters>); 11] = [
        (
            "trinity_shard_batches_total",
            "Turns that received something.",
            |c| &c.batches,
        ),
        (
            "trinity_shard_datagrams_received_total",
            "Datagrams received.",
            |c| &c.received,
        ),
        (
            "trinity_shard_receive_drops_total",
            "Datagrams the kernel dropped because the receive buffer was full.",
            |c| &c.receive_drops,
        ),
        (
            "trinity_shard_receive_errors_total",
            "Calls to receive that failed.",
            |c| &c.receive_errors,
        ),
        (
            "trinity_shard_replies_sent_total",
            "Replies handed to the kernel.",
            |c| &c.sent,
        ),
        (
            "trinity_shard_send_errors_total",
            "Replies the kernel did not take.",
            |c| &c.send_errors,
        ),
        ("trinity_shard_pings_total", "PING requests answered.", |c| {
            &c.pings
        }),
        (
            "trinity_shard_repeats_total",
            "Repeated requests answered again without charge.",
            |c| &c.repeats,
        ),
        (
            "trinity_shard_suppressed_errors_total",
            "Unsigned errors not sent because of their rate limit.",
            |c| &c.suppressed,
        ),
        ("trinity_shard_entries_total", "Prices given.", |c| &c.entries),
        (
            "trinity_shard_datagrams_joined_total",
            "Datagrams that came joined with others of their sender.",
            |c| &c.joined,
        ),
    ];
    for (name, help, pick) in plain {
        let mut family = out.counter(name, help);
        for (index, shard) in ops.shards.iter().enumerate() {
            family.sample(&[("shard", &index)], pick(&shard.counters).get());
        }
    }
    let mut family = out.gauge("trinity_shard_sessions", "Client sessions remembered.");
    for (index, shard) in ops.shards.iter().enumerate() {
        family.sample(&[("shard", &index)], shard.counters.sessions.get());
    }
    let mut family = out.counter(
        "trinity_shard_refused_total",
        "Datagrams refused by their form, by reason.",
    );
    for (index, shard) in ops.shards.iter().enumerate() {
        for reason in Refusal::ALL {
            let count = shard.counters.refused[reason as usize].get();
            family.sample(&[("shard", &index), ("reason", &reason.name())], count);
        }
    }
    let mut family = out.gauge(
        "trinity_shard_pressure",
        "How far a shard is behind: 0 it keeps up, 1 it sheds PINGs and unproven senders, 2 keys over their \
         rate, 3 keys with a limit, 4 half of the others.",
    );
    for (index, shard) in ops.shards.iter().enumerate() {
        family.sample(&[("shard", &index)], shard.counters.pressure.get());
    }
    let mut family = out.counter(
        "trinity_shard_shed_total",
        "Requests shed because the shard could not keep up, by rule.",
    );
    for (index, shard) in ops.shards.iter().enumerate() {
        for what in Shed::ALL {
            let count = shard.counters.shed[what as usize].get();
            family.sample(&[("shard", &index), ("class", &what.name())], count);
        }
    }
    let mut family = out.counter("trinity_shard_replies_total", "Replies, by code.");
    for (index, shard) in ops.shards.iter().enumerate() {
        for code in Code::ALL {
            let count = shard.counters.codes[code as usize].get();
            family.sample(&[("shard", &index), ("code", &code)], count);
        }
    }
    let mut family = out.histogram(
        "trinity_shard_latency_seconds",
        "Time from a batch's arrival to its replies being sent.",
    );
    for (index, shard) in ops.shards.iter().enumerate() {
        family.latencies(&[("shard", &index)], &shard.counters.latency);
    }
}

fn workers(out: &mut Exposition, ops: &Ops, now_ns: u64) {
    let mut family = out.gauge(
        "trinity_http_heartbeat_age_seconds",
        "Time since an HTTP worker last swept.",
    );
    for (index, worker) in ops.web.iter().enumerate() {
        let age_ns = ops.age_ns(worker.heartbeat_ns.get(), now_ns);
        family.sample(&[("worker", &index)], seconds(age_ns));
    }
    let mut family = out.gauge("trinity_http_connections", "Connections open.");
    for (index, worker) in ops.web.iter().enumerate() {
        family.sample(&[("worker", &index)], worker.open.get());
    }
    let plain: [(&'static str, &str, Pick<WebCounters>); 4] = [
        (
            "trinity_http_connections_accepted_total",
            "Connections accepted.",
            |c| &c.accepted,
        ),
        (
            "trinity_http_connections_turned_away_total",
            "Connections turned away because the worker holds as many as it may.",
            |c| &c.turned_away,
        ),
        (
            "trinity_http_accept_errors_total",
            "Calls to accept that failed.",
            |c| &c.accept_errors,
        ),
        ("trinity_http_entries_total", "Prices given.", |c| &c.entries),
    ];
    for (name, help, pick) in plain {
        let mut family = out.counter(name, help);
        for (index, worker) in ops.web.iter().enumerate() {
            family.sample(&[("worker", &index)], pick(worker).get());
        }
    }
    let mut family = out.counter(
        "trinity_http_connections_cut_total",
        "Connections ended, or requests given up, for their client's behaviour, by reason.",
    );
    for (index, worker) in ops.web.iter().enumerate() {
        for reason in CutReason::ALL {
            let count = worker.cut[reason as usize].get();
            family.sample(&[("worker", &index), ("reason", &reason.name())], count);
        }
    }
    let mut family = out.counter("trinity_http_responses_total", "Responses, by class of status.");
    for (index, worker) in ops.web.iter().enumerate() {
        for (class, count) in (1..).zip(&worker.classes) {
            let class = format!("{class}xx");
            family.sample(&[("worker", &index), ("class", &class)], count.get());
        }
    }
    let mut family = out.counter(
        "trinity_http_answers_total",
        "Answers of the price oracle, by code.",
    );
    for (index, worker) in ops.web.iter().enumerate() {
        for code in Code::ALL {
            let count = worker.codes[code as usize].get();
            family.sample(&[("worker", &index), ("code", &code)], count);
        }
    }
    let mut family = out.histogram(
        "trinity_http_latency_seconds",
        "Time from a request's head to its answer.",
    );
    for (index, worker) in ops.web.iter().enumerate() {
        family.latencies(&[("worker", &index)], &worker.latency);
    }
}

/// Prices that were missed: what became of the requests, in shards and in HTTP workers, and of
/// the symbols.
fn misses(out: &mut Exposition, ops: &Ops) {
    let shards = || {
        let shards = ops.shards.iter().enumerate();
        shards.map(|(index, shard)| ("udp", index, &shard.counters.misses))
    };
    let workers = || {
        let workers = ops.web.iter().enumerate();
        workers.map(|(index, worker)| ("http", index, &worker.misses))
    };
    let all = || shards().chain(workers());
    let mut family = out.gauge(
        "trinity_miss_requests_waiting",
        "Requests that wait for prices that are being fetched.",
    );
    for (protocol, core, counters) in all() {
        family.sample(
            &[("protocol", &protocol), ("core", &core)],
            counters.waiting.get(),
        );
    }
    let plain: [(&'static str, &str, Pick<MissCounters>); 3] = [
        (
            "trinity_miss_requests_waited_total",
            "Requests that were let wait for a price.",
            |c| &c.waited,
        ),
        (
            "trinity_miss_requests_overflowed_total",
            "Requests that could not wait for a price because too many did.",
            |c| &c.overflow,
        ),
        (
            "trinity_miss_symbols_remembered_total",
            "Missed symbols that nobody waited for because they were fetched just before, mostly in vain.",
            |c| &c.remembered,
        ),
    ];
    for (name, help, pick) in plain {
        let mut family = out.counter(name, help);
        for (protocol, core, counters) in all() {
            family.sample(&[("protocol", &protocol), ("core", &core)], pick(counters).get());
        }
    }
    let outcomes: [(&str, Pick<MissCounters>); 5] = [
        ("fresh", |c| &c.fresh),
        ("nothing", |c| &c.nothing),
        ("deadline", |c| &c.deadline),
        ("stopped", |c| &c.stopped),
        ("abandoned", |c| &c.abandoned),
    ];
    let mut family = out.counter(
        "trinity_miss_waits_total",
        "Waits that are over, by what ended them.",
    );
    for (protocol, core, counters) in all() {
        for (outcome, pick) in outcomes {
            let labels = [
                ("protocol", &protocol as &dyn std::fmt::Display),
                ("core", &core),
                ("outcome", &outcome),
            ];
            family.sample(&labels, pick(counters).get());
        }
    }
    if let Some(board) = &ops.misses {
        out.gauge("trinity_miss_symbols_wanted", "Symbols that wait to be fetched.")
            .sample(&[], board.waiting());
        out.counter(
            "trinity_miss_flights_total",
            "Symbols that were asked for to be fetched.",
        )
        .sample(&[], board.flights());
    }
}

fn market(out: &mut Exposition, ops: &Ops, now_ns: u64) {
    let facts = &ops.market;
    out.gauge("trinity_market_info", "Where the prices come from.")
        .sample(
            &[("kind", &facts.kind.name()), ("source", &facts.source.load())],
            1,
        );
    out.gauge(
        "trinity_market_tick_age_seconds",
        "Time since the market last ticked.",
    )
    .sample(&[], seconds(ops.age_ns(facts.last_tick_ns.get(), now_ns)));
    out.counter("trinity_market_quotes_accepted_total", "Quotes taken in.")
        .sample(&[], facts.accepted.get());
    let mut family = out.counter(
        "trinity_market_quotes_rejected_total",
        "Quotes rejected, by reason.",
    );
    for (reason, count) in &*facts.rejected.read() {
        family.sample(&[("reason", reason)], count);
    }
    out.counter(
        "trinity_market_damaged_lines_total",
        "Lines of a recording that were skipped.",
    )
    .sample(&[], facts.damaged_lines.get());
    out.counter("trinity_market_passes_total", "Times a recording began anew.")
        .sample(&[], facts.passes.get());
    let mut family = out.gauge("trinity_symbols", "Symbols, by the status of their price.");
    let counts = symbols_by_status(ops, now_ns);
    for status in PriceStatus::ALL {
        if status != PriceStatus::UnknownSymbol {
            family.sample(&[("status", &status)], counts[status as usize]);
        }
    }
}

fn ledger_and_keys(out: &mut Exposition, ops: &Ops, now_ns: u64) {
    let facts = &ops.ledger;
    let state = facts.state();
    out.gauge("trinity_ledger_info", "The ledger's kind.")
        .sample(&[("kind", &facts.kind)], 1);
    out.gauge(
        "trinity_ledger_up",
        "Whether the ledger took the last flush or reading.",
    )
    .sample(&[], u8::from(state.error.is_none()));
    out.gauge(
        "trinity_ledger_state_age_seconds",
        "Time since the ledger last went up or down.",
    )
    .sample(&[], seconds(ops.age_ns(state.since_ns, now_ns)));
    for (name, help, count) in [
        (
            "trinity_ledger_failures_total",
            "Calls of the ledger that failed.",
            &facts.failures,
        ),
        (
            "trinity_ledger_flushes_total",
            "Usage pages that the ledger took.",
            &facts.flushes,
        ),
        (
            "trinity_ledger_flushed_rows_total",
            "Usage rows that the ledger took.",
            &facts.rows,
        ),
    ] {
        out.counter(name, help).sample(&[], count.get());
    }
    journal::render(out, &ops.journal, now_ns);
    out.gauge("trinity_keys", "Keys known.")
        .sample(&[], ops.keys.count.get());
    out.gauge(
        "trinity_keys_sync_age_seconds",
        "Time since the keys were last read from the ledger.",
    )
    .sample(&[], seconds(ops.age_ns(ops.keys.last_sync_ns.get(), now_ns)));
}

/// Resident set of this process (proc(5), `status`, `VmRSS`, in kilobytes).
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1_024)
}
