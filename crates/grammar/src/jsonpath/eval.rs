//! From nodes and an object to results.

use super::{JsonPath, JsonPathError, Node, Slice};
use crate::go;
use serde_json::Value;
use std::borrow::Cow;
use std::cmp::Ordering;

/// The most results that one evaluation may gather on its way. Repeated recursive descents multiply, so without a
/// bound a short template could fill any memory. Beyond it, evaluation fails.
const MAX_RESULTS: usize = 1_000_000;

/// Something found: a part of the object, or a literal of the template.
#[derive(Clone, Debug)]
pub(super) enum Item<'a> {
    /// Not even null: what the body of an empty `range` sees.
    Nothing,
    Tree(&'a Value),
    Literal(Value),
    /// An element of a text, which to Go is a number.
    Byte(u8),
}

pub(super) fn find<'a>(path: &'a JsonPath, data: &'a Value) -> Result<Vec<Vec<Item<'a>>>, JsonPathError> {
    let root = if data.is_null() { Item::Nothing } else { Item::Tree(data) };
    let mut walk = Walk {
        allow_missing_keys: path.allow_missing_keys,
        ranges_to_begin: 0,
        open_ranges: 0,
        ranges_to_end: 0,
        last_end: 0,
        budget: MAX_RESULTS,
    };
    walk.template(&path.nodes, 0, root)
}

struct Walk {
    allow_missing_keys: bool,
    ranges_to_begin: usize,
    open_ranges: usize,
    ranges_to_end: usize,
    /// Where the last `end` stands in the template.
    last_end: usize,
    budget: usize,
}

/// An error, and whether results were returned beside it: a filter that asks for existence looks at those alone.
struct Failure {
    error: JsonPathError,
    has_results: bool,
}

type Items<'a> = Vec<Item<'a>>;

impl Walk {
    /// Evaluates the nodes from `start` on the same data, up to the `end` of the range they stand in.
    fn template<'a>(
        &mut self,
        nodes: &'a [Node],
        start: usize,
        data: Item<'a>,
    ) -> Result<Vec<Items<'a>>, JsonPathError> {
        let mut found = Vec::new();
        let mut at = start;
        while at < nodes.len() {
            let results = self.node(vec![data.clone()], &nodes[at]).map_err(|failure| failure.error)?;
            if self.ranges_to_end > 0 && self.ranges_to_end <= self.open_ranges {
                self.ranges_to_end -= 1;
                self.last_end = at;
                break;
            }
            if self.ranges_to_begin > 0 {
                self.ranges_to_begin -= 1;
                self.open_ranges += 1;
                if results.is_empty() {
                    // The body is walked once for nothing, to find where it ends.
                    self.template(nodes, at + 1, Item::Nothing)?;
                }
                for item in results {
                    found.extend(self.template(nodes, at + 1, item.unwrapped())?);
                }
                self.open_ranges -= 1;
                at = at.max(self.last_end);
            } else {
                found.push(results);
            }
            at += 1;
        }
        Ok(found)
    }

    fn list<'a>(&mut self, input: Items<'a>, nodes: &'a [Node]) -> Result<Items<'a>, Failure> {
        nodes.iter().try_fold(input, |items, node| self.node(items, node))
    }

    fn node<'a>(&mut self, input: Items<'a>, node: &'a Node) -> Result<Items<'a>, Failure> {
        let results = match node {
            Node::List(nodes) => self.list(input, nodes),
            Node::Text(text) => Ok(vec![Item::Literal(text.as_str().into())]),
            Node::Int(number) => Ok(vec![Item::Literal((*number).into()); input.len()]),
            Node::Float(number) => Ok(vec![Item::Literal((*number).into()); input.len()]),
            Node::Bool(flag) => Ok(vec![Item::Literal((*flag).into()); input.len()]),
            Node::Field(name) => self.field(input, name),
            Node::Array(slice) => array(input, *slice),
            Node::Filter { left, operator, right } => self.filter(input, left, operator, right),
            Node::Wildcard => Ok(input.iter().flat_map(Item::children).collect()),
            Node::Recursive => self.recursive(input),
            Node::Union(lists) => self.union(input, lists),
            Node::Identifier(name) => self.identifier(input, name),
        }?;
        self.spend(results.len())?;
        Ok(results)
    }

    fn spend(&mut self, results: usize) -> Result<(), Failure> {
        let left = self.budget.checked_sub(results);
        self.budget = left.ok_or_else(|| fail("template finds too many results", false))?;
        Ok(())
    }

    fn identifier<'a>(&mut self, input: Items<'a>, name: &str) -> Result<Items<'a>, Failure> {
        match name {
            "range" => {
                self.ranges_to_begin += 1;
                Ok(input)
            }
            "end" if self.open_ranges > 0 => {
                self.ranges_to_end += 1;
                Ok(Vec::new())
            }
            "end" => Err(fail("not in range, nothing to end", false)),
            _ => Err(fail(format!("unrecognized identifier {name}"), !input.is_empty())),
        }
    }

    fn field<'a>(&mut self, input: Items<'a>, name: &str) -> Result<Items<'a>, Failure> {
        let results: Items<'a> = input.iter().filter_map(|item| item.get(name)).collect();
        if results.is_empty() && !input.is_empty() && !self.allow_missing_keys {
            return Err(fail(format!("{name} is not found"), false));
        }
        Ok(results)
    }

    fn union<'a>(&mut self, input: Items<'a>, lists: &'a [Vec<Node>]) -> Result<Items<'a>, Failure> {
        let mut results = Vec::new();
        for nodes in lists {
            let found = self.list(input.clone(), nodes);
            results.extend(found.map_err(|failure| fail_with(failure.error, !input.is_empty()))?);
        }
        Ok(results)
    }

    /// Every part that has parts, each before its own.
    fn recursive<'a>(&mut self, input: Items<'a>) -> Result<Items<'a>, Failure> {
        let mut results = Vec::new();
        for item in input {
            let children = item.children();
            if !children.is_empty() {
                self.spend(1)?;
                results.push(item);
                results.extend(self.recursive(children)?);
            }
        }
        Ok(results)
    }

    fn filter<'a>(
        &mut self,
        input: Items<'a>,
        left: &'a [Node],
        operator: &str,
        right: &'a [Node],
    ) -> Result<Items<'a>, Failure> {
        let mut results = Vec::new();
        for item in &input {
            let Some(Value::Array(candidates)) = item.tree() else {
                let message = format!("{} is not array or slice and cannot be filtered", item.display());
                return Err(fail(message, true));
            };
            for candidate in candidates {
                let one = || vec![Item::Tree(candidate)];
                let lefts = self.list(one(), left);
                if operator == "exists" {
                    if lefts.map_or_else(|failure| failure.has_results, |found| !found.is_empty()) {
                        results.push(Item::Tree(candidate));
                    }
                    continue;
                }
                let Some(left) = single(lefts)? else { continue };
                let Some(right) = single(self.list(one(), right))? else { continue };
                if compare(&left, operator, &right).map_err(|error| fail_with(error, !results.is_empty()))? {
                    results.push(Item::Tree(candidate));
                }
            }
        }
        Ok(results)
    }
}

