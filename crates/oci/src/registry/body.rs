//! Bodies in and out, in bounded memory: one side waits for the other.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::error::{Error, Kind, Result, corrupt};
use crate::registry::respond::Failure;
use crate::store::Ingest;

const PIECE: usize = 128 << 10;
/// Pieces between disk and network; then the faster side waits.
const PIECES_IN_FLIGHT: usize = 8;
/// A client that sends nothing for so long has gone.
const STALL: Duration = Duration::from_secs(60);

/// A part of a file.
pub(super) fn of_file(mut file: File, offset: u64, length: u64) -> UnsyncBoxBody<Bytes, std::io::Error> {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(PIECES_IN_FLIGHT);
    tokio::task::spawn_blocking(move || {
        let mut left = length;
        if let Err(error) = file.seek(SeekFrom::Start(offset)) {
            let _ = sender.blocking_send(Err(error));
            return;
        }
        while left > 0 {
            let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
            let read = file.read_exact(&mut piece).map(|()| Bytes::from(piece));
            left = read.as_ref().map_or(0, |piece| left - piece.len() as u64);
            // The client went away: nobody is left to read for.
            if sender.blocking_send(read).is_err() {
                return;
            }
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((piece.map(Frame::data), receiver))
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// Writes a request's body into an ingest. The ingest comes back in any case, with what arrived.
pub(super) async fn into_ingest(mut body: Incoming, mut ingest: Ingest) -> (Option<Ingest>, Result<()>) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(PIECES_IN_FLIGHT);
    let writer = tokio::task::spawn_blocking(move || {
        let mut outcome = Ok(());
        while let Some(piece) = receiver.blocking_recv() {
            outcome = ingest.write(&piece);
            if outcome.is_err() {
                break;
            }
        }
        (ingest, outcome)
    });
    let received = loop {
        match timeout(STALL, body.frame()).await {
            Err(_) => {
                break Err(Error::new(Kind::Unavailable, format!("the client sent nothing for {STALL:?}")));
            }
            Ok(None) => break Ok(()),
            Ok(Some(Err(error))) => {
                break Err(Error::new(Kind::Unavailable, format!("the upload broke off: {error}")));
            }
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data()
                    && sender.send(data).await.is_err()
                {
                    break Ok(());
                }
            }
        }
    };
    drop(sender);
    match writer.await {
        Ok((ingest, written)) => (Some(ingest), written.and(received)),
        Err(error) => (None, Err(corrupt(format!("a worker failed: {error}")))),
    }
}

/// The whole of a small body.
pub(super) async fn small(mut body: Incoming, limit: u64) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    loop {
        match timeout(STALL, body.frame()).await {
            Ok(None) => return Ok(bytes.into()),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    if (bytes.len() + data.len()) as u64 > limit {
                        return Err(Failure::MANIFEST_TOO_LARGE);
                    }
                    bytes.extend_from_slice(&data);
                }
            }
            Ok(Some(Err(_))) | Err(_) => return Err(Failure::SIZE_INVALID),
        }
    }
}
