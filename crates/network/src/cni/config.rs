//! Network configurations in a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Error;

/// A list of plugins, each called after the one before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub name: String,
    pub version: String,
    pub disable_check: bool,
    pub plugins: Vec<Map<String, Value>>,
}

/// A configuration larger than this is none.
const MAX_CONFIG: u64 = 1024 * 1024;

impl Network {
    /// Reads a list (`plugins`), or a single plugin's configuration as a list of one.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Network, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let Value::Object(mut top) = value else { return Err("it is not a JSON object".to_owned()) };
        let text = |name: &str| top.get(name).and_then(Value::as_str).map(str::to_owned);
        let name = text("name").filter(|name| is_name(name)).ok_or("it has no valid name")?;
        let version = text("cniVersion").unwrap_or_else(|| "0.2.0".to_owned());
        let disable_check = top.get("disableCheck").is_some_and(|v| v == true || v == "true");
        let plugins = match top.remove("plugins") {
            Some(Value::Array(plugins)) => plugins,
            Some(_) => return Err("plugins is not a list".to_owned()),
            None => vec![Value::Object(top)],
        };
        if plugins.is_empty() {
            return Err("it has no plugins".to_owned());
        }
        let plugins = plugins.into_iter().map(|plugin| match plugin {
            Value::Object(plugin) if plugin.get("type").is_some_and(Value::is_string) => Ok(plugin),
            _ => Err("a plugin has no type".to_owned()),
        });
        Ok(Network { name, version, disable_check, plugins: plugins.collect::<Result<_, _>>()? })
    }

    /// Whether plugins of this version know STATUS.
    pub(super) fn has_status(&self) -> bool {
        let mut parts = self.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (1, 1)
    }
}

/// The specification's rule for names: a letter or digit, then those and `_.-`.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// The first configuration of a directory, by file name. `None` when there is none, or no directory.
///
/// # Errors
/// When the first configuration cannot be read or is not one: passing it over in silence would
/// attach pods to a network that nobody chose.
pub fn load(directory: &Path) -> Result<Option<Network>, Error> {
    let fail = |path: &Path, reason: String| Error::Config { path: path.to_owned(), reason };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(directory, error.to_string())),
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let is_config = |path: &PathBuf| {
        path.extension().and_then(|e| e.to_str()).is_some_and(|e| matches!(e, "conflist" | "conf" | "json"))
    };
    paths.retain(is_config);
    paths.sort();
    let Some(path) = paths.first() else { return Ok(None) };
    let size = fs::metadata(path).map_err(|error| fail(path, error.to_string()))?.len();
    if size > MAX_CONFIG {
        return Err(fail(path, format!("it has {size} bytes, more than {MAX_CONFIG}")));
    }
    let bytes = fs::read(path).map_err(|error| fail(path, error.to_string()))?;
    Network::parse(&bytes).map(Some).map_err(|reason| fail(path, reason))
}
