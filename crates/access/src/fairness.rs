//! Priority and fairness as arithmetic: which flow a request belongs to, which queues it may wait in, and how many
//! requests each level may run at once. Waiting itself is the server's.

use api::User;
use ring::digest;
use serde_json::Value;

use crate::Attributes;
use crate::tree::{items, name, text, texts};

/// The schema that matches whatever no other does.
pub const CATCH_ALL: &str = "catch-all";

/// The FlowSchemas of a cluster, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Schemas(Vec<Schema>);

/// Where a request belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow<'a> {
    pub schema: &'a str,
    pub uid: &'a str,
    pub level: &'a str,
    /// What tells flows of one schema apart, which is shared out fairly; empty where there is but one flow.
    pub distinguisher: String,
    /// The source of a hand of queues.
    pub hash: u64,
}

#[derive(Clone, Debug)]
struct Schema {
    name: String,
    uid: String,
    level: String,
    precedence: i64,
    by: Distinguisher,
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Distinguisher {
    Nothing,
    User,
    Namespace,
}

#[derive(Clone, Debug)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Clone, Debug)]
enum Subject {
    User(String),
    Group(String),
    /// Every account of a namespace where the name is `*`.
    Account {
        namespace: String,
        name: String,
    },
}

#[derive(Clone, Debug)]
struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    cluster_scope: bool,
    namespaces: Vec<String>,
}

#[derive(Clone, Debug)]
struct PathRule {
    verbs: Vec<String>,
    paths: Vec<String>,
}

impl Schemas {
    pub fn from_trees<'a>(schemas: impl IntoIterator<Item = &'a Value>) -> Schemas {
        let mut schemas: Vec<Schema> = schemas.into_iter().map(Schema::from_tree).collect();
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        Schemas(schemas)
    }

    /// The flow of a request: that of the first schema that matches, else the catch-all's. `None` where the cluster has
    /// no catch-all, which its owner must not let happen.
    pub fn classify(&self, user: &User, request: &Attributes<'_>) -> Option<Flow<'_>> {
        let matching =
            self.0.iter().find(|schema| schema.rules.iter().any(|rule| rule.matches(user, request)));
        let schema = matching.or_else(|| self.0.iter().find(|schema| schema.name == CATCH_ALL))?;
        let distinguisher = match schema.by {
            Distinguisher::Nothing => "",
            Distinguisher::User => &user.name,
            Distinguisher::Namespace => request.namespace,
        };
        Some(Flow {
            schema: &schema.name,
            uid: &schema.uid,
            level: &schema.level,
            hash: flow_hash(&schema.name, distinguisher),
            distinguisher: distinguisher.to_owned(),
        })
    }
}

/// The hash of a flow: the first eight bytes, the lowest first, of the SHA-256 of its names.
pub fn flow_hash(schema: &str, distinguisher: &str) -> u64 {
    let mut context = digest::Context::new(&digest::SHA256);
    [schema.as_bytes(), &[0], distinguisher.as_bytes()].iter().for_each(|part| context.update(part));
    let hash = context.finish();
    let head = hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
    u64::from_le_bytes(*head)
}

/// Deals a flow its hand: distinct queues, each hand as likely as any other. Two flows rarely share all of theirs, so
/// one that floods its queues leaves others a free one.
///
/// `None` where there are not enough queues, or so many that a hash cannot choose among them.
pub fn hand(hash: u64, queues: u32, size: u32) -> Option<Vec<u32>> {
    const MAX_BITS: f64 = 60.0;
    let deck = u64::from(queues);
    let enough = size > 0 && size <= queues;
    if !enough || (f64::from(queues).log2() * f64::from(size)).ceil() > MAX_BITS {
        return None;
    }
    let mut rest = hash;
    let mut drawn: Vec<u32> = Vec::with_capacity(size as usize);
    for at in 0..u64::from(size) {
        let left = deck - at;
        // A remainder of what is left is below the count of queues.
        drawn.push((rest % left) as u32);
        rest /= left;
    }
    // Each number counts the queues not yet dealt; passing over those dealt before, latest first, gives the queue.
    let hand = (0..drawn.len())
        .map(|at| drawn[..at].iter().rev().fold(drawn[at], |card, before| card + u32::from(card >= *before)));
    Some(hand.collect())
}

/// How many requests a priority level may run at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub nominal: u32,
    /// How much of the nominal limit others may borrow.
    pub lendable: u32,
    /// How much beyond the nominal limit may be borrowed; `None` where only the server's own limit counts.
    pub borrowing: Option<u32>,
}

