//! Watches: the store's history as a stream of events, each encoded once for all who watch in the same form.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api::splice::watch_frame;
use api::status::Qualified;
use api::{Status, json};
use base::clock::SharedClock;
use bytes::Bytes;
use futures_util::Stream;
use grammar::field::{self, ErrorList, Path};
use parking_lot::Mutex;
use serde_json::{Value, json};
use store::{Batch, Entry, Event, Revision, WatchError, Watcher};

use super::{Call, Registry, list, read_error};
use crate::catalog::Resource;
use crate::negotiate::{Format, Include, Shape, View};
use crate::object::{self, Selectors};
use crate::render;

/// One event's frames by form, encoded once for everyone who watches. Few forms are ever asked for, so a list does.
#[derive(Default)]
struct Frames(Mutex<Vec<(Form, Bytes)>>);

#[derive(Clone, PartialEq)]
struct Form {
    api_version: String,
    word: &'static str,
    format: Format,
}

const ADDED: &str = "ADDED";
const MODIFIED: &str = "MODIFIED";
const DELETED: &str = "DELETED";
const BOOKMARK: &str = "BOOKMARK";
const ERROR: &str = "ERROR";

/// Bookmarks come about this often to whoever asked for them.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// The last bookmark comes this long before a watch's time is up.
const BEFORE_DEADLINE: Duration = Duration::from_secs(2);

/// A watch without a time-out ends between one and two times this.
const MIN_TIMEOUT: u64 = 1800;

/// A watch that is about to be streamed.
pub struct WatchStream {
    state: State,
    pub view: View,
}

struct State {
    resource: Arc<Resource>,
    selectors: Selectors,
    view: View,
    clock: SharedClock,
    watcher: Result<Watcher, WatchError>,
    /// Objects that existed when the watch began.
    initial: VecDeque<Arc<Entry>>,
    /// The bookmark that ends the initial objects, where one was asked for.
    initial_end: Option<Revision>,
    bookmarks: bool,
    next_bookmark: tokio::time::Instant,
    deadline: tokio::time::Instant,
    /// Tables name their columns once.
    columns_sent: bool,
    done: bool,
}

impl Registry {
    pub(super) async fn watch(&self, call: &Call) -> Result<WatchStream, Status> {
        let query = &call.query;
        validate(call)?;
        let mut selectors = list::selectors(&call.resource, query)?;
        if !call.info.name.is_empty() && selectors.fields.exact_match("metadata.name").is_none() {
            selectors.fields =
                grammar::selector::fields::Selector::equal("metadata.name", call.info.name.clone());
        }
        let span = list::span(call, &selectors);
        let send_initial = query.choice("sendInitialEvents");
        let bookmarks = query.flag("allowWatchBookmarks");
        let text = query.text("resourceVersion");
        let wanted = if text.is_empty() { 0 } else { list::revision(text)? };

        // From nothing or zero, a watch begins with what there is.
        let with_initial = send_initial.unwrap_or(wanted == 0);
        let (from, initial) = if with_initial {
            let snapshot = match (text, wanted) {
                ("", _) => self.store.latest().await.map_err(read_error)?,
                (_, 0) => self.store.snapshot(),
                _ => self.reach(wanted).await?,
            };
            let matching = snapshot.range(&span, None).filter(|e| selectors.matches(&call.resource, e));
            (snapshot.revision(), matching.cloned().collect())
        } else if wanted == 0 {
            (self.store.current_revision(), VecDeque::new())
        } else {
            (wanted, VecDeque::new())
        };
        // A revision that was forgotten is told as an event, where clients look for it.
        let watcher = self.store.watch(&span, from);
        let timeout = match query.text("timeoutSeconds").parse::<u64>() {
            Ok(seconds) if seconds > 0 => seconds,
            _ => MIN_TIMEOUT + self.names.below(MIN_TIMEOUT),
        };
        let start = started();
        let deadline = start + Duration::from_secs(timeout);
        let state = State {
            resource: call.resource.clone(),
            selectors,
            view: call.view,
            clock: self.clock.clone(),
            watcher,
            initial,
            initial_end: (send_initial == Some(true) && bookmarks).then_some(from),
            bookmarks,
            next_bookmark: next_bookmark(start, deadline),
            deadline,
            columns_sent: false,
            done: false,
        };
        Ok(WatchStream { state, view: call.view })
    }
}

