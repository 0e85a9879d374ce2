//! `cargo xtask test`: everything that must hold, in stages, each with its seconds.
//!
//! A stage that fails does not keep later ones from running, so that one run tells all there is to mend; a stage
//! that cannot run is a failure. The last line is `N passed, N failed`, counted over all tests.

mod build;
mod debian;
mod run;
mod tally;

use std::path::PathBuf;
use std::time::Instant;

use build::Binary;
use run::{Suite, Width};
use tally::Tally;

use crate::workspace::root;
use crate::{clippy, tidy};

/// Crates whose tests need the machine: root, namespaces, Debian's programs, or a server of their own. What they
/// start competes for ports, cgroups and the two cores, so no more than two of these tests run at once.
const ON_THE_MACHINE: [&str; 7] = ["apiserver", "boga", "kubelet", "network", "oci", "runtime", "store"];

pub fn run(arguments: &[String]) -> Result<(), String> {
    if let Some(option) = arguments.iter().find(|argument| argument.starts_with('-')) {
        return Err(format!(
            "unknown option `{option}`; the command takes names of crates, or nothing for all"
        ));
    }
    let mut report = Report::default();
    let whole = arguments.is_empty();
    report.stage("packages", |_| debian::install());
    if whole {
        report.stage("tidy", |_| tidy::quick());
        report.stage("clippy", |_| clippy::run());
    }
    let mut built = Vec::new();
    report.stage("build", |_| build::tests(arguments).map(|binaries| built = binaries));
    if built.is_empty() {
        report.cannot("tests", "they were not built");
    } else {
        let (machine, pure): (Vec<Binary>, Vec<Binary>) = built.into_iter().partition(needs_the_machine);
        report.stage("pure tests", |tally| run::binaries(&pure, Width::Cores, tally));
        if whole {
            report.stage("doc tests", |tally| run::suite(&Suite::documentation(), tally));
        }
        report.stage("machine tests", |tally| run::binaries(&machine, Width::Two, tally));
    }
    report.finish()
}

fn needs_the_machine(binary: &Binary) -> bool {
    ON_THE_MACHINE.contains(&binary.package.as_str())
}

/// What became of the stages, and of all tests in them.
#[derive(Default)]
struct Report {
    stages: Vec<Stage>,
    tally: Tally,
}

struct Stage {
    name: &'static str,
    seconds: f64,
    outcome: Result<(), String>,
}

impl Report {
    fn stage(&mut self, name: &'static str, work: impl FnOnce(&mut Tally) -> Result<(), String>) {
        println!("\n== {name}");
        let start = now();
        let outcome = work(&mut self.tally);
        let seconds = start.elapsed().as_secs_f64();
        if let Err(reason) = &outcome {
            println!("\n== {name} FAILED: {reason}");
        }
        self.stages.push(Stage { name, seconds, outcome });
    }

    fn cannot(&mut self, name: &'static str, reason: &str) {
        println!("\n== {name} COULD NOT RUN: {reason}");
        self.stages.push(Stage { name, seconds: 0.0, outcome: Err(format!("could not run: {reason}")) });
    }

    fn finish(self) -> Result<(), String> {
        println!("\n== summary");
        for Stage { name, seconds, outcome } in &self.stages {
            let verdict = outcome.as_ref().map_or_else(String::as_str, |()| "ok");
            println!("{name:<14} {seconds:>7.1} s  {verdict}");
        }
        let total: f64 = self.stages.iter().map(|stage| stage.seconds).sum();
        println!("{:<14} {total:>7.1} s", "all");
        for failure in &self.tally.failures {
            println!("failed: {failure}");
        }
        if !golden_objects_are_there() {
            println!(
                "not run: the test of upstream's golden objects, which are not on this machine (BOGA_TESTDATA)"
            );
        }
        println!("{} passed, {} failed", self.tally.passed, self.tally.failures.len());
        match self.stages.iter().all(|stage| stage.outcome.is_ok()) && self.tally.failures.is_empty() {
            true => Ok(()),
            false => Err("not everything passed".into()),
        }
    }
}

/// Where `api`'s golden test looks for upstream's objects.
fn golden_objects_are_there() -> bool {
    let named = std::env::var_os("BOGA_TESTDATA").map(PathBuf::from);
    named.unwrap_or_else(|| root().join("../shared/testdata")).join("golden").is_dir()
}

/// The seconds of a run of tests are for people to read; nothing depends on them but the limits of a stuck run.
#[expect(clippy::disallowed_methods, reason = "a development task tells real time, and is never simulated")]
fn now() -> Instant {
    Instant::now()
}
