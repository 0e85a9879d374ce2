//! The volumes of a pod: exactly one source each.

use std::collections::{BTreeMap, BTreeSet};

use grammar::field::ErrorList;
use grammar::names;

use crate::check::{self, require};
use crate::claim;
use crate::meta;
use crate::node::Node;
use crate::pod::Rules;
use crate::pod::env;
use crate::signer;
use crate::tree::Tree;

const ONE_TYPE: &str = "may not specify more than 1 volume type";
const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const DIRECTORY_MODE: &str = "must be a number between 0 and 01777 (octal), both inclusive";
const HOST_PORT_PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
const DUPLICATE_PATH: &str = "conflicting duplicate paths";

/// The volumes that containers may mount: those without faults.
#[derive(Default)]
pub struct Volumes<'a>(BTreeMap<String, Node<'a>>);

impl Volumes<'_> {
    /// The volume called `name`.
    pub fn find(&self, name: &str) -> Option<&Node<'_>> {
        self.0.get(name)
    }
}

/// Checks `volumes` and answers with the sound ones. `pod_name` is "" in a template.
pub fn validate<'a>(
    volumes: &'a Node<'_>,
    pod_name: &str,
    rules: &Rules,
    errs: &mut ErrorList,
) -> Volumes<'a> {
    let created: BTreeSet<String> = volumes
        .items()
        .filter(|volume| !pod_name.is_empty() && volume.has("ephemeral"))
        .map(|volume| format!("{pod_name}-{}", volume.text("name")))
        .collect();
    let mut sound = Volumes::default();
    for volume in volumes.items() {
        let mut own = ErrorList::new();
        source(&volume, pod_name, rules, &mut own);
        let name = volume.child("name");
        match name.str() {
            "" => own.push(name.required("")),
            _ => check::dns_label(&name, &mut own),
        }
        if sound.find(name.str()).is_some() {
            own.push(name.duplicate());
        }
        if own.is_empty() {
            sound.0.insert(name.str().to_owned(), volume);
        }
        errs.extend(own);
        let claim = volume.child("persistentVolumeClaim");
        let claim_name = claim.child("claimName");
        if claim.is_set() && created.contains(claim_name.str()) {
            errs.push(
                claim_name.invalid("must not reference a PVC that gets created for an ephemeral volume"),
            );
        }
    }
    sound
}

