//! Bodies, in and out.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};

use api::Status;

/// What a response carries: bytes at once, or a stream of them.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

pub fn empty() -> Body {
    full(Bytes::new())
}

/// A body that goes on as the stream does. The connection's own flow control holds the stream back.
pub fn stream(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(Frames(Box::pin(chunks))).boxed_unsync()
}

struct Frames(Pin<Box<dyn Stream<Item = Bytes> + Send>>);

impl Stream for Frames {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// What a request brings: off the wire, or from a caller in this process.
pub enum RequestBody {
    Wire(Incoming),
    Bytes(Bytes),
}

/// A body longer than this is refused.
pub const MAX_BODY: usize = 3 * 1024 * 1024;

impl RequestBody {
    /// Reads the whole body, refusing more than the limit before it is in memory.
    pub async fn read(self) -> Result<Bytes, Status> {
        let too_large = || Status::entity_too_large(format_args!("limit is {MAX_BODY}"));
        let mut body = match self {
            RequestBody::Bytes(bytes) if bytes.len() > MAX_BODY => return Err(too_large()),
            RequestBody::Bytes(bytes) => return Ok(bytes),
            RequestBody::Wire(body) => body,
        };
        if body.size_hint().lower() > MAX_BODY as u64 {
            return Err(too_large());
        }
        let mut whole: Vec<u8> = Vec::new();
        let mut first: Option<Bytes> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| Status::bad_request(format!("reading the body: {e}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + first.as_ref().map_or(0, Bytes::len) + data.len() > MAX_BODY {
                return Err(too_large());
            }
            match first.take() {
                // Most bodies come in one piece, which then need not be copied.
                None if whole.is_empty() => first = Some(data),
                held => {
                    whole.extend_from_slice(&held.unwrap_or_default());
                    whole.extend_from_slice(&data);
                }
            }
        }
        Ok(first.unwrap_or_else(|| whole.into()))
    }
}
