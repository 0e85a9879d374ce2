//! Which of an index's manifests runs on this machine.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

impl Platform {
    /// The machine this binary was built for.
    pub fn host() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Platform::new("linux", architecture, variant)
    }

    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            os_version: None,
        }
    }

    /// Parses `os/architecture[/variant]`.
    pub fn parse(text: &str) -> Option<Platform> {
        let mut parts = text.split('/');
        let (os, architecture, variant) = (parts.next()?, parts.next()?, parts.next());
        let whole = parts.next().is_none() && !os.is_empty() && !architecture.is_empty();
        whole.then(|| Platform::new(os, architecture, variant.filter(|v| !v.is_empty())).normalised())
    }

    /// How well an image built for `candidate` runs here: lower is better, `None` not at all. Newer
    /// processors run images for older variants of the same architecture, and 64-bit ones their 32-bit kin.
    pub fn rank(&self, candidate: &Platform) -> Option<u32> {
        let (host, candidate) = (self.clone().normalised(), candidate.clone().normalised());
        if host.os != candidate.os {
            return None;
        }
        if host.architecture == candidate.architecture {
            return match (level(&host), level(&candidate)) {
                (Some(have), Some(wanted)) if wanted <= have => Some(have - wanted),
                (Some(_), Some(_)) => None,
                _ => (host.variant == candidate.variant).then_some(0),
            };
        }
        const KIN: u32 = 100;
        match (host.architecture.as_str(), candidate.architecture.as_str()) {
            ("arm64", "arm") => Some(KIN + 8u32.saturating_sub(level(&candidate)?)),
            ("amd64", "386") => Some(KIN),
            _ => None,
        }
    }

    fn normalised(mut self) -> Platform {
        self.os = self.os.to_lowercase();
        let architecture = self.architecture.to_lowercase();
        let variant = self.variant.take().map(|v| v.to_lowercase()).filter(|v| !v.is_empty());
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", Some(variant)) => ("amd64", Some(variant)),
            ("i386", variant) => ("386", variant),
            ("aarch64" | "arm64", None | Some("8" | "v8" | "v8.0")) => ("arm64", None),
            ("aarch64" | "arm64", Some(variant)) => ("arm64", Some(variant)),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            (other, variant) => (other, variant),
        };
        self.variant = variant.map(str::to_owned);
        self.architecture = architecture.to_owned();
        self
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// The variant as a number that grows with the instruction set: `v7` is 7, none is the architecture's first.
fn level(of: &Platform) -> Option<u32> {
    let first = match of.architecture.as_str() {
        "amd64" => 1,
        "arm64" => 8,
        _ => 0,
    };
    match &of.variant {
        None => Some(first),
        Some(variant) => variant.strip_prefix('v').unwrap_or(variant).split('.').next()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_variant_wins_and_newer_ones_are_refused() {
        for (host, candidates, expected) in [
            ("linux/amd64", &["linux/arm64", "linux/amd64"][..], Some("linux/amd64")),
            ("linux/amd64", &["linux/386"], Some("linux/386")),
            ("linux/amd64", &["linux/amd64/v3"], None),
            ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], Some("linux/amd64/v2")),
            ("linux/arm64/v8", &["linux/arm/v7", "linux/arm64"], Some("linux/arm64")),
            ("linux/arm64/v8", &["linux/arm/v6", "linux/arm/v7"], Some("linux/arm/v7")),
            ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm64"], Some("linux/arm/v6")),
            ("linux/amd64", &["windows/amd64", "unknown/unknown"], None),
            ("linux/x86_64", &["linux/amd64"], Some("linux/amd64")),
        ] {
            let host = Platform::parse(host).unwrap();
            let best = candidates
                .iter()
                .filter_map(|text| Some((host.rank(&Platform::parse(text).unwrap())?, *text)))
                .min_by_key(|(rank, _)| *rank)
                .map(|(_, text)| text);
            assert_eq!(best, expected, "{host} among {candidates:?}");
        }
    }
}
