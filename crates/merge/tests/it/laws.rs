//! What must hold for every input: laws of sets, and of apply against a simple model.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bolero::check;
use jiff::Timestamp;
use merge::apply::{Error, FieldManager, Managed, OneVersion, Operation, empty_object};
use merge::fieldset::{Path, PathElement, Set};
use merge::typed::Typing;
use serde_json::{Map, Value, json};

use crate::iterations;

/// Turns bytes into choices; once they run out every choice is the first.
struct Choices<'b>(std::slice::Iter<'b, u8>);

impl Choices<'_> {
    fn below(&mut self, limit: usize) -> usize {
        self.0.next().map_or(0, |&byte| byte as usize % limit)
    }
}

fn set(choices: &mut Choices<'_>) -> Set {
    let elements = [
        PathElement::field("a"),
        PathElement::field("b"),
        PathElement::key([("name", json!("x"))]),
        PathElement::key([("port", json!(80)), ("protocol", json!("TCP"))]),
        PathElement::key([("port", json!(443))]),
        PathElement::Value(json!("v")),
        PathElement::Value(json!(1.5)),
        PathElement::Index(2),
    ];
    let mut out = Set::new();
    for _ in 0..choices.below(6) {
        let path: Vec<_> =
            (0..=choices.below(4)).map(|_| elements[choices.below(elements.len())].clone()).collect();
        out.insert(&path);
    }
    out
}

#[test]
fn set_algebra_obeys_its_laws() {
    check!().with_iterations(iterations()).for_each(|bytes: &[u8]| {
        let choices = &mut Choices(bytes.iter());
        let (a, b, c) = (set(choices), set(choices), set(choices));
        let paths = |set: &Set| set.paths().into_iter().collect::<BTreeSet<Path>>();
        let (in_a, in_b) = (paths(&a), paths(&b));

        assert_eq!(paths(&a.union(&b)), in_a.union(&in_b).cloned().collect());
        assert_eq!(paths(&a.intersection(&b)), in_a.intersection(&in_b).cloned().collect());
        assert_eq!(paths(&a.difference(&b)), in_a.difference(&in_b).cloned().collect());
        let below_b = |path: &Path| (1..=path.0.len()).any(|end| b.has(&path.0[..end]));
        assert_eq!(
            paths(&a.recursive_difference(&b)),
            in_a.iter().filter(|path| !below_b(path)).cloned().collect()
        );
        let has_below = |path: &Path| in_a.iter().any(|p| p != path && p.0.starts_with(&path.0));
        assert_eq!(paths(&a.leaves()), in_a.iter().filter(|path| !has_below(path)).cloned().collect());

        assert_eq!(a.union(&b), b.union(&a));
        assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        assert_eq!(a.difference(&b).union(&a.intersection(&b)), a);
        assert_eq!(a.len(), in_a.len());
        assert_eq!(Set::from_json(&a.to_json()).unwrap(), a);
        assert_eq!(Set::from_value(&a.to_value()).unwrap(), a);
    });
}

const MANAGERS: [&str; 3] = ["ann", "bob", "cid"];
const KEYS: [&str; 4] = ["k0", "k1", "k2", "k3"];

/// Who owns which key with which value: what apply means for a flat map.
#[derive(Default)]
struct Model {
    data: BTreeMap<&'static str, String>,
    owners: BTreeMap<&'static str, BTreeSet<(&'static str, Operation)>>,
}

impl Model {
    fn apply(&mut self, manager: &'static str, config: &BTreeMap<&'static str, String>, force: bool) -> bool {
        let me = (manager, Operation::Apply);
        let contested = |key: &&'static str, value: &String| {
            self.data.get(key) != Some(value)
                && self.owners.get(key).is_some_and(|owners| owners.iter().any(|owner| *owner != me))
        };
        if !force && config.iter().any(|(key, value)| contested(key, value)) {
            return false;
        }
        for key in KEYS {
            let owners = self.owners.entry(key).or_default();
            match config.get(key) {
                Some(value) => {
                    if self.data.get(key) != Some(value) {
                        owners.clear();
                    }
                    owners.insert(me);
                    self.data.insert(key, value.clone());
                }
                None => {
                    if owners.remove(&me) && owners.is_empty() {
                        self.data.remove(key);
                    }
                }
            }
        }
        true
    }

    fn update(&mut self, manager: &'static str, data: BTreeMap<&'static str, String>) {
        for key in KEYS {
            let owners = self.owners.entry(key).or_default();
            if self.data.get(key) != data.get(key) {
                owners.clear();
                if data.contains_key(key) {
                    owners.insert((manager, Operation::Update));
                }
            }
        }
        self.data = data;
    }
}

