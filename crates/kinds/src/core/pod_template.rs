//! PodTemplate: a template of pods that stands on its own.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::selector::label::format_labels;
use serde_json::Value;

use crate::column::{self, NAME, described};
use crate::kind::Kind;
use crate::node::Node;
use crate::pod::{self, Rules, defaults, prepare, warnings};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    Kind {
        generation: vec![&["template"]],
        columns: vec![
            NAME,
            described("Containers", "Names of each container in the template."),
            described("Images", "Images referenced by each container in the template."),
            described("Pod Labels", "The labels for the pod template."),
        ],
        strategy: Arc::new(PodTemplate),
        ..Kind::namespaced("", "v1", "PodTemplate", "podtemplates")
    }
}

struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, _version: &str, obj: &mut Value) {
        defaults::spec(obj.at_mut("template").at_mut("spec"));
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        prepare::template(obj.at_mut("template"), &Value::Null);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        prepare::template(new.at_mut("template"), old.at("template"));
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        pod::validate_template(&obj.child("template"), &Rules::default(), errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let rules = Rules::for_template_update(old.at("template"));
        pod::validate_template(&new.child("template"), &rules, errs);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let generation = |obj: &Value| obj.at("metadata").int("generation");
        if old.is_some_and(|old| generation(old) == generation(new)) {
            return Vec::new();
        }
        warnings::of(&Node::root(new).child("template"), true)
    }

    fn cells(&self, obj: &Value, _now: Wall) -> Vec<Value> {
        let template = obj.at("template");
        let [containers, images] = column::containers_and_images(template.at("spec"));
        let labels = template.at("metadata").entries("labels");
        let labels = labels.map(|(key, value)| (key, value.as_str().unwrap_or_default()));
        vec![column::name(obj), containers, images, format_labels(labels).into()]
    }
}
