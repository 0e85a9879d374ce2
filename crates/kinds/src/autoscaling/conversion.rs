//! `autoscaling/v1` knows one metric, the share of busy processors; the rest of an autoscaler travels in its
//! annotations there.

use serde_json::{Map, Value};

use crate::autoscaling::metrics;
use crate::tree::{Tree, TreeMut};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const ALL: &[&str] = &[
    METRICS,
    CURRENT,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];
const CPU_SHARE: &str = "targetCPUUtilizationPercentage";
const CURRENT_CPU_SHARE: &str = "currentCPUUtilizationPercentage";

/// A field of a metric in `v1`, and its path in `v2`.
type Field = (&'static str, &'static [&'static str]);

/// What each source of a metric is called, and where its fields are, as a wish and as a measurement.
const SOURCES: &[(&str, &[Field], &[Field])] = &[
    (
        "object",
        &[
            ("target", &["describedObject"]),
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
            ("targetValue", &["target", "value"]),
            ("averageValue", &["target", "averageValue"]),
        ],
        &[
            ("target", &["describedObject"]),
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
            ("currentValue", &["current", "value"]),
            ("averageValue", &["current", "averageValue"]),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
            ("targetAverageValue", &["target", "averageValue"]),
        ],
        &[
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
            ("currentAverageValue", &["current", "averageValue"]),
        ],
    ),
    (
        "resource",
        &[
            ("name", &["name"]),
            ("targetAverageUtilization", &["target", "averageUtilization"]),
            ("targetAverageValue", &["target", "averageValue"]),
        ],
        &[
            ("name", &["name"]),
            ("currentAverageUtilization", &["current", "averageUtilization"]),
            ("currentAverageValue", &["current", "averageValue"]),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", &["name"]),
            ("container", &["container"]),
            ("targetAverageUtilization", &["target", "averageUtilization"]),
            ("targetAverageValue", &["target", "averageValue"]),
        ],
        &[
            ("name", &["name"]),
            ("container", &["container"]),
            ("currentAverageUtilization", &["current", "averageUtilization"]),
            ("currentAverageValue", &["current", "averageValue"]),
        ],
    ),
    (
        "external",
        &[
            ("metricName", &["metric", "name"]),
            ("metricSelector", &["metric", "selector"]),
            ("targetValue", &["target", "value"]),
            ("targetAverageValue", &["target", "averageValue"]),
        ],
        &[
            ("metricName", &["metric", "name"]),
            ("metricSelector", &["metric", "selector"]),
            ("currentValue", &["current", "value"]),
            ("currentAverageValue", &["current", "averageValue"]),
        ],
    ),
];

/// Quantities that `v1` always writes.
const ALWAYS: &[(&str, &str)] = &[
    ("object", "targetValue"),
    ("object", "currentValue"),
    ("pods", "targetAverageValue"),
    ("pods", "currentAverageValue"),
    ("resource", "currentAverageValue"),
    ("containerResource", "currentAverageValue"),
    ("external", "currentValue"),
];

pub(super) fn to_v1(obj: &mut Value) {
    let (spec, status) = (obj.at("spec").clone(), obj.at("status").clone());
    let mut annotations: Map<String, Value> =
        obj.path(&["metadata", "annotations"]).as_object().cloned().unwrap_or_default();
    annotations.retain(|key, _| !ALL.contains(&key.as_str()));
    let mut keep = |key: &str, value: &Value| {
        if !value.is_nothing() {
            annotations.insert(key.to_owned(), value.to_string().into());
        }
    };
    let others: Vec<Value> = spec
        .list("metrics")
        .iter()
        .filter(|metric| cpu_share(metric).is_none())
        .map(|metric| metric_to_v1(metric, false))
        .collect();
    let current: Vec<Value> =
        status.list("currentMetrics").iter().map(|metric| metric_to_v1(metric, true)).collect();
    keep(METRICS, &others.into());
    keep(CURRENT, &current.into());
    keep(BEHAVIOR, &recased(spec.at("behavior"), char::to_ascii_uppercase));
    keep(CONDITIONS, status.at("conditions"));

    let metadata = obj.at_mut("metadata");
    match annotations.is_empty() {
        true => metadata.drop_key("annotations"),
        false => metadata.set("annotations", annotations),
    }
    let share = spec.list("metrics").iter().find_map(cpu_share);
    let spec = obj.at_mut("spec");
    spec.drop_key("metrics");
    spec.drop_key("behavior");
    if let Some(share) = share {
        spec.set(CPU_SHARE, share);
    }
    if obj.has("status") {
        let is_cpu = |metric: &&Value| {
            metric.text("type") == "Resource" && metric.at("resource").text("name") == "cpu"
        };
        let shares = status.list("currentMetrics").iter().filter(is_cpu);
        let share = shares
            .filter_map(|metric| metric.path(&["resource", "current"]).int("averageUtilization"))
            .next_back();
        let status = obj.at_mut("status");
        status.drop_key("currentMetrics");
        status.drop_key("conditions");
        if let Some(share) = share {
            status.set(CURRENT_CPU_SHARE, share);
        }
    }
}

pub(super) fn from_v1(obj: &mut Value) {
    let annotations = obj.path(&["metadata", "annotations"]).clone();
    let kept = |key: &str| serde_json::from_str::<Value>(annotations.text(key)).ok();
    let list = |key: &str| kept(key).and_then(|value| value.as_array().cloned());

    let spec = obj.at_mut("spec");
    let mut wishes: Vec<Value> =
        list(METRICS).unwrap_or_default().iter().map(|metric| metric_from_v1(metric, false)).collect();
    wishes.extend(spec.int(CPU_SHARE).map(metrics::cpu_metric));
    if wishes.is_empty() {
        wishes.push(metrics::default_metric());
    }
    spec.drop_key(CPU_SHARE);
    spec.set("metrics", wishes);
    if let Some(behavior) = kept(BEHAVIOR).map(|text| recased(&text, char::to_ascii_lowercase))
        && ["scaleUp", "scaleDown"].iter().any(|direction| behavior.has(direction))
    {
        spec.set("behavior", behavior);
    }

    if let Some(share) = obj.at("status").int(CURRENT_CPU_SHARE) {
        let mut metric = metrics::cpu_metric(share);
        metric.set("resource", serde_json::json!({"name": "cpu", "current": {"averageUtilization": share}}));
        let status = obj.at_mut("status");
        status.drop_key(CURRENT_CPU_SHARE);
        status.set("currentMetrics", vec![metric]);
    }
    if let Some(current) = list(CURRENT) {
        let current: Vec<Value> = current.iter().map(|metric| metric_from_v1(metric, true)).collect();
        obj.at_mut("status").set("currentMetrics", current);
    }
    if let Some(conditions) = list(CONDITIONS) {
        obj.at_mut("status").set("conditions", conditions);
    }

    if let Value::Object(annotations) = obj.at_mut("metadata").at_mut("annotations") {
        annotations.retain(|key, _| !ALL.contains(&key.as_str()));
    }
    if obj.path(&["metadata", "annotations"]).is_nothing() {
        obj.at_mut("metadata").drop_key("annotations");
    }
}

/// The wanted share of busy processors, for a metric that wants one.
fn cpu_share(metric: &Value) -> Option<i64> {
    let resource = metric.at("resource");
    let is_cpu = metric.text("type") == "Resource" && resource.text("name") == "cpu";
    is_cpu.then(|| resource.at("target").int("averageUtilization")).flatten()
}

fn metric_to_v1(metric: &Value, measured: bool) -> Value {
    let mut out = Value::Object(Map::new());
    out.set("type", metric.text("type"));
    for (source, wish, measurement) in SOURCES {
        if !metric.has(source) {
            continue;
        }
        let mut old = Value::Object(Map::new());
        for (name, path) in *(if measured { measurement } else { wish }) {
            match metric.at(source).path(path) {
                Value::Null if ALWAYS.contains(&(*source, *name)) => old.set(name, "0"),
                Value::Null => {}
                value => old.set(name, value.clone()),
            }
        }
        out.set(source, old);
    }
    out
}

fn metric_from_v1(metric: &Value, measured: bool) -> Value {
    let mut out = Value::Object(Map::new());
    out.set("type", metric.text("type"));
    for (source, wish, measurement) in SOURCES {
        if !metric.has(source) {
            continue;
        }
        let old = metric.at(source);
        let mut new = Value::Object(Map::new());
        for (name, path) in *(if measured { measurement } else { wish }) {
            if old.has(name) {
                let (last, way) = path.split_last().expect("paths name something");
                way.iter().fold(&mut new, |value, key| value.at_mut(key)).set(last, old.at(name).clone());
            }
        }
        if !measured {
            target_type(source, new.at_mut("target"));
        }
        out.set(source, new);
    }
    out
}

/// `v1` does not say what kind of target it gives; it is told by what is there.
fn target_type(source: &str, target: &mut Value) {
    let ty = match source {
        "object" if target.has("averageValue") => {
            if crate::check::quantity(target.at("value")).is_zero() {
                target.drop_key("value");
            }
            "AverageValue"
        }
        "object" => "Value",
        "external" if target.has("value") => "Value",
        "resource" | "containerResource" if target.has("averageUtilization") => "Utilization",
        _ => "AverageValue",
    };
    target.set("type", ty);
}

/// The behavior annotation is written with the names of Go's fields, which begin with a capital.
fn recased(value: &Value, case: fn(&char) -> char) -> Value {
    let key = |key: &String| {
        let mut letters = key.chars();
        letters.next().map(|first| case(&first)).into_iter().chain(letters).collect::<String>()
    };
    match value {
        Value::Object(map) => {
            let entries = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(entries.map(|(name, value)| (key(name), recased(value, case))).collect())
        }
        Value::Array(items) => items.iter().map(|item| recased(item, case)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_v1_cannot_say_survives_it() {
        let whole = json!({
            "metadata": {"name": "web", "annotations": {"a": "b"}},
            "spec": {
                "maxReplicas": 9,
                "metrics": [
                    {"type": "Object", "object": {
                        "describedObject": {"kind": "Service", "name": "s"},
                        "metric": {"name": "hits"},
                        "target": {"type": "Value", "value": "3"},
                    }},
                    {"type": "Pods", "pods": {
                        "metric": {"name": "qps", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "10"},
                    }},
                    {"type": "External", "external": {
                        "metric": {"name": "queue"},
                        "target": {"type": "AverageValue", "averageValue": "30"},
                    }},
                    {"type": "ContainerResource", "containerResource": {
                        "name": "memory",
                        "container": "web",
                        "target": {"type": "Utilization", "averageUtilization": 70},
                    }},
                    metrics::cpu_metric(50),
                ],
                "behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]}},
            },
            "status": {
                "currentMetrics": [
                    {"type": "Resource", "resource": {
                        "name": "cpu",
                        "current": {"averageUtilization": 40, "averageValue": "100m"},
                    }},
                ],
                "conditions": [{"type": "AbleToScale", "status": "True"}],
            },
        });
        let mut obj = whole.clone();
        to_v1(&mut obj);
        assert_eq!(obj.at("spec"), &json!({"maxReplicas": 9, CPU_SHARE: 50}));
        assert_eq!(obj.at("status"), &json!({CURRENT_CPU_SHARE: 40}));
        assert_eq!(
            obj.path(&["metadata", "annotations"]).text(BEHAVIOR),
            r#"{"ScaleUp":{"Policies":[{"PeriodSeconds":60,"Type":"Pods","Value":4}]}}"#
        );
        from_v1(&mut obj);
        assert_eq!(obj, whole);
    }

    #[test]
    fn an_autoscaler_of_v1_watches_processors() {
        let mut obj = json!({"metadata": {"name": "web"}, "spec": {"maxReplicas": 9}});
        from_v1(&mut obj);
        assert_eq!(
            obj,
            json!({"metadata": {"name": "web"}, "spec": {"maxReplicas": 9, "metrics": [metrics::cpu_metric(80)]}})
        );
    }
}
