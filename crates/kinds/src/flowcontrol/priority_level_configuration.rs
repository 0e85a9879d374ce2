//! PriorityLevelConfiguration: how many requests of a level run at once, and how the others wait.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::{Value, json};

use crate::column::{self, AGE, NAME, documented};
use crate::flowcontrol::conditions::Status;
use crate::flowcontrol::{GROUP, mandatory};
use crate::kind::{Kind, Subresource};
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec";
    const LIMITED: &str = "io.k8s.api.flowcontrol.v1.LimitedPriorityLevelConfiguration";
    const QUEUING: &str = "io.k8s.api.flowcontrol.v1.QueuingConfiguration";
    Kind {
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        subresources: vec![Subresource::status(&[&["metadata"], &["spec"]], Status)],
        columns: vec![
            NAME,
            documented("Type", SPEC, "type"),
            documented("NominalConcurrencyShares", LIMITED, "nominalConcurrencyShares"),
            documented("Queues", QUEUING, "queues"),
            documented("HandSize", QUEUING, "handSize"),
            documented("QueueLengthLimit", QUEUING, "queueLengthLimit"),
            AGE,
        ],
        strategy: Arc::new(PriorityLevelConfiguration),
        ..Kind::cluster(GROUP, "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations")
    }
}

const DEFAULT_SHARES: i64 = 30;
const DEFAULT_QUEUING: [(&str, i64); 3] = [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)];
const MAX_QUEUES: i64 = 10_000_000;
/// A hand is dealt from this many bits of a hash.
const HASH_BITS: f64 = 60.0;
/// An older version marked zero shares so, which v1 can simply say.
const ZERO_SHARES: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

struct PriorityLevelConfiguration;

impl Strategy for PriorityLevelConfiguration {
    fn default(&self, _version: &str, obj: &mut Value) {
        for (part, shares) in [("exempt", 0), ("limited", DEFAULT_SHARES)] {
            if let Some(part) = obj.find_mut(&["spec", part]).filter(|part| part.is_object()) {
                for (key, value) in [("nominalConcurrencyShares", shares), ("lendablePercent", 0)] {
                    if !part.has(key) {
                        part.set(key, value);
                    }
                }
            }
        }
        let queuing = obj.find_mut(&["spec", "limited", "limitResponse", "queuing"]);
        if let Some(queuing) = queuing.filter(|queuing| queuing.is_object()) {
            for (key, value) in DEFAULT_QUEUING {
                if queuing.int(key).unwrap_or_default() == 0 {
                    queuing.set(key, value);
                }
            }
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let metadata = obj.child("metadata");
        let annotations = metadata.child("annotations");
        if annotations.has(ZERO_SHARES) {
            errs.push(annotations.forbidden(format!("annotation '{ZERO_SHARES}' is forbidden")));
        }
        let (name, spec) = (metadata.text("name"), obj.child("spec"));
        validate_spec(name, &spec, errs);
        match name {
            "exempt" if !same(spec.value(), &json!({"type": "Exempt", "exempt": spec.at("exempt")})) => {
                errs.push(
                    spec.invalid(
                        "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value",
                    ),
                );
            }
            "catch-all" if !same(spec.value(), &mandatory::catch_all_level()) => {
                errs.push(spec.invalid("spec of 'catch-all' must equal the fixed value"));
            }
            _ => {}
        }
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let limited = obj.path(&["spec", "limited"]);
        let queuing = limited.path(&["limitResponse", "queuing"]);
        let shown = |part: &Value, key: &str| -> Value {
            if part.is_null() { "<none>".into() } else { part.int(key).unwrap_or_default().into() }
        };
        vec![
            column::name(obj),
            obj.at("spec").text("type").into(),
            shown(limited, "nominalConcurrencyShares"),
            shown(queuing, "queues"),
            shown(queuing, "handSize"),
            shown(queuing, "queueLengthLimit"),
            column::age(obj, now),
        ]
    }
}

fn validate_spec(name: &str, spec: &Node<'_>, errs: &mut ErrorList) {
    let (ty, limited, exempt) = (spec.child("type"), spec.child("limited"), spec.child("exempt"));
    if (name == "exempt") != (ty.str() == "Exempt") {
        errs.push(ty.invalid_text("must be 'Exempt' if and only if `name` is 'exempt'"));
    }
    if ty.str() != "Limited" && limited.is_set() {
        errs.push(limited.forbidden(""));
    }
    match ty.str() {
        "Exempt" => shares(&exempt, errs),
        "Limited" => {
            if exempt.is_set() {
                errs.push(exempt.forbidden(""));
            }
            if limited.is_set() {
                self::limited(&limited, errs);
            } else {
                errs.push(limited.required(""));
            }
        }
        "" => errs.push(ty.required("")),
        _ => errs.push(ty.not_supported(&["Exempt", "Limited"])),
    }
}

fn shares(part: &Node<'_>, errs: &mut ErrorList) {
    let (shares, lendable) = (part.child("nominalConcurrencyShares"), part.child("lendablePercent"));
    if shares.number() < 0 {
        errs.push(shares.invalid("must be a non-negative integer"));
    }
    if !(0..=100).contains(&lendable.number()) {
        errs.push(lendable.invalid("must be between 0 and 100, inclusive"));
    }
}

fn limited(limited: &Node<'_>, errs: &mut ErrorList) {
    shares(limited, errs);
    let borrowing = limited.child("borrowingLimitPercent");
    if borrowing.number() < 0 {
        errs.push(borrowing.invalid("if specified, must be a non-negative integer"));
    }
    let response = limited.child("limitResponse");
    let (ty, queuing) = (response.child("type"), response.child("queuing"));
    if ty.str() != "Queue" && queuing.is_set() {
        errs.push(queuing.forbidden(""));
    }
    match ty.str() {
        "Reject" => {}
        "Queue" if !queuing.is_set() => errs.push(queuing.required("")),
        "Queue" => self::queuing(&queuing, errs),
        "" => errs.push(ty.required("")),
        _ => errs.push(ty.not_supported(&["Queue", "Reject"])),
    }
}

fn queuing(queuing: &Node<'_>, errs: &mut ErrorList) {
    let (limit, queues, hand) =
        (queuing.child("queueLengthLimit"), queuing.child("queues"), queuing.child("handSize"));
    if limit.number() <= 0 {
        errs.push(limit.invalid_number("must be positive"));
    }
    match queues.number() {
        ..=0 => errs.push(queues.invalid_number("must be positive")),
        1..=MAX_QUEUES => {}
        _ => errs.push(queues.invalid(format!("must not be greater than {MAX_QUEUES}"))),
    }
    let (deck, dealt) = (queues.number(), hand.number());
    if dealt <= 0 {
        errs.push(hand.invalid_number("must be positive"));
    } else if dealt > deck {
        errs.push(hand.invalid(format!("should not be greater than queues ({deck})")));
    } else if ((deck as f64).log2() * dealt as f64).ceil() > HASH_BITS {
        errs.push(hand.invalid(format!(
            "required entropy bits of deckSize {deck} and handSize {dealt} should not be greater than {HASH_BITS}"
        )));
    }
}
