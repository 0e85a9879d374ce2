//! The shared vocabulary of decisions: what to write, in which order, and what to say about it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// What a controller wants done about one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In order of their stages. Operations of one stage may run side by side; a stage begins only when every
    /// operation of the stages before it has succeeded.
    pub operations: Vec<Operation>,
    /// Look at the key again after this long, even if nothing is seen to change.
    pub requeue_after: Option<Duration>,
    /// To be recorded whatever becomes of the operations.
    pub events: Vec<EventNote>,
}

impl Plan {
    pub fn push(&mut self, stage: u16, operation: Operation) {
        self.operations.push(Operation { stage, ..operation });
    }

    /// A stage after all that the plan already has.
    pub fn next_stage(&self) -> u16 {
        self.operations.iter().map(|operation| operation.stage + 1).max().unwrap_or(0)
    }

    pub fn requeue(&mut self, after: Duration) {
        self.requeue_after = Some(self.requeue_after.map_or(after, |other| other.min(after)));
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    pub stage: u16,
    pub action: Action,
    pub target: Target,
    pub preconditions: Preconditions,
    /// Read fresh and found alive before the write, or the write fails.
    pub guard: Option<Guard>,
    /// To be recorded once the operation has succeeded.
    pub on_success: Option<EventNote>,
    /// To be recorded if it fails, unless the object to be deleted is gone or the namespace is being deleted.
    pub on_failure: Option<EventNote>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A name that is empty is made up by the server from `generateName`.
    Create {
        body: Arc<Value>,
    },
    Update {
        body: Arc<Value>,
    },
    /// Writes the status alone; the rest of the body is ignored, but for annotations where a kind allows them.
    UpdateStatus {
        body: Arc<Value>,
    },
    /// Writes another subresource of the object, such as `finalize` or `approval`.
    UpdateSubresource {
        subresource: &'static str,
        body: Arc<Value>,
    },
    Patch {
        format: PatchFormat,
        subresource: Option<&'static str>,
        body: Arc<Value>,
    },
    Delete {
        propagation: Option<Propagation>,
        grace_seconds: Option<i64>,
    },
    /// Deletes every object of the kind in the target's namespace. The target has no name.
    DeleteAll {
        propagation: Option<Propagation>,
    },
    /// Deletes a pod unless a disruption budget forbids it.
    Evict {
        grace_seconds: Option<i64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchFormat {
    Json,
    Merge,
    Strategic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl Propagation {
    pub const fn name(self) -> &'static str {
        match self {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
    }
}

/// Which object is written. The namespace is empty for objects that have none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

/// A kind, and the resource that serves it. Built-in kinds are constants; others are discovered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    pub resource: Cow<'static, str>,
}

macro_rules! kinds {
    ($($constant:ident = $group:literal $version:literal $kind:literal $resource:literal;)*) => {
        impl Kind {
            $(pub const $constant: Kind = Kind {
                group: Cow::Borrowed($group),
                version: Cow::Borrowed($version),
                kind: Cow::Borrowed($kind),
                resource: Cow::Borrowed($resource),
            };)*
        }
    };
}

kinds! {
    CONFIG_MAP = "" "v1" "ConfigMap" "configmaps";
    ENDPOINTS = "" "v1" "Endpoints" "endpoints";
    NAMESPACE = "" "v1" "Namespace" "namespaces";
    NODE = "" "v1" "Node" "nodes";
    POD = "" "v1" "Pod" "pods";
    REPLICATION_CONTROLLER = "" "v1" "ReplicationController" "replicationcontrollers";
    SERVICE = "" "v1" "Service" "services";
    SERVICE_ACCOUNT = "" "v1" "ServiceAccount" "serviceaccounts";
    CONTROLLER_REVISION = "apps" "v1" "ControllerRevision" "controllerrevisions";
    DAEMON_SET = "apps" "v1" "DaemonSet" "daemonsets";
    DEPLOYMENT = "apps" "v1" "Deployment" "deployments";
    REPLICA_SET = "apps" "v1" "ReplicaSet" "replicasets";
    JOB = "batch" "v1" "Job" "jobs";
    ENDPOINT_SLICE = "discovery.k8s.io" "v1" "EndpointSlice" "endpointslices";
}

impl Kind {
    /// `group/version`, or the version alone for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// What must still hold of the stored object when the write arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// An object that must be alive, under the same uid and not being deleted, for a write to make sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub target: Target,
    pub uid: String,
}

/// An event about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    pub regarding: Target,
    pub regarding_uid: String,
    pub severity: Severity,
    pub reason: &'static str,
    pub message: String,
    /// What the message lacks until an operation is done.
    pub ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Normal,
    Warning,
}

/// What follows the text of an event's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Nothing,
    /// The name of the written object, which the server may have made up.
    Name,
    /// Why the operation failed.
    Error,
}

impl Operation {
    pub fn new(target: Target, action: Action) -> Operation {
        let preconditions = Preconditions::default();
        Operation { stage: 0, action, target, preconditions, guard: None, on_success: None, on_failure: None }
    }

    /// A write to the very object that was seen: another under its name is left alone.
    pub fn on(kind: Kind, meta: &ObjectMeta, action: Action) -> Operation {
        let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: None };
        Operation { preconditions, ..Operation::new(Target::of(kind, meta), action) }
    }

    /// A write to the very revision that was seen.
    pub fn at_revision(mut self, meta: &ObjectMeta) -> Operation {
        self.preconditions.resource_version = meta.resource_version.clone();
        self
    }

    pub fn guarded(self, guard: Guard) -> Operation {
        Operation { guard: Some(guard), ..self }
    }

    pub fn notes(self, on_success: EventNote, on_failure: EventNote) -> Operation {
        Operation { on_success: Some(on_success), on_failure: Some(on_failure), ..self }
    }

    pub fn note(self, on_success: EventNote) -> Operation {
        Operation { on_success: Some(on_success), ..self }
    }
}

impl Target {
    pub fn of(kind: Kind, meta: &ObjectMeta) -> Target {
        let name = meta.name.clone().unwrap_or_default();
        Target { kind, namespace: meta.namespace.clone().unwrap_or_default(), name }
    }
}

impl EventNote {
    pub fn normal(
        kind: Kind,
        meta: &ObjectMeta,
        reason: &'static str,
        message: impl Into<String>,
    ) -> EventNote {
        EventNote {
            regarding: Target::of(kind, meta),
            regarding_uid: meta.uid.clone().unwrap_or_default(),
            severity: Severity::Normal,
            reason,
            message: message.into(),
            ending: Ending::Nothing,
        }
    }

    pub fn warning(
        kind: Kind,
        meta: &ObjectMeta,
        reason: &'static str,
        message: impl Into<String>,
    ) -> EventNote {
        EventNote { severity: Severity::Warning, ..EventNote::normal(kind, meta, reason, message) }
    }

    pub fn with_name(self) -> EventNote {
        EventNote { ending: Ending::Name, ..self }
    }

    pub fn with_error(self) -> EventNote {
        EventNote { ending: Ending::Error, ..self }
    }
}
