//! The request stack, from top to bottom.
//!
//! A request from the wire and a call from inside this process pass the same layers: nobody goes round them.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use api::status::Qualified;
use api::{Status, User, Value};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT, WARNING};
use http::{Request, Response, StatusCode};

use crate::body::{self, Body, RequestBody};
use crate::catalog::Resource;
use crate::negotiate::{self, View};
use crate::registry::{Call, Registry, Reply};
use crate::request::{MAX_QUERY, Query, RequestInfo, percent_decode};
use crate::{discovery, health, openapi, render, reviews};

/// Where a request comes from.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    pub address: Option<SocketAddr>,
    /// The user that a verified client certificate names; for calls from inside, the component itself.
    pub certificate: Option<User>,
}

/// Everything that a request may need.
pub struct Stack {
    pub registry: Arc<Registry>,
    pub authorizer: Box<dyn Authorize>,
    pub version: Value,
}

/// Says who may do what.
pub trait Authorize: Send + Sync {
    /// The reason of a refusal, which may be empty.
    fn authorize(&self, user: &User, info: &RequestInfo) -> Result<(), String>;
}

/// Until roles exist, those who may do everything may do anything, and nobody else may.
pub struct MastersOnly;

impl Authorize for MastersOnly {
    fn authorize(&self, user: &User, info: &RequestInfo) -> Result<(), String> {
        let open = is_public(&info.path) && !info.is_resource;
        if open || user.in_group("system:masters") { Ok(()) } else { Err(String::new()) }
    }
}

/// Health and version alone are for everybody, as is upstream's default.
fn is_public(path: &str) -> bool {
    matches!(path.trim_end_matches('/'), "/healthz" | "/livez" | "/readyz" | "/version")
}

impl Stack {
    /// Answers one request. Whatever happens, there is an answer.
    pub async fn call(self: &Arc<Self>, request: Request<RequestBody>, peer: Peer) -> Response<Body> {
        let named = request.headers().get("audit-id").filter(|id| !id.is_empty()).cloned();
        let head_only = request.method() == http::Method::HEAD;
        let view = negotiate::response(request.headers(), &Query::default(), true).unwrap_or(View::JSON);
        // A panic is a bug; it costs this request, not the server.
        let mut response = match AssertUnwindSafe(self.layers(request, peer)).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => refuse(&status, view),
            Err(_) => refuse(&Status::internal("the server panicked while it served this request"), view),
        };
        if head_only {
            *response.body_mut() = body::empty();
        }
        let headers = response.headers_mut();
        let audit_id = named.or_else(|| HeaderValue::from_str(&self.registry.names.uid()).ok());
        headers.extend(audit_id.map(|id| (HeaderName::from_static("audit-id"), id)));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        response
    }

    async fn layers(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> Result<Response<Body>, Status> {
        let (head, body) = request.into_parts();
        if head.uri.query().is_some_and(|query| query.len() > MAX_QUERY) {
            return Err(Status::bad_request(format!("the query is longer than {MAX_QUERY} bytes")));
        }
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let path = percent_decode(head.uri.path(), false);
        let info =
            RequestInfo::parse(&head.method, &path, &query).map_err(|bad| Status::bad_request(bad.0))?;

        let user = authenticate(&peer, &info)?;
        if let Err(reason) = self.authorizer.authorize(&user, &info) {
            return Err(forbidden(&user, &info, &reason));
        }

        if !info.is_resource {
            return self.path(&head, &info, &query);
        }
        let catalog = self.registry.catalog.load();
        let resource = catalog
            .find(&info.group, &info.version, &info.resource)
            .cloned()
            .ok_or_else(Status::no_such_path)?;
        drop(catalog);
        check_scope(&resource, &info)?;
        let agent = head.headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let content_type =
            head.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let builtin = resource.codec.is_builtin();
        let view = negotiate::response(&head.headers, &query, builtin)?;
        let call = Call {
            format: negotiate::request(&head.headers, builtin),
            now: self.registry.clock.wall(),
            warnings: Default::default(),
            resource,
            info,
            query,
            user,
            agent,
            content_type,
            view,
        };
        self.resource(call, body).await
    }

    /// Kinds that are answered at once and never stored.
    fn virtual_kind(&self, call: &Call) -> bool {
        matches!(&*call.resource.kind.group, "authentication.k8s.io" | "authorization.k8s.io")
    }

    async fn review(&self, call: Call, body: RequestBody) -> Result<(Reply, Vec<String>), Status> {
        if call.info.verb != "create" {
            return Err(Status::method_not_allowed());
        }
        let body = body.read().await?;
        let tree = self.registry.review(&call, &body)?;
        let reply = reviews::answer(&call, tree, &*self.authorizer).unwrap_or_else(|| {
            let kind = &call.resource.kind.kind;
            Err(Status::service_unavailable(format!("{kind} is not answered by this server yet")))
        })?;
        let warnings = std::mem::take(&mut *call.warnings.lock());
        Ok((reply, warnings))
    }

    /// Everything that is not a resource: discovery, health, version.
    fn path(
        &self,
        head: &http::request::Parts,
        info: &RequestInfo,
        query: &Query,
    ) -> Result<Response<Body>, Status> {
        let path = info.path.trim_end_matches('/');
        if !matches!(head.method, http::Method::GET | http::Method::HEAD) {
            return Err(Status::method_not_allowed());
        }
        match path {
            "/healthz" | "/livez" | "/readyz" => return Ok(health::check(&self.registry, path, query)),
            "/version" => return Ok(json_response(&self.version)),
            _ => {}
        }
        if let Some(response) = openapi::serve(&self.registry.catalog.load(), &head.headers, path, query) {
            return Ok(response);
        }
        if let Some(response) = discovery::serve(&self.registry.catalog.load(), &head.headers, path, query)? {
            return Ok(response);
        }
        Err(Status::no_such_path())
    }

    async fn resource(&self, call: Call, body: RequestBody) -> Result<Response<Body>, Status> {
        let (view, now, resource) = (call.view, call.now, call.resource.clone());
        let (reply, warnings) = match self.virtual_kind(&call) {
            false => self.registry.serve(call, body).await?,
            true => self.review(call, body).await?,
        };
        let format = view.format.media_type();
        let mut response = match reply {
            Reply::Stored { code, value, revision } => {
                let bytes = render::object(&resource, &value, revision, view, now)?;
                answer(code, format, body::full(bytes))
            }
            Reply::Tree { code, api_version, tree } => {
                answer(code, format, body::full(render::tree(&api_version, &tree, view)?))
            }
            Reply::List(list) => answer(200, format, list.body(view, now)?),
            Reply::Watch(watch) => answer(200, view.format.stream_type(), body::stream(watch.into_stream())),
        };
        for warning in warnings {
            if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", quoted(&warning))) {
                response.headers_mut().append(WARNING, value);
            }
        }
        Ok(response)
    }
}

