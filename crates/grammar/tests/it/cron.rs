use crate::{check, outcome, text};
use grammar::cron::{Schedule, Zone};
use grammar::time::Time;
use serde_json::Value;

#[test]
fn schedules_fire_as_upstreams() {
    check("cron", 90, |check, case| {
        let parsed: Result<Schedule, _> = text(case, "spec").parse();
        check.same(case, "error", outcome(&parsed.as_ref().map(|_| "")).1);
        let Ok(schedule) = parsed else { return };
        for (start, want) in case["next"].as_object().into_iter().flatten() {
            let mut at = Time::parse(start).ok().and_then(Time::to_nanos);
            let mut activations = Vec::new();
            for _ in 0..want.as_array().map_or(0, Vec::len) {
                at = at.and_then(|at| schedule.next(at));
                let text = at.map(|at| Time::from_nanos(at).to_nano_string());
                activations.push(text.map_or(Value::Null, Value::from));
            }
            check.equal(case, start, want, activations);
        }
    });
}

#[test]
fn a_zone_given_beside_the_schedule_counts_unless_the_text_names_one() {
    let zone = Zone::load("America/New_York").expect("the zone is known");
    let start = Time::parse("2026-11-20T00:00:00Z").ok().and_then(Time::to_nanos).expect("a time");
    let check = |text: &str, want: &str| {
        let next = Schedule::parse_in(text, &zone).ok().and_then(|schedule| schedule.next(start));
        assert_eq!(next.map(|at| Time::from_nanos(at).to_string()).as_deref(), Some(want), "{text}");
    };
    check("0 9 * * *", "2026-11-20T14:00:00Z");
    check("TZ=UTC 0 9 * * *", "2026-11-20T09:00:00Z");
    check("@daily", "2026-11-20T05:00:00Z");
}

#[test]
fn a_zone_without_a_schedule_is_an_error() {
    let parsed: Result<Schedule, _> = "CRON_TZ=UTC".parse();
    assert_eq!(outcome(&parsed.map(|_| "")).1, "expected exactly 5 fields, found 0: []");
}
