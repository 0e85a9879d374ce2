//! The list of all kinds.

use std::sync::{Arc, LazyLock};

use crate::kind::Kind;
use crate::{apps, batch, core};

/// One line a kind, group by group.
const KINDS: &[fn() -> Kind] = &[
    core::config_map::kind,
    core::namespace::kind,
    core::node::kind,
    core::pod::kind,
    core::secret::kind,
    core::service::kind,
    core::service_account::kind,
    apps::controller_revision::kind,
    apps::daemon_set::kind,
    apps::deployment::kind,
    apps::replica_set::kind,
    apps::stateful_set::kind,
    batch::cron_job::kind,
    batch::job::kind,
];

static ALL: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| KINDS.iter().map(|kind| Arc::new(kind())).collect());

/// Every built-in kind.
pub fn all() -> &'static [Arc<Kind>] {
    &ALL
}

/// The kind that `group` serves under `plural`.
pub fn find(group: &str, plural: &str) -> Option<&'static Arc<Kind>> {
    all().iter().find(|kind| kind.group == group && kind.plural == plural)
}
