//! A CRD's schema as it was written, before anything judges it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One node of an OpenAPI v3 schema, with what upstream understands of it.
///
/// Absent texts are empty, as upstream makes no difference between the two.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    /// The JSON type: `object`, `array`, `string`, `integer`, `number` or `boolean`.
    pub kind: String,
    pub format: String,
    pub title: String,
    pub description: String,
    pub default: Option<Value>,
    pub example: Option<Value>,
    pub external_docs: Option<Value>,
    pub nullable: bool,

    pub properties: BTreeMap<String, Schema>,
    pub additional_properties: Option<Additional>,
    pub items: Option<Items>,

    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub pattern: String,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub unique_items: bool,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
    pub required: Vec<String>,
    pub values: Vec<Value>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,

    pub preserve_unknown: Option<bool>,
    pub embedded_resource: bool,
    pub int_or_string: bool,
    pub list_type: Option<String>,
    pub list_map_keys: Vec<String>,
    pub map_type: Option<String>,
    pub rules: Vec<Rule>,

    /// What JSON Schema has and Kubernetes refuses.
    pub refused: Refused,
}

/// How many schemas may lie within one another. Every walk over schemas recurses, and this keeps them all well within a
/// thread's stack. No definition in use comes near it.
pub const DEEPEST: usize = 100;

/// Keywords that are read only to be refused by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refused {
    pub id: String,
    pub schema: String,
    pub reference: Option<String>,
    pub pattern_properties: bool,
    pub dependencies: Option<BTreeMap<String, Option<Box<Schema>>>>,
    pub additional_items: bool,
    pub definitions: BTreeMap<String, Schema>,
}

/// `additionalProperties`: whether other keys are allowed, and their schema where it was given.
#[derive(Clone, Debug, PartialEq)]
pub enum Additional {
    Allowed(bool),
    Schema(Box<Schema>),
}

/// `items`: one schema for all, or a list of schemas by position, which is refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Items {
    One(Box<Schema>),
    Each(Vec<Schema>),
}

/// One entry of `x-kubernetes-validations`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    pub rule: String,
    pub message: String,
    pub message_expression: String,
    pub reason: Option<String>,
    pub field_path: String,
    pub optional_old_self: Option<bool>,
}

impl Schema {
    /// Reads a `JSONSchemaProps`. Null is absent. Fails where schemas nest deeper than [`DEEPEST`], and where a keyword's
    /// value has the wrong JSON type, which decoding the definition has ruled out before.
    pub fn read(value: &Value) -> Result<Schema, String> {
        let mut schema = Schema::default();
        schema.fill(value, 0)?;
        Ok(schema)
    }

    /// Fills a schema in place: schemas are large, and handing them up from call to call would cost stack.
    fn fill(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        let Value::Object(map) = value else {
            return Err("a schema must be an object".to_string());
        };
        if depth > DEEPEST {
            return Err(format!("a schema may nest at most {DEEPEST} schemas deep"));
        }
        let r = Reader { map, depth };
        self.fill_facts(&r)?;
        r.fill_map("properties", &mut self.properties)?;
        r.fill_list("allOf", &mut self.all_of)?;
        r.fill_list("anyOf", &mut self.any_of)?;
        r.fill_list("oneOf", &mut self.one_of)?;
        r.fill_map("definitions", &mut self.refused.definitions)?;
        if let Some(schema) = r.get("not") {
            self.not = Some(r.schema(schema)?);
        }
        match r.get("additionalProperties") {
            None => {}
            Some(Value::Bool(allowed)) => self.additional_properties = Some(Additional::Allowed(*allowed)),
            Some(schema) => self.additional_properties = Some(Additional::Schema(r.schema(schema)?)),
        }
        match r.get("items") {
            None => {}
            Some(Value::Array(_)) => {
                let mut schemas = Vec::new();
                r.fill_list("items", &mut schemas)?;
                self.items = Some(Items::Each(schemas));
            }
            Some(schema) => self.items = Some(Items::One(r.schema(schema)?)),
        }
        // A dependency is a schema or a list of names; of the latter nothing is kept.
        if let Some(Value::Object(dependencies)) = r.get("dependencies") {
            let mut out = BTreeMap::new();
            for (name, dependency) in dependencies {
                let schema = if dependency.is_object() { Some(r.schema(dependency)?) } else { None };
                out.insert(name.clone(), schema);
            }
            self.refused.dependencies = Some(out);
        }
        Ok(())
    }

