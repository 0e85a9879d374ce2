//! Between the clock's time and the time in objects.

use std::time::Duration;

use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api::k8s_openapi::jiff::Timestamp;
use base::clock::Wall;

/// As it is written into objects, which keep whole seconds.
pub fn stamp(now: Wall) -> Time {
    Time(Timestamp::from_second(now.secs()).unwrap_or(Timestamp::UNIX_EPOCH))
}

pub fn wall(time: &Time) -> Wall {
    let nanoseconds = time.0.as_nanosecond();
    Wall(nanoseconds.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

/// A number of seconds out of an object; what is negative counts as none.
pub fn seconds(count: impl Into<i64>) -> Duration {
    Duration::from_secs(count.into().max(0) as u64)
}
