//! `trinity-bench answer`: the answer path alone, without sockets.
//!
//! Batches of fresh, signed requests are made outside of the measured time and answered
//! within it, by the same code with the same tables as in a shard. What remains is the
//! server's own cost of a request, which the kernel's share hides in `compare`. With `--train` so
//! many requests in a row are under one key, as a client sends them that joins them. The mean
//! leaves out the slowest twentieth of the batches: those that something else interrupted.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use trinity_beast::clock;
use trinity_beast::lpo::udp::{Answerer, Batch, Budgets, Outcomes, Pressure, Scratch};
use trinity_beast::tables::counters::ShardCounters;
use trinity_beast::tables::meter::Meter;
use trinity_beast::tables::prices::{PriceWriter, SymbolIndex};
use trinity_beast::tables::window::Windows;
use trinity_protocol::{
    Code, MAX_DATAGRAM, MAX_ENTRIES, PriceQuery, ReplyView, RequestHead, RequestId, encode_price_request,
};

use crate::burst::BATCH;
use crate::population::{self, Draw, Population};

/// Options of `answer`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One JSON object on standard output, nothing else there.
    #[arg(long)]
    json: bool,
    /// Batches of 64 requests.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(16..))]
    batches: u32,
    /// Symbols that one request asks for.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=MAX_ENTRIES as i64))]
    entries: u8,
    /// Symbols in the price table, all published.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    symbols: u32,
    /// Keys that take turns.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    keys: u32,
    /// Requests in a row that are of one key: a train.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=BATCH as i64))]
    train: u32,
}

/// From one batch to the next by the answerer's clock: about what a batch takes.
const BATCH_NS: u64 = 20_000;

#[derive(Debug, Serialize)]
struct Cost {
    ns_per_request: Spent,
    batches: u32,
    entries: u8,
    symbols: u32,
    keys: u32,
    train: u32,
}

#[derive(Debug, Serialize)]
struct Spent {
    min: f64,
    median: f64,
    mean: f64,
}

/// What is measured, under a name that a profiler finds.
#[inline(never)]
fn answer_measured(answerer: &mut Answerer<'_>, batch: &mut Batch<'_>, outcomes: &mut Outcomes) {
    answerer.answer_batch(batch, 0, outcomes);
}

/// Measures and reports; tells whether every reply was right.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let population = Population::new(args.keys as usize, args.symbols as usize)?;
    let (mut writer, copies) = PriceWriter::new(&Arc::new(population.names()?), 1);
    for symbol in 0..population.symbols.len() {
        writer.publish(
            SymbolIndex(symbol as u32),
            population::record(symbol, 1, clock::unix_nanos()),
        );
    }
    let keys = population.key_table();
    let mut windows = Windows::new(population::random());
    let (mut meter, pages) = Meter::new();
    let counters = ShardCounters::default();
    let (budgets, mut scratch) = (Budgets::default(), Scratch::default());
    let mut outcomes = Outcomes::default();
    let mut requests = vec![[0_u8; MAX_DATAGRAM]; BATCH];
    let mut replies = vec![0_u8; MAX_DATAGRAM * BATCH];
    let caller_of = |number: usize| number / args.train as usize % population.keys.len();
    let mut counters_of = vec![0_u32; population.keys.len()];
    let mut latencies = Vec::with_capacity(args.batches as usize);
    let mut draw = Draw::new();
    let mut closed = clock::monotonic();
    let mut wrong = 0_u64;
    let started_ns = clock::unix_nanos();
    for batch in 0..args.batches {
        // A clock of its own, so that a slow machine counts no more seconds than a fast one.
        let clock_ns = started_ns + u64::from(batch) * BATCH_NS;
        let mut len = 0;
        for (i, request) in requests.iter_mut().enumerate() {
            let number = batch as usize * BATCH + i;
            let caller = &population.keys[caller_of(number)];
            counters_of[caller_of(number)] += 1;
            let queries: [_; MAX_ENTRIES] = std::array::from_fn(|_| {
                PriceQuery::new(population.symbols[draw.below(population.symbols.len())])
            });
            let head = RequestHead {
                key_id: caller.key_id,
                request_id: RequestId::new(1, counters_of[caller_of(number)]),
                lane: 0,
                clock_ns,
            };
            let queries = &queries[..usize::from(args.entries)];
            len = encode_price_request(request, head, queries, &caller.mac.request).len();
        }
        let prices = copies[0].load();
        let starts: [u32; BATCH + 1] = std::array::from_fn(|i| (i * len) as u32);
        let began = clock::monotonic();
        let mut answerer = Answerer {
            prices: &prices,
            keys: &keys,
            windows: &mut windows,
            meter: &mut meter,
            counters: &counters,
            budgets: &budgets,
            pressure: Pressure::None,
            scratch: &mut scratch,
            now_ns: clock_ns,
            month_left_ms: 1_000,
            misses: None,
        };
        let mut work = Batch::new(&mut replies, &starts);
        for request in &requests {
            work.push(&request[..len]);
        }
        answer_measured(&mut answerer, &mut work, &mut outcomes);
        latencies.push(began.elapsed());
        for (i, reply) in replies.chunks(len).take(BATCH).enumerate() {
            let caller = &population.keys[caller_of(batch as usize * BATCH + i)];
            let right = outcomes.reply(i) == Some(len)
                && ReplyView::parse(reply)
                    .is_ok_and(|view| view.head().code == Code::Ok && view.verify(&caller.mac.reply));
            wrong += u64::from(!right);
        }
        if closed.elapsed() >= Duration::from_secs(1) {
            closed = clock::monotonic();
            meter.close();
            while let Some(page) = pages.take() {
                pages.give_back(page);
            }
        }
    }
    latencies.sort_unstable();
    let each = |time: Duration| time.as_nanos() as f64 / BATCH as f64;
    let kept = &latencies[..latencies.len() * 19 / 20];
    let cost = Cost {
        ns_per_request: Spent {
            min: each(kept[0]),
            median: each(kept[kept.len() / 2]),
            mean: each(kept.iter().sum()) / kept.len() as f64,
        },
        batches: args.batches,
        entries: args.entries,
        symbols: args.symbols,
        keys: args.keys,
        train: args.train,
    };
    if args.json {
        println!("{}", serde_json::to_string(&cost)?);
    } else {
        let Spent { min, median, mean } = cost.ns_per_request;
        println!(
            "{mean:.0} ns a request of {} symbols (median {median:.0}, best batch {min:.0})",
            args.entries
        );
    }
    if wrong > 0 {
        eprintln!("{wrong} replies were wrong");
    }
    Ok(wrong == 0)
}