type Check = fn(&Node<'_>, &Rules, &mut ErrorList);

/// A kind of source: its field, the field's name in an error about a second source, its name in errors about
/// itself, and its rules. The two names differ where upstream's messages do.
struct Source {
    field: &'static str,
    second: &'static str,
    own: &'static str,
    check: Check,
}

const fn plain(field: &'static str, check: Check) -> Source {
    Source { field, second: field, own: field, check }
}

/// In the order in which the second of two sources is found.
const SOURCES: &[Source] = &[
    plain("emptyDir", empty_dir),
    plain("hostPath", host_path),
    plain("gitRepo", git_repo),
    Source { own: "persistentDisk", ..plain("gcePersistentDisk", gce_disk) },
    plain("awsElasticBlockStore", aws_disk),
    plain("secret", secret),
    plain("nfs", nfs),
    plain("iscsi", iscsi),
    plain("glusterfs", |node, _, errs| require(node, &["endpoints", "path"], errs)),
    plain("flocker", flocker),
    plain("persistentVolumeClaim", |node, _, errs| require(node, &["claimName"], errs)),
    plain("rbd", rbd),
    plain("cinder", cinder),
    Source { second: "cephFS", ..plain("cephfs", ceph_fs) },
    plain("quobyte", quobyte),
    Source { second: "downwarAPI", ..plain("downwardAPI", downward_api) },
    plain("fc", fibre_channel),
    plain("flexVolume", flex_volume),
    plain("configMap", config_map),
    plain("azureFile", |node, _, errs| require(node, &["secretName", "shareName"], errs)),
    plain("vsphereVolume", |node, _, errs| require(node, &["volumePath"], errs)),
    plain("photonPersistentDisk", |node, _, errs| require(node, &["pdID"], errs)),
    plain("portworxVolume", |node, _, errs| require(node, &["volumeID"], errs)),
    plain("azureDisk", azure_disk),
    plain("storageos", storage_os),
    plain("projected", projected),
    plain("scaleIO", |node, _, errs| require(node, &["gateway", "system", "volumeName"], errs)),
    plain("csi", csi),
    plain("ephemeral", ephemeral),
    plain("image", image),
];

fn source(volume: &Node<'_>, pod_name: &str, rules: &Rules, errs: &mut ErrorList) {
    let mut found = false;
    for source in SOURCES {
        if !volume.has(source.field) {
            continue;
        }
        if found {
            errs.push(volume.child(source.second).forbidden(ONE_TYPE));
            continue;
        }
        found = true;
        let node = Node::new(volume.value().at(source.field), volume.path.child(source.own));
        (source.check)(&node, rules, errs);
        let name = volume.child("name");
        if source.field == "ephemeral" && !pod_name.is_empty() && !name.str().is_empty() {
            let claim = format!("{pod_name}-{}", name.str());
            for complaint in names::name_is_dns_subdomain(&claim, false) {
                errs.push(name.invalid(format!("PVC name \"{claim}\": {complaint}")));
            }
        }
    }
    let portal = volume.at("iscsi").text("targetPortal");
    if volume.at("iscsi").has("initiatorName") && volume.text("name").len() + 1 + portal.len() > 64 {
        errs.push(volume.child("name").invalid_text(
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
             iscsi.initiatorName is specified.",
        ));
    }
    if !found {
        errs.push(volume.required("must specify a volume type"));
    }
}

fn empty_dir(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    let limit = node.child("sizeLimit");
    if limit.is_set() && check::quantity(limit.value()).sign() < 0 {
        errs.push(limit.forbidden("SizeLimit field must be a valid resource quantity"));
    }
    mode(&node.child("mode"), 0o1777, DIRECTORY_MODE, errs);
}

fn mode(node: &Node<'_>, most: i64, complaint: &str, errs: &mut ErrorList) {
    if node.is_set() && !(0..=most).contains(&node.number()) {
        errs.push(node.invalid(complaint));
    }
}

fn file_mode(node: &Node<'_>, errs: &mut ErrorList) {
    mode(node, 0o777, FILE_MODE, errs);
}

pub(crate) fn host_path(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    const TYPES: &[&str] = &[
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    let path = node.child("path");
    if path.str().is_empty() {
        errs.push(path.required(""));
        return;
    }
    check::no_backsteps(&path, errs);
    node.child("type").one_of(TYPES, errs);
}

fn git_repo(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    require(node, &["repository"], errs);
    check::descending_path(&node.child("directory"), errs);
}

pub(crate) fn partition(node: &Node<'_>, errs: &mut ErrorList) {
    if !(0..=255).contains(&node.number()) {
        errs.push(node.invalid(names::inclusive_range_error(1, 255)));
    }
}

pub(crate) fn gce_disk(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    require(node, &["pdName"], errs);
    partition(&node.child("partition"), errs);
}

pub(crate) fn aws_disk(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    require(node, &["volumeID"], errs);
    partition(&node.child("partition"), errs);
}

fn secret(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    require(node, &["secretName"], errs);
    files(node, errs);
}

fn config_map(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    require(node, &["name"], errs);
    files(node, errs);
}

fn files(node: &Node<'_>, errs: &mut ErrorList) {
    file_mode(&node.child("defaultMode"), errs);
    check::user(&node.child("defaultUser"), errs);
    for item in node.child("items").items() {
        key_to_path(&item, errs);
    }
}

fn key_to_path(node: &Node<'_>, errs: &mut ErrorList) {
    require(node, &["key", "path"], errs);
    check::local_path(&node.child("path"), errs);
    file_mode(&node.child("mode"), errs);
    check::user(&node.child("user"), errs);
}

pub(crate) fn nfs(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    require(node, &["server", "path"], errs);
    let path = node.child("path");
    if !path.str().starts_with('/') {
        errs.push(path.invalid_text("must be an absolute path"));
    }
}

fn iscsi(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    const PREFIX: &str = "must be valid format starting with iqn, eui, or naa";
    require(node, &["targetPortal"], errs);
    iscsi_common(node, PREFIX, errs);
}

/// What an iSCSI source of a pod and of a persistent volume share.
pub(crate) fn iscsi_common(node: &Node<'_>, prefix: &str, errs: &mut ErrorList) {
    let iqn = node.child("iqn");
    match iqn.str() {
        "" => errs.push(iqn.required("")),
        _ => initiator(&iqn, prefix, errs),
    }
    let lun = node.child("lun");
    if !(0..=255).contains(&lun.number()) {
        errs.push(lun.invalid(names::inclusive_range_error(0, 255)));
    }
    if (node.flag("chapAuthDiscovery") || node.flag("chapAuthSession")) && !node.has("secretRef") {
        errs.push(node.child("secretRef").required(""));
    }
    if node.has("initiatorName") {
        let name = Node::new(node.value().at("initiatorName"), node.path.child("initiatorname"));
        initiator(&name, prefix, errs);
    }
}

fn initiator(node: &Node<'_>, prefix: &str, errs: &mut ErrorList) {
    let text = node.str();
    let sound = match text.get(..3) {
        Some("iqn") => is_iqn(text),
        Some("eui") => is_identifier(text, 16),
        Some("naa") => is_identifier(text, 32),
        _ => {
            errs.push(node.invalid(prefix));
            return;
        }
    };
    if !sound {
        errs.push(node.invalid("must be valid format"));
    }
}

/// `iqn.2001-04.com.example:anything`.
fn is_iqn(text: &str) -> bool {
    let Some((date, name)) = text.strip_prefix("iqn.").and_then(|rest| rest.split_at_checked(8)) else {
        return false;
    };
    let dated = date.bytes().enumerate().all(|(index, byte)| match index {
        4 => byte == b'-',
        7 => byte == b'.',
        _ => byte.is_ascii_digit(),
    });
    let Some((authority, unique)) = name.split_once(':') else { return false };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let odd = |c: char| matches!(c, ',' | ';' | '*' | '&' | '$' | '|') || c.is_ascii_whitespace();
    dated
        && !authority.is_empty()
        && authority.bytes().all(plain)
        && !unique.is_empty()
        && !unique.contains(odd)
}

/// The prefix, any character, and `length` letters or digits.
fn is_identifier(text: &str, length: usize) -> bool {
    text.get(4..).is_some_and(|id| id.len() == length && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

pub(crate) fn flocker(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    let (name, uuid) = (node.child("datasetName"), node.child("datasetUUID"));
    match (name.str().is_empty(), uuid.str().is_empty()) {
        (true, true) => errs.push(node.required("one of datasetName and datasetUUID is required")),
        (false, false) => errs.push(
            node.invalid_as("resource", "datasetName and datasetUUID can not be specified simultaneously"),
        ),
        _ => {}
    }
    if name.str().contains('/') {
        errs.push(name.invalid("must not contain '/'"));
    }
}

pub(crate) fn rbd(node: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    ceph_fs(node, rules, errs);
    require(node, &["image"], errs);
}

pub(crate) fn ceph_fs(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    let monitors = node.child("monitors");
    if monitors.is_empty() {
        errs.push(monitors.required(""));
    }
}

fn cinder(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    require(node, &["volumeID"], errs);
    if node.has("secretRef") {
        require(&node.child("secretRef"), &["name"], errs);
    }
}

pub(crate) fn quobyte(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    let registry = node.child("registry");
    if registry.str().is_empty() {
        errs.push(registry.required(HOST_PORT_PAIRS));
    } else if node.text("tenant").len() >= 65 {
        errs.push(
            node.child("tenant").required("must be a UUID and may not exceed a length of 64 characters"),
        );
    } else {
        for pair in registry.str().split(',') {
            if !is_host_port(pair) {
                errs.push(registry.invalid(HOST_PORT_PAIRS));
            }
        }
    }
    require(node, &["volume"], errs);
}

fn is_host_port(pair: &str) -> bool {
    match pair.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").is_some_and(|(_, port)| !port.contains(':')),
        None => pair.matches(':').count() == 1,
    }
}

fn downward_api(node: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    file_mode(&node.child("defaultMode"), errs);
    check::user(&node.child("defaultUser"), errs);
    for file in node.child("items").items() {
        downward_file(&Node::new(file.value(), node.path), rules, errs);
    }
}

/// One file of a downward API volume. Upstream names the volume, not the file, in its errors.
fn downward_file(file: &Node<'_>, _rules: &Rules, errs: &mut ErrorList) {
    const FIELDS: &[&str] =
        &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
    require(file, &["path"], errs);
    check::local_path(&file.child("path"), errs);
    match (file.has("fieldRef"), file.has("resourceFieldRef")) {
        (true, both) => {
            env::field_selector(&file.child("fieldRef"), FIELDS, errs);
            if both {
                errs.push(file.invalid_as(
                    "resource",
                    "fieldRef and resourceFieldRef can not be specified simultaneously",
                ));
            }
        }
        (false, true) => env::resource_selector(&file.child("resourceFieldRef"), true, errs),
        (false, false) => errs.push(file.required("one of fieldRef and resourceFieldRef is required")),
    }
    file_mode(&file.child("mode"), errs);
    check::user(&file.child("user"), errs);
}

pub(crate) fn fibre_channel(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    let (names_, wwids, lun) = (node.child("targetWWNs"), node.child("wwids"), node.child("lun"));
    match (names_.is_empty(), wwids.is_empty()) {
        (true, true) => {
            errs.push(names_.required("must specify either targetWWNs or wwids, but not both"));
        }
        (false, false) => {
            errs.push(names_.invalid("targetWWNs and wwids can not be specified simultaneously"));
        }
        _ => {}
    }
    if !names_.is_empty() {
        if !lun.is_set() {
            errs.push(lun.required("lun is required if targetWWNs is specified"));
        } else if !(0..=255).contains(&lun.number()) {
            errs.push(lun.invalid(names::inclusive_range_error(0, 255)));
        }
    }
}

pub(crate) fn flex_volume(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    require(node, &["driver"], errs);
    for (key, option) in node.child("options").pairs() {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
        let dotted = format!(".{}", namespace.to_lowercase());
        if dotted.ends_with(".kubernetes.io") || dotted.ends_with(".k8s.io") {
            errs.push(option.invalid_as(key, "kubernetes.io and k8s.io namespaces are reserved"));
        }
    }
}

pub(crate) fn azure_disk(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    const MANAGED: &str = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/\
                           {disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    require(node, &["diskName", "diskURI"], errs);
    let (caching, kind, uri) = (node.child("cachingMode"), node.child("kind"), node.child("diskURI"));
    if caching.is_set() {
        caching.one_of(&["None", "ReadOnly", "ReadWrite"], errs);
    }
    if kind.is_set() {
        kind.one_of(&["Dedicated", "Managed", "Shared"], errs);
        let (start, shape) = match kind.str() {
            "Managed" => ("/subscriptions/", MANAGED),
            _ => ("https://", BLOB),
        };
        if !uri.str().starts_with(start) {
            errs.push(uri.not_supported(&[shape]));
        }
    }
}

fn storage_os(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    storage_os_names(node, errs);
    if node.has("secretRef") {
        require(&node.child("secretRef"), &["name"], errs);
    }
}

/// What a StorageOS source of a pod and of a persistent volume share.
pub(crate) fn storage_os_names(node: &Node<'_>, errs: &mut ErrorList) {
    let (name, namespace) = (node.child("volumeName"), node.child("volumeNamespace"));
    match name.str() {
        "" => errs.push(name.required("")),
        _ => check::dns_label(&name, errs),
    }
    if !namespace.str().is_empty() {
        check::dns_label(&namespace, errs);
    }
}

fn csi(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    check::csi_driver_name(&node.child("driver"), errs);
    if node.has("nodePublishSecretRef") {
        let secret = node.child("nodePublishSecretRef");
        let name = secret.child("name");
        match name.str() {
            "" => errs.push(name.required("")),
            text => {
                let misplaced = node.child("name");
                errs.extend(
                    meta::SUBDOMAIN(text, false)
                        .into_iter()
                        .map(|complaint| misplaced.invalid_as(text, complaint)),
                );
            }
        }
    }
}

fn ephemeral(node: &Node<'_>, _: &Rules, errs: &mut ErrorList) {
    let template = node.child("volumeClaimTemplate");
    if template.is_set() {
        claim::validate_template(&template, errs);
    } else {
        errs.push(template.required(""));
    }
}

fn image(node: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    if !rules.empty_image_references {
        require(node, &["reference"], errs);
    }
    check::required_choice(&node.child("pullPolicy"), &["Always", "IfNotPresent", "Never"], errs);
}

/// Paths that a projected volume has promised to a source already.
#[derive(Default)]
struct Taken(BTreeSet<String>);

impl Taken {
    /// Takes `path`, unless it is empty; a path taken twice is the volume's fault and shows `culprit`.
    fn take(&mut self, path: &str, culprit: &str, volume: &Node<'_>, errs: &mut ErrorList) {
        if !path.is_empty() && !self.0.insert(path.to_owned()) {
            errs.push(volume.invalid_as(culprit, DUPLICATE_PATH));
        }
    }
}

fn projected(volume: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    file_mode(&volume.child("defaultMode"), errs);
    check::user(&volume.child("defaultUser"), errs);
    let mut taken = Taken::default();
    for source in volume.child("sources").items() {
        let mut kinds = 0;
        for key in ["secret", "configMap"] {
            let from = source.child(key);
            if from.is_set() {
                kinds += 1;
                require(&from, &["name"], errs);
                for item in from.child("items").items() {
                    key_to_path(&item, errs);
                    taken.take(item.text("path"), from.text("name"), volume, errs);
                }
            }
        }
        let from = source.child("downwardAPI");
        if from.is_set() {
            kinds += 1;
            for file in from.child("items").items() {
                downward_file(&Node::new(file.value(), from.path), rules, errs);
                taken.take(file.text("path"), file.text("path"), volume, errs);
            }
        }
        let from = source.child("serviceAccountToken");
        if from.is_set() {
            kinds += 1;
            token(volume, &from, rules, errs);
        }
        let from = source.child("clusterTrustBundle");
        if from.is_set() {
            kinds += 1;
            trust_bundle(&from, errs);
            taken.take(from.text("path"), from.text("path"), volume, errs);
        }
        let from = source.child("podCertificate");
        if from.is_set() {
            kinds += 1;
            pod_certificate(&from, errs);
            for key in CERTIFICATE_PATHS {
                taken.take(from.text(key), from.text(key), volume, errs);
            }
        }
        if kinds > 1 {
            errs.push(source.forbidden("may not specify more than 1 volume type per source"));
        }
    }
}

fn token(volume: &Node<'_>, token: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    let expiration = token.child("expirationSeconds");
    match expiration.as_i64() {
        None => errs.push(expiration.required("")),
        Some(..600) => errs.push(expiration.invalid("may not specify a duration less than 10 minutes")),
        Some(4_294_967_297..) => {
            errs.push(expiration.invalid("may not specify a duration larger than 2^32 seconds"));
        }
        Some(_) => {}
    }
    let path = Node::new(token.value().at("path"), volume.path.child("path"));
    if path.str().is_empty() {
        errs.push(path.required(""));
    } else if !rules.non_local_token_paths {
        check::local_path(&path, errs);
    }
    check::user(&token.child("user"), errs);
}

fn trust_bundle(node: &Node<'_>, errs: &mut ErrorList) {
    let (name, signer_name) = (node.child("name"), node.child("signerName"));
    match (name.is_set(), signer_name.is_set()) {
        (true, true) => errs.push(node.invalid("only one of name and signerName may be used")),
        (true, false) => {
            if name.str().is_empty() {
                errs.push(name.required("must be a valid object name"));
            }
            for complaint in signer::trust_bundle_name(name.str()) {
                errs.push(name.invalid(format!("not a valid clustertrustbundlename: {complaint}")));
            }
            let selector = node.child("labelSelector");
            if selector.is_set() {
                errs.push(selector.invalid("labelSelector must be unset if name is specified"));
            }
        }
        (false, true) => {
            if signer_name.str().is_empty() {
                errs.push(signer_name.required("must be a valid signer name"));
            }
            signer::name(&signer_name, errs);
            check::label_selector(&node.child("labelSelector"), false, errs);
        }
        (false, false) => errs.push(node.required("either name or signerName must be specified")),
    }
    require(node, &["path"], errs);
    check::user(&node.child("user"), errs);
    check::local_path(&node.child("path"), errs);
}

const CERTIFICATE_PATHS: [&str; 3] = ["credentialBundlePath", "keyPath", "certificateChainPath"];

fn pod_certificate(node: &Node<'_>, errs: &mut ErrorList) {
    const KEY_TYPES: &[&str] = &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    const LONGEST: i64 = 91 * 24 * 3600;
    const LONGEST_OF_KUBERNETES: i64 = 24 * 3600;
    let signer_name = node.child("signerName");
    signer::name(&signer_name, errs);
    let annotations = node.child("userAnnotations");
    if annotations.is_set() {
        signer::user_annotations(&annotations, errs);
    }
    check::user(&node.child("user"), errs);
    node.child("keyType").one_of(KEY_TYPES, errs);
    let expiration = node.child("maxExpirationSeconds");
    if let Some(seconds) = expiration.as_i64() {
        if seconds < 3600 {
            errs.push(expiration.invalid("if provided, maxExpirationSeconds must be >= 3600"));
        }
        let most = if signer::is_kubernetes(signer_name.str()) { LONGEST_OF_KUBERNETES } else { LONGEST };
        if seconds > most {
            errs.push(expiration.invalid(format!("if provided, maxExpirationSeconds must be <= {most}")));
        }
    }
    let mut paths = 0;
    for key in CERTIFICATE_PATHS {
        let path = node.child(key);
        if !path.str().is_empty() {
            paths += 1;
            check::local_path(&path, errs);
        }
    }
    if paths == 0 {
        errs.push(
            node.required("specify at least one of credentialBundlePath, keyPath, and certificateChainPath"),
        );
    }
}