/// Until accounts exist, the server's own authority is the only way in.
fn authenticate(peer: &Peer, info: &RequestInfo) -> Result<User, Status> {
    if let Some(user) = &peer.certificate {
        let mut user = user.clone();
        if !user.in_group("system:authenticated") {
            user.groups.push("system:authenticated".into());
        }
        return Ok(user);
    }
    if is_public(&info.path) {
        return Ok(User::new("system:anonymous", &["system:unauthenticated"]));
    }
    Err(Status::unauthorized("Unauthorized"))
}

/// The refusal of a request, in upstream's words.
fn forbidden(user: &User, info: &RequestInfo, reason: &str) -> Status {
    let mut what = if info.is_resource {
        let resource = match &*info.subresource {
            "" => info.resource.clone(),
            sub => format!("{}/{sub}", info.resource),
        };
        let place = match &*info.namespace {
            "" => " at the cluster scope".to_owned(),
            namespace => format!(" in the namespace {namespace:?}"),
        };
        format!(
            "User {:?} cannot {} resource {resource:?} in API group {:?}{place}",
            user.name, info.verb, info.group
        )
    } else {
        format!("User {:?} cannot {} path {:?}", user.name, info.verb, info.path)
    };
    if !reason.is_empty() {
        what.push_str(": ");
        what.push_str(reason);
    }
    Status::forbidden(Qualified::new(&info.group, &info.resource), &info.name, what)
}

/// Namespaced kinds are written below a namespace, and cluster-scoped ones never.
fn check_scope(resource: &Resource, info: &RequestInfo) -> Result<(), Status> {
    let namespaced = resource.kind.is_namespaced();
    let named_in_path = !info.namespace.is_empty() && info.resource != "namespaces";
    if named_in_path && !namespaced {
        return Err(Status::no_such_path());
    }
    let across = matches!(&*info.verb, "list" | "watch") && info.name.is_empty();
    let selected = matches!(&*info.verb, "list" | "watch");
    if namespaced && info.namespace.is_empty() && !across && !selected {
        return Err(if info.name.is_empty() { Status::method_not_allowed() } else { Status::no_such_path() });
    }
    Ok(())
}

fn answer(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A plain JSON document that is no object of the API.
pub(crate) fn json_response(tree: &Value) -> Response<Body> {
    let mut out = Vec::with_capacity(512);
    api::json::encode_any(tree, &mut out);
    answer(200, negotiate::JSON, body::full(render::indent(&out)))
}

/// A refusal, in the form that the client asked for.
pub(crate) fn refuse(status: &Status, view: View) -> Response<Body> {
    let view = View { shape: negotiate::Shape::Object, ..view };
    let body = render::tree("v1", &status.to_value(), view).unwrap_or_else(|_| Bytes::from_static(b"{}"));
    let mut response = answer(status.code, view.format.media_type(), body::full(body));
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// A warning's text as a quoted string of HTTP.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}
