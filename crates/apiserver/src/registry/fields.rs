//! Who owns which field: the registry's side of server-side apply.

use std::collections::HashMap;

use api::{Status, Value};
use base::clock::Wall;
use jiff::Timestamp;
use merge::apply::{Convert, ConvertError, Error, FieldManager, empty_object};
use merge::fieldset::{Filter, Path, PathElement};
use merge::typed::Typing;

use super::Call;
use crate::catalog::{Codec, Resource, api_version};

/// Reads and converts the versions of one kind.
pub(super) struct Versions<'a>(pub &'a Resource);

impl Versions<'_> {
    fn resource(&self, version: &str) -> Option<Resource> {
        let kind = &self.0.kind;
        let name =
            kind.versions.iter().map(|v| &*v.name).find(|name| api_version(&kind.group, name) == version)?;
        Resource::builtin(kind, name)
    }
}

impl Convert for Versions<'_> {
    fn typing(&self, version: &str) -> Option<Typing<'_>> {
        match &self.0.codec {
            Codec::Custom { table, root } if version == self.0.api_version => {
                Some(Typing::Message(table, *root))
            }
            Codec::Custom { .. } => None,
            Codec::Builtin { message } if version == self.0.api_version => {
                Some(Typing::Message(schema::builtin(), *message))
            }
            Codec::Builtin { .. } => {
                let resource = self.resource(version)?;
                Some(Typing::Message(schema::builtin(), resource.codec.message()))
            }
        }
    }

    fn convert(&self, object: &Value, version: &str) -> Result<Value, ConvertError> {
        let own = object["apiVersion"].as_str().unwrap_or_default();
        if own == version {
            return Ok(object.clone());
        }
        let (Some(from), Some(to)) = (self.resource(own), self.resource(version)) else {
            return Err(ConvertError::UnknownVersion(version.to_owned()));
        };
        let mut tree = object.clone();
        from.kind.to_stored(&from.version, &mut tree);
        to.kind.from_stored(&to.version, &mut tree);
        tree["apiVersion"] = to.api_version.clone().into();
        Ok(tree)
    }
}

/// Runs `work` with the call's field manager.
fn with<T>(call: &Call, work: impl FnOnce(&FieldManager<'_>) -> T) -> T {
    let resource = &call.resource;
    let convert = Versions(resource);
    let subresource = call.info.subresource.as_str();
    let mut filters = HashMap::new();
    let excluded: Vec<Path> = resource
        .kind
        .resets(subresource)
        .iter()
        .map(|path| Path(path.iter().map(|name| PathElement::field(name)).collect()))
        .collect();
    if !excluded.is_empty() {
        for version in &resource.kind.versions {
            let filter = Filter::Exclude(excluded.iter().collect());
            filters.insert(api_version(&resource.kind.group, &version.name), filter);
        }
    }
    work(&FieldManager {
        convert: &convert,
        group_version: &resource.api_version,
        kind: &resource.kind.kind,
        subresource,
        filters: &filters,
    })
}

/// Tracks a create, update or patch. A failure to track never fails the write.
pub(super) fn track(call: &Call, live: Option<&Value>, new: Value, manager: &str) -> Value {
    with(call, |fields| {
        let empty;
        let live = match live {
            Some(live) => live,
            None => {
                empty = nothing(call);
                &empty
            }
        };
        let (tree, failure) = fields.update_or_keep(live, new, manager, timestamp(call.now));
        if let Some(failure) = failure {
            tracing::warn!(resource = %call.resource.qualified(), %failure, "field ownership was not tracked");
        }
        tree
    })
}

/// Applies a configuration.
pub(super) fn apply(
    call: &Call,
    live: Option<&Value>,
    patch: &Value,
    manager: &str,
    force: bool,
) -> Result<Value, Status> {
    with(call, |fields| {
        let empty;
        let live = match live {
            Some(live) => live,
            None => {
                empty = nothing(call);
                &empty
            }
        };
        fields.apply(live, patch, manager, force, timestamp(call.now)).map_err(|error| match error {
            Error::Conflict(conflicts) => {
                let causes = conflicts.causes().into_iter().map(|cause| api::status::Cause {
                    reason: "FieldManagerConflict".into(),
                    message: cause.message,
                    field: cause.field,
                });
                Status::apply_conflict(conflicts.to_string(), causes.collect())
            }
            Error::BadRequest(message) => Status::bad_request(message),
            Error::Internal(message) => Status::internal(message),
        })
    })
}

fn nothing(call: &Call) -> Value {
    let resource = &call.resource;
    let typing = match &resource.codec {
        Codec::Builtin { message } => Typing::Message(schema::builtin(), *message),
        Codec::Custom { table, root } => Typing::Message(table, *root),
    };
    empty_object(typing, &resource.api_version, &resource.kind.kind)
}

fn timestamp(now: Wall) -> Timestamp {
    Timestamp::from_second(now.secs()).unwrap_or(Timestamp::UNIX_EPOCH)
}
