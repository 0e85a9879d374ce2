//! ServiceCIDR: ranges from which services take their addresses.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use grammar::names;
use serde_json::Value;

use crate::column::{self, AGE, NAME, documented};
use crate::kind::{Kind, Subresource};
use crate::networking::GROUP;
use crate::node::{IMMUTABLE, Node};
use crate::strategy::{Context, Strategy};
use crate::tree::Tree;

pub(crate) fn kind() -> Kind {
    Kind {
        resets: vec![&["status"]],
        subresources: vec![Subresource::status(&[&["metadata"], &["spec"]], Status)],
        columns: vec![NAME, documented("CIDRs", "io.k8s.api.networking.v1.ServiceCIDRSpec", "cidrs"), AGE],
        strategy: Arc::new(ServiceCidr),
        ..Kind::cluster(GROUP, "v1", "ServiceCIDR", "servicecidrs")
    }
}

struct ServiceCidr;

impl Strategy for ServiceCidr {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = obj.child("spec");
        ranges(&spec, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = new.child("spec");
        let ranges = spec.child("cidrs");
        let before = old.at("spec").texts("cidrs");
        let changed = ranges.items().zip(&before).filter(|(now, was)| now.str() != **was);
        let changed: Vec<_> = changed.map(|(now, _)| now.invalid(IMMUTABLE)).collect();
        match (before.len(), ranges.len()) {
            (was, now) if was == now => errs.extend(changed),
            // A cluster of one family may grow to two.
            (1, 2) => {
                errs.extend(changed);
                self::ranges(&spec, errs);
            }
            _ => errs.push(ranges.invalid(IMMUTABLE)),
        }
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        vec![column::name(obj), obj.at("spec").texts("cidrs").join(",").into(), column::age(obj, now)]
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, _new: &Node<'_>, _old: &Value, _cx: &Context<'_>, _errs: &mut ErrorList) {}
}

fn ranges(spec: &Node<'_>, errs: &mut ErrorList) {
    let ranges = spec.child("cidrs");
    match ranges.len() {
        0 => {
            errs.push(ranges.required("at least one CIDR required"));
            return;
        }
        1 | 2 => {}
        _ => {
            errs.push(ranges.invalid_as(spec.value(), "may only hold up to 2 values"));
            return;
        }
    }
    for range in ranges.items() {
        errs.extend(names::valid_cidr(&range.path, range.str()));
    }
    let family = |index: usize| {
        names::parse_cidr_sloppy(ranges.item(index).str()).map(|range| range.address.is_ipv4())
    };
    if ranges.len() == 2 && family(0).is_some() && family(0) == family(1) {
        errs.push(ranges.invalid(
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        ));
    }
}
