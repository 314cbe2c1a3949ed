//! Logs: to standard error, for people in development, as JSON in production.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, reload};

use crate::log_filter;

/// Starts logging; `RUST_LOG` chooses what is told (default `info`) until a parameter does.
pub fn start(json: bool) {
    let (filter, handle) = reload::Layer::new(log_filter::of_environment());
    let filtered = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let begun = if json {
        filtered.with(lines.json().flatten_event(true)).try_init()
    } else {
        let colours = std::io::stderr().is_terminal();
        let lines = lines.with_ansi(colours).with_target(false);
        filtered.with(lines).try_init()
    };
    // A second start keeps the first one's settings.
    if begun.is_ok() {
        log_filter::install(move |filter| handle.reload(filter).map_err(|error| error.to_string()));
    }
}
