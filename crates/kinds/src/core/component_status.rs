//! ComponentStatus: the health of the control plane's parts, as it is when somebody asks.

use std::sync::Arc;

use base::clock::Wall;
use serde_json::Value;

use crate::column::{self, NAME, described};
use crate::kind::{Kind, Verb, names as texts};
use crate::strategy::Strategy;
use crate::tree::Tree;

pub(crate) fn kind() -> Kind {
    Kind {
        stored: false,
        short_names: texts(&["cs"]),
        verbs: vec![Verb::Get, Verb::List],
        columns: vec![
            NAME,
            described("Status", "Status of the component conditions"),
            described("Message", "Message of the component conditions"),
            described("Error", "Error of the component conditions"),
        ],
        strategy: Arc::new(ComponentStatus),
        ..Kind::cluster("", "v1", "ComponentStatus", "componentstatuses")
    }
}

struct ComponentStatus;

impl Strategy for ComponentStatus {
    fn cells(&self, obj: &Value, _now: Wall) -> Vec<Value> {
        let health = obj.list("conditions").iter().find(|condition| condition.text("type") == "Healthy");
        let health = health.unwrap_or(&Value::Null);
        let status = match health.text("status") {
            _ if health.is_null() => "Unknown",
            "True" => "Healthy",
            _ => "Unhealthy",
        };
        vec![column::name(obj), status.into(), health.text("message").into(), health.text("error").into()]
    }
}
