//! The config map `kube-root-ca.crt` in every namespace, by which pods verify the API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::typed::Typed;

use crate::plan::{Action, Kind, Operation, Plan, Target};

pub const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints \
                    such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                    distributions of Kubernetes clusters.";

pub struct View<'a> {
    pub namespace: &'a Namespace,
    pub config_map: Option<&'a ConfigMap>,
    /// The certificates, as PEM.
    pub bundle: &'a str,
}

pub fn reconcile(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    let wanted = BTreeMap::from([(KEY.to_owned(), view.bundle.to_owned())]);
    let describe = |annotations: Option<BTreeMap<String, String>>| {
        let mut annotations = annotations.unwrap_or_default();
        annotations.insert(DESCRIPTION.into(), TEXT.into());
        Some(annotations)
    };
    match view.config_map {
        // Nothing new may be created in a namespace that is being deleted.
        None if view.namespace.metadata.deletion_timestamp.is_some() => {}
        None => {
            let metadata = ObjectMeta {
                name: Some(NAME.into()),
                namespace: view.namespace.metadata.name.clone(),
                annotations: describe(None),
                ..ObjectMeta::default()
            };
            let target = Target::of(Kind::CONFIG_MAP, &metadata);
            let body = ConfigMap { metadata, data: Some(wanted), ..ConfigMap::default() };
            plan.push(0, Operation::new(target, Action::Create { body: Arc::new(body.to_tree()) }));
        }
        Some(map) => {
            let annotation =
                map.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DESCRIPTION));
            if map.data.as_ref() != Some(&wanted) || annotation.is_none_or(String::is_empty) {
                let annotations = describe(map.metadata.annotations.clone());
                let metadata = ObjectMeta { annotations, ..map.metadata.clone() };
                let body = ConfigMap { metadata, data: Some(wanted), ..map.clone() };
                let update = Action::Update { body: Arc::new(body.to_tree()) };
                plan.push(
                    0,
                    Operation::on(Kind::CONFIG_MAP, &map.metadata, update).at_revision(&map.metadata),
                );
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(map: Option<Value>, expected: Option<&str>) {
        let namespace = Namespace::from_tree(&json!({"metadata": {"name": "team"}})).unwrap();
        let map = map.map(|tree| ConfigMap::from_tree(&tree).unwrap());
        let plan = reconcile(&View { namespace: &namespace, config_map: map.as_ref(), bundle: "PEM" });
        let written = plan.operations.first().map(|operation| match &operation.action {
            Action::Create { body } => ("create", body),
            Action::Update { body } => ("update", body),
            other => panic!("{other:?}"),
        });
        assert_eq!(written.map(|(verb, _)| verb), expected);
        if let Some((_, body)) = written {
            assert_eq!(body["data"], json!({"ca.crt": "PEM"}));
            assert_eq!(body["metadata"]["annotations"][DESCRIPTION], TEXT);
            assert_eq!(body["metadata"]["namespace"], "team");
        }
    }

    #[test]
    fn the_bundle_is_kept_as_it_should_be() {
        let map = |data: Value, annotations: Value| {
            Some(
                json!({"metadata": {"name": NAME, "namespace": "team", "annotations": annotations}, "data": data}),
            )
        };
        check(None, Some("create"));
        check(map(json!({"ca.crt": "PEM"}), json!({DESCRIPTION: "anything"})), None);
        check(map(json!({"ca.crt": "PEM"}), json!({})), Some("update"));
        check(map(json!({"ca.crt": "old"}), json!({DESCRIPTION: TEXT})), Some("update"));
        check(map(json!({"ca.crt": "PEM", "more": "x"}), json!({DESCRIPTION: TEXT})), Some("update"));
    }
}
