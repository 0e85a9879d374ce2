//! Which form a client wants, and which form its body has.

use api::Status;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use crate::request::Query;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Json,
    Yaml,
    Protobuf,
}

pub const JSON: &str = "application/json";
pub const YAML: &str = "application/yaml";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

const OFFERED: [(&str, Format); 3] =
    [(JSON, Format::Json), (YAML, Format::Yaml), (PROTOBUF, Format::Protobuf)];

impl Format {
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Json => JSON,
            Format::Yaml => YAML,
            Format::Protobuf => PROTOBUF,
        }
    }

    pub fn stream_type(self) -> &'static str {
        match self {
            Format::Json => JSON,
            Format::Yaml => "application/yaml;stream=watch",
            Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }
}

/// What becomes of the object before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Shape {
    #[default]
    Object,
    Table,
    /// `PartialObjectMetadata`, or the list of it.
    Metadata,
}

/// How much of each object a table's rows carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

/// The form of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    pub format: Format,
    pub shape: Shape,
    pub include: Include,
    pub pretty: bool,
}

impl View {
    pub const JSON: View =
        View { format: Format::Json, shape: Shape::Object, include: Include::Metadata, pretty: false };
}

/// One clause of an Accept header.
struct Clause<'a> {
    media: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl Clause<'_> {
    fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| v)
    }
}

fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = header
        .split(',')
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().filter(|m| !m.is_empty())?;
            let params: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
            let quality =
                params.iter().find(|(n, _)| *n == "q").and_then(|(_, v)| v.parse().ok()).unwrap_or(1.0);
            Some(Clause { media, params, quality })
        })
        .collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

fn accepts(clause: &str, media: &str) -> bool {
    match clause.split_once('/') {
        Some(("*", "*")) => true,
        Some((kind, "*")) => media.split_once('/').is_some_and(|(k, _)| k == kind),
        _ => clause.eq_ignore_ascii_case(media),
    }
}

/// The response's form by the Accept header. `protobuf` and `table` say what this resource has.
pub fn response(headers: &HeaderMap, query: &Query, protobuf: bool) -> Result<View, Status> {
    let mut view = View { pretty: pretty(headers, query), ..View::JSON };
    view.include = match query.text("includeObject") {
        "None" => Include::None,
        "Object" => Include::Object,
        _ => Include::Metadata,
    };
    let accept = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(",");
    if accept.is_empty() {
        return Ok(view);
    }
    let offered = || OFFERED.iter().filter(|(_, format)| protobuf || *format != Format::Protobuf);
    let mut unconvertible = None;
    for clause in clauses(&accept) {
        let Some((_, format)) = offered().find(|(media, _)| accepts(clause.media, media)) else { continue };
        view.format = *format;
        view.shape = match (clause.param("as"), clause.param("g"), clause.param("v")) {
            ("", _, _) => Shape::Object,
            ("Table", "meta.k8s.io", "v1") => Shape::Table,
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => Shape::Metadata,
            (kind, group, version) => {
                unconvertible = Some(format!("{group}/{version}, Kind={kind}"));
                continue;
            }
        };
        if matches!(clause.param("pretty"), "1" | "true") {
            view.pretty = true;
        }
        return Ok(view);
    }
    let list = offered().map(|(media, _)| *media).collect::<Vec<_>>().join(", ");
    Err(Status::not_acceptable(match unconvertible {
        Some(target) => {
            format!("only the following media types are accepted when converting to {target}: {list}")
        }
        None => format!("only the following media types are accepted: {list}"),
    }))
}

/// Browsers and curl get indented JSON, as does whoever asks.
fn pretty(headers: &HeaderMap, query: &Query) -> bool {
    match query.first("pretty") {
        Some(value) => !matches!(value, "false" | "0"),
        None => headers
            .get(http::header::USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|agent| ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| agent.starts_with(name))),
    }
}

/// The body's form by its Content-Type; none means JSON.
pub fn request(headers: &HeaderMap, protobuf: bool) -> Result<Format, Status> {
    let Some(header) = headers.get(CONTENT_TYPE) else { return Ok(Format::Json) };
    let media = header.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if media.is_empty() {
        return Ok(Format::Json);
    }
    let offered = || OFFERED.iter().filter(|(_, format)| protobuf || *format != Format::Protobuf);
    offered().find(|(offer, _)| media.eq_ignore_ascii_case(offer)).map(|(_, format)| *format).ok_or_else(
        || {
            let list = offered().map(|(media, _)| *media).collect::<Vec<_>>().join(", ");
            Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: {list}"
            ))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, want: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        let got = match response(&headers, &Query::default(), true) {
            Ok(view) => format!("{:?} {:?}", view.format, view.shape),
            Err(status) => status.message,
        };
        assert_eq!(got, want, "{accept}");
    }

    #[test]
    fn the_first_clause_that_can_be_served_wins() {
        check("application/json", "Json Object");
        check("*/*", "Json Object");
        check("application/vnd.kubernetes.protobuf, */*", "Protobuf Object");
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            "Json Table",
        );
        check("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", "Json Object");
        check("application/json;q=0.5,application/yaml", "Yaml Object");
        check("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "Json Metadata");
        check(
            "text/html",
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        );
    }
}
