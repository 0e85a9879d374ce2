//! Admission: what else may change or refuse a write, in one ordered list.

use api::status::Qualified;
use api::{Status, Value};

use super::{Call, Registry};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// One write on its way through admission. Trees are of the served version.
pub struct Attributes<'a> {
    pub call: &'a Call,
    pub operation: Operation,
    pub dry_run: bool,
    pub old: Option<&'a Value>,
}

/// A plugin of the chain.
pub trait Plugin: Send + Sync {
    /// Changes the object, or refuses it.
    fn mutate(
        &self,
        _registry: &Registry,
        _attributes: &Attributes<'_>,
        _object: &mut Value,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses the object as it will be stored.
    fn validate(
        &self,
        _registry: &Registry,
        _attributes: &Attributes<'_>,
        _object: &Value,
    ) -> Result<(), Status> {
        Ok(())
    }
}

/// The chain, in the order in which plugins run.
pub struct Admission {
    plugins: Vec<Box<dyn Plugin>>,
}

impl Admission {
    pub fn standard() -> Admission {
        Admission { plugins: vec![Box::new(NamespaceLifecycle), Box::new(Unenforced)] }
    }

    pub(super) fn mutate(
        &self,
        registry: &Registry,
        attributes: &Attributes<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        self.plugins.iter().try_for_each(|plugin| plugin.mutate(registry, attributes, object))
    }

    pub(super) fn validate(
        &self,
        registry: &Registry,
        attributes: &Attributes<'_>,
        object: &Value,
    ) -> Result<(), Status> {
        self.plugins.iter().try_for_each(|plugin| plugin.validate(registry, attributes, object))
    }
}

/// Nothing is created in a namespace that is absent or going away, and the first namespaces never go.
struct NamespaceLifecycle;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

impl Plugin for NamespaceLifecycle {
    fn mutate(
        &self,
        registry: &Registry,
        attributes: &Attributes<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        let call = attributes.call;
        if attributes.operation != Operation::Create || call.namespace().is_empty() {
            return Ok(());
        }
        // Reviews of one's own access exist in no namespace's life.
        if &*call.resource.kind.group == "authorization.k8s.io" {
            return Ok(());
        }
        let namespace = call.namespace();
        let snapshot = registry.store.snapshot();
        let Some(entry) = snapshot.get(&format!("/registry/namespaces/{namespace}")) else {
            return Err(Status::not_found(Qualified::new("", "namespaces"), namespace));
        };
        if crate::object::beside(entry).digest.deleting {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let why = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            return Err(Status::forbidden(call.resource.qualified(), name, why).with_cause(
                "NamespaceTerminating",
                format!("namespace {namespace} is being terminated"),
                "metadata.namespace",
            ));
        }
        Ok(())
    }

    fn validate(
        &self,
        _registry: &Registry,
        attributes: &Attributes<'_>,
        _object: &Value,
    ) -> Result<(), Status> {
        let call = attributes.call;
        let namespaces = call.resource.kind.group.is_empty() && call.resource.kind.plural == "namespaces";
        if attributes.operation == Operation::Delete && namespaces && IMMORTAL.contains(&&*call.info.name) {
            return Err(Status::forbidden(
                call.resource.qualified(),
                &call.info.name,
                "this namespace may not be deleted",
            ));
        }
        Ok(())
    }
}

/// What this server would store but not obey is refused, so that nobody relies on a rule that nothing keeps.
struct Unenforced;

const UNENFORCED: [(&str, &str); 12] = [
    ("", "limitranges"),
    ("", "resourcequotas"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
];

/// What clients of every cluster create and rely on less directly is stored, and its author told.
const WITHOUT_EFFECT: [(&str, &str); 6] = [
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
];

impl Plugin for Unenforced {
    fn mutate(
        &self,
        _registry: &Registry,
        attributes: &Attributes<'_>,
        _object: &mut Value,
    ) -> Result<(), Status> {
        let kind = &attributes.call.resource.kind;
        let name = (&*kind.group, &*kind.plural);
        if attributes.operation != Operation::Create {
            return Ok(());
        }
        if WITHOUT_EFFECT.contains(&name) {
            attributes
                .call
                .warn(format!("{} are stored, but this server does not act on them yet", kind.plural));
        }
        if !UNENFORCED.contains(&name) {
            return Ok(());
        }
        let why = format!(
            "this server does not enforce {} yet, and stores nothing that it would not obey",
            kind.plural
        );
        Err(Status::forbidden(attributes.call.resource.qualified(), &attributes.call.info.name, why))
    }
}
