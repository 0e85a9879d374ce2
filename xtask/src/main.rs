//! `cargo xtask <subcommand>`: what the project does to itself.

mod bench;
mod clippy;
mod rust;
mod schema;
mod status;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((subcommand, rest)) = arguments.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match subcommand.as_str() {
        "bench" => bench::run(rest),
        "schema" => schema::run(rest),
        "status" => status::run(rest),
        "test" => test::run(rest),
        "tidy" => tidy::run(rest),
        other => Err(format!("unknown subcommand `{other}`\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask {subcommand}: {reason}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "usage: cargo xtask <subcommand>

  test [CRATE...]             run everything that must hold, or the tests of some crates
  tidy [--quick | --bless]    check the rules of the house; without clippy; write down what has grown
  status [--check]            write docs/status.md, or compare it
  bench [NAME]                run a benchmark beside its peer, or list them
  schema [--check]            write the schema table from the published Go modules, or compare it (needs Go)";