impl<'a> Item<'a> {
    fn tree(&self) -> Option<&'a Value> {
        match self {
            Item::Tree(tree) => Some(tree),
            _ => None,
        }
    }

    pub(super) fn to_value(&self) -> Value {
        match self {
            Item::Nothing => Value::Null,
            Item::Tree(tree) => (*tree).clone(),
            Item::Literal(value) => value.clone(),
            Item::Byte(byte) => (*byte).into(),
        }
    }

    /// Containers print as JSON, everything else as it is.
    pub(super) fn to_text(&self) -> String {
        match self {
            Item::Nothing => "<no value>".into(),
            Item::Tree(Value::Null) => "null".into(),
            Item::Tree(tree @ (Value::Array(_) | Value::Object(_))) => go::json(tree),
            item => item.display(),
        }
    }

    fn display(&self) -> String {
        match self {
            Item::Nothing => "<invalid reflect.Value>".into(),
            Item::Tree(value) => go::display(value),
            Item::Literal(value) => go::display(value),
            Item::Byte(byte) => byte.to_string(),
        }
    }

    /// A null that becomes the data of a template is no value at all.
    fn unwrapped(self) -> Item<'a> {
        if let Item::Tree(Value::Null) = self { Item::Nothing } else { self }
    }

    fn get(&self, name: &str) -> Option<Item<'a>> {
        self.tree()?.as_object()?.get(name).map(Item::Tree)
    }

    /// The parts of a container, and the bytes of a text.
    fn children(&self) -> Items<'a> {
        let text: &str = match self {
            Item::Tree(Value::Object(fields)) => return fields.values().map(Item::Tree).collect(),
            Item::Tree(Value::Array(items)) => return items.iter().map(Item::Tree).collect(),
            Item::Tree(Value::String(text)) => text,
            Item::Literal(Value::String(text)) => text,
            _ => return Vec::new(),
        };
        text.bytes().map(Item::Byte).collect()
    }

    /// The name of the Go type that holds such a value.
    fn type_name(&self) -> &'static str {
        let (value, integer) = match self {
            Item::Nothing => return "<nil>",
            Item::Byte(_) => return "uint8",
            Item::Tree(value) => (Cow::Borrowed(*value), "int64"),
            Item::Literal(value) => (Cow::Borrowed(value), "int"),
        };
        match value.as_ref() {
            Value::Null => "<nil>",
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_i64() => integer,
            Value::Number(_) => "float64",
            Value::String(_) => "string",
            Value::Array(_) => "[]interface {}",
            Value::Object(_) => "map[string]interface {}",
        }
    }
}

