//! Everything that the functions log in this process, at TRACE.
//!
//! There is one subscriber per process, so lines of tests that run at the same time
//! are among them: ask for what names your own family, or for what nobody may say.

use cloakroom_gateway::telemetry::{self, Format};
use std::sync::{Mutex, Once, PoisonError};
use tracing::Level;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static START: Once = Once::new();

/// Starts to listen. What was logged before the first call is gone.
pub fn listen() {
    START.call_once(|| {
        let subscriber =
            telemetry::subscriber("tests", Level::TRACE, Format::Json, |line: &str| {
                let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push(line.trim_end().to_owned());
            });
        tracing::subscriber::set_global_default(subscriber).expect("nobody else listens");
    });
}

/// All lines until now.
pub fn all() -> Vec<String> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The lines that contain `text`.
pub fn with(text: &str) -> Vec<String> {
    let mut lines = all();
    lines.retain(|line| line.contains(text));
    lines
}
