//! ServiceAccount: who a pod is.

use std::sync::Arc;

use base::clock::Wall;
use serde_json::{Value, json};

use crate::column::{self, AGE, NAME};
use crate::kind::{Kind, Subresource, Verb, names as texts};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["sa"]),
        subresources: vec![Subresource::special(
            "token",
            &[Verb::Create],
            ("authentication.k8s.io", "v1", "TokenRequest"),
        )],
        columns: vec![NAME, AGE],
        strategy: Arc::new(ServiceAccount),
        ..Kind::namespaced("", "v1", "ServiceAccount", "serviceaccounts")
    }
}

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        names_only(obj);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value, _cx: &Context<'_>) {
        names_only(new);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let enforced = |obj: &Value| obj.path(&["metadata", "annotations"]).has(ENFORCE);
        if !enforced(new) || old.is_some_and(enforced) {
            return Vec::new();
        }
        vec![format!(
            "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access \
             to mounted secrets"
        )]
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        vec![column::name(obj), column::age(obj, now)]
    }
}

/// Secrets are referred to by name alone.
fn names_only(obj: &mut Value) {
    for secret in obj.items_mut("secrets") {
        *secret = json!({"name": secret.text("name")});
    }
}
