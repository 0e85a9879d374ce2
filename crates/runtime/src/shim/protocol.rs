//! What the daemon and a shim say to each other over the shim's socket.
//!
//! Each message is a frame: its length as four little-endian bytes, then a protobuf message. A daemon may be
//! newer or older than a shim that outlived it, so fields and operations are only ever added; a shim answers
//! an operation that it does not know with an error that says so. Replies carry the id of their request; a
//! connection may have many requests in flight.

use std::collections::BTreeMap;

/// Raised when an operation is added. Both sides speak the lower of the two versions.
pub const VERSION: u32 = 1;

/// The largest frame either side accepts.
pub const MAX_FRAME: usize = 1 << 20;

/// The most output or input that travels in one frame.
pub const CHUNK: usize = 32 << 10;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    #[prost(uint64, tag = 1)]
    pub id: u64,
    #[prost(oneof = "Operation", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    pub operation: Option<Operation>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Operation {
    #[prost(message, tag = 2)]
    Hello(Hello),
    /// Creates the pod's namespaces. Answered by `Pod`.
    #[prost(message, tag = 3)]
    RunPod(RunPod),
    /// Starts a container. Answered by `Status` when its program runs, or by an error.
    #[prost(message, tag = 4)]
    Start(Start),
    /// Starts a process in a container. Answered by `Status`; the connection is then its stream: `Input` and
    /// `Resize` go in, `Output` comes out, and last the `Status` with the exit code.
    #[prost(message, tag = 5)]
    Exec(Exec),
    /// Joins a container's streams, as with `Exec`.
    #[prost(message, tag = 6)]
    Attach(Attach),
    #[prost(message, tag = 7)]
    Input(Input),
    #[prost(message, tag = 8)]
    Resize(Resize),
    /// Ends a container. Answered by its last `Status` when it is dead.
    #[prost(message, tag = 9)]
    Stop(Stop),
    /// Opens a container's log anew, after its file was moved away.
    #[prost(message, tag = 10)]
    ReopenLog(Named),
    /// From here on every exit is told on this connection. Answered by `State`.
    #[prost(message, tag = 11)]
    Subscribe(Nothing),
    /// Forgets a container that is dead.
    #[prost(message, tag = 12)]
    Forget(Named),
    /// Kills everything and ends the shim. Answered when nothing is left.
    #[prost(message, tag = 13)]
    Shutdown(Nothing),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Reply {
    /// 0 for what was not asked for: events and output.
    #[prost(uint64, tag = 1)]
    pub id: u64,
    #[prost(oneof = "Answer", tags = "2, 3, 4, 5, 6, 7, 8")]
    pub answer: Option<Answer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Answer {
    #[prost(message, tag = 2)]
    Hello(Hello),
    #[prost(string, tag = 3)]
    Error(String),
    #[prost(message, tag = 4)]
    Done(Nothing),
    #[prost(message, tag = 5)]
    Pod(Pod),
    #[prost(message, tag = 6)]
    Status(Status),
    #[prost(message, tag = 7)]
    State(State),
    #[prost(message, tag = 8)]
    Output(Output),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Named {
    #[prost(string, tag = 1)]
    pub container: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    #[prost(uint32, tag = 1)]
    pub version: u32,
    #[prost(int32, tag = 2)]
    pub pid: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct IdRange {
    #[prost(uint32, tag = 1)]
    pub container: u32,
    #[prost(uint32, tag = 2)]
    pub host: u32,
    #[prost(uint32, tag = 3)]
    pub size: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RunPod {
    #[prost(bool, tag = 1)]
    pub network: bool,
    #[prost(bool, tag = 2)]
    pub ipc: bool,
    #[prost(bool, tag = 3)]
    pub uts: bool,
    #[prost(bool, tag = 4)]
    pub pid: bool,
    #[prost(message, repeated, tag = 5)]
    pub uids: Vec<IdRange>,
    #[prost(message, repeated, tag = 6)]
    pub gids: Vec<IdRange>,
    #[prost(string, tag = 7)]
    pub hostname: String,
    #[prost(btree_map = "string, string", tag = 8)]
    pub sysctls: BTreeMap<String, String>,
    /// An existing file that the network namespace is bound to; empty for none.
    #[prost(string, tag = 9)]
    pub netns: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Pod {
    /// Kind of namespace to a path under which processes of the host can join it.
    #[prost(btree_map = "string, string", tag = 1)]
    pub namespaces: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Start {
    #[prost(string, tag = 1)]
    pub container: String,
    #[prost(string, tag = 2)]
    pub bundle: String,
    #[prost(message, optional, tag = 3)]
    pub root: Option<Root>,
    /// Empty for no log.
    #[prost(string, tag = 4)]
    pub log: String,
    #[prost(bool, tag = 5)]
    pub tty: bool,
    #[prost(bool, tag = 6)]
    pub stdin: bool,
    /// Close the container's stdin when the first client that wrote to it leaves.
    #[prost(bool, tag = 7)]
    pub stdin_once: bool,
    #[prost(string, tag = 8)]
    pub cgroup: String,
    /// The external OCI runtime that runs this container; empty for the embedded one.
    #[prost(string, tag = 9)]
    pub runtime: String,
}

/// A directory, or an overlay.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Root {
    #[prost(string, tag = 1)]
    pub directory: String,
    #[prost(string, repeated, tag = 2)]
    pub lower: Vec<String>,
    #[prost(string, tag = 3)]
    pub upper: String,
    #[prost(string, tag = 4)]
    pub work: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Exec {
    #[prost(string, tag = 1)]
    pub container: String,
    /// The OCI process, as JSON.
    #[prost(bytes = "vec", tag = 2)]
    pub process: Vec<u8>,
    #[prost(bool, tag = 3)]
    pub stdin: bool,
    #[prost(bool, tag = 4)]
    pub stdout: bool,
    #[prost(bool, tag = 5)]
    pub stderr: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Attach {
    #[prost(string, tag = 1)]
    pub container: String,
    #[prost(bool, tag = 2)]
    pub stdin: bool,
    #[prost(bool, tag = 3)]
    pub stdout: bool,
    #[prost(bool, tag = 4)]
    pub stderr: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Input {
    #[prost(bytes = "vec", tag = 1)]
    pub data: Vec<u8>,
    #[prost(bool, tag = 2)]
    pub end: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Output {
    #[prost(bytes = "vec", tag = 1)]
    pub data: Vec<u8>,
    #[prost(bool, tag = 2)]
    pub stderr: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Resize {
    #[prost(uint32, tag = 1)]
    pub width: u32,
    #[prost(uint32, tag = 2)]
    pub height: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Stop {
    #[prost(string, tag = 1)]
    pub container: String,
    #[prost(int32, tag = 2)]
    pub signal: i32,
    /// After this the container is killed.
    #[prost(uint64, tag = 3)]
    pub grace_milliseconds: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    #[prost(message, repeated, tag = 1)]
    pub containers: Vec<Status>,
}

/// How a process stands. The shim keeps a container's on disk, too: see [`super::status`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    #[prost(string, tag = 1)]
    pub container: String,
    #[prost(int32, tag = 2)]
    pub pid: i32,
    /// Nanoseconds since the epoch.
    #[prost(int64, tag = 3)]
    pub started_at: i64,
    /// 0 while it runs.
    #[prost(int64, tag = 4)]
    pub finished_at: i64,
    #[prost(int32, tag = 5)]
    pub exit_code: i32,
    #[prost(bool, tag = 6)]
    pub oom_killed: bool,
    /// Why it could not be started.
    #[prost(string, tag = 7)]
    pub failure: String,
}

/// The bytes of one message on the wire.
pub fn frame(message: &impl prost::Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(4 + length);
    bytes.extend((length as u32).to_le_bytes());
    message.encode_raw(&mut bytes);
    bytes
}

/// Takes one whole frame from the front of `buffer`; `Ok(None)` when there is none yet.
pub fn take_frame<M: prost::Message + Default>(buffer: &mut Vec<u8>) -> Result<Option<M>, String> {
    let Some((length, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_FRAME {
        return Err(format!("a frame of {length} bytes is too large"));
    }
    if rest.len() < length {
        return Ok(None);
    }
    let message = M::decode(&rest[..length]).map_err(|error| format!("undecodable frame: {error}"))?;
    buffer.drain(..4 + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let request =
            Request { id: 7, operation: Some(Operation::ReopenLog(Named { container: "web".into() })) };
        let bytes = [frame(&request), frame(&request)].concat();
        for cut in 0..=bytes.len() {
            let mut buffer = bytes[..cut].to_vec();
            let mut seen = 0;
            while let Some(got) = take_frame::<Request>(&mut buffer).unwrap() {
                assert_eq!(got, request);
                seen += 1;
            }
            assert_eq!(seen, cut / (bytes.len() / 2), "{cut}");
        }
        assert!(take_frame::<Request>(&mut vec![0xff; 8]).is_err());
    }

    #[test]
    fn an_unknown_operation_is_none() {
        let mut bytes = frame(&Request { id: 9, operation: None });
        bytes[0] += 3;
        bytes.extend([0xfa, 0x06, 0x00]);
        let got: Request = take_frame(&mut bytes).unwrap().unwrap();
        assert_eq!((got.id, got.operation), (9, None));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut buffer = bytes.to_vec();
            while let Ok(Some(_)) = take_frame::<Request>(&mut buffer) {}
        });
    }
}
