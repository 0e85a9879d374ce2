//! A server over a store in a folder of its own, called without a network.

use std::sync::Arc;
use std::time::Duration;

use api::User;
use apiserver::body::{Body, RequestBody};
use apiserver::catalog::Catalog;
use apiserver::registry::{Admission, Cidr, Names, Ranges, Registry};
use apiserver::stack::{MastersOnly, Peer, Stack};
use apiserver::{bootstrap, object};
use base::clock::{SimClock, Wall};
use base::random::SeededRandom;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use store::{Embedded, Options, Store};

/// Nothing that a test waits for takes this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Rig {
    pub stack: Arc<Stack>,
    pub clock: SimClock,
    folder: tempfile::TempDir,
}

impl Rig {
    pub async fn new() -> Rig {
        Rig::over(tempfile::tempdir().expect("a temporary folder"), Ranges::default()).await
    }

    /// Services get their addresses out of `cidr`.
    pub async fn with_addresses(cidr: &str) -> Rig {
        let ranges = Ranges { addresses: Cidr::parse(cidr).expect("a range"), ..Ranges::default() };
        Rig::over(tempfile::tempdir().expect("a temporary folder"), ranges).await
    }

    async fn over(folder: tempfile::TempDir, ranges: Ranges) -> Rig {
        let clock = SimClock::starting_at(Wall::from_secs(1_700_000_000));
        let options = Options::new(Arc::new(clock.clone()), Arc::new(object::annotate), None);
        let store =
            Store::embedded(&Embedded::at(folder.path().join("store")), options).expect("the store opens");
        let registry = Arc::new(Registry {
            store,
            catalog: Arc::new(Catalog::builtin()).into(),
            clock: Arc::new(clock.clone()),
            names: Names::new(Box::new(SeededRandom::new(7))),
            admission: Admission::standard(),
            ranges,
        });
        let version = json!({"major": "1", "minor": "37"});
        let stack = Arc::new(Stack { registry, authorizer: Box::new(MastersOnly), version });
        bootstrap::run(&stack).await.expect("a fresh store is filled");
        Rig { stack, clock, folder }
    }

    /// Closes the store and opens it again.
    pub async fn restart(self) -> Rig {
        self.stack.registry.store.close().await;
        Rig::over(self.folder, self.stack.registry.ranges.clone()).await
    }

    pub async fn send(&self, request: Request<RequestBody>) -> Response<Body> {
        let user = User::new("admin", &["system:masters"]);
        self.stack.call(request, Peer { address: None, certificate: Some(user) }).await
    }

    pub async fn call(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(RequestBody::Bytes(body.into())).expect("a request")).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("bodies do not fail").to_bytes();
        Answer { what: format!("{method} {target}"), code: head.status.as_u16(), headers: head.headers, body }
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.call("GET", target, &[], "").await
    }

    pub async fn post(&self, target: &str, body: &Value) -> Answer {
        self.call("POST", target, &[], body.to_string()).await
    }

    pub async fn put(&self, target: &str, body: &Value) -> Answer {
        self.call("PUT", target, &[], body.to_string()).await
    }

    /// `media` is one of `json`, `merge`, `strategic`, `apply`.
    pub async fn patch(&self, media: &str, target: &str, body: &Value) -> Answer {
        let media = match media {
            "json" => "application/json-patch+json",
            "merge" => "application/merge-patch+json",
            "strategic" => "application/strategic-merge-patch+json",
            "apply" => "application/apply-patch+yaml",
            other => other,
        };
        self.call("PATCH", target, &[("content-type", media)], body.to_string()).await
    }

    /// A body of `null` sends none.
    pub async fn delete(&self, target: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.call("DELETE", target, &[], body).await
    }

    pub async fn watch(&self, target: &str) -> Watch {
        self.watch_as(target, "application/json").await
    }

    pub async fn watch_as(&self, target: &str, accept: &str) -> Watch {
        let request = Request::get(target).header("accept", accept).body(RequestBody::Bytes(Bytes::new()));
        let response = self.send(request.expect("a request")).await;
        assert_eq!(response.status(), 200, "{target}");
        Watch { body: response.into_body(), rest: Vec::new() }
    }
}

/// A whole response.
pub struct Answer {
    what: String,
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}: {}: {:?}", self.what, self.code, self.body))
    }

    /// The object that a request which succeeded answered with.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{}: {} {:?}", self.what, self.code, self.body);
        self.json()
    }

    /// The status of a refusal.
    #[track_caller]
    pub fn refused(self, code: u16, reason: &str, message: &str) -> Value {
        let status = self.json();
        let got = (
            self.code,
            status["reason"].as_str().unwrap_or_default(),
            status["message"].as_str().unwrap_or_default(),
        );
        assert_eq!(got, (code, reason, message), "{}", self.what);
        assert_eq!(status["code"], code, "{}", self.what);
        status
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A watch under way, in JSON.
pub struct Watch {
    body: Body,
    rest: Vec<u8>,
}

impl Watch {
    /// The next event; nothing when the watch has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event is a line of JSON"));
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("an event in time")?;
            self.rest.extend_from_slice(&frame.expect("bodies do not fail").into_data().expect("data"));
        }
    }

    /// The next event's type and the object's name.
    pub async fn step(&mut self) -> String {
        let Some(event) = self.next().await else { return "end".into() };
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        format!("{} {name}", event["type"].as_str().unwrap_or_default())
    }
}

pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

pub fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"key": "value"}})
}

pub fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "image"}]}})
}

pub fn deployment(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "image"}]},
            },
        },
    })
}

pub fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a revision")
}

pub fn named(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}
