//! Load generator and side-by-side measurements for Trinity Beast.

mod burst;
mod compare;
mod cpu_time;
mod load;
mod machine;
mod population;
mod stats;
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
}

fn main() -> ExitCode {
    let Command::Compare(args) = Cli::parse().command;
    match compare::run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("some replies were wrong or went unaccounted: see \"faults\"");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