/// Shares the server's concurrency among the PriorityLevelConfigurations, in their order.
pub fn share_out<'a>(total: u32, levels: impl IntoIterator<Item = &'a Value>) -> Vec<Limits> {
    let levels: Vec<_> = levels.into_iter().map(share).collect();
    let sum: u64 = levels.iter().map(|(shares, ..)| u64::from(*shares)).sum();
    let of = |part: u32, percent: u32| (f64::from(part) * f64::from(percent) / 100.0).round() as u32;
    let limits = levels.into_iter().map(|(shares, lendable, borrowing)| {
        let nominal = match sum {
            0 => 0,
            _ => (f64::from(total) * f64::from(shares) / sum as f64).ceil() as u32,
        };
        let borrowing = borrowing.map(|percent| of(nominal, percent));
        Limits { nominal, lendable: of(nominal, lendable), borrowing }
    });
    limits.collect()
}

/// A level's shares, what it lends and what it borrows, both in percent.
fn share(level: &Value) -> (u32, u32, Option<u32>) {
    let is_exempt = level["spec"]["type"] == "Exempt";
    let settings = &level["spec"][if is_exempt { "exempt" } else { "limited" }];
    let number = |key: &str| settings[key].as_u64().map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let shares = number("nominalConcurrencyShares").unwrap_or(if is_exempt { 0 } else { 30 });
    let borrows = number("borrowingLimitPercent").filter(|_| !is_exempt);
    (shares, number("lendablePercent").unwrap_or(0).min(100), borrows)
}

impl Schema {
    fn from_tree(schema: &Value) -> Schema {
        let spec = &schema["spec"];
        Schema {
            name: name(schema).to_owned(),
            uid: text(&schema["metadata"], "uid").to_owned(),
            level: text(&spec["priorityLevelConfiguration"], "name").to_owned(),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1_000),
            by: match text(&spec["distinguisherMethod"], "type") {
                "ByUser" => Distinguisher::User,
                "ByNamespace" => Distinguisher::Namespace,
                _ => Distinguisher::Nothing,
            },
            rules: items(spec, "rules").iter().map(Rule::from_tree).collect(),
        }
    }
}

impl Rule {
    fn from_tree(rule: &Value) -> Rule {
        let resource = |rule: &Value| ResourceRule {
            verbs: texts(rule, "verbs"),
            groups: texts(rule, "apiGroups"),
            resources: texts(rule, "resources"),
            cluster_scope: rule["clusterScope"] == true,
            namespaces: texts(rule, "namespaces"),
        };
        let path =
            |rule: &Value| PathRule { verbs: texts(rule, "verbs"), paths: texts(rule, "nonResourceURLs") };
        Rule {
            subjects: items(rule, "subjects").iter().filter_map(Subject::from_tree).collect(),
            resources: items(rule, "resourceRules").iter().map(resource).collect(),
            paths: items(rule, "nonResourceRules").iter().map(path).collect(),
        }
    }

    fn matches(&self, user: &User, request: &Attributes<'_>) -> bool {
        if !self.subjects.iter().any(|subject| subject.is(user)) {
            return false;
        }
        if request.is_resource {
            return self.resources.iter().any(|rule| rule.matches(request));
        }
        self.paths.iter().any(|rule| {
            holds(&rule.verbs, request.verb) && rule.paths.iter().any(|own| leads_to(own, request.path))
        })
    }
}

impl Subject {
    fn from_tree(subject: &Value) -> Option<Subject> {
        let kind = text(subject, "kind");
        let (user, group, account) = (&subject["user"], &subject["group"], &subject["serviceAccount"]);
        match kind {
            "User" if user.is_object() => Some(Subject::User(text(user, "name").into())),
            "Group" if group.is_object() => Some(Subject::Group(text(group, "name").into())),
            "ServiceAccount" if account.is_object() => {
                let (namespace, name) = (text(account, "namespace").into(), text(account, "name").into());
                Some(Subject::Account { namespace, name })
            }
            _ => None,
        }
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Subject::User(name) => name == "*" || *name == user.name,
            Subject::Group(name) => name == "*" || user.in_group(name),
            Subject::Account { namespace, name } => {
                let rest = user.name.strip_prefix("system:serviceaccount:");
                let rest = rest.and_then(|rest| rest.strip_prefix(namespace.as_str())?.strip_prefix(':'));
                rest.is_some_and(|rest| name == "*" || rest == name)
            }
        }
    }
}

impl ResourceRule {
    fn matches(&self, request: &Attributes<'_>) -> bool {
        let combined = match request.subresource {
            "" => request.resource.to_owned(),
            sub => format!("{}/{sub}", request.resource),
        };
        let place = match request.namespace {
            "" => self.cluster_scope,
            namespace => holds(&self.namespaces, namespace),
        };
        place
            && holds(&self.verbs, request.verb)
            && holds(&self.resources, &combined)
            && holds(&self.groups, request.group)
    }
}

