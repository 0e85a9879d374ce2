//! Event: something that happened to an object, told to whoever looks.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, ErrorList, Path};
use serde_json::Value;

use crate::check;
use crate::column::{self, NAME, documented};
use crate::kind::{Dependents, Kind, Selectable, names as texts};
use crate::moment;
use crate::node::{IMMUTABLE, Node};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, same};

const MAX_NAME_BYTES: usize = 128;
const MAX_NOTE_BYTES: usize = 1024;

pub(crate) fn kind() -> Kind {
    const EVENT: &str = "io.k8s.api.core.v1.Event";
    Kind {
        short_names: texts(&["ev"]),
        create_on_update: true,
        dependents: Dependents::Unsupported,
        selectable: vec![
            Selectable::field("involvedObject.kind"),
            Selectable::field("involvedObject.namespace"),
            Selectable::field("involvedObject.name"),
            Selectable::field("involvedObject.uid"),
            Selectable::field("involvedObject.apiVersion"),
            Selectable::field("involvedObject.resourceVersion"),
            Selectable::field("involvedObject.fieldPath"),
            Selectable::field("reason"),
            Selectable::field("reportingComponent"),
            Selectable::at("source", &["source.component", "reportingComponent"]),
            Selectable::field("type"),
        ],
        columns: vec![
            documented("Last Seen", EVENT, "lastTimestamp"),
            documented("Type", EVENT, "type"),
            documented("Reason", EVENT, "reason"),
            documented("Object", EVENT, "involvedObject"),
            documented("Subobject", "io.k8s.api.core.v1.ObjectReference", "fieldPath").wide(),
            documented("Source", EVENT, "source").wide(),
            documented("Message", EVENT, "message"),
            documented("First Seen", EVENT, "firstTimestamp").wide(),
            documented("Count", EVENT, "count").wide(),
            NAME.wide(),
        ],
        strategy: Arc::new(Event),
        ..Kind::namespaced("", "v1", "Event", "events")
    }
}

struct Event;

impl Strategy for Event {
    fn validate(&self, obj: &Node<'_>, cx: &Context<'_>, errs: &mut ErrorList) {
        legacy(obj, cx, errs);
        if is_core(cx) {
            return;
        }
        series(obj, errs);
        check::require(obj, &["eventTime"], errs);
        let unset = |key: &'static str, detail: String, errs: &mut ErrorList| {
            errs.push(field::invalid(&Path::new(key), "", detail));
        };
        if !matches!(obj.text("type"), "Normal" | "Warning") {
            unset("type", format!("has invalid value: {}", obj.text("type")), errs);
        }
        for key in ["firstTimestamp", "lastTimestamp", "count"] {
            if !obj.at(key).is_zero() {
                unset(key, "needs to be unset".to_owned(), errs);
            }
        }
        let source = obj.at("source");
        if !source.text("component").is_empty() || !source.text("host").is_empty() {
            unset("source", "needs to be unset".to_owned(), errs);
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        legacy(new, cx, errs);
        if is_core(cx) {
            return;
        }
        if !same(new.at("series"), old.at("series")) {
            series(new, errs);
        }
        for key in ["involvedObject", "source", "firstTimestamp", "lastTimestamp", "eventTime", "related"] {
            new.child(key).immutable(old.at(key), errs);
        }
        let count = new.child("count");
        if count.number() != old.int("count").unwrap_or_default() {
            errs.push(count.invalid_number(IMMUTABLE));
        }
        for key in ["reason", "message", "type", "action", "reportingInstance", "reportingComponent"] {
            let shown = if key == "reportingComponent" { "reportingController" } else { key };
            let text = Node::new(new.at(key), new.path.child(shown));
            if text.str() != old.text(key) {
                errs.push(text.invalid_text(IMMUTABLE));
            }
        }
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let time = |text: &str| column::since(text, now);
        let (event_time, series) = (obj.text("eventTime"), obj.at("series"));
        let first = match obj.text("firstTimestamp") {
            "" => time(event_time),
            text => time(text),
        };
        let mut last = match obj.text("lastTimestamp") {
            "" => first.clone(),
            text => time(text),
        };
        let mut count = obj.int("count").filter(|count| *count != 0).unwrap_or(1);
        if series.is_object() {
            last = time(series.text("lastObservedTime"));
            count = series.int("count").unwrap_or_default();
        }
        let involved = obj.at("involvedObject");
        let kind = involved.text("kind").to_lowercase();
        let target = match involved.text("name") {
            "" => kind,
            name => format!("{kind}/{name}"),
        };
        vec![
            last.into(),
            obj.text("type").into(),
            obj.text("reason").into(),
            target.into(),
            involved.text("fieldPath").into(),
            source_cell(obj).into(),
            obj.text("message").trim().into(),
            first.into(),
            count.into(),
            column::name(obj),
        ]
    }
}

/// Who told of it: the component, and the machine or instance of it.
fn source_cell(obj: &Value) -> String {
    let or = |first: &'static str, second: &'static str| match obj.at("source").text(first) {
        "" => obj.text(second).to_owned(),
        text => text.to_owned(),
    };
    let (component, instance) = (or("component", "reportingComponent"), or("host", "reportingInstance"));
    match instance.is_empty() {
        true => component,
        false => format!("{component}, {instance}"),
    }
}

/// The core group's events are held to the oldest rules alone.
fn is_core(cx: &Context<'_>) -> bool {
    cx.api_version == "v1"
}

fn series(obj: &Node<'_>, errs: &mut ErrorList) {
    let series = obj.at("series");
    if !series.is_object() {
        return;
    }
    if series.int("count").unwrap_or_default() < 2 {
        errs.push(field::invalid(&Path::new("series.count"), "", "should be at least 2"));
    }
    if series.text("lastObservedTime").is_empty() {
        errs.push(field::required(&Path::new("series.lastObservedTime"), ""));
    }
}

fn legacy(obj: &Node<'_>, cx: &Context<'_>, errs: &mut ErrorList) {
    let involved = obj.child("involvedObject");
    let (theirs, ours) = (involved.child("namespace"), obj.at("metadata").text("namespace"));
    let new_style = moment::parse(obj.text("eventTime")).is_some();
    let agrees = match theirs.str() {
        "" if new_style => matches!(ours, "default" | "kube-system"),
        "" => matches!(ours, "" | "default"),
        _ if new_style => true,
        namespace => namespace == ours,
    };
    if !agrees {
        errs.push(theirs.invalid_text("does not match event.namespace"));
    }
    if !new_style {
        return;
    }
    let name = if is_core(cx) { "reportingComponent" } else { "reportingController" };
    let reporter = Node::new(obj.at("reportingComponent"), obj.path.child(name));
    if reporter.str().is_empty() {
        errs.push(reporter.required(""));
    }
    check::qualified_name(&reporter, errs);
    for key in ["reportingInstance", "action", "reason"] {
        let node = obj.child(key);
        if node.str().is_empty() {
            errs.push(node.required(""));
        }
        short(&node, MAX_NAME_BYTES, errs);
    }
    short(&obj.child("message"), MAX_NOTE_BYTES, errs);
}

fn short(node: &Node<'_>, limit: usize, errs: &mut ErrorList) {
    if node.str().len() > limit {
        errs.push(node.invalid_as("", format!("can have at most {limit} characters")));
    }
}
