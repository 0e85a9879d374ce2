//! Every kind that `k8s-openapi` has a struct for, from protobuf into the struct and back.

use api::k8s_openapi;
use api::typed::{TypedError, decode_as};
use api::{Outside, Value, json, proto};
use base::random::SeededRandom;

use crate::generate::Generator;
use crate::roundtrip::{differences, seeds};

type Through = fn(&str, &[u8], Outside<'_>) -> Result<Value, TypedError>;

fn through<T: serde::de::DeserializeOwned + serde::Serialize>(
    message: &str,
    bytes: &[u8],
    outside: Outside<'_>,
) -> Result<Value, TypedError> {
    let object: T = decode_as(message, bytes, outside)?;
    Ok(serde_json::to_value(object).expect("structs have string keys only"))
}

macro_rules! kinds {
    ($($message:literal => $type:ty,)*) => {
        const KINDS: &[(&str, Through)] = &[$(($message, through::<$type>)),*];
    };
}

kinds! {
    "k8s.io.api.admissionregistration.v1.MutatingAdmissionPolicy" => k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicy,
    "k8s.io.api.admissionregistration.v1.MutatingAdmissionPolicyBinding" => k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicyBinding,
    "k8s.io.api.admissionregistration.v1.MutatingWebhookConfiguration" => k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration,
    "k8s.io.api.admissionregistration.v1.ValidatingAdmissionPolicy" => k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy,
    "k8s.io.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding" => k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding,
    "k8s.io.api.admissionregistration.v1.ValidatingWebhookConfiguration" => k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration,
    "k8s.io.api.admissionregistration.v1alpha1.MutatingAdmissionPolicy" => k8s_openapi::api::admissionregistration::v1alpha1::MutatingAdmissionPolicy,
    "k8s.io.api.admissionregistration.v1alpha1.MutatingAdmissionPolicyBinding" => k8s_openapi::api::admissionregistration::v1alpha1::MutatingAdmissionPolicyBinding,
    "k8s.io.api.admissionregistration.v1beta1.MutatingAdmissionPolicy" => k8s_openapi::api::admissionregistration::v1beta1::MutatingAdmissionPolicy,
    "k8s.io.api.admissionregistration.v1beta1.MutatingAdmissionPolicyBinding" => k8s_openapi::api::admissionregistration::v1beta1::MutatingAdmissionPolicyBinding,
    "k8s.io.api.apiserverinternal.v1alpha1.StorageVersion" => k8s_openapi::api::apiserverinternal::v1alpha1::StorageVersion,
    "k8s.io.api.apps.v1.ControllerRevision" => k8s_openapi::api::apps::v1::ControllerRevision,
    "k8s.io.api.apps.v1.DaemonSet" => k8s_openapi::api::apps::v1::DaemonSet,
    "k8s.io.api.apps.v1.Deployment" => k8s_openapi::api::apps::v1::Deployment,
    "k8s.io.api.apps.v1.ReplicaSet" => k8s_openapi::api::apps::v1::ReplicaSet,
    "k8s.io.api.apps.v1.StatefulSet" => k8s_openapi::api::apps::v1::StatefulSet,
    "k8s.io.api.authentication.v1.SelfSubjectReview" => k8s_openapi::api::authentication::v1::SelfSubjectReview,
    "k8s.io.api.authentication.v1.TokenRequest" => k8s_openapi::api::authentication::v1::TokenRequest,
    "k8s.io.api.authentication.v1.TokenReview" => k8s_openapi::api::authentication::v1::TokenReview,
    "k8s.io.api.authorization.v1.LocalSubjectAccessReview" => k8s_openapi::api::authorization::v1::LocalSubjectAccessReview,
    "k8s.io.api.authorization.v1.SelfSubjectAccessReview" => k8s_openapi::api::authorization::v1::SelfSubjectAccessReview,
    "k8s.io.api.authorization.v1.SelfSubjectRulesReview" => k8s_openapi::api::authorization::v1::SelfSubjectRulesReview,
    "k8s.io.api.authorization.v1.SubjectAccessReview" => k8s_openapi::api::authorization::v1::SubjectAccessReview,
    "k8s.io.api.autoscaling.v1.HorizontalPodAutoscaler" => k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler,
    "k8s.io.api.autoscaling.v1.Scale" => k8s_openapi::api::autoscaling::v1::Scale,
    "k8s.io.api.autoscaling.v2.HorizontalPodAutoscaler" => k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler,
    "k8s.io.api.batch.v1.CronJob" => k8s_openapi::api::batch::v1::CronJob,
    "k8s.io.api.batch.v1.Job" => k8s_openapi::api::batch::v1::Job,
    "k8s.io.api.certificates.v1.CertificateSigningRequest" => k8s_openapi::api::certificates::v1::CertificateSigningRequest,
    "k8s.io.api.certificates.v1.ClusterTrustBundle" => k8s_openapi::api::certificates::v1::ClusterTrustBundle,
    "k8s.io.api.certificates.v1.PodCertificateRequest" => k8s_openapi::api::certificates::v1::PodCertificateRequest,
    "k8s.io.api.certificates.v1beta1.ClusterTrustBundle" => k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle,
    "k8s.io.api.certificates.v1beta1.PodCertificateRequest" => k8s_openapi::api::certificates::v1beta1::PodCertificateRequest,
    "k8s.io.api.coordination.v1.Lease" => k8s_openapi::api::coordination::v1::Lease,
    "k8s.io.api.coordination.v1alpha2.LeaseCandidate" => k8s_openapi::api::coordination::v1alpha2::LeaseCandidate,
    "k8s.io.api.coordination.v1beta1.LeaseCandidate" => k8s_openapi::api::coordination::v1beta1::LeaseCandidate,
    "k8s.io.api.core.v1.Binding" => k8s_openapi::api::core::v1::Binding,
    "k8s.io.api.core.v1.ComponentStatus" => k8s_openapi::api::core::v1::ComponentStatus,
    "k8s.io.api.core.v1.ConfigMap" => k8s_openapi::api::core::v1::ConfigMap,
    "k8s.io.api.core.v1.Endpoints" => k8s_openapi::api::core::v1::Endpoints,
    "k8s.io.api.core.v1.Event" => k8s_openapi::api::core::v1::Event,
    "k8s.io.api.core.v1.LimitRange" => k8s_openapi::api::core::v1::LimitRange,
    "k8s.io.api.core.v1.Namespace" => k8s_openapi::api::core::v1::Namespace,
    "k8s.io.api.core.v1.Node" => k8s_openapi::api::core::v1::Node,
    "k8s.io.api.core.v1.PersistentVolume" => k8s_openapi::api::core::v1::PersistentVolume,
    "k8s.io.api.core.v1.PersistentVolumeClaim" => k8s_openapi::api::core::v1::PersistentVolumeClaim,
    "k8s.io.api.core.v1.Pod" => k8s_openapi::api::core::v1::Pod,
    "k8s.io.api.core.v1.PodTemplate" => k8s_openapi::api::core::v1::PodTemplate,
    "k8s.io.api.core.v1.ReplicationController" => k8s_openapi::api::core::v1::ReplicationController,
    "k8s.io.api.core.v1.ResourceQuota" => k8s_openapi::api::core::v1::ResourceQuota,
    "k8s.io.api.core.v1.Secret" => k8s_openapi::api::core::v1::Secret,
    "k8s.io.api.core.v1.Service" => k8s_openapi::api::core::v1::Service,
    "k8s.io.api.core.v1.ServiceAccount" => k8s_openapi::api::core::v1::ServiceAccount,
    "k8s.io.api.discovery.v1.EndpointSlice" => k8s_openapi::api::discovery::v1::EndpointSlice,
    "k8s.io.api.events.v1.Event" => k8s_openapi::api::events::v1::Event,
    "k8s.io.api.flowcontrol.v1.FlowSchema" => k8s_openapi::api::flowcontrol::v1::FlowSchema,
    "k8s.io.api.flowcontrol.v1.PriorityLevelConfiguration" => k8s_openapi::api::flowcontrol::v1::PriorityLevelConfiguration,
    "k8s.io.api.lifecycle.v1alpha1.Eviction" => k8s_openapi::api::lifecycle::v1alpha1::Eviction,
    "k8s.io.api.lifecycle.v1alpha1.EvictionRequest" => k8s_openapi::api::lifecycle::v1alpha1::EvictionRequest,
    "k8s.io.api.networking.v1.Ingress" => k8s_openapi::api::networking::v1::Ingress,
    "k8s.io.api.networking.v1.IngressClass" => k8s_openapi::api::networking::v1::IngressClass,
    "k8s.io.api.networking.v1.IPAddress" => k8s_openapi::api::networking::v1::IPAddress,
    "k8s.io.api.networking.v1.NetworkPolicy" => k8s_openapi::api::networking::v1::NetworkPolicy,
    "k8s.io.api.networking.v1.ServiceCIDR" => k8s_openapi::api::networking::v1::ServiceCIDR,
    "k8s.io.api.node.v1.RuntimeClass" => k8s_openapi::api::node::v1::RuntimeClass,
    "k8s.io.api.policy.v1.Eviction" => k8s_openapi::api::policy::v1::Eviction,
    "k8s.io.api.policy.v1.PodDisruptionBudget" => k8s_openapi::api::policy::v1::PodDisruptionBudget,
    "k8s.io.api.rbac.v1.ClusterRole" => k8s_openapi::api::rbac::v1::ClusterRole,
    "k8s.io.api.rbac.v1.ClusterRoleBinding" => k8s_openapi::api::rbac::v1::ClusterRoleBinding,
    "k8s.io.api.rbac.v1.Role" => k8s_openapi::api::rbac::v1::Role,
    "k8s.io.api.rbac.v1.RoleBinding" => k8s_openapi::api::rbac::v1::RoleBinding,
    "k8s.io.api.resource.v1.DeviceClass" => k8s_openapi::api::resource::v1::DeviceClass,
    "k8s.io.api.resource.v1.DeviceTaintRule" => k8s_openapi::api::resource::v1::DeviceTaintRule,
    "k8s.io.api.resource.v1.ResourceClaim" => k8s_openapi::api::resource::v1::ResourceClaim,
    "k8s.io.api.resource.v1.ResourceClaimTemplate" => k8s_openapi::api::resource::v1::ResourceClaimTemplate,
    "k8s.io.api.resource.v1.ResourceSlice" => k8s_openapi::api::resource::v1::ResourceSlice,
    "k8s.io.api.resource.v1alpha3.DeviceTaintRule" => k8s_openapi::api::resource::v1alpha3::DeviceTaintRule,
    "k8s.io.api.resource.v1alpha3.ResourcePoolStatusRequest" => k8s_openapi::api::resource::v1alpha3::ResourcePoolStatusRequest,
    "k8s.io.api.resource.v1beta1.DeviceClass" => k8s_openapi::api::resource::v1beta1::DeviceClass,
    "k8s.io.api.resource.v1beta1.ResourceClaim" => k8s_openapi::api::resource::v1beta1::ResourceClaim,
    "k8s.io.api.resource.v1beta1.ResourceClaimTemplate" => k8s_openapi::api::resource::v1beta1::ResourceClaimTemplate,
    "k8s.io.api.resource.v1beta1.ResourceSlice" => k8s_openapi::api::resource::v1beta1::ResourceSlice,
    "k8s.io.api.resource.v1beta2.DeviceClass" => k8s_openapi::api::resource::v1beta2::DeviceClass,
    "k8s.io.api.resource.v1beta2.DeviceTaintRule" => k8s_openapi::api::resource::v1beta2::DeviceTaintRule,
    "k8s.io.api.resource.v1beta2.ResourceClaim" => k8s_openapi::api::resource::v1beta2::ResourceClaim,
    "k8s.io.api.resource.v1beta2.ResourceClaimTemplate" => k8s_openapi::api::resource::v1beta2::ResourceClaimTemplate,
    "k8s.io.api.resource.v1beta2.ResourceSlice" => k8s_openapi::api::resource::v1beta2::ResourceSlice,
    "k8s.io.api.scheduling.v1.PriorityClass" => k8s_openapi::api::scheduling::v1::PriorityClass,
    "k8s.io.api.scheduling.v1alpha3.CompositePodGroup" => k8s_openapi::api::scheduling::v1alpha3::CompositePodGroup,
    "k8s.io.api.scheduling.v1alpha3.PodGroup" => k8s_openapi::api::scheduling::v1alpha3::PodGroup,
    "k8s.io.api.scheduling.v1alpha3.Workload" => k8s_openapi::api::scheduling::v1alpha3::Workload,
    "k8s.io.api.scheduling.v1beta1.PodGroup" => k8s_openapi::api::scheduling::v1beta1::PodGroup,
    "k8s.io.api.scheduling.v1beta1.Workload" => k8s_openapi::api::scheduling::v1beta1::Workload,
    "k8s.io.api.storage.v1.CSIDriver" => k8s_openapi::api::storage::v1::CSIDriver,
    "k8s.io.api.storage.v1.CSINode" => k8s_openapi::api::storage::v1::CSINode,
    "k8s.io.api.storage.v1.CSIStorageCapacity" => k8s_openapi::api::storage::v1::CSIStorageCapacity,
    "k8s.io.api.storage.v1.StorageClass" => k8s_openapi::api::storage::v1::StorageClass,
    "k8s.io.api.storage.v1.VolumeAttachment" => k8s_openapi::api::storage::v1::VolumeAttachment,
    "k8s.io.api.storage.v1.VolumeAttributesClass" => k8s_openapi::api::storage::v1::VolumeAttributesClass,
    "k8s.io.api.storagemigration.v1.StorageVersionMigration" => k8s_openapi::api::storagemigration::v1::StorageVersionMigration,
    "k8s.io.api.storagemigration.v1beta1.StorageVersionMigration" => k8s_openapi::api::storagemigration::v1beta1::StorageVersionMigration,
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition" => k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    "k8s.io.kube_aggregator.pkg.apis.apiregistration.v1.APIService" => k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService,
}

#[test]
fn typed_objects_lose_nothing() {
    let table = schema::builtin();
    let mut objects = 0;
    for (name, through) in KINDS {
        let id = table.named(name).unwrap_or_else(|| panic!("{name} is in the table"));
        let (group, version, kind) = &table.message(id).kinds[0];
        let api_version = if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
        let outside = Outside { api_version: &api_version, kind, revision: None };
        for seed in 0..8 * seeds() {
            let random = SeededRandom::new(seed);
            let mut generator = Generator { table, random, sparse: seed % 4, made: 0 };
            let mut text = Vec::new();
            json::encode_any(&generator.message(id, 0), &mut text);
            let tree = json::decode(table, id, &text).unwrap().value;
            let bytes = proto::encode(table, id, &tree).unwrap();
            let want = proto::to_tree(table, id, &bytes, outside).unwrap();
            let got =
                through(name, &bytes, outside).unwrap_or_else(|e| panic!("{name} with seed {seed}: {e}"));
            let got = json::normalize(table, id, &got)
                .unwrap_or_else(|e| panic!("{name} with seed {seed}: {e}"))
                .value;
            // Structs cannot tell an empty list from none, and neither can protobuf.
            let [got, want] = [got, want].map(|tree| {
                let bytes = proto::encode(table, id, &tree).unwrap();
                proto::to_tree(table, id, &bytes, outside).unwrap()
            });
            let mut differ = Vec::new();
            differences("", &got, &want, &mut differ);
            assert!(differ.is_empty(), "{name} with seed {seed}: {differ:#?}");
            objects += 1;
        }
    }
    println!("{objects} typed objects of {} kinds round-tripped", KINDS.len());
}
