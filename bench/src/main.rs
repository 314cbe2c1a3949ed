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
