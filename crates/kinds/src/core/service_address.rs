//! The cluster addresses of a service and their families.

use std::collections::BTreeSet;

use grammar::field::ErrorList;
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::core::service::is_headless;
use crate::node::Node;
use crate::tree::Tree;

const LASTING: &str = "may not change once set";

/// `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy` agree with each other.
pub(super) fn cluster_ips(spec: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    if spec.text("type") == "ExternalName" {
        return;
    }
    let (single, ips) = (spec.text("clusterIP"), spec.child("clusterIPs"));
    let texts = spec.texts("clusterIPs");
    match (single.is_empty(), texts.first()) {
        (false, None) => errs.push(ips.required("")),
        (false, Some(first)) if *first != single => {
            errs.push(ips.invalid("first value must match `clusterIP`"));
        }
        (true, Some(_)) => errs.push(ips.invalid("must be empty when `clusterIP` is not specified")),
        _ => {}
    }
    families(spec, errs);
    let known = old.texts("clusterIPs");
    let mut sound = true;
    for (index, ip) in ips.items().enumerate() {
        if index == 0 && ip.str() == "None" {
            if ips.len() > 1 {
                sound = false;
                errs.push(ips.invalid("'None' must be the first and only value"));
            }
            continue;
        }
        let before = errs.len();
        check::legacy_ip(&ip, &known, errs);
        sound &= errs.len() == before;
    }
    if ips.len() > 2 {
        errs.push(ips.invalid("may only hold up to 2 values"));
    }
    if !sound {
        return;
    }
    let is_v6 = |ip: &str| names::parse_ip_sloppy(ip).is_some_and(|ip| ip.is_ipv6());
    if texts.len() > 1 {
        let v6 = texts.iter().filter(|ip| is_v6(ip)).count();
        if v6 == 0 || v6 == texts.len() {
            errs.push(ips.invalid("may specify no more than one IP for each IP family"));
        }
    }
    if is_headless(spec) {
        return;
    }
    for (index, (ip, family)) in ips.items().zip(spec.texts("ipFamilies")).enumerate() {
        let wanted = match (family, is_v6(ip.str())) {
            ("IPv4", true) => "IPv4",
            ("IPv6", false) => "IPv6",
            _ => continue,
        };
        errs.push(ip.invalid(format!("expected an {wanted} value as indicated by `ipFamilies[{index}]`")));
    }
}

fn families(spec: &Node<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for family in spec.child("ipFamilies").items() {
        family.one_of(&["IPv4", "IPv6"], errs);
        if !seen.insert(family.str().to_owned()) {
            errs.push(family.duplicate());
        }
    }
    let policy = spec.child("ipFamilyPolicy");
    if policy.is_set() {
        policy.one_of(&["PreferDualStack", "RequireDualStack", "SingleStack"], errs);
    }
}

/// An address lasts; the second one may come, and go when the service says so.
pub(super) fn keeps_cluster_ips(spec: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    if is_by_name(spec) || is_by_name(old) || (is_headless(spec) && is_headless(old)) {
        return;
    }
    let list = spec.child("clusterIPs");
    let (now, before) = (spec.texts("clusterIPs"), old.texts("clusterIPs"));
    let changed = |index: usize| list.item(index).invalid_as(list.value(), LASTING);
    if now.len() == before.len() {
        for (index, (now, before)) in now.iter().zip(&before).enumerate() {
            if now != before {
                errs.push(changed(index));
            }
        }
        return;
    }
    let shrinks = now.len() < before.len();
    if shrinks && now.is_empty() {
        errs.push(list.item(0).invalid_as(list.value(), "primary clusterIP can not be unset"));
    }
    if !now.is_empty() && !before.is_empty() && now[0] != before[0] {
        errs.push(changed(0));
    }
    if shrinks && now.len() == 1 {
        single_stack(spec, "clusterIP", errs);
    }
}

/// The same for the families of the addresses.
pub(super) fn keeps_families(spec: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    if is_by_name(spec) || is_by_name(old) || is_headless(spec) || is_headless(old) {
        return;
    }
    let (list, ips) = (spec.child("ipFamilies"), spec.at("clusterIPs"));
    let first = list.item(0);
    let (now, before) = (spec.texts("ipFamilies"), old.texts("ipFamilies"));
    if now.len() == before.len() {
        for _ in now.iter().zip(&before).filter(|(now, before)| now != before) {
            errs.push(first.invalid_as(list.value(), LASTING));
        }
        return;
    }
    let shrinks = now.len() < before.len();
    if shrinks && ips.is_nothing() {
        errs.push(first.invalid_as(list.value(), "primary ipFamily can not be unset"));
    }
    if !now.is_empty() && !before.is_empty() && now[0] != before[0] {
        errs.push(first.invalid_as(ips, LASTING));
    }
    if shrinks && now.len() == 1 {
        single_stack(spec, "ipFamily", errs);
    }
}

fn single_stack(spec: &Node<'_>, what: &str, errs: &mut ErrorList) {
    let policy = spec.child("ipFamilyPolicy");
    if policy.str() != "SingleStack" {
        errs.push(
            policy.invalid(format!("must be set to 'SingleStack' when releasing the secondary {what}")),
        );
    }
}

fn is_by_name(spec: &Value) -> bool {
    spec.text("type") == "ExternalName"
}
