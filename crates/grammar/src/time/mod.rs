//! Points in time and spans of time, as texts.

mod duration;
mod instant;

pub use duration::{DurationError, format_duration, human_duration, parse_duration, short_human_duration};
pub use instant::{Civil, Time, TimeError};
