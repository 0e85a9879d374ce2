//! The walks that apply is made of, each alone, against recorded outcomes.

use merge::fieldset::Set;
use merge::typed::{Typing, compare, extract, field_set, merge, reconcile, remove};
use merge::value::equal;
use serde_json::{Value, json};

use crate::recorded::check;

#[test]
fn typed_walks_see_objects_as_upstream() {
    check("typed.json", include_str!("../data/typed.json"), 60, |case| {
        let table = schema::builtin();
        let typing = match case["message"].as_str().expect("a message's name") {
            "" => Typing::Deduced,
            name => Typing::Message(table, table.named(name).expect("the message is in the table")),
        };
        let (left, right) = (&case["left"], &case["right"]);
        let changes = compare(Some(left), Some(right), typing).expect("valid objects");
        let set = field_set(right, typing);
        let chosen = Set::from_value(&case["chosen"]).expect("a good set");
        let ours = json!({
            "set": set.to_value(),
            "added": changes.added.to_value(),
            "removed": changes.removed.to_value(),
            "modified": changes.modified.to_value(),
            "merged": merge(left, right, typing).expect("valid objects"),
            "without": remove(left, &chosen, typing),
            "only": extract(left, &chosen, typing),
            "reconciled": reconcile(&chosen, typing).map(|set| set.to_value()),
        });
        let wrong: Vec<String> = ours
            .as_object()
            .expect("an object of outcomes")
            .iter()
            .filter(|(key, value)| !equal(&case[key], value))
            .map(|(key, value)| format!("{key}: {value}\nwanted {}", case[key]))
            .collect();
        (!wrong.is_empty()).then(|| {
            format!("{}\nfor {left}\nand {right}\nand {}", wrong.join("\n"), Value::from(chosen.to_json()))
        })
    });
}
