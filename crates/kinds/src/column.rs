//! The columns that `kubectl get` shows, and the usual contents of their cells.

use std::borrow::Cow;

use base::clock::Wall;
use serde_json::Value;

use crate::tree::Tree;

/// One column of a kind's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: Cow<'static, str>,
    /// An OpenAPI type: `string`, `integer`, `boolean`, `number` or `date`.
    pub ty: Cow<'static, str>,
    pub format: Cow<'static, str>,
    pub description: Description,
    /// 0 is always shown; more only with `-o wide`.
    pub priority: i32,
}

/// Where a column's description comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Description {
    Text(Cow<'static, str>),
    /// The prose of a field: its message's OpenAPI name and its JSON name. The API server resolves it.
    Field(&'static str, &'static str),
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The object's name, which opens almost every table.
pub const NAME: Column = Column {
    name: Cow::Borrowed("Name"),
    ty: Cow::Borrowed("string"),
    format: Cow::Borrowed("name"),
    description: Description::Field(META, "name"),
    priority: 0,
};

/// The time since the object was created.
pub const AGE: Column = documented("Age", META, "creationTimestamp");

/// A string column whose description is a text of its own.
pub const fn described(name: &'static str, description: &'static str) -> Column {
    Column {
        name: Cow::Borrowed(name),
        ty: Cow::Borrowed("string"),
        format: Cow::Borrowed(""),
        description: Description::Text(Cow::Borrowed(description)),
        priority: 0,
    }
}

/// A string column that shows a documented field.
pub const fn documented(name: &'static str, message: &'static str, field: &'static str) -> Column {
    Column {
        name: Cow::Borrowed(name),
        ty: Cow::Borrowed("string"),
        format: Cow::Borrowed(""),
        description: Description::Field(message, field),
        priority: 0,
    }
}

impl Column {
    /// Shown only with `-o wide`.
    pub fn wide(self) -> Column {
        Column { priority: 1, ..self }
    }

    pub fn integer(self) -> Column {
        Column { ty: Cow::Borrowed("integer"), ..self }
    }

    pub fn boolean(self) -> Column {
        Column { ty: Cow::Borrowed("boolean"), ..self }
    }

    /// A column that names its object.
    pub fn named(self) -> Column {
        Column { format: Cow::Borrowed("name"), ..self }
    }
}

/// The table of a kind without columns of its own: the name and the time of creation.
pub fn fallback() -> Vec<Column> {
    vec![NAME, Column { ty: Cow::Borrowed("date"), ..documented("Created At", META, "creationTimestamp") }]
}

/// The object's name.
pub fn name(obj: &Value) -> Value {
    obj.at("metadata").text("name").into()
}

/// The time since the object was created, as `kubectl` shows it.
pub fn age(obj: &Value, now: Wall) -> Value {
    since(obj.at("metadata").text("creationTimestamp"), now).into()
}

/// The time since an RFC 3339 timestamp, or `<unknown>` where it is absent.
pub fn since(timestamp: &str, now: Wall) -> String {
    match crate::moment::parse(timestamp) {
        Some(then) => human_duration((now.0 - then.0) / 1_000_000_000),
        None => "<unknown>".to_owned(),
    }
}

/// A span of seconds in the two most telling units: `34s`, `5m12s`, `3h5m`, `2d4h`, `420d`, `3y17d`.
pub fn human_duration(seconds: i64) -> String {
    // Clocks differ: an age of up to a second below zero is none at all.
    match seconds {
        ..-1 => return "<invalid>".to_owned(),
        -1 | 0 => return "0s".to_owned(),
        _ => {}
    }
    let (minutes, hours, days, years) =
        (seconds / 60, seconds / 3600, seconds / (24 * 3600), seconds / (365 * 24 * 3600));
    let pair = |big: i64, big_unit: char, small: i64, small_unit: char| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit}{small}{small_unit}"),
    };
    match () {
        _ if seconds < 60 * 2 => format!("{seconds}s"),
        _ if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 60 * 3 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => pair(days, 'd', hours % 24, 'h'),
        _ if hours < 24 * 365 * 2 => format!("{days}d"),
        _ if hours < 24 * 365 * 8 => pair(years, 'y', days % 365, 'd'),
        _ => format!("{years}y"),
    }
}

/// `-` joined names and images of a pod template's containers, as the workload tables show them.
pub fn containers_and_images(pod_spec: &Value) -> [Value; 2] {
    let join = |key: &str| -> Value {
        pod_spec.list("containers").iter().map(|c| c.text(key)).collect::<Vec<_>>().join(",").into()
    };
    [join("name"), join("image")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        const H: i64 = 3600;
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (132, "2m12s"),
            (600, "10m"),
            (3 * H - 1, "179m"),
            (3 * H, "3h"),
            (3 * H + 300, "3h5m"),
            (8 * H, "8h"),
            (48 * H, "2d"),
            (52 * H, "2d4h"),
            (24 * 8 * H, "8d"),
            (24 * 365 * 2 * H - 1, "729d"),
            (24 * 365 * 2 * H, "2y"),
            (24 * 365 * 3 * H + 24 * 17 * H, "3y17d"),
            (24 * 365 * 9 * H, "9y"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }
}
