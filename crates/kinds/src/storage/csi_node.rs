//! CSINode: the storage drivers of a node.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, ErrorList};
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::column::{self, AGE, NAME, described};
use crate::kind::{Kind, Subresource};
use crate::node::{IMMUTABLE, Node};
use crate::storage::GROUP;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};

pub(crate) fn kind() -> Kind {
    Kind {
        unconditional_update: false,
        resets: vec![&["status"]],
        subresources: vec![Subresource::status(&[&["metadata"], &["spec"]], Status)],
        columns: vec![
            NAME,
            described("Drivers", "Drivers indicates the number of CSI drivers registered on the node")
                .integer(),
            AGE,
        ],
        strategy: Arc::new(CsiNode),
        ..Kind::cluster(GROUP, "v1", "CSINode", "csinodes")
    }
}

const MAX_NODE_ID_BYTES: usize = 256;

struct CsiNode;

impl Strategy for CsiNode {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = obj.child("spec");
        let mut seen = BTreeSet::new();
        for driver in spec.child("drivers").items() {
            self::driver(&driver, errs);
            if !seen.insert(driver.text("name").to_owned()) {
                errs.push(driver.child("name").duplicate());
            }
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        self.validate(new, cx, errs);
        let spec = new.child("spec");
        let drivers = spec.child("drivers");
        for before in old.at("spec").list("drivers") {
            let named = drivers.items().filter(|driver| driver.text("name") == before.text("name"));
            for driver in named {
                // How many volumes fit may change while the node lives; who the driver is may not.
                let mut fixed = [driver.value().clone(), before.clone()];
                fixed.iter_mut().for_each(|driver| driver.drop_key("allocatable"));
                if !same(&fixed[0], &fixed[1]) {
                    errs.push(field::invalid(&drivers.path, &fixed[0], IMMUTABLE));
                }
            }
        }
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let drivers = obj.at("spec").list("drivers").len();
        vec![column::name(obj), drivers.into(), column::age(obj, now)]
    }
}

/// What drivers report of their health is a feature that is off by default: new reports are dropped.
struct Status;

impl Strategy for Status {
    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        if old.at("status").list("storageHealth").is_empty()
            && let Some(status) = new.get_mut("status")
        {
            status.drop_key("storageHealth");
        }
    }

    fn validate_update(&self, _new: &Node<'_>, _old: &Value, _cx: &Context<'_>, _errs: &mut ErrorList) {}
}

fn driver(driver: &Node<'_>, errs: &mut ErrorList) {
    check::csi_driver_name(&driver.child("name"), errs);
    let id = driver.child("nodeID");
    if id.str().is_empty() {
        errs.push(id.required(""));
    }
    if id.str().len() > MAX_NODE_ID_BYTES {
        errs.push(id.invalid(format!("must be {MAX_NODE_ID_BYTES} characters or less")));
    }
    let allocatable = driver.child("allocatable");
    allocatable.child("count").not_negative(errs);
    let mut seen = BTreeSet::new();
    for key in driver.texts("topologyKeys") {
        if key.is_empty() {
            errs.push(driver.required(""));
        }
        if !seen.insert(key) {
            errs.push(field::duplicate(&driver.path, key));
        }
        errs.extend(names::qualified_name(key).into_iter().map(|text| driver.invalid_as(key, text)));
    }
}
