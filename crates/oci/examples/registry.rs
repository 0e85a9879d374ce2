//! Serves a registry: `registry DIRECTORY ADDRESS`.

use oci::registry::{Options, bind, serve};
use oci::{Result, Store};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, address] = &arguments[..] else {
        eprintln!("usage: registry DIRECTORY ADDRESS");
        std::process::exit(2);
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime needs only threads");
    runtime.block_on(async {
        let listener = bind(address).await?;
        let store = Store::open(directory, oci::Options::default())?;
        serve(listener, store, Options::default(), std::future::pending()).await
    })
}
