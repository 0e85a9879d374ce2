//! Which objects a pod or a volume names.

use serde_json::Value;

use crate::tree::{items, name, text};

/// Every container of a pod: init, main and ephemeral ones.
pub fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|key| items(&pod["spec"], key))
}

/// The secrets in the pod's namespace that it names, in no particular order and possibly more than once.
pub fn secrets(pod: &Value) -> Vec<&str> {
    let spec = &pod["spec"];
    let mut found: Vec<&str> =
        items(spec, "imagePullSecrets").iter().map(|secret| text(secret, "name")).collect();
    found.extend(from_environment(pod, "secretRef", "secretKeyRef"));
    for volume in items(spec, "volumes") {
        found.extend([text(&volume["azureFile"], "secretName"), text(&volume["secret"], "secretName")]);
        for kind in ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"] {
            found.push(text(&volume[kind]["secretRef"], "name"));
        }
        found.push(text(&volume["csi"]["nodePublishSecretRef"], "name"));
        found.extend(
            items(&volume["projected"], "sources").iter().map(|source| text(&source["secret"], "name")),
        );
    }
    found.retain(|name| !name.is_empty());
    found
}

/// The config maps in the pod's namespace that it names.
pub fn config_maps(pod: &Value) -> Vec<&str> {
    let mut found: Vec<&str> = from_environment(pod, "configMapRef", "configMapKeyRef").collect();
    for volume in items(&pod["spec"], "volumes") {
        found.push(text(&volume["configMap"], "name"));
        let sources = items(&volume["projected"], "sources");
        found.extend(sources.iter().map(|source| text(&source["configMap"], "name")));
    }
    found.retain(|name| !name.is_empty());
    found
}

fn from_environment<'a>(pod: &'a Value, whole: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    containers(pod).flat_map(move |container| {
        let whole = items(container, "envFrom").iter().map(move |from| text(&from[whole], "name"));
        let single = items(container, "env").iter().map(move |env| text(&env["valueFrom"][key], "name"));
        whole.chain(single)
    })
}

/// The claims that a pod mounts, those made from its own templates included.
pub fn volume_claims(pod: &Value) -> Vec<String> {
    let volumes = items(&pod["spec"], "volumes").iter();
    let names = volumes.filter_map(|volume| match &volume["persistentVolumeClaim"] {
        Value::Null if volume["ephemeral"].is_null() => None,
        Value::Null => Some(format!("{}-{}", name(pod), text(volume, "name"))),
        claim => Some(text(claim, "claimName").to_owned()),
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// The resource claims that a pod uses; one made from a template is known once the status names it.
pub fn resource_claims(pod: &Value) -> Vec<&str> {
    let statuses = items(&pod["status"], "resourceClaimStatuses");
    let made_for = |entry: &str| {
        let status = statuses.iter().find(|status| text(status, "name") == entry)?;
        status["resourceClaimName"].as_str()
    };
    let named = items(&pod["spec"], "resourceClaims").iter().filter_map(|claim| {
        let made = || claim["resourceClaimTemplateName"].as_str().and_then(|_| made_for(text(claim, "name")));
        claim["resourceClaimName"].as_str().or_else(made)
    });
    let extended = text(&pod["status"]["extendedResourceClaimStatus"], "resourceClaimName");
    named.chain(Some(extended).filter(|name| !name.is_empty())).collect()
}

/// The secrets that a kubelet needs for a bound volume, with their namespaces.
pub fn volume_secrets(volume: &Value) -> Vec<(&str, &str)> {
    let spec = &volume["spec"];
    let claim_namespace = text(&spec["claimRef"], "namespace");
    let or_claim = |namespace: &'static str, reference| match text(reference, namespace) {
        "" => claim_namespace,
        own => own,
    };
    let mut found = Vec::new();
    let azure = &spec["azureFile"];
    found.push((or_claim("secretNamespace", azure), text(azure, "secretName")));
    for kind in ["cephfs", "flexVolume", "rbd", "scaleIO", "iscsi"] {
        let secret = &spec[kind]["secretRef"];
        found.push((or_claim("namespace", secret), text(secret, "name")));
    }
    let exact = [
        &spec["cinder"]["secretRef"],
        &spec["storageos"]["secretRef"],
        &spec["csi"]["nodePublishSecretRef"],
        &spec["csi"]["nodeStageSecretRef"],
        &spec["csi"]["nodeExpandSecretRef"],
    ];
    found.extend(exact.map(|secret| (text(secret, "namespace"), text(secret, "name"))));
    found.retain(|(_, name)| !name.is_empty());
    found
}
