//! Strategic merge patch: JSON merge patch that knows which lists merge, and by which key.
//!
//! [`apply`] is what the API server does with a patch. [`two_way`] and [`three_way`] make patches, as
//! `kubectl apply` and `kubectl edit` do. Directives in a patch steer the merge:
//!
//! | directive | effect |
//! |---|---|
//! | `$patch: replace`, `delete` | the map it stands in replaces, or is removed |
//! | `$patch: delete` in a list item | removes the items with its merge key |
//! | `$patch: replace` in a list item | the other items replace the list |
//! | `$setElementOrder/LIST` | the order of the items it names |
//! | `$deleteFromPrimitiveList/LIST` | removes these scalars |
//! | `$retainKeys` | all other keys of the map go |

mod create;
mod lists;
mod lookup;
mod merge;

use schema::{MessageId, Table};
use serde_json::{Map, Value};

pub use create::{three_way, two_way};

use crate::limits::{TooDeep, check_depth};
use lookup::Place;

/// Why a patch was refused, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 400: a directive has the wrong form.
    #[error("{0}")]
    BadRequest(String),
    /// 422.
    #[error("{0}")]
    Unprocessable(String),
    /// 500 in upstream, though the patch is at fault.
    #[error("{0}")]
    Failed(String),
    /// The live object was changed differently from the configuration, and overwriting was not asked for.
    #[error("patch:\n{patch}\nconflicts with changes made from original to current:\n{changes}\n")]
    Conflict { patch: String, changes: String },
    #[error(transparent)]
    TooDeep(#[from] TooDeep),
}

impl Error {
    fn failed(message: impl Into<String>) -> Self {
        Error::Failed(message.into())
    }

    fn bad_document() -> Self {
        Error::BadRequest("invalid JSON document".to_owned())
    }

    fn bad_primitive_list() -> Self {
        Error::BadRequest("invalid patch format of primitive list".to_owned())
    }

    fn bad_element_order() -> Self {
        Error::BadRequest("invalid patch format of setElementOrder list".to_owned())
    }

    fn bad_retain_keys() -> Self {
        Error::BadRequest("invalid patch format of retainKeys".to_owned())
    }

    fn list_of_lists() -> Self {
        Error::Unprocessable("lists of lists are not supported".to_owned())
    }
}

/// `original`, an object of the message `id`, with `patch` laid over it.
pub fn apply(original: Value, patch: Value, table: &Table, id: MessageId) -> Result<Value, Error> {
    check_depth(&original, "original document")?;
    check_depth(&patch, "strategic merge patch")?;
    let (original, patch) = (document(original)?, document(patch)?);
    merge::merge_maps(original, patch, Place::of_message(table, id), merge::Mode::Apply).map(Value::Object)
}

fn document(value: Value) -> Result<Map<String, Value>, Error> {
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(Error::bad_document()),
    }
}

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";
