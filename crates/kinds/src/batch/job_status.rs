//! `/status` of a job: counters that only rise and conditions that tell one story.
//!
//! Most rules look only at what a write changes, so that a status which an older controller left behind does not
//! block the next one.

use std::collections::BTreeSet;

use grammar::field::{BadValue, ErrorList};
use serde_json::Value;

use crate::batch::job_indexes;
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, same};
use crate::workload;

pub(super) struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let (status, before) = (new.child("status"), old.at("status"));
        workload::counts(&status, &["active", "succeeded", "failed", "ready", "terminating"], errs);
        uncounted(&status.child("uncountedTerminatedPods"), errs);
        let write = Write { job: new.value(), status, before };
        write.conditions_agree(errs);
        write.times(errs);
        write.finished(errs);
        write.indexes(errs);
        write.lasts(errs);
    }
}

/// Whether `ty` is true.
pub(super) fn condition(status: &Value, ty: &str) -> bool {
    status
        .list("conditions")
        .iter()
        .any(|condition| condition.text("type") == ty && condition.text("status") == "True")
}

fn is_finished(status: &Value) -> bool {
    condition(status, "Complete") || condition(status, "Failed")
}

fn uncounted(pods: &Node<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for key in ["succeeded", "failed"] {
        for uid in pods.child(key).items() {
            if uid.str().is_empty() {
                errs.push(uid.invalid("must not be empty"));
            } else if !seen.insert(uid.str().to_owned()) {
                errs.push(uid.duplicate());
            }
        }
    }
}

struct Write<'a> {
    job: &'a Value,
    status: Node<'a>,
    before: &'a Value,
}

