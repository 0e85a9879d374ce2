//! `apiextensions.k8s.io`: kinds that users bring.

mod conversion;
pub mod custom_resource_definition;
mod definition_names;
mod definition_spec;
mod selectable;
