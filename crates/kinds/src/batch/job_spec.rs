//! What a job and the job template of a cron job share.

use grammar::field::ErrorList;
use grammar::names;
use serde_json::{Value, json};

use crate::batch::job_policy;
use crate::node::Node;
use crate::pod::{self, Rules, defaults, prepare};
use crate::tree::{Tree, TreeMut};
use crate::workload;

const MAX_INDEXED_PARALLELISM: i64 = 100_000;
const MAX_FAILED_INDEXES: i64 = 100_000;
/// Beyond so many completions the record of their indexes grows too long for all freedoms at once.
const MANY_COMPLETIONS: i64 = 100_000;
const MAX_PARALLELISM_OF_MANY: i64 = 10_000;
const MAX_FAILED_INDEXES_OF_MANY: i64 = 10_000;
const MAX_MANAGER_BYTES: usize = 63;

/// The defaults of any job spec.
pub(super) fn default(spec: &mut Value) {
    defaults::spec(spec.at_mut("template").at_mut("spec"));
    for rule in spec.at_path(&["podFailurePolicy", "rules"]) {
        for condition in rule.items_mut("onPodConditions") {
            condition.set_default("status", "True");
        }
    }
}

/// The defaults that a job has and a template leaves open.
pub(super) fn default_job(spec: &mut Value) {
    if !spec.has("completions") && !spec.has("parallelism") {
        spec.set("completions", 1);
    }
    spec.set_default("parallelism", 1);
    if !spec.has("backoffLimit") {
        let limit = if spec.has("backoffLimitPerIndex") { i32::MAX } else { 6 };
        spec.set("backoffLimit", limit);
    }
    for (key, value) in
        [("completionMode", json!("NonIndexed")), ("suspend", json!(false)), ("manualSelector", json!(false))]
    {
        if !spec.has(key) {
            spec.set(key, value);
        }
    }
    if !spec.has("podReplacementPolicy") {
        let policy = if spec.has("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        spec.set("podReplacementPolicy", policy);
    }
}

/// Drops what belongs to features that are off.
pub(super) fn prepare(spec: &mut Value, old: &Value) {
    if !old.has("scheduling") {
        spec.drop_key("scheduling");
    }
    prepare::template(spec.at_mut("template"), old.at("template"));
}

/// Everything that must hold of a job spec, apart from its selector.
pub(super) fn validate(spec: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    workload::counts(
        spec,
        &[
            "parallelism",
            "completions",
            "activeDeadlineSeconds",
            "backoffLimit",
            "ttlSecondsAfterFinished",
            "backoffLimitPerIndex",
            "maxFailedIndexes",
        ],
        errs,
    );
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        errs.push(spec.child("backoffLimitPerIndex").required("when maxFailedIndexes is specified"));
    }
    let manager = spec.child("managedBy");
    if manager.is_set() {
        errs.extend(names::domain_prefixed_path(&manager.path, manager.str()));
        if manager.str().len() > MAX_MANAGER_BYTES {
            errs.push(manager.too_long(MAX_MANAGER_BYTES));
        }
    }
    let mode = spec.child("completionMode");
    if mode.is_set() {
        mode.one_of(&["NonIndexed", "Indexed"], errs);
    }
    match mode.as_str() {
        Some("Indexed") => indexed(spec, errs),
        None | Some("NonIndexed") => {
            for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if spec.has(key) {
                    errs.push(spec.child(key).invalid("requires indexed completion mode"));
                }
            }
        }
        Some(_) => {}
    }
    job_policy::validate(spec, errs);
    let template = spec.child("template");
    pod::validate_template(&template, rules, errs);
    restart_policy(spec, &template, errs);
}

fn indexed(spec: &Node<'_>, errs: &mut ErrorList) {
    let (completions, parallelism, failed) =
        (spec.child("completions"), spec.child("parallelism"), spec.child("maxFailedIndexes"));
    let at_most = |node: &Node<'_>, limit: i64, why: &str, errs: &mut ErrorList| {
        if node.is_set() && node.number() > limit {
            errs.push(node.invalid(format!("must be less than or equal to {limit}{why}")));
        }
    };
    if !completions.is_set() {
        errs.push(completions.required("when completion mode is Indexed"));
    }
    at_most(&parallelism, MAX_INDEXED_PARALLELISM, " when completion mode is Indexed", errs);
    if completions.is_set() && failed.is_set() && failed.number() > completions.number() {
        errs.push(failed.invalid("must be less than or equal to completions"));
    }
    at_most(&failed, MAX_FAILED_INDEXES, "", errs);
    if completions.number() > MANY_COMPLETIONS && spec.has("backoffLimitPerIndex") {
        let why =
            format!(" when completions are above {MANY_COMPLETIONS} and used with backoff limit per index");
        if !failed.is_set() {
            errs.push(
                failed.required(format!("must be specified when completions is above {MANY_COMPLETIONS}")),
            );
        }
        at_most(&parallelism, MAX_PARALLELISM_OF_MANY, &why, errs);
        at_most(&failed, MAX_FAILED_INDEXES_OF_MANY, &why, errs);
    }
}

/// Pods of a job end; with a failure policy the job alone decides what follows.
fn restart_policy(spec: &Node<'_>, template: &Node<'_>, errs: &mut ErrorList) {
    let pod = template.child("spec");
    let policy = pod.child("restartPolicy");
    match policy.str() {
        "Always" | "" => errs.push(policy.required("valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if spec.has("podFailurePolicy") => {
            errs.push(policy.invalid("only \"Never\" is supported when podFailurePolicy is specified"));
        }
        "OnFailure" | "Never" => {}
        _ => errs.push(policy.not_supported(&["OnFailure", "Never"])),
    }
}

/// Warnings for a job spec.
pub(super) fn warnings(spec: &Node<'_>) -> Vec<String> {
    let many = spec.int("completions").unwrap_or_default() > MANY_COMPLETIONS
        && spec.int("parallelism").unwrap_or_default() > MAX_PARALLELISM_OF_MANY;
    let mut warnings = Vec::new();
    if spec.text("completionMode") == "Indexed" && many {
        warnings.push(format!(
            "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            spec.path
        ));
    }
    warnings.extend(pod::warnings::of(&spec.child("template"), true));
    warnings
}
