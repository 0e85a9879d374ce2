//! What a table does to a tree: prune unknown fields, drop nulls, fill in defaults.
//!
//! The three make the same walk, for built-in messages and for a CRD's alike.

use serde_json::{Map, Value};

use crate::table::{Cardinality, Field, Form, Message, MessageId, Omit, Table, Type};

/// Removes the fields that the table does not know. Answers their paths, sorted, as strict decoding names them.
pub fn prune(table: &Table, id: MessageId, value: &mut Value) -> Vec<String> {
    let mut pruner = Pruner { table, path: String::new(), removed: Vec::new() };
    pruner.message(table.message(id), value);
    pruner.removed.sort();
    pruner.removed
}

/// Removes nulls from fields that neither hold null nor have a default to put in its place.
pub fn drop_nulls(table: &Table, id: MessageId, value: &mut Value) {
    each_field(table, table.message(id), value, &mut |table, message, map| {
        map.retain(|name, value| match lookup(table, message, name) {
            Some(field) if value.is_null() => field.nullable || field.default.is_some(),
            _ => true,
        });
        for (name, value) in map.iter_mut() {
            if let Some(field) = lookup(table, message, name) {
                drop_item_nulls(field, value);
            }
        }
    });
}

/// Fills in what is absent, or null where null is no value. Doing it twice changes nothing more.
pub fn default(table: &Table, id: MessageId, value: &mut Value) {
    each_field(table, table.message(id), value, &mut |table, message, map| {
        fill(table, message, map);
        for (name, value) in map.iter_mut() {
            if let Some(field) = lookup(table, message, name) {
                fill_items(field, value);
            }
        }
    });
}

struct Pruner<'a> {
    table: &'a Table,
    path: String,
    removed: Vec<String>,
}

impl Pruner<'_> {
    fn message(&mut self, message: &Message, value: &mut Value) {
        match message.form {
            Form::Object | Form::Any => self.object(message, value),
            Form::Wrapper => {
                if let Some(field) = message.fields.first() {
                    // A list that preserves what is unknown does so for its items' own fields.
                    if message.preserve_unknown {
                        self.lenient_items(field, value)
                    } else {
                        self.field(field, value)
                    }
                }
            }
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
                let schema = message.fields.iter().find_map(|field| match field.ty {
                    Type::Message(id) => Some(self.table.message(id)),
                    Type::Scalar(_) => None,
                });
                match (schema, value) {
                    (Some(schema), value @ Value::Object(_)) => self.message(schema, value),
                    (Some(schema), Value::Array(items)) => {
                        self.each(items, &mut |pruner, item| {
                            if item.is_object() {
                                pruner.message(schema, item);
                            }
                        });
                    }
                    _ => {}
                }
            }
            Form::Raw => {}
            Form::Time | Form::MicroTime | Form::Duration | Form::Quantity | Form::IntOrString => {
                self.empty(value)
            }
        }
    }

    fn object(&mut self, message: &Message, value: &mut Value) {
        let map = match value {
            Value::Object(map) => map,
            Value::Array(items) if !message.preserve_unknown => {
                self.each(items, &mut |pruner, item| pruner.empty(item));
                return;
            }
            _ => return,
        };
        let table = self.table;
        let mut unknown = Vec::new();
        for (name, value) in map.iter_mut() {
            let step = self.enter(name);
            match lookup(table, message, name) {
                Some(field) => self.field(field, value),
                None if message.preserve_unknown => {}
                None if message.open => self.empty(value),
                None => {
                    self.removed.push(self.path.clone());
                    unknown.push(name.clone());
                }
            }
            self.path.truncate(step);
        }
        for name in unknown {
            map.remove(&name);
        }
    }

    fn field(&mut self, field: &Field, value: &mut Value) {
        match (field.cardinality, value) {
            (Cardinality::One, value) => self.item(field, value),
            (Cardinality::List, Value::Array(items)) => {
                self.each(items, &mut |pruner, item| pruner.item(field, item));
            }
            (Cardinality::Map, Value::Object(map)) => {
                for (name, value) in map.iter_mut() {
                    let step = self.enter(name);
                    self.item(field, value);
                    self.path.truncate(step);
                }
            }
            // A value of another shape than declared will be refused; until then nothing below it is known.
            (_, value) => self.empty(value),
        }
    }

    fn item(&mut self, field: &Field, value: &mut Value) {
        match field.ty {
            Type::Message(id) => self.message(self.table.message(id), value),
            Type::Scalar(_) => self.empty(value),
        }
    }

    fn lenient_items(&mut self, field: &Field, value: &mut Value) {
        let (Value::Array(items), Type::Message(id)) = (value, field.ty) else { return };
        let mut message = self.table.message(id).clone();
        message.preserve_unknown = true;
        self.each(items, &mut |pruner, item| pruner.message(&message, item));
    }

    /// Removes every field of every object.
    fn empty(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for name in map.keys() {
                    let step = self.enter(name);
                    self.removed.push(self.path.clone());
                    self.path.truncate(step);
                }
                map.clear();
            }
            Value::Array(items) => self.each(items, &mut |pruner, item| pruner.empty(item)),
            _ => {}
        }
    }

    fn each(&mut self, items: &mut [Value], visit: &mut dyn FnMut(&mut Self, &mut Value)) {
        for (at, item) in items.iter_mut().enumerate() {
            let step = self.path.len();
            self.path.push_str(&format!("[{at}]"));
            visit(self, item);
            self.path.truncate(step);
        }
    }

    /// Appends a name to the path; answers the length to go back to.
    fn enter(&mut self, name: &str) -> usize {
        let step = self.path.len();
        if step > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        step
    }
}

