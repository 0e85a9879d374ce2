//! Capabilities, seccomp, AppArmor, SELinux.

use std::path::Path;

use super::seccomp_default;
use crate::bundle::{Capabilities, Seccomp};

use crate::cri::{Error, LinuxContainerSecurityContext, ProfileType, Result, SeLinuxOption, SecurityProfile};
use crate::launch::capability_names;

/// What a container may do when nothing else is said: upstream's list.
const DEFAULT: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A profile larger than this is refused.
const MAX_PROFILE: u64 = 4 << 20;

pub(super) fn capabilities(security: &LinuxContainerSecurityContext) -> Result<Capabilities> {
    let all = || capability_names().iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
    if security.privileged {
        return Ok(sets(all(), Vec::new()));
    }
    let wanted = security.capabilities.clone().unwrap_or_default();
    let names = |list: &[String]| -> Result<Vec<String>> {
        list.iter().filter(|name| !is_all(name)).map(|name| full_name(name)).collect()
    };
    let mut set: Vec<String> = match () {
        () if wanted.drop_capabilities.iter().any(|name| is_all(name)) => Vec::new(),
        () if wanted.add_capabilities.iter().any(|name| is_all(name)) => all(),
        () => DEFAULT.iter().map(|&name| name.to_owned()).collect(),
    };
    for name in names(&wanted.add_capabilities)? {
        if !set.contains(&name) {
            set.push(name);
        }
    }
    let dropped = names(&wanted.drop_capabilities)?;
    set.retain(|name| !dropped.contains(name));
    let ambient = names(&wanted.add_ambient_capabilities)?;
    for name in &ambient {
        if !set.contains(name) {
            set.push(name.clone());
        }
    }
    Ok(sets(set, ambient))
}

fn sets(set: Vec<String>, ambient: Vec<String>) -> Capabilities {
    Capabilities {
        bounding: set.clone(),
        effective: set.clone(),
        permitted: set,
        // Only what is inheritable can be ambient.
        inheritable: ambient.clone(),
        ambient,
    }
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("ALL")
}

fn full_name(name: &str) -> Result<String> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    if capability_names().contains(&&*full) {
        Ok(full)
    } else {
        Err(Error::invalid(format!("unknown capability {name:?}")))
    }
}

/// The filter of a container; `None` when it is to run unconfined.
pub(super) fn seccomp(
    security: &LinuxContainerSecurityContext,
    capabilities: &Capabilities,
    directory: &Path,
) -> Result<Option<Seccomp>> {
    if security.privileged {
        return Ok(None);
    }
    // The deprecated field spoke a language of its own, which old clients still do.
    let legacy = match &*security.seccomp_profile_path {
        "runtime/default" | "docker/default" => Some((ProfileType::RuntimeDefault, "")),
        path => path.strip_prefix("localhost/").map(|path| (ProfileType::Localhost, path)),
    };
    let (kind, reference) = match (&security.seccomp, legacy) {
        (Some(profile), _) => (profile.profile_type(), &*profile.localhost_ref),
        (None, Some(legacy)) => legacy,
        (None, None) => return Ok(None),
    };
    match kind {
        ProfileType::Unconfined => Ok(None),
        ProfileType::RuntimeDefault => Ok(Some(seccomp_default::profile(&capabilities.bounding))),
        ProfileType::Localhost => {
            let profile = load(&directory.join(reference)).map_err(|error| {
                Error::unknown(format!("cannot load seccomp profile {reference:?}: {error}"))
            })?;
            // What cannot be compiled is refused now, with the container's name, rather than at its start.
            crate::launch::seccomp::compile(&profile).map_err(|failure| Error::invalid(failure.0))?;
            Ok(Some(profile))
        }
    }
}

