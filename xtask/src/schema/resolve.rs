//! From Go declarations to messages.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use super::go::{self, Ty};
use super::source::{Package, World};

/// A message as the table states it. Types are kept by full name until the table is written.
#[derive(Debug, Default)]
pub struct Message {
    pub package: String,
    pub name: String,
    pub form: &'static str,
    pub atomic: bool,
    pub kinds: Vec<(String, String, String)>,
    pub fields: Vec<Field>,
}

#[derive(Debug, Default, Clone)]
pub struct Field {
    /// Empty where inlined.
    pub json: String,
    pub number: u32,
    pub shape: FieldShape,
    pub omit: Omit,
    pub inline: bool,
    pub required: bool,
    pub immutable: bool,
    pub atomic: bool,
    /// `set` or `map`; empty where atomic.
    pub list: &'static str,
    pub list_keys: Vec<String>,
    pub patch: String,
    pub merge_key: String,
    pub values: Vec<String>,
    pub default: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Omit {
    Never,
    #[default]
    Empty,
    Zero,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct FieldShape {
    pub pointer: bool,
    pub list: bool,
    pub map: bool,
    pub element: Element,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// A scalar's name in the table.
    Scalar(&'static str),
    /// A message's full name.
    Message(String),
}

impl Default for Element {
    fn default() -> Self {
        Element::Scalar("string")
    }
}

/// What a Go type is, before it becomes a field's shape.
#[derive(Debug, Clone)]
enum Shape {
    Scalar(&'static str, Vec<String>),
    Byte,
    Message(String),
    /// A message whose Go type is a slice or map, so nil without a pointer.
    Nilable(String),
    Pointer(Box<Shape>),
    List(Box<Shape>),
    Map(Box<Shape>),
}

/// Types whose JSON is not the object that their fields would make, with the form's name in the table and the fields
/// that go with it on the wire.
const FORMS: [(&str, &str, &str, &[(&str, u32, &str)]); 18] = [
    (META, "Time", "time", &[("seconds", 1, "int64"), ("nanos", 2, "int32")]),
    (META, "MicroTime", "microtime", &[("seconds", 1, "int64"), ("nanos", 2, "int32")]),
    (META, "Duration", "duration", &[("duration", 1, "int64")]),
    (META, "FieldsV1", "raw", &[("Raw", 1, "bytes")]),
    ("k8s.io/apimachinery/pkg/api/resource", "Quantity", "quantity", &[("string", 1, "string")]),
    ("k8s.io/apimachinery/pkg/api/resource", "QuantityValue", "quantity", &[("string", 1, "string")]),
    (
        "k8s.io/apimachinery/pkg/util/intstr",
        "IntOrString",
        "intorstring",
        &[("type", 1, "int64"), ("intVal", 2, "int32"), ("strVal", 3, "string")],
    ),
    ("k8s.io/apimachinery/pkg/runtime", "RawExtension", "raw", &[("raw", 1, "bytes")]),
    // A field of this type holds any JSON; the envelope that it also describes is the codecs' affair.
    ("k8s.io/apimachinery/pkg/runtime", "Unknown", "raw", &[("raw", 2, "bytes")]),
    (CRD_V1, "JSON", "raw", &[("raw", 1, "bytes")]),
    (CRD_V1BETA1, "JSON", "raw", &[("raw", 1, "bytes")]),
    (CRD_V1, "JSONSchemaPropsOrArray", "schema-or-array", &[]),
    (CRD_V1, "JSONSchemaPropsOrBool", "schema-or-bool", &[]),
    (CRD_V1, "JSONSchemaPropsOrStringArray", "schema-or-strings", &[]),
    (CRD_V1BETA1, "JSONSchemaPropsOrArray", "schema-or-array", &[]),
    (CRD_V1BETA1, "JSONSchemaPropsOrBool", "schema-or-bool", &[]),
    (CRD_V1BETA1, "JSONSchemaPropsOrStringArray", "schema-or-strings", &[]),
    ("k8s.io/component-base/logs/api/v1", "TimeOrMetaDuration", "duration", &[]),
];
const META: &str = "k8s.io/apimachinery/pkg/apis/meta/v1";
const CRD_V1: &str = "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1";
const CRD_V1BETA1: &str = "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1";

/// What meta/v1 adds to every scheme, in the words that it is known by in the core group.
const META_KINDS: [&str; 12] = [
    "APIGroup",
    "APIGroupList",
    "APIResourceList",
    "APIVersions",
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "Status",
    "UpdateOptions",
    "WatchEvent",
];

/// Answers of the API server and the kubelet that no scheme knows.
const UNREGISTERED: [(&str, &str); 2] =
    [("k8s.io/apimachinery/pkg/version", "Info"), ("k8s.io/kubelet/pkg/apis/stats/v1alpha1", "Summary")];

/// The message of a schema-less value.
const ANY: (&str, &str) = ("boga", "Any");

/// Fields of these Go types hold plain integers or raw JSON though their packages lie outside the modules.
const FOREIGN: [(&str, &str, &str); 2] =
    [("time", "Duration", "int64"), ("encoding/json", "RawMessage", "any")];

/// Everything that the given packages register or put on the wire, and whatever those name, by full name.
pub fn messages(world: &mut World, packages: &[String]) -> Result<BTreeMap<String, Message>, String> {
    let mut resolver = Resolver { world, done: BTreeMap::new(), queue: VecDeque::new() };
    let mut kinds: BTreeMap<String, Vec<(String, String, String)>> = BTreeMap::new();
    for path in packages {
        let package = resolver.world.package(path)?;
        for (group, version, kind, ty) in &package.registered {
            match resolver.named(&package, ty).map_err(|e| format!("{path}.{ty}: {e}"))? {
                Shape::Message(name) => {
                    kinds.entry(name).or_default().push((group.clone(), version.clone(), kind.clone()))
                }
                other => {
                    return Err(format!("{path}.{ty} is registered as a kind but is no message: {other:?}"));
                }
            }
        }
        for ty in package.proto.iter().flatten().map(|(name, _)| name) {
            resolver.named(&package, ty).map_err(|e| format!("{path}.{ty}: {e}"))?;
        }
    }
    for (path, ty) in UNREGISTERED {
        let package = resolver.world.package(path)?;
        resolver.need(&package, ty);
    }
    let meta = resolver.world.package(META)?;
    for kind in META_KINDS {
        let name = resolver.need(&meta, kind);
        kinds.entry(name).or_default().push((String::new(), "v1".to_string(), kind.to_string()));
    }
    while let Some((path, ty)) = resolver.queue.pop_front() {
        let package = resolver.world.package(&path)?;
        let name = format!("{}.{ty}", package.proto_name);
        let message = resolver.message(&package, &ty).map_err(|e| format!("{name}: {e}"))?;
        resolver.done.insert(name, Some(message));
    }
    let mut messages: BTreeMap<String, Message> = BTreeMap::new();
    for (name, message) in resolver.done {
        let mut message = message.ok_or_else(|| format!("{name} was named but never read"))?;
        if let Some(mut kinds) = kinds.remove(&name) {
            kinds.sort();
            kinds.dedup();
            message.kinds = kinds;
        }
        messages.insert(name, message);
    }
    Ok(messages)
}

struct Resolver<'a> {
    world: &'a mut World,
    /// None while queued.
    done: BTreeMap<String, Option<Message>>,
    queue: VecDeque<(String, String)>,
}

type Imports = HashMap<String, String>;

impl Resolver<'_> {
    fn need(&mut self, package: &Package, ty: &str) -> String {
        let name = format!("{}.{ty}", package.proto_name);
        if !self.done.contains_key(&name) {
            self.done.insert(name.clone(), None);
            self.queue.push_back((package.path.clone(), ty.to_string()));
        }
        name
    }

    fn any(&mut self) -> Shape {
        let name = format!("{}.{}", ANY.0, ANY.1);
        self.done.entry(name.clone()).or_insert_with(|| {
            Some(Message { package: ANY.0.into(), name: ANY.1.into(), form: "any", ..Message::default() })
        });
        Shape::Nilable(name)
    }

    /// A list or map that is itself an element gets a message of its own, whose form is that of its one field.
    fn wrapper(&mut self, name: &str, shape: FieldShape) -> Shape {
        let field = Field { json: "items".into(), shape, ..Field::default() };
        let full = format!("{}.{name}", ANY.0);
        self.done.entry(full.clone()).or_insert_with(|| {
            Some(Message {
                package: ANY.0.into(),
                name: name.into(),
                form: "wrapper",
                fields: vec![field],
                ..Message::default()
            })
        });
        Shape::Message(full)
    }

    fn resolve(&mut self, package: &Rc<Package>, imports: &Imports, ty: &Ty) -> Result<Shape, String> {
        Ok(match ty {
            Ty::Pointer(inner) => Shape::Pointer(Box::new(self.resolve(package, imports, inner)?)),
            Ty::Slice(inner) => match self.resolve(package, imports, inner)? {
                Shape::Byte => Shape::Scalar("bytes", Vec::new()),
                inner => Shape::List(Box::new(inner)),
            },
            Ty::Map(value) => Shape::Map(Box::new(self.resolve(package, imports, value)?)),
            Ty::Interface => self.any(),
            Ty::Name(None, name) => match name.as_str() {
                "string" => Shape::Scalar("string", Vec::new()),
                "bool" => Shape::Scalar("bool", Vec::new()),
                "int32" | "int16" => Shape::Scalar("int32", Vec::new()),
                "int" | "int64" => Shape::Scalar("int64", Vec::new()),
                "uint32" | "uint16" => Shape::Scalar("uint32", Vec::new()),
                "uint" | "uint64" => Shape::Scalar("uint64", Vec::new()),
                "float64" | "float32" => Shape::Scalar("double", Vec::new()),
                "byte" | "uint8" => Shape::Byte,
                "any" => self.any(),
                _ => self.named(package, name)?,
            },
            Ty::Name(Some(qualifier), name) => {
                let path =
                    imports.get(qualifier).ok_or_else(|| format!("`{qualifier}` is not imported"))?.clone();
                match FOREIGN.iter().find(|(p, t, _)| *p == path && t == name) {
                    Some((_, _, "any")) => self.any(),
                    Some((_, _, scalar)) => Shape::Scalar(scalar, Vec::new()),
                    None => {
                        let other = self.world.package(&path)?;
                        self.named(&other, name)?
                    }
                }
            }
            Ty::Struct(_) | Ty::Other => return Err(format!("a type without a table form: {ty:?}")),
        })
    }

    /// A declared type of a package.
    fn named(&mut self, package: &Rc<Package>, name: &str) -> Result<Shape, String> {
        if FORMS.iter().any(|(path, ty, _, _)| *path == package.path && *ty == name) {
            return Ok(Shape::Message(self.need(package, name)));
        }
        let declared =
            package.types.get(name).ok_or_else(|| format!("{} declares no `{name}`", package.path))?;
        let decl = &declared.decl;
        if decl.alias {
            return self.resolve(package, &declared.imports, &decl.ty);
        }
        match &decl.ty {
            Ty::Struct(_) => Ok(Shape::Message(self.need(package, name))),
            Ty::Slice(_) if markers(&decl.doc).contains(&("protobuf.nullable".into(), "true".into())) => {
                Ok(Shape::Nilable(self.need(package, name)))
            }
            Ty::Name(..) => match self.resolve(package, &declared.imports, &decl.ty)? {
                // `type List metav1.List` is a message of its own with the other's fields.
                Shape::Message(_) => Ok(Shape::Message(self.need(package, name))),
                Shape::Scalar("string", _) => Ok(Shape::Scalar("string", self.enumeration(package, name)?)),
                other => Ok(other),
            },
            other => self.resolve(package, &declared.imports, other),
        }
    }

    /// The values of a type that its comment declares an enumeration.
    fn enumeration(&mut self, package: &Rc<Package>, name: &str) -> Result<Vec<String>, String> {
        let markers = markers(&package.types[name].decl.doc);
        if !markers.iter().any(|(key, _)| key == "enum" || key == "k8s:enum") {
            return Ok(Vec::new());
        }
        Ok(package.values_of(name))
    }

    fn message(&mut self, package: &Rc<Package>, name: &str) -> Result<Message, String> {
        let mut message = Message {
            package: package.proto_name.clone(),
            name: name.to_string(),
            form: "",
            ..Message::default()
        };
        if let Some((_, _, form, fields)) =
            FORMS.iter().find(|(path, ty, _, _)| *path == package.path && *ty == name)
        {
            message.form = form;
            message.fields = fields
                .iter()
                .map(|(json, number, scalar)| Field {
                    json: json.to_string(),
                    number: *number,
                    shape: FieldShape { element: Element::Scalar(scalar), ..FieldShape::default() },
                    ..Field::default()
                })
                .collect();
            if !fields.is_empty() || package.proto.is_none() {
                return Ok(message);
            }
        }
        let declared = package.types.get(name).ok_or("no such type")?;
        let markers = markers(&declared.decl.doc);
        let marked = |key: &str| markers.iter().any(|(k, value)| k == key && value == "atomic");
        message.atomic = marked("structType") || marked("mapType");
        message.fields = match &declared.decl.ty {
            Ty::Struct(fields) => self.fields(package, &declared.imports, fields)?,
            Ty::Slice(item) => {
                message.form = "wrapper";
                let shape = self.resolve(package, &declared.imports, item)?;
                let shape = self.shape(Shape::List(Box::new(shape)))?.0;
                vec![Field { json: "items".into(), number: 1, shape, ..Field::default() }]
            }
            Ty::Name(qualifier, other) => {
                let source = match qualifier {
                    None => package.clone(),
                    Some(qualifier) => {
                        let path = declared.imports.get(qualifier).ok_or("an import is missing")?;
                        self.world.package(path)?
                    }
                };
                self.message(&source, other)?.fields
            }
            other => return Err(format!("a message cannot be {other:?}")),
        };
        Ok(message)
    }

    fn fields(
        &mut self,
        package: &Rc<Package>,
        imports: &Imports,
        fields: &[go::Field],
    ) -> Result<Vec<Field>, String> {
        let mut out = Vec::new();
        for field in fields {
            let title = if field.name.is_empty() { format!("{:?}", field.ty) } else { field.name.clone() };
            if let Some(field) =
                self.field(package, imports, field).map_err(|e| format!("field {title}: {e}"))?
            {
                out.push(field);
            }
        }
        Ok(out)
    }

    fn field(
        &mut self,
        package: &Rc<Package>,
        imports: &Imports,
        field: &go::Field,
    ) -> Result<Option<Field>, String> {
        let tag = |key: &str| tag(&field.tag, key);
        let json = tag("json").unwrap_or_default();
        let mut options = json.split(',');
        let name = options.next().unwrap_or_default();
        let options: Vec<&str> = options.collect();
        if name == "-" || field.name.starts_with(|c: char| c.is_lowercase()) || field.name == "_" {
            return Ok(None);
        }
        let inline = options.contains(&"inline") || (field.name.is_empty() && name.is_empty());
        let markers = markers(&field.doc);
        let marker = |key: &str| {
            let prefixed = format!("k8s:{key}");
            let own = markers.iter().find(|(k, _)| k == key);
            own.or_else(|| markers.iter().find(|(k, _)| *k == prefixed)).map(|(_, value)| value.as_str())
        };
        let all = |key: &str| -> Vec<String> {
            let prefixed = format!("k8s:{key}");
            let of = |key: &str| {
                markers.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone()).collect::<Vec<_>>()
            };
            let own = of(key);
            if own.is_empty() { of(&prefixed) } else { own }
        };

        let resolved = self.resolve(package, imports, &field.ty)?;
        let (shape, values) = self.shape(resolved)?;
        let omit = if options.contains(&"omitzero") {
            Omit::Zero
        } else if options.contains(&"omitempty") {
            Omit::Empty
        } else {
            Omit::Never
        };
        let number = match tag("protobuf") {
            Some(text) if text != "-" => text
                .split(',')
                .nth(1)
                .and_then(|n| n.parse().ok())
                .ok_or_else(|| format!("the protobuf tag `{text}` has no number"))?,
            _ => 0,
        };
        let patch = tag("patchStrategy").unwrap_or_default();
        let merge_key = tag("patchMergeKey").unwrap_or_default();
        let mut list_keys = all("listMapKey");
        let list = match marker("listType") {
            Some("set") => "set",
            Some("map") => "map",
            Some("atomic") => "",
            Some(other) => return Err(format!("list type `{other}`")),
            // Upstream's typed schema reads the patch strategy where no list type is declared.
            None if shape.list && patch.split(',').any(|p| p == "merge") => match merge_key.as_str() {
                "" => "set",
                key => {
                    list_keys = vec![key.to_string()];
                    "map"
                }
            },
            None => "",
        };
        // OpenAPI reads these two without the validation generator's prefix.
        let plain = |key: &str| markers.iter().find(|(k, _)| k == key);
        let required = match (plain("required"), plain("optional")) {
            (Some(_), _) => true,
            (None, Some(_)) => false,
            (None, None) => omit == Omit::Never && !inline,
        };
        let default = match marker("default") {
            Some(text) => self.default(package, imports, text)?,
            None => String::new(),
        };
        Ok(Some(Field {
            json: match (inline, name) {
                (true, _) => String::new(),
                (false, "") => field.name.clone(),
                (false, name) => name.to_string(),
            },
            number,
            shape,
            omit,
            inline,
            required,
            immutable: marker("immutable").is_some(),
            atomic: [marker("mapType"), marker("structType")].contains(&Some("atomic")),
            list,
            list_keys: if list == "map" { list_keys } else { Vec::new() },
            patch,
            merge_key,
            values,
            default,
        }))
    }

    fn shape(&mut self, shape: Shape) -> Result<(FieldShape, Vec<String>), String> {
        Ok(match shape {
            Shape::Scalar(name, values) => {
                (FieldShape { element: Element::Scalar(name), ..FieldShape::default() }, values)
            }
            Shape::Byte => return Err("a lone byte".to_string()),
            Shape::Message(name) => {
                (FieldShape { element: Element::Message(name), ..FieldShape::default() }, Vec::new())
            }
            Shape::Nilable(name) => (
                FieldShape { element: Element::Message(name), pointer: true, ..FieldShape::default() },
                Vec::new(),
            ),
            Shape::Pointer(inner) => {
                let (shape, values) = self.shape(*inner)?;
                (FieldShape { pointer: true, ..shape }, values)
            }
            Shape::List(inner) => {
                let (element, values) = self.element(*inner)?;
                (FieldShape { list: true, element, ..FieldShape::default() }, values)
            }
            Shape::Map(inner) => {
                let (element, values) = self.element(*inner)?;
                (FieldShape { map: true, element, ..FieldShape::default() }, values)
            }
        })
    }

    fn element(&mut self, shape: Shape) -> Result<(Element, Vec<String>), String> {
        let (shape, values) = self.shape(shape)?;
        if !shape.list && !shape.map {
            return Ok((shape.element, values));
        }
        let inner = match &shape.element {
            Element::Scalar(name) => name.to_string(),
            Element::Message(name) => name.rsplit('.').next().unwrap_or_default().to_string(),
        };
        let name = format!("{}Of-{inner}", if shape.list { "List" } else { "Map" });
        match self.wrapper(&name, shape) {
            Shape::Message(name) => Ok((Element::Message(name), values)),
            _ => Err("a wrapper is a message".to_string()),
        }
    }

    /// A default's JSON: written out, or a reference to a constant.
    fn default(&mut self, package: &Rc<Package>, imports: &Imports, text: &str) -> Result<String, String> {
        let Some(name) = text.strip_prefix("ref(").and_then(|rest| rest.strip_suffix(')')) else {
            return Ok(without_spaces(text));
        };
        let (package, name) = match name.rsplit_once('.') {
            None => (package.clone(), name),
            Some((path, name)) => (self.world.package(imports.get(path).map_or(path, |p| p))?, name),
        };
        match package.constant(name).map(|c| &c.value) {
            Some(go::Value::Text(text)) => Ok(format!("\"{text}\"")),
            Some(go::Value::Number(number)) => Ok(number.clone()),
            _ => Err(format!("the default names `{name}`, which is no constant")),
        }
    }
}

/// `+key=value` lines, those wrapped in a feature stage (`+k8s:beta(since: "1.37")=+k8s:…`) unwrapped.
fn markers(doc: &[String]) -> Vec<(String, String)> {
    doc.iter()
        .filter_map(|line| {
            let mut marker = line.strip_prefix('+')?;
            while marker.starts_with("k8s:alpha(") || marker.starts_with("k8s:beta(") {
                marker = marker.split_once("=+")?.1;
            }
            let (key, value) = marker.split_once('=').unwrap_or((marker, ""));
            Some((key.trim().to_string(), value.trim().to_string()))
        })
        .collect()
}

/// One key of a Go struct tag.
fn tag(tag: &str, key: &str) -> Option<String> {
    let start = tag.find(&format!("{key}:\""))? + key.len() + 2;
    let rest = &tag[start..];
    Some(rest[..rest.find('"')?].to_string())
}

/// JSON without the spaces between its tokens.
fn without_spaces(json: &str) -> String {
    let mut in_string = false;
    json.chars()
        .filter(|&c| {
            in_string ^= c == '"';
            in_string || !c.is_whitespace()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_unwrapped_from_their_stage() {
        let doc = [
            "A field.",
            "+optional",
            "+k8s:beta(since: \"1.37\")=+k8s:listType=map",
            "+default={\"a\": \"b c\"}",
        ];
        let doc: Vec<String> = doc.iter().map(|line| line.to_string()).collect();
        let read = markers(&doc);
        let pairs: Vec<(&str, &str)> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("optional", ""), ("k8s:listType", "map"), ("default", "{\"a\": \"b c\"}")]);
    }

    #[test]
    fn tags_and_defaults_are_read() {
        let text = "json:\"a,omitempty\" patchStrategy:\"merge\"";
        assert_eq!(tag(text, "json").as_deref(), Some("a,omitempty"));
        assert_eq!(tag(text, "patchStrategy").as_deref(), Some("merge"));
        assert_eq!(tag(text, "protobuf"), None);
        assert_eq!(without_spaces("{\"a\": \"b c\"}"), "{\"a\":\"b c\"}");
    }
}
