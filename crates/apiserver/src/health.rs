//! `/healthz`, `/livez` and `/readyz`, with their named checks.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use crate::body::{self, Body};
use crate::registry::Registry;
use crate::request::Query;

/// One named check; what it returns is why it fails.
struct Check {
    name: &'static str,
    run: fn(&Registry) -> Option<String>,
}

const CHECKS: [Check; 2] = [
    Check { name: "ping", run: |_| None },
    Check { name: "etcd", run: |registry| registry.store.stopped().map(|why| why.to_string()) },
];

/// Answers `ok`, or the list of checks when one fails or the client asks for it.
pub(crate) fn check(registry: &Registry, path: &str, query: &Query) -> Response<Body> {
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut lines = String::new();
    let mut failed = false;
    for check in CHECKS {
        if excluded.contains(&check.name) {
            lines.push_str(&format!("[+]{} excluded: ok\n", check.name));
            continue;
        }
        match (check.run)(registry) {
            None => lines.push_str(&format!("[+]{} ok\n", check.name)),
            Some(why) => {
                tracing::warn!(check = check.name, %why, "a health check fails");
                failed = true;
                lines.push_str(&format!("[-]{} failed: reason withheld\n", check.name));
            }
        }
    }
    let name = path.trim_start_matches('/');
    let text = match (failed, query.first("verbose").is_some()) {
        (true, _) => format!("{lines}{name} check failed\n"),
        (false, true) => format!("{lines}{name} check passed\n"),
        (false, false) => "ok".to_owned(),
    };
    let mut response = Response::new(body::full(text));
    *response.status_mut() = if failed { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
