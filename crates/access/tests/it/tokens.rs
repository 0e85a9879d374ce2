//! Tokens against upstream's authenticators: every broken kind, and why.

use std::cell::RefCell;

use access::tokens::{
    Bound, Grant, Lookup, PublicKey, Refusal, SigningKey, Verifier, bootstrap, discovery, issue, jwt,
};
use api::User;
use base::clock::Wall;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

fn recorded() -> Value {
    serde_json::from_str(include_str!("../data/tokens.json")).expect("recorded data is JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn owned(value: &Value) -> Vec<String> {
    list(value).iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[derive(Default)]
struct Objects(RefCell<Vec<Value>>);

impl Lookup for Objects {
    fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let objects = self.0.borrow();
        let found = objects.iter().find(|object| {
            let meta = &object["metadata"];
            let space = meta["namespace"].as_str().unwrap_or_default();
            object["kind"] == kind && space == namespace && meta["name"] == name
        });
        found.cloned()
    }
}

fn keys(data: &Value) -> Vec<PublicKey> {
    owned(&data["keys"]).iter().map(|pem| PublicKey::from_spki(pem.as_bytes()).unwrap()).collect()
}

fn verifier(data: &Value) -> Verifier {
    let issuer = data["issuer"].as_str().unwrap().to_owned();
    Verifier::new(vec![issuer], keys(data), vec!["api".into()])
}

#[test]
fn every_kind_of_token_is_judged_as_upstream_judges_it() {
    let data = recorded();
    let objects = Objects(RefCell::new(list(&data["objects"]).to_vec()));
    let now = Wall(data["now"].as_i64().unwrap());
    let verifier = verifier(&data);
    // The second round is answered from the cache and must say the same.
    for _ in 0..2 {
        for case in list(&data["cases"]) {
            let audiences = case["audiences"].is_array().then(|| owned(&case["audiences"]));
            let got = verifier.verify(case["token"].as_str().unwrap(), audiences.as_deref(), now, &objects);
            match got {
                Err(Refusal::NotOurs) => assert_eq!(case["ours"], false, "{}", case["what"]),
                Err(Refusal::Invalid(text)) => assert_eq!(case["error"], text, "{}", case["what"]),
                Ok(verified) => {
                    let extra = case["extra"].as_object().into_iter().flatten();
                    let want = User {
                        name: case["user"].as_str().unwrap_or_default().to_owned(),
                        uid: case["uid"].as_str().unwrap_or_default().to_owned(),
                        groups: owned(&case["groups"]),
                        extra: extra.map(|(key, values)| (key.clone(), owned(values))).collect(),
                    };
                    assert_eq!(verified.user, want, "{}", case["what"]);
                    assert_eq!(verified.audiences, owned(&case["got"]), "{}", case["what"]);
                }
            }
        }
    }
    println!("{} tokens", list(&data["cases"]).len());
}

#[test]
fn keys_are_published_as_upstream_publishes_them() {
    let data = recorded();
    let (keys, issuer) = (keys(&data), data["issuer"].as_str().unwrap());
    let url = "https://api.example:6443/openid/v1/jwks";
    assert_eq!(data["configuration"], discovery::configuration(issuer, url, &keys).unwrap());
    assert_eq!(data["keyset"], discovery::key_set(&keys));
    let check = |issuer: &str, want: &str| {
        assert_eq!(discovery::configuration(issuer, url, &keys).unwrap_err(), want);
    };
    check("http://a", "issuer URL must use https scheme, got: http://a");
    check("https://a?b", "issuer URL may not include a query, got: https://a?b");
    check("https://a#b", "issuer URL may not include a fragment, got: https://a#b");
}

#[test]
fn what_is_issued_verifies_until_what_it_is_bound_to_is_gone() {
    let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
    let verifier = Verifier::new(vec!["https://a".into()], vec![key.public().clone()], vec!["api".into()]);
    let account =
        json!({"kind": "ServiceAccount", "metadata": {"namespace": "ns", "name": "sa", "uid": "1"}});
    let pod = json!({"kind": "Pod", "metadata": {"namespace": "ns", "name": "p", "uid": "2"}});
    let objects = Objects(RefCell::new(vec![account.clone(), pod.clone()]));
    let now = Wall::from_secs(1_800_000_000);
    let audiences = ["api".to_owned()];
    let grant = Grant {
        issuer: "https://a",
        account: &account,
        bound: Some(Bound::Pod(&pod, None)),
        audiences: &audiences,
        now,
        lifetime: issue::EXTENDED_REQUEST,
        warn_after: None,
        id: "x",
    };
    let token = issue::issue(&key, &grant.extended(&audiences)).unwrap();
    let at = |seconds: i64| verifier.verify(&token, None, Wall::from_secs(1_800_000_000 + seconds), &objects);
    let fresh = at(10).unwrap();
    assert_eq!(fresh.user.name, "system:serviceaccount:ns:sa");
    assert!(fresh.audit.is_empty());
    let stale = at(issue::EXTENDED_REQUEST + 5).unwrap();
    assert_eq!(
        stale.audit,
        [(
            "authentication.k8s.io/stale-token",
            "subject: system:serviceaccount:ns:sa, seconds after warning threshold: 5".to_owned()
        )]
    );
    let refused = |text: &str| Err(Refusal::Invalid(text.into()));
    assert_eq!(at(issue::EXTENDED + 61), refused("service account token has expired"));
    objects.0.borrow_mut().pop();
    assert_eq!(at(10), refused("service account token has been invalidated"));
}

#[test]
fn a_generated_key_signs() {
    let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
    let token = jwt::sign(&key, &json!({"iss": "https://a"})).unwrap();
    let other = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
    let check = |key: &SigningKey, want: &str| {
        let verifier =
            Verifier::new(vec!["https://a".into()], vec![key.public().clone()], vec!["api".into()]);
        let got = verifier.verify(&token, None, Wall(0), &Objects::default());
        assert_eq!(got, Err(Refusal::Invalid(want.into())));
    };
    check(&key, "serviceaccounts \"\" not found");
    check(&other, "invalid signature, no keys found");
    for broken in [&b""[..], b"-----BEGIN PRIVATE KEY-----", b"\x30\x82\xff\xff\x00"] {
        assert!(SigningKey::from_pkcs8(broken).is_err() && PublicKey::from_spki(broken).is_err());
    }
}

#[test]
fn anything_is_taken_apart_or_refused() {
    let data = recorded();
    let verifier = verifier(&data);
    let good = data["cases"][0]["token"].as_str().unwrap();
    bolero::check!().with_max_len(300).with_iterations(3_000).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let _ = jwt::parse(&text);
        assert!(verifier.verify(&text, None, Wall(0), &Objects::default()).is_err());
        // A good token with anything put into it is no longer one.
        let at = bytes.first().map_or(0, |b| usize::from(*b) * good.len() / 256);
        let changed = format!("{}{text}{}", &good[..at], &good[(at + text.len()).min(good.len())..]);
        if changed != good {
            let got = verifier.verify(&changed, None, Wall(0), &Objects::default());
            assert!(got.is_err(), "{changed}");
        }
        let _ = PublicKey::from_spki(bytes);
    });
    assert_eq!(
        verifier.verify(&"a".repeat(jwt::MAX_TOKEN + 1), None, Wall(0), &Objects::default()),
        Err(Refusal::NotOurs)
    );
}