    /// Reads the keywords that hold no schemas.
    fn fill_facts(&mut self, r: &Reader<'_>) -> Result<(), String> {
        self.kind = r.text("type")?;
        self.format = r.text("format")?;
        self.title = r.text("title")?;
        self.description = r.text("description")?;
        self.default = r.get("default").cloned();
        self.example = r.get("example").cloned();
        self.external_docs = r.get("externalDocs").cloned();
        self.nullable = r.flag("nullable")?;
        self.maximum = r.number("maximum")?;
        self.exclusive_maximum = r.flag("exclusiveMaximum")?;
        self.minimum = r.number("minimum")?;
        self.exclusive_minimum = r.flag("exclusiveMinimum")?;
        self.multiple_of = r.number("multipleOf")?;
        self.max_length = r.count("maxLength")?;
        self.min_length = r.count("minLength")?;
        self.pattern = r.text("pattern")?;
        self.max_items = r.count("maxItems")?;
        self.min_items = r.count("minItems")?;
        self.unique_items = r.flag("uniqueItems")?;
        self.max_properties = r.count("maxProperties")?;
        self.min_properties = r.count("minProperties")?;
        self.required = r.texts("required")?;
        self.values = r.list("enum")?.to_vec();
        self.preserve_unknown = r.optional_flag("x-kubernetes-preserve-unknown-fields")?;
        self.embedded_resource = r.flag("x-kubernetes-embedded-resource")?;
        self.int_or_string = r.flag("x-kubernetes-int-or-string")?;
        self.list_type = r.optional_text("x-kubernetes-list-type")?;
        self.list_map_keys = r.texts("x-kubernetes-list-map-keys")?;
        self.map_type = r.optional_text("x-kubernetes-map-type")?;
        self.rules = r.list("x-kubernetes-validations")?.iter().map(rule).collect::<Result<_, _>>()?;
        self.refused.id = r.text("id")?;
        self.refused.schema = r.text("$schema")?;
        self.refused.reference = r.optional_text("$ref")?;
        self.refused.pattern_properties =
            r.get("patternProperties").is_some_and(|v| v.as_object().is_some_and(|map| !map.is_empty()));
        self.refused.additional_items = r.get("additionalItems").is_some();
        Ok(())
    }

    /// Whether unknown fields of this value stay.
    pub fn preserves_unknown(&self) -> bool {
        self.preserve_unknown == Some(true)
    }

    /// The schema of every item, where there is one.
    pub fn item(&self) -> Option<&Schema> {
        match &self.items {
            Some(Items::One(schema)) => Some(schema),
            _ => None,
        }
    }

    /// The schema of the values of other keys, where there is one.
    pub fn additional(&self) -> Option<&Schema> {
        match &self.additional_properties {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        }
    }

    /// A schema that says nothing but its type.
    fn only_type(&self, kind: &str) -> bool {
        self.kind == kind && *self == Schema { kind: kind.to_string(), ..Schema::default() }
    }

    /// `anyOf: [{type: integer}, {type: string}]`, the form in which `x-kubernetes-int-or-string` may name its types.
    pub(super) fn any_of_is_int_or_string(&self) -> bool {
        matches!(self.any_of.as_slice(), [first, second] if first.only_type("integer") && second.only_type("string"))
    }
}

fn rule(value: &Value) -> Result<Rule, String> {
    let Value::Object(map) = value else {
        return Err("a validation rule must be an object".to_string());
    };
    let r = Reader { map, depth: 0 };
    Ok(Rule {
        rule: r.text("rule")?,
        message: r.text("message")?,
        message_expression: r.text("messageExpression")?,
        reason: r.optional_text("reason")?,
        field_path: r.text("fieldPath")?,
        optional_old_self: r.optional_flag("optionalOldSelf")?,
    })
}

struct Reader<'a> {
    map: &'a Map<String, Value>,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &self,
        key: &str,
        want: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| format!("{key} must be {want}")),
        }
    }

    fn text(&self, key: &str) -> Result<String, String> {
        Ok(self.optional_text(key)?.unwrap_or_default())
    }

    fn optional_text(&self, key: &str) -> Result<Option<String>, String> {
        self.typed(key, "a string", |v| v.as_str().map(str::to_string))
    }

    fn flag(&self, key: &str) -> Result<bool, String> {
        Ok(self.optional_flag(key)?.unwrap_or_default())
    }

    fn optional_flag(&self, key: &str) -> Result<Option<bool>, String> {
        self.typed(key, "a boolean", Value::as_bool)
    }

    fn number(&self, key: &str) -> Result<Option<f64>, String> {
        self.typed(key, "a number", Value::as_f64)
    }

    fn count(&self, key: &str) -> Result<Option<i64>, String> {
        self.typed(key, "an integer", Value::as_i64)
    }

    fn list(&self, key: &str) -> Result<&'a [Value], String> {
        Ok(self.typed(key, "a list", |v| v.as_array().map(Vec::as_slice))?.unwrap_or_default())
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        let text =
            |v: &Value| v.as_str().map(str::to_string).ok_or_else(|| format!("{key} must hold strings"));
        self.list(key)?.iter().map(text).collect()
    }

    fn schema(&self, value: &Value) -> Result<Box<Schema>, String> {
        let mut schema = Box::<Schema>::default();
        schema.fill(value, self.depth + 1)?;
        Ok(schema)
    }

    fn fill_list(&self, key: &str, out: &mut Vec<Schema>) -> Result<(), String> {
        let schemas = self.list(key)?;
        out.resize_with(schemas.len(), Schema::default);
        schemas.iter().zip(out).try_for_each(|(value, schema)| schema.fill(value, self.depth + 1))
    }

    fn fill_map(&self, key: &str, out: &mut BTreeMap<String, Schema>) -> Result<(), String> {
        for (name, value) in self.typed(key, "an object", Value::as_object)?.into_iter().flatten() {
            out.entry(name.clone()).or_default().fill(value, self.depth + 1)?;
        }
        Ok(())
    }
}