fn load(path: &Path) -> std::result::Result<Seccomp, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    file.take(MAX_PROFILE + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_PROFILE {
        return Err(format!("larger than {MAX_PROFILE} bytes"));
    }
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// The AppArmor profile to take on; empty for none.
pub(super) fn apparmor(security: &LinuxContainerSecurityContext) -> Result<String> {
    let enabled =
        std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
    apparmor_profile(security, enabled)
}

fn apparmor_profile(security: &LinuxContainerSecurityContext, enabled: bool) -> Result<String> {
    if security.privileged {
        return Ok(String::new());
    }
    let legacy = security.apparmor_profile.strip_prefix("localhost/").map(|name| SecurityProfile {
        profile_type: ProfileType::Localhost.into(),
        localhost_ref: name.to_owned(),
    });
    let Some(profile) = security.apparmor.clone().or(legacy) else { return Ok(String::new()) };
    match (profile.profile_type(), enabled) {
        (ProfileType::Unconfined, _) => Ok(String::new()),
        // As upstream, the default is the default of machines that have AppArmor at all.
        (ProfileType::RuntimeDefault, false) => Ok(String::new()),
        (ProfileType::RuntimeDefault, true) => Err(Error::unimplemented(
            "apparmor: no RuntimeDefault profile is offered by this runtime; load one and use Localhost",
        )),
        (ProfileType::Localhost, false) => Err(Error::invalid(format!(
            "apparmor is not supported by the host: profile {:?}",
            profile.localhost_ref
        ))),
        (ProfileType::Localhost, true) => Ok(profile.localhost_ref),
    }
}

/// Labels mean nothing to a kernel without SELinux, where upstream's runtimes pass over them, too.
pub(super) fn check_selinux(options: Option<&SeLinuxOption>) -> Result<()> {
    let asked = options.is_some_and(|options| *options != SeLinuxOption::default());
    if asked && Path::new("/sys/fs/selinux/enforce").exists() {
        return Err(Error::unimplemented("SELinux labels are not offered by this runtime"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::Capability;

    #[test]
    fn capabilities_are_added_and_dropped_as_upstream_does() {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let set = |add: &[&str], drop: &[&str], ambient: &[&str]| {
            capabilities(&LinuxContainerSecurityContext {
                capabilities: Some(Capability {
                    add_capabilities: list(add),
                    drop_capabilities: list(drop),
                    add_ambient_capabilities: list(ambient),
                }),
                ..Default::default()
            })
        };
        assert_eq!(set(&[], &[], &[]).unwrap().permitted, list(DEFAULT));
        assert_eq!(set(&[], &["ALL"], &[]).unwrap().permitted, list(&[]));
        assert_eq!(set(&["NET_ADMIN"], &["all"], &[]).unwrap().bounding, list(&["CAP_NET_ADMIN"]));
        assert_eq!(set(&["ALL"], &[], &[]).unwrap().bounding.len(), capability_names().len());
        let all_but_one = set(&["ALL"], &["sys_admin"], &[]).unwrap();
        assert_eq!(all_but_one.effective.len(), capability_names().len() - 1);
        let ambient = set(&[], &["ALL"], &["NET_BIND_SERVICE"]).unwrap();
        assert_eq!((ambient.ambient, ambient.permitted.len()), (list(&["CAP_NET_BIND_SERVICE"]), 1));
        assert_eq!(set(&["FLY"], &[], &[]).unwrap_err().message, "unknown capability \"FLY\"");
        let privileged = LinuxContainerSecurityContext { privileged: true, ..Default::default() };
        assert_eq!(capabilities(&privileged).unwrap().permitted.len(), capability_names().len());
    }

    #[test]
    fn apparmor_is_refused_where_it_is_absent() {
        let with = |kind: ProfileType, name: &str| LinuxContainerSecurityContext {
            apparmor: Some(SecurityProfile { profile_type: kind.into(), localhost_ref: name.to_owned() }),
            ..Default::default()
        };
        assert_eq!(apparmor_profile(&with(ProfileType::RuntimeDefault, ""), false).unwrap(), "");
        assert_eq!(apparmor_profile(&with(ProfileType::Localhost, "x"), true).unwrap(), "x");
        assert!(apparmor_profile(&with(ProfileType::Localhost, "x"), false).is_err());
        assert!(apparmor_profile(&with(ProfileType::RuntimeDefault, ""), true).is_err());
    }
}
