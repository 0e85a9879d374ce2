//! ResourceClaim: devices for somebody, asked for and then allocated.
//!
//! Who may ask for administrative access or write which part of the status is the API server's to check: the rules
//! here know no authorizer.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, BadValue, ErrorList};
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::column::{self, AGE, NAME, described};
use crate::condition;
use crate::kind::{Kind, Subresource};
use crate::meta;
use crate::node::Node;
use crate::pod::placement;
use crate::resource::{GROUP, claim, parts};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};

pub(crate) fn kind() -> Kind {
    Kind {
        resets: vec![&["status"]],
        subresources: vec![Subresource::status(&[&["metadata"], &["spec"]], Status)],
        columns: vec![
            NAME,
            described("State", "A summary of the current state (allocated, pending, reserved, etc.)."),
            AGE,
        ],
        strategy: Arc::new(ResourceClaim),
        ..Kind::namespaced(GROUP, "v1", "ResourceClaim", "resourceclaims")
    }
}

const MAX_CONSUMERS: usize = 256;
const MAX_RESULTS: usize = 32;
const MAX_BINDING_CONDITIONS: usize = 4;
const MAX_CONDITIONS: usize = 8;
const MAX_DATA_BYTES: usize = 10 * 1024;
const MAX_INTERFACE_BYTES: usize = 256;
const MAX_HARDWARE_ADDRESS_BYTES: usize = 128;
const MAX_ADDRESSES: usize = 16;

struct ResourceClaim;

