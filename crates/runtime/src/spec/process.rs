//! The process of a container: command, environment, user.

use super::{Inputs, security};
use crate::bundle::{Capabilities, Process, User};
use crate::cri::{
    ContainerConfig, Error, LinuxContainerResources, LinuxContainerSecurityContext, Result,
    SupplementalGroupsPolicy,
};
use crate::users::{self, Resolved};

/// Where programs are looked for when neither image nor pod says so.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn process(
    inputs: &Inputs<'_>,
    security: &LinuxContainerSecurityContext,
    resources: &LinuxContainerResources,
    capabilities: Capabilities,
) -> Result<Process> {
    let config = inputs.config;
    let cwd = [&config.working_dir, &inputs.image.working_dir].into_iter().find(|path| !path.is_empty());
    Ok(Process {
        terminal: config.tty,
        user: User {
            uid: inputs.user.uid,
            gid: inputs.user.gid,
            additional_gids: inputs.user.groups.clone(),
        },
        args: command(config, inputs.image)?,
        env: environment(inputs),
        cwd: cwd.cloned().unwrap_or_else(|| "/".to_owned()),
        capabilities: Some(capabilities),
        rlimits: Vec::new(),
        no_new_privileges: security.no_new_privs,
        apparmor_profile: security::apparmor(security)?,
        oom_score_adj: i32::try_from(resources.oom_score_adj).ok(),
    })
}

/// The pod's command and arguments over the image's: a command alone drops the image's arguments.
pub fn command(config: &ContainerConfig, image: &oci::manifest::RunConfig) -> Result<Vec<String>> {
    let (mut command, mut args) = (config.command.clone(), config.args.clone());
    if command.is_empty() {
        if args.is_empty() {
            args = image.cmd.clone();
        }
        command = image.entrypoint.clone();
    }
    command.extend(args);
    if command.is_empty() {
        return Err(Error::unknown("failed to generate spec: no command specified"));
    }
    Ok(command)
}

fn environment(inputs: &Inputs<'_>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    if !inputs.image.env.iter().any(|word| word.starts_with("PATH=")) {
        words.push(DEFAULT_PATH.to_owned());
    }
    if inputs.config.tty {
        words.push("TERM=xterm".to_owned());
    }
    let hostname = &inputs.sandbox.hostname;
    if !hostname.is_empty() {
        words.push(format!("HOSTNAME={hostname}"));
    }
    let own = inputs
        .config
        .envs
        .iter()
        .map(|pair| format!("{}={}", pair.key, String::from_utf8_lossy(&pair.value)));
    for word in inputs.image.env.iter().cloned().chain(own) {
        let key = word.split_once('=').map_or(&*word, |(key, _)| key).to_owned();
        match words.iter_mut().find(|known| known.split_once('=').map_or(&***known, |(key, _)| key) == key) {
            Some(known) => *known = word,
            None => words.push(word),
        }
    }
    words
}

/// The user to run as, as `user[:group]`, from the pod or else from the image.
pub fn user_request(security: &LinuxContainerSecurityContext, image_user: &str) -> Result<String> {
    let user = match (&*security.run_as_username, &security.run_as_user) {
        ("", None) => String::new(),
        ("", Some(uid)) => uid.value.to_string(),
        (name, _) => name.to_owned(),
    };
    match (&*user, &security.run_as_group) {
        ("", Some(_)) => Err(Error::invalid("user group is specified without user")),
        ("", None) => Ok(image_user.to_owned()),
        (user, Some(group)) => Ok(format!("{user}:{}", group.value)),
        (user, None) => Ok(user.to_owned()),
    }
}

/// Finds the user in the image's own files, and gives it the pod's groups.
pub fn resolve_user(
    security: &LinuxContainerSecurityContext,
    image_user: &str,
    passwd: &[u8],
    group: &[u8],
) -> Result<Resolved> {
    let request = user_request(security, image_user)?;
    let mut resolved = users::resolve(&request, passwd, group)
        .map_err(|message| Error::unknown(format!("failed to generate spec: {message}")))?;
    if security.supplemental_groups_policy() == SupplementalGroupsPolicy::Strict {
        resolved.groups.clear();
    }
    for &gid in &security.supplemental_groups {
        let gid =
            u32::try_from(gid).map_err(|_| Error::invalid(format!("invalid supplemental group {gid}")))?;
        resolved.groups.push(gid);
    }
    // As upstream, the primary group is among the supplementary ones, so that dropping it is no way in.
    resolved.groups.push(resolved.gid);
    resolved.groups.sort_unstable();
    resolved.groups.dedup();
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::Int64Value;

    #[test]
    fn command_and_arguments_follow_upstreams_table() {
        let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        for (entrypoint, cmd, command_words, args, expected) in [
            (&["/ep"][..], &["c"][..], &[][..], &[][..], Some(&["/ep", "c"][..])),
            (&["/ep"], &["c"], &["x"], &[], Some(&["x"])),
            (&["/ep"], &["c"], &[], &["a"], Some(&["/ep", "a"])),
            (&["/ep"], &["c"], &["x"], &["a"], Some(&["x", "a"])),
            (&[], &[], &[], &[], None),
        ] {
            let config =
                ContainerConfig { command: list(command_words), args: list(args), ..Default::default() };
            let image = oci::manifest::RunConfig {
                entrypoint: list(entrypoint),
                cmd: list(cmd),
                ..Default::default()
            };
            assert_eq!(command(&config, &image).ok(), expected.map(list));
        }
    }

    #[test]
    fn groups_follow_the_policy() {
        let passwd = b"web:x:33:34::/:\n";
        let group = b"extra:x:50:web\n";
        let security = |policy: SupplementalGroupsPolicy| LinuxContainerSecurityContext {
            run_as_user: Some(Int64Value { value: 33 }),
            supplemental_groups: vec![7],
            supplemental_groups_policy: policy.into(),
            ..Default::default()
        };
        for (policy, groups) in [
            (SupplementalGroupsPolicy::Merge, vec![7, 34, 50]),
            (SupplementalGroupsPolicy::Strict, vec![7, 34]),
        ] {
            let got = resolve_user(&security(policy), "root", passwd, group).unwrap();
            assert_eq!(got, Resolved { uid: 33, gid: 34, groups });
        }
        let group_only = LinuxContainerSecurityContext {
            run_as_group: Some(Int64Value { value: 1 }),
            ..Default::default()
        };
        assert_eq!(
            user_request(&group_only, "").unwrap_err().message,
            "user group is specified without user"
        );
        assert_eq!(user_request(&Default::default(), "web:www").unwrap(), "web:www");
    }
}
