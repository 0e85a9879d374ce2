//! The list of all kinds.

use std::sync::{Arc, LazyLock};

use crate::kind::Kind;
use crate::{
    admissionregistration, apiextensions, apiregistration, apps, authentication, authorization, autoscaling,
    batch, certificates, coordination, core, discovery, events, flowcontrol, networking, node_k8s_io, policy,
    rbac, resource, scheduling, storage, storagemigration,
};

/// One line a kind, group by group.
const KINDS: &[fn() -> Kind] = &[
    core::binding::kind,
    core::component_status::kind,
    core::config_map::kind,
    core::endpoints::kind,
    core::event::kind,
    core::limit_range::kind,
    core::namespace::kind,
    core::node::kind,
    core::persistent_volume::kind,
    core::persistent_volume_claim::kind,
    core::pod::kind,
    core::pod_template::kind,
    core::replication_controller::kind,
    core::resource_quota::kind,
    core::secret::kind,
    core::service::kind,
    core::service_account::kind,
    apps::controller_revision::kind,
    apps::daemon_set::kind,
    apps::deployment::kind,
    apps::replica_set::kind,
    apps::stateful_set::kind,
    batch::cron_job::kind,
    batch::job::kind,
    autoscaling::horizontal_pod_autoscaler::kind,
    events::event::kind,
    policy::pod_disruption_budget::kind,
    rbac::cluster_role::kind,
    rbac::cluster_role_binding::kind,
    rbac::role::kind,
    rbac::role_binding::kind,
    coordination::lease::kind,
    discovery::endpoint_slice::kind,
    authentication::self_subject_review::kind,
    authentication::token_review::kind,
    authorization::local_subject_access_review::kind,
    authorization::self_subject_access_review::kind,
    authorization::self_subject_rules_review::kind,
    authorization::subject_access_review::kind,
    scheduling::priority_class::kind,
    networking::ingress::kind,
    networking::ingress_class::kind,
    networking::ip_address::kind,
    networking::network_policy::kind,
    networking::service_cidr::kind,
    node_k8s_io::runtime_class::kind,
    storage::csi_driver::kind,
    storage::csi_node::kind,
    storage::csi_storage_capacity::kind,
    storage::storage_class::kind,
    storage::volume_attachment::kind,
    storage::volume_attributes_class::kind,
    storagemigration::storage_version_migration::kind,
    certificates::certificate_signing_request::kind,
    certificates::cluster_trust_bundle::kind,
    certificates::pod_certificate_request::kind,
    apiregistration::api_service::kind,
    flowcontrol::flow_schema::kind,
    flowcontrol::priority_level_configuration::kind,
    apiextensions::custom_resource_definition::kind,
    admissionregistration::mutating_admission_policy::kind,
    admissionregistration::mutating_admission_policy_binding::kind,
    admissionregistration::mutating_webhook_configuration::kind,
    admissionregistration::validating_admission_policy::kind,
    admissionregistration::validating_admission_policy_binding::kind,
    admissionregistration::validating_webhook_configuration::kind,
    resource::device_class::kind,
    resource::device_taint_rule::kind,
    resource::resource_claim_template::kind,
    resource::resource_claim::kind,
];

static ALL: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| KINDS.iter().map(|kind| Arc::new(kind())).collect());

/// Every built-in kind.
pub fn all() -> &'static [Arc<Kind>] {
    &ALL
}

/// The kind that `group` serves under `plural`.
pub fn find(group: &str, plural: &str) -> Option<&'static Arc<Kind>> {
    all().iter().find(|kind| kind.group == group && kind.plural == plural)
}
