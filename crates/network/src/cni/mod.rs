//! Network plugins that the user has configured, by the CNI specification 1.1.
//!
//! When a configuration exists, pods are attached by its plugins instead of [`crate::links`]. The
//! plugins are the user's programs; running them is the one place where this crate starts a process.

mod config;
mod plugin;
mod result;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

pub use config::{Network, load};
pub use plugin::Error;
pub use result::Attached;

use plugin::Plugin;

/// Where things lie. Plugins are searched for in the order of `bin_dirs`.
#[derive(Clone, Debug)]
pub struct Cni {
    pub bin_dirs: Vec<PathBuf>,
    /// What plugins answered, kept for taking pods down again.
    pub cache_dir: PathBuf,
    /// How long one plugin may take.
    pub timeout: Duration,
}

/// A pod to attach.
#[derive(Clone, Debug)]
pub struct Attachment {
    pub container_id: String,
    /// Empty when the namespace is gone already, which only taking down allows.
    pub netns: String,
    pub interface: String,
    /// `K8S_POD_NAME` and the like.
    pub args: Vec<(String, String)>,
    /// Handed to those plugins that declare the capability, such as `portMappings`.
    pub capabilities: Map<String, Value>,
}

impl Cni {
    /// Attaches a pod through all plugins of the network. What earlier ones did stays when a later
    /// one fails, and is for [`Cni::remove`] to undo.
    ///
    /// # Errors
    /// When a plugin fails, or answers something that is no result.
    pub async fn add(&self, network: &Network, pod: &Attachment) -> Result<Attached, Error> {
        let mut previous = None;
        for config in &network.plugins {
            let request = request(network, config, pod, previous.as_ref());
            previous = Some(self.plugin(config)?.run("ADD", pod, &request).await?);
        }
        let answer = previous.unwrap_or_else(|| json!({}));
        self.keep(network, pod, &answer)?;
        result::parse(&answer).map_err(|reason| Error::Result { network: network.name.clone(), reason })
    }

    /// Takes a pod down, last plugin first. A pod that was never attached is no error.
    ///
    /// # Errors
    /// When a plugin fails. Calling again is safe.
    pub async fn remove(&self, network: &Network, pod: &Attachment) -> Result<(), Error> {
        let previous = self.kept(network, pod);
        for config in network.plugins.iter().rev() {
            let request = request(network, config, pod, previous.as_ref());
            self.plugin(config)?.run("DEL", pod, &request).await?;
        }
        let _ = std::fs::remove_file(self.cache_file(network, pod));
        Ok(())
    }

    /// Asks the plugins whether a pod is still attached as they left it.
    ///
    /// # Errors
    /// When one says no, or the pod was never attached.
    pub async fn check(&self, network: &Network, pod: &Attachment) -> Result<(), Error> {
        if network.disable_check {
            return Ok(());
        }
        let previous = self.kept(network, pod).ok_or_else(|| Error::NotAttached(pod.container_id.clone()))?;
        for config in &network.plugins {
            let request = request(network, config, pod, Some(&previous));
            self.plugin(config)?.run("CHECK", pod, &request).await?;
        }
        Ok(())
    }

    /// Asks the plugins whether they can attach pods now. Configurations before 1.1 cannot be asked.
    ///
    /// # Errors
    /// When one says no, or is not there.
    pub async fn status(&self, network: &Network) -> Result<(), Error> {
        let nobody = Attachment {
            container_id: String::new(),
            netns: String::new(),
            interface: String::new(),
            args: Vec::new(),
            capabilities: Map::new(),
        };
        for config in &network.plugins {
            let plugin = self.plugin(config)?;
            if network.has_status() {
                plugin.run("STATUS", &nobody, &request(network, config, &nobody, None)).await?;
            }
        }
        Ok(())
    }

    fn plugin(&self, config: &Map<String, Value>) -> Result<Plugin<'_>, Error> {
        let kind = config.get("type").and_then(Value::as_str).unwrap_or_default();
        Plugin::find(kind, &self.bin_dirs, self.timeout)
    }

    fn keep(&self, network: &Network, pod: &Attachment, answer: &Value) -> Result<(), Error> {
        let path = self.cache_file(network, pod);
        let written =
            std::fs::create_dir_all(&self.cache_dir).and_then(|()| std::fs::write(&path, answer.to_string()));
        written.map_err(|source| Error::Cache { path, source })
    }

    fn kept(&self, network: &Network, pod: &Attachment) -> Option<Value> {
        let text = std::fs::read(self.cache_file(network, pod)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Ids come from us and names were checked, so neither leads out of the directory.
    fn cache_file(&self, network: &Network, pod: &Attachment) -> PathBuf {
        let plain = |text: &str| text.replace('/', "_");
        let file = [&network.name, &pod.container_id, &pod.interface].map(|part| plain(part)).join("-");
        self.cache_dir.join(file)
    }
}

/// What a plugin reads: its own configuration, with what the network and earlier plugins add.
fn request(
    network: &Network,
    config: &Map<String, Value>,
    pod: &Attachment,
    previous: Option<&Value>,
) -> Value {
    let mut request = config.clone();
    let wanted = request.remove("capabilities");
    request.insert("cniVersion".into(), json!(network.version));
    request.insert("name".into(), json!(network.name));
    let declares = |name: &str| wanted.as_ref().and_then(|all| all.get(name)) == Some(&Value::Bool(true));
    let given: Map<String, Value> = pod
        .capabilities
        .iter()
        .filter(|(name, _)| declares(name))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if !given.is_empty() {
        request.insert("runtimeConfig".into(), Value::Object(given));
    }
    if let Some(previous) = previous {
        request.insert("prevResult".into(), previous.clone());
    }
    Value::Object(request)
}