impl Write<'_> {
    fn is(&self, ty: &str) -> bool {
        condition(&self.status, ty)
    }

    fn was(&self, ty: &str) -> bool {
        condition(self.before, ty)
    }

    fn turned(&self, ty: &str) -> bool {
        self.is(ty) != self.was(ty)
    }

    fn changed(&self, key: &str) -> bool {
        !same(self.status.at(key), self.before.at(key))
    }

    fn refuse_conditions(&self, complaint: impl Into<String>, errs: &mut ErrorList) {
        errs.push(self.status.child("conditions").invalid_as(BadValue::Omitted, complaint));
    }

    fn conditions_agree(&self, errs: &mut ErrorList) {
        let (complete, failed) = (self.is("Complete"), self.is("Failed"));
        let (met, target) = (self.is("SuccessCriteriaMet"), self.is("FailureTarget"));
        let changes = self.turned("Complete");
        let mut refuse = |when: bool, complaint: &str| {
            if when {
                self.refuse_conditions(complaint, errs);
            }
        };
        refuse(
            (changes || self.turned("Failed")) && complete && failed,
            "cannot set Complete=True and Failed=true conditions",
        );
        refuse(
            (changes || self.turned("FailureTarget")) && complete && target,
            "cannot set Complete=True and FailureTarget=true conditions",
        );
        refuse(
            (self.turned("Failed") || self.changed("failedIndexes")) && failed && !target,
            "cannot set Failed=True condition without the FailureTarget=true condition",
        );
        refuse(
            (changes || self.turned("SuccessCriteriaMet")) && complete && !met,
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        );
        refuse(met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
        refuse(met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
        refuse(
            self.job.at("spec").has("successPolicy") && !met && complete,
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        );
    }

    fn times(&self, errs: &mut ErrorList) {
        let (start, end) = (self.status.child("startTime"), self.status.child("completionTime"));
        let complete = self.is("Complete");
        if self.turned("Complete") || self.changed("completionTime") {
            if end.is_set() && !complete {
                errs.push(end.invalid("cannot set completionTime when there is no Complete=True condition"));
            } else if !end.is_set() && complete {
                errs.push(end.required("completionTime is required for Complete jobs"));
            }
        }
        let at = |node: &Node<'_>| crate::moment::parse(node.str());
        if (self.changed("startTime") || self.changed("completionTime"))
            && let (Some(started), Some(ended)) = (at(&start), at(&end))
            && ended < started
        {
            errs.push(end.invalid("must be equal to or after `startTime`"));
        }
    }

    fn finished(&self, errs: &mut ErrorList) {
        let finished = is_finished(&self.status);
        let changes = finished != is_finished(self.before);
        let spec = self.job.at("spec");
        let nothing_to_do = spec.flag("suspend") && spec.int("completions") == Some(0);
        let child = |key: &'static str| self.status.child(key);
        if finished && (changes || self.changed("active")) && child("active").number() > 0 {
            errs.push(child("active").invalid("active>0 is invalid for finished job"));
        }
        if finished
            && (changes || self.changed("startTime"))
            && !nothing_to_do
            && !child("startTime").is_set()
        {
            errs.push(child("startTime").required("startTime is required for finished job"));
        }
        let uncounted = child("uncountedTerminatedPods");
        if finished
            && (changes || self.changed("uncountedTerminatedPods"))
            && ["failed", "succeeded"].iter().any(|key| !uncounted.list(key).is_empty())
        {
            errs.push(uncounted.invalid("must be empty for finished job"));
        }
        if finished && (changes || self.changed("terminating")) && child("terminating").number() > 0 {
            errs.push(child("terminating").invalid("terminating>0 is invalid for finished job"));
        }
        let ready = child("ready");
        if (self.changed("ready") || self.changed("active"))
            && ready.is_set()
            && ready.number() > child("active").number()
        {
            errs.push(ready.invalid("cannot set more ready pods than active"));
        }
    }

    fn indexes(&self, errs: &mut ErrorList) {
        let spec = self.job.at("spec");
        let (completed, failed) = (self.status.child("completedIndexes"), self.status.child("failedIndexes"));
        let (completed_changes, failed_changes) =
            (self.changed("completedIndexes"), self.changed("failedIndexes"));
        let per_index = spec.has("backoffLimitPerIndex");
        let parse = |node: &Node<'_>, key: &str, completions: i64, errs: &mut ErrorList| {
            if let Err(complaint) = job_indexes::count(node.str(), completions) {
                errs.push(node.invalid_text(format!("error parsing {key}: {complaint}")));
            }
        };
        if let Some(completions) = spec.int("completions") {
            if completed_changes {
                parse(&completed, "completedIndexes", completions, errs);
            }
            if failed_changes && per_index && failed.is_set() {
                parse(&failed, "failedIndexes", completions, errs);
            }
        }
        if completed_changes && !completed.str().is_empty() && spec.text("completionMode") != "Indexed" {
            errs.push(
                completed.invalid("cannot set non-empty completedIndexes when non-indexed completion mode"),
            );
        }
        if failed_changes && !per_index && failed.is_set() {
            errs.push(failed.invalid("cannot set non-null failedIndexes when backoffLimitPerIndex is null"));
        }
        if (failed_changes || completed_changes)
            && failed.is_set()
            && let Some(completions) = spec.int("completions")
            && let Some(index) = job_indexes::overlap(completed.str(), failed.str(), completions)
        {
            errs.push(
                failed.invalid(format!("failedIndexes and completedIndexes overlap at index: {index}")),
            );
        }
    }

    /// What has happened does not unhappen.
    fn lasts(&self, errs: &mut ErrorList) {
        for ty in ["Failed", "Complete", "FailureTarget"] {
            if self.was(ty) && !self.is(ty) {
                self.refuse_conditions(format!("cannot disable the terminal {ty}=True condition"), errs);
            }
        }
        let spec = self.job.at("spec");
        let elastic =
            spec.text("completionMode") == "Indexed" && spec.at("completions") == spec.at("parallelism");
        for (key, checked) in [("failed", true), ("succeeded", !elastic)] {
            let node = self.status.child(key);
            if checked && node.number() < self.before.int(key).unwrap_or_default() {
                errs.push(node.invalid_number(format!("cannot decrease the {key} counter")));
            }
        }
        let end = self.status.child("completionTime");
        if end.is_set() && self.before.has("completionTime") && self.changed("completionTime") {
            errs.push(end.invalid(crate::node::IMMUTABLE));
        }
        let resumes = self.was("Suspended")
            && self.status.list("conditions").iter().any(|condition| {
                condition.text("type") == "Suspended" && condition.text("status") == "False"
            });
        if self.changed("startTime") && self.before.has("startTime") && !resumes && !spec.flag("suspend") {
            let start = self.status.child("startTime");
            errs.push(start.invalid("field is immutable for unsuspended job once set"));
        }
        if self.was("SuccessCriteriaMet") && !self.is("SuccessCriteriaMet") {
            self.refuse_conditions("cannot disable the SuccessCriteriaMet=True condition", errs);
        }
        if self.was("Complete") && !self.was("SuccessCriteriaMet") && self.is("SuccessCriteriaMet") {
            self.refuse_conditions(
                "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
                errs,
            );
        }
    }
}