/// The field that an object's key names, inlined structs included.
fn lookup<'a>(table: &'a Table, message: &'a Message, name: &str) -> Option<&'a Field> {
    let (last, inlined) = message.path(name)?.split_last()?;
    let mut message = message;
    for &at in inlined {
        let Type::Message(id) = message.fields[at as usize].ty else { return None };
        message = table.message(id);
    }
    Some(&message.fields[*last as usize])
}

/// Visits every object that the table describes, from the outside in.
fn each_field(
    table: &Table,
    message: &Message,
    value: &mut Value,
    visit: &mut dyn FnMut(&Table, &Message, &mut Map<String, Value>),
) {
    match message.form {
        Form::Object | Form::Any => {
            let Value::Object(map) = value else { return };
            visit(table, message, map);
            for (name, value) in map.iter_mut() {
                if let Some(field) = lookup(table, message, name) {
                    each_item(table, field, value, visit);
                }
            }
        }
        Form::Wrapper => {
            if let Some(field) = message.fields.first() {
                each_item(table, field, value, visit);
            }
        }
        _ => {}
    }
}

fn each_item(
    table: &Table,
    field: &Field,
    value: &mut Value,
    visit: &mut dyn FnMut(&Table, &Message, &mut Map<String, Value>),
) {
    let Type::Message(id) = field.ty else { return };
    let message = table.message(id);
    match (field.cardinality, value) {
        (Cardinality::One, value) => each_field(table, message, value, visit),
        (Cardinality::List, Value::Array(items)) => {
            items.iter_mut().for_each(|item| each_field(table, message, item, visit));
        }
        (Cardinality::Map, Value::Object(map)) => {
            map.values_mut().for_each(|value| each_field(table, message, value, visit));
        }
        _ => {}
    }
}

fn fill(table: &Table, message: &Message, map: &mut Map<String, Value>) {
    for field in &message.fields {
        if field.inline {
            if let Type::Message(id) = field.ty {
                fill(table, table.message(id), map);
            }
            continue;
        }
        let Some(default) = field.default.as_deref().filter(|default| !is_omitted(field, default)) else {
            continue;
        };
        let absent = match map.get(&*field.json) {
            None => true,
            Some(value) => value.is_null() && !field.nullable,
        };
        if absent {
            map.insert(field.json.to_string(), parsed(default));
        }
    }
}

/// A zero that the encoder would leave out again is no change.
fn is_omitted(field: &Field, default: &str) -> bool {
    !field.pointer && field.omit != Omit::Never && matches!(default, "\"\"" | "0" | "false")
}

fn parsed(default: &str) -> Value {
    serde_json::from_str(default)
        .expect("defaults are JSON: the generator and the lowering of schemas wrote them")
}

fn fill_items(field: &Field, value: &mut Value) {
    let Some(default) = field.item_default.as_deref().filter(|_| !field.item_nullable) else { return };
    for_each_item(field, value, |item| {
        if item.is_null() {
            *item = parsed(default);
        }
    });
}

fn for_each_item(field: &Field, value: &mut Value, visit: impl FnMut(&mut Value)) {
    match (field.cardinality, value) {
        (Cardinality::List, Value::Array(items)) => items.iter_mut().for_each(visit),
        (Cardinality::Map, Value::Object(map)) => map.values_mut().for_each(visit),
        _ => {}
    }
}

/// A map's null values go the way of a field's; a list's stay, since dropping one would move the others.
fn drop_item_nulls(field: &Field, value: &mut Value) {
    if let (Cardinality::Map, Value::Object(map)) = (field.cardinality, value) {
        map.retain(|_, value| !value.is_null() || field.item_nullable || field.item_default.is_some());
    }
}
