//! What a process says about itself while it runs.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The environment variable that overrides the filter, such as `info,store=debug`.
pub const FILTER_VARIABLE: &str = "BOGA_LOG";

#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("the log filter {filter:?} is malformed")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    #[error("logging is set up already")]
    Twice,
}

/// Sends the process's events to standard error, coloured where that is a terminal. Once for each process.
pub fn start(default_filter: &str) -> Result<(), LoggingError> {
    let filter = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| default_filter.to_owned());
    let parsed = EnvFilter::try_new(&filter).map_err(|source| LoggingError::Filter { filter, source })?;
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|_| LoggingError::Twice)
}
