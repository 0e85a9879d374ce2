//! Runs test programs one after another, each with as many of its tests at once as its stage allows.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::build::Binary;
use super::now;
use super::tally::{Tally, whole_result};
use crate::workspace::{cargo, root};

/// No test takes longer, unless longer seeded runs were asked for.
const TEST_LIMIT: Duration = Duration::from_secs(120);
/// libtest tells of a test that has been running this long. With [`TEST_LIMIT`] that says when it is over.
const TOLD_AFTER: Duration = Duration::from_secs(60);
/// No program of tests takes longer, whatever it says.
const PROGRAM_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Between two looks at a running program.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How many tests run at once.
#[derive(Clone, Copy)]
pub enum Width {
    /// As many as there are cores.
    Cores,
    Two,
}

/// A command that runs tests and reports as libtest does.
pub struct Suite {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    dir: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Suite {
    /// Examples in documentation comments.
    pub fn documentation() -> Suite {
        Suite {
            name: "documentation".into(),
            program: cargo().into(),
            arguments: ["test", "--workspace", "--doc", "--quiet"].map(str::to_owned).into(),
            dir: root(),
            environment: Vec::new(),
        }
    }

    /// A built program, run as cargo would.
    fn of(binary: &Binary, width: Width) -> Suite {
        let threads = match width {
            // With one thread, libtest would not tell of tests that take long.
            Width::Cores => std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)),
            Width::Two => 2,
        };
        Suite {
            name: format!("{} {}", binary.package, binary.source),
            program: binary.program.clone(),
            arguments: vec![format!("--test-threads={threads}"), "--show-output".into()],
            dir: binary.dir.clone(),
            environment: vec![
                ("CARGO", cargo().to_string_lossy().into_owned()),
                ("CARGO_MANIFEST_DIR", binary.dir.display().to_string()),
                ("CARGO_PKG_NAME", binary.package.clone()),
            ],
        }
    }
}

pub fn binaries(binaries: &[Binary], width: Width, tally: &mut Tally) -> Result<(), String> {
    let mut failed = Vec::new();
    for binary in binaries {
        if let Err(reason) = suite(&Suite::of(binary, width), tally) {
            failed.push(reason);
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join(", ")),
    }
}

/// Runs one program. What it prints lies in a file, since whatever it leaves running would hold a pipe open.
pub fn suite(suite: &Suite, tally: &mut Tally) -> Result<(), String> {
    let logs = root().join("target/test-logs");
    std::fs::create_dir_all(&logs).map_err(|error| format!("{}: {error}", logs.display()))?;
    let log = logs.join(format!("{}.log", suite.name.replace(['/', ' '], "-")));
    let file = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let errors = file.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;

    let start = now();
    let mut command = Command::new(&suite.program);
    command.args(&suite.arguments).current_dir(&suite.dir).envs(suite.environment.iter().cloned());
    command.stdin(Stdio::null()).stdout(file).stderr(errors);
    let outcome = command.spawn().map_err(|error| format!("cannot be started: {error}"));
    let outcome = outcome.and_then(|child| wait(child, &log, start));
    let output =
        std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();

    println!("     Running {} ({:.1} s)", suite.name, start.elapsed().as_secs_f64());
    let reported = output.lines().any(|line| whole_result(line).is_some());
    let fault = match outcome {
        Ok(status) if status.success() && reported => None,
        Ok(status) if status.success() => Some("ended without a result".to_owned()),
        // Failed tests are named one by one.
        Ok(status) if status.code() == Some(101) && reported => None,
        Ok(status) => Some(format!("ended with {status}")),
        Err(fault) => Some(fault),
    };
    let before = tally.failures.len();
    tally.count(&suite.name, &output, fault);
    match tally.failures.len() == before {
        true => {
            remarks(&output).iter().for_each(|(test, remark)| println!("  {test}: {remark}"));
            let telling = output.lines().filter(|line| whole_result(line).is_some());
            telling.filter(|line| !line.contains(" 0 passed; 0 failed")).for_each(|line| println!("{line}"));
            Ok(())
        }
        false => {
            println!("{output}");
            Err(suite.name.clone())
        }
    }
}

/// The first line that each passed test has to say: how many cases it held, or that it did not run.
fn remarks(output: &str) -> Vec<(&str, &str)> {
    let mut remarks = Vec::new();
    let mut test = None;
    for line in output.lines().skip_while(|line| *line != "successes:").filter(|line| !line.is_empty()) {
        let header = line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----"));
        match header {
            Some(name) => test = Some(name),
            None => remarks.extend(test.take().map(|test| (test, line))),
        }
    }
    remarks
}

/// Waits for a program to end, and ends it when a test of it takes too long.
fn wait(mut child: Child, log: &PathBuf, start: Instant) -> Result<ExitStatus, String> {
    let unlimited = std::env::var_os("BOGA_SEEDS").is_some();
    let mut slow = HashMap::new();
    let mut length = 0;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| format!("cannot be waited for: {error}"))? {
            return Ok(status);
        }
        std::thread::sleep(LOOK_EVERY);
        if unlimited {
            continue;
        }
        let grown = std::fs::metadata(log).map_or(0, |metadata| metadata.len());
        if grown != length {
            length = grown;
            let output = std::fs::read(log).unwrap_or_default();
            note_slow(&mut slow, &String::from_utf8_lossy(&output));
        }
        let late = slow.iter().find(|(_, since): &(_, &Instant)| since.elapsed() > TEST_LIMIT - TOLD_AFTER);
        let over = match late {
            Some((test, _)) => format!("{test} took more than {} s", TEST_LIMIT.as_secs()),
            None if start.elapsed() > PROGRAM_LIMIT => {
                format!("took more than {} s", PROGRAM_LIMIT.as_secs())
            }
            None => continue,
        };
        let ended = child.kill().and_then(|()| child.wait());
        return Err(match ended {
            Ok(_) => over,
            Err(error) => format!("{over}, and cannot be ended: {error}"),
        });
    }
}

/// Keeps the tests that libtest called slow and that have not ended since.
fn note_slow(slow: &mut HashMap<String, Instant>, output: &str) {
    let name = |line: &str| line.strip_prefix("test ")?.split(' ').next().map(str::to_owned);
    for line in output.lines() {
        let Some(name) = name(line) else { continue };
        if line.contains(" has been running for over ") {
            slow.entry(name).or_insert_with(now);
        } else if line.contains(" ... ") {
            slow.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_has_one_remark() {
        let output = "test a ... ok\n\nsuccesses:\n\n---- a stdout ----\n12 cases\nmore\n\n---- b stdout ----\nsome\n\n\nsuccesses:\n    a\n    b\n";
        assert_eq!(remarks(output), [("a", "12 cases"), ("b", "some")]);
        assert_eq!(remarks("test a ... ok\n"), []);
    }

    #[test]
    fn a_slow_test_is_one_that_was_called_so_and_has_not_ended() {
        let mut slow = HashMap::new();
        let told = "test a ... ok\ntest b has been running for over 60 seconds\ntest c has been running for over 60 seconds\n";
        note_slow(&mut slow, told);
        note_slow(&mut slow, &format!("{told}test b ... ok\n"));
        assert_eq!(slow.keys().collect::<Vec<_>>(), ["c"]);
    }
}