/// A star stands for everything where it stands alone.
fn holds(list: &[String], text: &str) -> bool {
    matches!(list, [star] if star == "*") || list.iter().any(|item| item == text)
}

/// A path stands for itself and all below it, with or without a star.
fn leads_to(own: &str, path: &str) -> bool {
    let prefix = own.strip_suffix('*').unwrap_or(own);
    let below = path.strip_prefix(prefix);
    own == "*" || own == path || below.is_some_and(|rest| prefix.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    fn schema(name: &str, precedence: i64, by: &str, rule: Value) -> Value {
        json!({"metadata": {"name": name, "uid": name}, "spec": {"matchingPrecedence": precedence,
            "priorityLevelConfiguration": {"name": format!("{name}-level")}, "distinguisherMethod": {"type": by},
            "rules": [rule]}})
    }

    #[test]
    fn a_request_belongs_to_the_first_schema_that_matches() {
        let everything = json!({"subjects": [{"kind": "Group", "group": {"name": "*"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true,
                "namespaces": ["*"]}], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]});
        let accounts = json!({"subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}}],
            "resourceRules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["pods", "pods/log"],
                "clusterScope": false, "namespaces": ["a"]}]});
        let health = json!({"subjects": [{"kind": "User", "user": {"name": "*"}}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/logs/*"]}]});
        let all = [
            schema(CATCH_ALL, 10_000, "ByUser", everything),
            schema("accounts", 20, "ByNamespace", accounts),
            schema("health", 10, "", health),
        ];
        let schemas = Schemas::from_trees(&all);
        let check = |user: &str, request: Attributes<'_>, want: &str, distinguisher: &str| {
            let user = User::new(user, &["g"]);
            let flow = schemas.classify(&user, &request).unwrap();
            assert_eq!((flow.schema, flow.distinguisher.as_str()), (want, distinguisher), "{request:?}");
            assert_eq!(flow.level, format!("{want}-level"));
        };
        let robot = "system:serviceaccount:kube-system:robot";
        let list = Attributes { verb: "list", resource: "pods", is_resource: true, ..Attributes::default() };
        let get = |path| Attributes { verb: "get", path, ..Attributes::default() };
        check(robot, Attributes { namespace: "a", ..list }, "accounts", "a");
        check(robot, Attributes { namespace: "a", subresource: "log", ..list }, "accounts", "a");
        check(robot, Attributes { namespace: "b", ..list }, CATCH_ALL, robot);
        check(robot, list, CATCH_ALL, robot);
        check(
            "system:serviceaccount:kube-systemx:robot",
            Attributes { namespace: "a", ..list },
            CATCH_ALL,
            "system:serviceaccount:kube-systemx:robot",
        );
        check("jane", get("/healthz"), "health", "");
        check("jane", get("/healthz/etcd"), "health", "");
        check("jane", get("/healthzz"), CATCH_ALL, "jane");
        check("jane", get("/logs/x"), "health", "");
        assert_eq!(Schemas::default().classify(&User::default(), &list), None);
    }

    #[test]
    fn hands_are_distinct_queues_and_every_queue_is_dealt() {
        let mut dealt = BTreeSet::new();
        for flow in 0..2_000_u64 {
            let hand = hand(flow_hash("s", &flow.to_string()), 64, 6).unwrap();
            assert_eq!(hand.iter().collect::<BTreeSet<_>>().len(), 6, "{hand:?}");
            assert!(hand.iter().all(|queue| *queue < 64));
            dealt.extend(hand);
        }
        assert_eq!(dealt.len(), 64);
        // Over all hashes of a small deck each ordered hand comes once.
        let hands: BTreeSet<_> = (0..5 * 4 * 3).map(|hash| hand(hash, 5, 3).unwrap()).collect();
        assert_eq!(hands.len(), 60);
        for (queues, size) in [(0, 0), (4, 0), (4, 5), (1 << 20, 4)] {
            assert_eq!(hand(1, queues, size), None);
        }
    }

    #[test]
    fn concurrency_is_shared_by_shares() {
        let level = |shares: u32, lends: u32, borrows: Value| {
            json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": shares,
                "lendablePercent": lends, "borrowingLimitPercent": borrows}}})
        };
        let exempt = json!({"spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}});
        let levels = [level(30, 33, Value::Null), level(40, 25, json!(50)), exempt, level(5, 0, json!(0))];
        let limits = |nominal, lendable, borrowing| Limits { nominal, lendable, borrowing };
        assert_eq!(
            share_out(600, &levels),
            [limits(240, 79, None), limits(320, 80, Some(160)), limits(0, 0, None), limits(40, 0, Some(0))]
        );
        assert_eq!(share_out(600, []), []);
    }
}
