//! Garbage collection: what goes when its owners go, and in which order.
//!
//! The [`Graph`] knows who claims to be owned by whom. It is fed by watches and may lag behind, so it only says where
//! to look; whether an object is deleted is decided by what is read fresh: the object, and each of its owners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use crate::plan::{Action, Operation, PatchFormat, Plan, Preconditions, Propagation, Target};

/// Keeps a deleted object until the dependents that block its deletion are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Keeps a deleted object until its dependents have forgotten it.
pub const ORPHAN: &str = "orphan";

/// Who depends on whom, by uid. Owners need not have been seen.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: BTreeMap<String, Node>,
    dependents: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Clone, Debug)]
struct Node {
    target: Target,
    resource_version: Option<String>,
    owners: Vec<OwnerReference>,
    fate: Fate,
}

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Lives,
    /// It is being deleted, and something else than the collector decides when.
    Goes,
    AwaitsDependents,
    OrphansDependents,
}

/// What a fresh read of an owner has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerState {
    /// There is no such object, or another one under its name.
    Absent,
    Present,
    /// It is being deleted in the foreground and waits for its dependents.
    AwaitsDependents,
    /// It cannot be told, because its kind is not served or cannot own the object. Nothing is deleted then.
    Unknown,
}

pub struct View<'a> {
    pub graph: &'a Graph,
    /// The object itself, read fresh.
    pub target: &'a Target,
    pub live: &'a ObjectMeta,
    /// Each of its owners by uid, read fresh. What is missing counts as unknown.
    pub owners: &'a BTreeMap<String, OwnerState>,
}

impl Graph {
    /// Takes in an object as it was seen. The uids that come back are to be reconciled.
    pub fn observe(&mut self, target: &Target, meta: &ObjectMeta) -> BTreeSet<String> {
        let uid = meta.uid.clone().unwrap_or_default();
        let owners = meta.owner_references.clone().unwrap_or_default();
        let before = self.forget(&uid);
        for owner in &owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        let fate = Fate::of(meta);
        let mut wake = BTreeSet::new();
        // An owner that was never seen may be gone already, and one that waits may be waiting for this very object.
        let is_waited_for = |owner: &OwnerReference| match self.nodes.get(&owner.uid) {
            None => true,
            Some(owner) => owner.fate == Fate::AwaitsDependents,
        };
        if owners.iter().any(is_waited_for)
            || matches!(fate, Fate::AwaitsDependents | Fate::OrphansDependents)
        {
            wake.insert(uid.clone());
        }
        if fate == Fate::AwaitsDependents {
            wake.extend(self.dependents(&uid).cloned());
        }
        wake.extend(self.waiting(before.iter().flat_map(|node| &node.owners)));
        let resource_version = meta.resource_version.clone();
        self.nodes.insert(uid, Node { target: target.clone(), resource_version, owners, fate });
        wake
    }

    /// Takes in that an object is gone. The uids that come back are to be reconciled.
    pub fn vanish(&mut self, uid: &str) -> BTreeSet<String> {
        let gone = self.forget(uid);
        let mut wake: BTreeSet<String> = self.dependents(uid).cloned().collect();
        wake.extend(self.waiting(gone.iter().flat_map(|node| &node.owners)));
        wake
    }

    pub fn target(&self, uid: &str) -> Option<&Target> {
        self.nodes.get(uid).map(|node| &node.target)
    }

    fn forget(&mut self, uid: &str) -> Option<Node> {
        let node = self.nodes.remove(uid)?;
        for owner in &node.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        Some(node)
    }

    fn dependents(&self, uid: &str) -> impl Iterator<Item = &String> {
        self.dependents.get(uid).into_iter().flatten()
    }

