//! The RuntimeDefault profile: what upstream's runtimes allow by default.
//!
//! Told as exceptions: every call that the table of this architecture knows is allowed, but those that follow.

use crate::bundle::{Action, Comparison, Condition, Seccomp, SyscallRule};
use crate::launch::seccomp::all;

/// Denied to everybody: the kernel's key rings, its oldest corners, and what is about the whole machine.
const DENIED: &[&str] = &[
    "_sysctl",
    "add_key",
    "afs_syscall",
    "create_module",
    "get_kernel_syms",
    "getpmsg",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "migrate_pages",
    "move_pages",
    "nfsservctl",
    "pivot_root",
    "putpmsg",
    "query_module",
    "request_key",
    "security",
    "swapoff",
    "swapon",
    "sysfs",
    "tuxcall",
    "uselib",
    "userfaultfd",
    "ustat",
    "vserver",
];

/// Allowed to those who hold one of the capabilities.
const GATED: &[(&str, &[&str])] = &[
    ("acct", &["CAP_SYS_PACCT"]),
    ("bpf", &["CAP_SYS_ADMIN", "CAP_BPF"]),
    ("chroot", &["CAP_SYS_CHROOT"]),
    ("clock_settime", &["CAP_SYS_TIME"]),
    ("clone3", &["CAP_SYS_ADMIN"]),
    ("delete_module", &["CAP_SYS_MODULE"]),
    ("fanotify_init", &["CAP_SYS_ADMIN"]),
    ("finit_module", &["CAP_SYS_MODULE"]),
    ("fsconfig", &["CAP_SYS_ADMIN"]),
    ("fsmount", &["CAP_SYS_ADMIN"]),
    ("fsopen", &["CAP_SYS_ADMIN"]),
    ("fspick", &["CAP_SYS_ADMIN"]),
    ("get_mempolicy", &["CAP_SYS_NICE"]),
    ("init_module", &["CAP_SYS_MODULE"]),
    ("ioperm", &["CAP_SYS_RAWIO"]),
    ("iopl", &["CAP_SYS_RAWIO"]),
    ("kcmp", &["CAP_SYS_PTRACE"]),
    ("listmount", &["CAP_SYS_ADMIN"]),
    ("lookup_dcookie", &["CAP_SYS_ADMIN"]),
    ("mbind", &["CAP_SYS_NICE"]),
    ("mount", &["CAP_SYS_ADMIN"]),
    ("mount_setattr", &["CAP_SYS_ADMIN"]),
    ("move_mount", &["CAP_SYS_ADMIN"]),
    ("open_by_handle_at", &["CAP_DAC_READ_SEARCH"]),
    ("open_tree", &["CAP_SYS_ADMIN"]),
    ("open_tree_attr", &["CAP_SYS_ADMIN"]),
    ("perf_event_open", &["CAP_SYS_ADMIN", "CAP_PERFMON"]),
    ("pidfd_getfd", &["CAP_SYS_PTRACE"]),
    ("process_madvise", &["CAP_SYS_PTRACE"]),
    ("quotactl", &["CAP_SYS_ADMIN"]),
    ("quotactl_fd", &["CAP_SYS_ADMIN"]),
    ("reboot", &["CAP_SYS_BOOT"]),
    ("set_mempolicy", &["CAP_SYS_NICE"]),
    ("set_mempolicy_home_node", &["CAP_SYS_NICE"]),
    ("setdomainname", &["CAP_SYS_ADMIN"]),
    ("sethostname", &["CAP_SYS_ADMIN"]),
    ("setns", &["CAP_SYS_ADMIN"]),
    ("settimeofday", &["CAP_SYS_TIME"]),
    ("statmount", &["CAP_SYS_ADMIN"]),
    ("syslog", &["CAP_SYS_ADMIN", "CAP_SYSLOG"]),
    ("umount2", &["CAP_SYS_ADMIN"]),
    ("unshare", &["CAP_SYS_ADMIN"]),
    ("vhangup", &["CAP_SYS_TTY_CONFIG"]),
];

/// The flags of clone(2) that make namespaces.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Address family of virtual machine sockets, which reach past the network namespace.
const AF_VSOCK: u64 = 40;

/// The personalities that change nothing about memory protection, and the question for the current one.
const PERSONALITIES: &[u64] = &[0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The profile for a container whose bounding set is `capabilities`.
pub(super) fn profile(capabilities: &[String]) -> Seccomp {
    let holds = |name: &str| capabilities.iter().any(|held| held == name);
    let allowed = |name: &str| match GATED.iter().find(|(gated, _)| *gated == name) {
        Some((_, keys)) => keys.iter().any(|key| holds(key)),
        None => !DENIED.contains(&name) && !matches!(name, "socket" | "personality" | "clone"),
    };
    let rule = |names: Vec<String>, action, errno_ret, args: Vec<Condition>| SyscallRule {
        names,
        action,
        errno_ret,
        args,
    };
    let one = |name: &str, index, value, value_two, op| {
        rule(vec![name.to_owned()], Action::Allow, None, vec![Condition { index, value, value_two, op }])
    };
    let plain = all().map(|(name, _)| name).filter(|name| allowed(name)).map(str::to_owned).collect();
    let mut syscalls = vec![
        rule(plain, Action::Allow, None, Vec::new()),
        one("socket", 0, AF_VSOCK, 0, Comparison::NotEqual),
    ];
    syscalls.extend(PERSONALITIES.iter().map(|&value| one("personality", 0, value, 0, Comparison::Equal)));
    if holds("CAP_SYS_ADMIN") {
        syscalls.push(rule(vec!["clone".to_owned()], Action::Allow, None, Vec::new()));
    } else {
        syscalls.push(one("clone", 0, NAMESPACE_FLAGS, 0, Comparison::MaskedEqual));
        // Its flags lie in memory, where a filter cannot look: programs fall back to clone.
        syscalls.push(rule(vec!["clone3".to_owned()], Action::Errno, Some(libc::ENOSYS as u32), Vec::new()));
    }
    Seccomp {
        default_action: Action::Errno,
        default_errno_ret: Some(libc::EPERM as u32),
        architectures: vec![
            if cfg!(target_arch = "x86_64") { "SCMP_ARCH_X86_64" } else { "SCMP_ARCH_AARCH64" }.to_owned(),
        ],
        syscalls,
        ..Seccomp::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_open_what_they_are_for() {
        let names = |capabilities: &[&str]| -> Vec<String> {
            let capabilities: Vec<String> = capabilities.iter().map(|&name| name.to_owned()).collect();
            profile(&capabilities).syscalls[0].names.clone()
        };
        let has = |list: &[String], name: &str| list.iter().any(|other| other == name);
        let none = names(&[]);
        for (name, expected) in [
            ("read", true),
            ("execve", true),
            ("ptrace", true),
            ("capset", true),
            ("unshare", false),
            ("mount", false),
            ("keyctl", false),
            ("io_uring_setup", false),
            ("chroot", false),
            ("clone", false),
            ("userfaultfd", false),
            ("bpf", false),
        ] {
            assert_eq!(has(&none, name), expected, "{name}");
        }
        assert!(has(&names(&["CAP_SYS_ADMIN"]), "mount"));
        assert!(has(&names(&["CAP_BPF"]), "bpf"));
        assert!(!has(&names(&["CAP_BPF"]), "mount"));
        for (name, _) in GATED {
            assert!(!DENIED.contains(name), "{name} stands twice");
        }
        crate::launch::seccomp::compile(&profile(&[])).unwrap();
    }
}
