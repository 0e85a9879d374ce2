//! What holds for any input: nothing panics, and what was printed reads back as the same.

use grammar::cron::Schedule;
use grammar::jsonpath::JsonPath;
use grammar::quantity::{Format, Quantity};
use grammar::selector::{fields, label};
use grammar::time::{Time, format_duration, human_duration, parse_duration, short_human_duration};
use serde_json::json;
use std::cmp::Ordering;

/// How often a property is tried: more with `BOGA_SEEDS`.
fn iterations() -> usize {
    let factor = std::env::var("BOGA_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    20_000 * factor.unwrap_or(1_usize).max(1)
}

/// Texts put together from pieces that mean something to the grammar under test, since random bytes seldom do.
fn texts(pieces: &'static [&'static str], test: fn(&str)) {
    bolero::check!().with_type::<Vec<(u8, char)>>().with_iterations(iterations()).for_each(|choices| {
        let mut text = String::new();
        for (choice, other) in choices.iter().take(24) {
            match pieces.get(usize::from(*choice)) {
                Some(piece) => text.push_str(piece),
                None if *choice > 240 => text.push(*other),
                None => text.push_str(pieces[usize::from(*choice) % pieces.len()]),
            }
        }
        test(&text);
    });
}

#[test]
fn quantities_survive_any_text() {
    let pieces = &[
        "0",
        "1",
        "9",
        "5",
        "000",
        "1024",
        "99999999999999999999",
        ".",
        "-",
        "+",
        "e",
        "E",
        "Ki",
        "Mi",
        "Ei",
        "m",
        "n",
        "u",
        "k",
        "M",
        "E",
        " ",
    ];
    texts(pieces, |text| {
        let Ok(quantity) = text.parse::<Quantity>() else { return };
        let printed = quantity.to_string();
        for text in [printed, quantity.canonical()] {
            // A suffix beyond the table is left out when printing, as upstream does; nothing can be read back then.
            if quantity.format() != Format::DecimalExponent && quantity > "999E".parse().expect("a quantity")
            {
                continue;
            }
            if quantity.format() != Format::DecimalExponent && quantity < "-999E".parse().expect("a quantity")
            {
                continue;
            }
            let again: Quantity = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(again, quantity, "{text}");
            assert_eq!(again.canonical(), quantity.canonical());
        }
        let (mut sum, mut rounded) = (quantity.clone(), quantity.clone());
        sum.sub(&quantity);
        assert!(sum.is_zero());
        rounded.round_up(0);
        assert!(rounded.sign() == quantity.sign());
        let _ = (quantity.value(), quantity.milli_value(), quantity.approximate(), rounded.mul(-7));
    });
}

#[test]
fn quantity_arithmetic_is_that_of_whole_numbers() {
    bolero::check!().with_type::<(i64, i64, i8, i8)>().with_iterations(iterations()).for_each(
        |(a, b, s, t)| {
            let (s, t) = (i32::from(*s % 10), i32::from(*t % 10));
            let (x, y) = (Quantity::scaled(*a, s), Quantity::scaled(*b, t));
            // Everything in units of 10^-9 fits 128 bits.
            let nanos = |value: i64, scale: i32| i128::from(value) * 10_i128.pow((scale + 9) as u32);
            let (m, n) = (nanos(*a, s), nanos(*b, t));
            assert_eq!(x.cmp(&y), m.cmp(&n));
            let mut sum = x.clone();
            sum.add(&y);
            assert_eq!(sum, format!("{}n", m + n).parse().expect("a quantity"));
            sum.sub(&y);
            assert_eq!(sum.cmp(&x), Ordering::Equal);
        },
    );
}

#[test]
fn label_selectors_survive_any_text() {
    let pieces = &[
        "a", "b", "app.io/x", "in", "notin", " in ", " notin ", "(", ")", ",", "!", "=", "==", "!=", ">",
        "<", " ", "5", "-", "\0", "\t",
    ];
    texts(pieces, |text| {
        let Ok(selector) = text.parse::<label::Selector>() else { return };
        let printed = selector.to_string();
        let again: label::Selector = printed.parse().unwrap_or_else(|error| panic!("{printed:?}: {error}"));
        assert_eq!(again.to_string(), printed);
        for labels in [json!({}), json!({"a": "b"}), json!({"a": "5", "in": "a"})] {
            assert_eq!(selector.matches(&labels), again.matches(&labels), "{printed}");
        }
    });
}