    fn waiting<'a>(&self, owners: impl Iterator<Item = &'a OwnerReference>) -> BTreeSet<String> {
        let waits =
            |uid: &&String| self.nodes.get(*uid).is_some_and(|node| node.fate == Fate::AwaitsDependents);
        owners.map(|owner| &owner.uid).filter(waits).cloned().collect()
    }

    /// Whether a dependent keeps the object from going. Objects that wait for each other in a circle do not: all of
    /// them are being deleted, and one has to be the first.
    fn is_blocked(&self, uid: &str) -> bool {
        self.blockers(uid).any(|dependent| !self.waits_for(dependent, uid))
    }

    fn blockers(&self, uid: &str) -> impl Iterator<Item = &String> {
        self.dependents(uid).filter(move |dependent| self.blocks(dependent, uid))
    }

    fn waits_for(&self, from: &str, uid: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut left = vec![from];
        while let Some(next) = left.pop() {
            if next == uid {
                return true;
            }
            let waits = self.nodes.get(next).is_some_and(|node| node.fate == Fate::AwaitsDependents);
            if waits && seen.insert(next) {
                left.extend(self.blockers(next).map(String::as_str));
            }
        }
        false
    }

    fn blocks(&self, dependent: &str, owner: &str) -> bool {
        let owners = self.nodes.get(dependent).into_iter().flat_map(|node| &node.owners);
        owners.into_iter().any(|own| own.uid == owner && own.block_owner_deletion == Some(true))
    }
}

impl Fate {
    fn of(meta: &ObjectMeta) -> Fate {
        if meta.deletion_timestamp.is_none() {
            Fate::Lives
        } else if has_finalizer(meta, ORPHAN) {
            Fate::OrphansDependents
        } else if has_finalizer(meta, FOREGROUND) {
            Fate::AwaitsDependents
        } else {
            Fate::Goes
        }
    }
}

/// Whether an object that was read fresh as an owner is there, gone, or waits for its dependents.
pub fn owner_state(reference: &OwnerReference, found: Option<&ObjectMeta>) -> OwnerState {
    match found {
        Some(meta) if meta.uid.as_ref() == Some(&reference.uid) => match Fate::of(meta) {
            Fate::AwaitsDependents => OwnerState::AwaitsDependents,
            _ => OwnerState::Present,
        },
        _ => OwnerState::Absent,
    }
}

pub fn reconcile(view: &View<'_>) -> Plan {
    let uid = view.live.uid.as_deref().unwrap_or_default();
    match Fate::of(view.live) {
        Fate::Lives => collect(view, uid),
        Fate::Goes => Plan::default(),
        Fate::OrphansDependents => orphan(view, uid),
        Fate::AwaitsDependents => {
            let mut plan = Plan::default();
            if !view.graph.is_blocked(uid) {
                plan.push(0, remove_finalizer(view, FOREGROUND));
            }
            plan
        }
    }
}

/// Makes every dependent forget the object, and only then lets the object go.
fn orphan(view: &View<'_>, uid: &str) -> Plan {
    let mut plan = Plan::default();
    for dependent in view.graph.dependents(uid) {
        let Some(node) = view.graph.nodes.get(dependent) else { continue };
        let owners = node.owners.iter().filter(|owner| owner.uid != uid);
        let preconditions =
            Preconditions { uid: Some(dependent.clone()), resource_version: node.resource_version.clone() };
        plan.push(0, Operation { preconditions, ..Operation::new(node.target.clone(), set_owners(owners)) });
    }
    plan.push(plan.next_stage(), remove_finalizer(view, ORPHAN));
    plan
}

