//! The metrics that an autoscaler watches, and what it wants of each.

use grammar::field::ErrorList;
use grammar::names;
use serde_json::{Value, json};

use crate::autoscaling::horizontal_pod_autoscaler::{api_version, reference_names};
use crate::check;
use crate::node::Node;
use crate::pod::resources;
use crate::tree::Tree;

/// Each type of metric, and the field that describes one of it. The first field of a metric in this order is
/// the one that is looked at.
const SOURCES: &[(&str, &str)] = &[
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
const CPU_PERCENT: i64 = 80;
const SHOWN: usize = 2;

/// What is watched when nothing is said: processors that are busy.
pub(super) fn default_metric() -> Value {
    cpu_metric(CPU_PERCENT)
}

/// Processors that are busy for so many percent of what was asked for.
pub(super) fn cpu_metric(percent: i64) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

pub(super) fn validate(spec: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let metrics = spec.child("metrics");
    let lenient = old.list("metrics").iter().any(|metric| {
        let mut faults = ErrorList::new();
        let object = metric.at("object");
        if metric.text("type") == "Object" && object.is_object() {
            api_version(&Node::root(object.at("describedObject")), true, &mut faults);
        }
        !faults.is_empty()
    });
    for metric in metrics.items() {
        validate_metric(&metric, lenient, errs);
    }
    let survives_zero = |metric: &Value| matches!(metric.text("type"), "Object" | "External");
    if spec.int("minReplicas") == Some(0) && !spec.list("metrics").iter().any(survives_zero) {
        errs.push(metrics.forbidden(
            "must specify at least one Object or External metric to support scaling to zero replicas",
        ));
    }
}

fn validate_metric(metric: &Node<'_>, lenient: bool, errs: &mut ErrorList) {
    let ty = metric.child("type");
    if ty.str().is_empty() {
        errs.push(ty.required("must specify a metric source type"));
    }
    ty.one_of(TYPES, errs);
    let present: Vec<&str> =
        SOURCES.iter().map(|(_, field)| *field).filter(|field| metric.has(field)).collect();
    if let Some(first) = present.first() {
        let source = metric.child(first);
        match *first {
            "object" => object(&source, lenient, errs),
            "external" => external(&source, errs),
            "pods" => pods(&source, errs),
            _ => resource(&source, *first == "containerResource", errs),
        }
    }
    let expected = SOURCES.iter().find(|(name, _)| *name == ty.str()).map(|(_, field)| *field);
    if let Some(field) = expected
        && !metric.has(field)
    {
        errs.push(metric.child(field).required("must populate information for the given metric source"));
    }
    if present.len() != 1 {
        for field in present.iter().filter(|field| Some(**field) != expected) {
            errs.push(metric.child(field).forbidden("must populate the given metric source only"));
        }
    }
}

fn object(source: &Node<'_>, lenient: bool, errs: &mut ErrorList) {
    let described = source.child("describedObject");
    reference_names(&described, errs);
    if !lenient {
        api_version(&described, true, errs);
    }
    identifier(&source.child("metric"), errs);
    let wanted = source.child("target");
    target(&wanted, errs);
    if !wanted.has("value") && !wanted.has("averageValue") {
        errs.push(wanted.child("averageValue").required("must set either a target value or averageValue"));
    }
}

fn external(source: &Node<'_>, errs: &mut ErrorList) {
    identifier(&source.child("metric"), errs);
    let wanted = source.child("target");
    target(&wanted, errs);
    match (wanted.has("value"), wanted.has("averageValue")) {
        (false, false) => errs.push(
            wanted
                .child("averageValue")
                .required("must set either a target value for metric or a per-pod target"),
        ),
        (true, true) => errs.push(
            wanted
                .child("value")
                .forbidden("may not set both a target value for metric and a per-pod target"),
        ),
        _ => {}
    }
}

fn pods(source: &Node<'_>, errs: &mut ErrorList) {
    identifier(&source.child("metric"), errs);
    let wanted = source.child("target");
    target(&wanted, errs);
    if !wanted.has("averageValue") {
        errs.push(wanted.child("averageValue").required("must specify a positive target averageValue"));
    }
}

fn resource(source: &Node<'_>, of_container: bool, errs: &mut ErrorList) {
    let (name, container) = (source.child("name"), source.child("container"));
    match name.str() {
        "" => errs.push(name.required("must specify a resource name")),
        text if of_container => resources::container_name(&name, text, errs),
        _ => {}
    }
    if of_container {
        match container.str() {
            "" => errs.push(container.required("must specify a container")),
            _ => check::dns_label(&container, errs),
        }
    }
    let wanted = source.child("target");
    target(&wanted, errs);
    match (wanted.has("averageUtilization"), wanted.has("averageValue")) {
        (false, false) => errs.push(
            wanted
                .child("averageUtilization")
                .required("must set either a target raw value or a target utilization"),
        ),
        (true, true) => errs.push(
            wanted
                .child("averageValue")
                .forbidden("may not set both a target raw value and a target utilization"),
        ),
        _ => {}
    }
}

fn target(target: &Node<'_>, errs: &mut ErrorList) {
    let ty = target.child("type");
    if ty.str().is_empty() {
        errs.push(ty.required("must specify a metric target type"));
    }
    if !matches!(ty.str(), "Utilization" | "Value" | "AverageValue") {
        errs.push(ty.invalid_text("must be either Utilization, Value, or AverageValue"));
    }
    for key in ["value", "averageValue"] {
        let amount = target.child(key);
        if amount.is_set() && check::quantity(amount.value()).sign() <= 0 {
            errs.push(amount.invalid("must be positive"));
        }
    }
    let percent = target.child("averageUtilization");
    if percent.is_set() && percent.number() < 1 {
        errs.push(percent.invalid("must be greater than 0"));
    }
}

fn identifier(metric: &Node<'_>, errs: &mut ErrorList) {
    let name = metric.child("name");
    match name.str() {
        "" => errs.push(name.required("must specify a metric name")),
        text => name.complaints(names::path_segment_name(text), errs),
    }
}

/// What is and what should be of the first two metrics, and how many there are beside them.
pub(super) fn cell(specs: &[Value], statuses: &[Value]) -> String {
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let shown: Vec<String> =
        specs.iter().enumerate().take(SHOWN).map(|(i, spec)| one(spec, statuses.get(i))).collect();
    let shown = shown.join(", ");
    match specs.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} + {more} more..."),
        _ => shown,
    }
}

