//! Lists: at a revision, in pages, by selectors.

use std::sync::Arc;

use api::Status;
use api::splice::ListHead;
use api::status::Qualified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use grammar::field::{self, ErrorList, Path};
use grammar::selector::label;
use serde_json::{Value, json};
use store::{Revision, Snapshot, Span};

use super::{Call, Registry, read_error};
use crate::catalog::Resource;
use crate::object::Selectors;
use crate::render::List;
use crate::request::Query;

/// A revision out of a query.
pub(super) fn revision(text: &str) -> Result<Revision, Status> {
    text.parse().map_err(|_| {
        let errors: ErrorList = vec![field::invalid(
            &Path::new("resourceVersion"),
            text,
            format!("strconv.ParseUint: parsing {text:?}: invalid syntax"),
        )]
        .into_iter()
        .collect();
        Status::bad_request(format!("invalid resource version: {errors}"))
    })
}

/// Reads both selectors, refusing fields that the kind does not offer.
pub(super) fn selectors(resource: &Resource, query: &Query) -> Result<Selectors, Status> {
    let labels = match query.text("labelSelector") {
        "" => None,
        text => {
            let selector: label::Selector = text.parse().map_err(|e: grammar::selector::SelectorError| {
                Status::bad_request(format!("unable to parse requirement: {e}"))
            })?;
            (!selector.is_everything()).then_some(selector)
        }
    };
    let fields: grammar::selector::fields::Selector = query
        .text("fieldSelector")
        .parse()
        .map_err(|e: grammar::selector::SelectorError| Status::bad_request(e.to_string()))?;
    for term in fields.terms() {
        if !resource.kind.selects(&term.field) {
            return Err(Status::bad_request(format!(
                "Unable to find {:?} that match label selector {:?}, field selector {:?}: field label not supported: {}",
                resource.qualified().to_string(),
                query.text("labelSelector"),
                query.text("fieldSelector"),
                term.field
            )));
        }
    }
    Ok(Selectors { labels, fields })
}

/// Where a page ends and the next begins.
struct Continue {
    /// The page's revision; none means whatever is newest.
    revision: Option<Revision>,
    /// The first key of the next page, behind the folder of all objects.
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

impl Continue {
    fn parse(text: &str, folder: &str) -> Result<Continue, Status> {
        let bad = |why: &str| Status::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|e| bad(&e.to_string()))?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|e| bad(&e.to_string()))?;
        match token["v"].as_str() {
            Some(TOKEN_VERSION) => {}
            other => {
                return Err(bad(&format!(
                    "server does not recognize this encoded version {}",
                    other.unwrap_or_default()
                )));
            }
        }
        let revision = match token["rv"].as_i64() {
            None | Some(0) => {
                return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
            }
            Some(newest) if newest < 0 => None,
            Some(revision) => Some(revision as Revision),
        };
        let start = token["start"].as_str().unwrap_or_default();
        if start.is_empty() {
            return Err(bad("encoded start key empty (version meta.k8s.io/v1)"));
        }
        // The token comes back from the client: it must not lead out of the folder.
        let clean = start.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !clean {
            return Err(bad(start));
        }
        Ok(Continue { revision, start: format!("{folder}{start}") })
    }

    fn print(key: &str, folder: &str, revision: i64) -> String {
        let start = key.strip_prefix(folder).unwrap_or(key);
        let token = json!({"v": TOKEN_VERSION, "rv": revision, "start": start});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }
}

/// What a list or a watch covers.
pub(super) fn span(call: &Call, selectors: &Selectors) -> Span {
    let folder = call.resource.folder(call.namespace());
    // A selector that names one object in a known place needs not look at the rest.
    match selectors.fields.exact_match("metadata.name") {
        Some(name) if !call.resource.kind.is_namespaced() || !call.namespace().is_empty() => {
            Span::key(call.resource.kind.key(call.namespace(), name))
        }
        _ => Span::folder(&folder),
    }
}

