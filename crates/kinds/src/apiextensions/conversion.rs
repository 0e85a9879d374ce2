//! How objects of one version become those of another.

use std::collections::BTreeSet;

use grammar::field::{self, ErrorList};
use grammar::names;
use serde_json::Value;

use crate::admissionregistration::client;
use crate::apiextensions::custom_resource_definition::is_established;
use crate::node::Node;
use crate::tree::Tree;

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// `spec.conversion`. Errors name the fields as upstream's internal version does.
pub(super) fn validate(conversion: &Node<'_>, old: Option<&Value>, errs: &mut ErrorList) {
    if !conversion.is_set() {
        return;
    }
    let strategy = conversion.child("strategy");
    match strategy.str() {
        "" => errs.push(strategy.required("")),
        _ => strategy.one_of(&["None", "Webhook"], errs),
    }
    let webhook = conversion.value().at("webhook");
    let config = Node::new(webhook.at("clientConfig"), conversion.path.child("webhookClientConfig"));
    let versions =
        Node::new(webhook.at("conversionReviewVersions"), conversion.path.child("conversionReviewVersions"));
    if strategy.str() != "Webhook" {
        for node in [&config, &versions] {
            if !node.is_nothing() {
                errs.push(node.forbidden("should not be set when strategy is not set to Webhook"));
            }
        }
        return;
    }
    if config.is_set() {
        client_config(&config, old, errs);
    } else {
        errs.push(config.required("required when strategy is set to Webhook"));
    }
    let before =
        old.map(|old| old.path(&["spec", "conversion", "webhook"]).texts("conversionReviewVersions"));
    let needs_known = before.is_none_or(|before| before.is_empty() || knows_one(&before));
    review_versions(&versions, needs_known, errs);
}

fn client_config(config: &Node<'_>, old: Option<&Value>, errs: &mut ErrorList) {
    let (url, service, bundle) = (config.child("url"), config.child("service"), config.child("caBundle"));
    match (url.is_set(), service.is_set()) {
        (true, false) => client::url(&url, errs),
        (false, true) => client::service(&service, errs),
        _ => errs.push(config.required("exactly one of url or service is required")),
    }
    // A bundle that is wrong may be mended later, until somebody relies on it.
    let strict = old.is_some_and(|old| {
        let before = old.path(&["spec", "conversion", "webhook", "clientConfig", "caBundle"]);
        is_established(old) && (before.is_zero() || client::bad_bundle(before).is_none())
    });
    if strict
        && !bundle.str().is_empty()
        && let Some(complaint) = client::bad_bundle(bundle.value())
    {
        errs.push(bundle.invalid(complaint));
    }
}

fn knows_one(versions: &[&str]) -> bool {
    versions.iter().any(|version| REVIEW_VERSIONS.contains(version))
}

fn review_versions(versions: &Node<'_>, needs_known: bool, errs: &mut ErrorList) {
    if versions.is_empty() {
        errs.push(versions.required(""));
        return;
    }
    let mut seen = BTreeSet::new();
    for version in versions.items() {
        let text = version.value().as_str().unwrap_or_default();
        if !seen.insert(text) {
            errs.push(version.invalid("duplicate version"));
            continue;
        }
        errs.extend(
            names::dns1035_label(text)
                .into_iter()
                .map(|complaint| field::invalid(&version.path, text, complaint)),
        );
    }
    let given: Vec<&str> = seen.into_iter().collect();
    if needs_known && !knows_one(&given) {
        errs.push(versions.invalid(format!("must include at least one of {}", REVIEW_VERSIONS.join(", "))));
    }
}
