//! Kubernetes in one binary: flags and wiring, no logic.

mod image;
mod runtime;
mod server;
mod signals;

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
    /// Pull, list, import and export images
    Image(image::ImageFlags),
    /// Serve images to others, as an OCI registry
    Registry(image::RegistryFlags),
    /// Run containers for whoever speaks the CRI
    Runtime(runtime::RuntimeFlags),
}

/// Whatever a command failed with; it is printed in one line.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "shim") {
        runtime::shim(arguments);
    }
    let arguments = Arguments::parse();
    if let Err(error) = base::logging::start("info") {
        eprintln!("boga: {error}");
        return std::process::ExitCode::FAILURE;
    }
    let outcome = match arguments.command {
        Command::Server(flags) => server::run(flags),
        Command::Image(flags) => image::image(flags),
        Command::Registry(flags) => image::registry(flags),
        Command::Runtime(flags) => runtime::runtime(flags),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("boga: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
