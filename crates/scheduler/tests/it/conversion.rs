//! From API objects: what containers of all sorts request together, and what is refused by name.

use api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements, Volume};
use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use scheduler::convert;

/// `cpu memory`, either of them `-` for none.
fn requests(text: &str) -> ResourceRequirements {
    let names = ["cpu", "memory"].into_iter().zip(text.split(' '));
    let given = names.filter(|(_, amount)| *amount != "-");
    let requests = given.map(|(name, amount)| (name.to_owned(), Quantity(amount.into()))).collect();
    ResourceRequirements { requests: Some(requests), ..Default::default() }
}

fn container(text: &str) -> Container {
    let (text, policy) = match text.strip_prefix("sidecar ") {
        Some(text) => (text, Some("Always".to_owned())),
        None => (text, None),
    };
    Container {
        name: text.into(),
        resources: Some(requests(text)),
        restart_policy: policy,
        ..Default::default()
    }
}

fn pod(init: &[&str], main: &[&str]) -> Pod {
    let spec = PodSpec {
        init_containers: Some(init.iter().map(|text| container(text)).collect()),
        containers: main.iter().map(|text| container(text)).collect(),
        ..Default::default()
    };
    Pod { spec: Some(spec), ..Default::default() }
}

#[test]
fn containers_add_up_and_init_containers_overlap() {
    const MI: i64 = 1 << 20;
    // Init containers, containers, requests, and the estimate with defaults for what is missing.
    let cases: [(&[&str], &[&str], (i64, i64), (i64, i64)); 6] = [
        (&[], &["100m 10Mi", "200m 20Mi"], (300, 30 * MI), (300, 30 * MI)),
        (&[], &["- -", "50m -"], (50, 0), (150, 400 * MI)),
        (&["500m 5Mi"], &["100m 10Mi"], (500, 10 * MI), (500, 10 * MI)),
        (&["sidecar 100m 10Mi", "500m 5Mi"], &["100m 10Mi"], (600, 20 * MI), (600, 20 * MI)),
        (&["500m 5Mi", "sidecar 100m 10Mi"], &["100m 10Mi"], (500, 20 * MI), (500, 20 * MI)),
        (&["sidecar 0.5m 1"], &["0.5m 1"], (1, 2), (1, 2)),
    ];
    for (init, main, expected, estimate) in cases {
        let info = convert::pod(&pod(init, main));
        assert_eq!((info.requests.cpu, info.requests.memory), expected, "{init:?} {main:?}");
        assert_eq!((info.estimate.cpu, info.estimate.memory), estimate, "{init:?} {main:?}");
        assert_eq!(info.weight, info.estimate, "{init:?} {main:?}");
    }
}

#[test]
fn overhead_is_added_and_the_pod_s_own_requests_win() {
    let mut object = pod(&[], &["100m 10Mi"]);
    let spec = object.spec.as_mut().expect("a spec");
    spec.overhead = Some([("cpu".to_owned(), Quantity("25m".into()))].into());
    assert_eq!(convert::pod(&object).requests.cpu, 125);
    object.spec.as_mut().expect("a spec").resources = Some(requests("2 -"));
    let info = convert::pod(&object);
    assert_eq!((info.requests.cpu, info.requests.memory), (2025, 10 << 20));
}

#[test]
fn what_cannot_be_decided_is_named() {
    let mut object = pod(&[], &[]);
    let claim = Volume {
        name: "data".into(),
        persistent_volume_claim: Some(Default::default()),
        ..Default::default()
    };
    let plain = Volume { name: "tmp".into(), empty_dir: Some(Default::default()), ..Default::default() };
    object.spec.as_mut().expect("a spec").volumes = Some(vec![plain, claim]);
    assert_eq!(convert::pod(&object).unsupported, ["a persistentVolumeClaim volume (data)"]);
}
