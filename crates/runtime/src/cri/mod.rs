//! The seam between Kubernetes and whatever runs containers: CRI v1.
//!
//! The kubelet knows only the [`Cri`] trait. The embedded [`engine`](crate::engine) implements it in process;
//! [`server::serve`] offers any implementation on a unix socket, for crictl and its like; [`client::Client`]
//! implements it over the socket of a containerd or CRI-O.
//!
//! The trait has one method for each call of CRI v1, and three more that upstream's interface lacks: exec,
//! attach and port-forward as byte streams in process, which spare the kubelet the detour through a URL.

pub mod client;
mod error;
pub mod messages;
mod rpc;
pub mod server;
pub mod stream;
pub mod streaming;

pub use error::{Code, Error, Result};
pub use messages::*;
pub use stream::{Forward, Session, TerminalSize};

use futures_util::stream::BoxStream;
use rpc::every_rpc;

/// A stream of answers; the first error ends it.
pub type Answers<T> = BoxStream<'static, Result<T>>;

macro_rules! answer {
    (one $response:ident) => { $response };
    (many $response:ident) => { Answers<$response> };
}

macro_rules! define_trait {
    ($($service:literal { $($kind:ident $name:ident $method:ident($request:ident) -> $response:ident;)* })*) => {
        /// A container runtime and its images, as CRI v1 sees them.
        #[tonic::async_trait]
        pub trait Cri: Send + Sync + 'static {
            $($(async fn $method(&self, request: $request) -> Result<answer!($kind $response)>;)*)*

            /// Runs a command in a container; its streams and its exit status come back directly.
            async fn open_exec(&self, request: ExecRequest) -> Result<Session>;

            /// Joins the streams of a container's own process.
            async fn open_attach(&self, request: AttachRequest) -> Result<Session>;

            /// One connection to a port inside the sandbox's network.
            async fn open_port(&self, pod_sandbox_id: &str, port: u16) -> Result<Forward>;
        }
    };
}
every_rpc!(define_trait);
