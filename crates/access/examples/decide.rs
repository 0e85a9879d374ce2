//! How long a decision takes with 1,000 roles and 5,000 bindings.

use access::Attributes;
use access::rbac::Index;
use api::User;
use base::clock::{Clock as _, SystemClock};
use serde_json::json;

const ROLES: usize = 1_000;
const BINDINGS: usize = 5_000;
const ROUNDS: usize = 300_000;

fn main() {
    let mut index = Index::default();
    access::rbac::defaults::objects().iter().for_each(|object| index.set(object));
    for n in 0..ROLES {
        index.set(&json!({"kind": "ClusterRole", "metadata": {"name": format!("role-{n}")}, "rules": [
            {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods", "services"]},
            {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["deployments"]}]}));
    }
    for n in 0..BINDINGS {
        let namespace = format!("team-{}", n % 100);
        index.set(
            &json!({"kind": "RoleBinding", "metadata": {"name": format!("b-{n}"), "namespace": namespace},
            "roleRef": {"kind": "ClusterRole", "name": format!("role-{}", n % ROLES)},
            "subjects": [{"kind": "User", "name": format!("user-{}", n % 500)}]}),
        );
    }
    let user = User::new("user-42", &["system:authenticated", "devs"]);
    let pods = Attributes {
        group: "",
        resource: "pods",
        namespace: "team-42",
        is_resource: true,
        ..Attributes::default()
    };
    for (what, request) in [
        ("allowed by a role binding", Attributes { verb: "list", ..pods }),
        ("refused", Attributes { verb: "delete", ..pods }),
    ] {
        let clock = SystemClock::new();
        let allowed =
            (0..ROUNDS).filter(|_| index.decide(&user, std::hint::black_box(&request)).is_allowed()).count();
        let each = clock.monotonic().as_nanos() as usize / ROUNDS;
        println!("{what}: {each} ns a decision ({allowed} of {ROUNDS} allowed)");
    }
}
