//! What a request asks for, read from its method and path.

use grammar::selector;

/// The parts of a request that authorization, audit and the resolver look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    pub is_resource: bool,
    pub path: String,
    /// For resources one of the API's verbs, else the method in lower case.
    pub verb: String,
    /// `api` or `apis`.
    pub prefix: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// Everything from the resource on, split at slashes.
    pub parts: Vec<String>,
    pub field_selector: String,
    pub label_selector: String,
}

/// A path that upstream's parser refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPath(pub String);

const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// `path` is percent-decoded already.
    pub fn parse(method: &http::Method, path: &str, query: &Query) -> Result<RequestInfo, BadPath> {
        let mut info = RequestInfo {
            path: path.into(),
            verb: method.as_str().to_ascii_lowercase(),
            ..RequestInfo::default()
        };
        let trimmed = path.trim_matches('/');
        let mut parts: &[&str] = &trimmed.split('/').collect::<Vec<_>>();
        if parts.len() < 3 || !matches!(parts[0], "api" | "apis") {
            return Ok(info);
        }
        info.prefix = parts[0].into();
        parts = &parts[1..];
        if info.prefix == "apis" {
            if parts.len() < 3 {
                return Ok(info);
            }
            info.group = parts[0].into();
            parts = &parts[1..];
        }
        info.is_resource = true;
        info.version = parts[0].into();
        parts = &parts[1..];

        let mut verb_in_path = false;
        if matches!(parts[0], "proxy" | "watch") {
            if parts.len() < 2 {
                return Err(BadPath(format!("unable to determine kind and namespace from url, {path}")));
            }
            info.verb = parts[0].into();
            parts = &parts[1..];
            verb_in_path = true;
        } else {
            info.verb = match *method {
                http::Method::POST => "create",
                http::Method::GET | http::Method::HEAD => "get",
                http::Method::PUT => "update",
                http::Method::PATCH => "patch",
                http::Method::DELETE => "delete",
                _ => "",
            }
            .into();
        }
        if parts[0] == "namespaces" && parts.len() > 1 {
            info.namespace = parts[1].into();
            if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2]) {
                parts = &parts[2..];
            }
        }
        info.parts = parts.iter().map(|p| (*p).to_owned()).collect();
        if parts.len() >= 3 && info.verb != "proxy" {
            info.subresource = parts[2].into();
        }
        if parts.len() >= 2 {
            info.name = parts[1].into();
        }
        info.resource = parts[0].into();

        if info.name.is_empty() && info.verb == "get" {
            info.verb = if query.flag("watch") { "watch" } else { "list" }.into();
            if let Some(name) = query.first("fieldSelector").and_then(exact_name) {
                info.name = name;
            }
        }
        if info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection".into();
        }
        if !verb_in_path && matches!(&*info.verb, "list" | "watch" | "deletecollection") {
            info.field_selector = query.first("fieldSelector").unwrap_or_default().into();
            info.label_selector = query.first("labelSelector").unwrap_or_default().into();
        }
        Ok(info)
    }

    /// Requests that last as long as the client likes, and so are exempt from time-outs and flow control's seats.
    pub fn is_long_running(&self) -> bool {
        matches!(&*self.verb, "watch" | "proxy")
            || matches!(&*self.subresource, "proxy" | "exec" | "attach" | "portforward" | "log")
    }

    pub fn group_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// The name that a field selector pins down; it then counts as the request's name for authorization.
fn exact_name(text: &str) -> Option<String> {
    let selector: selector::fields::Selector = text.parse().ok()?;
    let name = selector.exact_match("metadata.name")?.to_owned();
    grammar::names::path_segment_name(&name).is_empty().then_some(name)
}

/// A decoded query string. Parameters keep their order; a name may come more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

/// A query string longer than this is refused with the request.
pub const MAX_QUERY: usize = 64 * 1024;

impl Query {
    pub fn parse(text: &str) -> Query {
        Query(
            text.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (percent_decode(name, true), percent_decode(value, true))
                })
                .collect(),
        )
    }

    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first value, or "".
    pub fn text(&self, name: &str) -> &str {
        self.first(name).unwrap_or_default()
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A boolean parameter in upstream's reading: present and neither `false` nor `0`.
    pub fn flag(&self, name: &str) -> bool {
        self.first(name).is_some_and(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// As `flag`, telling absence from `false`.
    pub fn choice(&self, name: &str) -> Option<bool> {
        self.first(name).map(|_| self.flag(name))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Decodes `%xx`, and `+` as a space in query strings. What is not an escape stays; what is not UTF-8 becomes U+FFFD.
pub fn percent_decode(text: &str, plus: bool) -> String {
    if !text.bytes().any(|b| b == b'%' || (plus && b == b'+')) {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).and_then(|hex| {
            let digit = |b: u8| char::from(b).to_digit(16);
            Some((digit(hex[0])? << 4 | digit(hex[1])?) as u8)
        });
        match (bytes[at], escape) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (b'+', _) if plus => {
                out.push(b' ');
                at += 1;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, target: &str, want: &str) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let info = RequestInfo::parse(&method.parse().unwrap(), path, &Query::parse(query)).unwrap();
        let got = format!(
            "{} g={} v={} ns={} r={} n={} s={}",
            info.verb, info.group, info.version, info.namespace, info.resource, info.name, info.subresource
        );
        assert_eq!(got, want, "{method} {target}");
    }

    #[test]
    fn requests_are_read_as_upstream_reads_them() {
        check("GET", "/api/v1/pods", "list g= v=v1 ns= r=pods n= s=");
        check("GET", "/api/v1/pods?watch=1", "watch g= v=v1 ns= r=pods n= s=");
        check("GET", "/api/v1/pods?watch=false", "list g= v=v1 ns= r=pods n= s=");
        check("GET", "/api/v1/namespaces", "list g= v=v1 ns= r=namespaces n= s=");
        check("GET", "/api/v1/namespaces/a", "get g= v=v1 ns=a r=namespaces n=a s=");
        check("PUT", "/api/v1/namespaces/a/finalize", "update g= v=v1 ns=a r=namespaces n=a s=finalize");
        check("GET", "/api/v1/namespaces/a/pods/p/log", "get g= v=v1 ns=a r=pods n=p s=log");
        check(
            "POST",
            "/apis/apps/v1/namespaces/a/deployments",
            "create g=apps v=v1 ns=a r=deployments n= s=",
        );
        check(
            "DELETE",
            "/apis/apps/v1/namespaces/a/deployments",
            "deletecollection g=apps v=v1 ns=a r=deployments n= s=",
        );
        check("GET", "/api/v1/watch/namespaces/a/pods/p", "watch g= v=v1 ns=a r=pods n=p s=");
        check("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list g= v=v1 ns= r=pods n=x s=");
        check("GET", "/healthz", "get g= v= ns= r= n= s=");
        check("GET", "/apis/apps/v1", "get g= v= ns= r= n= s=");
    }

    #[test]
    fn anything_parses_or_is_refused() {
        bolero::check!().with_max_len(200).with_iterations(20_000).for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let (path, query) = text.split_once('?').unwrap_or((&text, ""));
            let _ =
                RequestInfo::parse(&http::Method::GET, &percent_decode(path, false), &Query::parse(query));
        });
    }
}
