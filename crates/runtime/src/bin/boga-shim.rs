//! The shim alone, as a small program: what tests run, and what the boga binary can carry inside itself.

fn main() {
    std::process::exit(runtime::shim::main(std::env::args_os().skip(1)));
}