fn one(spec: &Value, status: Option<&Value>) -> String {
    let ty = spec.text("type");
    let Some((_, field)) = SOURCES.iter().find(|(name, _)| *name == ty) else {
        return "<unknown type>".to_owned();
    };
    let (source, status) = (spec.at(field), status.unwrap_or(&Value::Null).at(field));
    let (wanted, current) = (source.at("target"), status.at("current"));
    let amount = |of: &Value, key: &str| check::quantity(of.at(key)).canonical();
    let percent = |of: &Value, absent: &str| match of.int("averageUtilization") {
        Some(percent) => format!("{percent}%"),
        None => absent.to_owned(),
    };
    let known = |text: String, is_known: bool| if is_known { text } else { "<unknown>".to_owned() };
    let is_average = wanted.has("averageValue");
    match ty {
        "Resource" | "ContainerResource" => {
            let name = source.text("name");
            match is_average {
                true => {
                    let now = known(amount(current, "averageValue"), status.is_object());
                    format!("{name}: {now}/{}", amount(wanted, "averageValue"))
                }
                false => format!("{name}: {}/{}", percent(current, "<unknown>"), percent(wanted, "<auto>")),
            }
        }
        "Pods" => {
            let now = known(amount(current, "averageValue"), status.is_object());
            format!("{now}/{}", amount(wanted, "averageValue"))
        }
        _ if is_average => {
            let now = known(amount(current, "averageValue"), current.has("averageValue"));
            format!("{now}/{} (avg)", amount(wanted, "averageValue"))
        }
        _ => format!("{}/{}", known(amount(current, "value"), status.is_object()), amount(wanted, "value")),
    }
}
