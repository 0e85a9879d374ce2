//! Kubernetes in one binary: flags and wiring, no logic.

mod server;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "boga", version, about = "Kubernetes in one binary")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the control plane
    Server(server::Flags),
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = base::logging::start("info") {
        eprintln!("boga: {error}");
        return std::process::ExitCode::FAILURE;
    }
    let outcome = match arguments.command {
        Command::Server(flags) => server::run(flags),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("boga: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
