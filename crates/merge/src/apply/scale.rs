//! The scale subresource: its one field is a field of the parent under another path.

use std::collections::HashMap;

use super::entries::{Managed, Owned};
use crate::fieldset::{Path, Set};

const SCALE_VERSION: &str = "autoscaling/v1";

fn replicas_in_scale() -> Path {
    Path::fields(&["spec", "replicas"])
}

/// The entries of the parent that own its replicas, as entries of its Scale.
///
/// `replicas` tells where each version of the parent keeps them; `None` where a version has no such field.
pub fn to_scale(parent: &Managed, replicas: &HashMap<String, Option<Path>>) -> Managed {
    let mut out = Managed::default();
    for (id, owned) in &parent.0 {
        let Some(Some(path)) = replicas.get(&owned.api_version) else { continue };
        if owned.set.has(&path.0) {
            let set = [replicas_in_scale()].iter().collect();
            out.0.insert(id.clone(), Owned { set, api_version: SCALE_VERSION.to_owned(), time: owned.time });
        }
    }
    out
}

/// The entries of the parent after a write to its Scale that left `scale`. Who no longer owns the replicas there
/// loses them here; who came to own them is recorded in `version`, the parent's version of the endpoint.
pub fn from_scale(
    parent: &Managed,
    scale: &Managed,
    version: &str,
    replicas: &HashMap<String, Option<Path>>,
) -> Managed {
    let mut out = Managed::default();
    let mut scale = scale.clone();
    for (id, owned) in &parent.0 {
        // What was recorded in a version that is no longer known is dropped.
        let Some(path) = replicas.get(&owned.api_version) else { continue };
        let mut owned = owned.clone();
        if let Some(path) = path.as_ref().filter(|path| owned.set.has(&path.0))
            && scale.0.remove(id).is_none()
        {
            owned.set = owned.set.difference(&[path.clone()].iter().collect());
        }
        if !owned.set.is_empty() {
            out.0.insert(id.clone(), owned);
        }
    }
    for (id, owned) in scale.0 {
        if owned.set.has(&replicas_in_scale().0) {
            let set: Set = replicas.get(version).into_iter().flatten().collect();
            let time = parent.0.get(&id).and_then(|owned| owned.time);
            out.0.insert(id, Owned { set, api_version: version.to_owned(), time });
        }
    }
    out
}
