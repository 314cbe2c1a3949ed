//! `trinity-bench meter`: what counting costs, alone.
//!
//! The same calls that the answer path makes for a batch of 64 requests: their request rows, an
//! entry for each symbol, the latency once the batch is sent. Nothing else is measured, so this is
//! the price of exact accounting a request.

use serde::Serialize;
use trinity_beast::clock;
use trinity_beast::limits::METER_CLOSE_MS;
use trinity_beast::tables::meter::{Meter, MeterPages, Protocol, RowIndex};
use trinity_beast::tables::prices::SymbolIndex;
use trinity_protocol::{Code, KeyId, MAX_ENTRIES, PriceStatus};

use crate::burst::BATCH;
use crate::population::Draw;

/// Options of `meter`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One JSON object on standard output, nothing else there.
    #[arg(long)]
    json: bool,
    /// Batches of 64 requests.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(16..))]
    batches: u32,
    /// Symbols that one request asks for.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=MAX_ENTRIES as i64))]
    entries: u8,
    /// Symbols that are asked for in turn.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    symbols: u32,
    /// Keys that take turns.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    keys: u32,
    /// Requests in a row that are of one key, which are counted together: a train.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=BATCH as i64))]
    train: u32,
}

#[derive(Debug, Serialize)]
struct Cost {
    /// Nanoseconds: the best batch, the median and the mean without the slowest twentieth.
    min_ns: f64,
    median_ns: f64,
    mean_ns: f64,
    entries: u8,
    symbols: u32,
    keys: u32,
    train: u32,
}

/// Batches that one second of the meter's clock has.
const BATCHES_A_SECOND: u32 = 20_000;

/// What is measured, under a name that a profiler finds.
#[inline(never)]
fn meter_measured(
    meter: &mut Meter,
    second: u32,
    keys: &[KeyId],
    together: u64,
    symbols: &[SymbolIndex],
    rows: &mut [Option<RowIndex>],
) {
    let entries = symbols.len() / keys.len();
    for ((key, row), symbols) in keys.iter().zip(&mut *rows).zip(symbols.chunks(entries)) {
        for symbol in symbols {
            meter.symbol(*key, Some(*symbol), second, PriceStatus::Live);
        }
        *row = meter.requests(*key, second, Protocol::Udp, Code::Ok, together);
    }
    meter.write_down();
    for row in rows.iter().flatten() {
        meter.latencies(*row, 1_000, together);
    }
}

/// Measures and reports; tells whether nothing was lost.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let (mut meter, pages) = Meter::new();
    let trains = BATCH.div_ceil(args.train as usize);
    let entries = usize::from(args.entries);
    let mut draw = Draw::new();
    let mut keys = vec![KeyId(1); trains];
    let mut symbols = vec![SymbolIndex(0); trains * args.train as usize * entries];
    let mut rows = vec![None; trains];
    let mut times = Vec::with_capacity(args.batches as usize);
    let (mut counted, mut kept) = (0, 0);
    for batch in 0..args.batches {
        for (train, key) in keys.iter_mut().enumerate() {
            let number = batch as usize * trains + train;
            *key = KeyId(1 + (number % args.keys as usize) as u64);
        }
        for symbol in &mut symbols {
            *symbol = SymbolIndex(draw.below(args.symbols as usize) as u32);
        }
        let second = 1_700_000_000 + batch / BATCHES_A_SECOND;
        let began = clock::monotonic();
        meter_measured(&mut meter, second, &keys, args.train.into(), &symbols, &mut rows);
        times.push(began.elapsed());
        counted += trains as u64 * u64::from(args.train);
        if batch % BATCHES_A_SECOND == BATCHES_A_SECOND - 1 {
            meter.close();
            kept += take(&pages);
        }
    }
    meter.close();
    kept += take(&pages);
    times.sort_unstable();
    let requests = (trains * args.train as usize) as f64;
    let each = |ns: u128| ns as f64 / requests;
    let calm = &times[..times.len() * 19 / 20];
    let sum: u128 = calm.iter().map(std::time::Duration::as_nanos).sum();
    let cost = Cost {
        min_ns: each(times[0].as_nanos()),
        median_ns: each(calm[calm.len() / 2].as_nanos()),
        mean_ns: each(sum) / calm.len() as f64,
        entries: args.entries,
        symbols: args.symbols,
        keys: args.keys,
        train: args.train,
    };
    if args.json {
        println!("{}", serde_json::to_string(&cost)?);
    } else {
        println!(
            "{:.1} ns to count a request of {} symbols (median {:.1}, best batch {:.1}; a page every {} ms)",
            cost.mean_ns, args.entries, cost.median_ns, cost.min_ns, METER_CLOSE_MS
        );
    }
    if kept != counted {
        eprintln!("{counted} requests were counted and {kept} kept");
    }
    Ok(kept == counted)
}

fn take(pages: &MeterPages) -> u64 {
    let mut sum = 0;
    while let Some(page) = pages.take() {
        sum += page.requests().iter().map(|row| row.count).sum::<u64>();
        pages.give_back(page);
    }
    sum
}