fn config_map(data: &BTreeMap<&str, String>) -> Value {
    let data: Map<String, Value> =
        data.iter().map(|(key, value)| ((*key).to_owned(), Value::from(value.clone()))).collect();
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "uid": "u"}});
    if !data.is_empty() {
        object["data"] = Value::Object(data);
    }
    object
}

fn time(second: usize) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second as i64).unwrap()
}

/// The owners of each key, read from the object itself.
fn owners(object: &Value) -> BTreeMap<&'static str, BTreeSet<(String, Operation)>> {
    let managed = Managed::decode(object["metadata"].get("managedFields")).unwrap();
    let owners_of = |key: &str| {
        let path = Path::fields(&["data", key]);
        managed
            .0
            .iter()
            .filter(|(_, owned)| owned.set.has(&path.0))
            .map(|(id, _)| (id.manager.clone(), id.operation))
            .collect()
    };
    KEYS.into_iter().map(|key| (key, owners_of(key))).collect()
}

#[test]
fn any_sequence_of_writers_ends_as_in_the_model() {
    let table = schema::builtin();
    let typing = Typing::Message(table, table.kind("", "v1", "ConfigMap").unwrap());
    let convert = OneVersion { version: "v1", typing };
    let filters = HashMap::new();
    check!().with_iterations(iterations()).for_each(|bytes: &[u8]| {
        let choices = &mut Choices(bytes.iter());
        let fields = FieldManager {
            convert: &convert,
            group_version: "v1",
            kind: "ConfigMap",
            subresource: "",
            filters: &filters,
        };
        let mut model = Model::default();
        // Someone owns something at all times, since what nobody owns is not tracked before its first apply; and the
        // data is never wholly emptied, since it stays owned then and conflicts when it comes back.
        let based = |mut object: Value| {
            object["data"]["base"] = Value::from("x");
            object
        };
        let empty = empty_object(typing, "v1", "ConfigMap");
        let created = based(config_map(&BTreeMap::new()));
        let mut live = fields.update(&empty, created, "root", time(0)).unwrap();
        for step in 0..1 + choices.below(8) {
            let manager = MANAGERS[choices.below(MANAGERS.len())];
            let mut data = BTreeMap::new();
            for key in KEYS {
                if choices.below(2) == 1 {
                    data.insert(key, choices.below(3).to_string());
                }
            }
            let object = config_map(&data);
            match choices.below(3) {
                0 => {
                    live = fields.update(&live, based(object), manager, time(step)).unwrap();
                    model.update(manager, data);
                }
                kind => {
                    let force = kind == 2;
                    let outcome = fields.apply(&live, &object, manager, force, time(step));
                    assert_eq!(outcome.is_ok(), model.apply(manager, &data, force));
                    match outcome {
                        Ok(applied) => {
                            let again = fields.apply(&applied, &object, manager, false, time(99)).unwrap();
                            assert_eq!(again, applied, "applying twice is a no-op");
                            live = applied;
                        }
                        Err(Error::Conflict(conflicts)) => assert!(!conflicts.causes().is_empty()),
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            let wanted = based(config_map(&model.data));
            assert_eq!(live["data"], wanted["data"]);
            let wanted: BTreeMap<_, BTreeSet<_>> = KEYS
                .into_iter()
                .map(|key| {
                    let owners = model.owners.get(key).into_iter().flatten();
                    (key, owners.map(|(name, operation)| ((*name).to_owned(), *operation)).collect())
                })
                .collect();
            assert_eq!(owners(&live), wanted, "{live}");
        }
    });
}
