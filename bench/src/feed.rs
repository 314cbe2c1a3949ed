//! `feed`: from a frame on a venue's socket to its price before a reader's eyes.
//!
//! A venue of our own (Binance's protocol, plain WebSocket on loopback) sends one frame at a
//! time; a reader looks at the price table without pause, as a busy shard does. The time runs
//! from just before the frame is written to the moment the reader sees the new price, so it holds
//! the kernel's loopback, the wake of the market thread, parsing, judging, aggregating and
//! publishing.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio_tungstenite::tungstenite::{Message, WebSocket};
use trinity_beast::clock;
use trinity_beast::control::live::{self, LiveParts, LiveSettings, VenueAddress};
use trinity_beast::market::SymbolTableBuilder;
use trinity_beast::market::venue::VenueId;
use trinity_beast::tables::prices::{PriceCopy, SymbolIndex};

/// How long a venue's frame takes to become a visible price.
#[derive(Debug, Args)]
pub(crate) struct FeedArgs {
    /// Frames that are measured
    #[arg(long, default_value_t = 20_000)]
    frames: u32,
    /// Pause between two frames, microseconds
    #[arg(long, default_value_t = 500)]
    pause_us: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    frames: u64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    mean_us: f64,
}

/// Frames before the measurement begins.
const WARM_UP: u32 = 500;
/// Longest time a frame may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
const SYMBOL: &str = "BTC-USDT BTC USDT -8 0.01 1 60000 600000 5000 500 - - binance=BTCUSDT";

pub(crate) fn run(args: &FeedArgs) -> anyhow::Result<bool> {
    let table = Arc::new(SymbolTableBuilder::default().rows("feed", SYMBOL)?.build()?);
    let venue = VenueId::from_name("binance").context("a venue of the table")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let stop = Arc::new(AtomicBool::new(false));
    let settings = LiveSettings {
        venues: vec![VenueAddress {
            venue,
            stream_url: format!("ws://{}/stream", listener.local_addr()?),
            // Nobody is there: the stream alone is measured.
            rest_url: "http://127.0.0.1:9".to_owned(),
        }],
        extra_roots: None,
    };
    let (mut parts, prices) = LiveParts::alone(settings, table, Arc::clone(&stop))?;
    let market = thread::Builder::new()
        .name("market".to_owned())
        .spawn(move || live::run(&mut parts))?;
    let result = measure(args, &listener, &prices);
    stop.store(true, Ordering::Relaxed);
    if market.join().is_err() {
        bail!("the market thread panicked");
    }
    let histogram = result?;
    report(args, &histogram)?;
    Ok(true)
}

fn measure(args: &FeedArgs, listener: &TcpListener, prices: &PriceCopy) -> anyhow::Result<Histogram<u64>> {
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut socket = tokio_tungstenite::tungstenite::accept(stream)?;
    wait_for_subscription(&mut socket)?;
    let seen = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (seen, done, prices) = (Arc::clone(&seen), Arc::clone(&done), Arc::clone(prices));
        // Every new price with the moment it was seen; the writer waits for it, so one is enough.
        thread::spawn(move || {
            let table = prices.load_full();
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let sequence = table.read(SymbolIndex(0)).map_or(0, |record| record.sequence);
                if sequence != last {
                    last = sequence;
                    seen.store(clock::unix_nanos(), Ordering::Release);
                }
                std::hint::spin_loop();
            }
        })
    };
    let mut histogram = Histogram::new_with_bounds(1, 10_000_000_000, 3)?;
    for n in 0..args.frames + WARM_UP {
        let price = 6_000_000 + u64::from(n % 1_000);
        let frame = format!(
            r#"{{"stream":"btcusdt@bookTicker","data":{{"u":{},"s":"BTCUSDT","b":"{}.{:02}","B":"31.21000000","a":"{}.{:02}","A":"40.66000000"}}}}"#,
            1_000 + u64::from(n),
            price / 100,
            price % 100,
            price / 100 + 1,
            price % 100,
        );
        seen.store(0, Ordering::Release);
        let began = clock::monotonic();
        let sent_ns = clock::unix_nanos();
        socket.send(Message::text(frame))?;
        let seen_ns = loop {
            match seen.load(Ordering::Acquire) {
                0 if began.elapsed() > PATIENCE => bail!("frame {n} never became a price"),
                0 => thread::yield_now(),
                at => break at,
            }
        };
        if n >= WARM_UP {
            histogram.record(seen_ns.saturating_sub(sent_ns).max(1))?;
        }
        thread::sleep(Duration::from_micros(args.pause_us));
    }
    done.store(true, Ordering::Relaxed);
    // It only reads; nothing of it can fail.
    let _ = reader.join();
    Ok(histogram)
}

fn wait_for_subscription(socket: &mut WebSocket<TcpStream>) -> anyhow::Result<()> {
    loop {
        if let Message::Text(text) = socket.read()?
            && text.contains("SUBSCRIBE")
        {
            socket.send(Message::text(r#"{"result":null,"id":1}"#))?;
            return Ok(());
        }
    }
}

fn report(args: &FeedArgs, histogram: &Histogram<u64>) -> anyhow::Result<()> {
    let us = |ns: u64| ns as f64 / 1e3;
    let at = |quantile: f64| us(histogram.value_at_quantile(quantile));
    let report = Report {
        frames: histogram.len(),
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: us(histogram.max()),
        mean_us: histogram.mean() / 1e3,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!(
        "{} frames: p50 {:.1} us, p90 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, longest {:.1} us",
        report.frames, report.p50_us, report.p90_us, report.p99_us, report.p999_us, report.max_us
    );
    // A bar for every doubling, so that the shape is seen at a glance.
    let mut below = 1_000;
    let mut counted = 0;
    while counted < histogram.len() {
        let here = histogram.count_between(0, below) - counted;
        counted += here;
        if here > 0 {
            let width = (here * 60).div_ceil(histogram.len());
            println!("{:>9.0} us {:>8} {}", us(below), here, "#".repeat(width as usize));
        }
        below *= 2;
    }
    Ok(())
}
