//! Streams of a foreign runtime: the URLs that it answers with, opened as WebSockets.

use futures_util::{SinkExt, StreamExt};
use http::{Request, Uri, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use super::{PORT_FORWARD, REMOTE_COMMAND, channel};
use crate::cri::stream::{Forward, RESIZE_QUEUE, Reader, Session, TerminalSize, Writer};
use crate::cri::{Code, Error, Result};

/// Bytes of a stream that wait for their reader.
const BUFFER: usize = 64 << 10;
const CHUNK: usize = 16 << 10;

/// Opens the URL of an exec or attach.
pub async fn open_session(url: &str, stdin: bool, stderr: bool) -> Result<Session> {
    let (socket, protocol) = open(url, &REMOTE_COMMAND.join(", ")).await?;
    let closes = protocol == REMOTE_COMMAND[0];
    let (mut sink, mut source) = socket.split();
    let (out_read, mut out_write) = duplex(BUFFER);
    let (err_read, mut err_write) = duplex(BUFFER);
    let (in_write, mut in_read) = duplex(BUFFER);
    let (resize, mut sizes) = mpsc::channel::<TerminalSize>(RESIZE_QUEUE);
    let (mut exit_sender, exit) = oneshot::channel();
    tokio::spawn(async move {
        let input = async {
            let mut chunk = vec![0; CHUNK];
            let (mut open, mut sizing) = (stdin, true);
            loop {
                let bytes = tokio::select! {
                    read = in_read.read(&mut chunk), if open => match read {
                        Ok(count) if count > 0 => [&[channel::STDIN], &chunk[..count]].concat(),
                        _ => {
                            open = false;
                            if !closes {
                                continue;
                            }
                            vec![channel::CLOSE, channel::STDIN]
                        }
                    },
                    size = sizes.recv(), if sizing => match size.map(|size| serde_json::to_vec(&size)) {
                        Some(Ok(size)) => [&[channel::RESIZE], &size[..]].concat(),
                        _ => {
                            sizing = false;
                            continue;
                        }
                    },
                    else => std::future::pending().await,
                };
                if sink.send(Message::Binary(bytes.into())).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let output = async {
            while let Some(Ok(received)) = source.next().await {
                let Message::Binary(bytes) = received else { continue };
                match bytes.split_first() {
                    Some((&channel::STDOUT, data)) => drop(out_write.write_all(data).await),
                    Some((&channel::STDERR, data)) => drop(err_write.write_all(data).await),
                    Some((&channel::ERROR, data)) => return exit_of(data),
                    _ => {}
                }
            }
            Err(Error::new(Code::Unavailable, "the stream ended without an exit status"))
        };
        let result = tokio::select! {
            result = output => result,
            () = input => return,
            () = exit_sender.closed() => return,
        };
        let _ = exit_sender.send(result);
    });
    Ok(Session {
        stdin: stdin.then(|| Box::pin(in_write) as Writer),
        stdout: Some(Box::pin(out_read)),
        stderr: stderr.then(|| Box::pin(err_read) as Reader),
        resize,
        exit,
    })
}

/// The exit code in a status of the error channel.
fn exit_of(status: &[u8]) -> Result<i32> {
    let status: serde_json::Value = serde_json::from_slice(status)
        .map_err(|error| Error::unknown(format!("invalid exit status: {error}")))?;
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let code = causes
        .filter(|cause| cause["reason"] == "ExitCode")
        .find_map(|cause| cause["message"].as_str()?.parse().ok());
    code.ok_or_else(|| Error::unknown(status["message"].as_str().unwrap_or("unknown error")))
}

/// Opens the URL of a forwarded port.
pub async fn open_port(url: &str, port: u16) -> Result<Forward> {
    let (socket, _) = open(url, PORT_FORWARD).await?;
    let (mut sink, mut source) = socket.split();
    let (reader, mut incoming) = duplex(BUFFER);
    let (writer, mut outgoing) = duplex(BUFFER);
    tokio::spawn(async move {
        let outward = async {
            let mut chunk = vec![0; CHUNK];
            while let Ok(count) = outgoing.read(&mut chunk).await {
                if count == 0
                    || sink.send(Message::Binary([&[0], &chunk[..count]].concat().into())).await.is_err()
                {
                    break;
                }
            }
            // The other direction may still have something to say.
            std::future::pending::<()>().await;
        };
        let inward = async {
            // The first message of each channel repeats the port.
            let mut begun = [false; 2];
            while let Some(Ok(received)) = source.next().await {
                let Message::Binary(bytes) = received else { continue };
                let Some((&number, data)) = bytes.split_first() else { continue };
                match begun.get_mut(usize::from(number)) {
                    Some(begun) if !*begun => *begun = true,
                    _ if number == 0 => {
                        if incoming.write_all(data).await.is_err() {
                            return;
                        }
                    }
                    _ => {
                        tracing::debug!(port, error = %String::from_utf8_lossy(data), "port forwarding failed");
                        return;
                    }
                }
            }
        };
        tokio::select! {
            () = outward => {}
            () = inward => {}
        }
    });
    Ok(Forward { reader: Box::pin(reader), writer: Box::pin(writer) })
}

async fn open(url: &str, protocols: &str) -> Result<(WebSocketStream<TcpStream>, String)> {
    let failed = |what: &str| Error::unknown(format!("stream {url}: {what}"));
    let uri: Uri = url.parse().map_err(|_| failed("invalid URL"))?;
    if uri.scheme_str() != Some("http") {
        return Err(Error::unimplemented(format!(
            "stream {url}: only http is offered, on the loopback interface"
        )));
    }
    let authority = uri.authority().ok_or_else(|| failed("invalid URL"))?.clone();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::builder()
        .uri(format!("ws://{authority}{path}"))
        .header(header::HOST, authority.as_str())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key())
        .header(header::SEC_WEBSOCKET_PROTOCOL, protocols)
        .body(())
        .map_err(|error| failed(&error.to_string()))?;
    let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await.map_err(|error| failed(&error.to_string()))?;
    let (socket, response) =
        tokio_tungstenite::client_async(request, stream).await.map_err(|error| failed(&error.to_string()))?;
    let protocol =
        response.headers().get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    Ok((socket, protocol.unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_found_in_statuses() {
        for (status, expected) in [
            (r#"{"status":"Success"}"#, Ok(0)),
            (r#"{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#, Ok(7)),
            (r#"{"status":"Failure","message":"gone"}"#, Err("gone")),
        ] {
            assert_eq!(
                exit_of(status.as_bytes()).map_err(|error| error.message),
                expected.map_err(str::to_owned)
            );
        }
        assert!(exit_of(b"junk").is_err());
    }
}