#[test]
fn field_selectors_survive_any_text() {
    let pieces = &["a", "metadata.name", "b", ",", "=", "==", "!=", "\\", "\\,", "\\=", " ", "é"];
    texts(pieces, |text| {
        let Ok(selector) = text.parse::<fields::Selector>() else { return };
        assert_eq!(fields::unescape(&fields::escape(text)).as_deref(), Ok(text));
        // Names are never escaped, so one that holds a comma or an operator's character does not read back.
        if selector.terms().iter().all(|term| !term.field.contains([',', '!', '\\'])) {
            assert_eq!(selector.to_string().parse::<fields::Selector>().map(sorted), Ok(sorted(selector)));
        }
    });
}

fn sorted(selector: fields::Selector) -> Vec<String> {
    let mut terms: Vec<String> = selector.terms().iter().map(ToString::to_string).collect();
    terms.sort();
    terms
}

#[test]
fn templates_survive_any_text() {
    let pieces = &[
        "{", "}", "[", "]", "[?(", ")]", "..", ".", "*", "@", "$", "'", "\"", "\\", "\\n", "range", "end",
        "{range ", "{end}", ".a", ".b", "a", "0", "-1", ":", ",", "==", "!=", "<", ">", "true", "1.5", " ",
        "\n", "é",
    ];
    texts(pieces, |text| {
        let data =
            json!({"a": [{"a": 1, "b": [true, null, 1.5]}, {"a": "x", "b": {}}], "b": {"a": [[1], "y"]}});
        let Ok(path) = JsonPath::parse(text) else { return };
        let strict = path.print(&data);
        let path = path.allow_missing_keys(true);
        if let Ok(text) = strict {
            assert_eq!(path.print(&data), Ok(text));
        }
        let _ = path.print_as_json(&data);
    });
}

#[test]
fn times_and_durations_survive_any_text() {
    let pieces = &[
        "2026",
        "-",
        "11",
        "20",
        "T",
        "09",
        ":",
        "41",
        "40",
        "Z",
        ".",
        ",",
        "123456",
        "+",
        "02:00",
        "2026-11-20",
        "T09:41:40",
        "h",
        "m",
        "s",
        "ms",
        "µs",
        "ns",
        "9223372036854775807",
        "0",
        " ",
    ];
    texts(pieces, |text| {
        if let Ok(time) = Time::parse(text) {
            assert_eq!(Time::parse(&time.to_nano_string()), Ok(time));
        }
        if let Ok(time) = Time::parse_micro(text) {
            assert_eq!(Time::parse_micro(&time.to_micro_string()), Ok(time));
        }
        if let Ok(nanos) = parse_duration(text) {
            assert_eq!(parse_duration(&format_duration(nanos)), Ok(nanos));
        }
    });
    bolero::check!().with_type::<i64>().with_iterations(iterations()).for_each(|nanos| {
        assert_eq!(parse_duration(&format_duration(*nanos)), Ok(*nanos));
        let time = Time::from_nanos(*nanos);
        assert_eq!((time.to_nanos(), Time::parse(&time.to_nano_string())), (Some(*nanos), Ok(time)));
        let _ = (human_duration(*nanos), short_human_duration(*nanos));
    });
}

#[test]
fn schedules_survive_any_text() {
    let pieces = &[
        "*",
        " ",
        "0",
        "1",
        "5",
        "31",
        "59",
        "-",
        "/",
        ",",
        "?",
        "jan",
        "sun",
        "MON",
        "@daily",
        "@every ",
        "1h",
        "TZ=",
        "Europe/Madrid ",
        "* * *",
        "0 0 ",
        "99999999999999999999",
    ];
    const START: i64 = 1_795_000_000_123_456_789;
    texts(pieces, |text| {
        let Ok(schedule) = text.parse::<Schedule>() else { return };
        for start in [START, 0, i64::MIN, i64::MAX] {
            if let Some(next) = schedule.next(start) {
                assert!(next > start, "{text} after {start} gives {next}");
            }
        }
    });
}
