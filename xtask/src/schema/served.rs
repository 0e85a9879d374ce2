//! What the API server serves: facts that the Go modules do not carry.

use std::collections::BTreeMap;

use super::resolve::Message;

pub struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
    pub default_on: bool,
    /// (name, group, version, kind of the body).
    pub subresources: Vec<(String, String, String, String)>,
}

/// `group/version`, then a line a resource: plural, kind, `c` or `n` for the scope, subresources. A subresource without
/// a kind has its parent's.
const SERVED: &str = include_str!("served.txt");

pub fn resources(messages: &BTreeMap<String, Message>) -> Result<Vec<Resource>, String> {
    let kinds: Vec<&(String, String, String)> = messages.values().flat_map(|m| &m.kinds).collect();
    let known = |group: &str, version: &str, kind: &str| {
        kinds.iter().any(|(g, v, k)| g == group && v == version && k == kind)
    };
    let mut resources = Vec::new();
    let (mut group, mut version) = ("", "");
    for line in SERVED.lines().filter(|line| !line.is_empty()) {
        let Some(line) = line.strip_prefix(' ') else {
            (group, version) = line.rsplit_once('/').unwrap_or(("", line));
            continue;
        };
        let mut words = line.split(' ');
        let (Some(plural), Some(kind), Some(scope)) = (words.next(), words.next(), words.next()) else {
            return Err(format!("served.txt: cannot read `{line}`"));
        };
        let mut subresources = Vec::new();
        for word in words {
            let (name, body) = word.split_once('=').unwrap_or((word, ""));
            let (group, version, kind) = match body.rsplit_once('/') {
                None if body.is_empty() => (group, version, kind),
                None => (group, version, body),
                Some((group_version, kind)) => {
                    let (group, version) = group_version.rsplit_once('/').unwrap_or(("", group_version));
                    (group, version, kind)
                }
            };
            if !known(group, version, kind) {
                return Err(format!(
                    "served.txt: {plural}/{name} has the unknown kind {group}/{version} {kind}"
                ));
            }
            subresources.push((name.to_string(), group.to_string(), version.to_string(), kind.to_string()));
        }
        if !known(group, version, kind) {
            return Err(format!("served.txt: {plural} has the unknown kind {group}/{version} {kind}"));
        }
        resources.push(Resource {
            group: group.to_string(),
            version: version.to_string(),
            kind: kind.to_string(),
            plural: plural.to_string(),
            namespaced: scope == "n",
            default_on: !version.contains("alpha") && !version.contains("beta"),
            subresources,
        });
    }
    resources.sort_by(|a, b| (&a.group, &a.version, &a.plural).cmp(&(&b.group, &b.version, &b.plural)));
    Ok(resources)
}
