//! Building needs Rust and a C compiler, and no C library: every package that links or compiles C is known.

use crate::workspace::{Package, Purpose, Workspace};

/// Packages that may link or compile C, and what.
const KNOWN: [(&str, &str); 3] = [
    ("k8s-openapi", "links nothing; the key only keeps two versions of it out of one program"),
    ("ring", "its own vendored primitives"),
    ("zstd-sys", "its own vendored compressor"),
];

/// Build dependencies that compile or look for what is not Rust.
const TOOLS: [&str; 8] =
    ["autotools", "bindgen", "cc", "cmake", "nasm-rs", "pkg-config", "prost-build", "vcpkg"];

pub fn check(workspace: &Workspace) -> Result<Vec<String>, String> {
    let unknown =
        workspace.packages.iter().filter(|package| !KNOWN.iter().any(|known| known.0 == package.name));
    Ok(unknown.filter_map(fault).collect())
}

fn fault(package: &Package) -> Option<String> {
    let tool = |used: &&crate::workspace::Use| {
        used.purpose == Purpose::Build && TOOLS.contains(&used.package.as_str())
    };
    let Package { name, version, links, .. } = package;
    match (links, package.uses.iter().find(tool)) {
        (Some(library), _) => Some(format!("{name} {version} links `{library}`")),
        (None, Some(tool)) => Some(format!("{name} {version} builds with `{}`", tool.package)),
        (None, None) => None,
    }
}
