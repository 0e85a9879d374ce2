//! CSIDriver: what a storage driver can do, and wants done.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, ErrorList};
use serde_json::{Value, json};

use crate::column::{self, AGE, NAME, documented};
use crate::kind::Kind;
use crate::node::{IMMUTABLE, Node};
use crate::storage::GROUP;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.storage.v1.CSIDriverSpec";
    Kind {
        unconditional_update: false,
        columns: vec![
            NAME,
            documented("AttachRequired", SPEC, "attachRequired").boolean(),
            documented("PodInfoOnMount", SPEC, "podInfoOnMount").boolean(),
            documented("StorageCapacity", SPEC, "storageCapacity").boolean(),
            documented("TokenRequests", SPEC, "tokenRequests"),
            documented("RequiresRepublish", SPEC, "requiresRepublish").boolean(),
            documented("Modes", SPEC, "volumeLifecycleModes"),
            AGE,
        ],
        strategy: Arc::new(CsiDriver),
        ..Kind::cluster(GROUP, "v1", "CSIDriver", "csidrivers")
    }
}

const GROUP_POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];
const LIFECYCLE_MODES: [&str; 2] = ["Persistent", "Ephemeral"];
const SHORTEST_TOKEN_SECONDS: i64 = 600;
const LONGEST_TOKEN_SECONDS: i64 = 1 << 32;
const SHORTEST_PERIOD_SECONDS: i64 = 10;
const TOKENS_MAY_BE_LOGGED: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, \
    set to true to prevent possible logging of tokens in volume attributes";

struct CsiDriver;

impl Strategy for CsiDriver {
    fn default(&self, _version: &str, obj: &mut Value) {
        const FLAGS: [(&str, bool); 6] = [
            ("attachRequired", true),
            ("podInfoOnMount", false),
            ("storageCapacity", false),
            ("requiresRepublish", false),
            ("seLinuxMount", false),
            ("preventPodSchedulingIfMissing", false),
        ];
        let spec = obj.at_mut("spec");
        for (key, value) in FLAGS {
            if !spec.has(key) {
                spec.set(key, value);
            }
        }
        if !spec.has("fsGroupPolicy") {
            spec.set("fsGroupPolicy", "ReadWriteOnceWithFSType");
        }
        if spec.list("volumeLifecycleModes").is_empty() {
            spec.set("volumeLifecycleModes", json!(["Persistent"]));
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        // A driver's generation counts its changes alone: it is absent, which is zero, when the driver is new.
        if !same(new.at("spec"), old.at("spec")) {
            let generation = old.at("metadata").int("generation").unwrap_or_default();
            new.at_mut("metadata").set("generation", generation.saturating_add(1));
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = obj.child("spec");
        let policy = spec.child("fsGroupPolicy");
        if policy.is_set() {
            policy.one_of(&GROUP_POLICIES, errs);
        }
        let requests = spec.child("tokenRequests");
        token_requests(&requests, errs);
        let modes = spec.child("volumeLifecycleModes");
        for mode in modes.items().filter(|mode| !LIFECYCLE_MODES.contains(&mode.str())) {
            errs.push(field::not_supported(&modes.path, mode.str(), &LIFECYCLE_MODES));
        }
        let period = spec.child("nodeAllocatableUpdatePeriodSeconds");
        if period.is_set() && period.number() < SHORTEST_PERIOD_SECONDS {
            errs.push(period.invalid("must be greater than or equal to 10 seconds"));
        }
        let in_secrets = spec.child("serviceAccountTokenInSecrets");
        if in_secrets.is_set() && requests.is_empty() {
            errs.push(
                in_secrets.invalid("serviceAccountTokenInSecrets is set but no tokenRequests are specified"),
            );
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        self.validate(new, cx, errs);
        let (spec, before) = (new.child("spec"), old.at("spec"));
        if spec.choice("attachRequired") != before.choice("attachRequired") {
            let path = spec.path.child("attachedRequired");
            errs.push(field::invalid(&path, spec.at("attachRequired"), IMMUTABLE));
        }
        spec.child("volumeLifecycleModes").immutable(before.at("volumeLifecycleModes"), errs);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let spec = new.at("spec");
        let requests = spec.at("tokenRequests");
        let changed = old.is_none_or(|old| !same(old.at("spec").at("tokenRequests"), requests));
        let warns = changed && !requests.is_nothing() && !spec.has("serviceAccountTokenInSecrets");
        if warns { vec![TOKENS_MAY_BE_LOGGED.to_owned()] } else { Vec::new() }
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let spec = obj.at("spec");
        let audiences: Vec<&str> =
            spec.list("tokenRequests").iter().map(|request| request.text("audience")).collect();
        let modes = spec.texts("volumeLifecycleModes");
        vec![
            column::name(obj),
            spec.choice("attachRequired").unwrap_or(true).into(),
            spec.flag("podInfoOnMount").into(),
            spec.flag("storageCapacity").into(),
            if spec.has("tokenRequests") { audiences.join(",").into() } else { "<unset>".into() },
            spec.flag("requiresRepublish").into(),
            if modes.is_empty() { "<none>".into() } else { modes.join(",").into() },
            column::age(obj, now),
        ]
    }
}

fn token_requests(requests: &Node<'_>, errs: &mut ErrorList) {
    let mut audiences = BTreeSet::new();
    for request in requests.items() {
        if !audiences.insert(request.value().text("audience")) {
            errs.push(field::duplicate(&request.path.child("audience"), request.text("audience")));
            continue;
        }
        let seconds = request.child("expirationSeconds");
        if !seconds.is_set() {
            continue;
        }
        if seconds.number() < SHORTEST_TOKEN_SECONDS {
            errs.push(seconds.invalid("may not specify a duration less than 10 minutes"));
        }
        if seconds.number() > LONGEST_TOKEN_SECONDS {
            errs.push(seconds.invalid("may not specify a duration larger than 2^32 seconds"));
        }
    }
}
