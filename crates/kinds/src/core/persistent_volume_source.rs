//! Where a persistent volume's bytes lie: one of many kinds of storage.

use grammar::field::ErrorList;

use crate::check::{self, require, secret_reference};
use crate::meta;
use crate::node::Node;
use crate::pod::{Rules, volumes};
use crate::tree::Tree;

/// A kind of storage.
struct Source {
    field: &'static str,
    /// The name in the errors about its content.
    own: &'static str,
    /// The name in the error about being the second one.
    second: &'static str,
    check: fn(&Node<'_>, &mut ErrorList),
}

const fn plain(field: &'static str, check: fn(&Node<'_>, &mut ErrorList)) -> Source {
    Source { field, own: field, second: field, check }
}

/// Those of which a volume may have one. A flex volume may stand behind any other.
const SOURCES: &[Source] = &[
    plain("hostPath", |node, errs| volumes::host_path(node, &Rules::default(), errs)),
    Source { own: "persistentDisk", ..plain("gcePersistentDisk", gce_disk) },
    plain("awsElasticBlockStore", |node, errs| volumes::aws_disk(node, &Rules::default(), errs)),
    plain("glusterfs", gluster),
    plain("flocker", |node, errs| volumes::flocker(node, &Rules::default(), errs)),
    plain("nfs", |node, errs| volumes::nfs(node, &Rules::default(), errs)),
    plain("rbd", |node, errs| volumes::rbd(node, &Rules::default(), errs)),
    plain("quobyte", |node, errs| volumes::quobyte(node, &Rules::default(), errs)),
    Source { second: "cephFS", ..plain("cephfs", ceph) },
    plain("iscsi", iscsi),
    plain("cinder", cinder),
    plain("fc", |node, errs| volumes::fibre_channel(node, &Rules::default(), errs)),
    plain(FLEX, |node, errs| volumes::flex_volume(node, &Rules::default(), errs)),
    plain("azureFile", azure_file),
    plain("vsphereVolume", |node, errs| require(node, &["volumePath"], errs)),
    plain("photonPersistentDisk", |node, errs| require(node, &["pdID"], errs)),
    plain("portworxVolume", |node, errs| require(node, &["volumeID"], errs)),
    plain("azureDisk", |node, errs| volumes::azure_disk(node, &Rules::default(), errs)),
    plain("scaleIO", |node, errs| require(node, &["gateway", "system", "volumeName"], errs)),
    plain("local", local),
    plain("storageos", storage_os),
    plain("csi", csi),
];
const FLEX: &str = "flexVolume";

/// Every field that describes storage.
pub(super) fn fields() -> impl Iterator<Item = &'static str> {
    SOURCES.iter().map(|source| source.field)
}

pub(super) fn validate(spec: &Node<'_>, errs: &mut ErrorList) {
    let mut found = false;
    for source in SOURCES {
        if !spec.has(source.field) {
            continue;
        }
        if found && source.field != FLEX {
            errs.push(spec.child(source.second).forbidden("may not specify more than 1 volume type"));
            continue;
        }
        found = true;
        (source.check)(&Node::new(spec.value().at(source.field), spec.path.child(source.own)), errs);
    }
    if !found {
        errs.push(spec.required("must specify a volume type"));
    }
}

fn gce_disk(node: &Node<'_>, errs: &mut ErrorList) {
    volumes::gce_disk(node, &Rules::default(), errs);
}

fn ceph(node: &Node<'_>, errs: &mut ErrorList) {
    volumes::ceph_fs(node, &Rules::default(), errs);
}

fn gluster(node: &Node<'_>, errs: &mut ErrorList) {
    require(node, &["endpoints", "path"], errs);
    let namespace = node.child("endpointsNamespace");
    if !namespace.is_set() {
        return;
    }
    match namespace.str() {
        "" => errs.push(
            namespace.invalid_text("if the endpointnamespace is set, it must be a valid namespace name"),
        ),
        text => namespace.complaints(meta::LABEL(text, false), errs),
    }
}

fn iscsi(node: &Node<'_>, errs: &mut ErrorList) {
    require(node, &["targetPortal"], errs);
    volumes::iscsi_common(node, "must be valid format", errs);
    if node.has("secretRef") {
        require(&node.child("secretRef"), &["name"], errs);
    }
}

/// An initiator's session is named after the volume and the portal together.
pub(super) fn iscsi_name(spec: &Node<'_>, volume: &str, errs: &mut ErrorList) {
    let iscsi = spec.child("iscsi");
    let portal = Node::new(iscsi.value().at("targetPortal"), iscsi.path.child("targetportal"));
    if iscsi.has("initiatorName") && volume.len() + 1 + portal.str().len() > 64 {
        errs.push(portal.invalid_text(
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
             iscsi.initiatorName is specified.",
        ));
    }
}

fn cinder(node: &Node<'_>, errs: &mut ErrorList) {
    require(node, &["volumeID"], errs);
    if node.has("secretRef") {
        require(&node.child("secretRef"), &["name", "namespace"], errs);
    }
}

fn azure_file(node: &Node<'_>, errs: &mut ErrorList) {
    require(node, &["secretName", "shareName"], errs);
    if node.has("secretNamespace") {
        require(node, &["secretNamespace"], errs);
    }
}

fn local(node: &Node<'_>, errs: &mut ErrorList) {
    require(node, &["path"], errs);
    check::no_backsteps(&node.child("path"), errs);
}

fn storage_os(node: &Node<'_>, errs: &mut ErrorList) {
    volumes::storage_os_names(node, errs);
    if node.has("secretRef") {
        require(&node.child("secretRef"), &["name", "namespace"], errs);
    }
}

fn csi(node: &Node<'_>, errs: &mut ErrorList) {
    const SECRETS: &[&str] = &[
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ];
    check::csi_driver_name(&node.child("driver"), errs);
    require(node, &["volumeHandle"], errs);
    for key in SECRETS.iter().filter(|key| node.has(key)) {
        secret_reference(&node.child(key), errs);
    }
}
