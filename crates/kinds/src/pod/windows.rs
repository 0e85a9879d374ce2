//! Options for Windows containers, and what a Windows pod may not have.

use grammar::field::ErrorList;
use grammar::names;

use crate::node::Node;
use crate::pod::security::each_container;
use crate::tree::Tree;

const NOT_FOR_WINDOWS: &str = "cannot be set for a windows pod";
const MAX_CREDENTIAL_SPEC_KIB: usize = 64;
const MAX_DOMAIN: usize = 256;
const MAX_USER: usize = 104;

/// `windowsOptions` of a pod or a container.
pub fn options(node: &Node<'_>, errs: &mut ErrorList) {
    let name = node.child("gmsaCredentialSpecName");
    if name.is_set() {
        name.complaints(names::dns1123_subdomain(name.str()), errs);
    }
    let spec = node.child("gmsaCredentialSpec");
    if spec.is_set() {
        if spec.str().is_empty() {
            errs.push(spec.invalid("gmsaCredentialSpec cannot be an empty string"));
        } else if spec.str().len() > MAX_CREDENTIAL_SPEC_KIB * 1024 {
            errs.push(
                spec.invalid(format!("gmsaCredentialSpec size must be under {MAX_CREDENTIAL_SPEC_KIB} KiB")),
            );
        }
    }
    let user = node.child("runAsUserName");
    if user.is_set() {
        user_name(&user, errs);
    }
}

fn user_name(node: &Node<'_>, errs: &mut ErrorList) {
    let text = node.str();
    if text.is_empty() {
        errs.push(node.invalid("runAsUserName cannot be an empty string"));
        return;
    }
    if text.chars().any(|c| c.is_ascii_control()) {
        errs.push(node.invalid("runAsUserName cannot contain control characters"));
        return;
    }
    let (domain, user) = match text.split('\\').collect::<Vec<_>>()[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => {
            errs.push(node.invalid("runAsUserName cannot contain more than one backslash"));
            return;
        }
    };
    if let Some(domain) = domain {
        if domain.len() >= MAX_DOMAIN {
            errs.push(
                node.invalid(format!("runAsUserName's Domain length must be under {MAX_DOMAIN} characters")),
            );
        }
        if !is_net_bios(domain) && !is_domain(domain) {
            errs.push(node.invalid("runAsUserName's Domain doesn't match the NetBios nor the DNS format"));
        }
    }
    if user.is_empty() {
        errs.push(node.invalid("runAsUserName's User cannot be empty"));
    } else if user.len() > MAX_USER {
        errs.push(
            node.invalid(format!(
                "runAsUserName's User length must not be longer than {MAX_USER} characters"
            )),
        );
    }
    if user.chars().all(|c| matches!(c, '.' | ' ')) && !user.is_empty() {
        errs.push(node.invalid("runAsUserName's User cannot contain only periods or spaces"));
    }
    if user.contains(['"', '/', '\\', '[', ']', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@']) {
        errs.push(
            node.invalid("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"),
        );
    }
}

/// At most 15 characters, none of them reserved, and no dot in front.
fn is_net_bios(domain: &str) -> bool {
    const RESERVED: [char; 14] = ['\\', '/', ':', '*', '?', '<', '>', '|', '.', ',', '"', '\'', ' ', '~'];
    let rest_is_free = |c: char| !RESERVED[..9].contains(&c) && c != '"';
    !domain.is_empty()
        && domain.chars().count() <= 15
        && domain.chars().all(|c| rest_is_free(c) || c == '.')
        && !domain.starts_with('.')
}

fn is_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    })
}

/// Fields that have no meaning on Windows.
pub fn forbids(spec: &Node<'_>, errs: &mut ErrorList) {
    const POD: &[&str] = &[
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
        "supplementalGroupsPolicy",
        "seLinuxChangePolicy",
    ];
    const CONTAINER: &[&str] = &[
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ];
    let mut forbid = |node: &Node<'_>, keys: &[&str]| {
        for key in keys {
            if node.has(key) && !(*key == "sysctls" && node.child(key).is_empty()) {
                errs.push(node.child(key).forbidden(NOT_FOR_WINDOWS));
            }
        }
    };
    forbid(&spec.child("securityContext"), POD);
    forbid(spec, &["hostUsers"]);
    for key in ["hostPID", "hostIPC"] {
        if spec.flag(key) {
            forbid(spec, &[key]);
        }
    }
    forbid(spec, &["shareProcessNamespace"]);
    each_container(spec, |container| forbid(&container.child("securityContext"), CONTAINER));
}

/// Either every container is a host process, on the host's network, or none is.
pub fn host_process(spec: &Node<'_>, errs: &mut ErrorList) {
    let of_pod = Tree::path(spec.value(), &["securityContext", "windowsOptions"]).choice("hostProcess");
    let (mut all, mut host) = (0, 0);
    each_container(spec, |container| {
        all += 1;
        let context = container.child("securityContext");
        let options = context.child("windowsOptions");
        let own = options.child("hostProcess");
        if let (Some(of_pod), Some(of_container)) = (of_pod, own.as_bool())
            && of_pod != of_container
        {
            errs.push(own.invalid(format!(
                "pod hostProcess value must be identical if both are specified, was {of_pod}"
            )));
        }
        if own.as_bool().or(of_pod) == Some(true) {
            host += 1;
        }
    });
    if host == 0 {
        return;
    }
    if host != all {
        errs.push(spec.invalid_as(
            "",
            "If pod contains any hostProcess containers then all containers must be HostProcess containers",
        ));
    }
    if !spec.flag("hostNetwork") {
        errs.push(
            spec.child("hostNetwork")
                .invalid_as(false, "hostNetwork must be true if pod contains any hostProcess containers"),
        );
    }
}
