//! Logs of the process itself: tracing to stderr, as text or JSON, with a level that can be
//! changed while it runs. Requests are not logged here; the access log has them.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    #[default]
    Text,
}

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// Something else already receives the events of this process: a fault of the caller.
    #[error("logging was already started in this process")]
    AlreadyStarted,
    /// What was asked for is not a level; whoever wrote it must change it.
    #[error(
        "log level {level:?} is not valid: use off, error, warn, info, debug or trace, and \
         target=level for single modules, with commas between"
    )]
    Level {
        /// What was asked for.
        level: String,
    },
}

/// Changes the level while the process runs. Clones control the same log.
#[derive(Clone, Debug)]
pub struct LogControl {
    handle: reload::Handle<EnvFilter, Registry>,
    level: Arc<Mutex<String>>,
}

impl LogControl {
    /// Replaces the level, for instance `info` or `warn,weir_proxy=debug`. A level that cannot be
    /// read changes nothing.
    pub fn set_level(&self, level: &str) -> Result<(), LoggingError> {
        let filter = parse_level(level)?;
        let mut current = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        // It fails when the subscriber is gone; then there is nothing left to change.
        if self.handle.reload(filter).is_ok() {
            *current = level.trim().to_owned();
        }
        Ok(())
    }

    /// The level in force, as it was written.
    pub fn level(&self) -> String {
        self.level
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Starts logging for the whole process. Call it once, first thing in `main`.
pub fn start(level: &str, format: LogFormat) -> Result<LogControl, LoggingError> {
    let (control, dispatch) = build(level, format)?;
    dispatch
        .try_init()
        .map_err(|_| LoggingError::AlreadyStarted)?;
    Ok(control)
}

/// Makes a log without installing it for the process, for tests and for embedding.
pub fn build(level: &str, format: LogFormat) -> Result<(LogControl, Dispatch), LoggingError> {
    let (filter, handle) = reload::Layer::new(parse_level(level)?);
    let lines = match format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Text => fmt::layer()
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .boxed(),
    };
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(filter).with(lines));
    let level = Arc::new(Mutex::new(level.trim().to_owned()));
    Ok((LogControl { handle, level }, dispatch))
}

/// Reads a filter. `EnvFilter` alone would take a misspelt level for the name of a module and
/// then log nothing, so a word without `=` must be a level here.
fn parse_level(level: &str) -> Result<EnvFilter, LoggingError> {
    let invalid = || LoggingError::Level {
        level: level.to_owned(),
    };
    // An empty word would be read as `error`.
    let is_level = |word: &str| !word.is_empty() && LevelFilter::from_str(word).is_ok();
    let is_part = |part: &str| part.contains(['=', '[']) || is_level(part.trim());
    if !level.split(',').all(is_part) {
        return Err(invalid());
    }
    EnvFilter::try_new(level.trim()).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_level_changes_at_run_time_and_a_bad_one_changes_nothing() {
        let (control, dispatch) = build("warn", LogFormat::Json).unwrap();
        tracing::dispatcher::with_default(&dispatch, || {
            assert!(!tracing::enabled!(tracing::Level::INFO));
            control.set_level("info,weir_proxy=debug").unwrap();
            assert!(tracing::enabled!(tracing::Level::INFO));
            assert!(control.set_level("inof").is_err());
            assert!(tracing::enabled!(tracing::Level::INFO));
        });
        assert_eq!(control.level(), "info,weir_proxy=debug");
    }

    #[test]
    fn levels_are_read_strictly() {
        for level in [
            "off",
            "error",
            "warn",
            " info ",
            "debug",
            "trace",
            "warn,a::b=trace",
        ] {
            assert!(build(level, LogFormat::Text).is_ok(), "{level}");
        }
        for level in ["", " ", "verbose", "info,", "info,loud", "a=loud"] {
            assert!(build(level, LogFormat::Text).is_err(), "{level}");
        }
    }
}
