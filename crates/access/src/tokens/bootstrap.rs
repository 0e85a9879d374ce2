//! Tokens that let a node join: six characters that name a secret, a dot, and sixteen that prove it.

use std::collections::BTreeSet;

use api::User;
use base::clock::Wall;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grammar::time::Time;
use serde_json::Value;

use super::Lookup;
use super::verify::same_secret;
use crate::tree::text;

const GROUP: &str = "system:bootstrappers";
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";

/// The user of a bootstrap token. Whatever is wrong with it, it names nobody and gives no reason, so that nobody learns
/// which half of a guess was right.
pub fn authenticate(token: &str, now: Wall, objects: &dyn Lookup) -> Option<User> {
    let (id, proof) = token.split_once('.')?;
    let plain = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if !plain(id, 6) || !plain(proof, 16) {
        return None;
    }
    let secret = objects.get("Secret", "kube-system", &format!("bootstrap-token-{id}"))?;
    let live = secret["metadata"]["deletionTimestamp"].is_null() && text(&secret, "type") == SECRET_TYPE;
    let is = |key: &str, value: &str| same_secret(data(&secret, key).as_bytes(), value.as_bytes());
    let fits =
        is("token-secret", proof) && is("token-id", id) && is("usage-bootstrap-authentication", "true");
    if !live || !fits || has_expired(&data(&secret, "expiration"), now) {
        return None;
    }
    let groups = groups(&data(&secret, "auth-extra-groups"))?;
    Some(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() })
}

fn data(secret: &Value, key: &str) -> String {
    let bytes = STANDARD.decode(text(&secret["data"], key)).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// An expiry that cannot be read counts as past.
fn has_expired(expiration: &str, now: Wall) -> bool {
    let limit = || Time::parse(expiration).ok().and_then(Time::to_nanos).unwrap_or(i64::MIN);
    !expiration.is_empty() && limit() <= now.0
}

fn groups(extra: &str) -> Option<Vec<String>> {
    let mut groups = BTreeSet::from([GROUP.to_owned()]);
    for group in extra.split(',').filter(|_| !extra.is_empty()) {
        let rest = group.strip_prefix("system:bootstrappers:")?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fine = (1..=256).contains(&rest.len())
            && rest.bytes().all(|b| plain(b) || b == b':' || b == b'-')
            && rest.bytes().next_back().is_some_and(plain);
        if !fine {
            return None;
        }
        groups.insert(group.to_owned());
    }
    Some(groups.into_iter().collect())
}
