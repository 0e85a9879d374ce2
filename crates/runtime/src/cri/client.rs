//! A foreign runtime (containerd, CRI-O) behind the [`Cri`] trait.

use std::path::Path;

use futures_util::StreamExt;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::messages::*;
use super::rpc::every_rpc;
use super::stream::{Forward, Session};
use super::{Answers, Cri, Error, Result, streaming};

/// The largest answer that is decoded, as in upstream's kubelet.
const MAX_MESSAGE: usize = 16 << 20;

/// A client of one CRI socket. It connects at the first call, and again after a failure.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// A client of the socket at `path`; both services are expected there.
    pub fn new(path: &Path) -> Result<Client> {
        let path = path.to_str().ok_or_else(|| Error::invalid("the CRI socket's path is not UTF-8"))?;
        let endpoint = Endpoint::try_from(format!("unix://{path}"))
            .map_err(|error| Error::invalid(format!("CRI endpoint {path:?}: {error}")))?;
        Ok(Client { channel: endpoint.connect_lazy() })
    }

    async fn one<Req, Res>(&self, path: &'static str, request: Req) -> Result<Res>
    where
        Req: prost::Message + Default + 'static,
        Res: prost::Message + Default + 'static,
    {
        let mut grpc = self.ready().await?;
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Req, Res>::default();
        Ok(grpc.unary(tonic::Request::new(request), path, codec).await?.into_inner())
    }

    async fn many<Req, Res>(&self, path: &'static str, request: Req) -> Result<Answers<Res>>
    where
        Req: prost::Message + Default + 'static,
        Res: prost::Message + Default + 'static,
    {
        let mut grpc = self.ready().await?;
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Req, Res>::default();
        let answers = grpc.server_streaming(tonic::Request::new(request), path, codec).await?.into_inner();
        Ok(answers.map(|answer| answer.map_err(Error::from)).boxed())
    }

    async fn ready(&self) -> Result<tonic::client::Grpc<Channel>> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        grpc.ready().await.map_err(|error| {
            Error::new(super::Code::Unavailable, format!("cannot reach the container runtime: {error}"))
        })?;
        Ok(grpc)
    }
}

macro_rules! answer {
    (one $response:ident) => { $response };
    (many $response:ident) => { Answers<$response> };
}

macro_rules! define_client {
    ($($service:literal { $($kind:ident $name:ident $method:ident($request:ident) -> $response:ident;)* })*) => {
        #[tonic::async_trait]
        impl Cri for Client {
            $($(async fn $method(&self, request: $request) -> Result<answer!($kind $response)> {
                self.$kind(concat!("/", $service, "/", stringify!($name)), request).await
            })*)*

            async fn open_exec(&self, request: ExecRequest) -> Result<Session> {
                let (tty, stdin, stderr) = (request.tty, request.stdin, request.stderr);
                let url = self.exec(request).await?.url;
                streaming::client::open_session(&url, stdin, stderr && !tty).await
            }

            async fn open_attach(&self, request: AttachRequest) -> Result<Session> {
                let (tty, stdin, stderr) = (request.tty, request.stdin, request.stderr);
                let url = self.attach(request).await?.url;
                streaming::client::open_session(&url, stdin, stderr && !tty).await
            }

            async fn open_port(&self, pod_sandbox_id: &str, port: u16) -> Result<Forward> {
                let request =
                    PortForwardRequest { pod_sandbox_id: pod_sandbox_id.to_owned(), port: vec![port.into()] };
                let url = self.port_forward(request).await?.url;
                streaming::client::open_port(&url, port).await
            }
        }
    };
}
every_rpc!(define_client);
