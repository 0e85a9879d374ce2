//! Compares the messages read from Go with upstream's own `generated.proto` files.

use std::collections::BTreeMap;

use super::proto;
use super::resolve::{Element, Message};
use super::source::World;

/// Every disagreement, in words.
pub fn check(
    world: &mut World,
    packages: &[String],
    messages: &BTreeMap<String, Message>,
) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for path in packages {
        let package = world.package(path)?;
        let Some(declared) = &package.proto else { continue };
        for (name, wire) in declared {
            let full = format!("{}.{name}", package.proto_name);
            match messages.get(&full) {
                Some(message) => compare(&full, wire, message, &mut faults),
                None => faults.push(format!("{full} is on the wire but not in the table")),
            }
        }
        for (full, message) in messages.iter().filter(|(_, m)| m.package == package.proto_name) {
            let numbered = message.fields.iter().any(|f| f.number != 0);
            if numbered && message.form.is_empty() && !declared.contains_key(&message.name) {
                faults.push(format!("{full} has protobuf numbers but is not on the wire"));
            }
        }
    }
    Ok(faults)
}

fn compare(full: &str, wire: &proto::Message, message: &Message, faults: &mut Vec<String>) {
    let mut ours = BTreeMap::new();
    for field in message.fields.iter().filter(|f| f.number != 0) {
        let ty = match &field.shape.element {
            Element::Scalar(name) => name.to_string(),
            Element::Message(name) => name.clone(),
        };
        if ours.insert(field.number, (ty, field.shape.list, field.shape.map)).is_some() {
            faults.push(format!("{full}: number {} occurs twice", field.number));
        }
    }
    for (number, field) in wire {
        let theirs = (field.ty.clone(), field.repeated, field.map);
        match ours.remove(number) {
            None => faults.push(format!("{full}: field {number} ({}) is missing", field.name)),
            Some(ours) if ours != theirs => {
                faults.push(format!(
                    "{full}: field {number} ({}) is {ours:?} here, {theirs:?} on the wire",
                    field.name
                ));
            }
            Some(_) => {}
        }
    }
    for number in ours.keys() {
        faults.push(format!("{full}: field {number} is not on the wire"));
    }
}
