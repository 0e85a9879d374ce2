//! What a token costs the first time and the second.

use access::tokens::{Bound, Grant, Lookup, SigningKey, Verifier, issue};
use base::clock::{Clock as _, SystemClock, Wall};
use serde_json::{Value, json};

const ROUNDS: usize = 100_000;

struct One(Value, Value);

impl Lookup for One {
    fn get(&self, kind: &str, _: &str, _: &str) -> Option<Value> {
        Some(if kind == "Pod" { self.1.clone() } else { self.0.clone() })
    }
}

fn main() {
    let object = |name: &str| json!({"metadata": {"namespace": "default", "name": name, "uid": "7f3f9c3e-1f9e-4c53-8f7e-0d7b3a3a1f52"}});
    let objects = One(object("account"), object("pod-7d4b9c6f5-x2x8z"));
    let key = SigningKey::from_pkcs8(&SigningKey::generate().expect("a key")).expect("a key");
    let audiences = ["https://kubernetes.default.svc.cluster.local".to_owned()];
    let grant = Grant {
        issuer: &audiences[0],
        account: &objects.0,
        bound: Some(Bound::Pod(&objects.1, Some(&objects.0))),
        audiences: &audiences,
        now: Wall(0),
        lifetime: 3607,
        warn_after: None,
        id: "7f3f9c3e-1f9e-4c53-8f7e-0d7b3a3a1f52",
    };
    let token = issue(&key, &grant).expect("a token");
    let keys = vec![key.public().clone()];
    let verifier = Verifier::new(audiences.to_vec(), keys, audiences.to_vec());
    for (what, rounds) in [("first", 1), ("again", ROUNDS)] {
        let clock = SystemClock::new();
        let good = (0..rounds).filter(|_| verifier.verify(&token, None, Wall(0), &objects).is_ok()).count();
        let each = clock.monotonic().as_nanos() as usize / rounds;
        println!("{what}: {each} ns ({good} of {rounds} valid, {} bytes)", token.len());
    }
}
