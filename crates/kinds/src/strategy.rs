//! The rules of a kind, and the order in which the registry applies them.
//!
//! [`Kind::prepare_create`], [`Kind::validate_create`] and their siblings are what the API server calls; they do what
//! every kind shares (system metadata, resets, generation, names, labels, owners) and ask the kind's
//! [`Strategy`] for the rest. All trees are of the stored version, but for [`Strategy::default`], which runs in
//! the version that the client wrote.

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::column;
use crate::kind::{Kind, Part, Path, Role};
use crate::meta;
use crate::node::Node;
use crate::tree::{Tree, TreeMut, same};

/// What a rule may know beside the object.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub now: Wall,
    /// The group and version of the request, e.g. `apps/v1`.
    pub api_version: &'a str,
    /// Who writes.
    pub user: &'a User,
}

/// The authenticated author of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: Vec<(String, Vec<String>)>,
}

/// A kind's own rules. Every default suits a kind without any.
pub trait Strategy: Send + Sync {
    /// Fills in what the schema table's defaults cannot express, in `version`.
    fn default(&self, _version: &str, _obj: &mut Value) {}

    /// Clears or sets what clients may not set on create. The kind's resets are done already.
    fn prepare_create(&self, _obj: &mut Value, _cx: &Context<'_>) {}

    /// Clears, restores or sets what clients may not set on update. The resets are done already.
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _cx: &Context<'_>) {}

    /// Whether `path`, one of the resets, is restored before [`Strategy::prepare_update`], which otherwise
    /// decides what becomes of it.
    fn restores(&self, _path: Path) -> bool {
        true
    }

    /// Everything that must hold of a new object, apart from its metadata.
    fn validate(&self, _obj: &Node<'_>, _cx: &Context<'_>, _errs: &mut ErrorList) {}

    /// Everything that must hold of an update, apart from metadata.
    fn validate_update(&self, new: &Node<'_>, _old: &Value, cx: &Context<'_>, errs: &mut ErrorList) {
        self.validate(new, cx, errs);
    }

    /// What the writer should know though it is no error; `old` is absent on create.
    fn warnings(&self, _new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        Vec::new()
    }

    /// Gives a valid object the one form in which it is stored.
    fn canonicalize(&self, _obj: &mut Value) {}

    /// One cell for each of the kind's columns.
    fn cells(&self, obj: &Value, _now: Wall) -> Vec<Value> {
        vec![column::name(obj), obj.at("metadata").text("creationTimestamp").into()]
    }

    /// The seconds that a delete grants the object, given what the client asked for; none for kinds that are
    /// deleted at once.
    fn grace_period(&self, _obj: &Value, _requested: Option<i64>) -> Option<i64> {
        None
    }
}

/// A kind without rules of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Generic;

impl Strategy for Generic {}

impl Kind {
    /// Makes a decoded and defaulted object ready to be validated and created.
    pub fn prepare_create(&self, obj: &mut Value, cx: &Context<'_>) {
        if self.resets_on_create {
            self.resets.iter().for_each(|path| obj.copy_from(&Value::Null, path));
        }
        if !self.generation.is_empty() {
            obj.at_mut("metadata").set("generation", 1);
        }
        self.strategy.prepare_create(obj, cx);
    }

    /// Everything that is wrong with a new object.
    pub fn validate_create(&self, obj: &Value, cx: &Context<'_>) -> ErrorList {
        let root = Node::root(obj);
        let metadata = root.child("metadata");
        let mut errs = ErrorList::new();
        if self.stored {
            errs = meta::validate(&metadata, self.is_namespaced(), self.name_rule);
            self.validate_finalizers(&metadata, &mut errs);
        }
        self.strategy.validate(&root, cx, &mut errs);
        distinct(errs)
    }

    /// Makes a new state of `old` ready to be validated and stored. `subresource` is "" for the object itself.
    pub fn prepare_update(&self, subresource: &str, new: &mut Value, old: &Value, cx: &Context<'_>) {
        let (resets, strategy) = self.rules(subresource);
        new.copy_from(old, &["metadata", "generation"]);
        for path in resets.iter().filter(|path| strategy.restores(path)) {
            match **path {
                ["metadata"] => meta::keep_users_fields(new, old),
                _ => new.copy_from(old, path),
            }
        }
        strategy.prepare_update(new, old, cx);
        if subresource.is_empty() && self.generation.iter().any(|path| !same(new.path(path), old.path(path)))
        {
            let generation = old.at("metadata").int("generation").unwrap_or_default();
            new.at_mut("metadata").set("generation", generation + 1);
        }
        meta::keep_system_fields(new, old);
    }

    /// Everything that is wrong with a new state of `old`.
    pub fn validate_update(
        &self,
        subresource: &str,
        new: &Value,
        old: &Value,
        cx: &Context<'_>,
    ) -> ErrorList {
        let (_, strategy) = self.rules(subresource);
        let root = Node::root(new);
        let metadata = root.child("metadata");
        let mut errs = meta::validate(&metadata, self.is_namespaced(), meta::PATH_SEGMENT);
        meta::validate_update(&metadata, old.at("metadata"), &mut errs);
        self.validate_finalizers(&metadata, &mut errs);
        strategy.validate_update(&root, old, cx, &mut errs);
        distinct(errs)
    }

    /// Warnings for a write that passed validation.
    pub fn warnings(
        &self,
        subresource: &str,
        new: &Value,
        old: Option<&Value>,
        cx: &Context<'_>,
    ) -> Vec<String> {
        self.rules(subresource).1.warnings(new, old, cx)
    }

    /// What writes through `subresource` ("" for the object itself) leave alone; server-side apply gives these
    /// fields to nobody.
    pub fn resets(&self, subresource: &str) -> &[Path] {
        self.rules(subresource).0
    }

    /// The table row of one object.
    pub fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        self.strategy.cells(obj, now)
    }

    /// A tree of `version` as the stored version has it.
    pub fn to_stored(&self, version: &str, obj: &mut Value) {
        if let Some(conversion) = self.version(version).and_then(|version| version.convert) {
            (conversion.to_stored)(obj);
        }
    }

    /// A tree of the stored version as `version` has it.
    pub fn from_stored(&self, version: &str, obj: &mut Value) {
        if let Some(conversion) = self.version(version).and_then(|version| version.convert) {
            (conversion.from_stored)(obj);
        }
    }

    fn validate_finalizers(&self, metadata: &Node<'_>, errs: &mut ErrorList) {
        if self.qualified_finalizers {
            meta::qualified_finalizers(&metadata.child("finalizers"), errs);
        }
    }

    fn rules(&self, subresource: &str) -> (&[Path], &dyn Strategy) {
        match self.subresource(subresource).map(|subresource| &subresource.role) {
            Some(Role::Part(Part { resets, strategy })) => (resets, &**strategy),
            _ => (&self.resets, &*self.strategy),
        }
    }
}

/// The shared checks and a kind's own may find the same fault; it is told once.
fn distinct(errs: ErrorList) -> ErrorList {
    let mut kept = ErrorList::new();
    for err in errs {
        if !kept.contains(&err) {
            kept.push(err);
        }
    }
    kept
}
