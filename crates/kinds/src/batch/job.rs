//! Job: pods that run until enough of them have succeeded.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names;
use serde_json::{Value, json};

use crate::batch::{job_spec, job_status};
use crate::check;
use crate::column::{self, AGE, NAME, described, documented};
use crate::kind::{Dependents, Kind, Selectable, Subresource, names as texts};
use crate::node::Node;
use crate::pod::Rules;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};
use crate::workload::{self, Match};

const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.batch.v1.JobSpec";
    Kind {
        categories: texts(&["all"]),
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        dependents: Dependents::Orphan,
        subresources: vec![Subresource::status(&[&["spec"]], job_status::Status)],
        selectable: vec![Selectable::at("status.successful", &["status.succeeded"]).or("0")],
        columns: vec![
            NAME,
            described("Status", "Status of the job."),
            documented("Completions", "io.k8s.api.batch.v1.JobStatus", "succeeded"),
            described("Duration", "Time required to complete the job."),
            AGE,
            described("Containers", "Names of each container in the template.").wide(),
            described("Images", "Images referenced by each container in the template.").wide(),
            documented("Selector", SPEC, "selector").wide(),
        ],
        strategy: Arc::new(Job),
        ..Kind::namespaced("batch", "v1", "Job", "jobs")
    }
}

struct Job;

