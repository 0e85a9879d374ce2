//! Plugins that the tests write as shell scripts, which note how they were called.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use network::cni::{Attachment, Cni, load};
use serde_json::{Value, json};

const CONFIG: &str = r#"{
    "cniVersion": "1.1.0", "name": "lab", "plugins": [
        {"type": "first", "own": 1},
        {"type": "second", "capabilities": {"portMappings": true}}
    ]}"#;

/// Notes its command and what it read; then says what the file `TYPE.says` holds, and fails with it
/// when there is a file `TYPE.fails`.
const PLUGIN: &str = r#"#!/bin/sh
here=$(dirname "$0"); me=$(basename "$0")
{ printf '%s %s %s %s %s ' "$me" "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_IFNAME" "$CNI_ARGS"; cat; echo; } >> "$here/log"
cat "$here/$me.says" 2>/dev/null
test ! -e "$here/$me.fails"
"#;

struct Lab {
    directory: tempfile::TempDir,
    cni: Cni,
}

impl Lab {
    fn new() -> Lab {
        let directory = tempfile::tempdir().unwrap();
        for plugin in ["first", "second"] {
            let path = directory.path().join(plugin);
            fs::write(&path, PLUGIN).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = directory.path();
        fs::create_dir(path.join("conf")).unwrap();
        fs::write(path.join("conf/10-lab.conflist"), CONFIG).unwrap();
        fs::write(path.join("conf/99-later.conf"), "not even JSON").unwrap();
        let cni = Cni {
            bin_dirs: vec![path.join("missing"), path.to_owned()],
            cache_dir: path.join("cache"),
            timeout: Duration::from_secs(30),
        };
        Lab { cni, directory }
    }

    fn says(&self, plugin: &str, text: &str) {
        fs::write(self.path().join(format!("{plugin}.says")), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The calls since last asked: who, which command, and what was read.
    fn calls(&self) -> Vec<(String, String, Value)> {
        let log = fs::read_to_string(self.path().join("log")).unwrap_or_default();
        let _ = fs::remove_file(self.path().join("log"));
        let parse = |line: &str| {
            let parts: Vec<&str> = line.splitn(6, ' ').collect();
            (parts[0].to_owned(), parts[1..5].join(" "), serde_json::from_str(parts[5]).unwrap())
        };
        log.lines().map(parse).collect()
    }
}

fn pod() -> Attachment {
    Attachment {
        container_id: "abc".into(),
        netns: "/proc/1/ns/net".into(),
        interface: "eth0".into(),
        args: vec![("IgnoreUnknown".into(), "1".into()), ("K8S_POD_NAME".into(), "web".into())],
        capabilities: [("portMappings".to_owned(), json!([{"hostPort": 80}])), ("dns".to_owned(), json!({}))]
            .into_iter()
            .collect(),
    }
}

#[tokio::test]
async fn a_chain_of_plugins() {
    let lab = Lab::new();
    let network = load(&lab.path().join("conf")).unwrap().unwrap();
    let first = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.5/16"}]});
    let second =
        json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.6/16"}], "dns": {"search": ["lab"]}});
    lab.says("first", &first.to_string());
    lab.says("second", &second.to_string());
    let attached = lab.cni.add(&network, &pod()).await.unwrap();
    assert_eq!(attached.addresses, ["10.1.0.6".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(attached.searches, ["lab"]);
    let environment = |command: &str| format!("{command} abc eth0 IgnoreUnknown=1;K8S_POD_NAME=web");
    let base = |kind: &str| json!({"cniVersion": "1.1.0", "name": "lab", "type": kind});
    let with = |mut value: Value, more: Value| {
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    };
    let for_first = with(base("first"), json!({"own": 1}));
    let for_second = with(base("second"), json!({"runtimeConfig": {"portMappings": [{"hostPort": 80}]}}));
    let previous = |value: &Value, result: &Value| with(value.clone(), json!({"prevResult": result}));
    assert_eq!(
        lab.calls(),
        [
            ("first".to_owned(), environment("ADD"), for_first.clone()),
            ("second".to_owned(), environment("ADD"), previous(&for_second, &first)),
        ]
    );

    lab.says("first", "");
    lab.says("second", "");
    lab.cni.check(&network, &pod()).await.unwrap();
    lab.cni.status(&network).await.unwrap();
    assert_eq!(lab.calls().len(), 4);
    lab.cni.remove(&network, &pod()).await.unwrap();
    assert_eq!(
        lab.calls(),
        [
            ("second".to_owned(), environment("DEL"), previous(&for_second, &second)),
            ("first".to_owned(), environment("DEL"), previous(&for_first, &second)),
        ]
    );
    // Again, when nothing is known of the pod any more.
    lab.cni.remove(&network, &pod()).await.unwrap();
    assert_eq!(lab.calls()[1].2, for_first);
    let unknown = lab.cni.check(&network, &pod()).await.unwrap_err();
    assert_eq!(unknown.to_string(), "container abc is not attached");
}

#[tokio::test]
async fn plugins_that_fail() {
    let lab = Lab::new();
    let mut network = load(&lab.path().join("conf")).unwrap().unwrap();
    lab.says("first", r#"{"code": 11, "msg": "try again", "details": "later"}"#);
    fs::write(lab.path().join("first.fails"), "").unwrap();
    let error = lab.cni.add(&network, &pod()).await.unwrap_err();
    assert_eq!(error.to_string(), "CNI plugin first failed ADD: try again; later");
    fs::remove_file(lab.path().join("first.fails")).unwrap();
    lab.says("first", "nonsense");
    let error = lab.cni.add(&network, &pod()).await.unwrap_err();
    assert!(error.to_string().starts_with("CNI plugin first failed ADD: its answer is not JSON"), "{error}");
    lab.says("first", "{}");
    lab.says("second", "{}");
    let error = lab.cni.add(&network, &pod()).await.unwrap_err();
    assert_eq!(error.to_string(), "CNI network lab: the plugins gave the pod no address");

    fs::write(lab.path().join("first"), "#!/bin/sh\nexec sleep 1000\n").unwrap();
    let hasty = Cni { timeout: Duration::from_millis(50), ..lab.cni.clone() };
    let error = hasty.add(&network, &pod()).await.unwrap_err();
    assert_eq!(error.to_string(), "CNI plugin first did not finish ADD within 50ms");
    for kind in ["absent", "../first", "", ".."] {
        network.plugins[0].insert("type".into(), json!(kind));
        let error = lab.cni.add(&network, &pod()).await.unwrap_err();
        assert!(error.to_string().contains("is in none of"), "{error}");
    }
}

#[test]
fn configurations() {
    let lab = Lab::new();
    let conf = lab.path().join("conf");
    let check = |text: &str, want: &str| {
        fs::write(conf.join("00-first.conf"), text).unwrap();
        let got = load(&conf).map(|network| network.map(|n| format!("{} {}", n.name, n.plugins.len())));
        let got = got.map_or_else(|error| error.to_string(), Option::unwrap_or_default);
        assert!(got.ends_with(want), "{got} does not end with {want}");
    };
    check(r#"{"name": "one", "type": "first"}"#, "one 1");
    check("[]", "it is not a JSON object");
    check(r#"{"name": "../x", "type": "first"}"#, "it has no valid name");
    check(r#"{"name": "x", "plugins": []}"#, "it has no plugins");
    check(r#"{"name": "x", "plugins": [{}]}"#, "a plugin has no type");
    assert!(load(&lab.path().join("nowhere")).unwrap().is_none());
}