/// Deletes the object when none of its owners is left.
fn collect(view: &View<'_>, uid: &str) -> Plan {
    let mut plan = Plan::default();
    let owners = view.live.owner_references.as_deref().unwrap_or_default();
    if owners.is_empty() {
        return plan;
    }
    let state = |owner: &OwnerReference| view.owners.get(&owner.uid).copied().unwrap_or(OwnerState::Unknown);
    if owners.iter().any(|owner| state(owner) == OwnerState::Unknown) {
        return plan;
    }
    let is_present = |owner: &&OwnerReference| state(owner) == OwnerState::Present;
    if owners.iter().any(|owner| is_present(&owner)) {
        // With one owner left it stays. The others must not wait for it, and would only be looked up again and again.
        if !owners.iter().all(|owner| is_present(&owner)) {
            plan.push(0, write(view, set_owners(owners.iter().filter(is_present))));
        }
        return plan;
    }
    let is_waited_for = owners.iter().any(|owner| state(owner) == OwnerState::AwaitsDependents);
    let mut dependents = view.graph.dependents(uid).peekable();
    let propagation = if is_waited_for && dependents.peek().is_some() {
        // Where a dependent is itself waiting, there may be a circle in which each waits for the next. It is broken by
        // no longer blocking the owners.
        let is_waiting = |dependent: &String| {
            view.graph.nodes.get(dependent).is_some_and(|node| node.fate == Fate::AwaitsDependents)
        };
        if dependents.any(is_waiting) {
            let unblocked: Vec<OwnerReference> = owners
                .iter()
                .map(|owner| OwnerReference { block_owner_deletion: Some(false), ..owner.clone() })
                .collect();
            plan.push(0, write(view, set_owners(&unblocked)));
        }
        Propagation::Foreground
    } else if has_finalizer(view.live, ORPHAN) {
        Propagation::Orphan
    } else if has_finalizer(view.live, FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    let mut delete = write(view, Action::Delete { propagation: Some(propagation), grace_seconds: None });
    let stage = plan.next_stage();
    if stage > 0 {
        delete.preconditions.resource_version = None;
    }
    plan.push(stage, delete);
    plan
}

fn has_finalizer(meta: &ObjectMeta, name: &str) -> bool {
    meta.finalizers.iter().flatten().any(|finalizer| finalizer == name)
}

fn remove_finalizer(view: &View<'_>, name: &str) -> Operation {
    let left: Vec<&String> = view.live.finalizers.iter().flatten().filter(|own| *own != name).collect();
    write(view, merge(json!({"metadata": {"finalizers": left}})))
}

/// A write that holds for the very revision that was read: a new owner or finalizer makes it void.
fn write(view: &View<'_>, action: Action) -> Operation {
    let preconditions =
        Preconditions { uid: view.live.uid.clone(), resource_version: view.live.resource_version.clone() };
    Operation { preconditions, ..Operation::new(view.target.clone(), action) }
}

/// Merge patches replace lists as a whole and are understood by every kind, custom resources too.
fn set_owners<'a>(owners: impl IntoIterator<Item = &'a OwnerReference>) -> Action {
    let owners: Vec<Value> = owners
        .into_iter()
        .map(|owner| {
            let mut tree = json!({
                "apiVersion": owner.api_version,
                "kind": owner.kind,
                "name": owner.name,
                "uid": owner.uid,
            });
            for (field, flag) in
                [("controller", owner.controller), ("blockOwnerDeletion", owner.block_owner_deletion)]
            {
                if let Some(flag) = flag {
                    tree[field] = json!(flag);
                }
            }
            tree
        })
        .collect();
    merge(json!({"metadata": {"ownerReferences": owners}}))
}

