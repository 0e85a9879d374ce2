//! Processes that join a container, attaching to it, and connections into its network.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::containers::state_name;
use super::records::Stage;
use super::sandboxes::own_network;
use super::{Container, Engine};
use crate::cri::stream::Reader;
use crate::cri::{
    AttachRequest, Code, ContainerState, Error, ExecRequest, ExecSyncRequest, ExecSyncResponse, Forward,
    Result, Session,
};
use crate::shim::protocol::{Attach, Exec, Operation};

/// What ExecSync keeps of each stream, as in upstream's runtimes. The rest is read and thrown away.
const MAX_OUTPUT: usize = 16 << 20;

impl Engine {
    /// Starts a process in a running container.
    pub(super) async fn exec_session(&self, request: &ExecRequest) -> Result<Session> {
        let container = self.running(&request.container_id)?;
        if request.cmd.is_empty() {
            return Err(Error::invalid("command cannot be empty"));
        }
        let bundle = container.bundle.clone();
        let config = Engine::blocking(move || {
            crate::launch::read_config(&bundle).map_err(|failure| Error::unknown(failure.0))
        })
        .await?;
        let mut process = config.process;
        process.args = request.cmd.clone();
        process.terminal = request.tty;
        if request.tty && !process.env.iter().any(|word| word.starts_with("TERM=")) {
            process.env.push("TERM=xterm".to_owned());
        }
        let exec = Exec {
            container: container.id.clone(),
            process: serde_json::to_vec(&process).map_err(|error| Error::unknown(error.to_string()))?,
            stdin: request.stdin,
            stdout: request.stdout || request.tty,
            stderr: request.stderr && !request.tty,
        };
        let shim = container.sandbox()?.live_shim()?;
        shim.stream(Operation::Exec(exec)).await.map_err(|error| {
            let what = "failed to exec in container: failed to start exec: OCI runtime exec failed: exec failed: \
                        unable to start container process";
            error.context(what)
        })
    }

    pub(super) async fn attach_session(&self, request: &AttachRequest) -> Result<Session> {
        let container = self.running(&request.container_id)?;
        let config = container.record.lock().config.clone().unwrap_or_default();
        if request.tty && !config.tty {
            return Err(Error::invalid("tty requested, but the container has none"));
        }
        let attach = Attach {
            container: container.id.clone(),
            stdin: request.stdin && config.stdin,
            stdout: request.stdout || config.tty,
            stderr: request.stderr && !config.tty,
        };
        container.sandbox()?.live_shim()?.stream(Operation::Attach(attach)).await
    }

    pub(super) async fn exec_to_end(&self, request: ExecSyncRequest) -> Result<ExecSyncResponse> {
        let exec = ExecRequest {
            container_id: request.container_id,
            cmd: request.cmd,
            tty: false,
            stdin: false,
            stdout: true,
            stderr: true,
        };
        let run = async {
            let session = self.exec_session(&exec).await?;
            let (stdout, stderr) = tokio::join!(collect(session.stdout), collect(session.stderr));
            let exit_code = session.exit.await.map_err(|_| Error::unknown("the exec's shim died"))??;
            Ok(ExecSyncResponse { stdout, stderr, exit_code })
        };
        match u64::try_from(request.timeout) {
            // Dropping the session is what kills the process.
            Ok(seconds) if seconds > 0 => {
                tokio::time::timeout(Duration::from_secs(seconds), run).await.unwrap_or_else(|_| {
                    let message = format!(
                        "failed to exec in container: timeout {seconds}s exceeded: context deadline exceeded"
                    );
                    Err(Error::new(Code::DeadlineExceeded, message))
                })
            }
            _ => run.await,
        }
    }

    fn running(&self, id: &str) -> Result<std::sync::Arc<Container>> {
        let container = self.container(id)?;
        match container.state() {
            ContainerState::Running => Ok(container),
            state => Err(Error::unknown(format!("container is in {} state", state_name(state)))),
        }
    }

    /// Connects to a port on the sandbox's own loopback interface.
    pub(super) async fn forward(&self, id: &str, port: u16) -> Result<Forward> {
        let sandbox = self.sandbox(id)?;
        let (ready, config) = {
            let record = sandbox.record.lock();
            (record.stage() == Stage::Ready, record.config.clone().unwrap_or_default())
        };
        if !ready {
            return Err(Error::unknown(format!("sandbox {id:?} is not running")));
        }
        let netns = own_network(&config).then(|| sandbox.netns());
        let stream = in_network(netns, move || {
            let attempt = std::net::TcpStream::connect(("127.0.0.1", port));
            attempt.or_else(|first| std::net::TcpStream::connect(("::1", port)).map_err(|_| first))
        })
        .await?
        .map_err(|error| {
            Error::unknown(format!("failed to connect to localhost:{port} inside namespace {id:?}: {error}"))
        })?;
        stream.set_nonblocking(true)?;
        let (reader, writer) = TcpStream::from_std(stream)?.into_split();
        Ok(Forward { reader: Box::pin(reader), writer: Box::pin(writer) })
    }
}

async fn collect(stream: Option<Reader>) -> Vec<u8> {
    let Some(mut stream) = stream else { return Vec::new() };
    let (mut kept, mut chunk) = (Vec::new(), vec![0; 8192]);
    while let Ok(count) = stream.read(&mut chunk).await {
        if count == 0 {
            break;
        }
        let room = MAX_OUTPUT - kept.len();
        kept.extend(&chunk[..count.min(room)]);
    }
    kept
}

/// Runs `work` on a thread of its own in a network namespace. The thread ends with it, so that nothing else
/// ever runs there by mistake.
pub(super) async fn in_network<T: Send + 'static>(
    netns: Option<PathBuf>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("pod-network".to_owned()).spawn(move || {
        let entered = match &netns {
            None => Ok(()),
            Some(path) => std::fs::File::open(path).and_then(|file| {
                let kind = rustix::thread::LinkNameSpaceType::Network;
                Ok(rustix::thread::move_into_link_name_space(file.as_fd(), Some(kind))?)
            }),
        };
        let _ = sender.send(entered.map(|()| work()));
    })?;
    let result = receiver.await.map_err(|_| Error::unknown("a thread in a pod's network failed"))?;
    result.map_err(|error| Error::unknown(format!("enter the sandbox's network: {error}")))
}
