//! What is logged, changed while the process runs.

use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

/// Puts another filter in the place of the one that holds.
type Replace = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static REPLACE: OnceLock<Replace> = OnceLock::new();

/// The filter that `RUST_LOG` asks for; `info` if it does not.
pub fn of_environment() -> EnvFilter {
    quietened(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
}

/// Whether these are directives.
pub fn is_valid(directives: &str) -> bool {
    !directives.is_empty() && EnvFilter::try_new(directives).is_ok()
}

/// Says how to replace the filter that holds; only the first time counts.
pub fn install(replace: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) {
    let _ = REPLACE.set(Box::new(replace));
}

/// Logs by these directives from now on, or by those of the environment. Does nothing where nobody
/// logs.
pub fn set(directives: Option<&str>) -> Result<(), String> {
    let filter = match directives {
        None => of_environment(),
        Some(directives) => quietened(EnvFilter::try_new(directives).map_err(|error| error.to_string())?),
    };
    REPLACE.get().map_or(Ok(()), |replace| replace(filter))
}

/// The WebSocket library prints whole requests at its finest level, tokens and all.
fn quietened(filter: EnvFilter) -> EnvFilter {
    match "tungstenite=warn".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_told_from_what_is_none() {
        assert!(is_valid("info") && is_valid("warn,trinity_beast::control=debug"));
        assert!(!is_valid("") && !is_valid("a=b=c"));
    }
}
