//! One registry for every kind: what the verbs do, over the store and a kind's rules.
//!
//! A write runs in a task of its own from its first side effect on, so that a client which hangs up never leaves it
//! half done. Reads answer from snapshots; watches follow the store's history.

mod admission;
mod allocation;
mod binding;
mod decode;
mod delete;
mod fields;
mod list;
mod names;
mod options;
mod patch;
mod scale;
mod watch;
mod write;

use std::sync::Arc;

use api::{Status, User, Value};
use arc_swap::ArcSwap;
use base::clock::{SharedClock, Wall};
use bytes::Bytes;
use parking_lot::Mutex;
use store::{Entry, Revision, Store};

use crate::body::RequestBody;
use crate::catalog::{Catalog, Resource};
use crate::negotiate::{Format, View};
use crate::object;
use crate::render::List;
use crate::request::{Query, RequestInfo};

pub use admission::{Admission, Attributes, Operation};
pub use allocation::{Cidr, Ranges};
pub use names::Names;
pub use watch::WatchStream;

/// What all requests share.
pub struct Registry {
    pub store: Store,
    pub catalog: ArcSwap<Catalog>,
    pub clock: SharedClock,
    pub names: Names,
    pub admission: Admission,
    /// Where services get their addresses and ports from.
    pub ranges: Ranges,
}

/// One request for one resource, past authorization.
pub struct Call {
    pub resource: Arc<Resource>,
    pub info: RequestInfo,
    pub query: Query,
    pub user: User,
    /// The User-Agent, whose first word names the field manager where the client names none.
    pub agent: String,
    /// How the body is encoded, and the patch type where the verb is patch.
    pub content_type: String,
    pub format: Result<Format, Status>,
    pub view: View,
    pub now: Wall,
    pub warnings: Mutex<Vec<String>>,
}

/// What a verb answers with.
pub enum Reply {
    /// An object as it lies in the store.
    Stored {
        code: u16,
        value: Bytes,
        revision: Option<Revision>,
    },
    /// A tree of another built-in type: a status, a scale, a review.
    Tree {
        code: u16,
        api_version: String,
        tree: Value,
    },
    List(List),
    Watch(WatchStream),
}

impl Reply {
    fn entry(code: u16, entry: &Entry) -> Reply {
        Reply::Stored { code, value: entry.value.clone(), revision: Some(entry.modified) }
    }

    fn status(tree: Value) -> Reply {
        Reply::Tree { code: 200, api_version: "v1".into(), tree }
    }
}

impl Call {
    pub fn warn(&self, text: impl Into<String>) {
        self.warnings.lock().push(text.into());
    }

    /// The key of the object that the path names.
    fn key(&self) -> String {
        self.resource.kind.key(self.namespace(), &self.info.name)
    }

    /// The request's namespace; "" for cluster-scoped kinds, whose path may carry one (namespaces themselves).
    pub fn namespace(&self) -> &str {
        if self.resource.kind.is_namespaced() { &self.info.namespace } else { "" }
    }

    /// The same request about an object of `resource` itself.
    fn about(&self, resource: Arc<Resource>) -> Call {
        let mut info = self.info.clone();
        info.subresource.clear();
        Call {
            resource,
            info,
            query: self.query.clone(),
            user: self.user.clone(),
            agent: self.agent.clone(),
            content_type: self.content_type.clone(),
            format: self.format.clone(),
            view: self.view,
            now: self.now,
            warnings: Default::default(),
        }
    }

    fn not_found(&self) -> Status {
        Status::not_found(self.resource.qualified(), &self.info.name)
    }
}

impl Registry {
    /// Carries out a verb; beside the reply stand the warnings for its author.
    pub async fn serve(
        self: &Arc<Self>,
        call: Call,
        body: RequestBody,
    ) -> Result<(Reply, Vec<String>), Status> {
        let call = Arc::new(call);
        let reply = self.dispatch(call.clone(), body).await?;
        let warnings = std::mem::take(&mut *call.warnings.lock());
        Ok((reply, warnings))
    }

