//! ResourceClaimTemplate: what the claims of pods look like.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::column::{self, AGE, NAME};
use crate::kind::Kind;
use crate::meta;
use crate::node::Node;
use crate::resource::{GROUP, claim};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    Kind {
        columns: vec![NAME, AGE],
        strategy: Arc::new(ResourceClaimTemplate),
        ..Kind::namespaced(GROUP, "v1", "ResourceClaimTemplate", "resourceclaimtemplates")
    }
}

struct ResourceClaimTemplate;

impl Strategy for ResourceClaimTemplate {
    fn default(&self, _version: &str, obj: &mut Value) {
        if let Some(spec) = obj.find_mut(&["spec", "spec"]) {
            claim::default(spec);
        }
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        if let Some(spec) = obj.find_mut(&["spec", "spec"]) {
            claim::drop_disabled(spec, &Value::Null);
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        if let Some(spec) = new.find_mut(&["spec", "spec"]) {
            claim::drop_disabled(spec, old.path(&["spec", "spec"]));
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let template = obj.child("spec");
        let metadata = template.child("metadata");
        meta::annotations(&metadata.child("annotations"), errs);
        meta::labels(&metadata.child("labels"), errs);
        claim::validate(&template.child("spec"), errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        self.validate(new, cx, errs);
        new.child("spec").immutable(old.at("spec"), errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        vec![column::name(obj), column::age(obj, now)]
    }
}