fn merge(body: Value) -> Action {
    Action::Patch { format: PatchFormat::Merge, subresource: None, body: Arc::new(body) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Kind;
    use crate::time::stamp;
    use base::clock::Wall;
    use base::random::{Random, SeededRandom};

    /// A store of bare metadata with the API server's rules of deletion, and a collector that watches it.
    #[derive(Default)]
    struct World {
        objects: BTreeMap<String, ObjectMeta>,
        graph: Graph,
        queue: BTreeSet<String>,
        serial: u64,
        /// What the collector deleted or orphaned, in order.
        log: Vec<String>,
    }

    impl World {
        fn put(&mut self, name: &str, mut meta: ObjectMeta) {
            self.serial += 1;
            meta.uid = Some(name.into());
            meta.name = Some(name.into());
            meta.resource_version = Some(self.serial.to_string());
            if meta.deletion_timestamp.is_some() && meta.finalizers.iter().flatten().next().is_none() {
                self.objects.remove(name);
                let wake = self.graph.vanish(name);
                self.queue.extend(wake);
                return;
            }
            let wake = self.graph.observe(&target(name), &meta);
            self.queue.extend(wake);
            self.objects.insert(name.into(), meta);
        }

        fn add(&mut self, name: &str, owners: &[&str]) {
            let owner = |name: &&str| OwnerReference {
                uid: (*name).into(),
                name: (*name).into(),
                block_owner_deletion: Some(true),
                ..OwnerReference::default()
            };
            let owner_references = Some(owners.iter().map(owner).collect());
            self.put(name, ObjectMeta { owner_references, ..ObjectMeta::default() });
        }

        fn delete(&mut self, name: &str, propagation: Propagation) {
            let Some(mut meta) = self.objects.get(name).cloned() else { return };
            if meta.deletion_timestamp.is_none() {
                let finalizers = meta.finalizers.get_or_insert_default();
                finalizers.extend(match propagation {
                    Propagation::Background => None,
                    Propagation::Foreground => Some(FOREGROUND.to_owned()),
                    Propagation::Orphan => Some(ORPHAN.to_owned()),
                });
                meta.deletion_timestamp = Some(stamp(Wall::from_secs(1)));
            }
            self.put(name, meta);
        }

        /// Lets the collector work on one of its keys.
        fn work(&mut self, uid: &str) {
            let Some(live) = self.objects.get(uid).cloned() else { return };
            let owners = live.owner_references.iter().flatten();
            let owners: BTreeMap<String, OwnerState> =
                owners.map(|own| (own.uid.clone(), owner_state(own, self.objects.get(&own.uid)))).collect();
            let target = target(uid);
            let plan = reconcile(&View { graph: &self.graph, target: &target, live: &live, owners: &owners });
            for operation in &plan.operations {
                let name = &operation.target.name;
                match &operation.action {
                    Action::Delete { propagation, .. } => {
                        assert!(
                            !owners.values().any(|state| *state == OwnerState::Present) && !owners.is_empty(),
                            "{name} has a live owner"
                        );
                        self.log.push(format!("delete {name}"));
                        self.delete(name, propagation.expect("the collector always says how"));
                    }
                    Action::Patch { body, .. } => {
                        let Some(mut meta) = self.objects.get(name).cloned() else { continue };
                        let body = &body["metadata"];
                        if let Some(finalizers) = body["finalizers"].as_array() {
                            meta.finalizers =
                                Some(finalizers.iter().map(|own| own.as_str().unwrap().to_owned()).collect());
                        }
                        if let Some(owners) = body["ownerReferences"].as_array() {
                            let owner = |tree: &Value| OwnerReference {
                                uid: tree["uid"].as_str().unwrap().into(),
                                name: tree["name"].as_str().unwrap().into(),
                                block_owner_deletion: tree["blockOwnerDeletion"].as_bool(),
                                ..OwnerReference::default()
                            };
                            meta.owner_references = Some(owners.iter().map(owner).collect());
                        }
                        self.put(name, meta);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }

        fn settle(&mut self, random: &mut SeededRandom) {
            for _ in 0..10_000 {
                let Some(uid) = pick(&self.queue, random) else { return };
                self.queue.remove(&uid);
                self.work(&uid);
            }
            panic!("the collector does not come to rest: {:?}", self.objects);
        }
    }

    fn target(name: &str) -> Target {
        Target { kind: Kind::CONFIG_MAP, namespace: "default".into(), name: name.into() }
    }

    fn pick(names: &BTreeSet<String>, random: &mut SeededRandom) -> Option<String> {
        let count = names.len() as u64;
        (count > 0).then(|| names.iter().nth(random.below(count) as usize).cloned()).flatten()
    }

    /// Adds objects as `(name, owners)`, deletes the first of them, and compares what is left and what was deleted.
    fn check(objects: &[(&str, &[&str])], propagation: Propagation, left: &[&str], deleted: &[&str]) {
        for seed in 0..20 {
            let mut random = SeededRandom::new(seed);
            let mut world = World::default();
            for (name, owners) in objects {
                world.add(name, owners);
            }
            // Owners that come after their dependents were unknown for a moment, and are looked up before any harm.
            world.settle(&mut random);
            assert_eq!(world.log, Vec::<String>::new());
            world.delete(objects[0].0, propagation);
            world.settle(&mut random);
            assert_eq!(world.objects.keys().map(String::as_str).collect::<Vec<_>>(), left, "seed {seed}");
            world.log.sort_unstable();
            assert_eq!(world.log, deleted, "seed {seed}");
        }
    }

    #[test]
    fn dependents_follow_their_owners() {
        use Propagation::{Background, Foreground, Orphan};
        let chain: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["b"])];
        check(chain, Background, &[], &["delete b", "delete c"]);
        check(chain, Foreground, &[], &["delete b", "delete c"]);
        check(chain, Orphan, &["b", "c"], &[]);
        let shared: &[(&str, &[&str])] = &[("a", &[]), ("b", &[]), ("c", &["a", "b"])];
        check(shared, Background, &["b", "c"], &[]);
        check(shared, Foreground, &["b", "c"], &[]);
        let circle: &[(&str, &[&str])] = &[("a", &["c"]), ("b", &["a"]), ("c", &["b"])];
        // The owner of the first object in the circle does not exist yet when the object appears.
        let add_late = |propagation| {
            let mut world = World::default();
            world.add("a", &[]);
            for (name, owners) in &circle[1..] {
                world.add(name, owners);
            }
            world.add("a", &["c"]);
            world.delete("a", propagation);
            world.settle(&mut SeededRandom::new(1));
            assert_eq!(world.objects.len(), 0, "{propagation:?}");
        };
        add_late(Background);
        add_late(Foreground);
    }

    #[test]
    fn an_owner_of_which_nothing_is_known_protects() {
        let mut world = World::default();
        world.add("b", &["a"]);
        let live = &world.objects["b"];
        for owners in [BTreeMap::new(), BTreeMap::from([("a".to_owned(), OwnerState::Unknown)])] {
            let target = target("b");
            let plan = reconcile(&View { graph: &world.graph, target: &target, live, owners: &owners });
            assert_eq!(plan, Plan::default());
        }
    }

    /// `World::work` asserts that nothing with a live owner is deleted.
    #[test]
    fn whatever_happens_what_is_owned_stays_and_what_is_not_goes() {
        const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
        for seed in crate::model::seeds(400) {
            let mut random = SeededRandom::new(seed);
            let mut world = World::default();
            let name = |random: &mut SeededRandom| NAMES[random.below(8) as usize];
            for _ in 0..40 {
                match random.below(4) {
                    0 => {
                        let new = name(&mut random);
                        let owners: BTreeSet<&str> =
                            (0..random.below(3)).map(|_| name(&mut random)).collect();
                        if !world.objects.contains_key(new) {
                            world.add(new, &owners.into_iter().collect::<Vec<_>>());
                        }
                    }
                    1 => {
                        let all = [Propagation::Background, Propagation::Foreground, Propagation::Orphan];
                        world.delete(name(&mut random), all[random.below(3) as usize]);
                    }
                    _ => {
                        if let Some(uid) = pick(&world.queue, &mut random) {
                            world.queue.remove(&uid);
                            world.work(&uid);
                        }
                    }
                }
            }
            world.settle(&mut random);
            for (name, meta) in &world.objects {
                let owners: Vec<_> = meta.owner_references.iter().flatten().collect();
                let has_owner = owners.iter().any(|owner| world.objects.contains_key(&owner.uid));
                assert!(owners.is_empty() || has_owner, "seed {seed}: {name} should have gone");
                assert!(
                    meta.deletion_timestamp.is_none(),
                    "seed {seed}: {name} is stuck: {:#?}",
                    world.objects
                );
            }
        }
    }
}
