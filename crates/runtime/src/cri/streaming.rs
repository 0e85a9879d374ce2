//! Streams behind URLs.

use super::{AttachRequest, Error, ExecRequest, PortForwardRequest, Result};

#[derive(Clone)]
pub struct Server;

impl Server {
    pub fn exec(&self, _: ExecRequest) -> Result<String> {
        Err(Error::unimplemented("x"))
    }
    pub fn attach(&self, _: AttachRequest) -> Result<String> {
        Err(Error::unimplemented("x"))
    }
    pub fn port_forward(&self, _: PortForwardRequest) -> Result<String> {
        Err(Error::unimplemented("x"))
    }
}

pub mod client {
    use crate::cri::{Error, Forward, Result, Session};
    pub async fn open_session(_url: &str, _stdin: bool, _stderr: bool) -> Result<Session> {
        Err(Error::unimplemented("streams of a foreign runtime"))
    }
    pub async fn open_port(_url: &str, _port: u16) -> Result<Forward> {
        Err(Error::unimplemented("streams of a foreign runtime"))
    }
}
