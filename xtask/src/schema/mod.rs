//! `cargo xtask schema`: writes the schema table from the published Go modules.

mod check;
mod emit;
mod go;
mod proto;
mod resolve;
mod served;
mod source;

use std::path::Path;

/// The version of the Go modules.
const MODULES: &str = "v0.37.2";
/// The Kubernetes version that the table describes.
const KUBERNETES: &str = "v1.37";

/// Every versioned package below these folders takes part.
const FOLDERS: [&str; 10] = [
    "k8s.io/api",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions",
    "k8s.io/apimachinery/pkg/apis/meta",
    "k8s.io/apiserver/pkg/admission/plugin",
    "k8s.io/apiserver/pkg/apis",
    "k8s.io/client-go/pkg/apis/clientauthentication",
    "k8s.io/kube-aggregator/pkg/apis",
    "k8s.io/kubelet",
    "k8s.io/metrics/pkg/apis",
    "k8s.io/pod-security-admission/admission/api",
];

/// Packages outside those folders' pattern.
const PACKAGES: [&str; 6] = [
    "k8s.io/apimachinery/pkg/api/resource",
    "k8s.io/apimachinery/pkg/runtime",
    "k8s.io/apimachinery/pkg/util/intstr",
    "k8s.io/apiserver/pkg/server/flagz/api/v1beta1",
    "k8s.io/apiserver/pkg/server/statusz/api/v1beta1",
    "k8s.io/client-go/tools/clientcmd/api/v1",
];

/// Types for upstream's own tests.
const SKIPPED: [&str; 2] = ["k8s.io/apiserver/pkg/apis/example", "k8s.io/apiserver/pkg/apis/example2"];

pub fn run(arguments: &[String]) -> Result<(), String> {
    let check_only = match arguments {
        [] => false,
        [only] if only == "--check" => true,
        [unknown, ..] => {
            return Err(format!("unexpected argument `{unknown}`; the command takes only --check"));
        }
    };
    let mut world = source::World::open(MODULES)?;
    let mut packages: Vec<String> = PACKAGES.iter().map(|p| p.to_string()).collect();
    packages.extend(source::World::retired());
    for folder in FOLDERS {
        packages.extend(world.versioned_packages(folder)?);
    }
    packages.retain(|path| !SKIPPED.iter().any(|skipped| path.starts_with(&format!("{skipped}/"))));
    packages.sort();

    let messages = resolve::messages(&mut world, &packages)?;
    let faults = check::check(&mut world, &packages, &messages)?;
    if !faults.is_empty() {
        return Err(format!("the table disagrees with generated.proto:\n  {}", faults.join("\n  ")));
    }
    let resources = served::resources(&messages)?;
    let header = format!("boga schema table, format 1, kubernetes {KUBERNETES}, modules {MODULES}");
    let text = emit::table(&header, &messages, &resources);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/schema/table/v1.37.txt");
    if check_only {
        let committed = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        return match committed == text {
            true => Ok(()),
            false => Err(format!("{} is not what the modules say; run `cargo xtask schema`", path.display())),
        };
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    std::fs::write(&path, &text).map_err(|e| format!("{}: {e}", path.display()))?;
    println!("{} messages, {} resources, {} bytes", messages.len(), resources.len(), text.len());
    Ok(())
}
