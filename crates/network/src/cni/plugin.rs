//! One plugin: found, run, and understood.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::Attachment;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("CNI configuration {}: {reason}", path.display())]
    Config { path: PathBuf, reason: String },
    #[error("CNI plugin {kind:?} is in none of {searched}")]
    Missing { kind: String, searched: String },
    #[error("CNI plugin {plugin}: {operation}")]
    Run {
        plugin: String,
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("CNI plugin {plugin} did not finish {command} within {limit:?}")]
    TimedOut { plugin: String, command: &'static str, limit: Duration },
    #[error("CNI plugin {plugin} failed {command}: {message}")]
    Failed { plugin: String, command: &'static str, message: String },
    #[error("CNI network {network}: {reason}")]
    Result { network: String, reason: String },
    #[error("container {0} is not attached")]
    NotAttached(String),
    #[error("keeping a CNI result in {}", path.display())]
    Cache {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What a plugin may write to each of its outputs; more is cut off.
const MAX_OUTPUT: u64 = 1024 * 1024;

pub(super) struct Plugin<'a> {
    path: PathBuf,
    kind: String,
    bin_dirs: &'a [PathBuf],
    timeout: Duration,
}

impl<'a> Plugin<'a> {
    /// A type names a file in one of the directories, never one elsewhere.
    pub fn find(kind: &str, bin_dirs: &'a [PathBuf], timeout: Duration) -> Result<Plugin<'a>, Error> {
        let is_plain = !kind.is_empty() && !kind.contains('/') && kind != "." && kind != "..";
        let found = bin_dirs.iter().map(|dir| dir.join(kind)).find(|path| is_plain && path.is_file());
        match found {
            Some(path) => Ok(Plugin { path, kind: kind.to_owned(), bin_dirs, timeout }),
            None => Err(Error::Missing { kind: kind.to_owned(), searched: joined(bin_dirs) }),
        }
    }

    /// Runs a command; what the plugin answers, or null when it answers nothing.
    pub async fn run(
        &self,
        command: &'static str,
        pod: &Attachment,
        request: &Value,
    ) -> Result<Value, Error> {
        let plugin = self.kind.clone();
        match tokio::time::timeout(self.timeout, self.converse(command, pod, request)).await {
            Ok(answer) => answer,
            // Dropping the conversation has killed the plugin.
            Err(_) => Err(Error::TimedOut { plugin, command, limit: self.timeout }),
        }
    }

    async fn converse(
        &self,
        command: &'static str,
        pod: &Attachment,
        request: &Value,
    ) -> Result<Value, Error> {
        let fail = |operation| {
            let plugin = self.kind.clone();
            move |source| Error::Run { plugin, operation, source }
        };
        let args: Vec<String> = pod.args.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut child = Command::new(&self.path)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", &pod.container_id)
            .env("CNI_NETNS", &pod.netns)
            .env("CNI_IFNAME", &pod.interface)
            .env("CNI_ARGS", args.join(";"))
            .env("CNI_PATH", joined(self.bin_dirs))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(fail("starting"))?;
        let mut stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let request = request.to_string();
        let write = async {
            if let Some(stdin) = &mut stdin {
                // A plugin that fails at once may never read; its answer says more.
                let _ = stdin.write_all(request.as_bytes()).await;
            }
            drop(stdin.take());
        };
        let ((), output, errors) = tokio::join!(write, read(stdout), read(stderr));
        let status = child.wait().await.map_err(fail("waiting"))?;
        let (output, errors) = (output.map_err(fail("reading"))?, errors.map_err(fail("reading"))?);
        if !status.success() {
            let message = failure(&output, &errors).unwrap_or_else(|| status.to_string());
            return Err(Error::Failed { plugin: self.kind.clone(), command, message });
        }
        if output.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&output).map_err(|error| {
            let message = format!("its answer is not JSON: {error}");
            Error::Failed { plugin: self.kind.clone(), command, message }
        })
    }
}

async fn read(output: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        output.take(MAX_OUTPUT).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// The plugin's own words: the error object it should print, or else what it complained.
pub(super) fn failure(output: &[u8], errors: &[u8]) -> Option<String> {
    if let Ok(error) = serde_json::from_slice::<Value>(output)
        && let Some(message) = error.get("msg").and_then(Value::as_str)
    {
        let details = error.get("details").and_then(Value::as_str).filter(|details| !details.is_empty());
        return Some(details.map_or_else(|| message.to_owned(), |details| format!("{message}; {details}")));
    }
    let said = [errors, output].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    said.into_iter().find(|text| !text.is_empty())
}

fn joined(dirs: &[PathBuf]) -> String {
    let dirs: Vec<_> = dirs.iter().map(|dir: &PathBuf| Path::new(dir).display().to_string()).collect();
    dirs.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_say_why() {
        let check = |output: &str, errors: &str, want: Option<&str>| {
            assert_eq!(failure(output.as_bytes(), errors.as_bytes()).as_deref(), want);
        };
        check(r#"{"code": 7, "msg": "no room", "details": "really"}"#, "noise", Some("no room; really"));
        check(r#"{"code": 7, "msg": "no room"}"#, "", Some("no room"));
        check("garbage", "boom\n", Some("boom"));
        check("garbage", "", Some("garbage"));
        check("", "", None);
    }
}
