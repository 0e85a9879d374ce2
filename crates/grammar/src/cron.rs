//! Schedules of CronJobs: five fields, descriptors, `@every`, and the next activation in a time zone.
//!
//! The grammar, its error texts and the walk over daylight-saving changes are those of `robfig/cron` version 3, which
//! defines what a CronJob's schedule means.

use crate::go;
use crate::time::{Civil, parse_duration};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

const NANOS_A_SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

/// A schedule that never fires, such as 31 February, is given up after this long.
const YEARS_AHEAD: i64 = 5;

/// The time zone rules are part of the program, so that every server computes the same times.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// When something is to happen, again and again.
#[derive(Clone, Debug)]
pub enum Schedule {
    Fields(Fields),
    /// A constant delay in nanoseconds, a whole number of seconds.
    Every(i64),
}

/// The permitted values of each field as a set of bits, and the zone in which they are meant.
#[derive(Clone, Debug)]
pub struct Fields {
    minute: Set,
    hour: Set,
    day: Set,
    month: Set,
    weekday: Set,
    zone: Zone,
}

/// A time zone by its IANA name.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    pub fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    /// The zone called `name`, spelled exactly so. The empty name is UTC.
    pub fn load(name: &str) -> Result<Zone, CronError> {
        if matches!(name, "" | "UTC") {
            return Ok(Zone::utc());
        }
        if name.contains("..") || name.starts_with(['/', '\\']) {
            return Err(CronError("time: invalid location name".into()));
        }
        let zone = ZONES.get(name).ok().filter(|zone| zone.iana_name() == Some(name));
        zone.map(Zone).ok_or_else(|| CronError(format!("unknown time zone {name}")))
    }

    fn offset(&self, seconds: i64) -> i64 {
        let timestamp = Timestamp::from_second(seconds).ok();
        timestamp.map_or(0, |timestamp| self.0.to_offset(timestamp).seconds().into())
    }

    fn civil(&self, seconds: i64) -> Civil {
        Civil::from_seconds(seconds + self.offset(seconds))
    }

    /// The instant of a local time. Where a clock change makes it ambiguous or skips it, the answer is Go's.
    fn instant(&self, local: i64) -> i64 {
        match self.offset(local) {
            0 => local,
            guess => local - self.offset(local - guess),
        }
    }
}

/// Why a text is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronError(String);

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CronError {}

impl Schedule {
    /// The same schedule, meant in `zone` unless its text names one.
    pub fn parse_in(text: &str, zone: &Zone) -> Result<Schedule, CronError> {
        parse(text, zone.clone())
    }

    /// The first activation after `now`, both in nanoseconds since 1970, if there is one within five years.
    pub fn next(&self, now: i64) -> Option<i64> {
        match self {
            Schedule::Every(delay) => now.checked_add(*delay)?.checked_sub(now.rem_euclid(NANOS_A_SECOND)),
            Schedule::Fields(fields) => {
                fields.next(now.div_euclid(NANOS_A_SECOND))?.checked_mul(NANOS_A_SECOND)
            }
        }
    }
}

/// Without a zone in the text, UTC is meant.
impl FromStr for Schedule {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Schedule, CronError> {
        parse(text, Zone::utc())
    }
}

impl Fields {
    /// Raises one unit after another, from months down to minutes, until all match. A unit that wraps around starts
    /// again with the month.
    fn next(&self, now: i64) -> Option<i64> {
        let zone = &self.zone;
        let mut at = now + 1;
        let last_year = zone.civil(at).year + YEARS_AHEAD;
        // Once a unit was raised, the smaller ones begin at their lowest.
        let mut is_raised = false;
        'wrap: loop {
            if zone.civil(at).year > last_year {
                return None;
            }
            while !self.month.has(zone.civil(at).month) {
                let mut civil = zone.civil(at);
                if !std::mem::replace(&mut is_raised, true) {
                    civil = Civil { day: 1, hour: 0, minute: 0, second: 0, ..civil };
                    civil = zone.civil(zone.instant(civil.to_seconds()));
                }
                at = zone.instant(next_month(civil).to_seconds());
                if zone.civil(at).month == 1 {
                    continue 'wrap;
                }
            }
            while !self.matches_day(zone.civil(at)) {
                let mut civil = zone.civil(at);
                if !std::mem::replace(&mut is_raised, true) {
                    // Midnight itself may be skipped, so that the day starts in the evening before or at one.
                    civil = Civil { hour: 0, minute: 0, second: 0, ..civil };
                    civil = zone.civil(zone.instant(civil.to_seconds()));
                }
                at = zone.instant(civil.to_seconds() + 24 * HOUR);
                match i64::from(zone.civil(at).hour) {
                    0 => {}
                    evening @ 13.. => at += (24 - evening) * HOUR,
                    morning => at -= morning * HOUR,
                }
                if zone.civil(at).day == 1 {
                    continue 'wrap;
                }
            }
            while !self.hour.has(zone.civil(at).hour) {
                if !std::mem::replace(&mut is_raised, true) {
                    let civil = Civil { minute: 0, second: 0, ..zone.civil(at) };
                    at = zone.instant(civil.to_seconds());
                }
                at += HOUR;
                if zone.civil(at).hour == 0 {
                    continue 'wrap;
                }
            }
            while !self.minute.has(zone.civil(at).minute) {
                if !std::mem::replace(&mut is_raised, true) {
                    at -= at.rem_euclid(MINUTE);
                }
                at += MINUTE;
                if zone.civil(at).minute == 0 {
                    continue 'wrap;
                }
            }
            while zone.civil(at).second != 0 {
                is_raised = true;
                at += 1;
                if zone.civil(at).second == 0 {
                    continue 'wrap;
                }
            }
            return Some(at);
        }
    }

    /// Day of month and day of week must both match when one of them is a star, else either will do.
    fn matches_day(&self, civil: Civil) -> bool {
        let (day, weekday) = (self.day.has(civil.day), self.weekday.has(civil.weekday()));
        if self.day.is_star() || self.weekday.is_star() { day && weekday } else { day || weekday }
    }
}

