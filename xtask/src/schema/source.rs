//! The pinned Go modules on disk, and their packages, read on demand.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use super::go::{self, Const, Tok, Ty, TypeDecl};
use super::proto;

/// The modules whose types make the table, and those that they name in their fields.
const MODULES: [&str; 10] = [
    "k8s.io/api",
    "k8s.io/apimachinery",
    "k8s.io/apiextensions-apiserver",
    "k8s.io/apiserver",
    "k8s.io/client-go",
    "k8s.io/component-base",
    "k8s.io/kube-aggregator",
    "k8s.io/kubelet",
    "k8s.io/metrics",
    "k8s.io/pod-security-admission",
];

/// Versions that Kubernetes has dropped since, but whose objects its last release before left behind: the newest module
/// that still has them.
const RETIRED: [(&str, &str, &str); 1] = [("k8s.io/api", "v0.36.0", "scheduling/v1alpha2")];

/// Every package that has been read, by import path.
pub struct World {
    /// Directories by import path: of the modules, and of single packages that come from elsewhere.
    directories: BTreeMap<String, PathBuf>,
    packages: HashMap<String, Rc<Package>>,
}

/// One Go package's declarations.
pub struct Package {
    pub path: String,
    /// The protobuf package, which also begins OpenAPI's model names.
    pub proto_name: String,
    pub types: BTreeMap<String, Declared>,
    pub consts: Vec<Const>,
    pub proto: Option<BTreeMap<String, proto::Message>>,
    /// (group, version, kind, Go type) of each type the package adds to a scheme.
    pub registered: Vec<(String, String, String, String)>,
}

pub struct Declared {
    pub decl: TypeDecl,
    pub imports: Rc<HashMap<String, String>>,
}

impl World {
    /// Fetches the modules into Go's module cache.
    pub fn open(version: &str) -> Result<World, String> {
        let mut directories = BTreeMap::new();
        for module in MODULES {
            directories.insert(module.to_string(), download(module, version)?);
        }
        for (module, version, package) in RETIRED {
            directories.insert(format!("{module}/{package}"), download(module, version)?.join(package));
        }
        Ok(World { directories, packages: HashMap::new() })
    }

    /// Import paths of the packages that come from older modules.
    pub fn retired() -> impl Iterator<Item = String> {
        RETIRED.iter().map(|(module, _, package)| format!("{module}/{package}"))
    }

    /// The directory of an import path, unless it lies outside the pinned modules.
    fn directory(&self, path: &str) -> Option<PathBuf> {
        let (root, dir) = self
            .directories
            .iter()
            .filter(|(root, _)| within(path, root))
            .max_by_key(|(root, _)| root.len())?;
        Some(dir.join(path[root.len()..].trim_start_matches('/')))
    }

    pub fn package(&mut self, path: &str) -> Result<Rc<Package>, String> {
        if let Some(package) = self.packages.get(path) {
            return Ok(package.clone());
        }
        let dir =
            self.directory(path).ok_or_else(|| format!("package {path} is in none of the pinned modules"))?;
        let package = Rc::new(read_package(path, &dir).map_err(|e| format!("package {path}: {e}"))?);
        self.packages.insert(path.to_string(), package.clone());
        Ok(package)
    }

    /// Import paths below `module/folder` of the packages that declare types in a versioned folder, sorted.
    pub fn versioned_packages(&self, under: &str) -> Result<Vec<String>, String> {
        let root =
            self.directory(under).ok_or_else(|| format!("{under} is in none of the pinned modules"))?;
        let mut found = Vec::new();
        let mut open = vec![(root, under.to_string())];
        while let Some((dir, path)) = open.pop() {
            for entry in std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let inner = entry.path();
                if !inner.is_dir() {
                    continue;
                }
                if is_version(&name) && inner.join("register.go").exists() {
                    found.push(format!("{path}/{name}"));
                }
                open.push((inner, format!("{path}/{name}")));
            }
        }
        found.sort();
        Ok(found)
    }
}