impl Strategy for ResourceClaim {
    fn default(&self, _version: &str, obj: &mut Value) {
        if let Some(spec) = obj.get_mut("spec") {
            claim::default(spec);
        }
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        if let Some(spec) = obj.get_mut("spec") {
            claim::drop_disabled(spec, &Value::Null);
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        if let Some(spec) = new.get_mut("spec") {
            claim::drop_disabled(spec, old.at("spec"));
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        claim::validate(&obj.child("spec"), errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let metadata = new.child("metadata");
        let name = metadata.child("name");
        name.complaints(meta::SUBDOMAIN(name.str(), false), errs);
        check::frozen(&new.child("spec"), old.at("spec"), errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let status = obj.at("status");
        let deleted = obj.at("metadata").has("deletionTimestamp");
        let allocated = status.has("allocation");
        let states = [
            ("deleted", deleted),
            ("pending", !deleted && !allocated),
            ("allocated", allocated),
            ("reserved", allocated && !status.list("reservedFor").is_empty()),
        ];
        let states: Vec<&str> =
            states.into_iter().filter(|(_, holds)| *holds).map(|(state, _)| state).collect();
        vec![column::name(obj), states.join(",").into(), column::age(obj, now)]
    }
}

struct Status;

impl Strategy for Status {
    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        let results = |claim: &Value| -> BTreeSet<DeviceId> {
            let results = claim.path(&["status", "allocation", "devices"]).list("results");
            results.iter().map(device_id).collect()
        };
        let had_skips = old
            .path(&["status", "allocation", "devices"])
            .list("results")
            .iter()
            .any(|result| result.has("skipNodeOperations"));
        if !had_skips {
            // A feature that is off by default.
            for result in new.at_path(&["status", "allocation", "devices", "results"]) {
                result.drop_key("skipNodeOperations");
            }
        }
        // What is said of a device goes with the device.
        let gone: BTreeSet<DeviceId> = &results(old) - &results(new);
        if let Some(status) = new.get_mut("status") {
            if let Some(Value::Array(devices)) = status.get_mut("devices") {
                devices.retain(|device| !gone.contains(&device_id(device)));
            }
            if status.list("devices").is_empty() {
                status.drop_key("devices");
            }
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let (status, before) = (new.child("status"), old.at("status"));
        let allocation = status.child("allocation");
        consumers(&status.child("reservedFor"), new, before, errs);
        let results = allocation.at("devices").list("results");
        let allocated: BTreeSet<DeviceId> = results.iter().map(device_id).collect();
        device_statuses(&status.child("devices"), &allocated, errs);
        if !allocation.is_set() {
            return;
        }
        if before.has("allocation") {
            check::frozen(&allocation, before.at("allocation"), errs);
        } else {
            self::allocation(&allocation, new.at("spec"), errs);
        }
    }
}

/// Driver, pool, device, and the share of it.
type DeviceId = [String; 4];

fn device_id(device: &Value) -> DeviceId {
    ["driver", "pool", "device", "shareID"].map(|key| device.text(key).to_owned())
}

fn consumers(consumers: &Node<'_>, claim: &Value, before: &Value, errs: &mut ErrorList) {
    if parts::fits(consumers, MAX_CONSUMERS, errs) {
        consumers.items().for_each(|consumer| check::require(&consumer, &["resource", "name", "uid"], errs));
        parts::distinct(consumers, |consumer| consumer.text("uid"), errs);
    }
    if consumers.is_empty() {
        return;
    }
    if !claim.at("status").has("allocation") {
        errs.push(consumers.forbidden("may not be specified when `allocated` is not set"));
    } else if claim.at("metadata").has("deletionTimestamp") {
        let known = before.list("reservedFor");
        if consumers.items().any(|consumer| known.iter().all(|old| !same(consumer.value(), old))) {
            errs.push(consumers.forbidden(
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
            ));
        }
    }
}

fn allocation(allocation: &Node<'_>, spec: &Value, errs: &mut ErrorList) {
    let devices = allocation.child("devices");
    let known = claim::Requests::of(spec.at("devices").at("requests"));
    let results = devices.child("results");
    if parts::fits(&results, MAX_RESULTS, errs) {
        results.items().for_each(|result| self::result(&result, &known, errs));
    }
    let mut each = |configuration: &Node<'_>, errs: &mut ErrorList| {
        check::required_choice(&configuration.child("source"), &["FromClaim", "FromClass"], errs);
        claim::references(&configuration.child("requests"), &known, errs);
    };
    parts::allocated_configurations(&devices.child("config"), &mut each, errs);
    let selector = allocation.child("nodeSelector");
    if selector.is_set() {
        placement::node_selector(&selector, false, errs);
    }
}

fn result(result: &Node<'_>, known: &claim::Requests<'_>, errs: &mut ErrorList) {
    claim::reference(&result.child("request"), known, errs);
    parts::driver_in_any_case(&result.child("driver"), errs);
    parts::allocated_pool(&result.child("pool"), errs);
    check::dns_label(&result.child("device"), errs);
    binding_conditions(result, errs);
    result.child("tolerations").items().for_each(|toleration| parts::toleration(&toleration, errs));
    share(&result.child("shareID"), errs);
}

fn binding_conditions(result: &Node<'_>, errs: &mut ErrorList) {
    let (good, bad) = (result.child("bindingConditions"), result.child("bindingFailureConditions"));
    for list in [&good, &bad] {
        if parts::fits(list, MAX_BINDING_CONDITIONS, errs) {
            list.items().for_each(|ty| meta::label_key(&ty.path, ty.str(), errs));
        }
        parts::distinct(list, |ty| ty.as_str().unwrap_or_default(), errs);
    }
    for ty in bad.items().filter(|ty| good.items().any(|other| other.str() == ty.str())) {
        errs.push(ty.invalid("bindingFailureConditions must not overlap with bindingConditions"));
    }
    match (good.is_empty(), bad.is_empty()) {
        (true, false) => {
            errs.push(good.invalid("bindingConditions are required to use bindingFailureConditions"));
        }
        (false, true) => {
            errs.push(bad.invalid("bindingFailureConditions are required to use bindingConditions"));
        }
        _ => {}
    }
}

fn share(share: &Node<'_>, errs: &mut ErrorList) {
    if share.is_set() {
        share.complaints(names::uuid(share.str()), errs);
    }
}

fn device_statuses(devices: &Node<'_>, allocated: &BTreeSet<DeviceId>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for device in devices.items() {
        check::csi_driver_name(&device.child("driver"), errs);
        parts::pool(&device.child("pool"), errs);
        check::dns_label(&device.child("device"), errs);
        share(&device.child("shareID"), errs);
        let id = device_id(device.value());
        if !allocated.contains(&id) {
            let shown = format!("{{\"Driver\":{:?},\"Pool\":{:?},\"Device\":{:?}}}", id[0], id[1], id[2]);
            errs.push(
                device.invalid_as(BadValue::Verbatim(shown), "must be an allocated device in the claim"),
            );
        }
        if !seen.insert(id) {
            errs.push(device.duplicate());
        }
        let conditions = device.child("conditions");
        parts::fits(&conditions, MAX_CONDITIONS, errs);
        condition::validate(&conditions, errs);
        let data = device.child("data");
        if data.is_set() {
            parts::raw_object(&data, Some(MAX_DATA_BYTES), errs);
        }
        network(&device.child("networkData"), errs);
    }
}

fn network(network: &Node<'_>, errs: &mut ErrorList) {
    for (key, limit) in
        [("interfaceName", MAX_INTERFACE_BYTES), ("hardwareAddress", MAX_HARDWARE_ADDRESS_BYTES)]
    {
        if network.text(key).len() > limit {
            errs.push(field::too_long(&network.path.child(key), Some(limit)));
        }
    }
    let addresses = network.child("ips");
    if parts::fits(&addresses, MAX_ADDRESSES, errs) {
        for address in addresses.items() {
            errs.extend(names::interface_address(&address.path, address.str()));
        }
        parts::distinct(&addresses, |address| address.as_str().unwrap_or_default(), errs);
    }
}
