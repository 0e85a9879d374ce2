//! IngressClass: who serves ingresses, and how.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names;
use serde_json::Value;

use crate::column::{self, AGE, NAME, described};
use crate::kind::Kind;
use crate::meta;
use crate::networking::{GROUP, reference};
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    Kind {
        generation: vec![&["spec"]],
        columns: vec![
            NAME,
            described("Controller", "Controller that is responsible for handling this class"),
            described("Parameters", "A reference to a resource with additional parameters"),
            AGE,
        ],
        strategy: Arc::new(IngressClass),
        ..Kind::cluster(GROUP, "v1", "IngressClass", "ingressclasses")
    }
}

const MAX_CONTROLLER_BYTES: usize = 250;
const DEFAULT_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

struct IngressClass;

impl Strategy for IngressClass {
    fn default(&self, _version: &str, obj: &mut Value) {
        if let Some(parameters) = obj.find_mut(&["spec", "parameters"]).filter(|it| it.is_object())
            && !parameters.has("scope")
        {
            parameters.set("scope", "Cluster");
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = obj.child("spec");
        let controller = spec.child("controller");
        if controller.str().len() > MAX_CONTROLLER_BYTES {
            errs.push(controller.too_long(MAX_CONTROLLER_BYTES));
        }
        errs.extend(names::domain_prefixed_path(&controller.path, controller.str()));
        let parameters = spec.child("parameters");
        if parameters.is_set() {
            reference::validate(&parameters, errs);
            scope(&parameters, errs);
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = new.child("spec");
        let controller = spec.child("controller");
        if controller.str() != old.at("spec").text("controller") {
            errs.push(controller.invalid_text(crate::node::IMMUTABLE));
        }
        self.validate(new, cx, errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let (spec, metadata) = (obj.at("spec"), obj.at("metadata"));
        let is_default = metadata.at("annotations").text(DEFAULT_ANNOTATION) == "true";
        let suffix = if is_default { " (default)" } else { "" };
        let parameters = spec.at("parameters");
        let (kind, name) = (parameters.text("kind"), parameters.text("name"));
        let shown = match (parameters.is_null(), parameters.has("apiGroup")) {
            (true, _) => "<none>".to_owned(),
            (false, true) => format!("{kind}.{}/{name}", parameters.text("apiGroup")),
            (false, false) => format!("{kind}/{name}"),
        };
        vec![
            format!("{}{suffix}", metadata.text("name")).into(),
            spec.text("controller").into(),
            shown.into(),
            column::age(obj, now),
        ]
    }
}

fn scope(parameters: &Node<'_>, errs: &mut ErrorList) {
    let (scope, namespace) = (parameters.child("scope"), parameters.child("namespace"));
    match scope.str() {
        _ if !scope.is_set() => errs.push(scope.required("")),
        "Namespace" if !namespace.is_set() => {
            errs.push(namespace.required("`parameters.scope` is set to 'Namespace'"));
        }
        "Namespace" => namespace.complaints(meta::LABEL(namespace.str(), false), errs),
        "Cluster" if namespace.is_set() => {
            errs.push(namespace.forbidden("`parameters.scope` is set to 'Cluster'"));
        }
        "Cluster" => {}
        _ => errs.push(scope.not_supported(&["Cluster", "Namespace"])),
    }
}
