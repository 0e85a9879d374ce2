//! Upstream's own objects: each `.pb` must give its `.json` to the byte, and the same bytes again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::{Outside, envelope, json, proto, yaml};
use schema::MessageId;

/// Objects whose golden form is not v1.37's, with the field and the reason.
const EXCEPTIONS: &[(&str, &str)] = &[];

#[test]
fn every_golden_object_decodes_and_encodes_to_identical_bytes() {
    let root = testdata();
    if !root.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "{} is absent, and CI must run this test", root.display());
        eprintln!("NOT RUN: {} is absent; this one test needs upstream's golden objects", root.display());
        return;
    }
    let mut failures = Vec::new();
    let mut counts = BTreeMap::new();
    for version in ["HEAD", "v1.36.0"] {
        for pb in files(&root.join(version)) {
            let name = format!("{version}/{}", pb.file_stem().unwrap().to_string_lossy());
            if EXCEPTIONS.iter().any(|(exception, _)| name.ends_with(exception)) {
                continue;
            }
            match check(&pb) {
                Ok(()) => *counts.entry(version).or_insert(0) += 1,
                Err(why) => failures.push(format!("{name}: {why}")),
            }
        }
    }
    assert!(failures.is_empty(), "{} golden objects differ:\n{}", failures.len(), failures.join("\n"));
    println!("golden objects: {counts:?}, {} exceptions", EXCEPTIONS.len());
    assert!(counts.values().sum::<i32>() > 350, "the folder holds hundreds of objects: {counts:?}");
}

fn testdata() -> PathBuf {
    std::env::var_os("BOGA_TESTDATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata/golden"),
        |dir| PathBuf::from(dir).join("golden"),
    )
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "pb"))
        .filter(|path| !path.to_string_lossy().contains("after_roundtrip"))
        .collect();
    files.sort();
    files
}

fn check(pb: &Path) -> Result<(), String> {
    let bytes = read(pb);
    let opened = envelope::open(&bytes).map_err(|e| e.to_string())?;
    let (group, version) = opened.api_version.rsplit_once('/').unwrap_or(("", opened.api_version));
    let table = schema::builtin();
    // A watch event alone has no type of its own.
    let id = table
        .kind(group, version, if opened.kind.is_empty() { "WatchEvent" } else { opened.kind })
        .ok_or_else(|| format!("{} {} is not in the table", opened.api_version, opened.kind))?;
    let outside = Outside { api_version: opened.api_version, kind: opened.kind, revision: None };

    // An object of an older version may lose fields on its way; then upstream says what is left.
    let after = |extension: &str| {
        let path = pb.with_extension(format!("after_roundtrip.{extension}"));
        path.exists().then(|| read(&path))
    };
    let want_json = compact(&after("json").unwrap_or_else(|| read(&pb.with_extension("json"))));
    let want_pb = after("pb").unwrap_or_else(|| bytes.clone());
    let want_raw = envelope::open(&want_pb).map_err(|e| e.to_string())?.raw.to_vec();

    let mut text = Vec::new();
    proto::to_json(table, id, opened.raw, outside, &mut text)
        .map_err(|e| format!("protobuf to JSON: {e}"))?;
    same_text("protobuf to JSON", &text, &want_json)?;

    let tree =
        proto::to_tree(table, id, opened.raw, outside).map_err(|e| format!("protobuf to tree: {e}"))?;
    let raw = proto::encode(table, id, &tree).map_err(|e| format!("tree to protobuf: {e}"))?;
    same_bytes("tree to protobuf", &raw, &want_raw)?;
    same_bytes("envelope", &envelope::seal(opened.api_version, opened.kind, &raw), &want_pb)?;

    let mut text = Vec::new();
    json::encode(table, id, &tree, &mut text);
    same_text("tree to JSON", &text, &want_json)?;

    from_json(id, &read(&pb.with_extension("json")), &want_json, &want_raw)?;
    let document = String::from_utf8(read(&pb.with_extension("yaml"))).map_err(|e| e.to_string())?;
    let from_yaml = yaml::parse(&document).map_err(|e| e.to_string())?;
    let mut text = Vec::new();
    json::encode_any(&from_yaml, &mut text);
    from_json(id, &text, &want_json, &want_raw).map_err(|e| format!("YAML: {e}"))
}

fn from_json(id: MessageId, input: &[u8], want_json: &[u8], want_raw: &[u8]) -> Result<(), String> {
    let table = schema::builtin();
    let decoded = json::decode(table, id, input).map_err(|e| format!("JSON to tree: {e}"))?;
    let known: Vec<String> = decoded.strict.iter().map(ToString::to_string).collect();
    if !known.is_empty() && compact(input) == want_json {
        return Err(format!("strict errors: {known:?}"));
    }
    let mut text = Vec::new();
    json::encode(table, id, &decoded.value, &mut text);
    same_text("JSON to tree to JSON", &text, want_json)?;
    let direct = json::to_proto(table, id, input).map_err(|e| format!("JSON to protobuf: {e}"))?;
    same_bytes("JSON to protobuf", &direct.value, want_raw)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// JSON without the space between tokens; the rest is left alone.
fn compact(text: &[u8]) -> Vec<u8> {
    let (mut inside, mut escaped) = (false, false);
    let mut out = Vec::with_capacity(text.len());
    for &b in text {
        if !inside && b.is_ascii_whitespace() {
            continue;
        }
        if b == b'"' && !escaped {
            inside = !inside;
        }
        escaped = inside && b == b'\\' && !escaped;
        out.push(b);
    }
    out
}

fn same_text(what: &str, got: &[u8], want: &[u8]) -> Result<(), String> {
    same(what, got, want, |bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn same_bytes(what: &str, got: &[u8], want: &[u8]) -> Result<(), String> {
    same(what, got, want, |bytes| format!("{}", bytes.escape_ascii()))
}

fn same(what: &str, got: &[u8], want: &[u8], show: impl Fn(&[u8]) -> String) -> Result<(), String> {
    if got == want {
        return Ok(());
    }
    let at = got.iter().zip(want).take_while(|(a, b)| a == b).count();
    let around =
        |bytes: &[u8]| show(&bytes[at.saturating_sub(60).min(bytes.len())..(at + 60).min(bytes.len())]);
    Err(format!("{what} differs at byte {at}:\n     got …{}…\n    want …{}…", around(got), around(want)))
}
