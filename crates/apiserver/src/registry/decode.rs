//! Bodies to trees in the served version.

use api::json::{self, StrictError};
use api::{Outside, Status, Value, envelope, proto, yaml};

use super::Call;
use super::options::Validation;
use crate::catalog::{Codec, Resource};
use crate::negotiate::Format;

/// Decodes an object of the call's kind and version.
pub(super) fn object(call: &Call, body: &[u8], validation: Validation) -> Result<Value, Status> {
    let format = call.format.clone()?;
    let tree = parse(&call.resource, format, body)?;
    let (mut tree, strict) = typed(&call.resource, tree)?;
    report(call, &call.resource, strict, validation)?;
    set_type(&call.resource, &mut tree);
    Ok(tree)
}

/// What a body holds before its kind's codec has looked at it.
enum Parsed {
    /// JSON text; kept as text so that the codec sees duplicates with their paths.
    Text(Vec<u8>),
    Tree(Value),
}

fn parse(resource: &Resource, format: Format, body: &[u8]) -> Result<Parsed, Status> {
    match format {
        Format::Json => Ok(Parsed::Text(body.to_vec())),
        Format::Yaml => {
            let text = std::str::from_utf8(body).map_err(|e| Status::bad_request(e.to_string()))?;
            let tree = yaml::parse(text).map_err(|e| Status::bad_request(e.to_string()))?;
            let mut out = Vec::new();
            json::encode_any(&tree, &mut out);
            Ok(Parsed::Text(out))
        }
        Format::Protobuf => {
            let Codec::Builtin { message } = &resource.codec else {
                return Err(Status::unsupported_media_type("custom resources have no protobuf form"));
            };
            let bad = |e: String| cannot_handle(resource, &resource.kind.kind, &resource.version, &e);
            let envelope = envelope::open(body).map_err(|e| bad(e.to_string()))?;
            check_type(resource, envelope.api_version, envelope.kind)?;
            let outside =
                Outside { api_version: &resource.api_version, kind: &resource.kind.kind, revision: None };
            let tree = proto::to_tree(schema::builtin(), *message, envelope.raw, outside)
                .map_err(|e| bad(e.to_string()))?;
            Ok(Parsed::Tree(tree))
        }
    }
}

fn typed(resource: &Resource, parsed: Parsed) -> Result<(Value, Vec<StrictError>), Status> {
    let text = match parsed {
        Parsed::Tree(tree) => return Ok((tree, Vec::new())),
        Parsed::Text(text) => text,
    };
    match &resource.codec {
        Codec::Builtin { message } => {
            let decoded = json::decode(schema::builtin(), *message, &text).map_err(|error| {
                match json::parse_untyped(&text) {
                    // Nothing can be said of a body that is not even JSON.
                    Err(syntax) => Status::bad_request(format!(
                        "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {syntax} ({})",
                        resource.kind.kind,
                        summary(&text),
                    )),
                    Ok(tree) => {
                        let kind = tree["kind"].as_str().filter(|k| !k.is_empty()).unwrap_or(&resource.kind.kind);
                        cannot_handle(resource, kind, &resource.version, &error.to_string())
                    }
                }
            })?;
            let text = |key: &str| decoded.value[key].as_str().unwrap_or_default();
            check_type(resource, text("apiVersion"), text("kind"))?;
            Ok((decoded.value, decoded.strict))
        }
        Codec::Custom { table, root } => {
            let decoded = json::decode_untyped(&text).map_err(|e| Status::bad_request(e.to_string()))?;
            let mut tree = decoded.value;
            let field = |tree: &Value, key: &str| tree[key].as_str().unwrap_or_default().to_owned();
            if field(&tree, "kind").is_empty() {
                let shown = String::from_utf8_lossy(&text).into_owned();
                return Err(Status::bad_request(format!("Object 'Kind' is missing in '{shown}'")));
            }
            check_type(resource, &field(&tree, "apiVersion"), &field(&tree, "kind"))?;
            let unknown = schema::prune(table, *root, &mut tree);
            let mut strict = decoded.strict;
            strict.extend(unknown.into_iter().map(StrictError::Unknown));
            Ok((tree, strict))
        }
    }
}

/// Refuses an object of another kind or version. An object without a type takes that of the path.
fn check_type(resource: &Resource, api_version: &str, kind: &str) -> Result<(), Status> {
    let own = &resource.kind;
    if !kind.is_empty() && kind != own.kind {
        let version = api_version.rsplit('/').next().unwrap_or_default();
        let package =
            |version: &str| if version.is_empty() { own.group.to_string() } else { version.to_owned() };
        return Err(cannot_handle(
            resource,
            kind,
            version,
            &format!(
                "converting ({}.{kind}) to ({}.{}): unknown conversion",
                package(version),
                if own.group.is_empty() { "core" } else { own.group.split('.').next().unwrap_or_default() },
                own.kind
            ),
        ));
    }
    if !api_version.is_empty() && api_version != resource.api_version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            resource.api_version
        )));
    }
    Ok(())
}

fn cannot_handle(resource: &Resource, kind: &str, version: &str, why: &str) -> Status {
    Status::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {}: {why}",
        resource.kind.kind
    ))
}

/// The beginning of a body that could not be read.
fn summary(text: &[u8]) -> String {
    const SHOWN: usize = 30;
    let text = String::from_utf8_lossy(text);
    if text.chars().count() <= SHOWN {
        return text.into_owned();
    }
    text.chars().take(SHOWN).chain(" ...".chars()).collect()
}

/// Tells of strict errors as the client asked.
pub(super) fn report(
    call: &Call,
    resource: &Resource,
    strict: Vec<StrictError>,
    validation: Validation,
) -> Result<(), Status> {
    if strict.is_empty() {
        return Ok(());
    }
    match validation {
        Validation::Ignore => Ok(()),
        Validation::Warn => {
            for error in strict {
                call.warn(error.to_string());
            }
            Ok(())
        }
        Validation::Strict => {
            let all = strict.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(cannot_handle(
                resource,
                &resource.kind.kind,
                &resource.version,
                &format!("strict decoding error: {all}"),
            ))
        }
    }
}

/// Says of a tree what it is.
pub(super) fn set_type(resource: &Resource, tree: &mut Value) {
    if let Some(map) = tree.as_object_mut() {
        map.insert("apiVersion".into(), resource.api_version.clone().into());
        map.insert("kind".into(), resource.kind.kind.to_string().into());
    }
}
