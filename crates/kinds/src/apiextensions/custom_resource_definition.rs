//! CustomResourceDefinition: a kind that is served from now on.
//!
//! Expressions of `x-kubernetes-validations` are read and not compiled here. Whether names are accepted and the kind
//! is established is for the server to say, in the status's conditions.

use std::collections::BTreeSet;
use std::sync::Arc;

use grammar::field::{ErrorList, Path};
use grammar::go;
use serde_json::{Value, json};

use crate::admissionregistration::client;
use crate::apiextensions::{definition_names, definition_spec};
use crate::kind::{Kind, Selectable, Subresource, names as texts};
use crate::meta;
use crate::node::{IMMUTABLE, Node};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["crd", "crds"]),
        categories: texts(&["api-extensions"]),
        key_prefix: "/registry/apiextensions.k8s.io/customresourcedefinitions".into(),
        unconditional_update: false,
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        subresources: vec![Subresource::status(&[&["spec"]], Status)],
        // Upstream lets a selector name the namespace, which is always empty.
        selectable: vec![Selectable::field("metadata.namespace")],
        name_rule: meta::SUBDOMAIN,
        qualified_finalizers: false,
        strategy: Arc::new(CustomResourceDefinition),
        ..Kind::cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
    }
}

/// Groups of the project itself need its approval.
const APPROVAL: &str = "api-approved.kubernetes.io";
const RULES: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    fn default(&self, _version: &str, obj: &mut Value) {
        let spec = obj.at_mut("spec");
        let kind = spec.at("names").text("kind").to_owned();
        let given = spec.at_mut("names");
        if !kind.is_empty() {
            given.set_default("singular", kind.to_lowercase());
            given.set_default("listKind", format!("{kind}List"));
        }
        if !spec.has("conversion") {
            spec.set("conversion", json!({"strategy": "None"}));
        }
        let service = spec.find_mut(&["conversion", "webhook", "clientConfig", "service"]);
        if let Some(service) = service.filter(|service| service.is_object())
            && !service.has("port")
        {
            service.set("port", client::DEFAULT_PORT);
        }
        if obj.at("status").list("storedVersions").is_empty() {
            store_in_current_version(obj);
        }
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        obj.at_mut("status").set("acceptedNames", json!({"plural": "", "kind": ""}));
        store_in_current_version(obj);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value, _cx: &Context<'_>) {
        store_in_current_version(new);
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        // Upstream asks this of a definition's first name alone: it never changes.
        let (metadata, spec) = (obj.child("metadata"), obj.at("spec"));
        let wanted = format!("{}.{}", spec.at("names").text("plural"), spec.text("group"));
        for name in [metadata.child("name"), metadata.child("generateName")] {
            if !name.str().is_empty() && name.str() != wanted {
                errs.push(name.invalid("must be spec.names.plural+\".\"+spec.group"));
            }
        }
        validate(obj, None, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(new, Some(old), errs);
        let (spec, before) = (new.child("spec"), old.at("spec"));
        let names = spec.child("names");
        let fixed = |node: &Node<'_>, was: &str, errs: &mut ErrorList| {
            if node.str() != was {
                errs.push(node.invalid_text(IMMUTABLE));
            }
        };
        if is_established(old) {
            fixed(&spec.child("scope"), before.text("scope"), errs);
            fixed(&names.child("kind"), before.at("names").text("kind"), errs);
        }
        fixed(&spec.child("group"), before.text("group"), errs);
        fixed(&names.child("plural"), before.at("names").text("plural"), errs);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let known = old.map(definition_spec::warnings).unwrap_or_default();
        definition_spec::warnings(new).into_iter().filter(|warning| !known.contains(warning)).collect()
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, _old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        accepted_names(new, errs);
    }
}

/// Whether the kind is served already.
pub(super) fn is_established(definition: &Value) -> bool {
    let conditions = definition.at("status").list("conditions");
    conditions.iter().any(|c| c.text("type") == "Established" && c.text("status") == "True")
}

