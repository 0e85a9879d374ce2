//! Roles that gather the rules of others by label.

use grammar::selector::SelectorError;
use grammar::selector::label::Selector;
use serde_json::Value;
use std::collections::BTreeMap;

use crate::tree::{items, name, same};

/// What the rules of an aggregating ClusterRole should be, where they are not that already. `all` are the ClusterRoles
/// of the cluster.
pub fn rules<'a>(
    role: &Value,
    all: impl IntoIterator<Item = &'a Value>,
) -> Result<Option<Vec<Value>>, SelectorError> {
    if role["aggregationRule"].is_null() {
        return Ok(None);
    }
    let mut others: Vec<&Value> = all.into_iter().filter(|other| name(other) != name(role)).collect();
    others.sort_by_key(|other| name(other));
    let mut gathered: Vec<Value> = Vec::new();
    for selector in items(&role["aggregationRule"], "clusterRoleSelectors") {
        let selector = Selector::from_object(selector)?;
        for other in others.iter().filter(|other| selector.matches(&labels(other))) {
            for rule in items(other, "rules") {
                if !gathered.iter().any(|known| same(known, rule)) {
                    gathered.push(rule.clone());
                }
            }
        }
    }
    let current = items(role, "rules");
    let settled = current.len() == gathered.len() && current.iter().zip(&gathered).all(|(a, b)| same(a, b));
    Ok((!settled).then_some(gathered))
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}
