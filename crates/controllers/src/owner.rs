//! Ownership: who controls an object, and which orphans to adopt or children to let go.

use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use grammar::field::Path;
use grammar::selector::label::{Operator, Requirement, Selector};
use serde_json::json;
use std::sync::Arc;

use crate::plan::{Action, Guard, Kind, Operation, PatchFormat, Target};

/// What a controller makes of an object that it might own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is ours and matches.
    Owned,
    /// It matches and has no controller: take it.
    Adopt,
    /// It is ours and matches no longer: let it go.
    Release,
    /// It is none of our business.
    Ignore,
}

/// A controller as the owner of others.
#[derive(Clone, Debug)]
pub struct Owner<'a> {
    pub kind: Kind,
    pub meta: &'a ObjectMeta,
}

impl Owner<'_> {
    /// What to do about `object`, given whether the owner's selector matches it. An owner that is being deleted keeps
    /// what it has, for the garbage collector to see, and takes nothing more.
    pub fn claim(&self, object: &ObjectMeta, matches: bool) -> Claim {
        let deleting = self.meta.deletion_timestamp.is_some();
        match controller_of(object) {
            Some(controller) if Some(&controller.uid) != self.meta.uid.as_ref() => Claim::Ignore,
            Some(_) if matches => Claim::Owned,
            Some(_) if deleting => Claim::Ignore,
            Some(_) => Claim::Release,
            None if deleting || !matches || object.deletion_timestamp.is_some() => Claim::Ignore,
            None if self.meta.namespace != object.namespace => Claim::Ignore,
            None => Claim::Adopt,
        }
    }

    pub fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.kind.api_version(),
            kind: self.kind.kind.to_string(),
            name: self.meta.name.clone().unwrap_or_default(),
            uid: self.meta.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// Takes an orphan. The owner is read fresh before: a cache may not know yet that it is being deleted, and what a
    /// dying owner adopts dies with it.
    pub fn adopt(&self, kind: Kind, object: &ObjectMeta) -> Operation {
        let reference = self.reference();
        let body = json!({"metadata": {"ownerReferences": [{
            "apiVersion": reference.api_version,
            "kind": reference.kind,
            "name": reference.name,
            "uid": reference.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }]}});
        let guard = Guard {
            target: Target::of(self.kind.clone(), self.meta),
            uid: self.meta.uid.clone().unwrap_or_default(),
        };
        strategic(kind, object, body).guarded(guard)
    }

    pub fn release(&self, kind: Kind, object: &ObjectMeta) -> Operation {
        let body = json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": self.meta.uid}]}});
        strategic(kind, object, body)
    }
}

fn strategic(kind: Kind, object: &ObjectMeta, body: serde_json::Value) -> Operation {
    let action = Action::Patch { format: PatchFormat::Strategic, subresource: None, body: Arc::new(body) };
    Operation::on(kind, object, action)
}

/// The owner reference that is marked as the controller.
pub fn controller_of(object: &ObjectMeta) -> Option<&OwnerReference> {
    object.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

pub fn is_controlled_by(object: &ObjectMeta, owner: &ObjectMeta) -> bool {
    controller_of(object).is_some_and(|controller| Some(&controller.uid) == owner.uid.as_ref())
}

/// A selector that was stored matches as written; one that is malformed matches nothing, so that nothing is adopted or
/// deleted on its word.
pub fn selector(object: &LabelSelector) -> Option<Selector> {
    let root = Path::nil();
    let labels = object.match_labels.iter().flatten();
    let mut requirements = Vec::new();
    for (key, value) in labels {
        requirements.push(Requirement::new(key, Operator::Equals, vec![value.clone()], &root).ok()?);
    }
    for expression in object.match_expressions.iter().flatten() {
        let operator = match expression.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return None,
        };
        let values = expression.values.clone().unwrap_or_default();
        requirements.push(Requirement::new(&expression.key, operator, values, &root).ok()?);
    }
    Some(Selector::new(requirements))
}

pub fn matches(selector: &Selector, object: &ObjectMeta) -> bool {
    selector.matches(&object.labels.as_ref())
}
