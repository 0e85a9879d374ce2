//! The Node authorizer's decisions.

use api::User;
use grammar::go::quote;

use super::graph::{Graph, Target};
use super::identity;
use crate::rbac::defaults::node_rules;
use crate::{Attributes, Decision};

const LEASES: &str = "kube-node-lease";

type Verdict = Result<(), String>;

impl Graph {
    /// No opinion on whoever is no node.
    pub fn decide(&self, user: &User, request: &Attributes<'_>) -> Decision {
        let verdict = match identity(user) {
            None => no(""),
            Some("") => Err(format!("unknown node for user {}", quote(&user.name))),
            Some(node) => self.judge(node, request),
        };
        match verdict {
            Ok(()) => Decision::Allow(String::new()),
            Err(reason) => Decision::NoOpinion(reason),
        }
    }

    fn judge(&self, node: &str, request: &Attributes<'_>) -> Verdict {
        if request.is_resource {
            match (request.group, request.resource) {
                ("", "secrets") => return self.read(node, Target::Secret, request),
                ("", "configmaps") => return self.read(node, Target::ConfigMap, request),
                ("", "persistentvolumeclaims") if request.subresource == "status" => {
                    return match request.verb {
                        "update" | "patch" => self.related(node, Target::VolumeClaim, request),
                        _ => no("can only get/update/patch this type"),
                    };
                }
                ("", "persistentvolumeclaims") => return self.get(node, Target::VolumeClaim, request),
                ("", "persistentvolumes") => return self.get(node, Target::Volume, request),
                ("resource.k8s.io", "resourceclaims") => {
                    return self.get(node, Target::ResourceClaim, request);
                }
                ("storage.k8s.io", "volumeattachments") => {
                    return self.get(node, Target::VolumeAttachment, request);
                }
                ("", "serviceaccounts") => return self.service_account(node, request),
                ("coordination.k8s.io", "leases") => return lease(node, request),
                ("storage.k8s.io", "csinodes") => return csi_node(node, request),
                ("resource.k8s.io", "resourceslices") => return self.resource_slice(node, request),
                ("", "nodes") => return own_node(node, request),
                ("", "pods") => return self.pod(node, request),
                ("certificates.k8s.io", "podcertificaterequests") => {
                    return self.pod_certificate_request(node, request);
                }
                _ => {}
            }
        }
        if node_rules().iter().any(|rule| rule.allows(request)) { Ok(()) } else { no("") }
    }

    fn related(&self, node: &str, target: Target, request: &Attributes<'_>) -> Verdict {
        if request.name.is_empty() {
            return no("No Object name found");
        }
        if self.relates(node, target, request.namespace, request.name) {
            return Ok(());
        }
        Err(format!("no relationship found between node '{node}' and this object"))
    }

    fn get(&self, node: &str, target: Target, request: &Attributes<'_>) -> Verdict {
        match (request.verb, request.subresource) {
            ("get", "") => self.related(node, target, request),
            ("get", _) => no("cannot get subresource"),
            _ => no("can only get individual resources of this type"),
        }
    }

    fn read(&self, node: &str, target: Target, request: &Attributes<'_>) -> Verdict {
        match request.verb {
            "get" | "list" | "watch" if !request.subresource.is_empty() => no("cannot read subresource"),
            "get" | "list" | "watch" if request.namespace.is_empty() => {
                no("can only read namespaced object of this type")
            }
            "get" | "list" | "watch" => self.related(node, target, request),
            _ => no("can only read resources of this type"),
        }
    }

    fn service_account(&self, node: &str, request: &Attributes<'_>) -> Verdict {
        match (request.verb, request.subresource) {
            ("get", "") => self.read(node, Target::ServiceAccount, request),
            ("create", _) if request.name.is_empty() => {
                no("can only create tokens for individual service accounts")
            }
            ("create", "token") => self.related(node, Target::ServiceAccount, request),
            ("create", _) => no("can only create token subresource of serviceaccount"),
            _ => no("can only create tokens for individual service accounts"),
        }
    }

    fn resource_slice(&self, node: &str, request: &Attributes<'_>) -> Verdict {
        if !request.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match request.verb {
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(node, Target::ResourceSlice, request),
            "watch" | "list" | "deletecollection" if request.selects("spec.nodeName", node) => Ok(()),
            "watch" | "list" | "deletecollection" => {
                no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => no("only the following verbs are allowed for a ResourceSlice: \
                     get, watch, list, create, update, patch, delete, deletecollection"),
        }
    }

    fn pod_certificate_request(&self, node: &str, request: &Attributes<'_>) -> Verdict {
        if !request.subresource.is_empty() {
            return no("nodes may not access the status subresource of PodCertificateRequests");
        }
        match request.verb {
            "create" => Ok(()),
            "get" => self.related(node, Target::PodCertificateRequest, request),
            "list" | "watch" if request.selects("spec.nodeName", node) => Ok(()),
            "list" | "watch" => no("can only list/watch podcertificaterequests with nodeName field selector"),
            verb => Err(format!("nodes may not {verb} podcertificaterequests")),
        }
    }

    fn pod(&self, node: &str, request: &Attributes<'_>) -> Verdict {
        match (request.subresource, request.verb) {
            ("", "get") => self.get(node, Target::Pod, request),
            ("", "list" | "watch") if request.selects("spec.nodeName", node) => Ok(()),
            ("", "list" | "watch") if !request.name.is_empty() => self.related(node, Target::Pod, request),
            ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
            // What is created or deleted is admission's to look at.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => no(""),
        }
    }
}

fn lease(node: &str, request: &Attributes<'_>) -> Verdict {
    match request.verb {
        "get" | "create" | "update" | "patch" | "delete" => {}
        _ => return no("can only get, create, update, patch, or delete a node lease"),
    }
    if request.namespace != LEASES {
        return no("can only access leases in the \"kube-node-lease\" system namespace");
    }
    if request.verb != "create" && request.name != node {
        return no("can only access node lease with the same name as the requesting node");
    }
    Ok(())
}

fn csi_node(node: &str, request: &Attributes<'_>) -> Verdict {
    match (request.subresource, request.verb) {
        ("", "get" | "create" | "update" | "patch" | "delete") => {}
        ("", _) => return no("can only get, create, update, patch, or delete a CSINode"),
        ("status", _) => return no("CSINode status access requires CSIVolumeHealth feature"),
        _ => return no("cannot authorize CSINode subresources"),
    }
    if request.verb != "create" && request.name != node {
        return no("can only access CSINode with the same name as the requesting node");
    }
    Ok(())
}

fn own_node(node: &str, request: &Attributes<'_>) -> Verdict {
    match (request.subresource, request.verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => match request.name {
            name if name == node => Ok(()),
            "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
            name => Err(format!("node '{node}' cannot read '{name}', only its own Node object")),
        },
        _ => no(""),
    }
}

fn no(reason: &str) -> Verdict {
    Err(reason.to_owned())
}
