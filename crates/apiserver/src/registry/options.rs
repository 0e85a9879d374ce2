//! The options of writes, from the query string or a body.

use api::Status;
use api::status::Qualified;
use grammar::field::{self, ErrorList, Path};
use kinds::meta;
use serde_json::Value;

use super::Call;
use crate::request::Query;

/// What to do with unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validation {
    Ignore,
    Warn,
    Strict,
}

/// The options that create, update and patch share.
#[derive(Clone, Debug)]
pub(super) struct WriteOptions {
    pub dry_run: bool,
    pub validation: Validation,
    pub manager: String,
    pub force: bool,
}

/// Upstream's cut of a User-Agent that stands in for a field manager.
const MAX_MANAGER: usize = 128;

impl WriteOptions {
    /// `kind` is the options' own kind, which an error names.
    pub(super) fn parse(call: &Call, kind: &str) -> Result<WriteOptions, Status> {
        let query = &call.query;
        let mut errors = ErrorList::new();
        let dry_run = dry_run(query.all("dryRun"), &mut errors);
        let manager = query.text("fieldManager");
        if !manager.is_empty() {
            let value = Value::String(manager.to_owned());
            meta::field_manager(&kinds::Node::new(&value, Path::new("fieldManager")), &mut errors);
        }
        let validation = match query.text("fieldValidation") {
            "" | "Warn" => Validation::Warn,
            "Ignore" => Validation::Ignore,
            "Strict" => Validation::Strict,
            other => {
                let path = Path::new("fieldValidation");
                errors.push(field::not_supported(&path, other, &["", "Ignore", "Strict", "Warn"]));
                Validation::Warn
            }
        };
        let apply = call.content_type.starts_with("application/apply-patch");
        let force = query.choice("force");
        if kind == "PatchOptions" {
            if apply && manager.is_empty() {
                errors.push(field::required(&Path::new("fieldManager"), "is required for apply patch"));
            }
            if !apply && force.is_some() {
                errors
                    .push(field::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
            }
        }
        if !errors.is_empty() {
            return Err(Status::invalid(Qualified::new("meta.k8s.io", kind), "", &errors));
        }
        let manager = match manager {
            "" => agent_name(&call.agent),
            manager => manager.to_owned(),
        };
        Ok(WriteOptions { dry_run, validation, manager, force: force == Some(true) })
    }
}

/// The first word of a User-Agent, with what is not printable left out.
fn agent_name(agent: &str) -> String {
    let word = agent.split('/').next().unwrap_or_default();
    word.chars().filter(|c| !c.is_control()).take(MAX_MANAGER).collect()
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut ErrorList) -> bool {
    let values: Vec<&str> = values.collect();
    if values.iter().any(|value| *value != "All") {
        errors.push(field::not_supported(&Path::new("dryRun"), values[0], &["All"]));
    }
    !values.is_empty()
}

/// How far a delete goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Propagation {
    Orphan,
    Background,
    Foreground,
}

#[derive(Clone, Debug, Default)]
pub(super) struct DeleteOptions {
    pub dry_run: bool,
    pub grace: Option<i64>,
    pub propagation: Option<Propagation>,
    /// The deprecated way to say orphan or background.
    pub orphan: Option<bool>,
    pub uid: Option<String>,
    pub revision: Option<String>,
}

impl DeleteOptions {
    /// From the body where it has any, else from the query.
    pub(super) fn parse(query: &Query, body: Option<&Value>) -> Result<DeleteOptions, Status> {
        let mut errors = ErrorList::new();
        let from_body = body.is_some();
        let body = body.unwrap_or(&Value::Null);
        let text = |name: &str| {
            if from_body {
                body[name].as_str().map(str::to_owned)
            } else {
                query.first(name).map(str::to_owned)
            }
        };
        let grace = if from_body {
            body["gracePeriodSeconds"].as_i64()
        } else {
            match query.first("gracePeriodSeconds") {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| {
                    Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
                })?),
            }
        };
        let orphan =
            if from_body { body["orphanDependents"].as_bool() } else { query.choice("orphanDependents") };
        let policy = text("propagationPolicy");
        let propagation = match policy.as_deref() {
            None => None,
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some(other) => {
                let path = Path::new("propagationPolicy");
                errors.push(field::not_supported(
                    &path,
                    other,
                    &["Background", "Foreground", "Orphan", "nil"],
                ));
                None
            }
        };
        if orphan.is_some() && policy.is_some() {
            errors.push(field::invalid(
                &Path::new("propagationPolicy"),
                policy.clone().unwrap_or_default(),
                "orphanDependents and deletionPropagation cannot be both set",
            ));
        }
        let dry: Vec<String> = if from_body {
            body["dryRun"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect()
        } else {
            query.all("dryRun").map(str::to_owned).collect()
        };
        let dry_run = dry_run(dry.iter().map(String::as_str), &mut errors);
        if !errors.is_empty() {
            return Err(Status::invalid(Qualified::new("meta.k8s.io", "DeleteOptions"), "", &errors));
        }
        let precondition = |name: &str| body["preconditions"][name].as_str().map(str::to_owned);
        Ok(DeleteOptions {
            dry_run,
            // Negative grace counts as the shortest there is.
            grace: grace.map(|seconds| if seconds < 0 { 1 } else { seconds }),
            propagation,
            orphan,
            uid: precondition("uid"),
            revision: precondition("resourceVersion"),
        })
    }
}