/// About every minute, and once more shortly before the end, so that the client resumes from where it was.
fn next_bookmark(now: tokio::time::Instant, deadline: tokio::time::Instant) -> tokio::time::Instant {
    let last = deadline - BEFORE_DEADLINE.min(deadline - now);
    let regular = now + BOOKMARK_EVERY;
    if now < last && last < regular { last } else { regular }
}

#[expect(clippy::disallowed_methods, reason = "the runtime's timers count from the runtime's own clock")]
fn started() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

fn validate(call: &Call) -> Result<(), Status> {
    let query = &call.query;
    let mut errors = ErrorList::new();
    let send = query.choice("sendInitialEvents");
    let rule = query.text("resourceVersionMatch");
    if send.is_some() {
        let path = Path::new("resourceVersionMatch");
        if rule.is_empty() {
            errors.push(field::forbidden(
                &path,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        } else if rule != "NotOlderThan" {
            errors.push(field::not_supported(&path, rule, &["NotOlderThan"]));
        }
    } else if !rule.is_empty() {
        errors.push(field::forbidden(
            &Path::new("resourceVersionMatch"),
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ));
    }
    if !query.text("continue").is_empty() {
        errors.push(field::forbidden(&Path::new("continue"), "continue is forbidden for watch"));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(Qualified::new("meta.k8s.io", "ListOptions"), "", &errors))
}

/// One request hands out at most about this many bytes at a time.
const CHUNK: usize = 64 * 1024;

impl WatchStream {
    /// The body: frames as they come. It ends at the deadline, or after an ERROR event.
    pub fn into_stream(self) -> impl Stream<Item = Bytes> + Send + 'static {
        futures_util::stream::unfold(self.state, |mut state| async move {
            if state.done {
                return None;
            }
            let bytes = state.next().await?;
            Some((bytes, state))
        })
    }
}

/// What a watch waits for.
enum Next {
    Batch(Arc<Batch>),
    Bookmark(Revision),
    Failed(WatchError),
}

impl State {
    /// The next bytes for the client; nothing when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while out.len() < CHUNK {
            let Some(entry) = self.initial.pop_front() else { break };
            let frame = self.object(ADDED, &entry.value, entry.modified);
            out.extend_from_slice(&frame);
        }
        if !out.is_empty() {
            return Some(out.into());
        }
        if let Some(revision) = self.initial_end.take() {
            return Some(self.bookmark(revision, true));
        }
        loop {
            let next = match &mut self.watcher {
                Err(error) => Next::Failed(error.clone()),
                Ok(watcher) => tokio::select! {
                    biased;
                    batch = watcher.next() => batch.map_or_else(Next::Failed, Next::Batch),
                    () = tokio::time::sleep_until(self.deadline) => return None,
                    () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                        Next::Bookmark(watcher.progress())
                    }
                },
            };
            let mut batch = match next {
                Next::Batch(batch) => batch,
                Next::Failed(error) => return Some(self.end(error)),
                Next::Bookmark(revision) => {
                    self.next_bookmark = next_bookmark(self.next_bookmark, self.deadline);
                    return Some(self.bookmark(revision, false));
                }
            };
            loop {
                for event in &batch.events {
                    if let Some(frame) = self.event(event, batch.revision) {
                        out.extend_from_slice(&frame);
                    }
                }
                if out.len() >= CHUNK {
                    break;
                }
                // What has come in meanwhile goes out in the same piece.
                match self.watcher.as_mut().map(Watcher::try_next) {
                    Ok(Ok(Some(more))) => batch = more,
                    _ => break,
                }
            }
            if !out.is_empty() {
                return Some(out.into());
            }
        }
    }

    /// The frame of one event as this watch sees it; nothing where it concerns other objects.
    fn event(&mut self, event: &Event, revision: Revision) -> Option<Bytes> {
        let matches = |entry: &&Arc<Entry>| self.selectors.matches(&self.resource, entry);
        let (word, entry) =
            match (event.previous.as_ref().filter(matches), event.entry.as_ref().filter(matches)) {
                (None, Some(after)) => (ADDED, after.clone()),
                (Some(_), Some(after)) => (MODIFIED, after.clone()),
                (Some(before), None) => (DELETED, before.clone()),
                (None, None) => return None,
            };
        if self.view.shape != Shape::Object {
            return Some(self.object(word, &entry.value, revision));
        }
        let form = Form { api_version: self.resource.api_version.clone(), word, format: self.view.format };
        let memo = event.memo.get_or_init(|| Arc::new(Frames::default()));
        let Some(frames) = memo.downcast_ref::<Frames>() else {
            return Some(self.object(word, &entry.value, revision));
        };
        if let Some((_, frame)) = frames.0.lock().iter().find(|(known, _)| *known == form) {
            return Some(frame.clone());
        }
        let frame = self.object(word, &entry.value, revision);
        frames.0.lock().push((form, frame.clone()));
        Some(frame)
    }

    fn object(&mut self, word: &str, value: &[u8], revision: Revision) -> Bytes {
        match self.encode(word, value, revision) {
            Ok(frame) => frame,
            Err(status) => self.error(&status),
        }
    }

    fn encode(&mut self, word: &str, value: &[u8], revision: Revision) -> Result<Bytes, Status> {
        let resource = &self.resource;
        match (self.view.shape, self.view.format) {
            (Shape::Object, Format::Protobuf) => {
                Ok(watch_frame(word, &render::proto_envelope(resource, value, Some(revision))?).into())
            }
            (Shape::Object, _) => {
                let mut out = Vec::with_capacity(value.len() * 2 + 64);
                open_json(&mut out, word);
                object::write_json(resource, value, Some(revision), &mut out)?;
                out.extend_from_slice(b"}\n");
                Ok(out.into())
            }
            (Shape::Table, _) => {
                let stored = object::stored_tree(resource, value, Some(revision))?;
                let row = render::row(resource, &stored, self.view.include, self.clock.wall());
                let head = api::splice::ListHead { revision, ..Default::default() };
                let columns = !std::mem::replace(&mut self.columns_sent, true);
                self.tree(word, "meta.k8s.io/v1", &render::table(resource, vec![row], &head, columns))
            }
            (Shape::Metadata, _) => {
                let partial = render::partial(object::served_tree(resource, value, Some(revision))?);
                self.tree(word, "meta.k8s.io/v1", &partial)
            }
        }
    }

    fn tree(&self, word: &str, api_version: &str, tree: &Value) -> Result<Bytes, Status> {
        let view = View { pretty: false, shape: Shape::Object, include: Include::Metadata, ..self.view };
        let body = render::tree(api_version, tree, view)?;
        if self.view.format == Format::Protobuf {
            return Ok(watch_frame(word, &body).into());
        }
        let mut out = Vec::with_capacity(body.len() + 32);
        open_json(&mut out, word);
        out.extend_from_slice(body.trim_ascii_end());
        out.extend_from_slice(b"}\n");
        Ok(out.into())
    }

    /// An otherwise empty object with a revision.
    fn bookmark(&mut self, revision: Revision, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let tree = json!({
            "kind": self.resource.kind.kind,
            "apiVersion": self.resource.api_version,
            "metadata": metadata,
        });
        let bytes = match self.view.shape {
            Shape::Object if self.view.format == Format::Json && !self.resource.codec.is_builtin() => {
                let mut out = Vec::new();
                open_json(&mut out, BOOKMARK);
                json::encode_any(&tree, &mut out);
                out.extend_from_slice(b"}\n");
                Ok(out.into())
            }
            Shape::Object => self.tree(BOOKMARK, &self.resource.api_version, &tree),
            Shape::Metadata => self.tree(BOOKMARK, "meta.k8s.io/v1", &render::partial(tree)),
            Shape::Table => {
                let row = json!({"cells": vec![Value::Null; self.resource.kind.columns.len()], "object": render::partial(tree)});
                let head = api::splice::ListHead { revision, ..Default::default() };
                let columns = !std::mem::replace(&mut self.columns_sent, true);
                self.tree(
                    BOOKMARK,
                    "meta.k8s.io/v1",
                    &render::table(&self.resource, vec![row], &head, columns),
                )
            }
        };
        bytes.unwrap_or_else(|status| self.error(&status))
    }

    /// A watch that cannot go on says why, and ends.
    fn end(&mut self, error: WatchError) -> Bytes {
        let status = match error {
            WatchError::Compacted { from, oldest } => {
                Status::expired(format!("too old resource version: {from} ({oldest})"))
            }
            WatchError::Lagged { at, oldest } => {
                Status::expired(format!("too old resource version: {at} ({oldest})"))
            }
            WatchError::Stopped(why) => Status::service_unavailable(why.to_string()),
        };
        self.error(&status)
    }

    fn error(&mut self, status: &Status) -> Bytes {
        self.done = true;
        self.tree(ERROR, "v1", &status.to_value()).unwrap_or_default()
    }
}

fn open_json(out: &mut Vec<u8>, word: &str) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
}
