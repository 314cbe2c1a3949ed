//! Load generator and side-by-side measurements for Trinity Beast.

mod answer;
mod burst;
mod compare;
mod cpu_time;
mod load;
mod machine;
mod parse;
mod population;
mod stats;
mod tally;
mod target;

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
    /// The answer path alone, without sockets.
    Answer(answer::Args),
    Parse(parse::ParseArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Compare(args) => compare::run(&args),
        Command::Answer(args) => answer::run(&args),
        Command::Parse(args) => parse::run(&args).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("some replies were wrong or are not accounted for");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
