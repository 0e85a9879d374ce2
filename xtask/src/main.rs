//! `cargo xtask <subcommand>`: what the project does to itself.

mod schema;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((subcommand, rest)) = arguments.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match subcommand.as_str() {
        "schema" => schema::run(rest),
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

  schema [--check]   write the schema table from the published Go modules, or compare it (needs Go)";