fn array<'a>(input: Items<'a>, slice: Slice) -> Result<Items<'a>, Failure> {
    let mut results = Vec::new();
    for item in &input {
        if let Some(Value::Null) = item.tree() {
            continue;
        }
        let Some(Value::Array(items)) = item.tree() else {
            return Err(fail(format!("{} is not array or slice", item.type_name()), true));
        };
        let length = items.len() as i64;
        let from_end = |index: i64| if index < 0 { index.wrapping_add(length) } else { index };
        let start = from_end(slice.start.unwrap_or(0));
        let end = match slice.end {
            None => length,
            Some(0) if slice.is_end_derived => length,
            Some(end) => from_end(end),
        };
        if start == end {
            return Ok(results);
        }
        let out_of_bounds =
            |index: i64| fail(format!("array index out of bounds: index {index}, length {length}"), true);
        if !(0..length).contains(&start) {
            return Err(out_of_bounds(start));
        }
        if !(0..=length).contains(&end) {
            return Err(out_of_bounds(end.wrapping_sub(1)));
        }
        if start > end {
            let message = format!("starting index {start} is greater than ending index {end}");
            return Err(fail(message, true));
        }
        let step = match slice.step.map(usize::try_from) {
            None => 1,
            Some(Ok(step)) if step > 0 => step,
            Some(_) => return Err(fail("step must be > 0", true)),
        };
        results.extend(items[start as usize..end as usize].iter().step_by(step).map(Item::Tree));
    }
    Ok(results)
}

/// The one result of a side of a comparison, if there is any.
fn single(found: Result<Items<'_>, Failure>) -> Result<Option<Item<'_>>, Failure> {
    let mut found = found.map_err(|failure| fail_with(failure.error, true))?;
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(fail("can only compare one element at a time", true)),
    }
}

fn compare(left: &Item<'_>, operator: &str, right: &Item<'_>) -> Result<bool, JsonPathError> {
    let is_equality = matches!(operator, "==" | "!=");
    let order = match operator {
        "==" | "!=" | "<" | "<=" | ">" | ">=" => order(left, right)?,
        _ => return Err(JsonPathError(format!("unrecognized filter operator {operator}"))),
    };
    if let (Comparison::Bools(_), false) = (&order, is_equality) {
        return Err(JsonPathError("invalid type for comparison".into()));
    }
    let (Comparison::Bools(order) | Comparison::Ordered(order)) = order;
    Ok(match operator {
        "==" => order == Some(Ordering::Equal),
        "!=" => order != Some(Ordering::Equal),
        "<" => order == Some(Ordering::Less),
        "<=" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        ">" => !matches!(order, Some(Ordering::Less | Ordering::Equal)),
        _ => order != Some(Ordering::Less),
    })
}

enum Comparison {
    /// Truth values are equal or not, but none is less.
    Bools(Option<Ordering>),
    Ordered(Option<Ordering>),
}

/// Values compare with values of the same Go kind only: 1 and 1.0 do not.
fn order(left: &Item<'_>, right: &Item<'_>) -> Result<Comparison, JsonPathError> {
    let (left, right) = (left.to_value(), right.to_value());
    for side in [&left, &right] {
        if matches!(side, Value::Null | Value::Array(_) | Value::Object(_)) {
            return Err(JsonPathError("invalid type for comparison".into()));
        }
    }
    match (&left, &right) {
        (Value::Bool(a), Value::Bool(b)) => Ok(Comparison::Bools(a.partial_cmp(b))),
        (Value::String(a), Value::String(b)) => Ok(Comparison::Ordered(a.partial_cmp(b))),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Ok(Comparison::Ordered(a.partial_cmp(&b))),
            (None, None) => Ok(Comparison::Ordered(a.as_f64().partial_cmp(&b.as_f64()))),
            _ => Err(JsonPathError("incompatible types for comparison".into())),
        },
        _ => Err(JsonPathError("incompatible types for comparison".into())),
    }
}

fn fail(message: impl Into<String>, has_results: bool) -> Failure {
    fail_with(JsonPathError(message.into()), has_results)
}

fn fail_with(error: JsonPathError, has_results: bool) -> Failure {
    Failure { error, has_results }
}
