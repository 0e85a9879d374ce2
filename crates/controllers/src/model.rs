//! A small model of a cluster, in which tests carry out plans: objects as trees, revisions, generations, and pods that
//! become ready or vanish when a test says so.

use std::collections::BTreeMap;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::Pod;
use api::typed::Typed;
use base::clock::Wall;
use base::random::{Random, SeededRandom};
use serde_json::{Value, json};

use crate::plan::{Action, Kind, Operation, PatchFormat, Plan, Target};
use crate::time::stamp;
use crate::view::Failure;

pub(crate) struct Cluster {
    pub objects: BTreeMap<Target, Value>,
    pub now: Wall,
    pub random: SeededRandom,
    pub events: Vec<String>,
    serial: u64,
}

pub(crate) const NAMESPACE: &str = "default";

/// The seeds of a test that takes `count` of them, times what the environment asks for.
pub(crate) fn seeds(count: u64) -> std::ops::Range<u64> {
    let times = std::env::var("BOGA_SEEDS").ok().and_then(|times| times.parse::<u64>().ok()).unwrap_or(1);
    0..count * times
}

impl Cluster {
    pub fn new(seed: u64) -> Cluster {
        let now = Wall::from_secs(1_800_000_000);
        Cluster {
            objects: BTreeMap::new(),
            now,
            random: SeededRandom::new(seed),
            events: Vec::new(),
            serial: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub fn create(&mut self, kind: Kind, mut tree: Value) -> Target {
        let serial = self.next();
        let meta = tree["metadata"].as_object_mut().expect("objects have metadata");
        if !meta.contains_key("name") {
            let name = format!("{}{serial}", meta["generateName"].as_str().expect("a name or a prefix"));
            meta.insert("name".into(), json!(name));
        }
        meta.insert("namespace".into(), json!(NAMESPACE));
        meta.insert("uid".into(), json!(format!("uid-{serial}")));
        meta.insert("generation".into(), json!(1));
        meta.insert("resourceVersion".into(), json!(serial.to_string()));
        meta.insert("creationTimestamp".into(), serde_json::json!(time(self.now)));
        let name = meta["name"].as_str().expect("names are strings").to_owned();
        let target = Target { kind, namespace: NAMESPACE.into(), name };
        assert!(!self.objects.contains_key(&target), "{target:?} exists");
        self.objects.insert(target.clone(), tree);
        target
    }

    pub fn list<T: Typed>(&self, kind: &Kind) -> Vec<T> {
        let of_kind = self.objects.iter().filter(|(target, _)| target.kind == *kind);
        of_kind.map(|(_, tree)| T::from_tree(tree).expect("the model's objects are well formed")).collect()
    }

    pub fn get<T: Typed>(&self, target: &Target) -> Option<T> {
        self.objects.get(target).map(|tree| T::from_tree(tree).expect("the model's objects are well formed"))
    }

    /// Changes an object as a user would.
    pub fn edit(&mut self, target: &Target, change: impl FnOnce(&mut Value)) {
        let serial = self.next();
        let tree = self.objects.get_mut(target).expect("only what exists is edited");
        let before = tree.clone();
        change(tree);
        if before["spec"] != tree["spec"] {
            tree["metadata"]["generation"] =
                json!(before["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        tree["metadata"]["resourceVersion"] = json!(serial.to_string());
    }

    /// Carries out a plan until an operation fails.
    pub fn apply(&mut self, plan: &Plan) -> Result<(), Failure> {
        self.events.extend(plan.events.iter().map(|event| event.message.clone()));
        let mut operations: Vec<&Operation> = plan.operations.iter().collect();
        operations.sort_by_key(|operation| operation.stage);
        for operation in operations {
            self.carry_out(operation).map_err(|message| Failure { message, namespace_terminating: false })?;
            if let Some(note) = &operation.on_success {
                self.events.push(note.message.clone());
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, operation: &Operation) -> Result<(), String> {
        let target = &operation.target;
        if let Action::Create { body } = &operation.action {
            if self.objects.contains_key(target) {
                return Err(format!("{} already exists", target.name));
            }
            self.create(target.kind.clone(), (**body).clone());
            return Ok(());
        }
        let Some(stored) = self.objects.get(target) else { return Err(format!("{} not found", target.name)) };
        let meta = &stored["metadata"];
        let differs =
            |wanted: &Option<String>, field: &str| wanted.as_ref().is_some_and(|own| meta[field] != *own);
        if differs(&operation.preconditions.uid, "uid")
            || differs(&operation.preconditions.resource_version, "resourceVersion")
        {
            return Err(format!("{} has been modified", target.name));
        }
        match &operation.action {
            Action::Update { body } => self.edit(target, |tree| {
                let status = tree["status"].take();
                *tree = (**body).clone();
                tree["status"] = status;
            }),
            Action::UpdateStatus { body } => self.edit(target, |tree| {
                tree["status"] = body["status"].clone();
                tree["metadata"]["annotations"] = body["metadata"]["annotations"].clone();
            }),
            Action::Patch { format: PatchFormat::Strategic, body, .. } => {
                self.edit(target, |tree| patch_owners(tree, &body["metadata"]["ownerReferences"][0]));
            }
            // A running pod stops in its own time; everything else goes at once.
            Action::Delete { .. } if target.kind == Kind::POD => {
                let now = json!(time(self.now));
                self.edit(target, |tree| tree["metadata"]["deletionTimestamp"] = now);
            }
            Action::Delete { .. } => {
                self.objects.remove(target);
            }
            other => return Err(format!("the model does not know {other:?}")),
        }
        Ok(())
    }

    /// Lets time pass: each pod may move on by one step of its life.
    pub fn tick(&mut self, may_become_ready: impl Fn(&Pod) -> bool) {
        self.now = self.now.plus(Duration::from_secs(1));
        for pod in self.list::<Pod>(&Kind::POD) {
            let target = Target::of(Kind::POD, &pod.metadata);
            if self.random.below(3) == 0 {
                continue;
            }
            if pod.metadata.deletion_timestamp.is_some() {
                self.objects.remove(&target);
            } else if !crate::pods::is_ready(&pod) && may_become_ready(&pod) {
                self.set_ready(&target);
            }
        }
    }

    pub fn set_ready(&mut self, target: &Target) {
        let now = time(self.now);
        self.edit(target, |tree| {
            tree["spec"]["nodeName"] = json!("node");
            let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": now});
            tree["status"] = json!({"phase": "Running", "conditions": [ready]});
        });
    }
}

pub(crate) fn time(now: Wall) -> String {
    stamp(now).0.to_string()
}

fn patch_owners(tree: &mut Value, patch: &Value) {
    let mut owners = tree["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    owners.retain(|owner| owner["uid"] != patch["uid"]);
    if patch["$patch"] != "delete" {
        owners.push(patch.clone());
    }
    tree["metadata"]["ownerReferences"] = json!(owners);
}
