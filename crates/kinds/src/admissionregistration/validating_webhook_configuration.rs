//! ValidatingWebhookConfiguration: who may refuse what is written.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::admissionregistration::{GROUP, webhooks};
use crate::kind::{Kind, names as texts};
use crate::node::Node;
use crate::strategy::{Context, Strategy};

pub(crate) fn kind() -> Kind {
    Kind {
        categories: texts(&["api-extensions"]),
        unconditional_update: false,
        generation: vec![&["webhooks"]],
        columns: webhooks::columns(),
        strategy: Arc::new(ValidatingWebhookConfiguration),
        ..Kind::cluster(GROUP, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
    }
}

struct ValidatingWebhookConfiguration;

impl Strategy for ValidatingWebhookConfiguration {
    fn default(&self, _version: &str, obj: &mut Value) {
        webhooks::default(obj, false);
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        webhooks::validate(obj, None, errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        webhooks::validate(new, Some(old), errs);
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        webhooks::cells(obj, now)
    }
}
