//! Which objects matter to which nodes.
//!
//! A node reaches an object that one of its pods names, a volume whose claim one of its pods mounts, and the secrets of
//! such a volume. For each object the nodes are counted, so that a question costs a few look-ups however many pods
//! share it.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::references;
use crate::tree::{name, namespace, text};

/// What a node may be related to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    ConfigMap,
    Secret,
    VolumeClaim,
    Volume,
    ResourceClaim,
    ServiceAccount,
    Pod,
    VolumeAttachment,
    ResourceSlice,
    PodCertificateRequest,
}

/// Namespace and name.
type Name = (String, String);

/// The relations of all nodes. Equal graphs answer equally, whatever their histories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// For each source the node that it speaks for and what it names there.
    sources: HashMap<(Target, Name), Source>,
    /// How many sources relate a target to a node.
    nodes: HashMap<(Target, Name), HashMap<String, u32>>,
    volumes: HashMap<String, Volume>,
    /// The volumes whose mounting needs a secret.
    secret_volumes: HashMap<Name, BTreeSet<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    node: String,
    targets: BTreeSet<(Target, Name)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Volume {
    claim: Name,
    secrets: BTreeSet<Name>,
}

impl Graph {
    /// Takes in a Pod, PersistentVolume, VolumeAttachment, ResourceSlice or PodCertificateRequest, in place of the one
    /// that had its name. Other kinds relate nothing.
    pub fn set(&mut self, object: &Value) {
        let kind = text(object, "kind");
        self.remove(kind, namespace(object), name(object));
        let key = (namespace(object).to_owned(), name(object).to_owned());
        if kind == "PersistentVolume" {
            return self.set_volume(key.1, object);
        }
        let Some(target) = source_of(kind) else { return };
        let node = text(&object["spec"], "nodeName");
        if node.is_empty() {
            return;
        }
        let mut targets = BTreeSet::from([(target, key.clone())]);
        // A mirror pod shows what runs anyway: it gives its node no rights.
        if target == Target::Pod && object["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null()
        {
            targets.extend(pod_targets(object));
        }
        for named in &targets {
            *self.nodes.entry(named.clone()).or_default().entry(node.to_owned()).or_default() += 1;
        }
        self.sources.insert((target, key), Source { node: node.to_owned(), targets });
    }

    /// Forgets an object; the namespace of cluster-scoped kinds is empty.
    pub fn remove(&mut self, kind: &str, namespace: &str, name: &str) {
        if kind == "PersistentVolume" {
            return self.remove_volume(name);
        }
        let Some(target) = source_of(kind) else { return };
        let Some(source) = self.sources.remove(&(target, (namespace.to_owned(), name.to_owned()))) else {
            return;
        };
        for named in source.targets {
            let Some(nodes) = self.nodes.get_mut(&named) else { continue };
            if let Some(count) = nodes.get_mut(&source.node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&source.node);
                }
            }
            if nodes.is_empty() {
                self.nodes.remove(&named);
            }
        }
    }

    /// Whether `node` needs the object.
    pub fn relates(&self, node: &str, target: Target, namespace: &str, name: &str) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        match target {
            Target::Volume => namespace.is_empty() && self.mounts(node, name),
            Target::Secret => {
                let volumes = self.secret_volumes.get(&key).into_iter().flatten();
                volumes.into_iter().any(|volume| self.mounts(node, volume))
                    || self.counts(node, (target, key))
            }
            _ => self.counts(node, (target, key)),
        }
    }

    fn mounts(&self, node: &str, volume: &str) -> bool {
        let volume = self.volumes.get(volume);
        volume.is_some_and(|volume| self.counts(node, (Target::VolumeClaim, volume.claim.clone())))
    }

    fn counts(&self, node: &str, key: (Target, Name)) -> bool {
        self.nodes.get(&key).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn set_volume(&mut self, name: String, object: &Value) {
        let claim = &object["spec"]["claimRef"];
        if claim.is_null() {
            return;
        }
        let owned = |(namespace, name): (&str, &str)| (namespace.to_owned(), name.to_owned());
        let secrets: BTreeSet<Name> = references::volume_secrets(object).into_iter().map(owned).collect();
        for secret in &secrets {
            self.secret_volumes.entry(secret.clone()).or_default().insert(name.clone());
        }
        let claim = owned((text(claim, "namespace"), text(claim, "name")));
        self.volumes.insert(name, Volume { claim, secrets });
    }

    fn remove_volume(&mut self, name: &str) {
        let Some(volume) = self.volumes.remove(name) else { return };
        for secret in volume.secrets {
            if let Some(volumes) = self.secret_volumes.get_mut(&secret) {
                volumes.remove(name);
                if volumes.is_empty() {
                    self.secret_volumes.remove(&secret);
                }
            }
        }
    }
}

fn source_of(kind: &str) -> Option<Target> {
    Some(match kind {
        "Pod" => Target::Pod,
        "VolumeAttachment" => Target::VolumeAttachment,
        "ResourceSlice" => Target::ResourceSlice,
        "PodCertificateRequest" => Target::PodCertificateRequest,
        _ => return None,
    })
}

fn pod_targets(pod: &Value) -> impl Iterator<Item = (Target, Name)> {
    let namespace = namespace(pod);
    let account = Some(text(&pod["spec"], "serviceAccountName")).filter(|name| !name.is_empty());
    let mut targets: Vec<(Target, String)> = Vec::new();
    let mut add =
        |target, names: Vec<&str>| targets.extend(names.into_iter().map(|name| (target, name.to_owned())));
    add(Target::ServiceAccount, account.into_iter().collect());
    add(Target::Secret, references::secrets(pod));
    add(Target::ConfigMap, references::config_maps(pod));
    add(Target::ResourceClaim, references::resource_claims(pod));
    targets.extend(references::volume_claims(pod).into_iter().map(|name| (Target::VolumeClaim, name)));
    targets.into_iter().map(move |(target, name)| (target, (namespace.to_owned(), name)))
}
