//! What an authorizer is asked, and what it answers.

use api::User;
use grammar::selector::fields::Term;

/// The group whose members may do everything, whatever the roles say: the way back in when the roles are wrong.
pub const MASTERS: &str = "system:masters";

/// A request, as authorization sees it. For what is no resource only the verb and the path count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub path: &'a str,
    pub is_resource: bool,
    /// The parsed field selector; empty where there is none or where it does not parse.
    pub fields: &'a [Term],
}

impl Attributes<'_> {
    /// Whether the selector pins `field` to `value`.
    pub fn selects(&self, field: &str, value: &str) -> bool {
        self.fields.iter().any(|term| !term.negated && term.field == field && term.value == value)
    }
}

/// An authorizer's answer. None here ever forbids what another allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow(String),
    NoOpinion(String),
}

impl Decision {
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }

    pub fn reason(&self) -> &str {
        match self {
            Decision::Allow(reason) | Decision::NoOpinion(reason) => reason,
        }
    }
}

/// Asks one authorizer after the other. The first that allows decides; a refusal carries every reason, a line each.
pub fn first_allow(
    user: &User,
    request: &Attributes<'_>,
    authorizers: &[&dyn Fn(&User, &Attributes<'_>) -> Decision],
) -> Decision {
    if user.in_group(MASTERS) {
        return Decision::Allow(String::new());
    }
    let mut reasons = Vec::new();
    for authorizer in authorizers {
        match authorizer(user, request) {
            allow @ Decision::Allow(_) => return allow,
            Decision::NoOpinion(reason) if reason.is_empty() => {}
            Decision::NoOpinion(reason) => reasons.push(reason),
        }
    }
    Decision::NoOpinion(reasons.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_allows_decides_and_refusals_add_up() {
        let no = |_: &User, _: &Attributes<'_>| Decision::NoOpinion("no".into());
        let silent = |_: &User, _: &Attributes<'_>| Decision::NoOpinion(String::new());
        let yes = |_: &User, _: &Attributes<'_>| Decision::Allow("yes".into());
        let jane = User::new("jane", &[]);
        let check = |user: &User, chain: &[&dyn Fn(&User, &Attributes<'_>) -> Decision], want: Decision| {
            assert_eq!(first_allow(user, &Attributes::default(), chain), want);
        };
        check(&jane, &[&no, &yes, &no], Decision::Allow("yes".into()));
        check(&jane, &[&no, &silent, &no], Decision::NoOpinion("no\nno".into()));
        check(&jane, &[], Decision::NoOpinion(String::new()));
        check(&User::new("root", &[MASTERS]), &[&no], Decision::Allow(String::new()));
    }
}
