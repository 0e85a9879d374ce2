//! Probes, lifecycle hooks, and the actions that both take.

use grammar::field::ErrorList;
use grammar::names;

use crate::check;
use crate::node::Node;
use crate::pod::Frame;
use crate::tree::Tree;

const ONE_HANDLER: &str = "may not specify more than 1 handler type";

/// The three probes and the hooks of a container that may have them.
pub fn validate(container: &Node<'_>, frame: &Frame<'_>, errs: &mut ErrorList) {
    if container.has("lifecycle") {
        lifecycle(&container.child("lifecycle"), frame, errs);
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let node = container.child(key);
        if !node.is_set() {
            continue;
        }
        probe(&node, frame, errs);
        match key {
            "readinessProbe" => {
                let grace = node.child("terminationGracePeriodSeconds");
                if grace.is_set() {
                    errs.push(grace.invalid("must not be set for readinessProbes"));
                }
            }
            _ => {
                let threshold = node.child("successThreshold");
                if threshold.number() != 1 {
                    errs.push(threshold.invalid_number("must be 1"));
                }
            }
        }
    }
}

fn probe(node: &Node<'_>, frame: &Frame<'_>, errs: &mut ErrorList) {
    const COUNTS: [&str; 5] =
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    handler(node, &["exec", "httpGet", "tcpSocket", "grpc"], frame, errs);
    for key in COUNTS {
        node.child(key).not_negative(errs);
    }
    let grace = node.child("terminationGracePeriodSeconds");
    if grace.is_set() && grace.number() <= 0 {
        errs.push(grace.invalid("must be greater than 0"));
    }
}

fn lifecycle(node: &Node<'_>, frame: &Frame<'_>, errs: &mut ErrorList) {
    for key in ["postStart", "preStop"] {
        if node.has(key) {
            handler(&node.child(key), &["exec", "httpGet", "tcpSocket", "sleep"], frame, errs);
        }
    }
    let signal = node.child("stopSignal");
    if signal.is_set() {
        stop_signal(&signal, frame, errs);
    }
}

fn handler(node: &Node<'_>, kinds: &[&str], frame: &Frame<'_>, errs: &mut ErrorList) {
    let mut found = false;
    for kind in kinds {
        let action = node.child(kind);
        if !action.is_set() {
            continue;
        }
        if found {
            errs.push(action.forbidden(ONE_HANDLER));
            continue;
        }
        found = true;
        match *kind {
            "exec" => {
                let command = action.child("command");
                if command.is_empty() {
                    errs.push(command.required(""));
                }
            }
            "httpGet" => http_get(&action, errs),
            "tcpSocket" => check::port_number_or_name(&action.child("port"), errs),
            "grpc" => check::port_number(&action.child("port"), errs),
            _ => sleep(&action, frame, errs),
        }
    }
    if !found {
        errs.push(node.required("must specify a handler type"));
    }
}

fn http_get(node: &Node<'_>, errs: &mut ErrorList) {
    check::require(node, &["path"], errs);
    check::port_number_or_name(&node.child("port"), errs);
    node.child("scheme").one_of(&["HTTP", "HTTPS"], errs);
    let headers = node.child("httpHeaders");
    for header in headers.items() {
        let name = header.text("name");
        errs.extend(
            names::http_header_name(name).into_iter().map(|complaint| headers.invalid_as(name, complaint)),
        );
    }
}

fn sleep(node: &Node<'_>, frame: &Frame<'_>, errs: &mut ErrorList) {
    let Some(grace) = frame.grace_period else { return };
    let seconds = node.int("seconds").unwrap_or_default();
    if !(0..=grace).contains(&seconds) {
        errs.push(node.invalid_as(
            seconds,
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
        ));
    }
}

/// Sorted, as they are listed in errors.
const LINUX_SIGNALS: &[&str] = &[
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMAX-1",
    "SIGRTMAX-10",
    "SIGRTMAX-11",
    "SIGRTMAX-12",
    "SIGRTMAX-13",
    "SIGRTMAX-14",
    "SIGRTMAX-2",
    "SIGRTMAX-3",
    "SIGRTMAX-4",
    "SIGRTMAX-5",
    "SIGRTMAX-6",
    "SIGRTMAX-7",
    "SIGRTMAX-8",
    "SIGRTMAX-9",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

fn stop_signal(node: &Node<'_>, frame: &Frame<'_>, errs: &mut ErrorList) {
    match frame.os {
        None => errs.push(node.forbidden("may not be set for containers with empty `spec.os.name`")),
        Some("windows") => node.one_of(&["SIGKILL", "SIGTERM"], errs),
        Some("linux") => node.one_of(LINUX_SIGNALS, errs),
        Some(_) => {}
    }
}
