//! StorageVersionMigration: every object of a resource is to be stored in its current version.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names::{self, Complaints};
use serde_json::Value;

use crate::column::{self, Column, NAME, described};
use crate::condition;
use crate::kind::{Kind, Subresource};
use crate::node::{IMMUTABLE, Node};
use crate::strategy::{Context, Strategy};
use crate::tree::Tree;

pub(crate) fn kind() -> Kind {
    Kind {
        unconditional_update: false,
        resets: vec![&["status"]],
        subresources: vec![Subresource::status(&[&["metadata"], &["spec"]], Status)],
        columns: vec![
            Column { format: "".into(), ..NAME },
            described("Resource", "GroupResource to migrate"),
            described("Status", "Status of the migration"),
        ],
        strategy: Arc::new(StorageVersionMigration),
        ..Kind::cluster(
            "storagemigration.k8s.io",
            "v1",
            "StorageVersionMigration",
            "storageversionmigrations",
        )
    }
}

struct StorageVersionMigration;

impl Strategy for StorageVersionMigration {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = obj.child("spec");
        let target = spec.child("resource");
        let (group, resource) = (target.child("group"), target.child("resource"));
        match resource.str() {
            "" => errs.push(resource.required("resource is required to be set")),
            text => all_in_one(&resource, names::dns1035_label(text), errs),
        }
        if !group.str().is_empty() {
            all_in_one(&group, names::dns1123_subdomain(group.str()), errs);
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        self.validate(new, cx, errs);
        new.child("spec").immutable(old.at("spec"), errs);
    }

    fn cells(&self, obj: &Value, _now: Wall) -> Vec<Value> {
        let target = obj.path(&["spec", "resource"]);
        let resource = match target.text("group") {
            "" => target.text("resource").to_owned(),
            group => format!("{}.{group}", target.text("resource")),
        };
        let known = ["Running", "Failed", "Succeeded"];
        let conditions = obj.at("status").list("conditions").iter();
        let current = conditions
            .filter(|condition| condition.text("status") == "True")
            .map(|condition| condition.text("type"))
            .rfind(|ty| known.contains(ty));
        vec![column::name(obj), resource.into(), current.unwrap_or("Unknown").into()]
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let (status, before) = (new.child("status"), old.at("status"));
        let version = status.child("resourceVersion");
        if let Some(complaint) = bad_resource_version(version.str()) {
            errs.push(version.invalid(complaint));
        }
        let conditions = status.child("conditions");
        condition::validate(&conditions, errs);
        if !before.text("resourceVersion").is_empty() && before.text("resourceVersion") != version.str() {
            errs.push(version.invalid_text(IMMUTABLE));
        }
        let holds = |status: &Value, ty: &str| {
            let mut conditions = status.list("conditions").iter();
            conditions.find(|c| c.text("type") == ty).is_some_and(|c| c.text("status") == "True")
        };
        if holds(&status, "Succeeded") && holds(&status, "Failed") {
            errs.push(
                conditions.invalid("Both success and failed conditions cannot be true at the same time"),
            );
        }
        for (ty, word) in [("Succeeded", "Success"), ("Failed", "Failed")] {
            if holds(before, ty) && !holds(&status, ty) {
                errs.push(
                    conditions.invalid(format!("{word} condition cannot be set to false once it is true")),
                );
            }
        }
    }
}

fn all_in_one(node: &Node<'_>, complaints: Complaints, errs: &mut ErrorList) {
    if !complaints.is_empty() {
        errs.push(node.invalid(complaints.join(",")));
    }
}

/// What is wrong with a resource version that is to be compared: it is a number in its shortest form.
fn bad_resource_version(version: &str) -> Option<String> {
    let is_number = version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0');
    match version.is_empty() || is_number {
        true => None,
        false => Some(format!("resource version is not well formed: {version}")),
    }
}
