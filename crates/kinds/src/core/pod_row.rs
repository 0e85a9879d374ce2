//! A pod as a row of a table: one word for the state of all its containers.

use base::clock::Wall;
use serde_json::Value;

use crate::column;
use crate::tree::Tree;

pub(super) fn cells(pod: &Value, now: Wall) -> Vec<Value> {
    let (spec, status) = (pod.at("spec"), pod.at("status"));
    let state = State::of(pod);
    let restarts = match (state.restarts, state.last_restart) {
        (count, Some(at)) if count != 0 => format!("{count} ({} ago)", column::since(at, now)),
        (count, _) => count.to_string(),
    };
    let or_none = |text: &str| -> Value { if text.is_empty() { "<none>" } else { text }.into() };
    vec![
        column::name(pod),
        format!("{}/{}", state.ready, state.total).into(),
        state.reason.into(),
        restarts.into(),
        column::age(pod, now),
        or_none(status.list("podIPs").first().map(|address| address.text("ip")).unwrap_or_default()),
        or_none(spec.text("nodeName")),
        or_none(status.text("nominatedNodeName")),
        readiness_gates(spec, status).into(),
    ]
}

struct State<'a> {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    /// The latest end of a container that was restarted.
    last_restart: Option<&'a str>,
}

impl<'a> State<'a> {
    fn of(pod: &'a Value) -> State<'a> {
        let (spec, status) = (pod.at("spec"), pod.at("status"));
        let sidecars: Vec<&str> = spec
            .list("initContainers")
            .iter()
            .filter(|container| container.text("restartPolicy") == "Always")
            .map(|container| container.text("name"))
            .collect();
        let reason = match status.text("reason") {
            "" => status.text("phase"),
            reason => reason,
        };
        let gated = status.list("conditions").iter().any(|condition| {
            condition.text("type") == "PodScheduled" && condition.text("reason") == "SchedulingGated"
        });
        let mut state = State {
            reason: if gated { "SchedulingGated" } else { reason }.to_owned(),
            ready: 0,
            total: spec.list("containers").len() + sidecars.len(),
            restarts: 0,
            last_restart: None,
        };
        let of_sidecars = state.initialize(spec, status, &sidecars);
        if let Some((restarts, last)) = of_sidecars {
            (state.restarts, state.last_restart) = (restarts, last);
            state.run(status);
        }
        let deleted = pod.at("metadata").has("deletionTimestamp");
        if deleted && status.text("reason") == "NodeLost" {
            state.reason = "Unknown".to_owned();
        } else if deleted && !matches!(status.text("phase"), "Failed" | "Succeeded") {
            state.reason = "Terminating".to_owned();
        }
        state
    }

    /// Goes through the init containers up to the one that holds the pod back. Answers with the restarts of the
    /// sidecars when none does.
    fn initialize(
        &mut self,
        spec: &Value,
        status: &'a Value,
        sidecars: &[&str],
    ) -> Option<(i64, Option<&'a str>)> {
        let (mut restarts, mut last) = (0, None);
        for (index, container) in status.list("initContainerStatuses").iter().enumerate() {
            let is_sidecar = sidecars.contains(&container.text("name"));
            self.count(container);
            if is_sidecar {
                restarts += container.int("restartCount").unwrap_or_default();
                last = last.max(ended(container));
            }
            let (terminated, waiting) =
                (container.at("state").at("terminated"), container.at("state").at("waiting"));
            if !terminated.is_null() && terminated.int("exitCode").unwrap_or_default() == 0 {
                continue;
            }
            if is_sidecar && container.flag("started") {
                self.ready += usize::from(container.flag("ready"));
                continue;
            }
            let held = if !terminated.is_null() {
                exit(terminated)
            } else if !matches!(waiting.text("reason"), "" | "PodInitializing") {
                waiting.text("reason").to_owned()
            } else {
                format!("{index}/{}", spec.list("initContainers").len())
            };
            self.reason = format!("Init:{held}");
            let initialized = condition(status, "Initialized");
            return initialized.then_some((restarts, last));
        }
        Some((restarts, last))
    }

    /// Goes through the containers from the last to the first; the first has the last word.
    fn run(&mut self, status: &'a Value) {
        let (mut running, mut error) = (false, String::new());
        for container in status.list("containerStatuses").iter().rev() {
            self.count(container);
            let state = container.at("state");
            let (waiting, terminated) = (state.at("waiting").text("reason"), state.at("terminated"));
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if !terminated.is_null() {
                self.reason = exit(terminated);
                if terminated.int("exitCode").unwrap_or_default() != 0 {
                    error.clone_from(&self.reason);
                }
            } else if container.flag("ready") && state.has("running") {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            if running && condition(status, "Ready") {
                self.reason = "Running".to_owned();
            } else if !error.is_empty() {
                self.reason = error;
            } else if running {
                self.reason = "NotReady".to_owned();
            }
        }
    }

    fn count(&mut self, container: &'a Value) {
        self.restarts += container.int("restartCount").unwrap_or_default();
        self.last_restart = self.last_restart.max(ended(container));
    }
}

/// When the container's last run ended. Timestamps in UTC compare as texts.
fn ended(container: &Value) -> Option<&str> {
    container.at("lastState").at("terminated").at("finishedAt").as_str()
}

/// Why a container ended: the runtime's reason, a signal, or an exit code.
fn exit(terminated: &Value) -> String {
    match (terminated.text("reason"), terminated.int("signal").unwrap_or_default()) {
        ("", 0) => format!("ExitCode:{}", terminated.int("exitCode").unwrap_or_default()),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn condition(status: &Value, ty: &str) -> bool {
    status
        .list("conditions")
        .iter()
        .any(|condition| condition.text("type") == ty && condition.text("status") == "True")
}

fn readiness_gates(spec: &Value, status: &Value) -> String {
    let gates = spec.list("readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let met = gates.iter().filter(|gate| {
        let mut conditions = status.list("conditions").iter();
        conditions
            .find(|condition| condition.text("type") == gate.text("conditionType"))
            .is_some_and(|condition| condition.text("status") == "True")
    });
    format!("{}/{}", met.count(), gates.len())
}
