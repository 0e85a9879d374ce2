//! When to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Done when somebody asks the process to end.
pub fn until_stopped() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
