use crate::{check, outcome, text};
use grammar::time::{Time, format_duration, human_duration, parse_duration, short_human_duration};
use serde_json::Value;

#[test]
fn times_are_read_and_written_as_upstream() {
    check("times", 55, |check, case| {
        let parsed = Time::parse(text(case, "text"));
        let (print, error) = outcome(&parsed);
        check.same(case, "error", error);
        // The zero time is written as null by whoever writes the object.
        let is_zero = parsed.as_ref().is_ok_and(|time| time.is_zero());
        check.same(case, "print", if is_zero { Value::Null } else { print });
        if let Ok(time) = parsed {
            check.same(case, "seconds", time.seconds);
            check.same(case, "nanos", time.nanos);
            check.same(case, "nano_print", time.to_nano_string());
        }
        let micro = Time::parse_micro(text(case, "text"));
        check.same(case, "micro_error", outcome(&micro).1);
        check.same(case, "micro_print", micro.map_or(Value::Null, |time| time.to_micro_string().into()));
    });
}

#[test]
fn durations_are_read_and_written_as_upstream() {
    check("durations", 60, |check, case| {
        let nanos = match case["text"].as_str() {
            None => case["nanos"].as_i64(),
            Some(text) => {
                let parsed = parse_duration(text);
                check.same(case, "error", outcome(&parsed).1);
                parsed.ok()
            }
        };
        check.same(case, "nanos", nanos.map_or(Value::Null, Value::from));
        check.same(case, "print", nanos.map_or(Value::Null, |nanos| format_duration(nanos).into()));
    });
}

#[test]
fn ages_are_shown_as_kubectl_shows_them() {
    check("human_durations", 120, |check, case| {
        let nanos = case["nanos"].as_i64().expect("a duration is a number");
        check.same(case, "human", human_duration(nanos));
        check.same(case, "short", short_human_duration(nanos));
    });
}