fn within(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Brings a module into Go's cache and tells where it lies.
fn download(module: &str, version: &str) -> Result<PathBuf, String> {
    let output = Command::new("go")
        .args(["mod", "download", "-json", &format!("{module}@{version}")])
        .current_dir(std::env::temp_dir())
        .output()
        .map_err(|e| format!("cannot run `go`: {e}; the schema table is generated from Go modules"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.trim().strip_prefix("\"Dir\": \""))
        .and_then(|rest| rest.strip_suffix("\","))
        .map(PathBuf::from)
        .ok_or_else(|| format!("go mod download {module}@{version}: {text}"))
}

fn is_version(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn read_package(path: &str, dir: &Path) -> Result<Package, String> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(|e| format!("{}: {e}", dir.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "go"))
        .collect();
    names.sort();

    let mut package = Package {
        path: path.to_string(),
        proto_name: path.replace('/', "."),
        types: BTreeMap::new(),
        consts: Vec::new(),
        proto: None,
        registered: Vec::new(),
    };
    let mut tokens = Vec::new();
    for name in names {
        let base = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if base.ends_with("_test.go") || base.starts_with("zz_generated") || base.ends_with(".pb.go") {
            continue;
        }
        let source = std::fs::read_to_string(&name).map_err(|e| format!("{}: {e}", name.display()))?;
        let file = go::scan(&source).map_err(|e| format!("{base}: {e}"))?;
        let imports = Rc::new(file.imports);
        for decl in file.types {
            package.types.entry(decl.name.clone()).or_insert(Declared { decl, imports: imports.clone() });
        }
        package.consts.extend(file.consts);
        tokens.push(file.tokens);
    }
    let proto_file = dir.join("generated.proto");
    if proto_file.exists() {
        let source =
            std::fs::read_to_string(&proto_file).map_err(|e| format!("{}: {e}", proto_file.display()))?;
        let (name, messages) = proto::read(&source)?;
        package.proto_name = name;
        package.proto = Some(messages);
    }
    package.registered = tokens.iter().flat_map(|tokens| registrations(tokens, &package.consts)).collect();
    Ok(package)
}

/// Reads `GroupVersion{Group: …, Version: …}` values and the `AddKnownTypes` calls that name them.
fn registrations(tokens: &[go::Token], consts: &[Const]) -> Vec<(String, String, String, String)> {
    let text = |tok: &Tok| match tok {
        Tok::Text(text) => Some(text.clone()),
        Tok::Word(name) => consts.iter().find(|c| c.name == *name).and_then(|c| match &c.value {
            go::Value::Text(text) => Some(text.clone()),
            _ => None,
        }),
        _ => None,
    };
    let toks: Vec<&Tok> = tokens.iter().map(|t| &t.tok).collect();
    let word = |i: usize| match toks.get(i) {
        Some(Tok::Word(word)) => Some(word.as_str()),
        _ => None,
    };
    let mark = |i: usize, c: char| toks.get(i) == Some(&&Tok::Mark(c));

    let mut versions: HashMap<&str, (String, String)> = HashMap::new();
    for i in 0..toks.len() {
        if word(i) == Some("GroupVersion") && mark(i + 1, '{') && word(i + 2) == Some("Group") {
            let end = (i..toks.len()).find(|&j| mark(j, '}')).unwrap_or(toks.len());
            let group = (i + 4..end).take_while(|&j| !mark(j, ',')).filter_map(|j| text(toks[j])).last();
            let version =
                (i + 4..end).skip_while(|&j| word(j) != Some("Version")).find_map(|j| match toks[j] {
                    Tok::Text(version) => Some(version.clone()),
                    _ => None,
                });
            // `Name = schema.GroupVersion{…}`.
            if let (Some(name), Some(group), Some(version)) =
                (i.checked_sub(4).and_then(word), group, version)
            {
                versions.insert(name, (group, version));
            }
        }
    }
    let mut found = Vec::new();
    for i in 0..toks.len() {
        let Some(call) = word(i).filter(|w| matches!(*w, "AddKnownTypes" | "AddKnownTypeWithName")) else {
            continue;
        };
        let Some((group, version)) = word(i + 2).and_then(|name| versions.get(name)) else { continue };
        let (mut at, mut depth) = (i + 1, 0);
        let mut kind = None;
        loop {
            match toks.get(at) {
                Some(Tok::Mark('(' | '{')) => depth += 1,
                Some(Tok::Mark(')' | '}')) => depth -= 1,
                Some(Tok::Text(name)) if call == "AddKnownTypeWithName" => kind = Some(name.clone()),
                Some(Tok::Mark('&')) => {
                    if let Some(name) = word(at + 1).filter(|_| mark(at + 2, '{')) {
                        let kind = kind.clone().unwrap_or_else(|| name.to_string());
                        found.push((group.clone(), version.clone(), kind, name.to_string()));
                    }
                }
                None => break,
                _ => {}
            }
            at += 1;
            if depth == 0 {
                break;
            }
        }
    }
    found
}

impl Package {
    pub fn constant(&self, name: &str) -> Option<&Const> {
        self.consts.iter().find(|c| c.name == name)
    }

    /// The string constants declared with a type of this package, in order of value as OpenAPI lists them.
    pub fn values_of(&self, ty: &str) -> Vec<String> {
        let mut values: Vec<String> = self
            .consts
            .iter()
            .filter(|c| matches!(&c.ty, Some(Ty::Name(None, name)) if name == ty))
            .filter_map(|c| match &c.value {
                go::Value::Text(text) => Some(text.clone()),
                _ => None,
            })
            .collect();
        values.sort();
        values.dedup();
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrations_are_read_from_calls() {
        let source = "package v1\nconst GroupName = \"apps\"\n\
            var SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: \"v1\"}\n\
            func add(scheme *runtime.Scheme) error {\n\
            scheme.AddKnownTypes(SchemeGroupVersion,\n&Deployment{},\n&DeploymentList{},\n)\n\
            scheme.AddKnownTypeWithName(SchemeGroupVersion.WithKind(\"Other\"), &Configuration{})\n\
            scheme.AddKnownTypes(Unknown, &Nothing{})\nreturn nil\n}\n";
        let file = go::scan(source).expect("the source is well-formed");
        let found = registrations(&file.tokens, &file.consts);
        let kinds: Vec<String> = found.iter().map(|(g, v, k, ty)| format!("{g}/{v} {k} {ty}")).collect();
        assert_eq!(
            kinds,
            [
                "apps/v1 Deployment Deployment",
                "apps/v1 DeploymentList DeploymentList",
                "apps/v1 Other Configuration"
            ]
        );
    }

    #[test]
    fn versions_are_told_from_other_folders() {
        assert!(is_version("v1") && is_version("v1beta1") && is_version("v2"));
        assert!(!is_version("validation") && !is_version("core") && !is_version("v"));
        assert!(within("k8s.io/api/core/v1", "k8s.io/api") && !within("k8s.io/apiserver", "k8s.io/api"));
    }
}