/// Remembers in which versions objects may lie in the store.
fn store_in_current_version(obj: &mut Value) {
    let versions = obj.at("spec").list("versions");
    let Some(current) = versions.iter().find(|version| version.flag("storage")) else { return };
    let name = current.text("name").to_owned();
    let stored = obj.at_mut("status").at_mut("storedVersions");
    match stored {
        Value::Array(list) if list.iter().any(|version| *version == *name) => {}
        Value::Array(list) => list.push(name.into()),
        other => *other = json!([name]),
    }
}

fn validate(obj: &Node<'_>, old: Option<&Value>, errs: &mut ErrorList) {
    definition_spec::validate(obj, old, errs);
    accepted_names(obj, errs);
    stored_versions(obj, errs);
    approval(obj, old, errs);
    let spec = obj.child("spec");
    let was_set = old.is_some_and(|old| old.at("spec").flag("preserveUnknownFields"));
    if spec.flag("preserveUnknownFields") && !was_set {
        errs.push(spec.child("preserveUnknownFields").invalid(
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema \
             instead",
        ));
    }
}

fn accepted_names(obj: &Node<'_>, errs: &mut ErrorList) {
    let status = obj.child("status");
    definition_names::validate(&status.child("acceptedNames"), errs);
}

/// No version may go while objects may lie in the store in it.
fn stored_versions(obj: &Node<'_>, errs: &mut ErrorList) {
    let status = obj.child("status");
    let stored = status.child("storedVersions");
    if stored.is_empty() {
        errs.push(stored.invalid_as(&Value::Null, "must have at least one stored version"));
        return;
    }
    let versions = obj.at("spec").list("versions");
    let names: BTreeSet<&str> = versions.iter().map(|version| version.text("name")).collect();
    for version in versions.iter().filter(|version| version.flag("storage")) {
        if stored.items().all(|item| item.str() != version.text("name")) {
            errs.push(stored.invalid(format!("must have the storage version {}", version.text("name"))));
        }
    }
    for item in stored.items().filter(|item| !names.contains(item.str())) {
        let name = item.str();
        errs.push(item.invalid(format!(
            "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions \
             until a storage migration ensures no data remains persisted in {name} and removes {name} from \
             status.storedVersions"
        )));
    }
}

/// How an approval annotation is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

impl Approval {
    fn of(definition: &Value) -> Approval {
        let text = definition.path(&["metadata", "annotations"]).text(APPROVAL);
        let host = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty()).map(|(_, rest)| rest);
        match text {
            "" => Approval::Missing,
            _ if text.starts_with("unapproved") => Approval::Bypassed,
            _ if host.is_some_and(|host| !host.is_empty() && !host.starts_with(['/', '?'])) => {
                Approval::Approved
            }
            _ => Approval::Invalid,
        }
    }
}

fn approval(obj: &Node<'_>, old: Option<&Value>, errs: &mut ErrorList) {
    let group = obj.at("spec").text("group");
    let protected =
        ["k8s.io", "kubernetes.io"].iter().any(|own| group == *own || group.ends_with(&format!(".{own}")));
    let state = Approval::of(obj);
    if !protected || old.is_some_and(|old| Approval::of(old) == state) {
        return;
    }
    let metadata = Path::new("metadata");
    let annotations = metadata.child("annotations");
    let quoted = go::quote(APPROVAL);
    match state {
        Approval::Missing => errs.push(grammar::field::required(
            &annotations.key(APPROVAL),
            format!("protected groups must have approval annotation {quoted}, {RULES}"),
        )),
        Approval::Invalid => errs.push(grammar::field::invalid(
            &annotations.key(APPROVAL),
            obj.path(&["metadata", "annotations"]).text(APPROVAL),
            format!(
                "protected groups must have approval annotation {quoted} with either a URL or a reason starting \
                 with \"unapproved\", {RULES}"
            ),
        )),
        Approval::Approved | Approval::Bypassed => {}
    }
}