impl Registry {
    pub(super) async fn list(&self, call: &Call) -> Result<List, Status> {
        validate(&call.query)?;
        let selectors = selectors(&call.resource, &call.query)?;
        let span = span(call, &selectors);
        let folder = call.resource.folder("");
        let limit = match call.query.text("limit") {
            "" => 0,
            text => text.parse::<i64>().map_err(|_| {
                Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            })?,
        };
        let limit = usize::try_from(limit).unwrap_or(0);
        let token = match call.query.text("continue") {
            "" => None,
            text => Some(Continue::parse(text, &folder)?),
        };
        let snapshot = self.snapshot_for(call, token.as_ref(), &span, &folder).await?;

        let from = token.as_ref().map(|token| token.start.as_str());
        let mut entries = Vec::new();
        let mut rest = snapshot.range(&span, from);
        let mut next = None;
        for entry in rest.by_ref() {
            if !selectors.matches(&call.resource, entry) {
                continue;
            }
            if limit > 0 && entries.len() == limit {
                next = Some(entry.key.clone());
                break;
            }
            entries.push(Arc::clone(entry));
        }
        let revision = snapshot.revision();
        let mut head = ListHead { revision, ..ListHead::default() };
        if let Some(next) = next {
            head.continue_token = Continue::print(&next, &folder, revision as i64);
            if selectors.is_everything() {
                head.remaining = Some(snapshot.count_from(&span, Some(&next)) as i64);
            }
        }
        Ok(List { resource: call.resource.clone(), entries, head })
    }

    async fn snapshot_for(
        &self,
        call: &Call,
        token: Option<&Continue>,
        span: &Span,
        folder: &str,
    ) -> Result<Snapshot, Status> {
        if let Some(token) = token {
            let Some(revision) = token.revision else { return self.store.latest().await.map_err(read_error) };
            return self.store.at(revision, span).map_err(|error| match error {
                store::ReadError::Compacted { .. } => {
                    let mut status = Status::expired(INCONSISTENT);
                    status.continue_token = Continue::print(&token.start, folder, -1);
                    status
                }
                other => read_error(other),
            });
        }
        let (text, exact) =
            (call.query.text("resourceVersion"), call.query.text("resourceVersionMatch") == "Exact");
        match text {
            "" => self.store.latest().await.map_err(read_error),
            "0" => Ok(self.store.snapshot()),
            text => {
                let wanted = revision(text)?;
                let newest = self.reach(wanted).await?;
                // Without a match rule, a page of a dated list is of that date, as upstream has it.
                let paged = !call.query.text("limit").is_empty()
                    && call.query.text("resourceVersionMatch").is_empty();
                if exact || paged { self.store.at(wanted, span).map_err(read_error) } else { Ok(newest) }
            }
        }
    }
}

const INCONSISTENT: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Upstream's rules for the options of a list.
fn validate(query: &Query) -> Result<(), Status> {
    let mut errors = ErrorList::new();
    let rule = query.text("resourceVersionMatch");
    if !rule.is_empty() {
        let path = Path::new("resourceVersionMatch");
        if query.text("resourceVersion").is_empty() {
            errors.push(field::forbidden(
                &path,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if !query.text("continue").is_empty() {
            errors
                .push(field::forbidden(&path, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if rule != "Exact" && rule != "NotOlderThan" {
            errors.push(field::not_supported(&path, rule, &["Exact", "NotOlderThan", ""]));
        }
        if rule == "Exact" && query.text("resourceVersion") == "0" {
            errors.push(field::forbidden(
                &path,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    if query.first("sendInitialEvents").is_some() {
        let path = Path::new("sendInitialEvents");
        errors.push(field::forbidden(&path, "sendInitialEvents is forbidden for list"));
    }
    if !query.text("continue").is_empty() && !matches!(query.text("resourceVersion"), "" | "0") {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(Qualified::new("meta.k8s.io", "ListOptions"), "", &errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        let text = Continue::print("/registry/pods/a/b", "/registry/pods/", 7);
        let token = Continue::parse(&text, "/registry/pods/").unwrap();
        assert_eq!((token.revision, token.start.as_str()), (Some(7), "/registry/pods/a/b"));
    }

    #[test]
    fn tokens_from_anywhere_never_leave_the_folder() {
        bolero::check!().with_max_len(64).with_iterations(10_000).for_each(|bytes: &[u8]| {
            let start = String::from_utf8_lossy(bytes).into_owned();
            let token =
                URL_SAFE_NO_PAD.encode(json!({"v": TOKEN_VERSION, "rv": 1, "start": start}).to_string());
            if let Ok(token) = Continue::parse(&token, "/registry/pods/") {
                assert!(!token.start.contains("/../") && token.start.starts_with("/registry/pods/"));
            }
            let _ = Continue::parse(&start, "/registry/pods/");
        });
    }
}
