//! What the labels of a namespace ask for.

use grammar::field::{ErrorList, Path, invalid};
use serde_json::Value;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

/// The minor version whose checks apply. The newest is newer than all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Minor(u64),
    #[default]
    Latest,
}

/// A level as of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standard {
    pub level: Level,
    pub version: Version,
}

/// What is refused, what is noted in the audit log, what the client is warned of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub enforce: Standard,
    pub audit: Standard,
    pub warn: Standard,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }

    fn parse(text: &str) -> Result<Level, &'static str> {
        let levels = [Level::Privileged, Level::Baseline, Level::Restricted];
        let found = levels.into_iter().find(|level| level.name() == text);
        found.ok_or("must be one of privileged, baseline, restricted")
    }
}

impl Version {
    fn parse(text: &str) -> Result<Version, &'static str> {
        let number = |digits: &str| {
            let plain =
                digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
            // Upstream reads a signed number, and what does not fit is no version.
            digits.parse::<i64>().ok().filter(|_| plain).map(|minor| Version::Minor(minor.unsigned_abs()))
        };
        match text {
            "latest" => Some(Version::Latest),
            _ => text.strip_prefix("v1.").and_then(number),
        }
        .ok_or("must be \"latest\" or \"v1.x\"")
    }
}

impl std::fmt::Display for Standard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.version {
            Version::Latest => write!(f, "{}:latest", self.level.name()),
            Version::Minor(minor) => write!(f, "{}:v1.{minor}", self.level.name()),
        }
    }
}

impl Policy {
    /// Reads the labels of a namespace. A label that cannot be read counts as restricted where it enforces and as
    /// privileged elsewhere, and is among the errors.
    pub fn from_labels(labels: &Value, defaults: Policy) -> (Policy, ErrorList) {
        let mut policy = defaults;
        let mut errors = ErrorList::new();
        let label = |name: &str| labels[format!("pod-security.kubernetes.io/{name}")].as_str();
        let mut refuse = |name: &str, value: &str, problem: &str| {
            let key = format!("pod-security.kubernetes.io/{name}");
            let root = Path::new("metadata");
            let labels = root.child("labels");
            errors.push(invalid(&labels.key(&key), value, problem));
        };
        let mut enforces = false;
        let modes = [
            ("enforce", &mut policy.enforce, Level::Restricted),
            ("audit", &mut policy.audit, Level::Privileged),
            ("warn", &mut policy.warn, Level::Privileged),
        ];
        for (mode, standard, unreadable) in modes {
            if let Some(text) = label(mode) {
                match Level::parse(text) {
                    Ok(level) => {
                        standard.level = level;
                        enforces |= mode == "enforce";
                    }
                    Err(problem) => {
                        standard.level = unreadable;
                        refuse(mode, text, problem);
                    }
                }
            }
            let mode = format!("{mode}-version");
            if let Some(text) = label(&mode) {
                standard.version = Version::parse(text).unwrap_or_else(|problem| {
                    refuse(&mode, text, problem);
                    Version::Latest
                });
            }
        }
        // Whoever asks for a level to be enforced and says nothing of warnings is warned of that level too.
        if enforces && label("warn").is_none() && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if label("warn-version").is_none() {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }

    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|standard| standard.level == Level::Privileged)
    }
}