impl Strategy for Job {
    fn default(&self, _version: &str, obj: &mut Value) {
        let labels = obj.path(&["spec", "template", "metadata", "labels"]).clone();
        if obj.at("metadata").at("labels").is_nothing() && !labels.is_nothing() {
            obj.at_mut("metadata").set("labels", labels);
        }
        job_spec::default(obj.at_mut("spec"));
        job_spec::default_job(obj.at_mut("spec"));
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        if !obj.at("spec").flag("manualSelector") {
            generate_selector(obj);
        }
        job_spec::prepare(obj.at_mut("spec"), &Value::Null);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        job_spec::prepare(new.at_mut("spec"), old.at("spec"));
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        if !obj.at("spec").flag("manualSelector") && obj.at("spec").has("selector") {
            generated_selector(obj, errs);
        }
        validate_spec(&obj.child("spec"), &Rules::default(), false, errs);
        name_allows_completions(obj, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let (spec, before) = (new.child("spec"), old.at("spec"));
        let rules = Rules::for_template_update(before.at("template"));
        let lenient = rules.affinity_values || check::has_invalid_label_value(before.at("selector"));
        validate_spec(&spec, &rules, lenient, errs);
        completions(&spec, before, errs);
        spec.child("selector").immutable(before.at("selector"), errs);
        template(&spec, old, errs);
        for key in
            ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
        {
            spec.child(key).immutable(before.at(key), errs);
        }
        name_allows_completions(new, errs);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let generation = |obj: &Value| obj.at("metadata").int("generation");
        if old.is_some_and(|old| generation(old) == generation(new)) {
            return Vec::new();
        }
        let name = match old {
            None => workload::name_warning(new, "Pod names and hostnames"),
            Some(_) => None,
        };
        name.into_iter().chain(job_spec::warnings(&Node::root(new).child("spec"))).collect()
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let spec = obj.at("spec");
        let [containers, images] = column::containers_and_images(spec.path(&["template", "spec"]));
        vec![
            column::name(obj),
            state(obj).into(),
            succeeded(obj).into(),
            duration(obj.at("status"), now).into(),
            column::age(obj, now),
            containers,
            images,
            workload::selector_cell(spec.at("selector")),
        ]
    }
}

/// A job finds its pods by its own uid, unless it says that it knows better.
fn generate_selector(obj: &mut Value) {
    let (name, uid) = (obj.at("metadata").text("name").to_owned(), obj.at("metadata").text("uid").to_owned());
    let spec = obj.at_mut("spec");
    let labels = spec.at_mut("template").at_mut("metadata").at_mut("labels");
    for (keys, value) in [(NAME_LABELS, &name), (UID_LABELS, &uid)] {
        for key in keys {
            if !labels.has(key) {
                labels.set(key, value.as_str());
            }
        }
    }
    let selected = spec.at_mut("selector").at_mut("matchLabels");
    if !selected.has(UID_LABELS[1]) {
        selected.set(UID_LABELS[1], uid);
    }
}

fn generated_selector(obj: &Node<'_>, errs: &mut ErrorList) {
    let (metadata, spec) = (obj.child("metadata"), obj.child("spec"));
    let (name, uid) = (metadata.text("name"), metadata.text("uid"));
    if uid.is_empty() {
        errs.push(metadata.child("uid").required(""));
    }
    let template = spec.child("template");
    let template_meta = template.child("metadata");
    let labels = template_meta.child("labels");
    let pairs = [(UID_LABELS[0], uid), (NAME_LABELS[0], name), (UID_LABELS[1], uid), (NAME_LABELS[1], name)];
    for (key, wanted) in pairs {
        let entry = Node::new(labels.value().at(key), labels.path.key(key));
        if !entry.is_set() {
            errs.push(entry.required(format!("must be '{wanted}'")));
        } else if entry.str() != wanted {
            errs.push(entry.invalid_as(labels.value(), format!("must be '{wanted}'")));
        }
    }
    let expected: serde_json::Map<String, Value> =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let expected = json!({"metadata": {"labels": expected}});
    let selector = spec.child("selector");
    if matches!(workload::matches(selector.value(), &expected), Match::No) {
        errs.push(selector.invalid("`selector` not auto-generated"));
    }
}

fn validate_spec(spec: &Node<'_>, rules: &Rules, lenient: bool, errs: &mut ErrorList) {
    job_spec::validate(spec, rules, errs);
    let selector = spec.child("selector");
    if selector.is_set() {
        check::label_selector(&selector, lenient, errs);
    } else {
        errs.push(selector.required(""));
    }
    let template = spec.child("template");
    if matches!(workload::matches(selector.value(), &template), Match::No) {
        workload::template_matches(&template, errs);
    }
}

/// Pods of an indexed job carry their index in their host name.
fn name_allows_completions(obj: &Node<'_>, errs: &mut ErrorList) {
    let spec = obj.at("spec");
    let last = spec.int("completions").unwrap_or_default() - 1;
    if spec.text("completionMode") != "Indexed" || last < 0 {
        return;
    }
    let metadata = obj.child("metadata");
    let name = metadata.child("name");
    let longest = format!("{}-{last}", name.str());
    if !names::dns1123_label(&longest).is_empty() {
        errs.push(
            name.invalid_text(format!("will not able to create pod with invalid DNS label: {longest}")),
        );
    }
}

/// An indexed job grows and shrinks; any other keeps its count.
fn completions(spec: &Node<'_>, before: &Value, errs: &mut ErrorList) {
    let completions = spec.child("completions");
    if spec.text("completionMode") != "Indexed" {
        completions.immutable(before.at("completions"), errs);
    } else if completions.is_set()
        && completions.value() != before.at("completions")
        && completions.value() != spec.at("parallelism")
    {
        errs.push(completions.invalid("can only be modified in tandem with spec.parallelism"));
    }
}

/// The template lasts, but for what a job that waits may still decide: where its pods go and what they need.
fn template(spec: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let before = old.at("spec");
    let template = spec.child("template");
    let mut expected = before.at("template").clone();
    let suspended = before.flag("suspend");
    let status = old.at("status");
    let waits = suspended
        && (!status.has("startTime") || job_status::condition(status, "Suspended"))
        && status.int("active").unwrap_or_default() == 0;
    if waits {
        let has_other = |affinity: &Value| affinity.has("podAffinity") || affinity.has("podAntiAffinity");
        let new_affinity = Tree::path(template.value(), &["spec", "affinity"]);
        let pod = expected.at_mut("spec");
        if new_affinity.is_null() && !has_other(pod.at("affinity")) {
            pod.drop_key("affinity");
        } else {
            pod.copy_from(template.at("spec"), &["affinity", "nodeAffinity"]);
        }
        for key in ["nodeSelector", "tolerations", "schedulingGates"] {
            pod.copy_from(template.at("spec"), &[key]);
        }
        for key in ["annotations", "labels"] {
            expected.copy_from(template.value(), &["metadata", key]);
        }
        for key in ["containers", "initContainers"] {
            let new = template.at("spec").list(key);
            if new.len() != expected.at("spec").list(key).len() {
                continue;
            }
            for (container, new) in expected.at_mut("spec").items_mut(key).zip(new) {
                if container.text("name") == new.text("name") {
                    container.copy_from(new, &["resources"]);
                }
            }
        }
        let shown = spec.child("template.spec");
        if !same(template.at("spec"), expected.at("spec")) {
            errs.push(shown.invalid_as(template.at("spec"), crate::node::IMMUTABLE));
        }
        return;
    }
    template.immutable(&expected, errs);
}

fn state(job: &Value) -> &'static str {
    let status = job.at("status");
    let is = |ty: &str| job_status::condition(status, ty);
    match () {
        _ if is("Complete") => "Complete",
        _ if is("Failed") => "Failed",
        _ if job.at("metadata").has("deletionTimestamp") => "Terminating",
        _ if is("Suspended") => "Suspended",
        _ if is("FailureTarget") => "FailureTarget",
        _ if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        _ => "Running",
    }
}

fn succeeded(job: &Value) -> String {
    let succeeded = job.at("status").int("succeeded").unwrap_or_default();
    let spec = job.at("spec");
    match (spec.int("completions"), spec.int("parallelism").unwrap_or_default()) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        _ => format!("{succeeded}/1"),
    }
}

fn duration(status: &Value, now: Wall) -> String {
    let at = |key: &str| crate::moment::parse(status.text(key));
    match (at("startTime"), at("completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => column::human_duration((end.unwrap_or(now).0 - start.0) / 1_000_000_000),
    }
}
