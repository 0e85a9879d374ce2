//! IPAddress: an address of a service, taken.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, ErrorList};
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::column::{self, NAME, documented};
use crate::kind::{Kind, names as texts};
use crate::networking::{GROUP, reference};
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::Tree;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ip"]),
        columns: vec![NAME, documented("ParentRef", "io.k8s.api.networking.v1.IPAddressSpec", "parentRef")],
        name_rule: |name, _prefix| {
            names::valid_ip(&field::Path::nil(), name).into_iter().map(|err| err.detail).collect()
        },
        strategy: Arc::new(IpAddress),
        ..Kind::cluster(GROUP, "v1", "IPAddress", "ipaddresses")
    }
}

struct IpAddress;

impl Strategy for IpAddress {
    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = obj.child("spec");
        let parent = spec.child("parentRef");
        if !parent.is_set() {
            errs.push(parent.required(""));
            return;
        }
        let (group, namespace) = (parent.child("group"), parent.child("namespace"));
        if !group.str().is_empty() {
            check::dns_subdomain(&group, errs);
        }
        reference::required_segment(&parent.child("resource"), errs);
        reference::required_segment(&parent.child("name"), errs);
        if !namespace.str().is_empty() {
            namespace.complaints(names::path_segment_name(namespace.str()), errs);
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        self.validate(new, cx, errs);
        let spec = new.child("spec");
        check::frozen(&spec.child("parentRef"), old.path(&["spec", "parentRef"]), errs);
    }

    fn cells(&self, obj: &Value, _now: Wall) -> Vec<Value> {
        let parent = obj.path(&["spec", "parentRef"]);
        let resource = match parent.text("group") {
            "" => parent.text("resource").to_lowercase(),
            group => format!("{}.{group}", parent.text("resource")).to_lowercase(),
        };
        let shown = match (parent.is_null(), parent.text("namespace")) {
            (true, _) => "<none>".to_owned(),
            (false, "") => format!("{resource}/{}", parent.text("name")),
            (false, namespace) => format!("{resource}/{namespace}/{}", parent.text("name")),
        };
        vec![column::name(obj), shown.into()]
    }
}
