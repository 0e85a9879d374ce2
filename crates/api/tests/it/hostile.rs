//! Bytes from anywhere: an error or an object, never a panic.

use api::{Outside, envelope, json, proto, splice, yaml};

const KINDS: [&str; 5] = [
    "k8s.io.api.core.v1.Pod",
    "k8s.io.api.apps.v1.Deployment",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    "k8s.io.api.core.v1.Event",
    "k8s.io.api.authorization.v1.SubjectAccessReview",
];

#[test]
fn protobuf_from_anywhere() {
    bolero::check!().with_max_len(512).with_iterations(30_000).for_each(|bytes: &[u8]| {
        let _ = envelope::open(bytes);
        let _ = splice::Splice::find(bytes);
        let _ = splice::read_watch_frame(bytes);
        let table = schema::builtin();
        for name in KINDS {
            let id = table.named(name).unwrap();
            let mut text = Vec::new();
            if proto::to_json(table, id, bytes, Outside::default(), &mut text).is_ok() {
                json::parse_untyped(&text).expect("what we print is JSON");
                let tree = proto::to_tree(table, id, bytes, Outside::default()).expect("both walks agree");
                let _ = proto::encode(table, id, &tree);
            }
            let _ = api::typed::through_typed(name, bytes, Outside::default());
        }
    });
}

#[test]
fn json_from_anywhere() {
    bolero::check!().with_max_len(256).with_iterations(30_000).for_each(|bytes: &[u8]| {
        let _ = json::decode_untyped(bytes);
        let table = schema::builtin();
        let id = table.named(KINDS[0]).unwrap();
        let tree = json::decode(table, id, bytes);
        let direct = json::to_proto(table, id, bytes);
        assert_eq!(tree.is_ok(), direct.is_ok(), "both readers agree");
    });
}

/// Golden-like text with bytes changed, cut and doubled reaches deeper than noise does.
#[test]
fn nearly_right_json() {
    let text = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"y"},"creationTimestamp":"2024-01-01T00:00:00Z"},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"100m"}},"livenessProbe":{"httpGet":{"port":"http"}}}]}}"#;
    bolero::check!().with_type::<(u16, u8, u8)>().with_iterations(30_000).for_each(|(at, byte, how)| {
        let mut bytes = text.to_vec();
        let at = usize::from(*at) % bytes.len();
        match how % 4 {
            0 => bytes[at] = *byte,
            1 => bytes.truncate(at),
            2 => bytes.insert(at, *byte),
            _ => drop(bytes.remove(at)),
        }
        let table = schema::builtin();
        let id = table.named(KINDS[0]).unwrap();
        let tree = json::decode(table, id, &bytes);
        let direct = json::to_proto(table, id, &bytes);
        assert_eq!(tree.is_ok(), direct.is_ok());
        if let (Ok(tree), Ok(direct)) = (tree, direct) {
            let back = proto::to_tree(table, id, &direct.value, Outside::default()).expect("we wrote it");
            let mut want = tree.value;
            want.as_object_mut().map(|o| (o.remove("kind"), o.remove("apiVersion")));
            assert_eq!(back, want);
        }
    });
}

#[test]
fn yaml_from_anywhere() {
    bolero::check!().with_max_len(128).with_iterations(20_000).for_each(|bytes: &[u8]| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            for document in yaml::documents(text) {
                let _ = yaml::parse(document);
            }
        }
    });
}

#[test]
fn bombs_are_refused() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(json::decode_untyped(deep.as_bytes()).unwrap_err(), json::JsonError::TooDeep);
    let table = schema::builtin();
    let id = table.named(KINDS[2]).unwrap();
    let nested = format!(
        r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{}{{}}{}}}}}]}}}}"#,
        r#"{"items":"#.repeat(50_000),
        "}".repeat(50_000)
    );
    assert!(json::decode(table, id, nested.as_bytes()).is_err());
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for i in 1..12 {
        let before = i - 1;
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{before}"); 10].join(",")));
    }
    assert!(yaml::parse(&bomb).is_err(), "an alias bomb is refused");
    // A message inside a message, over and over, each a few bytes.
    let mut bytes = Vec::new();
    for _ in 0..20_000 {
        let mut outer = vec![0x2a];
        let mut len = bytes.len();
        while len >= 0x80 {
            outer.push(len as u8 | 0x80);
            len >>= 7;
        }
        outer.push(len as u8);
        outer.append(&mut bytes);
        bytes = outer;
    }
    let schema =
        table.named("k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps").unwrap();
    let _ = proto::to_tree(table, schema, &bytes, Outside::default());
}
