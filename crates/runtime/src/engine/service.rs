//! The calls of the CRI, each in a few lines over what the other files do.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream;

use super::{Engine, filter, info, stats};
use crate::cri::*;

/// Entries in one answer of a streaming list.
const PAGE: usize = 256;

/// The stream of a list: pages of at most [`PAGE`] entries, and one empty answer for an empty list.
fn pages<T: Send + 'static, R: Send + 'static>(
    entries: Vec<T>,
    wrap: impl Fn(Vec<T>) -> R + Send + 'static,
) -> Answers<R> {
    let mut entries = entries.into_iter();
    let mut pages = Vec::new();
    loop {
        let page: Vec<T> = entries.by_ref().take(PAGE).collect();
        if page.is_empty() && !pages.is_empty() {
            break;
        }
        let last = page.len() < PAGE;
        pages.push(Ok(wrap(page)));
        if last {
            break;
        }
    }
    stream::iter(pages).boxed()
}

#[tonic::async_trait]
impl Cri for Engine {
    async fn version(&self, _: VersionRequest) -> Result<VersionResponse> {
        Ok(VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "boga".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: "v1".to_owned(),
        })
    }

    async fn run_pod_sandbox(&self, request: RunPodSandboxRequest) -> Result<RunPodSandboxResponse> {
        Ok(RunPodSandboxResponse { pod_sandbox_id: self.run_sandbox(request).await? })
    }

    async fn stop_pod_sandbox(&self, request: StopPodSandboxRequest) -> Result<StopPodSandboxResponse> {
        self.stop_sandbox(&request.pod_sandbox_id).await?;
        Ok(StopPodSandboxResponse {})
    }

    async fn remove_pod_sandbox(&self, request: RemovePodSandboxRequest) -> Result<RemovePodSandboxResponse> {
        self.remove_sandbox(&request.pod_sandbox_id).await?;
        Ok(RemovePodSandboxResponse {})
    }

    async fn pod_sandbox_status(&self, request: PodSandboxStatusRequest) -> Result<PodSandboxStatusResponse> {
        let sandbox = self.sandbox(&request.pod_sandbox_id)?;
        let containers = self.containers_of(&sandbox.id);
        Ok(PodSandboxStatusResponse {
            status: Some(info::sandbox_status(&sandbox)),
            info: if request.verbose { info::sandbox_details(&sandbox) } else { BTreeMap::new() },
            containers_statuses: containers
                .iter()
                .map(|container| info::container_status(container))
                .collect(),
            timestamp: self.now(),
        })
    }

    async fn list_pod_sandbox(&self, request: ListPodSandboxRequest) -> Result<ListPodSandboxResponse> {
        let sandboxes: Vec<_> = self.0.tables.lock().sandboxes.values().cloned().collect();
        let entries = sandboxes.iter().map(|sandbox| info::sandbox_entry(sandbox));
        let items = entries.filter(|entry| filter::sandbox(entry, request.filter.as_ref())).collect();
        Ok(ListPodSandboxResponse { items })
    }

    async fn stream_pod_sandboxes(
        &self,
        request: StreamPodSandboxesRequest,
    ) -> Result<Answers<StreamPodSandboxesResponse>> {
        let list = self.list_pod_sandbox(ListPodSandboxRequest { filter: request.filter }).await?.items;
        Ok(pages(list, |pod_sandboxes| StreamPodSandboxesResponse { pod_sandboxes }))
    }

    async fn create_container(&self, request: CreateContainerRequest) -> Result<CreateContainerResponse> {
        Ok(CreateContainerResponse { container_id: self.make_container(request).await? })
    }

    async fn start_container(&self, request: StartContainerRequest) -> Result<StartContainerResponse> {
        Engine::start_container(self, &request.container_id).await?;
        Ok(StartContainerResponse {})
    }

    async fn stop_container(&self, request: StopContainerRequest) -> Result<StopContainerResponse> {
        Engine::stop_container(self, &request.container_id, request.timeout).await?;
        Ok(StopContainerResponse {})
    }

    async fn remove_container(&self, request: RemoveContainerRequest) -> Result<RemoveContainerResponse> {
        Engine::remove_container(self, &request.container_id).await?;
        Ok(RemoveContainerResponse {})
    }

    async fn list_containers(&self, request: ListContainersRequest) -> Result<ListContainersResponse> {
        let containers: Vec<_> = self.0.tables.lock().containers.values().cloned().collect();
        let entries = containers.iter().map(|container| info::container_entry(container));
        let containers = entries.filter(|entry| filter::container(entry, request.filter.as_ref())).collect();
        Ok(ListContainersResponse { containers })
    }

    async fn stream_containers(
        &self,
        request: StreamContainersRequest,
    ) -> Result<Answers<StreamContainersResponse>> {
        let list = self.list_containers(ListContainersRequest { filter: request.filter }).await?.containers;
        Ok(pages(list, |containers| StreamContainersResponse { containers }))
    }

    async fn container_status(&self, request: ContainerStatusRequest) -> Result<ContainerStatusResponse> {
        let container = self.container(&request.container_id)?;
        Ok(ContainerStatusResponse {
            status: Some(info::container_status(&container)),
            info: if request.verbose { info::container_details(&container) } else { BTreeMap::new() },
        })
    }

    async fn update_container_resources(
        &self,
        request: UpdateContainerResourcesRequest,
    ) -> Result<UpdateContainerResourcesResponse> {
        self.update_container(request).await?;
        Ok(UpdateContainerResourcesResponse {})
    }

    async fn reopen_container_log(
        &self,
        request: ReopenContainerLogRequest,
    ) -> Result<ReopenContainerLogResponse> {
        self.reopen_log(&request.container_id).await?;
        Ok(ReopenContainerLogResponse {})
    }

    async fn exec_sync(&self, request: ExecSyncRequest) -> Result<ExecSyncResponse> {
        self.exec_to_end(request).await
    }

    async fn exec(&self, request: ExecRequest) -> Result<ExecResponse> {
        self.container(&request.container_id)?;
        Ok(ExecResponse { url: self.streaming()?.exec(request)? })
    }

    async fn attach(&self, request: AttachRequest) -> Result<AttachResponse> {
        self.container(&request.container_id)?;
        Ok(AttachResponse { url: self.streaming()?.attach(request)? })
    }

    async fn port_forward(&self, request: PortForwardRequest) -> Result<PortForwardResponse> {
        self.sandbox(&request.pod_sandbox_id)?;
        Ok(PortForwardResponse { url: self.streaming()?.port_forward(request)? })
    }

    async fn container_stats(&self, request: ContainerStatsRequest) -> Result<ContainerStatsResponse> {
        let container = self.container(&request.container_id)?;
        Ok(ContainerStatsResponse { stats: Some(self.stats_of(&container).await?) })
    }

    async fn list_container_stats(
        &self,
        request: ListContainerStatsRequest,
    ) -> Result<ListContainerStatsResponse> {
        let filter = filter::of_container_stats(request.filter);
        let containers: Vec<_> = self.0.tables.lock().containers.values().cloned().collect();
        let mut stats = Vec::new();
        for container in containers {
            let entry = info::container_entry(&container);
            if filter::container(&entry, Some(&filter)) && entry.state() == ContainerState::Running {
                stats.push(self.stats_of(&container).await?);
            }
        }
        Ok(ListContainerStatsResponse { stats })
    }

    async fn stream_container_stats(
        &self,
        request: StreamContainerStatsRequest,
    ) -> Result<Answers<StreamContainerStatsResponse>> {
        let list =
            self.list_container_stats(ListContainerStatsRequest { filter: request.filter }).await?.stats;
        Ok(pages(list, |container_stats| StreamContainerStatsResponse { container_stats }))
    }

    async fn pod_sandbox_stats(&self, request: PodSandboxStatsRequest) -> Result<PodSandboxStatsResponse> {
        let sandbox = self.sandbox(&request.pod_sandbox_id)?;
        Ok(PodSandboxStatsResponse { stats: Some(self.stats_of_sandbox(&sandbox).await?) })
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: ListPodSandboxStatsRequest,
    ) -> Result<ListPodSandboxStatsResponse> {
        let filter = filter::of_sandbox_stats(request.filter);
        let sandboxes: Vec<_> = self.0.tables.lock().sandboxes.values().cloned().collect();
        let mut stats = Vec::new();
        for sandbox in sandboxes {
            let entry = info::sandbox_entry(&sandbox);
            if filter::sandbox(&entry, Some(&filter)) && entry.state() == PodSandboxState::Ready {
                stats.push(self.stats_of_sandbox(&sandbox).await?);
            }
        }
        Ok(ListPodSandboxStatsResponse { stats })
    }

    async fn stream_pod_sandbox_stats(
        &self,
        request: StreamPodSandboxStatsRequest,
    ) -> Result<Answers<StreamPodSandboxStatsResponse>> {
        let list =
            self.list_pod_sandbox_stats(ListPodSandboxStatsRequest { filter: request.filter }).await?.stats;
        Ok(pages(list, |pod_sandbox_stats| StreamPodSandboxStatsResponse { pod_sandbox_stats }))
    }

    async fn update_runtime_config(
        &self,
        request: UpdateRuntimeConfigRequest,
    ) -> Result<UpdateRuntimeConfigResponse> {
        let network = request.runtime_config.and_then(|config| config.network_config);
        if let Some(network) = network.filter(|network| !network.pod_cidr.is_empty()) {
            self.0.options.network.configure(&network.pod_cidr).await.map_err(Error::unknown)?;
        }
        Ok(UpdateRuntimeConfigResponse {})
    }

    async fn status(&self, request: StatusRequest) -> Result<StatusResponse> {
        let network = self.0.options.network.ready().await;
        let condition = |kind: &str, problem: Option<(&str, String)>| RuntimeCondition {
            r#type: kind.to_owned(),
            status: problem.is_none(),
            reason: problem.as_ref().map(|(reason, _)| (*reason).to_owned()).unwrap_or_default(),
            message: problem.map(|(_, message)| message).unwrap_or_default(),
        };
        let network = network
            .err()
            .map(|error| ("NetworkPluginNotReady", format!("Network plugin returns error: {error}")));
        let own = RuntimeHandlerFeatures { recursive_read_only_mounts: true, user_namespaces: true };
        let mut runtime_handlers = vec![
            RuntimeHandler { name: String::new(), features: Some(own) },
            RuntimeHandler { name: "boga".to_owned(), features: Some(own) },
        ];
        // What an external runtime can do is for it to say; nothing is promised on its behalf.
        runtime_handlers.extend(self.0.options.handlers.keys().map(|name| RuntimeHandler {
            name: name.clone(),
            features: Some(RuntimeHandlerFeatures::default()),
        }));
        let mut details = BTreeMap::new();
        if request.verbose {
            let config = serde_json::json!({
                "root": self.0.options.root,
                "cgroups": format!("{:?}", self.0.cgroups.kind()),
                "imageStore": self.0.options.images.root(),
            });
            details.insert("config".to_owned(), config.to_string());
        }
        Ok(StatusResponse {
            status: Some(RuntimeStatus {
                conditions: vec![condition("RuntimeReady", None), condition("NetworkReady", network)],
            }),
            info: details,
            runtime_handlers,
            features: Some(RuntimeFeatures {
                supplemental_groups_policy: true,
                user_namespaces_host_network: false,
                mount_options: true,
            }),
        })
    }

    async fn checkpoint_container(
        &self,
        _: CheckpointContainerRequest,
    ) -> Result<CheckpointContainerResponse> {
        Err(Error::unimplemented("checkpoints are not offered by this runtime"))
    }

    async fn checkpoint_pod(&self, _: CheckpointPodRequest) -> Result<CheckpointPodResponse> {
        Err(Error::unimplemented("checkpoints are not offered by this runtime"))
    }

    async fn restore_pod(&self, _: RestorePodRequest) -> Result<RestorePodResponse> {
        Err(Error::unimplemented("checkpoints are not offered by this runtime"))
    }

    async fn get_container_events(&self, _: GetEventsRequest) -> Result<Answers<ContainerEventResponse>> {
        use tokio::sync::broadcast::error::RecvError;
        let events = self.0.events.subscribe();
        let answers = stream::unfold(Some(events), |events| async move {
            let mut events = events?;
            match events.recv().await {
                Ok(event) => Some((Ok(event), Some(events))),
                Err(RecvError::Closed) => None,
                Err(RecvError::Lagged(missed)) => {
                    let message = format!("the subscriber fell {missed} events behind; list again");
                    Some((Err(Error::new(Code::OutOfRange, message)), None))
                }
            }
        });
        Ok(answers.boxed())
    }

    async fn list_metric_descriptors(
        &self,
        _: ListMetricDescriptorsRequest,
    ) -> Result<ListMetricDescriptorsResponse> {
        Ok(ListMetricDescriptorsResponse { descriptors: stats::descriptors() })
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: ListPodSandboxMetricsRequest,
    ) -> Result<ListPodSandboxMetricsResponse> {
        Ok(ListPodSandboxMetricsResponse { pod_metrics: self.metrics().await? })
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        _: StreamPodSandboxMetricsRequest,
    ) -> Result<Answers<StreamPodSandboxMetricsResponse>> {
        Ok(pages(self.metrics().await?, |pod_sandbox_metrics| StreamPodSandboxMetricsResponse {
            pod_sandbox_metrics,
        }))
    }

    async fn runtime_config(&self, _: RuntimeConfigRequest) -> Result<RuntimeConfigResponse> {
        let linux = LinuxRuntimeConfiguration { cgroup_driver: CgroupDriver::Cgroupfs.into() };
        Ok(RuntimeConfigResponse { linux: Some(linux) })
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: UpdatePodSandboxResourcesRequest,
    ) -> Result<UpdatePodSandboxResourcesResponse> {
        // The kubelet owns the pod's cgroup and changes it itself; the runtime is told so that it can remember.
        let sandbox = self.sandbox(&request.pod_sandbox_id)?;
        let _busy = sandbox.busy.lock().await;
        {
            let mut record = sandbox.record.lock();
            let config = record.config.get_or_insert_default();
            let linux = config.linux.get_or_insert_default();
            linux.overhead = request.overhead.or(linux.overhead.take());
            linux.resources = request.resources.or(linux.resources.take());
        }
        sandbox.save()?;
        Ok(UpdatePodSandboxResourcesResponse {})
    }

    async fn list_images(&self, request: ListImagesRequest) -> Result<ListImagesResponse> {
        let wanted = request.filter.and_then(|filter| filter.image);
        Ok(ListImagesResponse { images: self.list_all_images(wanted).await? })
    }

    async fn stream_images(&self, request: StreamImagesRequest) -> Result<Answers<StreamImagesResponse>> {
        let wanted = request.filter.and_then(|filter| filter.image);
        Ok(pages(self.list_all_images(wanted).await?, |images| StreamImagesResponse { images }))
    }

    async fn image_status(&self, request: ImageStatusRequest) -> Result<ImageStatusResponse> {
        self.status_of_image(request.image, request.verbose).await
    }

    async fn pull_image(&self, request: PullImageRequest) -> Result<PullImageResponse> {
        Ok(PullImageResponse { image_ref: self.pull(request).await? })
    }

    async fn remove_image(&self, request: RemoveImageRequest) -> Result<RemoveImageResponse> {
        self.remove_one_image(request.image).await?;
        Ok(RemoveImageResponse {})
    }

    async fn image_fs_info(&self, _: ImageFsInfoRequest) -> Result<ImageFsInfoResponse> {
        self.filesystem().await
    }

    async fn open_exec(&self, request: ExecRequest) -> Result<Session> {
        self.exec_session(&request).await
    }

    async fn open_attach(&self, request: AttachRequest) -> Result<Session> {
        self.attach_session(&request).await
    }

    async fn open_port(&self, pod_sandbox_id: &str, port: u16) -> Result<Forward> {
        self.forward(pod_sandbox_id, port).await
    }
}

impl Engine {
    fn streaming(&self) -> Result<streaming::Server> {
        let server = self.0.streaming.lock().clone();
        server.ok_or_else(|| Error::unimplemented("the streaming server is not configured"))
    }
}
