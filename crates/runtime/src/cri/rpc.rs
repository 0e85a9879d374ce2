//! The list of all calls of CRI v1. The trait, the gRPC server and the gRPC client are all made from it.

/// Calls `$with!` with every RPC: its service, its kind (one answer or a stream), its name on the wire, its
/// method, its request and its response.
macro_rules! every_rpc {
    ($with:ident) => {
        $with! {
            "runtime.v1.RuntimeService" {
                one Version version(VersionRequest) -> VersionResponse;
                one RunPodSandbox run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse;
                one StopPodSandbox stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse;
                one RemovePodSandbox remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse;
                one PodSandboxStatus pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse;
                one ListPodSandbox list_pod_sandbox(ListPodSandboxRequest) -> ListPodSandboxResponse;
                many StreamPodSandboxes stream_pod_sandboxes(StreamPodSandboxesRequest) -> StreamPodSandboxesResponse;
                one CreateContainer create_container(CreateContainerRequest) -> CreateContainerResponse;
                one StartContainer start_container(StartContainerRequest) -> StartContainerResponse;
                one StopContainer stop_container(StopContainerRequest) -> StopContainerResponse;
                one RemoveContainer remove_container(RemoveContainerRequest) -> RemoveContainerResponse;
                one ListContainers list_containers(ListContainersRequest) -> ListContainersResponse;
                many StreamContainers stream_containers(StreamContainersRequest) -> StreamContainersResponse;
                one ContainerStatus container_status(ContainerStatusRequest) -> ContainerStatusResponse;
                one UpdateContainerResources update_container_resources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse;
                one ReopenContainerLog reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse;
                one ExecSync exec_sync(ExecSyncRequest) -> ExecSyncResponse;
                one Exec exec(ExecRequest) -> ExecResponse;
                one Attach attach(AttachRequest) -> AttachResponse;
                one PortForward port_forward(PortForwardRequest) -> PortForwardResponse;
                one ContainerStats container_stats(ContainerStatsRequest) -> ContainerStatsResponse;
                one ListContainerStats list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse;
                many StreamContainerStats stream_container_stats(StreamContainerStatsRequest) -> StreamContainerStatsResponse;
                one PodSandboxStats pod_sandbox_stats(PodSandboxStatsRequest) -> PodSandboxStatsResponse;
                one ListPodSandboxStats list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse;
                many StreamPodSandboxStats stream_pod_sandbox_stats(StreamPodSandboxStatsRequest) -> StreamPodSandboxStatsResponse;
                one UpdateRuntimeConfig update_runtime_config(UpdateRuntimeConfigRequest) -> UpdateRuntimeConfigResponse;
                one Status status(StatusRequest) -> StatusResponse;
                one CheckpointContainer checkpoint_container(CheckpointContainerRequest) -> CheckpointContainerResponse;
                one CheckpointPod checkpoint_pod(CheckpointPodRequest) -> CheckpointPodResponse;
                one RestorePod restore_pod(RestorePodRequest) -> RestorePodResponse;
                many GetContainerEvents get_container_events(GetEventsRequest) -> ContainerEventResponse;
                one ListMetricDescriptors list_metric_descriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse;
                one ListPodSandboxMetrics list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse;
                many StreamPodSandboxMetrics stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest) -> StreamPodSandboxMetricsResponse;
                one RuntimeConfig runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse;
                one UpdatePodSandboxResources update_pod_sandbox_resources(UpdatePodSandboxResourcesRequest) -> UpdatePodSandboxResourcesResponse;
            }
            "runtime.v1.ImageService" {
                one ListImages list_images(ListImagesRequest) -> ListImagesResponse;
                many StreamImages stream_images(StreamImagesRequest) -> StreamImagesResponse;
                one ImageStatus image_status(ImageStatusRequest) -> ImageStatusResponse;
                one PullImage pull_image(PullImageRequest) -> PullImageResponse;
                one RemoveImage remove_image(RemoveImageRequest) -> RemoveImageResponse;
                one ImageFsInfo image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse;
            }
        }
    };
}
pub(super) use every_rpc;
