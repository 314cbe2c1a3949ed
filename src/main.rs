//! The `trinity-beast` binary: parses the command line and runs one command.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {}
