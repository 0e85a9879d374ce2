//! Host ports, names and DNS of a pod.

use grammar::field::{self, ErrorList};
use grammar::names;

use crate::check;
use crate::node::Node;
use crate::pod::Rules;
use crate::tree::Tree;

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_BYTES: usize = 2048;
const MAX_HOST_NAME: usize = 64;

/// On the host's network a port's number on the host is its own.
pub fn host_ports(spec: &Node<'_>, rules: &Rules, errs: &mut ErrorList) {
    if !spec.flag("hostNetwork") {
        return;
    }
    for container in spec.child("containers").items() {
        for port in container.child("ports").items() {
            let host = port.child("hostPort");
            let must_match = rules.is_pod || host.number() != 0;
            if must_match && host.number() != port.child("containerPort").number() {
                errs.push(host.invalid_number("must match `containerPort` when `hostNetwork` is true"));
            }
        }
    }
}

/// `spec.dnsPolicy`.
pub fn dns_policy(policy: &Node<'_>, errs: &mut ErrorList) {
    check::required_choice(policy, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], errs);
}

/// `spec.dnsConfig`.
pub fn dns_config(spec: &Node<'_>, errs: &mut ErrorList) {
    let config = spec.child("dnsConfig");
    let servers = config.child("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if !config.is_set() {
            errs.push(config.required("must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        }
        if servers.is_empty() {
            errs.push(servers.required("must provide at least one DNS nameserver when `dnsPolicy` is None"));
            return;
        }
    }
    if servers.len() > MAX_NAMESERVERS {
        errs.push(servers.invalid(format!("must not have more than {MAX_NAMESERVERS} nameservers")));
    }
    for server in servers.items() {
        check::legacy_ip(&server, &[], errs);
    }
    let searches = config.child("searches");
    if searches.len() > MAX_SEARCHES {
        errs.push(searches.invalid(format!("must not have more than {MAX_SEARCHES} search paths")));
    }
    if config.texts("searches").join(" ").len() > MAX_SEARCH_BYTES {
        errs.push(searches.invalid(format!(
            "must not have more than {MAX_SEARCH_BYTES} characters (including spaces) in the search list"
        )));
    }
    for search in searches.items() {
        if search.str() != "." {
            let text = search.str().strip_suffix('.').unwrap_or(search.str());
            errs.extend(
                names::dns1123_subdomain_with_underscore(text)
                    .into_iter()
                    .map(|complaint| search.invalid_as(text, complaint)),
            );
        }
    }
    for option in config.child("options").items() {
        if option.text("name").is_empty() {
            errs.push(option.required("must not be empty"));
        }
    }
}

/// `hostname`, `subdomain` and what overrides them.
pub fn host_names(spec: &Node<'_>, errs: &mut ErrorList) {
    let replacement = spec.child("hostnameOverride");
    if replacement.is_set() {
        for key in ["setHostnameAsFQDN", "hostNetwork"] {
            if spec.flag(key) {
                errs.push(replacement.forbidden(format!("may not be specified when {key} is true")));
            }
        }
        if replacement.str().len() > MAX_HOST_NAME {
            errs.push(replacement.too_long(MAX_HOST_NAME));
        }
        check::dns_subdomain(&replacement, errs);
    }
    for key in ["hostname", "subdomain"] {
        let name = spec.child(key);
        if !name.str().is_empty() {
            check::dns_label(&name, errs);
        }
    }
}

/// `spec.hostAliases`: extra lines of the hosts file.
pub fn host_aliases(aliases: &Node<'_>, errs: &mut ErrorList) {
    for alias in aliases.items() {
        let ip = alias.child("ip");
        check::legacy_ip(&ip, &[], errs);
        for name in alias.child("hostnames").items() {
            check::dns_subdomain(&name, errs);
        }
    }
}

/// The addresses of a pod or its host: at most one of each family, the first equal to the single field. The
/// first fault of the addresses' families ends the check.
pub fn status_addresses(list: &Node<'_>, old: &[&str], errs: &mut ErrorList) {
    for address in list.items() {
        check::legacy_ip(&Node::new(address.value().at("ip"), address.path), old, errs);
    }
    if list.len() > 1 {
        let families: Vec<_> = list.items().map(|item| names::parse_ip_sloppy(item.text("ip"))).collect();
        if let Some(bad) = families.iter().position(Option::is_none) {
            let item = list.item(bad);
            errs.push(field::internal(
                &list.path,
                format!("failed to check for dual stack with error:invalid IP: {}", item.text("ip")),
            ));
        }
        let v6 = families.iter().flatten().filter(|ip| ip.is_ipv6()).count();
        if list.len() > 2 || v6 != 1 {
            errs.push(list.invalid("may specify no more than one IP for each IP family"));
        }
    }
}