    async fn dispatch(self: &Arc<Self>, call: Arc<Call>, body: RequestBody) -> Result<Reply, Status> {
        let sub = call.info.subresource.as_str();
        if !sub.is_empty() {
            let role = call.resource.kind.subresource(sub).map(|s| s.role.clone());
            match role {
                Some(kinds::kind::Role::Part(_)) => {}
                Some(kinds::kind::Role::Scale(scale)) => return self.scale(call, scale, body).await,
                Some(kinds::kind::Role::Special) if sub == "binding" && call.info.verb == "create" => {
                    let body = body.read().await?;
                    return self
                        .detached(call, move |registry, call| async move { registry.bind(&call, body).await })
                        .await;
                }
                Some(kinds::kind::Role::Special) => {
                    return Err(Status::service_unavailable(format!(
                        "{}/{sub} is not served by this server yet",
                        call.resource.qualified()
                    )));
                }
                None => return Err(Status::no_such_path()),
            }
        }
        match (&*call.info.verb, sub) {
            ("get", _) => self.get(&call).await,
            ("list", "") => self.list(&call).await.map(Reply::List),
            ("watch", "") => self.watch(&call).await.map(Reply::Watch),
            ("create", "")
                if call.resource.kind.group.is_empty() && call.resource.kind.plural == "bindings" =>
            {
                let body = body.read().await?;
                self.detached(call, move |registry, call| async move { registry.bind(&call, body).await })
                    .await
            }
            ("create", "") => {
                let body = body.read().await?;
                self.detached(call, move |registry, call| async move { registry.create(&call, body).await })
                    .await
            }
            ("update", _) => {
                let body = body.read().await?;
                self.detached(call, move |registry, call| async move { registry.update(&call, body).await })
                    .await
            }
            ("patch", _) => {
                let body = body.read().await?;
                self.detached(call, move |registry, call| async move { registry.patch(&call, body).await })
                    .await
            }
            ("delete", "") => {
                let body = body.read().await?;
                self.detached(call, move |registry, call| async move { registry.delete(&call, body).await })
                    .await
            }
            ("deletecollection", "") => {
                let body = body.read().await?;
                self.detached(
                    call,
                    move |registry, call| async move { registry.delete_all(&call, body).await },
                )
                .await
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    /// Runs a write in a task that the client cannot cancel.
    async fn detached<F, Fut>(self: &Arc<Self>, call: Arc<Call>, write: F) -> Result<Reply, Status>
    where
        F: FnOnce(Arc<Registry>, Arc<Call>) -> Fut,
        Fut: Future<Output = Result<Reply, Status>> + Send + 'static,
    {
        let task = tokio::spawn(write(self.clone(), call));
        match tokio::time::timeout(WRITE_DEADLINE, task).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(panic)) => Err(Status::internal(format_args!("the write failed: {panic}"))),
            Err(_) => Err(Status::timeout("request did not complete within requested timeout", 0)),
        }
    }

    /// Decodes and validates an object that will not be stored.
    pub fn review(&self, call: &Call, body: &[u8]) -> Result<Value, Status> {
        let options = options::WriteOptions::parse(call, "CreateOptions")?;
        let mut tree = decode::object(call, body, options.validation)?;
        self.default(call, &mut tree);
        let author = write::author(call);
        let cx = write::context(call, &author);
        call.resource.kind.prepare_create(&mut tree, &cx);
        let errors = call.resource.kind.validate_create(&tree, &cx);
        // Reviews have no name, so what is wrong with their metadata is that they have none.
        let errors: grammar::field::ErrorList =
            errors.into_iter().filter(|error| !error.field.starts_with("metadata.name")).collect();
        if errors.is_empty() {
            return Ok(tree);
        }
        Err(Status::invalid(call.resource.qualified_kind(), "", &errors))
    }

    async fn get(&self, call: &Call) -> Result<Reply, Status> {
        let snapshot = match call.query.text("resourceVersion") {
            "" => self.store.latest().await.map_err(read_error)?,
            text => {
                let wanted = list::revision(text)?;
                self.reach(wanted).await?
            }
        };
        let entry = snapshot.get(&call.key()).ok_or_else(|| call.not_found())?;
        Ok(Reply::entry(200, entry))
    }

    /// A snapshot that is at least as new as `wanted`.
    async fn reach(&self, wanted: Revision) -> Result<store::Snapshot, Status> {
        match self.store.wait_for_revision(wanted, REVISION_WAIT).await {
            Err(store::ReadError::Future { wanted, current }) => {
                Err(Status::too_large_revision(wanted, current))
            }
            other => other.map_err(read_error),
        }
    }
}

/// A write that has not finished by now goes on, but its client is told.
const WRITE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(34);

/// How long a read waits for a revision that the store has not reached.
const REVISION_WAIT: std::time::Duration = std::time::Duration::from_secs(3);

fn read_error(error: store::ReadError) -> Status {
    match error {
        store::ReadError::Compacted { .. } => {
            Status::expired("The resourceVersion for the provided list is too old.")
        }
        store::ReadError::Future { wanted, current } => Status::too_large_revision(wanted, current),
        other => Status::service_unavailable(other.to_string()),
    }
}

/// The tree of a stored entry in the stored version, with its revision.
fn tree_of(resource: &Resource, entry: &Entry) -> Result<Value, Status> {
    object::stored_tree(resource, &entry.value, Some(entry.modified))
}
