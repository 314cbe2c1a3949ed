//! The `trinity-beast` binary: parses the command line and runs one command.

use std::process::ExitCode;

use clap::Parser;
use trinity_beast::cli::{Cli, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run(Cli::parse())
}