fn next_month(civil: Civil) -> Civil {
    if civil.month == 12 {
        Civil { year: civil.year + 1, month: 1, ..civil }
    } else {
        Civil { month: civil.month + 1, ..civil }
    }
}

/// Values below 64, and whether a star stood for them.
#[derive(Clone, Copy, Debug, Default)]
struct Set(u64);

const STAR: u64 = 1 << 63;

impl Set {
    fn has(self, value: u32) -> bool {
        self.0 & (1 << value) != 0
    }

    fn is_star(self) -> bool {
        self.0 & STAR != 0
    }
}

struct Bounds {
    low: u64,
    high: u64,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { low: 0, high: 59, names: &[] };
const HOURS: Bounds = Bounds { low: 0, high: 23, names: &[] };
const DAYS: Bounds = Bounds { low: 1, high: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    low: 1,
    high: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds =
    Bounds { low: 0, high: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

fn parse(text: &str, mut zone: Zone) -> Result<Schedule, CronError> {
    if text.is_empty() {
        return Err(CronError("empty spec string".into()));
    }
    let mut text = text;
    if let Some(after) = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
        // Upstream's parser does not survive a zone without a schedule; here it is a schedule without fields.
        let (name, rest) = after.split_once(' ').unwrap_or((after, ""));
        zone =
            Zone::load(name).map_err(|error| CronError(format!("provided bad location {name}: {error}")))?;
        text = rest.trim();
    }
    if text.starts_with('@') {
        return descriptor(text, zone);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        let (count, fields) = (fields.len(), fields.join(" "));
        return Err(CronError(format!("expected exactly 5 fields, found {count}: [{fields}]")));
    };
    Ok(Schedule::Fields(Fields {
        minute: set(minute, &MINUTES)?,
        hour: set(hour, &HOURS)?,
        day: set(day, &DAYS)?,
        month: set(month, &MONTHS)?,
        weekday: set(weekday, &WEEKDAYS)?,
        zone,
    }))
}

fn descriptor(text: &str, zone: Zone) -> Result<Schedule, CronError> {
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(delay) = text.strip_prefix("@every ") else {
                return Err(CronError(format!("unrecognized descriptor: {text}")));
            };
            let delay = parse_duration(delay)
                .map_err(|error| CronError(format!("failed to parse duration {text}: {error}")))?;
            let delay = delay.max(NANOS_A_SECOND);
            return Ok(Schedule::Every(delay - delay % NANOS_A_SECOND));
        }
    };
    parse(fields, zone)
}

/// A comma-separated list of ranges. Empty items are skipped, even all of them.
fn set(field: &str, bounds: &Bounds) -> Result<Set, CronError> {
    let mut set = Set::default();
    for expression in field.split(',').filter(|expression| !expression.is_empty()) {
        set.0 |= range(expression, bounds)?;
    }
    Ok(set)
}

/// `*`, `N`, `N-M`, each with an optional `/step`.
fn range(expression: &str, bounds: &Bounds) -> Result<u64, CronError> {
    let parts: Vec<&str> = expression.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let is_star = matches!(ends[0], "*" | "?");
    let (low, mut high) = match ends[..] {
        _ if is_star => (bounds.low, bounds.high),
        [only] => {
            let value = number_or_name(only, bounds)?;
            (value, value)
        }
        [low, high] => (number_or_name(low, bounds)?, number_or_name(high, bounds)?),
        _ => {
            // The first number's own fault comes before there being too many.
            number_or_name(ends[0], bounds)?;
            return Err(CronError(format!("too many hyphens: {expression}")));
        }
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            // A single value with a step means from there to the end.
            if ends.len() == 1 {
                high = bounds.high;
            }
            step
        }
        _ => return Err(CronError(format!("too many slashes: {expression}"))),
    };
    let complaint = if low < bounds.low {
        format!("beginning of range ({low}) below minimum ({})", bounds.low)
    } else if high > bounds.high {
        format!("end of range ({high}) above maximum ({})", bounds.high)
    } else if low > high {
        format!("beginning of range ({low}) beyond end of range ({high})")
    } else if step == 0 {
        "step of range should be a positive number".into()
    } else {
        let values = (low..=high).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        let star = if is_star && step <= 1 { STAR } else { 0 };
        return Ok(values.fold(star, |bits, value| bits | 1 << value));
    };
    Err(CronError(format!("{complaint}: {expression}")))
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u64, CronError> {
    let lower = text.to_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(place) => Ok(place as u64 + bounds.low),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, CronError> {
    let number =
        go::atoi(text).map_err(|error| CronError(format!("failed to parse int from {text}: {error}")))?;
    u64::try_from(number).map_err(|_| CronError(format!("negative number ({number}) not allowed: {text}")))
}
