//! What a job makes of failed pods, and when it has succeeded early.

use std::collections::BTreeSet;

use grammar::field::{BadValue, ErrorList};

use crate::batch::job_indexes;
use crate::check;
use crate::node::Node;
use crate::tree::Tree;

const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_CONDITIONS: usize = 20;
const MAX_INDEXES_BYTES: usize = 64 * 1024;

pub(super) fn validate(spec: &Node<'_>, errs: &mut ErrorList) {
    let failure = spec.child("podFailurePolicy");
    if failure.is_set() {
        let rules = failure.child("rules");
        if rules.len() > MAX_RULES {
            errs.push(rules.too_many(MAX_RULES));
        }
        for rule in rules.items() {
            failure_rule(spec, &rule, errs);
        }
    }
    let success = spec.child("successPolicy");
    if success.is_set() && spec.text("completionMode") != "Indexed" {
        errs.push(success.invalid("requires indexed completion mode"));
    } else if success.is_set() {
        success_rules(spec, &success.child("rules"), errs);
    }
    let replacement = spec.child("podReplacementPolicy");
    match (replacement.is_set(), failure.is_set()) {
        (true, true) => replacement.one_of(&["Failed"], errs),
        (true, false) => replacement.one_of(&["Failed", "TerminatingOrFailed"], errs),
        (false, _) => {}
    }
}

/// One of `supported`; what is empty is required, with the choice spelled out as Go spells a list.
fn choice(node: &Node<'_>, supported: &[&str], errs: &mut ErrorList) {
    match node.str() {
        "" => {
            let quoted: Vec<String> = supported.iter().map(|text| format!("\"{text}\"")).collect();
            errs.push(node.required(format!("valid values: [{}]", quoted.join(" "))));
        }
        _ => node.one_of(supported, errs),
    }
}

fn failure_rule(spec: &Node<'_>, rule: &Node<'_>, errs: &mut ErrorList) {
    let action = rule.child("action");
    match action.str() {
        "FailIndex" => {
            if !spec.has("backoffLimitPerIndex") {
                errs.push(action.invalid("requires the backoffLimitPerIndex to be set"));
            }
        }
        _ => choice(&action, &["Count", "FailIndex", "FailJob", "Ignore"], errs),
    }
    let (codes, conditions) = (rule.child("onExitCodes"), rule.child("onPodConditions"));
    if codes.is_set() {
        exit_codes(spec, &codes, errs);
    }
    if conditions.len() > MAX_CONDITIONS {
        errs.push(conditions.too_many(MAX_CONDITIONS));
    }
    for condition in conditions.items() {
        check::qualified_name(&condition.child("type"), errs);
        choice(&condition.child("status"), &["False", "True", "Unknown"], errs);
    }
    let complaint = match (codes.is_set(), conditions.is_empty()) {
        (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errs.push(rule.invalid_as(BadValue::Omitted, complaint));
}

fn exit_codes(spec: &Node<'_>, codes: &Node<'_>, errs: &mut ErrorList) {
    let operator = codes.child("operator");
    choice(&operator, &["In", "NotIn"], errs);
    let container = codes.child("containerName");
    let pod = Tree::path(spec.value(), &["template", "spec"]);
    let mut names = ["containers", "initContainers"].iter().flat_map(|key| pod.list(key));
    if container.is_set() && !names.any(|known| known.text("name") == container.str()) {
        errs.push(
            container.invalid("must be one of the container or initContainer names in the pod template"),
        );
    }
    let values = codes.child("values");
    if values.is_empty() {
        errs.push(values.invalid("at least one value is required"));
    } else if values.len() > MAX_EXIT_CODES {
        errs.push(values.too_many(MAX_EXIT_CODES));
    }
    let mut seen = BTreeSet::new();
    let mut last = i64::MIN;
    let mut ordered = true;
    for value in values.items() {
        let code = value.number();
        if operator.str() == "In" && code == 0 {
            errs.push(value.invalid("must not be 0 for the In operator"));
        }
        if !seen.insert(code) {
            errs.push(value.duplicate());
        }
        ordered &= last <= code;
        last = code;
    }
    if !ordered {
        errs.push(values.invalid("must be ordered"));
    }
}

fn success_rules(spec: &Node<'_>, rules: &Node<'_>, errs: &mut ErrorList) {
    if rules.is_empty() {
        errs.push(rules.required("at least one rules must be specified when the successPolicy is specified"));
    }
    if rules.len() > MAX_RULES {
        errs.push(rules.too_many(MAX_RULES));
    }
    let completions = spec.int("completions").unwrap_or_default();
    for rule in rules.items() {
        let (count, indexes) = (rule.child("succeededCount"), rule.child("succeededIndexes"));
        if !count.is_set() && !indexes.is_set() {
            errs.push(rule.required("at least one of succeededCount or succeededIndexes must be specified"));
        }
        let mut total = 0;
        if indexes.is_set() {
            if indexes.str().len() > MAX_INDEXES_BYTES {
                errs.push(indexes.too_long(MAX_INDEXES_BYTES));
            }
            match job_indexes::count(indexes.str(), completions) {
                Ok(counted) => total = counted,
                Err(complaint) => {
                    errs.push(indexes.invalid(format!("error parsing succeededIndexes: {complaint}")));
                }
            }
        }
        if !count.is_set() {
            continue;
        }
        count.not_negative(errs);
        if count.number() > completions {
            errs.push(count.invalid(format!(
                "must be less than or equal to {completions} (the number of specified completions)"
            )));
        }
        if indexes.is_set() && count.number() > total {
            errs.push(count.invalid(format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes \
                 field)"
            )));
        }
    }
}
