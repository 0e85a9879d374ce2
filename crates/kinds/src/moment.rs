//! Reading the timestamps of decoded objects.

use base::clock::Wall;

/// An RFC 3339 timestamp in UTC, as every decoded tree writes it: `2026-11-20T09:30:00Z`, with or without a
/// fraction.
pub fn parse(text: &str) -> Option<Wall> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let nanos: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    // Days since the epoch, counting years from March so that the leap day comes last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (m * 153 + 2) / 5 + day - 719_469;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Wall(seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?))
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