#[test]
fn bootstrap_tokens_name_a_joining_node() {
    let check = |token: &str, change: &dyn Fn(&mut Value), want: Option<&[&str]>| {
        let encode = |text: &str| STANDARD.encode(text);
        let mut secret = json!({"kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {"namespace": "kube-system", "name": "bootstrap-token-abcdef"},
            "data": {"token-id": encode("abcdef"), "token-secret": encode("0123456789abcdef"),
                "usage-bootstrap-authentication": encode("true"), "expiration": encode("2030-01-01T00:00:00Z"),
                "auth-extra-groups": encode("system:bootstrappers:b,system:bootstrappers:a")}});
        change(&mut secret);
        let got = bootstrap::authenticate(
            token,
            Wall::from_secs(1_800_000_000),
            &Objects(RefCell::new(vec![secret.clone()])),
        );
        let want = want.map(|groups| User::new("system:bootstrap:abcdef", groups));
        assert_eq!(got, want, "{token} {secret}");
    };
    let token = "abcdef.0123456789abcdef";
    let all = ["system:bootstrappers", "system:bootstrappers:a", "system:bootstrappers:b"];
    check(token, &|_| {}, Some(&all));
    for broken in [
        "",
        "abcdef",
        "abcdef.",
        "ABCDEF.0123456789abcdef",
        "abcdef.0123456789abcdee",
        "abcdeg.0123456789abcdef",
        "abcdef.0123456789abcdef0",
    ] {
        check(broken, &|_| {}, None);
    }
    let set = |key: &'static str, text: &'static str| {
        move |secret: &mut Value| secret["data"][key] = STANDARD.encode(text).into()
    };
    check(token, &set("expiration", ""), Some(&all));
    check(token, &set("expiration", "2020-01-01T00:00:00Z"), None);
    check(token, &set("expiration", "soon"), None);
    check(token, &set("usage-bootstrap-authentication", "false"), None);
    check(token, &set("token-id", "abcdeg"), None);
    check(token, &set("auth-extra-groups", ""), Some(&all[..1]));
    check(token, &set("auth-extra-groups", "system:masters"), None);
    check(token, &set("auth-extra-groups", "system:bootstrappers:A"), None);
    check(token, &|secret| secret["type"] = "Opaque".into(), None);
    check(token, &|secret| secret["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z".into(), None);
}
