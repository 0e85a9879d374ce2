//! APIService: a group and version, served here or by a service in the cluster.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::{go, names};
use serde_json::{Value, json};

use crate::check;
use crate::column::{self, AGE, NAME, described};
use crate::kind::{Kind, Selectable, Subresource, names as texts};
use crate::moment;
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, decoded_len};

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        key_prefix: "/registry/apiregistration.k8s.io/apiservices".into(),
        unconditional_update: false,
        resets: vec![&["status"]],
        subresources: vec![Subresource::status(&[&["metadata"], &["spec"]], Status)],
        // Upstream lets a selector name the namespace, which is always empty.
        selectable: vec![Selectable::field("metadata.namespace")],
        columns: vec![
            NAME,
            described("Service", "The reference to the service that hosts this API endpoint."),
            described("Available", "Whether this service is available."),
            AGE,
        ],
        name_rule: |name, _prefix| names::path_segment_name(name),
        qualified_finalizers: false,
        strategy: Arc::new(ApiService),
        ..Kind::cluster("apiregistration.k8s.io", "v1", "APIService", "apiservices")
    }
}

const HTTPS_PORT: i64 = 443;
const HIGHEST_GROUP_PRIORITY: i64 = 20_000;
const HIGHEST_VERSION_PRIORITY: i64 = 1000;

struct ApiService;

impl Strategy for ApiService {
    fn default(&self, _version: &str, obj: &mut Value) {
        if let Some(service) = obj.find_mut(&["spec", "service"]).filter(|service| service.is_object())
            && !service.has("port")
        {
            service.set("port", HTTPS_PORT);
        }
    }

    fn prepare_create(&self, obj: &mut Value, cx: &Context<'_>) {
        if !obj.at("spec").has("service") {
            let available = json!({
                "type": "Available",
                "status": "True",
                "reason": "Local",
                "message": "Local APIServices are always available",
                "lastTransitionTime": moment::text(cx.now),
            });
            obj.set("status", json!({"conditions": [available]}));
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let (metadata, spec) = (obj.child("metadata"), obj.child("spec"));
        let (group, version) = (spec.child("group"), spec.child("version"));
        let wanted = format!("{}.{}", version.str(), group.str());
        let name = metadata.child("name");
        if names::path_segment_name(name.str()).is_empty() && !name.str().is_empty() && name.str() != wanted {
            errs.push(
                name.invalid(format!("must be `spec.version+\".\"+spec.group`: {}", go::quote(&wanted))),
            );
        }
        if group.str().is_empty() && version.str() != "v1" {
            errs.push(group.required("only v1 may have an empty group and it better be legacy kube"));
        }
        if !group.str().is_empty() {
            check::dns_subdomain(&group, errs);
        }
        version.complaints(names::dns1035_label(version.str()), errs);
        for (key, highest) in
            [("groupPriorityMinimum", HIGHEST_GROUP_PRIORITY), ("versionPriority", HIGHEST_VERSION_PRIORITY)]
        {
            let priority = spec.child(key);
            if !(1..=highest).contains(&priority.number()) {
                errs.push(priority.invalid_number(format!("must be positive and less than {highest}")));
            }
        }
        server(&spec, errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let service = obj.path(&["spec", "service"]);
        let host = match service.is_null() {
            true => "Local".to_owned(),
            false => format!("{}/{}", service.text("namespace"), service.text("name")),
        };
        let conditions = obj.at("status").list("conditions");
        let available = conditions.iter().find(|condition| condition.text("type") == "Available");
        let available = match available {
            None => "Unknown".to_owned(),
            Some(condition) if condition.text("status") == "True" => "True".to_owned(),
            Some(condition) => format!("{} ({})", condition.text("status"), condition.text("reason")),
        };
        vec![column::name(obj), host.into(), available.into(), column::age(obj, now)]
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, _old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let status = new.child("status");
        for condition in status.child("conditions").items() {
            condition.child("status").one_of(&["True", "False", "Unknown"], errs);
        }
    }
}

/// Where the group is served, and whom to trust there.
fn server(spec: &Node<'_>, errs: &mut ErrorList) {
    let (service, bundle, insecure) =
        (spec.child("service"), spec.child("caBundle"), spec.child("insecureSkipTLSVerify"));
    let skips = spec.flag("insecureSkipTLSVerify");
    let bundle_bytes = decoded_len(bundle.str());
    if !service.is_set() {
        if bundle_bytes != 0 {
            errs.push(
                bundle
                    .invalid_as(format!("{bundle_bytes} bytes"), "local APIServices may not have a caBundle"),
            );
        }
        if skips {
            errs.push(insecure.invalid("local APIServices may not have insecureSkipTLSVerify"));
        }
        return;
    }
    check::require(&service, &["namespace", "name"], errs);
    let port = service.child("port");
    let complaints = names::port_number(port.number());
    if !complaints.is_empty() {
        errs.push(port.invalid_number(format!("port is not valid: {}", complaints.join(", "))));
    }
    if skips && bundle_bytes != 0 {
        errs.push(insecure.invalid("may not be true if caBundle is present"));
    }
}
