//! Load generator and side-by-side measurements for Trinity Beast.

mod answer;
mod budget;
mod burst;
mod compare;
mod cpu_time;
mod curve;
mod feed;
mod flood;
mod grow;
mod http;
mod keys;
mod load;
mod mac;
mod machine;
mod measure;
mod meter;
mod options;
mod parse;
mod peers;
mod plot;
mod popularity;
mod population;
mod progress;
mod stalls;
mod stats;
mod story;
mod tally;
mod target;
mod train;
mod udp;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The allocator the server runs on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Trinity Beast beside what bounds it.
#[derive(Debug, Parser)]
#[command(name = "trinity-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// This server beside a bare recvmmsg/sendmmsg echo, on the same cores in one run.
    Compare(compare::Args),
    /// Load this server, or a running one, over UDP.
    Udp(Box<udp::Args>),
    /// Latency at shares of the peak that the same run finds first.
    Curve(curve::Args),
    /// How long this machine keeps a busy thread from its CPU with nothing else running, and what
    /// latency follows from that alone.
    ///
    /// One thread on each CPU that this process may use reads the monotonic clock over and over.
    /// Where two readings lie more than 50 us apart, something else had the CPU: the hypervisor,
    /// an interrupt, another thread. A request that comes in such a gap waits for the rest of it,
    /// whatever the server does. So the share of requests that wait longer than x is at least
    /// the sum of max(gap - x, 0) over all gaps, divided by the time of the run; the floor of p99.9
    /// is the smallest x at which that share is 0.1 %. No server pinned to that CPU can promise less
    /// on this machine. Measure when nothing else runs: other programs' work shows as well.
    Stalls(stalls::Args),
    /// Draw stored results again: pictures and Markdown tables.
    Plot(plot::Args),
    /// What a request costs as keys, symbols, flows and shards grow.
    Grow(grow::Args),
    /// Serve for `grow`, which measures this process.
    #[command(hide = true)]
    Hold(grow::HoldArgs),
    /// This server's HTTP worker beside nginx with a fixed body.
    Http(http::Args),
    /// Servers of other people on the same cores: valkey-server, memcached, nginx, NSD.
    Peers(peers::Args),
    /// The answer path alone, without sockets.
    Answer(answer::Args),
    /// Counting for billing alone.
    Meter(meter::Args),
    /// Instructions of the answer path, counted under callgrind and held against the record.
    Budget(budget::Args),
    /// A ledger with very many keys: start, memory, a change of one of them.
    Keys(keys::Args),
    Parse(parse::ParseArgs),
    Feed(feed::FeedArgs),
    /// What the oracle says of a symbol in a recording, moment by moment.
    Minutes(Box<story::minutes::MinutesArgs>),
    /// The same as a picture: quotes, price, confidence, status.
    Picture(story::picture::PictureArgs),
    /// Make the tables and pictures of a page again, or check them.
    Page(story::page::PageArgs),
    /// Play a recording over and over at full speed and watch the memory.
    Soak(story::soak::SoakArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Compare(args) => compare::run(&args),
        Command::Udp(args) => udp::run(&args),
        Command::Curve(args) => curve::run(&args),
        Command::Stalls(args) => stalls::run(&args),
        Command::Plot(args) => plot::run(&args).map(|()| true),
        Command::Grow(args) => grow::run(&args),
        Command::Hold(args) => grow::hold(&args),
        Command::Http(args) => http::run(&args),
        Command::Peers(args) => peers::run(&args),
        Command::Answer(args) => answer::run(&args),
        Command::Meter(args) => meter::run(&args),
        Command::Budget(args) => budget::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Parse(args) => parse::run(&args).map(|()| true),
        Command::Feed(args) => feed::run(&args),
        Command::Minutes(args) => story::minutes::run(&args).map(|()| true),
        Command::Picture(args) => story::picture::run(&args).map(|()| true),
        Command::Page(args) => story::page::run(&args),
        Command::Soak(args) => story::soak::run(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("not as it should be; what is wrong is told above");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
