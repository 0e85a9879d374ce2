//! Timestamps of object trees.

use base::clock::Wall;
use grammar::time::Time;

/// A timestamp as a point in time, if it is one.
pub fn parse(text: &str) -> Option<Wall> {
    Time::parse(text).ok()?.to_nanos().map(Wall)
}

/// A point in time as objects write it: in whole seconds.
pub fn text(at: Wall) -> String {
    Time::from_nanos(at.0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_to_the_nanosecond() {
        let check =
            |text: &str, want: Option<i64>| assert_eq!(parse(text).map(|wall| wall.0), want, "{text}");
        check("1970-01-01T00:00:00Z", Some(0));
        check("2000-03-01T00:00:01Z", Some(951_868_801_000_000_000));
        check("2024-02-29T12:00:00.5Z", Some(1_709_208_000_500_000_000));
        check("1969-12-31T23:59:59Z", Some(-1_000_000_000));
        check("", None);
        check("yesterday", None);
    }
}
